import { describe, expect, test } from "vitest";
import { checkHeader, checkPhoto, MAX_BYTES } from "./check-photo";

const ascii = (text: string) => Array.from(text, (letter) => letter.charCodeAt(0));
const be16 = (n: number) => [n >> 8, n & 255];
const be32 = (n: number) => [(n >>> 24) & 255, (n >>> 16) & 255, (n >>> 8) & 255, n & 255];
const le24 = (n: number) => [n & 255, (n >> 8) & 255, (n >> 16) & 255];
const le32 = (n: number) => be32(n).reverse();

const png = (width: number, height: number) =>
  Uint8Array.from([
    0x89,
    ...ascii("PNG\r\n\x1a\n"),
    ...be32(13),
    ...ascii("IHDR"),
    ...be32(width),
    ...be32(height),
    8,
    2,
    0,
    0,
    0,
  ]);

/** With an APP1 of `exif` bytes before the frame, as cameras write it. */
const jpeg = (width: number, height: number, exif = 0, frame = 0xc0) =>
  Uint8Array.from([
    0xff,
    0xd8,
    ...(exif ? [0xff, 0xe1, ...be16(exif + 2), ...new Array(exif).fill(0x11)] : []),
    0xff,
    0xff,
    frame,
    ...be16(17),
    8,
    ...be16(height),
    ...be16(width),
    3,
    ...new Array(9).fill(0),
  ]);

const riff = (chunk: string, body: number[]) =>
  Uint8Array.from([
    ...ascii("RIFF"),
    ...le32(body.length + 12),
    ...ascii("WEBP"),
    ...ascii(chunk),
    ...le32(body.length),
    ...body,
    ...new Array(12).fill(0),
  ]);

const facts = (bytes: Uint8Array) => {
  const checked = checkHeader(bytes);
  if (!checked.ok) throw new Error(checked.reason);
  return [checked.facts.contentType, checked.facts.width, checked.facts.height];
};

describe("the size in pixels is read from the header of", () => {
  test("a PNG", () => expect(facts(png(4096, 17))).toEqual(["image/png", 4096, 17]));
  test("a JPEG", () => expect(facts(jpeg(640, 480))).toEqual(["image/jpeg", 640, 480]));
  test("a progressive JPEG behind 60 kB of EXIF", () =>
    expect(facts(jpeg(640, 480, 60_000, 0xc2))).toEqual(["image/jpeg", 640, 480]));
  test("a lossy WebP", () =>
    expect(facts(riff("VP8 ", [0, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x42, 0xe0, 0x01]))).toEqual([
      "image/webp",
      640,
      480,
    ]));
  test("a lossless WebP", () =>
    expect(facts(riff("VP8L", [0x2f, ...le32((640 - 1) | ((480 - 1) << 14))]))).toEqual([
      "image/webp",
      640,
      480,
    ]));
  test("an extended WebP", () =>
    expect(facts(riff("VP8X", [0, 0, 0, 0, ...le24(639), ...le24(479)]))).toEqual(["image/webp", 640, 480]));
});

test("a header that can't be read is left to the server", () => {
  expect(facts(Uint8Array.from([0xff, 0xd8, 0xff]))).toEqual(["image/jpeg", null, null]);
  expect(facts(jpeg(640, 480).slice(0, 8))).toEqual(["image/jpeg", null, null]);
  expect(facts(Uint8Array.from([0xff, 0xd8, 0xff, 0xe1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]))).toEqual([
    "image/jpeg",
    null,
    null,
  ]);
  expect(facts(png(9, 9).slice(0, 12))).toEqual(["image/png", null, null]);
});

test.each([
  [ascii("GIF89a"), /GIF/],
  [[0, 0, 0, 24, ...ascii("ftypheic"), 0, 0, 0, 0], /HEIC/],
  [[0, 0, 0, 24, ...ascii("ftypavif"), 0, 0, 0, 0], /AVIF/],
  [[0, 0, 0, 24, ...ascii("ftypisom"), 0, 0, 0, 0], /video/],
  [ascii("%PDF-1.7"), /PDF/],
  [ascii("hello"), /not a photo/],
])("what is no photo is called by its name", (bytes, words) => {
  expect(checkHeader(Uint8Array.from(bytes))).toMatchObject({
    ok: false,
    reason: expect.stringMatching(words),
  });
});

test("4096 pixels pass and 4097 don't, on either side", () => {
  expect(checkHeader(png(4096, 4096)).ok).toBe(true);
  expect(checkHeader(png(4097, 1))).toMatchObject({ ok: false, reason: expect.stringContaining("4097 × 1") });
  expect(checkHeader(jpeg(1, 4097)).ok).toBe(false);
});

test("0 bytes and one byte too many are refused, the limit itself is not", async () => {
  const of = (bytes: number) => new Blob([png(10, 10), new Uint8Array(bytes - png(10, 10).length)]);
  expect(await checkPhoto(new Blob([]))).toMatchObject({
    ok: false,
    reason: expect.stringContaining("empty"),
  });
  expect((await checkPhoto(of(MAX_BYTES))).ok).toBe(true);
  expect(await checkPhoto(of(MAX_BYTES + 1))).toMatchObject({
    ok: false,
    reason: expect.stringContaining("10 MB"),
  });
});
