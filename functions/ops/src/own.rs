//! Machines of the operator's own: registered here by hand, one boot token each. docker-compose.gpu.yml is what runs on one.
//!
//! Promises: a token is told once and kept as its hash; it works once, for an hour; what is given is checked before anything is written.

use crate::workers::POOL;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kiln_core::FieldError;
use kiln_core::ids::InstanceId;
use kiln_core::time::{Millis, rfc3339, seconds};
use kiln_http::{Acts, App, Body, Problem, Result, action, new_secret};
use kiln_store::{Instance, OWN};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// So many at most; two that come at once may pass it by one.
const MOST: usize = 16;
/// Whoever sets one up has so long.
const BOOT_WITHIN: Millis = seconds(3_600);
const HOST_BYTES: usize = 63;
const GPU_BYTES: usize = 64;

/// A machine of the operator's own.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MachineRequest {
    /// The name of the computer. Two machines on one computer are to name the same.
    #[schema(min_length = 1, max_length = 63, pattern = "^[A-Za-z0-9._-]+$", example = "workbench")]
    host: String,
    /// Its GPU, as its maker calls it; what its driver says, unless told.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9][A-Za-z0-9 ._-]*$", example = "RTX 4090")]
    gpu: Option<String>,
}

/// What its worker begins with.
#[derive(Serialize, ToSchema)]
pub struct MachineView {
    #[schema(example = "ins_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    instance_id: String,
    /// Its `KILN_BOOT_TOKEN`: works once, and is shown here alone.
    #[schema(example = "kib_ins_01JD6Z3M8Q4V5X7Y9A2B3C4D5E.EXAMPLE-not-a-secret-EXAMPLE-not-a-secret-0")]
    boot_token: String,
    /// Until then.
    expires_at: String,
}

/// Registers a machine of one's own. It costs nothing, counts as there while its worker speaks, and is never given back for want of work.
#[utoipa::path(post, path = "/api/v1/admin/pool/machines", tag = "ops", request_body = MachineRequest, responses((status = 201, body = MachineView), (status = 409, description = "Safe mode is on, there are 16 already, or the pool has not looked yet.")), security(("admin" = [])))]
pub async fn add(State(app): State<App>, operator: Acts<action::PoolMachine>, body: Body<MachineRequest>) -> Result<(StatusCode, Json<MachineView>)> {
    let MachineRequest { host, gpu } = body.value;
    check(&host, gpu.as_deref())?;
    let now = app.now();
    let fleet = app.table().fleet(POOL).await?;
    let safe_mode = fleet.state.as_ref().map_or_else(|| app.settings().policy().safe_mode, |state| state.policy.safe_mode);
    if safe_mode {
        return Err(Problem::conflict("safe_mode", "Safe mode is on: it would be ended at once."));
    }
    if fleet.instances.iter().filter(|instance| instance.is_own()).count() >= MOST {
        return Err(Problem::conflict("too_many_machines", format!("There are {MOST} machines of your own: send one away first.")));
    }
    // The labels of a fleet's machines have the tag of its first run; a row without it would be dropped as another's.
    if fleet.run.tag.is_empty() {
        return Err(Problem::conflict("pool_not_begun", "The warm pool has never looked at its machines; it does within a minute of its deployment."));
    }
    let id = InstanceId::new(now, app.random());
    let boot = new_secret(&format!("kib_{id}."));
    let (label, expires_at) = (format!("{}{POOL}/{id}", fleet.run.ours(app.deployment())), now + BOOT_WITHIN);
    // Apart from the hosts of any provider, whatever the operator calls it.
    let host = format!("{OWN}-{host}");
    let instance = Instance { host, gpu, trusted: true, ..Instance::intent(id.clone(), POOL, OWN, label, boot.hash, expires_at, now) };
    if !app.table().add_own(&instance, &operator.line(&app, now).await?).await? {
        return Err(kiln_store::Error::Busy.into());
    }
    tracing::info!(instance_id = %id, host = instance.host, "a machine of the operator's own was registered");
    Ok((StatusCode::CREATED, Json(MachineView { instance_id: id.to_string(), boot_token: boot.token, expires_at: rfc3339(expires_at) })))
}

fn check(host: &str, gpu: Option<&str>) -> std::result::Result<(), FieldError> {
    let plain = |text: &str, also: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || also.as_bytes().contains(&byte));
    if host.is_empty() || host.len() > HOST_BYTES || !plain(host, "._-") {
        return Err(FieldError::new("host", format!("1 to {HOST_BYTES} letters, digits, ., _ or -")));
    }
    let begins = |gpu: &str| gpu.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    if gpu.is_some_and(|gpu| gpu.len() > GPU_BYTES || !begins(gpu) || !plain(gpu, " ._-")) {
        return Err(FieldError::new("gpu", format!("1 to {GPU_BYTES} letters, digits, spaces, ., _ or -, the first a letter or a digit")));
    }
    Ok(())
}
