//! The topic over HTTPS: for a deployment that has SNS call its address instead of the function.

use crate::sns::{Envelope, Kind, Refusal, Verifier};
use crate::take::{Counts, take};
use axum::Extension;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use kiln_core::FieldError;
use kiln_http::body::{MAX_BODY_BYTES, parse};
use kiln_http::{App, Problem, Result};
use std::sync::Arc;

/// Takes a message of SNS about bounces and complaints. Only SNS can use it: the signature is checked.
#[utoipa::path(post, path = "/api/v1/webhooks/ses", tag = "webhooks",
    params(("x-amz-sns-message-type" = String, Header, description = "Notification, SubscriptionConfirmation or UnsubscribeConfirmation")),
    request_body(content = String, content_type = "text/plain", description = "The envelope of SNS, as JSON."),
    responses((status = 204, description = "Taken, or taken before."), (status = 403, description = "Not a genuine message of our topic."), (status = 413, description = "Too large.")))]
pub async fn receive(State(app): State<App>, Extension(verifier): Extension<Arc<Verifier>>, headers: HeaderMap, request: Request) -> Result<StatusCode> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if header("x-amz-sns-rawdelivery") == "true" {
        return Err(Problem::new(StatusCode::FORBIDDEN, "raw_delivery", "A raw message has no signature to verify; switch raw delivery off."));
    }
    let kind = header("x-amz-sns-message-type");
    let body = to_bytes(request.into_body(), MAX_BODY_BYTES)
        .await
        .map_err(|_| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("The body is larger than {MAX_BODY_BYTES} bytes.")))?;
    // SNS sends JSON as text/plain.
    let envelope: Envelope = parse(&body)?;
    if kind != envelope.kind.as_str() {
        return Err(FieldError::new("Type", "is not what the header x-amz-sns-message-type says").into());
    }
    verifier.verify(&envelope, app.now()).await.map_err(refuse)?;
    match envelope.kind {
        Kind::Notification => take(&app, &envelope.message, &mut Counts::default()).await?,
        Kind::SubscriptionConfirmation => {
            verifier.confirm(&envelope).await.map_err(refuse)?;
            tracing::info!("a subscription of our topic was confirmed");
        }
        // Nobody here unsubscribes, so an operator should know.
        Kind::UnsubscribeConfirmation => tracing::error!("a subscription of our topic has ended"),
    }
    Ok(StatusCode::NO_CONTENT)
}

fn refuse(why: Refusal) -> Problem {
    tracing::warn!(code = why.code(), "a message of SNS was refused: {why}");
    match why {
        // SNS sends it again after a 5xx.
        Refusal::NotFetched(_) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, why.code(), "SNS could not be asked for its certificate; send the message again.").retry_after(20)
        }
        why => Problem::new(StatusCode::FORBIDDEN, why.code(), why.to_string()),
    }
}

#[cfg(test)]
#[path = "receive_tests.rs"]
mod tests;
