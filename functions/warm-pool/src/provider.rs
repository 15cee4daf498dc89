//! What rents machines: one trait, one implementation a provider.

use async_trait::async_trait;
use kiln_core::ids::InstanceId;

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
}

#[async_trait]
pub trait Provider: Send + Sync {
    fn name(&self) -> &'static str;
    /// The operator's own machine: a worker's word is enough there.
    fn trusted(&self) -> bool;
    /// The host that all its machines share, if they do.
    fn host(&self) -> Option<String> {
        None
    }
    /// All machines that exist, ours or not.
    async fn list(&self) -> anyhow::Result<Vec<Machine>>;
    /// Gives the provider's id of the new machine.
    async fn create(&self, order: &Order) -> anyhow::Result<String>;
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

    fn trusted(&self) -> bool {
        false
    }

    async fn list(&self) -> anyhow::Result<Vec<Machine>> {
        Ok(vec![])
    }

    async fn create(&self, _: &Order) -> anyhow::Result<String> {
        anyhow::bail!("KILN_PROVIDERS names no provider, so no machine can be rented")
    }

    async fn destroy(&self, _: &str) -> anyhow::Result<()> {
        Ok(())
    }
}
