//! Simulated time: one heap of events, the network between everybody, the queues, the schedules. One seed, one run.

use crate::checker::{Checker, SKEW};
use crate::plan::{CAPABILITIES, Fault, Mail, Plan, Scene};
use crate::queue::Queue;
use crate::seen::{Coverage, Seen};
use crate::server::{After, Call, Pending, What};
use crate::table::Table;
use crate::worker::{Answer, Stamp, Timer, Worker};
use fastrand::Rng;
use kiln_core::ids::{AccountId, InstanceId};
use kiln_core::job::{Counters, Priority};
use kiln_core::time::Millis;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// More events than this in one run is a storm by itself.
const MOST_EVENTS: u64 = 200_000;

#[derive(Debug)]
pub enum Event {
    Arrive(Box<Call>),
    Commit(Box<Pending>),
    After(Box<After>),
    Answer {
        stamp: Stamp,
        answer: Answer,
    },
    Timer {
        stamp: Stamp,
        timer: Timer,
    },
    /// Some message on this queue may be visible now.
    Visible {
        queue: usize,
    },
    Tick,
    Close {
        account: usize,
    },
}

pub struct World {
    pub plan: Plan,
    pub fault: Option<Fault>,
    pub rng: Rng,
    pub now: Millis,
    pub table: Table,
    pub checker: Checker,
    pub seen: Coverage,
    pub queues: Vec<Queue>,
    pub workers: Vec<Worker>,
    /// Attempts whose artifact lies in S3.
    pub uploads: BTreeSet<(usize, u32)>,
    /// Until when each host is cut off.
    pub cut_off: Vec<Millis>,
    /// The first broken rule.
    pub broken: Option<String>,
    pub trace: Option<Vec<String>>,
    order: BTreeMap<Reverse<(Millis, u64)>, Event>,
    count: u64,
    messages: u64,
}

impl World {
    pub fn new(seed: u64, scene: Scene, fault: Option<Fault>, trace: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::new(&mut rng, scene);
        let mut table = Table::new(plan.requests.len(), plan.workers.len());
        for (number, account) in plan.accounts.iter().enumerate() {
            let counters = Counters { max_running: account.max_running, max_queued: account.max_queued, ..Counters::default() };
            table.open_account(AccountId::new(1, number as u128), account.balance, counters);
        }
        table.instances = (0..plan.workers.len()).map(|worker| InstanceId::new(1, worker as u128)).collect();
        let mut world = Self {
            fault,
            rng,
            now: 0,
            table,
            checker: Checker::default(),
            seen: Coverage::default(),
            queues: (0..CAPABILITIES.len() * Priority::ALL.len()).map(|_| Queue::default()).collect(),
            workers: plan.workers.iter().map(|worker| Worker::new(worker.capabilities.iter().map(|c| CAPABILITIES[*c].to_owned()).collect())).collect(),
            uploads: BTreeSet::new(),
            cut_off: vec![0; plan.hosts.len()],
            broken: None,
            trace: trace.then(Vec::new),
            order: BTreeMap::new(),
            count: 0,
            messages: 0,
            plan,
        };
        world.schedule();
        world
    }

    /// What happens of its own accord: customers, workers that boot, accounts that close, ticks.
    fn schedule(&mut self) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:#?}", self.plan));
        }
        let span = self.plan.calm_from.max(60_000);
        for key in 0..self.plan.requests.len() {
            let at = self.rng.i64(0..span * 3 / 4);
            self.at(at, Event::Arrive(Box::new(Call::customer(What::Submit { key }))));
            if self.plan.calm_from > 0 && self.rng.f64() < 0.25 {
                let again = at + self.rng.i64(0..20_000);
                self.at(again, Event::Arrive(Box::new(Call::customer(What::Submit { key }))));
            }
            if self.rng.f64() < self.plan.rates.cancel {
                for _ in 0..self.rng.usize(1..=2) {
                    let late = at + self.rng.i64(0..120_000);
                    self.at(late, Event::Arrive(Box::new(Call::customer(What::Cancel { key }))));
                }
            }
        }
        for worker in 0..self.workers.len() {
            let boots = self.rng.i64(0..30_000);
            let stamp = self.life(worker);
            self.at(boots, Event::Timer { stamp, timer: Timer::Restart });
            if self.plan.workers[worker].liar {
                self.at(boots + 5_000, Event::Timer { stamp, timer: Timer::Lie });
            }
        }
        for account in 0..self.plan.accounts.len() {
            if let Some(at) = self.plan.accounts[account].closes_at {
                self.at(at, Event::Close { account });
            }
        }
        match self.plan.mail {
            Mail::AllLost(_) => self.seen.saw(Seen::AllLost),
            Mail::Thrice => self.seen.saw(Seen::Thrice),
            Mail::Usual => {}
        }
        self.at(self.plan.tick, Event::Tick);
    }

    pub fn at(&mut self, at: Millis, event: Event) {
        self.count += 1;
        self.order.insert(Reverse((at.max(self.now), self.count)), event);
    }

    pub fn after(&mut self, wait: Millis, event: Event) {
        self.at(self.now + wait, event);
    }

    pub fn say(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9.3} s  {}", self.now as f64 / 1000.0, text()));
        }
    }

    pub fn saw(&mut self, what: Seen) {
        self.seen.saw(what);
    }

    /// Whether a fault of this rate strikes here; never once it is calm.
    pub fn strikes(&mut self, rate: f64, what: Seen) -> bool {
        let strikes = rate > 0.0 && self.now < self.plan.calm_from && self.rng.f64() < rate;
        if strikes {
            self.seen.saw(what);
        }
        strikes
    }

    /// A server's clock, as it decides.
    pub fn clock(&mut self) -> Millis {
        self.now + self.rng.i64(-SKEW..=SKEW)
    }

    pub fn check(&mut self, verdict: Result<(), String>) {
        if let (Err(rule), None) = (verdict, &self.broken) {
            self.say(|| format!("BROKEN: {rule}"));
            self.broken = Some(rule);
        }
    }

    /// Runs until nothing is left to happen; gives the first broken rule.
    pub fn run(&mut self) -> Option<String> {
        while self.broken.is_none() {
            let Some((Reverse((at, _)), event)) = self.order.pop_last() else { break };
            self.now = at;
            match event {
                Event::Arrive(call) => self.arrive(*call),
                Event::Commit(pending) => self.commit(*pending),
                Event::After(after) => self.after_commit(*after),
                Event::Answer { stamp, answer } => self.answered(stamp, answer),
                Event::Timer { stamp, timer } => self.timer(stamp, timer),
                Event::Visible { queue } => self.visible(queue),
                Event::Tick => self.tick(),
                Event::Close { account } => {
                    self.say(|| format!("account {account} is closed"));
                    self.table.accounts[account].closed = true;
                }
            }
            if self.count > MOST_EVENTS {
                self.check(Err(format!("a storm: {} events", self.count)));
            }
        }
        if self.broken.is_none() {
            let verdict = self.checker.over(&self.table, &self.plan, &self.uploads);
            self.check(verdict);
        }
        self.broken.clone()
    }

    /// A caller's request to the servers, over a network that loses, doubles and delays.
    pub fn send_call(&mut self, call: Call) {
        let rates = self.plan.rates.clone();
        let copies = 1 + usize::from(self.strikes(rates.call_doubled, Seen::CallDoubled));
        for copy in 0..copies {
            if self.strikes(rates.call_lost, Seen::CallLost) {
                continue;
            }
            let late = copy > 0 || self.strikes(rates.call_late, Seen::CallLate);
            let mut wait = if late { self.rng.i64(50..90_000) } else { self.rng.i64(2..60) };
            if let Some(worker) = call.worker {
                match self.partition(worker) {
                    Some(rest) => wait += rest,
                    None => continue,
                }
            }
            self.after(wait, Event::Arrive(Box::new(call.clone())));
        }
    }

    /// How long a partition holds this call back; `None` when it swallows it.
    fn partition(&mut self, worker: usize) -> Option<Millis> {
        let host = self.plan.workers[worker].host;
        if self.now >= self.cut_off[host] {
            if self.now < self.plan.calm_from && self.rng.f64() < self.plan.rates.partition {
                self.cut_off[host] = self.now + self.rng.i64(1_000..90_000);
                self.say(|| format!("host {host} is cut off"));
            }
            return Some(0);
        }
        self.saw(Seen::Partitioned);
        self.rng.bool().then(|| self.cut_off[host] - self.now)
    }

    pub fn send_answer(&mut self, stamp: Stamp, answer: Answer) {
        if self.strikes(self.plan.rates.answer_lost, Seen::AnswerLost) {
            return;
        }
        let Some(rest) = self.partition(stamp.worker) else { return };
        let wait = rest + self.rng.i64(1..40);
        self.after(wait, Event::Answer { stamp, answer });
    }

    /// A hint to the workers, which may never come, or three times.
    pub fn send_hint(&mut self, job: usize, wait: Millis) {
        let rates = self.plan.rates.clone();
        let mut copies = 1 + usize::from(self.strikes(rates.message_doubled, Seen::MessageDoubled));
        match self.plan.mail {
            Mail::AllLost(from) if self.now >= from => return self.saw(Seen::MessageLost),
            Mail::Thrice => copies = 3,
            _ => {}
        }
        let request = &self.plan.requests[self.table.owner[job].1];
        let mut capability = request.capability;
        let priority = usize::from(request.priority == Priority::Standard);
        if self.strikes(rates.message_misrouted, Seen::MessageMisrouted) {
            capability = 1 - capability;
        }
        let queue = capability * Priority::ALL.len() + priority;
        for copy in 0..copies {
            if self.strikes(rates.message_lost, Seen::MessageLost) {
                continue;
            }
            let late = copy > 0 || self.strikes(rates.message_late, Seen::MessageLate);
            let wait = wait + if late { self.rng.i64(0..120_000) } else { self.rng.i64(5..80) };
            self.messages += 1;
            self.queues[queue].send(self.messages, job, self.now + wait);
            self.after(wait, Event::Visible { queue });
        }
    }

    /// The queue gave up on a message; the dead-letter queue's consumer re-arms the job.
    pub fn dead_message(&mut self, job: usize) {
        self.saw(Seen::MessageDead);
        self.say(|| format!("a message about job {job} falls into the dead-letter queue"));
        let call = Call { job, ..Call::customer(What::Rearm) };
        for _ in 0..self.rng.usize(1..=2) {
            let wait = self.rng.i64(100..3_000);
            self.after(wait, Event::Arrive(Box::new(call.clone())));
        }
    }

    /// Maintenance walks the owed index, shard by shard, and may die on any row.
    fn tick(&mut self) {
        let slack = 3 * self.plan.tick + 2_000;
        let settled = self.plan.calm_from + self.plan.index_lag;
        let verdict = self.checker.alive(&self.table, &self.plan, settled, slack, self.now);
        self.check(verdict);
        if !self.order.is_empty() || self.table.jobs.iter().any(|job| !job.state.ended()) {
            self.after(self.plan.tick, Event::Tick);
        }
        if self.fault == Some(Fault::MaintenanceAsleep) || self.strikes(self.plan.rates.tick_skipped, Seen::TickSkipped) {
            return;
        }
        let mut due = self.table.due(self.now);
        due.sort_by_key(|job| self.table.jobs[*job].owed_shard.clone());
        let mut wait = 0;
        for job in due {
            if self.strikes(self.plan.rates.tick_dies, Seen::TickDied) {
                return;
            }
            wait += self.rng.i64(5..40);
            let call = Call { job, ..Call::customer(What::Sweep) };
            self.after(wait, Event::Arrive(Box::new(call)));
        }
    }
}
