// Which page each address shows, and who may see it. /share, /guest and /sign-in are open; the rest asks for a session.
import { Fragment } from "react";
import { Outlet, Route, Routes } from "react-router";
import { AccountPage } from "./features/account/account-page";
import { ConfirmEmailPage, InvitePage } from "./features/account/link-page";
import { CreationsPage } from "./features/creations/creations-page";
import { BalanceProvider } from "./features/credits/balance";
import { CreditsPage } from "./features/credits/credits-page";
import { GuestOrderPage } from "./features/guest/guest-order-page";
import { GuestPage } from "./features/guest/guest-page";
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
            <Route path="/share/:token" element={<SharedPage />} />
            <Route path="/guest" element={<GuestPage />} />
            <Route path="/guest/:token" element={<GuestOrderPage />} />
            <Route element={<SignedIn />}>
              <Route path="/" element={<NewPicturePage />} />
              <Route path="/jobs/:jobId" element={<JobPage />} />
              <Route path="/creations" element={<CreationsPage />} />
              <Route path="/credits" element={<CreditsPage />} />
              <Route path="/account" element={<AccountPage />} />
              <Route path="/confirm-email" element={<ConfirmEmailPage />} />
              <Route path="/invite" element={<InvitePage />} />
            </Route>
            <Route path="*" element={<NotFoundPage />} />
          </Routes>
        </Shell>
      </BalanceProvider>
    </SessionProvider>
  );
}

/** The page for a signed-in person; for anyone else the sign-in form, at the same address. */
function SignedIn() {
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
      // The key: another account is another page, with nothing left over of the one before.
      return (
        <Fragment key={session.accountId}>
          <Outlet />
        </Fragment>
      );
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
