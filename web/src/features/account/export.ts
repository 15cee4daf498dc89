// The export as one file: a large account comes in parts, which are put together here.
import { account } from "../../api/endpoints";
import type { ExportPart } from "../../api/types";

/** Puts the lists of a later part behind those of the earlier ones. */
export function join(whole: ExportPart, part: ExportPart): ExportPart {
  const joined: ExportPart = { ...whole, next_cursor: part.next_cursor };
  for (const [name, list] of Object.entries(part)) {
    const before = joined[name];
    if (Array.isArray(list)) joined[name] = Array.isArray(before) ? [...before, ...list] : list;
  }
  return joined;
}

export async function saveExport(): Promise<void> {
  let whole = await account.export(null);
  while (whole.next_cursor) whole = join(whole, await account.export(whole.next_cursor));
  const url = URL.createObjectURL(new Blob([JSON.stringify(whole, null, 2)], { type: "application/json" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = "kiln-account.json";
  link.click();
  URL.revokeObjectURL(url);
}
