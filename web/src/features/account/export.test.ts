import { expect, test } from "vitest";
import { join } from "./export";

test("the parts of a large account become one file, each list in its order", () => {
  const first = { account: { id: "acc_1" }, sessions: [1], jobs: [1, 2], next_cursor: "c" };
  const last = { account: { id: "acc_1" }, jobs: [3], ledger: [4], next_cursor: null };
  expect(join(first, last)).toEqual({
    account: { id: "acc_1" },
    sessions: [1],
    jobs: [1, 2, 3],
    ledger: [4],
    next_cursor: null,
  });
});
