// The account's webhook endpoints: made, tried, given a new secret, switched on again, deleted.
import { useCallback, useState } from "react";
import { errorText } from "../../api/client";
import { webhooks as api } from "../../api/endpoints";
import type { Endpoint } from "../../api/types";
import { Button } from "../../ui/button";
import { Notice } from "../../ui/notice";
import { Card } from "../../ui/page";
import { usePages } from "../../ui/use-pages";
import css from "../account/account.module.css";
import { Deliveries } from "./deliveries";
import { EndpointForm } from "./endpoint-form";
import { EndpointItem } from "./endpoint-item";
import { SecretNotice } from "./secret-notice";

export function WebhooksCard() {
  const endpoints = usePages(
    useCallback((cursor: string | null, signal: AbortSignal) => api.list({ limit: 20, cursor }, signal), []),
  );
  const [secret, setSecret] = useState<{ url: string; secret: string } | null>(null);
  // Another number is another look at the deliveries.
  const [round, setRound] = useState(0);
  const shown = (endpoint: Endpoint & { secret?: string | null }) => {
    if (endpoint.secret) setSecret({ url: endpoint.url, secret: endpoint.secret });
    endpoints.reload();
  };
  return (
    <Card label="Webhooks">
      <h2>Webhooks</h2>
      <p className={css.hint}>
        Kiln tells an address of yours what happens here, signed as Standard Webhooks says, and tries eight
        times over a day.
      </p>
      {endpoints.error ? (
        <Notice tone="bad" action={<Button onClick={endpoints.reload}>Try again</Button>}>
          {errorText(endpoints.error)}
        </Notice>
      ) : null}
      {secret ? <SecretNotice url={secret.url} secret={secret.secret} close={() => setSecret(null)} /> : null}
      <ul className={css.list}>
        {endpoints.items.map((endpoint) => (
          <EndpointItem
            key={endpoint.id}
            endpoint={endpoint}
            changed={shown}
            tried={() => setRound((n) => n + 1)}
          />
        ))}
      </ul>
      <EndpointForm made={shown} />
      {endpoints.items.length > 0 || round > 0 ? (
        <Deliveries round={round} endpoints={endpoints.items} />
      ) : null}
    </Card>
  );
}
