// A file's name as the API takes it: at most 128 bytes, never empty. Cameras and chats make longer ones; the
// end goes, the extension stays.
const MAX_BYTES = 128;
const encoder = new TextEncoder();
const bytes = (text: string) => encoder.encode(text).length;

export function uploadName(name: string): string {
  if (name === "") return "photo";
  if (bytes(name) <= MAX_BYTES) return name;
  const dot = name.lastIndexOf(".");
  const extension = dot > 0 && bytes(name.slice(dot)) <= 16 ? name.slice(dot) : "";
  let kept = "";
  // By whole characters: half of one would not be text any more.
  for (const letter of extension ? name.slice(0, dot) : name) {
    if (bytes(kept + letter + extension) > MAX_BYTES) break;
    kept += letter;
  }
  return kept + extension;
}
