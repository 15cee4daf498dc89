// What is said to whoever comes back from the payment service's page: `?paid=ORDER` or `?left=ORDER`.
import { useEffect, useRef } from "react";
import { errorText } from "../../api/client";
import type { Payment } from "../../api/types";
import { ButtonLink } from "../../ui/button";
import { credits } from "../../ui/format";
import { Notice } from "../../ui/notice";
import { useOrder } from "./use-order";
import { useSoon } from "./use-soon";

/** Answers after which it is no longer "in a moment": about 20 seconds. */
const LONG = 18;

interface PaidNoticeProps {
  orderId: string;
  /** Called when the order is settled, and where a plan has begun a few times more: its credits come by themselves. */
  settled: () => void;
}

export function PaidNotice({ orderId, settled }: PaidNoticeProps) {
  const { value, answers, error, lost } = useOrder(orderId);
  const over = value !== null && value.order?.state !== "open";
  const begun = value?.order?.state === "begun";
  const told = useRef(false);
  const settledSoon = useSoon(settled);
  useEffect(() => {
    if (!over || told.current) return;
    told.current = true;
    if (begun) settledSoon();
    else settled();
  }, [over, begun, settled, settledSoon]);

  if (error) return <Notice tone="bad">{errorText(error)}</Notice>;
  if (value && !value.order) {
    return (
      <Notice tone="bad">
        This account has no such order. If you paid for another account, look there: nothing is lost.
      </Notice>
    );
  }
  if (value?.order && over) return <Outcome order={value.order} />;
  if (answers >= LONG) {
    return (
      <Notice>
        We are still waiting to hear that the payment went through. A bank debit takes days; a card takes
        moments. The credits come by themselves as soon as we hear, and you needn’t stay here.
      </Notice>
    );
  }
  return (
    <Notice>
      <strong>Payment received</strong>, credits arrive in a moment.
      {lost ? " The connection to Kiln is lost; trying again." : ""}
    </Notice>
  );
}

function Outcome({ order }: { order: Payment }) {
  switch (order.state) {
    case "paid":
      return (
        <Notice tone="good" action={<ButtonLink to="/">Make a picture</ButtonLink>}>
          <strong>{credits(order.millicredits)} are here.</strong> Thank you.
        </Notice>
      );
    case "begun":
      return (
        <Notice tone="good" action={<ButtonLink to="/">Make a picture</ButtonLink>}>
          <strong>Your plan has begun.</strong> Its {credits(order.millicredits)} come with each payment.
        </Notice>
      );
    case "mismatch":
      return (
        <Notice tone="bad">
          What was paid is not what was asked, so no credits came. Somebody is looking at it; nothing is lost.
        </Notice>
      );
    default:
      return <Notice>This checkout has expired without a payment; nothing was charged.</Notice>;
  }
}

export function LeftNotice() {
  return <Notice>You left the checkout. Nothing was charged.</Notice>;
}
