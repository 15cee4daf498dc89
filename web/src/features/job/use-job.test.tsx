// @vitest-environment jsdom
import { act, renderHook } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ApiError } from "../../api/client";
import { jobs } from "../../api/endpoints";
import type { Job } from "../../api/types";
import { POLL_MS, useJob } from "./use-job";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const job = (state: Job["state"]): Job =>
  ({ id: "job_1", state, attempt: 1, seq: 1, progress: 0, artifacts: [] }) as unknown as Job;
const refusal = (status: number, retryAfterS: number | null = null) =>
  new ApiError({ type: "about:blank", title: "no", status, code: "no" }, retryAfterS);
const pass = (ms: number) => act(() => vi.advanceTimersByTimeAsync(ms));

test("asks each second until the job has ended, and then no more", async () => {
  const get = vi
    .spyOn(jobs, "get")
    .mockResolvedValueOnce(job("queued"))
    .mockResolvedValueOnce(job("running"));
  get.mockResolvedValue(job("succeeded"));
  const { result } = renderHook(() => useJob("job_1"));
  await pass(0);
  expect(result.current.job?.state).toBe("queued");
  await pass(POLL_MS);
  expect(result.current.job?.state).toBe("running");
  await pass(POLL_MS);
  expect(result.current.job?.state).toBe("succeeded");
  await pass(60_000);
  expect(get).toHaveBeenCalledTimes(3);
});

test("a lost connection is said, and asked again until it is back", async () => {
  const get = vi.spyOn(jobs, "get").mockResolvedValueOnce(job("running"));
  get
    .mockRejectedValueOnce(refusal(0))
    .mockRejectedValueOnce(refusal(503))
    .mockResolvedValue(job("succeeded"));
  const { result } = renderHook(() => useJob("job_1"));
  await pass(0);
  await pass(POLL_MS);
  expect(result.current.lost).toBe(true);
  expect(result.current.job?.state).toBe("running");
  await pass(2 * POLL_MS);
  await pass(4 * POLL_MS);
  expect(result.current.lost).toBe(false);
  expect(result.current.job?.state).toBe("succeeded");
});

test("a server that names a time is not asked before it", async () => {
  const get = vi
    .spyOn(jobs, "get")
    .mockRejectedValueOnce(refusal(429, 9))
    .mockResolvedValue(job("succeeded"));
  renderHook(() => useJob("job_1"));
  await pass(8_900);
  expect(get).toHaveBeenCalledTimes(1);
  await pass(200);
  expect(get).toHaveBeenCalledTimes(2);
});

test("a job that isn't there is an error, and asked for once", async () => {
  const get = vi.spyOn(jobs, "get").mockRejectedValue(refusal(404));
  const { result } = renderHook(() => useJob("job_1"));
  await pass(60_000);
  expect(result.current.error?.status).toBe(404);
  expect(get).toHaveBeenCalledTimes(1);
});

test("a page that has gone asks no more", async () => {
  const get = vi.spyOn(jobs, "get").mockResolvedValue(job("running"));
  const { unmount } = renderHook(() => useJob("job_1"));
  await pass(0);
  unmount();
  await pass(60_000);
  expect(get).toHaveBeenCalledTimes(1);
});
