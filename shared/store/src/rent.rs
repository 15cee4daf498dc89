//! What machines may cost, in the table. An intent and what its rental may come to are written in one transaction, on the condition that every
//! hour, day and month that it touches has room for its share; so is each span that it is covered for later. When a machine is gone, what was
//! reserved beyond its end is given back.
//!
//! Promises (invariant 9): the sum of what is committed in a window never passes the budget that the policy named at that write, whatever
//! happens at once; a share is added once and given back once.

use crate::fleet::Instance;
use crate::table::{Expr, Parts, Table, Written, absent, n, to_item};
use crate::{Error, keys};
use kiln_core::fleet::Stage;
use kiln_core::ids::InstanceId;
use kiln_core::pool::Policy;
use kiln_core::pool::budget::{Rate, Window, shares, windows};
use kiln_core::time::{Millis, seconds};
use serde::Deserialize;
use std::collections::BTreeMap;

/// For how long what machines cost is kept, by window, by day, by machine and by phase: thirteen months, in seconds.
pub(crate) const KEPT_S: i64 = 400 * 86_400;

/// Why nothing was reserved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoCover {
    /// This window has no room for it.
    Budget(Window),
    /// The instance is not what was read: it is gone, leaves or is covered further already.
    Moved,
    /// It is another run's turn to act.
    NotOurTurn,
}

impl Instance {
    /// One that is asked for at `now` and costs nothing: who sends the token of this hash before `boot_by` is its worker. Its host is one of its own.
    pub fn intent(id: InstanceId, pool: &str, provider: &str, label: String, boot_hash: String, boot_by: Millis, now: Millis) -> Self {
        Self {
            v: 1,
            host: id.to_string(),
            instance_id: id,
            pool: pool.into(),
            provider: provider.into(),
            provider_id: None,
            label,
            machine: None,
            offered_as: None,
            trusted: false,
            stage: Stage::Requested,
            requested_at: now,
            boot_stage: None,
            provider_says: None,
            heartbeat_at: None,
            loading_since: None,
            restarts: 0,
            idle_since: now,
            drain: false,
            drained_at: None,
            leaves_at: None,
            capabilities: vec![],
            gpu: None,
            version: None,
            boot_hash: Some(boot_hash),
            boot_used: None,
            boot_twice: false,
            boot_expires_at: boot_by,
            registered_at: None,
            ready_at: None,
            busy_since: None,
            told: None,
            rate: Rate::default(),
            disk_microusd_per_hour: None,
            rests: false,
            runs_for: None,
            sleeping_hash: None,
            resumed_at: None,
            covered_to: now,
            interruptible: false,
            taken_at: None,
            ended_by_us_at: None,
            missing_since: None,
            token_hash: None,
            slot_job: None,
            slot_account: None,
            slot_attempt: None,
            lease: None,
            timings: Default::default(),
        }
    }
}

#[derive(Deserialize)]
struct Committed {
    committed: i64,
}

impl Table {
    /// What is committed in the windows of `now` and of the next hour.
    pub async fn committed(&self, now: Millis) -> Result<BTreeMap<Window, i64>, Error> {
        let all: Vec<Window> = windows(now).into_iter().chain(windows(now + seconds(3600))).collect();
        let mut found = self.get_many(&all.iter().map(|window| keys::spend(&window.0)).collect::<Vec<_>>()).await?;
        let mut committed = BTreeMap::new();
        for window in all {
            if let Some(item) = found.remove(&keys::spend(&window.0)) {
                committed.insert(window, crate::table::from_item::<Committed>(item)?.committed);
            }
        }
        Ok(committed)
    }

    /// Writes the intent to rent a machine, with its cost until it is covered to, in the turn of the run `epoch`.
    pub async fn rent(&self, instance: &Instance, policy: &Policy, epoch: u64) -> Result<Result<(), NoCover>, Error> {
        let mut parts = Parts::default();
        let turn = self.add_check(&mut parts, &keys::run(&instance.pool), Expr::new("epoch = :epoch").value("epoch", n(epoch)))?;
        let first = self.add_put(&mut parts, to_item(&keys::instance(&instance.instance_id), &instance.clone().begun())?, Some(absent()))?;
        self.add_usage(&mut parts, instance, &crate::usage::begun(instance))?;
        let whole = shares(instance.rate, instance.requested_at, instance.requested_at, instance.covered_to);
        self.reserve(parts, first, Some(turn), whole, instance.requested_at, policy).await
    }

    /// Covers an instance that was read until `to`.
    pub async fn cover(&self, instance: &Instance, to: Millis, policy: &Policy) -> Result<Result<(), NoCover>, Error> {
        let mut parts = Parts::default();
        let further = Expr::new("SET covered_to = :to").value("to", n(to));
        let as_read = Expr::new("covered_to = :from AND drain = :no")
            .value("from", n(instance.covered_to))
            .value("no", aws_sdk_dynamodb::types::AttributeValue::Bool(false));
        let first = self.add_update(&mut parts, &keys::instance(&instance.instance_id), further, Some(as_read))?;
        let further = shares(instance.rate, instance.requested_at, instance.covered_to, to);
        self.reserve(parts, first, None, further, instance.covered_to, policy).await
    }

    /// Commits what an instance costs until `to` whatever the budgets say: it costs that all the same. `false` where it is not what was read.
    pub async fn commit_beyond(&self, instance: &Instance, to: Millis) -> Result<bool, Error> {
        let mut parts = Parts::default();
        let as_read = Expr::new("covered_to = :from").value("from", n(instance.covered_to));
        let further = Expr::new("SET covered_to = :to").value("to", n(to));
        let first = self.add_update(&mut parts, &keys::instance(&instance.instance_id), further, Some(as_read))?;
        // What was not committed in time is committed late.
        let further = shares(instance.rate, instance.requested_at, instance.covered_to, to);
        Ok(self.reserve(parts, first, None, further, instance.covered_to, &Policy::default()).await?.is_ok())
    }

    /// With the part `first`, what is added from `from` on, in every window that has room for it; what is taken away needs none.
    pub(crate) async fn reserve(
        &self,
        mut parts: Parts,
        first: usize,
        turn: Option<usize>,
        shares: BTreeMap<Window, i64>,
        from: Millis,
        policy: &Policy,
    ) -> Result<Result<(), NoCover>, Error> {
        let mut windows = Vec::new();
        for (window, share) in shares.into_iter().filter(|(_, share)| *share != 0) {
            let room = window.budget(policy).filter(|_| share > 0).map(|budget| match budget - share {
                // An item that isn't there would pass any condition on its number.
                room if room < 0 => absent().and("attribute_exists(pk)"),
                room => Expr::new("(attribute_not_exists(committed) OR committed <= :room)").value("room", n(room)),
            });
            let part = self.add_update(&mut parts, &keys::spend(&window.0), adding(share, from), room)?;
            windows.push((part, window));
        }
        Ok(match self.transact(parts).await? {
            Written::Done => Ok(()),
            Written::Refused(refused) if refused.has(turn) => Err(NoCover::NotOurTurn),
            Written::Refused(refused) => Err(match windows.into_iter().find(|(part, _)| refused.has(Some(*part))) {
                Some((_, window)) if !refused.has(Some(first)) => NoCover::Budget(window),
                _ => NoCover::Moved,
            }),
        })
    }

    /// The parts that give back what was reserved of an instance beyond its end.
    pub(crate) fn add_given_back(&self, parts: &mut Parts, instance: &Instance, ended_at: Millis) -> Result<(), Error> {
        let from = ended_at.max(instance.requested_at);
        for (window, share) in shares(instance.rate, instance.requested_at, from, instance.covered_to).into_iter().filter(|(_, share)| *share > 0) {
            self.add_update(parts, &keys::spend(&window.0), adding(-share, from), None)?;
        }
        Ok(())
    }
}

pub(crate) fn adding(share: i64, at: Millis) -> Expr {
    let update = Expr::new("SET #ttl = if_not_exists(#ttl, :ttl) ADD committed :share").name("ttl");
    update.value("ttl", n(at / 1000 + KEPT_S)).value("share", n(share))
}
