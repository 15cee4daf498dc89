// What a referral is worth, in words.
import { credits } from "../../ui/format";

/** An operator may give nothing for referrals: then nothing is promised. */
export function offerText(millicreditsEach: number): string {
  if (millicreditsEach <= 0) return "There are no credits for referrals at the moment.";
  return `Pass your link on: for each person who makes an account by it and buys credits, this account gets ${credits(millicreditsEach)}, once.`;
}
