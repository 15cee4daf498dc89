//! What operators do to single machines, each with its line of the audit log in one transaction: claim one, release it, have it go. And the
//! record of each machine that is gone: what it was, how long it was there, and what it cost.
//!
//! Promises: a machine has one claim at a time; a claim ends by itself; the record is written once, in the transaction that forgets the machine.

use crate::fleet::{FINISH, Instance, Lease};
use crate::rent::KEPT_S;
use crate::table::{Expr, Parts, Sorted, Table, Written, absent, from_item, n, s, to_item};
use crate::{Audit, Error, keys};
use aws_sdk_dynamodb::types::AttributeValue;
use kiln_core::fleet::Stage;
use kiln_core::ids::InstanceId;
use kiln_core::pool::budget::cost_until;
use kiln_core::time::Millis;
use serde::{Deserialize, Serialize};

/// A machine that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    pub instance_id: InstanceId,
    pub provider: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    pub host: String,
    pub rented_at: Millis,
    /// When it was first ready for work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Millis>,
    /// Since when it had nothing to do.
    pub idle_since: Millis,
    /// When it was asked to finish and go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained_at: Option<Millis>,
    pub ended_at: Millis,
    pub jobs: u64,
    /// For how long it worked on jobs that succeeded.
    pub worked_ms: u64,
    pub microusd_per_hour: i64,
    /// Of the cost, what was paid once; not of records that are older than it.
    #[serde(default)]
    pub microusd_once: i64,
    pub cost_microusd: i64,
    /// It was kept stopped for this time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// The machine stayed: it was stopped and kept, or started again, and this is what it was until then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stays: bool,
}

impl Gone {
    pub(crate) fn of(instance: &Instance, ended_at: Millis, stays: bool) -> Self {
        let ended_at = ended_at.max(instance.requested_at);
        let runs = || instance.timings.0.values().map(|times| &times.run);
        Self {
            instance_id: instance.instance_id.clone(),
            provider: instance.provider.clone(),
            provider_id: instance.provider_id.clone(),
            gpu: instance.gpu.clone(),
            host: instance.host.clone(),
            rented_at: instance.requested_at,
            ready_at: instance.ready_at,
            idle_since: instance.idle_since,
            drained_at: instance.drained_at,
            ended_at,
            jobs: runs().map(|run| run.count()).sum(),
            worked_ms: runs().map(|run| run.sum_ms).sum(),
            microusd_per_hour: instance.rate.microusd_per_hour,
            microusd_once: instance.rate.microusd_once,
            cost_microusd: cost_until(instance.rate, instance.requested_at, ended_at),
            stopped: instance.runs_for.is_some(),
            stays,
        }
    }
}

/// Why an operator's word changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoClaim {
    /// There is no such machine, or no such claim.
    Gone,
    /// It has a claim already.
    Claimed,
    /// It is on its way out.
    Leaving,
    /// It is kept stopped.
    Stopped,
}

impl Table {
    /// Claims a machine.
    pub async fn lease(&self, id: &InstanceId, lease: &Lease, now: Millis, audit: &Audit) -> Result<Result<(), NoClaim>, Error> {
        let mut parts = Parts::default();
        let claim = Expr::new("SET lease = :lease").value("lease", serde_dynamo::to_attribute_value(lease).map_err(Error::internal)?);
        let free = stays().and("(attribute_not_exists(lease) OR lease.#until <= :now)").name("until").value("now", n(now));
        let part = self.add_update(&mut parts, &keys::instance(id), claim, Some(free))?;
        self.add_audit(&mut parts, audit)?;
        Ok(match self.transact(parts).await? {
            Written::Done => Ok(()),
            Written::Refused(refused) => Err(match refused.found(Some(part)).cloned().map(from_item::<Instance>).transpose()? {
                None => NoClaim::Gone,
                Some(instance) if instance.drain || instance.stage == Stage::Lost => NoClaim::Leaving,
                Some(instance) if instance.stage == Stage::Stopped => NoClaim::Stopped,
                Some(_) => NoClaim::Claimed,
            }),
        })
    }

    /// Ends a claim.
    pub async fn release(&self, id: &InstanceId, lease: &Lease, audit: &Audit) -> Result<bool, Error> {
        let mut parts = Parts::default();
        let same = Expr::new("lease.#id = :id").name("id").value("id", s(lease.id.as_str()));
        self.add_update(&mut parts, &keys::instance(id), Expr::new("REMOVE lease"), Some(same))?;
        self.add_audit(&mut parts, audit)?;
        Ok(matches!(self.transact(parts).await?, Written::Done))
    }

    /// Has a machine go: when it has finished what it does, or at once, its tokens then being worth nothing. A claimed one stays.
    pub async fn send_away(&self, id: &InstanceId, at_once: bool, now: Millis, audit: &Audit) -> Result<Result<(), NoClaim>, Error> {
        let mut parts = Parts::default();
        let change = match at_once {
            true => {
                let set = "SET stage = :lost, drain = :yes, drained_at = if_not_exists(drained_at, :now), ended_by_us_at = if_not_exists(ended_by_us_at, :now)";
                Expr::new(format!("{set} REMOVE token_hash, boot_hash, sleeping_hash, rests")).value("lost", s(Stage::Lost.as_str()))
            }
            // An own one that has left by itself, to be restarted, would come back.
            false => Expr::new(format!("{FINISH}, leaves_at")),
        };
        let change = change.value("yes", AttributeValue::Bool(true)).value("now", n(now));
        let free = Expr::new("attribute_exists(pk) AND (attribute_not_exists(lease) OR lease.#until <= :now)").name("until");
        let part = self.add_update(&mut parts, &keys::instance(id), change, Some(free))?;
        self.add_audit(&mut parts, audit)?;
        Ok(match self.transact(parts).await? {
            Written::Done => Ok(()),
            Written::Refused(refused) if refused.found(Some(part)).is_some() => Err(NoClaim::Claimed),
            Written::Refused(_) => Err(NoClaim::Gone),
        })
    }

    /// The part that records a machine as gone, or what it was until now where it stays.
    pub(crate) fn add_gone(&self, parts: &mut Parts, instance: &Instance, ended_at: Millis, stays: bool) -> Result<(), Error> {
        #[derive(Serialize)]
        struct Row {
            #[serde(flatten)]
            gone: Gone,
            ttl: i64,
        }
        let gone = Gone::of(instance, ended_at, stays);
        let key = keys::gone(gone.ended_at, &gone.instance_id);
        let row = Row { ttl: gone.ended_at / 1000 + KEPT_S, gone };
        self.add_put(parts, to_item(&key, &row)?, Some(absent())).map(drop)
    }

    /// All machines that have gone since `from`.
    pub async fn gone_since(&self, from: Millis) -> Result<Vec<Gone>, Error> {
        let (first, last) = (format!("{}{from:013}", keys::GONE), format!("{}:", keys::GONE));
        let (mut gone, mut after) = (Vec::new(), None::<String>);
        loop {
            let (some, next) = self.sift(keys::SPEND, Sorted::Between(&first, &last), (1, 1_000), 1_000, after.as_deref(), |_: &Gone| true).await?;
            gone.extend(some);
            match next {
                Some(next) => after = Some(next),
                None => return Ok(gone),
            }
        }
    }

    /// Machines that are gone, the last first.
    pub async fn gone(&self, limit: u32, after: Option<&str>) -> Result<(Vec<Gone>, Option<String>), Error> {
        let (items, next) = self.page(keys::SPEND, keys::GONE, true, limit, after).await?;
        Ok((items.into_iter().map(from_item).collect::<Result<_, _>>()?, next))
    }
}

fn stays() -> Expr {
    let expr = Expr::new("attribute_exists(pk) AND drain = :no AND NOT stage IN (:lost, :stopped)").value("no", AttributeValue::Bool(false));
    expr.value("lost", s(Stage::Lost.as_str())).value("stopped", s(Stage::Stopped.as_str()))
}
