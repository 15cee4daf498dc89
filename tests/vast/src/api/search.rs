//! Searching for what can be rented.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{known, whole};
use crate::{
    error::{Answer, Refusal},
    filter::{self, Order},
    offers::{Offer, View},
    state::State,
};

/// What a body may have beside filters.
const SETTINGS: [&str; 5] = ["order", "type", "limit", "allocated_storage", "disable_bundling"];
/// GB that prices cover unless told.
const STORAGE_GB: f64 = 5.0;

pub fn gpu_names(state: &State) -> Value {
    let names: BTreeSet<&str> = state.offers.values().filter(|offer| !offer.gone).map(|offer| offer.gpu_name.as_str()).collect();
    json!({ "success": true, "gpu_names": names })
}

/// `{"select_cols": […], "q": {…}}`
pub fn asks(state: &State, body: &Map<String, Value>) -> Answer {
    known(body, &["select_cols", "q"]).map_err(Refusal::args)?;
    let Some(query) = body.get("q").and_then(Value::as_object) else { return Err(Refusal::args("q must be an object of filters.")) };
    let mut found = offers(state, query)?;
    let Value::Array(rows) = found["offers"].take() else { return Ok(found) };
    found["offers"] = filter::columns(rows, body.get("select_cols")).map_err(Refusal::args)?.into();
    Ok(found)
}

pub fn offers(state: &State, body: &Map<String, Value>) -> Answer {
    let bid = match body.get("type").map(|t| t.as_str().unwrap_or_default()) {
        None | Some("on-demand" | "ondemand") => false,
        Some("bid") => true,
        Some(other) => return Err(Refusal::args(format!("type is on-demand or bid here, not {other:?}."))),
    };
    let storage_gb = match body.get("allocated_storage").filter(|v| !v.is_null()) {
        None => STORAGE_GB,
        Some(value) => value
            .as_f64()
            .or_else(|| value.as_str().and_then(|t| t.parse().ok()))
            .filter(|gb: &f64| gb.is_finite() && *gb >= 0.0)
            .ok_or_else(|| Refusal::args("allocated_storage must be a number of GB."))?,
    };
    let limit = match body.get("limit").filter(|v| !v.is_null()) {
        None => usize::MAX,
        Some(value) => whole(value).filter(|n| *n > 0).ok_or_else(|| Refusal::args("limit must be a whole number above 0."))? as usize,
    };
    let mut conditions = Vec::new();
    for (field, value) in body.iter().filter(|(field, _)| !SETTINGS.contains(&field.as_str())) {
        filter::read(field, value, &mut conditions).map_err(Refusal::args)?;
    }
    let order = order(body.get("order")).map_err(Refusal::args)?;

    let mut rows: Vec<Value> = state.offers.values().filter(|offer| !offer.gone).map(|offer| row(state, offer, bid, storage_gb)).collect();
    // Every row has the same fields.
    if let Some(first) = rows.first() {
        let fields = conditions.iter().map(|c| &c.field).chain(order.iter().map(|(field, _)| field));
        for field in fields {
            if first.get(field).is_none() {
                return Err(Refusal::args(format!("{field} is no field of an offer.")));
            }
        }
    }
    rows.retain(|row| conditions.iter().all(|c| c.holds(&row[&c.field])));
    rows.sort_by(|a, b| order.iter().fold(std::cmp::Ordering::Equal, |so_far, (field, down)| so_far.then_with(|| filter::order(&a[field], &b[field], *down))));
    rows.truncate(limit);
    Ok(json!({ "success": true, "offers": rows }))
}

/// An offer with what only filters know: whether it is verified.
fn row(state: &State, offer: &Offer, bid: bool, storage_gb: f64) -> Value {
    let holder = state.holder(offer.id);
    let on_demand = holder.is_some_and(|h| !h.is_bid());
    let view = View { now_ms: state.now(), since_ms: state.since_ms, bid, storage_gb, rentable: !on_demand, rented: on_demand, min_bid: state.min_bid(offer) };
    let mut row = offer.row(&view);
    row["verified"] = offer.verified.into();
    row
}

fn order(value: Option<&Value>) -> Result<Order, String> {
    let Some(value) = value.filter(|v| !v.is_null()) else { return Ok(vec![("score".into(), true)]) };
    let steps = value.as_array().filter(|steps| steps.len() <= 16).ok_or("order must be a list of [field, \"asc\" or \"desc\"]")?;
    steps.iter().map(|step| filter::step(step.get(0), step.get(1))).collect()
}
