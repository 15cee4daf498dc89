// Saves a file of a finished job under a telling name. The bytes are fetched and not linked to: a link to
// another host can't name the file, and may show the picture in place of the studio.
import { ApiError } from "../../api/client";

export async function saveFrom(url: string, name: string): Promise<void> {
  let blob: Blob;
  try {
    // no-store: the browser may hold this picture from an <img>, without the header that lets a page read it.
    const response = await fetch(url, {
      cache: "no-store",
      credentials: "omit",
      referrerPolicy: "no-referrer",
    });
    if (!response.ok) throw new Error(`the file store answered ${response.status}`);
    blob = await response.blob();
  } catch {
    throw new ApiError({
      type: "about:blank",
      title: "The picture can't be fetched",
      status: 0,
      detail: "The picture can't be fetched just now. Try again in a moment.",
      code: "download_failed",
    });
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // The click has started the download; a minute is far more than its start takes.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
