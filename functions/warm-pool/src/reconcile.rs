//! Holds what we know of the fleet against what the provider lists.
//!
//! Promises (invariant 8): what doesn't carry this table's label is never acted on; what carries it and is unknown to us is destroyed; what is known
//! to us and not listed is closed, for a provider whose list is not this process's own only when two whole lists a minute apart lack it, two minutes
//! where it is not known whether it was made, and it is gone by its id too; one that is there by its id is as one that is listed. One that has ended
//! at the provider and is still listed is destroyed: it may cost; one that is stopped and is to be kept stands.

use crate::Providers;
use crate::deadline::{Deadline, within};
use crate::provider::{Machine, Provider};
use kiln_core::fleet::Stage;
use kiln_core::ids::InstanceId;
use kiln_core::time::{Millis, seconds};
use kiln_http::{App, flow};
use kiln_store::Instance;
use std::time::Instant;

/// Between the first list that lacks a machine and the one that it is believed gone by.
const GONE_AFTER: Millis = seconds(60);
/// The same for an order whose answer was lost.
const NEVER_MADE_AFTER: Millis = seconds(120);

/// One that is listed as stopped so long after its start, when the next look comes, waits for a GPU that somebody else has.
const STARTS_WITHIN: Millis = seconds(25);

/// The list may say for a while that a machine doesn't run that was started again and speaks: for so long after its start, while its last word is no older
/// than that.
const SPEAKS_WITHIN: Millis = seconds(180);
const HEARD_LATELY: Millis = seconds(60);

/// Two looks: one that was taken away spoke so shortly before it was first missed.
const HEARD_WITHIN: Millis = seconds(120);

/// For how long no machine is rented of a host whose machine ended before it was ready: as long as its provider has hosts left alone, and an hour at
/// most. A setting or an image that is wrong ends all of them, and when it is mended there must be hosts left.
const LEFT_FOR: Millis = seconds(3_600);
/// Why, to an operator.
pub(crate) const ENDED_BEFORE_READY: &str = "ended_before_ready";

/// What a run finds that is not as the table has it, for what comes after.
#[derive(Default)]
pub(crate) struct Found<'a> {
    /// What is to be destroyed: a provider that hangs there must not keep the run from covering what works.
    pub unwanted: Vec<(&'a dyn Provider, String)>,
    /// How many were taken away.
    pub taken: u32,
    /// Hosts that none is to be rented of, until when, and why.
    pub left: Vec<(String, Millis, &'static str)>,
    /// Lives of rented machines that are over, and since when.
    pub over: Vec<(Instance, Millis)>,
    /// What was asked for again and is still stopped: the word to its provider may have been lost.
    pub to_start: Vec<(&'a dyn Provider, String)>,
}

impl Found<'_> {
    /// It has ended by itself, or was ended there, before it could do anything: the next one of that host would do the same.
    fn ended(&mut self, provider: &dyn Provider, instance: &Instance, now: Millis) {
        let begins = instance.ready_at.is_none() && instance.stage != Stage::Stopped && instance.resumed_at.is_none();
        let by_itself = instance.provider_id.is_some() && begins && !instance.was_asked_to_go() && instance.stage != Stage::Lost;
        if by_itself && !provider.own() {
            tracing::warn!(instance_id = %instance.instance_id, host = instance.host, "a machine has ended before it was ready: its host is left");
            self.left.push((instance.avoided_as().to_owned(), now + left_for(provider), ENDED_BEFORE_READY));
        }
    }
}

/// For how long a host is left for that.
pub(crate) fn left_for(provider: &dyn Provider) -> Millis {
    LEFT_FOR.min(provider.avoided_for())
}

/// For so long the row of a machine that was taken away from a job, or that we ended, says so to those who end the attempt: its lease has run out by then,
/// and maintenance has looked.
const TOLD_FOR: Millis = seconds(180);

/// Machines that are asked for by their ids in one run: a provider wants seconds between two such questions, and the run has other things to do.
const MOST_BY_ID: usize = 5;

/// Keeps the rows of what this table rented. A backup that is restored elsewhere brings rows of machines that are its source's, at an account that
/// both may share: those are dropped, and the machines left as they are.
pub(crate) async fn of_this_table(app: &App, providers: &Providers, ours: &str, instances: Vec<Instance>) -> Vec<Instance> {
    let (mine, others): (Vec<_>, Vec<_>) = instances.into_iter().partition(|instance| instance.label.starts_with(ours));
    for instance in others {
        disown(app, providers.of(&instance.provider), &instance).await;
    }
    mine
}

/// Drops a row without a word to its provider: the machine is another's. Whether that could be written or not, this run acts on it no more.
async fn disown(app: &App, provider: Option<&dyn Provider>, instance: &Instance) {
    tracing::warn!(instance_id = %instance.instance_id, label = instance.label, "a row is dropped whose machine is not this table's; the machine is left alone");
    // What was reserved for it is all that it can have cost here.
    let dropped = async {
        let dropped = app.table().forget_instance(instance, app.now().min(instance.covered_to)).await?;
        if let Some(slot) = instance.slot().filter(|_| dropped && provider.is_some_and(Provider::lists_at_once)) {
            flow::end_attempt(app, &instance.instance_id, &slot, false).await?;
        }
        anyhow::Ok(())
    };
    if let Err(error) = dropped.await {
        tracing::error!(error = format!("{error:#}"), instance_id = %instance.instance_id, "a row of a machine that is not this table's could not be dropped");
    }
}

/// Closes the instances that the provider no longer runs, ends what they were doing, notes the ids of those whose answer was lost, destroys
/// machines of ours that we don't know, and gives the instances that remain; what else is to be done about it is put on `found`.
pub(crate) async fn reconcile<'a>(
    app: &App,
    provider: &'a dyn Provider,
    ours: &str,
    instances: Vec<Instance>,
    machines: &[Machine],
    deadline: Deadline,
    found: &mut Found<'a>,
) -> anyhow::Result<Vec<Instance>> {
    let now = app.now();
    let mut remain = Vec::with_capacity(instances.len());
    let by_id = by_id(provider, &instances, machines, now);
    let asks_until = deadline.by_id();
    for mut instance in instances {
        if instance.provider != provider.name() {
            remain.push(instance);
            continue;
        }
        let listed = machines.iter().find(|machine| Some(&machine.provider_id) == instance.provider_id.as_ref());
        // A list may lack a label; one that says another's is believed.
        if listed.is_some_and(|machine| !machine.label.is_empty() && !machine.label.starts_with(ours)) {
            disown(app, Some(provider), &instance).await;
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
            if instance.stage == Stage::Stopped && now - instance.requested_at >= GONE_AFTER {
                tracing::error!(instance_id = %instance.instance_id, "a machine that is kept stopped runs, and nobody of ours asked for it; it is destroyed");
                match app.table().runs_unasked(&instance, now, now + seconds(120)).await? {
                    Some(runs) => instance = runs,
                    None => tracing::warn!(instance_id = %instance.instance_id, "what it costs could not be committed yet; the next look does"),
                }
                found.unwanted.push((provider, machine.provider_id.clone()));
            }
            comes_up(app, &mut instance, machine).await;
            remain.push(instance);
            continue;
        }
        if let Some(machine) = listed
            && let Some(stands) = stands(app, provider, &instance, machine, now, found).await?
        {
            remain.push(stands);
            continue;
        }
        if let Some(ended) = listed {
            tracing::warn!(instance_id = %instance.instance_id, says = ended.says, "a machine has ended and is still there; it is destroyed");
            // It may stand there for ever, until nobody pays more: it is replaced at once.
            if ended.taken && may_be_taken(&instance) && app.table().taken_away(&instance.instance_id, now).await? {
                (instance.stage, instance.taken_at) = (Stage::Lost, Some(now));
                found.taken += 1;
            }
            found.ended(provider, &instance, now);
            found.unwanted.push((provider, ended.provider_id.clone()));
        }
        let may_ask = instance.provider_id.is_none() || by_id.contains(&instance.instance_id);
        let asks = may_ask && gone(provider, &instance, now, app.settings().boot_s);
        let is_gone = if asks { gone_by_id(provider, &instance, asks_until).await } else { None };
        if is_gone != Some(true) {
            if is_gone == Some(false) && listed.is_none() {
                // For this run it is as if it were listed: it is destroyed if it is to go, and what it costs counts. The table keeps since when it isn't,
                // so that the next run asks again.
                instance.missing_since = None;
            } else if instance.missing_since.is_none() && listed.is_none() && !provider.lists_at_once() {
                app.table().is_missing(&instance.instance_id, Some(now)).await?;
                instance.missing_since = Some(now);
            }
            remain.push(instance);
            continue;
        }
        let taken = was_taken(provider, &instance, asks_until).await;
        // Its job is told first, by the row, that this was no fault of its host.
        if instance.slot().is_some() {
            if taken && app.table().taken_away(&instance.instance_id, now).await? {
                (instance.stage, instance.taken_at) = (Stage::Lost, Some(now));
                found.taken += 1;
            }
            let told = instance.taken_at.or(instance.ended_by_us_at).filter(|_| !provider.lists_at_once());
            if told.is_some_and(|at| now - at < TOLD_FOR) {
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
        found.taken += u32::from(taken && instance.taken_at.is_none());
        found.ended(provider, &instance, now);
        if !provider.own() {
            let taken_at = instance.taken_at.or(taken.then_some(now));
            found.over.push((Instance { taken_at, ..instance.clone() }, instance.missing_since.unwrap_or(now)));
        }
        // Elsewhere its lease runs out by itself within a minute: this role may write no jobs.
        if let Some(slot) = instance.slot().filter(|_| provider.lists_at_once()) {
            flow::end_attempt(app, &instance.instance_id, &slot, instance.ended_by_us_at.is_some()).await?;
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
            found.unwanted.push((provider, machine.provider_id.clone()));
        }
    }
    Ok(remain)
}

/// Keeps what its provider says of a machine whose worker has not spoken yet, for those who wait for it. What fails is told by the next look.
async fn comes_up(app: &App, instance: &mut Instance, machine: &Machine) {
    let unheard = instance.stage == Stage::Requested && instance.heartbeat_at.is_none() && instance.resumed_at.is_none();
    let Some(boot_stage) = machine.boot_stage.filter(|_| unheard) else { return };
    let says = machine.says.clone().or_else(|| instance.provider_says.clone());
    let known = instance.boot_stage.as_deref() == Some(boot_stage) && instance.provider_says == says;
    if !known && let Err(error) = app.table().comes_up(&instance.instance_id, boot_stage, says.as_deref()).await {
        tracing::warn!(%error, instance_id = %instance.instance_id, "what a machine is at could not be noted");
    }
    (instance.boot_stage, instance.provider_says) = (Some(boot_stage.to_owned()), says);
}

/// One that doesn't run and is wanted so: it is kept stopped, has just been stopped to be kept, or is on its way back. `None` where it has ended.
async fn stands<'a>(
    app: &App,
    provider: &'a dyn Provider,
    instance: &Instance,
    machine: &Machine,
    now: Millis,
    found: &mut Found<'a>,
) -> anyhow::Result<Option<Instance>> {
    if machine.stopped && instance.rests && instance.stage != Stage::Lost {
        let stopped = app.table().stopped(instance, now).await?;
        if stopped.is_some() {
            tracing::info!(instance_id = %instance.instance_id, "a machine is kept stopped");
            found.over.push((instance.clone(), now));
        }
        return Ok(stopped);
    }
    // A list may be a little older than its worker's first word.
    let since = now - instance.requested_at;
    let speaks = instance.heartbeat_at.is_some_and(|at| now - at < HEARD_LATELY) && since < SPEAKS_WITHIN && instance.stage != Stage::Lost;
    if instance.resumed_at.is_some() && speaks {
        return Ok(Some(instance.clone()));
    }
    let comes_back = instance.stage == Stage::Requested && instance.resumed_at.is_some();
    if comes_back && now - instance.requested_at >= STARTS_WITHIN {
        // It is replaced at once; there is nothing to blame its host for.
        tracing::warn!(instance_id = %instance.instance_id, "a machine that was kept stopped does not start; it is given back");
        app.table().revoke(&instance.instance_id).await?;
        found.unwanted.push((provider, machine.provider_id.clone()));
        return Ok(Some(Instance { stage: Stage::Lost, ..instance.clone() }));
    }
    if comes_back {
        found.to_start.push((provider, machine.provider_id.clone()));
    } else if !(machine.stopped && instance.stage == Stage::Stopped) {
        return Ok(None);
    }
    if instance.missing_since.is_some() {
        app.table().is_missing(&instance.instance_id, None).await?;
    }
    Ok(Some(Instance { missing_since: None, ..instance.clone() }))
}

/// Nobody asked it to end, and it was of use: somebody else may have it now. What ended before that is no word about its market.
fn may_be_taken(instance: &Instance) -> bool {
    instance.interruptible && instance.ready_at.is_some() && !instance.was_asked_to_go() && instance.stage != Stage::Lost
}

/// Whether its provider says so, of one that is gone. One that had not been heard for a while ended for that. It may have been written off meanwhile,
/// since it is silent; had we ended it, its provider would say that.
async fn was_taken(provider: &dyn Provider, instance: &Instance, until: Instant) -> bool {
    let (Some(id), Some(ended), Some(heard)) = (&instance.provider_id, instance.missing_since, instance.heartbeat_at) else { return false };
    let of_use = instance.interruptible && instance.ready_at.is_some() && !instance.was_asked_to_go();
    if !of_use || instance.taken_at.is_some() || ended - heard > HEARD_WITHIN {
        return false;
    }
    within(until, provider.was_taken(id, ended - instance.requested_at)).await.unwrap_or_else(|error| {
        tracing::error!(error = format!("{error:#}"), instance_id = %instance.instance_id, "whether a machine was taken away could not be read");
        false
    })
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

/// What the list lacks may be there all the same. Nothing where that isn't known.
async fn gone_by_id(provider: &dyn Provider, instance: &Instance, until: Instant) -> Option<bool> {
    let Some(id) = &instance.provider_id else { return Some(true) };
    match within(until, provider.is_gone(id)).await {
        Ok(gone) => {
            if !gone {
                tracing::warn!(instance_id = %instance.instance_id, "the list lacks a machine that is there");
            }
            Some(gone)
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), instance_id = %instance.instance_id, "whether a machine is gone could not be read");
            None
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
