// @vitest-environment jsdom
import { beforeEach, expect, test } from "vitest";
import { isLocal, leaveFor, playMoney } from "./play-money";

beforeEach(() => localStorage.clear());

test("a payment page of this machine is play money, and no other", () => {
  for (const url of ["http://127.0.0.1:4242/pay/cs_1", "http://localhost/pay", "http://[::1]:80/"])
    expect(isLocal(url)).toBe(true);
  for (const url of ["https://checkout.stripe.com/c/pay", "https://127.0.0.1.evil.test/", "localhost", ""])
    expect(isLocal(url)).toBe(false);
});

test("until a checkout has told, a page of this machine likely has play money", () => {
  expect(playMoney("http://localhost:8080/credits")).toBe("likely");
  expect(playMoney("https://kiln.example/credits")).toBe("no");
  localStorage.setItem("kiln.play-money", "yes");
  expect(playMoney("https://kiln.example/credits")).toBe("yes");
  localStorage.setItem("kiln.play-money", "no");
  expect(playMoney("http://localhost:8080/credits")).toBe("no");
});

test("only an address of the web is gone to", () => {
  expect(() => leaveFor("javascript:alert(1)")).toThrow();
});
