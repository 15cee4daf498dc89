//! What rents machines: one trait, one implementation a provider.

use async_trait::async_trait;
use kiln_core::ids::InstanceId;
use kiln_core::pool::Policy;
use kiln_core::pool::offers::Offer;
use kiln_core::time::{Millis, seconds};

/// A machine as its provider lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    pub provider_id: String,
    /// `kiln/DEPLOYMENT/POOL/INTENT` on what is ours.
    pub label: String,
    pub running: bool,
}

/// One machine, please.
#[derive(Clone)]
pub struct Order {
    pub instance_id: InstanceId,
    pub label: String,
    /// Works once, until its deadline.
    pub boot_token: String,
    /// Which, where there is a choice.
    pub offer: Option<Offer>,
}

/// Why an order gave no machine.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    /// There is none: it was refused.
    #[error("the provider gave no machine: {0:#}")]
    Refused(anyhow::Error),
    /// There may be one, which the list will show: the answer was lost.
    #[error("whether the provider made a machine is not known: {0:#}")]
    Unknown(anyhow::Error),
}

#[async_trait]
pub trait Provider: Send + Sync {
    fn name(&self) -> &'static str;
    /// The operator's own machine: a worker's word is enough there, and it costs nothing by the hour.
    fn own(&self) -> bool;
    /// The host that all its machines share, if they do.
    fn host(&self) -> Option<String> {
        None
    }
    /// Whether what it doesn't list is gone, at once: where the list is this process's own.
    fn lists_at_once(&self) -> bool {
        false
    }
    /// What a boot takes, as long as none was measured.
    fn usual_boot(&self) -> Millis {
        seconds(180)
    }
    /// What can be rented now; nothing where there is no choice ([`Provider::own`]).
    async fn offers(&self, policy: &Policy) -> anyhow::Result<Vec<Offer>>;
    /// All machines that exist, ours or not; an error where the list is not whole.
    async fn list(&self) -> anyhow::Result<Vec<Machine>>;
    /// Gives the provider's id of the new machine. Asked once: it is never repeated.
    async fn create(&self, order: &Order) -> Result<String, NotMade>;
    /// Destroying what is gone already is a success.
    async fn destroy(&self, provider_id: &str) -> anyhow::Result<()>;
}

/// Where no provider is set: nothing can be started, and the log says so.
#[derive(Debug, Clone, Copy)]
pub struct NoProvider;

#[async_trait]
impl Provider for NoProvider {
    fn name(&self) -> &'static str {
        "none"
    }

    fn own(&self) -> bool {
        false
    }

    async fn offers(&self, _: &Policy) -> anyhow::Result<Vec<Offer>> {
        anyhow::bail!("KILN_PROVIDERS names no provider, so no machine can be rented")
    }

    async fn list(&self) -> anyhow::Result<Vec<Machine>> {
        Ok(vec![])
    }

    async fn create(&self, _: &Order) -> Result<String, NotMade> {
        Err(NotMade::Refused(anyhow::anyhow!("KILN_PROVIDERS names no provider")))
    }

    async fn destroy(&self, _: &str) -> anyhow::Result<()> {
        Ok(())
    }
}
