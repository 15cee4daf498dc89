// @vitest-environment jsdom
import { cleanup, render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { BrowserRouter } from "react-router";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ApiError } from "../../api/client";
import { auth } from "../../api/endpoints";
import { FinishPage } from "./finish-page";
import { SessionProvider } from "./session";

const account = { id: "acc_1", email: "a@example.com", created_at: "2026-01-01T00:00:00Z", preferences: {} };
const refusal = (code: string, detail: string, status = 401) =>
  new ApiError({ type: "about:blank", title: "no", status, code, detail });

beforeEach(() => {
  vi.spyOn(auth, "me").mockRejectedValue(refusal("signed_out", "sign in first"));
  window.history.replaceState(null, "", "/sign-in?token=secret");
});
afterEach(() => {
  cleanup();
  localStorage.clear();
});

const open = () =>
  render(
    <BrowserRouter>
      <SessionProvider>
        <FinishPage />
      </SessionProvider>
    </BrowserRouter>,
  );

test("opening the link uses nothing up and clears the token from the address bar", async () => {
  const verify = vi.spyOn(auth, "verifyLink").mockResolvedValue({ account, session_expires_at: "" });
  open();
  expect(await screen.findByRole("button", { name: "Finish signing in" })).toBeTruthy();
  expect(window.location.href).not.toContain("secret");
  expect(verify).not.toHaveBeenCalled();
});

test("the button sends the token, and leads on", async () => {
  const verify = vi.spyOn(auth, "verifyLink").mockResolvedValue({ account, session_expires_at: "" });
  open();
  await userEvent.click(await screen.findByRole("button", { name: "Finish signing in" }));
  expect(verify).toHaveBeenCalledExactlyOnceWith("secret", undefined);
  expect(window.location.pathname).toBe("/");
});

test("a used link says so and offers a new one", async () => {
  vi.spyOn(auth, "verifyLink").mockRejectedValue(refusal("link_used", "the link was used"));
  open();
  await userEvent.click(await screen.findByRole("button", { name: "Finish signing in" }));
  expect((await screen.findByRole("alert")).textContent).toBe("The link was used.");
  expect(screen.getByRole("link", { name: "Ask for a new link" })).toBeTruthy();
});

test("a referral's link asks for the address, and its code goes along when the mailed link is pressed", async () => {
  vi.spyOn(auth, "me").mockRejectedValue(refusal("guest_session", "a guest", 403));
  window.history.replaceState(null, "", "/sign-in?ref=01JD6Z3M8Q4V5X7Y9A2B3C4D5E");
  open();
  expect(await screen.findByLabelText("Mail address")).toBeTruthy();
  await vi.waitFor(() => expect(localStorage.length).toBe(1));
  expect(window.location.search).toBe("");
  cleanup();

  window.history.replaceState(null, "", "/sign-in?token=secret");
  const verify = vi.spyOn(auth, "verifyLink").mockResolvedValue({ account, session_expires_at: "" });
  open();
  await userEvent.click(await screen.findByRole("button", { name: "Finish signing in" }));
  expect(verify).toHaveBeenCalledExactlyOnceWith("secret", "01JD6Z3M8Q4V5X7Y9A2B3C4D5E");
  expect(localStorage.length).toBe(0);
});

test("who has an account is brought by nobody", async () => {
  vi.spyOn(auth, "me").mockResolvedValue({ account, mail: { state: "ok" } });
  window.history.replaceState(null, "", "/sign-in?ref=01JD6Z3M8Q4V5X7Y9A2B3C4D5E");
  open();
  expect(await screen.findByText("You are signed in")).toBeTruthy();
  expect(localStorage.length).toBe(0);
});
