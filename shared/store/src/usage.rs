//! Usage events: a row for each phase of a rented machine's life (core's `pool/usage`), for thirteen months.
//!
//! Promises: a row and the mark in the machine's item that it was written are one transaction, so each is written once, whatever dies and
//! whoever tells it; those of a machine that is gone are complete, since its last ones are in the transaction that forgets it.

use crate::fleet::Instance;
use crate::rent::KEPT_S;
use crate::table::{Expr, Parts, Sorted, Table, Written, absent, n, to_item};
use crate::{Error, keys};
use kiln_core::ids::InstanceId;
use kiln_core::pool::budget::Rate;
use kiln_core::pool::usage::{self, Change, Phase};
use kiln_core::time::Millis;
use serde::{Deserialize, Serialize};

/// Rows that a page for one machine looks at.
const FILTER_ROWS: u32 = 1_000;

/// One usage event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub instance_id: InstanceId,
    pub provider: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    pub at: Millis,
    /// What it is from now on.
    pub phase: Phase,
    /// What it was until now; none at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Phase>,
    /// For how long it was that, and what that cost.
    pub gpu_seconds: u64,
    pub cost_microusd: i64,
    /// Until when it is kept, in seconds.
    pub ttl: i64,
}

/// Which events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageFilter {
    pub instance_id: Option<InstanceId>,
    /// From this time on.
    pub from: Option<Millis>,
    /// Before this time.
    pub to: Option<Millis>,
}

/// That a machine is asked for; nothing of one that costs nothing.
pub(crate) fn begun(instance: &Instance) -> Vec<Change> {
    if instance.rate == Rate::default() { vec![] } else { usage::until(&instance.life(), None, instance.requested_at) }
}

impl Instance {
    /// As it stands in the table once it is asked for: with its first event told.
    pub fn begun(self) -> Self {
        Self { told: begun(&self).last().map(|change| change.begins), ..self }
    }
}

/// The condition, and that nobody has told more of the machine since it was read.
pub(crate) fn told_as_read(condition: Expr, instance: &Instance) -> Expr {
    match instance.told {
        None => condition.and("attribute_not_exists(told)"),
        Some(told) => condition.and("told.#n = :told").name("n").value("told", n(told.n)),
    }
}

impl Table {
    /// The rows of what changed.
    pub(crate) fn add_usage(&self, parts: &mut Parts, instance: &Instance, changes: &[Change]) -> Result<(), Error> {
        for change in changes {
            let at = change.begins.at;
            let row = Usage {
                instance_id: instance.instance_id.clone(),
                provider: instance.provider.clone(),
                gpu: instance.gpu.clone(),
                at,
                phase: change.begins.phase,
                ended: change.ended,
                gpu_seconds: change.gpu_seconds,
                cost_microusd: change.cost_microusd,
                ttl: at / 1000 + KEPT_S,
            };
            self.add_put(parts, to_item(&keys::usage(at, &instance.instance_id, change.begins.n), &row)?, Some(absent()))?;
        }
        Ok(())
    }

    /// Writes what has changed of a machine since it was last told; one call where anything has, none else. `false` where it is no longer what
    /// was read: then the next look tells. Of one that costs nothing nothing is told.
    pub async fn tell_usage(&self, instance: &Instance, now: Millis) -> Result<bool, Error> {
        let changes = if instance.rate == Rate::default() { vec![] } else { usage::until(&instance.life(), instance.told, now) };
        let Some(last) = changes.last() else { return Ok(true) };
        let mut told = Expr::new("SET told = :now_told").value("now_told", serde_dynamo::to_attribute_value(last.begins).map_err(Error::internal)?);
        let mut as_read = told_as_read(Expr::new("attribute_exists(pk)"), instance);
        if changes.iter().any(|change| change.begins.phase == Phase::Idle) {
            // A job that it took meanwhile would be forgotten.
            told = told.text("SET told = :now_told REMOVE busy_since".into());
            as_read = as_read.and("attribute_not_exists(slot_job) AND idle_since = :idle").value("idle", n(instance.idle_since));
        }
        let mut parts = Parts::default();
        self.add_update(&mut parts, &keys::instance(&instance.instance_id), told, Some(as_read))?;
        self.add_usage(&mut parts, instance, &changes)?;
        Ok(matches!(self.transact(parts).await?, Written::Done))
    }

    /// The events that the filter takes, newest first. A page may be short, or empty, and go on all the same.
    pub async fn usage(&self, filter: &UsageFilter, now: Millis, limit: u32, after: Option<&str>) -> Result<(Vec<Usage>, Option<String>), Error> {
        // Nothing is told of a machine before it was asked for.
        let from = filter.from.unwrap_or(0).max(filter.instance_id.as_ref().map_or(0, InstanceId::time));
        let (first, last) = (keys::usage_at(from), keys::usage_at(filter.to.unwrap_or(Millis::MAX)));
        // A cursor that other dates have given may lie outside of these, where DynamoDB takes none.
        let after = after.filter(|after| *after < last.as_str());
        if first > last || after.is_some_and(|after| after <= first.as_str()) {
            return Ok((Vec::new(), None));
        }
        let rows = if filter.instance_id.is_none() { limit } else { FILTER_ROWS };
        let takes = |row: &Usage| row.ttl > now / 1000 && filter.instance_id.as_ref().is_none_or(|id| *id == row.instance_id);
        self.sift(keys::SPEND, Sorted::Between(&first, &last), (1, rows), limit, after, takes).await
    }
}
