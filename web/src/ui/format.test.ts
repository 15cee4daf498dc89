import { expect, test } from "vitest";
import { about, credits, creditsNumber, fileSize, percent, pixels, signedCredits } from "./format";

test("millicredits read as credits, exactly and without idle zeros", () => {
  expect(credits(10_000)).toBe("10 credits");
  expect(credits(1250)).toBe("1.25 credits");
  expect(credits(1)).toBe("0.001 credits");
  expect(credits(0)).toBe("0 credits");
  expect(creditsNumber(1_234_567_891)).toBe("1,234,567.891");
});

test("one credit is one credit", () => {
  expect(credits(1000)).toBe("1 credit");
  expect(credits(-1000)).toBe("−1 credit");
});

test("a ledger's amounts carry their sign, and nothing has none", () => {
  expect(signedCredits(10_000)).toBe("+10");
  expect(signedCredits(-1500)).toBe("−1.5");
  expect(signedCredits(0)).toBe("0");
});

test("file sizes never read as a thousand of the smaller unit", () => {
  expect(fileSize(999)).toBe("999 B");
  expect(fileSize(1000)).toBe("1 kB");
  expect(fileSize(999_499)).toBe("999 kB");
  expect(fileSize(999_500)).toBe("1 MB");
  expect(fileSize(10_000_000)).toBe("10 MB");
});

test("times are never more exact than they are", () => {
  expect(about(0.2)).toBe("about a second");
  expect(about(3.4)).toBe("about 4 s");
  expect(about(200)).toBe("about 3 min");
});

test("pixels and percents", () => {
  expect(pixels(4096, 2731)).toBe("4096 × 2731");
  expect(percent(0.426)).toBe("43 %");
});
