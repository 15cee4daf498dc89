// Asks for a checkout and goes to its page. Pressing again for the same thing is the same order.
import { useRef } from "react";
import { ApiError, newIdempotencyKey } from "../../api/client";
import { billing } from "../../api/endpoints";
import type { Checkout } from "../../api/types";
import { type Action, useAction } from "../../ui/use-load";
import { leaveFor } from "./play-money";

export type Wish = { pack: string; currency: string } | { plan: string; currency: string };

function ask(wish: Wish, key: string): Promise<Checkout> {
  return "pack" in wish ? billing.checkout(wish, key) : billing.subscribe(wish, key);
}

export function useCheckout(): Action<[Wish]> {
  const intention = useRef<{ of: string; key: string } | null>(null);
  return useAction(async (wish: Wish) => {
    const of = JSON.stringify(wish);
    if (intention.current?.of !== of) intention.current = { of, key: newIdempotencyKey() };
    try {
      leaveFor((await ask(wish, intention.current.key)).url);
    } catch (error) {
      // That order was paid or ran out meanwhile, and whoever came back wants another one.
      if (!(error instanceof ApiError && error.code === "order_over")) throw error;
      intention.current = { of, key: newIdempotencyKey() };
      leaveFor((await ask(wish, intention.current.key)).url);
    }
  });
}
