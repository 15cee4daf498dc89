// One job, from the line it waits in to the picture to keep. Its address is all that a refresh needs.
import { type ReactNode, useCallback, useEffect, useMemo, useState } from "react";
import { useNavigate, useParams } from "react-router";
import { ApiError, errorText, newIdempotencyKey, sentence } from "../../api/client";
import { jobs, uploads } from "../../api/endpoints";
import type { Job, JobRequest } from "../../api/types";
import { Button, ButtonLink } from "../../ui/button";
import { credits, when } from "../../ui/format";
import { Notice } from "../../ui/notice";
import { Card, Page } from "../../ui/page";
import { Progress } from "../../ui/progress";
import { Spoken } from "../../ui/spoken";
import { useAction, useLoad } from "../../ui/use-load";
import { useBalance } from "../credits/balance";
import { SharePanel } from "../share/share-panel";
import { useOriginal } from "../upload/use-original";
import css from "./job.module.css";
import { JobProgress } from "./job-progress";
import { ended, mainPicture, settingsText, spoken, title } from "./job-view";
import { ResultCard } from "./result-card";
import { useJob } from "./use-job";

export function JobPage() {
  const { jobId = "" } = useParams();
  // The key: another job is another page, with nothing left over of this one.
  return <OneJob key={jobId} jobId={jobId} />;
}

function OneJob({ jobId }: { jobId: string }) {
  const { job, error, lost, tell, refresh } = useJob(jobId);
  const { refresh: refreshBalance } = useBalance();

  // The hold is closed in the same write that ends the job.
  const isOver = job !== null && ended(job);
  useEffect(() => {
    if (isOver) refreshBalance();
  }, [isOver, refreshBalance]);

  if (error) {
    const missing = error.status === 404;
    return (
      <Page title={missing ? "No such picture" : "This job can't be shown"} width="narrow">
        <Notice tone="bad">
          {missing ? "It was deleted, or the address is not complete." : errorText(error)}
        </Notice>
        <Onward />
      </Page>
    );
  }
  if (!job) {
    return (
      <Page title="Your picture">
        {lost ? <Lost /> : null}
        <Progress label="Loading the job" value={null} />
      </Page>
    );
  }
  const gone = job.state === "succeeded" && !mainPicture(job.artifacts)?.url;
  return (
    <Page title={gone ? "This picture is no longer kept" : title(job)}>
      <Spoken>{spoken(job)}</Spoken>
      {lost ? <Lost /> : null}
      {job.state === "succeeded" ? <Done job={job} refresh={refresh} /> : null}
      {job.state === "queued" || job.state === "running" ? <UnderWay job={job} tell={tell} /> : null}
      {job.state === "failed" ? (
        <>
          <Notice tone="bad">{sentence(job.error?.message ?? "the job failed without saying why")}</Notice>
          <NotCharged job={job} />
          {job.error?.retryable ? <Again job={job} /> : null}
          <Onward />
        </>
      ) : null}
      {job.state === "cancelled" ? (
        <>
          <NotCharged job={job} />
          <Onward />
        </>
      ) : null}
    </Page>
  );
}

function NotCharged({ job }: { job: Job }) {
  return <p>Nothing was charged: what was set aside, {credits(job.quote_millicredits)}, is yours again.</p>;
}

/** The same job once more, at the price of today. Shows nothing if that can't be had: the photo may be gone. */
function Again({ job }: { job: Job }) {
  const navigate = useNavigate();
  const { refresh } = useBalance();
  const [key] = useState(newIdempotencyKey);
  const request = useMemo(
    () => ({ kind: job.kind, params: job.params, inputs: job.inputs, priority: job.priority }) as JobRequest,
    [job.kind, job.params, job.inputs, job.priority],
  );
  const { data } = useLoad(useCallback((signal: AbortSignal) => jobs.quote(request, signal), [request]));
  const again = useAction(async () => {
    const next = await jobs.create(request, key);
    refresh();
    navigate(`/jobs/${next.id}`);
  });
  if (!data) return null;
  return (
    <>
      <p>This may pass by itself; trying once more can help.</p>
      <div>
        <Button onClick={again.run} busy={again.busy}>
          Try again for {credits(data.quote_millicredits)}
        </Button>
      </div>
      {again.error ? <Notice tone="bad">{errorText(again.error)}</Notice> : null}
    </>
  );
}

function Lost() {
  return <Notice>The connection to Kiln is lost; trying again. Your job goes on without it.</Notice>;
}

function Onward(): ReactNode {
  return (
    <div className={css.buttons}>
      <ButtonLink look="primary" to="/">
        Start with a photo
      </ButtonLink>
      <ButtonLink to="/creations">Your creations</ButtonLink>
    </div>
  );
}

function UnderWay({ job, tell }: { job: Job; tell: (job: Job) => void }) {
  const original = useOriginal(job);

  const cancel = useAction(async () => {
    try {
      tell(await jobs.cancel(job.id));
    } catch (error) {
      // It finished first: the next answer to the poll says how, and that is no error of the person's.
      if (error instanceof ApiError && error.status === 409) return;
      throw error;
    }
  });

  return (
    <Card label="Progress">
      {original ? (
        <div className={css.waiting}>
          <img src={original} alt="The one being worked on" />
        </div>
      ) : null}
      <JobProgress job={job} />
      <div className={css.foot}>
        <span>
          {settingsText(job.params)} · {credits(job.quote_millicredits)} set aside
        </span>
        <Button onClick={cancel.run} busy={cancel.busy}>
          Cancel
        </Button>
      </div>
      {cancel.error ? <Notice tone="bad">{errorText(cancel.error)}</Notice> : null}
      <p className={css.hint}>You can close this page: the job goes on, and its picture waits for you.</p>
    </Card>
  );
}

/** What the photo was called; a name that can't be had is no reason to keep the picture back. */
async function photoName(job: Job): Promise<string | undefined> {
  const [uploadId] = job.inputs;
  if (!uploadId) return undefined;
  return (await uploads.get(uploadId).catch(() => null))?.filename;
}

function Done({ job, refresh }: { job: Job; refresh: () => void }) {
  const picture = mainPicture(job.artifacts);
  if (!picture?.url) {
    return (
      <>
        <Notice tone="bad">It was finished and then deleted, or its time to be kept is over.</Notice>
        <Onward />
      </>
    );
  }
  return (
    <>
      <ResultCard
        job={job}
        url={picture.url}
        bytes={picture.bytes}
        refresh={refresh}
        ask={() => jobs.get(job.id)}
        photoName={() => photoName(job)}
        facts={[
          `${credits(job.charged_millicredits)} charged`,
          ...(job.finished_at ? [when(job.finished_at)] : []),
        ]}
        another="/"
      />
      <SharePanel job={job} />
    </>
  );
}
