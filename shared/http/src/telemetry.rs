//! Logs: JSON in the cloud, readable on a laptop; one request id on every line of a request. No secret, no mail address
//! and no query string is ever logged.

use crate::caller::RequestId;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Starts logging; a second call does nothing.
pub fn init() {
    // Not EnvFilter: its regular expressions are half a megabyte of every function, and RUST_LOG here names levels and targets alone.
    let wanted = std::env::var("RUST_LOG").ok().and_then(|wanted| wanted.parse().ok());
    let filter = wanted.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let json = std::env::var("KILN_LOG").map_or_else(|_| std::env::var_os("AWS_LAMBDA_FUNCTION_NAME").is_some(), |form| form == "json");
    let (registry, lines) = (tracing_subscriber::registry().with(filter), tracing_subscriber::fmt::layer().with_target(false).log_internal_errors(false));
    // The second call of a test process finds a subscriber in place; that is fine.
    let _ = if json {
        registry.with(lines.json().flatten_event(true).with_current_span(true).with_span_list(false)).try_init()
    } else {
        registry.with(lines.compact()).try_init()
    };
}

/// Gives each request its id, a span and one line when it is answered, and each answer the headers that all have.
pub async fn layer(mut request: Request, next: Next) -> Response {
    let id = request
        .headers()
        .get(&REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'))
        .map_or_else(|| format!("req_{}", hex::encode(fastrand::u128(..).to_be_bytes())), str::to_owned);
    request.extensions_mut().insert(RequestId(id.clone()));
    let method = request.method().clone();
    let path = request.extensions().get::<MatchedPath>().map_or("(no route)", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", request_id = %id);
    let started = std::time::Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    let ms = started.elapsed().as_millis() as u64;
    span.in_scope(|| match status {
        500.. => tracing::warn!(%method, path, status, ms, "answered"),
        _ => tracing::info!(%method, path, status, ms, "answered"),
    });
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
