// Makes a public link to one picture, and takes it back. The link is shown once, here: the server keeps only
// its hash.
import { useRef, useState } from "react";
import { errorText, newIdempotencyKey } from "../../api/client";
import { shares } from "../../api/endpoints";
import type { Share } from "../../api/types";
import { Button } from "../../ui/button";
import { TextField } from "../../ui/field";
import { onDay } from "../../ui/format";
import { ShareIcon } from "../../ui/icons";
import { Notice } from "../../ui/notice";
import { Card } from "../../ui/page";
import { Spoken } from "../../ui/spoken";
import { useAction } from "../../ui/use-load";
import css from "./share.module.css";

export function SharePanel({ jobId }: { jobId: string }) {
  const [share, setShare] = useState<Share | null>(null);
  const [copied, setCopied] = useState(false);
  const [key, setKey] = useState(newIdempotencyKey);
  const link = useRef<HTMLInputElement | null>(null);

  const create = useAction(async () => {
    setCopied(false);
    let made = await shares.create(jobId, key);
    if (!made.url) {
      // The answer with the link was lost on the way, and a repeat may not tell it again: that link is taken
      // back, so that none works which nobody knows, and a new one is made.
      await shares.remove(made.id);
      made = await shares.create(jobId, newIdempotencyKey());
    }
    setShare(made);
  });

  const stop = useAction(async () => {
    if (!share) return;
    await shares.remove(share.id);
    setShare(null);
    // The next link is a new one, not a repeat of this.
    setKey(newIdempotencyKey());
  });

  const copy = async () => {
    if (!share?.url) return;
    try {
      await navigator.clipboard.writeText(share.url);
      setCopied(true);
    } catch {
      // No right to the clipboard (or no TLS): the link is selected, for the person to copy.
      link.current?.select();
    }
  };

  if (!share) {
    return (
      <Card label="Share">
        <div className={css.row}>
          <div className={css.words}>
            <h2>Share it</h2>
            <p>Anyone with the link sees this picture, and nothing else of yours.</p>
          </div>
          <Button onClick={create.run} busy={create.busy}>
            <ShareIcon />
            Share
          </Button>
        </div>
        {create.error ? <Notice tone="bad">{errorText(create.error)}</Notice> : null}
      </Card>
    );
  }
  return (
    <Card label="Share">
      <h2>Shared</h2>
      <div className={css.link}>
        <TextField
          label="Link to the picture"
          value={share.url ?? ""}
          readOnly
          hint={
            share.expires_at
              ? `It works until ${onDay(share.expires_at)}, or until you stop sharing. It is shown only now.`
              : "It works until you stop sharing. It is shown only now."
          }
          onFocus={(event) => {
            link.current = event.target;
            event.target.select();
          }}
        />
        <Button look="primary" onClick={copy}>
          {copied ? "Copied" : "Copy"}
        </Button>
      </div>
      <Spoken>{copied ? "The link is copied" : "The link is ready"}</Spoken>
      <div>
        <Button look="danger" onClick={stop.run} busy={stop.busy}>
          Stop sharing
        </Button>
      </div>
      {stop.error ? <Notice tone="bad">{errorText(stop.error)}</Notice> : null}
    </Card>
  );
}
