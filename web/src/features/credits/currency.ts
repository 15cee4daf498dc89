// In which currency prices are shown: as last chosen, else by the reader's region, among those that are sold in.
const EURO = "AT BE CY DE EE ES FI FR GR HR IE IT LT LU LV MT NL PT SI SK".split(" ");
const BY_REGION: Record<string, string> = {
  IN: "inr",
  US: "usd",
  ...Object.fromEntries(EURO.map((region) => [region, "eur"])),
};

/** Every currency that at least one thing has a price in, in the order of the alphabet. */
export function currenciesOf(sold: readonly { prices: Record<string, number> }[]): string[] {
  return [...new Set(sold.flatMap((one) => Object.keys(one.prices)))].sort();
}

export function chooseCurrency(
  sold: readonly string[],
  remembered: string | null,
  languages: readonly string[],
): string | null {
  if (remembered && sold.includes(remembered)) return remembered;
  for (const language of languages) {
    const region = /-([A-Z]{2})\b/.exec(language)?.[1];
    const currency = region ? BY_REGION[region] : undefined;
    if (currency && sold.includes(currency)) return currency;
  }
  return sold.includes("usd") ? "usd" : (sold[0] ?? null);
}
