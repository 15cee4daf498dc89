//! How many workers there should be: a pure plan from what was observed. One pool, machines from one provider,
//! a desired size and an idle shutdown; demand counts unfinished jobs, never messages.

use crate::fleet::Stage;
use crate::ids::InstanceId;
use crate::time::{Millis, seconds};
use serde::{Deserialize, Serialize};

/// What the operator asks of the pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Policy {
    /// Machines kept whatever the demand.
    pub desired_size: u32,
    pub min: u32,
    pub max: u32,
    /// A machine with nothing to do for this long is given back, above `desired_size` and `min`.
    pub idle_shutdown_s: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self { desired_size: 0, min: 0, max: 1, idle_shutdown_s: 900 }
    }
}

impl Policy {
    pub fn validate(&self) -> Result<(), crate::FieldError> {
        let wrong = |field: &str, message: &str| Err(crate::FieldError::new(field, message));
        if self.max > 100 {
            return wrong("max", "at most 100");
        }
        if self.min > self.max {
            return wrong("min", "at most max");
        }
        if self.desired_size > self.max {
            return wrong("desired_size", "at most max");
        }
        if !(1..=86_400).contains(&self.idle_shutdown_s) {
            return wrong("idle_shutdown_s", "from 1 to 86400");
        }
        Ok(())
    }
}

/// One machine as the plan sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub id: InstanceId,
    pub stage: Stage,
    /// Since when it has had nothing to do (or has been on its way).
    pub since: Millis,
    /// Its last word, or when it was asked for.
    pub heard_at: Millis,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Unfinished jobs that a worker could take or is working on.
    pub unfinished: u64,
    pub instances: Vec<Seen>,
    /// Slots of one machine: jobs that it runs at once.
    pub lost_after_s: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Start {
        reason: String,
    },
    Stop {
        id: InstanceId,
        reason: String,
    },
    /// It has not spoken for too long: give it back and write it off.
    WriteOff {
        id: InstanceId,
        reason: String,
    },
}

/// What to do now. Machines on their way count as supply; a busy machine is never stopped.
pub fn plan(seen: &Observation, policy: &Policy, now: Millis) -> Vec<Decision> {
    let mut decisions = Vec::new();
    let lost = seconds(seen.lost_after_s);
    let (silent, living): (Vec<_>, Vec<_>) = seen
        .instances
        .iter()
        .filter(|instance| !matches!(instance.stage, Stage::Gone | Stage::Stopped))
        .partition(|instance| instance.stage == Stage::Lost || now - instance.heard_at > lost);
    for instance in silent {
        decisions.push(Decision::WriteOff { id: instance.id.clone(), reason: format!("no word for {} s", (now - instance.heard_at) / 1000) });
    }
    let supply = living.iter().filter(|instance| instance.stage != Stage::Draining).count() as u64;
    let floor = u64::from(policy.desired_size.max(policy.min));
    let wanted = seen.unfinished.max(floor).min(u64::from(policy.max));
    for _ in supply..wanted {
        decisions.push(Decision::Start { reason: format!("{} unfinished jobs, {supply} machines, {wanted} wanted", seen.unfinished) });
    }
    let mut spare = supply.saturating_sub(floor);
    let over = supply.saturating_sub(u64::from(policy.max));
    let mut idle: Vec<_> = living.iter().filter(|instance| instance.stage == Stage::Ready).collect();
    idle.sort_by_key(|instance| instance.since);
    for (i, instance) in idle.into_iter().enumerate() {
        let rested = now - instance.since >= seconds(policy.idle_shutdown_s) && seen.unfinished == 0;
        let reason = if (i as u64) < over {
            "above the pool's maximum".to_owned()
        } else if rested && spare > 0 {
            format!("idle for {} s", (now - instance.since) / 1000)
        } else {
            continue;
        };
        spare = spare.saturating_sub(1);
        decisions.push(Decision::Stop { id: instance.id.clone(), reason });
    }
    decisions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(n: u128, stage: Stage, since: Millis) -> Seen {
        Seen { id: InstanceId::new(1, n), stage, since, heard_at: 1_000_000 }
    }

    fn observe(unfinished: u64, instances: Vec<Seen>) -> Observation {
        Observation { unfinished, instances, lost_after_s: 90 }
    }

    const NOW: Millis = 1_000_000;

    #[test]
    fn from_zero_a_job_brings_a_machine_and_one_on_its_way_is_enough() {
        let policy = Policy::default();
        assert!(matches!(plan(&observe(1, vec![]), &policy, NOW)[..], [Decision::Start { .. }]));
        assert_eq!(plan(&observe(1, vec![seen(1, Stage::Requested, NOW)]), &policy, NOW), vec![]);
        assert_eq!(plan(&observe(0, vec![]), &policy, NOW), vec![]);
    }

    #[test]
    fn never_above_the_maximum_never_below_the_desired_size() {
        let policy = Policy { desired_size: 2, max: 3, ..Policy::default() };
        assert_eq!(plan(&observe(0, vec![]), &policy, NOW).len(), 2);
        assert_eq!(plan(&observe(50, vec![]), &policy, NOW).len(), 3);
    }

    #[test]
    fn an_idle_machine_goes_and_a_busy_one_stays() {
        let policy = Policy::default();
        let idle = seen(1, Stage::Ready, 0);
        assert!(matches!(&plan(&observe(0, vec![idle.clone()]), &policy, NOW)[..], [Decision::Stop { id, .. }] if *id == idle.id));
        assert_eq!(plan(&observe(0, vec![seen(1, Stage::Busy, 0)]), &policy, NOW), vec![]);
        assert_eq!(plan(&observe(1, vec![idle.clone()]), &policy, NOW), vec![]);
        assert_eq!(plan(&observe(0, vec![idle]), &Policy { desired_size: 1, ..policy }, NOW), vec![]);
    }

    #[test]
    fn a_silent_machine_is_written_off_and_replaced() {
        let mut silent = seen(1, Stage::Busy, 0);
        silent.heard_at = 0;
        let decisions = plan(&observe(1, vec![silent]), &Policy::default(), NOW);
        assert!(matches!(decisions[..], [Decision::WriteOff { .. }, Decision::Start { .. }]));
    }
}
