//! Schedules of faults: each is drawn from a seed alone, attacks the pool for three hours, and then leaves it in peace for one. The first rule that a
//! schedule breaks is its result. Each kind of fault is off in half of the schedules and heavy in the others, so that none always hides another.

use crate::checker::{Checker, Coverage};
use crate::executor::{Executor, Planted};
use crate::parameters::*;
use crate::run::{Looks, drive};
use crate::world::{EPOCH, Label, World};
use fastrand::Rng;
use kiln_core::pool::{Keep, Policy};
use kiln_core::time::{Millis, seconds};

const ATTACK: Millis = seconds(3 * 3_600);
const HOURS: u64 = 4;
/// For so long silence of all is taken for our own while the pool itself looks: half of what loses a machine until it is found, and as much as that
/// again, less a heartbeat before it, since all may have spoken that long ago, and one after it, until they speak again.
const OUTAGE_S: u64 = LOST_AFTER_S / 2 + LOST_AFTER_S - 2 * HEARTBEAT_S;

/// What one seed's schedule is.
#[derive(Debug, Clone)]
pub struct Schedule {
    pub coming: Coming,
    pub lies: Lies,
    pub policy: Policy,
    /// A record is lost in a tick with this probability, as after a restore of the table.
    pub forgotten: f64,
    pub job_factor: i64,
    /// From when until when no machine is heard, and whether the pool stands still too.
    pub outages: Vec<(Millis, Millis, bool)>,
}

impl Schedule {
    pub fn draw(rng: &mut Rng) -> Self {
        let mut rate = |most: f64| if rng.bool() { 0.0 } else { most * rng.f64() };
        // A mean life of seconds would let no job end, whatever the pool did.
        let hours = |hours: f64| if hours > 0.0 { hours + 0.3 } else { 0.0 };
        let lies = Lies {
            vanish_hours: hours(rate(10.0)),
            hang_hours: hours(rate(10.0)),
            cut_off_hours: hours(rate(3.0)),
            create_refused: rate(0.5),
            create_unanswered: rate(0.5),
            listed_late: rate(1.0),
            list_error: rate(0.5),
            list_omits: rate(0.5),
            destroy_error: rate(0.8),
            destroy_unanswered: rate(0.5),
            destroy_slow: rate(0.8),
            jobs_unread: rate(0.5),
            crash: rate(0.5),
            tick_missed: rate(0.3),
            deaf: 0.0,
            outage_hours: 0.0,
            spot: false,
            ..Lies::default()
        };
        let forgotten = rate(0.05);
        let lies = Lies { spot: rng.bool(), ..lies };
        let coming = match rng.u32(0..3) {
            0 => Coming::Steady { busy: rng.f64() * 6.0 + 0.2 },
            1 => Coming::Crowds { crowds: 3, jobs: (20, 80), within_s: 120 },
            _ => Coming::Day { low: 0.5, high: 1.0 + rng.f64() * 8.0 },
        };
        let budget = rng.bool().then(|| rng.i64(200_000..3_000_000));
        let keep = if rng.bool() { Keep::Learned } else { Keep::Idle };
        let policy = Policy {
            max: rng.u32(1..=30),
            desired_size: rng.u32(0..=1),
            keep,
            idle_shutdown_s: rng.u64(60..=900),
            start_within_s: if rng.u32(0..4) == 0 { 3_600 } else { 60 },
            budget_hour_microusd: budget,
            budget_day_microusd: budget.map(|hour| hour * rng.i64(2..=4)),
            ..Policy::default()
        };
        let job_factor = if rng.bool() { 1 } else { 12 };
        // Drawn last, so that what a seed drew before these faults were there it draws still.
        let mut rate = |most: f64| if rng.bool() { 0.0 } else { most * rng.f64() };
        let lies = Lies { deaf: rate(0.5), outage_hours: hours(rate(2.0)), ..lies };
        let outages = outages(lies.outage_hours, rng);
        // And then those of machines that are stopped and started.
        let mut rate = |most: f64| if rng.bool() { 0.0 } else { most * rng.f64() };
        let lies = Lies { power_error: rate(0.5), power_unanswered: rate(0.5), list_lags: rate(0.5), resume_never: rate(0.5), ..lies };
        let policy = Policy { keep_stopped: rng.u32(0..4) > 0, ..policy };
        Self { coming, lies, policy, forgotten, job_factor, outages }
    }

    /// Machines enough, and no budget in the way: then jobs may not wait for ever.
    fn enough(&self) -> bool {
        let busy = match self.coming {
            Coming::Steady { busy } => busy,
            Coming::Day { high, .. } => high,
            _ => 3.0,
        };
        f64::from(self.policy.max) > 2.0 * busy * self.job_factor as f64 && self.policy.budget_hour_microusd.is_none() && self.policy.start_within_s == 60
    }
}

impl Schedule {
    /// Whether the pool looks at nothing for longer than the three ticks that a cover lasts beyond the longest job.
    fn stands_still(&self) -> bool {
        self.outages.iter().any(|(from, to, whole)| *whole && to - from > seconds(3 * TICK_S))
    }
}

/// A short one of our API alone, or one of all of ours, for minutes.
fn outages(hours: f64, rng: &mut Rng) -> Vec<(Millis, Millis, bool)> {
    let mut outages = vec![];
    let mut at = EPOCH;
    if hours <= 0.0 {
        return outages;
    }
    loop {
        at += (-(1.0 - rng.f64()).ln() * hours * 3_600_000.0) as Millis + seconds(600);
        let whole = rng.bool();
        let lasts = if whole { rng.i64(seconds(30)..seconds(1_200)) } else { rng.i64(seconds(30)..seconds(OUTAGE_S)) };
        if at + lasts > EPOCH + ATTACK {
            return outages;
        }
        outages.push((at, at + lasts, whole));
        at += lasts;
    }
}

/// Runs the schedule of a seed; the first rule that it breaks, if any.
pub fn run(seed: u64, planted: Option<Planted>, coverage: &mut Coverage) -> Option<String> {
    let mut rng = Rng::with_seed(seed ^ 0x6661_756c_7473_0000);
    let schedule = Schedule::draw(&mut rng);
    let mut world = World::new(schedule.coming, HOURS, 0, 60, schedule.lies, seed);
    world.job_factor = schedule.job_factor;
    for _ in 0..2 {
        world.add(Label::Foreign, 0);
    }
    let mut executor = Executor::new(schedule.policy.clone(), planted);
    let mut checker = Checker::default();
    let mut broken: Option<String> = None;
    let mut missed = false;
    let mut looks = Looks::default();
    world.wakes = true;
    drive(&mut world, seconds(TICK_S), None, |world, woken| {
        let next = looks.next(woken, executor.has_work(world));
        if broken.is_some() {
            return next;
        }
        let outage = schedule.outages.iter().find(|(from, to, _)| (*from..to + seconds(HEARTBEAT_S)).contains(&world.now));
        world.unheard = outage.map(|(from, to, _)| (*from, *to));
        if outage.is_some_and(|(_, to, whole)| *whole && world.now < *to) {
            return next;
        }
        let attacked = world.now < EPOCH + ATTACK;
        if !attacked {
            world.lies = Lies::default();
        }
        // Never two in a row.
        missed = !missed && world.chance(world.lies.tick_missed);
        if missed {
            return next;
        }
        if attacked && world.chance(schedule.forgotten) {
            executor.forget(world);
        }
        let told = executor.tick(world);
        broken = checker.after_tick(world, &executor, &told).err();
        next
    });
    let broken = broken.or_else(|| checker.at_end(&world, &executor, schedule.enough(), schedule.stands_still()).err());
    coverage.add(&checker.seen);
    broken.map(|rule| format!("seed {seed}: {rule}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_schedule_of_faults_breaks_a_rule() {
        let mut coverage = Coverage::default();
        let broken: Vec<_> = (1..=300).filter_map(|seed| run(seed, None, &mut coverage)).collect();
        assert!(broken.is_empty(), "{broken:#?}");
        // Each of them was tried.
        let Coverage {
            orphans,
            adopted,
            closed,
            crashes,
            restarts,
            late_completes,
            refused_destroys,
            budgets_met,
            silenced,
            deaf,
            doubts,
            killed_for_cover: _,
            stops,
            starts,
            starts_failed,
        } = coverage;
        let faults = [orphans, adopted, closed, crashes, restarts, late_completes, refused_destroys, budgets_met, silenced, deaf, doubts];
        let seen = [faults.as_slice(), &[stops, starts, starts_failed]].concat();
        assert!(seen.iter().all(|count| *count > 20), "{coverage:?}");
    }

    #[test]
    fn every_planted_fault_is_caught() {
        for planted in Planted::ALL {
            let caught = (1..=400).find_map(|seed| run(seed, Some(planted), &mut Coverage::default()));
            assert!(caught.is_some(), "{planted:?}");
        }
    }

    #[test]
    fn a_seed_replays_its_schedule() {
        let mut once = Coverage::default();
        let mut twice = Coverage::default();
        assert_eq!(run(17, None, &mut once), run(17, None, &mut twice));
        assert_eq!(once, twice);
    }
}
