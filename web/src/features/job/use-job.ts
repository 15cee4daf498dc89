// Follows one job by asking each second until it has ended.
import { useMemo } from "react";
import type { ApiError } from "../../api/client";
import { jobs } from "../../api/endpoints";
import type { Job } from "../../api/types";
import { useFollow } from "../../ui/use-follow";
import { ended, newer } from "./job-view";

export const POLL_MS = 1000;

export interface FollowedJob {
  job: Job | null;
  /** The API's own refusal (no such job): asking again won't help. */
  error: ApiError | null;
  /** The last question had no answer; the next is under way. */
  lost: boolean;
  /** News from elsewhere: the answer to a cancel. */
  tell: (job: Job) => void;
  /** Asks at once, ended or not: the URLs of a finished job's files are short-lived. */
  refresh: () => void;
}

export function useJob(jobId: string): FollowedJob {
  const question = useMemo(
    () => ({
      ask: (signal: AbortSignal) => jobs.get(jobId, signal),
      over: ended,
      everyMs: () => POLL_MS,
      accept: newer,
    }),
    [jobId],
  );
  const { value: job, error, lost, tell, refresh } = useFollow<Job>(question);
  return { job, error, lost, tell, refresh };
}
