//! The post: takes deliveries that are due to their endpoints, and tries again with the configured waits.
//! It promises: each try is recorded, a redirect isn't followed, and an endpoint that is gone gets nothing.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use reqwest::header;

use crate::{
    api,
    server::{Inner, now_ms},
    signature,
    state::{DeliveryState, State, Try},
    work::{int, text},
};

/// How many are on their way at a time.
const AT_ONCE: usize = 16;
/// How often sessions and subscriptions are looked at for what time has brought.
const TICK: Duration = Duration::from_secs(1);

/// One POST.
pub struct Letter {
    pub url: String,
    pub secret: String,
    pub body: String,
    /// Seconds since 1970, signed with the body.
    pub signed_at: i64,
}

/// Begins to deliver, until the stand-in is dropped.
pub fn start(inner: &Arc<Inner>) {
    let (news, inner) = (Arc::clone(&inner.news), Arc::downgrade(inner));
    tokio::spawn(async move {
        loop {
            let wait = match inner.upgrade() {
                Some(inner) => round(&inner),
                None => return,
            };
            let _ = tokio::time::timeout(wait, news.notified()).await;
        }
    });
}

/// What time brings, then what is due. The answer is the wait until something may be.
fn round(inner: &Arc<Inner>) -> Duration {
    let brought = inner.work(None, |work| {
        api::checkout::expire_due(work);
        api::subscriptions::renew_due(work);
        Ok(())
    });
    if let Err(refusal) = brought {
        tracing::warn!(error = %refusal.json(), "what the time has brought was not written");
    }
    let (due, wait) = {
        let mut state = inner.lock();
        let due = take_due(&mut state, inner.config.delivery.in_order);
        let next = state.deliveries.iter().filter(|d| d.state == DeliveryState::Waiting && d.due_ms > now_ms()).map(|d| d.due_ms).min();
        (due, next.map_or(TICK, |at| Duration::from_millis((at - now_ms()).max(1) as u64).min(TICK)))
    };
    for id in due {
        tokio::spawn(carry(Arc::downgrade(inner), id));
    }
    wait
}

/// Marks what is due as on its way.
fn take_due(state: &mut State, in_order: bool) -> Vec<String> {
    let now = now_ms();
    let mut room = AT_ONCE.saturating_sub(state.deliveries.iter().filter(|d| d.state == DeliveryState::Sending).count());
    let mut busy: Vec<String> = Vec::new();
    if in_order {
        busy.extend(state.deliveries.iter().filter(|d| d.state == DeliveryState::Sending).map(|d| d.endpoint.clone()));
    }
    let mut due = Vec::new();
    for delivery in state.deliveries.iter_mut().filter(|d| d.state == DeliveryState::Waiting) {
        if room == 0 {
            break;
        }
        if in_order && busy.contains(&delivery.endpoint) {
            continue;
        }
        // In order, the oldest holds back what follows also while it only waits for its next try.
        if in_order {
            busy.push(delivery.endpoint.clone());
        }
        if delivery.due_ms <= now {
            delivery.state = DeliveryState::Sending;
            due.push(delivery.id.clone());
            room -= 1;
        }
    }
    due
}

/// One try, from the lock's view: what to send, then what came of it.
async fn carry(inner: Weak<Inner>, id: String) {
    let Some(inner) = inner.upgrade() else { return };
    try_once(&inner, &id).await;
}

/// Sends a delivery once and records the try. One whose endpoint is gone is dropped. The answer is the state afterwards.
pub async fn try_once(inner: &Inner, id: &str) -> Option<DeliveryState> {
    let letter = {
        let mut state = inner.lock();
        let delivery = state.delivery(id)?.clone();
        let endpoint = state.get(&delivery.endpoint).filter(|e| e["status"] == "enabled").cloned();
        match endpoint {
            Some(endpoint) => {
                if let Some(delivery) = state.delivery(id) {
                    delivery.state = DeliveryState::Sending;
                }
                Letter { url: text(&endpoint, "url").into(), secret: text(&endpoint, "_secret").into(), body: delivery.body, signed_at: now_ms() / 1000 }
            }
            None => {
                state.delivery(id)?.state = DeliveryState::Dropped;
                return Some(DeliveryState::Dropped);
            }
        }
    };
    let outcome = send(inner, letter).await;
    let mut state = inner.lock();
    let back_off = &inner.config.delivery.back_off;
    let delivery = state.delivery(id)?;
    let accepted = outcome.accepted();
    delivery.tries.push(outcome);
    delivery.state = match back_off.get(delivery.tries.len() - 1) {
        _ if accepted => DeliveryState::Delivered,
        Some(wait) => {
            delivery.due_ms = now_ms() + wait.as_millis() as i64;
            DeliveryState::Waiting
        }
        None => DeliveryState::Failed,
    };
    let (after, event) = (delivery.state, delivery.event.clone());
    if accepted && let Some(mut event) = state.get(&event).cloned() {
        event["pending_webhooks"] = (int(&event, "pending_webhooks") - 1).max(0).into();
        state.begin();
        state.put(event);
    }
    if let Err(refusal) = inner.write(&state) {
        tracing::warn!(error = %refusal.json(), "a try was not written");
    }
    drop(state);
    inner.news.notify_one();
    Some(after)
}

/// Signs and sends.
pub async fn send(inner: &Inner, letter: Letter) -> Try {
    let header_value = signature::header(&letter.secret, letter.signed_at, &letter.body);
    send_signed(inner, &letter.url, &header_value, letter.body).await
}

pub async fn send_signed(inner: &Inner, url: &str, signature: &str, body: String) -> Try {
    let (at_ms, began) = (now_ms(), Instant::now());
    let request = inner
        .http
        .post(url)
        .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
        .header(header::USER_AGENT, "Stripe/1.0 (+https://stripe.com/docs/webhooks; stand-in)")
        .header("stripe-signature", signature)
        .body(body);
    let (status, error) = match request.send().await {
        Ok(answer) => (Some(answer.status().as_u16()), None),
        Err(error) => (None, Some(if error.is_timeout() { "time-out".to_owned() } else { error.without_url().to_string() })),
    };
    Try { at_ms, took_ms: began.elapsed().as_millis() as u64, status, error }
}
