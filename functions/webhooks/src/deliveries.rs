//! The deliveries of an account, with every try, and their replay by hand.

use crate::view::DeliveryView;
use crate::{TRIES, by_hand, send_now};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use kiln_core::FieldError;
use kiln_core::ids::DeliveryId;
use kiln_http::caller::scope;
use kiln_http::idempotency::replay_response;
use kiln_http::{App, For, Id, Key, Once, Page, Paging, Problem, Result, pace};
use kiln_store::hooks::{DeliveryFilter, DeliveryState, MAX_TRIES, Replayed};
use kiln_store::keys;
use serde::Deserialize;
use utoipa::IntoParams;

/// Which deliveries.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeliveryQuery {
    /// Those to this endpoint.
    #[param(example = "whe_01JD6Z3M8Q4V5X7Y9A2B3C4D5E", max_length = 64)]
    endpoint_id: Option<String>,
    /// Those in this state: `pending`, `delivered` or `failed`.
    #[param(pattern = "^(pending|delivered|failed)$", example = "failed")]
    state: Option<String>,
}

impl DeliveryQuery {
    fn filter(&self) -> std::result::Result<DeliveryFilter, FieldError> {
        let endpoint = self.endpoint_id.as_ref().map(|id| id.parse().map_err(|_| FieldError::new("endpoint_id", "not the id of an endpoint"))).transpose()?;
        let state = |word: &String| DeliveryState::parse(word).ok_or_else(|| FieldError::new("state", "pending, delivered or failed"));
        Ok(DeliveryFilter { endpoint, state: self.state.as_ref().map(state).transpose()? })
    }
}

/// What was sent to the account's endpoints, or will be, newest first. Kept for 30 days. With a filter a page may be short before the end:
/// `next_cursor` says whether there is more.
#[utoipa::path(get, path = "/api/v1/deliveries", tag = "webhooks", params(DeliveryQuery, kiln_http::paging::PagingQuery), responses((status = 200, body = Page<DeliveryView>)), security(("session" = []), ("api_key" = ["webhooks:write"])))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: For<scope::WebhooksWrite>,
    paging: Paging,
    query: std::result::Result<Query<DeliveryQuery>, QueryRejection>,
) -> Result<Json<Page<DeliveryView>>> {
    let Query(query) = query.map_err(|refused| {
        let field = if refused.body_text().contains("`state`") { "state" } else { "endpoint_id" };
        FieldError::new(field, "it stands twice")
    })?;
    let filter = query.filter()?;
    let after = paging.after(keys::DELIVERY)?;
    let (deliveries, next) = app.table().deliveries(&caller.account_id, &filter, paging.limit, after.as_deref()).await?;
    Ok(Json(Page::new(deliveries.iter().map(DeliveryView::new).collect(), next)))
}

/// One delivery, with what is sent.
#[utoipa::path(get, path = "/api/v1/deliveries/{id}", tag = "webhooks", params(("id" = String, Path)), responses((status = 200, body = DeliveryView)), security(("session" = []), ("api_key" = ["webhooks:write"])))]
pub(crate) async fn show(State(app): State<App>, caller: For<scope::WebhooksWrite>, Id(id): Id<DeliveryId>) -> Result<Json<DeliveryView>> {
    let delivery = app.table().delivery(&caller.account_id, &id).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(DeliveryView::with_body(&delivery)))
}

/// Sends it again, now, under the same `webhook-id`; if that fails, with all the tries of a new delivery.
#[utoipa::path(post, path = "/api/v1/deliveries/{id}/replay", tag = "webhooks",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,128}$", description = "Repeats with the same key get the same answer for 24 hours.")),
    responses((status = 202, body = DeliveryView), (status = 409)), security(("session" = []), ("api_key" = ["webhooks:write"])))]
pub(crate) async fn replay(State(app): State<App>, caller: For<scope::WebhooksWrite>, Id(id): Id<DeliveryId>, key: Key) -> Result<Response> {
    let once = Once::new("deliveries/replay", key, id.as_str().as_bytes());
    for _ in 0..TRIES {
        let now = app.now();
        if let Some((route, hash)) = once.lookup() {
            let earlier = app.table().replay(&caller.account_id, route, hash).await?;
            if let Some(replayed) = once.replayed(earlier, now)? {
                return Ok(replay_response(replayed));
            }
        }
        let seen = app.table().delivery(&caller.account_id, &id).await?.ok_or_else(Problem::not_found)?;
        let endpoint = app.table().endpoint(&caller.account_id, &seen.endpoint_id).await?;
        if !endpoint.is_some_and(|endpoint| endpoint.enabled) {
            return Err(Problem::conflict("endpoint_disabled", "Its endpoint is disabled or deleted; enable it first."));
        }
        if seen.state == DeliveryState::Pending && seen.lease_until.is_some_and(|until| until > now) {
            return Err(Problem::conflict("delivery_in_progress", "It is being tried at this moment."));
        }
        if seen.tries.len() >= MAX_TRIES {
            return Err(Problem::conflict("too_many_tries", format!("It has had {MAX_TRIES} tries.")));
        }
        let room = by_hand(&app, &caller.account_id, now).await?;
        let after = seen.clone().replayed(now);
        let view = DeliveryView::new(&after);
        let stored = serde_json::to_string(&view).map_err(Problem::internal)?;
        let record = once.record(&caller.account_id, StatusCode::ACCEPTED, stored, now);
        match app.table().replay_delivery(&seen, after.clone(), &room, record.as_ref()).await? {
            Replayed::Done => {
                tracing::info!(delivery_id = %id, "delivery replayed by hand");
                send_now(&app, &after).await;
                return Ok((StatusCode::ACCEPTED, pace::headers(room.step, now), Json(view)).into_response());
            }
            Replayed::Moved | Replayed::Repeated => {}
            Replayed::NoRoom(why) => return Err(pace::no_room(why, app.settings(), now)),
        }
    }
    Err(kiln_store::Error::Busy.into())
}
