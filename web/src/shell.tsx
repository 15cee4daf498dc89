// What surrounds every page: the bar with the way around the studio, the balance and the way out.
import type { ReactNode } from "react";
import { Link, NavLink } from "react-router";
import { useBalance } from "./features/credits/balance";
import { useSession } from "./features/sign-in/session";
import css from "./shell.module.css";
import { Button } from "./ui/button";
import { creditsNumber } from "./ui/format";
import { KilnMark } from "./ui/icons";
import { Notice } from "./ui/notice";

export function Shell({ children }: { children: ReactNode }) {
  const session = useSession();
  return (
    <>
      <a className={css.skip} href="#main">
        Skip to the page
      </a>
      <header className={css.header}>
        <div className={css.inner}>
          <Link className={css.brand} to="/">
            <KilnMark />
            Kiln
          </Link>
          {session.state === "signed-in" ? <SignedInBar email={session.account.email} /> : null}
        </div>
      </header>
      {session.signOutError ? (
        <div className={css.banner}>
          <Notice tone="bad">You are still signed in: {session.signOutError}</Notice>
        </div>
      ) : null}
      {children}
    </>
  );
}

function SignedInBar({ email }: { email: string }) {
  const session = useSession();
  const { balance } = useBalance();
  return (
    <>
      <nav className={css.nav} aria-label="Studio">
        <NavLink to="/" end>
          New picture
        </NavLink>
        <NavLink to="/creations">Creations</NavLink>
        <NavLink to="/credits">
          Credits
          {balance ? (
            <span className={css.balance} data-testid="balance">
              {creditsNumber(balance.available_millicredits)}
            </span>
          ) : null}
        </NavLink>
      </nav>
      <div className={css.person}>
        <Link className={css.email} to="/account" title={`Account of ${email}`}>
          {email}
        </Link>
        <Button look="quiet" onClick={session.signOut}>
          Sign out
        </Button>
      </div>
    </>
  );
}
