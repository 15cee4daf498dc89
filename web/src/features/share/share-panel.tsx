// Makes a public link to one picture, and takes back all that there are. A link is shown once, here: the server
// keeps only its hash; that links made earlier still work is said.
import { useCallback, useState } from "react";
import { ApiError, errorText, newIdempotencyKey } from "../../api/client";
import { shares } from "../../api/endpoints";
import type { Job, Share } from "../../api/types";
import { Button } from "../../ui/button";
import { CopyField } from "../../ui/copy-field";
import { onDay, when } from "../../ui/format";
import { ShareIcon } from "../../ui/icons";
import { Notice } from "../../ui/notice";
import { Card } from "../../ui/page";
import { Spoken } from "../../ui/spoken";
import { useAction, useLoad } from "../../ui/use-load";
import { linksOf } from "./links-of";
import css from "./share.module.css";

export function SharePanel({ job }: { job: Pick<Job, "id" | "created_at"> }) {
  const { id, created_at } = job;
  const known = useLoad(
    useCallback((signal: AbortSignal) => linksOf({ id, created_at }, signal), [id, created_at]),
  );
  const [share, setShare] = useState<Share | null>(null);
  const [stopped, setStopped] = useState<readonly string[]>([]);
  const [key, setKey] = useState(newIdempotencyKey);
  const earlier = (known.data ?? []).filter((one) => one.id !== share?.id && !stopped.includes(one.id));

  const create = useAction(async () => {
    let made = await shares.create(id, key);
    if (!made.url) {
      // The answer with the link was lost on the way, and a repeat may not tell it again: that link is taken
      // back, so that none works which nobody knows, and a new one is made.
      await shares.remove(made.id);
      made = await shares.create(id, newIdempotencyKey());
    }
    setShare(made);
  });

  const stop = useAction(async () => {
    for (const one of [...(share ? [share] : []), ...earlier]) {
      try {
        await shares.remove(one.id);
      } catch (error) {
        // Another tab was faster; gone is gone.
        if (!(error instanceof ApiError && error.status === 404)) throw error;
      }
      setStopped((before) => [...before, one.id]);
    }
    setShare(null);
    // The next link is a new one, not a repeat of this.
    setKey(newIdempotencyKey());
  });

  return (
    <Card label="Share">
      {share ? (
        <>
          <h2>Shared</h2>
          <CopyField
            key={share.id}
            label="Link to the picture"
            value={share.url ?? ""}
            hint={
              share.expires_at
                ? `It works until ${onDay(share.expires_at)}, or until you stop sharing. It is shown only now.`
                : "It works until you stop sharing. It is shown only now."
            }
          />
          <Spoken>The link is ready</Spoken>
        </>
      ) : (
        <div className={css.row}>
          <div className={css.words}>
            <h2>{earlier.length > 0 ? "Shared" : "Share it"}</h2>
            <p>Anyone with the link sees this picture, and nothing else of yours.</p>
          </div>
          <Button onClick={create.run} busy={create.busy}>
            <ShareIcon />
            {earlier.length > 0 ? "Another link" : "Share"}
          </Button>
        </div>
      )}
      {create.error ? <Notice tone="bad">{errorText(create.error)}</Notice> : null}
      {share || earlier.length > 0 ? (
        <div className={css.row}>
          <p className={css.facts}>{earlier.length > 0 ? earlierText(earlier) : ""}</p>
          <Button look="danger" onClick={stop.run} busy={stop.busy}>
            Stop sharing
          </Button>
        </div>
      ) : null}
      {stop.error ? <Notice tone="bad">{errorText(stop.error)}</Notice> : null}
      {known.error ? (
        <Notice tone="bad" action={<Button onClick={known.reload}>Try again</Button>}>
          Whether earlier links to this picture still work can't be told just now. {errorText(known.error)}
        </Notice>
      ) : null}
    </Card>
  );
}

/** Newest first, as the API lists them. */
function earlierText(links: readonly { created_at: string }[]): string {
  const newest = links[0] ? when(links[0].created_at) : "";
  return links.length === 1
    ? `A link made on ${newest} works.`
    : `${links.length} earlier links work, the newest made on ${newest}.`;
}
