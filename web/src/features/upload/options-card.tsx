// What to do with the photo, what it costs, and the button. The price is the server's own quote for exactly
// what the button will ask for.
import { useCallback, useMemo, useRef, useState } from "react";
import { Link, useNavigate } from "react-router";
import { ApiError, errorText, fieldError, newIdempotencyKey } from "../../api/client";
import { jobs } from "../../api/endpoints";
import type { JobRequest, Priority, Upload } from "../../api/types";
import { Button } from "../../ui/button";
import { Checkbox } from "../../ui/field";
import { about, credits, creditsNumber } from "../../ui/format";
import { Notice } from "../../ui/notice";
import { Card } from "../../ui/page";
import { useAction, useLoad } from "../../ui/use-load";
import { useBalance } from "../credits/balance";
import { rememberOriginal } from "./originals";
import css from "./upload.module.css";
import { isOfUpscale, UpscaleFields, useUpscale } from "./upscale-fields";

interface OptionsCardProps {
  file: File | null;
  /** Null until the photo is verified: options may be chosen, the price comes with it. */
  upload: Upload | null;
}

export function OptionsCard({ file, upload }: OptionsCardProps) {
  const navigate = useNavigate();
  const { balance, refresh } = useBalance();
  const upscale = useUpscale();
  const { params } = upscale;
  const [priority, setPriority] = useState<Priority>("standard");

  const request = useMemo<JobRequest | null>(
    () =>
      upload && {
        kind: "upscale",
        params,
        inputs: [upload.id],
        priority,
      },
    [upload, params, priority],
  );

  const load = useCallback((signal: AbortSignal) => jobs.quote(request as JobRequest, signal), [request]);
  const quoted = useLoad(request ? load : null);
  // While a new price is on its way the old one stays in sight, but it can't be clicked.
  const quote = request ? quoted.data : null;
  const settled = quote !== null && !quoted.loading && !quoted.error;

  // One key for one intention: a second click on the same request is the same job, whatever got lost between.
  const intention = useRef<{ request: JobRequest; key: string } | null>(null);
  const start = useAction(async (wanted: JobRequest) => {
    if (intention.current?.request !== wanted) {
      intention.current = { request: wanted, key: newIdempotencyKey() };
    }
    const job = await jobs.create(wanted, intention.current.key);
    if (file) rememberOriginal(job.id, file);
    refresh();
    navigate(`/jobs/${job.id}`);
  });

  const error = start.error ?? quoted.error;
  const shown = isOfUpscale(error) || fieldError(error, "priority") !== null;
  const missing = quote && balance ? quote.quote_millicredits - balance.available_millicredits : 0;

  return (
    <Card label="Options">
      <UpscaleFields control={upscale} upload={upload} error={error} />
      <Checkbox
        label="Rush"
        hint="Goes ahead of the line, at twice the price."
        checked={priority === "rush"}
        onChange={(rush) => setPriority(rush ? "rush" : "standard")}
        error={fieldError(error, "priority")}
      />

      <div className={css.price}>
        <div className={css.total} aria-live="polite" data-settled={settled || undefined}>
          <span>Price</span>
          <strong data-testid="price">{quote ? credits(quote.quote_millicredits) : "–"}</strong>
        </div>
        {quote && quote.lines.length > 1 ? (
          <ul className={css.lines}>
            {quote.lines.map((line) => (
              <li key={line.what}>
                <span>{line.what}</span>
                <span>{creditsNumber(line.millicredits)}</span>
              </li>
            ))}
          </ul>
        ) : null}
        <p className={css.after}>
          {quote === null
            ? "The price comes as soon as the photo is ready."
            : balance
              ? missing > 0
                ? `You have ${credits(balance.available_millicredits)}.`
                : `Leaves you ${credits(balance.available_millicredits - quote.quote_millicredits)}. Takes ${about(quote.expected_s)} once it starts.`
              : `Takes ${about(quote.expected_s)} once it starts.`}
        </p>
      </div>

      {missing > 0 ? (
        <Notice>
          {credits(missing)} short. {priority === "rush" ? "Without the rush it costs less. " : ""}
          <Link to="/credits">Buy credits</Link>
        </Notice>
      ) : null}
      {error && !shown ? (
        <Notice tone="bad" action={quoted.error ? <Button onClick={quoted.reload}>Try again</Button> : null}>
          {errorText(error)}
          {error instanceof ApiError && error.code === "network" && start.error
            ? " Pressing the button again won't charge twice."
            : ""}
        </Notice>
      ) : null}
      <Button
        look="primary"
        disabled={!settled || missing > 0}
        busy={start.busy}
        onClick={() => request && start.run(request)}
      >
        {settled && quote && missing <= 0
          ? `Enlarge for ${credits(quote.quote_millicredits)}`
          : "Enlarge the photo"}
      </Button>
    </Card>
  );
}
