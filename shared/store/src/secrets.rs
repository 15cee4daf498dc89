//! Secrets from SSM Parameter Store, kept in the process for five minutes so that a rotation needs no deploy.
//!
//! Promises: while SSM can't be asked, a known secret is served for an hour more; no secret reaches a log, an error or
//! a `Debug`.

use crate::Error;
use aws_config::SdkConfig;
use aws_sdk_ssm::Client;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

const FRESH_FOR: Duration = Duration::from_secs(5 * 60);
/// How long a secret is believed while SSM fails, from when it was last read.
const SERVED_FOR: Duration = Duration::from_secs(60 * 60);
/// Between two tries while SSM fails, so that its trouble isn't made worse by each request.
const RETRY_AFTER: Duration = Duration::from_secs(15);

struct Known {
    value: Arc<str>,
    read_at: Instant,
    tried_at: Instant,
}

#[derive(Clone)]
pub struct Secrets {
    client: Client,
    prefix: String,
    known: Arc<Mutex<HashMap<String, Known>>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Secrets {
    /// `prefix` is where this deployment's secrets lie, such as `/kiln/kiln-prod/`.
    pub fn new(config: &SdkConfig, prefix: impl Into<String>) -> Self {
        let mut prefix = prefix.into();
        if !prefix.ends_with('/') {
            prefix.push('/');
        }
        Self { client: Client::new(config), prefix, known: Arc::default() }
    }

    /// The secret of this name. The lock is held while SSM is asked: one read serves all who wait.
    pub async fn get(&self, name: &str) -> Result<Arc<str>, Error> {
        let mut known = self.known.lock().await;
        let now = Instant::now();
        if let Some(secret) = known.get(name)
            && !is_due(now.duration_since(secret.read_at), now.duration_since(secret.tried_at))
        {
            return Ok(secret.value.clone());
        }
        match self.read(name).await {
            Ok(value) => {
                known.insert(name.to_owned(), Known { value: value.clone(), read_at: now, tried_at: now });
                Ok(value)
            }
            Err(error) => match known.get_mut(name) {
                Some(secret) if now.duration_since(secret.read_at) < SERVED_FOR => {
                    tracing::warn!(%error, name, "a secret could not be read again; the known one is used");
                    secret.tried_at = now;
                    Ok(secret.value.clone())
                }
                _ => Err(error),
            },
        }
    }

    async fn read(&self, name: &str) -> Result<Arc<str>, Error> {
        let path = format!("{}{name}", self.prefix);
        let output = self
            .client
            .get_parameter()
            .name(&path)
            .with_decryption(true)
            .send()
            .await
            .map_err(|error| Error::aws_code(&format!("reading the parameter {path}"), error))?;
        let value = output.parameter.and_then(|parameter| parameter.value).filter(|value| !value.is_empty());
        value.map(Arc::from).ok_or_else(|| Error::internal(format!("the parameter {path} is empty")))
    }
}

/// True when SSM is to be asked again.
fn is_due(since_read: Duration, since_tried: Duration) -> bool {
    since_read >= SERVED_FOR || (since_read >= FRESH_FOR && since_tried >= RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_again_after_five_minutes_and_less_often_while_that_fails() {
        let s = Duration::from_secs;
        assert!(!is_due(s(0), s(0)));
        assert!(!is_due(s(299), s(299)));
        assert!(is_due(s(300), s(300)));
        assert!(!is_due(s(310), s(14)), "a try has just failed");
        assert!(is_due(s(310), s(15)));
        assert!(is_due(s(3600), s(1)), "too old to serve");
    }

    #[test]
    fn debug_shows_where_and_never_what() {
        let secrets = Secrets::new(&crate::testing::config(), "/kiln/dev");
        secrets.known.try_lock().unwrap().insert("admin-key".to_owned(), Known { value: "s3cret".into(), read_at: Instant::now(), tried_at: Instant::now() });
        let shown = format!("{secrets:?}");
        assert!(shown.contains("/kiln/dev/") && !shown.contains("s3cret"), "{shown}");
    }

    #[tokio::test]
    async fn a_fresh_secret_needs_no_call() {
        let secrets = Secrets::new(&crate::testing::config(), "/kiln/dev/");
        secrets.known.lock().await.insert("admin-key".to_owned(), Known { value: "s3cret".into(), read_at: Instant::now(), tried_at: Instant::now() });
        assert_eq!(&*secrets.get("admin-key").await.unwrap(), "s3cret");
    }
}
