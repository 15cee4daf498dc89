//! What API Gateway and the distribution do in the cloud: one origin whose `/api/` goes to functions by the template's routes, with the
//! gateway's own limits, and whose rest is the pages. A route that the template lacks is a 404 here too.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{ConnectInfo, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use kiln_http::Problem;
use serde_json::json;
use tower::ServiceExt;
use tracing::{debug, error, info};

use crate::headers::{Cors, Security};
use crate::mail::Mailbox;
use crate::pages::Pages;
use crate::routes::{Found, Routes};

/// API Gateway's limits for an HTTP API.
const BODY_BYTES: usize = 10 << 20;
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Of one connection, not of a request: a function must not see them.
const HOP_BY_HOP: [HeaderName; 6] = [header::CONNECTION, header::TE, header::TRAILER, header::TRANSFER_ENCODING, header::UPGRADE, header::PROXY_AUTHORIZATION];

/// A function behind a route.
#[derive(Debug, Clone)]
pub struct Callable {
    pub router: Router,
    pub timeout: Duration,
}

/// One answer of a function, as those who watch are told it.
#[derive(Debug, Clone, Copy)]
pub struct Answered<'a> {
    pub function: &'a str,
    pub method: &'a Method,
    /// The route as the template writes it.
    pub path: &'a str,
    pub status: StatusCode,
}

/// Whose line in the log a request is.
enum Shown {
    Function,
    Page,
    Refused(&'static str),
}

pub struct Gateway {
    pub routes: Routes,
    /// By logical id.
    pub functions: BTreeMap<String, Callable>,
    pub pages: Pages,
    pub security: Security,
    pub cors: Cors,
    pub mailbox: Arc<Mailbox>,
    /// `http://HOST:PORT` that people are to use.
    pub public_url: String,
    /// Called after each answer of a function.
    pub watch: Box<dyn Fn(Answered) + Send + Sync>,
}

impl Gateway {
    pub fn into_router(self) -> Router {
        Router::new().fallback(entrance).with_state(Arc::new(self))
    }
}

async fn entrance(State(gateway): State<Arc<Gateway>>, ConnectInfo(peer): ConnectInfo<SocketAddr>, mut request: Request) -> Response {
    let started = Instant::now();
    let id = match request.headers().get(&REQUEST_ID) {
        Some(given) if usable(given) => given.clone(),
        _ => HeaderValue::from_str(&format!("req_{:032x}", fastrand::u128(..))).expect("hexadecimal digits are a header value"),
    };
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let method = request.method().clone();
    let origin = request.headers().get(header::ORIGIN).cloned();
    let path = request.uri().path().to_owned();
    let (shown, mut response) = if path == "/api" || path.starts_with("/api/") {
        match gateway.cors.preflight(&method, request.headers()) {
            Some(response) => (Shown::Page, response),
            None => {
                let (shown, mut response) = gateway.api(peer, request).await;
                gateway.cors.allow(origin.as_ref(), response.headers_mut());
                (shown, response)
            }
        }
    } else if path == "/local" || path.starts_with("/local/") {
        (Shown::Page, gateway.local(&path, request).await)
    } else {
        (Shown::Page, gateway.page(&path, request).await)
    };
    gateway.security.apply(response.headers_mut());
    response.headers_mut().insert(REQUEST_ID, id.clone());
    // A function writes its own line; the rest is ours to tell.
    let (status, ms, id) = (response.status().as_u16(), started.elapsed().as_millis(), id.to_str().unwrap_or_default());
    match shown {
        Shown::Function => {}
        Shown::Page => debug!(%method, status, ms, "page"),
        Shown::Refused(why) => info!(%method, why, status, ms, request_id = id, "refused"),
    }
    response
}

/// A request id of a caller's own is passed on if it is short and plain, by the rule of the functions' own log.
fn usable(id: &HeaderValue) -> bool {
    (1..=64).contains(&id.len()) && id.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
}

impl Gateway {
    async fn api(&self, peer: SocketAddr, request: Request) -> (Shown, Response) {
        let method = request.method().clone();
        let (function, path) = match self.routes.find(method.as_str(), request.uri().path()) {
            Found::Route { function, path } => (function, path),
            Found::WrongMethod(allowed) => {
                let allowed = allowed.join(", ");
                let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &format!("this path takes {allowed}"));
                response.headers_mut().extend(HeaderValue::from_str(&allowed).ok().map(|allowed| (header::ALLOW, allowed)));
                return (Shown::Refused("wrong method"), response);
            }
            Found::Nothing => return (Shown::Refused("no route"), problem(StatusCode::NOT_FOUND, "not_found", "no such endpoint")),
        };
        let Some(callable) = self.functions.get(function) else {
            // Start-up has checked it; a request must not bring the system down all the same.
            return (Shown::Refused("no function"), problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the function is not there"));
        };
        let response = match as_function_sees_it(peer, request).await {
            Ok(request) => invoke(function, callable, request).await,
            Err(response) => return (Shown::Refused("body"), response),
        };
        (self.watch)(Answered { function, method: &method, path, status: response.status() });
        (Shown::Function, response)
    }

    /// What exists on a laptop only.
    async fn local(&self, path: &str, request: Request) -> Response {
        // Sign-in links are shown here. A page elsewhere can make a browser ask under a name of its own (DNS rebinding): refuse such names.
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if !self.is_ours(host) {
            return problem(StatusCode::FORBIDDEN, "forbidden", "ask under this machine's own name");
        }
        if path != "/local/mail" {
            return problem(StatusCode::NOT_FOUND, "not_found", "no such endpoint");
        }
        if request.method() != Method::GET {
            return problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path takes GET");
        }
        let to = Query::<BTreeMap<String, String>>::try_from_uri(request.uri()).ok().and_then(|Query(mut query)| query.remove("to"));
        if let Err(error) = self.mailbox.refresh().await {
            return problem(StatusCode::BAD_GATEWAY, "no_mail", &format!("{error:#}"));
        }
        let items = self.mailbox.list(to.as_deref());
        ([(header::CACHE_CONTROL, "no-store")], Json(json!({ "items": items }))).into_response()
    }

    async fn page(&self, path: &str, request: Request) -> Response {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "pages take GET");
        }
        // A session belongs to one host name and links name the public one, so people under another name of this machine are sent there.
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let public = self.public_url.split_once("://").map_or("", |(_, host)| host);
        if host != public && port(host) == port(public) && loopback(host) && loopback(public) {
            let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
            return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, format!("{}{target}", self.public_url))]).into_response();
        }
        self.pages.serve(path, request.headers()).await
    }

    fn is_ours(&self, host: &str) -> bool {
        loopback(host) || self.public_url.split_once("://").is_some_and(|(_, public)| public == host)
    }
}

fn port(host: &str) -> Option<&str> {
    host.rsplit_once(':').map(|(_, port)| port)
}

fn loopback(host: &str) -> bool {
    let name = if host.starts_with('[') { host.split_inclusive(']').next() } else { host.split(':').next() };
    matches!(name, Some("localhost" | "127.0.0.1" | "[::1]"))
}

/// The request whole, as a function gets it; the answer to give where it is too large or broken off.
async fn as_function_sees_it(peer: SocketAddr, request: Request) -> Result<Request, Response> {
    let (mut parts, body) = request.into_parts();
    let too_large = || problem(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", &format!("a request body has {BODY_BYTES} bytes at most"));
    let declared = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > BODY_BYTES as u64) {
        return Err(too_large());
    }
    let body = match Limited::new(body, BODY_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(too_large()),
        Err(_) => return Err(problem(StatusCode::BAD_REQUEST, "body_broken_off", "the request's body ended early")),
    };
    for name in HOP_BY_HOP {
        parts.headers.remove(name);
    }
    join(&mut parts.headers, header::COOKIE, "; ");
    // The address that connected comes last, after what the caller claims.
    parts.headers.append(FORWARDED_FOR, HeaderValue::from_str(&peer.ip().to_string()).expect("an address is a header value"));
    join(&mut parts.headers, FORWARDED_FOR, ", ");
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    Ok(Request::from_parts(parts, Body::from(body)))
}

/// Several headers of a name become one, as an HTTP API hands them to a function.
fn join(headers: &mut HeaderMap, name: HeaderName, glue: &str) {
    let values: Vec<_> = headers.get_all(&name).iter().map(|value| value.as_bytes()).collect();
    if values.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&values.join(glue.as_bytes()))
    {
        headers.insert(name, joined);
    }
}

/// Runs the function as Lambda would: alone, for its time and no longer, and a crash of it is a 500 and no more.
async fn invoke(function: &str, callable: &Callable, request: Request) -> Response {
    let router = callable.router.clone();
    let mut task = tokio::spawn(async move {
        let Ok(response) = router.oneshot(request).await;
        let (parts, body) = response.into_parts();
        body.collect().await.map(|body| Response::from_parts(parts, Body::from(body.to_bytes())))
    });
    let limit = callable.timeout.min(ANSWER_WITHIN);
    match tokio::time::timeout(limit, &mut task).await {
        Ok(Ok(Ok(mut response))) => {
            // The whole answer is here; its length is the server's to say.
            response.headers_mut().remove(header::CONTENT_LENGTH);
            response
        }
        Ok(Ok(Err(failure))) => {
            error!("{function} broke off its answer: {failure}");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something broke on our side")
        }
        Ok(Err(crash)) => {
            error!("{function} crashed: {crash}");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something broke on our side")
        }
        Err(_) => {
            task.abort();
            error!("{function} took more than {} s and was ended", limit.as_secs());
            problem(StatusCode::GATEWAY_TIMEOUT, "timeout", "it took too long")
        }
    }
}

/// As the functions themselves answer.
fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    let mut response = Problem::new(status, code, detail).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
