// A ledger entry's kind in a person's words. A kind that this page doesn't know yet still reads as words.
import type { LedgerEntry } from "../../api/types";

const TEXTS: Record<string, string> = {
  grant: "Credits granted",
  hold: "Set aside for a job",
  capture: "Paid for a finished job",
  release: "Given back: the job did not deliver",
  purchase: "Credits bought",
  refund: "Refund",
};

export function entryText(entry: Pick<LedgerEntry, "kind">): string {
  const known = TEXTS[entry.kind];
  if (known) return known;
  const words = entry.kind.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
