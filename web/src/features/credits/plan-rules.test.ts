import { expect, test } from "vitest";
import type { Plan } from "../../api/types";
import { planStatusText, runningPlan, step } from "./plan-rules";

const plan = (id: string, usd: number, interval: "month" | "year" = "month"): Plan => ({
  id,
  title: id,
  millicredits: 1000,
  interval,
  prices: { usd },
});
const PLANS = [plan("maker", 650), plan("team", 3200), plan("team_year", 32_000, "year")];
const [MAKER, TEAM, YEAR] = PLANS as [Plan, Plan, Plan];

test("a plan runs until it is over, whatever its payments do", () => {
  const of = (status: string) => ({
    plan: "team",
    status,
    period_end: "2026-12-20T00:00:00Z",
    ends_at_period_end: false,
  });
  expect(runningPlan(null)).toBeNull();
  expect(runningPlan(undefined)).toBeNull();
  for (const status of ["canceled", "incomplete_expired"]) expect(runningPlan(of(status))).toBeNull();
  for (const status of ["active", "past_due", "unpaid"]) expect(runningPlan(of(status))?.plan).toBe("team");
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
