//! The workers as an operator sees them: an instance's stage, with what its slot and its orders say about it.

use kiln_core::fleet::Stage;
use kiln_core::time::Millis;
use kiln_store::Instance;

/// The one pool of this version.
pub const POOL: &str = "main";

/// What the warm pool is woken for, where an operator has changed what it is to do.
pub const ORDERED: &str = "operator";

/// The stage to show: the stored one knows neither of the slot nor of the order to leave.
pub fn stage(instance: &Instance) -> Stage {
    match instance.stage {
        Stage::Ready | Stage::Busy | Stage::Loading | Stage::Stopped if instance.drain => Stage::Draining,
        Stage::Ready if instance.slot_job.is_some() => Stage::Busy,
        stage => stage,
    }
}

/// How many are in this stage.
pub fn count(instances: &[Instance], wanted: Stage) -> u64 {
    instances.iter().filter(|instance| stage(instance) == wanted).count() as u64
}

/// Seconds since it last spoke; `None` before its first word.
pub fn heartbeat_age_s(instance: &Instance, now: Millis) -> Option<u64> {
    instance.heartbeat_at.map(|at| (now - at).max(0) as u64 / 1000)
}
