// What the account has, and what it has used of what it may.
import { useCallback } from "react";
import { errorText } from "../../api/client";
import { credits as api } from "../../api/endpoints";
import type { Usage } from "../../api/types";
import { Button } from "../../ui/button";
import { credits, creditsNumber } from "../../ui/format";
import { Notice } from "../../ui/notice";
import { Card } from "../../ui/page";
import { Progress } from "../../ui/progress";
import { useLoad } from "../../ui/use-load";
import { useBalance } from "./balance";
import css from "./credits.module.css";
import { limitLines } from "./usage-text";

export function BalanceCard() {
  const { balance, error, refresh } = useBalance();
  return (
    <Card label="Balance">
      {balance ? (
        <>
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
                <dd className={css.owed}>{creditsNumber(balance.debt_millicredits)}</dd>
              </div>
            ) : null}
          </dl>
          {balance.debt_millicredits > 0 ? (
            <p className={css.hint}>
              A payment went back whose credits were spent already. The next{" "}
              {credits(balance.debt_millicredits)} that come pay for them first; nothing else is asked of you.
            </p>
          ) : null}
        </>
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
  );
}

export function UsageCard() {
  const usage = useLoad(useCallback((signal: AbortSignal) => api.usage(signal), []));
  return (
    <Card label="This month">
      {usage.error ? (
        <Notice tone="bad" action={<Button onClick={usage.reload}>Try again</Button>}>
          {errorText(usage.error)}
        </Notice>
      ) : usage.data ? (
        <UsageFigures usage={usage.data} />
      ) : (
        <Progress label="Loading the use" value={null} />
      )}
    </Card>
  );
}

function UsageFigures({ usage }: { usage: Usage }) {
  return (
    <>
      <dl className={css.balance}>
        <div>
          <dt>Charged this month</dt>
          <dd>{creditsNumber(usage.charged_millicredits.used)}</dd>
        </div>
      </dl>
      <dl className={css.limits}>
        {limitLines(usage).map((line) => (
          <div key={line.what}>
            <dt>{line.what}</dt>
            <dd>
              {line.figures}
              {line.share === null ? null : <Meter label={line.what} share={line.share} />}
            </dd>
          </div>
        ))}
      </dl>
      <p className={css.hint}>
        {usage.free
          ? "These limits hold until the first purchase. A day begins anew at midnight UTC."
          : "Your account has paid: the free limits don’t hold for it. A day begins anew at midnight UTC."}
      </p>
    </>
  );
}

/** How much of a limit is used; the figures beside it say the same to those who don't see it. */
function Meter({ label, share }: { label: string; share: number }) {
  return <meter className={css.meter} aria-label={label} min={0} max={1} high={0.9} value={share} />;
}
