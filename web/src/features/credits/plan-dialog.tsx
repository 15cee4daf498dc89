// Asks before a plan changes, and says what that costs and when it takes effect.
import { errorText } from "../../api/client";
import type { Plan } from "../../api/types";
import { Button } from "../../ui/button";
import { Dialog } from "../../ui/dialog";
import { creditsNumber } from "../../ui/format";
import { Notice } from "../../ui/notice";

export type PlanQuestion =
  | { ask: "end"; title: string }
  /** `most`: the difference of a whole period. */
  | { ask: "up" | "down"; plan: Plan; most: string };

interface PlanDialogProps {
  question: PlanQuestion;
  busy: boolean;
  error: unknown;
  close: () => void;
  change: (body: { plan: string } | { cancel: boolean }) => void;
}

export function PlanDialog({ question, busy, error, close, change }: PlanDialogProps) {
  const trouble = error ? <Notice tone="bad">{errorText(error)}</Notice> : null;
  if (question.ask === "end") {
    return (
      <Dialog
        title={`End ${question.title}?`}
        onClose={close}
        actions={
          <>
            <Button onClick={close}>Keep it</Button>
            <Button look="danger" onClick={() => change({ cancel: true })} busy={busy}>
              End the plan
            </Button>
          </>
        }
      >
        <p>
          It runs to the end of the period that is paid for; then nothing more is charged. The credits that
          you have stay yours. Until then you can change your mind.
        </p>
        {trouble}
      </Dialog>
    );
  }
  const { plan, most } = question;
  return (
    <Dialog
      title={`Change to ${plan.title}?`}
      onClose={close}
      actions={
        <>
          <Button onClick={close}>Not now</Button>
          <Button look="primary" onClick={() => change({ plan: plan.id })} busy={busy}>
            Change to {plan.title}
          </Button>
        </>
      }
    >
      {question.ask === "up" ? (
        <p>
          It begins at once. The difference for the rest of this period, {most} at most, is charged to your
          card now, and its share of the credits comes with the payment. From the next period on you get{" "}
          {creditsNumber(plan.millicredits)} credits each {plan.interval}.
        </p>
      ) : (
        <p>
          The lower price begins with the next period, and with it {creditsNumber(plan.millicredits)} credits
          each {plan.interval}. Nothing is charged now, and the credits that you have stay yours.
        </p>
      )}
      {trouble}
    </Dialog>
  );
}
