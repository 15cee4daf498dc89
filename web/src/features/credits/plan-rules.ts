// Whether an account has a plan, and what a change to another means.
import type { Plan, Subscription } from "../../api/types";

function runs(status: string): boolean {
  return status !== "canceled" && status !== "incomplete_expired";
}

/** The plan that an account has: one that is over is none, though the API still names it. */
export function runningPlan(subscription: Subscription | null | undefined): Subscription | null {
  return subscription && runs(subscription.status) ? subscription : null;
}

export type Step = "begin" | "stays" | "up" | "down" | "other-period" | "not-sold";

/** What choosing `wanted` would do. The payment service compares prices in the currency that the plan is paid in. */
export function step(current: Plan | null, wanted: Plan, currency: string): Step {
  const price = wanted.prices[currency];
  if (price === undefined) return "not-sold";
  if (!current) return "begin";
  if (current.id === wanted.id) return "stays";
  if (current.interval !== wanted.interval) return "other-period";
  return price > (current.prices[currency] ?? 0) ? "up" : "down";
}

const STATUS: Record<string, string> = {
  active: "Active",
  trialing: "On trial",
  past_due: "The last payment failed and is tried again",
  unpaid: "Not paid: no credits come until it is",
  incomplete: "Its first payment is not done",
  paused: "Paused",
};

export function planStatusText(status: string): string {
  return STATUS[status] ?? status.replaceAll("_", " ");
}
