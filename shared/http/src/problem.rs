//! What a caller is told when something is refused: RFC 9457 `application/problem+json` with a stable `code` and, for a
//! bad field, `field`. What went wrong inside goes to the log, never into an answer.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use kiln_core::FieldError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub type Result<T> = std::result::Result<T, Problem>;

/// A refusal.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem; `about:blank#code`.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    /// Stable; programs decide by it.
    #[schema(example = "bad_field")]
    pub code: String,
    /// For a person.
    pub detail: String,
    /// The JSON path of the field that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "params.scale")]
    pub field: Option<String>,
    /// Seconds after which asking again makes sense.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
    /// The limit of a minute that was met; told in the headers.
    #[serde(skip)]
    limit: Option<i64>,
}

/// The code of an answer that is a problem, among its extensions.
#[derive(Debug, Clone)]
pub(crate) struct Code(pub String);

impl Problem {
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("about:blank#{code}"),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            detail: detail.into(),
            field: None,
            retry_after_s: None,
            limit: None,
        }
    }

    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds.max(1));
        self
    }

    /// Of a limit that is counted by the minute: its headers say so.
    pub fn limited(mut self, limit: i64) -> Self {
        self.limit = Some(limit);
        self
    }

    pub fn bad_field(error: FieldError) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_field", format!("{}: {}", error.field, error.message)).field(error.field)
    }

    /// A wrong id and somebody else's id answer the same.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such thing, or it isn't yours.")
    }

    pub fn unauthorized(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "signed_out", detail)
    }

    pub fn conflict(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    pub fn too_many(code: &str, detail: impl Into<String>, retry_after_s: u64) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, detail).retry_after(retry_after_s)
    }

    /// An error of ours: the log gets the cause, the caller a request id to quote.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "internal error");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something went wrong on our side; quote the x-request-id of this answer.")
    }
}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        Self::bad_field(error)
    }
}

impl From<kiln_store::Error> for Problem {
    fn from(error: kiln_store::Error) -> Self {
        match error {
            kiln_store::Error::Busy => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too much is happening to this account at once; please ask again.").retry_after(1)
            }
            other => Self::internal(other),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let (Some(limit), Some(seconds)) = (self.limit, self.retry_after_s) {
            for (name, value) in (crate::pace::RateLimit { policy: "creates", limit, left: 0, seconds }).fields() {
                response.headers_mut().insert(name, value);
            }
        }
        // For what is written of a refusal after it.
        response.extensions_mut().insert(Code(self.code));
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
