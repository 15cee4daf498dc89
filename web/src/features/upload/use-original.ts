// The photo that a job was made from: this tab's own copy while there is one, else the server's.
import { useCallback } from "react";
import { uploads } from "../../api/endpoints";
import type { Job } from "../../api/types";
import { useLoad } from "../../ui/use-load";
import { originalUrl } from "./originals";

/** Null while it is unknown, and where the photo is no longer kept: a page must do without it. */
export function useOriginal(job: Pick<Job, "id" | "inputs">): string | null {
  const own = originalUrl(job.id);
  const uploadId = job.inputs[0];
  const load = useCallback((signal: AbortSignal) => uploads.get(uploadId as string, signal), [uploadId]);
  const { data } = useLoad(own === null && uploadId !== undefined ? load : null);
  return own ?? data?.url ?? null;
}
