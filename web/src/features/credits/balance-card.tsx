// What the account has, what it was charged, and what it has used of what it may.
import { errorText } from "../../api/client";
import type { Credits, Usage } from "../../api/types";
import { Button } from "../../ui/button";
import { credits, creditsNumber } from "../../ui/format";
import { Notice } from "../../ui/notice";
import { Card } from "../../ui/page";
import type { Load } from "../../ui/use-load";
import { useBalance } from "./balance";
import css from "./credits.module.css";
import { limitLines } from "./usage-text";

export function BalanceCard({ usage }: { usage: Load<Usage> }) {
  const { balance, error, refresh } = useBalance();
  const again = () => {
    refresh();
    usage.reload();
  };
  const trouble = (balance ? null : error) ?? usage.error;
  return (
    <Card label="Balance">
      <Figures balance={balance} usage={usage.data} />
      {trouble ? (
        <Notice tone="bad" action={<Button onClick={again}>Try again</Button>}>
          {errorText(trouble)}
        </Notice>
      ) : null}
      {balance && balance.debt_millicredits > 0 ? (
        <p className={css.hint}>
          A payment went back whose credits were spent already. The next {credits(balance.debt_millicredits)}{" "}
          that come pay for them first; nothing else is asked of you.
        </p>
      ) : null}
      <p className={css.hint}>
        Credits are set aside when a job starts, and taken only when it delivers. A job that fails or is
        cancelled gives them back.
      </p>
      <Limits usage={usage.data} />
    </Card>
  );
}

/** Its places are there before the figures are, so that nothing jumps. */
function Figures({ balance, usage }: { balance: Credits | null; usage: Usage | null }) {
  const number = (millicredits: number | undefined) =>
    millicredits === undefined ? "–" : creditsNumber(millicredits);
  return (
    <dl className={css.balance}>
      <div>
        <dt>Available</dt>
        <dd className={css.big}>{number(balance?.available_millicredits)}</dd>
      </div>
      <div>
        <dt>Set aside for jobs</dt>
        <dd>{number(balance?.held_millicredits)}</dd>
      </div>
      {balance && balance.debt_millicredits > 0 ? (
        <div>
          <dt>Owed</dt>
          <dd className={css.owed}>{number(balance.debt_millicredits)}</dd>
        </div>
      ) : null}
      <div>
        <dt>Charged this month</dt>
        <dd>{number(usage?.charged_millicredits.used)}</dd>
      </div>
    </dl>
  );
}

function Limits({ usage }: { usage: Usage | null }) {
  return (
    <div className={css.use}>
      <dl className={css.limits}>
        {usage
          ? limitLines(usage).map((line) => (
              <div key={line.what}>
                <dt>{line.what}</dt>
                <dd>
                  {line.figures}
                  {/* How much of a limit is used; the figures say the same to those who don't see it. */}
                  {line.share === null ? null : (
                    <meter
                      className={css.meter}
                      aria-label={line.what}
                      min={0}
                      max={1}
                      high={0.9}
                      value={line.share}
                    />
                  )}
                </dd>
              </div>
            ))
          : null}
      </dl>
      <p className={css.hint}>
        {usage
          ? usage.free
            ? "These limits hold until the first purchase. A day begins anew at midnight UTC."
            : "Your account has paid, so the free limits don’t hold for it. A day begins anew at midnight UTC."
          : ""}
      </p>
    </div>
  );
}
