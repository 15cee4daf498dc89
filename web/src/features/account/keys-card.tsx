// API keys: made, shown once, revoked.
import { useState } from "react";
import { errorText, newIdempotencyKey } from "../../api/client";
import { apiKeys } from "../../api/endpoints";
import type { NewApiKey, Scope } from "../../api/types";
import { Button } from "../../ui/button";
import { Checkbox, TextField } from "../../ui/field";
import { onDay, when } from "../../ui/format";
import { Notice } from "../../ui/notice";
import { Card } from "../../ui/page";
import { useAction, useLoad } from "../../ui/use-load";
import css from "./account.module.css";

const SCOPES: readonly (readonly [Scope, string])[] = [
  ["jobs:read", "See jobs and what they made"],
  ["jobs:write", "Ask for jobs and cancel them"],
  ["uploads:write", "Send pictures"],
  ["shares:write", "Make and end links"],
  ["credits:read", "See credits and history"],
  ["webhooks:write", "Set up webhooks"],
];

const list = (signal: AbortSignal) => apiKeys.list(signal);

export function KeysCard() {
  const keys = useLoad(list);
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState<readonly Scope[]>(["jobs:read", "jobs:write", "uploads:write"]);
  const [made, setMade] = useState<NewApiKey | null>(null);
  const create = useAction(async () => {
    setMade(await apiKeys.create({ name: name.trim(), scopes: [...scopes] }, newIdempotencyKey()));
    setName("");
    keys.reload();
  });
  const revoke = useAction(async (id: string) => {
    await apiKeys.revoke(id);
    if (made?.id === id) setMade(null);
    keys.reload();
  });
  const error = create.error ?? revoke.error ?? keys.error;
  return (
    <Card label="API keys">
      <h2>API keys</h2>
      <p className={css.hint}>
        For programs, which send one as Authorization: Bearer. A key opens this account alone.
      </p>
      <ul className={css.list}>
        {(keys.data?.items ?? []).map((key) => (
          <li key={key.id} className={css.item}>
            <div className={css.words}>
              {key.name}
              <p className={css.hint}>
                {key.scopes.join(", ")} ·{" "}
                {key.last_used_at ? `last used ${when(key.last_used_at)}` : "never used"}
                {key.expires_at ? ` · until ${onDay(key.expires_at)}` : ""}
              </p>
            </div>
            <Button
              look="danger"
              aria-label={`Revoke ${key.name}`}
              onClick={() => revoke.run(key.id)}
              busy={revoke.busy}
            >
              Revoke
            </Button>
          </li>
        ))}
      </ul>
      {made?.key ? (
        <Notice tone="good">
          <p>Copy the key now: it is shown only this once.</p>
          <p className={css.key}>{made.key}</p>
        </Notice>
      ) : null}
      <form
        className={css.stack}
        onSubmit={(event) => {
          event.preventDefault();
          create.run();
        }}
      >
        <div className={css.row}>
          <TextField
            label="Name of a new key"
            value={name}
            maxLength={80}
            required
            autoComplete="off"
            onChange={(event) => setName(event.target.value)}
          />
          <Button type="submit" busy={create.busy}>
            Make a key
          </Button>
        </div>
        {SCOPES.map(([scope, what]) => (
          <Checkbox
            key={scope}
            label={what}
            checked={scopes.includes(scope)}
            onChange={(on) => setScopes((old) => (on ? [...old, scope] : old.filter((one) => one !== scope)))}
          />
        ))}
      </form>
      {error ? <Notice tone="bad">{errorText(error)}</Notice> : null}
    </Card>
  );
}
