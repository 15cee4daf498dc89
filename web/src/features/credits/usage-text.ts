// The counted things of an account as lines: how much, of how much.
import type { Usage, Used } from "../../api/types";
import { fileSize } from "../../ui/format";

export interface LimitLine {
  what: string;
  figures: string;
  /** 0 to 1; null where there is no limit. */
  share: number | null;
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

function line(what: string, { used, limit }: Used, unit: (n: number) => string): LimitLine {
  if (limit === null || limit === undefined) return { what, figures: unit(used), share: null };
  const share = limit > 0 ? Math.min(1, Math.max(0, used / limit)) : 1;
  return { what, figures: `${unit(used)} of ${unit(limit)}`, share };
}

const number = (n: number) => whole.format(n);

export function limitLines(usage: Usage): LimitLine[] {
  return [
    line("Jobs today", usage.inferences, number),
    line("Photos changed today", usage.edits, number),
    line("Projects", usage.projects, number),
    line("Photos kept", usage.stored_bytes, fileSize),
  ];
}
