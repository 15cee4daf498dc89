// The chosen photo: what it looks like, how far its upload is, what went wrong, and the way to another one.
import { useEffect, useState } from "react";
import { Button } from "../../ui/button";
import { fileSize, percent, pixels } from "../../ui/format";
import { Notice } from "../../ui/notice";
import { Card } from "../../ui/page";
import { Progress } from "../../ui/progress";
import { Spoken } from "../../ui/spoken";
import css from "./upload.module.css";
import type { UploadControl } from "./use-upload";

export function PhotoCard({ control }: { control: UploadControl }) {
  const { state } = control;
  const file = state.step === "empty" ? null : state.file;
  const url = useObjectUrl(file);
  if (state.step === "empty" || !file) return null;

  const facts = state.step === "checking" ? null : state.facts;
  const upload = state.step === "ready" ? state.upload : null;
  const width = upload?.width ?? facts?.width;
  const height = upload?.height ?? facts?.height;

  return (
    <Card label="Your photo">
      <div className={css.frame}>{url ? <img src={url} alt="The one you chose" /> : null}</div>
      <div className={css.caption}>
        <div className={css.name}>
          <strong>{file.name || "Pasted photo"}</strong>
          <span>
            {width && height ? `${pixels(width, height)} · ` : ""}
            {fileSize(file.size)}
          </span>
        </div>
        <Button look="quiet" onClick={control.clear}>
          {state.step === "sending" || state.step === "verifying" ? "Stop" : "Another photo"}
        </Button>
      </div>
      {state.step === "sending" ? (
        <div className={css.progress}>
          <Progress label="Sending the photo" value={state.sent / state.file.size} />
          <span>Sending {percent(state.sent / state.file.size)}</span>
        </div>
      ) : null}
      {state.step === "checking" || state.step === "verifying" ? (
        <div className={css.progress}>
          <Progress label="Checking the photo" value={null} />
          <span>Checking the photo</span>
        </div>
      ) : null}
      {state.step === "failed" ? (
        <Notice tone="bad" action={state.retry ? <Button onClick={control.retry}>Try again</Button> : null}>
          {state.reason}
        </Notice>
      ) : null}
      {/* Said once, not with each percent. */}
      <Spoken>{SPOKEN[state.step]}</Spoken>
    </Card>
  );
}

const SPOKEN = {
  checking: "Checking the photo",
  sending: "Sending the photo",
  verifying: "The photo has arrived and is being checked",
  ready: "The photo is ready",
  failed: "",
};

function useObjectUrl(file: File | null): string | null {
  const [url, setUrl] = useState<string | null>(null);
  useEffect(() => {
    if (!file) {
      setUrl(null);
      return;
    }
    const mine = URL.createObjectURL(file);
    setUrl(mine);
    return () => URL.revokeObjectURL(mine);
  }, [file]);
  return url;
}
