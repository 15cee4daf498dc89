//! Whether invariants 8 and 9, and what of 10 a simulation can see, hold: after each tick, from the world's truth and from what the provider answered,
//! never from what the executor believes of itself.

use crate::executor::{Executor, Told};
use crate::parameters::LEASE_S;
use crate::world::{Label, MachineId, State, World};
use kiln_core::pool::budget::windows;
use kiln_core::pool::history::DEAF_AFTER;
use kiln_core::time::{Millis, rfc3339, seconds};
use std::collections::{BTreeMap, BTreeSet};

/// Ticks in which the provider answered and the pool did not die, until what is not as it should be must be.
const TICKS: u32 = 2;
/// Until a machine that takes no work is given back, at the latest: where all look like it, the pool finds out with one an hour.
const MOST_BESIDE: Millis = seconds(3_600 + 900);

/// When no job has come for so long, and a boot's time after the last change besides, nothing is to stand by any more, but for a few ticks: its
/// destroy may be on its way, and fail twice.
const QUIET: Millis = seconds(3_600 + 600);
const TICKS_TO_GO: u32 = 8;

#[derive(Default)]
pub struct Checker {
    /// Since when complete lists have left a machine out.
    absent_since: BTreeMap<MachineId, Millis>,
    /// For how many good ticks a machine was listed and unknown, or known and to be gone and left alone.
    unknown: BTreeMap<MachineId, u32>,
    unended: BTreeMap<MachineId, u32>,
    /// Since when each tick has found a machine that takes no work, and a job that waits, both for long, and gave none of these machines back.
    beside_since: Option<Millis>,
    /// For how many good ticks a machine was kept stopped though no job has come for long.
    unneeded: BTreeMap<MachineId, u32>,
    /// When it last began to grow, or to shrink.
    turned: Option<(Millis, bool)>,
    /// What was seen, so that a run without any fault is not taken for a proof.
    pub seen: Coverage,
}

/// What happened in runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
    pub orphans: u64,
    pub adopted: u64,
    pub closed: u64,
    pub crashes: u64,
    pub restarts: u64,
    pub late_completes: u64,
    pub refused_destroys: u64,
    pub budgets_met: u64,
    pub silenced: u64,
    pub deaf: u64,
    pub doubts: u64,
    pub killed_for_cover: u64,
    pub stops: u64,
    pub starts: u64,
    pub starts_failed: u64,
}

impl Coverage {
    pub fn add(&mut self, other: &Coverage) {
        self.orphans += other.orphans;
        self.adopted += other.adopted;
        self.closed += other.closed;
        self.crashes += other.crashes;
        self.restarts += other.restarts;
        self.late_completes += other.late_completes;
        self.refused_destroys += other.refused_destroys;
        self.budgets_met += other.budgets_met;
        self.silenced += other.silenced;
        self.deaf += other.deaf;
        self.doubts += other.doubts;
        self.killed_for_cover += other.killed_for_cover;
        self.stops += other.stops;
        self.starts += other.starts;
        self.starts_failed += other.starts_failed;
    }
}

impl Checker {
    /// Looks at what a tick did.
    pub fn after_tick(&mut self, world: &World, executor: &Executor, told: &Told) -> Result<(), String> {
        let now = told.at;
        self.seen.crashes += u64::from(told.crashed);
        self.seen.refused_destroys += told.refused.len() as u64;
        for id in told.destroyed.iter().chain(&told.refused) {
            if world.machines[*id as usize].label == Label::Foreign {
                return Err("a machine that isn't ours was touched".into());
            }
        }
        self.silence(told)?;
        if !told.crashed {
            self.flapping(told)?;
        }
        self.deafness(world, executor, told)?;
        let listed: Option<BTreeSet<MachineId>> = told.listed.as_ref().map(|listed| listed.iter().map(|machine| machine.id).collect());
        let known = executor.records.iter().filter_map(|record| record.machine).chain(told.closed.iter().filter_map(|(_, id)| *id));
        if let Some(listed) = &listed {
            for id in known {
                if listed.contains(&id) {
                    self.absent_since.remove(&id);
                } else {
                    self.absent_since.entry(id).or_insert(now);
                }
            }
        }
        for id in told.closed.iter().filter_map(|(_, id)| *id) {
            self.seen.closed += 1;
            if world.machines[id as usize].state != State::Gone {
                return Err(format!("machine {id} lives, and its record was closed"));
            }
            if self.absent_since.get(&id).is_none_or(|since| now - since < seconds(60)) {
                return Err(format!("the record of machine {id} was closed without two complete lists a minute apart"));
            }
        }
        if let Some(listed) = listed.filter(|_| !told.crashed) {
            self.after_good_tick(world, executor, told, &listed)?;
            if !told.unread {
                self.stand_by(world, executor, told)?;
            }
        }
        Ok(())
    }

    /// Nothing stands by where the policy keeps nothing, nor for long after the last job that counts.
    fn stand_by(&mut self, world: &World, executor: &Executor, told: &Told) -> Result<(), String> {
        let stopped: Vec<MachineId> = world.live.iter().copied().filter(|id| world.machines[*id as usize].state == State::Stopped).collect();
        let policy = executor.policy();
        if !stopped.is_empty() && !policy.keep_stopped {
            return Err(format!("at {} a machine is stopped and kept against the policy", rfc3339(told.at)));
        }
        self.unneeded.retain(|id, _| stopped.contains(id));
        for id in stopped {
            if world.quiet_for() < QUIET || world.machines[id as usize].ends_at.is_some() || told.refused.contains(&id) {
                self.unneeded.remove(&id);
                continue;
            }
            let count = self.unneeded.entry(id).or_default();
            *count += 1;
            if *count > TICKS_TO_GO {
                return Err(format!("at {} machine {id} is kept stopped, and no job has come for {} ms", rfc3339(told.at), world.quiet_for()));
            }
        }
        Ok(())
    }

    /// No machine that would have spoken is given back for silence. One alone can't be told from an outage while the pool itself looks on.
    fn silence(&mut self, told: &Told) -> Result<(), String> {
        self.seen.doubts += u64::from(told.doubt);
        for id in &told.silenced {
            self.seen.silenced += 1;
            if !told.dumb.contains(id) && told.speakers >= 2 {
                return Err(format!("at {} machine {id} would have spoken, and was given back for its silence", rfc3339(told.at)));
            }
        }
        Ok(())
    }

    /// The pool doesn't turn twice within what one more machine typically takes, but for jobs that wait, machines that were idle for their whole time
    /// and what an operator says.
    fn flapping(&mut self, told: &Told) -> Result<(), String> {
        for (moved, early, grows) in [(told.grew, told.grew_early, true), (told.shrank, told.shrank_early, false)] {
            let Some((since, _)) = self.turned.filter(|(_, grew)| moved && *grew != grows) else {
                self.turned = self.turned.or(moved.then_some((told.at, grows)));
                continue;
            };
            if early && told.at - since < told.typical {
                return Err(format!("at {} the pool turned {} ms after it had turned", rfc3339(told.at), told.at - since));
            }
            self.turned = Some((told.at, grows));
        }
        Ok(())
    }

    /// No job waits for ever beside a machine that says that it is ready and takes none.
    fn deafness(&mut self, world: &World, executor: &Executor, told: &Told) -> Result<(), String> {
        self.seen.deaf += told.deaf.len() as u64;
        if let Some(id) = told.deaf.iter().find(|id| !world.machines[**id as usize].deaf) {
            return Err(format!("machine {id} takes work, and was given back since it took none"));
        }
        let known = executor.records.iter().filter(|record| !record.ending && !record.draining).filter_map(|record| record.machine);
        let mut deaf = known.map(|id| &world.machines[id as usize]).filter(|machine| machine.deaf && machine.state == State::Idle);
        let long = deaf.any(|machine| machine.silent_from.is_none() && told.at - machine.since > DEAF_AFTER) && world.oldest_ms() > DEAF_AFTER;
        let since = *self.beside_since.get_or_insert(told.at);
        if !long || !told.deaf.is_empty() || told.crashed {
            self.beside_since = None;
        } else if told.at - since > MOST_BESIDE {
            return Err(format!("at {} a job has waited beside a machine that takes none for {} ms", rfc3339(told.at), told.at - since));
        }
        Ok(())
    }

    fn after_good_tick(&mut self, world: &World, executor: &Executor, told: &Told, listed: &BTreeSet<MachineId>) -> Result<(), String> {
        for id in &world.live {
            let machine = &world.machines[*id as usize];
            let Label::Ours { intent } = machine.label else { continue };
            // It dies already, or the provider would not let it.
            if machine.ends_at.is_some() || !listed.contains(id) || told.refused.contains(id) {
                continue;
            }
            let record = executor.records.iter().find(|record| record.intent == intent);
            let (counts, what) = match record {
                Some(record) if record.machine == Some(*id) && !record.ending => continue,
                Some(record) if record.machine == Some(*id) => (&mut self.unended, "is to be gone, and was not destroyed again"),
                _ => (&mut self.unknown, "is ours and unknown, and was neither adopted nor destroyed"),
            };
            let count = counts.entry(*id).or_default();
            *count += 1;
            if *count > TICKS {
                return Err(format!("machine {id} {what} within {TICKS} ticks"));
            }
        }
        for id in &told.destroyed {
            let Label::Ours { intent } = world.machines[*id as usize].label else { continue };
            self.seen.orphans += u64::from(!executor.records.iter().any(|record| record.intent == intent));
        }
        Ok(())
    }

    /// Looks at the whole run when it is over, long after the last fault.
    pub fn at_end(&mut self, world: &World, executor: &Executor, enough: bool, stood_still: bool) -> Result<(), String> {
        let policy = executor.policy();
        let mut spent: BTreeMap<_, i64> = BTreeMap::new();
        for (hour, cost) in world.meter.hours() {
            for window in windows(hour) {
                *spent.entry(window).or_insert(0) += cost;
            }
        }
        for (window, spent) in &spent {
            if let Some(budget) = window.budget(policy).filter(|budget| spent > budget) {
                return Err(format!("{} cost {spent}, and its budget is {budget}", window.0));
            }
            let committed = executor.committed.get(window).copied().unwrap_or(0);
            if *spent > committed {
                return Err(format!("{} cost {spent}, and only {committed} was reserved", window.0));
            }
            self.seen.budgets_met += u64::from(window.budget(policy).is_some_and(|budget| committed * 10 > budget * 8));
        }
        let meter = &world.meter;
        self.seen.restarts += meter.restarts;
        self.seen.late_completes += meter.late_completes_refused;
        self.seen.adopted += executor.adopted;
        self.seen.stops += meter.stops;
        self.seen.starts += meter.starts;
        self.seen.starts_failed += meter.starts_failed;
        if meter.jobs_to_stopped > 0 {
            return Err(format!("{} jobs were given to machines that did not run", meter.jobs_to_stopped));
        }
        if meter.started_twice > 0 {
            return Err(format!("{} machines were started while they were starting", meter.started_twice));
        }
        if meter.killed_by_scale_in > 0 {
            return Err(format!("{} jobs were killed by scaling in", meter.killed_by_scale_in));
        }
        // Where nobody looked for longer than a cover's three ticks of grace, it may end under a job: that is told, and counted apart.
        self.seen.killed_for_cover += meter.killed_for_cover;
        if meter.killed_for_cover > 0 && !stood_still {
            return Err(format!("{} jobs were killed since their machine's cover ended", meter.killed_for_cover));
        }
        if meter.longest_requeue_ms > seconds(2 * LEASE_S) {
            return Err(format!("a dead worker's job waited again only after {} ms", meter.longest_requeue_ms));
        }
        // Only a budget or the pool's maximum may keep jobs waiting, long after all faults have ended.
        if enough && world.oldest_ms() > seconds(600) {
            return Err(format!("at {} a job has waited for {} ms, with nothing in its way", rfc3339(world.now), world.oldest_ms()));
        }
        Ok(())
    }
}
