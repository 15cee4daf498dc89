//! Machines that are kept stopped: asked to rest, stopped, asked for again. In the books each stretch is a life of its own, with its own rate:
//! what was reserved for one is given back in the transaction that reserves the next.
//!
//! Promises (invariants 8 and 9): one that works, or that somebody has claimed, is not asked to rest; while it is stopped its token is worth
//! nothing, so that whatever still runs there takes no work; it is asked for again once, in a run's turn, and only where its whole cover has room
//! in every budget; what its stretches cost adds up to what it cost.

use crate::fleet::Instance;
use crate::rent::NoCover;
use crate::table::{Expr, Parts, Table, n, s, to_item};
use crate::{Error, keys};
use aws_sdk_dynamodb::types::AttributeValue;
use kiln_core::fleet::Stage;
use kiln_core::ids::InstanceId;
use kiln_core::pool::Policy;
use kiln_core::pool::budget::{Rate, Window, shares};
use kiln_core::pool::usage::{self, Change};
use kiln_core::time::Millis;
use std::collections::BTreeMap;

impl Instance {
    /// What its life makes it, stopped from `at` on: it costs its disk, and whatever it said or was asked holds no more.
    fn at_rest(&self, at: Millis, disk_microusd_per_hour: i64) -> Self {
        Self {
            stage: Stage::Stopped,
            rate: Rate { microusd_per_hour: disk_microusd_per_hour, microusd_once: 0 },
            runs_for: Some(Rate { microusd_once: 0, ..self.rate }),
            covered_to: self.covered_to.max(at),
            sleeping_hash: self.token_hash.clone(),
            token_hash: None,
            resumed_at: None,
            ..self.anew(at)
        }
    }

    /// The same, asked for again at `at`: it has until `boot_by` to speak.
    fn awake(&self, rate: Rate, at: Millis, boot_by: Millis, covered_to: Millis) -> Self {
        Self {
            stage: Stage::Requested,
            rate,
            runs_for: None,
            covered_to,
            token_hash: self.sleeping_hash.clone(),
            sleeping_hash: None,
            resumed_at: Some(at),
            boot_expires_at: boot_by,
            ..self.anew(at)
        }
    }

    fn anew(&self, at: Millis) -> Self {
        Self {
            requested_at: at,
            boot_stage: None,
            provider_says: None,
            heartbeat_at: None,
            loading_since: None,
            restarts: 0,
            idle_since: at,
            drain: false,
            drained_at: None,
            leaves_at: None,
            registered_at: None,
            ready_at: None,
            busy_since: None,
            missing_since: None,
            rests: false,
            lease: None,
            timings: Default::default(),
            ..self.clone()
        }
    }
}

impl Table {
    /// Asks a worker that has no attempt to end and keep what it has, so that its machine is stopped and not given back; `false` where it has one by
    /// now, is claimed, is to go or is never kept.
    pub async fn rest_idle(&self, id: &InstanceId, now: Millis) -> Result<bool, Error> {
        let update = Expr::new("SET drain = :yes, rests = :yes, drained_at = :now").value("yes", AttributeValue::Bool(true)).value("now", n(now));
        let idle = Expr::new(
            "drain = :no AND stage = :ready AND attribute_exists(disk_microusd_per_hour) AND attribute_not_exists(slot_job) \
             AND (attribute_not_exists(lease) OR lease.#until <= :now)",
        );
        let idle = idle.name("until").value("no", AttributeValue::Bool(false)).value("ready", s(Stage::Ready.as_str()));
        Ok(self.update(&keys::instance(id), update, Some(idle)).await?.is_some())
    }

    /// Its provider lists it as stopped: its life ends there, the times of its jobs are added to those of all, and it is kept for what its disk
    /// costs. Gives it as it stands from then on; `None` where it is not what was read, or nobody asked it to rest.
    pub async fn stopped(&self, instance: &Instance, now: Millis) -> Result<Option<Instance>, Error> {
        let Some(disk) = instance.disk_microusd_per_hour.filter(|_| instance.rests && instance.slot().is_none()) else { return Ok(None) };
        let at = instance.end(now);
        let changes = usage::stopped(&instance.life(), instance.told, at);
        let stopped = instance.at_rest(at, disk);
        let as_read = Expr::new("rests = :yes AND attribute_not_exists(slot_job)").value("yes", AttributeValue::Bool(true));
        let mut parts = Parts::default();
        let counters = instance.timings.counters();
        if !counters.is_empty() {
            self.add_update(&mut parts, &keys::times(), Expr::default().adding(&counters), None)?;
        }
        // It costs less than before, whatever the budgets say.
        Ok(self.turn(parts, None, (instance, stopped), as_read, &changes, &Policy::default()).await?.ok())
    }

    /// Asks for a machine again that is kept stopped, in the turn of the run `epoch`, as [`Table::rent`] does for a new one: it has until `boot_by` to
    /// speak, and is covered to `covered_to`. Gives it as it stands from then on.
    pub async fn resume(
        &self,
        instance: &Instance,
        (now, boot_by, covered_to): (Millis, Millis, Millis),
        policy: &Policy,
        epoch: u64,
    ) -> Result<Result<Instance, NoCover>, Error> {
        let Some(rate) = instance.runs_for.filter(|_| instance.stage == Stage::Stopped) else { return Ok(Err(NoCover::Moved)) };
        let at = instance.end(now);
        let changes = usage::resumed(&instance.life(), instance.told, at);
        let awake = instance.awake(rate, at, boot_by, covered_to.max(at));
        let mut parts = Parts::default();
        let turn = self.add_check(&mut parts, &keys::run(&instance.pool), Expr::new("epoch = :epoch").value("epoch", n(epoch)))?;
        let as_read = Expr::new("drain = :no").value("no", AttributeValue::Bool(false));
        self.turn(parts, Some(turn), (instance, awake), as_read, &changes, policy).await
    }

    /// One that is kept stopped runs, and nobody of ours asked for it: it costs what it costs, whatever the budgets say, from now on and until
    /// `covered_to` at least. Its tokens are worth nothing. Gives it as it stands from then on; `None` where it is not what was read.
    pub async fn runs_unasked(&self, instance: &Instance, now: Millis, covered_to: Millis) -> Result<Option<Instance>, Error> {
        let Some(rate) = instance.runs_for.filter(|_| instance.stage == Stage::Stopped) else { return Ok(None) };
        let at = instance.end(now);
        let changes = usage::resumed(&instance.life(), instance.told, at);
        let awake = instance.awake(rate, at, at, covered_to.max(instance.covered_to));
        let awake = Instance { stage: Stage::Lost, token_hash: None, ..awake };
        let there = Expr::new("attribute_exists(pk)");
        Ok(self.turn(Parts::default(), None, (instance, awake), there, &changes, &Policy::default()).await?.ok())
    }

    /// One life of a machine ends and another begins, in one transaction.
    async fn turn(
        &self,
        mut parts: Parts,
        turn: Option<usize>,
        (was, mut is): (&Instance, Instance),
        as_read: Expr,
        changes: &[Change],
        policy: &Policy,
    ) -> Result<Result<Instance, NoCover>, Error> {
        let at = is.requested_at;
        is.told = changes.last().map(|change| change.begins).or(was.told);
        let as_read = as_read.and("stage = :was AND covered_to = :to").value("was", s(was.stage.as_str())).value("to", n(was.covered_to));
        let first = self.add_put(&mut parts, to_item(&keys::instance(&was.instance_id), &is)?, Some(crate::usage::told_as_read(as_read, was)))?;
        self.add_gone(&mut parts, was, at, true)?;
        self.add_usage(&mut parts, was, changes)?;
        Ok(self.reserve(parts, first, turn, turned(was, &is), at, policy).await?.map(|()| is))
    }
}

/// What is committed of each window where one life ends and the other begins: what is left of the one is given back.
fn turned(was: &Instance, is: &Instance) -> BTreeMap<Window, i64> {
    let at = is.requested_at;
    let mut change = shares(is.rate, at, at, is.covered_to);
    for (window, share) in shares(was.rate, was.requested_at, at, was.covered_to) {
        *change.entry(window).or_insert(0) -= share;
    }
    change
}
