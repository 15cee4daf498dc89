//! `functions/fleet` as the worker calls it. Each call is made once; [`retrying`] repeats what may be repeated.
//! No token and no URL of a call is ever in an error's text, since errors are logged.

use super::backoff::Backoff;
use kiln_core::fleet::*;
use kiln_core::ids::JobId;
use serde::{Serialize, de::DeserializeOwned};
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// Why a call brought nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// Nothing is known of what the server did.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// 5xx, 408 or 429.
    #[error("HTTP {status}")]
    Trouble { status: u16, after: Option<Duration> },
    #[error("HTTP {status} {code}: {detail}")]
    Refused { status: u16, code: String, detail: String },
    #[error("unreadable answer: {0}")]
    Unreadable(String),
}

impl CallError {
    pub fn again(&self) -> bool {
        matches!(self, CallError::NoAnswer(_) | CallError::Trouble { .. })
    }

    pub fn status(&self) -> Option<u16> {
        match self {
            CallError::Trouble { status, .. } | CallError::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// From the client, without the URL, which may hold a signature.
    pub fn of(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(inner) = source {
            text = format!("{text}: {inner}");
            source = inner.source();
        }
        CallError::NoAnswer(text)
    }
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct Problem {
    code: String,
    title: String,
    detail: String,
}

/// A client of one instance. Cheap to share; connections are kept open.
pub struct Api {
    http: reqwest::Client,
    base: String,
    token: RwLock<Arc<str>>,
}

/// One client for the API and for S3: keep-alive, and no redirects, since a token must not follow one.
pub fn http_client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .user_agent(concat!("kiln-worker/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(5))
        .read_timeout(Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none())
        .build()
}

impl Api {
    pub fn new(http: reqwest::Client, base: String) -> Self {
        Self { http, base, token: RwLock::new("".into()) }
    }

    pub fn token(&self) -> Arc<str> {
        self.token.read().expect("the token's lock").clone()
    }

    pub fn set_token(&self, token: &str) {
        *self.token.write().expect("the token's lock") = token.into();
    }

    pub async fn register(&self, body: &RegisterRequest) -> Result<RegisterResponse, CallError> {
        self.post("/fleet/register", None, body).await
    }

    pub async fn credentials(&self) -> Result<CredentialsResponse, CallError> {
        self.post("/fleet/credentials", None, &serde_json::json!({})).await
    }

    pub async fn heartbeat(&self, request_id: Option<&str>, body: &HeartbeatRequest) -> Result<HeartbeatResponse, CallError> {
        self.post("/fleet/heartbeat", request_id, body).await
    }

    pub async fn claim(&self, job: &JobId, body: &ClaimRequest) -> Result<ClaimResponse, CallError> {
        self.post(&format!("/fleet/jobs/{job}/claim"), None, body).await
    }

    pub async fn artifacts(&self, job: &JobId, request_id: Option<&str>, body: &ArtifactsRequest) -> Result<ArtifactsResponse, CallError> {
        self.post(&format!("/fleet/jobs/{job}/artifacts"), request_id, body).await
    }

    /// `answered` is called when the answer has come and before it is read.
    pub async fn complete(&self, job: &JobId, request_id: Option<&str>, body: &ArtifactsRequest, answered: impl FnOnce()) -> Result<ReportResponse, CallError> {
        let response = self.send(&format!("/fleet/jobs/{job}/complete"), request_id, body).await?;
        if response.status().is_success() {
            answered();
        }
        read(response).await
    }

    pub async fn fail(&self, job: &JobId, request_id: Option<&str>, body: &FailRequest) -> Result<ReportResponse, CallError> {
        self.post(&format!("/fleet/jobs/{job}/fail"), request_id, body).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, request_id: Option<&str>, body: &impl Serialize) -> Result<T, CallError> {
        read(self.send(path, request_id, body).await?).await
    }

    async fn send(&self, path: &str, request_id: Option<&str>, body: &impl Serialize) -> Result<reqwest::Response, CallError> {
        let mut request = self.http.post(format!("{}{path}", self.base)).json(body);
        let token = self.token();
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        if let Some(id) = request_id {
            request = request.header("x-request-id", id);
        }
        request.send().await.map_err(CallError::of)
    }
}

async fn read<T: DeserializeOwned>(response: reqwest::Response) -> Result<T, CallError> {
    let status = response.status();
    if status.is_server_error() || matches!(status.as_u16(), 408 | 429) {
        let after = response.headers().get("retry-after").and_then(|text| text.to_str().ok()?.parse().ok());
        return Err(CallError::Trouble { status: status.as_u16(), after: after.map(Duration::from_secs) });
    }
    let body = response.bytes().await.map_err(CallError::of)?;
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|error| CallError::Unreadable(error.to_string()));
    }
    let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
    let detail = if problem.detail.is_empty() { problem.title } else { problem.detail };
    Err(CallError::Refused { status: status.as_u16(), code: problem.code, detail })
}

/// Makes the call until it is answered, refused, or its tries are used up.
pub async fn retrying<T, F>(backoff: Backoff, what: &str, mut call: impl FnMut() -> F) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let mut failed = 0;
    loop {
        let error = match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        failed += 1;
        if !error.again() || failed >= backoff.tries {
            return Err(error);
        }
        tracing::warn!(%error, failed, "{what} has to be tried again");
        match error {
            CallError::Trouble { after: Some(after), .. } if after > backoff.longest => tokio::time::sleep(after.min(Duration::from_secs(30))).await,
            _ => backoff.rest(failed).await,
        }
    }
}
