// A person's account: name and address, where they are signed in, API keys, webhooks, organisations, and taking everything along or leaving.
import { useCallback, useState } from "react";
import { errorText } from "../../api/client";
import { account as api } from "../../api/endpoints";
import { Button } from "../../ui/button";
import { Dialog } from "../../ui/dialog";
import { TextField } from "../../ui/field";
import { when } from "../../ui/format";
import { Notice } from "../../ui/notice";
import { Card, Page } from "../../ui/page";
import { useAction } from "../../ui/use-load";
import { usePages } from "../../ui/use-pages";
import { useSession } from "../sign-in/session";
import { WebhooksCard } from "../webhooks/webhooks-card";
import css from "./account.module.css";
import { browserName } from "./browser-name";
import { saveExport } from "./export";
import { KeysCard } from "./keys-card";
import { OrgsCard } from "./orgs-card";

export function AccountPage() {
  const session = useSession();
  if (session.state !== "signed-in") return null;
  return (
    <Page title="Account">
      {session.accountId !== session.account.id ? (
        <Notice>
          You act for an organisation: the API keys, the webhooks and the download below are its own.
        </Notice>
      ) : null}
      <ProfileCard />
      <SessionsCard />
      <KeysCard />
      <WebhooksCard />
      <OrgsCard />
      <LeaveCard email={session.account.email} />
    </Page>
  );
}

function ProfileCard() {
  const session = useSession();
  const known = session.state === "signed-in" ? session.account : null;
  const [name, setName] = useState(known?.name ?? "");
  const [email, setEmail] = useState(known?.email ?? "");
  const [said, setSaid] = useState<string | null>(null);
  const save = useAction(async () => {
    setSaid(null);
    const moved = email.trim() !== known?.email ? email.trim() : undefined;
    const changed = await api.change({ name: name.trim() || null, email: moved });
    session.signedIn(changed.account);
    setSaid(changed.email_pending ? `A link to confirm it is on its way to ${moved}.` : "Saved.");
  });
  return (
    <Card label="You">
      <h2>You</h2>
      <form
        className={css.row}
        onSubmit={(event) => {
          event.preventDefault();
          save.run();
        }}
      >
        <TextField
          label="Name"
          value={name}
          maxLength={80}
          autoComplete="name"
          onChange={(event) => setName(event.target.value)}
        />
        <TextField
          label="Mail address"
          type="email"
          value={email}
          autoComplete="email"
          required
          onChange={(event) => setEmail(event.target.value)}
        />
        <Button type="submit" look="primary" busy={save.busy}>
          Save
        </Button>
      </form>
      {save.error ? <Notice tone="bad">{errorText(save.error)}</Notice> : null}
      {said ? <Notice tone="good">{said}</Notice> : null}
    </Card>
  );
}

function SessionsCard() {
  const sessions = usePages(
    useCallback(
      (cursor: string | null, signal: AbortSignal) => api.sessions({ limit: 20, cursor }, signal),
      [],
    ),
  );
  const end = useAction(async (id: string) => {
    await api.endSession(id);
    sessions.remove((one) => one.id === id);
  });
  return (
    <Card label="Where you are signed in">
      <h2>Where you are signed in</h2>
      {sessions.error || end.error ? (
        <Notice tone="bad">{errorText(sessions.error ?? end.error)}</Notice>
      ) : null}
      <ul className={css.list}>
        {sessions.items.map((one) => (
          <li key={one.id} className={css.item}>
            <div className={css.words}>
              <span title={one.user_agent ?? undefined}>{browserName(one.user_agent)}</span>
              <p className={css.hint}>
                Since {when(one.created_at)}
                {one.current ? " · this browser" : ""}
              </p>
            </div>
            {one.current ? null : (
              <Button
                aria-label={`Sign out ${browserName(one.user_agent)}, since ${when(one.created_at)}`}
                onClick={() => end.run(one.id)}
                busy={end.busy}
              >
                Sign out
              </Button>
            )}
          </li>
        ))}
      </ul>
      {sessions.more ? (
        <div>
          <Button onClick={sessions.loadMore} busy={sessions.busy}>
            Load more
          </Button>
        </div>
      ) : null}
    </Card>
  );
}

function LeaveCard({ email }: { email: string }) {
  const [asking, setAsking] = useState(false);
  const [confirm, setConfirm] = useState("");
  const leave = useAction(async () => {
    await api.remove(confirm);
    window.location.assign("/");
  });
  const download = useAction(() => saveExport());
  return (
    <Card label="Your data">
      <h2>Your data</h2>
      {download.error ? <Notice tone="bad">{errorText(download.error)}</Notice> : null}
      <div className={css.item}>
        <p className={css.words}>Everything of the account as a file: jobs, pictures, history, keys.</p>
        <Button onClick={download.run} busy={download.busy}>
          Download
        </Button>
      </div>
      <div className={css.item}>
        <p className={css.words}>
          Deleting the account removes its pictures and links for good. Credits are gone with it.
        </p>
        <Button look="danger" onClick={() => setAsking(true)}>
          Delete the account
        </Button>
      </div>
      {asking ? (
        <Dialog
          title="Delete your account?"
          onClose={() => setAsking(false)}
          actions={
            <>
              <Button onClick={() => setAsking(false)}>Keep it</Button>
              <Button look="danger" onClick={leave.run} busy={leave.busy}>
                Delete it for good
              </Button>
            </>
          }
        >
          <TextField
            label={`Type ${email} to confirm`}
            value={confirm}
            autoComplete="off"
            onChange={(event) => setConfirm(event.target.value)}
          />
          {leave.error ? <Notice tone="bad">{errorText(leave.error)}</Notice> : null}
        </Dialog>
      ) : null}
    </Card>
  );
}
