// The jobs that have not ended yet, as a way back to them. A list doesn't say how many wait before each.
import { useCallback } from "react";
import { Link } from "react-router";
import { jobs } from "../../api/endpoints";
import { when } from "../../ui/format";
import { useLoad } from "../../ui/use-load";
import { doing, ended, settingsText, title } from "../job/job-view";
import css from "./creations.module.css";

export function InProgress() {
  // Its errors stay unsaid: the list of creations on the same page asks the same server, and says them.
  const { data } = useLoad(useCallback((signal: AbortSignal) => jobs.list({ limit: 20 }, signal), []));
  const open = data?.items.filter((job) => !ended(job)) ?? [];
  if (open.length === 0) return null;
  return (
    <section className={css.section} aria-labelledby="in-progress">
      <h2 id="in-progress">Under way</h2>
      <ul className={css.jobs}>
        {open.map((job) => (
          <li key={job.id}>
            <Link to={`/jobs/${job.id}`}>
              <span className={css.name}>{settingsText(job.params)}</span>
              <span className={css.facts}>
                {job.state === "queued" ? title(job) : doing(job)} · {when(job.created_at)}
              </span>
            </Link>
          </li>
        ))}
      </ul>
    </section>
  );
}
