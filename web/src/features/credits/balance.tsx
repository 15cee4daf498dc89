// The account's credits, for the bar and the price. Whoever spends or frees credits calls `refresh`.
import { createContext, type ReactNode, useCallback, useContext, useMemo } from "react";
import { credits as api } from "../../api/endpoints";
import type { Credits } from "../../api/types";
import { useLoad } from "../../ui/use-load";
import { useSession } from "../sign-in/session";

interface Balance {
  balance: Credits | null;
  error: unknown;
  refresh: () => void;
}

const Context = createContext<Balance | null>(null);

export function useBalance(): Balance {
  const balance = useContext(Context);
  if (!balance) throw new Error("useBalance outside BalanceProvider");
  return balance;
}

export function BalanceProvider({ children }: { children: ReactNode }) {
  const session = useSession();
  const accountId = session.state === "signed-in" ? session.accountId : null;
  // biome-ignore lint/correctness/useExhaustiveDependencies: another account is another balance.
  const load = useCallback((signal: AbortSignal) => api.balance(signal), [accountId]);
  const { data, error, reload } = useLoad(accountId ? load : null);
  const value = useMemo(
    () => ({ balance: accountId ? data : null, error, refresh: reload }),
    [accountId, data, error, reload],
  );
  return <Context value={value}>{children}</Context>;
}
