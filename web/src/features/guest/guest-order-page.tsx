// A guest's order, for whoever has its link: the payment, the work, and the picture to keep.
import { useEffect, useMemo } from "react";
import { useParams } from "react-router";
import { errorText, sentence } from "../../api/client";
import { guest as api } from "../../api/endpoints";
import type { GuestOrder, Job } from "../../api/types";
import { ButtonLink } from "../../ui/button";
import { money } from "../../ui/money";
import { Notice } from "../../ui/notice";
import { Card, Page } from "../../ui/page";
import { Progress } from "../../ui/progress";
import { Spoken } from "../../ui/spoken";
import { slowing, useFollow } from "../../ui/use-follow";
import { PlayMoneyNotice } from "../credits/play-money-notice";
import css from "../job/job.module.css";
import { JobProgress } from "../job/job-progress";
import { mainPicture, spoken } from "../job/job-view";
import { ResultCard } from "../job/result-card";
import { POLL_MS } from "../job/use-job";
import { isOver, stepOf, titleOf } from "./guest-text";
import { takeCheckout } from "./left-checkout";

/** Answers after which a payment is no longer told "in a moment": about 20 seconds. */
const LONG = 18;

export function GuestOrderPage() {
  const { token = "" } = useParams();
  return <OneOrder key={token} token={token} />;
}

function OneOrder({ token }: { token: string }) {
  const question = useMemo(
    () => ({
      ask: (signal: AbortSignal) => api.order(token, signal),
      over: isOver,
      // A job goes on: it is asked for each second. A payment that takes long is not.
      everyMs: (answers: number, order: GuestOrder | null) =>
        order && stepOf(order) === "working" ? POLL_MS : slowing(answers),
    }),
    [token],
  );
  const { value: order, error, lost, answers, refresh } = useFollow<GuestOrder>(question);
  // Who is here has not left the checkout.
  useEffect(() => void takeCheckout(0), []);

  if (error) {
    const missing = error.status === 404;
    return (
      <Page title={missing ? "No such order" : "This order can't be shown"} width="narrow">
        <Notice tone="bad">
          {missing
            ? "The address is not complete, or the order is no longer kept. Open the link in the mail again."
            : errorText(error)}
        </Notice>
        <Again />
      </Page>
    );
  }
  if (!order) {
    return (
      <Page title="Your picture">
        {lost ? <Lost /> : null}
        <Progress label="Loading the order" value={null} />
      </Page>
    );
  }
  const step = stepOf(order);
  return (
    <Page title={titleOf(step)}>
      {lost ? <Lost /> : null}
      {step === "paying" ? <Paying long={answers >= LONG} /> : null}
      {step === "working" ? <Working job={order.job ?? null} /> : null}
      {step === "ready" && order.job ? <Ready token={token} job={order.job} refresh={refresh} /> : null}
      {step === "refunded" ? <Refunded order={order} /> : null}
      {step === "expired" ? (
        <>
          <p>The checkout ran out without a payment. Nothing was charged, and nothing was made.</p>
          <Again />
        </>
      ) : null}
      {step === "mismatch" ? (
        <Notice tone="bad">
          What was paid is not what is asked, so the work has not begun. Somebody is looking at it; your money
          is not lost. Keep this page’s address: order {order.order_id}.
        </Notice>
      ) : null}
      {step === "gone" ? (
        <>
          <p>It was delivered, and its time to be kept is over.</p>
          <Again />
        </>
      ) : null}
      {step === "paying" || step === "working" ? <PlayMoneyNotice /> : null}
    </Page>
  );
}

function Lost() {
  return <Notice>The connection to Kiln is lost; trying again. Your order goes on without it.</Notice>;
}

function Again() {
  return (
    <div className={css.buttons}>
      <ButtonLink look="primary" to="/guest">
        Start with a photo
      </ButtonLink>
    </div>
  );
}

function Paying({ long }: { long: boolean }) {
  return (
    <Card label="Payment">
      <Progress label="Waiting for the payment" value={null} />
      {long ? (
        <Notice>
          We have not heard of the payment yet. A bank debit takes days; a card takes moments. If you left the
          checkout, nothing was charged. The link to this page was mailed to you if you paid: you needn’t
          stay.
        </Notice>
      ) : (
        <p role="status">Payment received; the work begins as soon as it is confirmed.</p>
      )}
    </Card>
  );
}

function Working({ job }: { job: Job | null }) {
  return (
    <Card label="Progress">
      {job ? <Spoken>{spoken(job)}</Spoken> : null}
      <JobProgress job={job} before="The payment is here; the work begins" />
      <p className={css.hint}>
        You can close this page: the work goes on, and the link to the result comes by mail. If it does not
        work out, the money goes back by itself.
      </p>
    </Card>
  );
}

interface ReadyProps {
  token: string;
  job: Job;
  refresh: () => void;
}

function Ready({ token, job, refresh }: ReadyProps) {
  const picture = mainPicture(job.artifacts);
  if (!picture?.url) return null;
  return (
    <ResultCard
      job={job}
      url={picture.url}
      bytes={picture.bytes}
      refresh={refresh}
      ask={async () => (await api.order(token)).job}
      another="/guest"
    >
      <p className={css.hint}>Whoever has this page’s address sees the picture. It was mailed to you too.</p>
    </ResultCard>
  );
}

function Refunded({ order }: { order: GuestOrder }) {
  const sum = money(order.amount, order.currency);
  return (
    <>
      <Notice tone="bad">
        {sentence(order.job?.error?.message ?? "the picture could not be made")}{" "}
        {order.settled === "refunded"
          ? `Your ${sum} is on its way back; a bank takes some days to show it.`
          : `Your ${sum} goes back by itself.`}
      </Notice>
      <Again />
    </>
  );
}
