//! Instances, their tokens and slots, and the pool's policy. All of a fleet is one partition, so that the warm pool
//! sees it by one consistent query.

use crate::table::{Expr, Item, Parts, Table, Written, absent, from_item, n, s, to_item};
use crate::{Error, Faults, accounts::account_from, keys};
use kiln_core::fleet::Stage;
use kiln_core::ids::{AccountId, InstanceId, JobId, LeaseId};
use kiln_core::job::Job;
use kiln_core::pool::budget::Rate;
use kiln_core::pool::charges::Daily;
use kiln_core::pool::reliability::Over;
use kiln_core::pool::usage::{Life, ToldPhase, end, ended};
use kiln_core::pool::{Arrivals, Boots, History, Policy, Reliability, Standing};
use kiln_core::time::Millis;
use kiln_core::timing::Timings;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One rented machine (or one slot of it).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    pub v: u32,
    pub instance_id: InstanceId,
    pub pool: String,
    pub provider: String,
    /// Absent while the rental is only an intent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    pub label: String,
    /// The physical host; two instances on one are not two witnesses.
    pub host: String,
    /// Which of its host's machines it is, where its provider tells that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// What its offer goes by, where that stands for any number of hosts: avoided in its host's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered_as: Option<String>,
    pub trusted: bool,
    pub stage: Stage,
    /// When it was asked for. One that is kept stopped begins anew in the books with each stretch: then since when it is stopped, or was asked for
    /// again.
    pub requested_at: Millis,
    /// What its worker is at while it is loading, in the worker's words; before it has spoken, what its provider does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_stage: Option<String>,
    /// The provider's last words of it before its worker spoke, in one short line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_says: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_at: Option<Millis>,
    /// Since when its worker loads, from when it registered until it is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loading_since: Option<Millis>,
    /// How often it has registered again.
    #[serde(default)]
    pub restarts: u32,
    /// Since when its slot is empty.
    pub idle_since: Millis,
    #[serde(default)]
    pub drain: bool,
    /// When it was asked to finish and go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained_at: Option<Millis>,
    /// When it said by itself that it leaves; the same time where nobody had asked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaves_at: Option<Millis>,
    #[serde(default)]
    pub capabilities: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Hash of the one-use boot token; gone once it was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_hash: Option<String>,
    /// The same once it was used: who sends it again is not the machine that it was made for, or that machine is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_used: Option<String>,
    /// That is what ended it ([`Table::boot_again`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub boot_twice: bool,
    pub boot_expires_at: Millis,
    /// When its worker first registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered_at: Option<Millis>,
    /// When it was first ready for work since it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Millis>,
    /// When it took the first job since it was last told idle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_since: Option<Millis>,
    /// The last of its usage events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<ToldPhase>,
    /// What it costs; nothing where it is the operator's own.
    #[serde(default)]
    pub rate: Rate,
    /// What it would cost by the hour while it is kept stopped; absent where it is never kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_microusd_per_hour: Option<i64>,
    /// It is drained to be kept stopped, and not given back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rests: bool,
    /// What one that is stopped costs when it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs_for: Option<Rate>,
    /// The hash of the token of one that is stopped, which works again when it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sleeping_hash: Option<String>,
    /// When one that was stopped was last asked for again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_at: Option<Millis>,
    /// Until when its cost is reserved (`Table::cover`).
    #[serde(default)]
    pub covered_to: Millis,
    /// It may be taken away for somebody who pays more, and when it was.
    #[serde(default)]
    pub interruptible: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<Millis>,
    /// When we ended it whatever it did, though nothing was wrong with it: its job loses no try by that, and its host is not blamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by_us_at: Option<Millis>,
    /// Since when the provider's list lacks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<Millis>,
    /// Hash of the token that its worker speaks with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_hash: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot_job: Option<JobId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot_account: Option<AccountId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot_attempt: Option<u32>,
    /// An operator's claim on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// Of the jobs it did; only [`Table::fleet`] reads them.
    #[serde(skip)]
    pub timings: Timings,
}

/// An operator's claim on a machine: until then it is not given back for want of work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub id: LeaseId,
    pub until: Millis,
}

/// The attempt that an instance holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub job_id: JobId,
    pub account_id: AccountId,
    pub attempt: u32,
}

impl Instance {
    pub fn slot(&self) -> Option<Slot> {
        Some(Slot { job_id: self.slot_job.clone()?, account_id: self.slot_account.clone()?, attempt: self.slot_attempt? })
    }

    /// By what no other is rented, where it did not boot or fell silent: its host, or what its offer goes by.
    pub fn avoided_as(&self) -> &str {
        self.offered_as.as_deref().unwrap_or(&self.host)
    }

    /// Whether it is to go by somebody's wish, and not by its own word.
    pub fn was_asked_to_go(&self) -> bool {
        self.drain && (self.leaves_at.is_none() || self.leaves_at != self.drained_at)
    }

    /// What its life says of its like, now that it has ended: neither our wish nor that somebody pays more is a fault.
    pub fn over(&self, ended_at: Millis) -> Over {
        let wished = self.was_asked_to_go() || self.rests || self.ended_by_us_at.is_some() || self.taken_at.is_some() || self.leaves_at.is_some();
        let booted = match self.ready_at {
            // One that was kept stopped may have its GPU taken by somebody else.
            _ if self.resumed_at.is_some() || self.runs_for.is_some() => None,
            Some(_) => Some(true),
            None => Some(false).filter(|_| self.provider_id.is_some() && !wished),
        };
        Over { booted, stayed_ms: self.ready_at.map_or(0, |at| ended_at - at), lost: self.ready_at.is_some() && !wished }
    }

    /// When what it is at has ended, that is believed to have at `at`: never before what was told of it, and after the end of the life before it.
    pub(crate) fn end(&self, at: Millis) -> Millis {
        let goes_on = self.runs_for.is_some() || self.resumed_at.is_some();
        end(&self.life(), self.told, at.max(self.requested_at + Millis::from(goes_on)))
    }

    /// What its usage events are made from.
    pub fn life(&self) -> Life {
        let &Self { rate, requested_at, registered_at, ready_at, busy_since, drained_at, .. } = self;
        Life { rate, requested_at, registered_at, ready_at, busy_since, idle_since: self.slot_job.is_none().then_some(self.idle_since), drained_at }
    }
}

/// The pool's policy as an operator last set it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolState {
    #[serde(flatten)]
    pub policy: Policy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prewarm: Option<Prewarm>,
    /// Rises with every change.
    #[serde(default)]
    pub rev: u64,
}

/// Machines that an operator wants ahead of the jobs, for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prewarm {
    pub machines: u32,
    pub until: Millis,
}

impl PoolState {
    /// The policy as it holds now: machines that are wanted ahead of the jobs are wanted whatever the demand.
    pub fn policy_at(&self, now: Millis) -> Policy {
        let ahead = self.prewarm.filter(|prewarm| prewarm.until > now).map_or(0, |prewarm| prewarm.machines);
        let desired_size = self.policy.desired_size.max(ahead.min(self.policy.max));
        Policy { desired_size, ..self.policy.clone() }
    }
}

/// One thing that a run decided or left undone, and why, for an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// `rent`, `resume`, `drain`, `suspend`, `stop`, `destroy`, or `none` where nothing was done.
    pub what: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<InstanceId>,
    pub reason: String,
    pub text: String,
}

/// Jobs that succeeded at a host beside those that failed there. It only grows, whatever machines go and come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    pub succeeded: u64,
    /// What each of its machines had done when it was last counted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counted: BTreeMap<InstanceId, u64>,
}

impl Beside {
    /// Counts what its machines have done since they were last counted. `from_now`: what they have done already does not count.
    pub fn count(&mut self, machines: BTreeMap<InstanceId, u64>, from_now: bool) {
        if !from_now {
            self.succeeded += machines.iter().map(|(id, done)| done.saturating_sub(self.counted.get(id).copied().unwrap_or(0))).sum::<u64>();
        }
        self.counted = machines;
    }
}

/// What one run of the warm pool leaves to the next.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    #[serde(default)]
    pub arrivals: Arrivals,
    #[serde(default)]
    pub boots: Boots,
    /// The same of machines that were kept stopped.
    #[serde(default)]
    pub resumes: Boots,
    #[serde(flatten)]
    pub history: History,
    /// Hosts that did not boot, fell silent or failed what others did, and until when none is rented of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub avoid: BTreeMap<String, Millis>,
    /// Why, by the reason's code.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub avoid_why: BTreeMap<String, String>,
    /// Of hosts with faults, what has succeeded there since the first was seen.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub beside_faults: BTreeMap<String, Beside>,
    /// Jobs an hour of each GPU, as last measured.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub jobs_per_hour: BTreeMap<String, f64>,
    /// How it went with machines that are gone.
    #[serde(default)]
    pub reliability: Reliability,
    /// What the last run that decided anything did, and when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<Told>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_at: Option<Millis>,
    /// Machines that the last run wanted.
    #[serde(default)]
    pub wanted: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ran_at: Option<Millis>,
    /// How it last said that it stands (`Table::stand`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stood: Option<Standing>,
    /// Jobs whose machine was ended since no budget covered it any further; each is done again.
    #[serde(default)]
    pub killed_for_cover: u64,
    /// From when a provider takes the next order.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub orders_from: BTreeMap<String, Millis>,
    /// When what was recorded was last held against the providers' charges.
    #[serde(default)]
    pub charges: Daily,
    /// What tells its machines from those of another deployment of the same name.
    #[serde(default)]
    pub tag: String,
    /// Whose turn it is to act: rises with each run, and no run rents by an older one.
    #[serde(default)]
    pub epoch: u64,
}

/// Jobs of a machine's kind that must be measured before they say what it does.
const MEASURED_JOBS: u64 = 10;
/// Hosts and GPUs that are remembered.
const MOST_LEARNED: usize = 200;

impl RunState {
    /// What the labels of this fleet's machines begin with, once a run has given it its tag: two deployments of one name may share an account.
    pub fn ours(&self, deployment: &str) -> String {
        format!("kiln/{deployment}.{}/", self.tag)
    }

    /// No machine is rented of the host until then.
    pub fn leave(&mut self, host: &str, until: Millis, why: &str) {
        self.avoid.insert(host.to_owned(), until);
        self.avoid_why.insert(host.to_owned(), why.to_owned());
    }

    /// Hosts that are left now for one of these reasons.
    pub fn left_for(&self, why: &[&str], now: Millis) -> usize {
        self.avoid_why.iter().filter(|(host, said)| why.contains(&said.as_str()) && self.avoid.get(*host).is_some_and(|until| *until > now)).count()
    }

    /// Remembers what boots took, measures what machines of each GPU do, and forgets whom to avoid when that is over. Kinds are weighed as one mix, that of all machines:
    /// what a GPU is compared by is how long it takes for the same jobs.
    pub fn learn(&mut self, instances: &[Instance], now: Millis) {
        // Whoever sets up an own machine takes the time that they take.
        let took = |resumed: bool| instances.iter().filter(move |instance| !instance.is_own() && instance.resumed_at.is_some() == resumed);
        self.boots.look(took(false).filter_map(|instance| Some((instance.requested_at, instance.ready_at?))));
        self.resumes.look(took(true).filter_map(|instance| Some((instance.requested_at, instance.ready_at?))));
        self.reliability.look(now);
        self.avoid.retain(|_, until| *until > now);
        while self.avoid.len() > MOST_LEARNED {
            self.avoid.pop_first();
        }
        self.avoid_why.retain(|host, _| self.avoid.contains_key(host));
        let mut of_all = Timings::default();
        let mut by_gpu: BTreeMap<&str, Timings> = BTreeMap::new();
        for instance in instances {
            for (attribute, number) in instance.timings.counters() {
                of_all.add(&attribute, number);
                if let Some(gpu) = &instance.gpu {
                    by_gpu.entry(gpu).or_default().add(&attribute, number);
                }
            }
        }
        let (jobs, ms) = of_all.0.values().fold((0, 0), |(jobs, ms), times| (jobs + times.run.count(), ms + times.run.sum_ms));
        if jobs == 0 || ms == 0 {
            return;
        }
        for (gpu, timings) in by_gpu {
            let mean = |kind: &str| of_all.0.get(kind).map_or(0.0, |times| times.run.sum_ms as f64 / times.run.count().max(1) as f64);
            let (mut jobs_here, mut took, mut would_take) = (0, 0.0, 0.0);
            for (kind, times) in &timings.0 {
                jobs_here += times.run.count();
                took += times.run.sum_ms as f64;
                would_take += times.run.count() as f64 * mean(kind);
            }
            let known = self.jobs_per_hour.contains_key(gpu) || self.jobs_per_hour.len() < MOST_LEARNED;
            if jobs_here >= MEASURED_JOBS && took > 0.0 && known {
                let per_hour = 3_600_000.0 * jobs as f64 / ms as f64;
                self.jobs_per_hour.insert(gpu.to_owned(), per_hour * would_take / took);
            }
        }
    }
}

/// All that is known of a fleet.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    pub instances: Vec<Instance>,
    /// Absent until an operator sets it.
    pub state: Option<PoolState>,
    /// What the last run left.
    pub run: RunState,
    /// Of every succeeded job, also on machines that are gone.
    pub timings: Timings,
    /// Of hosts, what failed there and was done elsewhere.
    pub faults: Faults,
}

impl Fleet {
    fn add(&mut self, timings: &Timings) {
        for (attribute, number) in timings.counters() {
            self.timings.add(&attribute, number);
        }
    }
}

/// It is to finish and go; that it was to be kept stopped holds no more.
pub(crate) const FINISH: &str = "SET drain = :yes, drained_at = if_not_exists(drained_at, :now) REMOVE rests";

/// Holds exactly this attempt.
pub(crate) fn holds(job: &JobId, attempt: u32) -> Expr {
    Expr::new("slot_job = :held_job AND slot_attempt = :held_attempt").value("held_job", s(job.as_str())).value("held_attempt", n(attempt))
}

/// The slot is empty, and the machine idle, from `now` on.
pub(crate) fn emptied(now: Millis) -> Expr {
    Expr::new("REMOVE slot_job, slot_account, slot_attempt SET idle_since = :now").value("now", n(now))
}

/// The counters among an item's attributes.
fn timings(item: &Item) -> Timings {
    let mut timings = Timings::default();
    for (attribute, value) in item {
        if let Some(number) = value.as_n().ok().and_then(|text| text.parse().ok()) {
            timings.add(attribute, number);
        }
    }
    timings
}

impl Table {
    pub async fn instance(&self, id: &InstanceId) -> Result<Option<Instance>, Error> {
        self.get(&keys::instance(id)).await
    }

    /// What a call about an attempt decides by, in one call: the instance that speaks, the job and its account.
    pub async fn instance_job_account(
        &self,
        instance: &InstanceId,
        account: &AccountId,
        job: &JobId,
    ) -> Result<(Option<Instance>, Option<Job>, Option<crate::Account>), Error> {
        let (instance_key, job_key, account_key) = (keys::instance(instance), keys::job(account, job), keys::account(account));
        let mut found = self.get_many(&[instance_key.clone(), job_key.clone(), account_key.clone()]).await?;
        Ok((
            found.remove(&instance_key).map(from_item).transpose()?,
            found.remove(&job_key).map(from_item).transpose()?,
            found.remove(&account_key).map(account_from).transpose()?,
        ))
    }

    pub async fn set_provider_id(&self, id: &InstanceId, provider_id: &str) -> Result<bool, Error> {
        let update = Expr::new("SET provider_id = :id").value("id", s(provider_id));
        Ok(self.update(&keys::instance(id), update, Some(Expr::new("attribute_exists(pk)"))).await?.is_some())
    }

    /// The boot token is used up and the worker's own token begins. `false` when the boot token is wrong, late, or was used for another token; the
    /// same again is as good as once.
    pub async fn register(&self, id: &InstanceId, boot_hash: &str, token_hash: &str, said: &Said<'_>, now: Millis) -> Result<bool, Error> {
        let condition = Expr::new("(boot_hash = :boot AND boot_expires_at > :now) OR (boot_used = :boot AND token_hash = :token)").value("boot", s(boot_hash));
        self.begin(id, ", boot_used = :boot REMOVE boot_stage, boot_hash", condition, token_hash, said, now).await
    }

    /// A boot token that was used is used again: two hold it, and neither can be told from the other. Ends the instance, if that is so.
    pub async fn boot_again(&self, id: &InstanceId, boot_hash: &str) -> Result<bool, Error> {
        use aws_sdk_dynamodb::types::AttributeValue;
        let end = Expr::new("SET stage = :lost, boot_twice = :yes REMOVE token_hash, boot_hash").value("lost", s(Stage::Lost.as_str()));
        let end = end.value("yes", AttributeValue::Bool(true));
        // One that we have ended, or that is kept stopped, has no token that works: its worker may well try the one that it began with.
        let used = Expr::new("boot_used = :boot AND attribute_exists(token_hash)").value("boot", s(boot_hash));
        Ok(self.update(&keys::instance(id), end, Some(used)).await?.is_some())
    }

    /// A restarted process registers with its own token, which is replaced.
    pub async fn register_again(&self, id: &InstanceId, old_hash: &str, token_hash: &str, said: &Said<'_>, now: Millis) -> Result<bool, Error> {
        let condition = Expr::new("token_hash = :old").value("old", s(old_hash)).value("one", n(1));
        self.begin(id, " REMOVE boot_stage ADD restarts :one", condition, token_hash, said, now).await
    }

    async fn begin(&self, id: &InstanceId, boot: &str, condition: Expr, token_hash: &str, said: &Said<'_>, now: Millis) -> Result<bool, Error> {
        use aws_sdk_dynamodb::types::AttributeValue;
        let set = "SET token_hash = :token, stage = :stage, heartbeat_at = :now, loading_since = if_not_exists(loading_since, :now), registered_at = if_not_exists(registered_at, :now), capabilities = :capabilities, version = :version, gpu = if_not_exists(gpu, :gpu)";
        let update = Expr::new(format!("{set}{boot}"))
            .value("token", s(token_hash))
            .value("stage", s(Stage::Loading.as_str()))
            .value("now", n(now))
            .value("capabilities", AttributeValue::L(said.capabilities.iter().map(s).collect()))
            .value("version", s(said.version))
            .value("gpu", said.gpu.map_or(AttributeValue::Null(true), s));
        Ok(self.update(&keys::instance(id), update, Some(condition)).await?.is_some())
    }

    /// It lives, in this stage. `None` when the token is not the instance's.
    ///
    /// That it loads is believed from when it registered on: no other word of its worker's begins that time anew. That it leaves is for good: it takes
    /// no more work and is given back, as one that was asked to.
    pub async fn beat(&self, id: &InstanceId, token_hash: &str, stage: Stage, boot_stage: Option<&str>, now: Millis) -> Result<Option<Instance>, Error> {
        let (mut text, mut remove) = ("SET heartbeat_at = :now, stage = :stage".to_owned(), Vec::new());
        if matches!(stage, Stage::Ready | Stage::Busy) {
            text += ", ready_at = if_not_exists(ready_at, :now)";
            remove.push("loading_since");
        }
        let leaves = stage == Stage::Draining;
        if leaves {
            text += ", drain = :yes, drained_at = if_not_exists(drained_at, :now), leaves_at = if_not_exists(leaves_at, :now)";
        }
        match boot_stage {
            Some(_) => text += ", boot_stage = :boot",
            None => remove.push("boot_stage"),
        }
        if !remove.is_empty() {
            text = format!("{text} REMOVE {}", remove.join(", "));
        }
        let mut update = Expr::new(text).value("now", n(now)).value("stage", s(stage.as_str()));
        if let Some(step) = boot_stage {
            update = update.value("boot", s(step));
        }
        if leaves {
            update = update.value("yes", aws_sdk_dynamodb::types::AttributeValue::Bool(true));
        }
        let condition = Expr::new("token_hash = :token").value("token", s(token_hash));
        self.update(&keys::instance(id), update, Some(condition)).await?.map(from_item).transpose()
    }

    /// Empties a slot whose attempt is over or another's; `false` when the slot has moved on.
    pub async fn clear_slot(&self, id: &InstanceId, slot: &Slot, now: Millis) -> Result<bool, Error> {
        Ok(self.update(&keys::instance(id), emptied(now), Some(holds(&slot.job_id, slot.attempt))).await?.is_some())
    }

    /// Asks the worker, by its next heartbeat, to take no more work and leave.
    pub async fn drain(&self, id: &InstanceId, now: Millis) -> Result<(), Error> {
        use aws_sdk_dynamodb::types::AttributeValue;
        let update = Expr::new(FINISH).value("yes", AttributeValue::Bool(true)).value("now", n(now));
        self.update(&keys::instance(id), update, Some(Expr::new("attribute_exists(pk)"))).await?;
        Ok(())
    }

    /// Notes since when the provider's list lacks it, or that it has it again.
    pub async fn is_missing(&self, id: &InstanceId, since: Option<Millis>) -> Result<(), Error> {
        let update = match since {
            Some(since) => Expr::new("SET missing_since = if_not_exists(missing_since, :since)").value("since", n(since)),
            None => Expr::new("REMOVE missing_since"),
        };
        self.update(&keys::instance(id), update, Some(Expr::new("attribute_exists(pk)"))).await.map(drop)
    }

    /// What its provider says of a machine on its way up: what it is at, and in which words, where there are any. Nothing once its worker has spoken.
    pub async fn comes_up(&self, id: &InstanceId, boot_stage: &str, says: Option<&str>) -> Result<(), Error> {
        let update = match says {
            Some(says) => Expr::new("SET boot_stage = :boot, provider_says = :says").value("says", s(says)),
            None => Expr::new("SET boot_stage = :boot"),
        };
        let unheard = Expr::new("attribute_exists(pk) AND attribute_not_exists(heartbeat_at)");
        self.update(&keys::instance(id), update.value("boot", s(boot_stage)), Some(unheard)).await.map(drop)
    }

    /// It was taken away: neither of its tokens works any more. `false` where that was known, or it is gone.
    pub async fn taken_away(&self, id: &InstanceId, now: Millis) -> Result<bool, Error> {
        let update = Expr::new("SET stage = :lost, taken_at = :now REMOVE token_hash, boot_hash").value("lost", s(Stage::Lost.as_str())).value("now", n(now));
        let first = Expr::new("attribute_exists(pk) AND attribute_not_exists(taken_at)");
        Ok(self.update(&keys::instance(id), update, Some(first)).await?.is_some())
    }

    /// Asks a worker that has no attempt to leave; `false` where it has one by now, or is gone.
    pub async fn drain_idle(&self, id: &InstanceId, now: Millis) -> Result<bool, Error> {
        use aws_sdk_dynamodb::types::AttributeValue;
        let update = Expr::new(FINISH).value("yes", AttributeValue::Bool(true)).value("now", n(now));
        let idle = Expr::new("attribute_exists(pk) AND attribute_not_exists(slot_job) AND (attribute_not_exists(lease) OR lease.#until <= :now)").name("until");
        Ok(self.update(&keys::instance(id), update, Some(idle)).await?.is_some())
    }

    /// The machine is gone since `ended_at`: its token dies with its row, its times are added to those of all that went before, and what was
    /// reserved for it beyond that is given back; once. `false` where the row is gone already, or was covered or told of further meanwhile.
    pub async fn forget_instance(&self, instance: &Instance, ended_at: Millis) -> Result<bool, Error> {
        let mut parts = Parts::default();
        let mut there = Expr::new("attribute_exists(pk)");
        let ended_at = instance.end(ended_at);
        if instance.rate != Rate::default() {
            there = crate::usage::told_as_read(there.and("covered_to = :to").value("to", n(instance.covered_to)), instance);
        }
        self.add_delete(&mut parts, &keys::instance(&instance.instance_id), Some(there))?;
        let counters = instance.timings.counters();
        if !counters.is_empty() {
            self.add_update(&mut parts, &keys::times(), Expr::default().adding(&counters), None)?;
        }
        self.add_given_back(&mut parts, instance, ended_at)?;
        if instance.rate != Rate::default() {
            self.add_gone(&mut parts, instance, ended_at, false)?;
            self.add_usage(&mut parts, instance, &ended(&instance.life(), instance.told, ended_at))?;
        }
        Ok(matches!(self.transact(parts).await?, Written::Done))
    }

    /// The whole fleet, the pool's policy and the times of all jobs, by one query.
    pub async fn fleet(&self, pool: &str) -> Result<Fleet, Error> {
        let (pool_key, times_key, run_key) = (keys::pool(pool), keys::times(), keys::run(pool));
        let mut fleet = Fleet::default();
        let mut after: Option<String> = None;
        loop {
            let (items, next) = self.page(keys::FLEET, "", false, 500, after.as_deref()).await?;
            for item in items {
                let sk = crate::table::key_of(&item).sk;
                if sk.starts_with(keys::INSTANCE) {
                    let timings = timings(&item);
                    fleet.add(&timings);
                    fleet.instances.push(Instance { timings, ..from_item(item)? });
                } else if sk.starts_with(keys::FAULT) {
                    fleet.faults.add(&sk, &item);
                } else if sk == pool_key.sk {
                    fleet.state = Some(from_item(item)?);
                } else if sk == run_key.sk {
                    fleet.run = from_item(item)?;
                } else if sk == times_key.sk {
                    fleet.add(&timings(&item));
                }
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(fleet),
            }
        }
    }

    /// Sets the pool's policy, and how many machines are wanted ahead of the jobs, if they still are what was read; `false` when somebody else
    /// has changed them. With a line of the audit log.
    pub async fn set_policy(
        &self,
        pool: &str,
        stored: Option<&PoolState>,
        policy: &Policy,
        prewarm: Option<Prewarm>,
        audit: &crate::Audit,
    ) -> Result<bool, Error> {
        let mut parts = Parts::default();
        let rev = stored.map_or(0, |state| state.rev);
        let state = PoolState { policy: policy.clone(), prewarm, rev: rev + 1 };
        let unchanged = match stored {
            None => absent(),
            // One of an older version has no number.
            Some(PoolState { rev: 0, .. }) => Expr::new("attribute_exists(pk) AND attribute_not_exists(rev)"),
            Some(_) => Expr::new("rev = :rev").value("rev", n(rev)),
        };
        self.add_put(&mut parts, to_item(&keys::pool(pool), &state)?, Some(unchanged))?;
        self.add_audit(&mut parts, audit)?;
        Ok(matches!(self.transact(parts).await?, Written::Done))
    }

    /// Takes the turn to act until `until`, with what the last run left; `None` where another run has it.
    ///
    /// The first run's `tag` tells this fleet's machines from those of another deployment of the same name for ever.
    pub async fn begin_run(&self, pool: &str, now: Millis, until: Millis, tag: &str) -> Result<Option<RunState>, Error> {
        let turn =
            Expr::new("SET lease_to = :until, tag = if_not_exists(tag, :tag) ADD epoch :one").value("until", n(until)).value("one", n(1)).value("tag", s(tag));
        let free = Expr::new("attribute_not_exists(lease_to) OR lease_to < :now").value("now", n(now));
        self.update(&keys::run(pool), turn, Some(free)).await?.map(from_item).transpose()
    }

    /// Gives the turn back, with what this run leaves to the next; nothing where it is another's by now.
    pub async fn end_run(&self, pool: &str, run: &RunState) -> Result<(), Error> {
        let mine = Expr::new("epoch = :epoch").value("epoch", n(run.epoch));
        self.put(to_item(&keys::run(pool), run)?, Some(mine)).await.map(drop)
    }

    /// Ends an instance at once: neither of its tokens works any more.
    pub async fn revoke(&self, id: &InstanceId) -> Result<bool, Error> {
        self.end_now(id, Expr::new("SET stage = :lost REMOVE token_hash, boot_hash, sleeping_hash, rests")).await
    }

    /// The same where nothing is wrong with it and it may be at work, as [`Instance::ended_by_us_at`] says.
    pub async fn end_by_us(&self, id: &InstanceId, now: Millis) -> Result<bool, Error> {
        let set = "SET stage = :lost, ended_by_us_at = if_not_exists(ended_by_us_at, :now) REMOVE token_hash, boot_hash, sleeping_hash, rests";
        self.end_now(id, Expr::new(set).value("now", n(now))).await
    }

    async fn end_now(&self, id: &InstanceId, update: Expr) -> Result<bool, Error> {
        let mut parts = Parts::default();
        let update = update.value("lost", s(Stage::Lost.as_str()));
        self.add_update(&mut parts, &keys::instance(id), update, Some(Expr::new("attribute_exists(pk)")))?;
        Ok(matches!(self.transact(parts).await?, Written::Done))
    }
}

/// What a worker says of itself when it registers.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    pub capabilities: &'a [String],
    pub version: &'a str,
    pub gpu: Option<&'a str>,
}
