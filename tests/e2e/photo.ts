// Photos for the tests, painted by the browser itself: the same scene each time, with the smooth skies, hard
// edges and grain that a real photo has, so that what comes out is worth looking at.
import type { Page } from "@playwright/test";

export interface Photo {
  name: string;
  mimeType: string;
  buffer: Buffer;
}

/** A JPEG (quality 0.8) of a lake at dusk, `width` × `height`. */
export async function photo(page: Page, width: number, height: number, name = "lake.jpg"): Promise<Photo> {
  const base64 = await page.evaluate(paint, { width, height });
  return { name, mimeType: "image/jpeg", buffer: Buffer.from(base64, "base64") };
}

// Runs in the page, so it uses nothing from outside itself.
async function paint({ width, height }: { width: number; height: number }): Promise<string> {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const draw = canvas.getContext("2d");
  if (!draw) throw new Error("this browser has no canvas");
  let seed = 20261121;
  const random = () => {
    // Mulberry32: small, seeded, good enough for grain.
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const horizon = height * 0.6;

  const sky = draw.createLinearGradient(0, 0, 0, horizon);
  sky.addColorStop(0, "#27406b");
  sky.addColorStop(0.55, "#c98a72");
  sky.addColorStop(1, "#f6cf94");
  draw.fillStyle = sky;
  draw.fillRect(0, 0, width, horizon);

  const sun = { x: width * 0.68, y: horizon * 0.82, r: height * 0.055 };
  const glow = draw.createRadialGradient(sun.x, sun.y, sun.r * 0.5, sun.x, sun.y, sun.r * 6);
  glow.addColorStop(0, "rgb(255 240 200 / 90%)");
  glow.addColorStop(1, "rgb(255 220 160 / 0%)");
  draw.fillStyle = glow;
  draw.fillRect(0, 0, width, horizon);
  draw.fillStyle = "#fff6da";
  draw.beginPath();
  draw.arc(sun.x, sun.y, sun.r, 0, Math.PI * 2);
  draw.fill();

  for (const [colour, base, rise, step] of [
    ["#8a6a78", 0.62, 0.3, 0.09],
    ["#4f4a63", 0.75, 0.26, 0.06],
    ["#2a2d42", 0.9, 0.16, 0.035],
  ] as const) {
    draw.fillStyle = colour;
    draw.beginPath();
    draw.moveTo(0, horizon);
    for (let x = 0; x <= 1 + step; x += step) {
      draw.lineTo(x * width, horizon * (base - rise * random()));
    }
    draw.lineTo(width, horizon);
    draw.fill();
  }

  const lake = draw.createLinearGradient(0, horizon, 0, height);
  lake.addColorStop(0, "#d8a57e");
  lake.addColorStop(0.3, "#6d6078");
  lake.addColorStop(1, "#182338");
  draw.fillStyle = lake;
  draw.fillRect(0, horizon, width, height - horizon);
  for (let i = 0; i < 260; i += 1) {
    const y = horizon + (height - horizon) * random() ** 1.6;
    const near = (y - horizon) / (height - horizon);
    const span = width * (0.01 + 0.06 * near) * (0.4 + random());
    const x = random() < 0.5 ? sun.x + (random() - 0.5) * width * 0.16 : random() * width;
    draw.strokeStyle = random() < 0.6 ? "rgb(255 225 180 / 45%)" : "rgb(20 28 46 / 45%)";
    draw.lineWidth = Math.max(0.6, height * 0.004 * near);
    draw.beginPath();
    draw.moveTo(x - span / 2, y);
    draw.lineTo(x + span / 2, y);
    draw.stroke();
  }

  // Firs on the near shore: fine, hard edges, which enlarging must keep.
  draw.fillStyle = "#0d1320";
  for (let i = 0; i < 26; i += 1) {
    const x = width * (i < 17 ? 0.02 * i : 0.62 + 0.045 * (i - 17)) + width * 0.012 * random();
    const foot = height * (i < 17 ? 0.97 - 0.008 * i : 1.02);
    const tall = height * (i < 17 ? 0.42 - 0.016 * i : 0.12) * (0.75 + 0.4 * random());
    for (let tier = 0; tier < 7; tier += 1) {
      const top = foot - tall + (tall * tier) / 7.5;
      const half = tall * 0.035 * (tier + 1);
      draw.beginPath();
      draw.moveTo(x, top);
      draw.lineTo(x + half, top + tall * 0.2);
      draw.lineTo(x - half, top + tall * 0.2);
      draw.fill();
    }
  }

  const pixels = draw.getImageData(0, 0, width, height);
  for (let i = 0; i < pixels.data.length; i += 4) {
    const grain = (random() - 0.5) * 10;
    for (let c = 0; c < 3; c += 1) pixels.data[i + c] = (pixels.data[i + c] as number) + grain;
  }
  draw.putImageData(pixels, 0, 0);

  return canvas.toDataURL("image/jpeg", 0.8).split(",")[1] as string;
}
