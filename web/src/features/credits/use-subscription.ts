// The account's plan, as the payment service last told it.
import { billing } from "../../api/endpoints";
import type { Subscription } from "../../api/types";
import { useLoad } from "../../ui/use-load";
import { runningPlan } from "./plan-rules";

export interface PlanControl {
  plan: Subscription | null;
  error: unknown;
  /** True until it is known whether there is a plan. */
  first: boolean;
  reload: () => void;
}

const load = (signal: AbortSignal) => billing.plan(signal);

export function useSubscription(): PlanControl {
  const { data, error, reload } = useLoad(load);
  return { plan: runningPlan(data?.subscription), error, first: data === null, reload };
}
