//! `Idempotency-Key`: every POST that makes something takes one. The same key and body give the same answer for 24 h,
//! the same key with another body gives 422; only committed results are recorded, in the transaction of their effect.

use crate::problem::Problem;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use kiln_core::ids::AccountId;
use kiln_core::time::{Millis, seconds};
use kiln_store::{Idempotent, Replay};

/// How long an answer is kept.
pub const KEPT: Millis = seconds(24 * 3600);

/// The header, if it was sent.
#[derive(Debug, Clone)]
pub struct Key(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get("idempotency-key") else { return Ok(Self(None)) };
        let bad = || {
            Problem::new(StatusCode::BAD_REQUEST, "bad_idempotency_key", "Idempotency-Key takes 1 to 128 visible ASCII characters.").field("Idempotency-Key")
        };
        let text = value.to_str().map_err(|_| bad())?.trim();
        if text.is_empty() || text.len() > 128 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(bad());
        }
        Ok(Self(Some(kiln_store::hash(text))))
    }
}

/// One keyed request: look for its earlier answer, or record this one.
#[derive(Debug, Clone)]
pub struct Once {
    pub route: &'static str,
    pub key_hash: Option<String>,
    body_hash: String,
}

impl Once {
    pub fn new(route: &'static str, key: Key, body: &[u8]) -> Self {
        use sha2::Digest;
        Self { route, key_hash: key.0, body_hash: hex::encode(sha2::Sha256::digest(body)) }
    }

    /// What to look the earlier answer up by.
    pub fn lookup(&self) -> Option<(&'static str, &str)> {
        self.key_hash.as_deref().map(|hash| (self.route, hash))
    }

    /// The earlier answer of this account to the same request, if there is one.
    pub async fn earlier(&self, app: &crate::App, account: &AccountId) -> Result<Option<(StatusCode, String)>, Problem> {
        let Some((route, hash)) = self.lookup() else { return Ok(None) };
        self.replayed(app.table().replay(account, route, hash).await?, app.now())
    }

    /// The record of this answer.
    pub fn record(&self, account: &AccountId, status: StatusCode, answer: String, now: Millis) -> Option<Idempotent> {
        Some(Idempotent {
            account_id: account.clone(),
            route: self.route,
            key_hash: self.key_hash.clone()?,
            body_hash: self.body_hash.clone(),
            status: status.as_u16(),
            answer,
            now,
            expires_at: now + KEPT,
        })
    }

    /// The earlier answer as it was given, if it is this request's; expired ones don't count.
    pub fn replayed(&self, replay: Option<Replay>, now: Millis) -> Result<Option<(StatusCode, String)>, Problem> {
        let Some(replay) = replay.filter(|replay| replay.expires_at > now) else { return Ok(None) };
        if replay.body_hash != self.body_hash {
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", "This Idempotency-Key was used with another body.")
                .field("Idempotency-Key"));
        }
        Ok(Some((StatusCode::from_u16(replay.status).unwrap_or(StatusCode::OK), replay.answer)))
    }
}

/// A stored answer, marked as such.
pub fn replay_response((status, answer): (StatusCode, String)) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json"), (header::HeaderName::from_static("idempotent-replayed"), "true")], answer).into_response()
}
