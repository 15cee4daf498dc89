// @vitest-environment jsdom
import { expect, test } from "vitest";
import { isOwnPath, rememberReturn, takeReturn } from "./return-to";

test("only a path of this site is followed", () => {
  expect(isOwnPath("/jobs/job_1")).toBe(true);
  for (const foreign of ["//evil.test", "/\\evil.test", "https://evil.test", "javascript:alert(1)", ""]) {
    expect(isOwnPath(foreign)).toBe(false);
  }
});

test("a remembered place is returned to once", () => {
  rememberReturn("/jobs/job_1");
  expect(takeReturn()).toBe("/jobs/job_1");
  expect(takeReturn()).toBe("/");
});

test("nobody is sent back to the sign-in page", () => {
  rememberReturn("/sign-in");
  expect(takeReturn()).toBe("/");
});
