// The account's balance and its history, newest first: one line a ledger entry, none ever changed.
import { useCallback, useEffect } from "react";
import { errorText } from "../../api/client";
import { credits as api } from "../../api/endpoints";
import { Button } from "../../ui/button";
import { creditsNumber, signedCredits, when } from "../../ui/format";
import { Notice } from "../../ui/notice";
import { Card, Page } from "../../ui/page";
import { Progress } from "../../ui/progress";
import { usePages } from "../../ui/use-pages";
import { useBalance } from "./balance";
import css from "./credits.module.css";
import { entryText, movedText } from "./entry-text";

export function CreditsPage() {
  const { balance, error, refresh } = useBalance();
  const ledger = usePages(
    useCallback(
      (cursor: string | null, signal: AbortSignal) => api.ledger({ limit: 20, cursor }, signal),
      [],
    ),
  );

  useEffect(refresh, [refresh]);

  return (
    <Page title="Credits">
      <Card label="Balance">
        {balance ? (
          <dl className={css.balance}>
            <div>
              <dt>Available</dt>
              <dd className={css.big}>{creditsNumber(balance.available_millicredits)}</dd>
            </div>
            <div>
              <dt>Set aside for jobs</dt>
              <dd>{creditsNumber(balance.held_millicredits)}</dd>
            </div>
            {balance.debt_millicredits > 0 ? (
              <div>
                <dt>Owed</dt>
                <dd>{creditsNumber(balance.debt_millicredits)}</dd>
              </div>
            ) : null}
          </dl>
        ) : error ? (
          <Notice tone="bad" action={<Button onClick={refresh}>Try again</Button>}>
            {errorText(error)}
          </Notice>
        ) : (
          <Progress label="Loading the balance" value={null} />
        )}
        <p className={css.hint}>
          Credits are set aside when a job starts, and taken only when it delivers. A job that fails or is
          cancelled gives them back.
        </p>
      </Card>

      <h2>History</h2>
      {ledger.error ? (
        <Notice tone="bad" action={<Button onClick={ledger.reload}>Try again</Button>}>
          {errorText(ledger.error)}
        </Notice>
      ) : null}
      {ledger.first && ledger.busy ? <Progress label="Loading the history" value={null} /> : null}
      {!ledger.first && ledger.items.length === 0 ? <p className={css.hint}>Nothing yet.</p> : null}
      {ledger.items.length > 0 ? (
        <ul className={css.entries}>
          {ledger.items.map((entry) => (
            <li key={entry.id} className={css.entry}>
              <span className={css.what}>{entryText(entry)}</span>
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
          ))}
        </ul>
      ) : null}
      {ledger.more ? (
        <div>
          <Button onClick={ledger.loadMore} busy={ledger.busy}>
            Load more
          </Button>
        </div>
      ) : null}
    </Page>
  );
}
