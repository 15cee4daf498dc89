//! The payment service for tests: the stand-in for Stripe in this process, and a relay that carries its events to the system once that
//! runs. What a payer does on the service's pages, tests do by its control endpoints.

use crate::System;
use anyhow::{Context, Result, ensure};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use kiln_stripe_stand_in::{Config, Endpoint, StandIn};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const KEY: &str = "sk_test_of_these_tests";
pub const SECRET: &str = "whsec_of_these_tests";

/// The running stand-in.
pub struct Shop {
    pub url: String,
    http: reqwest::Client,
    target: Arc<Mutex<String>>,
}

#[derive(Clone)]
struct Relay {
    target: Arc<Mutex<String>>,
    http: reqwest::Client,
}

impl Shop {
    /// Starts it; [`Shop::system`] starts a system that buys there.
    pub async fn open() -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(40)).build()?;
        let target = Arc::new(Mutex::new(String::new()));
        let relay_listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let relay_url = format!("http://{}/events", relay_listener.local_addr()?);
        let relay = axum::Router::new().fallback(relay).with_state(Relay { target: target.clone(), http: http.clone() });
        tokio::spawn(async move { axum::serve(relay_listener, relay).await });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let mut config = Config::new(&url, KEY);
        config.delivery.back_off = vec![Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];
        config.endpoints = vec![Endpoint { url: relay_url, secret: SECRET.into(), events: vec!["*".into()] }];
        let stand_in = StandIn::new(config).map_err(|error| anyhow::anyhow!("{error}"))?;
        let router = stand_in.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let done = kiln_pay::Pay::new(KEY, Some(&url))?.set_up(&kiln_core::prices::Prices::shipped()).await?;
        ensure!(!done.is_empty(), "nothing is sold");
        Ok(Self { url, http, target })
    }

    /// A system of its own that buys here.
    pub async fn system(&self, extra: &[(&str, &str)]) -> Result<System> {
        let mut env = self.env();
        env.extend(extra.iter().copied());
        let system = System::start(&env).await?;
        self.reaches(&system);
        Ok(system)
    }

    /// What a system must be told to buy here.
    pub fn env(&self) -> Vec<(&str, &str)> {
        vec![("STRIPE_SECRET_KEY", KEY), ("STRIPE_WEBHOOK_SECRET", SECRET), ("STRIPE_API_BASE", &self.url)]
    }

    /// From now on events go to this system.
    pub fn reaches(&self, system: &System) {
        *self.target.lock().expect("unpoisoned") = format!("{}/api/v1/webhooks/stripe", system.url);
    }

    /// A control endpoint of the stand-in's.
    pub async fn control(&self, path: &str, body: Value) -> Result<Value> {
        let answer = self.http.post(format!("{}/stand-in/{path}", self.url)).bearer_auth(KEY).json(&body).send().await?;
        let status = answer.status();
        let body: Value = answer.json().await?;
        ensure!(status.is_success(), "{path}: {status} {body}");
        Ok(body)
    }

    /// The service's own API.
    pub async fn api(&self, path: &str) -> Result<Value> {
        Ok(self.http.get(format!("{}/v1/{path}", self.url)).bearer_auth(KEY).send().await?.error_for_status()?.json().await?)
    }

    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> Result<Value> {
        let body: Vec<String> = form.iter().map(|(name, value)| format!("{name}={}", value.replace('&', "%26").replace('+', "%2B"))).collect();
        let request = self.http.post(format!("{}/v1/{path}", self.url)).bearer_auth(KEY).header("content-type", "application/x-www-form-urlencoded");
        Ok(request.body(body.join("&")).send().await?.error_for_status()?.json().await?)
    }

    pub async fn delete(&self, path: &str) -> Result<Value> {
        Ok(self.http.delete(format!("{}/v1/{path}", self.url)).bearer_auth(KEY).send().await?.error_for_status()?.json().await?)
    }

    /// From now on events reach nobody.
    pub fn reaches_nobody(&self) {
        *self.target.lock().expect("unpoisoned") = "http://127.0.0.1:1/".to_owned();
    }

    /// Changes fields of an object of the service's, with no event.
    pub async fn patch(&self, id: &str, fields: Value) -> Result<Value> {
        let answer = self.http.patch(format!("{}/stand-in/objects/{id}", self.url)).bearer_auth(KEY).json(&fields).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// The service fails no more.
    pub async fn clear_faults(&self) -> Result<()> {
        self.http.delete(format!("{}/stand-in/faults", self.url)).bearer_auth(KEY).send().await?.error_for_status()?;
        Ok(())
    }

    /// Waits until every event has been delivered or given up.
    pub async fn idle(&self) -> Result<()> {
        let answer: Value = self.http.get(format!("{}/stand-in/deliveries/idle?timeout_ms=30000", self.url)).bearer_auth(KEY).send().await?.json().await?;
        ensure!(answer["idle"] == true, "events are still on their way: {answer}");
        Ok(())
    }

    /// Pays a checkout, by the address that the system gave; gives the session.
    pub async fn pay(&self, url: &str, card: &str) -> Result<Value> {
        let session = session_of(url)?;
        let paid = self.control(&format!("checkout/{session}/pay"), json!({ "card": card })).await?;
        self.idle().await?;
        Ok(paid)
    }
}

/// What the service would sign a body with, now.
pub fn signature(body: &str) -> String {
    signature_at(body, std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// The same as of another time, in seconds since 1970.
pub fn signature_at(body: &str, at: u64) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(format!("{at}.{body}").as_bytes());
    format!("t={at},v1={}", hex::encode(mac.finalize().into_bytes()))
}

/// The session in a checkout's address.
pub fn session_of(url: &str) -> Result<String> {
    let from = url.find("cs_").with_context(|| format!("no session in {url}"))?;
    Ok(url[from..].split(['?', '#', '/']).next().unwrap_or_default().to_owned())
}

async fn relay(State(relay): State<Relay>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let target = relay.target.lock().expect("unpoisoned").clone();
    let mut request = relay.http.post(target).body(body);
    for name in ["stripe-signature", "content-type"] {
        if let Some(value) = headers.get(name) {
            request = request.header(name, value);
        }
    }
    match request.send().await {
        Ok(answer) => answer.status(),
        Err(_) => StatusCode::BAD_GATEWAY,
    }
}
