//! A server that answers as a test's script says: the fleet endpoints, the two job queues as SQS speaks JSON, and
//! the storage. Only for answers that the real ones rarely give; whole jobs run against the real system in `tests/`.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

pub const ACCOUNT: &str = "acc_01ARYZ6S410000000000000000";
pub const JOB: &str = "job_01ARYZ6S410000000000000001";
pub const JOB_2: &str = "job_01ARYZ6S410000000000000002";
pub const INPUT: &[u8] = b"a photo";

/// One request as it came: `claim`, `PUT a.png`, `ReceiveMessage rush`.
#[derive(Debug, Clone)]
pub struct Call {
    pub what: String,
    pub body: Value,
    pub request_id: Option<String>,
    pub token: Option<String>,
}

#[derive(Default)]
struct Inside {
    calls: Vec<Call>,
    /// Answers to give before the usual one.
    script: HashMap<String, VecDeque<(u16, Value)>>,
    usual: HashMap<String, (u16, Value)>,
    queues: HashMap<String, VecDeque<String>>,
}

#[derive(Clone)]
pub struct Fake {
    inside: Arc<Mutex<Inside>>,
    changed: Arc<Notify>,
    base: Arc<str>,
}

impl Fake {
    pub async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let fake = Self { inside: Arc::default(), changed: Arc::default(), base: base.into() };
        let router = Router::new().fallback(answer).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        fake
    }

    pub fn api(&self) -> String {
        format!("{}/api/v1", self.base)
    }

    /// The next answer to `what`; further ones come after it.
    pub fn then(&self, what: &str, status: u16, body: Value) -> &Self {
        self.inside.lock().unwrap().script.entry(what.into()).or_default().push_back((status, body));
        self
    }

    /// The answer to `what` from now on.
    pub fn usually(&self, what: &str, status: u16, body: Value) -> &Self {
        self.inside.lock().unwrap().usual.insert(what.into(), (status, body));
        self
    }

    /// Sends a hint of the job to the queue of this priority.
    pub fn hint(&self, priority: &str, job: &str) {
        self.message(priority, &json!({"version": 1, "job_id": job, "account_id": ACCOUNT}).to_string());
    }

    pub fn message(&self, priority: &str, body: &str) {
        self.inside.lock().unwrap().queues.entry(priority.into()).or_default().push_back(body.into());
        self.changed.notify_waiters();
    }

    /// Every call so far of this name.
    pub fn calls(&self, what: &str) -> Vec<Call> {
        self.inside.lock().unwrap().calls.iter().filter(|call| call.what == what).cloned().collect()
    }

    /// The names of all calls so far, without heartbeats and polls.
    pub fn names(&self) -> Vec<String> {
        let inside = self.inside.lock().unwrap();
        inside.calls.iter().map(|call| call.what.clone()).filter(|what| what != "heartbeat" && !what.starts_with("ReceiveMessage")).collect()
    }

    /// Waits for the `count`-th call of this name and gives it.
    pub async fn until(&self, what: &str, count: usize) -> Call {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(call) = self.calls(what).get(count - 1) {
                    return call.clone();
                }
                changed.await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(15), wait).await {
            Ok(call) => call,
            Err(_) => panic!("no {count}. {what:?} came; there were {:?}", self.names()),
        }
    }

    async fn receive(&self, priority: &str, wait_s: u64) -> Value {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                let next = self.inside.lock().unwrap().queues.get_mut(priority).and_then(VecDeque::pop_front);
                if let Some(body) = next {
                    return json!({"Messages": [{"MessageId": "m", "ReceiptHandle": body, "Body": body}]});
                }
                changed.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(wait_s), wait).await.unwrap_or(json!({}))
    }

    fn default_answer(&self, what: &str, body: &Value) -> (u16, Value) {
        let answer = match what {
            "register" => json!({"instance_id": "ins_01ARYZ6S410000000000000003", "token": "instance-token", "heartbeat_s": 1}),
            "credentials" => {
                let queue = |priority: &str| json!({"url": format!("{}/queue/{priority}", self.base), "capability": "image", "priority": priority});
                json!({"access_key_id": "id", "secret_access_key": "secret", "session_token": "session", "expires_in_s": 3600,
                    "region": "us-east-1", "endpoint": &*self.base, "queues": [queue("rush"), queue("standard")]})
            }
            "heartbeat" => json!({"drain": false}),
            "claim" => json!({"attempt": 1, "lease_s": 60, "heartbeat_s": 1, "max_run_s": 60, "kind": "test", "params": {}, "request_id": "req-1",
                "inputs": [{"url": format!("{}/in", self.base), "content_type": "image/png", "bytes": INPUT.len(), "sha256": sha256(INPUT)}]}),
            "artifacts" => {
                let put = |artifact: &Value| {
                    let headers = json!({"content-type": artifact["content_type"], "content-length": artifact["bytes"].to_string(), "if-none-match": "*"});
                    json!({"name": artifact["name"], "url": format!("{}/out/{}", self.base, artifact["name"].as_str().unwrap()), "headers": headers})
                };
                json!({"puts": body["artifacts"].as_array().unwrap().iter().map(put).collect::<Vec<_>>()})
            }
            "complete" => json!({"state": "succeeded"}),
            "fail" => json!({"state": "queued"}),
            _ => json!({}),
        };
        (200, answer)
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(bytes))
}

async fn answer(State(fake): State<Fake>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let (what, body) = name(parts.method.as_str(), parts.uri.path(), &parts.headers, &bytes);
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let call = Call { what: what.clone(), body: body.clone(), request_id: header("x-request-id"), token: header("authorization") };
    let (scripted, usual) = {
        let mut inside = fake.inside.lock().unwrap();
        inside.calls.push(call);
        (inside.script.get_mut(&what).and_then(VecDeque::pop_front), inside.usual.get(&what).cloned())
    };
    fake.changed.notify_waiters();
    let (status, answer) = match scripted.or(usual) {
        Some(answer) => answer,
        None => match what.strip_prefix("ReceiveMessage ") {
            Some(priority) => (200, fake.receive(priority, body["WaitTimeSeconds"].as_u64().unwrap_or(0)).await),
            None => fake.default_answer(&what, &body),
        },
    };
    let content = if what == "GET /in" && status == 200 { Body::from(INPUT) } else { Body::from(answer.to_string()) };
    Response::builder().status(StatusCode::from_u16(status).unwrap()).header("content-type", "application/json").body(content).unwrap()
}

fn name(method: &str, path: &str, headers: &HeaderMap, bytes: &Bytes) -> (String, Value) {
    let json = || serde_json::from_slice::<Value>(bytes).unwrap_or(Value::Null);
    if let Some(target) = headers.get("x-amz-target") {
        let action = target.to_str().unwrap().trim_start_matches("AmazonSQS.").to_owned();
        let body = json();
        let queue = body["QueueUrl"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        return (format!("{action} {queue}"), body);
    }
    match path.strip_prefix("/api/v1/fleet/") {
        Some(rest) => (rest.rsplit('/').next().unwrap().to_owned(), json()),
        None => {
            let headers = headers.iter().map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap()))).collect();
            (format!("{method} {path}"), Value::Object(headers))
        }
    }
}
