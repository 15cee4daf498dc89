// Which page each address shows, and who may see it. /share and /sign-in are open; the rest asks for a session.
import type { ReactNode } from "react";
import { Route, Routes } from "react-router";
import { AccountPage } from "./features/account/account-page";
import { ConfirmEmailPage, InvitePage } from "./features/account/link-page";
import { CreationsPage } from "./features/creations/creations-page";
import { BalanceProvider } from "./features/credits/balance";
import { CreditsPage } from "./features/credits/credits-page";
import { JobPage } from "./features/job/job-page";
import { SharedPage } from "./features/share/shared-page";
import { FinishPage } from "./features/sign-in/finish-page";
import { SessionProvider, useSession } from "./features/sign-in/session";
import { SignInPage } from "./features/sign-in/sign-in-page";
import { NewPicturePage } from "./features/upload/new-picture-page";
import { Shell } from "./shell";
import { Button, ButtonLink } from "./ui/button";
import { Notice } from "./ui/notice";
import { Page } from "./ui/page";
import { Progress } from "./ui/progress";

export function App() {
  return (
    <SessionProvider>
      <BalanceProvider>
        <Shell>
          <Routes>
            <Route path="/sign-in" element={<FinishPage />} />
            <Route
              path="/account"
              element={
                <SignedIn>
                  <AccountPage />
                </SignedIn>
              }
            />
            <Route
              path="/confirm-email"
              element={
                <SignedIn>
                  <ConfirmEmailPage />
                </SignedIn>
              }
            />
            <Route
              path="/invite"
              element={
                <SignedIn>
                  <InvitePage />
                </SignedIn>
              }
            />
            <Route path="/share/:token" element={<SharedPage />} />
            <Route
              path="/"
              element={
                <SignedIn>
                  <NewPicturePage />
                </SignedIn>
              }
            />
            <Route
              path="/jobs/:jobId"
              element={
                <SignedIn>
                  <JobPage />
                </SignedIn>
              }
            />
            <Route
              path="/creations"
              element={
                <SignedIn>
                  <CreationsPage />
                </SignedIn>
              }
            />
            <Route
              path="/credits"
              element={
                <SignedIn>
                  <CreditsPage />
                </SignedIn>
              }
            />
            <Route path="*" element={<NotFoundPage />} />
          </Routes>
        </Shell>
      </BalanceProvider>
    </SessionProvider>
  );
}

/** The page for a signed-in person; for anyone else the sign-in form, at the same address. */
function SignedIn({ children }: { children: ReactNode }) {
  const session = useSession();
  switch (session.state) {
    case "unknown":
      return (
        <main id="main">
          <Progress label="Loading" value={null} />
        </main>
      );
    case "unreachable":
      return (
        <Page title="Kiln can't be reached" width="narrow">
          <Notice tone="bad" action={<Button onClick={session.refresh}>Try again</Button>}>
            {session.reason}
          </Notice>
        </Page>
      );
    case "signed-out":
      return <SignInPage ended={session.ended} />;
    case "signed-in":
      return children;
  }
}

function NotFoundPage() {
  return (
    <Page title="Nothing here" width="narrow" intro="This address doesn't lead to a page of Kiln.">
      <div>
        <ButtonLink look="primary" to="/">
          To the studio
        </ButtonLink>
      </div>
    </Page>
  );
}
