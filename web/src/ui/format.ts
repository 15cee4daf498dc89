// Numbers and times as the studio shows them.

const decimals = new Intl.NumberFormat("en", { maximumFractionDigits: 3 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
// Dates as the reader's own system writes them; numbers in one form, the page's, since prices are compared.
const dateTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

/** Millicredits as credits: 1250 → "1.25". Exact, since a credit has three decimals. */
export function creditsNumber(millicredits: number): string {
  return decimals.format(millicredits / 1000).replace("-", "−");
}

/** 1000 → "1 credit", 1250 → "1.25 credits". */
export function credits(millicredits: number): string {
  return `${creditsNumber(millicredits)} ${Math.abs(millicredits) === 1000 ? "credit" : "credits"}`;
}

/** With its sign, for a ledger: 1250 → "+1.25", 0 → "0". */
export function signedCredits(millicredits: number): string {
  return millicredits > 0 ? `+${creditsNumber(millicredits)}` : creditsNumber(millicredits);
}

/** 10485760 → "10.5 MB" (powers of ten, as file managers show them). */
export function fileSize(bytes: number): string {
  if (bytes < 1000) return `${whole.format(bytes)} B`;
  if (bytes < 999_500) return `${whole.format(bytes / 1000)} kB`;
  if (bytes < 999_500_000) return `${tenths.format(bytes / 1_000_000)} MB`;
  return `${tenths.format(bytes / 1_000_000_000)} GB`;
}

/** "2048 × 1365", as cameras and editors write it */
export function pixels(width: number, height: number): string {
  return `${width} × ${height}`;
}

/** About how long, never more exact than it is: 3.4 → "about 4 s", 200 → "about 3 min". */
export function about(seconds: number): string {
  if (seconds < 1) return "about a second";
  return seconds < 90 ? `about ${Math.ceil(seconds)} s` : `about ${Math.round(seconds / 60)} min`;
}

export function percent(fraction: number): string {
  return `${whole.format(fraction * 100)} %`;
}

export function when(rfc3339: string): string {
  return dateTime.format(new Date(rfc3339));
}

export function onDay(rfc3339: string): string {
  return day.format(new Date(rfc3339));
}
