// The account's plan, from its payments, its history and what the last change in this tab answered.
import { useCallback, useMemo, useState } from "react";
import { billing, credits } from "../../api/endpoints";
import type { Plan, Subscription } from "../../api/types";
import { useLoad } from "../../ui/use-load";
import { type KnownPlan, knownPlan, type Told } from "./plan-rules";

const key = (accountId: string) => `kiln.plan.${accountId}`;

function recallTold(accountId: string): Told | null {
  try {
    return JSON.parse(sessionStorage.getItem(key(accountId)) ?? "null") as Told | null;
  } catch {
    return null;
  }
}

export interface PlanControl {
  plan: KnownPlan | null;
  error: unknown;
  /** True until it is known whether there is a plan. */
  first: boolean;
  tell: (subscription: Subscription) => void;
  reload: () => void;
}

async function records(signal: AbortSignal) {
  const [payments, entries] = await Promise.all([
    billing.payments({ limit: 100 }, signal),
    credits.ledger({ limit: 100 }, signal),
  ]);
  return { payments: payments.items, entries: entries.items };
}

export function useSubscription(accountId: string, plans: readonly Plan[]): PlanControl {
  const { data, error, reload } = useLoad(records);
  const [told, setTold] = useState(() => recallTold(accountId));
  const tell = useCallback(
    (subscription: Subscription) => {
      const fresh: Told = { at: Date.now(), subscription };
      setTold(fresh);
      try {
        sessionStorage.setItem(key(accountId), JSON.stringify(fresh));
      } catch {
        // It is known until the page is loaded anew.
      }
    },
    [accountId],
  );
  const plan = useMemo(
    () => (data ? knownPlan(plans, data.payments, data.entries, told, Date.now()) : null),
    [data, plans, told],
  );
  return { plan, error, first: data === null, tell, reload };
}
