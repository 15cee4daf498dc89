//! A stand-in on a free port, and a client for it.

use kiln_vast_stand_in::{Config, Offer, StandIn, Times};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

pub const KEY: &str = "the-key-of-the-tests";
/// 2026-01-01T22:00:00Z: two hours before a midnight.
pub const START_MS: i64 = 1_767_304_800_000;
pub const SECOND: i64 = 1_000;
pub const HOUR: i64 = 3_600 * SECOND;
/// An offer of round prices: 0.60 for the GPUs, 0.03 for 100 GB.
pub const ASK: u64 = 11;

pub struct Running {
    pub url: String,
    http: reqwest::Client,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An answer; a body that is not JSON is its text.
#[derive(Debug)]
pub struct Said {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Said {
    pub fn error(&self) -> (u16, &str) {
        (self.status, self.body["error"].as_str().unwrap_or_default())
    }
}

pub fn offers() -> Vec<Offer> {
    let usual = Offer { dph_base: 0.6, min_bid: 0.2, storage_cost: 0.216, inet_up_cost: 0.02, inet_down_cost: 0.01, disk_space: 1_000.0, ..Offer::default() };
    let more = [("RTX 3090", 0.3), ("RTX 4090", 0.5), ("H100 SXM", 2.5)];
    let mut offers = vec![Offer { id: ASK, machine_id: 1, ..usual.clone() }];
    for (n, (name, price)) in more.into_iter().enumerate() {
        offers.push(Offer { id: 12 + n as u64, machine_id: 2 + n as u64, gpu_name: name.into(), dph_base: price, ..usual.clone() });
    }
    offers
}

pub fn config() -> Config {
    let mut config = Config::new(KEY);
    config.frozen_at_ms = Some(START_MS);
    config.offers = offers();
    config.times = Times { provision: 10 * SECOND, create: 20 * SECOND, load: 30 * SECOND, restart: 5 * SECOND, stop: 2 * SECOND };
    config
}

pub async fn start() -> Running {
    start_with(config()).await
}

pub async fn start_with(config: Config) -> Running {
    // The client wants a TLS provider, although it speaks plain HTTP here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let stand_in = StandIn::new(config);
    let router = stand_in.router();
    let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let http = reqwest::Client::builder().no_proxy().timeout(std::time::Duration::from_secs(30)).build().unwrap();
    Running { url, http, task }
}

impl Running {
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method.parse().unwrap(), format!("{}{path}", self.url))
    }

    pub async fn said(&self, request: reqwest::RequestBuilder) -> Said {
        self.tried(request).await.unwrap()
    }

    /// An error is one of the connection: there was no answer.
    pub async fn tried(&self, request: reqwest::RequestBuilder) -> reqwest::Result<Said> {
        let answer = request.send().await?;
        let (status, headers, text) = (answer.status().as_u16(), answer.headers().clone(), answer.text().await?);
        Ok(Said { status, headers, body: serde_json::from_str(&text).unwrap_or_else(|_| text.into()) })
    }

    pub async fn call_as(&self, key: &str, method: &str, path: &str, body: Value) -> Said {
        let request = self.request(method, path).bearer_auth(key);
        self.said(if body.is_null() { request } else { request.json(&body) }).await
    }

    pub async fn call(&self, method: &str, path: &str, body: Value) -> Said {
        self.call_as(KEY, method, path, body).await
    }

    /// The same, and it must succeed.
    pub async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let said = self.call(method, path, body).await;
        assert_eq!(said.status, 200, "{method} {path}: {}", said.body);
        said.body
    }

    pub async fn control(&self, path: &str, body: Value) -> Value {
        self.ok("POST", &format!("/stand-in/{path}"), body).await
    }

    pub async fn advance(&self, ms: i64) {
        self.control("clock", json!({ "advance_ms": ms })).await;
    }

    pub async fn rent(&self, ask: u64, body: Value) -> Said {
        let mut order = json!({ "client_id": "me", "image": "kiln/worker:1", "disk": 100 });
        for (field, value) in body.as_object().unwrap() {
            order[field] = value.clone();
        }
        self.call("PUT", &format!("/api/v0/asks/{ask}/"), order).await
    }

    /// Rents an offer and tells the instance's id.
    pub async fn rented(&self, ask: u64, body: Value) -> u64 {
        let said = self.rent(ask, body).await;
        assert_eq!(said.status, 200, "{}", said.body);
        said.body["new_contract"].as_u64().unwrap()
    }

    /// An instance that runs, a minute after it was asked for.
    pub async fn runs(&self, ask: u64, body: Value) -> u64 {
        let id = self.rented(ask, body).await;
        self.advance(60 * SECOND).await;
        assert_eq!(self.row(id).await["actual_status"], "running");
        id
    }

    pub async fn row(&self, id: u64) -> Value {
        self.ok("GET", &format!("/api/v0/instances/{id}/?owner=me"), Value::Null).await["instances"].take()
    }

    pub async fn truth(&self, id: u64) -> Value {
        self.ok("GET", &format!("/stand-in/instances/{id}"), Value::Null).await
    }

    pub async fn list(&self, query: &str) -> Said {
        self.call("GET", &format!("/api/v1/instances/{query}"), Value::Null).await
    }

    pub async fn listed(&self) -> Vec<u64> {
        let said = self.list("").await;
        said.body["instances"].as_array().unwrap().iter().map(|row| row["id"].as_u64().unwrap()).collect()
    }

    pub async fn put_state(&self, id: u64, state: &str) -> Said {
        self.call("PUT", &format!("/api/v0/instances/{id}/"), json!({ "state": state })).await
    }

    pub async fn destroy(&self, id: u64) -> Said {
        self.call("DELETE", &format!("/api/v0/instances/{id}/"), json!({})).await
    }

    pub async fn requests(&self) -> Vec<Value> {
        self.ok("GET", "/stand-in/requests", Value::Null).await["items"].as_array().unwrap().clone()
    }

    pub async fn search(&self, body: Value) -> Vec<Value> {
        self.ok("POST", "/api/v0/bundles/", body).await["offers"].as_array().unwrap().clone()
    }

    /// Ends the server, and with its last connection the stand-in.
    pub async fn end(mut self) {
        self.http = reqwest::Client::new();
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

pub fn close(value: &Value, wanted: f64) -> bool {
    (value.as_f64().unwrap() - wanted).abs() < 1e-9
}

/// A query's value, encoded.
pub fn encoded(value: &Value) -> String {
    form_urlencoded::byte_serialize(value.to_string().as_bytes()).collect()
}
