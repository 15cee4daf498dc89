//! The instance itself: it registers once with its boot token, borrows queue credentials, and says that it lives.

use crate::attempt::GET_FOR;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kiln_core::FieldError;
use kiln_core::fleet::{
    self, AttemptBeat, CredentialsResponse, HeartbeatRequest, HeartbeatResponse, ModelGet, Queue, RegisterRequest, RegisterResponse, Stage,
};
use kiln_core::ids::InstanceId;
use kiln_core::job::{Job, State as JobState};
use kiln_core::kinds::CAPABILITIES;
use kiln_core::machine::{self, Lost};
use kiln_core::models;
use kiln_http::caller::{MaybeWorker, equal};
use kiln_http::flow::{self, TRIES};
use kiln_http::{App, Body, Problem, Result, Secret, Worker, new_secret};
use kiln_store::{Commit, Instance, Said, model_key};

fn unknown() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unknown_worker", "This token is not valid: wrong, used, or too late.")
}

/// The token that the instance is to have: by the secret that its worker has chosen, or a new one.
fn token(instance: &InstanceId, request: &RegisterRequest) -> Secret {
    match &request.secret {
        Some(secret) => {
            let token = fleet::worker_token(instance, secret);
            Secret { hash: kiln_store::hash(&token), token }
        }
        None => new_secret(&fleet::worker_token(instance, "")),
    }
}

/// A worker process begins: with its machine's one-use boot token, or again with its own token.
#[utoipa::path(post, path = "/api/v1/fleet/register", tag = "fleet", request_body = RegisterRequest, responses((status = 200, body = RegisterResponse)), security((), ("worker" = [])))]
pub(crate) async fn register(State(app): State<App>, worker: MaybeWorker, body: Body<RegisterRequest>) -> Result<Json<RegisterResponse>> {
    let request = body.value;
    if request.capabilities.is_empty() || request.capabilities.len() > 16 {
        return Err(FieldError::new("capabilities", "1 to 16 of them").into());
    }
    if let Some(i) = request.capabilities.iter().position(|capability| !CAPABILITIES.contains(&capability.as_str())) {
        return Err(FieldError::new(format!("capabilities[{i}]"), format!("one of {}", CAPABILITIES.join(", "))).into());
    }
    if request.version.len() > 64 {
        return Err(FieldError::new("version", "64 bytes at most").into());
    }
    if request.gpu.as_ref().is_some_and(|gpu| gpu.len() > 128) {
        return Err(FieldError::new("gpu", "128 bytes at most").into());
    }
    if request.lacks.len() > 64 {
        return Err(FieldError::new("lacks", "64 at most").into());
    }
    if request.secret.as_ref().is_some_and(|secret| !fleet::is_secret(secret)) {
        return Err(FieldError::new("secret", "43 to 64 letters, digits, - or _").into());
    }
    // Before the token is used up: what goes wrong here leaves one that works.
    let models = models(&app, &request).await?;
    let said = Said { capabilities: &request.capabilities, version: &request.version, gpu: request.gpu.as_deref() };
    let now = app.now();
    let (id, secret, known) = match (&request.boot_token, worker.0) {
        (Some(boot), _) => {
            let id = fleet::boot_instance(boot).ok_or_else(unknown)?;
            let secret = token(&id, &request);
            let boot = kiln_store::hash(boot);
            let known = app.table().register(&id, &boot, &secret.hash, &said, now).await?;
            if !known && app.table().boot_again(&id, &boot).await? {
                tracing::warn!(instance_id = %id, "a boot token was used twice: its instance is ended");
            }
            (id, secret, known)
        }
        (None, Some(worker)) => {
            let id = worker.instance_id.clone();
            let secret = token(&id, &request);
            let found = app.table().instance(&id).await?;
            // It has happened, and its answer was lost: who knows the new token is the worker.
            if found.as_ref().is_some_and(|instance| instance.token_hash.as_deref().is_some_and(|hash| equal(hash, &secret.hash))) {
                return Ok(Json(RegisterResponse { instance_id: id, token: secret.token, heartbeat_s: app.settings().heartbeat_s, models }));
            }
            // The process that had an attempt is gone, so the attempt is over; before the token changes, so that an error here leaves a token that works.
            let before = worker.check(found)?;
            if let Some(slot) = before.slot() {
                flow::end_attempt(&app, &id, &slot, false).await?;
                // Had the attempt been taken over before, nothing was ended and the slot is still held.
                app.table().clear_slot(&id, &slot, app.now()).await?;
            }
            if let Some(left_at) = before.leaves_at.filter(|_| before.is_own() && before.left_by_itself()) {
                app.table().comes_back(&id, &worker.token_hash, left_at).await?;
            }
            let known = app.table().register_again(&id, &worker.token_hash, &secret.hash, &said, now).await?;
            (id, secret, known)
        }
        (None, None) => return Err(FieldError::new("boot_token", "is needed, unless the worker's own token is sent").into()),
    };
    if !known {
        return Err(unknown());
    }
    tracing::info!(instance_id = %id, gpu = request.gpu, "worker registered");
    Ok(Json(RegisterResponse { instance_id: id, token: secret.token, heartbeat_s: app.settings().heartbeat_s, models }))
}

/// Addresses of the models' files that the worker lacks, as far as its capabilities need them; of nothing else, whatever it names.
async fn models(app: &App, request: &RegisterRequest) -> Result<Vec<ModelGet>> {
    let mut gets: Vec<ModelGet> = Vec::new();
    for file in models::needed(&request.capabilities) {
        if request.lacks.contains(&file.sha256) && !gets.iter().any(|get| get.sha256 == file.sha256) {
            let url = app.files().presign_media_get(&model_key(&file.sha256), GET_FOR, None, "application/octet-stream").await?;
            gets.push(ModelGet { sha256: file.sha256, url });
        }
    }
    Ok(gets)
}

/// SQS rights on the worker's queues for an hour at most, and nothing else.
#[utoipa::path(post, path = "/api/v1/fleet/credentials", tag = "fleet", responses((status = 200, body = CredentialsResponse)), security(("worker" = [])))]
pub(crate) async fn credentials(State(app): State<App>, worker: Worker) -> Result<Json<CredentialsResponse>> {
    let instance = worker.check(app.table().instance(&worker.instance_id).await?)?;
    let queues: Vec<Queue> = app
        .queues()
        .all()
        .into_iter()
        .filter(|queue| instance.capabilities.contains(&queue.capability))
        .map(|queue| Queue { url: queue.url, capability: queue.capability, priority: queue.priority })
        .collect();
    let urls: Vec<String> = queues.iter().map(|queue| queue.url.clone()).collect();
    let lent = app.lender().lend(instance.instance_id.as_str(), &urls).await?;
    Ok(Json(CredentialsResponse {
        access_key_id: lent.access_key_id,
        secret_access_key: lent.secret_access_key,
        session_token: lent.session_token,
        expires_in_s: lent.expires_in_s,
        region: app.region(),
        endpoint: app.aws_endpoint().map(str::to_owned),
        queues,
    }))
}

/// The worker lives; its attempt's lease is renewed, and it learns of a cancel or a drain.
#[utoipa::path(post, path = "/api/v1/fleet/heartbeat", tag = "fleet", request_body = HeartbeatRequest, responses((status = 200, body = HeartbeatResponse)), security(("worker" = [])))]
pub(crate) async fn heartbeat(State(app): State<App>, worker: Worker, body: Body<HeartbeatRequest>) -> Result<Json<HeartbeatResponse>> {
    let request = body.value;
    if !matches!(request.stage, Stage::Loading | Stage::Ready | Stage::Busy | Stage::Draining) {
        return Err(FieldError::new("stage", "loading, ready, busy or draining").into());
    }
    if request.boot_stage.as_ref().is_some_and(|step| step.len() > 64) {
        return Err(FieldError::new("boot_stage", "64 bytes at most").into());
    }
    let instance = app.table().beat(&worker.instance_id, &worker.token_hash, request.stage, request.boot_stage.as_deref(), app.now()).await?;
    let instance = worker.check(instance)?;
    let (lease_s, cancel) = match &request.job {
        Some(beat) => renew(&app, &instance, beat).await?,
        None => (None, None),
    };
    if lease_s.is_none() {
        empty_stale_slot(&app, &instance).await?;
    }
    if request.stage == Stage::Ready && !instance.drain {
        flow::fell_idle(&app, &instance).await;
    }
    Ok(Json(HeartbeatResponse { lease_s, cancel, drain: instance.drain, rest: instance.rests }))
}

/// A worker without a job, or with one that it no longer has, whose instance still holds an attempt: over, or taken over by another (whose claim
/// doesn't touch this row). While it stood there the machine would count as busy, and never be given back. An attempt that is still its own may have
/// just been claimed.
async fn empty_stale_slot(app: &App, instance: &Instance) -> Result<()> {
    let Some(slot) = instance.slot() else { return Ok(()) };
    let job = app.table().job(&slot.account_id, &slot.job_id).await?;
    let own = |job: &Job| job.state == JobState::Running && job.attempt == slot.attempt && job.instance_id.as_ref() == Some(&instance.instance_id);
    if !job.as_ref().is_some_and(own) && app.table().clear_slot(&instance.instance_id, &slot, app.now()).await? {
        tracing::info!(instance_id = %instance.instance_id, job_id = %slot.job_id, "a slot of an attempt that is over was emptied");
    }
    Ok(())
}

async fn renew(app: &App, instance: &Instance, beat: &AttemptBeat) -> Result<(Option<u64>, Option<String>)> {
    if beat.stage.as_ref().is_some_and(|stage| stage.len() > 64) {
        return Err(FieldError::new("job.stage", "64 bytes at most").into());
    }
    let lost = |word: &str| Ok((None, Some(word.to_owned())));
    for _ in 0..TRIES {
        let now = app.now();
        let Some(job) = app.table().job(&beat.account_id, &beat.job_id).await? else { return lost("superseded") };
        match machine::heartbeat(&job, &instance.instance_id, beat.attempt, beat.progress, beat.stage.as_deref(), app.settings(), now) {
            Ok(change) => {
                if app.table().commit(&change, Commit::default(), now).await?.is_ok() {
                    return Ok((Some(app.settings().lease_s), None));
                }
            }
            Err(Lost::Cancelled) => return lost("cancelled"),
            Err(Lost::Superseded) => return lost("superseded"),
            Err(Lost::RanTooLong) => return lost("ran_too_long"),
        }
    }
    Err(kiln_store::Error::Busy.into())
}
