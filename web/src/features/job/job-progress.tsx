// How far a job is: what is going on in words, and the bar.
import type { Job } from "../../api/types";
import { percent } from "../../ui/format";
import { Progress } from "../../ui/progress";
import css from "./job.module.css";
import { doing } from "./job-view";

interface JobProgressProps {
  job: Job | null;
  /** What is said while there is no job yet. */
  before?: string;
}

export function JobProgress({ job, before = "" }: JobProgressProps) {
  const running = job?.state === "running";
  return (
    <>
      <div className={css.line}>
        <strong data-testid="doing">{job ? doing(job) : before}</strong>
        {running ? <span className={css.number}>{percent(job.progress)}</span> : null}
      </div>
      <Progress label="Progress of the job" value={running ? job.progress : null} />
    </>
  );
}
