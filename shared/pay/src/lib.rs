//! The payment service: Stripe, through async-stripe's modular crates, and nothing else of ours knows it. What it says comes out as
//! plain data in core's words; what we ask of it goes in so.
//!
//! Promises: each request has a time-out and at most three tries; one that makes something carries an idempotency key that the caller
//! derives from our own id, so that a repeat makes nothing twice; a webhook is believed only by its signature and age; no error and no
//! log line holds a key.
//!
//! The API's version is the one that the crates were generated for ([`API_VERSION`]); the webhook endpoint must be pinned to the same.

mod checkout;
mod setup;
mod subscription;
mod told;

pub use checkout::{Checkout, Line, Mode, Wanted};
pub use setup::{EVENTS, lookup_key};
pub use subscription::{InvoiceView, PlanState};
pub use told::{Event, FailedPayment, Invoice, InvoiceLine, Told, Untold, read};

use std::time::Duration;
use stripe::{IdempotencyKey, RequestStrategy, StripeError, StripeRequest};

/// The version of Stripe's API that this code speaks and that the webhook endpoint must send.
pub const API_VERSION: &str = "2026-09-30.endive";

/// For one request, its answer included.
const TIMEOUT: Duration = Duration::from_secs(8);
const TRIES: u32 = 3;

/// Why Stripe did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It refused: its code and, for the log, its words.
    #[error("Stripe refused ({status} {code}): {message}")]
    Refused { status: u16, code: String, message: String },
    /// It did not answer in time, or not readably, in all our tries; it may have done it.
    #[error("Stripe did not answer: {0}")]
    Silent(String),
    /// Its data lack what we made there: `scripts/stripe-setup` was not run for this price list.
    #[error("{0}")]
    NotSetUp(String),
}

pub type Result<T> = std::result::Result<T, Error>;

/// Stripe, as one secret key sees it. Cheap to clone.
#[derive(Clone)]
pub struct Pay {
    client: stripe::Client,
}

impl Pay {
    /// `base` is where Stripe answers, when that isn't Stripe itself.
    pub fn new(secret_key: &str, base: Option<&str>) -> Result<Self> {
        let mut builder = stripe::ClientBuilder::new(secret_key).timeout(TIMEOUT).app_info("Kiln", Some(env!("CARGO_PKG_VERSION").into()), None);
        if let Some(base) = base {
            builder = builder.url(format!("{}/", base.trim_end_matches('/')));
        }
        Ok(Self { client: builder.build().map_err(|error| Error::Silent(error.to_string()))? })
    }

    /// Sends a request that reads, or that may be repeated without harm.
    async fn ask<R: StripeRequest>(&self, request: &R) -> Result<R::Output>
    where
        R::Output: miniserde::Deserialize,
    {
        self.send(request, None).await
    }

    /// Sends a request that makes something; with the same key it makes it once.
    async fn make<R: StripeRequest>(&self, request: &R, key: &str) -> Result<R::Output>
    where
        R::Output: miniserde::Deserialize,
    {
        self.send(request, Some(key)).await
    }

    async fn send<R: StripeRequest>(&self, request: &R, key: Option<&str>) -> Result<R::Output>
    where
        R::Output: miniserde::Deserialize,
    {
        let mut wait = 200;
        for try_no in 1.. {
            let strategy = match key {
                Some(key) => RequestStrategy::Idempotent(IdempotencyKey::new(key).map_err(|error| Error::Silent(error.to_string()))?),
                None => RequestStrategy::Once,
            };
            let error = match request.customize().request_strategy(strategy).send(&self.client).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let passing = match &error {
                StripeError::Stripe(_, status) => matches!(status, 409 | 424 | 429 | 500..=599),
                StripeError::ClientError(_) | StripeError::Timeout => true,
                StripeError::JSONDeserialize(_) | StripeError::ConfigError(_) => false,
            };
            if !passing || try_no == TRIES {
                return Err(plain(error));
            }
            tokio::time::sleep(Duration::from_millis(fastrand::u64(wait / 2..=wait))).await;
            wait *= 3;
        }
        unreachable!("the loop returns at its last try")
    }
}

fn plain(error: StripeError) -> Error {
    match error {
        StripeError::Stripe(told, status) => {
            let code = told.code.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
            Error::Refused { status, code, message: told.message.clone().unwrap_or_default() }
        }
        StripeError::JSONDeserialize(text) => Error::Silent(format!("unreadable answer: {text}")),
        other => Error::Silent(other.to_string()),
    }
}

fn currency(code: &str) -> stripe_types::Currency {
    code.parse().unwrap_or_else(|never: std::convert::Infallible| match never {})
}
