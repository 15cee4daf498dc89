// The links to one picture that still work. The API lists an account's links, newest first.
import { shares } from "../../api/endpoints";
import type { Job, OpenShare } from "../../api/types";

/** Far more than anybody makes after one picture; a bound on what one look may ask for. */
const MOST_PAGES = 10;

export async function linksOf(
  job: Pick<Job, "id" | "created_at">,
  signal?: AbortSignal,
  now = Date.now(),
): Promise<OpenShare[]> {
  const found: OpenShare[] = [];
  let cursor: string | null = null;
  for (let page = 0; page < MOST_PAGES; page += 1) {
    const { items, next_cursor } = await shares.list({ limit: 100, cursor }, signal);
    found.push(...items.filter((share) => share.job_id === job.id && works(share, now)));
    // No link is older than its picture.
    const older = items.some((share) => Date.parse(share.created_at) < Date.parse(job.created_at));
    if (older || !next_cursor) break;
    cursor = next_cursor;
  }
  return found;
}

function works(share: OpenShare, now: number): boolean {
  return !share.expires_at || Date.parse(share.expires_at) > now;
}
