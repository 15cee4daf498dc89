//! What stands around the plan: records, intents, reservations, reconciliation, and carrying decisions out. It models, as the rules say, what the
//! warm pool's function will do with rented providers, and is the one place to replace by it.
//!
//! The rules: an intent and its reservation are written, in one step, before a create, and a create is never repeated; what is listed under our
//! label and known by its intent is adopted, unknown it is destroyed; what is known and missing is closed after two complete lists a minute apart
//! and a "gone" by its id; a destroy is repeated until the machine is listed no more; what was reserved is given back only then. Each step may be
//! the last one of a tick that dies ([`Lies::crash`](crate::parameters::Lies)).

use crate::parameters::*;
use crate::provider::{Created, Listed, Worker};
use crate::world::{Label, MachineId, State, World};
use kiln_core::fleet::Stage;
use kiln_core::ids::InstanceId;
use kiln_core::pool::budget::{Ahead, Deadlines, Rate, Window};
use kiln_core::pool::offers::{self, Learned};
use kiln_core::pool::{Decision, Demand, History, Observation, Plan, Policy, Reason, Seen, plan};
use kiln_core::time::{Millis, seconds};
use std::collections::HashMap;

pub const DEADLINES: Deadlines = Deadlines { boot_s: BOOT_S, job_s: LONGEST_JOB_S, tick_s: TICK_S };
/// Two complete lists must lie so far apart.
const APART: Millis = seconds(60);
/// After that long a create that was never answered has made no machine that is not listed.
const CREATE_SETTLES: Millis = seconds(120);
/// From the reading to the first write of a tick.
const BETWEEN: Millis = seconds(2);
/// A host that failed is avoided for so long.
const AVOID: Millis = seconds(6 * 3_600);
const HOUR: Millis = seconds(3_600);
/// The boot that is assumed before five were measured.
const ASSUMED_BOOT: Millis = seconds(90);

/// A machine as the table knows it, from its intent on.
#[derive(Debug, Clone)]
pub struct Record {
    pub id: InstanceId,
    pub intent: u64,
    pub host: u32,
    pub rate: Rate,
    pub machine: Option<MachineId>,
    pub begun: Millis,
    pub covered_to: Millis,
    pub draining: bool,
    /// It is to be gone: destroyed until it is listed no more.
    pub ending: bool,
    /// Since when complete lists have left it out.
    pub missing_since: Option<Millis>,
    measured: bool,
}

/// What one tick did, for the checker.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// When it began to look.
    pub at: Millis,
    pub listed: Option<Vec<Listed>>,
    pub destroyed: Vec<MachineId>,
    pub refused: Vec<MachineId>,
    pub closed: Vec<(u64, Option<MachineId>)>,
    pub crashed: bool,
    pub wanted: u32,
    /// Machines that truly could not speak when it looked, and those that were given back for their silence.
    pub dumb: Vec<MachineId>,
    pub silenced: Vec<MachineId>,
    /// Those that took no work.
    pub deaf: Vec<MachineId>,
    /// Machines that should speak, and whether silence was in doubt.
    pub speakers: usize,
    pub doubt: bool,
}

/// A rule that is left out on purpose, so that the checker can show that it would be caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// Machines of ours that we don't know are left alone.
    OrphansStay,
    /// Whatever is unknown is destroyed, whoever it belongs to.
    TouchesForeign,
    /// One list is enough to close what is missing, and nobody asks by id.
    ClosesAtOnce,
    /// A destroy is not tried again.
    DestroysOnce,
    /// Nothing is reserved for a rental.
    ReservesNothing,
    /// Idle machines are destroyed without a look whether they have taken a job.
    StopsBlindly,
    /// Silence is the machines' fault, whoever was cut off.
    NeverDoubts,
    /// A machine that says that it is ready stays, whatever waits beside it.
    TrustsTheDeaf,
}

impl Planted {
    pub const ALL: [Planted; 8] = [
        Planted::OrphansStay,
        Planted::TouchesForeign,
        Planted::ClosesAtOnce,
        Planted::DestroysOnce,
        Planted::ReservesNothing,
        Planted::StopsBlindly,
        Planted::NeverDoubts,
        Planted::TrustsTheDeaf,
    ];
}

pub struct Executor {
    policy: Policy,
    planted: Option<Planted>,
    pub records: Vec<Record>,
    /// What is committed in each window, never pruned: what was spent stays.
    pub committed: HashMap<Window, i64>,
    ahead: Hour,
    /// Machines whose create was not answered, or not written down, and that were found by their label.
    pub adopted: u64,
    intents: u64,
    boots: Vec<Millis>,
    boot_ms: Millis,
    history: History,
    looked_at: Option<Millis>,
    learned: Learned,
    /// Steps until this tick dies.
    steps_left: Option<u32>,
    crashed_last: bool,
    told: Told,
}

/// The tick has died.
struct Crashed;

impl Executor {
    pub fn new(policy: Policy, planted: Option<Planted>) -> Self {
        Self {
            policy,
            planted,
            records: vec![],
            committed: HashMap::new(),
            ahead: Hour::of(0),
            adopted: 0,
            intents: 0,
            boots: vec![],
            boot_ms: ASSUMED_BOOT,
            history: History::default(),
            looked_at: None,
            learned: Learned::default(),
            steps_left: None,
            crashed_last: false,
            told: Told::default(),
        }
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// One tick of the pool's function.
    pub fn tick(&mut self, world: &mut World) -> Told {
        self.told = Told { at: world.now, ..Told::default() };
        // Lambda starts the next one; two deaths in a row would only be the same death later.
        let crash = !self.crashed_last && world.chance(world.lies.crash);
        self.steps_left = crash.then(|| world.rng.u32(0..12));
        let (before, at) = (self.history.clone(), world.now);
        self.told.crashed = self.work(world).is_err();
        self.crashed_last = self.told.crashed;
        // What a run has learned is written when it ends.
        if self.told.crashed {
            self.history = before;
        } else {
            self.looked_at = Some(at);
        }
        std::mem::take(&mut self.told)
    }

    /// Whether anything runs or waits.
    pub fn has_work(&self, world: &World) -> bool {
        !self.records.is_empty() || world.queued() > 0 || world.running() > 0
    }

    /// Whether there is room for one more.
    pub fn may_grow(&self) -> bool {
        self.records.iter().filter(|record| !record.ending && !record.draining).count() < self.policy.max as usize
    }

    /// Forgets a record, as a table restored from an earlier copy would have.
    pub fn forget(&mut self, world: &mut World) {
        if !self.records.is_empty() {
            let at = world.rng.usize(0..self.records.len());
            self.records.swap_remove(at);
        }
    }

    fn work(&mut self, world: &mut World) -> Result<(), Crashed> {
        if let Ok(listed) = world.list() {
            self.told.listed = Some(listed.clone());
            self.reconcile(world, &listed)?;
        } else {
            self.destroy_again(world)?;
        }
        self.learn(world);
        let seen = self.observe(world);
        let plan = plan(&seen, &self.policy, world.now);
        self.told.wanted = plan.wanted;
        // Between what was read and what is done, jobs come and end.
        world.pass(BETWEEN);
        self.carry_out(world, plan)
    }

    /// The borders between steps, where a process may die.
    fn step(&mut self) -> Result<(), Crashed> {
        match &mut self.steps_left {
            Some(0) => Err(Crashed),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn reconcile(&mut self, world: &mut World, listed: &[Listed]) -> Result<(), Crashed> {
        for machine in listed {
            match machine.label {
                Label::Foreign if self.planted == Some(Planted::TouchesForeign) => self.destroy(world, machine.id),
                Label::Foreign => continue,
                Label::Ours { intent } => match self.records.iter_mut().find(|record| record.intent == intent) {
                    // A second machine under one label can't be: a create is never repeated.
                    Some(record) => {
                        self.adopted += u64::from(record.machine.is_none());
                        record.machine.get_or_insert(machine.id);
                        record.missing_since = None;
                    }
                    None if self.planted == Some(Planted::OrphansStay) => {}
                    None => {
                        self.step()?;
                        self.destroy(world, machine.id);
                    }
                },
            }
        }
        let now = world.now;
        let mut at = 0;
        while at < self.records.len() {
            let record = &mut self.records[at];
            if listed.iter().any(|machine| machine.label == Label::Ours { intent: record.intent }) {
                if record.ending && self.planted != Some(Planted::DestroysOnce) {
                    let id = record.machine;
                    self.step()?;
                    if let Some(id) = id {
                        self.destroy(world, id);
                    }
                }
                at += 1;
                continue;
            }
            let since = *record.missing_since.get_or_insert(now);
            let twice = now - since >= APART || self.planted == Some(Planted::ClosesAtOnce);
            let (machine, begun) = (record.machine, record.begun);
            let gone = match machine {
                _ if self.planted == Some(Planted::ClosesAtOnce) => true,
                Some(id) if twice => world.is_gone(id) == Ok(true),
                None => now - begun >= CREATE_SETTLES,
                _ => false,
            };
            if twice && gone {
                self.step()?;
                self.close(world, at);
            } else {
                at += 1;
            }
        }
        Ok(())
    }

    /// Without a list what is to be gone is destroyed all the same.
    fn destroy_again(&mut self, world: &mut World) -> Result<(), Crashed> {
        if self.planted == Some(Planted::DestroysOnce) {
            return Ok(());
        }
        for id in self.records.iter().filter(|record| record.ending).filter_map(|record| record.machine).collect::<Vec<_>>() {
            self.step()?;
            self.destroy(world, id);
        }
        Ok(())
    }

    /// Ends a record and gives back what was reserved for later.
    fn close(&mut self, world: &World, at: usize) {
        let record = self.records.swap_remove(at);
        if world.hosts[record.host as usize].interruptible && record.machine.is_some() && !record.ending && !record.draining {
            self.history.spot.taken(world.now);
        }
        let from = world.now + world.hosts[record.host as usize].minimum_ms;
        if self.planted != Some(Planted::ReservesNothing) && record.covered_to > from {
            let ahead = self.ahead.at(world.now);
            for (window, share) in ahead.windows.iter().zip(ahead.shares(record.rate, record.begun, from, record.covered_to)) {
                add(&mut self.committed, window, -share);
            }
        }
        self.told.closed.push((record.intent, record.machine));
    }

    /// What boots took, and which hosts failed.
    fn learn(&mut self, world: &World) {
        let mut learned = false;
        for record in self.records.iter_mut().filter(|record| !record.measured) {
            if let Some(ready_at) = record.machine.and_then(|id| world.ready_at(id)) {
                record.measured = true;
                learned = true;
                self.boots.push(ready_at - record.begun);
            }
        }
        if learned && self.boots.len() >= 5 {
            // The last hundred.
            let surplus = self.boots.len().saturating_sub(100);
            self.boots.drain(..surplus);
            let mut sorted = self.boots.clone();
            sorted.sort_unstable();
            self.boot_ms = sorted[((sorted.len() * 95).div_ceil(100) - 1).min(sorted.len() - 1)];
        }
    }

    fn observe(&mut self, world: &mut World) -> Observation {
        let now = world.now;
        let unread = world.chance(world.lies.jobs_unread);
        let demand = (!unread).then(|| {
            vec![Demand {
                queued: world.queued() as u64,
                running: world.running(),
                oldest_ms: world.oldest_ms(),
                service_ms: world.measured_service_ms(),
                came_2_min: world.came_within(seconds(120)),
                came_10_min: world.came_within(seconds(600)),
                came_hour: world.came_within(seconds(3_600)),
            }]
        });
        let instances: Vec<Seen> = self.records.iter().filter(|record| !record.ending).map(|record| see(record, world)).collect();
        (self.learned.taken_away, self.learned.spot_paused) = (self.history.spot.share(), self.history.spot.paused);
        let unserved = (!unread).then(|| world.queued() > 0);
        self.history.look(self.looked_at, &instances, unserved, LOST_AFTER_S, now);
        match self.planted {
            Some(Planted::NeverDoubts) => self.history.doubt = None,
            Some(Planted::TrustsTheDeaf) => self.history.unserved_since = None,
            _ => {}
        }
        let machines = self.records.iter().filter_map(|record| record.machine);
        self.told.dumb = machines.filter(|id| world.machines[*id as usize].silent_from.is_some()).collect();
        self.told.speakers = instances.iter().filter(|machine| matches!(machine.stage, Stage::Ready | Stage::Busy | Stage::Draining)).count();
        self.told.doubt = self.history.doubt.is_some();
        // Hours, days and months that are over can't be committed to any more.
        let windows = &self.ahead.at(now).windows;
        let committed = windows.iter().filter_map(|window| Some((window.clone(), *self.committed.get(window)?))).collect();
        Observation {
            demand,
            instances,
            useful: None,
            listed: true,
            committed: Some(committed),
            boot_ms: self.boot_ms,
            history: self.history.clone(),
            lost_after_s: LOST_AFTER_S,
            deadlines: DEADLINES,
            look_s: LOOK_S,
        }
    }

    fn carry_out(&mut self, world: &mut World, plan: Plan) -> Result<(), Crashed> {
        // What is finished with its last job goes.
        for at in 0..self.records.len() {
            let record = &self.records[at];
            let Some(id) = record.machine.filter(|_| record.draining && !record.ending) else { continue };
            if world.machines[id as usize].state == State::Idle {
                self.step()?;
                self.end(world, at);
            }
        }
        for decision in plan.decisions {
            self.step()?;
            match decision {
                Decision::Rent { .. } => self.rent(world)?,
                Decision::Cover { id, to } => self.cover(world, &id, to),
                Decision::Drain { id, .. } => {
                    if let Some(at) = self.find(&id) {
                        self.drain(world, at);
                    }
                }
                Decision::Stop { id, .. } => {
                    let Some(at) = self.find(&id) else { continue };
                    let machine = self.records[at].machine;
                    let works = machine.is_some_and(|id| world.machines[id as usize].works());
                    if works && self.planted != Some(Planted::StopsBlindly) {
                        continue;
                    }
                    world.meter.killed_by_scale_in += u64::from(works);
                    self.history.stopped(world.now);
                    self.end(world, at);
                }
                Decision::Destroy { id, reason } => {
                    let Some(at) = self.find(&id) else { continue };
                    let record = &self.records[at];
                    match (&reason, record.machine) {
                        (Reason::Silent { .. }, Some(id)) => self.told.silenced.push(id),
                        (Reason::IdleBesideWork { .. }, Some(id)) => {
                            self.told.deaf.push(id);
                            self.history.deaf_at = Some(world.now);
                        }
                        _ => {}
                    }
                    if matches!(reason, Reason::BootTooLong { .. } | Reason::Silent { .. } | Reason::IdleBesideWork { .. }) {
                        self.learned.avoid.insert(format!("{:03}", record.host), world.now + AVOID);
                    }
                    let works = record.machine.is_some_and(|id| world.machines[id as usize].works());
                    world.meter.killed_for_cover += u64::from(works && matches!(reason, Reason::CoverEnds { .. }));
                    self.end(world, at);
                }
            }
        }
        Ok(())
    }

    fn find(&self, id: &InstanceId) -> Option<usize> {
        self.records.iter().position(|record| record.id == *id)
    }

    fn drain(&mut self, world: &mut World, at: usize) {
        let record = &mut self.records[at];
        record.draining = true;
        if let Some(id) = record.machine {
            world.drain(id);
        }
    }

    /// Its token dies with the record's change, so that it takes no job any more; then it is destroyed.
    fn end(&mut self, world: &mut World, at: usize) {
        self.drain(world, at);
        self.records[at].ending = true;
        if let Some(id) = self.records[at].machine {
            self.destroy(world, id);
        }
    }

    fn destroy(&mut self, world: &mut World, id: MachineId) {
        match world.destroy(id) {
            Ok(()) => self.told.destroyed.push(id),
            Err(_) => self.told.refused.push(id),
        }
    }

    fn rent(&mut self, world: &mut World) -> Result<(), Crashed> {
        let now = world.now;
        let offers = world.offers(16);
        let ranked = offers::ranked(&offers, &self.policy, &self.learned, now);
        // All of these hosts failed lately: any is better than none.
        let Some(offer) = ranked.first().copied().or(offers.last()) else { return Ok(()) };
        let (host, rate) = (offer.host.parse().unwrap_or(0), offer.rate);
        let to = now + DEADLINES.first_ms();
        if !self.reserve(rate, now, now, to, now) {
            return Ok(());
        }
        self.intents += 1;
        let intent = self.intents;
        let id = InstanceId::new(now, u128::from(intent));
        self.records.push(Record {
            id,
            intent,
            host,
            rate,
            machine: None,
            begun: now,
            covered_to: to,
            draining: false,
            ending: false,
            missing_since: None,
            measured: false,
        });
        self.history.rented(now);
        if world.hosts[host as usize].interruptible {
            self.history.spot.rented(now);
        }
        self.step()?;
        let created = world.create(Label::Ours { intent }, host);
        self.step()?;
        match created {
            Created::Made(machine) => {
                if let Some(record) = self.records.iter_mut().find(|record| record.intent == intent) {
                    record.machine = Some(machine);
                }
            }
            Created::Refused => {
                if let Some(at) = self.records.iter().position(|record| record.intent == intent) {
                    self.close(world, at);
                }
            }
            // The next list tells.
            Created::Unanswered => {}
        }
        Ok(())
    }

    fn cover(&mut self, world: &mut World, id: &InstanceId, to: Millis) {
        let Some(at) = self.find(id) else { return };
        let Record { rate, begun, covered_to, .. } = self.records[at];
        if self.reserve(rate, begun, covered_to, to, world.now) {
            self.records[at].covered_to = to;
        } else {
            self.drain(world, at);
        }
    }

    /// Commits a span's cost to its windows if it fits in all of them.
    fn reserve(&mut self, rate: Rate, begun: Millis, from: Millis, to: Millis, now: Millis) -> bool {
        if self.planted == Some(Planted::ReservesNothing) {
            return true;
        }
        let ahead = self.ahead.at(now);
        let shares = ahead.shares(rate, begun, from, to);
        let too_much = |(window, share): (&Window, &i64)| {
            let committed = || self.committed.get(window).copied().unwrap_or(0);
            *share != 0 && window.budget(&self.policy).is_some_and(|budget| committed() + share > budget)
        };
        if ahead.windows.iter().zip(&shares).any(too_much) {
            return false;
        }
        for (window, share) in ahead.windows.iter().zip(shares) {
            add(&mut self.committed, window, share);
        }
        true
    }
}

/// The windows of an hour and of what may be covered from within it, named once.
struct Hour {
    from: Millis,
    ahead: Ahead,
}

impl Hour {
    fn of(from: Millis) -> Self {
        Self { from, ahead: Ahead::new(from, from + HOUR + 2 * DEADLINES.first_ms()) }
    }

    fn at(&mut self, now: Millis) -> &Ahead {
        if now - self.from >= HOUR || now < self.from {
            *self = Self::of(now.div_euclid(HOUR) * HOUR);
        }
        &self.ahead
    }
}

fn add(committed: &mut HashMap<Window, i64>, window: &Window, share: i64) {
    if share == 0 {
        return;
    }
    match committed.get_mut(window) {
        Some(sum) => *sum += share,
        None => {
            committed.insert(window.clone(), share);
        }
    }
}

/// A record and what its worker says, as the plan sees it.
fn see(record: &Record, world: &World) -> Seen {
    let now = world.now;
    let (stage, since, heard_at) = match record.machine {
        None => (Stage::Requested, record.begun, now),
        Some(id) => {
            let (worker, heard_at) = world.worker(id);
            match worker {
                // None of its words is due before its boot's time is over.
                Worker::Silent => (Stage::Loading, record.begun, now),
                _ if record.draining => (Stage::Draining, now, heard_at),
                Worker::Busy => (Stage::Busy, now, heard_at),
                Worker::Idle { since } => (Stage::Ready, since, heard_at),
            }
        }
    };
    Seen {
        id: record.id.clone(),
        stage,
        since,
        heard_at,
        begun: record.begun,
        boot_by: record.begun + seconds(BOOT_S),
        rate: record.rate,
        covered_to: record.covered_to,
        leased_to: None,
        able: true,
        interruptible: world.hosts[record.host as usize].interruptible,
        taken_away: false,
    }
}
