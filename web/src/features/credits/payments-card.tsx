// What was ordered and what was billed, newest first, and the way to the payment service's own page for cards.
import type { ReactNode } from "react";
import { errorText } from "../../api/client";
import { billing } from "../../api/endpoints";
import type { Invoice, Payment } from "../../api/types";
import { Button } from "../../ui/button";
import { credits, onDay, when } from "../../ui/format";
import { money } from "../../ui/money";
import { Notice } from "../../ui/notice";
import { Progress } from "../../ui/progress";
import { useAction } from "../../ui/use-load";
import type { Pages } from "../../ui/use-pages";
import css from "./credits.module.css";
import { invoiceStateText, orderStateText, type Titles, whatText } from "./order-text";
import { leaveFor } from "./play-money";

export function Payments({ payments, titles }: { payments: Pages<Payment>; titles: Titles }) {
  const portal = useAction(async () => leaveFor((await billing.portal()).url));
  if (!payments.error && !payments.first && payments.items.length === 0) {
    return <p className={css.hint}>You have bought nothing yet.</p>;
  }
  return (
    <>
      <Listed pages={payments} what="the payments">
        {payments.items.map((one) => (
          <li key={one.id} className={css.entry}>
            <span className={css.what}>
              {whatText(one.what, titles)}
              <span className={css.state} data-state={one.state}>
                {orderStateText(one.state)}
              </span>
            </span>
            <time className={css.at} dateTime={one.paid_at ?? one.created_at}>
              {when(one.paid_at ?? one.created_at)}
            </time>
            <span className={css.amount}>
              {money(one.amount, one.currency)}
              <span className={css.moved}>{credits(one.millicredits)}</span>
            </span>
          </li>
        ))}
      </Listed>
      <div>
        <Button onClick={portal.run} busy={portal.busy}>
          Cards and billing address
        </Button>
      </div>
      {portal.error ? <Notice tone="bad">{errorText(portal.error)}</Notice> : null}
    </>
  );
}

export function Invoices({ invoices }: { invoices: Pages<Invoice> }) {
  if (!invoices.error && !invoices.first && invoices.items.length === 0) {
    return <p className={css.hint}>An invoice comes with each payment.</p>;
  }
  return (
    <Listed pages={invoices} what="the invoices">
      {invoices.items.map((one) => (
        <InvoiceLine key={one.id} invoice={one} />
      ))}
    </Listed>
  );
}

function InvoiceLine({ invoice }: { invoice: Invoice }) {
  const name = invoice.number ?? "Invoice";
  return (
    <li className={css.entry}>
      <span className={css.what}>
        {name}
        <span className={css.state} data-state={invoice.status}>
          {invoiceStateText(invoice.status)}
        </span>
        {invoice.url ? (
          <a href={invoice.url} target="_blank" rel="noreferrer" aria-label={`Open the invoice ${name}`}>
            Open
          </a>
        ) : null}
        {invoice.pdf_url ? (
          <a
            href={invoice.pdf_url}
            target="_blank"
            rel="noreferrer"
            aria-label={`The invoice ${name} as a PDF`}
          >
            PDF
          </a>
        ) : null}
      </span>
      <time className={css.at} dateTime={invoice.created_at}>
        {onDay(invoice.created_at)}
      </time>
      <span className={css.amount}>{money(invoice.total, invoice.currency)}</span>
    </li>
  );
}

interface ListedProps<T> {
  pages: Pages<T>;
  /** "the payments": what is being loaded. */
  what: string;
  children: ReactNode;
}

/** A list that comes in pages, with its waiting, its error and its "Load more". */
export function Listed<T>({ pages, what, children }: ListedProps<T>) {
  return (
    <>
      {pages.error ? (
        <Notice tone="bad" action={<Button onClick={pages.reload}>Try again</Button>}>
          {errorText(pages.error)}
        </Notice>
      ) : null}
      {pages.first && pages.busy ? (
        <div className={css.waitingList}>
          <Progress label={`Loading ${what}`} value={null} />
        </div>
      ) : null}
      {pages.items.length > 0 ? <ul className={css.entries}>{children}</ul> : null}
      {pages.more ? (
        <div>
          <Button onClick={pages.loadMore} busy={pages.busy}>
            Load more
          </Button>
        </div>
      ) : null}
    </>
  );
}
