//! API keys: made, listed and revoked by a signed-in admin of the account.

use crate::TRIES;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use kiln_core::FieldError;
use kiln_core::access::{MOST_KEYS, Role, Scope, check_scopes};
use kiln_core::ids::KeyId;
use kiln_core::profile;
use kiln_core::time::{Millis, parse_rfc3339, rfc3339};
use kiln_http::caller::KEY_PREFIX;
use kiln_http::idempotency::replay_response;
use kiln_http::{App, Body, Caller, Id, Key, Once, Page, Problem, Result, new_secret, pace};
use kiln_store::{ApiKey, NoKey, NoRoom, Room};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The key that is wanted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    /// To tell it from others by, 1 to 80 characters.
    #[schema(min_length = 1, max_length = 80, example = "nightly batch")]
    name: String,
    /// What it may be used for; each scope once.
    #[schema(min_items = 1, max_items = 6)]
    scopes: Vec<Scope>,
    /// In the future; left out, it works until it is revoked.
    #[serde(default)]
    #[schema(format = DateTime, example = "2027-01-01T00:00:00Z")]
    expires_at: Option<String>,
}

/// A key as it is listed: never with its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApiKeyView {
    #[schema(example = "key_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    id: String,
    name: String,
    scopes: Vec<Scope>,
    /// The person who made it: an organisation's key goes on when they have left.
    #[schema(example = "acc_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    created_by: String,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// To within an hour; null while it was never used.
    #[schema(format = DateTime)]
    last_used_at: Option<String>,
}

impl ApiKeyView {
    pub fn new(key: &ApiKey, last_used_at: Option<Millis>) -> Self {
        Self {
            id: key.key_id.to_string(),
            name: key.name.clone(),
            scopes: key.scopes.clone(),
            created_by: key.created_by.to_string(),
            created_at: rfc3339(key.created_at),
            expires_at: key.expires_at.map(rfc3339),
            last_used_at: last_used_at.map(rfc3339),
        }
    }
}

/// A new key.
#[derive(Debug, Serialize, ToSchema)]
struct NewApiKeyView {
    #[serde(flatten)]
    view: ApiKeyView,
    /// Shown this once: it isn't stored, so the answer to a repeated request lacks it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "kiln_acc_01JD6Z3M8Q4V5X7Y9A2B3C4D5E.key_01JD6Z3M8Q4V5X7Y9A2B3C4D5E.3q2-7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]
    key: Option<String>,
}

impl NewApiKey {
    fn expires_at(&self, now: Millis) -> std::result::Result<Option<Millis>, FieldError> {
        let Some(text) = &self.expires_at else { return Ok(None) };
        let at = parse_rfc3339(text).ok_or_else(|| FieldError::new("expires_at", "a time such as 2027-01-01T00:00:00Z"))?;
        if at <= now { Err(FieldError::new("expires_at", "this time has passed")) } else { Ok(Some(at)) }
    }
}

/// Makes a key of the account that is acted for; its secret is in this answer and in no other.
#[utoipa::path(post, path = "/api/v1/api-keys", tag = "accounts", request_body = NewApiKey,
    params(("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,128}$", description = "Repeats with the same key and body get the same answer for 24 hours, without `key`."), ("Kiln-Account" = Option<String>, Header, description = "Acts for this organisation.")),
    responses((status = 201, body = NewApiKeyView), (status = 404), (status = 409)), security(("session" = [])))]
pub async fn create(State(app): State<App>, caller: Caller, key: Key, body: Body<NewApiKey>) -> Result<Response> {
    caller.require(Role::Admin)?;
    let once = Once::new("api-keys", key, &body.bytes);
    let wanted = body.value;
    for _ in 0..TRIES {
        if let Some(replayed) = once.earlier(&app, &caller.account_id).await? {
            return Ok(replay_response(replayed));
        }
        let now = app.now();
        let name = profile::name(&wanted.name)?;
        check_scopes(&wanted.scopes)?;
        let expires_at = wanted.expires_at(now)?;
        let key_id = KeyId::new(now, app.random());
        let secret = new_secret(&format!("{KEY_PREFIX}{}.{key_id}.", caller.account_id));
        let key = ApiKey {
            v: 1,
            key_id,
            account_id: caller.account_id.clone(),
            name,
            scopes: wanted.scopes.clone(),
            token_hash: secret.hash,
            created_at: now,
            created_by: caller.actor().clone(),
            expires_at,
        };
        let mut answer = NewApiKeyView { view: ApiKeyView::new(&key, None), key: None };
        let stored = serde_json::to_string(&answer).map_err(Problem::internal)?;
        let record = once.record(&caller.account_id, StatusCode::CREATED, stored, now);
        let account = app.table().account(&caller.account_id).await?.ok_or_else(Problem::not_found)?;
        let room = Room::of(&account, app.settings(), now);
        match app.table().put_api_key(&key, &room, record.as_ref()).await? {
            Ok(()) => {
                tracing::info!(key_id = %key.key_id, account_id = %key.account_id, "API key made");
                answer.key = Some(secret.token);
                return Ok((StatusCode::CREATED, pace::headers(room.step, now), Json(answer)).into_response());
            }
            Err(NoKey::TooMany) => return Err(Problem::conflict("too_many_keys", format!("An account has {MOST_KEYS} API keys at most; revoke one first."))),
            Err(NoKey::Gone) => return Err(Problem::not_found()),
            // Another request with this key was first; its answer is this one's too.
            Err(NoKey::Repeated | NoKey::NoRoom(NoRoom::Moved)) => {}
            Err(NoKey::NoRoom(why)) => return Err(pace::no_room(why, app.settings(), now)),
        }
    }
    Err(kiln_store::Error::Busy.into())
}

/// The account's keys, newest first: all of them, since there are few. Secrets are not kept and can't be shown.
#[utoipa::path(get, path = "/api/v1/api-keys", tag = "accounts", params(("Kiln-Account" = Option<String>, Header, description = "Acts for this organisation.")), responses((status = 200, body = Page<ApiKeyView>), (status = 403), (status = 404)), security(("session" = [])))]
pub async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Page<ApiKeyView>>> {
    caller.require(Role::Admin)?;
    Ok(Json(Page::new(views(&app, &caller).await?, None)))
}

/// All keys of the account that is acted for.
pub async fn views(app: &App, caller: &Caller) -> Result<Vec<ApiKeyView>> {
    let found = app.table().api_keys(&caller.account_id).await?;
    let ids: Vec<_> = found.iter().map(|key| key.key_id.clone()).collect();
    let used = app.table().api_keys_used(&ids).await?;
    Ok(found.iter().map(|key| ApiKeyView::new(key, used.get(&key.key_id).copied())).collect())
}

/// Revokes a key: the next call with it is refused.
#[utoipa::path(delete, path = "/api/v1/api-keys/{id}", tag = "accounts", params(("id" = String, Path), ("Kiln-Account" = Option<String>, Header, description = "Acts for this organisation.")), responses((status = 204)), security(("session" = [])))]
pub async fn revoke(State(app): State<App>, caller: Caller, Id(id): Id<KeyId>) -> Result<StatusCode> {
    caller.require(Role::Admin)?;
    if !app.table().revoke_api_key(&caller.account_id, &id).await? {
        return Err(Problem::not_found());
    }
    tracing::info!(key_id = %id, account_id = %caller.account_id, "API key revoked");
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_ends_in_the_future() {
        let at = |text: &str| NewApiKey { name: "a".into(), scopes: vec![], expires_at: Some(text.into()) }.expires_at(10_000);
        assert_eq!(at("1970-01-01T00:00:10.001Z").unwrap(), Some(10_001));
        for bad in ["1970-01-01T00:00:10Z", "tomorrow", "", "2027-01-01"] {
            assert_eq!(at(bad).unwrap_err().field, "expires_at", "{bad}");
        }
    }

    #[test]
    fn what_is_stored_of_a_new_key_s_answer_has_no_secret() {
        let key = ApiKey {
            v: 1,
            key_id: KeyId::new(1, 1),
            account_id: kiln_core::ids::AccountId::new(1, 1),
            name: "a".into(),
            scopes: vec![Scope::JobsRead],
            token_hash: "hash".into(),
            created_at: 0,
            created_by: kiln_core::ids::AccountId::new(1, 1),
            expires_at: None,
        };
        let stored = serde_json::to_value(NewApiKeyView { view: ApiKeyView::new(&key, None), key: None }).unwrap();
        let names: Vec<_> = stored.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["created_at", "created_by", "expires_at", "id", "last_used_at", "name", "scopes"]);
    }
}
