//! The job machine: every change that a job may make, as pure functions from what was read to what must be written.
//!
//! A function gives a [`Change`], which the store commits in one transaction that holds only while the job is
//! still what it was (`seq`, state and attempt), or a refusal. Whoever calls repeats "read, decide, commit" when
//! the commit finds that the job has moved on; so each function also knows its own repetition (`Again`).
//! DESIGN.md section 4 says why the rules are what they are; `tests/` holds a model that attacks them.

use crate::ids::InstanceId;
use crate::job::{Counters, Job, JobError, SCHEMA, State, Suspicion, owed_shard};
use crate::ledger::Move;
use crate::settings::Settings;
use crate::time::{Millis, seconds};

/// What a transaction adds to an account's counters, and what must hold before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AccountDelta {
    pub running: i64,
    pub queued: i64,
    /// `available` must be at least this.
    pub needs_available: Option<i64>,
    pub running_below: Option<i64>,
    pub queued_below: Option<i64>,
    /// A new job counts for its day, and for its minute as whatever is made.
    pub daily: Option<Daily>,
    pub step: Option<crate::job::Step>,
}

/// How new jobs count for their account's day, and the limits that must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Daily {
    /// Days since 1970, UTC.
    pub day: i64,
    /// Whether the account's counts are of an earlier day, as it was read: then they begin anew.
    pub first: bool,
    /// How many they are, and how many of them change a photo.
    pub jobs: i64,
    pub edits: i64,
    /// The count before them must be below this.
    pub inferences_below: Option<i64>,
    pub edits_below: Option<i64>,
}

/// Milliseconds of a day.
pub const DAY: Millis = 86_400_000;

/// The account's limits of a day, inferences and edits; `None` where there is none. Whoever has paid has none of the free tier's.
pub fn daily_limits(counters: &Counters, settings: &Settings) -> (Option<i64>, Option<i64>) {
    let free = |limit: u64| (!counters.paid).then_some(limit as i64);
    (counters.max_inferences_day.or(free(settings.free_inferences_day)), counters.max_edits_day.or(free(settings.free_edits_day)))
}

/// What a transaction does to the worker's slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotChange {
    Keep,
    /// The slot takes this job's new attempt; it must still be as it was read.
    Take {
        instance_id: InstanceId,
    },
    /// The slot is free again, if it still holds this attempt (if not, that is no reason to stop).
    Free {
        instance_id: InstanceId,
    },
}

/// One transaction: the job before and after, and what goes with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// `None` for a new job. The stored job must still have this one's `seq`, state and attempt.
    pub before: Option<Job>,
    pub after: Job,
    pub account: AccountDelta,
    pub slot: SlotChange,
    pub money: Option<Move>,
    /// The one host at which the job had failed, where another has done it now: that was the host's fault and not the job's.
    pub fault: Option<String>,
}

impl Change {
    fn of(before: &Job, after: Job) -> Self {
        Self { before: Some(before.clone()), after, account: AccountDelta::default(), slot: SlotChange::Keep, money: None, fault: None }
    }

    /// Whether the commit leaves room for another job of the account to start.
    pub fn frees_a_slot(&self) -> bool {
        self.account.running < 0
    }

    /// Whether the job is to be hinted to the workers after the commit, and after how long.
    pub fn hint_after(&self, now: Millis) -> Option<Millis> {
        let was_queued = self.before.as_ref().is_some_and(|job| job.state == State::Queued);
        (self.after.state == State::Queued && !was_queued).then(|| (self.after.not_before - now).max(0))
    }
}

/// Why a claim was refused. The worker deletes the message when [`Refusal::about_the_job`], else gives it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    JobGone,
    JobFinished,
    /// This claim already opened an attempt that has ended since.
    ClaimUsed,
    LeaseLive,
    AccountFull,
    NotDue,
    /// Its lease is dead and it may not be tried again; maintenance will end it.
    Exhausted,
    WorkerBusy,
    WorkerDraining,
    Incapable,
    Excluded,
}

impl Refusal {
    pub const ALL: [Refusal; 11] = [
        Refusal::JobGone,
        Refusal::JobFinished,
        Refusal::ClaimUsed,
        Refusal::LeaseLive,
        Refusal::AccountFull,
        Refusal::NotDue,
        Refusal::Exhausted,
        Refusal::WorkerBusy,
        Refusal::WorkerDraining,
        Refusal::Incapable,
        Refusal::Excluded,
    ];

    pub fn code(self) -> &'static str {
        match self {
            Refusal::JobGone => "job_not_found",
            Refusal::JobFinished => "job_finished",
            Refusal::ClaimUsed => "claim_used",
            Refusal::LeaseLive => "lease_live",
            Refusal::AccountFull => "account_full",
            Refusal::NotDue => "not_due",
            Refusal::Exhausted => "exhausted",
            Refusal::WorkerBusy => "worker_busy",
            Refusal::WorkerDraining => "worker_draining",
            Refusal::Incapable => "incapable",
            Refusal::Excluded => "excluded",
        }
    }

    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.code() == code)
    }

    pub fn about_the_job(self) -> bool {
        !matches!(self, Refusal::WorkerBusy | Refusal::WorkerDraining | Refusal::Incapable | Refusal::Excluded)
    }
}

/// What the machine needs to know of the worker that speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker<'a> {
    pub instance_id: &'a InstanceId,
    /// Which physical host it is; two instances on one host are not two witnesses.
    pub host: &'a str,
    /// The operator's own machine: its word is enough.
    pub trusted: bool,
    pub capabilities: &'a [String],
    pub draining: bool,
    /// It holds a live attempt of some other job.
    pub busy: bool,
}

/// A new job is queued and owed, its quote held. `job` comes with its identity, spec and price; the rest is set here.
pub fn submit(job: Job, counters: &Counters, settings: &Settings, now: Millis) -> Change {
    let job = queued(job, settings, now);
    let account = AccountDelta {
        queued: 1,
        needs_available: Some(job.quote_millicredits),
        queued_below: Some(queued_cap(counters, settings)),
        daily: Some(daily(std::slice::from_ref(&job), counters, settings, now)),
        step: Some(counters.pace.step(settings.creates_per_minute, now)),
        ..AccountDelta::default()
    };
    let money = Some(Move::hold(job.quote_millicredits));
    Change { before: None, after: job, account, slot: SlotChange::Keep, money, fault: None }
}

/// A job as it begins.
pub(crate) fn queued(mut job: Job, settings: &Settings, now: Millis) -> Job {
    job.v = SCHEMA;
    job.state = State::Queued;
    job.seq = 1;
    job.hold_open = true;
    job.created_at = now;
    job.queued_at = now;
    job.not_before = now;
    job.owed_shard = Some(owed_shard("job", job.job_id.as_str()));
    job.next_check_at = Some(first_look(&job, settings));
    job
}

/// How these jobs, all of them or none, count for the account's day.
pub(crate) fn daily(new: &[Job], counters: &Counters, settings: &Settings, now: Millis) -> Daily {
    let (inferences, edits) = daily_limits(counters, settings);
    // Of two clocks around midnight the later one's day holds.
    let day = now.div_euclid(DAY).max(counters.today.day);
    let jobs = new.len() as i64;
    let changed = new.iter().filter(|job| crate::kinds::find(&job.kind, true).is_some_and(|kind| kind.edit)).count() as i64;
    let (inferences_below, edits_below) = (inferences.map(|limit| limit - jobs + 1), edits.filter(|_| changed > 0).map(|limit| limit - changed + 1));
    Daily { day, first: counters.today.day != day, jobs, edits: changed, inferences_below, edits_below }
}

/// The account's cap on running jobs.
pub fn running_cap(counters: &Counters, settings: &Settings) -> i64 {
    counters.max_running.unwrap_or(settings.account_running as i64)
}

/// The account's cap on queued jobs.
pub fn queued_cap(counters: &Counters, settings: &Settings) -> i64 {
    counters.max_queued.unwrap_or(settings.account_queued as i64)
}

#[derive(Debug, Clone, PartialEq)]
pub enum Claim {
    New(Box<Change>),
    /// This claim was answered before; here is the same attempt again.
    Again,
}

/// A worker asks for a job. A running attempt whose lease is dead is taken over: the running count stays as it is.
pub fn claim(job: &Job, counters: &Counters, worker: &Worker, claim_id: &str, settings: &Settings, now: Millis) -> Result<Claim, Refusal> {
    let ours = job.claim_id.as_deref() == Some(claim_id) && job.instance_id.as_ref() == Some(worker.instance_id);
    if job.state == State::Running && ours {
        return Ok(Claim::Again);
    }
    if job.state.ended() {
        return Err(Refusal::JobFinished);
    }
    if job.claim_id.as_deref() == Some(claim_id) || job.past_claims.iter().any(|past| past == claim_id) {
        return Err(Refusal::ClaimUsed);
    }
    if worker.draining {
        return Err(Refusal::WorkerDraining);
    }
    if worker.busy {
        return Err(Refusal::WorkerBusy);
    }
    if !worker.capabilities.contains(&job.capability) {
        return Err(Refusal::Incapable);
    }
    if !worker.trusted && job.suspicion.as_ref().is_some_and(|suspicion| suspicion.host == worker.host) {
        return Err(Refusal::Excluded);
    }
    let mut account = AccountDelta::default();
    let mut after = job.clone();
    match job.state {
        State::Queued => {
            if now < job.not_before {
                return Err(Refusal::NotDue);
            }
            let cap = running_cap(counters, settings);
            if counters.running >= cap {
                return Err(Refusal::AccountFull);
            }
            account = AccountDelta { running: 1, queued: -1, running_below: Some(cap), ..account };
        }
        _ => {
            if job.lease_until.is_some_and(|until| until > now) {
                return Err(Refusal::LeaseLive);
            }
            if spent(job.failures + 1, job.attempt, settings) {
                return Err(Refusal::Exhausted);
            }
            after.failures += 1;
            blame(&mut after);
            after.past_claims.extend(after.claim_id.take());
        }
    }
    after.state = State::Running;
    after.seq += 1;
    after.attempt += 1;
    after.started_at = after.started_at.or(Some(now));
    after.attempt_started_at = Some(now);
    after.lease_until = Some(now + settings.lease());
    after.instance_id = Some(worker.instance_id.clone());
    after.host = (!worker.trusted).then(|| worker.host.to_owned());
    after.claim_id = Some(claim_id.to_owned());
    after.progress = 0.0;
    after.stage = None;
    after.hints = 0;
    after.next_check_at = Some(now + settings.lease());
    let slot = SlotChange::Take { instance_id: worker.instance_id.clone() };
    Ok(Claim::New(Box::new(Change { account, slot, ..Change::of(job, after) })))
}

/// Failures or attempts are used up: the job may not be queued again.
fn spent(failures: u32, attempt: u32, settings: &Settings) -> bool {
    u64::from(failures) >= settings.max_failures || u64::from(attempt) >= settings.max_attempts
}

fn holds(job: &Job, instance: &InstanceId, attempt: u32) -> bool {
    job.attempt == attempt && job.instance_id.as_ref() == Some(instance)
}

/// Why a worker's word about an attempt no longer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    Cancelled,
    /// The attempt is not the newest, or its job has ended otherwise.
    Superseded,
    /// Past the kind's `max_run_s`.
    RanTooLong,
}

/// Renews the attempt's lease and carries its progress.
pub fn heartbeat(
    job: &Job,
    instance: &InstanceId,
    attempt: u32,
    progress: f32,
    stage: Option<&str>,
    settings: &Settings,
    now: Millis,
) -> Result<Box<Change>, Lost> {
    if job.state == State::Cancelled && job.attempt == attempt {
        return Err(Lost::Cancelled);
    }
    if job.state != State::Running || !holds(job, instance, attempt) {
        return Err(Lost::Superseded);
    }
    if job.attempt_started_at.is_some_and(|start| now > start + seconds(job.max_run_s)) {
        return Err(Lost::RanTooLong);
    }
    let mut after = job.clone();
    after.seq += 1;
    after.lease_until = Some(now + settings.lease());
    if progress.is_finite() {
        after.progress = after.progress.max(progress.clamp(0.0, 1.0));
    }
    after.stage = stage.map(str::to_owned).or(after.stage);
    Ok(Box::new(Change::of(job, after)))
}

/// A step that may have been taken before.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    New(Box<Change>),
    Again,
}

/// Whether this attempt may still declare and upload artifacts.
pub fn may_upload(job: &Job, instance: &InstanceId, attempt: u32) -> bool {
    job.state == State::Running && holds(job, instance, attempt)
}

/// The attempt delivered: the job succeeds and its hold is captured. A lease that has lapsed is no obstacle while
/// nobody else has taken the job.
pub fn complete(job: &Job, instance: &InstanceId, attempt: u32, artifacts: u32, now: Millis) -> Result<Step, State> {
    if job.state == State::Succeeded && holds(job, instance, attempt) {
        return Ok(Step::Again);
    }
    if job.state != State::Running || !holds(job, instance, attempt) {
        return Err(job.state);
    }
    let mut change = end(job, State::Succeeded, None, now);
    change.after.progress = 1.0;
    change.after.stage = None;
    change.after.artifact_count = artifacts;
    let ran = job.attempt_started_at.map_or(0, |start| now - start);
    let charge = crate::price::charge(job.quote_millicredits, job.meter, ran);
    change.after.charged_millicredits = charge;
    change.money = Some(Move::capture(job.quote_millicredits, charge));
    // Failed at two hosts, it may be the job's own.
    change.fault = match job.failed_on.as_slice() {
        [host] if job.host.as_ref() != Some(host) => Some(host.clone()),
        _ => None,
    };
    Ok(Step::New(Box::new(change)))
}

/// How an attempt failed, in its worker's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// Another try may succeed.
    Retryable,
    /// No machine will ever do it.
    Permanent,
    /// The machine is going away; the attempt's number is used, a retry is not.
    Drained,
}

/// The attempt failed.
pub fn fail(job: &Job, worker: &Worker, attempt: u32, failure: Failure, error: JobError, settings: &Settings, now: Millis) -> Result<Step, State> {
    let reported = matches!(job.state, State::Queued | State::Failed) && job.attempt == attempt;
    if reported {
        return Ok(Step::Again);
    }
    if job.state != State::Running || !holds(job, worker.instance_id, attempt) {
        return Err(job.state);
    }
    let change = match failure {
        Failure::Drained => requeue(job, 0, JobError { retryable: true, ..error }, settings, now),
        Failure::Retryable => requeue(job, 1, JobError { retryable: true, ..error }, settings, now),
        Failure::Permanent => {
            let error = JobError { retryable: false, ..error };
            let second = job.suspicion.as_ref().is_some_and(|suspicion| suspicion.host != worker.host);
            if worker.trusted || second {
                end(job, State::Failed, Some(error), now)
            } else {
                let mut change = requeue(job, 0, error.clone(), settings, now);
                if change.after.state == State::Queued {
                    change.after.host = job.host.clone();
                    blame(&mut change.after);
                    change.after.suspicion = Some(Suspicion { host: worker.host.to_owned(), at: now, error });
                    change.after.next_check_at = Some(first_look(&change.after, settings));
                }
                change
            }
        }
    };
    Ok(Step::New(Box::new(change)))
}

/// Back to the queue after an attempt, or failed when its tries are used up.
fn requeue(job: &Job, failures: u32, error: JobError, settings: &Settings, now: Millis) -> Change {
    let failed = job.failures + failures;
    if spent(failed, job.attempt, settings) {
        let mut change = end(job, State::Failed, Some(error), now);
        change.after.failures = failed;
        return change;
    }
    let rest = if failures == 0 { 0 } else { settings.retry_after(failed) };
    let mut after = job.clone();
    after.state = State::Queued;
    after.seq += 1;
    after.failures = failed;
    after.queued_at = now;
    after.not_before = now + rest;
    after.lease_until = None;
    after.attempt_started_at = None;
    if failures > 0 {
        blame(&mut after);
    }
    after.host = None;
    let instance = after.instance_id.take();
    after.past_claims.extend(after.claim_id.take());
    after.progress = 0.0;
    after.stage = None;
    after.hints = 0;
    after.next_check_at = Some(first_look(&after, settings));
    let account = AccountDelta { running: -1, queued: 1, ..AccountDelta::default() };
    Change { account, slot: free(instance), ..Change::of(job, after) }
}

/// The running attempt failed at its host.
fn blame(job: &mut Job) {
    if let Some(host) = job.host.take().filter(|host| !job.failed_on.contains(host)) {
        job.failed_on.push(host);
    }
}

fn free(instance: Option<InstanceId>) -> SlotChange {
    instance.map_or(SlotChange::Keep, |instance_id| SlotChange::Free { instance_id })
}

/// The one way into an ended state: the hold closes (released here; a success captures it instead), the counters
/// go down, the owed row goes.
fn end(job: &Job, state: State, error: Option<JobError>, now: Millis) -> Change {
    let mut after = job.clone();
    after.state = state;
    after.seq += 1;
    after.finished_at = Some(now);
    after.hold_open = false;
    after.lease_until = None;
    after.owed_shard = None;
    after.next_check_at = None;
    after.error = error;
    let account = match job.state {
        State::Running => AccountDelta { running: -1, ..AccountDelta::default() },
        _ => AccountDelta { queued: -1, ..AccountDelta::default() },
    };
    let slot = if job.state == State::Running { free(job.instance_id.clone()) } else { SlotChange::Keep };
    Change { account, slot, money: Some(Move::release(job.quote_millicredits)), ..Change::of(job, after) }
}

/// The owner changes their mind; one immediate terminal write. `Err` when it ended otherwise first.
pub fn cancel(job: &Job, now: Millis) -> Result<Step, State> {
    match job.state {
        State::Cancelled => Ok(Step::Again),
        State::Queued | State::Running => Ok(Step::New(Box::new(end(job, State::Cancelled, None, now)))),
        ended => Err(ended),
    }
}

/// A worker process that registers again has lost what it was doing.
pub fn abandoned(job: &Job, instance: &InstanceId, attempt: u32, settings: &Settings, now: Millis) -> Option<Change> {
    (job.state == State::Running && holds(job, instance, attempt)).then(|| {
        let error = JobError { code: "worker_restarted".into(), message: "The worker was restarted while it worked on the job.".into(), retryable: true };
        requeue(job, 1, error, settings, now)
    })
}

/// The pool has ended the machine of this attempt, and it is gone: its number is used, a retry is not, and its host is not blamed.
pub fn given_back(job: &Job, instance: &InstanceId, attempt: u32, settings: &Settings, now: Millis) -> Option<Change> {
    (job.state == State::Running && holds(job, instance, attempt)).then(|| without_machine(job, settings, now))
}

/// The machine of a running attempt was taken away for somebody who pays more, or ended by the pool. Once its lease is over the attempt is, too: its
/// number is used, a retry is not, and its host is not blamed. Attempts are bounded all the same.
pub fn preempted(job: &Job, settings: &Settings, now: Millis) -> Option<Change> {
    let over = job.state == State::Running && job.lease_until.is_none_or(|until| until <= now);
    over.then(|| without_machine(job, settings, now))
}

fn without_machine(job: &Job, settings: &Settings, now: Millis) -> Change {
    let error = JobError { code: "preempted".into(), message: "The machine was taken away while it worked on the job.".into(), retryable: true };
    requeue(job, 0, error, settings, now)
}

/// What maintenance sees of a job's account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// No such account any more.
    Gone,
    /// All its running slots are taken: hints would be refused.
    Full,
    /// Its queued jobs may start; `first` when this one is among the first (running cap + 8) due ones.
    Open { first: bool },
}

/// What maintenance does with one row of the owed index.
#[derive(Debug, Clone, PartialEq)]
pub enum Sweep {
    /// The row is stale: the job has ended, or its next look is not due.
    Nothing,
    /// Look again later, and hint the workers after the write if `hint`.
    Later { change: Box<Change>, hint: bool },
    /// Requeue or end it.
    Act(Box<Change>),
}

/// Maintenance looks at an unfinished job whose `next_check_at` has come. The row that led here may be an old copy
/// (the index lags, ticks overlap), so the job itself must say so: else one due row is hinted over and over.
pub fn sweep(job: &Job, standing: Standing, settings: &Settings, now: Millis) -> Sweep {
    if job.next_check_at.is_some_and(|at| at > now) {
        return Sweep::Nothing;
    }
    match job.state {
        State::Running => {
            let until = job.lease_until.unwrap_or(now);
            if until > now {
                return later(job, until, false);
            }
            let error = JobError { code: "worker_lost".into(), message: "The worker stopped answering while it worked on the job.".into(), retryable: true };
            Sweep::Act(Box::new(requeue(job, 1, error, settings, now)))
        }
        State::Queued => {
            if standing == Standing::Gone {
                let error = JobError { code: "account_gone".into(), message: "The account no longer exists.".into(), retryable: false };
                return Sweep::Act(Box::new(end(job, State::Failed, Some(error), now)));
            }
            if let Some(suspicion) = job.suspicion.as_ref().filter(|_| now >= unclaimed_until(job, settings)) {
                return Sweep::Act(Box::new(end(job, State::Failed, Some(suspicion.error.clone()), now)));
            }
            if now >= job.queued_at + seconds(settings.max_wait_s) {
                let error = JobError {
                    code: "waited_too_long".into(),
                    message: format!("No worker took the job within {} s. Nothing was charged.", settings.max_wait_s),
                    retryable: true,
                };
                return Sweep::Act(Box::new(end(job, State::Failed, Some(error), now)));
            }
            if now < job.not_before {
                return later(job, deadline(job, settings).min(job.not_before), false);
            }
            let hint = standing == Standing::Open { first: true };
            let next = deadline(job, settings).min(now + settings.hint_after(job.hints + u32::from(hint)));
            later(job, next.max(now + 1), hint)
        }
        _ => Sweep::Nothing,
    }
}

/// When maintenance first looks at a job that was just queued: when its first hint must have been lost.
fn first_look(job: &Job, settings: &Settings) -> Millis {
    deadline(job, settings).min(job.not_before + settings.hint_after(0))
}

/// When a queued job that nobody claims must be ended; no look at it may be put off past this.
fn deadline(job: &Job, settings: &Settings) -> Millis {
    let waited = job.queued_at + seconds(settings.max_wait_s);
    if job.suspicion.is_some() { waited.min(unclaimed_until(job, settings)) } else { waited }
}

/// Until when another host may still claim a job that one host gave up for good. Counted from when it could last be
/// claimed and not from the first host's word: a second host that claimed in time and then died proves nothing.
fn unclaimed_until(job: &Job, settings: &Settings) -> Millis {
    job.queued_at.max(job.not_before) + seconds(settings.second_host_s)
}

fn later(job: &Job, at: Millis, hint: bool) -> Sweep {
    let mut after = job.clone();
    after.seq += 1;
    after.hints += u32::from(hint);
    after.next_check_at = Some(at);
    Sweep::Later { change: Box::new(Change::of(job, after)), hint }
}

/// A message about this job fell into the dead-letter queue: it is hinted again, later each time. Any number of such
/// messages (a host that is refused gives each back until it falls) leaves the job's deadline where it is.
pub fn rearm(job: &Job, settings: &Settings, now: Millis) -> Option<Change> {
    (job.state == State::Queued).then(|| {
        let mut after = job.clone();
        after.seq += 1;
        after.hints += 1;
        after.next_check_at = Some(deadline(job, settings).min(now.max(job.not_before) + settings.hint_after(after.hints)));
        Change::of(job, after)
    })
}

#[cfg(test)]
#[path = "machine_tests.rs"]
pub(crate) mod tests;
