//! What rents machines: one trait, one implementation a provider.

use async_trait::async_trait;
use kiln_core::ids::InstanceId;
use kiln_core::pool::Policy;
use kiln_core::pool::offers::Offer;
use kiln_core::time::{Millis, seconds};
use std::time::{Duration, Instant};

/// A machine as its provider lists it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    pub provider_id: String,
    /// `kiln/DEPLOYMENT.TAG/POOL/INTENT` on what is ours; the tag is of this table alone.
    pub label: String,
    pub running: bool,
    /// It doesn't run since it was taken away for somebody who pays more, by the provider's word.
    pub taken: bool,
    /// It is stopped, and its disk is there, by the provider's word.
    pub stopped: bool,
    /// What it is at on its way up, as far as its provider tells: `provisioning`, `pulling` (of its image), `starting`.
    pub boot_stage: Option<&'static str>,
    /// The provider's last words of it, for an operator: short, in one line.
    pub says: Option<String>,
}

/// How machines are kept stopped at a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeps {
    /// From the start of one to ready, as long as none was measured.
    pub usual: Millis,
    /// One whose worker has not spoken so long after its start never will: somebody else has its GPU.
    pub most: Millis,
    /// So long after it was first asked for a machine gives itself back, the time that it was stopped included.
    pub life: Millis,
}

/// What a machine cost on one day, as its provider charges it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    pub provider_id: String,
    /// Where the provider tells it.
    pub label: Option<String>,
    /// Millionths of a dollar.
    pub microusd: i64,
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
    /// There is none, and for now there is none of this kind: the next offer may do.
    #[error("the provider has no such machine now: {0:#}")]
    Full(anyhow::Error),
    /// There is none: it came too early, and another order before this has passed does too.
    #[error("the provider wants no order yet: {1:#}")]
    TooSoon(Duration, anyhow::Error),
    /// There may be one, which the list will show: the answer was lost.
    #[error("whether the provider made a machine is not known: {0:#}")]
    Unknown(anyhow::Error),
}

/// Why a machine that is kept stopped was not started.
#[derive(Debug, thiserror::Error)]
pub enum NotStarted {
    /// It won't be, by the provider's word: somebody else has its GPU.
    #[error("the provider doesn't start it: {0:#}")]
    Refused(anyhow::Error),
    /// It may be: the answer was lost, and it is asked for again.
    #[error("whether the provider starts it is not known: {0:#}")]
    Unknown(anyhow::Error),
}

#[async_trait]
pub trait Provider: Send + Sync {
    fn name(&self) -> &'static str;
    /// The operator's own machine: a worker's word is enough there, and it costs nothing by the hour.
    fn own(&self) -> bool;
    /// Whether it is asked for new machines, or only watched and given back to.
    fn rents(&self) -> bool {
        true
    }
    /// How many machines it has, where there is an end to them.
    fn most(&self) -> Option<usize> {
        None
    }
    /// The host that all its machines share, if they do.
    fn host(&self) -> Option<String> {
        None
    }
    /// Whether what it doesn't list is gone, at once: where the list is this process's own.
    fn lists_at_once(&self) -> bool {
        false
    }
    /// Whether an offer stands for any number of machines, each a host of its own, and not for one.
    fn has_many(&self) -> bool {
        false
    }
    /// For how long no machine is rented of a host that did not boot or fell silent.
    fn avoided_for(&self) -> Millis {
        seconds(24 * 3600)
    }
    /// What a boot takes, as long as none was measured.
    fn usual_boot(&self) -> Millis {
        seconds(180)
    }
    /// How machines are kept stopped there; `None` where they never are.
    fn keeps(&self) -> Option<Keeps> {
        None
    }
    /// What can be rented now; nothing where there is no choice ([`Provider::own`]).
    async fn offers(&self, policy: &Policy) -> anyhow::Result<Vec<Offer>>;
    /// All machines that exist, ours or not; an error where the list is not whole.
    async fn list(&self) -> anyhow::Result<Vec<Machine>>;
    /// Whether this one machine, asked for by its id, is no more; an error where that isn't known.
    async fn is_gone(&self, provider_id: &str) -> anyhow::Result<bool>;
    /// Whether one that is no more, `lived` after it was asked for, was taken away for somebody who pays more, by the provider's word. Where what
    /// is taken stays listed ([`Machine::taken`]) it was not.
    async fn was_taken(&self, _provider_id: &str, _lived: Millis) -> anyhow::Result<bool> {
        Ok(false)
    }
    /// Gives the provider's id of the new machine. Asked once: it is never repeated.
    async fn create(&self, order: &Order) -> Result<String, NotMade>;
    /// What each machine of the account, ours or not, cost on the day (UTC) that began at `day`; `None` where it can't be asked.
    async fn charges(&self, _day: Millis) -> anyhow::Result<Option<Vec<Charge>>> {
        Ok(None)
    }
    /// Has a machine run again that is kept stopped. May be asked again; that it is done is no promise that its GPU is free.
    async fn start(&self, _provider_id: &str) -> Result<(), NotStarted> {
        Err(NotStarted::Refused(anyhow::anyhow!("{} keeps no machines stopped", self.name())))
    }
    /// How long a start takes at most until it is answered, or known not to be.
    fn start_takes(&self) -> Duration {
        Duration::from_secs(8)
    }
    /// How long an order takes at most until it is answered, or known not to be.
    fn order_takes(&self) -> Duration {
        Duration::from_secs(15)
    }
    /// The least time between two orders.
    fn between_orders(&self) -> Duration {
        Duration::ZERO
    }
    /// Destroying what is gone already is a success.
    async fn destroy(&self, provider_id: &str) -> anyhow::Result<()>;
    /// Destroys several; gives those that could not be, and why. After `until` none is asked for.
    async fn destroy_many(&self, ids: &[String], until: Instant) -> Vec<(String, anyhow::Error)> {
        let mut left = Vec::new();
        for id in ids {
            let done = if Instant::now() < until { self.destroy(id).await } else { Err(anyhow::anyhow!("there was no time for it; the next run goes on")) };
            left.extend(done.err().map(|why| (id.clone(), why)));
        }
        left
    }
}
