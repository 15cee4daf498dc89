//! Play money: where no Stripe key is given, a stand-in for Stripe runs inside this program, so that buying works on a laptop from the
//! first minute. Its pages say what it is. What was bought is kept in the data folder with all else.

use crate::config::Config;
use crate::data::DataDir;
use crate::failure::{Failure, Reason};
use crate::secrets::random;
use anyhow::Result;
use kiln_core::prices::Prices;
use kiln_stripe_stand_in as stand_in;
use std::collections::BTreeMap;
use tracing::{info, warn};

const STATE: &str = "play-money.json";

/// How the system reaches the payment service.
pub enum Payments {
    /// Stripe itself, or another that speaks as it does.
    Given {
        base: String,
    },
    Play(Box<Play>),
}

/// The stand-in, bound and not yet serving.
pub struct Play {
    listener: std::net::TcpListener,
    base: String,
    secret_key: String,
    webhook_secret: String,
}

impl Payments {
    pub fn choose(config: &Config) -> Result<Self, Failure> {
        if config.stripe_secret_key.as_ref().is_some_and(|key| !key.is_empty()) {
            return Ok(Self::Given { base: config.stripe_api_base.clone().unwrap_or_default() });
        }
        let failed = |error: &dyn std::fmt::Display| Failure::new(Reason::Unexpected, format!("the stand-in for Stripe: {error}"));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(|error| failed(&error))?;
        listener.set_nonblocking(true).map_err(|error| failed(&error))?;
        let port = listener.local_addr().map_err(|error| failed(&error))?.port();
        let secret = |prefix: &str| random().map(|random| format!("{prefix}{random}")).map_err(|error| failed(&error));
        // New with each start: both sides of it are here.
        let (secret_key, webhook_secret) = (secret("sk_test_play_")?, secret("whsec_")?);
        Ok(Self::Play(Box::new(Play { listener, base: format!("http://127.0.0.1:{port}"), secret_key, webhook_secret })))
    }

    /// The template's parameter: where it answers; empty for Stripe itself.
    pub fn base(&self) -> &str {
        match self {
            Self::Given { base } => base,
            Self::Play(play) => &play.base,
        }
    }

    /// What goes into the parameter store.
    pub fn secrets(&self, config: &Config) -> BTreeMap<String, String> {
        let (key, webhook) = match self {
            Self::Given { .. } => (config.stripe_secret_key.clone(), config.stripe_webhook_secret.clone()),
            Self::Play(play) => (Some(play.secret_key.clone()), Some(play.webhook_secret.clone())),
        };
        [("stripe-secret-key", key), ("stripe-webhook-secret", webhook)].into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// Starts the stand-in, if it is one, and makes there what the price list sells. Its events come to this API.
    pub async fn serve(self, data: &DataDir, api: &str) -> Result<()> {
        let Self::Play(play) = self else { return Ok(()) };
        let mut config = stand_in::Config::new(&play.base, &play.secret_key);
        config.state_file = Some(data.join(STATE));
        config.seller = "Kiln on this machine".into();
        let events = kiln_pay::EVENTS.iter().map(|event| (*event).to_owned()).collect();
        config.endpoints = vec![stand_in::Endpoint { url: format!("{api}/webhooks/stripe"), secret: play.webhook_secret, events }];
        let server = stand_in::StandIn::new(config).map_err(|error| anyhow::anyhow!("{error}"))?;
        let listener = tokio::net::TcpListener::from_std(play.listener)?;
        let router = server.router();
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                warn!("the stand-in for Stripe ended: {error}");
            }
        });
        let prices = match std::env::var("KILN_PRICES_FILE") {
            Ok(path) if !path.is_empty() => Prices::parse(&std::fs::read_to_string(&path)?).map_err(anyhow::Error::msg)?,
            _ => Prices::shipped(),
        };
        let done = kiln_pay::Pay::new(&play.secret_key, Some(&play.base))?.set_up(&prices).await?;
        if !done.is_empty() {
            info!("play money: {} packs and plans are sold", prices.packs.len() + prices.plans.len());
        }
        Ok(())
    }
}
