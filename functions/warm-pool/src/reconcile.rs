//! Holds what we know of the fleet against what the provider lists.
//!
//! Promises (invariant 8): what carries our label and is unknown to us is destroyed; what is known to us and not listed is closed, for a provider
//! whose list is not this process's own only when two whole lists a minute apart lack it, two minutes where it is not known whether it was made,
//! and it is gone by its id too. One that has ended at the provider and is still listed is destroyed: it may cost.

use crate::provider::{Machine, Provider};
use kiln_core::fleet::Stage;
use kiln_core::ids::InstanceId;
use kiln_core::time::{Millis, seconds};
use kiln_http::{App, flow};
use kiln_store::Instance;

/// Between the first list that lacks a machine and the one that it is believed gone by.
const GONE_AFTER: Millis = seconds(60);
/// The same for an order whose answer was lost.
const NEVER_MADE_AFTER: Millis = seconds(120);

/// For so long the row of a machine that was taken away from a job says so to those who end the attempt: its lease has run out by then, and maintenance
/// has looked.
const TOLD_FOR: Millis = seconds(180);

/// Machines that are asked for by their ids in one run: a provider wants seconds between two such questions, and the run has other things to do.
const MOST_BY_ID: usize = 5;

/// Closes the instances that the provider no longer runs, ends what they were doing, notes the ids of those whose answer was lost, destroys
/// machines of ours that we don't know, and gives the instances that remain. Counts on `taken` those that were taken away.
///
/// What is to be destroyed is put on `unwanted`: a provider that hangs there must not keep the run from covering what works.
pub(crate) async fn reconcile<'a>(
    app: &App,
    provider: &'a dyn Provider,
    ours: &str,
    instances: Vec<Instance>,
    machines: &[Machine],
    unwanted: &mut Vec<(&'a dyn Provider, String)>,
    taken: &mut u32,
) -> anyhow::Result<Vec<Instance>> {
    let now = app.now();
    let mut remain = Vec::with_capacity(instances.len());
    let by_id = by_id(provider, &instances, machines, now);
    for mut instance in instances {
        if instance.provider != provider.name() {
            remain.push(instance);
            continue;
        }
        if let Some(machine) = machines.iter().find(|machine| is(machine, &instance)) {
            if instance.provider_id.is_none() {
                tracing::warn!(instance_id = %instance.instance_id, "a machine whose order was not answered is there");
                app.table().set_provider_id(&instance.instance_id, &machine.provider_id).await?;
                instance.provider_id = Some(machine.provider_id.clone());
            }
            if instance.missing_since.is_some() {
                app.table().is_missing(&instance.instance_id, None).await?;
                instance.missing_since = None;
            }
            remain.push(instance);
            continue;
        }
        if let Some(ended) = machines.iter().find(|machine| Some(&machine.provider_id) == instance.provider_id.as_ref()) {
            tracing::warn!(instance_id = %instance.instance_id, "a machine has ended and is still there; it is destroyed");
            // It may stand there for ever, until nobody pays more: it is replaced at once.
            if may_be_taken(&instance) && app.table().taken_away(&instance.instance_id, now).await? {
                (instance.stage, instance.taken_at) = (Stage::Lost, Some(now));
                *taken += 1;
            }
            unwanted.push((provider, ended.provider_id.clone()));
        }
        let may_ask = instance.provider_id.is_none() || by_id.contains(&instance.instance_id);
        if !gone(provider, &instance, now, app.settings().boot_s) || !may_ask || !gone_by_id(provider, &instance).await {
            if instance.missing_since.is_none() && !provider.lists_at_once() {
                app.table().is_missing(&instance.instance_id, Some(now)).await?;
                instance.missing_since = Some(now);
            }
            remain.push(instance);
            continue;
        }
        if instance.slot().is_some() {
            if may_be_taken(&instance) && app.table().taken_away(&instance.instance_id, now).await? {
                (instance.stage, instance.taken_at) = (Stage::Lost, Some(now));
                *taken += 1;
            }
            if instance.taken_at.is_some_and(|at| now - at < TOLD_FOR) {
                remain.push(instance);
                continue;
            }
        }
        tracing::info!(instance_id = %instance.instance_id, "the machine is gone");
        // Its token dies with its row; then its attempt is ended, which it can no longer contradict. It cost until it was first missed.
        if !app.table().forget_instance(&instance, instance.missing_since.unwrap_or(now)).await? {
            remain.push(instance);
            continue;
        }
        *taken += u32::from(may_be_taken(&instance));
        // Elsewhere its lease runs out by itself within a minute: this role may write no jobs.
        if let Some(slot) = instance.slot().filter(|_| provider.lists_at_once()) {
            flow::end_attempt(app, &instance.instance_id, &slot).await?;
        }
    }
    for machine in machines.iter().filter(|machine| machine.label.starts_with(ours)) {
        // By its label alone only where no answer has named it: of two machines of one order, the other is nobody's.
        let known = |instance: &Instance| match &instance.provider_id {
            Some(id) => *id == machine.provider_id,
            None => instance.label == machine.label,
        };
        if !remain.iter().any(known) {
            tracing::warn!(label = machine.label, "a machine of ours that we don't know is destroyed");
            unwanted.push((provider, machine.provider_id.clone()));
        }
    }
    Ok(remain)
}

/// Nobody asked it to end: somebody else may have it now.
fn may_be_taken(instance: &Instance) -> bool {
    instance.interruptible && !instance.was_asked_to_go() && instance.stage != Stage::Lost
}

/// Whether the listed machine is this instance, and still something that may cost or work.
fn is(machine: &Machine, instance: &Instance) -> bool {
    match &instance.provider_id {
        Some(id) => machine.provider_id == *id && machine.running,
        None => machine.label == instance.label,
    }
}

/// Which of those that the list lacks are asked for by their ids in this run: others in each, so that one that is there all the same stands in
/// nobody's way.
fn by_id(provider: &dyn Provider, instances: &[Instance], machines: &[Machine], now: Millis) -> Vec<InstanceId> {
    let lacks = |instance: &&Instance| instance.provider == provider.name() && !machines.iter().any(|machine| is(machine, instance));
    let missing = instances.iter().filter(lacks).filter(|instance| provider.lists_at_once() || instance.missing_since.is_some());
    let mut ids: Vec<InstanceId> = missing.map(|instance| instance.instance_id.clone()).collect();
    if !provider.lists_at_once() && ids.len() > MOST_BY_ID {
        let first = (now / 1000) as usize % ids.len();
        ids.rotate_left(first);
        ids.truncate(MOST_BY_ID);
    }
    ids
}

/// What the list lacks may be there all the same.
async fn gone_by_id(provider: &dyn Provider, instance: &Instance) -> bool {
    let Some(id) = &instance.provider_id else { return true };
    match provider.is_gone(id).await {
        Ok(gone) => {
            if !gone {
                tracing::warn!(instance_id = %instance.instance_id, "the list lacks a machine that is there");
            }
            gone
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), instance_id = %instance.instance_id, "whether a machine is gone could not be read");
            false
        }
    }
}

fn gone(provider: &dyn Provider, instance: &Instance, now: Millis, boot_s: u64) -> bool {
    let asked_for = instance.provider_id.is_some();
    if provider.lists_at_once() {
        // An intent whose order was never answered has until its boot deadline to appear.
        return asked_for || now > instance.requested_at + seconds(boot_s) || instance.stage == Stage::Lost;
    }
    let wait = if asked_for { GONE_AFTER } else { NEVER_MADE_AFTER };
    instance.missing_since.is_some_and(|since| now - since >= wait)
}
