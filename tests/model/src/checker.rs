//! The invariants of DESIGN.md section 3, checked against a history of its own at every transaction and at the end.
//! It knows nothing of the machine's reasoning: it keeps who opened which attempt and what each account must add up to.

use crate::plan::{Plan, Scene};
use crate::table::{Applied, Origin, Table, Write};
use kiln_core::job::{Job, State};
use kiln_core::ledger::{EntryKind, Sums, audit};
use kiln_core::machine::Failure;
use kiln_core::time::{Millis, seconds};
use std::collections::BTreeMap;

/// Servers' clocks differ by at most this, either way.
pub const SKEW: Millis = 40;

/// What the checker remembers of one job.
#[derive(Debug, Default)]
struct History {
    /// Who opened each attempt, from the first.
    attempts: Vec<usize>,
    /// Hosts that called the job hopeless by a report that counted.
    accusers: Vec<String>,
    /// When maintenance last hinted it, and how often, since it was queued.
    hints: (Option<Millis>, u32),
    /// Hints ever sent after slots came free.
    freed_hints: u64,
    /// Attempts that ended and count against `max_failures`.
    failures: u32,
    /// The last transaction: a paused server may commit a deadline that has passed already.
    changed_at: Millis,
}

#[derive(Debug, Default)]
pub struct Checker {
    jobs: Vec<History>,
    /// Which attempt each claim id opened.
    claims: BTreeMap<String, (usize, u32)>,
    /// Transactions that freed a slot, by account.
    freed: BTreeMap<usize, u64>,
}

type Verdict = Result<(), String>;

fn require(holds: bool, broken: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(broken()) }
}

impl Checker {
    /// Checks one applied transaction.
    pub fn applied(&mut self, table: &Table, plan: &Plan, write: &Write, applied: &Applied, now: Millis) -> Verdict {
        let (job, new) = (applied.job, &table.jobs[applied.job]);
        if self.jobs.len() <= job {
            self.jobs.resize_with(job + 1, History::default);
        }
        self.jobs[job].changed_at = now;
        let old = applied.old.as_ref();
        require(old.is_none_or(|old| !old.state.ended()), || format!("a finished job changed: {:?} by {:?}", old.map(|old| old.state), write.origin))?;
        require(permitted(old, new, &write.origin), || format!("no such change: {:?} to {:?} by {:?}", old.map(|old| old.state), new.state, write.origin))?;
        require(new.seq == old.map_or(0, |old| old.seq) + 1, || format!("seq went from {:?} to {}", old.map(|old| old.seq), new.seq))?;
        self.attempt(table, plan, write, job, old)?;
        self.failures(plan, write, job, old, new)?;
        let enters = new.state == State::Queued && old.is_none_or(|old| old.state != State::Queued);
        require(write.change.hint_after(now).is_some() == enters, || format!("{:?} to {:?}, hinted: {}", old.map(|old| old.state), new.state, !enters))?;
        let leaves = old.is_some_and(|old| old.state == State::Running) && new.state != State::Running;
        require(write.change.frees_a_slot() == leaves, || format!("{:?} to {:?}, a slot free: {}", old.map(|old| old.state), new.state, !leaves))?;
        self.ending(plan, write, job, old, new)?;
        self.hint(plan, write, job, old, new)?;
        require(new.hold_open != new.state.ended(), || format!("{:?} with hold_open {}", new.state, new.hold_open))?;
        require(new.owed_shard.is_some() != new.state.ended() && new.next_check_at.is_some() != new.state.ended(), || {
            format!("{:?}, owed {:?} at {:?}", new.state, new.owed_shard, new.next_check_at)
        })?;
        let listed = &table.listed[job];
        let expected: &[u32] = if new.state == State::Succeeded { &[new.attempt] } else { &[] };
        require(listed == expected, || format!("{:?} at attempt {} lists artifacts of attempts {listed:?}", new.state, new.attempt))?;
        if write.change.account.running < 0 {
            *self.freed.entry(write.account).or_default() += 1;
        }
        self.account(table, plan, write, now)
    }

    /// Attempts: one a claim, numbered from 1, and only the newest has a say.
    fn attempt(&mut self, table: &Table, plan: &Plan, write: &Write, job: usize, old: Option<&Job>) -> Verdict {
        let new = &table.jobs[job];
        let history = &mut self.jobs[job];
        let newest = history.attempts.len() as u32;
        match &write.origin {
            Origin::Claim { worker, claim_id } => {
                require(new.attempt == newest + 1, || format!("attempt {} after {newest}", new.attempt))?;
                require(u64::from(new.attempt) <= plan.settings.max_attempts, || format!("attempt {} of {}", new.attempt, plan.settings.max_attempts))?;
                let before = self.claims.insert(claim_id.clone(), (job, new.attempt));
                require(before.is_none(), || format!("claim {claim_id} opened {before:?} and attempt {}", new.attempt))?;
                let takeover = old.filter(|old| old.state == State::Running);
                require(takeover.is_none_or(|old| old.lease_until.is_some_and(|until| until <= write.decided_at)), || "a live lease was taken over".into())?;
                let early = old.is_some_and(|old| old.state == State::Queued && write.decided_at < old.not_before);
                require(!early, || "claimed before it was due".into())?;
                history.attempts.push(*worker);
                let running: Vec<_> = (0..table.jobs.len())
                    .filter(|other| table.jobs[*other].state == State::Running && table.jobs[*other].instance_id.as_ref() == Some(&table.instances[*worker]))
                    .collect();
                require(running.len() == 1, || format!("worker {worker} runs jobs {running:?} at once"))
            }
            Origin::Beat { worker, attempt }
            | Origin::Complete { worker, attempt }
            | Origin::Fail { worker, attempt, .. }
            | Origin::Abandoned { worker, attempt } => {
                let right = *attempt == newest && history.attempts.last() == Some(worker) && new.attempt == newest;
                require(right, || format!("{:?} took effect; the newest attempt is {newest} of worker {:?}", write.origin, history.attempts.last()))
            }
            _ => require(new.attempt == newest, || format!("attempt {} though {newest} was the newest", new.attempt)),
        }
    }

    /// A retryable failure and a lost worker count; a drained attempt and a suspicion don't; too many end the job.
    fn failures(&mut self, plan: &Plan, write: &Write, job: usize, old: Option<&Job>, new: &Job) -> Verdict {
        let history = &mut self.jobs[job];
        let was_running = old.is_some_and(|old| old.state == State::Running);
        let counts = match write.origin {
            Origin::Fail { failure, .. } => failure == Failure::Retryable,
            Origin::Abandoned { .. } | Origin::Claim { .. } => was_running,
            Origin::Sweep { .. } => was_running && new.state != State::Running,
            _ => false,
        };
        history.failures += u32::from(counts);
        let failures = history.failures;
        require(new.failures == failures, || format!("{failures} failures, the job says {}", new.failures))?;
        let may_go_on = u64::from(failures) < plan.settings.max_failures;
        require(new.state.ended() || may_go_on, || format!("{:?} after {failures} failures of {}", new.state, plan.settings.max_failures))
    }

    /// Why a job may end, and what closes its hold.
    fn ending(&mut self, plan: &Plan, write: &Write, job: usize, old: Option<&Job>, new: &Job) -> Verdict {
        let kind = write.change.money.map(|step| step.kind);
        let expected = match new.state {
            State::Queued if old.is_none() => Some(EntryKind::Hold),
            State::Succeeded => Some(EntryKind::Capture),
            State::Failed | State::Cancelled => Some(EntryKind::Release),
            _ => None,
        };
        require(kind == expected, || format!("{:?} moved {kind:?} where {expected:?} was due", new.state))?;
        if let Some(step) = write.change.money.filter(|step| step.kind != EntryKind::Hold) {
            let charged = -(step.d_available + step.d_held);
            require(step.d_held == -new.quote_millicredits && (0..=new.quote_millicredits).contains(&charged), || {
                format!("closed a hold of {} by {step:?}", new.quote_millicredits)
            })?;
            require(charged == new.charged_millicredits, || format!("charged {charged}, the job says {}", new.charged_millicredits))?;
        }
        let history = &mut self.jobs[job];
        if let Origin::Fail { worker, failure: Failure::Permanent, .. } = write.origin {
            let host = &plan.hosts[plan.workers[worker].host];
            if !history.accusers.contains(host) {
                history.accusers.push(host.clone());
            }
            let believed = plan.workers[worker].trusted
                || history.accusers.len() > 1
                || u64::from(new.attempt) >= plan.settings.max_attempts
                || u64::from(new.failures) >= plan.settings.max_failures;
            require(new.state != State::Failed || believed, || "one rented host's word ended the job".into())?;
        }
        let (Some(old), Origin::Sweep { .. }) = (old, &write.origin) else { return Ok(()) };
        let code = new.error.as_ref().map_or("", |error| error.code.as_str());
        match (old.state, new.state) {
            (State::Running, State::Queued | State::Failed) => {
                require(old.lease_until.is_some_and(|until| until <= write.decided_at), || "maintenance ended a live lease".into())
            }
            (State::Queued, State::Failed) if code == "waited_too_long" => {
                require(write.decided_at >= old.queued_at + seconds(plan.settings.max_wait_s), || "waited too long, too soon".into())
            }
            (State::Queued, State::Failed) if code != "account_gone" => {
                let claimable = write.decided_at - old.not_before.max(old.queued_at);
                require(!history.accusers.is_empty(), || format!("maintenance failed a queued job: {code}"))?;
                require(claimable >= seconds(plan.settings.second_host_s), || {
                    format!("one host's word was believed though others had only {claimable} ms to claim")
                })
            }
            _ => Ok(()),
        }
    }

    /// Maintenance's hints for one job back off.
    fn hint(&mut self, plan: &Plan, write: &Write, job: usize, old: Option<&Job>, new: &Job) -> Verdict {
        let history = &mut self.jobs[job];
        if new.state == State::Queued && old.is_none_or(|old| old.state != State::Queued) {
            history.hints = (Some(new.not_before), 0);
        }
        if write.origin != (Origin::Sweep { hint: true }) {
            return Ok(());
        }
        let (last, count) = history.hints;
        let wait = plan.settings.hint_after(count);
        let gap = last.map_or(0, |last| write.decided_at - last);
        history.hints = (Some(write.decided_at), count + 1);
        require(gap >= wait - 2 * SKEW, || format!("a storm: hint {} came {gap} ms after the one before, {wait} were due", count + 1))
    }

    /// The account's counters are the truth, in each instant.
    fn account(&self, table: &Table, plan: &Plan, write: &Write, now: Millis) -> Verdict {
        let account = &table.accounts[write.account];
        let count = |state| account.jobs.iter().filter(|job| table.jobs[**job].state == state).count() as i64;
        let (running, queued) = (count(State::Running), count(State::Queued));
        let counters = &account.counters;
        require((counters.running, counters.queued) == (running, queued), || {
            format!("the account counts {} running and {} queued; there are {running} and {queued}", counters.running, counters.queued)
        })?;
        let cap = counters.max_running.unwrap_or(plan.settings.account_running as i64);
        require(running <= cap, || format!("{running} running above the cap of {cap}"))?;
        let cap = counters.max_queued.unwrap_or(plan.settings.account_queued as i64);
        require(write.change.before.is_some() || queued <= cap, || format!("{queued} queued above the cap of {cap}"))?;
        require(counters.available >= 0, || format!("available is {}", counters.available))?;
        let held: i64 = account.jobs.iter().map(|job| &table.jobs[*job]).filter(|job| job.hold_open).map(|job| job.quote_millicredits).sum();
        require(counters.held == held, || format!("held is {}, the open holds sum to {held}", counters.held))?;
        let marked = account.markers.iter().map(|(_, job)| *job);
        let missing = account.jobs.iter().any(|job| (table.jobs[*job].state == State::Queued) != marked.clone().any(|marked| marked == *job));
        require(!missing, || format!("at {now} the markers {:?} aren't the queued jobs", account.markers))
    }

    /// A hint sent because a slot came free: at most one a job and freed slot.
    pub fn freed_hint(&mut self, table: &Table, job: usize) -> Verdict {
        let account = table.owner[job].0;
        let freed = self.freed.get(&account).copied().unwrap_or(0);
        let history = &mut self.jobs[job];
        history.freed_hints += 1;
        let sent = history.freed_hints;
        require(sent <= freed, || format!("a storm: job {job} was hinted {sent} times for {freed} freed slots"))
    }

    /// No unfinished job may be past the latest moment by which maintenance, undisturbed, has dealt with it.
    pub fn alive(&self, table: &Table, plan: &Plan, calm_since: Millis, slack: Millis, now: Millis) -> Verdict {
        for (number, job) in table.jobs.iter().enumerate().filter(|(_, job)| !job.state.ended()) {
            let due = match job.state {
                State::Running => job.lease_until.unwrap_or(0).min(job.attempt_started_at.unwrap_or(0) + seconds(job.max_run_s) + plan.settings.lease()),
                _ => {
                    let waited = job.queued_at + seconds(plan.settings.max_wait_s);
                    let alone = job.not_before.max(job.queued_at) + seconds(plan.settings.second_host_s);
                    if job.suspicion.is_some() { waited.min(alone) } else { waited }
                }
            };
            require(now <= due.max(calm_since).max(self.jobs[number].changed_at) + slack, || {
                format!(
                    "hung: job {number} is {:?} at attempt {}, next look at {:?}, {} ms past its time",
                    job.state,
                    job.attempt,
                    job.next_check_at,
                    now - due
                )
            })?;
        }
        Ok(())
    }

    /// When all is over: every job ended, and the books close.
    pub fn over(&self, table: &Table, plan: &Plan, uploads: &std::collections::BTreeSet<(usize, u32)>) -> Verdict {
        for (number, job) in table.jobs.iter().enumerate() {
            require(job.state.ended(), || format!("hung: job {number} is {:?}", job.state))?;
            require(plan.scene != Scene::Calm || job.state == State::Succeeded, || {
                format!("job {number} is {:?} though nothing went wrong: {:?}", job.state, job.error)
            })?;
            let waited = job.error.as_ref().is_some_and(|error| error.code == "waited_too_long");
            require(plan.scene != Scene::Patient || !waited, || format!("job {number} waited too long though an able worker was idle"))?;
            let entries = &table.accounts[table.owner[number].0].entries;
            let of = |holds: bool| entries.iter().filter(|entry| entry.cause == job.job_id.as_str() && (entry.kind == EntryKind::Hold) == holds).count();
            require((of(true), of(false)) == (1, 1), || format!("job {number} has {} holds and {} closes", of(true), of(false)))?;
            if job.state == State::Succeeded {
                require(uploads.contains(&(number, job.attempt)), || format!("job {number} was charged for attempt {} that delivered nothing", job.attempt))?;
            }
        }
        let mut keys: Vec<_> = table.owner.iter().map(|(_, key)| *key).collect();
        keys.sort_unstable();
        keys.dedup();
        require(keys.len() == table.jobs.len(), || "one idempotency key made two jobs".into())?;
        for account in &table.accounts {
            let open: Vec<_> = account
                .jobs
                .iter()
                .map(|job| &table.jobs[*job])
                .filter(|job| job.hold_open)
                .map(|job| (job.job_id.clone(), job.quote_millicredits, job.state.ended()))
                .collect();
            let wrong = audit(Sums { available: account.counters.available, held: account.counters.held }, &account.entries, &open, &[]);
            require(wrong.is_empty(), || wrong.join("; "))?;
            require((account.counters.held, account.counters.running, account.counters.queued) == (0, 0, 0), || format!("left over: {:?}", account.counters))?;
        }
        Ok(())
    }
}

/// Invariant 4: these changes and no other, each by whom it belongs to.
fn permitted(old: Option<&Job>, new: &Job, origin: &Origin) -> bool {
    use State::{Cancelled, Failed, Queued, Running, Succeeded};
    let from = old.map(|old| old.state);
    match origin {
        Origin::Submit { .. } => from.is_none() && new.state == Queued,
        Origin::Claim { .. } => matches!(from, Some(Queued | Running)) && new.state == Running,
        Origin::Beat { .. } => from == Some(Running) && new.state == Running,
        Origin::Complete { .. } => from == Some(Running) && new.state == Succeeded,
        Origin::Fail { .. } | Origin::Abandoned { .. } => from == Some(Running) && matches!(new.state, Queued | Failed),
        Origin::Cancel => matches!(from, Some(Queued | Running)) && new.state == Cancelled,
        Origin::Sweep { hint: true } | Origin::Rearm => from == Some(Queued) && new.state == Queued,
        Origin::Sweep { hint: false } => matches!((from, new.state), (Some(Queued), Queued | Failed) | (Some(Running), Running | Queued | Failed)),
    }
}
