// Everything that the account has made and kept, newest first; a creation can be deleted, for good.
import { useCallback, useState } from "react";
import { ApiError, errorText } from "../../api/client";
import { creations as api } from "../../api/endpoints";
import type { Creation } from "../../api/types";
import { Button, ButtonLink } from "../../ui/button";
import { Dialog } from "../../ui/dialog";
import { when } from "../../ui/format";
import { Notice } from "../../ui/notice";
import { Page } from "../../ui/page";
import { Progress } from "../../ui/progress";
import { Spoken } from "../../ui/spoken";
import { useAction } from "../../ui/use-load";
import { usePages } from "../../ui/use-pages";
import { settingsText } from "../job/job-view";
import { CreationCard } from "./creation-card";
import css from "./creations.module.css";

export function CreationsPage() {
  const list = usePages(
    useCallback((cursor: string | null, signal: AbortSignal) => api.list({ limit: 12, cursor }, signal), []),
  );
  const [doomed, setDoomed] = useState<Creation | null>(null);
  const [said, setSaid] = useState("");

  const remove = useAction(async (creation: Creation) => {
    try {
      await api.remove(creation.id);
    } catch (error) {
      // Another tab was faster; gone is gone.
      if (!(error instanceof ApiError && error.status === 404)) throw error;
    }
    list.remove((item) => item.id === creation.id);
    setDoomed(null);
    setSaid("Deleted");
  });

  return (
    <Page
      title="Creations"
      actions={
        <ButtonLink look="primary" to="/">
          New picture
        </ButtonLink>
      }
    >
      <Spoken>{said}</Spoken>
      {list.error ? (
        <Notice tone="bad" action={<Button onClick={list.reload}>Try again</Button>}>
          {errorText(list.error)}
        </Notice>
      ) : null}
      {list.first && list.busy ? <Progress label="Loading your creations" value={null} /> : null}
      {!list.first && list.items.length === 0 && !list.more ? (
        <p className={css.empty}>Nothing here yet. What you make is kept here.</p>
      ) : null}
      {list.items.length > 0 ? (
        <ul className={css.grid}>
          {list.items.map((creation) => (
            <CreationCard
              key={creation.id}
              creation={creation}
              onDelete={(wanted) => {
                remove.clear();
                setDoomed(wanted);
              }}
            />
          ))}
        </ul>
      ) : null}
      {list.more ? (
        <div className={css.more}>
          <Button onClick={list.loadMore} busy={list.busy}>
            Load more
          </Button>
        </div>
      ) : null}
      {doomed ? (
        <Dialog
          title="Delete this picture?"
          onClose={() => setDoomed(null)}
          actions={
            <>
              <Button onClick={() => setDoomed(null)} autoFocus>
                Keep it
              </Button>
              <Button look="danger" onClick={() => remove.run(doomed)} busy={remove.busy}>
                Delete
              </Button>
            </>
          }
        >
          <p>
            “{settingsText(doomed.params)}” of {when(doomed.created_at)} is deleted for good, and links that
            share it stop working.
          </p>
          {remove.error ? <Notice tone="bad">{errorText(remove.error)}</Notice> : null}
        </Dialog>
      ) : null}
    </Page>
  );
}
