//! The pool's policy, for operators: how many machines there are to be, and which there are.

use crate::workers::{POOL, heartbeat_age_s, stage};
use axum::Json;
use axum::extract::State;
use kiln_core::fleet::Stage;
use kiln_core::pool::Policy;
use kiln_core::time::Millis;
use kiln_http::flow::TRIES;
use kiln_http::{Admin, App, Body, Result};
use kiln_store::Instance;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The pool: its policy and its machines.
#[derive(Serialize, ToSchema)]
pub struct PoolView {
    desired_size: u32,
    min: u32,
    max: u32,
    idle_shutdown_s: u64,
    instances: Vec<InstanceView>,
}

/// One machine.
#[derive(Serialize, ToSchema)]
pub struct InstanceView {
    #[schema(example = "ins_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    id: String,
    #[schema(example = "local")]
    provider: String,
    /// Null while the provider has not answered.
    provider_id: Option<String>,
    gpu: Option<String>,
    stage: Stage,
    /// Seconds since its last word; null before the first.
    heartbeat_age_s: Option<u64>,
    job_id: Option<String>,
}

/// What to change; what is left out, or null, stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
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
}

/// The pool's policy and machines.
#[utoipa::path(get, path = "/api/v1/admin/pool", tag = "ops", responses((status = 200, body = PoolView)), security(("admin" = [])))]
pub async fn show(State(app): State<App>, _: Admin) -> Result<Json<PoolView>> {
    let (instances, stored) = read(&app).await?;
    Ok(Json(view(&instances, stored.unwrap_or_else(|| app.settings().policy()), app.now())))
}

/// Changes the pool's policy; the warm pool follows it at its next look.
#[utoipa::path(patch, path = "/api/v1/admin/pool", tag = "ops", request_body = PoolChange, responses((status = 200, body = PoolView)), security(("admin" = [])))]
pub async fn change(State(app): State<App>, _: Admin, body: Body<PoolChange>) -> Result<Json<PoolView>> {
    // Of two changes at once the later is made to what the earlier left.
    for _ in 0..TRIES {
        let (instances, stored) = read(&app).await?;
        let policy = body.value.applied_to(stored.clone().unwrap_or_else(|| app.settings().policy()));
        policy.validate()?;
        if app.table().set_policy(POOL, stored.as_ref(), &policy).await? {
            tracing::info!(?policy, "the pool's policy was set");
            return Ok(Json(view(&instances, policy, app.now())));
        }
    }
    Err(kiln_store::Error::Busy.into())
}

/// The machines, and the policy if an operator has set one.
async fn read(app: &App) -> Result<(Vec<Instance>, Option<Policy>)> {
    let fleet = app.table().fleet(POOL).await?;
    Ok((fleet.instances, fleet.state.map(|state| state.policy)))
}

fn view(instances: &[Instance], policy: Policy, now: Millis) -> PoolView {
    let instances = instances.iter().filter(|instance| instance.pool == POOL).map(|instance| InstanceView {
        id: instance.instance_id.to_string(),
        provider: instance.provider.clone(),
        provider_id: instance.provider_id.clone(),
        gpu: instance.gpu.clone(),
        stage: stage(instance),
        heartbeat_age_s: heartbeat_age_s(instance, now),
        job_id: instance.slot_job.as_ref().map(ToString::to_string),
    });
    PoolView { desired_size: policy.desired_size, min: policy.min, max: policy.max, idle_shutdown_s: policy.idle_shutdown_s, instances: instances.collect() }
}

impl PoolChange {
    fn applied_to(&self, policy: Policy) -> Policy {
        Policy {
            desired_size: self.desired_size.unwrap_or(policy.desired_size),
            min: self.min.unwrap_or(policy.min),
            max: self.max.unwrap_or(policy.max),
            idle_shutdown_s: self.idle_shutdown_s.unwrap_or(policy.idle_shutdown_s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_change_leaves_out_stays() {
        let change: PoolChange = serde_json::from_str(r#"{"max": 3}"#).unwrap();
        assert_eq!(change.applied_to(Policy::default()), Policy { max: 3, ..Policy::default() });
        assert!(serde_json::from_str::<PoolChange>(r#"{"maxx": 3}"#).is_err());
    }
}
