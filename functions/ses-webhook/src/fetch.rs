//! GETs from SNS's own hosts: of a certificate, and of the address that confirms a subscription. Bounded in time and bytes; no redirect
//! is followed and no proxy asked. Which addresses may be asked for is certificate.rs's and sns.rs's to say.

use async_trait::async_trait;
use std::sync::OnceLock;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(5);
/// A certificate has some 2 kB.
const MOST_BYTES: usize = 32 * 1024;

/// Why there is nothing; for the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotFetched(pub String);

#[async_trait]
pub trait Fetch: Send + Sync {
    /// The body of a 200.
    async fn get(&self, url: &str) -> Result<Vec<u8>, NotFetched>;
}

/// The real one. Its client is made when first needed: a function that only hears its topic never needs it.
#[derive(Default)]
pub struct Https(OnceLock<reqwest::Client>);

impl Https {
    fn client(&self) -> Result<&reqwest::Client, NotFetched> {
        if let Some(client) = self.0.get() {
            return Ok(client);
        }
        // A second naming of the one TLS provider is no error.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(WITHIN)
            .build()
            .map_err(|error| NotFetched(error.to_string()))?;
        Ok(self.0.get_or_init(|| client))
    }
}

#[async_trait]
impl Fetch for Https {
    async fn get(&self, url: &str) -> Result<Vec<u8>, NotFetched> {
        // The address is not in the log: a confirming one holds a token.
        let failed = |error: reqwest::Error| NotFetched(error.without_url().to_string());
        let mut answer = self.client()?.get(url).send().await.map_err(failed)?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(NotFetched(format!("it answered {}", answer.status())));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MOST_BYTES {
                return Err(NotFetched(format!("its answer has more than {MOST_BYTES} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}
