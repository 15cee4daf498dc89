//! The operator's own machines that no provider has ([`kiln_store::OWN`]). Nothing lists them, rents them or gives them back: what there is of one is
//! its row, and its worker's word.
//!
//! Promises: one counts as there only while it speaks; one that is silent keeps its token for a quarter of an hour, so that it may be restarted, and
//! its row is closed then; one that was sent away has its row closed when it has finished. An outage of ours closes none.

use kiln_core::fleet::Stage;
use kiln_core::ids::InstanceId;
use kiln_core::pool::Reason;
use kiln_core::time::{Millis, seconds};
use kiln_http::App;
use kiln_store::{Fleet, Instance, RunState, Told};

/// One that has not spoken for so long is gone.
const SILENT_FOR: Millis = seconds(900);
/// One that was sent away and has no job has so long to hear of it and to end.
const LEAVES_WITHIN: Millis = seconds(60);
/// A worker speaks until it ends: one that has not for two heartbeats, and for so long at least, has.
const QUIET_FOR: Millis = seconds(10);
/// Where the last look is so long ago, nobody may have been heard for as long: the next look judges.
const LOOKED_WITHIN: Millis = seconds(300);

/// Why a row is closed.
#[derive(Debug, PartialEq, Eq)]
enum Over {
    /// It was ended by a word of ours, or has finished after one.
    Ended,
    /// Nobody came with its boot token in time.
    NeverCame(Millis),
    Silent(Millis),
}

/// Whether it counts as a machine that is there, or on its way: an own one may never come, or come back, and others are rented meanwhile.
pub(crate) fn counts(instance: &Instance, lost_after_s: u64, now: Millis) -> bool {
    !instance.is_own() || instance.heartbeat_at.is_some_and(|at| now - at <= seconds(lost_after_s))
}

/// Closes the rows of own machines that are over, and keeps the others; gives what an operator is told of it.
pub(crate) async fn close(app: &App, fleet: &mut Fleet, run: &RunState) -> Vec<Told> {
    let (now, heartbeat) = (app.now(), seconds(app.settings().heartbeat_s));
    let listens = run.ran_at.is_some_and(|at| now - at <= LOOKED_WITHIN);
    let (mut remain, mut told) = (Vec::with_capacity(fleet.instances.len()), Vec::new());
    for instance in std::mem::take(&mut fleet.instances) {
        let why = over(&instance, heartbeat, now).filter(|why| listens || *why == Over::Ended);
        let Some(why) = why.filter(|_| instance.is_own()) else {
            remain.push(instance);
            continue;
        };
        // Its token dies with its row; a job that it still has goes on elsewhere when its lease has run out.
        match app.table().forget_instance(&instance, now).await {
            Ok(true) => tracing::info!(instance_id = %instance.instance_id, host = instance.host, ?why, "the row of an own machine is closed"),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, instance_id = %instance.instance_id, "the row of an own machine could not be closed; the next look does");
                remain.push(instance);
                continue;
            }
        }
        let whole = |ms: Millis| (ms.max(0) / 1000) as u64;
        match why {
            // Whoever ended it knows.
            Over::Ended => {}
            Over::NeverCame(ms) => told.push(tell(&instance.instance_id, &Reason::BootTooLong { waited_s: whole(ms) })),
            Over::Silent(ms) => told.push(tell(&instance.instance_id, &Reason::Silent { silent_s: whole(ms) })),
        }
    }
    fleet.instances = remain;
    told
}

fn over(instance: &Instance, heartbeat: Millis, now: Millis) -> Option<Over> {
    if instance.stage == Stage::Lost {
        return Some(Over::Ended);
    }
    let asked = instance.was_asked_to_go();
    let Some(heard) = instance.heartbeat_at else {
        return match now - instance.requested_at {
            _ if asked => Some(Over::Ended),
            waited if now >= instance.boot_expires_at => Some(Over::NeverCame(waited)),
            _ => None,
        };
    };
    let had_time = now - heard > (2 * heartbeat).max(QUIET_FOR) || instance.drained_at.is_some_and(|at| now - at >= LEAVES_WITHIN);
    match now - heard {
        _ if asked && instance.slot().is_none() && had_time => Some(Over::Ended),
        silent if silent >= SILENT_FOR => Some(Over::Silent(silent)),
        _ => None,
    }
}

fn tell(id: &InstanceId, reason: &Reason) -> Told {
    Told { what: "destroy".into(), instance_id: Some(id.clone()), reason: reason.code().into(), text: reason.to_string() }
}
