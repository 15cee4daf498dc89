//! Asking for a job: what a request says, checked against its kind, its uploads and the price list. Whoever takes such a request (an
//! account's submit and quote, a guest's checkout) does it by this.

use crate::{App, Problem, Result};
use axum::http::StatusCode;
use kiln_core::FieldError;
use kiln_core::ids::{AccountId, JobId, UploadId};
use kiln_core::job::{Job, JobInput, Priority, State as JobState};
use kiln_core::kinds::{self, Kind};
use kiln_core::price::Priced;
use kiln_store::{Upload, UploadState};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

/// What is asked for.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    #[schema(example = "upscale", max_length = 64)]
    pub kind: String,
    /// The kind's parameters; `GET jobs/kinds` has their schema.
    #[serde(default = "empty")]
    #[schema(value_type = Object, example = json!({"scale": 2}))]
    pub params: Value,
    /// Verified uploads.
    #[serde(default)]
    #[schema(max_items = 16, example = json!(["upl_01JD6Z3M8Q4V5X7Y9A2B3C4D5E"]))]
    pub inputs: Vec<UploadId>,
    #[serde(default)]
    pub priority: Priority,
}

fn empty() -> Value {
    Value::Object(Default::default())
}

/// A request whose kind and parameters are valid.
pub struct Valid {
    pub kind: &'static Kind,
    pub params: Value,
}

/// The kind and its parameters, whole and valid.
pub fn validate(app: &App, request: &JobRequest) -> Result<Valid> {
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

/// Refuses more uploads than any kind takes: before they are all read in one call, which takes a hundred keys.
pub fn check_inputs(request: &JobRequest) -> Result<()> {
    if request.inputs.len() > MAX_INPUTS {
        return Err(FieldError::new("inputs", format!("{MAX_INPUTS} at most")).into());
    }
    Ok(())
}

/// The inputs as the job will remember them; each must be the account's own and verified.
pub fn inputs(request: &JobRequest, uploads: &[Option<Upload>]) -> Result<Vec<JobInput>> {
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

/// A new job of this account, before the job machine has seen it.
pub fn draft(app: &App, account: &AccountId, request: &JobRequest, valid: &Valid, inputs: Vec<JobInput>, priced: &Priced, request_id: &str) -> Job {
    let now = app.now();
    Job {
        v: kiln_core::job::SCHEMA,
        job_id: JobId::new(now, app.random()),
        account_id: account.clone(),
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
        quote_millicredits: priced.quote.quote_millicredits,
        meter: priced.meter,
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
