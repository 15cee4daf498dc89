// The photos that this tab has sent, by job, so that a result can be compared with what it was made from
// without loading that again. Gone with the tab; the job page then asks the server for the original.
const KEEP = 4;
const byJob = new Map<string, string>();

export function rememberOriginal(jobId: string, file: Blob): void {
  byJob.set(jobId, URL.createObjectURL(file));
  // A Map keeps its order: the first key is the oldest.
  for (const oldest of byJob.keys()) {
    if (byJob.size <= KEEP) break;
    URL.revokeObjectURL(byJob.get(oldest) ?? "");
    byJob.delete(oldest);
  }
}

export function originalUrl(jobId: string): string | null {
  return byJob.get(jobId) ?? null;
}
