// Money as the API counts it: a whole number of the currency's smallest unit, which is not always a hundredth.

/** Decimals as the payment service counts them, where they are not two. */
const DECIMALS: Record<string, number> = Object.fromEntries([
  ..."bif clp djf gnf jpy kmf krw mga pyg rwf ugx vnd vuv xaf xof xpf".split(" ").map((code) => [code, 0]),
  ..."bhd jod kwd omr tnd".split(" ").map((code) => [code, 3]),
]);

export function decimalsOf(currency: string): number {
  return DECIMALS[currency.toLowerCase()] ?? 2;
}

/** 10050 and "inr" → "₹100.50", 500 and "jpy" → "¥500". A whole amount is shown without decimals if `brief`. */
export function money(amount: number, currency: string, brief = false): string {
  const decimals = decimalsOf(currency);
  const value = amount / 10 ** decimals;
  const least = brief && Number.isInteger(value) ? 0 : decimals;
  try {
    return new Intl.NumberFormat("en", {
      style: "currency",
      currency: currency.toUpperCase(),
      currencyDisplay: "narrowSymbol",
      minimumFractionDigits: least,
      maximumFractionDigits: decimals,
    })
      .format(value)
      .replace("-", "−");
  } catch {
    // Not a currency's code: better a number with its word than nothing.
    return `${value.toFixed(least)} ${currency.toUpperCase()}`;
  }
}

/** What one of `count` costs, finer than the smallest coin where it must be: 150 cents for 20 → "$0.075". */
export function moneyEach(amount: number, count: number, currency: string): string {
  const decimals = decimalsOf(currency);
  return new Intl.NumberFormat("en", {
    style: "currency",
    currency: currency.toUpperCase(),
    currencyDisplay: "narrowSymbol",
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals + 2,
  }).format(amount / count / 10 ** decimals);
}

/** "usd" → "US Dollar"; the code where it has no name for it. */
export function currencyName(currency: string): string {
  const code = currency.toUpperCase();
  try {
    return new Intl.DisplayNames("en", { type: "currency" }).of(code) ?? code;
  } catch {
    return code;
  }
}
