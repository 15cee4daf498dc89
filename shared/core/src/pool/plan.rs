//! What to do now: a pure plan from what was observed. It promises: what could not be read leads to no rental; a machine on its way counts as
//! supply; a machine that works is drained, and destroyed only where safe mode, silence or the end of its cover say so; nothing is given back
//! within a boot's time of a rental, so that the pool doesn't flap; each decision has its reason.

use super::budget::{self, Deadlines, Rate, Window};
use super::forecast::machines_for;
use super::policy::{Keep, Policy};
use super::reason::Reason;
use crate::fleet::Stage;
use crate::ids::InstanceId;
use crate::time::{Millis, seconds};
use std::collections::BTreeMap;

/// One machine as the plan sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub id: InstanceId,
    pub stage: Stage,
    /// Since when it has had nothing to do.
    pub since: Millis,
    /// Its last word, or now where none is due yet.
    pub heard_at: Millis,
    /// When it was asked for.
    pub begun: Millis,
    /// By when it must have booted.
    pub boot_by: Millis,
    /// What it costs; nothing where the machine is the operator's own.
    pub rate: Rate,
    /// Until when its cost is reserved.
    pub covered_to: Millis,
    /// An operator has claimed it until then: it is not given back for want of work.
    pub leased_to: Option<Millis>,
}

/// Unfinished jobs of one capability and priority, never messages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Demand {
    pub queued: u64,
    pub running: u64,
    /// For how long the oldest of those that wait has waited.
    pub oldest_ms: Millis,
    /// What one of them takes on a machine that is ready, as measured.
    pub service_ms: Millis,
    /// Jobs that came in the last ten minutes and in the last hour.
    pub came_10_min: u64,
    pub came_hour: u64,
}

/// What was read of the fleet and its work. `None`: it could not be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    pub demand: Option<Vec<Demand>>,
    pub instances: Vec<Seen>,
    /// Machines that could have work at once: no account runs more jobs than it may. `None`: not known.
    pub useful: Option<u32>,
    /// What is committed in each window of the budgets.
    pub committed: Option<BTreeMap<Window, i64>>,
    /// What most boots take (the 95th percentile), as measured.
    pub boot_ms: Millis,
    pub last_rent_at: Option<Millis>,
    pub last_stop_at: Option<Millis>,
    /// A machine that has not spoken for so long is lost.
    pub lost_after_s: u64,
    pub deadlines: Deadlines,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// One machine more.
    Rent { reason: Reason },
    /// It stays: reserve its cost until then, or drain it where no budget covers that.
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
    let living = deadlines(seen, now, &mut plan);
    let staying = cover(seen, policy, now, living, &mut plan);
    let Some(demand) = &seen.demand else {
        plan.notes.push(Reason::Unreadable { what: "the jobs".into() });
        return plan;
    };
    let need = Need::of(demand, seen, policy, &staying);
    plan.wanted = need.wanted.clamp(policy.floor(), policy.max);
    grow(seen, policy, &need, staying.len() as u32, now, &mut plan);
    shrink(seen, policy, &need, &staying, now, &mut plan);
    plan
}

/// Gives back what is silent or did not boot; gives what lives.
fn deadlines<'a>(seen: &'a Observation, now: Millis, plan: &mut Plan) -> Vec<&'a Seen> {
    let lost = seconds(seen.lost_after_s);
    let mut living = Vec::with_capacity(seen.instances.len());
    for machine in seen.instances.iter().filter(|machine| !matches!(machine.stage, Stage::Gone | Stage::Stopped)) {
        let reason = if matches!(machine.stage, Stage::Requested | Stage::Loading) && now > machine.boot_by {
            Reason::BootTooLong { waited_s: whole(now - machine.begun) }
        } else if machine.stage == Stage::Lost || now - machine.heard_at > lost {
            Reason::Silent { silent_s: whole(now - machine.heard_at) }
        } else {
            living.push(machine);
            continue;
        };
        plan.decisions.push(Decision::Destroy { id: machine.id.clone(), reason });
    }
    living
}

/// Covers further what is to stay, and drains what no budget covers; gives what takes jobs from now on.
fn cover<'a>(seen: &Observation, policy: &Policy, now: Millis, living: Vec<&'a Seen>, plan: &mut Plan) -> Vec<&'a Seen> {
    let tick = seconds(seen.deadlines.tick_s);
    let mut committed = seen.committed.clone();
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
        // One more tick, since the next look comes after it.
        if priced && left < seen.deadlines.work_ms() + tick {
            let to = now + seen.deadlines.work_ms() + 5 * tick;
            let shares = budget::shares(machine.rate, machine.begun, machine.covered_to, to);
            // What is committed may be unread: then the write itself says whether it fits.
            if let Some(window) = committed.as_ref().and_then(|committed| budget::too_much(&shares, committed, policy)) {
                plan.decisions.push(Decision::Drain { id: machine.id.clone(), reason: Reason::Budget { window: window.name().to_owned() } });
                continue;
            }
            for (window, share) in shares {
                if let Some(committed) = &mut committed {
                    *committed.entry(window).or_insert(0) += share;
                }
            }
            plan.decisions.push(Decision::Cover { id: machine.id.clone(), to });
        }
        staying.push(machine);
    }
    staying
}

/// What the jobs need.
struct Need {
    queued: u64,
    /// For the jobs that wait.
    waiting: u32,
    /// For those that are expected.
    expected: u32,
    per_hour: u64,
    wanted: u32,
    /// Jobs may wait longer than a boot takes: nothing is kept for those that may come.
    patient: bool,
}

impl Need {
    fn of(demand: &[Demand], seen: &Observation, policy: &Policy, staying: &[&Seen]) -> Self {
        let supply = staying.len() as u32;
        let sum = |of: fn(&Demand) -> u64| demand.iter().map(of).sum::<u64>();
        let (queued, came_10_min, came_hour) = (sum(|d| d.queued), sum(|d| d.came_10_min), sum(|d| d.came_hour));
        let oldest_ms = demand.iter().filter(|d| d.queued > 0).map(|d| d.oldest_ms).max().unwrap_or(0);
        // The mean of what is there, by how much there is of each; of all kinds, where nothing is.
        let weight = |d: &Demand| (d.queued + d.running + d.came_hour) as f64;
        let weights: f64 = demand.iter().map(weight).sum();
        let service_ms: f64 = if weights > 0.0 { demand.iter().map(|d| weight(d) * d.service_ms as f64).sum::<f64>() / weights } else { 0.0 };
        let service = (service_ms / 1000.0).max(0.1);
        let (within, boot, tick) = (policy.start_within_s as f64, seen.boot_ms as f64 / 1000.0, seen.deadlines.tick_s as f64);
        let patient = within >= boot + 3.0 * tick;
        // A crowd shows in the last minutes, what is usual in the last hour.
        let (recent, usual) = (came_10_min as f64 / 600.0, came_hour as f64 / 3600.0);
        let rate = if recent > usual { recent } else { (recent + usual) / 2.0 };
        let on_its_way = staying.iter().any(|machine| matches!(machine.stage, Stage::Requested | Stage::Loading));
        let mut waiting = waiting(queued, supply, service, oldest_ms as f64 / 1000.0, rate, within, boot, tick, patient);
        if oldest_ms > seconds(policy.start_within_s) && !on_its_way && waiting <= supply && queued > 0 {
            // They take longer than those that were measured.
            waiting = supply + 1;
        }
        // More than may run at once would stand idle.
        waiting = waiting.min(seen.useful.unwrap_or(u32::MAX));
        let expected = match policy.keep {
            // What is idle is kept for its time; what waits brings the rest.
            Keep::Idle => 0,
            Keep::Learned if patient => (rate * service).floor() as u32,
            Keep::Learned => machines_for(rate, service, within, policy.max),
        };
        // What works stays.
        let busy = staying.iter().filter(|machine| machine.stage == Stage::Busy).count() as u32;
        let wanted = waiting.max(expected).max(busy).max(policy.floor());
        Self { queued, waiting, expected, per_hour: (rate * 3600.0).round() as u64, wanted, patient }
    }
}

/// Machines for the jobs that wait: `supply` where those that are there, or on their way, start them in time.
#[allow(clippy::too_many_arguments)]
fn waiting(queued: u64, supply: u32, service: f64, oldest: f64, rate: f64, within: f64, boot: f64, tick: f64, patient: bool) -> u32 {
    if queued == 0 {
        return 0;
    }
    let (queued, machines) = (queued as f64, f64::from(supply));
    // Jobs that one machine starts within the time that a job may wait, the first one at once.
    let starts = (within / service).floor() + 1.0;
    if supply == 0 {
        // As late as may be: more of them come to one machine.
        let can_wait = patient && oldest + boot + 2.0 * tick < within && queued < starts;
        return if can_wait { 0 } else { (queued / starts).ceil() as u32 };
    }
    let clears_in = queued / machines * service;
    // A machine that is rented now helps no job that starts before it has booted.
    if clears_in <= (within - oldest).max(boot) {
        return supply;
    }
    let left = queued - machines * boot / service + rate * boot;
    supply.max((left / starts).ceil() as u32).max(supply + 1)
}

fn grow(seen: &Observation, policy: &Policy, need: &Need, supply: u32, now: Millis, plan: &mut Plan) {
    let wanted = plan.wanted;
    if wanted <= supply {
        return;
    }
    let reason = if need.waiting > supply && need.waiting >= need.expected {
        Reason::Waiting { queued: need.queued, supply, wanted }
    } else if policy.floor() > supply && policy.floor() >= need.expected {
        Reason::Floor { supply, wanted }
    } else {
        // What is only expected waits until the last change is a boot's time ago; what waits doesn't.
        if let Some(wait) = too_soon(seen.last_stop_at, seen.boot_ms, now) {
            plan.notes.push(Reason::TooSoon { wait_s: whole(wait) });
            return;
        }
        Reason::Expected { per_hour: need.per_hour, supply, wanted }
    };
    plan.decisions.extend((supply..wanted).map(|_| Decision::Rent { reason: reason.clone() }));
}

fn shrink(seen: &Observation, policy: &Policy, need: &Need, staying: &[&Seen], now: Millis, plan: &mut Plan) {
    let supply = staying.len() as u32;
    let mut over = supply.saturating_sub(policy.max);
    let mut spare = supply.saturating_sub(plan.wanted);
    let mut idle: Vec<_> = staying.iter().filter(|machine| machine.stage == Stage::Ready).collect();
    // The longest idle first.
    idle.sort_by_key(|machine| machine.since);
    let soon = too_soon(seen.last_rent_at, seen.boot_ms, now);
    for machine in idle {
        let leased = machine.leased_to.is_some_and(|until| until > now);
        let idle_ms = now - machine.since;
        let reason = if over > 0 {
            over -= 1;
            Reason::AboveMax { max: policy.max }
        } else if spare == 0 || leased || need.queued > 0 {
            continue;
        } else if idle_ms >= seconds(policy.idle_shutdown_s) {
            Reason::Idle { idle_s: whole(idle_ms) }
        } else if policy.keep == Keep::Learned && idle_ms >= learned_idle(need, seen) {
            if let Some(wait) = soon {
                plan.notes.push(Reason::TooSoon { wait_s: whole(wait) });
                break;
            }
            Reason::NotNeeded { idle_s: whole(idle_ms), wanted: plan.wanted }
        } else {
            continue;
        };
        spare = spare.saturating_sub(1);
        plan.decisions.push(Decision::Stop { id: machine.id.clone(), reason });
    }
    // None of them is idle: the youngest finish what they do and go.
    let mut busy: Vec<_> = staying.iter().filter(|machine| machine.stage == Stage::Busy).collect();
    busy.sort_by_key(|machine| std::cmp::Reverse(machine.begun));
    for machine in busy.into_iter().take(over as usize) {
        plan.decisions.push(Decision::Drain { id: machine.id.clone(), reason: Reason::AboveMax { max: policy.max } });
    }
}

/// For how long a machine that isn't needed is kept: it would have to boot again.
fn learned_idle(need: &Need, seen: &Observation) -> Millis {
    if need.patient { seconds(seen.deadlines.tick_s) } else { seen.boot_ms / 2 }
}

/// How long it is still too soon after the last change, if it is.
fn too_soon(last: Option<Millis>, boot_ms: Millis, now: Millis) -> Option<Millis> {
    last.map(|last| last + boot_ms - now).filter(|wait| *wait > 0)
}

fn whole(ms: Millis) -> u64 {
    (ms.max(0) / 1000) as u64
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
