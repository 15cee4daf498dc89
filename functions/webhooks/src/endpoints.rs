//! The endpoints of an account: made, changed, deleted, their secrets rotated, and a test sent to one.

use crate::view::{DeliveryView, EndpointView, WithSecret};
use crate::{TRIES, by_hand, send_now};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use kiln_core::FieldError;
use kiln_core::hooks::sign::Secret;
use kiln_core::hooks::{Event, EventType, Wanted, target};
use kiln_core::ids::EndpointId;
use kiln_core::time::{Millis, seconds};
use kiln_http::caller::scope;
use kiln_http::idempotency::replay_response;
use kiln_http::{App, Body, Caller, For, Id, Key, Once, Page, Paging, Problem, Result, pace, random_bytes};
use kiln_store::Room;
use kiln_store::hooks::{Endpoint, MAX_ENDPOINTS, OwedEvent, Replayed, Saved};
use serde::Deserialize;
use utoipa::ToSchema;

/// How long the secret before a new one signs too.
const OLD_SECRET_FOR: Millis = seconds(24 * 3600);

/// A new endpoint: where, and what it wants to be told.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointRequest {
    /// An https address of the public internet, at port 443, or 1024 and above.
    #[schema(max_length = 2048, example = "https://example.com/kiln")]
    url: String,
    /// Events by name, by group (`job.*`, `credits.*`, `batch.*`), or all (`*`); with none, it hears only of the jobs that name it.
    #[schema(max_items = 20, example = json!(["job.*"]))]
    events: Vec<String>,
}

/// What is to change; what is left out stays.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointChange {
    #[schema(max_length = 2048)]
    url: Option<String>,
    #[schema(max_items = 20)]
    events: Option<Vec<String>>,
    /// `true` also forgives what an endpoint was disabled for.
    enabled: Option<bool>,
}

/// The URL as it is kept.
fn url(app: &App, text: &str) -> std::result::Result<String, FieldError> {
    target::parse(text, app.allows_loopback()).map(String::from)
}

/// A new secret, and what is kept of it.
async fn new_secret(app: &App, place: &str) -> Result<(String, String)> {
    let secret = Secret::new(random_bytes()).text();
    let sealed = app.sealer().await?.seal(&secret, place).ok_or_else(|| Problem::internal("a secret could not be sealed"))?;
    Ok((secret, sealed))
}

async fn earlier(app: &App, caller: &Caller, once: &Once, now: Millis) -> Result<Option<Response>> {
    let Some((route, hash)) = once.lookup() else { return Ok(None) };
    let earlier = app.table().replay(&caller.account_id, route, hash).await?;
    Ok(once.replayed(earlier, now)?.map(replay_response))
}

/// What one more thing takes of the account.
async fn room(app: &App, caller: &Caller, now: Millis) -> Result<Room> {
    let account = app.table().account(&caller.account_id).await?.ok_or_else(Problem::not_found)?;
    Ok(Room::of(&account, app.settings(), now))
}

/// Makes an endpoint; its secret is shown this once.
#[utoipa::path(post, path = "/api/v1/webhook-endpoints", tag = "webhooks", request_body = EndpointRequest,
    params(("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,128}$", description = "Repeats with the same key and body get the same answer for 24 hours, without `secret`.")),
    responses((status = 201, body = WithSecret), (status = 409)), security(("session" = []), ("api_key" = ["webhooks:write"])))]
pub(crate) async fn create(State(app): State<App>, caller: For<scope::WebhooksWrite>, key: Key, body: Body<EndpointRequest>) -> Result<Response> {
    let once = Once::new("webhook-endpoints", key, &body.bytes);
    for _ in 0..TRIES {
        let now = app.now();
        if let Some(answer) = earlier(&app, &caller, &once, now).await? {
            return Ok(answer);
        }
        let (url, events) = (url(&app, &body.value.url)?, Wanted::parse(body.value.events.clone())?);
        let room = room(&app, &caller, now).await?;
        let read = app.table().endpoints(&caller.account_id).await?;
        if read.all.len() >= MAX_ENDPOINTS {
            return Err(Problem::conflict("too_many_endpoints", format!("An account has {MAX_ENDPOINTS} endpoints at most; delete one first.")));
        }
        let mut endpoint = Endpoint {
            v: 1,
            endpoint_id: EndpointId::new(now, app.random()),
            account_id: caller.account_id.clone(),
            url,
            events,
            enabled: true,
            disabled_because: None,
            disabled_at: None,
            secret: String::new(),
            old_secret: None,
            old_secret_until: None,
            created_at: now,
            failing_since: None,
            paused_until: None,
            rev: 0,
            owed_shard: None,
            next_check_at: None,
            told: 0,
        };
        let (secret, sealed) = new_secret(&app, &endpoint.place()).await?;
        endpoint.secret = sealed;
        let mut answer = WithSecret { endpoint: EndpointView::new(&endpoint, now), secret: None };
        let stored = serde_json::to_string(&answer).map_err(Problem::internal)?;
        let record = once.record(&caller.account_id, StatusCode::CREATED, stored, now);
        let id = endpoint.endpoint_id.clone();
        match app.table().create_endpoint(&read, endpoint, &room, record.as_ref()).await? {
            Saved::Done => {
                tracing::info!(endpoint_id = %id, "webhook endpoint made");
                answer.secret = Some(secret);
                return Ok((StatusCode::CREATED, pace::headers(room.step, now), Json(answer)).into_response());
            }
            Saved::Moved | Saved::Repeated => {}
            Saved::NoRoom(why) => return Err(pace::no_room(why, app.settings(), now)),
        }
    }
    Err(kiln_store::Error::Busy.into())
}

/// The account's endpoints, newest first.
#[utoipa::path(get, path = "/api/v1/webhook-endpoints", tag = "webhooks", params(kiln_http::paging::PagingQuery), responses((status = 200, body = Page<EndpointView>)), security(("session" = []), ("api_key" = ["webhooks:write"])))]
pub(crate) async fn list(State(app): State<App>, caller: For<scope::WebhooksWrite>, paging: Paging) -> Result<Json<Page<EndpointView>>> {
    let after = paging.after(kiln_store::keys::ENDPOINT)?;
    let (endpoints, next) = app.table().endpoint_page(&caller.account_id, paging.limit, after.as_deref()).await?;
    let now = app.now();
    Ok(Json(Page::new(endpoints.iter().map(|endpoint| EndpointView::new(endpoint, now)).collect(), next)))
}

/// One endpoint.
#[utoipa::path(get, path = "/api/v1/webhook-endpoints/{id}", tag = "webhooks", params(("id" = String, Path)), responses((status = 200, body = EndpointView)), security(("session" = []), ("api_key" = ["webhooks:write"])))]
pub(crate) async fn show(State(app): State<App>, caller: For<scope::WebhooksWrite>, Id(id): Id<EndpointId>) -> Result<Json<EndpointView>> {
    let endpoint = app.table().endpoint(&caller.account_id, &id).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(EndpointView::new(&endpoint, app.now())))
}

/// Changes where it is, what it wants, or whether it is sent anything at all.
#[utoipa::path(patch, path = "/api/v1/webhook-endpoints/{id}", tag = "webhooks", params(("id" = String, Path)), request_body = EndpointChange, responses((status = 200, body = EndpointView)), security(("session" = []), ("api_key" = ["webhooks:write"])))]
pub(crate) async fn change(
    State(app): State<App>,
    caller: For<scope::WebhooksWrite>,
    Id(id): Id<EndpointId>,
    body: Body<EndpointChange>,
) -> Result<Json<EndpointView>> {
    let wanted = body.value;
    for _ in 0..TRIES {
        let read = app.table().endpoints(&caller.account_id).await?;
        let before = read.find(&id).ok_or_else(Problem::not_found)?;
        let after = changed(before, &app, &wanted)?;
        let view = EndpointView::new(&after, app.now());
        if app.table().save_endpoint(&read, after).await? == Saved::Done {
            tracing::info!(endpoint_id = %id, enabled = ?wanted.enabled, "webhook endpoint changed");
            return Ok(Json(view));
        }
    }
    Err(kiln_store::Error::Busy.into())
}

fn changed(before: &Endpoint, app: &App, wanted: &EndpointChange) -> Result<Endpoint> {
    let mut after = before.clone();
    if let Some(text) = &wanted.url {
        after.url = url(app, text)?;
        if after.url != before.url {
            // What another address failed in is no fault of this one.
            (after.failing_since, after.paused_until) = (None, None);
        }
    }
    if let Some(events) = &wanted.events {
        after.events = Wanted::parse(events.clone())?;
    }
    match wanted.enabled {
        Some(true) => after = after.enabled(),
        Some(false) => after.enabled = false,
        None => {}
    }
    Ok(after)
}

/// Forgets an endpoint; what is not delivered yet fails.
#[utoipa::path(delete, path = "/api/v1/webhook-endpoints/{id}", tag = "webhooks", params(("id" = String, Path)), responses((status = 204)), security(("session" = []), ("api_key" = ["webhooks:write"])))]
pub(crate) async fn remove(State(app): State<App>, caller: For<scope::WebhooksWrite>, Id(id): Id<EndpointId>) -> Result<StatusCode> {
    for _ in 0..TRIES {
        let read = app.table().endpoints(&caller.account_id).await?;
        let endpoint = read.find(&id).ok_or_else(Problem::not_found)?;
        if app.table().forget_endpoint(&read, endpoint).await? == Saved::Done {
            tracing::info!(endpoint_id = %id, "webhook endpoint deleted");
            return Ok(StatusCode::NO_CONTENT);
        }
    }
    Err(kiln_store::Error::Busy.into())
}

/// A new secret, shown this once. The one before it signs too for 24 hours; the one before that no longer.
#[utoipa::path(post, path = "/api/v1/webhook-endpoints/{id}/rotate-secret", tag = "webhooks",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,128}$", description = "Repeats with the same key get the same answer for 24 hours, without `secret`.")),
    responses((status = 200, body = WithSecret)), security(("session" = []), ("api_key" = ["webhooks:write"])))]
pub(crate) async fn rotate(State(app): State<App>, caller: For<scope::WebhooksWrite>, Id(id): Id<EndpointId>, key: Key) -> Result<Response> {
    let once = Once::new("webhook-endpoints/rotate", key, id.as_str().as_bytes());
    for _ in 0..TRIES {
        let now = app.now();
        if let Some(answer) = earlier(&app, &caller, &once, now).await? {
            return Ok(answer);
        }
        let room = room(&app, &caller, now).await?;
        let read = app.table().endpoints(&caller.account_id).await?;
        let mut endpoint = read.find(&id).ok_or_else(Problem::not_found)?.clone();
        let (secret, sealed) = new_secret(&app, &endpoint.place()).await?;
        endpoint.old_secret = Some(std::mem::replace(&mut endpoint.secret, sealed));
        endpoint.old_secret_until = Some(now + OLD_SECRET_FOR);
        let mut answer = WithSecret { endpoint: EndpointView::new(&endpoint, now), secret: None };
        let stored = serde_json::to_string(&answer).map_err(Problem::internal)?;
        let record = once.record(&caller.account_id, StatusCode::OK, stored, now);
        match app.table().create_endpoint(&read, endpoint, &room, record.as_ref()).await? {
            Saved::Done => {
                tracing::info!(endpoint_id = %id, "webhook secret rotated");
                answer.secret = Some(secret);
                return Ok((StatusCode::OK, pace::headers(room.step, now), Json(answer)).into_response());
            }
            Saved::Moved | Saved::Repeated => {}
            Saved::NoRoom(why) => return Err(pace::no_room(why, app.settings(), now)),
        }
    }
    Err(kiln_store::Error::Busy.into())
}

/// Sends `webhook.test` to the endpoint, as any other event is sent.
#[utoipa::path(post, path = "/api/v1/webhook-endpoints/{id}/test", tag = "webhooks",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,128}$", description = "Repeats with the same key get the same answer for 24 hours.")),
    responses((status = 202, body = DeliveryView), (status = 409)), security(("session" = []), ("api_key" = ["webhooks:write"])))]
pub(crate) async fn test(State(app): State<App>, caller: For<scope::WebhooksWrite>, Id(id): Id<EndpointId>, key: Key) -> Result<Response> {
    let once = Once::new("webhook-endpoints/test", key, id.as_str().as_bytes());
    for _ in 0..TRIES {
        let now = app.now();
        if let Some(answer) = earlier(&app, &caller, &once, now).await? {
            return Ok(answer);
        }
        let endpoint = app.table().endpoint(&caller.account_id, &id).await?.ok_or_else(Problem::not_found)?;
        if !endpoint.enabled {
            return Err(Problem::conflict("endpoint_disabled", "The endpoint is disabled; enable it first."));
        }
        let room = by_hand(&app, &caller.account_id, now).await?;
        let data = serde_json::json!({ "endpoint_id": id, "message": "This is a test: your endpoint hears Kiln." });
        let event = Event::new(EventType::WebhookTest, now, &format!("{id}#{}", app.random()), data);
        let delivery = OwedEvent::new(&caller.account_id, &event).delivery(&endpoint, now);
        let view = DeliveryView::new(&delivery);
        let stored = serde_json::to_string(&view).map_err(Problem::internal)?;
        let record = once.record(&caller.account_id, StatusCode::ACCEPTED, stored, now);
        match app.table().add_delivery(&delivery, &room, record.as_ref()).await? {
            Replayed::Done => {
                tracing::info!(endpoint_id = %id, delivery_id = %delivery.delivery_id, "test sent to a webhook endpoint");
                send_now(&app, &delivery).await;
                return Ok((StatusCode::ACCEPTED, pace::headers(room.step, now), Json(view)).into_response());
            }
            Replayed::Moved | Replayed::Repeated => {}
            Replayed::NoRoom(why) => return Err(pace::no_room(why, app.settings(), now)),
        }
    }
    Err(kiln_store::Error::Busy.into())
}
