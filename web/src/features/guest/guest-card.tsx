// A guest's options, the price of exactly what will run, the mail address for the result, and the button to pay.
import { type FormEvent, useCallback, useMemo, useRef, useState } from "react";
import { ApiError, errorText, fieldError, newIdempotencyKey } from "../../api/client";
import { guest as api } from "../../api/endpoints";
import type { GuestCheckout, GuestJobRequest, Upload } from "../../api/types";
import { Button } from "../../ui/button";
import { TextField } from "../../ui/field";
import { about } from "../../ui/format";
import { money } from "../../ui/money";
import { Notice } from "../../ui/notice";
import { Card } from "../../ui/page";
import { useAction, useLoad } from "../../ui/use-load";
import css from "../upload/upload.module.css";
import { isOfUpscale, UpscaleFields, useUpscale } from "../upload/upscale-fields";
import own from "./guest.module.css";

interface GuestCardProps {
  /** Null until the photo is verified: the price comes with it. */
  upload: Upload | null;
  leaving: (checkout: GuestCheckout) => void;
  /** Begins again with another photo. */
  restart: () => void;
}

export function GuestCard({ upload, leaving, restart }: GuestCardProps) {
  const upscale = useUpscale();
  const { params } = upscale;
  const [email, setEmail] = useState("");
  const request = useMemo<GuestJobRequest | null>(
    () => upload && { kind: "upscale", params, inputs: [upload.id] },
    [upload, params],
  );
  const load = useCallback((signal: AbortSignal) => api.quote(request as GuestJobRequest, signal), [request]);
  const quoted = useLoad(request ? load : null);
  const quote = request ? quoted.data : null;
  const settled = quote !== null && !quoted.loading && !quoted.error;

  // One key for one intention: a second press for the same order is the same order.
  const intention = useRef<{ of: string; key: string } | null>(null);
  const pay = useAction(async (wanted: GuestJobRequest, address: string) => {
    const body = { ...wanted, email: address };
    const of = JSON.stringify(body);
    if (intention.current?.of !== of) intention.current = { of, key: newIdempotencyKey() };
    try {
      leaving(await api.checkout(body, intention.current.key));
    } catch (error) {
      // That order was paid or ran out meanwhile, and whoever came back wants another one.
      if (!(error instanceof ApiError && error.code === "order_over")) throw error;
      intention.current = { of, key: newIdempotencyKey() };
      leaving(await api.checkout(body, intention.current.key));
    }
  });

  const error = pay.error ?? quoted.error;
  const wrongAddress = fieldError(error, "email");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (request && settled) pay.run(request, email.trim());
  };
  // A guest's photo belongs to the visit: a new visit needs it anew.
  if (error instanceof ApiError && error.status === 401) {
    return (
      <Card label="Options and price">
        <Notice tone="bad" action={<Button onClick={restart}>Choose the photo again</Button>}>
          Your visit took too long and is over; nothing was charged.
        </Notice>
      </Card>
    );
  }
  return (
    <Card label="Options and price">
      <form className={own.form} onSubmit={submit}>
        <UpscaleFields control={upscale} upload={upload} error={error} />
        <TextField
          label="Your mail address"
          type="email"
          name="email"
          autoComplete="email"
          inputMode="email"
          required
          hint="The link to the result goes there, and nothing else."
          value={email}
          onChange={(event) => setEmail(event.target.value)}
          error={wrongAddress}
        />
        <div className={css.price}>
          <div className={css.total} aria-live="polite" data-settled={settled || undefined}>
            <span>{quote ? quote.title : "Price"}</span>
            <strong data-testid="price">{quote ? money(quote.amount, quote.currency) : "–"}</strong>
          </div>
          <p className={css.after}>
            {quote
              ? `One payment, no subscription. Takes ${about(quote.expected_s)} once it starts.`
              : "The price comes as soon as the photo is ready."}
          </p>
        </div>
        {error && !wrongAddress && !isOfUpscale(error) ? (
          <Notice
            tone="bad"
            action={quoted.error ? <Button onClick={quoted.reload}>Try again</Button> : null}
          >
            {errorText(error)}
          </Notice>
        ) : null}
        <Button type="submit" look="primary" disabled={!settled} busy={pay.busy}>
          {quote ? `Pay ${money(quote.amount, quote.currency)}` : "Pay"}
        </Button>
      </form>
    </Card>
  );
}
