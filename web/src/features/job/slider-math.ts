// The arithmetic of the before/after slider. Positions are fractions of what is on show, 0 at the left.

export function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}

/** Where a pointer at `clientX` puts the divide over a box that begins at `left` and is `width` wide. */
export function cutAt(clientX: number, left: number, width: number): number {
  return width > 0 ? clamp((clientX - left) / width, 0, 1) : 0.5;
}

/** The next position for a key of the slider pattern of ARIA's authoring practices, or null for other keys. */
export function cutByKey(cut: number, key: string): number | null {
  switch (key) {
    case "ArrowLeft":
    case "ArrowDown":
      return clamp(cut - 0.02, 0, 1);
    case "ArrowRight":
    case "ArrowUp":
      return clamp(cut + 0.02, 0, 1);
    case "PageDown":
      return clamp(cut - 0.1, 0, 1);
    case "PageUp":
      return clamp(cut + 0.1, 0, 1);
    case "Home":
      return 0;
    case "End":
      return 1;
    default:
      return null;
  }
}

/**
 * How much of the picture's left side shows "before", as a fraction of the picture, when the divide stands at
 * `cut` of the window. `left` is where the picture begins in the window (pixels, like the widths): below zero
 * when it is scrolled, above when it is narrower than the window and stands in its middle.
 */
export function pictureCut(cut: number, windowWidth: number, pictureWidth: number, left: number): number {
  return pictureWidth > 0 ? clamp((cut * windowWidth - left) / pictureWidth, 0, 1) : cut;
}
