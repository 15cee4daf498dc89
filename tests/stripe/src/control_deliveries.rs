//! Control over what is delivered: what was, in which order, how often, under which id, and with what signature.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    routing::{get, post},
};
use futures::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    control::{Reply, read},
    error::Refusal,
    post::{Letter, send, send_signed, try_once},
    server::{Inner, now_ms},
    signature,
    state::{Delivery, DeliveryState, Try},
    work::{text, wants},
};

const MAX_TIMES: usize = 1_000;

pub fn router() -> Router<Arc<Inner>> {
    Router::new()
        .route("/deliveries", get(list))
        .route("/deliveries/idle", get(idle))
        .route("/deliveries/hold", post(hold))
        .route("/deliveries/release", post(release))
        .route("/events/{id}/deliver", post(again))
        .route("/deliver", post(raw))
}

fn shown(delivery: &Delivery) -> Value {
    let last = delivery.tries.last();
    json!({
        "id": delivery.id, "event": delivery.event, "type": delivery.kind, "endpoint": delivery.endpoint, "state": delivery.state,
        "status": last.and_then(|t| t.status), "tries": delivery.tries,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    state: Option<DeliveryState>,
    event: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    endpoint: Option<String>,
}

async fn list(State(inner): State<Arc<Inner>>, query: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>) -> Reply {
    let Query(wanted) = query.map_err(|rejection| Refusal::invalid(rejection.body_text()))?;
    let state = inner.lock();
    let fits = |d: &&Delivery| {
        wanted.state.is_none_or(|s| d.state == s)
            && wanted.event.as_ref().is_none_or(|e| d.event == *e)
            && wanted.kind.as_ref().is_none_or(|k| d.kind == *k)
            && wanted.endpoint.as_ref().is_none_or(|e| d.endpoint == *e)
    };
    let items: Vec<Value> = state.deliveries.iter().filter(fits).map(shown).collect();
    Ok(Json(json!({ "items": items, "hold": state.hold })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Idle {
    timeout_ms: Option<u64>,
}

async fn idle(State(inner): State<Arc<Inner>>, query: Result<Query<Idle>, axum::extract::rejection::QueryRejection>) -> Reply {
    let Query(asked) = query.map_err(|rejection| Refusal::invalid(rejection.body_text()))?;
    let deadline = tokio::time::Instant::now() + Duration::from_millis(asked.timeout_ms.unwrap_or(10_000).min(120_000));
    loop {
        let busy = inner.lock().deliveries.iter().any(|d| matches!(d.state, DeliveryState::Waiting | DeliveryState::Sending));
        if !busy || tokio::time::Instant::now() >= deadline {
            return Ok(Json(json!({ "idle": !busy })));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn hold(State(inner): State<Arc<Inner>>) -> Reply {
    let mut state = inner.lock();
    state.hold = true;
    inner.write(&state)?;
    Ok(Json(json!({ "hold": true })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    #[serde(default)]
    order: Vec<String>,
    rest: Option<String>,
}

async fn release(State(inner): State<Arc<Inner>>, body: Bytes) -> Reply {
    let asked: Release = read(&body)?;
    let rest = asked.rest.as_deref().unwrap_or("release");
    if !["release", "hold", "drop"].contains(&rest) {
        return Err(Refusal::field("rest", "rest is release, hold or drop"));
    }
    let order = {
        let mut state = inner.lock();
        let held: Vec<Delivery> = state.deliveries.iter().filter(|d| d.state == DeliveryState::Held).cloned().collect();
        let mut order: Vec<String> = Vec::new();
        for name in &asked.order {
            let named: Vec<&Delivery> = held.iter().filter(|d| d.id == *name || d.event == *name || d.kind == *name).collect();
            if named.is_empty() {
                return Err(Refusal::field("order", format!("Nothing that is held is called {name}.")));
            }
            order.extend(named.iter().filter(|d| !order.contains(&d.id)).map(|d| d.id.clone()).collect::<Vec<_>>());
        }
        let left: Vec<String> = held.iter().filter(|d| !order.contains(&d.id)).map(|d| d.id.clone()).collect();
        match rest {
            "release" => order.extend(left),
            "drop" => left.iter().for_each(|id| {
                if let Some(delivery) = state.delivery(id) {
                    delivery.state = DeliveryState::Dropped;
                }
            }),
            _ => {}
        }
        state.hold = rest == "hold";
        inner.write(&state)?;
        order
    };
    for id in &order {
        try_once(&inner, id).await;
    }
    let mut state = inner.lock();
    let items: Vec<Value> = order.iter().filter_map(|id| state.delivery(id).map(|d| shown(d))).collect();
    Ok(Json(json!({ "items": items })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Again {
    times: Option<usize>,
    ids: Option<usize>,
    endpoint: Option<String>,
    tamper: Option<String>,
}

/// One event again and again, at the same moment.
async fn again(State(inner): State<Arc<Inner>>, Path(id): Path<String>, body: Bytes) -> Reply {
    let asked: Again = read(&body)?;
    let (times, ids) = (asked.times.unwrap_or(1), asked.ids.unwrap_or(1));
    if !(1..=MAX_TIMES).contains(&times) || !(1..=MAX_TIMES).contains(&ids) {
        return Err(Refusal::field("times", format!("times and ids are 1 to {MAX_TIMES}")));
    }
    let tamper = asked.tamper.as_deref();
    if tamper.is_some_and(|t| !["body", "signature", "old"].contains(&t)) {
        return Err(Refusal::field("tamper", "tamper is body, signature or old"));
    }
    let (events, targets) = inner.work(None, |work| {
        let event = work.get("event", &id, "id")?;
        let kind = text(&event, "type").to_owned();
        let mut events = vec![event.clone()];
        for _ in 1..ids {
            let mut copy = event.clone();
            copy["id"] = work.id("evt").into();
            work.put(&copy);
            events.push(copy);
        }
        let endpoints = work.state.all("webhook_endpoint").filter(|e| match &asked.endpoint {
            Some(named) => e["id"] == **named,
            None => wants(e, &kind),
        });
        let targets: Vec<(String, String)> = endpoints.map(|e| (text(e, "url").to_owned(), text(e, "_secret").to_owned())).collect();
        if targets.is_empty() {
            return Err(Refusal::field("endpoint", "No webhook endpoint wants this event."));
        }
        Ok((events, targets))
    })?;
    let now = now_ms() / 1000;
    let sends = (0..times).flat_map(|n| {
        let event = &events[n % events.len()];
        let inner = &inner;
        targets.iter().map(move |(url, secret)| async move {
            let mut body = event.to_string();
            let signed_at = if tamper == Some("old") { now - 3600 } else { now };
            let mut signature = signature::header(secret, signed_at, &body);
            match tamper {
                Some("body") => body = body.replacen("\"object\":\"event\"", "\"object\":\"event\",\"extra\":1", 1),
                Some("signature") => signature = signature::header("whsec_another", signed_at, &body),
                _ => {}
            }
            (text(event, "id").to_owned(), send_signed(inner, url, &signature, body).await)
        })
    });
    let tries = join_all(sends).await;
    let events: Vec<&str> = events.iter().map(|e| text(e, "id")).collect();
    Ok(Json(json!({ "events": events, "tries": tries.iter().map(told).collect::<Vec<_>>() })))
}

fn told((event, outcome): &(String, Try)) -> Value {
    json!({ "event": event, "status": outcome.status, "error": outcome.error, "took_ms": outcome.took_ms })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    body: String,
    endpoint: Option<String>,
}

/// Any text, with a signature that holds.
async fn raw(State(inner): State<Arc<Inner>>, body: Bytes) -> Reply {
    let asked: Raw = read(&body)?;
    let targets: Vec<(String, String)> = {
        let state = inner.lock();
        let named = |e: &&Value| asked.endpoint.as_ref().is_none_or(|id| e["id"] == **id);
        state.all("webhook_endpoint").filter(named).map(|e| (text(e, "url").to_owned(), text(e, "_secret").to_owned())).collect()
    };
    if targets.is_empty() {
        return Err(Refusal::field("endpoint", "There is no such webhook endpoint."));
    }
    let mut tries = Vec::new();
    for (url, secret) in targets {
        let outcome = send(&inner, Letter { url, secret, body: asked.body.clone(), signed_at: now_ms() / 1000 }).await;
        tries.push(json!({ "status": outcome.status, "error": outcome.error, "took_ms": outcome.took_ms }));
    }
    Ok(Json(json!({ "tries": tries })))
}
