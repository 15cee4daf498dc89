//! How many more jobs may come before the plan would rent another machine, or start one again. Who submits within it leaves the warm pool asleep; who
//! goes beyond it wakes it ([`super::Standing::lags`]).

use super::Decision;
use super::plan::{Demand, Observation, plan};
use super::policy::Policy;
use super::reason::Reason;
use super::standing::service_ms;
use crate::time::{Millis, seconds};

/// More than this may always come: by then the schedule has looked.
const MOST: u32 = 1_024;
/// Between two wakes.
pub const WAKE_EVERY: Millis = seconds(1);
/// A worker that has found no job for so long says so at once, and not with its next heartbeat.
pub const IDLE_SAID: Millis = seconds(3);
/// Between two wakes by those that have fallen idle. What is said later than that after it fell idle is no news.
pub const IDLE_WAKES_EVERY: Millis = seconds(10);

/// How many more jobs may come before `plan` rents a machine, or starts one again; `None` where it never does. By asking the plan itself, so that both
/// agree.
pub fn room(seen: &Observation, policy: &Policy, now: Millis) -> Option<u32> {
    let rents = |more: u32| {
        let planned = plan(&with(seen, more), policy, now);
        let comes = |decision: &Decision| matches!(decision, Decision::Rent { reason } | Decision::Resume { reason, .. } if for_these(reason));
        planned.decisions.iter().any(comes)
    };
    // What is rented for other reasons is no matter of these jobs; what is rented at once already leaves no room.
    let (mut fits, mut beyond) = (0, 1);
    while !rents(beyond) {
        if beyond >= MOST {
            return None;
        }
        (fits, beyond) = (beyond, beyond * 2);
    }
    while fits + 1 < beyond {
        let middle = fits.midpoint(beyond);
        if rents(middle) { beyond = middle } else { fits = middle }
    }
    Some(fits)
}

/// Whether a machine comes for jobs that wait.
fn for_these(reason: &Reason) -> bool {
    matches!(reason, Reason::Waiting { .. } | Reason::Hedge { .. })
}

/// The same, had so many more jobs just come, each of an account of its own.
fn with(seen: &Observation, more: u32) -> Observation {
    let mut seen = seen.clone();
    let usual = service_ms(&seen);
    if let Some(demand) = &mut seen.demand {
        demand.push(Demand { queued: u64::from(more), service_ms: usual, ..Demand::default() });
    }
    seen.useful = seen.useful.map(|useful| useful.saturating_add(more));
    seen
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
