// What is known of an account's plan, and what a change to another means.
import type { LedgerEntry, Payment, Plan, Subscription } from "../../api/types";

export interface KnownPlan {
  plan: string;
  /** As the payment service calls it; null while it has not been asked. */
  status: string | null;
  /** Until when the plan is paid for; a guess while `status` is null. */
  periodEnd: string | null;
  /** Whether it ends with its period; null while that is unknown. */
  ends: boolean | null;
}

/** An answer to a change, and when it came. */
export interface Told {
  at: number;
  subscription: Subscription;
}

const DAY_MS = 86_400_000;
/** A little longer than the period: a payment that is tried again is late. */
const PERIOD_DAYS = { month: 31 + 7, year: 366 + 7 };

export function runs(status: string): boolean {
  return status !== "canceled" && status !== "incomplete_expired";
}

/**
 * The plan as far as the account's own records tell: there is no question for it. The last answer to a change is
 * believed, unless a plan was begun after it; else the plan of the last payment, while its period can't be over.
 */
export function knownPlan(
  plans: readonly Plan[],
  payments: readonly Pick<Payment, "what" | "state" | "created_at">[],
  entries: readonly Pick<LedgerEntry, "at" | "kind" | "cause">[],
  told: Told | null,
  now: number,
): KnownPlan | null {
  const begun = payments.find((one) => one.state === "begun" && one.what.startsWith("plan:"));
  if (told && !(begun && Date.parse(begun.created_at) > told.at)) {
    const { plan, status, period_end, ends_at_period_end } = told.subscription;
    const over = ends_at_period_end && period_end && Date.parse(period_end) <= now;
    if (!runs(status) || over) return null;
    if (!period_end || Date.parse(period_end) > now) {
      return { plan, status, periodEnd: period_end ?? null, ends: ends_at_period_end };
    }
  }
  if (!begun) return null;
  const paid = entries.find((entry) => entry.kind === "purchase" && entry.cause.startsWith("plan:"));
  const id = (paid?.cause ?? begun.what).slice("plan:".length);
  const since = Date.parse(paid?.at ?? begun.created_at);
  const interval = plans.find((plan) => plan.id === id)?.interval ?? "month";
  if (since + PERIOD_DAYS[interval] * DAY_MS <= now) return null;
  return { plan: id, status: null, periodEnd: null, ends: null };
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
