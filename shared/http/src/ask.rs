//! Asking for a job: what a request says, checked against its kind, its uploads and the price list. Whoever takes such a request (an
//! account's submit and quote, a guest's checkout) does it by this.

use crate::{App, Problem, Result};
use axum::http::StatusCode;
use kiln_core::FieldError;
use kiln_core::ids::{AccountId, EndpointId, JobId, UploadId};
use kiln_core::job::{Job, JobInput, Priority};
use kiln_core::kinds::{self, Kind};
use kiln_core::price::Priced;
use kiln_store::hooks::Endpoint;
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
    /// One of the account's webhook endpoints: it is told of this job, whatever it is told of otherwise.
    #[serde(default)]
    pub webhook: Option<EndpointId>,
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

/// The endpoint that is to be told of the job must be the account's own, and one that is sent anything.
pub fn check_webhook(request: &JobRequest, endpoint: Option<&Endpoint>) -> Result<()> {
    let refused = |code, detail| Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail).field("webhook"));
    match (&request.webhook, endpoint) {
        (None, _) => Ok(()),
        (Some(_), None) => refused("endpoint_not_found", "webhook: there is no such endpoint; GET webhook-endpoints lists them."),
        (Some(_), Some(endpoint)) if !endpoint.enabled => refused("endpoint_disabled", "webhook: this endpoint is disabled; enable it first."),
        (Some(_), Some(_)) => Ok(()),
    }
}

/// A new job of this account, before the job machine has seen it.
pub fn draft(app: &App, account: &AccountId, request: &JobRequest, valid: &Valid, inputs: Vec<JobInput>, priced: &Priced, request_id: &str) -> Job {
    let now = app.now();
    let max_run_s = valid.kind.max_run_s.min(app.settings().max_run_s);
    Job {
        params: valid.params.to_string(),
        inputs,
        priority: request.priority,
        webhook: request.webhook.clone(),
        request_id: Some(request_id.to_owned()).filter(|id| !id.is_empty()),
        quote_millicredits: priced.quote.quote_millicredits,
        meter: priced.meter,
        ..Job::draft(JobId::new(now, app.random()), account.clone(), valid.kind.name, valid.kind.capability, max_run_s, now)
    }
}
