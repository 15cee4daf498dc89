//! What the payment service tells. This is the only place where money becomes credits.
//!
//! Promises (invariant 3): an event is believed by its signature and age; what it leads to is applied once per business object, in the
//! transaction of its credits, in any order; the answer is 2xx only after that commit; what is validly signed and can't be applied is
//! kept for an operator and alarmed, never lost; amounts come from the service's object and our own order or price list together.

mod apply;
mod tell;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use kiln_http::{App, Problem, Result, kept};
use kiln_pay::{Untold, read};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Whose messages these are, where some are kept.
pub(crate) const SOURCE: &str = "stripe";
/// Largest event; Stripe's are a few kilobytes.
const MAX_BYTES: usize = 1024 * 1024;
/// Times longer than any real header with a few secrets.
const MAX_SIGNATURE: usize = 4096;

fn api() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(webhook))
}

/// The function's endpoints.
pub fn router(app: App) -> axum::Router {
    kiln_http::lambda::finish(api().with_state(app).split_for_parts().0)
}

/// The function's part of the OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api().into_openapi()
}

/// Takes one event of the payment service's.
#[utoipa::path(post, path = "/api/v1/webhooks/stripe", tag = "webhooks", request_body(content = String, content_type = "application/json", description = "The service's event, byte for byte as it signed it."),
    params(("Stripe-Signature" = String, Header, description = "`t=…,v1=…`")),
    responses((status = 204, description = "It is applied, was before, or is kept for an operator."), (status = 400, description = "Not signed by our secret, or too long ago.")))]
async fn webhook(State(app): State<App>, request: Request) -> Result<StatusCode> {
    let signature = request.headers().get("stripe-signature").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    if signature.is_empty() || signature.len() > MAX_SIGNATURE {
        return Err(refused());
    }
    let bytes = axum::body::to_bytes(request.into_body(), MAX_BYTES)
        .await
        .map_err(|_| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("The body is larger than {MAX_BYTES} bytes.")))?;
    let body = std::str::from_utf8(&bytes).map_err(|_| refused())?;
    match verified(&app, body, &signature).await? {
        Ok(event) => {
            tracing::info!(event_id = event.id, kind = event.kind, "the payment service tells");
            apply::apply(&app, &event, body).await?;
        }
        Err(Untold::Unreadable(why)) => kept::keep(&app, SOURCE, &format!("unreadable: {why}"), body).await?,
        Err(Untold::BadAge) => {
            let detail = "The event was signed more than five minutes ago.";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_age", detail).field("Stripe-Signature"));
        }
        Err(Untold::BadSignature) => return Err(refused()),
    }
    Ok(StatusCode::NO_CONTENT)
}

/// By any of our secrets: while one is replaced by another there are two, with a comma between.
async fn verified(app: &App, body: &str, signature: &str) -> Result<std::result::Result<kiln_pay::Event, Untold>> {
    let secrets = app.secrets().get("stripe-webhook-secret").await?;
    let mut told = Err(Untold::BadSignature);
    for secret in secrets.split(',').map(str::trim).filter(|secret| !secret.is_empty() && *secret != kiln_http::pay::UNSET) {
        told = read(body, signature, secret, app.now() / 1000);
        if told != Err(Untold::BadSignature) {
            break;
        }
    }
    Ok(told)
}

fn refused() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_signature", "The event is not signed by the payment service.").field("Stripe-Signature")
}
