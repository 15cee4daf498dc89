//! A refusal in the shape that Vast.ai uses most: `{"success": false, "error": "<code>", "msg": "<text>"}` and its HTTP status.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

/// One refusal. It is built by one of the functions below, so that each kind has one status and one code.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub status: StatusCode,
    body: Map<String, Value>,
}

pub type Answer = Result<Value, Refusal>;

impl Refusal {
    pub fn new(status: StatusCode, code: &str, msg: impl Into<String>) -> Self {
        let mut body = Map::new();
        body.insert("success".into(), false.into());
        body.insert("error".into(), code.into());
        body.insert("msg".into(), msg.into().into());
        Self { status, body }
    }

    /// A key that is missing or isn't known.
    pub fn key() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "auth_error", "Invalid user key")
    }

    /// A key that is known and may not do this.
    pub fn scope() -> Self {
        Self::new(StatusCode::FORBIDDEN, "not_authorized", "This key may stop, start and destroy its own instance and nothing else.")
    }

    /// What a search or a creation can't be read as.
    pub fn args(msg: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_args", msg)
    }

    pub fn price(msg: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_price", msg)
    }

    /// What a list can't be asked for.
    pub fn request(msg: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", msg)
    }

    pub fn token() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_token", "Invalid after_token")
    }

    pub fn billing() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "missing_billing", "There is no credit left; add some first.")
    }

    /// Starting: somebody else has its GPUs. Said with 200.
    pub fn taken() -> Self {
        Self::new(StatusCode::OK, "resources_unavailable", "Required resources are currently unavailable, state change queued.")
    }

    pub fn no_instance(id: u64) -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_such_instance", format!("Instance {id} not found."))
    }

    /// The offer was never there.
    pub fn unknown_ask(ask: u64) -> Self {
        let msg = format!("error 404/3603: no_such_ask Instance type by id {ask} is not available.");
        Self::new(StatusCode::NOT_FOUND, "invalid_args", msg).with("ask_id", ask.into())
    }

    /// The offer was there and can't be had now.
    pub fn gone_ask(ask: u64) -> Self {
        let msg = format!("error 410/3630: no_such_ask Instance type by id {ask} is no longer available.");
        Self::new(StatusCode::GONE, "no_such_ask", msg).with("ask_id", ask.into())
    }

    pub fn no_route(method: &str, path: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("Nothing is served at {method} {path}. The stand-in serves what its README lists, trailing slashes included."),
        )
    }

    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.body.insert(field.into(), value);
        self
    }

    pub fn json(&self) -> Value {
        json!(self.body)
    }
}
