// The link to pass on, and what it has brought.
import { errorText } from "../../api/client";
import type { Referrals } from "../../api/types";
import { Button } from "../../ui/button";
import { CopyField } from "../../ui/copy-field";
import { creditsNumber } from "../../ui/format";
import { Notice } from "../../ui/notice";
import { Card } from "../../ui/page";
import { Progress } from "../../ui/progress";
import type { Load } from "../../ui/use-load";
import css from "./credits.module.css";
import { offerText } from "./referral-text";

export function ReferralsCard({ referrals }: { referrals: Load<Referrals> }) {
  const { data, error, loading, reload } = referrals;
  return (
    <Card label="Your link">
      {error ? (
        <Notice
          tone="bad"
          action={
            <Button onClick={reload} busy={loading}>
              Try again
            </Button>
          }
        >
          {errorText(error)}
        </Notice>
      ) : null}
      {data ? <Told referrals={data} /> : error ? null : <Waiting />}
    </Card>
  );
}

function Told({ referrals }: { referrals: Referrals }) {
  const { url, millicredits_each: each, paid_accounts: paid, credited_millicredits: credited } = referrals;
  return (
    <>
      <p>{offerText(each)}</p>
      {each > 0 ? <CopyField key={url} label="Your link" value={url} /> : null}
      {paid > 0 ? (
        <dl className={css.balance}>
          <div>
            <dt>Came by your link and bought</dt>
            <dd>{paid.toLocaleString("en")}</dd>
          </div>
          <div>
            <dt>Credits they brought</dt>
            <dd>{creditsNumber(credited)}</dd>
          </div>
        </dl>
      ) : (
        <p className={css.hint}>Nobody who came by your link has bought credits yet.</p>
      )}
    </>
  );
}

function Waiting() {
  return (
    <div className={css.waiting}>
      <Progress label="Loading your link" value={null} />
    </div>
  );
}
