//! How the pool stands, as its last run left it to those who submit and to those who wait: how many more jobs may come before another machine is
//! rented, and how far the machine is that will take the next one.

use super::plan::{Demand, Observation, Seen};
use crate::fleet::Stage;
use crate::time::{Millis, seconds};
use serde::{Deserialize, Serialize};

/// A pool that has not said how it stands for so long is asked again.
const STALE: Millis = seconds(900);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Jobs that may come before another machine is rented ([`super::room`]); absent where no number of them brings one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<u32>,
    #[serde(default)]
    pub waits: Waits,
    /// When that was worked out.
    pub at: Millis,
    /// A machine that falls idle may be given back, or stopped, before the next look: it wakes the pool.
    #[serde(default)]
    pub idle_wakes: bool,
    /// Somebody has come since the last wake and wants it looked at again.
    #[serde(default)]
    pub again: bool,
}

impl Standing {
    /// Whether the `came`th job since it was worked out goes beyond its room.
    pub fn lags(&self, came: u32, now: Millis) -> bool {
        self.room.is_some_and(|room| came > room) || self.is_stale(now)
    }

    /// Whether it is so old that nothing is known by it.
    pub fn is_stale(&self, now: Millis) -> bool {
        now - self.at > STALE
    }
}

/// What a job that waits, waits for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// How far the first machine is that can take it; absent where none is there or on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Stage>,
    /// What its worker is at, while it is loading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_stage: Option<String>,
    /// When the next job is expected to start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_at: Option<Millis>,
    /// How much later each one after it, in milliseconds.
    #[serde(default)]
    pub each_ms: Millis,
    /// Why no machine is on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<WaitReason>,
}

/// Why jobs wait and no machine is on its way, for those who need not know of budgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum WaitReason {
    /// The operator has switched the machines off.
    Paused,
    /// None is to be had: none is on offer, or no budget covers one.
    NoMachine,
    /// Which machines there are could not be read.
    Unknown,
}

impl Waits {
    /// What jobs wait for, by what was seen: machines with what is left of their boot or of the job that they have. `boot_stage` tells what a machine's
    /// worker is at.
    pub fn of(seen: &Observation, why: Option<WaitReason>, now: Millis, boot_stage: impl Fn(&Seen) -> Option<String>) -> Self {
        let service = service_ms(seen);
        let free_in = |machine: &&Seen| match machine.stage {
            Stage::Ready => Some(0),
            // Half done, in the mean.
            Stage::Busy => Some(service / 2),
            // One that is late is expected within a quarter of its time.
            Stage::Loading | Stage::Requested => {
                let boot_ms = seen.resume.filter(|_| machine.resumes).unwrap_or(seen.boot).slowest;
                Some((boot_ms - (now - machine.begun)).max(boot_ms / 4))
            }
            _ => None,
        };
        let serving: Vec<(Millis, &Seen)> = seen.instances.iter().filter_map(|machine| Some((free_in(&machine)?, machine))).collect();
        match serving.iter().min_by_key(|(free_in, machine)| (*free_in, machine.begun)) {
            None => Self { why, ..Self::default() },
            Some((first, machine)) => Self {
                machine: Some(machine.stage),
                boot_stage: boot_stage(machine),
                first_at: Some(now + first),
                each_ms: service / serving.len() as Millis,
                why: None,
            },
        }
    }

    /// In how many milliseconds the job at this place of the queue (1 is next) is expected to start.
    pub fn starts_in(&self, place: u64, now: Millis) -> Option<Millis> {
        let before = Millis::try_from(place.saturating_sub(1)).unwrap_or(Millis::MAX);
        Some((self.first_at? - now).max(0).saturating_add(before.saturating_mul(self.each_ms)))
    }
}

/// What a job takes in the mean of those that are there, or of those that came.
pub(super) fn service_ms(seen: &Observation) -> Millis {
    let mean = |count: fn(&Demand) -> u64| {
        let (jobs, sum) = seen.demand.iter().flatten().fold((0, 0), |(jobs, sum), demand| {
            let of_kind = count(demand) as Millis;
            (jobs + of_kind, sum + of_kind.saturating_mul(demand.service_ms))
        });
        (jobs > 0).then(|| sum / jobs)
    };
    mean(|demand| demand.queued + demand.running).or_else(|| mean(|demand| demand.came_hour)).unwrap_or(seconds(30))
}

#[cfg(test)]
#[path = "standing_tests.rs"]
mod tests;
