//! What stands around the plan: records, intents, reservations, reconciliation, and carrying decisions out. It models, as the rules say, what the
//! warm pool's function will do with rented providers, and is the one place to replace by it.
//!
//! The rules: an intent and its reservation are written, in one step, before a create, and a create is never repeated; what is listed under our
//! label and known by its intent is adopted, unknown it is destroyed; what is known and missing is closed after two complete lists a minute apart
//! and a "gone" by its id; a destroy is repeated until the machine is listed no more; what was reserved is given back only then. Each step may be
//! the last one of a tick that dies ([`Lies::crash`](crate::parameters::Lies)).

use crate::parameters::*;
use crate::provider::{Created, LAG, Listed, Started, Worker};
use crate::world::{Label, MachineId, State, World};
use kiln_core::fleet::Stage;
use kiln_core::ids::InstanceId;
use kiln_core::pool::budget::{Ahead, Deadlines, Rate, Window};
use kiln_core::pool::offers::{self, Learned};
use kiln_core::pool::{Boots, Decision, Demand, History, Observation, Plan, Policy, Reason, Seen, Took, plan};
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
/// The boot, and the start of a stopped machine, that is assumed before one was measured.
const ASSUMED_BOOT: Took = Took::all(seconds(90));
const ASSUMED_RESUME: Took = Took::all(seconds(60));
const DISK_RATE: Rate = Rate { microusd_per_hour: STOPPED, microusd_once: 0 };

/// A machine as the table knows it, from its intent on.
#[derive(Debug, Clone)]
pub struct Record {
    pub id: InstanceId,
    pub intent: u64,
    pub host: u32,
    /// What is reserved for it by the hour, since when, and until when.
    pub rate: Rate,
    pub rate_from: Millis,
    pub covered_to: Millis,
    pub machine: Option<MachineId>,
    pub begun: Millis,
    pub boot_by: Millis,
    pub power: Power,
    pub draining: bool,
    /// It is to be gone: destroyed until it is listed no more.
    pub ending: bool,
    /// Since when complete lists have left it out.
    pub missing_since: Option<Millis>,
    measured: bool,
}

/// How a machine is switched, as far as is written down. What a stop saves is given back when the provider has said that it is done; a start is
/// reserved for before it is asked for, and never asked for twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    On,
    /// It takes no jobs, and is asked to stop until it is listed as stopped.
    Stopping,
    Off {
        since: Millis,
    },
    Starting {
        at: Millis,
    },
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
    /// The jobs could not be read.
    pub unread: bool,
    pub wanted: u32,
    /// Machines that truly could not speak when it looked, and those that were given back for their silence.
    pub dumb: Vec<MachineId>,
    pub silenced: Vec<MachineId>,
    /// Those that took no work.
    pub deaf: Vec<MachineId>,
    /// Machines that should have spoken for as long as a silence is, and whether silence was in doubt.
    pub speakers: usize,
    pub doubt: bool,
    /// What it did to the pool's size: at all, and for what was only expected, or not needed any more.
    pub grew: bool,
    pub grew_early: bool,
    pub shrank: bool,
    pub shrank_early: bool,
    /// What one more typically takes to be there, as far as the plan knows: the least of what it may have reckoned with.
    pub typical: Millis,
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
    /// What a stop saves is given back before the provider has said that it is done.
    FreesAtOnce,
    /// Nothing is reserved for a start.
    StartsUnreserved,
    /// A start that was not answered is asked for again.
    StartsAgain,
    /// What is stopped is never given back for want of work.
    KeepsForEver,
    /// It turns from growing to shrinking and back as it likes.
    Flaps,
}

impl Planted {
    pub const ALL: [Planted; 13] = [
        Planted::OrphansStay,
        Planted::TouchesForeign,
        Planted::ClosesAtOnce,
        Planted::DestroysOnce,
        Planted::ReservesNothing,
        Planted::StopsBlindly,
        Planted::NeverDoubts,
        Planted::TrustsTheDeaf,
        Planted::FreesAtOnce,
        Planted::StartsUnreserved,
        Planted::StartsAgain,
        Planted::KeepsForEver,
        Planted::Flaps,
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
    boots: Boots,
    boot: Took,
    resumes: Boots,
    resume: Took,
    history: History,
    looked_at: Option<Millis>,
    learned: Learned,
    /// Steps until this tick dies.
    steps_left: Option<u32>,
    crashed_last: bool,
    told: Told,
}

impl Record {
    pub fn stands_by(&self) -> bool {
        matches!(self.power, Power::Off { .. })
    }
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
            boots: Boots::default(),
            boot: ASSUMED_BOOT,
            resumes: Boots::default(),
            resume: ASSUMED_RESUME,
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
        self.records.iter().any(|record| !record.stands_by()) || world.queued() > 0 || world.running() > 0
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
        let (decided, before) = (plan.decisions.clone(), self.history.clone());
        let done = self.carry_out(world, plan);
        self.tell_of_size(&decided, &before);
        done
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
            if let Some(found) = listed.iter().find(|machine| machine.label == Label::Ours { intent: record.intent }) {
                if !record.ending && record.power == Power::Stopping {
                    self.step()?;
                    if found.stopped {
                        self.stopped(at, now);
                    } else {
                        self.stop(world, at)?;
                    }
                } else if let Power::Starting { at: since } = record.power
                    && !record.ending
                    && found.stopped
                    && now - since > LAG
                {
                    // Somebody else has its GPU, or its start was never asked for.
                    self.step()?;
                    self.end(world, at);
                } else if record.ending && self.planted != Some(Planted::DestroysOnce) {
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
        self.commit(record.rate, record.rate_from, from, record.covered_to, world.now, -1);
        self.told.closed.push((record.intent, record.machine));
    }

    /// What boots and starts took.
    fn learn(&mut self, world: &World) {
        let (mut boots, mut resumes) = (vec![], vec![]);
        for record in &mut self.records {
            let Some(id) = record.machine else { continue };
            if let Some(ready_at) = world.ready_at(id).filter(|_| !record.measured) {
                record.measured = true;
                boots.push((record.begun, ready_at));
            }
            if let (Power::Starting { at }, Some(up_at)) = (record.power, world.up_at(id))
                && !matches!(world.worker(id).0, Worker::Silent)
            {
                (record.power, record.boot_by) = (Power::On, Millis::MAX);
                resumes.push((at, up_at));
            }
        }
        for (took, known, new) in [(&mut self.boot, &mut self.boots, boots), (&mut self.resume, &mut self.resumes, resumes)] {
            if !new.is_empty() {
                known.look(new.into_iter());
                *took = known.took().unwrap_or(*took);
            }
        }
    }

    fn observe(&mut self, world: &mut World) -> Observation {
        let now = world.now;
        let unread = world.chance(world.lies.jobs_unread);
        self.told.unread = unread;
        let demand = (!unread).then(|| {
            vec![Demand {
                rush: false,
                queued: world.queued() as u64,
                running: world.running(),
                oldest_ms: world.oldest_ms(),
                service_ms: world.measured_service_ms(),
                came_2_min: world.came_within(seconds(120)),
                came_10_min: world.came_within(seconds(600)),
                came_hour: world.came_within(seconds(3_600)),
            }]
        });
        let instances: Vec<Seen> = self.records.iter().filter(|record| !record.ending).map(|record| see(record, world, self.policy.keep_stopped)).collect();
        (self.learned.taken_away, self.learned.spot_paused) = (self.history.spot.share(), self.history.spot.paused);
        let unserved = (!unread).then(|| world.queued() > 0);
        self.history.look(self.looked_at, &instances, unserved, LOST_AFTER_S, now);
        match self.planted {
            Some(Planted::NeverDoubts) => self.history.doubt = None,
            Some(Planted::TrustsTheDeaf) => self.history.unserved_since = None,
            Some(Planted::Flaps) => (self.history.turned_at, self.history.last_rent_at, self.history.last_stop_at) = (None, None, None),
            _ => {}
        }
        let machines = self.records.iter().filter_map(|record| record.machine);
        self.told.dumb = machines.filter(|id| world.machines[*id as usize].silent_from.is_some()).collect();
        // One that came up while the others were silent is no witness of their silence.
        let long_up = |record: &Record| record.machine.and_then(|id| world.up_at(id)).is_some_and(|up_at| now - up_at > seconds(LOST_AFTER_S));
        let speaks = |machine: &Seen| matches!(machine.stage, Stage::Ready | Stage::Busy | Stage::Draining);
        let seen = self.records.iter().filter(|record| !record.ending).zip(&instances);
        self.told.speakers = seen.filter(|(record, machine)| speaks(machine) && long_up(record)).count();
        self.told.doubt = self.history.doubt.is_some();
        self.told.typical = self.boot.typical.min(self.resume.typical);
        // Hours, days and months that are over can't be committed to any more.
        let windows = &self.ahead.at(now).windows;
        let committed = windows.iter().filter_map(|window| Some((window.clone(), *self.committed.get(window)?))).collect();
        Observation {
            demand,
            instances,
            useful: None,
            listed: true,
            committed: Some(committed),
            boot: self.boot,
            resume: self.policy.keep_stopped.then_some(self.resume),
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
        let mut others = self.others(&plan);
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
                    let keeps = self.planted == Some(Planted::KeepsForEver) && self.records[at].stands_by();
                    if keeps || works && self.planted != Some(Planted::StopsBlindly) {
                        continue;
                    }
                    world.meter.killed_by_scale_in += u64::from(works);
                    self.history.stopped(world.now);
                    self.end(world, at);
                }
                Decision::Suspend { id, .. } => self.suspend(world, &id)?,
                Decision::Resume { id, .. } => {
                    let mut next = Some(id);
                    while let Some(id) = next.take() {
                        if self.resume(world, &id)? == Started::Waits {
                            next = others.pop();
                            if next.is_none() {
                                self.rent(world)?;
                            }
                        }
                    }
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
                    // That somebody else has a stopped machine's GPU is no fault of its host.
                    let starting = matches!(record.power, Power::Starting { .. });
                    if !starting && matches!(reason, Reason::BootTooLong { .. } | Reason::Silent { .. } | Reason::IdleBesideWork { .. }) {
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

    /// What of the plan's growing and shrinking was done: a rental may not fit, and what was to stop may have taken a job.
    fn tell_of_size(&mut self, plan: &[Decision], before: &History) {
        let told = &mut self.told;
        told.grew = self.history.last_rent_at != before.last_rent_at;
        told.shrank = self.history.last_stop_at != before.last_stop_at;
        told.grew_early = plan
            .iter()
            .any(|decision| matches!(decision, Decision::Rent { reason: Reason::Expected { .. } } | Decision::Resume { reason: Reason::Expected { .. }, .. }));
        let early = |decision: &Decision| {
            matches!(decision, Decision::Stop { reason: Reason::NotNeeded { .. }, .. } | Decision::Suspend { reason: Reason::NotNeeded { .. }, .. })
        };
        told.shrank_early = plan.iter().any(early);
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
            rate_from: now,
            covered_to: to,
            machine: None,
            begun: now,
            boot_by: now + seconds(BOOT_S),
            power: Power::On,
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
        let Record { rate, rate_from, covered_to, .. } = self.records[at];
        if self.reserve(rate, rate_from, covered_to, to, world.now) {
            self.records[at].covered_to = to;
        } else if self.records[at].stands_by() {
            self.end(world, at);
        } else {
            self.drain(world, at);
        }
    }

    /// It takes no jobs from the record's change on; then it is stopped, and only then is less reserved for it.
    fn suspend(&mut self, world: &mut World, id: &InstanceId) -> Result<(), Crashed> {
        let Some(at) = self.find(id).filter(|at| self.records[*at].power == Power::On) else { return Ok(()) };
        let Some(machine) = self.records[at].machine else { return Ok(()) };
        if world.machines[machine as usize].works() && self.planted != Some(Planted::StopsBlindly) {
            return Ok(());
        }
        self.history.stopped(world.now);
        self.records[at].power = Power::Stopping;
        world.drain(machine);
        if self.planted == Some(Planted::FreesAtOnce) {
            self.stopped(at, world.now);
        }
        self.step()?;
        self.stop(world, at)
    }

    fn stop(&mut self, world: &mut World, at: usize) -> Result<(), Crashed> {
        let Some(machine) = self.records[at].machine else { return Ok(()) };
        let done = world.stop(machine).is_ok();
        self.step()?;
        if done {
            self.stopped(at, world.now);
        }
        Ok(())
    }

    /// The provider says that it is stopped: its disk alone is reserved from now on.
    fn stopped(&mut self, at: usize, now: Millis) {
        if self.records[at].power != Power::Stopping {
            return;
        }
        self.records[at].power = Power::Off { since: now };
        let to = self.records[at].covered_to.max(now);
        self.exchange(at, DISK_RATE, to, now);
    }

    /// Those that stand by and that a plan leaves alone, the best last: to start instead of one that can't.
    fn others(&self, plan: &Plan) -> Vec<InstanceId> {
        let decided = |record: &Record| {
            plan.decisions.iter().any(|decision| match decision {
                Decision::Resume { id, .. } | Decision::Stop { id, .. } | Decision::Destroy { id, .. } => *id == record.id,
                _ => false,
            })
        };
        let mut others: Vec<_> = self.records.iter().filter(|record| record.stands_by() && !record.ending && !decided(record)).collect();
        others.sort_by_key(|record| std::cmp::Reverse(record.host));
        others.into_iter().map(|record| record.id.clone()).collect()
    }

    /// Its full cost is reserved, or it stays as it is. A start is asked for once: one that leads to nothing is given back, at once where the provider
    /// says so, and else after its time.
    fn resume(&mut self, world: &mut World, id: &InstanceId) -> Result<Started, Crashed> {
        let Some(at) = self.find(id).filter(|at| self.records[*at].stands_by()) else { return Ok(Started::Asked) };
        let Some(machine) = self.records[at].machine else { return Ok(Started::Asked) };
        let now = world.now;
        let to = self.records[at].covered_to.max(now + seconds(RESUME_S) + DEADLINES.work_ms());
        let full = world.rate(self.records[at].host);
        if self.planted == Some(Planted::StartsUnreserved) {
            (self.records[at].rate, self.records[at].rate_from) = (full, now);
        } else if !self.exchange(at, full, to, now) {
            return Ok(Started::Asked);
        }
        (self.records[at].power, self.records[at].boot_by) = (Power::Starting { at: now }, now + seconds(RESUME_S));
        self.history.rented(now);
        self.step()?;
        let mut started = world.start(machine);
        if started == Started::Unanswered && self.planted == Some(Planted::StartsAgain) {
            started = world.start(machine);
        }
        self.step()?;
        if started == Started::Waits {
            self.end(world, at);
        }
        Ok(started)
    }

    /// What is reserved for it from now on is given back, and reserved anew at another rate until then; nothing changes where that doesn't fit.
    fn exchange(&mut self, at: usize, rate: Rate, to: Millis, now: Millis) -> bool {
        let Record { rate: old, rate_from, covered_to, .. } = self.records[at];
        // The second in which it is switched stays reserved at both rates: what was rounded within the hour is never short then.
        let from = now + seconds(1);
        self.commit(old, rate_from, from, covered_to, now, -1);
        // From here on its cost is counted anew, so that each part is rounded up by itself.
        if !self.reserve(rate, now, now, to, now) {
            self.commit(old, rate_from, from, covered_to, now, 1);
            return false;
        }
        let record = &mut self.records[at];
        (record.rate, record.rate_from, record.covered_to) = (rate, now, to);
        true
    }

    /// Adds a span's cost, or takes it away.
    fn commit(&mut self, rate: Rate, begun: Millis, from: Millis, to: Millis, now: Millis, sign: i64) {
        if self.planted == Some(Planted::ReservesNothing) || to <= from {
            return;
        }
        let ahead = self.ahead.at(now);
        for (window, share) in ahead.windows.iter().zip(ahead.shares(rate, begun, from, to)) {
            add(&mut self.committed, window, sign * share);
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
fn see(record: &Record, world: &World, keeps: bool) -> Seen {
    let now = world.now;
    let (stage, since, heard_at) = match record.machine {
        _ if let Power::Off { since } = record.power => (Stage::Stopped, since, now),
        None => (Stage::Requested, record.begun, now),
        Some(id) => {
            let (worker, heard_at) = world.worker(id);
            match worker {
                // None of its words is due before its boot's time is over.
                Worker::Silent => (Stage::Loading, record.begun, now),
                _ if record.draining || record.power == Power::Stopping => (Stage::Draining, now, heard_at),
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
        boot_by: record.boot_by,
        rate: record.rate,
        covered_to: record.covered_to,
        leased_to: None,
        able: true,
        interruptible: world.hosts[record.host as usize].interruptible,
        taken_away: false,
        keeps: keeps && world.keeps(record.host),
        rests: record.power == Power::Stopping,
        resumes: false,
        runs_for: world.rate(record.host),
    }
}
