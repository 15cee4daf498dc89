//! The stand-in's own endpoints under `/stand-in`: what happens to machines without an API call, and what is true. The crate's documentation lists them.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{OriginalUri, Path, Query, Request, State},
    http::{Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::{get, patch, post},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    clock::DAY_MS,
    error::Refusal,
    faults::Fault,
    instance::{Host, Status},
    offers::Offer,
    pace::{Pace, Thresholds},
    request::{Caller, caller},
    server::Inner,
    state::{Effect, State as All},
};

type Reply = Result<Json<Value>, Refusal>;

const MAX_FAULTS: usize = 100;

pub fn router() -> Router<Arc<Inner>> {
    Router::new()
        .route("/faults", get(faults).post(plan).delete(no_faults))
        .route("/clock", get(show_clock).post(clock))
        .route("/requests", get(requests))
        .route("/pace", post(pace).delete(no_pace))
        .route("/machines", get(machines))
        .route("/instances/{id}", get(instance).patch(reprice))
        .route("/instances/{id}/wait", get(wait))
        .route("/instances/{id}/traffic", post(traffic))
        .route("/instances/{id}/surcharge", post(surcharge))
        .route("/instances/{id}/{event}", post(happen))
        .route("/offers", get(offers))
        .route("/offers/{id}", patch(change_offer))
        .route("/credit", post(credit))
        .route("/reset", post(reset))
        .fallback(unknown)
}

/// Only the account's key opens this.
pub async fn guard(State(inner): State<Arc<Inner>>, request: Request, next: Next) -> Response {
    let caller = caller(&inner.config.key, request.headers(), &inner.lock());
    if caller == Caller::Account { next.run(request).await } else { Refusal::key().into_response() }
}

async fn unknown(method: Method, uri: OriginalUri) -> Refusal {
    Refusal::no_route(method.as_str(), uri.path())
}

/// A JSON body, where an empty one means `{}`. A field that isn't known is refused by its name.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    let bytes: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(bytes).map_err(|error| Refusal::args(format!("The body can't be read: {error}")))
}

async fn faults(State(inner): State<Arc<Inner>>) -> Reply {
    Ok(Json(json!({ "items": inner.lock().faults })))
}

async fn plan(State(inner): State<Arc<Inner>>, body: Bytes) -> Reply {
    let fault: Fault = read(&body)?;
    fault.check().map_err(Refusal::args)?;
    let mut state = inner.lock();
    if state.faults.len() >= MAX_FAULTS {
        return Err(Refusal::args(format!("At most {MAX_FAULTS} faults are planned.")));
    }
    state.faults.push(fault);
    Ok(Json(json!({ "items": state.faults })))
}

/// Whether calls can be too early, from now on.
async fn pace(State(inner): State<Arc<Inner>>, body: Bytes) -> Reply {
    let thresholds: Thresholds = read(&body)?;
    let Thresholds { create_ms, penalty_ms, destroy_ms, list_ms, show_ms, charges_ms } = thresholds;
    if [create_ms, penalty_ms, destroy_ms, list_ms, show_ms, charges_ms].iter().any(|ms| !(0..=600_000).contains(ms)) {
        return Err(Refusal::args("A threshold is 0 to 600000 ms."));
    }
    inner.lock().pace = Pace::new(thresholds);
    Ok(Json(json!(thresholds)))
}

async fn no_pace(State(inner): State<Arc<Inner>>) -> Reply {
    inner.lock().pace = Pace::default();
    Ok(Json(Value::Null))
}

async fn no_faults(State(inner): State<Arc<Inner>>) -> Reply {
    inner.lock().faults.clear();
    Ok(Json(json!({ "items": [] })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Move {
    #[serde(default)]
    advance_ms: i64,
    #[serde(default)]
    advance_s: i64,
    frozen: Option<bool>,
}

fn shown(state: &All) -> Json<Value> {
    Json(json!({ "now_ms": state.now(), "frozen": state.clock.is_frozen(), "next_due_ms": state.next_due() }))
}

async fn show_clock(State(inner): State<Arc<Inner>>) -> Reply {
    Ok(inner.work(|state| shown(state)))
}

async fn clock(State(inner): State<Arc<Inner>>, body: Bytes) -> Reply {
    let to: Move = read(&body)?;
    // Each day costs a step for each instance; a year is enough for any test.
    let by = to.advance_s.checked_mul(1_000).and_then(|ms| ms.checked_add(to.advance_ms)).filter(|by| (0..=400 * DAY_MS).contains(by));
    let Some(by) = by else { return Err(Refusal::args("The clock goes forward only, by at most 400 days at a time.")) };
    inner.work(|state| {
        if let Some(frozen) = to.frozen {
            state.clock.freeze(frozen);
        }
        state.clock.advance(by);
    });
    Ok(inner.work(|state| shown(state)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn requests(State(inner): State<Arc<Inner>>, Query(After { after }): Query<After>) -> Reply {
    let state = inner.lock();
    let items: Vec<_> = state.journal.after(after).collect();
    Ok(Json(json!({ "items": items })))
}

async fn machines(State(inner): State<Arc<Inner>>) -> Reply {
    Ok(Json(inner.work(|state| state.truth())))
}

fn truth_of(state: &All, id: u64) -> Reply {
    let mut truth = state.instances.get(&id).ok_or_else(|| Refusal::no_instance(id))?.truth();
    truth["pid"] = json!(state.processes.get(&id).map(|p| p.pid));
    Ok(Json(truth))
}

async fn instance(State(inner): State<Arc<Inner>>, Path(id): Path<u64>) -> Reply {
    inner.work(|state| truth_of(state, id))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// As `shown_as` reads: `running`, `exited`, …
    status: Option<String>,
    /// Whether it has a process.
    process: Option<bool>,
    timeout_ms: Option<u64>,
}

/// Waits until an instance is as wanted: the answer is the truth of it, or 408 with that.
async fn wait(State(inner): State<Arc<Inner>>, Path(id): Path<u64>, Query(wanted): Query<Wanted>) -> Result<Response, Refusal> {
    let mut changes = inner.changes();
    let limit = tokio::time::sleep(Duration::from_millis(wanted.timeout_ms.unwrap_or(10_000).min(120_000)));
    tokio::pin!(limit);
    loop {
        changes.mark_unchanged();
        // Not through `work`: that would be a change, and wake this up again.
        let truth = truth_of(&inner.lock(), id)?;
        let as_wanted =
            wanted.status.as_ref().is_none_or(|status| truth["shown_as"] == status.as_str()) && wanted.process.is_none_or(|has| truth["pid"].is_null() != has);
        if as_wanted {
            return Ok(truth.into_response());
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return Ok((StatusCode::REQUEST_TIMEOUT, truth).into_response()) },
            () = &mut limit => return Ok((StatusCode::REQUEST_TIMEOUT, truth).into_response()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prices {
    dph_base: Option<f64>,
    storage_cost: Option<f64>,
    inet_up_cost: Option<f64>,
    inet_down_cost: Option<f64>,
}

/// The prices of a contract, from now on.
async fn reprice(State(inner): State<Arc<Inner>>, Path(id): Path<u64>, body: Bytes) -> Reply {
    let prices: Prices = read(&body)?;
    inner.work(|state| {
        let Some(instance) = state.alive(id) else { return Err(Refusal::no_instance(id)) };
        let mut offer = instance.offer.clone();
        for (price, given) in [
            (&mut offer.dph_base, prices.dph_base),
            (&mut offer.storage_cost, prices.storage_cost),
            (&mut offer.inet_up_cost, prices.inet_up_cost),
            (&mut offer.inet_down_cost, prices.inet_down_cost),
        ] {
            if let Some(given) = given {
                *price = given;
            }
        }
        offer.check().map_err(Refusal::args)?;
        instance.offer = offer;
        truth_of(state, id)
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Moved {
    #[serde(default)]
    up_bytes: u64,
    #[serde(default)]
    down_bytes: u64,
}

async fn traffic(State(inner): State<Arc<Inner>>, Path(id): Path<u64>, body: Bytes) -> Reply {
    let moved: Moved = read(&body)?;
    const MOST: u64 = 1_000_000_000_000_000;
    if moved.up_bytes > MOST || moved.down_bytes > MOST {
        return Err(Refusal::args("At most a petabyte at a time."));
    }
    inner.work(|state| {
        let now = state.now();
        let Some(instance) = state.alive(id) else { return Err(Refusal::no_instance(id)) };
        instance.bill.traffic(now, (moved.up_bytes, instance.offer.inet_up_cost), (moved.down_bytes, instance.offer.inet_down_cost));
        truth_of(state, id)
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Surcharge {
    usd: f64,
    #[serde(default)]
    days_ago: i64,
}

/// Charges more, or less, than was said; also what is gone.
async fn surcharge(State(inner): State<Arc<Inner>>, Path(id): Path<u64>, body: Bytes) -> Reply {
    let Surcharge { usd, days_ago } = read(&body)?;
    if !(-1e6..=1e6).contains(&usd) || !(0..=400).contains(&days_ago) {
        return Err(Refusal::args("usd is a number of dollars, days_ago 0 to 400."));
    }
    inner.work(|state| {
        let day = state.now().div_euclid(DAY_MS) - days_ago;
        let instance = state.instances.get_mut(&id).ok_or_else(|| Refusal::no_instance(id))?;
        instance.bill.surcharge(day, usd);
        truth_of(state, id)
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct How {
    status: Option<u16>,
}

/// What happens to an instance: see the crate's documentation.
async fn happen(State(inner): State<Arc<Inner>>, Path((id, event)): Path<(u64, String)>, body: Bytes) -> Reply {
    let how: How = read(&body)?;
    if how.status.is_some_and(|s| event != "undying" || !(s == 200 || (500..=599).contains(&s))) {
        return Err(Refusal::args("status is for undying: 200, or 500 to 599."));
    }
    inner.work(|state| {
        let Some(instance) = state.alive(id) else { return Err(Refusal::no_instance(id)) };
        match event.as_str() {
            "die" => {
                if instance.status != Status::Running {
                    return Err(Refusal::args("Only what runs can die."));
                }
                state.exited(id, "Error: the container died (planned by a test)".into());
                state.effects.push_back(Effect::Kill(id));
            }
            "stick" => {
                instance.upsets.never_boots = true;
                // What is on its way to run stays where it is; what runs already will not come up again.
                if matches!(instance.due, Some((_, Status::Running))) {
                    instance.due = None;
                }
            }
            "unheard" => instance.host = Host::Unheard,
            "offline" => {
                instance.host = Host::Offline;
                state.effects.push_back(Effect::Freeze(id));
            }
            "return" => {
                instance.host = Host::Up;
                state.effects.push_back(Effect::Thaw(id));
            }
            "vanish" => instance.upsets.hidden = true,
            "appear" => instance.upsets.hidden = false,
            "undying" => instance.upsets.undying = Some(how.status.unwrap_or(200)),
            "mortal" => instance.upsets.undying = None,
            "outbid" => {
                if !instance.is_bid() || !instance.seated {
                    return Err(Refusal::args("Only a bid that has its machine can be outbid."));
                }
                // Somebody else has it now, until it is freed.
                instance.upsets.unseatable = true;
                state.unseat(id, "Outbid.");
            }
            "exited" => instance.upsets.stops_exited = true,
            "free" => {
                instance.upsets.unseatable = false;
                let ask = instance.offer.id;
                state.seat(ask);
            }
            _ => return Err(Refusal::args("There are die, stick, unheard, offline, return, vanish, appear, undying, mortal, exited, outbid and free.")),
        }
        truth_of(state, id)
    })
}

async fn offers(State(inner): State<Arc<Inner>>) -> Reply {
    let state = inner.lock();
    let items: Vec<_> = state.offers.values().collect();
    Ok(Json(json!({ "items": items })))
}

/// Changes any field of an offer but its id. Contracts keep their prices.
async fn change_offer(State(inner): State<Arc<Inner>>, Path(id): Path<u64>, body: Bytes) -> Reply {
    let change: serde_json::Map<String, Value> = read(&body)?;
    if change.contains_key("id") {
        return Err(Refusal::args("An offer keeps its id."));
    }
    inner.work(|state| {
        let Some(offer) = state.offers.get(&id) else { return Err(Refusal::unknown_ask(id)) };
        let mut changed = json!(offer);
        for (field, value) in change {
            changed[field] = value;
        }
        let changed: Offer = serde_json::from_value(changed).map_err(|error| Refusal::args(format!("The change doesn't fit: {error}")))?;
        changed.check().map_err(Refusal::args)?;
        state.offers.insert(id, changed);
        // Who has it may bid too little now.
        state.seat(id);
        Ok(Json(json!(state.offers[&id])))
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credit {
    left: f64,
}

/// Sets what is left.
async fn credit(State(inner): State<Arc<Inner>>, body: Bytes) -> Reply {
    let Credit { left } = read(&body)?;
    if !(-1e9..=1e9).contains(&left) {
        return Err(Refusal::args("left is a number of dollars."));
    }
    inner.work(|state| state.credit += left - state.credit_left());
    Ok(Json(inner.work(|state| json!({ "credit_left": state.credit_left() }))))
}

async fn reset(State(inner): State<Arc<Inner>>) -> Reply {
    inner.reset();
    Ok(Json(json!({ "reset": true })))
}
