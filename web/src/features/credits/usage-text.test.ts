import { expect, test } from "vitest";
import { limitLines } from "./usage-text";

const none = { used: 0, limit: null, resets_at: null };
const usage = {
  inferences: none,
  edits: none,
  projects: none,
  stored_bytes: none,
  charged_millicredits: none,
};

test("a limit is said with what is used of it, and fills no further than to its end", () => {
  const lines = limitLines({
    ...usage,
    free: true,
    inferences: { used: 25, limit: 100 },
    edits: { used: 60, limit: 50 },
    stored_bytes: { used: 1_500_000, limit: 2_000_000_000 },
  });
  expect(lines[0]).toEqual({ what: "Jobs today", figures: "25 of 100", share: 0.25 });
  expect(lines[1]).toMatchObject({ figures: "60 of 50", share: 1 });
  expect(lines[3]?.figures).toBe("1.5 MB of 2 GB");
});

test("where there is no limit only the count is said", () => {
  expect(limitLines({ ...usage, free: false })[0]).toEqual({
    what: "Jobs today",
    figures: "0",
    share: null,
  });
});
