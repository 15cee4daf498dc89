// What surrounds every page: the bar with the way around the studio, the balance and the way out.
import type { ReactNode } from "react";
import { Link, NavLink, useLocation } from "react-router";
import { ActsFor } from "./features/account/acts-for";
import { mailText } from "./features/account/mail-text";
import { useBalance } from "./features/credits/balance";
import { useSession } from "./features/sign-in/session";
import css from "./shell.module.css";
import { Button, ButtonLink } from "./ui/button";
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
          {session.state === "signed-out" ? <SignedOutBar /> : null}
        </div>
      </header>
      {session.signOutError ? (
        <div className={css.banner}>
          <Notice tone="bad">You are still signed in: {session.signOutError}</Notice>
        </div>
      ) : null}
      <MailBanner />
      {children}
    </>
  );
}

/** Where there is no account there is the way to one, except where it is shown already. */
function SignedOutBar() {
  const { pathname } = useLocation();
  if (!pathname.startsWith("/guest") && !pathname.startsWith("/share/")) return null;
  return (
    <div className={css.person}>
      <ButtonLink look="quiet" to="/">
        Sign in
      </ButtonLink>
    </div>
  );
}

/** Without mail nobody gets back in once they are signed out: that is said on every page. */
function MailBanner() {
  const session = useSession();
  const { pathname } = useLocation();
  if (session.state !== "signed-in" || !session.mail || session.mail.state === "ok") return null;
  return (
    <div className={css.banner}>
      <Notice
        tone="bad"
        action={
          pathname === "/account" ? null : (
            <ButtonLink to="/account">
              {session.mail.state === "bounced" ? "Change it" : "Your account"}
            </ButtonLink>
          )
        }
      >
        {mailText(session.mail, session.account.email)}
      </Notice>
    </div>
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
      <ActsFor />
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
