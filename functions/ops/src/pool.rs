//! The pool, for operators: its policy and budgets, what it costs, and its machines.

use crate::machines::PrewarmView;
use crate::workers::{POOL, heartbeat_age_s, stage};
use axum::Json;
use axum::extract::State;
use kiln_core::fleet::Stage;
use kiln_core::pool::budget::{Window, windows};
use kiln_core::pool::{Keep, Policy};
use kiln_core::time::{Millis, rfc3339};
use kiln_http::flow::TRIES;
use kiln_http::{Acts, Admin, App, Body, Result, action};
use kiln_store::{Charged, Fleet, Lease, RunState, Told};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Days of charges that are shown: a week of two providers.
const MOST_CHARGES: u32 = 14;

/// The pool: its policy, what it costs, and its machines.
#[derive(Serialize, ToSchema)]
pub struct PoolView {
    #[serde(flatten)]
    policy: Policy,
    spend: Spend,
    /// Machines that are wanted ahead of the jobs, and until when; null where none are.
    prewarm: Option<PrewarmView>,
    /// What the warm pool last looked at and did; null before its first look.
    last_run: Option<RunView>,
    /// Hosts that no machine is rented of, until when, and why.
    avoided: Vec<AvoidedView>,
    /// What was recorded of a day beside what its provider charged, the last days first.
    charges: Vec<ChargeView>,
    instances: Vec<InstanceView>,
}

/// A host that no machine is rented of for a while.
#[derive(Serialize, ToSchema)]
pub struct AvoidedView {
    #[schema(example = "vast-84213")]
    host: String,
    until: String,
    /// `boot_too_long`, `silent`, `silent_at_work`, `idle_beside_work`, `none_there`, `ended_before_ready`, `boot_token_twice` or `quarantined`, as
    /// docs/OPERATORS.md explains them.
    #[schema(example = "quarantined")]
    reason: String,
}

/// A day (UTC), as we recorded it and as its provider charged it, in millionths of a dollar. Once a day the last one, and what there is of the
/// new one, are compared.
#[derive(Serialize, ToSchema)]
pub struct ChargeView {
    #[schema(example = "vast")]
    provider: String,
    #[schema(format = "date", example = "2026-11-28")]
    day: String,
    recorded_microusd: i64,
    charged_microusd: i64,
    /// What was charged beyond what was recorded; below 0 where less was. What is above 0 counts against the day's and the month's budget.
    difference_microusd: i64,
    at: String,
}

impl From<Charged> for ChargeView {
    fn from(charged: Charged) -> Self {
        let difference_microusd = charged.charged_microusd - charged.recorded_microusd;
        let Charged { provider, day, recorded_microusd, charged_microusd, at, .. } = charged;
        Self { provider, day, recorded_microusd, charged_microusd, difference_microusd, at: rfc3339(at) }
    }
}

/// What the warm pool last did.
#[derive(Serialize, ToSchema)]
pub struct RunView {
    #[schema(example = "2026-11-29T12:30:00Z")]
    at: String,
    /// Machines that there should be.
    wanted: u32,
    /// When it last decided anything, or could not.
    decided_at: Option<String>,
    /// What, and why.
    decisions: Vec<DecisionView>,
}

/// One decision.
#[derive(Serialize, ToSchema)]
pub struct DecisionView {
    /// `rent`, `resume`, `drain`, `suspend`, `stop`, `destroy`, or `none` where something was left undone.
    #[schema(example = "rent")]
    what: String,
    instance_id: Option<String>,
    /// Its code, as docs/OPERATORS.md explains it.
    #[schema(example = "waiting")]
    reason: String,
    text: String,
}

/// An operator's claim on a machine.
#[derive(Debug, Serialize, ToSchema)]
pub struct LeaseView {
    #[schema(example = "lea_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    id: String,
    expires_at: String,
}

impl LeaseView {
    pub fn of(lease: &Lease) -> Self {
        Self { id: lease.id.to_string(), expires_at: rfc3339(lease.until) }
    }
}

/// What machines have cost, and are covered for, in the current hour, day and month (UTC): in millionths of a dollar. No budget is passed by it.
#[derive(Serialize, ToSchema)]
pub struct Spend {
    #[schema(example = 120_000)]
    hour_microusd: i64,
    day_microusd: i64,
    month_microusd: i64,
}

/// One machine.
#[derive(Serialize, ToSchema)]
pub struct InstanceView {
    #[schema(example = "ins_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    id: String,
    /// `own` where it is the operator's own, registered by hand.
    #[schema(example = "local")]
    provider: String,
    /// Null while the provider has not answered, and where there is none.
    provider_id: Option<String>,
    /// The computer that it is or runs on, as its provider or the operator names it; its own id where nothing tells.
    #[schema(example = "vast-84213")]
    host: String,
    gpu: Option<String>,
    stage: Stage,
    /// While it is loading: `models` (it fetches them), `engines` (it loads them), `self-test`.
    #[schema(example = "models")]
    boot_stage: Option<String>,
    /// GPU and disk, or its disk alone while it is kept stopped; 0 where the machine is the operator's own.
    #[schema(example = 350_000)]
    microusd_per_hour: i64,
    /// It may be taken away for somebody who pays more.
    interruptible: bool,
    /// Seconds since its last word; null before the first.
    heartbeat_age_s: Option<u64>,
    job_id: Option<String>,
    lease: Option<LeaseView>,
    /// When it was asked for; of one that is kept stopped since when, and of one that was, when it was asked for again.
    requested_at: String,
    /// When it was ready for work since then.
    ready_at: Option<String>,
    /// By when it must have booted, while it has not.
    boot_by: Option<String>,
}

/// What to change; what is left out stays. A budget, or the dearest price, that is null is taken away.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PoolChange {
    /// Machines kept whatever the demand; at most `max`.
    #[schema(minimum = 0, maximum = 100)]
    desired_size: Option<u32>,
    #[schema(minimum = 0, maximum = 100)]
    min: Option<u32>,
    #[schema(minimum = 0, maximum = 100)]
    max: Option<u32>,
    /// A machine without work for this long is given back.
    #[schema(minimum = 1, maximum = 86_400)]
    idle_shutdown_s: Option<u64>,
    /// True gives every machine back now and rents none until it is false again.
    safe_mode: Option<bool>,
    /// `idle`: a machine without work is kept for `idle_shutdown_s`; `learned`: only as long as the jobs that are expected need it.
    policy: Option<Keep>,
    /// The most that a clock hour (UTC) may cost, in millionths of a dollar.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 1_000_000_000_000_i64)]
    budget_hour_microusd: Option<Option<i64>>,
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 1_000_000_000_000_i64)]
    budget_day_microusd: Option<Option<i64>>,
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 1_000_000_000_000_i64)]
    budget_month_microusd: Option<Option<i64>>,
    /// Within how many seconds a job is to start where a machine is there.
    #[schema(minimum = 1, maximum = 86_400)]
    start_within_s: Option<u64>,
    /// The dearest machine that may be rented, with what it downloads once.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 1_000_000_000_000_i64)]
    max_microusd_per_hour: Option<Option<i64>>,
    /// GPUs that may be rented, by the provider's names; empty: any.
    #[schema(max_items = 32)]
    gpus: Option<Vec<String>>,
    /// Whether machines are rented that may be taken away for somebody who pays more.
    interruptible: Option<bool>,
    /// Whether machines without work are kept stopped where their provider bills little for them; false gives those back that are.
    keep_stopped: Option<bool>,
}

/// Tells null (`Some(None)`) from left out (`None`).
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Option<i64>>, D::Error> {
    Option::<i64>::deserialize(deserializer).map(Some)
}

/// The pool's policy, what it costs, and its machines.
#[utoipa::path(get, path = "/api/v1/admin/pool", tag = "ops", responses((status = 200, body = PoolView)), security(("admin" = [])))]
pub async fn show(State(app): State<App>, _: Admin) -> Result<Json<PoolView>> {
    let now = app.now();
    let (fleet, spent) = tokio::try_join!(app.table().fleet(POOL), spent(&app, now))?;
    let policy = fleet.state.as_ref().map_or_else(|| app.settings().policy(), |state| state.policy.clone());
    Ok(Json(view(&fleet, policy, spent, now)))
}

/// Changes the pool's policy; the warm pool follows it at its next look.
#[utoipa::path(patch, path = "/api/v1/admin/pool", tag = "ops", request_body = PoolChange, responses((status = 200, body = PoolView)), security(("admin" = [])))]
pub async fn change(State(app): State<App>, operator: Acts<action::PoolChange>, body: Body<PoolChange>) -> Result<Json<PoolView>> {
    // Of two changes at once the later is made to what the earlier left.
    for _ in 0..TRIES {
        let now = app.now();
        let (fleet, spent) = tokio::try_join!(app.table().fleet(POOL), spent(&app, now))?;
        let state = fleet.state.as_ref();
        let policy = body.value.applied_to(state.map_or_else(|| app.settings().policy(), |state| state.policy.clone()));
        policy.validate()?;
        let audit = operator.line(&app, now).await?;
        if app.table().set_policy(POOL, state, &policy, state.and_then(|state| state.prewarm), &audit).await? {
            tracing::info!(?policy, "the pool's policy was set");
            return Ok(Json(view(&fleet, policy, spent, now)));
        }
    }
    Err(kiln_store::Error::Busy.into())
}

/// What is committed in the windows of now, and what the last days were charged.
type Spent = (BTreeMap<Window, i64>, Vec<Charged>);

async fn spent(app: &App, now: Millis) -> std::result::Result<Spent, kiln_store::Error> {
    tokio::try_join!(app.table().committed(now), app.table().charges(MOST_CHARGES))
}

fn view(fleet: &Fleet, policy: Policy, (committed, charges): Spent, now: Millis) -> PoolView {
    let [hour_microusd, day_microusd, month_microusd] = windows(now).map(|window| committed.get(&window).copied().unwrap_or(0));
    let instances = fleet.instances.iter().filter(|instance| instance.pool == POOL).map(|instance| InstanceView {
        id: instance.instance_id.to_string(),
        provider: instance.provider.clone(),
        provider_id: instance.provider_id.clone(),
        host: instance.host.clone(),
        gpu: instance.gpu.clone(),
        stage: stage(instance),
        boot_stage: instance.boot_stage.clone(),
        microusd_per_hour: instance.rate.microusd_per_hour,
        interruptible: instance.interruptible,
        heartbeat_age_s: heartbeat_age_s(instance, now),
        job_id: instance.slot_job.as_ref().map(ToString::to_string),
        lease: instance.lease.as_ref().filter(|lease| lease.until > now).map(LeaseView::of),
        requested_at: rfc3339(instance.requested_at),
        ready_at: instance.ready_at.map(rfc3339),
        boot_by: (instance.ready_at.is_none() && instance.stage != Stage::Stopped).then(|| rfc3339(instance.boot_expires_at)),
    });
    let prewarm = fleet.state.as_ref().and_then(|state| state.prewarm).filter(|prewarm| prewarm.until > now);
    PoolView {
        policy,
        spend: Spend { hour_microusd, day_microusd, month_microusd },
        prewarm: prewarm.map(|prewarm| PrewarmView { machines: prewarm.machines, until: rfc3339(prewarm.until) }),
        last_run: run(&fleet.run),
        avoided: avoided(&fleet.run, now),
        charges: charges.into_iter().map(ChargeView::from).collect(),
        instances: instances.collect(),
    }
}

fn avoided(run: &RunState, now: Millis) -> Vec<AvoidedView> {
    let reason = |host: &String| run.avoid_why.get(host).cloned().unwrap_or_else(|| "silent".into());
    let avoided = run.avoid.iter().filter(|(_, until)| **until > now);
    avoided.map(|(host, until)| AvoidedView { host: host.clone(), until: rfc3339(*until), reason: reason(host) }).collect()
}

fn run(run: &RunState) -> Option<RunView> {
    let decision = |told: &Told| DecisionView {
        what: told.what.clone(),
        instance_id: told.instance_id.as_ref().map(ToString::to_string),
        reason: told.reason.clone(),
        text: told.text.clone(),
    };
    Some(RunView { at: rfc3339(run.ran_at?), wanted: run.wanted, decided_at: run.told_at.map(rfc3339), decisions: run.told.iter().map(decision).collect() })
}

impl PoolChange {
    fn applied_to(&self, policy: Policy) -> Policy {
        Policy {
            desired_size: self.desired_size.unwrap_or(policy.desired_size),
            min: self.min.unwrap_or(policy.min),
            max: self.max.unwrap_or(policy.max),
            idle_shutdown_s: self.idle_shutdown_s.unwrap_or(policy.idle_shutdown_s),
            safe_mode: self.safe_mode.unwrap_or(policy.safe_mode),
            keep: self.policy.unwrap_or(policy.keep),
            budget_hour_microusd: self.budget_hour_microusd.unwrap_or(policy.budget_hour_microusd),
            budget_day_microusd: self.budget_day_microusd.unwrap_or(policy.budget_day_microusd),
            budget_month_microusd: self.budget_month_microusd.unwrap_or(policy.budget_month_microusd),
            start_within_s: self.start_within_s.unwrap_or(policy.start_within_s),
            max_microusd_per_hour: self.max_microusd_per_hour.unwrap_or(policy.max_microusd_per_hour),
            gpus: self.gpus.clone().unwrap_or(policy.gpus),
            interruptible: self.interruptible.unwrap_or(policy.interruptible),
            keep_stopped: self.keep_stopped.unwrap_or(policy.keep_stopped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_change_leaves_out_stays_and_a_null_takes_a_budget_away() {
        let change = |text: &str| serde_json::from_str::<PoolChange>(text);
        let was = Policy { max: 2, budget_day_microusd: Some(5), ..Policy::default() };
        assert_eq!(change(r#"{"max": 3}"#).unwrap().applied_to(was.clone()), Policy { max: 3, ..was.clone() });
        assert_eq!(change(r#"{"budget_day_microusd": null}"#).unwrap().applied_to(was.clone()), Policy { budget_day_microusd: None, ..was.clone() });
        assert_eq!(
            change(r#"{"policy": "learned", "safe_mode": true}"#).unwrap().applied_to(was.clone()),
            Policy { keep: Keep::Learned, safe_mode: true, ..was }
        );
        assert!(change(r#"{"maxx": 3}"#).is_err() && change(r#"{"interruptible": 1}"#).is_err());
        assert!(!change(r#"{"interruptible": false}"#).unwrap().applied_to(Policy::default()).interruptible);
        assert!(!change(r#"{"keep_stopped": false}"#).unwrap().applied_to(Policy::default()).keep_stopped);
    }
}
