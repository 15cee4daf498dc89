// Who is signed in, for the whole studio. The server's cookie decides; this only remembers its last answer.
// Tabs tell each other when a session begins or ends, so that none goes on showing the other state.
import {
  createContext,
  type ReactNode,
  useCallback,
  useContext,
  useEffect,
  useMemo,
  useRef,
  useState,
} from "react";
import { ApiError, errorText, onSignedOut } from "../../api/client";
import { auth } from "../../api/endpoints";
import type { Account } from "../../api/types";

type State =
  | { state: "unknown" }
  | { state: "unreachable"; reason: string }
  /** `ended`: there was a session in this tab, and it is over without a click on "Sign out". */
  | { state: "signed-out"; ended: boolean }
  | { state: "signed-in"; account: Account };

type Session = State & {
  refresh: () => void;
  signedIn: (account: Account) => void;
  signOut: () => void;
  signOutError: string | null;
};

const Context = createContext<Session | null>(null);

export function useSession(): Session {
  const session = useContext(Context);
  if (!session) throw new Error("useSession outside SessionProvider");
  return session;
}

export function SessionProvider({ children }: { children: ReactNode }) {
  const [state, setState] = useState<State>({ state: "unknown" });
  const [signOutError, setSignOutError] = useState<string | null>(null);
  const channel = useRef<BroadcastChannel | null>(null);

  const refresh = useCallback(() => {
    auth.me().then(
      ({ account }) => setState({ state: "signed-in", account }),
      (error) => {
        // A 401 has already been told by onSignedOut.
        if (error instanceof ApiError && error.status === 401) return;
        setState((old) =>
          old.state === "signed-in" ? old : { state: "unreachable", reason: errorText(error) },
        );
      },
    );
  }, []);

  useEffect(() => {
    const stop = onSignedOut(() =>
      setState((old) =>
        old.state === "signed-out" ? old : { state: "signed-out", ended: old.state === "signed-in" },
      ),
    );
    refresh();
    return stop;
  }, [refresh]);

  useEffect(() => {
    const mine = new BroadcastChannel("kiln-session");
    channel.current = mine;
    mine.onmessage = refresh;
    return () => {
      channel.current = null;
      mine.close();
    };
  }, [refresh]);

  const signedIn = useCallback((account: Account) => {
    setState({ state: "signed-in", account });
    channel.current?.postMessage("changed");
  }, []);

  const signOut = useCallback(() => {
    setSignOutError(null);
    auth.logout().then(
      () => {
        setState({ state: "signed-out", ended: false });
        channel.current?.postMessage("changed");
      },
      (error) => {
        // Already over: that is what was wanted.
        if (error instanceof ApiError && error.status === 401)
          setState({ state: "signed-out", ended: false });
        else setSignOutError(errorText(error));
      },
    );
  }, []);

  const session = useMemo(
    () => ({ ...state, refresh, signedIn, signOut, signOutError }),
    [state, refresh, signedIn, signOut, signOutError],
  );
  return <Context value={session}>{children}</Context>;
}
