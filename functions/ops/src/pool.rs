//! The pool, for operators: its policy and budgets, what it costs, and its machines.

use crate::machines::PrewarmView;
use crate::workers::{ORDERED, POOL, heartbeat_age_s, stage};
use axum::Json;
use axum::extract::State;
use kiln_core::FieldError;
use kiln_core::fleet::Stage;
use kiln_core::pool::budget::{Window, shares, windows};
use kiln_core::pool::{Keep, Policy, gpus};
use kiln_core::time::{Millis, rfc3339};
use kiln_http::flow::{self, TRIES};
use kiln_http::{Acts, Admin, App, Body, Result, action};
use kiln_store::{Charged, Fleet, Instance, Lease, RunState, Told};
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
#[derive(Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Spend {
    #[schema(example = 120_000)]
    hour_microusd: i64,
    day_microusd: i64,
    month_microusd: i64,
    /// Of that, what was spent by now: what is only reserved for the time to come is not in it.
    #[schema(example = 40_000)]
    spent_hour_microusd: i64,
    spent_day_microusd: i64,
    spent_month_microusd: i64,
    /// What the machines there cost as they stand: those that are kept stopped their disk.
    #[schema(example = 350_000)]
    now_microusd_per_hour: i64,
    /// Jobs, ever, whose machine was ended under them since no budget covered it any further. Each is done again, and loses no try.
    killed_for_cover: u64,
}

impl Spend {
    fn of(instances: &[&Instance], committed: &BTreeMap<Window, i64>, killed_for_cover: u64, now: Millis) -> Self {
        // What is covered further while this is read may be in the one and not in the other.
        let ahead = instances.iter().map(|instance| shares(instance.rate, instance.requested_at, now.max(instance.requested_at), instance.covered_to));
        let mut reserved: BTreeMap<Window, i64> = BTreeMap::new();
        for (window, share) in ahead.flatten() {
            *reserved.entry(window).or_insert(0) += share;
        }
        let of = |sums: &BTreeMap<Window, i64>| windows(now).map(|window| sums.get(&window).copied().unwrap_or(0));
        let ([hour_microusd, day_microusd, month_microusd], [hour, day, month]) = (of(committed), of(&reserved));
        Self {
            hour_microusd,
            day_microusd,
            month_microusd,
            killed_for_cover,
            spent_hour_microusd: (hour_microusd - hour).max(0),
            spent_day_microusd: (day_microusd - day).max(0),
            spent_month_microusd: (month_microusd - month).max(0),
            now_microusd_per_hour: instances.iter().map(|instance| instance.rate.microusd_per_hour).sum(),
        }
    }
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
    /// While it is requested: `provisioning`, `pulling` (of its image), `starting`, as far as its provider tells. While it is loading: `models` (it fetches
    /// them), `engines` (it loads them), `self-test`.
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
    /// The most that a clock hour (UTC) may cost, in millionths of a dollar. No budget is set below what is committed of its window already, but with
    /// safe mode.
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
    /// GPUs that may be rented, by the provider's names, such as `RTX 4090`; empty: any. A name that no known GPU has is refused.
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

/// Changes the pool's policy; the warm pool looks at once and follows it.
#[utoipa::path(patch, path = "/api/v1/admin/pool", tag = "ops", request_body = PoolChange, responses((status = 200, body = PoolView)), security(("admin" = [])))]
pub async fn change(State(app): State<App>, operator: Acts<action::PoolChange>, body: Body<PoolChange>) -> Result<Json<PoolView>> {
    // Of two changes at once the later is made to what the earlier left.
    for _ in 0..TRIES {
        let now = app.now();
        let (fleet, spent) = tokio::try_join!(app.table().fleet(POOL), spent(&app, now))?;
        let state = fleet.state.as_ref();
        let was = state.map_or_else(|| app.settings().policy(), |state| state.policy.clone());
        let policy = body.value.applied_to(was.clone());
        policy.validate()?;
        body.value.check_gpus(&fleet)?;
        if !policy.safe_mode {
            body.value.check_budgets(&was, &spent.0)?;
        }
        let audit = operator.line(&app, now).await?;
        if app.table().set_policy(POOL, state, &policy, state.and_then(|state| state.prewarm), &audit).await? {
            tracing::info!(?policy, "the pool's policy was set");
            flow::look_now(&app, ORDERED).await;
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
    let ours: Vec<&Instance> = fleet.instances.iter().filter(|instance| instance.pool == POOL).collect();
    let instances = ours.iter().map(|instance| InstanceView {
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
        spend: Spend::of(&ours, &committed, fleet.run.killed_for_cover, now),
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
    /// Each GPU that it names is one that is known, or that the fleet has met.
    fn check_gpus(&self, fleet: &Fleet) -> std::result::Result<(), FieldError> {
        let rented = fleet.instances.iter().filter_map(|instance| instance.gpu.as_deref());
        let met: Vec<&str> = rented.chain(fleet.run.jobs_per_hour.keys().map(String::as_str)).collect();
        match gpus::refused(self.gpus.as_deref().unwrap_or_default(), &met) {
            Some(refusal) => Err(refusal),
            None => Ok(()),
        }
    }

    /// No budget is set below what is committed already of a window that it is for. What it was before is no change.
    fn check_budgets(&self, was: &Policy, committed: &BTreeMap<Window, i64>) -> std::result::Result<(), FieldError> {
        for (span, given, was) in [
            ("hour", self.budget_hour_microusd, was.budget_hour_microusd),
            ("day", self.budget_day_microusd, was.budget_day_microusd),
            ("month", self.budget_month_microusd, was.budget_month_microusd),
        ] {
            let least = committed.iter().filter(|(window, _)| window.name() == span).map(|(_, sum)| *sum).max().unwrap_or(0);
            if given.flatten().is_some_and(|budget| budget < least && Some(budget) != was) {
                let message = format!("at least what is committed now, {least} millionths of a dollar; safe mode ends all machines at once");
                return Err(FieldError::new(format!("budget_{span}_microusd"), message));
            }
        }
        Ok(())
    }

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

    #[test]
    fn a_budget_is_not_set_below_what_is_committed_and_may_stay_there_go_up_or_be_taken_away() {
        let committed: BTreeMap<Window, i64> = [("hour#2026-11-29T06", 50), ("hour#2026-11-29T07", 70), ("day#2026-11-29", 120), ("month#2026-11", 500)]
            .map(|(name, sum)| (Window(name.into()), sum))
            .into();
        // Too small by what a machine cost that would not die.
        let was = Policy { budget_month_microusd: Some(400), ..Policy::default() };
        let refused = |text: &str| serde_json::from_str::<PoolChange>(text).unwrap().check_budgets(&was, &committed).err().map(|error| error.field);
        for (change, field) in [
            (r#"{"budget_hour_microusd": 69}"#, "budget_hour_microusd"),
            (r#"{"budget_hour_microusd": 70, "budget_day_microusd": 119}"#, "budget_day_microusd"),
            (r#"{"budget_month_microusd": 399}"#, "budget_month_microusd"),
            (r#"{"budget_month_microusd": 0, "max": 0}"#, "budget_month_microusd"),
        ] {
            assert_eq!(refused(change).as_deref(), Some(field), "{change}");
        }
        for change in [
            r#"{"budget_hour_microusd": 70, "budget_day_microusd": 120}"#,
            r#"{"budget_month_microusd": 400}"#,
            r#"{"budget_month_microusd": 500}"#,
            r#"{"budget_month_microusd": null}"#,
            r#"{"max": 0, "safe_mode": false}"#,
        ] {
            assert_eq!(refused(change), None, "{change}");
        }
    }

    #[test]
    fn what_was_spent_is_what_is_committed_less_what_is_reserved_for_the_time_to_come() {
        // 2026-11-29T06:29:30Z.
        let now: Millis = 1_795_933_770_000;
        let machine = |n: u128, microusd_per_hour: i64, begun: Millis| -> Instance {
            let row = serde_json::json!({
                "v": 1, "instance_id": kiln_core::ids::InstanceId::new(begun, n), "pool": POOL, "provider": "vast", "label": "", "host": "vast-1",
                "trusted": false, "stage": "ready", "requested_at": begun, "idle_since": begun, "boot_expires_at": begun, "covered_to": now + 200_000,
                "rate": { "microusd_per_hour": microusd_per_hour, "microusd_once": 500 },
            });
            serde_json::from_value(row).unwrap()
        };
        let (works, stands) = (machine(1, 3_600_000, now - 100_000), machine(2, 36_000, now - 10_000));
        let mut committed = BTreeMap::new();
        for instance in [&works, &stands] {
            for (window, share) in shares(instance.rate, instance.requested_at, instance.requested_at, instance.covered_to) {
                *committed.entry(window).or_insert(0) += share;
            }
        }
        // A machine that is gone by now.
        *committed.entry(windows(now)[1].clone()).or_insert(0) += 7_000;
        let spent = (100_000 + 500) + (100 + 500);
        let expected = Spend {
            killed_for_cover: 2,
            hour_microusd: spent + 200_000 + 2_000,
            day_microusd: spent + 200_000 + 2_000 + 7_000,
            month_microusd: spent + 200_000 + 2_000,
            spent_hour_microusd: spent,
            spent_day_microusd: spent + 7_000,
            spent_month_microusd: spent,
            now_microusd_per_hour: 3_636_000,
        };
        assert_eq!(Spend::of(&[&works, &stands], &committed, 2, now), expected);
        assert_eq!(Spend::of(&[], &BTreeMap::new(), 0, now), Spend::default());
    }

    #[test]
    fn a_day_is_shown_as_it_was_recorded_and_charged_with_the_difference() {
        let day = Charged {
            provider: "vast".into(),
            day: "2026-11-28".into(),
            recorded_microusd: 5_000,
            charged_microusd: 4_200,
            counted_microusd: 0,
            at: 0,
            ttl: 0,
        };
        let shown = view(&Fleet::default(), Policy::default(), (BTreeMap::new(), vec![day]), 0);
        let shown = serde_json::to_value(&shown.charges[0]).unwrap();
        assert_eq!((&shown["day"], &shown["difference_microusd"]), (&serde_json::json!("2026-11-28"), &serde_json::json!(-800)));
    }

    #[test]
    fn a_gpu_that_was_rented_or_measured_may_be_named_whatever_the_list_says() {
        let change: PoolChange = serde_json::from_str(r#"{"gpus": ["L4", "R200 SXM"]}"#).unwrap();
        assert_eq!(change.check_gpus(&Fleet::default()).unwrap_err().field, "gpus[1]");
        let mut met = Fleet::default();
        met.run.jobs_per_hour.insert("R200 SXM".into(), 100.0);
        change.check_gpus(&met).unwrap();
    }
}
