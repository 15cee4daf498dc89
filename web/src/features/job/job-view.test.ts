import { expect, test } from "vitest";
import type { Job } from "../../api/types";
import { doing, downloadName, mainPicture, newer, settingsText, smallPicture, spoken } from "./job-view";

const job = (changes: Partial<Job>): Job => ({
  id: "job_1",
  kind: "upscale",
  state: "running",
  attempt: 1,
  progress: 0,
  stage: null,
  queue_position: null,
  quote_millicredits: 1000,
  charged_millicredits: 0,
  params: { scale: 2 },
  inputs: ["upl_1"],
  priority: "standard",
  seq: 1,
  artifacts: [],
  created_at: "2026-01-01T00:00:00Z",
  ...changes,
});

test("a finished job never changes back, however late an answer comes", () => {
  const done = job({ state: "cancelled", seq: 5 });
  expect(newer(done, job({ state: "running", seq: 4 }))).toBe(done);
});

test("a new attempt is believed though its progress starts again", () => {
  const second = job({ attempt: 2, progress: 0, seq: 9 });
  expect(newer(job({ attempt: 1, progress: 0.9, seq: 8 }), second)).toBe(second);
});

test("a fresh answer about a finished job brings fresh URLs", () => {
  const fresh = job({ state: "succeeded" });
  expect(newer(job({ state: "succeeded" }), fresh)).toBe(fresh);
  expect(newer(job({ id: "job_0", state: "succeeded" }), fresh)).toBe(fresh);
});

test("a place in line is said in words", () => {
  const queued = { state: "queued", stage: null, attempt: 0 } as const;
  expect(doing({ ...queued, queue_position: null })).toBe("A machine is being found");
  expect(doing({ ...queued, queue_position: 1 })).toBe("You are next in line");
  expect(doing({ ...queued, queue_position: 12 })).toBe("Number 12 in line");
  expect(doing({ ...queued, attempt: 1, queue_position: 1 })).toMatch(/^The machine was lost/);
});

test("a stage that the page has no words for is shown as it is", () => {
  expect(doing(job({ stage: "network" }))).toBe("Drawing the fine detail");
  expect(doing(job({ stage: "bake_normals" }))).toBe("Bake normals");
});

test("a screen reader hears quarters, not each percent", () => {
  expect(spoken(job({ stage: "network", progress: 0.26 }))).toBe(
    spoken(job({ stage: "network", progress: 0.49 })),
  );
  expect(spoken(job({ stage: "network", progress: 0.5 }))).toBe("Drawing the fine detail, 50 percent");
});

test("the picture to keep is no preview, and the picture to show small is no giant", () => {
  const preview = { name: "preview.webp", content_type: "image/webp", bytes: 9_000 };
  const big = { name: "result.png", content_type: "image/png", bytes: 9_000_000 };
  const facts = { name: "facts.json", content_type: "application/json", bytes: 10 };
  expect(mainPicture([facts, preview, big])).toBe(big);
  expect(smallPicture([facts, preview, big])).toBe(preview);
  expect(smallPicture([big])).toBeNull();
  expect(mainPicture([facts])).toBeNull();
});

test("settings read as a sentence would", () => {
  expect(settingsText({ scale: 2 })).toBe("2× larger");
  expect(settingsText({ scale: 4, auto_exposure: true, auto_white_balance: true, sharpen: 0.5 })).toBe(
    "4× larger, exposure and colours corrected, sharpened",
  );
  expect(settingsText(undefined)).toBe("Picture");
});

test("a download's name is safe, and tells two pictures apart", () => {
  const id = "job_01J8ZQ4M7W3N5R6T8V9X0Y1Z2A";
  expect(downloadName(id, "image/png")).toBe("kiln-0y1z2a.png");
  expect(downloadName(id, "image/png", "lake.at dawn.jpg", 2)).toBe("lake.at dawn-x2.png");
  expect(downloadName(id, "image/png", "../a:b\u0000.jpg", 4)).toBe(".._a_b_-x4.png");
  expect(downloadName(id, "image/png", ".jpg", 2)).toBe("kiln-0y1z2a.png");
});

test("a job that waits says for what, and about how long", () => {
  const waits = (waits_for: Job["waits_for"]) =>
    doing({ ...job({ state: "queued", attempt: 0, queue_position: 1 }), waits_for });
  expect(waits({ machine: "loading", boot_stage: "models", expected_start_s: 130, reason: null })).toBe(
    "A machine is loading its models, about 3 minutes",
  );
  expect(waits({ machine: "requested", boot_stage: null, expected_start_s: 60, reason: null })).toBe(
    "A machine is being rented, about 60 seconds",
  );
  expect(waits({ machine: "busy", boot_stage: null, expected_start_s: 20, reason: null })).toBe(
    "You are next in line, about 20 seconds",
  );
  expect(waits({ machine: null, boot_stage: null, expected_start_s: null, reason: "no_machine" })).toMatch(
    /keeps its place, and costs nothing/,
  );
  expect(waits({ machine: null, boot_stage: null, expected_start_s: null, reason: "paused" })).toMatch(
    /switched off/,
  );
  expect(waits(null)).toBe("You are next in line");
});
