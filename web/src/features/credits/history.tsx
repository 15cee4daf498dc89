// The account's ledger, newest first: one line an entry, none ever changed.
import { Link } from "react-router";
import type { LedgerEntry } from "../../api/types";
import { signedCredits, when } from "../../ui/format";
import type { Pages } from "../../ui/use-pages";
import css from "./credits.module.css";
import { causeText, entryText, jobOf, movedText } from "./entry-text";
import type { Titles } from "./order-text";
import { Listed } from "./payments-card";

export function History({ ledger, titles }: { ledger: Pages<LedgerEntry>; titles: Titles }) {
  if (!ledger.error && !ledger.first && ledger.items.length === 0) {
    return <p className={css.hint}>Nothing yet.</p>;
  }
  return (
    <Listed pages={ledger} what="the history">
      {ledger.items.map((entry) => {
        const cause = causeText(entry, titles);
        const job = jobOf(entry);
        return (
          <li key={entry.id} className={css.entry}>
            <span className={css.what}>
              {job ? <Link to={`/jobs/${job}`}>{entryText(entry)}</Link> : entryText(entry)}
              {cause ? <span className={css.cause}>{cause}</span> : null}
            </span>
            <time className={css.at} dateTime={entry.at}>
              {when(entry.at)}
            </time>
            <span className={css.amount}>
              {entry.amount_millicredits !== 0 ? (
                signedCredits(entry.amount_millicredits)
              ) : (
                <span className={css.moved}>{movedText(entry)}</span>
              )}
            </span>
          </li>
        );
      })}
    </Listed>
  );
}
