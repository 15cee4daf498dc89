//! What to do now: a pure plan from what was observed. It promises: what could not be read leads to no rental; a machine on its way counts as
//! supply; a machine that works is drained, and destroyed only where safe mode, silence or the end of its cover say so; nothing is given back
//! within a boot's time of a rental, so that the pool doesn't flap; each decision has its reason. Where its provider keeps a stopped machine for
//! little, one without work is stopped and not given back, and is started again before another is rented (`standby`).

use super::boots::Took;
use super::budget::{self, Deadlines, Rate, Window};
use super::forecast::{machines_beside_rentals, machines_for, machines_kept};
use super::history::{self, History};
use super::policy::{Keep, Policy};
use super::reason::Reason;
use super::size::{Pool, grow, shrink};
use super::standby;
use crate::fleet::Stage;
use crate::ids::InstanceId;
use crate::time::{Millis, seconds};
use std::collections::BTreeMap;

/// One machine as the plan sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub id: InstanceId,
    /// [`Stage::Stopped`]: it stands by at its provider, does nothing, says nothing, and costs no more than its disk.
    pub stage: Stage,
    /// Since when it has had nothing to do.
    pub since: Millis,
    /// Its last word, or now where none is due yet.
    pub heard_at: Millis,
    /// When it was asked for.
    pub begun: Millis,
    /// By when it must be ready, since it was asked for or its worker began again.
    pub boot_by: Millis,
    /// What it costs as it is: nothing where the machine is the operator's own, and its disk's rate while it is stopped.
    pub rate: Rate,
    /// Until when its cost is reserved.
    pub covered_to: Millis,
    /// An operator has claimed it until then: it is not given back for want of work.
    pub leased_to: Option<Millis>,
    /// It could do some of the jobs that wait.
    pub able: bool,
    /// It may be taken away for somebody who pays more, and it was.
    pub interruptible: bool,
    pub taken_away: bool,
    /// Its provider can stop it and keep it for little, and the policy allows it; never one that is interruptible.
    pub keeps: bool,
    /// It has been told to rest, and will soon stand by.
    pub rests: bool,
    /// It was kept stopped, and is on its way back.
    pub resumes: bool,
    /// What it costs while it runs.
    pub runs_for: Rate,
}

impl Seen {
    /// One that has just been asked for, and costs nothing as far as is asked here.
    pub fn asked_for(id: InstanceId, now: Millis) -> Self {
        let (far, rate) = (Millis::MAX, Rate::default());
        Self {
            id,
            stage: Stage::Requested,
            since: now,
            heard_at: now,
            begun: now,
            boot_by: far,
            rate,
            covered_to: far,
            leased_to: None,
            able: false,
            interruptible: false,
            taken_away: false,
            keeps: false,
            rests: false,
            resumes: false,
            runs_for: rate,
        }
    }

    /// Whether an operator has claimed it.
    pub(super) fn is_leased(&self, now: Millis) -> bool {
        self.leased_to.is_some_and(|until| until > now)
    }
}

/// Unfinished jobs of one capability and priority, never messages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Demand {
    /// Their customers paid more to be served first.
    pub rush: bool,
    pub queued: u64,
    pub running: u64,
    /// For how long the oldest of those that wait has waited.
    pub oldest_ms: Millis,
    /// What one of them takes on a machine that is ready, as measured.
    pub service_ms: Millis,
    /// Jobs that came in the last two minutes, the last ten, and the last hour.
    pub came_2_min: u64,
    pub came_10_min: u64,
    pub came_hour: u64,
}

/// What was read of the fleet and its work. `None`: it could not be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    pub demand: Option<Vec<Demand>>,
    /// Whether a provider has said what exists there. Else nothing is rented; what has no work by its own word goes all the same.
    pub listed: bool,
    pub instances: Vec<Seen>,
    /// Machines that could have work at once: no account runs more jobs than it may. `None`: not known.
    pub useful: Option<u32>,
    /// What is committed in each window of the budgets.
    pub committed: Option<BTreeMap<Window, i64>>,
    /// What a boot takes ([`Boots`](super::Boots)).
    pub boot: Took,
    /// What a start of a stopped machine takes. `None`: nothing is kept stopped.
    pub resume: Option<Took>,
    /// What earlier looks left, and what this one makes of it ([`History::look`]).
    pub history: History,
    /// A machine that has not spoken for so long is lost.
    pub lost_after_s: u64,
    pub deadlines: Deadlines,
    /// How soon the next look comes, while anything runs or waits. What is covered reckons with [`Deadlines::tick_s`], which is never less.
    pub look_s: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// One machine more.
    Rent { reason: Reason },
    /// One more, that stands by: start it again. Its full cost is reserved first.
    Resume { id: InstanceId, reason: Reason },
    /// It has no work: stop it and keep it, unless it has taken some meanwhile.
    Suspend { id: InstanceId, reason: Reason },
    /// It stays: reserve its cost until then, or drain it where no budget covers that (give it back, where it is stopped).
    Cover { id: InstanceId, to: Millis },
    /// It takes no more jobs, and goes when it has none.
    Drain { id: InstanceId, reason: Reason },
    /// It has no work: give it back, unless it has taken some meanwhile.
    Stop { id: InstanceId, reason: Reason },
    /// Give it back whatever it does; what it did is done again elsewhere.
    Destroy { id: InstanceId, reason: Reason },
}

/// The decisions, and what stood in the way of others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub decisions: Vec<Decision>,
    pub notes: Vec<Reason>,
    /// Machines that there should be.
    pub wanted: u32,
}

/// What to do now.
pub fn plan(seen: &Observation, policy: &Policy, now: Millis) -> Plan {
    let mut plan = Plan::default();
    if policy.safe_mode {
        let there = seen.instances.iter().filter(|machine| !matches!(machine.stage, Stage::Gone));
        plan.decisions = there.map(|machine| Decision::Destroy { id: machine.id.clone(), reason: Reason::SafeMode }).collect();
        return plan;
    }
    let mut living = deadlines(seen, now, &mut plan);
    living.extend(standby::kept(seen, now, &mut plan));
    let staying = cover(seen, policy, now, living, &mut plan);
    let (mut stopped, staying): (Vec<&Seen>, Vec<&Seen>) = staying.into_iter().partition(|machine| machine.stage == Stage::Stopped);
    // Where nothing is kept stopped, what an operator has claimed stays as it is.
    stopped.retain(|_| seen.resume.is_some());
    let Some(demand) = &seen.demand else {
        plan.notes.push(Reason::Unreadable { what: "the jobs".into() });
        return plan;
    };
    let need = Need::of(demand, seen, policy, &staying, !stopped.is_empty(), now);
    plan.wanted = need.wanted.clamp(policy.floor(), policy.max);
    let pool = Pool { seen, policy, need: &need, staying: &staying, stopped: &stopped, now };
    grow(&pool, &mut plan);
    shrink(&pool, &mut plan);
    plan
}

/// Gives back what is silent, did not boot, or takes no work; gives what lives.
fn deadlines<'a>(seen: &'a Observation, now: Millis, plan: &mut Plan) -> Vec<&'a Seen> {
    let lost = seconds(seen.lost_after_s);
    let mut living = Vec::with_capacity(seen.instances.len());
    let mut excused = 0;
    for machine in seen.instances.iter().filter(|machine| !matches!(machine.stage, Stage::Gone | Stage::Stopped)) {
        let reason = if machine.taken_away {
            Reason::TakenAway
        } else if matches!(machine.stage, Stage::Requested | Stage::Loading) && now > machine.boot_by {
            Reason::BootTooLong { waited_s: whole(now - machine.begun).min(seen.deadlines.boot_s + whole(now - machine.boot_by)) }
        } else if machine.stage == Stage::Lost && now - machine.heard_at <= lost {
            Reason::SentAway
        } else if machine.stage == Stage::Lost || now - machine.heard_at > lost {
            if machine.stage != Stage::Lost && seen.history.excuses(machine, lost, now) {
                excused += 1;
                living.push(machine);
                continue;
            }
            Reason::Silent { silent_s: whole(now - machine.heard_at) }
        } else {
            living.push(machine);
            continue;
        };
        plan.decisions.push(Decision::Destroy { id: machine.id.clone(), reason });
    }
    if let Some(doubt) = seen.history.doubt.filter(|_| excused > 0) {
        plan.notes.push(Reason::InDoubt { machines: excused, wait_s: whole(doubt.at + lost - now) });
    }
    if let Some(machine) = history::deaf(seen, &living, now) {
        living.retain(|other| other.id != machine.id);
        plan.decisions.push(Decision::Destroy { id: machine.id.clone(), reason: Reason::IdleBesideWork { idle_s: whole(now - machine.since) } });
    }
    living
}

/// Covers further what is to stay, and drains what no budget covers; gives what takes jobs from now on, and what stands by.
fn cover<'a>(seen: &Observation, policy: &Policy, now: Millis, living: Vec<&'a Seen>, plan: &mut Plan) -> Vec<&'a Seen> {
    let tick = seconds(seen.deadlines.tick_s);
    let to = now + seen.deadlines.work_ms() + 5 * tick;
    // What is committed may be unread: then the write itself says whether it fits.
    let mut books = seen.committed.as_ref().filter(|_| policy.has_budget()).map(|committed| Books::new(committed, policy, now, to));
    let mut staying = Vec::with_capacity(living.len());
    for machine in living {
        let priced = machine.rate != Rate::default();
        let left = machine.covered_to - now;
        if priced && left <= seen.deadlines.last_ms() {
            plan.decisions.push(Decision::Destroy { id: machine.id.clone(), reason: Reason::CoverEnds { left_s: whole(left) } });
            continue;
        }
        if machine.stage == Stage::Draining {
            continue;
        }
        // Three more ticks: the next look comes after one, and one may be missed and another die on its way.
        if priced && left < seen.deadlines.work_ms() + 3 * tick {
            if let Some(window) = books.as_mut().and_then(|books| books.commit(machine, to)) {
                let (id, reason) = (machine.id.clone(), Reason::Budget { window });
                plan.decisions.push(if machine.stage == Stage::Stopped { Decision::Stop { id, reason } } else { Decision::Drain { id, reason } });
                continue;
            }
            plan.decisions.push(Decision::Cover { id: machine.id.clone(), to });
        }
        staying.push(machine);
    }
    staying
}

/// What is committed in the windows ahead, and what may be.
struct Books {
    ahead: budget::Ahead,
    budgets: Vec<Option<i64>>,
    committed: Vec<i64>,
}

impl Books {
    fn new(committed: &BTreeMap<Window, i64>, policy: &Policy, now: Millis, to: Millis) -> Self {
        let ahead = budget::Ahead::new(now, to);
        let budgets = ahead.windows.iter().map(|window| window.budget(policy)).collect();
        let committed = ahead.windows.iter().map(|window| committed.get(window).copied().unwrap_or(0)).collect();
        Self { ahead, budgets, committed }
    }

    /// Adds what a machine costs further, or names the window that it does not fit into.
    fn commit(&mut self, machine: &Seen, to: Millis) -> Option<String> {
        let shares = self.ahead.shares(machine.rate, machine.begun, machine.covered_to, to);
        let fits = |at: &usize| shares[*at] == 0 || self.budgets[*at].is_none_or(|budget| self.committed[*at] + shares[*at] <= budget);
        if let Some(at) = (0..shares.len()).find(|at| !fits(at)) {
            return Some(self.ahead.windows[at].name().to_owned());
        }
        self.committed.iter_mut().zip(shares).for_each(|(sum, share)| *sum += share);
        None
    }
}

/// What the jobs need.
pub(super) struct Need {
    pub queued: u64,
    /// For the jobs that wait.
    pub waiting: u32,
    /// For those that are expected.
    pub expected: u32,
    pub per_hour: u64,
    wanted: u32,
    /// Jobs may wait longer than a boot takes: nothing is kept for those that may come.
    pub patient: bool,
    /// Jobs are past their time since machines were taken away, and what is on its way may be too: one that stays is rented beside it.
    pub hedge: bool,
    /// For so long after a turn it turns no more: what one more typically takes to be there, by a boot or by the start of one that stands by.
    pub turns_after: Millis,
    /// Of machines that run and that stand by, as many are kept.
    pub kept: u32,
}

impl Need {
    fn of(demand: &[Demand], seen: &Observation, policy: &Policy, staying: &[&Seen], stands_by: bool, now: Millis) -> Self {
        let supply = staying.len() as u32;
        let sum = |of: fn(&Demand) -> u64| demand.iter().map(of).sum::<u64>();
        let (queued, came_hour) = (sum(|d| d.queued), sum(|d| d.came_hour));
        let oldest_ms = demand.iter().filter(|d| d.queued > 0).map(|d| d.oldest_ms).max().unwrap_or(0);
        // The mean of what is there, by how much there is of each; of all kinds, where nothing is.
        let weight = |d: &Demand| (d.queued + d.running + d.came_hour) as f64;
        let weights: f64 = demand.iter().map(weight).sum();
        let service_ms: f64 = if weights > 0.0 { demand.iter().map(|d| weight(d) * d.service_ms as f64).sum::<f64>() / weights } else { 0.0 };
        let service = (service_ms / 1000.0).max(0.1);
        let (within, look) = (policy.start_within_s as f64, seen.look_s as f64);
        let patient = within >= in_s(seen.boot.slowest) + 3.0 * seen.deadlines.tick_s as f64;
        let stands_by = stands_by && !patient;
        let took = seen.resume.filter(|_| stands_by).unwrap_or(seen.boot);
        let boot = in_s(took.slowest);
        let soon = stands_by.then(|| in_s(took.typical));
        let rate = expected_rate(sum(|d| d.came_2_min) as f64, sum(|d| d.came_10_min) as f64, came_hour as f64);
        let coming = staying.iter().filter(|machine| matches!(machine.stage, Stage::Requested | Stage::Loading)).count() as u32;
        let queue = Queue { queued: queued as f64, oldest: oldest_ms as f64 / 1000.0, supply, coming, service, rate, within, boot, look, patient, soon };
        let rush = rushed(demand).filter(|_| within > RUSH_WITHIN).map_or(0, |(rush, oldest)| {
            let rate = rate * rush / queue.queued;
            Queue { queued: rush, oldest, rate, within: RUSH_WITHIN, patient: false, ..queue }.machines()
        });
        // More than may run at once would stand idle.
        let lately = seen.history.spot.taken_at.is_some_and(|at| now - at <= seen.boot.slowest + seconds(policy.start_within_s));
        let sure = |machine: &&&Seen| matches!(machine.stage, Stage::Requested | Stage::Loading) && !machine.interruptible;
        let hedge = lately && queue.queued > 0.0 && queue.oldest > within && !staying.iter().any(|machine| sure(&machine));
        let waiting = queue.machines().max(rush).max(if hedge { supply + 1 } else { 0 }).min(seen.useful.unwrap_or(u32::MAX));
        let load = rate * service;
        let expected = match policy.keep {
            // What is idle is kept for its time; what waits brings the rest.
            Keep::Idle => 0,
            // A boot after the next look is in time: what works all the time is kept.
            Keep::Learned if within >= in_s(seen.boot.slowest) + look => load.floor() as u32,
            // One that stands by is soon there: no spare runs beside it.
            Keep::Learned if stands_by => (load + 0.5).floor() as u32,
            // Most that are rented for a job that waits are there before its time is over.
            Keep::Learned if boot <= BOOTS_WITHIN * within => machines_beside_rentals(load),
            Keep::Learned => machines_for(rate, service, within, policy.max),
        };
        // What works stays.
        let busy = staying.iter().filter(|machine| machine.stage == Stage::Busy).count() as u32;
        let wanted = waiting.max(expected).max(busy).max(policy.floor());
        let kept = if seen.resume.is_none() || patient { 0 } else { machines_kept(load).min(policy.max) };
        Self { queued, waiting, expected, per_hour: (rate * 3600.0).round() as u64, wanted, patient, hedge, turns_after: took.typical, kept }
    }
}

/// Who has paid to be served first is to be within so many seconds of a machine's being there, however patient the policy is.
const RUSH_WITHIN: f64 = 60.0;

/// How many of those wait, and the seconds that the oldest of them has; `None` where none does.
fn rushed(demand: &[Demand]) -> Option<(f64, f64)> {
    let rush = || demand.iter().filter(|demand| demand.rush && demand.queued > 0);
    let oldest_ms = rush().map(|demand| demand.oldest_ms).max()?;
    Some((rush().map(|demand| demand.queued).sum::<u64>() as f64, oldest_ms as f64 / 1000.0))
}

/// Jobs a second that are expected. What is usual shows in the last hour; the last minutes tell only where they are out of what chance makes
/// of the usual (a Poisson count's deviation is the root of its mean): then a crowd has come, or is over. That it is over, two minutes tell.
fn expected_rate(came_2_min: f64, came_10_min: f64, came_hour: f64) -> f64 {
    let usual = came_hour / 6.0;
    let deviation = usual.max(1.0).sqrt();
    let count = if came_10_min > usual + 2.0 * deviation || came_10_min < usual - 3.0 * deviation { came_10_min } else { usual };
    let in_two = count / 5.0;
    let count = if came_2_min < in_two - 3.0 * in_two.sqrt() { 5.0 * came_2_min } else { count };
    count / 600.0
}

/// A boot of the slowest that is longer than so many times what a job may wait comes too late for the jobs that it is rented for.
const BOOTS_WITHIN: f64 = 2.5;
/// Of service times, as measured of kinds that are mixed as customers mix them.
const SQUARED_VARIATION: f64 = 1.6;
/// How much of the jobs that come within a boot counts as chance, and how many deviations of it must fit: tuned in `tests/simulator`.
const ARRIVALS: f64 = 1.2;
const DEVIATIONS: f64 = 1.5;

/// The jobs that wait, and what is there for them. Times are in seconds.
#[derive(Clone, Copy)]
struct Queue {
    queued: f64,
    oldest: f64,
    /// Machines that are there or on their way, and of these the latter.
    supply: u32,
    coming: u32,
    service: f64,
    rate: f64,
    within: f64,
    boot: f64,
    look: f64,
    patient: bool,
    /// One more is there within so long, as a rule, where one stands by.
    soon: Option<f64>,
}

impl Queue {
    /// Machines for them: `supply` where those that are there, or on their way, start them in time.
    fn machines(&self) -> u32 {
        let Self { queued, oldest, supply, coming, service, rate, within, boot, look, patient, soon } = *self;
        if queued == 0.0 {
            return 0;
        }
        // Jobs that one machine starts within the time that a job may wait, the first one at once.
        let starts = (within / service).floor() + 1.0;
        if supply == 0 {
            // As late as may be: more of them come to one machine.
            let can_wait = patient && oldest + boot + 2.0 * look < within && queued < starts;
            return if can_wait { 0 } else { (queued / starts).ceil() as u32 };
        }
        // Whether the newest of them may start too late by so many machines: those before it may be long, and until one that is rented now has
        // booted others come, or don't, by chance.
        let late = |machines: u32| {
            let deviation = (SQUARED_VARIATION * queued + ARRIVALS * rate * boot).sqrt();
            (queued + DEVIATIONS * deviation) * service / f64::from(machines) > within
        };
        // From nothing each of those on their way takes one at once.
        if supply == coming && queued <= f64::from(coming) || !late(supply) {
            // By the mean they start in time, but one has waited for longer, or so long that one more that stands by is just there in time: the
            // machines have long ones, or what is on its way is late. One more at a time.
            let overdue = soon.map_or(within, |soon| (within - soon).max(within / 2.0));
            return if oldest > overdue { supply.max(supply - coming + 1) } else { supply };
        }
        let left = queued - f64::from(supply) * boot / service + rate * boot;
        supply.max((left / starts).ceil() as u32).max(supply + 1)
    }
}

fn in_s(ms: Millis) -> f64 {
    ms as f64 / 1000.0
}

pub(super) fn whole(ms: Millis) -> u64 {
    (ms.max(0) / 1000) as u64
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
