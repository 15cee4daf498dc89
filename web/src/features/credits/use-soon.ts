// A plan's credits come a moment after what begins or changes it: the payment service tells of its payment by an event of its own, before or
// after the other. Nothing says which it will be, so the balance is asked for a few times more.
import { useCallback, useEffect, useRef } from "react";

const SOON_MS = [1500, 4000, 10_000, 25_000];

/** Gives a function that calls `changed` now and a few times more; the rest falls away with the component. */
export function useSoon(changed: () => void): () => void {
  const timers = useRef<ReturnType<typeof setTimeout>[]>([]);
  useEffect(() => () => timers.current.forEach(clearTimeout), []);
  return useCallback(() => {
    timers.current.forEach(clearTimeout);
    changed();
    timers.current = SOON_MS.map((ms) => setTimeout(changed, ms));
  }, [changed]);
}
