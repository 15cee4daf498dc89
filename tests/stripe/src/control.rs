//! The stand-in's own endpoints under `/stand-in`: what happens at Stripe without an API call. The crate's documentation lists them.

use std::sync::{Arc, PoisonError};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{OriginalUri, Path, State},
    http::Method,
    routing::{get, patch, post},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    api::{self, payments::Card},
    error::Refusal,
    faults::Fault,
    server::{Inner, now_ms},
    work::{public, text},
};

pub type Reply = Result<Json<Value>, Refusal>;

pub fn router() -> Router<Arc<Inner>> {
    Router::new()
        .route("/checkout/{id}/pay", post(pay))
        .route("/checkout/{id}/settle", post(settle))
        .route("/customers/{id}/card", post(card))
        .route("/subscriptions/{id}/renew", post(renew))
        .route("/subscriptions/{id}/retry", post(retry))
        .route("/disputes", post(dispute))
        .route("/disputes/{id}/close", post(close))
        .route("/refunds/{id}/fail", post(fail_refund))
        .route("/objects/{id}", patch(merge))
        .route("/clock", post(clock))
        .route("/faults", get(faults).post(plan).delete(no_faults))
        .route("/reset", post(reset))
}

pub async fn unknown(method: Method, uri: OriginalUri) -> Refusal {
    Refusal::no_route(method.as_str(), uri.path())
}

/// A JSON body, where an empty one means `{}`. A field that isn't known is refused by its name.
pub fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    let bytes: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(bytes).map_err(|error| Refusal::invalid(format!("The body can't be read: {error}")))
}

fn card_named(name: Option<&str>) -> Result<Option<Card>, Refusal> {
    match name {
        None => Ok(None),
        Some(name) => Card::named(name).map(Some).ok_or_else(|| Refusal::field("card", "card is ok, declined or async")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pay {
    card: Option<String>,
    email: Option<String>,
}

async fn pay(State(inner): State<Arc<Inner>>, Path(id): Path<String>, body: Bytes) -> Reply {
    let pay: Pay = read(&body)?;
    let card = card_named(pay.card.as_deref())?.unwrap_or(Card::Ok);
    inner.work(None, |work| api::complete::pay(work, &id, card, pay.email.as_deref())).map(|s| Json(public(&s)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Outcome {
    outcome: String,
}

impl Outcome {
    /// Whether it is the first of two words.
    fn is(&self, yes: &str, no: &str) -> Result<bool, Refusal> {
        match self.outcome.as_str() {
            word if word == yes => Ok(true),
            word if word == no => Ok(false),
            _ => Err(Refusal::field("outcome", format!("outcome is {yes} or {no}"))),
        }
    }
}

async fn settle(State(inner): State<Arc<Inner>>, Path(id): Path<String>, body: Bytes) -> Reply {
    let succeeded = read::<Outcome>(&body)?.is("succeeded", "failed")?;
    inner.work(None, |work| api::complete::settle(work, &id, succeeded)).map(|s| Json(public(&s)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CardOnly {
    card: Option<String>,
}

async fn card(State(inner): State<Arc<Inner>>, Path(id): Path<String>, body: Bytes) -> Reply {
    let card = read::<CardOnly>(&body)?.card.filter(|c| c == "ok" || c == "declined").ok_or_else(|| Refusal::field("card", "card is ok or declined"))?;
    inner.work(None, |work| {
        let mut customer = work.live("customer", &id, "id")?;
        customer["_card"] = card.clone().into();
        work.put(&customer);
        Ok(Json(json!({ "customer": id, "card": card })))
    })
}

async fn renew(State(inner): State<Arc<Inner>>, Path(id): Path<String>, body: Bytes) -> Reply {
    let card = card_named(read::<CardOnly>(&body)?.card.as_deref())?;
    inner.work(None, |work| {
        work.room()?;
        api::subscriptions::renew(work, &id, card).map(|s| Json(public(&s)))
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Retry {
    card: Option<String>,
    last: Option<String>,
}

async fn retry(State(inner): State<Arc<Inner>>, Path(id): Path<String>, body: Bytes) -> Reply {
    let retry: Retry = read(&body)?;
    let card = card_named(retry.card.as_deref())?;
    let last = retry.last.unwrap_or_else(|| "past_due".into());
    if !["past_due", "unpaid", "canceled"].contains(&last.as_str()) {
        return Err(Refusal::field("last", "last is past_due, unpaid or canceled"));
    }
    inner.work(None, |work| api::subscriptions::retry(work, &id, card, &last)).map(|s| Json(public(&s)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dispute {
    charge: Option<String>,
    payment_intent: Option<String>,
    amount: Option<i64>,
    reason: Option<String>,
}

async fn dispute(State(inner): State<Arc<Inner>>, body: Bytes) -> Reply {
    let asked: Dispute = read(&body)?;
    inner.work(None, |work| {
        let charge = match (&asked.charge, &asked.payment_intent) {
            (Some(charge), None) => charge.clone(),
            (None, Some(intent)) => text(&work.get("payment_intent", intent, "payment_intent")?, "latest_charge").to_owned(),
            _ => return Err(Refusal::field("charge", "Give either charge or payment_intent.")),
        };
        api::open_dispute(work, &charge, asked.amount, asked.reason.as_deref().unwrap_or("fraudulent")).map(|d| Json(public(&d)))
    })
}

async fn close(State(inner): State<Arc<Inner>>, Path(id): Path<String>, body: Bytes) -> Reply {
    let won = read::<Outcome>(&body)?.is("won", "lost")?;
    inner.work(None, |work| api::close_dispute(work, &id, won)).map(|d| Json(public(&d)))
}

async fn fail_refund(State(inner): State<Arc<Inner>>, Path(id): Path<String>) -> Reply {
    inner.work(None, |work| api::refunds::fail(work, &id)).map(|r| Json(public(&r)))
}

/// Merges as RFC 7396 does, but for `id` and `object`.
async fn merge(State(inner): State<Arc<Inner>>, Path(id): Path<String>, body: Bytes) -> Reply {
    let change: Value = read(&body)?;
    if !change.is_object() || change.get("id").is_some() || change.get("object").is_some() {
        return Err(Refusal::invalid("Give an object without id and object."));
    }
    inner.work(None, |work| {
        let Some(mut value) = work.state.get(&id).cloned() else { return Err(Refusal::no_such("object", &id, "id")) };
        merge_into(&mut value, change);
        work.put(&value);
        Ok(Json(public(&value)))
    })
}

fn merge_into(target: &mut Value, change: Value) {
    match change {
        Value::Object(fields) if target.is_object() => {
            for (name, value) in fields {
                match &mut target[&name] {
                    inner if inner.is_object() && value.is_object() => merge_into(inner, value),
                    inner => *inner = value,
                }
            }
        }
        other => *target = other,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Clock {
    advance_s: u32,
}

async fn clock(State(inner): State<Arc<Inner>>, body: Bytes) -> Reply {
    let by = read::<Clock>(&body)?.advance_s;
    {
        let mut state = inner.lock();
        state.ahead_s += i64::from(by);
        inner.write(&state)?;
    }
    inner.work(None, |work| {
        api::checkout::expire_due(work);
        api::subscriptions::renew_due(work);
        Ok(Json(json!({ "now": work.now, "ahead_s": work.state.ahead_s, "machine_ms": now_ms() })))
    })
}

async fn faults(State(inner): State<Arc<Inner>>) -> Reply {
    let faults = inner.faults.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Json(json!({ "items": *faults })))
}

async fn plan(State(inner): State<Arc<Inner>>, body: Bytes) -> Reply {
    let fault: Fault = read(&body)?;
    let mut faults = inner.faults.lock().unwrap_or_else(PoisonError::into_inner);
    if faults.len() >= 100 || fault.times == 0 {
        return Err(Refusal::field("times", "A fault takes at least one call, and at most 100 faults are planned."));
    }
    faults.push(fault);
    Ok(Json(json!({ "items": *faults })))
}

async fn no_faults(State(inner): State<Arc<Inner>>) -> Reply {
    inner.faults.lock().unwrap_or_else(PoisonError::into_inner).clear();
    Ok(Json(json!({ "items": [] })))
}

async fn reset(State(inner): State<Arc<Inner>>) -> Reply {
    inner.reset()?;
    Ok(Json(json!({ "reset": true })))
}
