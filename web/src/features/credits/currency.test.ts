import { expect, test } from "vitest";
import { chooseCurrency, currenciesOf } from "./currency";

const SOLD = ["eur", "inr", "usd"];

test("currencies are those of the price list, each once", () => {
  expect(currenciesOf([{ prices: { usd: 1, inr: 2 } }, { prices: { eur: 3, usd: 4 } }])).toEqual(SOLD);
  expect(currenciesOf([])).toEqual([]);
});

test("the remembered choice wins, as long as it is sold in", () => {
  expect(chooseCurrency(SOLD, "inr", ["en-US"])).toBe("inr");
  expect(chooseCurrency(SOLD, "sek", ["en-US"])).toBe("usd");
});

test("without a choice the reader's region decides, by the first language that names one", () => {
  expect(chooseCurrency(SOLD, null, ["de", "de-AT", "en-US"])).toBe("eur");
  expect(chooseCurrency(SOLD, null, ["hi-IN"])).toBe("inr");
  expect(chooseCurrency(SOLD, null, ["sr-Latn-RS", "en"])).toBe("usd");
  expect(chooseCurrency(["inr"], null, ["en-US"])).toBe("inr");
  expect(chooseCurrency([], null, ["en-US"])).toBeNull();
});
