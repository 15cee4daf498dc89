// The picture that a job made: beside its original, with what it is, and saved under a telling name.
import { type ReactNode, useRef, useState } from "react";
import { errorText } from "../../api/client";
import type { Job } from "../../api/types";
import { Button, ButtonLink } from "../../ui/button";
import { fileSize } from "../../ui/format";
import { DownloadIcon } from "../../ui/icons";
import { Notice } from "../../ui/notice";
import { Card } from "../../ui/page";
import { useAction } from "../../ui/use-load";
import { useOriginal } from "../upload/use-original";
import { BeforeAfter } from "./before-after";
import { saveFrom } from "./download";
import css from "./job.module.css";
import { downloadName, mainPicture, settingsText } from "./job-view";

interface ResultCardProps {
  job: Job;
  /** The picture on the page; its URL is short-lived. */
  url: string;
  bytes: number;
  /** Brings a fresh `url`, where the one on the page has run out. */
  refresh: () => void;
  /** The job as it is now, for a file that is sure to be there. */
  ask: () => Promise<Job | null | undefined>;
  /** What the photo was called, where that can be known. */
  photoName?: () => Promise<string | undefined>;
  /** What else there is to know of it, after its settings and size. */
  facts?: readonly string[];
  /** Where the next photo begins. */
  another: string;
  children?: ReactNode;
}

export function ResultCard({
  job,
  url,
  bytes,
  refresh,
  ask,
  photoName,
  facts = [],
  another,
  children,
}: ResultCardProps) {
  const original = useOriginal(job);
  const [broken, setBroken] = useState(false);
  const renewed = useRef(false);

  const download = useAction(async () => {
    // The URL on the page may be older than it lives.
    const file = mainPicture((await ask())?.artifacts ?? []);
    if (!file?.url) return;
    const name = downloadName(job.id, file.content_type, await photoName?.(), job.params.scale);
    await saveFrom(file.url, name);
  });

  return (
    <Card label="The picture">
      {broken ? (
        <Notice
          tone="bad"
          action={
            <Button
              onClick={() => {
                setBroken(false);
                refresh();
              }}
            >
              Try again
            </Button>
          }
        >
          The picture did not load.
        </Notice>
      ) : (
        <BeforeAfter
          before={original}
          after={url}
          onBroken={() => {
            if (renewed.current) setBroken(true);
            else {
              renewed.current = true;
              refresh();
            }
          }}
        />
      )}
      <div className={css.foot}>
        <span>{[settingsText(job.params), fileSize(bytes), ...facts].join(" · ")}</span>
        <div className={css.buttons}>
          <ButtonLink to={another}>Another photo</ButtonLink>
          <Button look="primary" onClick={download.run} busy={download.busy}>
            <DownloadIcon />
            Download
          </Button>
        </div>
      </div>
      {download.error ? <Notice tone="bad">{errorText(download.error)}</Notice> : null}
      {children}
    </Card>
  );
}
