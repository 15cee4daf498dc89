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
const refusal = (code: string, detail: string) =>
  new ApiError({ type: "about:blank", title: "no", status: 401, code, detail });

beforeEach(() => {
  vi.spyOn(auth, "me").mockRejectedValue(refusal("signed_out", "sign in first"));
  window.history.replaceState(null, "", "/sign-in?token=secret");
});
afterEach(cleanup);

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
  expect(verify).toHaveBeenCalledExactlyOnceWith("secret");
  expect(window.location.pathname).toBe("/");
});

test("a used link says so and offers a new one", async () => {
  vi.spyOn(auth, "verifyLink").mockRejectedValue(refusal("link_used", "the link was used"));
  open();
  await userEvent.click(await screen.findByRole("button", { name: "Finish signing in" }));
  expect((await screen.findByRole("alert")).textContent).toBe("The link was used.");
  expect(screen.getByRole("link", { name: "Ask for a new link" })).toBeTruthy();
});
