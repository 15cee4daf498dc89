//! Changes of a subscription: other items, an end at the period's end, and what that costs (`proration_behavior`).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    invoices::{self, Draft, Line},
    subscriptions::{self, item, items_of, line, name, next, period, set_items, unit_amount},
};
use crate::{
    error::{Answer, Refusal},
    params::Params,
    work::{Work, int, public, text},
};

/// A line that waits for the next invoice, as the subscription keeps it.
#[derive(Serialize, Deserialize)]
struct Waiting {
    amount: i64,
    currency: String,
    description: String,
    price: Value,
    quantity: i64,
    start: i64,
    end: i64,
    subscription: String,
    item: String,
}

impl Waiting {
    fn line(self) -> Line {
        let (period, item) = ((self.start, self.end), Some((self.subscription, self.item)));
        Line {
            amount: self.amount,
            currency: self.currency,
            description: self.description,
            price: self.price,
            quantity: self.quantity,
            period,
            item,
            proration: true,
        }
    }
}

/// The prorations that wait for the next invoice.
pub fn pending(subscription: &Value) -> Vec<Line> {
    let waiting: Vec<Waiting> = serde_json::from_value(subscription["_pending"].clone()).unwrap_or_default();
    waiting.into_iter().map(Waiting::line).collect()
}

pub fn update(work: &mut Work<'_>, id: &str, mut params: Params) -> Answer {
    let mut subscription = work.get("subscription", id, "id")?;
    if subscription["status"] == "canceled" {
        return Err(Refusal::invalid("A canceled subscription can only update its cancellation_details and metadata."));
    }
    let behavior = params.one_of("proration_behavior", &["create_prorations", "always_invoice", "none"])?.unwrap_or_else(|| "create_prorations".into());
    let at = params.int("proration_date")?.unwrap_or(work.now);
    let payment = params.one_of("payment_behavior", &["allow_incomplete", "error_if_incomplete"])?.unwrap_or_else(|| "allow_incomplete".into());
    let old = items_of(&subscription);
    let new = changed_items(work, &mut params, &subscription)?;
    if let Some(ends) = params.boolean("cancel_at_period_end")? {
        subscription["cancel_at_period_end"] = ends.into();
        subscription["cancel_at"] = if ends { period(&subscription).1.into() } else { Value::Null };
        subscription["canceled_at"] = if ends { work.now.into() } else { Value::Null };
        subscription["cancellation_details"]["reason"] = if ends { "cancellation_requested".into() } else { Value::Null };
    }
    subscriptions::cancellation_details(&mut params, &mut subscription)?;
    if let Some(description) = params.text("description")? {
        subscription["description"] = if description.is_empty() { Value::Null } else { description.into() };
    }
    if let Some(method) = params.filled("default_payment_method")? {
        work.get("payment_method", &method, "default_payment_method")?;
        subscription["default_payment_method"] = method.into();
    }
    subscription["metadata"] = params.metadata("metadata", &subscription["metadata"])?;
    params.done()?;
    let invoice = match new {
        Some(new) if new != old => change(work, &mut subscription, &old, new, &behavior, at)?,
        _ => None,
    };
    let Some(lines) = invoice else {
        work.changed("customer.subscription.updated", &subscription);
        return Ok(subscription);
    };
    let (customer, currency) = (text(&subscription, "customer").to_owned(), text(&subscription, "currency").to_owned());
    let draft = Draft {
        customer: &customer,
        currency: &currency,
        reason: "subscription_update",
        lines,
        subscription: Some(&subscription),
        metadata: json!({}),
        description: Value::Null,
    };
    let invoice = invoices::draft(work, draft)?;
    subscription["latest_invoice"] = invoice["id"].clone();
    work.changed("customer.subscription.updated", &subscription);
    let invoice = subscriptions::collect(work, invoice, None)?;
    if payment == "error_if_incomplete" && invoice["status"] != "paid" {
        // Nothing is kept: the old items stand.
        return Err(Refusal::declined("generic_decline"));
    }
    work.get("subscription", id, "id")
}

/// The items as the caller wants them; nothing if it didn't name any.
fn changed_items(work: &mut Work<'_>, params: &mut Params, subscription: &Value) -> Result<Option<Vec<Value>>, Refusal> {
    if !params.has("items") {
        return Ok(None);
    }
    let mut items = items_of(subscription);
    let currency = text(subscription, "currency").to_owned();
    for mut given in params.groups("items")? {
        let (id, price_name) = (given.filled("id")?, given.name("price"));
        let deleted = given.boolean("deleted")?.unwrap_or(false);
        let price = given.filled("price")?;
        let quantity = given.int_in("quantity", 0, 999_999)?;
        let known =
            id.as_ref().map(|id| items.iter().position(|i| i["id"] == **id).ok_or_else(|| Refusal::no_such("subscription_item", id, &given.name("id"))));
        let known = known.transpose()?;
        let id_name = given.name("id");
        given.done()?;
        let price = match price {
            Some(price) => Some(work.get("price", &price, &price_name)?),
            None => None,
        };
        if let Some(price) = &price {
            if price["type"] != "recurring" {
                return Err(Refusal::field(
                    price_name,
                    "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`.",
                ));
            }
            if price["active"] != true || super::prices::unit_amount(price, &currency).is_none() {
                return Err(Refusal::field(price_name, format!("The price is inactive or isn't sold in `{currency}`.")));
            }
        }
        match (known, price) {
            (Some(at), _) if deleted => {
                items.remove(at);
            }
            (None, _) if deleted => return Err(Refusal::missing(&id_name)),
            (Some(at), price) => {
                if let Some(price) = price {
                    items[at]["plan"] = super::prices::plan(&price);
                    items[at]["price"] = public(&price);
                }
                if let Some(quantity) = quantity {
                    items[at]["quantity"] = quantity.into();
                }
            }
            (None, Some(price)) => items.push(item(work, text(subscription, "id"), &price, quantity.unwrap_or(1), period(subscription))),
            (None, None) => return Err(Refusal::missing(&price_name)),
        }
    }
    let rhythm = |i: &Value| (i["price"]["recurring"]["interval"].clone(), i["price"]["recurring"]["interval_count"].clone());
    match items.first().map(rhythm) {
        None => Err(Refusal::field("items", "A subscription must have at least one active item.")),
        Some(first) if items.iter().any(|i| rhythm(i) != first) => Err(Refusal::field("items", "The items' prices must have the same interval.")),
        Some(_) => Ok(Some(items)),
    }
}

/// Puts the new items in. The answer is the lines to invoice at once, if any.
fn change(work: &mut Work<'_>, subscription: &mut Value, old: &[Value], mut new: Vec<Value>, behavior: &str, at: i64) -> Result<Option<Vec<Line>>, Refusal> {
    let currency = text(subscription, "currency").to_owned();
    let (start, end) = period(subscription);
    let rhythm = |items: &[Value]| items.first().map(|i| i["price"]["recurring"].clone()).unwrap_or_default();
    let resets = rhythm(old) != rhythm(&new);
    // What is left of the period, for which the old items were paid already.
    let left = (end - at.clamp(start, end), (end - start).max(1));
    let part = |amount: i64| (i128::from(amount) * i128::from(left.0) / i128::from(left.1)) as i64;
    let prorated = |work: &Work<'_>, item: &Value, sign: i64, what: &str| {
        let whole = unit_amount(work, item, &currency) * int(item, "quantity");
        let mut line = line(work, item, &currency, (at, end));
        line.amount = sign * part(whole);
        line.proration = true;
        line.description = format!("{what} {} × {}", int(item, "quantity"), name(work, item));
        line
    };
    let mut lines = Vec::new();
    if behavior != "none" {
        lines.extend(old.iter().filter(|i| !new.contains(i)).map(|i| prorated(work, i, -1, "Unused time on")));
        if !resets {
            lines.extend(new.iter().filter(|i| !old.contains(i)).map(|i| prorated(work, i, 1, "Remaining time on")));
        }
    }
    if resets {
        let rhythm = rhythm(&new);
        let finish = next(work.now, work.now, text(&rhythm, "interval"), int(&rhythm, "interval_count"));
        for item in &mut new {
            item["current_period_start"] = work.now.into();
            item["current_period_end"] = finish.into();
        }
        lines.extend(new.iter().map(|i| line(work, i, &currency, (work.now, finish))));
        subscription["billing_cycle_anchor"] = work.now.into();
    }
    set_items(subscription, new);
    if resets || (behavior == "always_invoice" && !lines.is_empty()) {
        let mut all = pending(subscription);
        all.extend(lines);
        subscription["_pending"] = json!([]);
        return Ok(Some(all));
    }
    let mut waiting: Vec<Value> = subscription["_pending"].as_array().cloned().unwrap_or_default();
    for line in lines {
        let (subscription, item) = line.item.unwrap_or_default();
        let (amount, currency, description, price, quantity) = (line.amount, line.currency, line.description, line.price, line.quantity);
        let kept = Waiting { amount, currency, description, price, quantity, start: line.period.0, end: line.period.1, subscription, item };
        waiting.push(serde_json::to_value(kept).unwrap_or_default());
    }
    subscription["_pending"] = waiting.into();
    Ok(None)
}
