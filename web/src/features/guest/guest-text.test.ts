import { describe, expect, test } from "vitest";
import type { GuestOrder, Job } from "../../api/types";
import { isOver, stepOf, titleOf } from "./guest-text";

const order = (
  state: GuestOrder["state"],
  settled: GuestOrder["settled"] = null,
  job: Partial<Job> | null = null,
) => ({ state, settled, job: job as Job | null });
const picture = { name: "result.png", content_type: "image/png", bytes: 1, sha256: "", url: "https://s3/x" };

describe("a guest's order", () => {
  test("waits until the payment is told, then works", () => {
    expect(stepOf(order("open"))).toBe("paying");
    expect(stepOf(order("paid"))).toBe("working");
    expect(stepOf(order("paid", null, { state: "running", artifacts: [] }))).toBe("working");
    expect(isOver(order("open"))).toBe(false);
    expect(isOver(order("paid"))).toBe(false);
  });

  test("is ready as soon as its picture is there, whether or not the mail has gone out", () => {
    const done = { state: "succeeded" as const, artifacts: [picture] };
    for (const settled of [null, "delivered" as const]) {
      expect(stepOf(order("paid", settled, done))).toBe("ready");
      expect(isOver(order("paid", settled, done))).toBe(true);
    }
  });

  test("of a failed job is followed until the money is on its way back", () => {
    const failed = { state: "failed" as const, artifacts: [] };
    expect(stepOf(order("paid", null, failed))).toBe("refunded");
    expect(isOver(order("paid", null, failed))).toBe(false);
    expect(isOver(order("paid", "refunded", failed))).toBe(true);
    expect(isOver(order("paid", "refunded"))).toBe(true);
  });

  test("that nobody paid is over", () => {
    expect(stepOf(order("expired"))).toBe("expired");
    expect(stepOf(order("open", "abandoned"))).toBe("expired");
    expect(isOver(order("expired"))).toBe(true);
  });

  test("whose amount was wrong says so and promises nothing", () => {
    expect(stepOf(order("mismatch"))).toBe("mismatch");
  });

  test("whose files are gone is no failure", () => {
    expect(stepOf(order("paid", "delivered", { state: "succeeded", artifacts: [] }))).toBe("gone");
    expect(stepOf(order("paid", "delivered"))).toBe("gone");
  });

  test("has a title at each step", () => {
    expect(titleOf("refunded")).toBe("That did not work");
    expect(titleOf("paying")).toContain("payment");
  });
});
