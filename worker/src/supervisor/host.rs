//! How this machine is given back, for each provider: Vast.ai by the key that it puts into each container and that opens this one instance alone;
//! EC2 by shutting down, since its instances are launched so that this terminates them. Tried until it is done, with growing pauses. How it is
//! stopped, so that it can be started again: by that same key, and at Vast.ai alone. And how a provider says that it takes the machine away: a spot
//! instance of EC2 is told so two minutes ahead, by its metadata service (version 2).

use super::settings::SECRET;
use crate::agent::{Backoff, CallError, http_client, safe_url};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::process::Command;

/// Vast.ai's own address.
const VAST: &str = "https://console.vast.ai";
const TRIES: Backoff = Backoff::new(1_000, 60_000, u32::MAX);
/// For one call, or one run of a program.
const TIME_OUT: Duration = Duration::from_secs(20);
/// Most that is read of an answer.
const MOST_BYTES: usize = 64 << 10;

/// Where EC2's metadata service answers each instance, and the SDKs' own variable for another address.
const METADATA: &str = "http://169.254.169.254";
const METADATA_AT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
/// How often it is asked, as EC2 recommends, and how long for.
const LOOK: Duration = Duration::from_secs(5);
const LOOKS_FOR: Duration = Duration::from_secs(2);

/// Where the machine is, and what gives it back. It has no `Debug`: it holds a key.
pub enum Host {
    Vast { url: String, id: u64, key: String },
    Ec2 { shutdown: String, metadata: String },
}

impl Host {
    pub fn new(word: &str, env: impl Fn(&str) -> Option<String>, complaints: &mut Vec<String>) -> Result<Self, String> {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        match word {
            "vast" => {
                let id = set("CONTAINER_ID").and_then(|id| id.parse().ok()).ok_or("CONTAINER_ID names no instance; Vast.ai sets it in each container")?;
                let key = set(SECRET).ok_or(format!("{SECRET} is not set; Vast.ai sets it in each container"))?;
                let url = set("VAST_URL").map_or(Ok(VAST.to_owned()), |url| safe_url("VAST_URL", &url)).unwrap_or_else(|why| {
                    complaints.push(format!("{why}; {VAST} counts"));
                    VAST.to_owned()
                });
                Ok(Host::Vast { url, id, key })
            }
            "ec2" => {
                let metadata = set(METADATA_AT).unwrap_or_else(|| METADATA.into());
                Ok(Host::Ec2 { shutdown: set("KILN_SHUTDOWN").unwrap_or_else(|| "shutdown".into()), metadata: metadata.trim_end_matches('/').into() })
            }
            other => Err(format!("--rented is followed by vast or ec2, not by {other:?}")),
        }
    }

    /// Returns when it is done.
    pub async fn give_back(&self) {
        let mut failed = 0;
        while let Err(why) = self.once().await {
            failed += 1;
            tracing::error!(failed, "this machine could not be given back: {why}");
            TRIES.rest(failed).await;
        }
    }

    /// Asks the provider to stop this machine and keep its disk, until that is answered. Or why it won't.
    pub async fn stop(&self) -> Result<(), String> {
        let Host::Vast { url, id, key } = self else { return Err("an instance of EC2 can only be terminated".into()) };
        let mut failed = 0;
        loop {
            let why = match call(Method::PUT, url, *id, key, &json!({ "state": "stopped" })).await {
                Ok((status, body)) if done(status, &body) => return Ok(()),
                Ok((status, body)) if matches!(status, 408 | 429 | 500..) => said(status, &body),
                Ok((status, body)) => return Err(said(status, &body)),
                Err(why) => why,
            };
            failed += 1;
            tracing::warn!(failed, "this machine could not be stopped: {why}");
            TRIES.rest(failed).await;
        }
    }

    /// Returns when the provider has said that it takes this machine away; for ever where it doesn't say so.
    pub async fn taken_away(&self) {
        let Host::Ec2 { metadata, .. } = self else { return std::future::pending().await };
        // No proxy: the service answers this machine alone.
        let http = match reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(LOOKS_FOR).build() {
            Ok(http) => http,
            Err(error) => {
                tracing::error!(%error, "whether this machine is taken away can't be asked");
                return std::future::pending().await;
            }
        };
        let (mut token, mut heard) = (None, true);
        loop {
            match look(&http, metadata, &mut token).await {
                Ok(false) => heard = true,
                Ok(true) => return,
                // Said once: a machine that isn't at EC2 has no such service.
                Err(error) => {
                    if std::mem::take(&mut heard) {
                        tracing::warn!(error, "whether this machine is taken away could not be read");
                    }
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn once(&self) -> Result<(), String> {
        match self {
            Host::Vast { url, id, key } => destroy(url, *id, key).await,
            Host::Ec2 { shutdown, .. } => {
                let mut command = Command::new(shutdown);
                command.args(["-h", "now"]).kill_on_drop(true);
                match tokio::time::timeout(TIME_OUT, command.status()).await {
                    Ok(Ok(status)) if status.success() => Ok(()),
                    Ok(Ok(status)) => Err(format!("{shutdown}: {status}")),
                    Ok(Err(error)) => Err(format!("{shutdown}: {error}")),
                    Err(_) => Err(format!("{shutdown} does not end")),
                }
            }
        }
    }
}

/// Whether there is a notice. The session's token is asked for anew when it is no longer good.
async fn look(http: &reqwest::Client, metadata: &str, token: &mut Option<String>) -> Result<bool, String> {
    let said = |error: reqwest::Error| error.without_url().to_string();
    if token.is_none() {
        let answer = http.put(format!("{metadata}/latest/api/token")).header("x-aws-ec2-metadata-token-ttl-seconds", "21600").send().await.map_err(said)?;
        *token = Some(answer.error_for_status().map_err(said)?.text().await.map_err(said)?);
    }
    let notice = http.get(format!("{metadata}/latest/meta-data/spot/instance-action")).header("x-aws-ec2-metadata-token", token.as_deref().unwrap_or_default());
    match notice.send().await.map_err(said)?.status().as_u16() {
        200 => Ok(true),
        // There is none, as for every machine that isn't a spot one.
        404 => Ok(false),
        status => {
            *token = None;
            Err(format!("HTTP {status}"))
        }
    }
}

/// One try. What is gone is given back.
async fn destroy(url: &str, id: u64, key: &str) -> Result<(), String> {
    let (status, body) = call(Method::DELETE, url, id, key, &json!({})).await?;
    // A key that does not hold is said so with 404 too.
    let gone = status == 404 && body["error"] != "auth_error" && body.is_object();
    if done(status, &body) || gone { Ok(()) } else { Err(said(status, &body)) }
}

/// One call about this instance: the status, and the body, null where that is no JSON, such as a page of a proxy.
async fn call(method: Method, url: &str, id: u64, key: &str, body: &Value) -> Result<(u16, Value), String> {
    let http = http_client().map_err(|error| format!("no HTTP client: {error}"))?;
    let request = http.request(method, format!("{url}/api/v0/instances/{id}/")).bearer_auth(key).timeout(TIME_OUT).json(body);
    let mut answer = request.send().await.map_err(|error| CallError::of(error).to_string())?;
    let (status, mut bytes) = (answer.status().as_u16(), Vec::new());
    while let Ok(Some(chunk)) = answer.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MOST_BYTES {
            break;
        }
    }
    Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()))
}

fn done(status: u16, body: &Value) -> bool {
    (200..300).contains(&status) && body["success"].as_bool() == Some(true)
}

/// An answer for the log.
fn said(status: u16, body: &Value) -> String {
    let word = body["error"].as_str().or(body["msg"].as_str()).unwrap_or_default();
    format!("HTTP {status} {}", word.chars().take(100).collect::<String>())
}
