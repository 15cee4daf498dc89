// The account's money: its balance and use, what can be bought, what others bring, what was paid, and its history.
import { type ReactNode, useCallback, useEffect, useId, useRef, useState } from "react";
import { useSearchParams } from "react-router";
import { errorText } from "../../api/client";
import { credits as api, billing } from "../../api/endpoints";
import { Button } from "../../ui/button";
import { Choice } from "../../ui/field";
import { currencyName } from "../../ui/money";
import { Notice } from "../../ui/notice";
import { Page } from "../../ui/page";
import { Progress } from "../../ui/progress";
import { recall, remember } from "../../ui/stored";
import { useLoad } from "../../ui/use-load";
import { usePages } from "../../ui/use-pages";
import { useSession } from "../sign-in/session";
import { useBalance } from "./balance";
import { BalanceCard } from "./balance-card";
import css from "./credits.module.css";
import { chooseCurrency, currenciesOf } from "./currency";
import { History } from "./history";
import { Packs } from "./packs-card";
import { Invoices, Payments } from "./payments-card";
import { Plans } from "./plans-card";
import { PlayMoneyNotice } from "./play-money-notice";
import { ReferralsCard } from "./referrals-card";
import { LeftNotice, PaidNotice } from "./return-notice";
import { useSubscription } from "./use-subscription";

const CURRENCY = "kiln.currency";

/** What is sold: the same for everybody, and read once. */
async function priceList(signal: AbortSignal) {
  const [packs, plans] = await Promise.all([billing.packs(signal), billing.plans(signal)]);
  return { packs: packs.items, plans: plans.items };
}

const NOTHING = { packs: [], plans: [] };

export function CreditsPage() {
  const session = useSession();
  return session.state === "signed-in" ? <Money /> : null;
}

function Money() {
  const [returned, setReturned] = useReturn();
  const { refresh } = useBalance();
  const sold = useLoad(priceList);
  const prices = sold.data ?? NOTHING;
  const plan = useSubscription();
  const ledger = usePages(
    useCallback(
      (cursor: string | null, signal: AbortSignal) => api.ledger({ limit: 20, cursor }, signal),
      [],
    ),
  );
  const payments = usePages(
    useCallback(
      (cursor: string | null, signal: AbortSignal) => billing.payments({ limit: 10, cursor }, signal),
      [],
    ),
  );
  const invoices = usePages(
    useCallback(
      (cursor: string | null, signal: AbortSignal) => billing.invoices({ limit: 10, cursor }, signal),
      [],
    ),
  );
  const referrals = useLoad(useCallback((signal: AbortSignal) => api.referrals(signal), []));
  const usage = useLoad(useCallback((signal: AbortSignal) => api.usage(signal), []));
  const currencies = currenciesOf([...prices.packs, ...prices.plans]);
  const [chosen, setChosen] = useState(() => recall(CURRENCY));
  const currency = chooseCurrency(currencies, chosen, navigator.languages);

  useEffect(refresh, [refresh]);

  const reloads = [
    refresh,
    usage.reload,
    ledger.reload,
    payments.reload,
    invoices.reload,
    plan.reload,
  ] as const;
  const latest = useRef(reloads);
  latest.current = reloads;
  const changed = useCallback(() => {
    for (const reload of latest.current) reload();
  }, []);
  const settled = useCallback(() => {
    setReturned();
    changed();
  }, [setReturned, changed]);

  return (
    <Page title="Credits">
      {returned?.how === "paid" ? <PaidNotice orderId={returned.orderId} settled={settled} /> : null}
      {returned?.how === "left" ? <LeftNotice /> : null}
      <BalanceCard usage={usage} />

      <Section
        title="Buy credits"
        aside={
          <div className={css.currency}>
            {currency ? (
              <Choice
                legend="Currency"
                options={currencies.map((one) => ({
                  value: one,
                  label: one.toUpperCase(),
                  name: `${one.toUpperCase()}, ${currencyName(one)}`,
                }))}
                value={currency}
                onChange={(one) => {
                  setChosen(one);
                  remember(CURRENCY, one);
                }}
              />
            ) : null}
          </div>
        }
      >
        <PlayMoneyNotice />
        {sold.error ? (
          <Notice tone="bad" action={<Button onClick={sold.reload}>Try again</Button>}>
            {errorText(sold.error)}
          </Notice>
        ) : null}
        {sold.data && currency ? (
          <Packs packs={prices.packs} currency={currency} />
        ) : sold.loading ? (
          <Waiting label="Loading the prices" />
        ) : null}
      </Section>

      <Section title="Plans" intro="Credits each month or year, for less. They stay yours when a plan ends.">
        {sold.data && currency && (!plan.first || plan.error) ? (
          <Plans plans={prices.plans} currency={currency} control={plan} changed={changed} />
        ) : sold.loading || plan.first ? (
          <Waiting label="Loading the plans" />
        ) : null}
      </Section>

      <Section title="Referrals">
        <ReferralsCard referrals={referrals} />
      </Section>
      <Section title="Payments">
        <Payments payments={payments} titles={prices} />
      </Section>
      <Section title="Invoices">
        <Invoices invoices={invoices} />
      </Section>
      <Section title="History">
        <History ledger={ledger} titles={prices} />
      </Section>
    </Page>
  );
}

interface Returned {
  how: "paid" | "left";
  orderId: string;
}

/** How the browser came back from a checkout. The address stays until that is settled, so that a reload asks again. */
function useReturn(): [Returned | null, () => void] {
  const [search, setSearch] = useSearchParams();
  const [returned] = useState<Returned | null>(() => {
    for (const how of ["paid", "left"] as const) {
      const orderId = search.get(how);
      if (orderId) return { how, orderId };
    }
    return null;
  });
  const clear = useCallback(() => setSearch({}, { replace: true }), [setSearch]);
  const left = returned?.how === "left";
  // biome-ignore lint/correctness/useExhaustiveDependencies: once, when the page is opened.
  useEffect(() => {
    if (left) clear();
  }, [left]);
  return [returned, clear];
}

interface SectionProps {
  title: string;
  intro?: string;
  aside?: ReactNode;
  children: ReactNode;
}

function Section({ title, intro, aside, children }: SectionProps) {
  const id = useId();
  return (
    <section className={css.section} aria-labelledby={id}>
      <div className={css.sectionHead}>
        <div>
          <h2 id={id}>{title}</h2>
          {intro ? <p className={css.hint}>{intro}</p> : null}
        </div>
        {aside}
      </div>
      {children}
    </section>
  );
}

/** As high as what is to come, so that nothing jumps. */
function Waiting({ label }: { label: string }) {
  return (
    <div className={css.waiting}>
      <Progress label={label} value={null} />
    </div>
  );
}
