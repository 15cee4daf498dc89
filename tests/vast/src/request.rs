//! The way of one API call: body, key, planned fault, the work itself in one step, the answer. Each is written down.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes as Chunk;
use futures::stream;
use serde_json::{Map, Value, json};
use subtle::ConstantTimeEq;

use crate::{
    api,
    clock::DAY_MS,
    error::{Answer, Refusal},
    faults::{self, Call, Fault, FaultKind},
    journal::Seen,
    server::Inner,
    state,
};

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, axum::Json(self.json())).into_response()
    }
}

/// Whose key a call carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    Account,
    /// An instance with its own key.
    Instance(u64),
    Nobody,
}

/// One call, read.
pub struct Asked {
    pub method: String,
    pub path: String,
    pub query: String,
    pub body: Map<String, Value>,
    pub caller: Caller,
    pub label: Option<String>,
}

pub fn caller(key: &str, headers: &HeaderMap, state: &state::State) -> Caller {
    let Some((scheme, given)) = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.split_once(' ')) else { return Caller::Nobody };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Caller::Nobody;
    }
    let same = |key: &str| bool::from(given.trim().as_bytes().ct_eq(key.as_bytes()));
    if same(key) {
        return Caller::Account;
    }
    state.instances.values().find(|i| i.alive() && same(&i.key)).map_or(Caller::Nobody, |i| Caller::Instance(i.id))
}

/// A JSON object, where an empty body means `{}`.
fn object(bytes: &[u8]) -> Result<Map<String, Value>, Refusal> {
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Refusal::args("The body must be a JSON object.")),
        Err(error) => Err(Refusal::args(format!("The body can't be read as JSON: {error}"))),
    }
}

/// Closes the connection with no answer at all.
fn silence() -> Response {
    // A body that fails before its first byte: the head has not been sent by then, and won't be.
    let cut = stream::once(async { Err::<Chunk, std::io::Error>(std::io::Error::other("planned by a test")) });
    Response::new(Body::from_stream(cut))
}

/// What a fault answers instead of the work.
fn instead(fault: &Fault, now_ms: i64) -> Option<Response> {
    let mut response = match fault.kind {
        FaultKind::RateLimitText => (StatusCode::TOO_MANY_REQUESTS, "API requests too frequent").into_response(),
        FaultKind::RateLimitDetail => {
            (StatusCode::TOO_MANY_REQUESTS, axum::Json(json!({ "detail": "API requests too frequent: endpoint threshold=4.5" }))).into_response()
        }
        FaultKind::RateLimitJson => Refusal::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", "API requests too frequent").into_response(),
        FaultKind::SearchQuota => {
            let msg = "The daily quota of searches is used up.";
            let midnight = (now_ms.div_euclid(DAY_MS) + 1) * (DAY_MS / 1000);
            let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "search_quota_exceeded", msg);
            ([("x-ratelimit-reset", midnight.to_string())], refusal).into_response()
        }
        FaultKind::AuthError => {
            let mut refusal = Refusal::key();
            refusal.status = fault.status.and_then(|s| StatusCode::from_u16(s).ok()).unwrap_or(refusal.status);
            refusal.into_response()
        }
        FaultKind::Error => gateway(fault),
        FaultKind::SuccessFalse => {
            let mut body = Refusal::args("error 200/0: planned by a test").json();
            body["error"] = "planned".into();
            axum::Json(body).into_response()
        }
        _ => return None,
    };
    if let Some(seconds) = fault.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    Some(response)
}

fn gateway(fault: &Fault) -> Response {
    let status = fault.status.and_then(|s| StatusCode::from_u16(s).ok()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let page = format!("<html><head><title>{status}</title></head><body><center><h1>{status}</h1></center></body></html>");
    (status, [(header::CONTENT_TYPE, "text/html")], page).into_response()
}

async fn pause(fault: &Fault, unless_told: u64) {
    tokio::time::sleep(Duration::from_millis(fault.ms.unwrap_or(unless_told))).await;
}

pub async fn serve(State(inner): State<Arc<Inner>>, request: Request) -> Result<Response, Infallible> {
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    let query = request.uri().query().unwrap_or_default().to_owned();
    let headers = request.headers().clone();
    let read = match Bytes::from_request(request, &()).await {
        Ok(bytes) => object(&bytes),
        Err(rejection) => Err(Refusal::new(rejection.status(), "invalid_args", "The body is too large or was cut off.")),
    };
    let (body, unread) = match read {
        Ok(body) => (body, None),
        Err(refusal) => (Map::new(), Some(refusal)),
    };

    // Written down and met with a fault in one step, so that the order of requests is the order in which faults are taken.
    let (asked, n, fault, early) = inner.work(|state| {
        let caller = caller(&inner.config.key, &headers, state);
        let named = path.strip_prefix("/api/v0/instances/").and_then(|rest| rest.split('/').find_map(|part| part.parse().ok()));
        let named = named.and_then(|id: u64| state.instances.get(&id));
        let label = body.get("label").and_then(Value::as_str).map(str::to_owned).or_else(|| named.and_then(|i| i.order.label.clone()));
        let asked = Asked { method, path, query, body, caller, label };
        let starts = asked.method == "PUT" && asked.path.starts_with("/api/v0/instances/") && asked.body.get("state").is_some_and(|to| to == "running");
        let call = Call { method: &asked.method, path: &asked.path, query: &asked.query, label: asked.label.as_deref(), starts };
        let fault = faults::take(&mut state.faults, &call);
        let early = if caller == Caller::Account { state.pace.too_early(&asked.method, &asked.path, state.now()) } else { None };
        let by = match caller {
            Caller::Account => "account".into(),
            Caller::Instance(id) => format!("instance:{id}"),
            Caller::Nobody => "nobody".into(),
        };
        let n = state.journal.write(Seen {
            n: 0,
            at_ms: state.now(),
            method: asked.method.clone(),
            path: asked.path.clone(),
            query: (!asked.query.is_empty()).then(|| asked.query.clone()),
            // A label may be as long as a body; the journal needs no more than the longest that is allowed.
            label: asked.label.as_ref().map(|label| label.chars().take(1_024).collect()),
            by,
            fault: fault.as_ref().map(|f| f.kind.name()),
            status: None,
        });
        (asked, n, fault, early)
    });
    let response = match early {
        Some(least) => Some((StatusCode::TOO_MANY_REQUESTS, format!("API requests too frequent: endpoint threshold={least}")).into_response()),
        None => answer(&inner, &asked, unread, fault.as_ref()).await,
    };
    let status = response.as_ref().map(|r| r.status().as_u16());
    if let Some(status) = status {
        inner.work(|state| state.journal.answered(n, status));
    }
    Ok(response.unwrap_or_else(silence))
}

/// None: there is no answer.
async fn answer(inner: &Arc<Inner>, asked: &Asked, unread: Option<Refusal>, fault: Option<&Fault>) -> Option<Response> {
    if let Some(fault) = fault {
        if let Some(response) = instead(fault, inner.lock().now()) {
            return Some(response);
        }
        match fault.kind {
            FaultKind::TimeOut => {
                pause(fault, 60_000).await;
                return None;
            }
            FaultKind::Delay => pause(fault, 200).await,
            _ => {}
        }
    }
    let done: Answer = match unread {
        Some(refusal) => Err(refusal),
        None => inner.work(|state| api::call(inner, state, asked, fault.map(|f| (f.kind, f.status)))),
    };
    match fault.map(|f| (f.kind, f)) {
        Some((FaultKind::TimeOutApplied, fault)) => {
            pause(fault, 60_000).await;
            None
        }
        Some((FaultKind::ErrorApplied, fault)) => Some(gateway(fault)),
        _ => Some(done.map_or_else(IntoResponse::into_response, |value| axum::Json(value).into_response())),
    }
}
