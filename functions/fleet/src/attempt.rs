//! The steps of an attempt. Each reads what it decides by in one call, lets core's machine decide, and commits; each
//! repeats safely.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kiln_core::FieldError;
use kiln_core::fleet::{
    ArtifactsRequest, ArtifactsResponse, ClaimInput, ClaimRequest, ClaimResponse, Declared, FailRequest, Put, ReportResponse, check_declared,
};
use kiln_core::ids::{AccountId, JobId};
use kiln_core::job::{Artifact, Job, JobError, State as JobState};
use kiln_core::kinds;
use kiln_core::machine::{self, Claim, Refusal, Step};
use kiln_http::flow::{self, TRIES};
use kiln_http::{App, Body, Id, Problem, Result, Worker};
use kiln_store::{Account, Commit, Creation, Instance, Slot, Why, artifact_key};
use std::time::Duration;

/// How long a worker may take to fetch what it was shown, or to put an artifact.
pub(crate) const GET_FOR: Duration = Duration::from_secs(900);
const PUT_FOR: Duration = Duration::from_secs(600);

/// A refusal as the worker reads it: its code says whether it is about the job or about the worker.
fn refuse(refusal: Refusal) -> Problem {
    let status = if refusal == Refusal::JobGone { StatusCode::NOT_FOUND } else { StatusCode::CONFLICT };
    Problem::new(status, refusal.code(), "The claim was refused.")
}

fn lost(state: JobState) -> Problem {
    Problem::conflict("attempt_lost", format!("This attempt is not the job's running one (the job is {}).", state.as_str()))
}

/// Who speaks, about what: read together and checked.
struct Spoken {
    instance: Instance,
    job: Job,
    account: Option<Account>,
}

async fn read(app: &App, worker: &Worker, account: &AccountId, job: &JobId) -> Result<Spoken> {
    let (instance, job, account) = app.table().instance_job_account(&worker.instance_id, account, job).await?;
    let instance = worker.check(instance)?;
    Ok(Spoken { instance, job: job.ok_or_else(|| refuse(Refusal::JobGone))?, account })
}

/// An attempt may declare again and again, but never more than its kind makes.
fn check_made(job: &Job, artifacts: &[Declared]) -> Result<()> {
    let kind = kinds::find(&job.kind, true);
    match artifacts.iter().position(|artifact| !kind.is_some_and(|kind| (kind.makes)(&artifact.name))) {
        Some(i) => Err(FieldError::new(format!("artifacts[{i}].name"), format!("{} makes no artifact of that name", job.kind)).into()),
        None => Ok(()),
    }
}

fn voice<'a>(instance: &'a Instance, busy: bool) -> machine::Worker<'a> {
    machine::Worker {
        instance_id: &instance.instance_id,
        host: &instance.host,
        trusted: instance.trusted,
        capabilities: &instance.capabilities,
        draining: instance.drain,
        busy,
    }
}

/// Whether the slot's attempt still runs. A slot whose job was cancelled, swept or taken over is as good as empty.
async fn occupied(app: &App, instance: &Instance, wanted: &Job) -> Result<(Option<Slot>, bool)> {
    let Some(slot) = instance.slot() else { return Ok((None, false)) };
    let job = if slot.job_id == wanted.job_id { Some(wanted.clone()) } else { app.table().job(&slot.account_id, &slot.job_id).await? };
    let live = job.is_some_and(|job| machine::may_upload(&job, &instance.instance_id, slot.attempt));
    Ok((Some(slot), live))
}

/// A worker asks for the job that a message named.
#[utoipa::path(post, path = "/api/v1/fleet/jobs/{id}/claim", tag = "fleet", params(("id" = String, Path)), request_body = ClaimRequest, responses((status = 200, body = ClaimResponse), (status = 409, description = "The attempt is not the job's running one.")), security(("worker" = [])))]
pub(crate) async fn claim(State(app): State<App>, worker: Worker, Id(id): Id<JobId>, body: Body<ClaimRequest>) -> Result<Json<ClaimResponse>> {
    let request = body.value;
    let plain = request.claim_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if request.claim_id.is_empty() || request.claim_id.len() > 64 || !plain {
        return Err(FieldError::new("claim_id", "1 to 64 letters, digits, dashes and underscores").into());
    }
    for _ in 0..TRIES {
        let spoken = read(&app, &worker, &request.account_id, &id).await?;
        if flow::end_preempted(&app, &spoken.job, spoken.account.as_ref()).await?.is_some() {
            continue;
        }
        let (seen, live) = occupied(&app, &spoken.instance, &spoken.job).await?;
        let counters = spoken.account.as_ref().map(|account| account.counters.clone()).unwrap_or_default();
        let now = app.now();
        let voice = voice(&spoken.instance, live);
        match machine::claim(&spoken.job, &counters, &voice, &request.claim_id, app.settings(), now).map_err(refuse)? {
            Claim::Again => return answer(&app, &spoken.job).await,
            Claim::New(change) => {
                let with = Commit { slot_seen: seen.as_ref(), spoke_with: Some(&worker.token_hash), account: Some(&counters), ..Commit::default() };
                match app.table().commit(&change, with, now).await? {
                    Ok(()) => {
                        tracing::info!(job_id = %id, attempt = change.after.attempt, instance_id = %worker.instance_id, waited_ms = now - change.after.queued_at, job_request_id = change.after.request_id, "job claimed");
                        flow::after_commit(&app, &change, &counters).await;
                        return answer(&app, &change.after).await;
                    }
                    Err(Why::RunningFull) => return Err(refuse(Refusal::AccountFull)),
                    Err(Why::AccountGone) => return Err(refuse(Refusal::JobGone)),
                    Err(_) => {}
                }
            }
        }
    }
    Err(kiln_store::Error::Busy.into())
}

async fn answer(app: &App, job: &Job) -> Result<Json<ClaimResponse>> {
    let mut inputs = Vec::with_capacity(job.inputs.len());
    for input in &job.inputs {
        let url = app.files().presign_media_get(&input.key, GET_FOR, None, &input.content_type).await?;
        inputs.push(ClaimInput { url, content_type: input.content_type.clone(), bytes: input.bytes, sha256: input.sha256.clone() });
    }
    let left = job.lease_until.unwrap_or(0) - app.now();
    Ok(Json(ClaimResponse {
        attempt: job.attempt,
        lease_s: u64::try_from(left / 1000).unwrap_or(0),
        heartbeat_s: app.settings().heartbeat_s,
        max_run_s: job.max_run_s,
        kind: job.kind.clone(),
        params: serde_json::from_str(&job.params).map_err(Problem::internal)?,
        inputs,
        request_id: job.request_id.clone(),
    }))
}

/// The attempt's files are declared; it gets a PUT for each that takes exactly those bytes, once.
#[utoipa::path(post, path = "/api/v1/fleet/jobs/{id}/artifacts", tag = "fleet", params(("id" = String, Path)), request_body = ArtifactsRequest, responses((status = 200, body = ArtifactsResponse), (status = 409, description = "The attempt is not the job's running one.")), security(("worker" = [])))]
pub(crate) async fn artifacts(State(app): State<App>, worker: Worker, Id(id): Id<JobId>, body: Body<ArtifactsRequest>) -> Result<Json<ArtifactsResponse>> {
    let request = body.value;
    check_declared(&request.artifacts)?;
    let spoken = read(&app, &worker, &request.account_id, &id).await?;
    if !machine::may_upload(&spoken.job, &worker.instance_id, request.attempt) {
        return Err(lost(spoken.job.state));
    }
    check_made(&spoken.job, &request.artifacts)?;
    let mut puts = Vec::with_capacity(request.artifacts.len());
    for file in &request.artifacts {
        let key = artifact_key(&id, request.attempt, &file.name);
        let signed = app.files().presign_artifact_put(&key, &file.content_type, file.bytes, &file.sha256, PUT_FOR).await?;
        puts.push(Put { name: file.name.clone(), url: signed.url, headers: signed.headers });
    }
    Ok(Json(ArtifactsResponse { puts }))
}

/// The attempt delivered: what S3 holds is checked against what was declared, then the job succeeds and is charged.
#[utoipa::path(post, path = "/api/v1/fleet/jobs/{id}/complete", tag = "fleet", params(("id" = String, Path)), request_body = ArtifactsRequest, responses((status = 200, body = ReportResponse), (status = 409, description = "The attempt is not the job's running one.")), security(("worker" = [])))]
pub(crate) async fn complete(State(app): State<App>, worker: Worker, Id(id): Id<JobId>, body: Body<ArtifactsRequest>) -> Result<Json<ReportResponse>> {
    let request = body.value;
    check_declared(&request.artifacts)?;
    let mut checked: Option<Vec<Artifact>> = None;
    for _ in 0..TRIES {
        let spoken = read(&app, &worker, &request.account_id, &id).await?;
        let now = app.now();
        let step = machine::complete(&spoken.job, &worker.instance_id, request.attempt, request.artifacts.len() as u32, now).map_err(lost)?;
        let Step::New(change) = step else { return Ok(Json(ReportResponse { state: spoken.job.state })) };
        check_made(&spoken.job, &request.artifacts)?;
        let artifacts = match &checked {
            Some(artifacts) => artifacts.clone(),
            None => checked.insert(check_stored(&app, &id, request.attempt, &request.artifacts).await?).clone(),
        };
        let creation = Creation {
            v: 1,
            job_id: id.clone(),
            account_id: request.account_id.clone(),
            kind: spoken.job.kind.clone(),
            params: spoken.job.params.clone(),
            created_at: now,
            artifacts,
            counted: true,
        };
        let account = spoken.account.as_ref().map(|account| &account.counters);
        let with = Commit { entry_id: flow::entry_id(&app, &change), creation: Some(&creation), account, ..Commit::default() };
        if app.table().commit(&change, with, now).await?.is_ok() {
            tracing::info!(job_id = %id, attempt = request.attempt, ran_ms = now - change.after.attempt_started_at.unwrap_or(now), job_request_id = change.after.request_id, "job succeeded");
            if let Some(account) = &spoken.account {
                flow::after_commit(&app, &change, &account.counters).await;
            }
            return Ok(Json(ReportResponse { state: change.after.state }));
        }
    }
    Err(kiln_store::Error::Busy.into())
}

/// Each declared file is in S3, has the declared length and hash, and begins as its type does.
async fn check_stored(app: &App, job: &JobId, attempt: u32, declared: &[Declared]) -> Result<Vec<Artifact>> {
    let mut artifacts = Vec::with_capacity(declared.len());
    for (i, file) in declared.iter().enumerate() {
        let wrong = |message: &str| {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "artifact_mismatch", format!("artifacts[{i}]: {message}")).field(format!("artifacts[{i}]"))
        };
        let key = artifact_key(job, attempt, &file.name);
        let stored = app.files().head_media(&key).await?.ok_or_else(|| wrong("was not uploaded"))?;
        if stored.bytes != file.bytes || stored.sha256.as_ref().is_some_and(|sha256| *sha256 != file.sha256) {
            return Err(wrong("what was uploaded is not what is declared"));
        }
        let head = app.files().first_bytes(&key, 64).await?;
        if !begins_as(&file.content_type, &head) {
            return Err(wrong("its first bytes are not of its type"));
        }
        artifacts.push(Artifact { name: file.name.clone(), content_type: file.content_type.clone(), bytes: file.bytes, sha256: file.sha256.clone(), key });
    }
    Ok(artifacts)
}

/// Whether a file of this type begins so. Text must not look like markup, which a browser might run.
fn begins_as(content_type: &str, head: &[u8]) -> bool {
    match content_type {
        "image/png" => head.starts_with(b"\x89PNG\r\n\x1a\n"),
        "image/jpeg" => head.starts_with(b"\xff\xd8\xff"),
        "image/webp" => head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP"),
        "model/gltf-binary" => head.starts_with(b"glTF"),
        "application/zip" => head.starts_with(b"PK"),
        "video/mp4" => head.get(4..8) == Some(b"ftyp"),
        _ => head.iter().find(|byte| !byte.is_ascii_whitespace()).is_none_or(|byte| *byte != b'<') && !head.contains(&0),
    }
}

/// The attempt failed; the job is queued again or fails, and then nothing is charged.
#[utoipa::path(post, path = "/api/v1/fleet/jobs/{id}/fail", tag = "fleet", params(("id" = String, Path)), request_body = FailRequest, responses((status = 200, body = ReportResponse), (status = 409, description = "The attempt is not the job's running one.")), security(("worker" = [])))]
pub(crate) async fn fail(State(app): State<App>, worker: Worker, Id(id): Id<JobId>, body: Body<FailRequest>) -> Result<Json<ReportResponse>> {
    let request = body.value;
    if request.code.is_empty() || request.code.len() > 64 || !request.code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        return Err(FieldError::new("code", "1 to 64 lower-case letters, digits and underscores").into());
    }
    if request.message.len() > 1000 {
        return Err(FieldError::new("message", "1000 bytes at most").into());
    }
    for _ in 0..TRIES {
        let spoken = read(&app, &worker, &request.account_id, &id).await?;
        let now = app.now();
        let error = JobError { code: request.code.clone(), message: request.message.clone(), retryable: false };
        let voice = voice(&spoken.instance, false);
        let step = machine::fail(&spoken.job, &voice, request.attempt, request.failure, error, app.settings(), now).map_err(lost)?;
        let Step::New(change) = step else { return Ok(Json(ReportResponse { state: spoken.job.state })) };
        let account = spoken.account.as_ref().map(|account| &account.counters);
        let with = Commit { entry_id: flow::entry_id(&app, &change), account, ..Commit::default() };
        if app.table().commit(&change, with, now).await?.is_ok() {
            tracing::warn!(job_id = %id, attempt = request.attempt, code = request.code, state = change.after.state.as_str(), job_request_id = change.after.request_id, "attempt failed");
            if let Some(account) = &spoken.account {
                flow::after_commit(&app, &change, &account.counters).await;
            }
            return Ok(Json(ReportResponse { state: change.after.state }));
        }
    }
    Err(kiln_store::Error::Busy.into())
}

#[cfg(test)]
mod tests {
    use super::begins_as;

    #[test]
    fn a_file_must_begin_as_its_type_does() {
        assert!(begins_as("image/png", b"\x89PNG\r\n\x1a\n...."));
        assert!(!begins_as("image/png", b"<html>"));
        assert!(!begins_as("text/plain", b"  <script>"));
        assert!(begins_as("application/json", b"{\"a\":1}"));
        assert!(begins_as("image/webp", b"RIFF....WEBPVP8 "));
        assert!(!begins_as("video/mp4", b""));
    }
}
