//! The workers: poll, claim, beat, upload, report, repeat what got no answer. Any may die at any step, hang, be drained
//! or cut off; those on lying hosts also report falsely, complete late, and repeat or forge old calls.

use crate::queue::Received;
use crate::seen::Seen;
use crate::server::{Call, What};
use crate::world::{Event, World};
use kiln_core::job::Priority;
use kiln_core::machine::{Failure, Refusal};
use kiln_core::time::{Millis, seconds};

/// How often a worker repeats a call that got no answer.
const MOST_REPEATS: u32 = 3;
/// How long it waits for one.
const TIMEOUT: Millis = 4_000;

/// Which moment of which worker a timer or an answer belongs to; it counts only while that moment lasts.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    pub worker: usize,
    moment: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Until the process dies.
    Life(u64),
    /// Until it is done with the task at hand.
    Task(u64),
    /// Until its next step.
    Step(u64),
}

#[derive(Debug, Clone, Copy)]
pub enum Timer {
    Restart,
    Lie,
    Die,
    Drain,
    Beat,
    WorkDone,
    Uploaded,
    NoAnswer,
    PollAgain,
}

#[derive(Debug, Clone)]
pub enum Answer {
    Done,
    Unavailable,
    /// 409: the attempt is lost, or what it reports can't be so.
    Gone,
    Put,
    Claimed {
        attempt: u32,
    },
    Refused(Refusal),
    /// Stop working on the attempt.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Dead,
    Registering,
    Idle,
    BackingOff,
    Claiming,
    Working,
    Declaring,
    Uploading,
    Reporting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Deliver,
    /// Completes without having uploaded.
    Pretend,
    Fail(Failure),
    /// Never ends by itself.
    Hang,
    /// Sends no heartbeat and completes late.
    Stall,
}

#[derive(Debug, Clone)]
struct Task {
    job: usize,
    claim_id: String,
    message: u64,
    queue: usize,
    attempt: u32,
    outcome: Outcome,
}

#[derive(Debug)]
pub struct Worker {
    pub capabilities: Vec<String>,
    pub draining: bool,
    phase: Phase,
    life: u64,
    tasks: u64,
    steps: u64,
    task: Option<Task>,
    call: Option<What>,
    repeats: u32,
    claims: u64,
    /// Every attempt that it ever had: what a liar repeats.
    past: Vec<(usize, u32, String)>,
}

impl Worker {
    pub fn new(capabilities: Vec<String>) -> Self {
        Self { capabilities, draining: false, phase: Phase::Dead, life: 0, tasks: 0, steps: 0, task: None, call: None, repeats: 0, claims: 0, past: vec![] }
    }

    fn at(&self, moment: Moment) -> bool {
        match moment {
            Moment::Life(life) => life == self.life,
            Moment::Task(task) => task == self.tasks,
            Moment::Step(step) => step == self.steps,
        }
    }
}

impl World {
    pub fn life(&self, worker: usize) -> Stamp {
        Stamp { worker, moment: Moment::Life(self.workers[worker].life) }
    }

    fn task_stamp(&self, worker: usize) -> Stamp {
        Stamp { worker, moment: Moment::Task(self.workers[worker].tasks) }
    }

    fn step_stamp(&self, worker: usize) -> Stamp {
        Stamp { worker, moment: Moment::Step(self.workers[worker].steps) }
    }

    fn step(&mut self, worker: usize, phase: Phase) {
        self.workers[worker].steps += 1;
        self.workers[worker].phase = phase;
    }

    fn timer_in(&mut self, wait: Millis, stamp: Stamp, timer: Timer) {
        self.after(wait, Event::Timer { stamp, timer });
    }

    /// Sends a call and waits for its answer.
    fn ask(&mut self, worker: usize, phase: Phase, what: What) {
        self.workers[worker].repeats = 0;
        self.workers[worker].call = Some(what);
        self.ask_again(worker, phase);
    }

    fn ask_again(&mut self, worker: usize, phase: Phase) {
        self.step(worker, phase);
        let Some(what) = self.workers[worker].call.clone() else { return };
        let job = self.workers[worker].task.as_ref().map_or(usize::MAX, |task| task.job);
        let stamp = self.step_stamp(worker);
        self.say(|| format!("worker {worker} sends {what:?} for job {job}"));
        self.send_call(Call { what, job, worker: Some(worker), stamp: Some(stamp), tries: 0 });
        self.timer_in(TIMEOUT, stamp, Timer::NoAnswer);
    }

    /// Dies here, if it is its day; `true` when it did.
    fn dies(&mut self, worker: usize, at: Seen) -> bool {
        let dies = self.strikes(self.plan.rates.worker_dies, at);
        if dies {
            self.die(worker);
        }
        dies
    }

    fn die(&mut self, number: usize) {
        self.say(|| format!("worker {number} dies"));
        let worker = &mut self.workers[number];
        worker.life += 1;
        worker.tasks += 1;
        worker.task = None;
        self.step(number, Phase::Dead);
        let long = self.rng.f64() < 0.1;
        let back = if long { self.plan.calm_from.max(self.now) + 1_000 } else { self.now + self.rng.i64(500..40_000) };
        if back < self.plan.calm_from || self.plan.workers_return {
            let stamp = self.life(number);
            self.at(back, Event::Timer { stamp, timer: Timer::Restart });
            if self.plan.workers[number].liar {
                self.at(back + 1_000, Event::Timer { stamp, timer: Timer::Lie });
            }
        }
    }

    pub fn visible(&mut self, queue: usize) {
        let capability = queue / Priority::ALL.len();
        let mut able: Vec<_> = (0..self.workers.len()).filter(|worker| self.plan.workers[*worker].capabilities.contains(&capability)).collect();
        self.rng.shuffle(&mut able);
        for worker in able {
            self.poll(worker);
        }
    }

    /// Takes a message, if the worker is idle and one is there; rush first.
    fn poll(&mut self, worker: usize) {
        if self.workers[worker].phase != Phase::Idle {
            return;
        }
        let capabilities = self.plan.workers[worker].capabilities.clone();
        for priority in 0..Priority::ALL.len() {
            for capability in &capabilities {
                let queue = capability * Priority::ALL.len() + priority;
                let Some((message, job)) = self.receive(queue) else { continue };
                let second = self.rng.usize(..self.queues.len());
                if self.rng.f64() < 0.1
                    && capabilities.contains(&(second / Priority::ALL.len()))
                    && let Some((other, _)) = self.receive(second)
                {
                    self.saw(Seen::SecondMessage);
                    self.queues[second].release(other, self.now);
                    self.after(1, Event::Visible { queue: second });
                }
                return self.take(worker, queue, message, job);
            }
        }
    }

    fn receive(&mut self, queue: usize) -> Option<(u64, usize)> {
        loop {
            match self.queues[queue].receive(&mut self.rng, self.now, self.plan.visibility, self.plan.max_receives) {
                Received::Nothing => return None,
                Received::Dead { job } => self.dead_message(job),
                Received::Message { message, again } => {
                    if again {
                        self.saw(Seen::VisibilityOver);
                    }
                    self.after(self.plan.visibility, Event::Visible { queue });
                    return Some((message.id, message.job));
                }
            }
        }
    }

    fn take(&mut self, number: usize, queue: usize, message: u64, job: usize) {
        let worker = &mut self.workers[number];
        worker.tasks += 1;
        worker.claims += 1;
        let claim_id = format!("w{number}.{}", worker.claims);
        worker.task = Some(Task { job, claim_id: claim_id.clone(), message, queue, attempt: 0, outcome: Outcome::Deliver });
        if self.dies(number, Seen::DiedBeforeClaim) {
            return;
        }
        if self.now < self.plan.calm_from && self.rng.f64() < self.plan.rates.worker_drains / 4.0 {
            self.workers[number].draining = true;
        }
        self.ask(number, Phase::Claiming, What::Claim { claim_id });
    }

    /// Done with the task, one way or another.
    fn rest(&mut self, number: usize) {
        let worker = &mut self.workers[number];
        worker.tasks += 1;
        worker.task = None;
        if worker.draining {
            return self.die(number);
        }
        self.step(number, Phase::Idle);
        self.poll(number);
    }

    fn back_off(&mut self, worker: usize, release: bool) {
        if let Some(task) = self.workers[worker].task.clone().filter(|_| release) {
            self.queues[task.queue].release(task.message, self.now);
            self.after(1, Event::Visible { queue: task.queue });
        }
        self.workers[worker].tasks += 1;
        self.workers[worker].task = None;
        if self.workers[worker].draining {
            return self.die(worker);
        }
        self.step(worker, Phase::BackingOff);
        let wait = self.rng.i64(500..4_000);
        let stamp = self.step_stamp(worker);
        self.timer_in(wait, stamp, Timer::PollAgain);
    }

    fn delete(&mut self, worker: usize) {
        if self.strikes(self.plan.rates.delete_lost, Seen::DeleteLost) {
            return;
        }
        if let Some(task) = &self.workers[worker].task {
            self.queues[task.queue].delete(task.message);
        }
    }

    pub fn answered(&mut self, stamp: Stamp, answer: Answer) {
        let number = stamp.worker;
        if !self.workers[number].at(stamp.moment) {
            return;
        }
        if let Answer::Lost = answer {
            return self.rest(number);
        }
        if matches!(stamp.moment, Moment::Task(_)) {
            return;
        }
        match (self.workers[number].phase, answer) {
            (Phase::Registering, Answer::Done) => self.rest(number),
            (Phase::Claiming, Answer::Claimed { attempt }) => self.begin(number, attempt),
            (Phase::Claiming, Answer::Refused(refusal)) if refusal.about_the_job() => {
                self.delete(number);
                self.rest(number);
            }
            (Phase::Claiming, _) => self.back_off(number, true),
            (Phase::Declaring, Answer::Put) => {
                self.step(number, Phase::Uploading);
                let wait = self.rng.i64(50..3_000);
                let stamp = self.step_stamp(number);
                self.timer_in(wait, stamp, Timer::Uploaded);
            }
            (Phase::Declaring | Phase::Reporting, Answer::Done | Answer::Gone) => self.rest(number),
            // 503: the timer repeats the call.
            _ => {}
        }
    }

    fn begin(&mut self, number: usize, attempt: u32) {
        self.delete(number);
        if self.dies(number, Seen::DiedAfterClaim) {
            return;
        }
        let outcome = self.outcome(number);
        let worker = &mut self.workers[number];
        let Some(task) = &mut worker.task else { return };
        task.attempt = attempt;
        task.outcome = outcome;
        worker.past.push((task.job, attempt, task.claim_id.clone()));
        let longest = seconds(self.plan.requests[self.table.owner[task.job].1].max_run_s);
        self.step(number, Phase::Working);
        let lasts = match outcome {
            Outcome::Hang => longest * 3 + 60_000,
            Outcome::Stall => self.plan.settings.lease() + self.rng.i64(0..30_000),
            _ => self.rng.i64(300..longest * 3 / 4),
        };
        let (step, task) = (self.step_stamp(number), self.task_stamp(number));
        self.timer_in(lasts, step, Timer::WorkDone);
        if outcome != Outcome::Stall {
            self.timer_in(seconds(self.plan.settings.heartbeat_s), task, Timer::Beat);
        }
        if self.now < self.plan.calm_from && self.rng.f64() < self.plan.rates.worker_dies {
            let wait = self.rng.i64(0..lasts);
            self.timer_in(wait, step, Timer::Die);
        }
        if self.now < self.plan.calm_from && self.rng.f64() < self.plan.rates.worker_drains {
            let wait = self.rng.i64(0..lasts);
            self.timer_in(wait, step, Timer::Drain);
        }
    }

    /// How the attempt will go.
    fn outcome(&mut self, number: usize) -> Outcome {
        let plan = &self.plan.workers[number];
        if plan.liar && self.now < self.plan.calm_from {
            return match self.rng.u32(0..6) {
                0 | 1 => {
                    self.saw(Seen::LiarFailed);
                    Outcome::Fail(Failure::Permanent)
                }
                2 => Outcome::Fail(Failure::Retryable),
                3 => Outcome::Pretend,
                4 => Outcome::Stall,
                _ => Outcome::Deliver,
            };
        }
        let job = self.workers[number].task.as_ref().map_or(0, |task| task.job);
        if self.plan.requests[self.table.owner[job].1].hopeless {
            return Outcome::Fail(Failure::Permanent);
        }
        if self.strikes(self.plan.rates.engine_hangs, Seen::Hung) {
            return Outcome::Hang;
        }
        let fails = self.now < self.plan.calm_from && self.rng.f64() < self.plan.rates.engine_fails;
        if fails { Outcome::Fail(Failure::Retryable) } else { Outcome::Deliver }
    }

    pub fn timer(&mut self, stamp: Stamp, timer: Timer) {
        let number = stamp.worker;
        if !self.workers[number].at(stamp.moment) {
            return;
        }
        let phase = self.workers[number].phase;
        let task = self.workers[number].task.clone();
        match (timer, task) {
            (Timer::Restart, _) => {
                self.workers[number].draining = false;
                self.saw(Seen::Restarted);
                self.ask(number, Phase::Registering, What::Register);
            }
            (Timer::Lie, _) => self.lie(number),
            (Timer::PollAgain, _) => self.rest(number),
            (Timer::NoAnswer, _) => self.no_answer(number, phase),
            (Timer::Die, _) => {
                self.saw(Seen::DiedWorking);
                self.die(number);
            }
            (Timer::Drain, Some(task)) => {
                self.workers[number].draining = true;
                self.ask(number, Phase::Reporting, What::Fail { attempt: task.attempt, failure: Failure::Drained });
            }
            (Timer::Beat, Some(task)) => {
                let what = What::Beat { attempt: task.attempt };
                self.send_call(Call { what, job: task.job, worker: Some(number), stamp: Some(stamp), tries: 0 });
                self.timer_in(seconds(self.plan.settings.heartbeat_s), stamp, Timer::Beat);
            }
            (Timer::WorkDone, Some(task)) => match task.outcome {
                Outcome::Deliver | Outcome::Stall => self.ask(number, Phase::Declaring, What::Declare { attempt: task.attempt }),
                Outcome::Pretend => self.ask(number, Phase::Reporting, What::Complete { attempt: task.attempt }),
                Outcome::Fail(failure) => self.ask(number, Phase::Reporting, What::Fail { attempt: task.attempt, failure }),
                Outcome::Hang => self.rest(number),
            },
            (Timer::Uploaded, Some(task)) => {
                self.uploads.insert((task.job, task.attempt));
                if !self.dies(number, Seen::DiedAfterUpload) {
                    self.ask(number, Phase::Reporting, What::Complete { attempt: task.attempt });
                    self.dies(number, Seen::DiedReporting);
                }
            }
            (_, None) => {}
        }
    }

    /// Repeats the call, with the same claim id; after a few times it gives up, save for registering.
    fn no_answer(&mut self, number: usize, phase: Phase) {
        let worker = &mut self.workers[number];
        worker.repeats += 1;
        if phase == Phase::Registering || worker.repeats <= MOST_REPEATS {
            self.saw(Seen::CallRepeated);
            self.ask_again(number, phase);
        } else if phase == Phase::Claiming {
            self.back_off(number, false);
        } else {
            self.rest(number);
        }
    }

    /// Repeats or forges a call about some attempt that it once had.
    fn lie(&mut self, number: usize) {
        if self.now >= self.plan.calm_from {
            return;
        }
        let past = self.workers[number].past.clone();
        if let Some((job, attempt, claim_id)) = self.rng.choice(past) {
            let attempt = attempt + self.rng.u32(0..3) / 2 * self.rng.u32(0..3);
            let what = match self.rng.u32(0..5) {
                0 => What::Claim { claim_id },
                1 => What::Beat { attempt },
                2 => What::Fail { attempt, failure: if self.rng.bool() { Failure::Permanent } else { Failure::Retryable } },
                3 => What::Declare { attempt },
                _ => What::Complete { attempt },
            };
            self.saw(Seen::Lied);
            self.say(|| format!("worker {number} lies: {what:?} for job {job}"));
            self.send_call(Call { what, job, worker: Some(number), stamp: None, tries: 0 });
        }
        let wait = self.rng.i64(2_000..15_000);
        let stamp = self.life(number);
        self.timer_in(wait, stamp, Timer::Lie);
    }
}
