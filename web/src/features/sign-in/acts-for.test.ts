// @vitest-environment jsdom
import { beforeEach, expect, test } from "vitest";
import { recallActsFor, rememberActsFor } from "./acts-for";

beforeEach(() => sessionStorage.clear());

test("a tab acts for the person's own account until an organisation is chosen", () => {
  expect(recallActsFor("acc_ada")).toBeNull();
  rememberActsFor("acc_ada", "acc_org");
  expect(recallActsFor("acc_ada")).toBe("acc_org");
  rememberActsFor("acc_ada", null);
  expect(recallActsFor("acc_ada")).toBeNull();
});

test("whoever signs in next in the same tab does not act for it", () => {
  rememberActsFor("acc_ada", "acc_org");
  expect(recallActsFor("acc_grace")).toBeNull();
});
