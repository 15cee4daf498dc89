//! A refusal in Stripe's shape: `{"error": {"type", "code", "message", "param"}}` and its HTTP status.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

/// One refusal. It is built by one of the functions below, so that each kind has one status and one type.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub status: StatusCode,
    /// What the request has done stays done although it is refused.
    pub kept: bool,
    body: Map<String, Value>,
}

pub type Answer = Result<Value, Refusal>;

impl Refusal {
    fn new(status: StatusCode, kind: &str, message: impl Into<String>) -> Self {
        let mut body = Map::new();
        body.insert("type".into(), kind.into());
        body.insert("message".into(), message.into().into());
        Self { status, kept: false, body }
    }

    /// 400, `invalid_request_error`.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// 400: a field holds what it can't.
    pub fn field(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(message).param(param)
    }

    pub fn missing(param: &str) -> Self {
        Self::field(param, format!("Missing required param: {param}.")).code("parameter_missing")
    }

    pub fn unknown(param: &str) -> Self {
        Self::field(param, format!("Received unknown parameter: {param}")).code("parameter_unknown")
    }

    /// 404 for an id in the path, 400 for one in a parameter.
    pub fn no_such(what: &str, id: &str, param: &str) -> Self {
        let mut refusal = Self::field(param, format!("No such {what}: '{id}'")).code("resource_missing");
        if param == "id" {
            refusal.status = StatusCode::NOT_FOUND;
        }
        refusal
    }

    pub fn no_route(method: &str, path: &str) -> Self {
        let mut refusal = Self::invalid(format!("Unrecognized request URL ({method}: {path}). The stand-in serves what its README lists."));
        refusal.status = StatusCode::NOT_FOUND;
        refusal
    }

    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_request_error", message)
    }

    /// 402, `card_error`, with the decline code.
    pub fn declined(decline_code: &str) -> Self {
        let mut refusal = Self::new(StatusCode::PAYMENT_REQUIRED, "card_error", "Your card was declined.").code("card_declined");
        refusal.body.insert("decline_code".into(), decline_code.into());
        refusal
    }

    pub fn idempotency(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "idempotency_error", message)
    }

    pub fn key_in_use(key: &str) -> Self {
        let message = format!(
            "There is currently another in-progress request using this Stripe idempotency key ({key}): that request may still succeed. Please try again later."
        );
        Self::new(StatusCode::CONFLICT, "idempotency_error", message).code("idempotency_key_in_use")
    }

    pub fn rate_limited() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "invalid_request_error", "Request rate limit exceeded.").code("rate_limit")
    }

    /// Another call holds the object.
    pub fn locked() -> Self {
        let message = "This object cannot be accessed right now because another API request or Stripe process is currently accessing it.";
        Self::new(StatusCode::CONFLICT, "invalid_request_error", message).code("lock_timeout")
    }

    /// What a server fault looks like to a client.
    pub fn server(status: StatusCode, message: &str) -> Self {
        Self::new(status, "api_error", message)
    }

    pub fn code(mut self, code: &str) -> Self {
        self.body.insert("code".into(), code.into());
        self.body.insert("doc_url".into(), format!("https://stripe.com/docs/error-codes/{}", code.replace('_', "-")).into());
        self
    }

    /// Keeps what was done before the refusal: a declined charge is on record.
    pub fn keep(mut self) -> Self {
        self.kept = true;
        self
    }

    pub fn param(mut self, param: impl Into<String>) -> Self {
        self.body.insert("param".into(), param.into().into());
        self
    }

    pub fn json(&self) -> Value {
        json!({ "error": self.body })
    }
}
