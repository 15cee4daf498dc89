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
import { ApiError, actFor, errorText, onSignedOut } from "../../api/client";
import { auth } from "../../api/endpoints";
import type { Account, Mail } from "../../api/types";
import { recallActsFor, rememberActsFor } from "./acts-for";

type State =
  | { state: "unknown" }
  | { state: "unreachable"; reason: string }
  /**
   * `ended`: there was a session in this tab, and it is over without a click on "Sign out".
   * `guest`: the browser has a guest's session, which uploads and pays for one job and is no sign-in.
   */
  | { state: "signed-out"; ended: boolean; guest: boolean }
  | {
      state: "signed-in";
      account: Account;
      /** Whether mail reaches the address; null until it is known. */
      mail: Mail | null;
      /** The account that this tab's pages are about: the person's own, or an organisation's. */
      accountId: string;
    };

type Session = State & {
  refresh: () => void;
  signedIn: (account: Account) => void;
  /** A guest's session has begun. */
  guestBegan: () => void;
  /** Acts for an organisation from now on, or for oneself with null. */
  act: (orgId: string | null) => void;
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

  const enter = useCallback((account: Account, mail: Mail | null) => {
    const orgId = recallActsFor(account.id);
    // Before any component asks for something: they ask as soon as they see the new state.
    actFor(orgId);
    setState((old) => ({
      state: "signed-in",
      account,
      mail: mail ?? (old.state === "signed-in" && old.account.email === account.email ? old.mail : null),
      accountId: orgId ?? account.id,
    }));
  }, []);

  const leave = useCallback((guest: boolean) => {
    actFor(null);
    setState({ state: "signed-out", ended: false, guest });
  }, []);

  const refresh = useCallback(() => {
    auth.me().then(
      ({ account, mail }) => enter(account, mail),
      (error) => {
        // A 401 has already been told by onSignedOut.
        if (error instanceof ApiError && error.status === 401) return;
        if (error instanceof ApiError && error.code === "guest_session") {
          leave(true);
          return;
        }
        setState((old) =>
          old.state === "signed-in" ? old : { state: "unreachable", reason: errorText(error) },
        );
      },
    );
  }, [enter, leave]);

  useEffect(() => {
    const stop = onSignedOut(() => {
      actFor(null);
      setState((old) => ({
        state: "signed-out",
        ended: old.state === "signed-out" ? old.ended : old.state === "signed-in",
        guest: false,
      }));
    });
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

  const signedIn = useCallback(
    (account: Account) => {
      enter(account, null);
      channel.current?.postMessage("changed");
    },
    [enter],
  );

  const personId = state.state === "signed-in" ? state.account.id : null;
  const act = useCallback(
    (orgId: string | null) => {
      if (personId === null) return;
      rememberActsFor(personId, orgId);
      actFor(orgId);
      setState((old) => (old.state === "signed-in" ? { ...old, accountId: orgId ?? personId } : old));
    },
    [personId],
  );

  const signOut = useCallback(() => {
    setSignOutError(null);
    auth.logout().then(
      () => {
        leave(false);
        channel.current?.postMessage("changed");
      },
      (error) => {
        // Already over: that is what was wanted.
        if (error instanceof ApiError && error.status === 401) leave(false);
        else setSignOutError(errorText(error));
      },
    );
  }, [leave]);

  const guestBegan = useCallback(() => leave(true), [leave]);

  const session = useMemo(
    () => ({ ...state, refresh, signedIn, guestBegan, act, signOut, signOutError }),
    [state, refresh, signedIn, guestBegan, act, signOut, signOutError],
  );
  return <Context value={session}>{children}</Context>;
}
