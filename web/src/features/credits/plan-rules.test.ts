import { describe, expect, test } from "vitest";
import type { Plan } from "../../api/types";
import { knownPlan, planStatusText, step, type Told } from "./plan-rules";

const plan = (id: string, usd: number, interval: "month" | "year" = "month"): Plan => ({
  id,
  title: id,
  millicredits: 1000,
  interval,
  prices: { usd },
});
const PLANS = [plan("maker", 650), plan("team", 3200), plan("team_year", 32_000, "year")];
const [MAKER, TEAM, YEAR] = PLANS as [Plan, Plan, Plan];
const NOW = Date.parse("2026-11-21T12:00:00Z");
const begun = (what: string, created_at: string) => ({ what, created_at, state: "begun" as const });
const paid = (cause: string, at: string) => ({ cause, at, kind: "purchase" as const });
const told = (at: string, over: Partial<Told["subscription"]> = {}): Told => ({
  at: Date.parse(at),
  subscription: {
    plan: "team",
    status: "active",
    period_end: "2026-12-20T00:00:00Z",
    ends_at_period_end: false,
    ...over,
  },
});

describe("the plan that an account has", () => {
  test("is none where none was begun", () => {
    expect(knownPlan(PLANS, [], [], null, NOW)).toBeNull();
    const open = { what: "plan:maker", state: "open" as const, created_at: "2026-11-20T00:00:00Z" };
    expect(knownPlan(PLANS, [open], [], null, NOW)).toBeNull();
    expect(knownPlan(PLANS, [begun("pack:studio", "2026-11-20T00:00:00Z")], [], null, NOW)).toBeNull();
  });

  test("is that of the last payment, while its period can last", () => {
    const orders = [begun("plan:maker", "2026-10-01T00:00:00Z")];
    const entries = [paid("plan:team", "2026-11-01T00:00:00Z"), paid("plan:maker", "2026-10-01T00:00:00Z")];
    expect(knownPlan(PLANS, orders, entries, null, NOW)?.plan).toBe("team");
    expect(knownPlan(PLANS, orders, entries.slice(1), null, NOW)).toBeNull();
    expect(knownPlan(PLANS, orders, [paid("plan:team_year", "2026-01-01T00:00:00Z")], null, NOW)?.plan).toBe(
      "team_year",
    );
  });

  test("is what the last change answered", () => {
    const orders = [begun("plan:maker", "2026-11-01T00:00:00Z")];
    expect(
      knownPlan(PLANS, orders, [], told("2026-11-10T00:00:00Z", { ends_at_period_end: true }), NOW),
    ).toEqual({ plan: "team", status: "active", periodEnd: "2026-12-20T00:00:00Z", ends: true });
    expect(
      knownPlan(PLANS, orders, [], told("2026-11-10T00:00:00Z", { status: "canceled" }), NOW),
    ).toBeNull();
  });

  test("is over when the change that ended it has come to its day", () => {
    const ended = told("2026-11-10T00:00:00Z", {
      ends_at_period_end: true,
      period_end: "2026-11-20T00:00:00Z",
    });
    expect(knownPlan(PLANS, [begun("plan:maker", "2026-11-01T00:00:00Z")], [], ended, NOW)).toBeNull();
  });

  test("is a new one if it was begun after the last change", () => {
    const orders = [begun("plan:maker", "2026-11-15T00:00:00Z")];
    expect(knownPlan(PLANS, orders, [], told("2026-11-10T00:00:00Z", { status: "canceled" }), NOW)).toEqual({
      plan: "maker",
      status: null,
      periodEnd: null,
      ends: null,
    });
  });
});

test("a dearer plan is up, a cheaper one down, and month and year don't mix", () => {
  expect(step(null, MAKER, "usd")).toBe("begin");
  expect(step(MAKER, MAKER, "usd")).toBe("stays");
  expect(step(MAKER, TEAM, "usd")).toBe("up");
  expect(step(TEAM, MAKER, "usd")).toBe("down");
  expect(step(TEAM, YEAR, "usd")).toBe("other-period");
  expect(step(null, MAKER, "sek")).toBe("not-sold");
});

test("a payment that failed is said in words", () => {
  expect(planStatusText("past_due")).toContain("failed");
  expect(planStatusText("some_new_state")).toBe("some new state");
});
