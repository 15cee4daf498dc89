//! Credits by the operator's hand, and what waits for an operator's eye.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use kiln_core::FieldError;
use kiln_core::ids::{AccountId, EntryId};
use kiln_core::ledger::EntryKind;
use kiln_core::time::rfc3339;
use kiln_http::flow::{self, TRIES};
use kiln_http::idempotency::replay_response;
use kiln_http::{Acts, Admin, App, Body, Id, Key, Once, Page, Paging, Problem, Result, action};
use kiln_store::{Posted, Posting};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// More at once is a slip of the finger.
const MOST: i64 = 1_000_000_000;
const REASON_BYTES: usize = 200;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantRequest {
    /// Given (a grant), or with a minus taken (an adjustment, of what there is).
    #[schema(minimum = -1_000_000_000, maximum = 1_000_000_000, example = 5_000)]
    millicredits: i64,
    /// Why; it is the entry's cause.
    #[schema(min_length = 1, max_length = 200, example = "sorry for the outage")]
    reason: String,
}

/// The entry that was made.
#[derive(Serialize, ToSchema)]
pub struct GrantView {
    entry_id: String,
    millicredits: i64,
}

/// Gives an account credits, or takes some; both are entries of its ledger.
#[utoipa::path(post, path = "/api/v1/admin/accounts/{id}/grant", tag = "admin", params(("id" = AccountId, Path), ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,128}$", description = "Repeats with the same key and body get the same answer for 24 hours.")), request_body = GrantRequest, responses((status = 201, body = GrantView), (status = 409, description = "More would be taken than there is.")), security(("admin" = [])))]
pub async fn grant(
    State(app): State<App>,
    operator: Acts<action::AccountGrant>,
    Id(id): Id<AccountId>,
    key: Key,
    body: Body<GrantRequest>,
) -> Result<Response> {
    let once = Once::new("grant", key, &body.bytes);
    let GrantRequest { millicredits, reason } = body.value;
    if millicredits == 0 || !(-MOST..=MOST).contains(&millicredits) {
        return Err(FieldError::new("millicredits", format!("from -{MOST} to {MOST}, and not 0")).into());
    }
    let reason = reason.trim();
    if reason.is_empty() || reason.len() > REASON_BYTES || reason.chars().any(char::is_control) {
        return Err(FieldError::new("reason", format!("1 to {REASON_BYTES} bytes, without control characters")).into());
    }
    for _ in 0..TRIES {
        let now = app.now();
        if let Some((route, hash)) = once.lookup()
            && let Some(replayed) = once.replayed(app.table().replay(&id, route, hash).await?, now)?
        {
            return Ok(replay_response(replayed));
        }
        let entry_id = EntryId::new(now, app.random());
        let kind = if millicredits > 0 { EntryKind::Grant } else { EntryKind::Adjustment };
        let cause = format!("operator: {reason}");
        let view = GrantView { entry_id: entry_id.to_string(), millicredits };
        let record = once.record(&id, StatusCode::CREATED, serde_json::to_string(&view).map_err(Problem::internal)?, now);
        let posting = Posting { account_id: &id, kind, amount: millicredits, cause: &cause, external_id: None, entry_id, now };
        let audit = operator.line(&app, now).await?;
        match app.table().post(&posting, record.as_ref(), Some(&audit)).await? {
            Posted::Done | Posted::Again => {
                tracing::info!(account_id = %id, millicredits, "an operator changed an account's credits");
                flow::tell_of_credits(&app, &id).await;
                return Ok((StatusCode::CREATED, Json(view)).into_response());
            }
            Posted::NoAccount => return Err(Problem::not_found()),
            Posted::TooLittle { available } => {
                let detail = format!("millicredits: {available} are there, more can't be taken");
                return Err(Problem::conflict("insufficient_credits", detail).field("millicredits"));
            }
            Posted::Repeated => {}
        }
    }
    Err(kiln_store::Error::Busy.into())
}

/// A message from outside that was genuine and could not be applied.
#[derive(Serialize, ToSchema)]
pub struct KeptView {
    #[schema(format = "date-time")]
    at: String,
    /// What does not agree, or can't be read.
    why: String,
    /// As it came.
    body: String,
}

/// What the payment service told and could not be applied: amounts that do not agree, events that can't be read.
#[utoipa::path(get, path = "/api/v1/admin/payments/kept", tag = "admin", params(kiln_http::paging::PagingQuery), responses((status = 200, body = Page<KeptView>)), security(("admin" = [])))]
pub async fn kept(State(app): State<App>, _: Admin, paging: Paging) -> Result<Json<Page<KeptView>>> {
    let after = paging.after("")?;
    let (kept, next) = app.table().kept("stripe", paging.limit, after.as_deref()).await?;
    let items = kept.into_iter().map(|kept| KeptView { at: rfc3339(kept.at), why: kept.why, body: kept.body });
    Ok(Json(Page::new(items.collect(), next)))
}
