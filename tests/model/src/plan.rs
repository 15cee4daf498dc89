//! What one run is made of, drawn from its seed alone: settings, accounts, workers, and how often each fault strikes.
//! Each rate is off in some runs and heavy in others, so that no fault always hides another.

use fastrand::Rng;
use kiln_core::ids::{AccountId, JobId};
use kiln_core::job::{Job, Priority};
use kiln_core::settings::Settings;
use kiln_core::time::Millis;

/// A fault planted in the rules themselves, which the checker must catch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The table writes a job whatever it has become since it was read.
    BlindWrites,
    /// `complete` is taken from whatever attempt.
    CompleteOfAnyAttempt,
    /// A heartbeat is taken from whatever attempt.
    HeartbeatOfAnyAttempt,
    /// A takeover counts the job as running once more.
    TakeoverRaisesRunning,
    /// The last failure ends the job and forgets to release its hold.
    LastFailureKeepsHold,
    /// A requeue writes no marker.
    MarkerForgotten,
    /// Maintenance never looks.
    MaintenanceAsleep,
    /// A requeue forgets the claim that opened the attempt.
    PastClaimsForgotten,
    /// A lease counts as dead while it lives.
    LiveLeaseTaken,
    /// The cap on running jobs is looked at before the transaction and not in it.
    RunningUnguarded,
    /// The balance is looked at before the transaction and not in it.
    BalanceUnguarded,
    /// A slot is taken whatever it holds.
    SlotTakenBlindly,
    /// The idempotency record isn't part of the transaction.
    KeyForgotten,
    /// One rented host's word ends a job for good.
    LiarBelieved,
    /// Maintenance acts on a row of the lagging index without asking whether the job is due for a look.
    StaleRowBelieved,
    /// Each message in the dead-letter queue puts off the next look, past every deadline.
    RearmPutsOffForever,
    /// A cancel also ends what has ended.
    CancelTooLate,
    /// Uploads aren't checked before a job succeeds.
    UploadUnchecked,
    /// A success captures more than the quote.
    Overcharge,
    /// Maintenance looks and hints nobody.
    HintsForgotten,
}

impl Fault {
    pub const ALL: [Fault; 20] = [
        Fault::BlindWrites,
        Fault::CompleteOfAnyAttempt,
        Fault::HeartbeatOfAnyAttempt,
        Fault::TakeoverRaisesRunning,
        Fault::LastFailureKeepsHold,
        Fault::MarkerForgotten,
        Fault::MaintenanceAsleep,
        Fault::PastClaimsForgotten,
        Fault::LiveLeaseTaken,
        Fault::RunningUnguarded,
        Fault::BalanceUnguarded,
        Fault::SlotTakenBlindly,
        Fault::KeyForgotten,
        Fault::LiarBelieved,
        Fault::StaleRowBelieved,
        Fault::RearmPutsOffForever,
        Fault::CancelTooLate,
        Fault::UploadUnchecked,
        Fault::Overcharge,
        Fault::HintsForgotten,
    ];
}

/// What a run is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scene {
    /// Every fault, short deadlines: nothing hangs and nothing is double.
    #[default]
    Hostile,
    /// Every fault, then able workers and all the time in the world: hints bring each job to a worker, and none ends
    /// because it waited too long.
    Patient,
    /// No faults and enough of everything: each job succeeds.
    Calm,
}

/// What becomes of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mail {
    /// Some are lost, doubled or late.
    Usual,
    /// From this moment on, every one is lost, for good.
    AllLost(Millis),
    /// Every one comes three times.
    Thrice,
}

#[derive(Debug, Clone)]
pub struct AccountPlan {
    pub balance: i64,
    pub max_running: Option<i64>,
    pub max_queued: Option<i64>,
    /// When it is closed, if ever.
    pub closes_at: Option<Millis>,
}

#[derive(Debug, Clone)]
pub struct WorkerPlan {
    pub host: usize,
    /// The operator's own machine.
    pub trusted: bool,
    pub liar: bool,
    pub capabilities: Vec<usize>,
}

/// One thing that a customer asks for, under one idempotency key.
#[derive(Debug, Clone)]
pub struct Request {
    pub account: usize,
    pub capability: usize,
    pub priority: Priority,
    pub quote: i64,
    pub max_run_s: u64,
    /// No machine can do it, and every honest one says so.
    pub hopeless: bool,
}

impl Request {
    /// A job as a customer's request asks for it, before the machine makes it one.
    pub fn draft(&self, account_id: AccountId, now: Millis, random: u128) -> Job {
        Job {
            priority: self.priority,
            quote_millicredits: self.quote,
            ..Job::draft(JobId::new(now, random), account_id, "noop", CAPABILITIES[self.capability], self.max_run_s, 0)
        }
    }
}

/// How likely each fault is, each time that it could strike.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    pub call_lost: f64,
    pub call_doubled: f64,
    pub call_late: f64,
    pub answer_lost: f64,
    pub conflict: f64,
    pub ambiguous: f64,
    pub ghost: f64,
    pub crash_before_commit: f64,
    pub crash_after_commit: f64,
    pub pause: f64,
    pub free_lost: f64,
    pub worker_dies: f64,
    pub worker_drains: f64,
    pub partition: f64,
    pub message_lost: f64,
    pub message_doubled: f64,
    pub message_late: f64,
    pub message_misrouted: f64,
    pub delete_lost: f64,
    pub engine_fails: f64,
    pub engine_hangs: f64,
    pub tick_dies: f64,
    pub tick_skipped: f64,
    pub cancel: f64,
}

pub const CAPABILITIES: [&str; 2] = ["image", "mesh"];

#[derive(Debug, Clone)]
pub struct Plan {
    pub scene: Scene,
    pub settings: Settings,
    pub mail: Mail,
    pub accounts: Vec<AccountPlan>,
    pub hosts: Vec<String>,
    pub workers: Vec<WorkerPlan>,
    pub requests: Vec<Request>,
    pub rates: Rates,
    /// Faults stop here.
    pub calm_from: Millis,
    /// Whether dead workers come back once it is calm.
    pub workers_return: bool,
    pub tick: Millis,
    pub index_lag: Millis,
    pub visibility: Millis,
    pub max_receives: u32,
}

impl Plan {
    pub fn new(rng: &mut Rng, scene: Scene) -> Self {
        let calm = scene == Scene::Calm;
        let settings = Settings {
            lease_s: rng.u64(2..=40),
            max_wait_s: if scene == Scene::Hostile { rng.u64(15..=900) } else { 20_000 },
            max_failures: rng.u64(1..=4),
            max_attempts: rng.u64(2..=8),
            retry_s: rng.u64(0..=8),
            hint_s: rng.u64(5..=60),
            hint_max_s: rng.u64(60..=400),
            second_host_s: rng.u64(10..=200),
            account_running: rng.u64(1..=4),
            account_queued: rng.u64(3..=12),
            ..Settings::default()
        };
        let settings = Settings { heartbeat_s: (settings.lease_s / 4).max(1), ..settings };
        let calm_from = if calm { 0 } else { rng.i64(60_000..400_000) };
        let mail = match rng.u32(0..10) {
            _ if calm => Mail::Usual,
            0 if scene == Scene::Hostile => Mail::AllLost(rng.i64(0..calm_from)),
            1 => Mail::Thrice,
            _ => Mail::Usual,
        };
        let accounts: Vec<_> = (0..rng.usize(1..=3)).map(|_| account(rng, calm, calm_from)).collect();
        let hosts: Vec<_> = (0..rng.usize(1..=3)).map(|host| format!("host-{host}")).collect();
        let mut workers: Vec<_> = (0..rng.usize(1..=4)).map(|_| worker(rng, calm, hosts.len())).collect();
        if scene == Scene::Patient {
            // The operator's own: excluded from nothing.
            workers.push(WorkerPlan { host: 0, trusted: true, liar: false, capabilities: vec![0, 1] });
        }
        let requests = (0..rng.usize(1..=9)).map(|_| request(rng, calm, accounts.len())).collect();
        let rates = if calm { Rates::default() } else { rates(rng) };
        let tick = rng.i64(2_000..=15_000);
        let index_lag = if calm { 0 } else { [0, 500, 5_000, 40_000][rng.usize(..4)] };
        let visibility = rng.i64(5_000..=60_000);
        let max_receives = rng.u32(1..=5);
        Self {
            scene,
            settings,
            mail,
            accounts,
            hosts,
            workers,
            requests,
            rates,
            calm_from,
            workers_return: scene == Scene::Patient || rng.f64() < 0.8,
            tick,
            index_lag,
            visibility,
            max_receives,
        }
    }
}

fn account(rng: &mut Rng, calm: bool, calm_from: Millis) -> AccountPlan {
    let rich = calm || rng.f64() < 0.6;
    AccountPlan {
        balance: if rich { 1_000_000 } else { rng.i64(0..6_000) },
        max_running: rng.bool().then(|| rng.i64(1..=4)),
        max_queued: if calm { Some(100) } else { (rng.f64() < 0.3).then(|| rng.i64(1..=5)) },
        closes_at: (!calm && rng.f64() < 0.03).then(|| rng.i64(0..calm_from)),
    }
}

fn worker(rng: &mut Rng, calm: bool, hosts: usize) -> WorkerPlan {
    let capabilities = match rng.u32(0..4) {
        _ if calm => vec![0, 1],
        0 => vec![0, 1],
        1 => vec![1],
        _ => vec![0],
    };
    WorkerPlan { host: rng.usize(..hosts), trusted: rng.f64() < 0.2, liar: !calm && rng.f64() < 0.25, capabilities }
}

fn request(rng: &mut Rng, calm: bool, accounts: usize) -> Request {
    Request {
        account: rng.usize(..accounts),
        capability: usize::from(rng.f64() < 0.3),
        priority: if rng.f64() < 0.3 { Priority::Rush } else { Priority::Standard },
        quote: rng.i64(0..=3) * 1000,
        // The upload counts too; in a calm run nothing may run too long.
        max_run_s: rng.u64(if calm { 30 } else { 5 }..=90),
        hopeless: !calm && rng.f64() < 0.08,
    }
}

fn rates(rng: &mut Rng) -> Rates {
    let mut rate = |usual: f64| usual * [0.0, 0.3, 1.0, 3.0][rng.usize(..4)];
    Rates {
        call_lost: rate(0.04),
        call_doubled: rate(0.06),
        call_late: rate(0.04),
        answer_lost: rate(0.05),
        conflict: rate(0.05),
        ambiguous: rate(0.04),
        ghost: rate(0.03),
        crash_before_commit: rate(0.02),
        crash_after_commit: rate(0.05),
        pause: rate(0.02),
        free_lost: rate(0.06),
        worker_dies: rate(0.04),
        worker_drains: rate(0.05),
        partition: rate(0.006),
        message_lost: rate(0.08),
        message_doubled: rate(0.08),
        message_late: rate(0.06),
        message_misrouted: rate(0.02),
        delete_lost: rate(0.08),
        engine_fails: rate(0.1),
        engine_hangs: rate(0.04),
        tick_dies: rate(0.06),
        tick_skipped: rate(0.1),
        cancel: rate(0.12),
    }
}
