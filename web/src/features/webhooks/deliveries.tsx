// What was sent to the endpoints, or will be: each with its tries, its body, and the way to send it again.
import { useCallback, useEffect, useState } from "react";
import { errorText, newIdempotencyKey } from "../../api/client";
import { webhooks as api } from "../../api/endpoints";
import type { Delivery, Endpoint } from "../../api/types";
import { Button } from "../../ui/button";
import { when } from "../../ui/format";
import { Notice } from "../../ui/notice";
import { useAction, useLoad } from "../../ui/use-load";
import { usePages } from "../../ui/use-pages";
import css from "../account/account.module.css";
import { deliveryText, tryText } from "./webhook-text";

const load = (cursor: string | null, signal: AbortSignal) => api.deliveries({ limit: 10, cursor }, signal);

interface DeliveriesProps {
  /** Another number asks again: something was just sent. */
  round: number;
  endpoints: readonly Endpoint[];
}

export function Deliveries({ round, endpoints }: DeliveriesProps) {
  const deliveries = usePages(load);
  const [open, setOpen] = useState<string | null>(null);
  const { reload } = deliveries;
  useEffect(() => {
    if (round === 0) return;
    reload();
    // A test takes a moment to go out.
    const soon = setTimeout(reload, 2000);
    return () => clearTimeout(soon);
  }, [round, reload]);
  const urlOf = (id: string) => endpoints.find((one) => one.id === id)?.url ?? "a deleted endpoint";
  return (
    <section className={css.stack} aria-label="Deliveries">
      <div className={css.item}>
        <h3>Deliveries</h3>
        <Button look="quiet" onClick={reload} busy={deliveries.busy}>
          Look again
        </Button>
      </div>
      {deliveries.error ? <Notice tone="bad">{errorText(deliveries.error)}</Notice> : null}
      {!deliveries.first && deliveries.items.length === 0 ? (
        <p className={css.hint}>Nothing was sent in the last 30 days.</p>
      ) : null}
      <ul className={css.list}>
        {deliveries.items.map((one) => (
          <li key={one.id}>
            <div className={css.item}>
              <div className={css.words}>
                {one.type}
                <p className={css.hint}>
                  <span className={STATE_LOOK[one.state]}>{deliveryText(one)}</span> · {when(one.created_at)}{" "}
                  · to {urlOf(one.endpoint_id)}
                </p>
              </div>
              <Button
                onClick={() => setOpen(open === one.id ? null : one.id)}
                aria-expanded={open === one.id}
                aria-label={`${open === one.id ? "Close" : "Tries of"} ${one.type}, ${when(one.created_at)}`}
              >
                {open === one.id
                  ? "Close"
                  : `${one.tries.length} ${one.tries.length === 1 ? "try" : "tries"}`}
              </Button>
            </div>
            {open === one.id ? <Tries delivery={one} changed={reload} /> : null}
          </li>
        ))}
      </ul>
      {deliveries.more ? (
        <div>
          <Button onClick={deliveries.loadMore} busy={deliveries.busy}>
            Load more
          </Button>
        </div>
      ) : null}
    </section>
  );
}

const STATE_LOOK: Record<string, string | undefined> = { delivered: css.good, failed: css.bad };

function Tries({ delivery, changed }: { delivery: Delivery; changed: () => void }) {
  const { id } = delivery;
  const whole = useLoad(useCallback((signal: AbortSignal) => api.delivery(id, signal), [id]));
  const replay = useAction(async () => {
    await api.replay(id, newIdempotencyKey());
    changed();
    whole.reload();
  });
  const tries = whole.data?.tries ?? delivery.tries;
  return (
    <div className={css.inside}>
      {tries.length === 0 ? <p className={css.hint}>Not tried yet.</p> : null}
      <ol className={css.list}>
        {tries.map((one) => (
          <li key={one.at}>
            {tryText(one)}
            <span className={css.hint}> · {when(one.at)}</span>
            {one.answer ? <p className={css.body}>{one.answer}</p> : null}
          </li>
        ))}
      </ol>
      {whole.data?.body ? (
        <details>
          <summary>What is sent</summary>
          <p className={css.body}>{whole.data.body}</p>
        </details>
      ) : null}
      {delivery.state === "pending" ? null : (
        <div>
          <Button onClick={replay.run} busy={replay.busy}>
            Send it again
          </Button>
        </div>
      )}
      {(replay.error ?? whole.error) ? (
        <Notice tone="bad">{errorText(replay.error ?? whole.error)}</Notice>
      ) : null}
    </div>
  );
}
