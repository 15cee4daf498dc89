//! The items of a Checkout session: a price by id, or one described inline.

use serde_json::{Value, json};

use super::prices;
use crate::{
    error::Refusal,
    params::Params,
    work::{Work, int, public, text},
};

const MOST: usize = 100;

/// The items as they are kept with the session, and the currency of all of them.
pub fn read(work: &mut Work<'_>, params: &mut Params, subscription: bool, wanted: Option<String>) -> Result<(Vec<Value>, String), Refusal> {
    let given = params.groups("line_items")?;
    if given.is_empty() {
        return Err(Refusal::missing("line_items"));
    }
    if given.len() > MOST {
        return Err(Refusal::field("line_items", format!("A session has at most {MOST} line items.")));
    }
    let mut currency = wanted;
    let mut items = Vec::new();
    for mut item in given {
        let name = item.name("price");
        let price = price(work, &mut item)?;
        let quantity = item.int_in("quantity", 0, 999_999)?.ok_or_else(|| Refusal::missing(&item.name("quantity")))?;
        let metadata = item.metadata("metadata", &Value::Null)?;
        item.done()?;
        if price["active"] != true {
            return Err(Refusal::field(name, format!("The price specified is inactive. This field only accepts active prices: '{}'.", text(&price, "id"))));
        }
        if !subscription && price["type"] == "recurring" {
            return Err(Refusal::field(
                name,
                "You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode or use only one-time prices.",
            ));
        }
        let currency = currency.get_or_insert_with(|| text(&price, "currency").to_owned());
        let Some(unit) = prices::unit_amount(&price, currency) else {
            return Err(Refusal::field(name, format!("The price `{}` isn't sold in the session's currency `{currency}`.", text(&price, "id"))));
        };
        items.push(line(work, &price, unit, quantity, currency, &metadata));
    }
    if subscription && !items.iter().any(|i| i["price"]["type"] == "recurring") {
        return Err(Refusal::field("line_items", "You must provide at least one recurring price in `subscription` mode when using prices."));
    }
    let rhythm = |i: &Value| (i["price"]["recurring"]["interval"].clone(), i["price"]["recurring"]["interval_count"].clone());
    let mut rhythms = items.iter().filter(|i| i["price"]["type"] == "recurring").map(rhythm);
    let first = rhythms.next();
    if rhythms.any(|r| Some(r) != first) {
        return Err(Refusal::field("line_items", "Checkout does not support multiple prices with different billing intervals."));
    }
    Ok((items, currency.unwrap_or_default()))
}

fn price(work: &mut Work<'_>, item: &mut Params) -> Result<Value, Refusal> {
    match (item.filled("price")?, item.group("price_data")?) {
        (Some(_), Some(_)) => Err(Refusal::field(item.name("price"), "You may only specify one of these parameters: price, price_data.")),
        (Some(id), None) => work.get("price", &id, &item.name("price")),
        (None, None) => Err(Refusal::missing(&item.name("price"))),
        (None, Some(mut data)) => {
            let product = match (data.filled("product")?, data.group("product_data")?) {
                (Some(id), None) => {
                    work.live("product", &id, &data.name("product"))?;
                    id
                }
                (None, Some(mut described)) => prices::product_from(work, &mut described)?,
                (None, None) => return Err(Refusal::missing(&data.name("product_data"))),
                (Some(_), Some(_)) => return Err(Refusal::field(data.name("product"), "You may only specify one of these parameters: product, product_data.")),
            };
            let price = prices::inline(work, &mut data, &product)?;
            data.done()?;
            Ok(price)
        }
    }
}

fn line(work: &mut Work<'_>, price: &Value, unit: i64, quantity: i64, currency: &str, metadata: &Value) -> Value {
    let product = work.state.get(text(price, "product")).cloned().unwrap_or_default();
    let total = unit * quantity;
    json!({
        "id": work.id("li"), "object": "item", "adjustable_quantity": null, "amount_discount": 0, "amount_subtotal": total, "amount_tax": 0,
        "amount_total": total, "currency": currency, "description": product["name"], "metadata": metadata, "price": public(price), "quantity": quantity,
    })
}

/// The sum of the items, in the currency's smallest unit.
pub fn total(items: &[Value]) -> i64 {
    items.iter().map(|i| int(i, "amount_total")).sum()
}
