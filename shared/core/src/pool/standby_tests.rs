//! The rules of machines that stand by, and that the plan keeps its promises with them, whatever stands there.

use super::super::budget::{Deadlines, Rate};
use super::super::plan::{Demand, plan};
use super::super::policy::{Keep, Policy};
use super::super::{History, Took, room};
use super::*;
use crate::ids::InstanceId;
use std::collections::{BTreeMap, BTreeSet};

const NOW: Millis = 1_795_935_600_000;
const BOOT: Millis = seconds(90);
const RESUME: Millis = seconds(30);
const FULL: i64 = 300_000;
const DISK: i64 = 6_700;

fn id(n: u128) -> InstanceId {
    InstanceId::new(1, n)
}

/// One whose provider keeps it, and that has been as it is for so long.
fn machine(n: u128, stage: Stage, since_s: u64) -> Seen {
    let microusd_per_hour = if stage == Stage::Stopped { DISK } else { FULL };
    Seen {
        stage,
        since: NOW - seconds(since_s),
        begun: NOW - seconds(9_999),
        rate: Rate { microusd_per_hour, microusd_once: 0 },
        covered_to: NOW + seconds(9_999),
        able: true,
        keeps: true,
        runs_for: Rate { microusd_per_hour, microusd_once: 0 },
        ..Seen::asked_for(id(n), NOW)
    }
}

/// So many jobs of half a minute wait, and came in the last hour, evenly; 120 in an hour are a load of one.
fn observe(queued: u64, came_hour: u64, instances: Vec<Seen>) -> Observation {
    let running = instances.iter().filter(|machine| machine.stage == Stage::Busy).count() as u64;
    let (came_10_min, came_2_min) = (came_hour / 6, came_hour / 30);
    Observation {
        demand: Some(vec![Demand { queued, running, service_ms: seconds(30), came_hour, came_10_min, came_2_min, ..Demand::default() }]),
        listed: true,
        instances,
        useful: None,
        committed: Some(BTreeMap::new()),
        boot: Took::all(BOOT),
        resume: Some(Took::all(RESUME)),
        history: History::default(),
        lost_after_s: 90,
        deadlines: Deadlines { boot_s: 600, job_s: 1_800, tick_s: 60 },
        look_s: 30,
    }
}

fn learned(max: u32) -> Policy {
    Policy { max, keep: Keep::Learned, ..Policy::default() }
}

fn decided(seen: &Observation, policy: &Policy) -> Vec<Decision> {
    plan(seen, policy, NOW).decisions
}

fn suspended(decisions: &[Decision]) -> Vec<InstanceId> {
    decisions.iter().filter_map(|decision| if let Decision::Suspend { id, .. } = decision { Some(id.clone()) } else { None }).collect()
}

fn resumed(decisions: &[Decision]) -> Vec<InstanceId> {
    decisions.iter().filter_map(|decision| if let Decision::Resume { id, .. } = decision { Some(id.clone()) } else { None }).collect()
}

fn stopped(decisions: &[Decision]) -> Vec<InstanceId> {
    decisions.iter().filter_map(|decision| if let Decision::Stop { id, .. } = decision { Some(id.clone()) } else { None }).collect()
}

#[test]
fn what_is_not_needed_is_stopped_at_once_and_kept() {
    // A load of one keeps two running while nothing stands by.
    let three = observe(0, 120, vec![machine(1, Stage::Busy, 0), machine(2, Stage::Ready, 0), machine(3, Stage::Ready, 0)]);
    assert_eq!(decided(&three, &learned(10)), [Decision::Suspend { id: id(2), reason: Reason::NotNeeded { idle_s: 0, wanted: 2 } }]);
    // One whose provider does not keep it stays for the moment in which another job may come, and is given back then.
    let goes = |idle_s: u64| {
        let mut seen = three.clone();
        (seen.instances[1].keeps, seen.instances[2].keeps) = (false, false);
        (seen.instances[1].since, seen.instances[2].since) = (NOW - seconds(idle_s), NOW - seconds(idle_s));
        decided(&seen, &learned(10))
    };
    assert_eq!(goes(2), []);
    assert_eq!(goes(3), [Decision::Stop { id: id(2), reason: Reason::NotNeeded { idle_s: 3, wanted: 2 } }]);
}

#[test]
fn one_that_is_quiet_is_not_stopped() {
    let quiet = |s: u64| Seen { heard_at: NOW - seconds(s), ..machine(3, Stage::Ready, 2) };
    let goes = |s: u64| decided(&observe(0, 120, vec![machine(1, Stage::Busy, 0), machine(2, Stage::Busy, 0), quiet(s)]), &learned(10));
    // Nor is it given back: it speaks again, or is silent.
    assert_eq!((suspended(&goes(30)), goes(31)), (vec![id(3)], vec![]));
}

#[test]
fn by_the_idle_policy_it_is_stopped_after_its_time() {
    let idle = |idle_s: u64| decided(&observe(0, 12, vec![machine(1, Stage::Ready, idle_s)]), &Policy { max: 5, ..Policy::default() });
    assert_eq!(idle(899), []);
    assert_eq!(idle(900), [Decision::Suspend { id: id(1), reason: Reason::Idle { idle_s: 900 } }]);
    // Where no job has come for an hour, none is kept.
    let quiet = decided(&observe(0, 0, vec![machine(1, Stage::Ready, 900)]), &Policy { max: 5, ..Policy::default() });
    assert_eq!(quiet, [Decision::Stop { id: id(1), reason: Reason::Idle { idle_s: 900 } }]);
}

#[test]
fn beside_what_stands_by_no_spare_runs() {
    let wanted = |stands_by: bool, came_hour: u64| {
        let by = stands_by.then(|| machine(9, Stage::Stopped, 60));
        plan(&observe(0, came_hour, by.into_iter().collect()), &learned(10), NOW).wanted
    };
    assert_eq!([60, 120, 180, 240].map(|came| (wanted(false, came), wanted(true, came))), [(2, 1), (2, 1), (2, 2), (3, 2)]);
}

#[test]
fn a_job_starts_the_cheapest_that_stands_by_and_rents_only_beyond_them() {
    // By what it costs when it runs, whatever its disk does.
    let dear = Seen { runs_for: Rate { microusd_per_hour: 2 * DISK, microusd_once: 0 }, ..machine(1, Stage::Stopped, 60) };
    let there = vec![dear, machine(2, Stage::Stopped, 90), machine(3, Stage::Stopped, 60)];
    let reason = |wanted: u32| Reason::Waiting { queued: 3 * u64::from(wanted), supply: 0, wanted };
    let one = decided(&observe(3, 0, there.clone()), &learned(10));
    // Of two that cost the same, the last that was stopped.
    assert_eq!(one, [Decision::Resume { id: id(3), reason: reason(1) }]);
    let four = decided(&observe(12, 0, there), &learned(10));
    let starts = [3, 2, 1].map(|n| Decision::Resume { id: id(n), reason: reason(4) });
    assert_eq!((&four[..3], &four[3..]), (starts.as_slice(), [Decision::Rent { reason: reason(4) }].as_slice()));
}

#[test]
fn what_comes_to_rest_is_waited_for_where_that_is_sooner_than_a_boot() {
    let resting = |n| Seen { rests: true, ..machine(n, Stage::Draining, 5) };
    let rents = |seen: &Observation| decided(seen, &learned(10)).iter().filter(|decision| matches!(decision, Decision::Rent { .. })).count();
    assert_eq!([1, 9].map(|queued| rents(&observe(queued, 0, vec![resting(1)]))), [0, 2], "of three that are wanted one comes to rest");
    // Where a boot is as short, it isn't.
    assert_eq!(rents(&Observation { boot: Took::all(RESUME + seconds(30)), ..observe(1, 0, vec![resting(1)]) }), 1);
    // It counts among those that are kept.
    let idle: Vec<Seen> = (2..=4).map(|n| machine(n, Stage::Ready, 60)).collect();
    let few = decided(&observe(0, 120, idle.iter().cloned().chain([resting(1)]).collect()), &learned(10));
    let many = decided(&observe(0, 120, idle.iter().cloned().chain([resting(1), resting(5), resting(6)]).collect()), &learned(10));
    assert!(suspended(&few).len() == 1 && stopped(&many).len() == 1, "{few:?} {many:?}");
}

#[test]
fn what_stands_by_is_no_supply_and_is_asked_for_no_word() {
    let silent = Seen { heard_at: 0, boot_by: 0, ..machine(1, Stage::Stopped, 3_000) };
    assert_eq!(decided(&observe(0, 120, vec![machine(2, Stage::Busy, 0), silent.clone()]), &learned(10)), []);
    // The operator's floor is for machines that run.
    let floor = decided(&observe(0, 120, vec![silent]), &Policy { desired_size: 2, ..learned(10) });
    let reason = Reason::Floor { supply: 0, wanted: 2 };
    assert_eq!(floor, [Decision::Resume { id: id(1), reason: reason.clone() }, Decision::Rent { reason }]);
}

#[test]
fn nothing_is_started_again_where_rentals_are_not_allowed_either() {
    let waits = observe(9, 120, vec![machine(1, Stage::Stopped, 60)]);
    for unread in [Observation { listed: false, ..waits.clone() }, Observation { demand: None, ..waits }] {
        assert_eq!(decided(&unread, &learned(10)), []);
    }
}

#[test]
fn a_machine_for_a_hedge_may_be_one_that_stands_by() {
    let spot = Seen { interruptible: true, keeps: false, ..machine(1, Stage::Loading, 60) };
    let mut seen = observe(1, 0, vec![spot, machine(2, Stage::Stopped, 60)]);
    seen.demand = Some(vec![Demand { queued: 1, oldest_ms: seconds(61), service_ms: seconds(30), ..Demand::default() }]);
    seen.history.spot.taken_at = Some(NOW - seconds(100));
    assert_eq!(decided(&seen, &learned(5)), [Decision::Resume { id: id(2), reason: Reason::Hedge { queued: 1, supply: 1, wanted: 2 } }]);
}

#[test]
fn of_more_than_the_expected_jobs_may_need_the_rest_is_given_back() {
    // A load of one: four in all.
    let there = |by: u128, for_s: u64| (1..=by).map(|n| machine(n, Stage::Stopped, for_s)).chain([machine(9, Stage::Busy, 0)]).collect::<Vec<_>>();
    assert_eq!(decided(&observe(0, 120, there(3, 9_000)), &learned(10)), []);
    assert_eq!(stopped(&decided(&observe(0, 120, there(5, 9_000)), &learned(10))).len(), 2);
    // No sooner than a boot's time after it was stopped, and not within one of the last growth.
    assert_eq!(decided(&observe(0, 120, there(5, 90)), &learned(10)), []);
    let grown = History { last_rent_at: Some(NOW - seconds(10)), turned_at: Some(NOW - seconds(29)), ..History::default() };
    let grown = plan(&Observation { history: grown, ..observe(0, 120, there(5, 9_000)) }, &learned(10), NOW);
    assert_eq!((grown.decisions, grown.notes), (vec![], vec![Reason::TooSoon { wait_s: 1 }]));
    // The dearest first; one that is claimed stays.
    let mut some = there(5, 9_000);
    some[2].runs_for.microusd_per_hour = 2 * FULL;
    some[1].runs_for.microusd_per_hour = 3 * FULL;
    some[1].leased_to = Some(NOW + 1);
    assert_eq!(stopped(&decided(&observe(0, 120, some), &learned(10))), [id(3), id(1)]);
    // What runs without work goes too, where enough stand by; and there are never more than the pool may have.
    let mut idle = there(3, 60);
    idle.extend([machine(10, Stage::Ready, 30), machine(11, Stage::Ready, 20)]);
    assert_eq!(
        decided(&observe(0, 120, idle.clone()), &learned(10)),
        [10, 11].map(|n| {
            let reason = Reason::NotNeeded { idle_s: if n == 10 { 30 } else { 20 }, wanted: 1 };
            Decision::Stop { id: id(n), reason }
        })
    );
    idle.truncate(5);
    assert_eq!(stopped(&decided(&observe(0, 1_200, idle), &learned(3))), []);
}

#[test]
fn nothing_is_kept_for_next_to_no_jobs_nor_where_they_may_wait() {
    let by = || vec![machine(1, Stage::Stopped, 9_000)];
    assert_eq!(stopped(&decided(&observe(0, 2, by()), &learned(10))), [id(1)]);
    assert_eq!(stopped(&decided(&observe(0, 12, by()), &learned(10))), []);
    let patient = Policy { start_within_s: 3_600, ..learned(10) };
    assert_eq!(stopped(&decided(&observe(0, 12, by()), &patient)), [id(1)]);
    assert_eq!(
        decided(&observe(0, 12, vec![machine(1, Stage::Ready, 0)]), &patient),
        [Decision::Stop { id: id(1), reason: Reason::NotNeeded { idle_s: 0, wanted: 0 } }]
    );
}

#[test]
fn of_too_many_none_is_kept() {
    let above = decided(&observe(0, 120, vec![machine(1, Stage::Ready, 5), machine(2, Stage::Ready, 3)]), &learned(1));
    assert_eq!(above, [Decision::Stop { id: id(1), reason: Reason::AboveMax { max: 1 } }]);
}

#[test]
fn what_a_start_takes_counts_instead_of_a_boot_while_one_stands_by() {
    // It has just shrunk: what is only expected waits for a start's time, and for a boot's where none stands by.
    let history = |ago: u64| History { last_stop_at: Some(NOW - seconds(ago)), turned_at: Some(NOW - seconds(ago)), ..History::default() };
    let starts = |ago: u64, by: Vec<Seen>| decided(&Observation { history: history(ago), ..observe(0, 120, by) }, &learned(10)).len();
    assert_eq!((starts(29, vec![machine(1, Stage::Stopped, 20)]), starts(30, vec![machine(1, Stage::Stopped, 20)])), (0, 1));
    assert_eq!((starts(89, vec![]), starts(90, vec![])), (0, 2));
    // And it has just grown: what came with it is not stopped again before as long.
    let history = |ago: u64| History { last_rent_at: Some(NOW - seconds(ago)), turned_at: Some(NOW - seconds(ago)), ..History::default() };
    let there = || vec![machine(1, Stage::Stopped, 200), machine(2, Stage::Busy, 0), machine(3, Stage::Ready, 0)];
    let stops = |ago: u64| suspended(&decided(&Observation { history: history(ago), ..observe(0, 120, there()) }, &learned(10))).len();
    assert_eq!((stops(29), stops(30)), (0, 1));
}

#[test]
fn what_stands_by_is_covered_for_its_disk_and_given_back_where_no_budget_covers_that() {
    let short = |left_s: u64| Seen { covered_to: NOW + seconds(left_s), ..machine(1, Stage::Stopped, 60) };
    let to = NOW + seconds(1_980 + 300);
    assert_eq!(
        decided(&observe(0, 120, vec![machine(2, Stage::Busy, 0), machine(3, Stage::Busy, 0), short(2_100)]), &learned(10)),
        [Decision::Cover { id: id(1), to }]
    );
    let none = Policy { budget_hour_microusd: Some(0), ..learned(10) };
    let stops = decided(&observe(0, 120, vec![machine(2, Stage::Busy, 0), machine(3, Stage::Busy, 0), short(2_100)]), &none);
    assert_eq!(stops, [Decision::Stop { id: id(1), reason: Reason::Budget { window: "hour".into() } }]);
    // What runs comes first where a budget is for one.
    let both = vec![short(2_100), Seen { covered_to: NOW + seconds(2_100), ..machine(2, Stage::Busy, 0) }, machine(3, Stage::Busy, 0)];
    let one = Policy { budget_hour_microusd: Some(FULL * 181 / 3_600), ..learned(10) };
    let covered = decided(&observe(0, 120, both), &one);
    assert_eq!(covered, [Decision::Cover { id: id(2), to }, Decision::Stop { id: id(1), reason: Reason::Budget { window: "hour".into() } }]);
    let ends = decided(&observe(0, 120, vec![machine(2, Stage::Busy, 0), machine(3, Stage::Busy, 0), short(180)]), &learned(10));
    assert_eq!(ends, [Decision::Destroy { id: id(1), reason: Reason::CoverEnds { left_s: 180 } }]);
}

#[test]
fn what_was_taken_away_stands_by_no_more() {
    let taken = Seen { taken_away: true, ..machine(1, Stage::Stopped, 60) };
    assert_eq!(decided(&observe(0, 0, vec![taken]), &learned(5)), [Decision::Destroy { id: id(1), reason: Reason::TakenAway }]);
}

#[test]
fn where_nothing_is_kept_stopped_what_is_is_given_back_but_for_what_is_claimed() {
    let claimed = Seen { leased_to: Some(NOW + 1), ..machine(2, Stage::Stopped, 60) };
    let off = Observation {
        resume: None,
        ..observe(0, 120, vec![machine(1, Stage::Stopped, 60), claimed, machine(3, Stage::Ready, 0), machine(4, Stage::Ready, 0)])
    };
    assert_eq!(decided(&off, &learned(10)), [Decision::Stop { id: id(1), reason: Reason::Idle { idle_s: 60 } }]);
    // Nor does it start again.
    let claimed = Observation { instances: off.instances[1..2].to_vec(), ..off.clone() };
    assert!(matches!(decided(&claimed, &learned(1))[..], [Decision::Rent { .. }]));
    // Whatever the jobs, of which nothing need be known for that.
    let unread = Observation { demand: None, ..off };
    assert_eq!(stopped(&decided(&unread, &learned(10))), [id(1)]);
}

#[test]
fn a_machine_that_starts_again_is_as_good_as_one_that_is_rented_to_who_wakes_the_pool() {
    let by = observe(0, 0, vec![machine(1, Stage::Stopped, 60)]);
    assert_eq!(room(&by, &learned(5), NOW), Some(0));
    assert_eq!(room(&by, &learned(0), NOW), None);
}

/// Numbers below `n` from a seed.
fn numbers(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    move |n| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    }
}

/// Any pool, its policy, and jobs of any number.
fn any(seed: u64) -> (Observation, Policy) {
    let mut random = numbers(seed);
    let machines = (0..random(14)).map(|n| {
        let stage = Stage::ALL[random(8) as usize];
        let interruptible = random(4) == 0;
        let stage = if interruptible && stage == Stage::Stopped { Stage::Busy } else { stage };
        Seen {
            heard_at: NOW - seconds(if random(4) == 0 { random(120) } else { random(30) }),
            boot_by: NOW + seconds(random(120)) - seconds(20),
            covered_to: NOW + seconds(random(4_000)),
            leased_to: (random(5) == 0).then_some(NOW + 1),
            interruptible,
            taken_away: interruptible && random(4) == 0,
            keeps: !interruptible && random(4) > 0,
            ..machine(u128::from(n), stage, random(2_000))
        }
    });
    let machines: Vec<Seen> = machines.collect();
    let mut seen = observe(if random(2) == 0 { 0 } else { random(30) }, random(600), machines);
    seen.useful = (random(2) == 0).then(|| random(20) as u32);
    let ago = |random: &mut dyn FnMut(u64) -> u64| (random(3) > 0).then(|| NOW - seconds(random(200)));
    seen.history = History { last_rent_at: ago(&mut random), last_stop_at: ago(&mut random), turned_at: ago(&mut random), ..History::default() };
    seen.listed = random(8) > 0;
    let keep = if random(3) > 0 { Keep::Learned } else { Keep::Idle };
    let budget = (random(3) == 0).then(|| random(2_000_000) as i64);
    let policy =
        Policy { max: random(12) as u32, keep, start_within_s: [20, 60, 167, 3_600][random(4) as usize], budget_hour_microusd: budget, ..Policy::default() };
    (seen, policy)
}

#[test]
fn whatever_stands_there_the_promises_hold() {
    let (mut suspends, mut resumes) = (0, 0);
    for seed in 1..=20_000 {
        let (seen, policy) = any(seed);
        let planned = plan(&seen, &policy, NOW);
        let of = |id: &InstanceId| seen.instances.iter().find(|machine| machine.id == *id).expect("it was seen");
        let (down, up, stops) = (suspended(&planned.decisions), resumed(&planned.decisions), stopped(&planned.decisions));
        (suspends, resumes) = (suspends + down.len(), resumes + up.len());
        for id in &down {
            let machine = of(id);
            assert!(machine.stage == Stage::Ready && machine.keeps && !machine.interruptible && !machine.is_leased(NOW), "{seed}: {machine:?}");
        }
        assert!(up.iter().all(|id| of(id).stage == Stage::Stopped && !of(id).taken_away), "{seed}");
        assert!(up.is_empty() || down.is_empty() && stops.iter().all(|id| !up.contains(id)), "{seed}: it turns both ways");
        // Nothing is decided twice of one machine but that it is covered and comes.
        let ends = planned.decisions.iter().filter_map(|decision| match decision {
            Decision::Rent { .. } | Decision::Cover { .. } => None,
            Decision::Resume { id, .. }
            | Decision::Suspend { id, .. }
            | Decision::Drain { id, .. }
            | Decision::Stop { id, .. }
            | Decision::Destroy { id, .. } => Some(id.clone()),
        });
        let ends: Vec<_> = ends.collect();
        assert_eq!(ends.iter().collect::<BTreeSet<_>>().len(), ends.len(), "{seed}: {:?}", planned.decisions);
        let rents = planned.decisions.iter().filter(|decision| matches!(decision, Decision::Rent { .. })).count();
        let lives = |machine: &&Seen| matches!(machine.stage, Stage::Requested | Stage::Loading | Stage::Ready | Stage::Busy) && !ends.contains(&machine.id);
        let running = seen.instances.iter().filter(lives).count();
        assert!(up.len() + rents == 0 || running + up.len() + rents <= policy.max as usize, "{seed}: more than may be");
        // What is stopped now and what stands by is no more than the pool may have, with what runs.
        let by = seen.instances.iter().filter(|machine| machine.stage == Stage::Stopped && !ends.contains(&machine.id)).count();
        assert!(down.is_empty() || running + by + down.len() <= policy.max as usize, "{seed}: more are kept than may be");
        assert!(seen.listed || up.is_empty() && rents == 0, "{seed}");
    }
    assert!(suspends > 200 && resumes > 200, "{suspends} {resumes}");
}

#[test]
fn safe_mode_ends_what_stands_by_too() {
    for seed in 1..=200 {
        let (seen, policy) = any(seed);
        let decided = decided(&seen, &Policy { safe_mode: true, ..policy });
        assert!(decided.iter().all(|decision| matches!(decision, Decision::Destroy { reason: Reason::SafeMode, .. })));
        assert_eq!(decided.len(), seen.instances.iter().filter(|machine| machine.stage != Stage::Gone).count(), "{seed}");
    }
}

#[test]
fn where_nothing_is_kept_stopped_the_plan_is_what_it_was_without_those_that_stand_by() {
    for seed in 1..=5_000 {
        let (seen, policy) = any(seed);
        let off = Observation { resume: None, ..seen };
        let planned = plan(&off, &policy, NOW);
        assert!(suspended(&planned.decisions).is_empty(), "{seed}");
        assert!(resumed(&planned.decisions).is_empty(), "{seed}");
        if off.instances.iter().any(|machine| machine.stage == Stage::Stopped) {
            continue;
        }
        let mut unkept = off.clone();
        unkept.instances.iter_mut().for_each(|machine| machine.keeps = false);
        assert_eq!(planned, plan(&unkept, &policy, NOW), "{seed}");
    }
}
