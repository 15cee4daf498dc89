//! Reading instances: one, and page by page.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::{Planned, known, whole};
use crate::{
    error::{Answer, Refusal},
    faults::FaultKind,
    filter::{self, Order},
    state::State,
};

/// Rows of a page, unless told, and the most there can be: who asks for more gets as many, and a token.
const PAGE: usize = 25;
/// What is stored and so can be filtered and ordered by. The rest is computed.
const STORED: [&str; 18] = [
    "id",
    "label",
    "actual_status",
    "intended_status",
    "cur_state",
    "next_state",
    "machine_id",
    "host_id",
    "gpu_name",
    "image_uuid",
    "image_runtype",
    "template_hash_id",
    "is_bid",
    "verification",
    "geolocation",
    "start_date",
    "end_date",
    "status_msg",
];

/// The rows that the API admits to.
fn rows(state: &State) -> Vec<Value> {
    state.instances.values().filter(|i| i.alive() && !i.upsets.hidden).map(|i| i.row(state.now())).collect()
}

/// One, or null where there is none.
pub fn one(state: &State, id: u64) -> Value {
    let shown = state.instances.get(&id).filter(|i| i.alive() && !i.upsets.hidden);
    json!({ "success": true, "instances": shown.map(|i| i.row(state.now())) })
}

/// The values by which instances can be filtered.
pub fn filters(state: &State) -> Value {
    let combinations: BTreeSet<String> = rows(state)
        .iter()
        .map(|row| json!({ "actual_status": row["actual_status"], "verification": row["verification"], "gpu_name": row["gpu_name"] }).to_string())
        .collect();
    let combinations: Vec<Value> = combinations.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
    json!({ "success": true, "filters": combinations })
}

fn stored(field: &str) -> Result<(), Refusal> {
    if STORED.contains(&field) { Ok(()) } else { Err(Refusal::request(format!("{field} is not a stored column: it can't be filtered or ordered by."))) }
}

fn order(query: &Map<String, Value>) -> Result<Order, Refusal> {
    let mut order: Order = match query.get("order_by") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(steps)) if steps.len() <= 8 => {
            steps.iter().map(|step| filter::step(step.get("col"), step.get("dir"))).collect::<Result<_, _>>().map_err(Refusal::request)?
        }
        Some(_) => return Err(Refusal::request("order_by must be a list of {\"col\", \"dir\"}.")),
    };
    for (field, _) in &order {
        stored(field)?;
    }
    // The id decides between equals, so that pages neither skip nor repeat.
    if !order.iter().any(|(field, _)| field == "id") {
        order.push(("id".into(), false));
    }
    Ok(order)
}

/// Where a page ended: the order and the last row's values in it. Rows that come or go meanwhile don't move it.
fn token(order: &Order, row: &Value) -> String {
    let values: Vec<&Value> = order.iter().map(|(field, _)| &row[field]).collect();
    BASE64_URL_SAFE_NO_PAD.encode(json!({ "order": order, "values": values }).to_string())
}

fn read_token(text: &str, order: &Order) -> Result<Vec<Value>, Refusal> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| Refusal::token())?;
    let mut read: Value = serde_json::from_slice(&bytes).map_err(|_| Refusal::token())?;
    match read["values"].take() {
        Value::Array(values) if read["order"] == json!(order) && values.len() == order.len() => Ok(values),
        _ => Err(Refusal::token()),
    }
}

/// A token that looks like one and will be refused.
pub fn bad_token() -> Value {
    BASE64_URL_SAFE_NO_PAD.encode("{\"planned\":\"by a test\"}").into()
}

pub fn page(state: &State, query: &Map<String, Value>, fault: Planned) -> Answer {
    known(query, &["limit", "after_token", "order_by", "select_filters", "select_cols", "owner"]).map_err(Refusal::request)?;
    let limit = match query.get("limit").filter(|v| !v.is_null()) {
        None => PAGE,
        Some(value) => whole(value).filter(|n| *n > 0).ok_or_else(|| Refusal::request("limit must be a whole number above 0."))?.min(PAGE as u64) as usize,
    };
    let conditions = match query.get("select_filters") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Object(filters)) => filter::read_all(filters).map_err(Refusal::request)?,
        Some(_) => return Err(Refusal::request("select_filters must be an object of filters.")),
    };
    for condition in &conditions {
        stored(&condition.field)?;
    }
    let order = order(query)?;
    let after = match query.get("after_token") {
        None | Some(Value::Null) => None,
        Some(value) => Some(read_token(value.as_str().unwrap_or_default(), &order)?),
    };

    let mut all = rows(state);
    let total = all.len();
    let mut labels: BTreeMap<String, u64> = BTreeMap::new();
    for row in &all {
        *labels.entry(row["label"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    all.retain(|row| conditions.iter().all(|c| c.holds(&row[&c.field])));
    let found = all.len();
    let compare = |a: &[&Value], b: &[&Value]| {
        let steps = order.iter().zip(a.iter().zip(b));
        steps.fold(std::cmp::Ordering::Equal, |so_far, ((_, down), (a, b))| so_far.then_with(|| filter::order(a, b, *down)))
    };
    let values = |row: &'_ Value| -> Vec<Value> { order.iter().map(|(field, _)| row[field].clone()).collect() };
    fn refs(values: &[Value]) -> Vec<&Value> {
        values.iter().collect()
    }
    let mut keyed: Vec<(Vec<Value>, Value)> = all.into_iter().map(|row| (values(&row), row)).collect();
    keyed.sort_by(|(a, _), (b, _)| compare(&refs(a), &refs(b)));
    if let Some(after) = &after {
        keyed.retain(|(key, _)| compare(&refs(key), &refs(after)).is_gt());
    }
    let more = keyed.len() > limit;
    keyed.truncate(limit);
    let next = match (keyed.last(), more, fault) {
        (_, _, Some((FaultKind::BadToken, _))) => bad_token(),
        (Some((_, last)), true, _) => token(&order, last).into(),
        _ => Value::Null,
    };
    let page = filter::columns(keyed.into_iter().map(|(_, row)| row).collect(), query.get("select_cols")).map_err(Refusal::request)?;
    Ok(json!({
        "success": true, "instances": page, "instances_found": found, "total_instances": total, "label_counts": labels, "next_token": next
    }))
}
