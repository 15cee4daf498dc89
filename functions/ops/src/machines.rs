//! The operator's hand on single machines: have some ready ahead of the jobs, claim one for a while, have one go; and what those that are
//! gone have cost.
//!
//! Promises: each word is a line of the audit log, in the transaction of what it changes; a claim ends by itself; nothing here rents or
//! destroys: the warm pool is woken, and does it within its budgets.

use crate::pool::LeaseView;
use crate::workers::{ORDERED, POOL};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kiln_core::FieldError;
use kiln_core::ids::{InstanceId, LeaseId};
use kiln_core::time::{Millis, rfc3339, seconds};
use kiln_http::flow::{self, TRIES};
use kiln_http::{Acts, Admin, App, Body, Id, Page, Paging, Problem, Result, action};
use kiln_store::{Gone, Lease, NoClaim, Prewarm};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The longest claim on a machine, in minutes.
const MOST_LEASE_MIN: u32 = 30;
/// The longest that machines are kept ahead of the jobs.
const MOST_PREWARM_MIN: u32 = 240;

/// Machines that are wanted ahead of the jobs.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PrewarmRequest {
    /// As many are there, or on their way, until the time is over; 0 ends it. At most `max`.
    #[schema(minimum = 0, maximum = 100)]
    machines: u32,
    /// For how long; 30 unless told.
    #[serde(default = "half_an_hour")]
    #[schema(minimum = 1, maximum = 240)]
    minutes: u32,
}

fn half_an_hour() -> u32 {
    30
}

/// What is kept ahead of the jobs now.
#[derive(Debug, Serialize, ToSchema)]
pub struct PrewarmView {
    pub machines: u32,
    #[schema(example = "2026-11-29T12:30:00Z")]
    pub until: String,
}

/// Which machine goes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TerminateRequest {
    #[schema(value_type = String, example = "ins_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    instance_id: InstanceId,
    /// True takes it away from the job that it works on, which begins anew elsewhere; else it finishes first.
    #[serde(default)]
    at_once: bool,
}

/// What happens to it.
#[derive(Debug, Serialize, ToSchema)]
pub struct TerminateView {
    instance_id: String,
    /// `draining`, or `lost` where it goes at once.
    #[schema(example = "draining")]
    stage: String,
}

/// A claim on a machine.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaseRequest {
    #[schema(value_type = String, example = "ins_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    instance_id: InstanceId,
    #[schema(minimum = 1, maximum = 30)]
    minutes: u32,
}

/// A machine that is gone, or one stretch of a machine that was kept stopped meanwhile.
#[derive(Debug, Serialize, ToSchema)]
pub struct GoneView {
    instance_id: String,
    provider: String,
    provider_id: Option<String>,
    gpu: Option<String>,
    host: String,
    rented_at: String,
    /// Null where it never was.
    ready_at: Option<String>,
    /// When it was asked to finish and go; null where it just went.
    drained_at: Option<String>,
    ended_at: String,
    /// From rented to ended.
    gpu_seconds: u64,
    /// Of them, spent on jobs that succeeded.
    worked_seconds: u64,
    jobs: u64,
    microusd_per_hour: i64,
    cost_microusd: i64,
    /// It was kept stopped for this time, for what its disk costs; the GPU's seconds are 0 then.
    stopped: bool,
    /// The machine stayed: at `ended_at` it was stopped and kept, or started again, and another record tells of that.
    stays: bool,
}

fn refused(why: NoClaim) -> Problem {
    match why {
        NoClaim::Gone => Problem::not_found(),
        NoClaim::Claimed => Problem::conflict("instance_leased", "Somebody has claimed it: release the claim, or wait for its end."),
        NoClaim::Leaving => Problem::conflict("instance_leaving", "It is on its way out."),
        NoClaim::Stopped => Problem::conflict("instance_stopped", "It is kept stopped: prewarm has it started, or another one rented."),
    }
}

fn minutes(given: u32, most: u32) -> std::result::Result<Millis, FieldError> {
    if (1..=most).contains(&given) { Ok(seconds(u64::from(given) * 60)) } else { Err(FieldError::new("minutes", format!("from 1 to {most}"))) }
}

/// Has machines ready ahead of the jobs, for a while.
#[utoipa::path(post, path = "/api/v1/admin/pool/prewarm", tag = "ops", request_body = PrewarmRequest, responses((status = 200, body = PrewarmView), (status = 409, description = "Safe mode is on.")), security(("admin" = [])))]
pub async fn prewarm(State(app): State<App>, operator: Acts<action::PoolPrewarm>, body: Body<PrewarmRequest>) -> Result<Json<PrewarmView>> {
    let PrewarmRequest { machines, minutes: given } = body.value;
    let span = minutes(given, MOST_PREWARM_MIN)?;
    for _ in 0..TRIES {
        let now = app.now();
        let state = app.table().fleet(POOL).await?.state;
        let policy = state.as_ref().map_or_else(|| app.settings().policy(), |state| state.policy.clone());
        if machines > policy.max {
            return Err(FieldError::new("machines", format!("at most max, which is {}", policy.max)).into());
        }
        if policy.safe_mode && machines > 0 {
            return Err(Problem::conflict("safe_mode", "Safe mode is on: nothing is rented until it is switched off."));
        }
        let prewarm = Prewarm { machines, until: now + span };
        let line = operator.line(&app, now).await?;
        if app.table().set_policy(POOL, state.as_ref(), &policy, Some(prewarm).filter(|prewarm| prewarm.machines > 0), &line).await? {
            tracing::info!(machines, minutes = given, "machines are wanted ahead of the jobs");
            flow::look_now(&app, ORDERED).await;
            return Ok(Json(PrewarmView { machines, until: rfc3339(prewarm.until) }));
        }
    }
    Err(kiln_store::Error::Busy.into())
}

/// Has one machine go: when it has finished what it does, or at once.
#[utoipa::path(post, path = "/api/v1/admin/pool/terminate", tag = "ops", request_body = TerminateRequest, responses((status = 202, body = TerminateView), (status = 404), (status = 409, description = "It is claimed.")), security(("admin" = [])))]
pub async fn terminate(
    State(app): State<App>,
    operator: Acts<action::PoolTerminate>,
    body: Body<TerminateRequest>,
) -> Result<(StatusCode, Json<TerminateView>)> {
    let TerminateRequest { instance_id, at_once } = &body.value;
    let now = app.now();
    let line = operator.line(&app, now).await?;
    app.table().send_away(instance_id, *at_once, now, &line).await?.map_err(refused)?;
    tracing::info!(%instance_id, at_once, "a machine is to go, by an operator's word");
    flow::look_now(&app, ORDERED).await;
    let stage = if *at_once { "lost" } else { "draining" };
    Ok((StatusCode::ACCEPTED, Json(TerminateView { instance_id: instance_id.to_string(), stage: stage.into() })))
}

/// Claims a machine for up to 30 minutes: it is not given back for want of work until then.
#[utoipa::path(post, path = "/api/v1/admin/pool/leases", tag = "ops", request_body = LeaseRequest, responses((status = 201, body = LeaseView), (status = 404), (status = 409, description = "It is claimed already, kept stopped, or on its way out.")), security(("admin" = [])))]
pub async fn lease(State(app): State<App>, operator: Acts<action::PoolLease>, body: Body<LeaseRequest>) -> Result<(StatusCode, Json<LeaseView>)> {
    let LeaseRequest { instance_id, minutes: given } = &body.value;
    let span = minutes(*given, MOST_LEASE_MIN)?;
    let now = app.now();
    let lease = Lease { id: LeaseId::new(now, app.random()), until: now + span };
    let line = operator.line(&app, now).await?;
    app.table().lease(instance_id, &lease, now, &line).await?.map_err(refused)?;
    tracing::info!(%instance_id, lease_id = %lease.id, "a machine was claimed");
    Ok((StatusCode::CREATED, Json(LeaseView::of(&lease))))
}

/// Releases a claim.
#[utoipa::path(delete, path = "/api/v1/admin/pool/leases/{id}", tag = "ops", params(("id" = String, Path)), responses((status = 204), (status = 404)), security(("admin" = [])))]
pub async fn release(State(app): State<App>, operator: Acts<action::PoolRelease>, Id(id): Id<LeaseId>) -> Result<StatusCode> {
    let now = app.now();
    let instances = app.table().fleet(POOL).await?.instances;
    let of = |lease: &Lease| lease.id == id && lease.until > now;
    let found = instances.iter().find_map(|instance| Some((instance, instance.lease.as_ref().filter(|lease| of(lease))?)));
    let (instance, lease) = found.ok_or_else(Problem::not_found)?;
    let line = operator.line(&app, now).await?;
    if !app.table().release(&instance.instance_id, lease, &line).await? {
        return Err(Problem::not_found());
    }
    tracing::info!(instance_id = %instance.instance_id, lease_id = %id, "a claim was released");
    flow::look_now(&app, ORDERED).await;
    Ok(StatusCode::NO_CONTENT)
}

/// The rented machines that are gone, the last first: how long each was there, what it did, what it cost. One that was kept stopped has a record for
/// each stretch. Kept for thirteen months.
#[utoipa::path(get, path = "/api/v1/admin/pool/history", tag = "ops", params(kiln_http::paging::PagingQuery), responses((status = 200, body = Page<GoneView>)), security(("admin" = [])))]
pub async fn history(State(app): State<App>, _: Admin, paging: Paging) -> Result<Json<Page<GoneView>>> {
    let after = paging.after(kiln_store::keys::GONE)?;
    let (gone, next) = app.table().gone(paging.limit, after.as_deref()).await?;
    Ok(Json(Page::new(gone.into_iter().map(GoneView::from).collect(), next)))
}

impl From<Gone> for GoneView {
    fn from(gone: Gone) -> Self {
        let s = |ms: i64| u64::try_from(ms / 1000).unwrap_or(0);
        Self {
            instance_id: gone.instance_id.to_string(),
            provider: gone.provider,
            provider_id: gone.provider_id,
            gpu: gone.gpu,
            host: gone.host,
            rented_at: rfc3339(gone.rented_at),
            ready_at: gone.ready_at.map(rfc3339),
            drained_at: gone.drained_at.map(rfc3339),
            ended_at: rfc3339(gone.ended_at),
            gpu_seconds: if gone.stopped { 0 } else { s(gone.ended_at - gone.rented_at) },
            worked_seconds: gone.worked_ms / 1000,
            jobs: gone.jobs,
            microusd_per_hour: gone.microusd_per_hour,
            cost_microusd: gone.cost_microusd,
            stopped: gone.stopped,
            stays: gone.stays,
        }
    }
}
