//! Kiln's API as this client calls it: JSON in and out, problems as errors that a person can read.

use crate::session::{self, Session};
use anyhow::{Context, Result};
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// RFC 9457, as far as it is shown.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    pub status: u16,
    pub code: String,
    pub title: String,
    pub detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
}

/// What ends the command; each has its exit code.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{}", told(.0))]
    Refused(Problem),
    #[error("not signed in at {0}; run: kiln login ADDRESS")]
    SignedOut(String),
    #[error("KILN_API_KEY is not valid at {0}: it was revoked, has expired or is another system's")]
    KeyRefused(String),
    #[error("{0}")]
    JobEnded(String),
    #[error("{url} can't be reached: {why}")]
    NoConnection { url: String, why: String },
    #[error("{0}")]
    Interrupted(String),
}

impl Failure {
    pub fn exit_code(&self) -> i32 {
        match self {
            Failure::Refused(_) => 1,
            Failure::SignedOut(_) | Failure::KeyRefused(_) => 3,
            Failure::JobEnded(_) => 4,
            Failure::NoConnection { .. } => 5,
            Failure::Interrupted(_) => 130,
        }
    }
}

fn told(problem: &Problem) -> String {
    let mut text = if problem.detail.is_empty() { problem.title.clone() } else { problem.detail.clone() };
    if let Some(field) = problem.field.as_ref().filter(|field| !text.contains(field.as_str())) {
        text = format!("{field}: {text}");
    }
    if let Some(seconds) = problem.retry_after_s {
        text = format!("{text} Try again in {seconds} s.");
    }
    format!("{text} ({}, HTTP {})", problem.code, problem.status)
}

pub struct Api {
    http: reqwest::Client,
    base: Url,
    session: Option<Session>,
    /// From `KILN_API_KEY`; it wins over a session, as at the server.
    key: Option<String>,
}

impl Api {
    /// At `url`, else where the session is, else on this machine.
    pub fn new(url: Option<&str>) -> Result<Self> {
        let session = session::read()?;
        let url = url.or(session.as_ref().map(|session| session.url.as_str())).unwrap_or("http://localhost:8080").trim_end_matches('/').to_owned();
        let base = Url::parse(&url).with_context(|| format!("{url} is no address"))?;
        let http = reqwest::Client::builder()
            .user_agent(concat!("kiln-cli/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(60))
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let session = session.filter(|session| session.url == url);
        let key = std::env::var("KILN_API_KEY").ok().filter(|key| !key.is_empty());
        Ok(Self { http, base, session, key })
    }

    pub fn url(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// Whether it runs on this machine, so that its mail can be read.
    pub fn is_local(&self) -> bool {
        let host = self.base.host_str().unwrap_or_default();
        matches!(host, "localhost" | "[::1]") || host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        self.read(self.send(Method::GET, &format!("/api/v1/{path}"), None).await?).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.read(self.send(Method::POST, &format!("/api/v1/{path}"), Some(body)).await?).await
    }

    pub async fn delete(&self, path: &str) -> Result<Value> {
        self.read(self.send(Method::DELETE, &format!("/api/v1/{path}"), None).await?).await
    }

    /// The answer, whatever it is; only a missing one is an error.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<reqwest::Response> {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.url()));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        } else if let Some(session) = &self.session {
            request = request.header("cookie", format!("kiln_session={}", session.cookie));
        }
        if let Some(body) = body {
            request = request.json(body).header("idempotency-key", format!("{:032x}", fastrand::u128(..)));
        }
        request.send().await.map_err(|error| {
            let error = error.without_url();
            let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), innermost);
            Failure::NoConnection { url: self.url(), why }.into()
        })
    }

    pub async fn read(&self, response: reqwest::Response) -> Result<Value> {
        let status = response.status();
        let body = response.bytes().await.map_err(|error| Failure::NoConnection { url: self.url(), why: error.without_url().to_string() })?;
        if status.is_success() {
            return match body.is_empty() {
                true => Ok(Value::Null),
                false => serde_json::from_slice(&body).with_context(|| format!("{} did not answer as Kiln does", self.url())),
            };
        }
        if status.as_u16() == 401 {
            let failure = if self.key.is_some() { Failure::KeyRefused(self.url()) } else { Failure::SignedOut(self.url()) };
            return Err(failure.into());
        }
        let mut problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
        problem.status = status.as_u16();
        if problem.title.is_empty() {
            problem.title = status.canonical_reason().unwrap_or("an answer that isn't Kiln's").into();
        }
        Err(Failure::Refused(problem).into())
    }
}

fn innermost(mut error: &(dyn std::error::Error + 'static)) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_with_its_field_and_code() {
        let problem =
            Problem { status: 422, code: "bad_field".into(), detail: "must be 2, 3 or 4".into(), field: Some("params.scale".into()), ..Problem::default() };
        assert_eq!(told(&problem), "params.scale: must be 2, 3 or 4 (bad_field, HTTP 422)");
        let named = Problem { detail: "params.scale: must be 2, 3 or 4".into(), ..problem };
        assert_eq!(told(&named), "params.scale: must be 2, 3 or 4 (bad_field, HTTP 422)");
    }
}
