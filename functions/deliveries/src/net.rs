//! One POST to somewhere outside, and nothing inside: the guard against requests that an endpoint's owner would have us make
//! to our own network.
//!
//! Promises: a name is resolved here, once a try; every address that it leads to must be a public one, or nothing is sent; the
//! connection goes to an address that was checked, so that a name which says otherwise the second time changes nothing. No
//! proxy, no redirect, no cookie, no connection kept. All of it, the answer's beginning included, takes one time-out at most.

use futures::future::BoxFuture;
use kiln_core::hooks::address::may_reach;
use kiln_core::hooks::target;
use kiln_core::settings::Settings;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, header, redirect};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Of an answer that is no success, this much is kept to be shown.
const SHOWN: usize = 200;
/// Headers that an answer may have, in bytes, are bounded by the HTTP client; a `Retry-After` is no longer than this.
const MOST_HEADER: usize = 64;

/// Looks a name up. The system's own resolver, but for tests.
pub trait Lookup: Send + Sync + 'static {
    fn lookup(&self, name: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>>;
}

struct System;

impl Lookup for System {
    fn lookup(&self, name: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect()) })
    }
}

/// Why nothing was sent.
#[derive(Debug, Clone, Copy, thiserror::Error)]
enum Refused {
    #[error("the name leads to an address that is not of the public internet")]
    Inside,
    #[error("the name can't be resolved")]
    Unknown,
}

/// Resolves, and lets through only what is public.
struct Guarded {
    lookup: Arc<dyn Lookup>,
    loopback: bool,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let (found, loopback) = (self.lookup.lookup(name.as_str().to_owned()), self.loopback);
        Box::pin(async move {
            let addresses = found.await.map_err(|_| Refused::Unknown)?;
            if addresses.is_empty() {
                return Err(Refused::Unknown.into());
            }
            // One that is inside makes all of them suspect.
            if !addresses.iter().all(|address| may_reach(*address, loopback)) {
                return Err(Refused::Inside.into());
            }
            // Port 0: the URL's.
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

/// What is sent.
#[derive(Debug)]
pub struct Message<'a> {
    pub url: &'a str,
    pub id: &'a str,
    /// Seconds since 1970.
    pub timestamp_s: i64,
    pub signatures: &'a str,
    pub body: &'a str,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status, or why there is none.
    pub status: Result<u16, &'static str>,
    /// As the endpoint wrote it, with a 429 or 503.
    pub retry_after: Option<String>,
    pub latency: Duration,
    /// How an answer that is no success began.
    pub answer: Option<String>,
}

/// The way out.
pub struct Net {
    client: Client,
    loopback: bool,
    timeout: Duration,
}

impl Net {
    /// `loopback`: this machine itself may be reached, by plain http too.
    pub fn new(loopback: bool, settings: &Settings) -> anyhow::Result<Self> {
        Self::with(Arc::new(System), loopback, Duration::from_secs(settings.hook_timeout_s))
    }

    fn with(lookup: Arc<dyn Lookup>, loopback: bool, timeout: Duration) -> anyhow::Result<Self> {
        // reqwest is built without a TLS provider of its own; a second naming of the one that we ship is no error.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .dns_resolver(Arc::new(Guarded { lookup, loopback }))
            .no_proxy()
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .https_only(!loopback)
            .http1_only()
            // Each try asks the resolver: no connection outlives the check that it passed.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("Kiln-Webhooks/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, loopback, timeout })
    }

    /// One try.
    pub async fn post(&self, message: &Message<'_>) -> Reply {
        let began = Instant::now();
        let failed = |error| Reply { status: Err(error), retry_after: None, latency: began.elapsed(), answer: None };
        // The rules may have become stricter since the endpoint was made; and an address written out is resolved by nobody.
        let Ok(url) = target::parse(message.url, self.loopback) else { return failed("address_not_allowed") };
        let request = self
            .client
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", message.id)
            .header("webhook-timestamp", message.timestamp_s)
            .header("webhook-signature", message.signatures)
            .body(message.body.to_owned());
        match tokio::time::timeout(self.timeout, request.send()).await {
            Err(_) => failed("timed_out"),
            Ok(Err(error)) => failed(kind(&error)),
            Ok(Ok(response)) => {
                let latency = began.elapsed();
                let status = response.status();
                let waits = matches!(status.as_u16(), 429 | 503).then(|| response.headers().get(header::RETRY_AFTER)).flatten();
                let retry_after = waits.and_then(|value| value.to_str().ok()).filter(|text| text.len() <= MOST_HEADER).map(str::to_owned);
                let left = self.timeout.saturating_sub(latency);
                let answer = if status.is_success() { None } else { beginning(response, left).await };
                Reply { status: Ok(status.as_u16()), retry_after, latency, answer }
            }
        }
    }
}

/// The first bytes of an answer, as text without control characters; what does not come in time is not waited for.
async fn beginning(mut response: reqwest::Response, within: Duration) -> Option<String> {
    let mut bytes = Vec::new();
    let read = async {
        while bytes.len() < SHOWN {
            match response.chunk().await {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk[..chunk.len().min(SHOWN - bytes.len())]),
                _ => break,
            }
        }
    };
    let _ = tokio::time::timeout(within, read).await;
    let text: String = String::from_utf8_lossy(&bytes).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// One word for what went wrong. The error itself names the URL, which may hold a token: it is not logged.
fn kind(error: &reqwest::Error) -> &'static str {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(refused) = inner.downcast_ref::<Refused>() {
            return match refused {
                Refused::Inside => "address_not_allowed",
                Refused::Unknown => "dns",
            };
        }
        if inner.downcast_ref::<rustls::Error>().is_some() {
            return "tls";
        }
        // What an I/O error carries is not its source; there may be one in another.
        let carried = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = match carried {
            Some(carried) => Some(carried),
            None => inner.source(),
        };
    }
    if error.is_timeout() {
        "timed_out"
    } else if error.is_connect() {
        "connect"
    } else {
        "broken"
    }
}

#[cfg(test)]
#[path = "net_tests.rs"]
mod tests;
