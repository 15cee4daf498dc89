//! What a worker and the server say to each other (`functions/fleet`), as both sides compile it.
//! A worker gets durations, never timestamps, and no table, bucket or key name.

use crate::ids::{AccountId, InstanceId, JobId};
use crate::job::Priority;
use crate::machine::Failure;
use serde::{Deserialize, Serialize};

/// Most artifacts of one job.
pub const MAX_ARTIFACTS: usize = 64;
/// Longest name of an artifact, in bytes.
pub const MAX_NAME: usize = 128;
/// Largest artifact: 512 MiB.
pub const MAX_ARTIFACT_BYTES: u64 = 512 << 20;

/// What an instance's token begins with: `kin_ins_….SECRET`.
pub const WORKER_PREFIX: &str = "kin_";
/// What a boot token begins with: `kib_ins_….SECRET`.
pub const BOOT_PREFIX: &str = "kib_";

/// The instance's token that a secret of its worker makes.
pub fn worker_token(instance: &InstanceId, secret: &str) -> String {
    format!("{WORKER_PREFIX}{instance}.{secret}")
}

/// The instance that a boot token names.
pub fn boot_instance(token: &str) -> Option<InstanceId> {
    token.strip_prefix(BOOT_PREFIX)?.split_once('.').filter(|(_, secret)| !secret.is_empty())?.0.parse().ok()
}

/// The instance that its own token names.
pub fn worker_instance(token: &str) -> Option<InstanceId> {
    token.strip_prefix(WORKER_PREFIX)?.split_once('.').filter(|(_, secret)| !secret.is_empty())?.0.parse().ok()
}

/// Whether it is 256 bits of text, as far as can be seen.
pub fn is_secret(text: &str) -> bool {
    (43..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// What a worker process says of itself when it starts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RegisterRequest {
    /// The one-use token its machine was booted with; absent when it registers again with its own token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_token: Option<String>,
    /// Chosen by the worker, 256 random bits as text: its token will be `kin_INSTANCE.SECRET`. The same one again gets the same answer, so that an
    /// answer that was lost costs no machine. Without it the server makes one, and a repetition is a second use of the boot token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(pattern = "^[A-Za-z0-9_-]{43,64}$"))]
    pub secret: Option<String>,
    #[cfg_attr(feature = "openapi", schema(max_length = 64))]
    pub version: String,
    /// What it can run: `image`.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 16))]
    pub capabilities: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_length = 128))]
    pub gpu: Option<String>,
    /// SHA-256 of the models' files that it needs for its capabilities and has not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(max_items = 64))]
    pub lacks: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegisterResponse {
    pub instance_id: InstanceId,
    /// `Authorization: Bearer` for every later call.
    pub token: String,
    pub heartbeat_s: u64,
    /// Of the files that it lacks, those that its capabilities need.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ModelGet>,
}

/// Where one of the models' files is, for a quarter of an hour.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelGet {
    pub sha256: String,
    pub url: String,
}

/// SQS receive, delete and change-visibility on the job queues, for an hour at most.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CredentialsResponse {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: String,
    pub expires_in_s: u64,
    pub region: String,
    /// Where SQS answers, when that isn't AWS itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// In the order in which the worker prefers them.
    pub queues: Vec<Queue>,
}

impl std::fmt::Debug for CredentialsResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CredentialsResponse").field("expires_in_s", &self.expires_in_s).field("queues", &self.queues).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Queue {
    pub url: String,
    pub capability: String,
    pub priority: Priority,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Requested,
    Loading,
    Ready,
    Busy,
    Draining,
    Stopped,
    Lost,
    Gone,
}

impl Stage {
    pub const ALL: [Stage; 8] = [Stage::Requested, Stage::Loading, Stage::Ready, Stage::Busy, Stage::Draining, Stage::Stopped, Stage::Lost, Stage::Gone];

    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Requested => "requested",
            Stage::Loading => "loading",
            Stage::Ready => "ready",
            Stage::Busy => "busy",
            Stage::Draining => "draining",
            Stage::Stopped => "stopped",
            Stage::Lost => "lost",
            Stage::Gone => "gone",
        }
    }
}

/// Every `heartbeat_s`: that it lives, and how its attempt goes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HeartbeatRequest {
    /// `loading`, `ready`, `busy` or `draining`; the server refuses others.
    pub stage: Stage,
    /// What it is at while it is loading: `models`, `engines` or `self-test`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_length = 64))]
    pub boot_stage: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<AttemptBeat>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AttemptBeat {
    pub job_id: JobId,
    pub account_id: AccountId,
    pub attempt: u32,
    /// 0..=1.
    pub progress: f32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeartbeatResponse {
    /// The attempt's renewed lease; absent when no attempt was named or it was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_s: Option<u64>,
    /// Stop working on the attempt: `cancelled`, `superseded` or `ran_too_long`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<String>,
    /// Take no more work and exit when the attempt is over.
    pub drain: bool,
    /// It is drained, and is to be stopped rather than given back: its worker ends and keeps what it has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rest: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ClaimRequest {
    pub account_id: AccountId,
    /// Chosen by the worker, anew for each received message; the same one again gets the same answer.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[A-Za-z0-9_-]{1,64}$"))]
    pub claim_id: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClaimResponse {
    pub attempt: u32,
    pub lease_s: u64,
    pub heartbeat_s: u64,
    /// The attempt is lost when it runs longer.
    pub max_run_s: u64,
    pub kind: String,
    pub params: serde_json::Value,
    pub inputs: Vec<ClaimInput>,
    /// The customer's request, for the worker's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClaimInput {
    /// A presigned GET.
    pub url: String,
    pub content_type: String,
    pub bytes: u64,
    pub sha256: String,
}

/// A file as the worker declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Declared {
    #[cfg_attr(feature = "openapi", schema(pattern = "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$"))]
    pub name: String,
    /// One of [`ARTIFACT_TYPES`].
    #[cfg_attr(feature = "openapi", schema(pattern = "^(image/(png|jpeg|webp)|model/gltf-binary|application/(json|zip)|text/plain|video/mp4)$"))]
    pub content_type: String,
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub bytes: u64,
    /// SHA-256 of its bytes, 64 lower-case hex digits.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9a-f]{64}$"))]
    pub sha256: String,
}

/// `fleet/jobs/{id}/artifacts` and `/complete` take the same body: what the attempt made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ArtifactsRequest {
    pub account_id: AccountId,
    pub attempt: u32,
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 64))]
    pub artifacts: Vec<Declared>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ArtifactsResponse {
    pub puts: Vec<Put>,
}

/// A presigned PUT; every header must be sent as it stands here. A 412 means that the file is already there.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Put {
    pub name: String,
    pub url: String,
    pub headers: std::collections::BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FailRequest {
    pub account_id: AccountId,
    pub attempt: u32,
    pub failure: Failure,
    #[cfg_attr(feature = "openapi", schema(pattern = "^[a-z0-9_]{1,64}$"))]
    pub code: String,
    /// At most 1,000 bytes.
    #[cfg_attr(feature = "openapi", schema(max_length = 1000))]
    pub message: String,
}

/// The job's state after `complete` or `fail`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReportResponse {
    pub state: crate::job::State,
}

/// Types that an artifact may have: nothing that a browser would execute.
pub const ARTIFACT_TYPES: [&str; 8] =
    ["image/png", "image/jpeg", "image/webp", "model/gltf-binary", "application/json", "text/plain", "application/zip", "video/mp4"];

/// What is wrong with a list of declared artifacts, by field.
pub fn check_declared(artifacts: &[Declared]) -> Result<(), crate::FieldError> {
    let wrong = |i: usize, field: &str, message: String| Err(crate::FieldError::new(format!("artifacts[{i}].{field}"), message));
    if artifacts.is_empty() || artifacts.len() > MAX_ARTIFACTS {
        return Err(crate::FieldError::new("artifacts", format!("between 1 and {MAX_ARTIFACTS} artifacts")));
    }
    for (i, artifact) in artifacts.iter().enumerate() {
        let name = &artifact.name;
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if name.is_empty() || name.len() > MAX_NAME || !plain || name.starts_with('.') {
            return wrong(i, "name", format!("letters, digits, dot, dash and underscore, {MAX_NAME} bytes at most, no dot first"));
        }
        if artifacts[..i].iter().any(|other| other.name == *name) {
            return wrong(i, "name", "the name stands twice".into());
        }
        if !ARTIFACT_TYPES.contains(&artifact.content_type.as_str()) {
            return wrong(i, "content_type", format!("one of {}", ARTIFACT_TYPES.join(", ")));
        }
        if artifact.bytes == 0 || artifact.bytes > MAX_ARTIFACT_BYTES {
            return wrong(i, "bytes", format!("between 1 and {MAX_ARTIFACT_BYTES}"));
        }
        if artifact.sha256.len() != 64 || !artifact.sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return wrong(i, "sha256", "64 lower-case hex digits".into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_a_worker_is_to_rest_is_said_only_where_it_is() {
        let says = |rest| serde_json::to_value(HeartbeatResponse { lease_s: None, cancel: None, drain: true, rest }).unwrap();
        assert_eq!(says(false), serde_json::json!({ "drain": true }));
        assert_eq!(says(true), serde_json::json!({ "drain": true, "rest": true }));
        let read: HeartbeatResponse = serde_json::from_value(says(false)).unwrap();
        assert!(read.drain && !read.rest);
    }
}
