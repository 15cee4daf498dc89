// Orders and invoices in a person's words.
import type { OrderState } from "../../api/types";

export interface Titles {
  packs: readonly { id: string; title: string }[];
  plans: readonly { id: string; title: string }[];
}

/** `pack:studio`, `plan:maker` or `job:job_…`, by the titles of what is sold today. */
export function whatText(what: string, { packs, plans }: Titles): string {
  const at = what.indexOf(":");
  const kind = what.slice(0, at);
  const id = what.slice(at + 1);
  if (kind === "pack") return packs.find((pack) => pack.id === id)?.title ?? "Credits";
  if (kind === "plan") return `Plan ${plans.find((plan) => plan.id === id)?.title ?? id}`;
  if (kind === "job") return "One picture, without an account";
  return what;
}

const STATES: Record<OrderState, string> = {
  open: "Not paid yet",
  paid: "Paid",
  begun: "Plan begun",
  expired: "Expired, nothing charged",
  mismatch: "Being looked at",
};

export function orderStateText(state: OrderState): string {
  return STATES[state] ?? state;
}

const INVOICE: Record<string, string> = {
  paid: "Paid",
  open: "Not paid yet",
  draft: "Being written",
  void: "Withdrawn",
  uncollectible: "Given up",
};

export function invoiceStateText(status: string): string {
  return INVOICE[status] ?? status;
}

/** Whether the payment service has said all that it will about an order. */
export function isSettled(state: OrderState): boolean {
  return state !== "open";
}
