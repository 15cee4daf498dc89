// The studio's start: a photo goes in, its options and price are shown, a job comes out. Below, what is
// under way and what was made before.
import { Notice } from "../../ui/notice";
import { Page } from "../../ui/page";
import { InProgress } from "../creations/in-progress";
import { RecentCreations } from "../creations/recent-creations";
import { DropZone, useDroppedFile } from "./drop-zone";
import { OptionsCard } from "./options-card";
import { PhotoCard } from "./photo-card";
import css from "./upload.module.css";
import { useUpload } from "./use-upload";

export function NewPicturePage() {
  const control = useUpload();
  const { state } = control;
  useDroppedFile(control.choose);

  if (state.step === "empty") {
    return (
      <Page
        title="Make a photo larger"
        intro="Two, three or four times the size, with clean edges and fine detail instead of blocks and blur."
      >
        {state.refusal ? <Notice tone="bad">{state.refusal}</Notice> : null}
        <DropZone onFile={control.choose} />
        <InProgress />
        <RecentCreations />
      </Page>
    );
  }

  // A photo that the server refused gets no options: there is nothing to buy.
  const refused = state.step === "failed" && !state.retry;
  return (
    <Page title="Make a photo larger">
      <div className={css.columns} data-single={refused || undefined}>
        <PhotoCard control={control} />
        {refused ? null : (
          <OptionsCard file={state.file} upload={state.step === "ready" ? state.upload : null} />
        )}
      </div>
    </Page>
  );
}
