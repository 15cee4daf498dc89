//! A proxy before the AWS stand-in. It names and counts each call, and a rule may change its fate: that's how messages are
//! lost or tripled, answers are lost, and processes killed at an exact call, without a hook in the product.

use anyhow::Result;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// One call as the proxy sees it.
#[derive(Debug, Clone)]
pub struct Call {
    /// `TransactWriteItems`, `SendMessage`, `s3 PUT`, …
    pub name: String,
    pub path: String,
    pub body: Bytes,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// Not carried out, answered as if it had been (an SQS send whose message is lost).
    Swallow,
    /// Carried out three times.
    Triple,
    /// Refused as DynamoDB refuses a transaction that touches what another one is writing.
    Conflict,
    /// Carried out, but the caller's connection breaks before the answer.
    LoseAnswer,
}

type Rule = Box<dyn Fn(&Call) -> Verdict + Send + Sync>;

/// The running proxy.
#[derive(Clone)]
pub struct Faults {
    pub url: String,
    inner: Arc<Inner>,
}

struct Inner {
    upstream: String,
    http: reqwest::Client,
    calls: Mutex<Vec<Call>>,
    rule: Mutex<Option<Rule>>,
    /// While on: the items that are being written, each with whether by a transaction.
    writing: Mutex<Option<Writing>>,
    conflicts: AtomicUsize,
}

/// Items in flight, by key.
type Writing = HashMap<String, bool>;

impl Faults {
    pub async fn start(upstream: &str) -> Result<Self> {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
        let inner = Arc::new(Inner {
            upstream: upstream.to_owned(),
            http,
            calls: Mutex::default(),
            rule: Mutex::default(),
            writing: Mutex::default(),
            conflicts: AtomicUsize::new(0),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = axum::Router::new().fallback(forward).with_state(inner.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, inner })
    }

    /// From now on this decides the fate of each call.
    pub fn rule(&self, rule: impl Fn(&Call) -> Verdict + Send + Sync + 'static) {
        *self.inner.rule.lock().expect("unpoisoned") = Some(Box::new(rule));
    }

    /// From now on writes that overlap are refused as DynamoDB refuses them: a transaction on an item that another call is writing is
    /// cancelled with `TransactionConflict` at that item, and a plain write on an item of a transaction gets `TransactionConflictException`.
    pub fn overlapping_writes_conflict(&self) {
        *self.inner.writing.lock().expect("unpoisoned") = Some(Writing::new());
    }

    /// Writes that were refused so.
    pub fn conflicts(&self) -> usize {
        self.inner.conflicts.load(Ordering::SeqCst)
    }

    /// Forgets the calls so far.
    pub fn reset(&self) {
        self.inner.conflicts.store(0, Ordering::SeqCst);
        self.inner.calls.lock().expect("unpoisoned").clear();
    }

    pub fn calls(&self) -> Vec<Call> {
        self.inner.calls.lock().expect("unpoisoned").clone()
    }

    /// How often each call was made.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for call in self.calls() {
            *counts.entry(call.name).or_default() += 1;
        }
        counts
    }
}

fn name(request: &axum::http::request::Parts, body: &[u8]) -> String {
    let target = request.headers.get("x-amz-target").and_then(|value| value.to_str().ok());
    if let Some(target) = target {
        return target.rsplit('.').next().unwrap_or(target).to_owned();
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(400)]);
    if let Some(action) = text.split("Action=").nth(1).filter(|_| request.method == "POST") {
        return action.split('&').next().unwrap_or(action).to_owned();
    }
    if request.uri.path().starts_with("/_") || request.uri.path().starts_with("/v2/") {
        return format!("other {}", request.uri.path());
    }
    format!("s3 {}", request.method)
}

async fn forward(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 30).await.unwrap_or_default();
    let call = Call { name: name(&parts, &body), path: parts.uri.path().to_owned(), body: body.clone() };
    inner.calls.lock().expect("unpoisoned").push(call.clone());
    let verdict = inner.rule.lock().expect("unpoisoned").as_ref().map_or(Verdict::Pass, |rule| rule(&call));
    let items = written(&call);
    // Held until the answer is there, whatever becomes of the call.
    let _flight = match (verdict, Flight::begin(&inner, &call.name, items)) {
        (Verdict::Pass | Verdict::Triple | Verdict::LoseAnswer, Err(refusal)) => return refusal,
        (_, flight) => flight.ok(),
    };
    match verdict {
        Verdict::Swallow => json(200, r#"{"MessageId":"00000000-0000-0000-0000-000000000000","MD5OfMessageBody":"d41d8cd98f00b204e9800998ecf8427e"}"#.into()),
        Verdict::Conflict => json(400, conflict(&body)),
        Verdict::Triple => {
            send(&inner, &parts, body.clone()).await;
            send(&inner, &parts, body.clone()).await;
            send(&inner, &parts, body).await
        }
        Verdict::Pass => send(&inner, &parts, body).await,
        Verdict::LoseAnswer => {
            send(&inner, &parts, body).await;
            // A body that breaks off: the client sees a broken connection.
            let broken = std::io::Error::other("lost");
            let stream = Body::new(BrokenBody(Some(broken)));
            Response::builder().header("content-length", "100").body(stream).unwrap_or_default()
        }
    }
}

/// The items that a call writes, by key: of a transaction each of its parts.
fn written(call: &Call) -> Vec<String> {
    let body = || serde_json::from_slice::<Value>(&call.body).unwrap_or_default();
    let key = |part: &Value| {
        let of = if part["Item"].is_object() { &part["Item"] } else { &part["Key"] };
        format!("{} {}", of["pk"]["S"].as_str().unwrap_or_default(), of["sk"]["S"].as_str().unwrap_or_default())
    };
    match call.name.as_str() {
        "PutItem" | "UpdateItem" | "DeleteItem" => vec![key(&body())],
        "TransactWriteItems" => {
            let parts = body()["TransactItems"].as_array().cloned().unwrap_or_default();
            parts.iter().map(|part| part.as_object().and_then(|part| part.values().next()).map(key).unwrap_or_default()).collect()
        }
        _ => vec![],
    }
}

/// A write in flight; its items are free again when it is dropped.
struct Flight {
    inner: Arc<Inner>,
    items: Vec<String>,
}

impl Flight {
    /// The refusal where another write is in the way. Two plain writes follow each other.
    fn begin(inner: &Arc<Inner>, name: &str, items: Vec<String>) -> Result<Option<Self>, Response> {
        let mut writing = inner.writing.lock().expect("unpoisoned");
        let Some(writing) = writing.as_mut().filter(|_| !items.is_empty()) else { return Ok(None) };
        let transaction = name == "TransactWriteItems";
        let in_the_way = |item: &String| writing.get(item).is_some_and(|by_transaction| transaction || *by_transaction);
        if items.iter().any(in_the_way) {
            inner.conflicts.fetch_add(1, Ordering::SeqCst);
            if !transaction {
                let kind = "com.amazonaws.dynamodb.v20120810#TransactionConflictException";
                return Err(json(400, serde_json::json!({ "__type": kind, "message": "Transaction is ongoing for the item" }).to_string()));
            }
            let reasons = items.iter().map(|item| if in_the_way(item) { "TransactionConflict" } else { "None" });
            return Err(json(400, cancelled(reasons)));
        }
        if !transaction && items.iter().any(|item| writing.contains_key(item)) {
            return Ok(None);
        }
        writing.extend(items.iter().map(|item| (item.clone(), transaction)));
        Ok(Some(Self { inner: inner.clone(), items }))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(writing) = self.inner.writing.lock().expect("unpoisoned").as_mut() {
            for item in &self.items {
                writing.remove(item);
            }
        }
    }
}

/// A cancelled transaction, with the reason at each of its parts.
fn cancelled<'a>(reasons: impl Iterator<Item = &'a str>) -> String {
    let reasons: Vec<_> = reasons
        .map(|code| match code {
            "None" => serde_json::json!({ "Code": code }),
            code => serde_json::json!({ "Code": code, "Message": "Transaction is ongoing for the item" }),
        })
        .collect();
    let kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
    serde_json::json!({ "__type": kind, "Message": "Transaction cancelled", "CancellationReasons": reasons }).to_string()
}

struct BrokenBody(Option<std::io::Error>);

impl axum::body::HttpBody for BrokenBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
        std::task::Poll::Ready(self.0.take().map(Err))
    }
}

/// DynamoDB's answer where every item of the transaction is being written by another.
fn conflict(body: &[u8]) -> String {
    let items = serde_json::from_slice::<Value>(body).ok().and_then(|body| body["TransactItems"].as_array().map(Vec::len)).unwrap_or(1);
    cancelled(std::iter::repeat_n("TransactionConflict", items))
}

fn json(status: u16, body: String) -> Response {
    Response::builder().status(status).header("content-type", "application/x-amz-json-1.0").body(Body::from(body)).unwrap_or_default()
}

async fn send(inner: &Inner, parts: &axum::http::request::Parts, body: Bytes) -> Response {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    // The Host header is part of what was signed: it goes on as it came.
    let request = inner.http.request(parts.method.clone(), format!("{}{path}", inner.upstream)).headers(parts.headers.clone()).body(body);
    let Ok(answer) = request.send().await else { return json(502, "{}".into()) };
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if name != "transfer-encoding" && name != "connection" {
            response = response.header(name, value);
        }
    }
    let bytes = answer.bytes().await.unwrap_or_default();
    response.body(Body::from(bytes)).unwrap_or_default()
}
