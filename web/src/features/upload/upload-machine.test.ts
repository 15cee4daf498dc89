import { expect, test } from "vitest";
import type { Upload } from "../../api/types";
import type { PhotoFacts } from "./check-photo";
import { EMPTY, next, type UploadEvent, type UploadState } from "./upload-machine";

const file = new File([new Uint8Array(100)], "lake.jpg");
const facts: PhotoFacts = { contentType: "image/jpeg", width: 10, height: 10 };
const upload = { id: "upl_1", state: "ready" } as Upload;
const after = (...events: UploadEvent[]): UploadState => events.reduce(next, EMPTY);

const chosen = (run: number): UploadEvent => ({ run, event: "chosen", file });
const checked = (run: number): UploadEvent => ({ run, event: "checked", facts });
const arrived = (run: number): UploadEvent => ({ run, event: "arrived" });
const verified = (run: number): UploadEvent => ({ run, event: "verified", upload });
const failed = (run: number, retry: boolean): UploadEvent => ({ run, event: "failed", reason: "no", retry });

test("a good photo goes from chosen to ready", () => {
  expect(after(chosen(1)).step).toBe("checking");
  expect(after(chosen(1), checked(1)).step).toBe("sending");
  expect(after(chosen(1), checked(1), arrived(1)).step).toBe("verifying");
  expect(after(chosen(1), checked(1), arrived(1), verified(1))).toMatchObject({
    step: "ready",
    upload,
    file,
  });
});

test("a refused file leaves the page empty, with the reason", () => {
  expect(after(chosen(1), { run: 1, event: "refused", reason: "a GIF" })).toEqual({
    step: "empty",
    run: 1,
    refusal: "a GIF",
  });
});

test("progress never runs backwards and never past the file", () => {
  const sent = (bytes: number): UploadEvent => ({ run: 1, event: "sent", bytes });
  expect(after(chosen(1), checked(1), sent(60), sent(40))).toMatchObject({ sent: 60 });
  expect(after(chosen(1), checked(1), sent(140))).toMatchObject({ sent: 100 });
});

test("news of an older file changes nothing", () => {
  const now = after(chosen(1), checked(1), chosen(2));
  for (const late of [checked(1), arrived(1), verified(1), failed(1, true), chosen(1)]) {
    expect(next(now, late)).toBe(now);
  }
});

test("a photo that was put away stays away", () => {
  const now = after(chosen(1), checked(1), { run: 2, event: "cleared" });
  expect(now.step).toBe("empty");
  expect(next(now, verified(1))).toBe(now);
});

test("only a failure that may pass can be tried again", () => {
  const passing = after(chosen(1), checked(1), failed(1, true));
  expect(next(passing, { run: 2, event: "retried" })).toMatchObject({ step: "sending", run: 2, sent: 0 });
  const final = after(chosen(1), checked(1), arrived(1), failed(1, false));
  expect(next(final, { run: 2, event: "retried" })).toBe(final);
});

test("no event makes an upload ready that was not being verified", () => {
  for (const state of [
    EMPTY,
    after(chosen(1)),
    after(chosen(1), checked(1)),
    after(chosen(1), checked(1), failed(1, true)),
  ]) {
    expect(next(state, { ...verified(1), run: state.run }).step).not.toBe("ready");
  }
});
