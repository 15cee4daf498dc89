//! The room agrees with the plan, whatever stands there.

use super::*;
use crate::fleet::Stage;
use crate::ids::InstanceId;
use crate::pool::History;
use crate::pool::budget::{Deadlines, Rate};
use crate::pool::{Seen, Took};

const NOW: Millis = 1_795_935_600_000;

fn machine(n: u64, stage: Stage) -> Seen {
    Seen {
        id: InstanceId::new(1, u128::from(n)),
        stage,
        since: NOW,
        heard_at: NOW,
        begun: NOW,
        boot_by: NOW + seconds(600),
        rate: Rate::default(),
        covered_to: Millis::MAX,
        leased_to: None,
        able: true,
        interruptible: false,
        taken_away: false,
        keeps: false,
        rests: false,
        resumes: false,
        runs_for: Rate::default(),
    }
}

fn observe(queued: u64, service_s: u64, stages: &[Stage]) -> Observation {
    Observation {
        demand: Some(vec![Demand { queued, service_ms: seconds(service_s), ..Demand::default() }]),
        listed: true,
        instances: (0..).zip(stages).map(|(n, stage)| machine(n, *stage)).collect(),
        useful: Some(queued as u32),
        committed: None,
        boot: Took::all(seconds(90)),
        resume: None,
        history: History::default(),
        lost_after_s: 90,
        deadlines: Deadlines { boot_s: 600, job_s: 1_800, tick_s: 60 },
        look_s: 30,
    }
}

fn policy(max: u32) -> Policy {
    Policy { max, ..Policy::default() }
}

#[test]
fn an_empty_pool_has_no_room_and_a_machine_has_room_for_what_it_clears_in_a_boot_s_time() {
    assert_eq!(room(&observe(0, 30, &[]), &policy(5), NOW), Some(0));
    let one = room(&observe(0, 30, &[Stage::Ready]), &policy(5), NOW).expect("it ends");
    let two = room(&observe(0, 30, &[Stage::Ready, Stage::Loading]), &policy(5), NOW).expect("it ends");
    assert!(one >= 1 && two > one, "{one} {two}");
}

#[test]
fn where_no_number_of_jobs_brings_a_machine_there_is_no_end_of_it() {
    assert_eq!(room(&observe(0, 30, &[]), &policy(0), NOW), None);
    assert_eq!(room(&observe(50, 30, &[Stage::Busy]), &policy(1), NOW), None);
    assert_eq!(room(&observe(0, 30, &[]), &Policy { safe_mode: true, ..policy(5) }, NOW), None);
    assert_eq!(room(&Observation { listed: false, ..observe(0, 30, &[]) }, &policy(5), NOW), None);
    assert_eq!(room(&Observation { demand: None, ..observe(0, 30, &[]) }, &policy(5), NOW), None);
}

#[test]
fn it_is_the_first_number_of_jobs_for_which_the_plan_rents() {
    let stages = [Stage::Requested, Stage::Loading, Stage::Ready, Stage::Busy, Stage::Draining];
    for seed in 1..=300 {
        let mut random = fastrand_like(seed);
        let there: Vec<Stage> = (0..random(12)).map(|_| stages[random(5) as usize]).collect();
        let mut seen = observe(random(20), 1 + random(120), &there);
        // What waits already has brought its machines.
        seen.instances.extend((100..).take(plan(&seen, &policy(100), NOW).decisions.len()).map(|n| machine(n, Stage::Requested)));
        let found = room(&seen, &policy(100), NOW);
        let scanned =
            (1..=MOST).find(|more| plan(&with(&seen, *more), &policy(100), NOW).decisions.iter().any(|decision| matches!(decision, Decision::Rent { .. })));
        assert_eq!(found, scanned.map(|more| more - 1), "seed {seed}");
    }
}

#[test]
fn and_the_first_for_which_one_that_stands_by_starts_again() {
    let stages = [Stage::Requested, Stage::Loading, Stage::Ready, Stage::Busy, Stage::Stopped, Stage::Stopped];
    let comes = |decision: &Decision| matches!(decision, Decision::Rent { .. } | Decision::Resume { .. });
    for seed in 1..=300 {
        let mut random = fastrand_like(seed);
        let there: Vec<Stage> = (0..random(12)).map(|_| stages[random(6) as usize]).collect();
        let mut seen = Observation { resume: Some(Took::all(seconds(30))), ..observe(random(20), 1 + random(120), &there) };
        for (n, decision) in (100..).zip(plan(&seen, &policy(100), NOW).decisions) {
            match decision {
                Decision::Rent { .. } => seen.instances.push(machine(n, Stage::Requested)),
                Decision::Resume { id, .. } => seen.instances.iter_mut().filter(|one| one.id == id).for_each(|one| one.stage = Stage::Loading),
                _ => {}
            }
        }
        let found = room(&seen, &policy(100), NOW);
        let scanned = (1..=MOST).find(|more| plan(&with(&seen, *more), &policy(100), NOW).decisions.iter().any(comes));
        assert_eq!(found, scanned.map(|more| more - 1), "seed {seed}");
    }
}

/// Numbers below `n` from a seed.
fn fastrand_like(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    move |n| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    }
}
