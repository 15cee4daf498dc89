// What a guest's order means to the guest: pure functions from the API's order to words and choices.
import type { GuestOrder } from "../../api/types";

export type GuestStep =
  /** The payment service has not told yet. */
  | "paying"
  /** Paid; its job waits or runs. */
  | "working"
  | "ready"
  /** Paid, and it came to nothing: the money goes back. */
  | "refunded"
  /** Never paid. */
  | "expired"
  /** What was paid was not what was asked. */
  | "mismatch"
  /** It was delivered, and its files are no longer kept. */
  | "gone";

export function stepOf(order: Pick<GuestOrder, "state" | "settled" | "job">): GuestStep {
  const { state, settled, job } = order;
  if (settled === "refunded") return "refunded";
  if (job?.state === "succeeded") return job.artifacts.some((one) => one.url) ? "ready" : "gone";
  if (job?.state === "failed" || job?.state === "cancelled") return "refunded";
  if (state === "mismatch") return "mismatch";
  if (settled === "abandoned" || state === "expired") return "expired";
  if (settled === "delivered") return "gone";
  return state === "open" ? "paying" : "working";
}

/** Whether nothing more will come. A failed job is followed until its money is on its way. */
export function isOver(order: Pick<GuestOrder, "state" | "settled" | "job">): boolean {
  const step = stepOf(order);
  if (step === "refunded") return order.settled === "refunded";
  return step !== "paying" && step !== "working";
}

export function titleOf(step: GuestStep): string {
  switch (step) {
    case "paying":
      return "Waiting for the payment";
    case "working":
      return "Working on your photo";
    case "ready":
      return "Your picture is ready";
    case "refunded":
      return "That did not work";
    case "expired":
      return "This order was not paid";
    case "mismatch":
      return "Something is wrong with the payment";
    case "gone":
      return "This picture is no longer kept";
  }
}
