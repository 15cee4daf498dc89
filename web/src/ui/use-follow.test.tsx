// @vitest-environment jsdom
import { act, renderHook } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ApiError } from "../api/client";
import { slowing, useFollow } from "./use-follow";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const pass = (ms: number) => act(() => vi.advanceTimersByTimeAsync(ms));
const asking = (ask: () => Promise<string>) => ({
  ask,
  over: (word: string) => word === "paid",
  everyMs: slowing,
});

test("asks until it is over, and counts the answers", async () => {
  const ask = vi.fn<() => Promise<string>>().mockResolvedValueOnce("open").mockResolvedValueOnce("open");
  ask.mockResolvedValue("paid");
  const question = asking(ask);
  const { result } = renderHook(() => useFollow(question));
  await pass(0);
  expect(result.current).toMatchObject({ value: "open", answers: 1, lost: false });
  await pass(2000);
  expect(result.current).toMatchObject({ value: "paid", answers: 3 });
  await pass(600_000);
  expect(ask).toHaveBeenCalledTimes(3);
});

test("what takes long is asked for ever more slowly, but never given up", async () => {
  const ask = vi.fn(async () => "open");
  const question = asking(ask);
  renderHook(() => useFollow(question));
  await pass(15_000);
  const soon = ask.mock.calls.length;
  expect(soon).toBeGreaterThan(12);
  await pass(150_000);
  const later = ask.mock.calls.length - soon;
  expect(later).toBeGreaterThan(8);
  expect(later).toBeLessThan(25);
});

test("a refusal ends it, and a server's trouble doesn't", async () => {
  const refusal = (status: number) => new ApiError({ type: "about:blank", title: "no", status, code: "no" });
  const ask = vi.fn<() => Promise<string>>().mockRejectedValueOnce(refusal(503));
  ask.mockRejectedValue(refusal(404));
  const question = asking(ask);
  const { result } = renderHook(() => useFollow(question));
  await pass(0);
  expect(result.current).toMatchObject({ lost: true, error: null });
  await pass(60_000);
  expect(result.current.error?.status).toBe(404);
  expect(ask).toHaveBeenCalledTimes(2);
});

test("a hidden tab doesn't ask, and asks at once when it is seen again", async () => {
  const ask = vi.fn(async () => "open");
  const question = asking(ask);
  renderHook(() => useFollow(question));
  await pass(0);
  const hidden = vi.spyOn(document, "hidden", "get").mockReturnValue(true);
  await pass(1000);
  const before = ask.mock.calls.length;
  await pass(60_000);
  expect(ask).toHaveBeenCalledTimes(before);
  hidden.mockReturnValue(false);
  document.dispatchEvent(new Event("visibilitychange"));
  await pass(0);
  expect(ask).toHaveBeenCalledTimes(before + 1);
});
