//! A job as it is stored, and what it is made of. [`crate::machine`] alone changes one.

use crate::ids::{AccountId, EndpointId, InstanceId, JobId, UploadId};
use crate::time::Millis;
use serde::{Deserialize, Serialize};

/// The version that this code writes into every job item; older ones are upgraded when read.
pub const SCHEMA: u32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum State {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl State {
    pub const ALL: [State; 5] = [State::Queued, State::Running, State::Succeeded, State::Failed, State::Cancelled];

    pub fn ended(self) -> bool {
        matches!(self, State::Succeeded | State::Failed | State::Cancelled)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Running => "running",
            State::Succeeded => "succeeded",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    Rush,
    #[default]
    Standard,
}

impl Priority {
    pub const ALL: [Priority; 2] = [Priority::Rush, Priority::Standard];

    pub fn as_str(self) -> &'static str {
        match self {
            Priority::Rush => "rush",
            Priority::Standard => "standard",
        }
    }
}

/// A verified upload, as a job remembers it: the key that no client can write, and exactly which bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobInput {
    pub upload_id: UploadId,
    pub key: String,
    pub content_type: String,
    pub bytes: u64,
    /// SHA-256 of the bytes, lower-case hex.
    pub sha256: String,
    pub width: u32,
    pub height: u32,
}

/// Why a job failed, as its owner reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobError {
    pub code: String,
    pub message: String,
    /// Whether asking for the same job again may help.
    pub retryable: bool,
}

/// A permanent failure that one untrusted host reported and that waits for a second host's word.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suspicion {
    pub host: String,
    pub at: Millis,
    pub error: JobError,
}

/// A file that a job made; child of its job, never with a URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    pub name: String,
    pub content_type: String,
    pub bytes: u64,
    pub sha256: String,
    pub key: String,
}

/// One piece of work asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub v: u32,
    pub job_id: JobId,
    pub account_id: AccountId,
    pub kind: String,
    pub capability: String,
    /// The validated parameters, as JSON text: numbers keep their form whatever the store does with numbers.
    pub params: String,
    pub inputs: Vec<JobInput>,
    pub priority: Priority,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// The endpoint that its owner wants told of it, whatever that endpoint is told of otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<EndpointId>,
    /// The request that asked for it, so that one id leads from the gateway to the worker's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,

    pub state: State,
    /// Rises with every write; the order in which a client may believe what it is told.
    pub seq: u64,
    /// The newest attempt's number, the fencing token; 0 before the first.
    pub attempt: u32,
    pub failures: u32,
    pub quote_millicredits: i64,
    /// For a metered job: what each started second costs; the quote is the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter: Option<i64>,
    pub charged_millicredits: i64,
    pub hold_open: bool,

    pub created_at: Millis,
    pub queued_at: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_started_at: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Millis>,
    /// No claim before this.
    pub not_before: Millis,
    pub max_run_s: u64,

    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<InstanceId>,
    /// The host of the running attempt, where it is not the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Hosts at which an attempt failed, one that was drained not counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_on: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_id: Option<String>,
    /// Claims that opened an earlier attempt; a late copy of one opens no other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past_claims: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspicion: Option<Suspicion>,

    pub progress: f32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<JobError>,
    pub artifact_count: u32,

    /// Hints that maintenance has sent since the job was last queued.
    pub hints: u32,
    /// Present while the job is unfinished: its shard of the owed index, and when maintenance looks at it next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owed_shard: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_check_at: Option<Millis>,
}

impl Job {
    /// A job as it is asked for, before [`crate::machine`] has seen it: without parameters, inputs or price, and not accepted yet.
    pub fn draft(job_id: JobId, account_id: AccountId, kind: &str, capability: &str, max_run_s: u64, now: Millis) -> Self {
        Self {
            v: SCHEMA,
            job_id,
            account_id,
            kind: kind.to_owned(),
            capability: capability.to_owned(),
            params: "{}".to_owned(),
            inputs: vec![],
            priority: Priority::Standard,
            project_id: None,
            webhook: None,
            request_id: None,
            state: State::Queued,
            seq: 0,
            attempt: 0,
            failures: 0,
            quote_millicredits: 0,
            meter: None,
            charged_millicredits: 0,
            hold_open: false,
            created_at: now,
            queued_at: now,
            started_at: None,
            attempt_started_at: None,
            finished_at: None,
            not_before: now,
            max_run_s,
            lease_until: None,
            instance_id: None,
            host: None,
            failed_on: vec![],
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
}

/// Shards of the owed index.
pub const OWED_SHARDS: u32 = 16;

/// The shard of a thing in the owed index, by its id: `job#07`.
pub fn owed_shard(what: &str, id: &str) -> String {
    let hash = id.bytes().fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{what}#{:02}", hash % OWED_SHARDS)
}

/// What a message to a worker says. Only a hint: DynamoDB decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    pub version: u32,
    pub job_id: JobId,
    pub account_id: AccountId,
}

impl Hint {
    pub fn of(job: &Job) -> Self {
        Self { version: 1, job_id: job.job_id.clone(), account_id: job.account_id.clone() }
    }
}

/// What an account's item knows that the machine needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub available: i64,
    pub held: i64,
    /// Owed after credits went back that were spent already; any later increase pays it first. Never below zero.
    #[serde(default)]
    pub debt: i64,
    pub running: i64,
    pub queued: i64,
    /// The account's own caps, where an operator has set them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_running: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_queued: Option<i64>,
    #[serde(flatten)]
    pub today: Today,
    #[serde(flatten)]
    pub pace: Pace,
    /// Whether the account ever paid: the free tier's limits are for those that have not.
    #[serde(default)]
    pub paid: bool,
    /// The account's own daily limits, where an operator has set them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_inferences_day: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_edits_day: Option<i64>,
    /// The events that an enabled webhook endpoint of the account wants, so that a commit knows without a read of its own.
    #[serde(default, skip_serializing_if = "crate::hooks::Wanted::is_empty")]
    pub hook_events: crate::hooks::Wanted,
}

/// What an account has asked for on one day (UTC): each job is an inference, one that changes a photo is an edit too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Today {
    /// Days since 1970; the counts are of that day alone.
    #[serde(default)]
    pub day: i64,
    #[serde(default)]
    pub day_inferences: i64,
    #[serde(default)]
    pub day_edits: i64,
}

impl Today {
    /// The counts on `day`: none where the last ones are of an earlier day.
    pub fn on(self, day: i64) -> Self {
        if self.day == day { self } else { Self { day, ..Self::default() } }
    }
}

/// What an account has made in one minute: jobs, uploads, orders and whatever else a POST makes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Minutes since 1970; the count is of that minute alone.
    #[serde(default)]
    pub minute: i64,
    #[serde(default)]
    pub minute_made: i64,
}

/// Milliseconds of a minute.
pub const MINUTE: Millis = 60_000;

/// How a request that makes something counts for its account's minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub minute: i64,
    /// Whether the account's count is of an earlier minute, as it was read: then it begins anew.
    pub first: bool,
    /// What was made in this minute before, as it was read.
    pub made: i64,
    /// The account's limit of a minute.
    pub below: i64,
}

impl Pace {
    /// The next step, by what was read; `below` is the limit of a minute. A request that began before the minute turned, or whose clock is
    /// behind another's, counts for the later minute that it finds.
    pub fn step(self, below: u64, now: Millis) -> Step {
        let minute = now.div_euclid(MINUTE).max(self.minute);
        let first = self.minute != minute;
        Step { minute, first, made: if first { 0 } else { self.minute_made }, below: below as i64 }
    }
}
