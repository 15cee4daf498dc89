//! The account, and what was charged on which day.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::{Planned, known, list, whole};
use crate::{
    bill::Usage,
    clock::DAY_MS,
    error::{Answer, Refusal},
    faults::FaultKind,
    filter,
    instance::Instance,
    state::State,
};

const PAGE: usize = 20;
const MAX_PAGE: u64 = 100;

pub fn user(state: &State) -> Value {
    let credit = state.credit_left();
    json!({
        "success": true, "id": 1, "key_id": 1, "email": "stand-in@vast.invalid", "username": "stand-in", "ssh_key": null,
        "balance": credit, "credit": credit, "host_agreement_accepted": false, "has_billing": true, "can_pay": true
    })
}

fn row(instance: &Instance, start: i64, end: i64, usage: &Usage, items: Vec<Value>) -> Value {
    json!({
        "type": "instance", "source": format!("instance-{}", instance.id), "description": format!("Instance {} ({})", instance.id, instance.offer.gpu_name),
        "amount": usage.total(), "start": start, "end": end, "items": items,
        "metadata": {
            "instance_id": instance.id, "label": instance.order.label, "machine_id": instance.offer.machine_id, "host_id": instance.offer.host_id,
            "gpu_name": instance.offer.gpu_name, "num_gpus": instance.offer.num_gpus
        }
    })
}

/// What a day's charge is made of.
fn parts(day: i64, usage: &Usage) -> Vec<Value> {
    let hours = |ms: i64| ms as f64 / 3_600_000.0;
    let part = |kind: &str, description: String, amount: f64| json!({ "type": kind, "source": null, "description": description, "amount": amount, "start": day, "end": day, "items": [], "metadata": {} });
    let mut parts = vec![
        part("gpu", format!("{:.4} h of GPUs", hours(usage.gpu_ms)), usage.gpu_usd),
        part("disk", format!("{:.4} h of disk", hours(usage.disk_ms)), usage.disk_usd),
        part("bwu", format!("{} bytes up", usage.up_bytes), usage.up_usd),
        part("bwd", format!("{} bytes down", usage.down_bytes), usage.down_usd),
    ];
    parts.retain(|p| p["amount"].as_f64() != Some(0.0));
    parts
}

/// Charges by day and instance (`table`), or by instance with its days in it (`tree`).
pub fn charges(state: &State, query: &Map<String, Value>, fault: Planned) -> Answer {
    known(query, &["select_filters", "format", "latest_first", "limit", "after_token"]).map_err(Refusal::request)?;
    let tree = match query.get("format").and_then(Value::as_str) {
        None | Some("table") => false,
        Some("tree") => true,
        Some(_) => return Err(Refusal::request("format is table or tree.")),
    };
    let latest_first = match query.get("latest_first") {
        None => false,
        Some(Value::Bool(flag)) => *flag,
        // As the official client writes Python's own.
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") => text.eq_ignore_ascii_case("true"),
        Some(_) => return Err(Refusal::request("latest_first is true or false.")),
    };
    let limit = match query.get("limit") {
        None => PAGE,
        Some(value) => whole(value).filter(|n| (1..=MAX_PAGE).contains(n)).ok_or_else(|| Refusal::request(format!("limit is 1 to {MAX_PAGE}.")))? as usize,
    };
    let conditions = match query.get("select_filters") {
        None => Vec::new(),
        Some(Value::Object(filters)) => filter::read_all(filters).map_err(Refusal::request)?,
        Some(_) => return Err(Refusal::request("select_filters must be an object of filters.")),
    };
    if let Some(other) = conditions.iter().find(|c| c.field != "day" && c.field != "type") {
        return Err(Refusal::request(format!("{} can't be filtered by; day and type can.", other.field)));
    }
    let from = match query.get("after_token") {
        None => 0,
        Some(value) => read_token(value)?,
    };

    let holds = |field: &str, value: Value| conditions.iter().filter(|c| c.field == field).all(|c| c.holds(&value));
    // Days are seconds since 1970, of the day's first.
    let second = |day: i64| day * (DAY_MS / 1000);
    let mut rows = Vec::new();
    for instance in state.instances.values().filter(|_| holds("type", "instance".into())) {
        let days = instance.bill.days.iter().map(|(day, usage)| (second(*day), usage)).filter(|(day, _)| holds("day", (*day).into()));
        let days: Vec<Value> = days.map(|(day, usage)| row(instance, day, day, usage, parts(day, usage))).collect();
        match (tree, days.first(), days.last()) {
            (true, Some(first), Some(last)) => {
                let amount: f64 = days.iter().filter_map(|d| d["amount"].as_f64()).sum();
                let mut whole = row(instance, first["start"].as_i64().unwrap_or(0), last["end"].as_i64().unwrap_or(0), &Usage::default(), Vec::new());
                whole["amount"] = amount.into();
                whole["items"] = days.into();
                rows.push(whole);
            }
            _ => rows.extend(days),
        }
    }
    rows.sort_by_key(|row| (row["start"].as_i64(), row["metadata"]["instance_id"].as_u64()));
    if latest_first {
        rows.reverse();
    }
    let total = rows.len();
    let page: Vec<Value> = rows.into_iter().skip(from).take(limit).collect();
    let next = match fault {
        Some((FaultKind::BadToken, _)) => list::bad_token(),
        _ if from + page.len() < total => BASE64_URL_SAFE_NO_PAD.encode(json!({ "from": from + page.len() }).to_string()).into(),
        _ => Value::Null,
    };
    Ok(json!({ "success": true, "count": page.len(), "total": total, "results": page, "next_token": next }))
}

fn read_token(value: &Value) -> Result<usize, Refusal> {
    let bytes = value.as_str().and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok());
    let read: Option<Value> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    read.and_then(|token| token["from"].as_u64()).and_then(|from| usize::try_from(from).ok()).ok_or_else(Refusal::token)
}
