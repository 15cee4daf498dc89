//! What follows a commit of the job machine: the hints to workers. A hint that can't be sent is nothing lost,
//! maintenance sends it again; so a failure here is logged and swallowed.

use crate::App;
use kiln_core::hooks::{self, Event};
use kiln_core::ids::{AccountId, EntryId, InstanceId, JobId};
use kiln_core::job::{Counters, Hint, Job, Priority};
use kiln_core::machine::{self, Change, running_cap};
use kiln_core::pool::Standing;
use kiln_core::pool::room::{IDLE_SAID, IDLE_WAKES_EVERY};
use kiln_core::time::Millis;
use kiln_store::{Account, Commit, DeliveryHint, Error, Instance, Slot};

/// How often "read, decide, commit" is repeated when the job moves on in between.
pub const TRIES: usize = 12;

/// An id for the ledger entry of a change that moves money.
pub fn entry_id(app: &App, change: &Change) -> Option<EntryId> {
    change.money.map(|_| EntryId::new(app.now(), app.random()))
}

/// Sends what a commit calls for. `before` are the account's counters as read before the commit.
pub async fn after_commit(app: &App, change: &Change, before: &Counters) {
    let job = &change.after;
    if let Some(delay) = change.hint_after(app.now()) {
        hint(app, job, delay).await;
    }
    if let Some(event) = hooks::of_change(change) {
        tell(app, &job.account_id, before, &event).await;
    }
    // While the account is full, claims are refused and their messages dropped; so whoever frees a slot calls the next jobs, as many as
    // there is room for now. Counters from before the commit would not do: of two ends at once each would call the same job.
    if change.frees_a_slot() && (before.queued > 0 || before.running >= running_cap(before, app.settings())) {
        match app.table().account(&job.account_id).await {
            Ok(Some(account)) if account.counters.queued > 0 => {
                let free = running_cap(&account.counters, app.settings()) - account.counters.running;
                call_next(app, &job.account_id, free.max(0) as u32).await;
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the account's next jobs were not hinted; maintenance will"),
        }
    }
}

/// Wakes the warm pool, where a job that has just been committed goes beyond the room that it left, so that a machine is asked for now and not at
/// the schedule's next look. Within the room it costs nothing: how the pool stands was read with all else. Where the policy is patient the room is
/// wide; who has paid to be served first wakes it all the same while no machine is there. A wake that fails is nothing lost.
pub async fn wake(app: &App, job: &Job, standing: Option<&Standing>) {
    let Some(waker) = app.waker() else { return };
    let now = app.now();
    let first = |standing: &Standing| job.priority == Priority::Rush && standing.waits.machine.is_none() && standing.waits.why.is_none();
    if standing.is_some_and(|standing| !standing.lags(app.comes(standing.at), now) && !first(standing)) {
        return;
    }
    let woken = match app.table().take_wake(now).await {
        Ok(true) => waker.wake(&job.kind, job.priority).await,
        // Somebody has just woken it, and it may have read the jobs before this one.
        Ok(false) => app.table().look_again().await,
        Err(error) => Err(error),
    };
    if let Err(error) = woken {
        tracing::warn!(%error, job_id = %job.job_id, "the warm pool was not woken; its schedule will look");
    }
}

/// Has the warm pool look now, since something else than a job has changed what it is to do: an operator's order, say. A wake that fails is nothing
/// lost: its schedule looks.
pub async fn look_now(app: &App, what: &str) {
    let Some(waker) = app.waker() else { return };
    let woken = match app.table().take_wake(app.now()).await {
        Ok(true) => waker.look(what).await,
        Ok(false) => app.table().look_again().await,
        Err(error) => Err(error),
    };
    if let Err(error) = woken {
        tracing::warn!(%error, what, "the warm pool was not woken; its schedule will look");
    }
}

/// Has the warm pool look now since an instance has fallen idle, if it has just said so: it may be given back half a minute sooner.
pub async fn fell_idle(app: &App, instance: &Instance) {
    let idle = app.now() - instance.idle_since;
    if app.waker().is_none() || instance.slot_job.is_some() || !(IDLE_SAID..IDLE_SAID + IDLE_WAKES_EVERY).contains(&idle) {
        return;
    }
    match app.table().take_idle_wake(app.now()).await {
        Ok(true) => look_now(app, "idle").await,
        Ok(false) => {}
        Err(error) => tracing::warn!(%error, instance_id = %instance.instance_id, "the warm pool was not told that it is idle; its schedule will look"),
    }
}

/// Has an event sent at once, if an endpoint of the account is to be told: after the commit that wrote it
/// ([`kiln_store::Table::add_owed_event`]). What can't be said here, the sender finds by itself within a minute.
pub async fn tell(app: &App, account: &AccountId, counters: &Counters, event: &Event) {
    if event.told(&counters.hook_events)
        && let Err(error) = app.queues().deliver(&DeliveryHint::event(account, &event.event_id), 0).await
    {
        tracing::warn!(%error, event_id = %event.event_id, "an event was not hinted; its schedule will find it");
    }
}

/// Has what a change of its credits owes to the account's endpoints sent at once: after the commit. What can't be said here, the sender
/// finds by itself within a minute.
pub async fn tell_of_credits(app: &App, account: &AccountId) {
    let told = match app.table().account(account).await {
        Ok(Some(found)) if found.counters.hook_events.wants_group("credits") => app.queues().deliver(&DeliveryHint::account(account), 0).await,
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = told {
        tracing::warn!(%error, account_id = %account, "a change of credits was not hinted; its schedule will find it");
    }
}

/// Hints the first `limit` of the account's due queued jobs: rush before standard, then the oldest.
pub async fn call_next(app: &App, account: &AccountId, limit: u32) {
    match app.table().due_jobs(account, limit, app.now()).await {
        Ok(due) => {
            for (job_id, capability, priority) in due {
                send(app, &job_id, account, &capability, priority, 0).await;
            }
        }
        Err(error) => tracing::warn!(%error, "the account's next jobs were not hinted; maintenance will"),
    }
}

/// Hints one job.
pub async fn hint(app: &App, job: &Job, delay: Millis) {
    send(app, &job.job_id, &job.account_id, &job.capability, job.priority, delay).await;
}

async fn send(app: &App, job_id: &JobId, account_id: &AccountId, capability: &str, priority: Priority, delay: Millis) {
    let hint = Hint { version: 1, job_id: job_id.clone(), account_id: account_id.clone() };
    if let Err(error) = app.queues().hint(&hint, capability, priority, delay).await {
        tracing::warn!(%error, job_id = %job_id, "a hint was not sent; maintenance will");
    }
}

/// Ends the attempt of a machine that was taken away or that the pool has ended, as is noted in its row, once its lease is over. `None` where it is no such attempt, else
/// whether this ended it: the job may have moved on.
pub async fn end_preempted(app: &App, job: &Job, account: Option<&Account>) -> Result<Option<bool>, Error> {
    let now = app.now();
    let (Some(change), Some(instance)) = (machine::preempted(job, app.settings(), now), &job.instance_id) else { return Ok(None) };
    if app.table().instance(instance).await?.is_none_or(|instance| instance.taken_at.or(instance.ended_by_us_at).is_none()) {
        return Ok(None);
    }
    let counters = account.map(|account| &account.counters);
    let with = Commit { entry_id: entry_id(app, &change), account: counters, ..Commit::default() };
    if app.table().commit(&change, with, now).await?.is_err() {
        return Ok(Some(false));
    }
    tracing::warn!(job_id = %job.job_id, instance_id = %instance, attempt = job.attempt, "attempt ended: its machine was taken away, or given back while it worked");
    if let Some(counters) = counters {
        after_commit(app, &change, counters).await;
    }
    Ok(Some(true))
}

/// Ends the attempt that an instance holds, because its process has restarted or its machine is gone: the job is queued
/// again at once instead of waiting for its lease to run out. `by_us`: the pool has ended its machine, which costs no try.
pub async fn end_attempt(app: &App, instance: &InstanceId, slot: &Slot, by_us: bool) -> Result<(), Error> {
    for _ in 0..TRIES {
        let (job, account) = app.table().job_and_account(&slot.account_id, &slot.job_id).await?;
        let now = app.now();
        let ends = if by_us { machine::given_back } else { machine::abandoned };
        let change = job.and_then(|job| ends(&job, instance, slot.attempt, app.settings(), now));
        let Some(change) = change else { return Ok(()) };
        let counters = account.as_ref().map(|account| &account.counters);
        let with = Commit { entry_id: entry_id(app, &change), account: counters, ..Commit::default() };
        if app.table().commit(&change, with, now).await?.is_ok() {
            tracing::warn!(job_id = %slot.job_id, instance_id = %instance, attempt = slot.attempt, "attempt ended with its worker");
            if let Some(account) = account {
                after_commit(app, &change, &account.counters).await;
            }
            return Ok(());
        }
    }
    Err(Error::Busy)
}
