//! Starting, stopping, labelling, bidding and destroying.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::{Planned, create, done, ids, known};
use crate::{
    error::{Answer, Refusal},
    faults::FaultKind,
    state::State,
};

/// `running` or `stopped`.
fn wanted(body: &Map<String, Value>) -> Result<Option<bool>, Refusal> {
    match body.get("state").map(|v| v.as_str().unwrap_or_default()) {
        None => Ok(None),
        Some("running") => Ok(Some(true)),
        Some("stopped") => Ok(Some(false)),
        Some(_) => Err(Refusal::args("state is running or stopped.")),
    }
}

fn set(state: &mut State, id: u64, running: bool, fault: Planned) -> Result<(), Refusal> {
    if state.alive(id).is_none() {
        return Err(Refusal::no_instance(id));
    }
    if running && state.credit_left() <= 0.0 {
        return Err(Refusal::billing());
    }
    match (fault, state.alive(id)) {
        (Some((FaultKind::RefusesStart, _)), _) => return Err(Refusal::taken()),
        (Some((FaultKind::NeverStarts, _)), Some(instance)) => instance.upsets.unseatable = true,
        _ => {}
    }
    state.want(id, running);
    // It waits for whoever has its GPUs.
    let taken = state.instances.get(&id).is_some_and(|i| running && !i.seated && !i.upsets.unseatable && state.holder(i.offer.id).is_some());
    if taken { Err(Refusal::taken()) } else { Ok(()) }
}

pub fn one(state: &mut State, id: u64, body: &Map<String, Value>, fault: Planned) -> Answer {
    known(body, &["state", "label"]).map_err(Refusal::args)?;
    let running = wanted(body)?;
    let label = match body.get("label") {
        None => None,
        Some(Value::Null) => Some(None),
        Some(Value::String(text)) => Some(Some(create::label(text)?)),
        Some(_) => return Err(Refusal::args("label must be text.")),
    };
    if running.is_none() && label.is_none() {
        return Err(Refusal::args("Give state or label."));
    }
    let Some(instance) = state.alive(id) else { return Err(Refusal::no_instance(id)) };
    if let Some(label) = label {
        instance.order.label = label;
    }
    if let Some(running) = running {
        set(state, id, running, fault)?;
    }
    Ok(done(format!("Instance {id} is changed.")))
}

/// `{"state", "ids"}`: all of them, or none where one isn't there. Those after one whose GPUs are taken are left as they are.
pub fn many(state: &mut State, body: &Map<String, Value>, fault: Planned) -> Answer {
    known(body, &["state", "ids"]).map_err(Refusal::args)?;
    let (ids, Some(running)) = (ids(body, "ids")?, wanted(body)?) else { return Err(Refusal::args("state is running or stopped.")) };
    for id in &ids {
        if state.alive(*id).is_none() {
            return Err(Refusal::no_instance(*id));
        }
    }
    for id in &ids {
        set(state, *id, running, fault)?;
    }
    Ok(done(format!("{} instances are changed.", ids.len())))
}

pub fn bid(state: &mut State, id: u64, body: &Map<String, Value>) -> Answer {
    known(body, &["client_id", "price"]).map_err(Refusal::args)?;
    let Some(instance) = state.alive(id) else { return Err(Refusal::no_instance(id)) };
    if !instance.is_bid() {
        return Err(Refusal::args("An instance that was rented on demand has no bid."));
    }
    let ask = instance.offer.id;
    let price = match body.get("price") {
        // The official client leaves it null for a bid that wins now.
        None | Some(Value::Null) => {
            let offer = state.offers.get(&ask).cloned();
            offer.map_or(0.001, |offer| if state.holder(ask).is_some_and(|h| h.id == id) { offer.min_bid } else { state.min_bid(&offer) })
        }
        Some(value) => value.as_f64().ok_or_else(|| Refusal::price("price must be a number."))?,
    };
    if !(0.001..=32.0).contains(&price) {
        return Err(Refusal::price("price must be between 0.001 and 32 dollars an hour."));
    }
    if let Some(instance) = state.alive(id) {
        instance.order.bid = Some(price);
    }
    state.seat(ask);
    Ok(json!({ "success": true, "msg": format!("The bid of instance {id} is {price} dollars an hour."), "price": price }))
}

pub fn destroy(state: &mut State, id: u64, fault: Planned) -> Answer {
    let Some(instance) = state.alive(id) else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", format!("Instance {id} not found.")));
    };
    if let Some((FaultKind::Undying, status)) = fault {
        instance.upsets.undying = Some(status.unwrap_or(200));
    }
    match instance.upsets.undying {
        Some(200) => {}
        Some(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return Err(Refusal::new(status, "internal_error", "The instance could not be destroyed."));
        }
        None => state.destroy(id),
    }
    Ok(done(format!("Instance {id} is destroyed.")))
}

/// `{"instance_ids"}`: all of them, or none where one isn't there.
pub fn destroy_many(state: &mut State, body: &Map<String, Value>, fault: Planned) -> Answer {
    known(body, &["instance_ids"]).map_err(Refusal::args)?;
    let ids = ids(body, "instance_ids")?;
    for id in &ids {
        if state.alive(*id).is_none() {
            return Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", format!("Instance {id} not found.")));
        }
    }
    for id in &ids {
        // An id that was given twice is gone the second time.
        if state.alive(*id).is_some() {
            destroy(state, *id, fault)?;
        }
    }
    Ok(done(format!("{} instances are destroyed.", ids.len())))
}
