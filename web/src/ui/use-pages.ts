// A list of the API, read a page at a time: "Load more" appends, a reload starts again at the top.
import { useCallback, useEffect, useRef, useState } from "react";
import type { Page } from "../api/types";

export interface Pages<T> {
  items: T[];
  /** True until the first page has come. */
  first: boolean;
  busy: boolean;
  more: boolean;
  error: unknown;
  loadMore: () => void;
  reload: () => void;
  remove: (gone: (item: T) => boolean) => void;
}

/** `load` must be stable (useCallback). */
export function usePages<T>(
  load: (cursor: string | null, signal: AbortSignal) => Promise<Page<T>>,
): Pages<T> {
  const [items, setItems] = useState<T[]>([]);
  const [cursor, setCursor] = useState<string | null>(null);
  const [first, setFirst] = useState(true);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const abort = useRef<AbortController | null>(null);

  const fetchPage = useCallback(
    (from: string | null) => {
      abort.current?.abort();
      const mine = new AbortController();
      abort.current = mine;
      setBusy(true);
      load(from, mine.signal).then(
        (page) => {
          if (mine.signal.aborted) return;
          setItems((old) => (from === null ? page.items : [...old, ...page.items]));
          setCursor(page.next_cursor ?? null);
          setFirst(false);
          setError(null);
          setBusy(false);
        },
        (cause) => {
          if (mine.signal.aborted) return;
          setError(cause);
          setBusy(false);
        },
      );
    },
    [load],
  );

  useEffect(() => {
    fetchPage(null);
    return () => abort.current?.abort();
  }, [fetchPage]);

  return {
    items,
    first,
    busy,
    more: cursor !== null,
    error,
    loadMore: useCallback(() => fetchPage(cursor), [fetchPage, cursor]),
    reload: useCallback(() => fetchPage(null), [fetchPage]),
    remove: useCallback((gone) => setItems((old) => old.filter((item) => !gone(item))), []),
  };
}
