//! Subscriptions: begun by Checkout, renewed by time or by a test, ended by either side. Changing one is in `subscription_change`.

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use serde_json::{Value, json};

use super::{
    invoices::{self, Draft, Line},
    list,
    payments::Card,
    prices,
};
use crate::{
    error::{Answer, Refusal},
    params::Params,
    work::{Work, int, public, text},
};

/// The first instant of the rhythm, counted from its anchor, that is later than `after`.
pub fn next(anchor: i64, after: i64, interval: &str, count: i64) -> i64 {
    let Ok(start) = Timestamp::from_second(anchor).map(|t| t.to_zoned(TimeZone::UTC)) else { return after + 1 };
    for step in 1..=2_000_i64 {
        let steps = step * count;
        let span = match interval {
            "day" => steps.days(),
            "week" => steps.weeks(),
            "year" => steps.years(),
            _ => steps.months(),
        };
        match start.checked_add(span) {
            Ok(then) if then.timestamp().as_second() > after => return then.timestamp().as_second(),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    after + 1
}

pub fn item(work: &mut Work<'_>, subscription: &str, price: &Value, quantity: i64, period: (i64, i64)) -> Value {
    json!({
        "id": work.id("si"), "object": "subscription_item", "billed_until": null, "billing_thresholds": null, "created": work.now,
        "current_period_end": period.1, "current_period_start": period.0, "discounts": [], "metadata": {}, "plan": prices::plan(price),
        "price": public(price), "quantity": quantity, "subscription": subscription, "tax_rates": [],
    })
}

/// The items of a subscription.
pub fn items_of(subscription: &Value) -> Vec<Value> {
    subscription["items"]["data"].as_array().cloned().unwrap_or_default()
}

pub fn set_items(subscription: &mut Value, items: Vec<Value>) {
    let url = format!("/v1/subscription_items?subscription={}", text(subscription, "id"));
    subscription["items"] = list::inside(url, items);
}

/// The period that is under way.
pub fn period(subscription: &Value) -> (i64, i64) {
    let first = &subscription["items"]["data"][0];
    (int(first, "current_period_start"), int(first, "current_period_end"))
}

/// Begins one for what a Checkout session sold. The answer is the subscription and its first invoice.
pub fn begin(work: &mut Work<'_>, session: &Value, customer: &str, card: Card) -> Result<(Value, Value), Refusal> {
    let sold = session["_line_items"].as_array().cloned().unwrap_or_default();
    let (recurring, once): (Vec<Value>, Vec<Value>) = sold.into_iter().partition(|i| i["price"]["type"] == "recurring");
    let rhythm = &recurring[0]["price"]["recurring"];
    let end = next(work.now, work.now, text(rhythm, "interval"), int(rhythm, "interval_count"));
    let period = (work.now, end);
    let id = work.id("sub");
    let currency = text(session, "currency").to_owned();
    let mut items = Vec::new();
    let mut lines = Vec::new();
    for sold in &recurring {
        let item = item(work, &id, &sold["price"], int(sold, "quantity"), period);
        lines.push(line(work, &item, &currency, period));
        items.push(item);
    }
    for sold in &once {
        let description = text(sold, "description").to_owned();
        let (amount, quantity, currency) = (int(sold, "amount_total"), int(sold, "quantity"), currency.clone());
        lines.push(Line { amount, currency, description, price: sold["price"].clone(), quantity, period: (work.now, work.now), item: None, proration: false });
    }
    let data = &session["_subscription_data"];
    let mut subscription = json!({
        "id": id, "object": "subscription", "application": null, "application_fee_percent": null,
        "automatic_tax": { "disabled_reason": null, "enabled": false, "liability": null }, "billing_cycle_anchor": work.now,
        "billing_cycle_anchor_config": null, "billing_mode": { "type": "flexible", "flexible": { "proration_discounts": "itemized" }, "updated_at": null },
        "billing_schedules": [], "billing_thresholds": null, "cancel_at": null, "cancel_at_period_end": false, "canceled_at": null,
        "cancellation_details": { "comment": null, "feedback": null, "reason": null }, "collection_method": "charge_automatically", "created": work.now,
        "currency": currency, "customer": customer, "customer_account": null, "days_until_due": null, "default_payment_method": null, "default_source": null,
        "default_tax_rates": [], "description": data["description"], "discounts": [], "ended_at": null,
        "invoice_settings": { "account_tax_ids": null, "issuer": { "type": "self" } }, "latest_invoice": null, "livemode": false,
        "metadata": data["metadata"], "next_pending_invoice_item_invoice": null, "on_behalf_of": null, "pause_collection": null,
        "payment_settings": { "payment_method_options": null, "payment_method_types": null, "save_default_payment_method": "off" },
        "pending_invoice_item_interval": null, "pending_setup_intent": null, "pending_update": null, "schedule": null, "start_date": work.now,
        "status": "incomplete", "test_clock": null, "transfer_data": null, "trial_end": null,
        "trial_settings": { "end_behavior": { "missing_payment_method": "create_invoice" } }, "trial_start": null,
        // Lines of prorations that wait for the next invoice.
        "_pending": [],
    });
    set_items(&mut subscription, items);
    work.put(&subscription);
    let draft = Draft {
        customer,
        currency: &currency,
        reason: "subscription_create",
        lines,
        subscription: Some(&subscription),
        metadata: json!({}),
        description: Value::Null,
    };
    let invoice = invoices::draft(work, draft)?;
    subscription["latest_invoice"] = invoice["id"].clone();
    work.made("customer.subscription.created", &subscription);
    let invoice = invoices::finalize(work, invoice, true)?;
    let invoice = invoices::collect(work, invoice, card)?;
    let link = work.state.all("invoice_payment").find(|p| p["invoice"] == invoice["id"]).cloned();
    if let Some(link) = link {
        let intent = work.get("payment_intent", text(&link["payment"], "payment_intent"), "payment_intent")?;
        subscription["default_payment_method"] = intent["payment_method"].clone();
    }
    // Also while the money is under way: Stripe lets a delayed first payment start the subscription.
    subscription["status"] = "active".into();
    work.changed("customer.subscription.updated", &subscription);
    Ok((subscription, invoice))
}

/// An item's line for one period.
pub fn line(work: &Work<'_>, item: &Value, currency: &str, period: (i64, i64)) -> Line {
    let quantity = int(item, "quantity");
    Line {
        amount: unit_amount(work, item, currency) * quantity,
        currency: currency.to_owned(),
        description: format!("{quantity} × {}", name(work, item)),
        price: item["price"].clone(),
        quantity,
        period,
        item: Some((text(item, "subscription").to_owned(), text(item, "id").to_owned())),
        proration: false,
    }
}

/// What one of an item costs in the subscription's currency.
pub fn unit_amount(work: &Work<'_>, item: &Value, currency: &str) -> i64 {
    let price = work.state.get(text(&item["price"], "id")).unwrap_or(&item["price"]);
    prices::unit_amount(price, currency).unwrap_or_else(|| int(&item["price"], "unit_amount"))
}

/// The name of what an item is of.
pub fn name(work: &Work<'_>, item: &Value) -> String {
    work.state.get(text(&item["price"], "product")).map_or_else(String::new, |p| text(p, "name").to_owned())
}

/// Goes on to the next period and collects it. A subscription that was to end at the period's end, ends.
pub fn renew(work: &mut Work<'_>, id: &str, card: Option<Card>) -> Answer {
    let mut subscription = work.get("subscription", id, "id")?;
    if !["active", "past_due", "unpaid", "trialing"].contains(&text(&subscription, "status")) {
        return Err(Refusal::invalid(format!("A subscription with the status {} doesn't renew.", text(&subscription, "status"))));
    }
    if subscription["cancel_at_period_end"] == true {
        return Ok(end(work, subscription, "cancellation_requested"));
    }
    let rhythm = subscription["items"]["data"][0]["price"]["recurring"].clone();
    let (_, start) = period(&subscription);
    let finish = next(int(&subscription, "billing_cycle_anchor"), start, text(&rhythm, "interval"), int(&rhythm, "interval_count"));
    let currency = text(&subscription, "currency").to_owned();
    let mut items = items_of(&subscription);
    for item in &mut items {
        item["current_period_start"] = start.into();
        item["current_period_end"] = finish.into();
    }
    let mut lines = super::subscription_change::pending(&subscription);
    lines.extend(items.iter().map(|item| line(work, item, &currency, (start, finish))));
    set_items(&mut subscription, items);
    subscription["_pending"] = json!([]);
    let customer = text(&subscription, "customer").to_owned();
    let draft = Draft {
        customer: &customer,
        currency: &currency,
        reason: "subscription_cycle",
        lines,
        subscription: Some(&subscription),
        metadata: json!({}),
        description: Value::Null,
    };
    let invoice = invoices::draft(work, draft)?;
    subscription["latest_invoice"] = invoice["id"].clone();
    work.changed("customer.subscription.updated", &subscription);
    collect(work, invoice, card)?;
    work.get("subscription", id, "id")
}

/// Finalizes an invoice of a subscription, collects it, and sets the subscription's status by what came of it.
pub fn collect(work: &mut Work<'_>, invoice: Value, card: Option<Card>) -> Answer {
    let customer = work.get("customer", text(&invoice, "customer"), "customer")?;
    let card = card.or_else(|| Card::named(text(&customer, "_card"))).unwrap_or(Card::Ok);
    let invoice = invoices::finalize(work, invoice, true)?;
    let invoice = invoices::collect(work, invoice, card)?;
    follow_invoice(work, &invoice)?;
    Ok(invoice)
}

/// Paid: active again. Open after a failed try: past due.
pub fn follow_invoice(work: &mut Work<'_>, invoice: &Value) -> Result<(), Refusal> {
    let Some(id) = invoice["parent"]["subscription_details"]["subscription"].as_str() else { return Ok(()) };
    let mut subscription = work.get("subscription", id, "subscription")?;
    let status = match (text(invoice, "status"), text(&subscription, "status")) {
        ("paid", "past_due" | "unpaid" | "incomplete") => "active",
        ("open", "active") if invoice["next_payment_attempt"].is_i64() => "past_due",
        _ => return Ok(()),
    };
    subscription["status"] = status.into();
    work.changed("customer.subscription.updated", &subscription);
    Ok(())
}

/// Tries the latest invoice again. `last`: what the subscription becomes if that fails too (`past_due`, `unpaid` or `canceled`).
pub fn retry(work: &mut Work<'_>, id: &str, card: Option<Card>, last: &str) -> Answer {
    let subscription = work.get("subscription", id, "id")?;
    let invoice = work.get("invoice", text(&subscription, "latest_invoice"), "latest_invoice")?;
    if invoice["status"] != "open" {
        return Err(Refusal::invalid(format!("The latest invoice is {}: there is nothing to try again.", text(&invoice, "status"))));
    }
    let customer = work.get("customer", text(&invoice, "customer"), "customer")?;
    let card = card.or_else(|| Card::named(text(&customer, "_card"))).unwrap_or(Card::Ok);
    let invoice = invoices::collect(work, invoice, card)?;
    follow_invoice(work, &invoice)?;
    let mut subscription = work.get("subscription", id, "id")?;
    if card == Card::Declined && last == "canceled" {
        return Ok(end(work, subscription, "payment_failed"));
    }
    if card == Card::Declined && subscription["status"] != last {
        subscription["status"] = last.into();
        work.changed("customer.subscription.updated", &subscription);
    }
    Ok(subscription)
}

/// Ends it now.
pub fn end(work: &mut Work<'_>, mut subscription: Value, reason: &str) -> Value {
    subscription["status"] = "canceled".into();
    subscription["ended_at"] = work.now.into();
    if subscription["canceled_at"].is_null() {
        subscription["canceled_at"] = work.now.into();
    }
    if subscription["cancellation_details"]["reason"].is_null() {
        subscription["cancellation_details"]["reason"] = reason.into();
    }
    work.made("customer.subscription.deleted", &subscription);
    subscription
}

pub fn cancel(work: &mut Work<'_>, id: &str, mut params: Params) -> Answer {
    let mut subscription = work.get("subscription", id, "id")?;
    if subscription["status"] == "canceled" {
        return Err(Refusal::no_such("subscription", id, "id"));
    }
    cancellation_details(&mut params, &mut subscription)?;
    for field in ["invoice_now", "prorate"] {
        if params.boolean(field)? == Some(true) {
            return Err(Refusal::field(field, format!("The stand-in doesn't know {field}: leave it off.")));
        }
    }
    params.done()?;
    Ok(end(work, subscription, "cancellation_requested"))
}

pub fn cancellation_details(params: &mut Params, subscription: &mut Value) -> Result<(), Refusal> {
    let Some(mut details) = params.group("cancellation_details")? else { return Ok(()) };
    if let Some(comment) = details.text("comment")? {
        subscription["cancellation_details"]["comment"] = if comment.is_empty() { Value::Null } else { comment.into() };
    }
    let feedback = ["customer_service", "low_quality", "missing_features", "other", "switched_service", "too_complex", "too_expensive", "unused"];
    if let Some(said) = details.one_of("feedback", &feedback)? {
        subscription["cancellation_details"]["feedback"] = said.into();
    }
    details.done()
}

/// Without `status`, all that aren't canceled.
pub fn list(work: &mut Work<'_>, mut params: Params) -> Answer {
    let customer = params.filled("customer")?;
    let price = params.filled("price")?;
    let statuses = ["active", "past_due", "unpaid", "canceled", "incomplete", "incomplete_expired", "trialing", "paused", "all", "ended"];
    let status = params.one_of("status", &statuses)?;
    list::page(work, "subscription", "/v1/subscriptions", params, |s| {
        let fits = match status.as_deref() {
            None => s["status"] != "canceled",
            Some("all") => true,
            Some("ended") => s["status"] == "canceled" || s["status"] == "incomplete_expired",
            Some(wanted) => s["status"] == wanted,
        };
        fits && customer.as_deref().is_none_or(|c| s["customer"] == c) && price.as_deref().is_none_or(|p| items_of(s).iter().any(|i| i["price"]["id"] == p))
    })
}

pub fn items(work: &mut Work<'_>, mut params: Params) -> Answer {
    let id = params.required("subscription")?;
    let subscription = work.get("subscription", &id, "subscription")?;
    list::slice(items_of(&subscription), "/v1/subscription_items", params)
}

/// Renews and ends what the clock says, a few periods at a time.
pub fn renew_due(work: &mut Work<'_>) {
    for _ in 0..100 {
        let live = |s: &&Value| ["active", "past_due"].contains(&text(s, "status"));
        let due: Vec<String> = work.state.all("subscription").filter(live).filter(|s| period(s).1 <= work.now).map(|s| text(s, "id").to_owned()).collect();
        if due.is_empty() {
            return;
        }
        for id in due {
            if let Err(refusal) = renew(work, &id, None) {
                tracing::warn!(subscription = id, error = %refusal.json(), "a subscription that is due was not renewed");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::next;

    fn second(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_second()
    }

    #[test]
    fn months_keep_the_anchor_s_day_where_the_month_has_it() {
        let anchor = second("2026-01-31T10:00:00Z");
        let february = next(anchor, anchor, "month", 1);
        assert_eq!(february, second("2026-02-28T10:00:00Z"));
        assert_eq!(next(anchor, february, "month", 1), second("2026-03-31T10:00:00Z"));
        assert_eq!(next(anchor, anchor, "year", 1), second("2027-01-31T10:00:00Z"));
        assert_eq!(next(anchor, anchor, "week", 2), second("2026-02-14T10:00:00Z"));
    }
}
