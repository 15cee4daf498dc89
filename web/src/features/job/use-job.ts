// Follows one job by asking each second until it has ended. A hidden tab doesn't ask; a lost connection is
// said and tried again, ever more slowly, and never mistaken for a failed job.
import { useCallback, useEffect, useRef, useState } from "react";
import { ApiError } from "../../api/client";
import { jobs } from "../../api/endpoints";
import type { Job } from "../../api/types";
import { ended, newer } from "./job-view";

export const POLL_MS = 1000;
const SLOWEST_MS = 15_000;

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
  const [job, setJob] = useState<Job | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const [lost, setLost] = useState(false);
  const ask = useRef<() => void>(() => {});

  const tell = useCallback((fresh: Job) => setJob((old) => newer(old, fresh)), []);

  useEffect(() => {
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let failures = 0;
    let asking = false;
    let over = false;

    setJob(null);
    setError(null);
    setLost(false);

    const later = (ms: number) => {
      clearTimeout(timer);
      if (!document.hidden) timer = setTimeout(once, ms);
    };
    const once = async () => {
      if (asking) return;
      asking = true;
      try {
        const fresh = await jobs.get(jobId, abort.signal);
        failures = 0;
        over = ended(fresh);
        tell(fresh);
        setLost(false);
        if (!over) later(POLL_MS);
      } catch (cause) {
        if (abort.signal.aborted) return;
        const passing =
          !(cause instanceof ApiError) ||
          cause.status === 0 ||
          cause.status === 408 ||
          cause.status === 429 ||
          cause.status >= 500;
        if (passing) {
          failures += 1;
          setLost(true);
          const asked = cause instanceof ApiError && cause.retryAfterS ? cause.retryAfterS * 1000 : 0;
          later(Math.max(asked, Math.min(SLOWEST_MS, POLL_MS * 2 ** failures)));
        } else {
          over = true;
          setError(cause);
        }
      } finally {
        asking = false;
      }
    };
    const seen = () => {
      if (!document.hidden && !over) void once();
    };

    ask.current = () => void once();
    document.addEventListener("visibilitychange", seen);
    void once();
    return () => {
      abort.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, [jobId, tell]);

  return { job, error, lost, tell, refresh: useCallback(() => ask.current(), []) };
}
