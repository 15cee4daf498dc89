//! The way of one API call: key, version, parameters, planned faults, idempotency key, the work itself, the answer's headers.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use axum::{
    body::Bytes,
    extract::{FromRequest, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;
use subtle::ConstantTimeEq;

use crate::{
    api,
    config::API_VERSION,
    error::Refusal,
    faults::{self, Fault, FaultKind},
    form::{self, Node},
    params::Params,
    server::{Inner, now_ms},
    state::Saved,
};

const A_DAY_S: i64 = 24 * 3600;
const MAX_KEY: usize = 255;

/// What was answered, before it is a response.
struct Reply {
    status: StatusCode,
    body: Value,
    replayed: bool,
    key: Option<String>,
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Self { status: refusal.status, body: refusal.json(), replayed: false, key: None }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.body)).into_response();
        let headers = response.headers_mut();
        headers.insert("stripe-version", HeaderValue::from_static(API_VERSION));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store"));
        if let Some(key) = self.key.and_then(|k| HeaderValue::from_str(&k).ok()) {
            headers.insert("idempotency-key", key);
        }
        if self.replayed {
            headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
        }
        if self.status == StatusCode::CONFLICT || self.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert("stripe-should-retry", HeaderValue::from_static(if self.status == StatusCode::CONFLICT { "true" } else { "false" }));
        }
        response
    }
}

/// A refusal as a response of its own.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        Reply::from(self).into_response()
    }
}

/// Refuses whoever lacks the secret key: `Authorization: Bearer KEY`, or Basic with the key as the name.
pub fn authorize(inner: &Inner, headers: &HeaderMap) -> Result<(), Refusal> {
    let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let key = match given.and_then(|g| g.split_once(' ')) {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => Some(key.trim().to_owned()),
        Some((scheme, pair)) if scheme.eq_ignore_ascii_case("basic") => {
            let decoded = BASE64_STANDARD.decode(pair.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            decoded.map(|text| text.split_once(':').map_or(text.clone(), |(name, _)| name.to_owned()))
        }
        _ => None,
    };
    let Some(key) = key.filter(|k| !k.is_empty()) else {
        return Err(Refusal::unauthorized("You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth."));
    };
    if bool::from(key.as_bytes().ct_eq(inner.config.secret_key.as_bytes())) {
        return Ok(());
    }
    let end: String = key.chars().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect();
    Err(Refusal::unauthorized(format!("Invalid API Key provided: ********{end}")))
}

/// The same key guards the control endpoints.
pub async fn guard(State(inner): State<Arc<Inner>>, request: Request, next: Next) -> Response {
    match authorize(&inner, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

pub async fn serve(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let id = inner.lock().id("req", 14);
    let mut response = match call(&inner, request, &id).await {
        Ok(reply) => reply,
        Err(refusal) => refusal.into(),
    }
    .into_response();
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("request-id", value);
    }
    response
}

async fn call(inner: &Inner, request: Request, id: &str) -> Result<Reply, Refusal> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    authorize(inner, request.headers())?;
    if let Some(version) = request.headers().get("stripe-version").filter(|v| v.as_bytes() != API_VERSION.as_bytes()) {
        return Err(Refusal::invalid(format!(
            "Invalid Stripe API version: {}. The stand-in speaks {API_VERSION} only.",
            String::from_utf8_lossy(version.as_bytes())
        )));
    }
    let key = match request.headers().get("idempotency-key") {
        Some(key) if method == Method::POST => {
            let key = key.to_str().ok().filter(|k| !k.is_empty() && k.len() <= MAX_KEY);
            Some(key.ok_or_else(|| Refusal::idempotency(format!("An idempotency key holds 1 to {MAX_KEY} printable characters.")))?.to_owned())
        }
        _ => None,
    };
    let tree = parameters(request).await?;
    let fault = faults::take(&mut inner.faults.lock().unwrap_or_else(PoisonError::into_inner), method.as_str(), &path);
    let asked = format!("{method} {path} {tree:?}");
    // Held until the answer is known, or the caller has gone: then the key is free again.
    let in_use = match &key {
        Some(key) => Some(InUse::take(inner, key)?),
        None => None,
    };
    if let Some(saved) = key.as_ref().and_then(|key| inner.lock().saved.get(key).cloned()).filter(|s| s.at_s + A_DAY_S > now_ms() / 1000) {
        return replay(saved, &asked, &path, key.unwrap_or_default());
    }
    let before = fault.as_ref().filter(|f| !matches!(f.kind, FaultKind::Error500Applied | FaultKind::TimeOutApplied));
    if let Some(fault) = before {
        fail_before(fault).await?;
    }
    let segments: Vec<&str> = path.trim_start_matches('/').trim_end_matches('/').split('/').skip_while(|s| *s != "v1").skip(1).collect();
    let result = inner.work(Some((id.to_owned(), key.clone())), |work| api::call(work, &method, &segments, Params::new(tree)));
    let (status, body) = match (&result, fault.as_ref().map(|f| f.kind)) {
        (Ok(_), Some(FaultKind::Error500Applied)) => (StatusCode::INTERNAL_SERVER_ERROR, broken().json()),
        (Ok(body), _) => (StatusCode::OK, body.clone()),
        (Err(refusal), _) => (refusal.status, refusal.json()),
    };
    // Only what was begun is remembered: a refused parameter leaves the key free, a declined card does not.
    if let (Some(key), true) = (&key, status == StatusCode::OK || status == StatusCode::PAYMENT_REQUIRED || status.is_server_error()) {
        let mut state = inner.lock();
        state.save(key.clone(), Saved { request: asked, path, status: status.as_u16(), body: body.clone(), at_s: now_ms() / 1000 });
        inner.write(&state)?;
    }
    if let Some(fault) = fault.filter(|f| f.kind == FaultKind::TimeOutApplied) {
        drop(in_use);
        hang(&fault).await?;
    }
    Ok(Reply { status, body, replayed: false, key })
}

fn replay(saved: Saved, asked: &str, path: &str, key: String) -> Result<Reply, Refusal> {
    if saved.path != path {
        return Err(Refusal::idempotency(format!(
            "Keys for idempotent requests can only be used for the same endpoint they were first used for ('{path}' vs '{}'). Try using a key other than '{key}' if you meant to execute a different request.",
            saved.path
        )));
    }
    if saved.request != asked {
        return Err(Refusal::idempotency(format!(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key other than '{key}' if you meant to execute a different request."
        )));
    }
    let status = StatusCode::from_u16(saved.status).unwrap_or(StatusCode::OK);
    Ok(Reply { status, body: saved.body, replayed: true, key: Some(key) })
}

fn broken() -> Refusal {
    Refusal::server(StatusCode::INTERNAL_SERVER_ERROR, "An error occurred internally with Stripe's API (planned by a test).")
}

async fn hang(fault: &Fault) -> Result<(), Refusal> {
    tokio::time::sleep(Duration::from_millis(fault.ms.unwrap_or(60_000))).await;
    Err(Refusal::server(StatusCode::GATEWAY_TIMEOUT, "No answer in time (planned by a test)."))
}

async fn fail_before(fault: &Fault) -> Result<(), Refusal> {
    match fault.kind {
        FaultKind::Error500 => Err(broken()),
        FaultKind::TimeOut => hang(fault).await,
        FaultKind::RateLimit => Err(Refusal::rate_limited()),
        FaultKind::Lock => Err(Refusal::locked()),
        FaultKind::Delay => {
            tokio::time::sleep(Duration::from_millis(fault.ms.unwrap_or(500))).await;
            Ok(())
        }
        FaultKind::Error500Applied | FaultKind::TimeOutApplied => Ok(()),
    }
}

/// Query and form body together.
async fn parameters(request: Request) -> Result<BTreeMap<String, Node>, Refusal> {
    let mut tree = BTreeMap::new();
    if let Some(query) = request.uri().query() {
        form::read(query.as_bytes(), &mut tree)?;
    }
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let bytes = Bytes::from_request(request, &()).await.map_err(|rejection| {
        let mut refusal = Refusal::invalid("The request body is too large or was cut off.");
        refusal.status = rejection.status();
        refusal
    })?;
    if !bytes.is_empty() {
        if !kind.is_empty() && !kind.starts_with("application/x-www-form-urlencoded") {
            return Err(Refusal::invalid("Invalid request (check that your POST content type is application/x-www-form-urlencoded)."));
        }
        if std::str::from_utf8(&bytes).is_err() {
            return Err(Refusal::invalid("The request body isn't UTF-8."));
        }
        form::read(&bytes, &mut tree)?;
    }
    Ok(tree)
}

/// An idempotency key whose call isn't over.
struct InUse<'a> {
    inner: &'a Inner,
    key: String,
}

impl<'a> InUse<'a> {
    fn take(inner: &'a Inner, key: &str) -> Result<Self, Refusal> {
        let mut keys = inner.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.insert(key.to_owned()) { Ok(Self { inner, key: key.to_owned() }) } else { Err(Refusal::key_in_use(key)) }
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        self.inner.in_use.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
