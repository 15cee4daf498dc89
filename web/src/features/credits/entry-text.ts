// A ledger entry in a person's words: what it was, by its kind, and why, by its cause. A kind that this page doesn't
// know yet still reads as words.
import type { LedgerEntry } from "../../api/types";
import { creditsNumber } from "../../ui/format";
import { type Titles, whatText } from "./order-text";

const TEXTS: Record<string, string> = {
  grant: "Credits granted",
  hold: "A job was started",
  capture: "Paid for a finished job",
  release: "A job did not deliver",
  purchase: "Credits bought",
  refund: "Taken back after a refund",
  referral: "Thanks for a referral",
  adjustment: "Correction",
};

const CAUSES: Record<string, string> = { signup: "Welcome credits" };

type Told = Pick<LedgerEntry, "kind" | "cause">;

export function entryText({ kind, cause }: Told): string {
  if (kind === "purchase" && cause.startsWith("plan:")) return "Credits of your plan";
  const known = CAUSES[cause] ?? TEXTS[kind];
  if (known) return known;
  const words = kind.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** More about the cause, where it says something that the text doesn't: the plan, or an operator's reason. */
export function causeText({ cause }: Told, titles: Titles): string | null {
  if (cause.startsWith("plan:")) return whatText(cause, titles);
  if (cause.startsWith("operator: ")) return cause.slice("operator: ".length);
  return null;
}

/** The job that an entry is about, for a link to it. */
export function jobOf({ cause }: Told): string | null {
  return cause.startsWith("job_") ? cause : null;
}

/** For an entry that only moves credits between available and set aside: the sum of both stays what it was. */
export function movedText(entry: Pick<LedgerEntry, "d_held_millicredits">): string {
  const moved = creditsNumber(Math.abs(entry.d_held_millicredits));
  return entry.d_held_millicredits >= 0 ? `${moved} set aside` : `${moved} given back`;
}
