// Where the mailed links lead that confirm an address or invite into an organisation. As with the sign-in link, nothing is
// used up before a person presses the button, and the token leaves the address bar at once.
import { type ReactNode, useEffect, useState } from "react";
import { useLocation } from "react-router";
import { errorText } from "../../api/client";
import { account as api, orgs } from "../../api/endpoints";
import { Button, ButtonLink } from "../../ui/button";
import { Notice } from "../../ui/notice";
import { Card, Page } from "../../ui/page";
import { useAction } from "../../ui/use-load";
import { useSession } from "../sign-in/session";
import { orgsChanged } from "./orgs-changed";

export function ConfirmEmailPage() {
  const session = useSession();
  return (
    <LinkPage
      path="/confirm-email"
      title="Confirm your new address"
      intro="From then on you sign in with it, and no longer with the old one."
      press="Use this address"
      use={async (token) => {
        const { account } = await api.confirmEmail(token);
        session.signedIn(account);
        return <>Your address is {account.email} now.</>;
      }}
    />
  );
}

export function InvitePage() {
  return (
    <LinkPage
      path="/invite"
      title="You are invited"
      intro="Accept, and you belong to the organisation."
      press="Accept the invitation"
      use={async (token) => {
        const org = await orgs.accept(token);
        orgsChanged();
        return (
          <>
            You belong to {org.name} now, as its {org.role}.
          </>
        );
      }}
    />
  );
}

interface LinkPageProps {
  path: string;
  title: string;
  intro: string;
  press: string;
  use: (token: string) => Promise<ReactNode>;
}

function LinkPage({ path, title, intro, press, use }: LinkPageProps) {
  const { search } = useLocation();
  const [token] = useState(() => new URLSearchParams(search).get("token"));
  const [done, setDone] = useState<ReactNode>(null);
  const action = useAction(async (link: string) => setDone(await use(link)));

  useEffect(() => {
    if (window.location.search) window.history.replaceState(window.history.state, "", path);
  }, [path]);

  const toAccount = (
    <ButtonLink look="primary" to="/account">
      To your account
    </ButtonLink>
  );
  return (
    <Page title={title} width="narrow" intro={done ? undefined : intro}>
      <Card>
        {done ? (
          <Notice tone="good" action={toAccount}>
            {done}
          </Notice>
        ) : token ? (
          <>
            {action.error ? <Notice tone="bad">{errorText(action.error)}</Notice> : null}
            <div>
              <Button look="primary" onClick={() => action.run(token)} busy={action.busy}>
                {press}
              </Button>
            </div>
          </>
        ) : (
          <Notice tone="bad" action={toAccount}>
            This address lacks what the mailed link ends in. Open the link in the mail again.
          </Notice>
        )}
      </Card>
    </Page>
  );
}
