import { describe, expect, test } from "vitest";
import type { EntryKind } from "../../api/types";
import { causeText, entryText, jobOf, movedText } from "./entry-text";
import { invoiceStateText, orderStateText, whatText } from "./order-text";

const TITLES = { packs: [{ id: "studio", title: "100 credits" }], plans: [{ id: "maker", title: "Maker" }] };

describe("a ledger entry", () => {
  test("of each kind has words of its own", () => {
    const kinds: EntryKind[] = [
      "purchase",
      "grant",
      "hold",
      "capture",
      "release",
      "refund",
      "referral",
      "adjustment",
    ];
    const texts = kinds.map((kind) => entryText({ kind, cause: "job_1" }));
    expect(new Set(texts).size).toBe(kinds.length);
    expect(texts.join()).not.toMatch(/undefined|_/);
  });

  test("of a kind that came later still reads as words", () => {
    expect(entryText({ kind: "late_fee" as EntryKind, cause: "x" })).toBe("Late fee");
  });

  test("says why, where its cause is more than a number", () => {
    expect(entryText({ kind: "grant", cause: "signup" })).toBe("Welcome credits");
    expect(entryText({ kind: "purchase", cause: "plan:maker" })).toBe("Credits of your plan");
    expect(causeText({ kind: "purchase", cause: "plan:maker" }, TITLES)).toBe("Plan Maker");
    expect(causeText({ kind: "adjustment", cause: "operator: counted twice" }, TITLES)).toBe("counted twice");
    expect(causeText({ kind: "purchase", cause: "ord_1" }, TITLES)).toBeNull();
  });

  test("leads to its job, if it is about one", () => {
    expect(jobOf({ kind: "hold", cause: "job_1" })).toBe("job_1");
    expect(jobOf({ kind: "purchase", cause: "ord_1" })).toBeNull();
  });

  test("that moves credits says where to", () => {
    expect(movedText({ d_held_millicredits: 1500 })).toBe("1.5 set aside");
    expect(movedText({ d_held_millicredits: -1500 })).toBe("1.5 given back");
  });
});

describe("an order", () => {
  test("is named by what is sold today, and else by its own word", () => {
    expect(whatText("pack:studio", TITLES)).toBe("100 credits");
    expect(whatText("pack:gone", TITLES)).toBe("Credits");
    expect(whatText("plan:maker", TITLES)).toBe("Plan Maker");
    expect(whatText("plan:gone", TITLES)).toBe("Plan gone");
    expect(whatText("job:job_1", TITLES)).toBe("One picture, without an account");
  });

  test("that nobody paid says that nothing was charged", () => {
    expect(orderStateText("expired")).toContain("nothing charged");
    expect(orderStateText("paid")).toBe("Paid");
    expect(invoiceStateText("paid")).toBe("Paid");
    expect(invoiceStateText("new_word")).toBe("new_word");
  });
});
