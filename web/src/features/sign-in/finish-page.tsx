// Where the mailed link leads, and a referral's. The mailed link works once, and mail scanners open links and even run their scripts:
// so nothing is used up before a person presses the button. The token leaves the address bar at once, so that
// it stays out of the history and of screenshots.
import { useEffect, useState } from "react";
import { useLocation, useNavigate } from "react-router";
import { ApiError, errorText } from "../../api/client";
import { auth } from "../../api/endpoints";
import { Button, ButtonLink } from "../../ui/button";
import { Notice } from "../../ui/notice";
import { Card, Page } from "../../ui/page";
import { useAction } from "../../ui/use-load";
import { forgetReferral, recallReferral, rememberReferral } from "./referral";
import { takeReturn } from "./return-to";
import { useSession } from "./session";
import css from "./sign-in.module.css";
import { SignInPage } from "./sign-in-page";

export function FinishPage() {
  const { search } = useLocation();
  const navigate = useNavigate();
  const session = useSession();
  const [{ token, ref }] = useState(() => {
    const given = new URLSearchParams(search);
    return { token: given.get("token"), ref: given.get("ref") };
  });

  useEffect(() => {
    // Past the router: it would remember the old address in its state, and this page needs no second look.
    if (window.location.search) window.history.replaceState(window.history.state, "", "/sign-in");
  }, []);

  // A referral is for whoever has no account yet.
  const stranger = session.state === "signed-out" || session.state === "unreachable";
  useEffect(() => {
    if (ref && stranger) rememberReferral(ref);
  }, [ref, stranger]);

  const finish = useAction(async (link: string) => {
    const { account } = await auth.verifyLink(link, recallReferral());
    forgetReferral();
    session.signedIn(account);
    navigate(takeReturn(), { replace: true });
  });

  if (!token) {
    if (session.state !== "signed-in") return <SignInPage />;
    return (
      <Page title="You are signed in" width="narrow" intro={`As ${session.account.email}.`}>
        <div>
          <ButtonLink look="primary" to="/">
            To the studio
          </ButtonLink>
        </div>
      </Page>
    );
  }

  // A link that is no good stays so; anything else may pass.
  if (finish.error instanceof ApiError && finish.error.status === 401) {
    return (
      <Page title="This link no longer works" width="narrow">
        <Notice tone="bad">{errorText(finish.error)}</Notice>
        <div>
          <ButtonLink look="primary" to="/" reloadDocument>
            Ask for a new link
          </ButtonLink>
        </div>
      </Page>
    );
  }

  return (
    <Page title="Finish signing in" width="narrow" intro="One press, and you are in.">
      <Card>
        {finish.error ? (
          <>
            <Notice tone="bad">{errorText(finish.error)}</Notice>
            <div className={css.buttons}>
              <ButtonLink look="primary" to="/" reloadDocument>
                Ask for a new link
              </ButtonLink>
              <Button onClick={() => finish.run(token)} busy={finish.busy}>
                Try again
              </Button>
            </div>
          </>
        ) : (
          <Button look="primary" onClick={() => finish.run(token)} busy={finish.busy}>
            Finish signing in
          </Button>
        )}
      </Card>
    </Page>
  );
}
