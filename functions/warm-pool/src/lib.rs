//! The warm pool: on a schedule it sees the fleet and the demand, lets core plan ([`kiln_core::pool`]), and rents and gives back machines
//! through a provider. What is known to us and gone at the provider is closed; what carries our label and is unknown to us is destroyed;
//! nothing else is ever touched.
//!
//! Promises (invariants 8 and 9): a machine is asked for only after its intent and its whole cover are written, and only once; what could not be
//! read leads to no rental; a machine that works is never given back for want of work.

mod act;
mod beyond;
mod books;
mod deadline;
pub mod ec2;
mod look;
mod metrics;
mod own;
mod provider;
mod providers;
mod quarantine;
mod reconcile;
pub mod vast;

pub use provider::{Charge, Keeps, Machine, NotMade, NotStarted, Order, Provider};
pub use providers::Providers;

use deadline::Deadline;
use kiln_core::fleet::Stage;
use kiln_core::ids::InstanceId;
use kiln_core::job::Priority;
use kiln_core::pool::room::WAKE_EVERY;
use kiln_core::pool::standing::WaitReason;
use kiln_core::pool::{self, Decision, Keep, Plan, Policy, Reason, Seen, Standing, Waits};
use kiln_core::time::{Millis, seconds};
use kiln_http::{App, restoring};
use kiln_store::{Fleet, RunState, Told};
use look::Looked;
use metrics::Measured;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The one pool of this version.
pub const POOL: &str = "main";

/// How the pool stands is said again after so long, though nothing has changed.
const STANDS: Millis = seconds(300);

/// Decisions that one run tells an operator of.
const MOST_TOLD: usize = 50;

/// Runs for those who came meanwhile, in one invocation; who comes later is the schedule's.
const MOST_AGAIN: u32 = 3;
/// For so long after a wake whoever comes leaves a mark ([`WAKE_EVERY`]), and a little for that to be written.
const WAKES_FOR: Duration = Duration::from_millis(WAKE_EVERY as u64 + 250);

/// For how long a run has its turn, should it die: longer than the function's time-out.
const TURN: Millis = seconds(90);

/// The same; on a laptop runs are short and die with the machine.
fn turn(providers: &Providers) -> Millis {
    if providers.own() { seconds(5) } else { TURN }
}

/// What Lambda calls: a wake, or the schedule each minute, which while anything runs or waits looks once more half a minute later.
pub async fn tick(app: &App, event: Value) -> anyhow::Result<Value> {
    let begun = Instant::now();
    let deadline = Deadline::of(begun);
    let first = invoked_until(app, &Providers::named(app, None).await, event.clone(), deadline).await?;
    let pause = Duration::from_secs(app.settings().second_look_s);
    // Late, it would be cut off by the function's time-out.
    if is_wake(&event) || pause.is_zero() || !has_work(&first) || begun.elapsed() > pause {
        return Ok(first);
    }
    tokio::time::sleep(pause - begun.elapsed()).await;
    invoked_until(app, &Providers::named(app, None).await, event, deadline).await
}

/// One invocation: a run, and another one for those who came while it ran. A wake in somebody else's turn leaves its mark, which whoever has the
/// turn looks for once it is given back; so what woke it is seen, by the one or the other.
pub async fn invoked(app: &App, providers: &Providers, event: Value) -> anyhow::Result<Value> {
    invoked_until(app, providers, event, Deadline::of(Instant::now())).await
}

async fn invoked_until(app: &App, providers: &Providers, event: Value, deadline: Deadline) -> anyhow::Result<Value> {
    let begun = Instant::now();
    let woken = is_wake(&event);
    let mut done = handle_until(app, providers, event.clone(), deadline).await?;
    if woken && done["another_runs"] == true {
        app.table().look_again().await?;
        // It may have given its turn back, and looked, just before the mark was there.
        done = handle_until(app, providers, event.clone(), deadline).await?;
        if done["another_runs"] == true {
            return Ok(done);
        }
    }
    for _ in 0..MOST_AGAIN {
        if woken {
            // Until then others leave it to this run.
            tokio::time::sleep(WAKES_FOR.saturating_sub(begun.elapsed())).await;
        }
        if !deadline.begins_another() || !app.table().takes_another_look().await? {
            break;
        }
        let again = handle_until(app, providers, event.clone(), deadline).await?;
        if again["another_runs"] == true {
            app.table().look_again().await?;
            break;
        }
        for count in ["started", "stopped", "failed"] {
            done[count] = json!(done[count].as_u64().unwrap_or(0) + again[count].as_u64().unwrap_or(0));
        }
        done["unfinished"] = again["unfinished"].clone();
    }
    Ok(done)
}

/// Whether somebody wakes it, and not its schedule: for a job, an operator's order or a machine that has fallen idle.
fn is_wake(event: &Value) -> bool {
    event["wake"].is_object()
}

/// The kind of the job that a wake is for, and whether it is to be served first; `None` where it is for none.
fn wakes(event: &Value) -> Option<(&str, bool)> {
    let wake = &event["wake"];
    Some((wake["kind"].as_str()?, wake["priority"] == Priority::Rush.as_str()))
}

/// Whether a run left anything that runs or waits.
fn has_work(done: &Value) -> bool {
    ["unfinished", "instances", "started"].iter().any(|count| done[count].as_u64().is_some_and(|count| count > 0))
}

/// One run.
pub async fn handle(app: &App, providers: &Providers, event: Value) -> anyhow::Result<Value> {
    handle_until(app, providers, event, Deadline::of(Instant::now())).await
}

async fn handle_until(app: &App, providers: &Providers, event: Value, deadline: Deadline) -> anyhow::Result<Value> {
    if let Some(answer) = restoring::stands_still(app, "warm-pool", &event).await? {
        return Ok(answer);
    }
    let now = app.now();
    let Some(mut run) = app.table().begin_run(POOL, now, now + turn(providers), &format!("{:08x}", app.random() as u32)).await? else {
        tracing::info!("another run has its turn");
        return Ok(json!({ "another_runs": true }));
    };
    let done = act(app, providers, &mut run, wakes(&event), deadline).await;
    // Also where it failed: the next need not wait for the turn's end.
    app.table().end_run(POOL, &run).await?;
    done
}

async fn act(app: &App, providers: &Providers, run: &mut RunState, woken_for: Option<(&str, bool)>, deadline: Deadline) -> anyhow::Result<Value> {
    // Before the fleet is read: whatever is listed has had its intent written already.
    let lists = futures::future::join_all(providers.all().map(async |provider| (provider, deadline.read(provider.list()).await))).await;
    let mut listed: Vec<(&dyn Provider, Vec<Machine>)> = Vec::new();
    for (provider, list) in lists {
        match list {
            Ok(machines) => listed.push((provider, machines)),
            Err(error) => tracing::error!(error = format!("{error:#}"), provider = provider.name(), "the provider's machines could not be listed"),
        }
    }
    let mut fleet = app.table().fleet(POOL).await?;
    let policy = fleet.state.take().map_or_else(|| app.settings().policy(), |state| state.policy_at(app.now()));
    let ours = run.ours(app.deployment());
    fleet.instances = reconcile::of_this_table(app, providers, &ours, fleet.instances).await;
    let closed = own::close(app, &mut fleet, run).await;
    let mut found = reconcile::Found::default();
    for (provider, machines) in &listed {
        fleet.instances = reconcile::reconcile(app, *provider, &ours, fleet.instances, machines, deadline, &mut found).await?;
    }
    (0..found.taken).for_each(|_| run.history.spot.taken(app.now()));
    for (machine, ended_at) in &found.over {
        run.reliability.over(&machine.provider, machine.gpu.as_deref(), machine.avoided_as(), machine.over(*ended_at), app.now());
    }
    found.left.iter().for_each(|(host, until, why)| run.leave(host, *until, why));
    let rent_at: Vec<&dyn Provider> = listed.into_iter().map(|(provider, _)| provider).filter(|provider| provider.rents()).collect();
    let quarantined = quarantine::quarantine(app, &mut fleet, run).await;
    let mut looked = look::look(app, providers, &fleet, &policy, run, !rent_at.is_empty(), woken_for).await;
    let plan = pool::plan(&looked.seen, &policy, app.now());
    for note in &plan.notes {
        tracing::info!(reason = note.code(), "{note}");
    }
    (run.wanted, run.ran_at) = (plan.wanted, Some(app.now()));
    if !plan.decisions.is_empty() || !plan.notes.is_empty() || !quarantined.is_empty() || !closed.is_empty() {
        (run.told, run.told_at) = (closed.into_iter().chain(quarantined).chain(told(&plan, &fleet)).collect(), Some(app.now()));
    }
    let pool = act::Pool { app, providers, ours: &ours, deadline, rent_at: &rent_at, policy: &policy, fleet: &fleet, learned: &looked.learned };
    let done = act::all(&pool, &plan, run, &found).await;
    books::tell(app, &fleet.instances).await;
    books::daily(&pool, run).await;
    run.killed_for_cover += done.killed_for_cover;
    if let Some(at) = done.rented_at {
        run.history.rented(at);
    }
    if let Some(at) = done.stopped_at {
        run.history.stopped(at);
    }
    let beyond = beyond::commit(app, &fleet).await;
    if !beyond.is_empty() {
        run.told.retain(|told| told.reason != "beyond_cover");
        run.told.splice(0..0, beyond.iter().cloned());
        run.told_at = Some(app.now());
    }
    stand(app, &policy, &mut looked, &plan, &done, &fleet, run).await;
    let ready = fleet.instances.iter().filter(|instance| matches!(instance.stage, Stage::Ready | Stage::Busy)).count() as u64;
    let (queued, day_microusd, beyond, killed_for_cover) = (looked.queued, looked.day_microusd, beyond.len() as u64, done.killed_for_cover);
    let measured = Measured { queued, ready, day_microusd, beyond, killed_for_cover };
    if let Some(line) = measured.line(app.deployment(), app.now()).filter(|_| std::env::var_os("AWS_LAMBDA_FUNCTION_NAME").is_some()) {
        println!("{line}");
    }
    Ok(json!({ "unfinished": looked.unfinished, "instances": fleet.instances.len(), "started": done.started, "stopped": done.stopped, "failed": done.failed }))
}

/// Leaves to those who submit how many jobs may come before another machine is rented, and to those who wait what they wait for. Where not all was
/// rented that was decided, more jobs would change nothing until the next look.
async fn stand(app: &App, policy: &Policy, looked: &mut Looked, plan: &Plan, done: &act::Done, fleet: &Fleet, run: &mut RunState) {
    let now = app.now();
    let decided = plan.decisions.iter().filter(|decision| matches!(decision, Decision::Rent { .. } | Decision::Resume { .. })).count();
    for machine in looked.seen.instances.iter_mut().filter(|machine| done.resumed.contains(&machine.id)) {
        (machine.stage, machine.begun, machine.heard_at, machine.covered_to, machine.resumes) = (Stage::Requested, now, now, Millis::MAX, true);
    }
    looked.seen.instances.extend((0..done.started - done.resumed.len()).map(|n| Seen::asked_for(InstanceId::new(now, n as u128), now)));
    let room = if done.started < decided { None } else { pool::room(&looked.seen, policy, now) };
    let why = match () {
        () if policy.safe_mode || policy.max == 0 => Some(WaitReason::Paused),
        () if !looked.seen.listed || looked.seen.demand.is_none() => Some(WaitReason::Unknown),
        () if done.started < decided => Some(WaitReason::NoMachine),
        () => None,
    };
    let boot_stage = |seen: &Seen| fleet.instances.iter().find(|instance| instance.instance_id == seen.id)?.boot_stage.clone();
    let waits = Waits::of(&looked.seen, why, now, boot_stage);
    // While nothing waits, runs or comes, it is said again only so often that it doesn't go stale.
    let idle_wakes = policy.keep == Keep::Learned && !policy.safe_mode;
    let standing = Standing { room, waits, at: now, idle_wakes, again: false };
    let same = |stood: &Standing| stood.room == room && stood.waits.machine == standing.waits.machine && stood.idle_wakes == idle_wakes;
    let known = run.stood.as_ref().is_some_and(|stood| same(stood) && now - stood.at < STANDS);
    if known && looked.unfinished == 0 && looked.came == 0 {
        return;
    }
    match app.table().stand(&standing).await {
        Ok(()) => run.stood = Some(standing),
        Err(error) => tracing::warn!(%error, "how the pool stands was not left to those who submit; they wake it"),
    }
}

/// The plan in an operator's words.
fn told(plan: &Plan, fleet: &Fleet) -> Vec<Told> {
    // What did not boot may have had its provider say why.
    let said = |id: &InstanceId| fleet.instances.iter().find(|instance| instance.instance_id == *id)?.provider_says.clone();
    let text = |id: Option<&InstanceId>, reason: &Reason| match id.filter(|_| matches!(reason, Reason::BootTooLong { .. })).and_then(said) {
        Some(says) => format!("{reason}; its provider said: {says}"),
        None => reason.to_string(),
    };
    let tell = |what: &str, id: Option<&InstanceId>, reason: &Reason| Told {
        what: what.to_owned(),
        instance_id: id.cloned(),
        reason: reason.code().to_owned(),
        text: text(id, reason),
    };
    let decided = plan.decisions.iter().filter_map(|decision| match decision {
        Decision::Rent { reason } => Some(tell("rent", None, reason)),
        Decision::Resume { id, reason } => Some(tell("resume", Some(id), reason)),
        Decision::Suspend { id, reason } => Some(tell("suspend", Some(id), reason)),
        Decision::Drain { id, reason } => Some(tell("drain", Some(id), reason)),
        Decision::Stop { id, reason } => Some(tell("stop", Some(id), reason)),
        Decision::Destroy { id, reason } => Some(tell("destroy", Some(id), reason)),
        // That it stays needs no reason.
        Decision::Cover { .. } => None,
    });
    decided.chain(plan.notes.iter().map(|note| tell("none", None, note))).take(MOST_TOLD).collect()
}

#[cfg(test)]
mod charges_tests;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod host_faults_tests;
#[cfg(test)]
mod hosts_tests;
#[cfg(test)]
mod keep_tests;
#[cfg(test)]
mod leaving_tests;
#[cfg(test)]
mod own_tests;
#[cfg(test)]
mod pool_tests;
#[cfg(test)]
mod providers_tests;
#[cfg(test)]
mod rent_tests;
#[cfg(test)]
mod restored_tests;
#[cfg(test)]
mod wake_tests;
