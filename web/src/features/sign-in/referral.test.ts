// @vitest-environment jsdom
import { afterEach, expect, test, vi } from "vitest";
import { forgetReferral, recallReferral, rememberReferral } from "./referral";

const CODE = "01JD6Z3M8Q4V5X7Y9A2B3C4D5E";

afterEach(() => localStorage.clear());

test("a code waits until somebody has signed in", () => {
  rememberReferral(CODE);
  expect(recallReferral()).toBe(CODE);
  expect(recallReferral()).toBe(CODE);
  forgetReferral();
  expect(recallReferral()).toBeUndefined();
});

test("what is no code is not kept, nor does it take a code's place", () => {
  rememberReferral(CODE);
  for (const junk of [
    "",
    "<script>",
    CODE.toLowerCase(),
    `acc_${CODE}`,
    `${CODE}${CODE}`,
    "x".repeat(5000),
  ]) {
    rememberReferral(junk);
    expect(recallReferral()).toBe(CODE);
  }
  localStorage.setItem("kiln.referral", "x".repeat(5000));
  expect(recallReferral()).toBeUndefined();
});

test("without storage one can sign in all the same", () => {
  for (const method of ["getItem", "setItem", "removeItem"] as const) {
    vi.spyOn(Storage.prototype, method).mockImplementation(() => {
      throw new DOMException("refused", "SecurityError");
    });
  }
  rememberReferral(CODE);
  expect(recallReferral()).toBeUndefined();
  forgetReferral();
});
