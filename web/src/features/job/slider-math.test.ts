import { expect, test } from "vitest";
import { cutAt, cutByKey, pictureCut } from "./slider-math";

test("the divide follows the pointer and stays in the window", () => {
  expect(cutAt(150, 100, 200)).toBe(0.25);
  expect(cutAt(20, 100, 200)).toBe(0);
  expect(cutAt(900, 100, 200)).toBe(1);
});

test("a window without width leaves the divide in the middle", () => {
  expect(cutAt(10, 0, 0)).toBe(0.5);
});

test("keys move the divide as those of any slider, and no further than its ends", () => {
  expect(cutByKey(0.5, "ArrowRight")).toBeCloseTo(0.52);
  expect(cutByKey(0.5, "ArrowLeft")).toBeCloseTo(0.48);
  expect(cutByKey(0.5, "PageUp")).toBeCloseTo(0.6);
  expect(cutByKey(0.5, "PageDown")).toBeCloseTo(0.4);
  expect(cutByKey(0.5, "Home")).toBe(0);
  expect(cutByKey(0.5, "End")).toBe(1);
  expect(cutByKey(0.99, "PageUp")).toBe(1);
  expect(cutByKey(0.01, "ArrowLeft")).toBe(0);
  expect(cutByKey(0.5, "Tab")).toBeNull();
});

test("the original is cut exactly under the divide, wherever the picture lies in the window", () => {
  // As wide as the window.
  expect(pictureCut(0.3, 800, 800, 0)).toBeCloseTo(0.3);
  // 4000 wide, scrolled by 1600: the middle of the window is pixel 2000.
  expect(pictureCut(0.5, 800, 4000, -1600)).toBeCloseTo(0.5);
  expect(pictureCut(0, 800, 4000, -1600)).toBeCloseTo(0.4);
  // 400 wide in the middle of 800: the divide can stand outside of it.
  expect(pictureCut(0.5, 800, 400, 200)).toBeCloseTo(0.5);
  expect(pictureCut(0.1, 800, 400, 200)).toBe(0);
  expect(pictureCut(0.9, 800, 400, 200)).toBe(1);
});
