// Asks for a mail address and says that a link is on its way. The answer is the same for every address, so
// that nobody learns here who has an account.
import { type FormEvent, useState } from "react";
import { Link, useLocation } from "react-router";
import { errorText, fieldError } from "../../api/client";
import { auth } from "../../api/endpoints";
import { Button } from "../../ui/button";
import { TextField } from "../../ui/field";
import { MailIcon } from "../../ui/icons";
import { Notice } from "../../ui/notice";
import { Card, Page } from "../../ui/page";
import { useAction } from "../../ui/use-load";
import { rememberReturn } from "./return-to";
import css from "./sign-in.module.css";

export function SignInPage({ ended = false }: { ended?: boolean }) {
  const location = useLocation();
  const [email, setEmail] = useState("");
  const [sentTo, setSentTo] = useState<string | null>(null);

  const send = useAction(async () => {
    const address = email.trim();
    await auth.requestLink(address);
    // An invite is its query.
    rememberReturn(location.pathname + location.search);
    setSentTo(address);
  });

  if (sentTo) {
    return (
      <Page title="Check your mail" width="narrow">
        <Card>
          <div className={css.sent} role="status">
            <MailIcon size={36} />
            <p>
              A link to sign in is on its way to <strong className={css.address}>{sentTo}</strong>. It works
              once and for 15 minutes.
            </p>
            <p className={css.hint}>Nothing there? Look in the spam folder, or check the address.</p>
          </div>
          {send.error ? <Notice tone="bad">{errorText(send.error)}</Notice> : null}
          <div className={css.buttons}>
            <Button onClick={send.run} busy={send.busy}>
              Send another link
            </Button>
            <Button look="quiet" onClick={() => setSentTo(null)}>
              Use another address
            </Button>
          </div>
        </Card>
      </Page>
    );
  }

  const wrongAddress = fieldError(send.error, "email");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    send.run();
  };
  return (
    <Page
      title="Sign in"
      width="narrow"
      intro="Turn a small photo into a large, clean picture. Type your mail address and we send you a link; there is no password."
    >
      {ended ? <Notice>Your session is over. Sign in again to go on where you were.</Notice> : null}
      <Card>
        <form className={css.form} onSubmit={submit}>
          <TextField
            label="Mail address"
            type="email"
            name="email"
            autoComplete="email"
            inputMode="email"
            required
            value={email}
            onChange={(event) => setEmail(event.target.value)}
            error={wrongAddress}
          />
          {send.error && !wrongAddress ? <Notice tone="bad">{errorText(send.error)}</Notice> : null}
          <Button type="submit" look="primary" busy={send.busy}>
            Send me a link
          </Button>
        </form>
      </Card>
      <p className={css.other}>
        Only one photo? <Link to="/guest">Try it without an account</Link> and pay by card.
      </p>
    </Page>
  );
}
