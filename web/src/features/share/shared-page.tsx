// What a share link opens, for anyone: the picture, when it was made, and a way to keep it.
import { useCallback, useState } from "react";
import { useParams } from "react-router";
import { ApiError, errorText } from "../../api/client";
import { shares } from "../../api/endpoints";
import { Button, ButtonLink } from "../../ui/button";
import { fileSize, onDay } from "../../ui/format";
import { DownloadIcon } from "../../ui/icons";
import { Notice } from "../../ui/notice";
import { Card, Page } from "../../ui/page";
import { Progress } from "../../ui/progress";
import { useAction, useLoad } from "../../ui/use-load";
import { saveFrom } from "../job/download";
import { downloadName, mainPicture } from "../job/job-view";
import css from "./share.module.css";

export function SharedPage() {
  const { token = "" } = useParams();
  const { data, error, reload } = useLoad(
    useCallback((signal: AbortSignal) => shares.open(token, signal), [token]),
  );
  const [broken, setBroken] = useState(false);

  const download = useAction(async () => {
    const file = mainPicture((await shares.open(token)).artifacts);
    if (file?.url) await saveFrom(file.url, downloadName(token, file.content_type));
  });

  if (error) {
    const gone = error instanceof ApiError && (error.status === 404 || error.status === 410);
    return (
      <Page title={gone ? "This link no longer works" : "The picture can't be shown"} width="narrow">
        {gone ? (
          <p>It has run out, or whoever sent it has stopped sharing the picture.</p>
        ) : (
          <Notice tone="bad" action={<Button onClick={reload}>Try again</Button>}>
            {errorText(error)}
          </Notice>
        )}
        <div>
          <ButtonLink to="/">What is Kiln?</ButtonLink>
        </div>
      </Page>
    );
  }
  if (!data) {
    return (
      <Page title="A shared picture">
        <Progress label="Loading the picture" value={null} />
      </Page>
    );
  }
  const picture = mainPicture(data.artifacts);
  return (
    <Page title="A shared picture">
      <Card label="The picture">
        {picture?.url && !broken ? (
          <div className={css.picture}>
            <img src={picture.url} alt="The shared one" onError={() => setBroken(true)} />
          </div>
        ) : (
          <Notice
            tone="bad"
            action={
              <Button
                onClick={() => {
                  setBroken(false);
                  reload();
                }}
              >
                Try again
              </Button>
            }
          >
            The picture did not load.
          </Notice>
        )}
        <div className={css.row}>
          <p className={css.facts}>
            Made on {onDay(data.created_at)}
            {picture ? ` · ${fileSize(picture.bytes)}` : ""}
          </p>
          <div className={css.buttons}>
            <ButtonLink to="/">Make your own</ButtonLink>
            <Button look="primary" onClick={download.run} busy={download.busy} disabled={!picture?.url}>
              <DownloadIcon />
              Download
            </Button>
          </div>
        </div>
        {download.error ? <Notice tone="bad">{errorText(download.error)}</Notice> : null}
      </Card>
    </Page>
  );
}
