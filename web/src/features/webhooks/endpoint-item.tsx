// One endpoint with what can be done to it.
import { useState } from "react";
import { errorText, newIdempotencyKey } from "../../api/client";
import { webhooks as api } from "../../api/endpoints";
import type { Endpoint, EndpointWithSecret } from "../../api/types";
import { Button } from "../../ui/button";
import { Dialog } from "../../ui/dialog";
import { when } from "../../ui/format";
import { Notice } from "../../ui/notice";
import { useAction } from "../../ui/use-load";
import css from "../account/account.module.css";
import { endpointText } from "./webhook-text";

interface EndpointItemProps {
  endpoint: Endpoint;
  changed: (endpoint: EndpointWithSecret) => void;
  /** A test was sent. */
  tried: () => void;
}

export function EndpointItem({ endpoint, changed, tried }: EndpointItemProps) {
  const [asking, setAsking] = useState<"rotate" | "delete" | null>(null);
  const test = useAction(async () => {
    await api.test(endpoint.id, newIdempotencyKey());
    tried();
  });
  const enable = useAction(async (enabled: boolean) => changed(await api.change(endpoint.id, { enabled })));
  const rotate = useAction(async () => {
    const fresh = await api.rotate(endpoint.id, newIdempotencyKey());
    setAsking(null);
    changed(fresh);
  });
  const remove = useAction(async () => {
    await api.remove(endpoint.id);
    setAsking(null);
    changed(endpoint);
  });
  const error = test.error ?? enable.error;
  const of = `of ${endpoint.url}`;
  return (
    <li className={css.stack}>
      <div className={css.item}>
        <div className={css.words}>
          {endpoint.url}
          <p className={css.hint}>
            <span className={!endpoint.enabled || endpoint.failing_since ? css.bad : css.good}>
              {endpointText(endpoint)}
            </span>{" "}
            · {endpoint.events.join(", ")}
            {endpoint.old_secret_until
              ? ` · the secret before signs too until ${when(endpoint.old_secret_until)}`
              : ""}
          </p>
        </div>
        <div className={css.buttons}>
          {endpoint.enabled ? (
            <Button onClick={test.run} busy={test.busy} aria-label={`Test ${endpoint.url}`}>
              Test
            </Button>
          ) : (
            <Button
              onClick={() => enable.run(true)}
              busy={enable.busy}
              aria-label={`Switch ${endpoint.url} on`}
            >
              Switch on
            </Button>
          )}
          <Button onClick={() => setAsking("rotate")} aria-label={`New secret ${of}`}>
            New secret
          </Button>
          {endpoint.enabled ? (
            <Button
              onClick={() => enable.run(false)}
              busy={enable.busy}
              aria-label={`Switch ${endpoint.url} off`}
            >
              Switch off
            </Button>
          ) : null}
          <Button look="danger" onClick={() => setAsking("delete")} aria-label={`Delete ${endpoint.url}`}>
            Delete
          </Button>
        </div>
      </div>
      {error ? <Notice tone="bad">{errorText(error)}</Notice> : null}
      {asking === "rotate" ? (
        <Dialog
          title="A new secret?"
          onClose={() => setAsking(null)}
          actions={
            <>
              <Button onClick={() => setAsking(null)}>Not now</Button>
              <Button look="primary" onClick={rotate.run} busy={rotate.busy}>
                Make a new secret
              </Button>
            </>
          }
        >
          <p>
            For 24 hours each message is signed with both, so change yours within that time. A secret from
            before that ends at once.
          </p>
          {rotate.error ? <Notice tone="bad">{errorText(rotate.error)}</Notice> : null}
        </Dialog>
      ) : null}
      {asking === "delete" ? (
        <Dialog
          title="Delete this endpoint?"
          onClose={() => setAsking(null)}
          actions={
            <>
              <Button onClick={() => setAsking(null)}>Keep it</Button>
              <Button look="danger" onClick={remove.run} busy={remove.busy}>
                Delete
              </Button>
            </>
          }
        >
          <p>{endpoint.url} is told nothing more, and what waits for it is not sent.</p>
          {remove.error ? <Notice tone="bad">{errorText(remove.error)}</Notice> : null}
        </Dialog>
      ) : null}
    </li>
  );
}
