//! The functions, as they use the machine: read, decide, commit, and after a lost race or an answer that never came,
//! read and decide again. A server may die before the commit, and between the commit and what it promised to send.

use crate::plan::Fault;
use crate::seen::Seen;
use crate::table::{Origin, Write};
use crate::worker::{Answer, Stamp};
use crate::world::{Event, World};
use kiln_core::job::{Job, JobError, State};
use kiln_core::machine::{self, Change, Claim, Failure, Lost, Refusal, Standing, Step, Sweep};
use kiln_core::time::Millis;

/// How often a server decides again before it answers 503.
const MOST_TRIES: u8 = 8;

#[derive(Debug, Clone, PartialEq)]
pub enum What {
    Submit { key: usize },
    Cancel { key: usize },
    Register,
    Claim { claim_id: String },
    Beat { attempt: u32 },
    Declare { attempt: u32 },
    Complete { attempt: u32 },
    Fail { attempt: u32, failure: Failure },
    Sweep,
    Rearm,
}

/// One request. Its worker is who its token says, whatever else it claims.
#[derive(Debug, Clone)]
pub struct Call {
    pub what: What,
    pub job: usize,
    pub worker: Option<usize>,
    /// Who waits for the answer, if anybody does.
    pub stamp: Option<Stamp>,
    pub tries: u8,
}

impl Call {
    pub fn customer(what: What) -> Self {
        Self { what, job: usize::MAX, worker: None, stamp: None, tries: 0 }
    }
}

#[derive(Debug)]
pub struct Pending {
    call: Call,
    write: Write,
    answer: Answer,
    /// Given up by its server, and yet under way.
    ghost: bool,
}

#[derive(Debug)]
pub struct After {
    call: Call,
    answer: Answer,
    job: usize,
    account: usize,
    hint: Option<Millis>,
    swept_hint: bool,
    freed: bool,
}

enum Decision {
    Answer(Answer),
    Write(Box<Write>, Answer),
}

impl World {
    pub fn arrive(&mut self, call: Call) {
        match self.decide(&call) {
            Decision::Answer(answer) => self.reply(&call, answer),
            Decision::Write(write, answer) => {
                let rates = (self.plan.rates.crash_before_commit, self.plan.rates.pause);
                if self.strikes(rates.0, Seen::CrashBefore) {
                    return self.say(|| format!("the server dies before it commits {:?}", call.what));
                }
                let pause = self.strikes(rates.1, Seen::Paused);
                let wait = if pause { self.rng.i64(500..2 * self.plan.settings.lease().max(1_000)) } else { self.rng.i64(2..20) };
                self.after(wait, Event::Commit(Box::new(Pending { call, write: *write, answer, ghost: false })));
            }
        }
    }

    fn reply(&mut self, call: &Call, answer: Answer) {
        if let Some(stamp) = call.stamp {
            self.send_answer(stamp, answer);
        }
    }

    fn again(&mut self, mut call: Call) {
        call.tries += 1;
        if call.tries > MOST_TRIES {
            return self.reply(&call, Answer::Unavailable);
        }
        let wait = self.rng.i64(3..60);
        self.after(wait, Event::Arrive(Box::new(call)));
    }

    pub fn commit(&mut self, pending: Pending) {
        let rates = self.plan.rates.clone();
        if !pending.ghost {
            if self.strikes(rates.conflict, Seen::Throttled) {
                return self.again(pending.call);
            }
            if self.rng.f64() < rates.ghost && self.now < self.plan.calm_from {
                let call = pending.call.clone();
                let wait = self.rng.i64(5..5_000);
                self.after(wait, Event::Commit(Box::new(Pending { ghost: true, ..pending })));
                return self.again(call);
            }
        }
        let lag = if self.plan.index_lag == 0 { 0 } else { self.rng.i64(0..if self.now < self.plan.calm_from { self.plan.index_lag } else { 500 }) };
        let frees = matches!(pending.write.change.slot, machine::SlotChange::Free { .. });
        let free = !(frees && self.strikes(rates.free_lost, Seen::FreeLost));
        let Some(applied) = self.table.commit(&pending.write, self.now, lag, free, self.fault) else {
            if !pending.ghost {
                self.saw(Seen::Conflict);
                self.again(pending.call);
            }
            return;
        };
        if pending.ghost {
            self.saw(Seen::Ghost);
        }
        let verdict = self.checker.applied(&self.table, &self.plan, &pending.write, &applied, self.now);
        self.note(&pending.write, applied.job, applied.old.as_ref());
        self.check(verdict);
        if pending.ghost {
            return;
        }
        if self.strikes(rates.ambiguous, Seen::Ambiguous) {
            self.say(|| "  … but its answer is lost".into());
            return self.again(pending.call);
        }
        if self.strikes(rates.crash_after_commit, Seen::CrashAfter) {
            return self.say(|| "  … and the server dies before it sends anything".into());
        }
        let change = &pending.write.change;
        let after = After {
            job: applied.job,
            account: pending.write.account,
            hint: change.hint_after(self.now),
            swept_hint: pending.write.origin == Origin::Sweep { hint: true },
            freed: change.frees_a_slot(),
            call: pending.call,
            answer: pending.answer,
        };
        let wait = self.rng.i64(1..10);
        self.after(wait, Event::After(Box::new(after)));
    }

    pub fn after_commit(&mut self, after: After) {
        if let Some(wait) = after.hint {
            self.saw(Seen::QueueHint);
            self.send_hint(after.job, wait);
        }
        if after.swept_hint && self.fault != Some(Fault::HintsForgotten) {
            self.saw(Seen::SweepHint);
            self.send_hint(after.job, 0);
        }
        if after.freed {
            let counters = &self.table.accounts[after.account].counters;
            let slots = machine::running_cap(counters, &self.plan.settings) - counters.running;
            for job in self.table.oldest_due(after.account, self.now, slots.max(0) as usize) {
                self.saw(Seen::FreedHint);
                let verdict = self.checker.freed_hint(&self.table, job);
                self.check(verdict);
                self.send_hint(job, 0);
            }
        }
        self.reply(&after.call, after.answer);
    }

    fn decide(&mut self, call: &Call) -> Decision {
        let clock = self.clock();
        match &call.what {
            What::Submit { key } => self.submit(*key, clock),
            What::Register => self.register(call.worker.unwrap_or(0), clock),
            What::Cancel { key } => match self.table.keys[*key] {
                Some(job) => self.decide_on(call, job, clock),
                None => Decision::Answer(Answer::Done),
            },
            _ => self.decide_on(call, call.job, clock),
        }
    }

    fn submit(&mut self, key: usize, clock: Millis) -> Decision {
        if self.table.keys[key].is_some() && self.fault != Some(Fault::KeyForgotten) {
            self.saw(Seen::SubmitRepeated);
            return Decision::Answer(Answer::Done);
        }
        let request = self.plan.requests[key].clone();
        let account = &self.table.accounts[request.account];
        if account.closed {
            return Decision::Answer(Answer::Done);
        }
        let draft = request.draft(account.id.clone(), clock, self.rng.u128(..));
        let change = machine::submit(draft, &account.counters, &self.plan.settings, clock);
        if change.account.needs_available.is_some_and(|needed| account.counters.available < needed) {
            self.saw(Seen::NoCredit);
            return Decision::Answer(Answer::Done);
        }
        if change.account.queued_below.is_some_and(|cap| account.counters.queued >= cap) {
            self.saw(Seen::QueueFull);
            return Decision::Answer(Answer::Done);
        }
        let write = Write { change, job: None, account: request.account, origin: Origin::Submit { key }, slot: None, decided_at: clock };
        Decision::Write(Box::new(write), Answer::Done)
    }

    fn register(&mut self, worker: usize, clock: Millis) -> Decision {
        let Some((job, attempt)) = self.table.slots[worker] else { return Decision::Answer(Answer::Done) };
        let (stored, instance) = (&self.table.jobs[job], &self.table.instances[worker]);
        match machine::abandoned(stored, instance, attempt, &self.plan.settings, clock) {
            Some(change) => self.write(change, job, Origin::Abandoned { worker, attempt }, clock, Answer::Done),
            None => Decision::Answer(Answer::Done),
        }
    }

    /// A decision about a job that was read just now.
    fn decide_on(&mut self, call: &Call, number: usize, clock: Millis) -> Decision {
        let job = self.table.jobs[number].clone();
        let worker = call.worker.unwrap_or(0);
        match &call.what {
            What::Claim { claim_id } => self.claim(job, number, worker, claim_id, clock),
            What::Beat { attempt } => self.beat(job, number, worker, *attempt, clock),
            What::Declare { attempt } => {
                let may = machine::may_upload(&job, &self.table.instances[worker], *attempt);
                if !may {
                    self.saw(Seen::UploadRefused);
                }
                Decision::Answer(if may { Answer::Put } else { Answer::Gone })
            }
            What::Complete { attempt } => self.complete(job, number, worker, *attempt, clock),
            What::Fail { attempt, failure } => self.fail(job, number, worker, *attempt, *failure, clock),
            What::Cancel { .. } => self.cancel(job, number, clock),
            What::Rearm => match machine::rearm(&job, &self.plan.settings, clock) {
                Some(mut change) => {
                    if self.fault == Some(Fault::RearmPutsOffForever) {
                        change.after.next_check_at = Some(clock + self.plan.settings.hint_after(change.after.hints));
                    }
                    self.write(change, number, Origin::Rearm, clock, Answer::Done)
                }
                None => Decision::Answer(Answer::Done),
            },
            _ => self.sweep(job, number, clock),
        }
    }

    fn claim(&mut self, mut job: Job, number: usize, worker: usize, claim_id: &str, clock: Millis) -> Decision {
        let account = self.table.owner[number].0;
        let blind = self.fault == Some(Fault::SlotTakenBlindly);
        if self.fault == Some(Fault::LiveLeaseTaken) {
            job.lease_until = job.lease_until.map(|_| 0);
        }
        let speaker = machine::Worker { busy: !blind && self.table.busy(worker, number), ..self.speaker(worker) };
        match machine::claim(&job, &self.table.accounts[account].counters, &speaker, claim_id, &self.plan.settings, clock) {
            Ok(Claim::New(mut change)) => {
                if self.fault == Some(Fault::TakeoverRaisesRunning) && job.state == State::Running {
                    change.account.running = 1;
                }
                let attempt = change.after.attempt;
                self.write(*change, number, Origin::Claim { worker, claim_id: claim_id.to_owned() }, clock, Answer::Claimed { attempt })
            }
            Ok(Claim::Again) => {
                self.saw(Seen::ClaimAgain);
                Decision::Answer(Answer::Claimed { attempt: job.attempt })
            }
            Err(refusal) => {
                self.saw(match refusal {
                    Refusal::JobGone | Refusal::JobFinished => Seen::JobFinished,
                    Refusal::ClaimUsed => Seen::ClaimUsed,
                    Refusal::LeaseLive => Seen::LeaseLive,
                    Refusal::AccountFull => Seen::AccountFull,
                    Refusal::NotDue => Seen::NotDue,
                    Refusal::Exhausted => Seen::Exhausted,
                    Refusal::WorkerBusy => Seen::WorkerBusy,
                    Refusal::WorkerDraining => Seen::WorkerDraining,
                    Refusal::Incapable => Seen::Incapable,
                    Refusal::Excluded => Seen::Excluded,
                });
                self.say(|| format!("worker {worker}'s claim {claim_id} of job {number} is refused: {}", refusal.code()));
                Decision::Answer(Answer::Refused(refusal))
            }
        }
    }

    fn speaker(&self, worker: usize) -> machine::Worker<'_> {
        let plan = &self.plan.workers[worker];
        machine::Worker {
            instance_id: &self.table.instances[worker],
            host: &self.plan.hosts[plan.host],
            trusted: plan.trusted,
            capabilities: &self.workers[worker].capabilities,
            draining: self.workers[worker].draining,
            busy: false,
        }
    }

    fn beat(&mut self, job: Job, number: usize, worker: usize, attempt: u32, clock: Millis) -> Decision {
        let any = self.fault == Some(Fault::HeartbeatOfAnyAttempt);
        let instance = job.instance_id.clone().filter(|_| any).unwrap_or_else(|| self.table.instances[worker].clone());
        let checked = if any { job.attempt } else { attempt };
        match machine::heartbeat(&job, &instance, checked, 0.5, Some("network"), &self.plan.settings, clock) {
            Ok(change) => self.write(*change, number, Origin::Beat { worker, attempt }, clock, Answer::Done),
            Err(lost) => {
                self.saw(match lost {
                    Lost::Cancelled => Seen::BeatCancelled,
                    Lost::Superseded => Seen::BeatSuperseded,
                    Lost::RanTooLong => Seen::BeatTooLong,
                });
                Decision::Answer(Answer::Lost)
            }
        }
    }

    fn complete(&mut self, job: Job, number: usize, worker: usize, attempt: u32, clock: Millis) -> Decision {
        let any = self.fault == Some(Fault::CompleteOfAnyAttempt);
        let instance = job.instance_id.clone().filter(|_| any).unwrap_or_else(|| self.table.instances[worker].clone());
        let checked = if any { job.attempt } else { attempt };
        match machine::complete(&job, &instance, checked, 1, clock) {
            Ok(Step::New(mut change)) => {
                if !self.uploads.contains(&(number, attempt)) && self.fault != Some(Fault::UploadUnchecked) {
                    self.saw(Seen::CompleteNoUpload);
                    return Decision::Answer(Answer::Gone);
                }
                if job.lease_until.is_some_and(|until| until <= clock) {
                    self.saw(Seen::CompleteAfterLease);
                }
                if let Some(step) = change.money.as_mut().filter(|_| self.fault == Some(Fault::Overcharge)) {
                    step.d_available -= 1;
                }
                self.write(*change, number, Origin::Complete { worker, attempt }, clock, Answer::Done)
            }
            Ok(Step::Again) => {
                self.saw(Seen::CompleteAgain);
                Decision::Answer(Answer::Done)
            }
            Err(state) => {
                self.saw(Seen::CompleteLate);
                self.say(|| format!("worker {worker}'s complete of job {number}, attempt {attempt}, is refused: the job is {state:?}"));
                Decision::Answer(Answer::Gone)
            }
        }
    }

    fn fail(&mut self, job: Job, number: usize, worker: usize, attempt: u32, failure: Failure, clock: Millis) -> Decision {
        let error = JobError { code: "engine".into(), message: "The engine failed.".into(), retryable: true };
        let trusted = self.plan.workers[worker].trusted || self.fault == Some(Fault::LiarBelieved);
        let speaker = machine::Worker { trusted, ..self.speaker(worker) };
        match machine::fail(&job, &speaker, attempt, failure, error, &self.plan.settings, clock) {
            Ok(Step::New(change)) => self.write(*change, number, Origin::Fail { worker, attempt, failure }, clock, Answer::Done),
            Ok(Step::Again) => {
                self.saw(Seen::FailAgain);
                Decision::Answer(Answer::Done)
            }
            Err(_) => {
                self.saw(Seen::FailLate);
                Decision::Answer(Answer::Gone)
            }
        }
    }

    fn cancel(&mut self, job: Job, number: usize, clock: Millis) -> Decision {
        match machine::cancel(&job, clock) {
            Ok(Step::New(change)) => self.write(*change, number, Origin::Cancel, clock, Answer::Done),
            Ok(Step::Again) => {
                self.saw(Seen::CancelAgain);
                Decision::Answer(Answer::Done)
            }
            Err(_) if self.fault == Some(Fault::CancelTooLate) => {
                let open = Job { state: State::Running, ..job.clone() };
                let Ok(Step::New(change)) = machine::cancel(&open, clock) else { return Decision::Answer(Answer::Gone) };
                self.write(Change { before: Some(job), ..*change }, number, Origin::Cancel, clock, Answer::Done)
            }
            Err(_) => {
                self.saw(Seen::CancelLate);
                Decision::Answer(Answer::Gone)
            }
        }
    }

    fn sweep(&mut self, mut job: Job, number: usize, clock: Millis) -> Decision {
        let owner = self.table.owner[number].0;
        let account = &self.table.accounts[owner];
        let cap = machine::running_cap(&account.counters, &self.plan.settings);
        let standing = if account.closed {
            Standing::Gone
        } else if account.counters.running >= cap {
            Standing::Full
        } else {
            Standing::Open { first: self.table.oldest_due(owner, clock, cap as usize + 8).contains(&number) }
        };
        if self.fault == Some(Fault::StaleRowBelieved) {
            job.next_check_at = job.next_check_at.map(|_| clock);
        }
        match machine::sweep(&job, standing, &self.plan.settings, clock) {
            Sweep::Nothing => {
                self.saw(Seen::SweepStale);
                Decision::Answer(Answer::Done)
            }
            Sweep::Later { change, hint } => self.write(*change, number, Origin::Sweep { hint }, clock, Answer::Done),
            Sweep::Act(change) => self.write(*change, number, Origin::Sweep { hint: false }, clock, Answer::Done),
        }
    }

    /// The transaction for a change, with the planted faults that sit in the change itself.
    fn write(&mut self, mut change: Change, job: usize, origin: Origin, clock: Millis, answer: Answer) -> Decision {
        let account = self.table.owner[job].0;
        if self.fault == Some(Fault::LastFailureKeepsHold) && change.after.state == State::Failed {
            change.money = None;
        }
        if self.fault == Some(Fault::PastClaimsForgotten) {
            change.after.past_claims.clear();
        }
        let slot = match &origin {
            Origin::Claim { worker, .. } => self.table.slots[*worker],
            _ => None,
        };
        Decision::Write(Box::new(Write { change, job: Some(job), account, origin, slot, decided_at: clock }), answer)
    }

    /// Counts what an applied transaction was, and tells it to the trace.
    fn note(&mut self, write: &Write, number: usize, old: Option<&Job>) {
        let new = write.change.after.clone();
        let was = old.map(|old| old.state);
        match &write.origin {
            Origin::Submit { .. } => self.saw(Seen::Submitted),
            Origin::Claim { .. } => self.saw(if was == Some(State::Running) { Seen::TakenOver } else { Seen::Claimed }),
            Origin::Beat { .. } => self.saw(Seen::Beat),
            Origin::Fail { failure, .. } => {
                self.saw(match failure {
                    Failure::Retryable => Seen::Retryable,
                    Failure::Permanent => Seen::Permanent,
                    Failure::Drained => Seen::Drained,
                });
                if *failure == Failure::Permanent && new.state == State::Queued {
                    self.saw(Seen::Suspected);
                }
            }
            Origin::Abandoned { .. } => self.saw(Seen::Abandoned),
            Origin::Rearm => self.saw(Seen::Rearmed),
            Origin::Sweep { .. } => self.saw(match (was, new.state) {
                (Some(State::Running), State::Queued | State::Failed) => Seen::SweptLease,
                (_, State::Failed) => match new.error.as_ref().map(|error| error.code.as_str()) {
                    Some("waited_too_long") => Seen::SweptWaited,
                    Some("account_gone") => Seen::SweptGone,
                    _ => Seen::SuspicionBelieved,
                },
                _ => Seen::SweepLater,
            }),
            Origin::Complete { .. } | Origin::Cancel => {}
        }
        match new.state {
            State::Succeeded => self.saw(Seen::Succeeded),
            State::Failed => self.saw(Seen::Failed),
            State::Cancelled => self.saw(Seen::Cancelled),
            _ => {}
        }
        self.say(|| {
            let was = was.map_or("new", |state| state.as_str());
            let look = new.next_check_at.map_or("never".to_owned(), |at| format!("{:.3} s", at as f64 / 1000.0));
            format!(
                "job {number}: {was} → {}, attempt {}, failures {}, seq {}, next look {look}; by {:?}",
                new.state.as_str(),
                new.attempt,
                new.failures,
                new.seq,
                write.origin
            )
        });
    }
}
