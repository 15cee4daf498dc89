// Reads something from the API for as long as a component shows it: one load at a time, a newer one aborts
// the older, and what arrives after the component has gone is dropped.
import { useCallback, useEffect, useRef, useState } from "react";

export interface Load<T> {
  data: T | null;
  error: unknown;
  loading: boolean;
  reload: () => void;
}

/** `load` must be stable (useCallback): a new function means a new thing to load. Null loads nothing. */
export function useLoad<T>(load: ((signal: AbortSignal) => Promise<T>) | null): Load<T> {
  const [data, setData] = useState<T | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [loading, setLoading] = useState(load !== null);
  const [round, setRound] = useState(0);

  // biome-ignore lint/correctness/useExhaustiveDependencies: `round` is what asks for the same thing again.
  useEffect(() => {
    if (!load) {
      setLoading(false);
      return;
    }
    const abort = new AbortController();
    setLoading(true);
    load(abort.signal).then(
      (value) => {
        if (abort.signal.aborted) return;
        setData(value);
        setError(null);
        setLoading(false);
      },
      (cause) => {
        if (abort.signal.aborted) return;
        setError(cause);
        setLoading(false);
      },
    );
    return () => abort.abort();
  }, [load, round]);

  const reload = useCallback(() => setRound((n) => n + 1), []);
  return { data, error, loading, reload };
}

export interface Action<A extends unknown[]> {
  run: (...args: A) => void;
  busy: boolean;
  error: unknown;
  clear: () => void;
}

/** Something that a click does: one at a time, its error kept for showing. */
export function useAction<A extends unknown[]>(action: (...args: A) => Promise<void>): Action<A> {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const running = useRef(false);
  const latest = useRef(action);
  latest.current = action;

  const run = useCallback((...args: A) => {
    if (running.current) return;
    running.current = true;
    setBusy(true);
    setError(null);
    latest
      .current(...args)
      .catch(setError)
      .finally(() => {
        running.current = false;
        setBusy(false);
      });
  }, []);

  return { run, busy, error, clear: useCallback(() => setError(null), []) };
}
