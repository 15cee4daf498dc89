import { expect, test } from "vitest";
import { meant } from "./org-name";

test("a deletion is meant by the whole name, however it is cased and spaced", () => {
  expect(meant("Analytical Engines", "Analytical Engines")).toBe(true);
  expect(meant("  analytical engines ", "Analytical Engines")).toBe(true);
  expect(meant("Analytical Engines", "Analytical \u00a0 Engines")).toBe(true);
  for (const other of ["", " ", "Analytical", "AnalyticalEngines", "yes"]) {
    expect(meant(other, "Analytical Engines")).toBe(false);
  }
});
