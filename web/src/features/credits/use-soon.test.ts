// @vitest-environment jsdom
import { renderHook } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { useSoon } from "./use-soon";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test("credits that come after what began their plan are still seen", () => {
  const changed = vi.fn();
  const { result } = renderHook(() => useSoon(changed));
  result.current();
  expect(changed).toHaveBeenCalledTimes(1);
  vi.advanceTimersByTime(1500);
  expect(changed).toHaveBeenCalledTimes(2);
  vi.advanceTimersByTime(60_000);
  expect(changed).toHaveBeenCalledTimes(5);
});

test("asked again it begins anew, and nothing is asked for a page that is left", () => {
  const changed = vi.fn();
  const { result, unmount } = renderHook(() => useSoon(changed));
  result.current();
  result.current();
  vi.advanceTimersByTime(1500);
  expect(changed).toHaveBeenCalledTimes(3);
  unmount();
  vi.advanceTimersByTime(60_000);
  expect(changed).toHaveBeenCalledTimes(3);
});
