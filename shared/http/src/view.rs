//! How a job is shown: the one shape that clients rely on.

use crate::App;
use kiln_core::fleet::Stage;
use kiln_core::job::{Artifact, Job, JobError, Priority, State};
use kiln_core::pool::standing::WaitReason;
use kiln_core::pool::{Standing, Waits};
use kiln_core::time::{Millis, rfc3339};
use kiln_store::Creation;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A job, as `GET jobs/{id}` shows it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct JobView {
    #[schema(example = "job_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    pub id: String,
    #[schema(example = "upscale")]
    pub kind: String,
    pub state: State,
    /// The newest attempt's number; 0 before the first.
    pub attempt: u32,
    /// Rises with every change.
    pub seq: u64,
    /// 0 to 1.
    pub progress: f32,
    pub stage: Option<String>,
    /// An estimate of how many jobs are before it, or null.
    pub queue_position: Option<u64>,
    /// What it waits for, while it is queued; null where that isn't known, and in lists.
    #[serde(default)]
    pub waits_for: Option<WaitsFor>,
    pub priority: Priority,
    pub params: serde_json::Value,
    pub inputs: Vec<String>,
    pub quote_millicredits: i64,
    pub charged_millicredits: i64,
    pub error: Option<JobError>,
    /// What it made; empty in lists and until it has succeeded.
    pub artifacts: Vec<ArtifactView>,
    pub created_at: String,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
}

/// What a queued job waits for: as the pool last looked, at most a minute ago.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WaitsFor {
    /// How far the machine is that will take the next job: `requested`, `loading`, `ready` or `busy`; null where none is there or on its way.
    pub machine: Option<Stage>,
    /// What that machine is at: while it is requested `provisioning`, `pulling` or `starting`, as far as its provider tells; while it is loading `models`,
    /// `engines` or `self-test`.
    #[schema(example = "models")]
    pub boot_stage: Option<String>,
    /// In how many seconds this job is expected to start; an estimate.
    #[schema(example = 95)]
    pub expected_start_s: Option<u64>,
    /// Why no machine is on its way: `paused`, `no_machine` or `unknown`.
    pub reason: Option<WaitReason>,
}

impl WaitsFor {
    /// Of the job at this place of the queue; nothing where the pool has not looked for long.
    pub fn new(standing: &Standing, place: u64, now: Millis) -> Option<Self> {
        let Waits { machine, boot_stage, why, .. } = &standing.waits;
        (!standing.is_stale(now)).then(|| Self {
            machine: *machine,
            boot_stage: boot_stage.clone(),
            expected_start_s: standing.waits.starts_in(place, now).map(|ms| (ms / 1000) as u64),
            reason: *why,
        })
    }
}

/// A file that a job made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ArtifactView {
    pub name: String,
    #[schema(example = "image/png")]
    pub content_type: String,
    pub bytes: u64,
    pub sha256: String,
    /// Where to get it, for 15 minutes; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl ArtifactView {
    pub fn new(artifact: &Artifact, url: Option<String>) -> Self {
        Self { name: artifact.name.clone(), content_type: artifact.content_type.clone(), bytes: artifact.bytes, sha256: artifact.sha256.clone(), url }
    }
}

impl JobView {
    pub fn new(job: &Job, artifacts: Vec<ArtifactView>, queue_position: Option<u64>) -> Self {
        Self {
            id: job.job_id.to_string(),
            kind: job.kind.clone(),
            state: job.state,
            attempt: job.attempt,
            seq: job.seq,
            progress: job.progress,
            stage: job.stage.clone(),
            queue_position: queue_position.filter(|_| job.state == State::Queued),
            waits_for: None,
            priority: job.priority,
            params: serde_json::from_str(&job.params).unwrap_or_default(),
            inputs: job.inputs.iter().map(|input| input.upload_id.to_string()).collect(),
            quote_millicredits: job.quote_millicredits,
            charged_millicredits: job.charged_millicredits,
            error: job.error.clone(),
            artifacts,
            created_at: rfc3339(job.created_at),
            started_at: job.started_at.map(rfc3339),
            finished_at: job.finished_at.map(rfc3339),
        }
    }
}

/// A job with links to what it made, or while it is queued with what it waits for.
pub async fn shown(app: &App, job: &Job, creation: Option<Creation>) -> crate::Result<JobView> {
    let artifacts = match creation {
        Some(creation) => with_urls(app.files(), &creation.artifacts).await?,
        None => vec![],
    };
    if job.state != State::Queued {
        return Ok(JobView::new(job, artifacts, None));
    }
    let (depth, standing) = app.table().queue().await?;
    let place = depth.map(|depth| depth.queued.max(1));
    let waits_for = standing.and_then(|standing| WaitsFor::new(&standing, place.unwrap_or(1), app.now()));
    Ok(JobView { waits_for, ..JobView::new(job, artifacts, place) })
}

/// How long a link to a file works, in seconds.
pub const URL_S: u64 = 900;

/// The artifacts of a creation with fresh URLs, named for download.
pub async fn with_urls(files: &kiln_store::Files, artifacts: &[Artifact]) -> crate::Result<Vec<ArtifactView>> {
    let mut views = Vec::with_capacity(artifacts.len());
    for artifact in artifacts {
        let url = files.presign_media_get(&artifact.key, std::time::Duration::from_secs(URL_S), Some(&artifact.name), &artifact.content_type).await?;
        views.push(ArtifactView::new(artifact, Some(url)));
    }
    Ok(views)
}
