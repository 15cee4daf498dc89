//! The warm pool: on a schedule it sees the fleet and the demand, lets core plan ([`kiln_core::pool`]), and rents and gives back machines
//! through a provider. What is known to us and gone at the provider is closed; what carries our label and is unknown to us is destroyed;
//! nothing else is ever touched.
//!
//! Promises (invariants 8 and 9): a machine is asked for only after its intent and its whole cover are written, and only once; what could not be
//! read leads to no rental; a machine that works is never given back for want of work.

mod act;
mod books;
mod look;
mod provider;
mod providers;
mod quarantine;
mod reconcile;
pub mod vast;

pub use provider::{Charge, Machine, NotMade, Order, Provider};
pub use providers::Providers;

use kiln_core::fleet::Stage;
use kiln_core::ids::InstanceId;
use kiln_core::pool::{self, Decision, Plan, Reason};
use kiln_core::time::{Millis, seconds};
use kiln_http::{App, restoring};
use kiln_store::{RunState, Told};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The one pool of this version.
pub const POOL: &str = "main";

/// Decisions that one run tells an operator of.
const MOST_TOLD: usize = 50;

/// For how long a run has its turn, should it die: longer than the function's time-out. On a laptop runs are short and die with the machine.
fn turn(providers: &Providers) -> Millis {
    if providers.own() { seconds(5) } else { seconds(90) }
}

/// What the schedule calls each minute where Kiln is deployed: one run, and while anything runs or waits another one half a minute later.
pub async fn tick(app: &App, event: Value) -> anyhow::Result<Value> {
    let begun = Instant::now();
    let first = handle(app, &Providers::named(app, None).await, event.clone()).await?;
    let pause = Duration::from_secs(app.settings().second_look_s);
    // Late, it would be cut off by the function's time-out.
    if pause.is_zero() || !has_work(&first) || begun.elapsed() > pause {
        return Ok(first);
    }
    tokio::time::sleep(pause - begun.elapsed()).await;
    handle(app, &Providers::named(app, None).await, event).await
}

/// Whether a run left anything that runs or waits.
fn has_work(done: &Value) -> bool {
    ["unfinished", "instances", "started"].iter().any(|count| done[count].as_u64().is_some_and(|count| count > 0))
}

/// One run.
pub async fn handle(app: &App, providers: &Providers, event: Value) -> anyhow::Result<Value> {
    if let Some(answer) = restoring::stands_still(app, "warm-pool", &event).await? {
        return Ok(answer);
    }
    let now = app.now();
    let Some(mut run) = app.table().begin_run(POOL, now, now + turn(providers), &format!("{:08x}", app.random() as u32)).await? else {
        tracing::info!("another run has its turn");
        return Ok(json!({ "another_runs": true }));
    };
    let done = act(app, providers, &mut run).await;
    // Also where it failed: the next need not wait for the turn's end.
    app.table().end_run(POOL, &run).await?;
    done
}

async fn act(app: &App, providers: &Providers, run: &mut RunState) -> anyhow::Result<Value> {
    let begun = Instant::now();
    // Before the fleet is read: whatever is listed has had its intent written already.
    let lists = futures::future::join_all(providers.all().map(async |provider| (provider, provider.list().await))).await;
    let mut listed: Vec<(&dyn Provider, Vec<Machine>)> = Vec::new();
    for (provider, list) in lists {
        match list {
            Ok(machines) => listed.push((provider, machines)),
            Err(error) => tracing::error!(error = format!("{error:#}"), provider = provider.name(), "the provider's machines could not be listed"),
        }
    }
    let mut fleet = app.table().fleet(POOL).await?;
    let policy = fleet.state.take().map_or_else(|| app.settings().policy(), |state| state.policy_at(app.now()));
    // Two deployments of one name may share an account: the tag tells theirs from ours.
    let ours = format!("kiln/{}.{}/", app.deployment(), run.tag);
    let mut unwanted = Vec::new();
    for (provider, machines) in &listed {
        fleet.instances = reconcile::reconcile(app, *provider, &ours, fleet.instances, machines, &mut unwanted).await?;
    }
    let rent_at: Vec<&dyn Provider> = listed.into_iter().map(|(provider, _)| provider).filter(|provider| provider.rents()).collect();
    let quarantined = quarantine::quarantine(app, &mut fleet, run).await;
    let looked = look::look(app, providers, &fleet, run, !rent_at.is_empty()).await;
    let plan = pool::plan(&looked.seen, &policy, app.now());
    for note in &plan.notes {
        tracing::info!(reason = note.code(), "{note}");
    }
    (run.wanted, run.ran_at) = (plan.wanted, Some(app.now()));
    if !plan.decisions.is_empty() || !plan.notes.is_empty() || !quarantined.is_empty() {
        (run.told, run.told_at) = (quarantined.into_iter().chain(told(&plan)).collect(), Some(app.now()));
    }
    let pool = act::Pool { app, providers, ours: &ours, begun, rent_at: &rent_at, policy: &policy, fleet: &fleet, learned: &looked.learned };
    let done = act::all(&pool, &plan, run, &unwanted).await;
    books::tell(app, &fleet.instances).await;
    books::daily(&pool, run).await;
    run.last_rent_at = done.rented_at.or(run.last_rent_at);
    run.last_stop_at = done.stopped_at.or(run.last_stop_at);
    let ready = fleet.instances.iter().filter(|instance| matches!(instance.stage, Stage::Ready | Stage::Busy)).count() as u64;
    metrics(app, looked.queued, ready, looked.day_microusd);
    Ok(json!({ "unfinished": looked.unfinished, "instances": fleet.instances.len(), "started": done.started, "stopped": done.stopped, "failed": done.failed }))
}

/// The plan in an operator's words.
fn told(plan: &Plan) -> Vec<Told> {
    let tell = |what: &str, id: Option<&InstanceId>, reason: &Reason| Told {
        what: what.to_owned(),
        instance_id: id.cloned(),
        reason: reason.code().to_owned(),
        text: reason.to_string(),
    };
    let decided = plan.decisions.iter().filter_map(|decision| match decision {
        Decision::Rent { reason } => Some(tell("rent", None, reason)),
        Decision::Drain { id, reason } => Some(tell("drain", Some(id), reason)),
        Decision::Stop { id, reason } => Some(tell("stop", Some(id), reason)),
        Decision::Destroy { id, reason } => Some(tell("destroy", Some(id), reason)),
        // That it stays needs no reason.
        Decision::Cover { .. } => None,
    });
    decided.chain(plan.notes.iter().map(|note| tell("none", None, note))).take(MOST_TOLD).collect()
}

/// CloudWatch's embedded metric format, one line on stdout; nothing while nothing runs or waits, since each metric costs
/// money for the hours in which it is written.
fn metrics(app: &App, queued: u64, ready: u64, day_microusd: i64) {
    if queued + ready == 0 || std::env::var_os("AWS_LAMBDA_FUNCTION_NAME").is_none() {
        return;
    }
    let names: Vec<_> = ["QueuedJobs", "ReadyInstances", "StrandedJobs", "SpendMicrousd"].iter().map(|name| json!({ "Name": name })).collect();
    let line = json!({
        "_aws": { "Timestamp": app.now(), "CloudWatchMetrics": [{ "Namespace": "Kiln", "Dimensions": [["Deployment"]], "Metrics": names }] },
        "Deployment": app.deployment(), "QueuedJobs": queued, "ReadyInstances": ready, "StrandedJobs": if ready == 0 { queued } else { 0 }, "SpendMicrousd": day_microusd,
    });
    println!("{line}");
}

#[cfg(test)]
mod pool_tests;
