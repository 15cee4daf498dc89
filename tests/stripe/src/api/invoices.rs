//! Invoices: drafted, finalized, collected, read. Subscriptions make them, and Checkout where `invoice_creation` asks for one.

use serde_json::{Value, json};

use super::{
    list,
    payments::{self, Card, Payment},
    subscriptions,
};
use crate::{
    error::{Answer, Refusal},
    params::Params,
    work::{Work, int, text},
};

const RETRY_AFTER_S: i64 = 3 * 24 * 3600;

/// One line, before it has an id.
pub struct Line {
    pub amount: i64,
    pub currency: String,
    pub description: String,
    /// The price's object.
    pub price: Value,
    pub quantity: i64,
    /// Seconds since 1970, both ends.
    pub period: (i64, i64),
    /// The subscription and its item that the line is for.
    pub item: Option<(String, String)>,
    pub proration: bool,
}

/// What an invoice is made from.
pub struct Draft<'a> {
    pub customer: &'a str,
    pub currency: &'a str,
    pub reason: &'a str,
    pub lines: Vec<Line>,
    /// The subscription's object, for an invoice of one.
    pub subscription: Option<&'a Value>,
    pub metadata: Value,
    pub description: Value,
}

fn line(work: &mut Work<'_>, line: &Line, invoice: &str) -> Value {
    let details = json!({ "credited_items": null });
    let parent = match &line.item {
        Some((subscription, item)) => json!({ "type": "subscription_item_details", "invoice_item_details": null, "subscription_item_details": {
            "invoice_item": null, "proration": line.proration, "proration_details": details, "subscription": subscription, "subscription_item": item } }),
        None => {
            let invoice_item = work.id("ii");
            json!({ "type": "invoice_item_details", "subscription_item_details": null, "invoice_item_details": {
                "invoice_item": invoice_item, "proration": false, "proration_details": details, "subscription": null } })
        }
    };
    json!({
        "id": work.id("il"), "object": "line_item", "amount": line.amount, "currency": line.currency, "description": line.description, "discount_amounts": [],
        "discountable": !line.proration, "discounts": [], "invoice": invoice, "livemode": false, "metadata": {}, "parent": parent,
        "period": { "start": line.period.0, "end": line.period.1 }, "pretax_credit_amounts": [],
        "pricing": { "type": "price_details", "price_details": { "price": line.price["id"], "product": line.price["product"] }, "unit_amount_decimal": line.price["unit_amount_decimal"] },
        "quantity": line.quantity, "quantity_decimal": line.quantity.to_string(), "subtotal": line.amount, "taxes": [],
    })
}

pub fn draft(work: &mut Work<'_>, draft: Draft<'_>) -> Answer {
    let customer = work.get("customer", draft.customer, "customer")?;
    let id = work.id("in");
    let total: i64 = draft.lines.iter().map(|l| l.amount).sum();
    let start = draft.lines.iter().map(|l| l.period.0).min().unwrap_or(work.now);
    let lines: Vec<Value> = draft.lines.iter().map(|l| line(work, l, &id)).collect();
    let parent = draft.subscription.map(|s| {
        json!({ "type": "subscription_details", "quote_details": null,
            "subscription_details": { "metadata": s["metadata"], "subscription": s["id"], "subscription_proration_date": null } })
    });
    let invoice = json!({
        "id": id, "object": "invoice", "account_country": "US", "account_name": work.config.seller, "account_tax_ids": null, "amount_due": 0,
        "amount_overpaid": 0, "amount_paid": 0, "amount_remaining": 0, "amount_shipping": 0, "application": null, "attempt_count": 0, "attempted": false,
        "auto_advance": true, "automatic_tax": { "disabled_reason": null, "enabled": false, "liability": null, "provider": null, "status": null },
        "automatically_finalizes_at": null, "billing_reason": draft.reason, "collection_method": "charge_automatically", "created": work.now,
        "currency": draft.currency, "custom_fields": null, "customer": draft.customer, "customer_account": null, "customer_address": customer["address"],
        "customer_email": customer["email"], "customer_name": customer["name"], "customer_phone": customer["phone"], "customer_shipping": null,
        "customer_tax_exempt": customer["tax_exempt"], "customer_tax_ids": [], "default_payment_method": null, "default_source": null, "default_tax_rates": [],
        "description": draft.description, "discounts": [], "due_date": null, "effective_at": null, "ending_balance": null, "footer": null,
        "from_invoice": null, "hosted_invoice_url": null, "invoice_pdf": null, "issuer": { "type": "self" }, "last_finalization_error": null,
        "latest_revision": null, "lines": list::inside(format!("/v1/invoices/{id}/lines"), lines.clone()), "livemode": false, "metadata": draft.metadata,
        "next_payment_attempt": null, "number": null, "on_behalf_of": null, "parent": parent,
        "payment_settings": { "default_mandate": null, "payment_method_options": null, "payment_method_types": null }, "period_end": work.now,
        "period_start": start.min(work.now), "post_payment_credit_notes_amount": 0, "pre_payment_credit_notes_amount": 0, "receipt_number": null,
        "rendering": null, "shipping_cost": null, "shipping_details": null, "starting_balance": 0, "statement_descriptor": null, "status": "draft",
        "status_transitions": { "finalized_at": null, "marked_uncollectible_at": null, "paid_at": null, "voided_at": null }, "subtotal": total,
        "subtotal_excluding_tax": total, "test_clock": null, "total": total, "total_discount_amounts": [], "total_excluding_tax": total,
        "total_pretax_credit_amounts": [], "total_taxes": [], "webhooks_delivered_at": work.now, "_lines": lines,
    });
    work.made("invoice.created", &invoice);
    Ok(invoice)
}

/// Gives it its number, its pages and what is due. `with_balance`: the customer's balance is used first.
pub fn finalize(work: &mut Work<'_>, mut invoice: Value, with_balance: bool) -> Answer {
    let mut customer = work.get("customer", text(&invoice, "customer"), "customer")?;
    let (id, total) = (text(&invoice, "id").to_owned(), int(&invoice, "total"));
    let before = if with_balance { int(&customer, "balance") } else { 0 };
    let due = (total + before).max(0);
    let sequence = int(&customer, "next_invoice_sequence");
    invoice["number"] = format!("{}-{sequence:04}", text(&customer, "invoice_prefix")).into();
    invoice["starting_balance"] = before.into();
    invoice["ending_balance"] = (total + before).min(0).into();
    invoice["amount_due"] = due.into();
    invoice["amount_remaining"] = due.into();
    invoice["status"] = "open".into();
    invoice["effective_at"] = work.now.into();
    invoice["status_transitions"]["finalized_at"] = work.now.into();
    invoice["hosted_invoice_url"] = format!("{}/invoice/{id}", work.config.base_url).into();
    invoice["invoice_pdf"] = format!("{}/invoice/{id}/pdf", work.config.base_url).into();
    customer["next_invoice_sequence"] = (sequence + 1).into();
    if with_balance {
        customer["balance"] = invoice["ending_balance"].clone();
    }
    work.put(&customer);
    work.made("invoice.finalized", &invoice);
    Ok(invoice)
}

/// Tries to be paid what is due.
pub fn collect(work: &mut Work<'_>, invoice: Value, card: Card) -> Answer {
    if int(&invoice, "amount_remaining") == 0 {
        return Ok(paid(work, invoice, None));
    }
    let link = work.state.all("invoice_payment").find(|p| p["invoice"] == invoice["id"] && p["status"] == "open").cloned();
    let intent = match link {
        Some(link) => work.get("payment_intent", text(&link["payment"], "payment_intent"), "payment_intent")?,
        None => {
            let number = text(&invoice, "number");
            let data = json!({ "metadata": {}, "description": format!("Payment for Invoice {number}") });
            let (customer, currency, email) =
                (invoice["customer"].clone(), text(&invoice, "currency").to_owned(), invoice["customer_email"].as_str().map(str::to_owned));
            let payment = Payment { amount: int(&invoice, "amount_remaining"), currency: &currency, customer: &customer, email: email.as_deref(), data: &data };
            let intent = payments::begin(work, &payment);
            attach(work, &invoice, &intent);
            intent
        }
    };
    let intent = payments::attempt(work, intent, card);
    outcome(work, invoice, &intent)
}

/// What an intent's state means to its invoice.
pub fn outcome(work: &mut Work<'_>, invoice: Value, intent: &Value) -> Answer {
    Ok(match text(intent, "status") {
        "succeeded" => paid(work, invoice, Some(intent)),
        "processing" => {
            let mut invoice = invoice;
            invoice["attempted"] = true.into();
            invoice["attempt_count"] = (int(&invoice, "attempt_count") + 1).into();
            work.put(&invoice);
            invoice
        }
        _ => failed(work, invoice),
    })
}

/// Says which intent pays an invoice.
fn attach(work: &mut Work<'_>, invoice: &Value, intent: &Value) -> Value {
    let payment = json!({
        "id": work.id("inpay"), "object": "invoice_payment", "amount_paid": null, "amount_requested": intent["amount"], "created": work.now,
        "currency": invoice["currency"], "invoice": invoice["id"], "is_default": true, "livemode": false,
        "payment": { "type": "payment_intent", "payment_intent": intent["id"] }, "status": "open",
        "status_transitions": { "canceled_at": null, "paid_at": null },
    });
    work.put(&payment);
    payment
}

pub fn paid(work: &mut Work<'_>, mut invoice: Value, intent: Option<&Value>) -> Value {
    let link = intent.map(|intent| {
        let open = work.state.all("invoice_payment").find(|p| p["invoice"] == invoice["id"] && p["status"] == "open").cloned();
        let mut link = open.unwrap_or_else(|| attach(work, &invoice, intent));
        link["status"] = "paid".into();
        link["amount_paid"] = intent["amount_received"].clone();
        link["status_transitions"]["paid_at"] = work.now.into();
        work.put(&link);
        link
    });
    if intent.is_some() && invoice["attempted"] != true {
        invoice["attempt_count"] = (int(&invoice, "attempt_count") + 1).into();
    }
    invoice["attempted"] = true.into();
    invoice["status"] = "paid".into();
    invoice["amount_paid"] = invoice["amount_due"].clone();
    invoice["amount_remaining"] = 0.into();
    invoice["next_payment_attempt"] = Value::Null;
    invoice["status_transitions"]["paid_at"] = work.now.into();
    work.put(&invoice);
    if let Some(link) = link {
        work.emit("invoice_payment.paid", &link);
    }
    work.emit("invoice.paid", &invoice);
    work.emit("invoice.payment_succeeded", &invoice);
    invoice
}

fn failed(work: &mut Work<'_>, mut invoice: Value) -> Value {
    invoice["attempted"] = true.into();
    invoice["attempt_count"] = (int(&invoice, "attempt_count") + 1).into();
    invoice["next_payment_attempt"] = (work.now + RETRY_AFTER_S).into();
    work.put(&invoice);
    work.emit("invoice.payment_failed", &invoice);
    invoice
}

pub fn list(work: &mut Work<'_>, mut params: Params) -> Answer {
    let customer = params.filled("customer")?;
    let subscription = params.filled("subscription")?;
    let status = params.one_of("status", &["draft", "open", "paid", "uncollectible", "void"])?;
    let method = params.one_of("collection_method", &["charge_automatically", "send_invoice"])?;
    list::page(work, "invoice", "/v1/invoices", params, |i| {
        customer.as_deref().is_none_or(|c| i["customer"] == c)
            && subscription.as_deref().is_none_or(|s| i["parent"]["subscription_details"]["subscription"] == s)
            && status.as_deref().is_none_or(|s| i["status"] == s)
            && method.as_deref().is_none_or(|m| i["collection_method"] == m)
    })
}

pub fn lines(work: &mut Work<'_>, id: &str, params: Params) -> Answer {
    let invoice = work.get("invoice", id, "id")?;
    let lines = invoice["_lines"].as_array().cloned().unwrap_or_default();
    list::slice(lines, &format!("/v1/invoices/{id}/lines"), params)
}

/// Tries an open invoice again, with the customer's card as it is.
pub fn pay(work: &mut Work<'_>, id: &str, params: Params) -> Answer {
    params.done()?;
    let invoice = work.get("invoice", id, "id")?;
    match text(&invoice, "status") {
        "open" => {}
        "paid" => return Err(Refusal::invalid("Invoice is already paid").code("invoice_already_paid")),
        other => return Err(Refusal::invalid(format!("This invoice can't be paid: its status is {other}."))),
    }
    let customer = work.get("customer", text(&invoice, "customer"), "customer")?;
    let card = Card::named(text(&customer, "_card")).unwrap_or(Card::Ok);
    let invoice = collect(work, invoice, card)?;
    subscriptions::follow_invoice(work, &invoice)?;
    if card == Card::Declined { Err(Refusal::declined("generic_decline").keep()) } else { Ok(invoice) }
}

pub fn payments(work: &mut Work<'_>, mut params: Params) -> Answer {
    let invoice = params.filled("invoice")?;
    let status = params.one_of("status", &["canceled", "open", "paid"])?;
    let intent = match params.group("payment")? {
        Some(mut group) => {
            group.one_of("type", &["payment_intent"])?.ok_or_else(|| Refusal::missing("payment[type]"))?;
            let intent = group.filled("payment_intent")?;
            group.done()?;
            intent
        }
        None => None,
    };
    list::page(work, "invoice_payment", "/v1/invoice_payments", params, |p| {
        invoice.as_deref().is_none_or(|i| p["invoice"] == i)
            && status.as_deref().is_none_or(|s| p["status"] == s)
            && intent.as_deref().is_none_or(|i| p["payment"]["payment_intent"] == i)
    })
}
