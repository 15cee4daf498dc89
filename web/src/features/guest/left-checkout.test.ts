// @vitest-environment jsdom
import { beforeEach, expect, test } from "vitest";
import { rememberCheckout, takeCheckout } from "./left-checkout";

const checkout = {
  url: "https://pay/1",
  expires_at: "2026-11-21T13:00:00Z",
  amount: 200,
  currency: "usd",
  photo: "lake.jpg",
};
const at = (time: string) => Date.parse(`2026-11-21T${time}Z`);

beforeEach(() => sessionStorage.clear());

test("a checkout that was left is offered once, as long as it can be paid", () => {
  expect(takeCheckout(at("12:00:00"))).toBeNull();
  rememberCheckout(checkout);
  expect(takeCheckout(at("12:00:00"))).toEqual(checkout);
  expect(takeCheckout(at("12:00:00"))).toBeNull();
  rememberCheckout(checkout);
  expect(takeCheckout(at("13:00:00"))).toBeNull();
});

test("what is no checkout is none", () => {
  sessionStorage.setItem("kiln.guest-checkout", "{");
  expect(takeCheckout(0)).toBeNull();
});
