// The plans that are sold, the one that runs, and the ways from one to another.
import { useState } from "react";
import { errorText } from "../../api/client";
import { billing } from "../../api/endpoints";
import type { Plan, Subscription } from "../../api/types";
import { Button } from "../../ui/button";
import { creditsNumber, onDay } from "../../ui/format";
import { money } from "../../ui/money";
import { Notice } from "../../ui/notice";
import { useAction } from "../../ui/use-load";
import css from "./credits.module.css";
import { PlanDialog, type PlanQuestion } from "./plan-dialog";
import { planStatusText, step } from "./plan-rules";
import { useCheckout } from "./use-checkout";
import { useSoon } from "./use-soon";
import type { PlanControl } from "./use-subscription";

interface PlansProps {
  plans: readonly Plan[];
  currency: string;
  control: PlanControl;
  /** Credits may have moved. */
  changed: () => void;
}

export function Plans({ plans, currency, control, changed }: PlansProps) {
  const checkout = useCheckout();
  const [wanted, setWanted] = useState<string | null>(null);
  const [question, setQuestion] = useState<PlanQuestion | null>(null);
  const changedSoon = useSoon(changed);
  const change = useAction(async (body: { plan: string } | { cancel: boolean }) => {
    await billing.changePlan(body);
    setQuestion(null);
    changedSoon();
  });
  const current = plans.find((plan) => plan.id === control.plan?.plan) ?? null;
  return (
    <>
      {control.error ? (
        <Notice tone="bad" action={<Button onClick={control.reload}>Try again</Button>}>
          {errorText(control.error)}
        </Notice>
      ) : null}
      {control.plan ? (
        <Running
          plan={control.plan}
          title={current?.title ?? control.plan.plan}
          busy={change.busy}
          end={() => setQuestion({ ask: "end", title: current?.title ?? "the plan" })}
          resume={() => change.run({ cancel: false })}
        />
      ) : null}
      <ul className={css.tiles}>
        {plans.map((plan) => {
          const next = step(current, plan, currency);
          const price = plan.prices[currency] ?? 0;
          return (
            <li key={plan.id} className={css.tile} data-current={next === "stays" || undefined}>
              <h3>{plan.title}</h3>
              {next === "not-sold" ? (
                <p className={css.hint}>Not sold in {currency.toUpperCase()}.</p>
              ) : (
                <p className={css.price}>
                  {money(price, currency, true)} <small>a {plan.interval}</small>
                </p>
              )}
              <p className={css.hint}>
                {creditsNumber(plan.millicredits)} credits each {plan.interval}
              </p>
              {next === "begin" ? (
                <Button
                  aria-label={`Subscribe to ${plan.title}`}
                  disabled={control.first}
                  busy={checkout.busy && wanted === plan.id}
                  onClick={() => {
                    setWanted(plan.id);
                    checkout.run({ plan: plan.id, currency });
                  }}
                >
                  Subscribe
                </Button>
              ) : null}
              {next === "up" || next === "down" ? (
                <Button
                  aria-label={`Change to ${plan.title}`}
                  onClick={() => {
                    change.clear();
                    const most = price - (current?.prices[currency] ?? 0);
                    setQuestion({ ask: next, plan, most: money(most, currency, true) });
                  }}
                >
                  Change to this
                </Button>
              ) : null}
              {next === "stays" ? <p className={css.mark}>Your plan</p> : null}
              {next === "other-period" ? (
                <p className={css.hint}>End your plan first: month and year don’t mix.</p>
              ) : null}
            </li>
          );
        })}
      </ul>
      {checkout.error ? <Notice tone="bad">{errorText(checkout.error)}</Notice> : null}
      {change.error && !question ? <Notice tone="bad">{errorText(change.error)}</Notice> : null}
      {question ? (
        <PlanDialog
          question={question}
          busy={change.busy}
          error={change.error}
          close={() => setQuestion(null)}
          change={change.run}
        />
      ) : null}
    </>
  );
}

interface RunningProps {
  plan: Subscription;
  title: string;
  busy: boolean;
  end: () => void;
  resume: () => void;
}

function Running({ plan, title, busy, end, resume }: RunningProps) {
  const day = plan.period_end ? onDay(plan.period_end) : null;
  const troubled = plan.status !== "active" && plan.status !== "trialing";
  return (
    <Notice
      tone={troubled ? "bad" : "info"}
      action={
        plan.ends_at_period_end ? (
          <Button onClick={resume} busy={busy}>
            Keep the plan
          </Button>
        ) : (
          <Button onClick={end}>End the plan</Button>
        )
      }
    >
      <strong>You have the plan {title}.</strong>{" "}
      {plan.status !== "active" ? `${planStatusText(plan.status)}. ` : ""}
      {plan.ends_at_period_end
        ? `It ends ${day ? `on ${day}` : "with its period"}; nothing more is charged.`
        : day
          ? `It is paid until ${day} and goes on by itself.`
          : "It goes on by itself until you end it."}
    </Notice>
  );
}
