// Follows something of the API by asking again until it is over. A hidden tab doesn't ask; a lost connection is
// said and tried again, ever more slowly, and never mistaken for an answer.
import { useCallback, useEffect, useRef, useState } from "react";
import { ApiError } from "../api/client";

const SLOWEST_MS = 15_000;

export interface Question<T> {
  ask: (signal: AbortSignal) => Promise<T>;
  /** Whether nothing more will come. */
  over: (fresh: T) => boolean;
  /** How long to wait before the next question, by the number of answers so far and the last of them. */
  everyMs: (answers: number, fresh: T | null) => number;
  /** Which of two answers to believe; the newer, if this is left out. */
  accept?: (old: T | null, fresh: T) => T;
}

export interface Followed<T> {
  value: T | null;
  /** How often it was answered: a page may say that it takes long. */
  answers: number;
  /** The API's own refusal: asking again won't help. */
  error: ApiError | null;
  /** The last question had no answer; the next is under way. */
  lost: boolean;
  /** News from elsewhere, such as the answer to a change. */
  tell: (fresh: T) => void;
  /** Asks at once, over or not. */
  refresh: () => void;
}

/** `question` must be stable (useMemo, or outside of the component): a new one is another thing to follow. */
export function useFollow<T>(question: Question<T>): Followed<T> {
  const [value, setValue] = useState<T | null>(null);
  const [answers, setAnswers] = useState(0);
  const [error, setError] = useState<ApiError | null>(null);
  const [lost, setLost] = useState(false);
  const ask = useRef<() => void>(() => {});

  const tell = useCallback(
    (fresh: T) => setValue((old) => (question.accept ? question.accept(old, fresh) : fresh)),
    [question],
  );

  useEffect(() => {
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let failures = 0;
    let count = 0;
    let asking = false;
    let over = false;

    setValue(null);
    setAnswers(0);
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
        const fresh = await question.ask(abort.signal);
        if (abort.signal.aborted) return;
        failures = 0;
        count += 1;
        over = question.over(fresh);
        tell(fresh);
        setAnswers(count);
        setLost(false);
        if (!over) later(question.everyMs(count, fresh));
      } catch (cause) {
        if (abort.signal.aborted) return;
        if (isPassing(cause)) {
          failures += 1;
          setLost(true);
          const asked = cause instanceof ApiError && cause.retryAfterS ? cause.retryAfterS * 1000 : 0;
          later(Math.max(asked, Math.min(SLOWEST_MS, question.everyMs(1, null) * 2 ** failures)));
        } else {
          over = true;
          setError(cause as ApiError);
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
  }, [question, tell]);

  return { value, answers, error, lost, tell, refresh: useCallback(() => ask.current(), []) };
}

function isPassing(cause: unknown): boolean {
  if (!(cause instanceof ApiError)) return true;
  return cause.status === 0 || cause.status === 408 || cause.status === 429 || cause.status >= 500;
}

/** Each second at first, then ever more slowly: what takes long is not hurried by asking. */
export function slowing(answers: number): number {
  return answers < 15 ? 1000 : Math.min(SLOWEST_MS, 1000 * 1.5 ** (answers - 14));
}
