// A new endpoint: where, and what it wants to be told.
import { useRef, useState } from "react";
import { errorText, fieldError, newIdempotencyKey } from "../../api/client";
import { webhooks as api } from "../../api/endpoints";
import type { EndpointWithSecret } from "../../api/types";
import { Button } from "../../ui/button";
import { Checkbox, TextField } from "../../ui/field";
import { Notice } from "../../ui/notice";
import { useAction } from "../../ui/use-load";
import css from "../account/account.module.css";
import { GROUPS } from "./webhook-text";

export function EndpointForm({ made }: { made: (endpoint: EndpointWithSecret) => void }) {
  const [url, setUrl] = useState("");
  const [events, setEvents] = useState<readonly string[]>(["job.*"]);
  // One key for one intention: a repeat after a lost answer makes no second endpoint.
  const intention = useRef<{ of: string; key: string } | null>(null);
  const create = useAction(async () => {
    const body = { url: url.trim(), events: [...events] };
    const of = JSON.stringify(body);
    if (intention.current?.of !== of) intention.current = { of, key: newIdempotencyKey() };
    let endpoint = await api.create(body, intention.current.key);
    // The answer with the secret was lost on the way and may not be repeated: a new secret takes its place.
    if (!endpoint.secret) endpoint = await api.rotate(endpoint.id, newIdempotencyKey());
    intention.current = null;
    setUrl("");
    made(endpoint);
  });
  const wrongUrl = fieldError(create.error, "url");
  return (
    <form
      className={css.stack}
      onSubmit={(event) => {
        event.preventDefault();
        create.run();
      }}
    >
      <div className={css.row}>
        <TextField
          label="Address of a new endpoint"
          type="url"
          inputMode="url"
          placeholder="https://example.com/kiln"
          value={url}
          maxLength={2048}
          required
          autoComplete="off"
          onChange={(event) => setUrl(event.target.value)}
          error={wrongUrl}
        />
        <Button type="submit" busy={create.busy} disabled={events.length === 0}>
          Add an endpoint
        </Button>
      </div>
      {GROUPS.map(([group, what]) => (
        <Checkbox
          key={group}
          label={what}
          checked={events.includes(group)}
          onChange={(on) => setEvents((old) => (on ? [...old, group] : old.filter((one) => one !== group)))}
        />
      ))}
      {create.error && !wrongUrl ? <Notice tone="bad">{errorText(create.error)}</Notice> : null}
    </form>
  );
}
