//! The API's calls, each in one step on the state.

mod change;
mod create;
mod list;
mod money;
mod search;

use serde_json::{Map, Value, json};

use crate::{
    error::{Answer, Refusal},
    faults::FaultKind,
    request::{Asked, Caller},
    server::Inner,
    state::State,
};

/// A planned fault that changes what a call does, and its status.
pub type Planned = Option<(FaultKind, Option<u16>)>;

pub fn call(inner: &Inner, state: &mut State, asked: &Asked, fault: Planned) -> Answer {
    let Some(path) = asked.path.strip_prefix("/api/") else { return Err(Refusal::no_route(&asked.method, &asked.path)) };
    let parts: Vec<&str> = path.split('/').collect();
    let route = (asked.method.as_str(), parts.as_slice());
    // It is asked without a key.
    if let ("GET", ["v0", "gpu_names", "unique", ""]) = route {
        return Ok(search::gpu_names(state));
    }
    match asked.caller {
        Caller::Account => {}
        Caller::Instance(own) => allow_own(own, route, &asked.body)?,
        Caller::Nobody => return Err(Refusal::key()),
    }
    match route {
        ("POST", ["v0", "bundles", ""]) => search::offers(state, &asked.body),
        ("PUT", ["v0", "search", "asks", ""]) => search::asks(state, &asked.body),
        ("GET", ["v0", "users", "current"] | ["v0", "users", "current", ""]) => Ok(money::user(state)),
        ("PUT", ["v0", "asks", id, ""]) => create::one(inner, state, number(id, asked)?, &asked.body, fault),
        ("GET", ["v0", "instances", ""] | ["v0", "instances"]) => {
            Err(Refusal::new(axum::http::StatusCode::GONE, "endpoint_retired", "This list is retired; ask GET /api/v1/instances/."))
        }
        ("GET", ["v0", "instances", "filters", ""]) => Ok(list::filters(state)),
        ("GET", ["v0", "instances", id, ""]) => Ok(list::one(state, number(id, asked)?)),
        ("GET", ["v1", "instances", ""]) => list::page(state, &query(asked)?, fault),
        ("PUT", ["v0", "instances", ""]) => change::many(state, &asked.body, fault),
        ("PUT", ["v0", "instances", "bid_price", id, ""]) => change::bid(state, number(id, asked)?, &asked.body),
        ("PUT", ["v0", "instances", id, ""]) => change::one(state, number(id, asked)?, &asked.body, fault),
        ("DELETE", ["v0", "instances", ""]) => change::destroy_many(state, &asked.body, fault),
        ("DELETE", ["v0", "instances", id, ""]) => change::destroy(state, number(id, asked)?, fault),
        ("GET", ["v0", "charges", ""]) => money::charges(state, &query(asked)?, fault),
        _ => Err(Refusal::no_route(&asked.method, &asked.path)),
    }
}

/// An instance's own key may start, stop and destroy that instance.
fn allow_own(own: u64, route: (&str, &[&str]), body: &Map<String, Value>) -> Result<(), Refusal> {
    let ("PUT" | "DELETE", ["v0", "instances", id, ""]) = route else { return Err(Refusal::scope()) };
    let state_only = body.keys().all(|key| key == "state");
    if id.parse() == Ok(own) && state_only && (route.0 == "DELETE" || !body.is_empty()) { Ok(()) } else { Err(Refusal::scope()) }
}

fn number(part: &str, asked: &Asked) -> Result<u64, Refusal> {
    part.parse().map_err(|_| Refusal::no_route(&asked.method, &asked.path))
}

/// The query's values: JSON where they are JSON, else text. Tokens and dates stay as they were written.
fn query(asked: &Asked) -> Result<Map<String, Value>, Refusal> {
    let mut values = Map::new();
    for (name, text) in form_urlencoded::parse(asked.query.as_bytes()) {
        let value = match name.as_ref() {
            "after_token" => text.into(),
            _ => serde_json::from_str(&text).unwrap_or_else(|_| text.clone().into()),
        };
        if values.insert(name.clone().into_owned(), value).is_some() {
            return Err(Refusal::request(format!("{name} is given twice.")));
        }
    }
    Ok(values)
}

/// Refuses fields that aren't known, so that what is not built here can't be relied on by accident.
fn known(body: &Map<String, Value>, fields: &[&str]) -> Result<(), String> {
    match body.keys().find(|key| !fields.contains(&key.as_str())) {
        Some(key) => Err(format!("{key} is not known to the stand-in.")),
        None => Ok(()),
    }
}

/// A whole number, also as text.
fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()))
}

fn done(msg: impl Into<String>) -> Value {
    json!({ "success": true, "msg": msg.into() })
}

/// The ids of a body's list.
fn ids(body: &Map<String, Value>, field: &str) -> Result<Vec<u64>, Refusal> {
    let list = body.get(field).and_then(Value::as_array).filter(|list| !list.is_empty() && list.len() <= 1_000);
    let ids: Option<Vec<u64>> = list.and_then(|list| list.iter().map(whole).collect());
    ids.ok_or_else(|| Refusal::args(format!("{field} must be a list of 1 to 1000 ids.")))
}
