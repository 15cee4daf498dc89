// What a job means to the person who waits for it: pure functions from the API's job to words and choices.
import type { Artifact, Job, UpscaleParams } from "../../api/types";

export function ended(job: Pick<Job, "state">): boolean {
  return job.state === "succeeded" || job.state === "failed" || job.state === "cancelled";
}

/** Which of two answers to believe. They can arrive out of order; a finished job never changes back. */
export function newer(old: Job | null, fresh: Job): Job {
  if (!old || old.id !== fresh.id) return fresh;
  // Equal is welcome: the same state with fresh URLs.
  return fresh.seq < old.seq ? old : fresh;
}

export function title(job: Pick<Job, "state">): string {
  switch (job.state) {
    case "queued":
      return "Waiting for its turn";
    case "running":
      return "Working on your photo";
    case "succeeded":
      return "Your picture is ready";
    case "failed":
      return "That did not work";
    case "cancelled":
      return "Cancelled";
  }
}

const STAGES: Record<string, string> = {
  load: "Getting the machine ready",
  fetch: "Fetching the photo",
  decode: "Reading the photo",
  adjust: "Correcting light and colour",
  network: "Drawing the fine detail",
  sharpen: "Sharpening",
  encode: "Saving the picture",
  upload: "Storing the picture",
};

/** What is going on, in one line. */
export function doing(
  job: Pick<Job, "state" | "stage" | "attempt" | "queue_position" | "waits_for">,
): string {
  if (job.state === "queued") {
    const again = job.attempt > 0 ? "The machine was lost; another one will take over. " : "";
    return `${again}${waiting(job)}${soon(job.waits_for?.expected_start_s)}`;
  }
  if (job.state === "running") {
    if (!job.stage) return "A machine has taken the job";
    return STAGES[job.stage] ?? sentence(job.stage);
  }
  return title(job);
}

/** What it waits for. */
function waiting(job: Pick<Job, "queue_position" | "waits_for">): string {
  const waits = job.waits_for;
  if (waits?.reason === "paused") return "The machines are switched off for now; your job keeps its place";
  if (waits?.reason === "no_machine")
    return "No machine is to be had at the moment; your job keeps its place, and costs nothing until it is done";
  if (waits?.machine === "requested") return "A machine is being rented";
  if (waits?.machine === "loading")
    return waits.boot_stage === "models" ? "A machine is loading its models" : "A machine is starting";
  if (job.queue_position == null) return "A machine is being found";
  return job.queue_position <= 1 ? "You are next in line" : `Number ${job.queue_position} in line`;
}

function soon(seconds: number | null | undefined): string {
  if (!seconds) return "";
  return seconds < 90 ? `, about ${seconds} seconds` : `, about ${Math.ceil(seconds / 60)} minutes`;
}

/** For a screen reader: the stage, and the progress in quarters, so that it isn't said each second; of a job that waits, not how long. */
export function spoken(job: Job): string {
  if (job.state === "queued")
    return doing({ ...job, waits_for: job.waits_for ? { ...job.waits_for, expected_start_s: null } : null });
  if (job.state !== "running") return doing(job);
  const quarter = Math.floor(job.progress * 4) * 25;
  return quarter > 0 ? `${doing(job)}, ${quarter} percent` : doing(job);
}

function sentence(word: string): string {
  const words = word.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** The picture that the job was for: the first image that isn't a small preview of another. */
export function mainPicture<T extends Artifact>(artifacts: readonly T[]): T | null {
  const pictures = artifacts.filter((artifact) => artifact.content_type.startsWith("image/"));
  return pictures.find((artifact) => !isPreview(artifact)) ?? pictures[0] ?? null;
}

/** What to show where the picture is small: its preview, or itself while it is light enough to load for that. */
export function smallPicture<T extends Artifact>(artifacts: readonly T[]): T | null {
  const preview = artifacts.find((artifact) => isPreview(artifact));
  if (preview) return preview;
  const main = mainPicture(artifacts);
  return main && main.bytes <= 3_000_000 ? main : null;
}

function isPreview(artifact: Artifact): boolean {
  return artifact.content_type.startsWith("image/") && /^(preview|thumb)/.test(artifact.name);
}

/** "2× larger, exposure and colours corrected, sharpened" */
export function settingsText(params: Partial<UpscaleParams> | undefined): string {
  if (!params?.scale) return "Picture";
  const corrected = [
    params.auto_exposure ? "exposure" : null,
    params.auto_white_balance ? "colours" : null,
  ].filter(Boolean);
  return [
    `${params.scale}× larger`,
    corrected.length > 0 ? `${corrected.join(" and ")} corrected` : null,
    params.sharpen ? "sharpened" : null,
  ]
    .filter(Boolean)
    .join(", ");
}

const EXTENSIONS: Record<string, string> = { "image/jpeg": "jpg", "image/png": "png", "image/webp": "webp" };

/** "lake-x2.png" where the photo's name is known; else one that tells two downloads apart: the last letters of an id are random. */
export function downloadName(id: string, contentType: string, photo?: string, scale?: number): string {
  const stem = photo
    ?.replace(/\.[^.]*$/, "")
    .replace(/[\p{Cc}/\\:*?"<>|]/gu, "_")
    .slice(0, 80);
  const name = stem ? `${stem}${scale ? `-x${scale}` : ""}` : `kiln-${id.slice(-6).toLowerCase()}`;
  return `${name}.${EXTENSIONS[contentType] ?? "bin"}`;
}
