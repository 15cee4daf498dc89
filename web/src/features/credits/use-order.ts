// Follows an order until the payment service has told how it went. The browser's return says nothing about that.
import { useMemo } from "react";
import { billing } from "../../api/endpoints";
import type { Payment } from "../../api/types";
import { type Followed, slowing, useFollow } from "../../ui/use-follow";
import { isSettled } from "./order-text";

/** Of the newest orders: who comes back from a checkout has just made one. */
const AMONG = 20;

export interface FoundOrder {
  /** Null: the account has no such order among its newest. */
  order: Payment | null;
}

export function useOrder(orderId: string): Followed<FoundOrder> {
  const question = useMemo(
    () => ({
      ask: async (signal: AbortSignal): Promise<FoundOrder> => {
        const { items } = await billing.payments({ limit: AMONG }, signal);
        return { order: items.find((one) => one.id === orderId) ?? null };
      },
      over: ({ order }: FoundOrder) => order === null || isSettled(order.state),
      everyMs: slowing,
    }),
    [orderId],
  );
  return useFollow(question);
}
