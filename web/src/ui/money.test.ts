import { expect, test } from "vitest";
import { currencyName, decimalsOf, money, moneyEach } from "./money";

test("an amount is shown in its own currency's unit", () => {
  expect(money(10_050, "inr")).toBe("₹100.50");
  expect(money(650, "usd")).toBe("$6.50");
  expect(money(500, "jpy")).toBe("¥500");
  expect(money(1_234_567, "kwd")).toBe("KWD\u00a01,234.567");
});

test("a whole amount may leave its decimals out, a broken one never", () => {
  expect(money(10_000, "inr", true)).toBe("₹100");
  expect(money(600_000, "usd", true)).toBe("$6,000");
  expect(money(650, "usd", true)).toBe("$6.50");
});

test("money that goes back has a minus sign", () => {
  expect(money(-650, "usd")).toBe("−$6.50");
});

test("the payment service's units are used, not those of a table of coins", () => {
  expect(decimalsOf("JPY")).toBe(0);
  expect(decimalsOf("isk")).toBe(2);
  expect(decimalsOf("tnd")).toBe(3);
});

test("what is no currency is still shown", () => {
  expect(money(1234, "??")).toBe("12.34 ??");
  expect(currencyName("??")).toBe("??");
});

test("a currency has a name for those who don't know its code", () => {
  expect(currencyName("inr")).toBe("Indian Rupee");
});

test("the price of one is not rounded to a coin", () => {
  expect(moneyEach(150, 20, "usd")).toBe("$0.075");
  expect(moneyEach(650, 100, "usd")).toBe("$0.065");
  expect(moneyEach(50_000, 100, "inr")).toBe("₹5.00");
  expect(moneyEach(100, 3, "jpy")).toBe("¥33.33");
});
