// A ledger entry's kind in a person's words. A kind that this page doesn't know yet still reads as words.
import type { LedgerEntry } from "../../api/types";
import { creditsNumber } from "../../ui/format";

const TEXTS: Record<string, string> = {
  grant: "Credits granted",
  hold: "A job was started",
  capture: "Paid for a finished job",
  release: "A job did not deliver",
  purchase: "Credits bought",
  refund: "Refund",
};

export function entryText(entry: Pick<LedgerEntry, "kind">): string {
  const known = TEXTS[entry.kind];
  if (known) return known;
  const words = entry.kind.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** For an entry that only moves credits between available and set aside: the sum of both stays what it was. */
export function movedText(entry: Pick<LedgerEntry, "d_held_millicredits">): string {
  const moved = creditsNumber(Math.abs(entry.d_held_millicredits));
  return entry.d_held_millicredits >= 0 ? `${moved} set aside` : `${moved} given back`;
}
