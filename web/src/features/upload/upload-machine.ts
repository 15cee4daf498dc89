// The states of one upload and the only ways between them. Pure: effects live in use-upload.ts.
// Each choice of a file is a run with its own number; news of an older run changes nothing.
import type { Upload } from "../../api/types";
import type { PhotoFacts } from "./check-photo";

export type UploadState =
  | { step: "empty"; run: number; refusal: string | null }
  | { step: "checking"; run: number; file: File }
  | { step: "sending"; run: number; file: File; facts: PhotoFacts; sent: number }
  | { step: "verifying"; run: number; file: File; facts: PhotoFacts }
  | { step: "ready"; run: number; file: File; facts: PhotoFacts; upload: Upload }
  /** `retry`: the same file may succeed if it is sent again. */
  | { step: "failed"; run: number; file: File; facts: PhotoFacts; reason: string; retry: boolean };

export type UploadEvent = { run: number } & (
  | { event: "chosen"; file: File }
  | { event: "refused"; reason: string }
  | { event: "checked"; facts: PhotoFacts }
  | { event: "sent"; bytes: number }
  | { event: "arrived" }
  | { event: "verified"; upload: Upload }
  | { event: "failed"; reason: string; retry: boolean }
  | { event: "retried" }
  | { event: "cleared" }
);

export const EMPTY: UploadState = { step: "empty", run: 0, refusal: null };

export function next(state: UploadState, event: UploadEvent): UploadState {
  // A new choice is welcome in any state, if it is newer; everything else must be about the run on show.
  if (event.event === "chosen") {
    return event.run > state.run ? { step: "checking", run: event.run, file: event.file } : state;
  }
  if (event.event === "cleared") {
    return event.run > state.run ? { step: "empty", run: event.run, refusal: null } : state;
  }
  if (event.event === "retried") {
    if (state.step !== "failed" || !state.retry || event.run <= state.run) return state;
    return { step: "sending", run: event.run, file: state.file, facts: state.facts, sent: 0 };
  }
  if (event.run !== state.run) return state;

  switch (event.event) {
    case "refused":
      return state.step === "checking" ? { step: "empty", run: state.run, refusal: event.reason } : state;
    case "checked":
      return state.step === "checking"
        ? { step: "sending", run: state.run, file: state.file, facts: event.facts, sent: 0 }
        : state;
    case "sent":
      // Progress never runs backwards, and never past the file.
      return state.step === "sending"
        ? { ...state, sent: Math.min(state.file.size, Math.max(state.sent, event.bytes)) }
        : state;
    case "arrived":
      return state.step === "sending"
        ? { step: "verifying", run: state.run, file: state.file, facts: state.facts }
        : state;
    case "verified":
      return state.step === "verifying"
        ? { step: "ready", run: state.run, file: state.file, facts: state.facts, upload: event.upload }
        : state;
    case "failed":
      return state.step === "sending" || state.step === "verifying"
        ? {
            step: "failed",
            run: state.run,
            file: state.file,
            facts: state.facts,
            reason: event.reason,
            retry: event.retry,
          }
        : state;
  }
}
