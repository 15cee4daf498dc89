import { expect, test } from "vitest";
import { uploadName } from "./file-name";

const bytes = (text: string) => new TextEncoder().encode(text).length;

test("a name that fits is left alone", () => {
  expect(uploadName("Lac d’Annecy.jpg")).toBe("Lac d’Annecy.jpg");
  expect(uploadName(`${"a".repeat(124)}.jpg`)).toHaveLength(128);
});

test("a long name loses its end, keeps its extension and never half a character", () => {
  const short = uploadName(`${"山".repeat(60)}.jpeg`);
  expect(short).toBe(`${"山".repeat(41)}.jpeg`);
  expect(bytes(short)).toBeLessThanOrEqual(128);
  expect(bytes(uploadName("😀".repeat(50)))).toBe(128);
});

test("what comes after the last dot of a sentence is no extension", () => {
  expect(bytes(uploadName(`x. ${"long ".repeat(40)}`))).toBe(128);
});

test("a pasted photo without a name gets one", () => {
  expect(uploadName("")).toBe("photo");
});
