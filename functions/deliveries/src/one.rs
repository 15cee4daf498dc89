//! What becomes of one row that is owed: an event becomes deliveries, a delivery is tried, an owner is told.

use crate::net::{Message, Net, Reply};
use crate::{BEGIN_FOR, MOST_PER_ACCOUNT, all, tell};
use kiln_core::hooks::schedule::{MOST_AGE, Next, Outcome, after_try, retry_after};
use kiln_core::hooks::sign::{Secret, signatures};
use kiln_core::ids::{AccountId, DeliveryId, EndpointId, EventId};
use kiln_core::time::{Millis, seconds};
use kiln_http::App;
use kiln_http::sealed::Sealer;
use kiln_store::hooks::{Delivery, DeliveryState, Endpoint, Saved, Try, WhyDisabled};
use kiln_store::{DeliveryHint, OwedRow, keys};
use std::time::Instant;

/// A lease outlives the try by this, for what is read and written around it.
const LEASE_MARGIN: Millis = seconds(15);
/// A delivery whose tries begin and never end (their senders die) is given up after this many.
const MOST_BEGUN: u64 = 500;
/// How long what is our own trouble waits: a key that can't be read.
const OUR_TROUBLE: Millis = seconds(300);
/// The longest delay of a queue's message.
const MOST_HINTED: Millis = seconds(900);
/// How often "read, decide, write" is repeated.
const TRIES: usize = 5;

/// Does what a message names, in a run that began then. Whether something was sent.
pub(crate) async fn hinted(app: &App, net: &Net, hint: DeliveryHint, began: Instant) -> anyhow::Result<bool> {
    if let Some(id) = &hint.event_id {
        return event(app, net, &hint.account_id, id).await;
    }
    match &hint.delivery_id {
        Some(id) => delivery(app, net, &hint.account_id, id).await,
        None => account(app, net, &hint.account_id, began).await,
    }
}

/// Sends what is owed to the endpoints of one account: first all of it becomes deliveries, then these are tried, several at a time and
/// none begun after the run's time. So an endpoint that keeps silent holds up no event but its own; what isn't begun is in the index.
async fn account(app: &App, net: &Net, id: &AccountId, began: Instant) -> anyhow::Result<bool> {
    let mut made = Vec::new();
    for owed in app.table().owed_events(id, MOST_PER_ACCOUNT as u32).await? {
        if began.elapsed() >= BEGIN_FOR {
            break;
        }
        made.extend(fan_out(app, id, &owed.event_id).await?);
    }
    let done = all(began, made.into_iter().map(|delivery_id| async move { delivery(app, net, id, &delivery_id).await })).await;
    anyhow::ensure!(done.failed == 0, "{} deliveries of an account could not be handled", done.failed);
    Ok(done.tried > 0)
}

/// Does what a row of the index names: the index only suggests, so the base table is read.
pub(crate) async fn found(app: &App, net: &Net, row: OwedRow) -> anyhow::Result<bool> {
    let Some(account) = row.pk.strip_prefix("ACC#").and_then(|id| id.parse::<AccountId>().ok()) else { return Ok(false) };
    let (sort, id) = row.sk.split_once('#').unwrap_or_default();
    match format!("{sort}#").as_str() {
        keys::EVENT => event(app, net, &account, &id.parse::<EventId>()?).await,
        keys::DELIVERY => delivery(app, net, &account, &id.parse::<DeliveryId>()?).await,
        keys::ENDPOINT => tell::owner(app, &account, &id.parse::<EndpointId>()?).await.map(|()| false),
        other => anyhow::bail!("{other} is nothing that the sender knows"),
    }
}

/// An event becomes a delivery for each endpoint that wants it, and each is tried at once.
async fn event(app: &App, net: &Net, account: &AccountId, id: &EventId) -> anyhow::Result<bool> {
    let made = fan_out(app, account, id).await?;
    let tries = made.iter().map(|delivery_id| delivery(app, net, account, delivery_id));
    let tried = futures::future::join_all(tries).await.into_iter().collect::<anyhow::Result<Vec<bool>>>()?;
    Ok(tried.contains(&true))
}

/// Makes the event's deliveries; none where another has made them.
async fn fan_out(app: &App, account: &AccountId, id: &EventId) -> anyhow::Result<Vec<DeliveryId>> {
    let Some(event) = app.table().owed_event(account, id).await? else { return Ok(vec![]) };
    let endpoints = app.table().endpoints(account).await?;
    let now = app.now();
    let told = endpoints.all.iter().filter(|endpoint| event.goes_to(endpoint));
    let deliveries: Vec<_> = told.map(|endpoint| event.delivery(endpoint, now)).collect();
    if !app.table().fan_out(&event, &deliveries).await? {
        return Ok(vec![]);
    }
    Ok(deliveries.into_iter().map(|made| made.delivery_id).collect())
}

/// Tries a delivery, if it is due and nobody else does.
async fn delivery(app: &App, net: &Net, account: &AccountId, id: &DeliveryId) -> anyhow::Result<bool> {
    let Some(seen) = app.table().delivery(account, id).await? else { return Ok(false) };
    let now = app.now();
    if seen.state != DeliveryState::Pending || seen.next_check_at.is_some_and(|at| at > now) {
        return Ok(false);
    }
    let endpoint = app.table().endpoint(account, &seen.endpoint_id).await?;
    let over = match &endpoint {
        None => Some("endpoint_deleted"),
        Some(endpoint) if !endpoint.enabled => Some("endpoint_disabled"),
        _ if now - seen.round_at > MOST_AGE => Some("expired"),
        _ if seen.begun > MOST_BEGUN => Some("sender_died"),
        _ => None,
    };
    let (Some(endpoint), None) = (endpoint, over) else {
        let after = seen.clone().ended(DeliveryState::Failed, over);
        app.table().put_delivery(&seen, after).await?;
        return Ok(false);
    };
    // It asked not to be sent anything until then: that counts as no try.
    if let Some(until) = endpoint.paused_until.filter(|until| *until > now) {
        let until = until + fastrand::i64(0..1000);
        let after = seen.clone().again(until);
        if app.table().put_delivery(&seen, after).await? {
            hint(app, &seen, until - now).await;
        }
        return Ok(false);
    }
    let lease = seconds(app.settings().hook_timeout_s) + LEASE_MARGIN;
    let Some(leased) = app.table().begin_try(&seen, now + lease).await? else { return Ok(false) };
    let Some(secrets) = secrets(&app.sealer().await?, &endpoint, now) else {
        tracing::error!(endpoint_id = %endpoint.endpoint_id, "an endpoint's secret can't be opened; was webhook-key replaced by hand?");
        app.table().put_delivery(&leased, leased.clone().again(now + OUR_TROUBLE)).await?;
        return Ok(false);
    };
    let reply = send(net, &leased, &endpoint, &secrets, now).await;
    conclude(app, leased, endpoint, reply, now).await?;
    Ok(true)
}

/// The secrets that sign: the present one first, and the one before while it is valid.
fn secrets(sealer: &Sealer, endpoint: &Endpoint, now: Millis) -> Option<Vec<Secret>> {
    let place = endpoint.place();
    let open = |sealed: &String| Secret::parse(&sealer.open(sealed, &place)?);
    let old = endpoint.old_secret.as_ref().filter(|_| endpoint.old_secret_until.is_some_and(|until| until > now));
    std::iter::once(&endpoint.secret).chain(old).map(open).collect()
}

async fn send(net: &Net, delivery: &Delivery, endpoint: &Endpoint, secrets: &[Secret], now: Millis) -> Reply {
    let id = delivery.delivery_id.as_str();
    let timestamp_s = now / 1000;
    let signatures = signatures(secrets, id, timestamp_s, &delivery.body);
    net.post(&Message { url: &endpoint.url, id, timestamp_s, signatures: &signatures, body: &delivery.body }).await
}

/// Writes down how a try ended, and what follows. What it means for the endpoint is written first: where we die between the
/// two, the try is repeated and says the same again.
async fn conclude(app: &App, leased: Delivery, endpoint: Endpoint, reply: Reply, began: Millis) -> anyhow::Result<()> {
    let now = app.now();
    let latency_ms = reply.latency.as_millis() as u64;
    tracing::info!(delivery_id = %leased.delivery_id, endpoint_id = %endpoint.endpoint_id, status = reply.status.ok(), error = reply.status.err(), latency_ms, "webhook tried");
    let mut after = leased.clone();
    after.tries.push(Try { at: began, status: reply.status.ok(), error: reply.status.err().map(str::to_owned), latency_ms, answer: reply.answer });
    let wait = reply.retry_after.and_then(|text| retry_after(&text, now));
    let outcome = reply.status.map_or(Outcome::Failed, |status| Outcome::Answered { status, retry_after: wait });
    let next = after_try(after.tries_now(), outcome, app.settings().hook_retry_ms, fastrand::u64(..));
    match next {
        Next::Delivered => {
            if endpoint.failing_since.is_some() || endpoint.paused_until.is_some() {
                app.table().endpoint_works(&endpoint).await?;
            }
            after = after.ended(DeliveryState::Delivered, None);
        }
        Next::Gone => {
            disable(app, &endpoint, WhyDisabled::Gone).await?;
            after = after.ended(DeliveryState::Failed, Some("endpoint_gone"));
        }
        Next::Again(_) | Next::GivenUp => {
            if let Some(wait) = wait.filter(|wait| *wait > 0) {
                app.table().pause_endpoint(&endpoint, now + wait).await?;
            }
            match endpoint.failing_since {
                None => app.table().endpoint_fails(&endpoint, began).await?,
                Some(since) if now - since >= seconds(app.settings().hook_disable_s) => disable(app, &endpoint, WhyDisabled::Failing).await?,
                Some(_) => {}
            }
            after = match next {
                Next::Again(wait) => after.again(now + wait),
                _ => after.ended(DeliveryState::Failed, Some("tries_used_up")),
            };
        }
    }
    let again_at = after.next_check_at;
    if !app.table().put_delivery(&leased, after).await? {
        tracing::warn!(delivery_id = %leased.delivery_id, "the lease of a try had run out; it was not recorded");
        return Ok(());
    }
    if let Some(at) = again_at {
        hint(app, &leased, at - now).await;
    }
    Ok(())
}

/// A retry that is due before the schedule comes often enough gets a message of its own.
async fn hint(app: &App, delivery: &Delivery, wait: Millis) {
    if wait <= MOST_HINTED
        && let Err(error) = app.queues().deliver(&DeliveryHint::delivery(&delivery.account_id, &delivery.delivery_id), wait).await
    {
        tracing::warn!(%error, delivery_id = %delivery.delivery_id, "a retry was not hinted; the schedule will find it");
    }
}

/// Sends nothing to the endpoint any more, and has its owner told.
async fn disable(app: &App, endpoint: &Endpoint, why: WhyDisabled) -> anyhow::Result<()> {
    for _ in 0..TRIES {
        let endpoints = app.table().endpoints(&endpoint.account_id).await?;
        let Some(found) = endpoints.find(&endpoint.endpoint_id).filter(|found| still_to_disable(endpoint, found, why)) else { return Ok(()) };
        let disabled = found.clone().disabled(why, app.now());
        if app.table().save_endpoint(&endpoints, disabled).await? == Saved::Done {
            tracing::warn!(endpoint_id = %endpoint.endpoint_id, ?why, "webhook endpoint disabled");
            if let Err(error) = tell::owner(app, &endpoint.account_id, &endpoint.endpoint_id).await {
                tracing::warn!("the owner of a disabled endpoint is told later: {error:#}");
            }
            return Ok(());
        }
    }
    anyhow::bail!("{} changes faster than it can be disabled", endpoint.endpoint_id)
}

/// Whether what was seen in an endpoint before the try holds for it as it is `found` after it. Not where it was disabled meanwhile, or
/// changed by its owner to another address, which has not failed; nor, for its failures, where another try has succeeded since.
fn still_to_disable(seen: &Endpoint, found: &Endpoint, why: WhyDisabled) -> bool {
    let holds = match why {
        WhyDisabled::Gone => true,
        WhyDisabled::Failing => found.failing_since == seen.failing_since,
    };
    found.enabled && found.url == seen.url && holds
}

#[cfg(test)]
#[path = "one_tests.rs"]
mod tests;
