// A first look at a chosen file, so that a person hears at once what the server would say after the upload:
// type by content, length, pixels. It reads headers only and decodes nothing. The server is the judge; where
// this can't tell (a damaged file, an animation), it lets the file through.

/** The server's limits for a picture (docs/LIMITS.md). */
export const MAX_BYTES = 10_000_000;
export const MAX_SIDE = 4096;

export const PHOTO_TYPES = ["image/jpeg", "image/png", "image/webp"] as const;
export type PhotoType = (typeof PHOTO_TYPES)[number];

export interface PhotoFacts {
  contentType: PhotoType;
  /** As stored; null where the header could not be read. A camera's sideways photo has them swapped. */
  width: number | null;
  height: number | null;
}

export type Checked = { ok: true; facts: PhotoFacts } | { ok: false; reason: string };

/** How much of the file `checkHeader` wants: a JPEG's size may stand behind a large EXIF thumbnail. */
export const HEADER_BYTES = 512 * 1024;

export async function checkPhoto(file: Blob): Promise<Checked> {
  if (file.size === 0) return no("This file is empty.");
  let header: Uint8Array;
  try {
    header = new Uint8Array(await file.slice(0, HEADER_BYTES).arrayBuffer());
  } catch {
    return no("This file can't be read. If it is a folder or was moved, choose it again.");
  }
  const checked = checkHeader(header);
  if (checked.ok && file.size > MAX_BYTES) {
    const size = (file.size / 1_000_000).toFixed(file.size < MAX_BYTES + 100_000 ? 3 : 1);
    return no(`This photo has ${size} MB; at most 10 MB are taken. Save it smaller or as a JPEG.`);
  }
  return checked;
}

export function checkHeader(bytes: Uint8Array): Checked {
  const type = typeOf(bytes);
  if (type === null) return no(refusal(bytes));
  const size = SIZE[type](new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  if (size && (size.width > MAX_SIDE || size.height > MAX_SIDE)) {
    return no(
      `This photo is ${size.width} × ${size.height} pixels; at most ${MAX_SIDE} on each side are taken. Save it smaller and try again.`,
    );
  }
  return { ok: true, facts: { contentType: type, width: size?.width ?? null, height: size?.height ?? null } };
}

const no = (reason: string): Checked => ({ ok: false, reason });

const startsWith = (bytes: Uint8Array, signature: readonly number[], at = 0) =>
  bytes.length >= at + signature.length && signature.every((byte, i) => bytes[at + i] === byte);

const ascii = (text: string) => Array.from(text, (letter) => letter.charCodeAt(0));

function typeOf(bytes: Uint8Array): PhotoType | null {
  if (startsWith(bytes, [0xff, 0xd8, 0xff])) return "image/jpeg";
  if (startsWith(bytes, [0x89, ...ascii("PNG"), 0x0d, 0x0a, 0x1a, 0x0a])) return "image/png";
  if (startsWith(bytes, ascii("RIFF")) && startsWith(bytes, ascii("WEBP"), 8)) return "image/webp";
  return null;
}

/** The name of what it is instead, for the files that people most often try. */
function refusal(bytes: Uint8Array): string {
  const brand = startsWith(bytes, ascii("ftyp"), 4) ? String.fromCharCode(...bytes.slice(8, 12)) : "";
  if (/^(hei|hev|mif|msf)/.test(brand)) {
    return "This is a HEIC photo, as iPhones take them; JPEG, PNG and WebP are taken. Export it as a JPEG and try again.";
  }
  if (/^avi/.test(brand)) return "This is an AVIF picture; JPEG, PNG and WebP are taken.";
  if (startsWith(bytes, ascii("GIF8"))) return "This is a GIF; JPEG, PNG and WebP are taken.";
  if (startsWith(bytes, ascii("%PDF"))) return "This is a PDF; JPEG, PNG and WebP are taken.";
  if (brand) return "This is a video; JPEG, PNG and WebP photos are taken.";
  return "This file is not a photo that Kiln can read; JPEG, PNG and WebP are taken.";
}

interface Size {
  width: number;
  height: number;
}

const SIZE: Record<PhotoType, (view: DataView) => Size | null> = {
  "image/jpeg": jpegSize,
  "image/png": pngSize,
  "image/webp": webpSize,
};

/** PNG (third edition) 11.2.1: IHDR is the first chunk, width and height its first two fields. */
function pngSize(view: DataView): Size | null {
  if (view.byteLength < 24) return null;
  return { width: view.getUint32(16), height: view.getUint32(20) };
}

/** ITU-T T.81 B.2: walk the markers to the first start of frame. */
function jpegSize(view: DataView): Size | null {
  let at = 2;
  while (at + 9 < view.byteLength) {
    if (view.getUint8(at) !== 0xff) return null;
    const marker = view.getUint8(at + 1);
    if (marker === 0xff) {
      // A fill byte before the marker.
      at += 1;
      continue;
    }
    const startOfFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (startOfFrame) return { width: view.getUint16(at + 7), height: view.getUint16(at + 5) };
    if (marker === 0xd9 || marker === 0xda) return null;
    const length = view.getUint16(at + 2);
    if (length < 2) return null;
    at += 2 + length;
  }
  return null;
}

/** RFC 9649: the first chunk is VP8 (lossy), VP8L (lossless) or VP8X (extended). */
function webpSize(view: DataView): Size | null {
  if (view.byteLength < 30) return null;
  const uint24 = (at: number) => view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
  switch (view.getUint32(12)) {
    case 0x56503820: // "VP8 "
      return { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff };
    case 0x5650384c: {
      // "VP8L": 14 bits each, less one, after a signature byte.
      const bits = view.getUint32(21, true);
      return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 };
    }
    case 0x56503858: // "VP8X": 24 bits each, less one.
      return { width: uint24(24) + 1, height: uint24(27) + 1 };
    default:
      return null;
  }
}
