// @vitest-environment jsdom
import { cleanup, render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, expect, test, vi } from "vitest";
import { ApiError } from "../../api/client";
import type { Referrals } from "../../api/types";
import type { Load } from "../../ui/use-load";
import { offerText } from "./referral-text";
import { ReferralsCard } from "./referrals-card";

const NONE: Referrals = {
  code: "01JD6Z3M8Q4V5X7Y9A2B3C4D5E",
  url: "https://kiln.test/sign-in?ref=01JD6Z3M8Q4V5X7Y9A2B3C4D5E",
  millicredits_each: 5000,
  paid_accounts: 0,
  credited_millicredits: 0,
};
const show = (load: Partial<Load<Referrals>>) =>
  render(
    <ReferralsCard referrals={{ data: null, error: null, loading: false, reload: () => {}, ...load }} />,
  );

afterEach(cleanup);

test("the offer names its credits, and promises nothing where none are given", () => {
  expect(offerText(5000)).toContain("this account gets 5 credits, once");
  expect(offerText(1000)).toContain("1 credit, once");
  expect(offerText(0)).toBe("There are no credits for referrals at the moment.");
});

test("before anybody came it says so, and the link is copied by a press", async () => {
  const user = userEvent.setup();
  show({ data: NONE });
  expect(screen.getByText("Nobody who came by your link has bought credits yet.")).toBeTruthy();
  await user.click(screen.getByRole("button", { name: "Copy" }));
  expect(await navigator.clipboard.readText()).toBe(NONE.url);
  expect(screen.getByRole("button", { name: "Copied" })).toBeTruthy();
});

test("where the clipboard is refused the link is selected, and not said to be copied", async () => {
  const user = userEvent.setup();
  vi.spyOn(navigator.clipboard, "writeText").mockRejectedValue(new Error("refused"));
  show({ data: NONE });
  await user.click(screen.getByRole("button", { name: "Copy" }));
  const link = screen.getByLabelText<HTMLInputElement>("Your link", { selector: "input" });
  expect(link.selectionEnd).toBe(NONE.url.length);
  expect(screen.queryByRole("button", { name: "Copied" })).toBeNull();
});

test("what came is told by its numbers", () => {
  show({ data: { ...NONE, paid_accounts: 3, credited_millicredits: 12_500 } });
  expect(screen.getByText("3")).toBeTruthy();
  expect(screen.getByText("12.5")).toBeTruthy();
  expect(screen.queryByText(/^Nobody/)).toBeNull();
});

test("where nothing is given no link is offered, and what was earned before still stands there", () => {
  show({ data: { ...NONE, millicredits_each: 0, paid_accounts: 1, credited_millicredits: 5000 } });
  expect(screen.queryByRole("button", { name: "Copy" })).toBeNull();
  expect(screen.getByText("5")).toBeTruthy();
});

test("a failure is said with its reason, and can be tried again", async () => {
  const reload = vi.fn();
  const problem = {
    type: "about:blank",
    title: "busy",
    status: 503,
    code: "busy",
    detail: "too busy for the moment",
  };
  show({ error: new ApiError(problem), reload });
  expect(screen.getByRole("alert").textContent).toContain("Too busy for the moment.");
  await userEvent.click(screen.getByRole("button", { name: "Try again" }));
  expect(reload).toHaveBeenCalledOnce();
});
