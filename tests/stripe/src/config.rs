//! What a stand-in is started with.

use std::{path::PathBuf, time::Duration};

/// The API version that the stand-in speaks; it is the one that async-stripe 1.0.0-rc.10 sends.
pub const API_VERSION: &str = "2026-09-30.endive";

/// A webhook endpoint that exists from the start, with a secret that the caller chose.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub url: String,
    /// `whsec_…`
    pub secret: String,
    /// Event types, or `*`.
    pub events: Vec<String>,
}

/// How events reach the webhook endpoints.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// One event at a time for each endpoint, in the order they happened; a try that fails holds back what follows. Off: all at once, as Stripe may do.
    pub in_order: bool,
    /// How long one try may take.
    pub time_out: Duration,
    /// The wait before each further try; after the last one a delivery has failed.
    pub back_off: Vec<Duration>,
}

impl Default for Delivery {
    /// In no order; six tries within about two minutes.
    fn default() -> Self {
        Self { in_order: false, time_out: Duration::from_secs(10), back_off: [1, 3, 10, 30, 60].map(Duration::from_secs).into() }
    }
}

#[derive(Debug, Clone)]
pub struct Config {
    /// Where the router is reached, without a slash at the end; it may have a path. The pages' addresses are made from it.
    pub base_url: String,
    /// `sk_test_…`: the one key that calls are accepted with, for `/v1` and for `/stand-in`.
    pub secret_key: String,
    /// Where the state is kept as JSON, written whole after each change. None: in memory only.
    pub state_file: Option<PathBuf>,
    pub endpoints: Vec<Endpoint>,
    pub delivery: Delivery,
    /// The same seed gives the same ids. None: a random one.
    pub seed: Option<u64>,
    /// The most objects (customers, prices, sessions, charges, …) kept; the next one is refused. Events, deliveries and idempotency keys are kept up to
    /// the same number each, the oldest going first.
    pub max_objects: usize,
    /// The name that the pages show as the seller's.
    pub seller: String,
}

impl Config {
    /// Defaults for everything but where it is and its key.
    pub fn new(base_url: impl Into<String>, secret_key: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into().trim_end_matches('/').to_owned(),
            secret_key: secret_key.into(),
            state_file: None,
            endpoints: Vec::new(),
            delivery: Delivery::default(),
            seed: None,
            max_objects: 10_000,
            seller: "Kiln".into(),
        }
    }
}
