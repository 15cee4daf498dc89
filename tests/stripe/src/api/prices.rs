//! Prices: one-time or recurring, with lookup keys and further currencies. Prices by unit only: tiers and amounts that the customer chooses are refused.

use serde_json::{Map, Value, json};

use super::{list, products};
use crate::{
    error::{Answer, Refusal},
    params::Params,
    work::{Work, int, text},
};

const TAX: [&str; 3] = ["exclusive", "inclusive", "unspecified"];
/// Stripe's longest interval is three years.
const INTERVALS: [(&str, i64); 4] = [("day", 1_095), ("week", 156), ("month", 36), ("year", 3)];
const MOST: i64 = 99_999_999;

/// What an item costs by this price in a currency, or nothing if it isn't sold in that.
pub fn unit_amount(price: &Value, currency: &str) -> Option<i64> {
    price["_currency_options"][currency]["unit_amount"].as_i64()
}

/// `unit_amount`, or a whole `unit_amount_decimal`.
fn amount(params: &mut Params) -> Result<Option<i64>, Refusal> {
    let whole = params.int_in("unit_amount", 0, MOST)?;
    let Some(decimal) = params.filled("unit_amount_decimal")? else { return Ok(whole) };
    let name = params.name("unit_amount_decimal");
    if whole.is_some() {
        return Err(Refusal::field(name, "You may only specify one of unit_amount and unit_amount_decimal."));
    }
    let parsed = decimal.parse::<i64>().ok().filter(|n| (0..=MOST).contains(n));
    parsed.map(Some).ok_or_else(|| Refusal::field(name, "Invalid decimal: the stand-in knows whole smallest units only."))
}

fn recurring(params: &mut Params) -> Result<Option<Value>, Refusal> {
    let Some(mut group) = params.group("recurring")? else { return Ok(None) };
    let interval = group.one_of("interval", &INTERVALS.map(|(name, _)| name))?.ok_or_else(|| Refusal::missing(&group.name("interval")))?;
    let most = INTERVALS.iter().find(|(name, _)| *name == interval).map_or(1, |(_, most)| *most);
    let count = group.int_in("interval_count", 1, most)?.unwrap_or(1);
    let usage = group.one_of("usage_type", &["licensed"])?.unwrap_or_else(|| "licensed".into());
    group.done()?;
    Ok(Some(json!({ "interval": interval, "interval_count": count, "meter": null, "trial_period_days": null, "usage_type": usage })))
}

fn option(amount: i64, tax: &str) -> Value {
    json!({ "custom_unit_amount": null, "tax_behavior": tax, "unit_amount": amount, "unit_amount_decimal": amount.to_string() })
}

fn currency_options(params: &mut Params, tax: &str, into: &mut Map<String, Value>) -> Result<(), Refusal> {
    let Some(mut group) = params.group("currency_options")? else { return Ok(()) };
    for code in group.keys() {
        if code.len() != 3 || !code.bytes().all(|b| b.is_ascii_lowercase()) {
            return Err(Refusal::field(group.name(&code), format!("Invalid currency: {code}")));
        }
        let Some(mut entry) = group.group(&code)? else { continue };
        let given = amount(&mut entry)?.ok_or_else(|| Refusal::missing(&entry.name("unit_amount")))?;
        let tax = entry.one_of("tax_behavior", &TAX)?.unwrap_or_else(|| tax.to_owned());
        entry.done()?;
        into.insert(code, option(given, &tax));
    }
    Ok(())
}

/// The price that `price_data` or `default_price_data` describes; the caller says `done`.
pub fn inline(work: &mut Work<'_>, params: &mut Params, product: &str) -> Result<Value, Refusal> {
    let currency = params.currency("currency")?.ok_or_else(|| Refusal::missing(&params.name("currency")))?;
    let unit = amount(params)?.ok_or_else(|| Refusal::missing(&params.name("unit_amount")))?;
    let tax = params.one_of("tax_behavior", &TAX)?.unwrap_or_else(|| "unspecified".into());
    let recurring = recurring(params)?;
    let metadata = params.metadata("metadata", &Value::Null)?;
    let mut options = Map::new();
    currency_options(params, &tax, &mut options)?;
    options.insert(currency.clone(), option(unit, &tax));
    let kind = if recurring.is_some() { "recurring" } else { "one_time" };
    let id = work.id("price");
    let price = json!({
        "id": id, "object": "price", "active": true, "billing_scheme": "per_unit", "created": work.now, "currency": currency,
        "custom_unit_amount": null, "livemode": false, "lookup_key": null, "metadata": metadata, "nickname": null, "product": product,
        "recurring": recurring, "tax_behavior": tax, "tiers_mode": null, "transform_quantity": null, "type": kind, "unit_amount": unit,
        "unit_amount_decimal": unit.to_string(), "_currency_options": options,
    });
    work.put(&price);
    Ok(price)
}

pub fn create(work: &mut Work<'_>, mut params: Params) -> Answer {
    work.room()?;
    params.one_of("billing_scheme", &["per_unit"])?;
    let product = match (params.filled("product")?, params.group("product_data")?) {
        (Some(_), Some(_)) => return Err(Refusal::field("product", "You may only specify one of these parameters: product, product_data.")),
        (Some(id), None) => {
            work.live("product", &id, "product")?;
            id
        }
        (None, Some(mut data)) => product_from(work, &mut data)?,
        (None, None) => return Err(Refusal::missing("product")),
    };
    let active = params.boolean("active")?.unwrap_or(true);
    let nickname = params.text("nickname")?.filter(|t| !t.is_empty());
    let lookup = params.filled("lookup_key")?;
    let transfer = params.boolean("transfer_lookup_key")?.unwrap_or(false);
    let mut price = inline(work, &mut params, &product)?;
    params.done()?;
    price["active"] = active.into();
    price["nickname"] = nickname.into();
    take_lookup_key(work, &mut price, lookup, transfer)?;
    work.made("price.created", &price);
    Ok(price)
}

/// A product that came with its price.
pub fn product_from(work: &mut Work<'_>, data: &mut Params) -> Result<String, Refusal> {
    let name = data.required("name")?;
    let id = data.filled("id")?;
    let mut product = products::blank(work, id, &name);
    for field in ["description", "statement_descriptor", "unit_label", "tax_code"] {
        product[field] = data.filled(field)?.into();
    }
    product["images"] = data.texts("images")?.unwrap_or_default().into();
    product["metadata"] = data.metadata("metadata", &Value::Null)?;
    std::mem::take(data).done()?;
    let id = text(&product, "id").to_owned();
    work.made("product.created", &product);
    Ok(id)
}

fn take_lookup_key(work: &mut Work<'_>, price: &mut Value, key: Option<String>, transfer: bool) -> Result<(), Refusal> {
    let Some(key) = key else { return Ok(()) };
    if key.len() > 200 {
        return Err(Refusal::field("lookup_key", "A lookup key holds up to 200 characters."));
    }
    let holder = work.state.all("price").find(|p| p["lookup_key"] == key && p["id"] != price["id"]).cloned();
    if let Some(mut holder) = holder {
        if !transfer {
            let message = format!("A price (`{}`) already uses that lookup key. Set `transfer_lookup_key=true` to move it.", text(&holder, "id"));
            return Err(Refusal::field("lookup_key", message));
        }
        holder["lookup_key"] = Value::Null;
        work.changed("price.updated", &holder);
    }
    price["lookup_key"] = key.into();
    Ok(())
}

pub fn update(work: &mut Work<'_>, id: &str, mut params: Params) -> Answer {
    let mut price = work.get("price", id, "id")?;
    if let Some(active) = params.boolean("active")? {
        price["active"] = active.into();
    }
    if let Some(nickname) = params.text("nickname")? {
        price["nickname"] = if nickname.is_empty() { Value::Null } else { nickname.into() };
    }
    if let Some(tax) = params.one_of("tax_behavior", &TAX)? {
        if price["tax_behavior"] != "unspecified" && price["tax_behavior"] != tax {
            return Err(Refusal::field("tax_behavior", "Once specified as either inclusive or exclusive, it cannot be changed."));
        }
        price["tax_behavior"] = tax.into();
    }
    let mut options = price["_currency_options"].as_object().cloned().unwrap_or_default();
    let base = options.get(text(&price, "currency")).cloned();
    currency_options(&mut params, text(&price, "tax_behavior"), &mut options)?;
    if options.get(text(&price, "currency")).cloned() != base {
        return Err(Refusal::field("currency_options", "The amount in the price's own currency can't be changed."));
    }
    price["_currency_options"] = options.into();
    price["metadata"] = params.metadata("metadata", &price["metadata"])?;
    let key = params.text("lookup_key")?;
    let transfer = params.boolean("transfer_lookup_key")?.unwrap_or(false);
    match key {
        Some(key) if key.is_empty() => price["lookup_key"] = Value::Null,
        key => take_lookup_key(work, &mut price, key, transfer)?,
    }
    params.done()?;
    work.changed("price.updated", &price);
    Ok(price)
}

pub fn list(work: &mut Work<'_>, mut params: Params) -> Answer {
    let active = params.boolean("active")?;
    let currency = params.currency("currency")?;
    let product = params.filled("product")?;
    let kind = params.one_of("type", &["one_time", "recurring"])?;
    let keys = params.texts("lookup_keys")?;
    if keys.as_ref().is_some_and(|k| k.len() > 10) {
        return Err(Refusal::field("lookup_keys", "You can look up at most 10 keys at once."));
    }
    let interval = match params.group("recurring")? {
        Some(mut group) => {
            let interval = group.one_of("interval", &INTERVALS.map(|(name, _)| name))?;
            group.one_of("usage_type", &["licensed", "metered"])?;
            group.done()?;
            interval
        }
        None => None,
    };
    list::page(work, "price", "/v1/prices", params, |p| {
        active.is_none_or(|a| p["active"] == a)
            && currency.as_deref().is_none_or(|c| p["currency"] == c)
            && product.as_deref().is_none_or(|i| p["product"] == i)
            && kind.as_deref().is_none_or(|k| p["type"] == k)
            && keys.as_ref().is_none_or(|keys| keys.iter().any(|k| p["lookup_key"] == **k))
            && interval.as_deref().is_none_or(|i| p["recurring"]["interval"] == i)
    })
}

/// The older form of a price, which subscription items still carry.
pub fn plan(price: &Value) -> Value {
    json!({
        "id": price["id"], "object": "plan", "active": price["active"], "amount": int(price, "unit_amount"), "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": "per_unit", "created": price["created"], "currency": price["currency"], "interval": price["recurring"]["interval"],
        "interval_count": price["recurring"]["interval_count"], "livemode": false, "metadata": price["metadata"], "meter": null,
        "nickname": price["nickname"], "product": price["product"], "tiers_mode": null, "transform_usage": null, "trial_period_days": null,
        "usage_type": "licensed",
    })
}
