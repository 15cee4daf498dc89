import { expect, test } from "vitest";
import { mailText } from "./mail-text";

test("a bounce and a complaint say what happened, since when and what to do", () => {
  const since = "2026-11-20T10:00:00Z";
  const bounced = mailText({ state: "bounced", since }, "ada@example.org");
  expect(bounced).toContain("ada@example.org came back on");
  expect(bounced).toContain("Change your address");
  const complained = mailText({ state: "complained", since: null }, "ada@example.org");
  expect(complained).toContain("reported as spam, so");
  expect(complained).toContain("ask us");
  expect(mailText({ state: "ok" }, "ada@example.org")).toBe("");
});
