//! What the parts of one worker process share: the attempt in its slot, its stage, whether it is to drain.
//! The slot holds one attempt at most; an attempt is stopped once, for the first reason that comes.

use super::drill::{Drill, Point};
use crate::engine::Context;
use kiln_core::fleet::{AttemptBeat, HeartbeatRequest, Stage};
use kiln_core::ids::{AccountId, JobId};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, watch};

/// Why an attempt is not worked on any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Its owner cancelled the job.
    Cancelled,
    /// The server says that the attempt isn't the newest any more.
    Superseded,
    /// It took longer than its kind may.
    RanTooLong,
    /// This process has to go.
    Drained,
}

impl Stop {
    /// From a heartbeat's `cancel`.
    pub fn of(word: &str) -> Self {
        match word {
            "cancelled" => Stop::Cancelled,
            "ran_too_long" => Stop::RanTooLong,
            _ => Stop::Superseded,
        }
    }
}

/// One try of this worker at a job.
pub struct Attempt {
    pub job_id: JobId,
    pub account_id: AccountId,
    pub number: u32,
    pub request_id: Option<String>,
    pub began: tokio::time::Instant,
    progress: Mutex<(f32, String)>,
    stop: watch::Sender<Option<Stop>>,
    drill: Drill,
}

impl Attempt {
    pub fn new(job_id: JobId, account_id: AccountId, number: u32, request_id: Option<String>, drill: Drill) -> Self {
        Self { job_id, account_id, number, request_id, began: tokio::time::Instant::now(), progress: Mutex::default(), stop: watch::Sender::new(None), drill }
    }

    pub fn stop(&self, why: Stop) {
        self.stop.send_if_modified(|stop| {
            let first = stop.is_none();
            if first {
                *stop = Some(why);
            }
            first
        });
    }

    pub fn stopped(&self) -> Option<Stop> {
        *self.stop.borrow()
    }

    /// Waits until the attempt is stopped.
    pub async fn until_stopped(&self) -> Stop {
        let mut seen = self.stop.subscribe();
        let stop = seen.wait_for(Option::is_some).await.expect("the sender is in self");
        stop.expect("waited for")
    }

    /// Runs `work` unless the attempt is stopped first.
    pub async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, Stop> {
        tokio::select! {
            biased;
            stop = self.until_stopped() => Err(stop),
            done = work => Ok(done),
        }
    }

    pub fn beat(&self) -> AttemptBeat {
        let (progress, stage) = self.progress.lock().expect("the progress's lock").clone();
        let stage = (!stage.is_empty()).then_some(stage);
        AttemptBeat { job_id: self.job_id.clone(), account_id: self.account_id.clone(), attempt: self.number, progress, stage }
    }
}

impl Context for Attempt {
    fn progress(&self, fraction: f32, stage: &str) {
        let fraction = if fraction.is_finite() { fraction.clamp(0.0, 1.0) } else { 0.0 };
        let mut now = self.progress.lock().expect("the progress's lock");
        now.0 = fraction;
        if now.1 != stage {
            now.1 = super::cut(stage, 64).to_owned();
        }
        drop(now);
        if fraction > 0.0 {
            self.drill.reach(Point::MidWork);
        }
    }

    fn cancelled(&self) -> bool {
        self.stopped().is_some()
    }
}

/// Whether the process is to end, and how soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drain {
    No,
    /// When the attempt in the slot is over: the server wants no more of this instance.
    AfterAttempt,
    /// Within the time that SIGTERM leaves.
    Soon,
}

/// Given to whoever may ask the worker to end.
#[derive(Clone)]
pub struct Drains(Arc<watch::Sender<Drain>>);

impl Default for Drains {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Drain::No)))
    }
}

impl Drains {
    /// A stronger wish replaces a weaker one, never the other way.
    pub fn ask(&self, wish: Drain) {
        self.0.send_if_modified(|now| {
            let more = wish > *now;
            *now = (*now).max(wish);
            more
        });
    }

    pub fn now(&self) -> Drain {
        *self.0.borrow()
    }

    pub fn watch(&self) -> watch::Receiver<Drain> {
        self.0.subscribe()
    }
}

/// The process's one slot, as the heartbeat tells of it.
#[derive(Default)]
pub struct Slot {
    inside: Mutex<(Inside, Option<Arc<Attempt>>)>,
    /// The server is to be told before the next heartbeat is due.
    pub tell: Notify,
}

#[derive(Default, Clone, Copy)]
struct Inside {
    /// What it is at until it is loaded.
    boot: Option<&'static str>,
    loaded: bool,
    draining: bool,
    over: bool,
    /// When its last attempt was over.
    emptied: Option<tokio::time::Instant>,
}

impl Slot {
    pub fn loaded(&self) {
        self.inside.lock().expect("the slot's lock").0.loaded = true;
        self.tell.notify_one();
    }

    /// The next step of the boot.
    pub fn boot(&self, step: &'static str) {
        self.inside.lock().expect("the slot's lock").0.boot = Some(step);
        self.tell.notify_one();
    }

    pub fn draining(&self) {
        self.inside.lock().expect("the slot's lock").0.draining = true;
        self.tell.notify_one();
    }

    /// The drain's time is over: the attempt in the slot is stopped, and so is one whose claim is still under way.
    pub fn over(&self) {
        let mut inside = self.inside.lock().expect("the slot's lock");
        inside.0.over = true;
        if let Some(attempt) = &inside.1 {
            attempt.stop(Stop::Drained);
        }
    }

    pub fn put(&self, attempt: Arc<Attempt>) {
        let mut inside = self.inside.lock().expect("the slot's lock");
        if inside.0.over {
            attempt.stop(Stop::Drained);
        }
        inside.1 = Some(attempt);
    }

    pub fn empty(&self) {
        let mut inside = self.inside.lock().expect("the slot's lock");
        (inside.0.emptied, inside.1) = (Some(tokio::time::Instant::now()), None);
    }

    /// Since when it has been empty; `None` before the first attempt, and while one is in it.
    pub fn emptied(&self) -> Option<tokio::time::Instant> {
        let inside = self.inside.lock().expect("the slot's lock");
        inside.0.emptied.filter(|_| inside.1.is_none())
    }

    pub fn attempt(&self) -> Option<Arc<Attempt>> {
        self.inside.lock().expect("the slot's lock").1.clone()
    }

    /// The next heartbeat, and the attempt that it speaks of.
    pub fn beat(&self) -> (HeartbeatRequest, Option<Arc<Attempt>>) {
        let (inside, attempt) = self.inside.lock().expect("the slot's lock").clone();
        let stage = match (inside, &attempt) {
            (Inside { draining: true, .. }, _) => Stage::Draining,
            (_, Some(_)) => Stage::Busy,
            (Inside { loaded: true, .. }, None) => Stage::Ready,
            _ => Stage::Loading,
        };
        let boot_stage = inside.boot.filter(|_| stage == Stage::Loading).map(str::to_owned);
        (HeartbeatRequest { stage, boot_stage, job: attempt.as_ref().map(|attempt| attempt.beat()) }, attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt() -> Arc<Attempt> {
        Arc::new(Attempt::new(JobId::new(1, 1), AccountId::new(1, 1), 1, None, Drill::default()))
    }

    #[tokio::test]
    async fn an_attempt_keeps_the_first_reason_it_was_stopped_for() {
        let attempt = attempt();
        assert!(!attempt.cancelled());
        attempt.stop(Stop::Cancelled);
        attempt.stop(Stop::Drained);
        assert_eq!(attempt.until_stopped().await, Stop::Cancelled);
        assert_eq!(attempt.unless_stopped(async { 1 }).await, Err(Stop::Cancelled));
    }

    #[test]
    fn a_drain_is_never_taken_back_or_weakened() {
        let drains = Drains::default();
        drains.ask(Drain::Soon);
        drains.ask(Drain::AfterAttempt);
        drains.ask(Drain::No);
        assert_eq!(drains.now(), Drain::Soon);
    }

    #[test]
    fn an_attempt_that_comes_when_the_drain_is_over_is_stopped_too() {
        let slot = Slot::default();
        let first = attempt();
        slot.put(first.clone());
        assert_eq!(first.stopped(), None);
        slot.over();
        assert_eq!(first.stopped(), Some(Stop::Drained));
        slot.empty();
        let late = attempt();
        slot.put(late.clone());
        assert_eq!(late.stopped(), Some(Stop::Drained));
    }

    #[test]
    fn the_heartbeat_tells_the_slot_s_stage() {
        let slot = Slot::default();
        assert_eq!(slot.beat().0.stage, Stage::Loading);
        slot.boot("models");
        assert_eq!(slot.beat().0.boot_stage.as_deref(), Some("models"));
        slot.loaded();
        assert_eq!(slot.beat().0.boot_stage, None);
        assert_eq!(slot.beat().0.stage, Stage::Ready);
        slot.put(attempt());
        slot.attempt().unwrap().progress(f32::NAN, "network");
        let (beat, _) = slot.beat();
        assert_eq!((beat.stage, beat.job.unwrap().progress), (Stage::Busy, 0.0));
        slot.draining();
        assert_eq!(slot.beat().0.stage, Stage::Draining);
    }
}
