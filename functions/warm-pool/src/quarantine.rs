//! Leaves hosts that fail what others do: their machines finish and go, and none is rented of them for a day or two.
//!
//! Promises: what is left is said with its reason; a machine of such a host that is still there, because a run died or it came late, is asked to go
//! by the next look; what one customer's jobs do takes away half of the fleet at most (core's `pool/quarantine`).

use kiln_core::fleet::Stage;
use kiln_core::ids::InstanceId;
use kiln_core::pool::Reason;
use kiln_core::pool::quarantine::{Host, room, to_leave, until};
use kiln_core::time::Millis;
use kiln_http::App;
use kiln_store::{Fleet, Instance, RunState, Told};
use std::collections::{BTreeMap, BTreeSet};

/// Its jobs failed there; it fell silent while it worked. Both may be what a job did.
const QUARANTINED: &str = "quarantined";
pub(crate) const SILENT_AT_WORK: &str = "silent_at_work";
const BY_JOBS: [&str; 2] = [QUARANTINED, SILENT_AT_WORK];

/// Judges the hosts of the fleet, and asks machines of those that are left to go; gives what an operator is told.
pub(crate) async fn quarantine(app: &App, fleet: &mut Fleet, run: &mut RunState) -> Vec<Told> {
    let now = app.now();
    for host in judge(fleet, run, now) {
        tracing::warn!(host, "jobs fail at a host that others do: it is left");
        run.leave(&host, until(now), QUARANTINED);
    }
    let faults = fleet.faults.now(now);
    let mut told = Vec::new();
    for instance in fleet.instances.iter_mut().filter(|instance| works(instance)) {
        if run.avoid_why.get(&instance.host).is_none_or(|why| why != QUARANTINED) || run.avoid.get(&instance.host).is_none_or(|until| *until <= now) {
            continue;
        }
        let reason = Reason::Quarantined { faults: faults.get(instance.host.as_str()).map_or(0, |(jobs, _)| *jobs) };
        if let Err(error) = app.table().drain(&instance.instance_id, now).await {
            tracing::error!(%error, instance_id = %instance.instance_id, "a machine could not be asked to go; the next look does");
            continue;
        }
        tracing::warn!(instance_id = %instance.instance_id, reason = reason.code(), "a machine is to finish and go: {reason}");
        (instance.drain, instance.drained_at) = (true, instance.drained_at.or(Some(now)));
        told.push(Told { what: "drain".into(), instance_id: Some(instance.instance_id.clone()), reason: reason.code().into(), text: reason.to_string() });
    }
    told
}

/// Whether one more host may be left because it fell silent at work: a job may have done that.
pub(crate) fn may_leave_silent(fleet: &Fleet, run: &RunState, now: Millis) -> bool {
    room(working(fleet, run, now).len().max(1) + 1, run.left_for(&BY_JOBS, now)) > 0
}

fn works(instance: &Instance) -> bool {
    !instance.trusted && !instance.drain && instance.stage != Stage::Lost
}

/// The hosts that work and are not left.
fn working<'a>(fleet: &'a Fleet, run: &RunState, now: Millis) -> BTreeSet<&'a str> {
    let stays = |instance: &&Instance| works(instance) && run.avoid.get(&instance.host).is_none_or(|until| *until <= now);
    fleet.instances.iter().filter(stays).map(|instance| instance.host.as_str()).collect()
}

/// The hosts that are to be left from now on.
fn judge(fleet: &Fleet, run: &mut RunState, now: Millis) -> Vec<String> {
    let faults = fleet.faults.now(now);
    count(fleet, run, |host| faults.contains_key(host));
    let judged = |host| {
        let (jobs, accounts) = faults.get(host).copied().unwrap_or_default();
        Host { host, faults: jobs, accounts, succeeded: run.beside_faults.get(host).map_or(0, |beside| beside.succeeded) }
    };
    let hosts: Vec<_> = working(fleet, run, now).into_iter().map(judged).collect();
    to_leave(&hosts, run.left_for(&BY_JOBS, now)).into_iter().map(|host| host.host.to_owned()).collect()
}

/// Counts what succeeds at hosts with faults from the first on, at all of their machines that are there: also at one that is on its way out.
fn count(fleet: &Fleet, run: &mut RunState, has_faults: impl Fn(&str) -> bool) {
    run.beside_faults.retain(|host, _| has_faults(host));
    let mut done: BTreeMap<&str, BTreeMap<InstanceId, u64>> = BTreeMap::new();
    for instance in fleet.instances.iter().filter(|instance| has_faults(&instance.host)) {
        let succeeded = instance.timings.0.values().map(|times| times.run.count()).sum();
        done.entry(&instance.host).or_default().insert(instance.instance_id.clone(), succeeded);
    }
    for (host, machines) in done {
        let first = !run.beside_faults.contains_key(host);
        run.beside_faults.entry(host.to_owned()).or_default().count(machines, first);
    }
}
