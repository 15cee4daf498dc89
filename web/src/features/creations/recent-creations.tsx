// The newest few creations, below the drop zone. Says nothing where there are none.
import { useCallback } from "react";
import { Link } from "react-router";
import { errorText } from "../../api/client";
import { creations as api } from "../../api/endpoints";
import { Button } from "../../ui/button";
import { Notice } from "../../ui/notice";
import { useLoad } from "../../ui/use-load";
import { CreationCard } from "./creation-card";
import css from "./creations.module.css";

export function RecentCreations() {
  const { data, error, reload } = useLoad(
    useCallback((signal: AbortSignal) => api.list({ limit: 4 }, signal), []),
  );
  if (error) {
    return (
      <Notice tone="bad" action={<Button onClick={reload}>Try again</Button>}>
        {errorText(error)}
      </Notice>
    );
  }
  if (!data || data.items.length === 0) return null;
  return (
    <section className={css.section} aria-labelledby="recent">
      <div className={css.head}>
        <h2 id="recent">Earlier creations</h2>
        <Link to="/creations">See all</Link>
      </div>
      <ul className={css.grid}>
        {data.items.map((creation) => (
          <CreationCard key={creation.id} creation={creation} />
        ))}
      </ul>
    </section>
  );
}
