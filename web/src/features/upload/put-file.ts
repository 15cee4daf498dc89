// Sends a file's bytes to a presigned URL, with progress. XMLHttpRequest, since fetch can't tell how much of
// a body has gone out.
import type { UploadPart } from "../../api/types";

/** Why the bytes did not arrive, in a person's words. */
export class SendError extends Error {
  /** Null when nothing answered. */
  readonly status: number | null;

  constructor(message: string, status: number | null) {
    super(message);
    this.name = "SendError";
    this.status = status;
  }
}

// The browser writes these itself and refuses to let a page do it; what it writes is what was signed.
const BROWSER_OWNED = new Set(["host", "content-length"]);

export function putFile(
  part: UploadPart,
  file: Blob,
  onProgress: (sent: number) => void,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const aborted = () => new DOMException("The upload was stopped.", "AbortError");
    if (signal.aborted) {
      reject(aborted());
      return;
    }
    const request = new XMLHttpRequest();
    request.open(part.method, part.url);
    for (const [name, value] of Object.entries(part.headers)) {
      if (!BROWSER_OWNED.has(name.toLowerCase())) request.setRequestHeader(name, value);
    }
    request.upload.onprogress = (event) => onProgress(event.loaded);
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) resolve();
      // If-None-Match: an earlier try of this very upload has already arrived; the server checks its bytes.
      else if (request.status === 412) resolve();
      else if (request.status === 403) {
        reject(new SendError("The time for this upload ran out, or the file changed on the way.", 403));
      } else {
        reject(new SendError(`The file store refused the photo (${request.status}).`, request.status));
      }
    };
    request.onerror = () =>
      reject(new SendError("The connection broke while the photo was being sent.", null));
    request.onabort = () => reject(aborted());
    signal.addEventListener("abort", () => request.abort(), { once: true });
    // A bare Blob: a File's own type, guessed from its name, must not become the Content-Type.
    request.send(file.slice(0, file.size, ""));
  });
}
