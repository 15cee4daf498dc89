// One photo without an account: upload, options, price, mail address, and off to pay. The session of a guest begins
// with the first photo, so that looking at the page makes nothing.
import { useCallback, useState } from "react";
import { Link } from "react-router";
import { guest as api } from "../../api/endpoints";
import { Button, ButtonLink } from "../../ui/button";
import { money } from "../../ui/money";
import { Notice } from "../../ui/notice";
import { Page } from "../../ui/page";
import { Progress } from "../../ui/progress";
import { leaveFor } from "../credits/play-money";
import { PlayMoneyNotice } from "../credits/play-money-notice";
import { useSession } from "../sign-in/session";
import { DropZone, useDroppedFile } from "../upload/drop-zone";
import { PhotoCard } from "../upload/photo-card";
import css from "../upload/upload.module.css";
import { useUpload } from "../upload/use-upload";
import own from "./guest.module.css";
import { GuestCard } from "./guest-card";
import { type LeftCheckout, rememberCheckout, takeCheckout } from "./left-checkout";

export function GuestPage() {
  const session = useSession();
  if (session.state === "unknown") {
    return (
      <Page title="One photo, no account">
        <Progress label="Loading" value={null} />
      </Page>
    );
  }
  if (session.state === "signed-in") {
    return (
      <Page
        title="You have an account"
        width="narrow"
        intro={`You are signed in as ${session.account.email}.`}
      >
        <p>With an account a picture costs credits, and all that you made stays together.</p>
        <div>
          <ButtonLink look="primary" to="/">
            To the studio
          </ButtonLink>
        </div>
      </Page>
    );
  }
  return <Visit />;
}

function Visit() {
  const session = useSession();
  const hasSession = session.state === "signed-out" && session.guest;
  const { guestBegan } = session;
  const begin = useCallback(async () => {
    if (hasSession) return;
    await api.begin();
    guestBegan();
  }, [hasSession, guestBegan]);
  const control = useUpload(begin);
  const { state } = control;
  useDroppedFile(control.choose);
  const [left, setLeft] = useState(() => takeCheckout(Date.now()));

  if (state.step === "empty") {
    return (
      <Page
        title="One photo, no account"
        intro="Two, three or four times the size, with clean edges and fine detail. You see the price first, pay by card, and get a link to the result by mail. If it does not work out, the money goes back by itself."
      >
        {left ? <Left checkout={left} forget={() => setLeft(null)} /> : null}
        {state.refusal ? <Notice tone="bad">{state.refusal}</Notice> : null}
        <DropZone onFile={control.choose} />
        <PlayMoneyNotice />
        <p className={css.dropHint}>
          More than one photo? <Link to="/">Sign in</Link>: with credits each costs less, and new accounts get
          some for free.
        </p>
      </Page>
    );
  }

  const refused = state.step === "failed" && !state.retry;
  return (
    <Page title="One photo, no account">
      <div className={css.columns} data-single={refused || undefined}>
        <PhotoCard control={control} />
        {refused ? null : (
          <GuestCard
            upload={state.step === "ready" ? state.upload : null}
            restart={control.clear}
            leaving={(checkout) => {
              rememberCheckout({ ...checkout, photo: state.file.name });
              leaveFor(checkout.url);
            }}
          />
        )}
      </div>
      <PlayMoneyNotice />
    </Page>
  );
}

function Left({ checkout, forget }: { checkout: LeftCheckout; forget: () => void }) {
  const back = () => {
    rememberCheckout(checkout);
    leaveFor(checkout.url);
  };
  return (
    <Notice
      action={
        <div className={own.buttons}>
          <Button onClick={back}>Back to the checkout</Button>
          <Button look="quiet" onClick={forget}>
            Another photo
          </Button>
        </div>
      }
    >
      <strong>You left the checkout. Nothing was charged.</strong>{" "}
      {checkout.photo ? `${checkout.photo} waits` : "Your photo waits"} for a while; it can still be paid,{" "}
      {money(checkout.amount, checkout.currency)}.
    </Notice>
  );
}
