//! Quote and submit. A submit is: read once, decide, ONE transaction (hold, counters, entry, job, uploads in use, idempotency
//! record), then a hint. Accepted means committed.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use kiln_core::FieldError;
use kiln_core::access::Scope;
use kiln_core::ids::{JobId, UploadId};
use kiln_core::job::{Job, JobInput, Priority, State as JobState};
use kiln_core::kinds::{self, Kind};
use kiln_core::machine;
use kiln_core::price::{self, Quote};
use kiln_http::flow::{self, TRIES};
use kiln_http::idempotency::replay_response;
use kiln_http::view::JobView;
use kiln_http::{App, Body, Caller, Key, Once, Problem, RequestId, Result, Signed};
use kiln_store::{Commit, Submitted, Upload, UploadState, Why};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

/// What is asked for.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobRequest {
    #[schema(example = "upscale", max_length = 64)]
    kind: String,
    /// The kind's parameters; `GET jobs/kinds` has their schema.
    #[serde(default = "empty")]
    #[schema(value_type = Object, example = json!({"scale": 2}))]
    params: Value,
    /// Verified uploads.
    #[serde(default)]
    #[schema(max_items = 16, example = json!(["upl_01JD6Z3M8Q4V5X7Y9A2B3C4D5E"]))]
    inputs: Vec<UploadId>,
    #[serde(default)]
    priority: Priority,
}

fn empty() -> Value {
    Value::Object(Default::default())
}

/// A request whose kind and parameters are valid.
struct Valid {
    kind: &'static Kind,
    params: Value,
}

fn validate(app: &App, request: &JobRequest) -> Result<Valid> {
    let kind = kinds::find(&request.kind, app.test_engines()).ok_or_else(|| FieldError::new("kind", "no such kind of job; GET jobs/kinds lists them"))?;
    let params = kind.validate(&request.params)?;
    let count = request.inputs.len();
    if count < kind.min_inputs || count > kind.max_inputs {
        let wanted = if kind.min_inputs == kind.max_inputs { format!("{}", kind.min_inputs) } else { format!("{} to {}", kind.min_inputs, kind.max_inputs) };
        return Err(FieldError::new("inputs", format!("{} takes {wanted} upload(s), {count} given", kind.name)).into());
    }
    if let Some(i) = (1..count).find(|i| request.inputs[..*i].contains(&request.inputs[*i])) {
        return Err(FieldError::new(format!("inputs[{i}]"), "the same upload stands twice").into());
    }
    Ok(Valid { kind, params })
}

/// More than any kind takes.
const MAX_INPUTS: usize = 16;

fn check_inputs(request: &JobRequest) -> Result<()> {
    if request.inputs.len() > MAX_INPUTS {
        return Err(FieldError::new("inputs", format!("{MAX_INPUTS} at most")).into());
    }
    Ok(())
}

/// The inputs as the job will remember them; each must be the account's own and verified.
fn inputs(request: &JobRequest, uploads: &[Option<Upload>]) -> Result<Vec<JobInput>> {
    request.inputs.iter().zip(uploads).enumerate().map(|(i, (id, upload))| input(i, id, upload.as_ref())).collect()
}

fn input(i: usize, id: &UploadId, upload: Option<&Upload>) -> Result<JobInput> {
    let field = format!("inputs[{i}]");
    let Some(upload) = upload else {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "upload_not_found", format!("{field}: there is no such upload.")).field(field));
    };
    let (UploadState::Ready, Some(key), Some(sha256)) = (upload.state, &upload.key, &upload.sha256) else {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "upload_not_ready", format!("{field}: complete the upload first.")).field(field));
    };
    Ok(JobInput {
        upload_id: id.clone(),
        key: key.clone(),
        content_type: upload.content_type.clone(),
        bytes: upload.bytes,
        sha256: sha256.clone(),
        width: upload.width,
        height: upload.height,
    })
}

/// What a job would cost, line by line.
#[utoipa::path(post, path = "/api/v1/jobs/quote", tag = "jobs", request_body = JobRequest, responses((status = 200, body = Quote)), security(("session" = []), ("api_key" = ["jobs:write"])))]
pub(crate) async fn quote(State(app): State<App>, signed: Signed, body: Body<JobRequest>) -> Result<Json<Quote>> {
    let request = body.value;
    check_inputs(&request)?;
    let found = app.table().before_submit(&signed.asked, &request.inputs, None).await?;
    signed.check(found.proof.clone(), Some(Scope::JobsWrite), app.now())?.note_use(&app).await;
    let valid = validate(&app, &request)?;
    let inputs = inputs(&request, &found.uploads)?;
    Ok(Json(price::quote(valid.kind.name, &valid.params, &inputs, request.priority)?))
}

/// Asks for a job: its price is held, and a worker will take it.
#[utoipa::path(post, path = "/api/v1/jobs", tag = "jobs", request_body = JobRequest,
    params(("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,128}$", description = "Repeats with the same key and body get the same answer for 24 hours.")),
    responses((status = 202, body = JobView), (status = 402)), security(("session" = []), ("api_key" = ["jobs:write"])))]
pub(crate) async fn submit(State(app): State<App>, signed: Signed, RequestId(request_id): RequestId, key: Key, body: Body<JobRequest>) -> Result<Response> {
    let once = Once::new("jobs", key, &body.bytes);
    let request = body.value;
    // Before the one call that reads all of them: it takes a hundred keys.
    check_inputs(&request)?;
    for _ in 0..TRIES {
        let now = app.now();
        let found = app.table().before_submit(&signed.asked, &request.inputs, once.lookup()).await?;
        let caller = signed.check(found.proof.clone(), Some(Scope::JobsWrite), now)?;
        if let Some(replayed) = once.replayed(found.replay.clone(), now)? {
            return Ok(replay_response(replayed));
        }
        let valid = validate(&app, &request)?;
        let account = admit(&app, &found)?;
        let inputs = inputs(&request, &found.uploads)?;
        let quote = price::quote(valid.kind.name, &valid.params, &inputs, request.priority)?;
        let draft = draft(&app, &caller, &request, &valid, inputs, &quote, &request_id);
        let change = machine::submit(draft, &account.counters, app.settings(), now);
        let view = JobView::new(&change.after, vec![], None);
        let answer = serde_json::to_string(&view).map_err(Problem::internal)?;
        let record = once.record(&caller.account_id, StatusCode::ACCEPTED, answer, now);
        let with = Commit { entry_id: flow::entry_id(&app, &change), uses: &request.inputs, idempotent: record.as_ref(), ..Commit::default() };
        match app.table().commit(&change, with, now).await? {
            Ok(()) => {
                tracing::info!(job_id = %change.after.job_id, kind = valid.kind.name, "job accepted");
                flow::after_commit(&app, &change, &account.counters).await;
                caller.note_use(&app).await;
                return Ok((StatusCode::ACCEPTED, [(header::LOCATION, format!("/api/v1/jobs/{}", view.id))], Json(view)).into_response());
            }
            Err(Why::NoFunds) => {
                let detail = format!("The job costs {}; available: {}.", credits(quote.quote_millicredits), credits(account.counters.available));
                return Err(Problem::new(StatusCode::PAYMENT_REQUIRED, "insufficient_credits", detail));
            }
            Err(Why::QueuedFull) => return Err(Problem::too_many("account_queue_full", "Your queue is full; wait for some of your jobs to finish.", 30)),
            Err(Why::AccountGone | Why::Suspended) => return Err(suspended()),
            // An upload or the idempotency record changed under us: look again, and say what is found.
            Err(Why::Upload(_) | Why::Repeated | Why::Moved | Why::RunningFull) => {}
        }
    }
    Err(kiln_store::Error::Busy.into())
}

fn suspended() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "account_suspended", "This account may not ask for jobs.")
}

fn credits(millicredits: i64) -> String {
    let number = format!("{:.3}", millicredits as f64 / 1000.0);
    let number = number.trim_end_matches('0').trim_end_matches('.');
    format!("{number} credit{}", if number == "1" { "" } else { "s" })
}

/// The account, if it and the queue as a whole take another job.
fn admit<'a>(app: &App, found: &'a Submitted) -> Result<&'a kiln_store::Account> {
    let account = found.account.as_ref().filter(|account| !account.suspended).ok_or_else(suspended)?;
    let unfinished = found.depth.as_ref().map_or(0, kiln_store::Depth::unfinished);
    if unfinished >= app.settings().queue_ceiling {
        return Err(Problem::too_many("queue_full", format!("{unfinished} jobs are waiting, which is as many as we take; please ask again later."), 60));
    }
    Ok(account)
}

fn draft(app: &App, caller: &Caller, request: &JobRequest, valid: &Valid, inputs: Vec<JobInput>, quote: &Quote, request_id: &str) -> Job {
    let now = app.now();
    Job {
        v: kiln_core::job::SCHEMA,
        job_id: JobId::new(now, app.random()),
        account_id: caller.account_id.clone(),
        kind: valid.kind.name.to_owned(),
        capability: valid.kind.capability.to_owned(),
        params: valid.params.to_string(),
        inputs,
        priority: request.priority,
        project_id: None,
        request_id: Some(request_id.to_owned()).filter(|id| !id.is_empty()),
        state: JobState::Queued,
        seq: 0,
        attempt: 0,
        failures: 0,
        quote_millicredits: quote.quote_millicredits,
        charged_millicredits: 0,
        hold_open: false,
        created_at: now,
        queued_at: now,
        started_at: None,
        attempt_started_at: None,
        finished_at: None,
        not_before: now,
        max_run_s: valid.kind.max_run_s.min(app.settings().max_run_s),
        lease_until: None,
        instance_id: None,
        claim_id: None,
        past_claims: vec![],
        suspicion: None,
        progress: 0.0,
        stage: None,
        error: None,
        artifact_count: 0,
        hints: 0,
        owed_shard: None,
        next_check_at: None,
    }
}
