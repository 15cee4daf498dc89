//! What the warm pool learns of its machines from look to look.

use crate::rent::{NOW, instance};
use kiln_core::time::{Millis, seconds};
use kiln_store::{Instance, RunState};

/// A machine of this GPU that has done so many jobs of these kinds, each in so many seconds.
fn worked(n: u128, gpu: &str, done: &[(&str, u64, u64)]) -> Instance {
    let mut machine = Instance { gpu: Some(gpu.to_owned()), ..instance(n) };
    for (kind, jobs, each_s) in done {
        assert!(machine.timings.add(&format!("t.{kind}.r7"), *jobs) && machine.timings.add(&format!("t.{kind}.rs"), jobs * each_s * 1000));
    }
    machine
}

fn learned(machines: &[Instance]) -> RunState {
    let mut run = RunState::default();
    run.learn(machines, NOW);
    run
}

#[test]
fn a_gpu_that_takes_half_the_time_does_twice_the_jobs_and_few_jobs_say_nothing() {
    let mut run = learned(&[worked(1, "slow", &[("noop", 10, 20)]), worked(2, "fast", &[("noop", 10, 10)]), worked(3, "new", &[("noop", 9, 1)])]);
    let (slow, fast) = (run.jobs_per_hour["slow"], run.jobs_per_hour["fast"]);
    assert!((fast / slow - 2.0).abs() < 1e-9, "{run:?}");
    assert_eq!(run.jobs_per_hour.len(), 2, "nine jobs are no measure");
    // Alone, it does as many as fit into an hour.
    assert!((learned(&[worked(1, "fast", &[("noop", 20, 10)])]).jobs_per_hour["fast"] - 360.0).abs() < 1e-9);
    // What was measured is remembered when the machines are gone, and follows what is measured next.
    run.learn(&[], NOW);
    assert_eq!((run.jobs_per_hour["slow"], run.jobs_per_hour["fast"]), (slow, fast));
    run.learn(&[worked(4, "slow", &[("noop", 10, 10)]), worked(5, "fast", &[("noop", 10, 10)])], NOW);
    assert!((run.jobs_per_hour["fast"] / run.jobs_per_hour["slow"] - 1.0).abs() < 1e-9, "{run:?}");
}

#[test]
fn a_gpu_that_was_given_the_long_jobs_is_not_held_to_be_slow() {
    let run = learned(&[worked(1, "long", &[("noop", 10, 2), ("upscale", 10, 20)]), worked(2, "short", &[("noop", 10, 2)])]);
    assert!((run.jobs_per_hour["long"] / run.jobs_per_hour["short"] - 1.0).abs() < 1e-9, "{run:?}");
}

#[test]
fn many_names_of_gpus_are_not_all_remembered() {
    let machines: Vec<Instance> = (0..300).map(|n| worked(n, &format!("GPU {n}"), &[("noop", 10, 10)])).collect();
    assert_eq!(learned(&machines).jobs_per_hour.len(), 200);
}

#[test]
fn a_life_that_is_over_says_whether_its_like_can_be_relied_on_where_neither_we_nor_a_higher_bid_ended_it() {
    let there = Instance { provider_id: Some("1".into()), ..instance(1) };
    let ready = Instance { ready_at: Some(NOW + seconds(60)), ..there.clone() };
    let ended: Millis = NOW + seconds(660);
    let said = |machine: Instance| {
        let over = machine.over(ended);
        (over.booted, over.stayed_ms, over.lost)
    };
    assert_eq!(said(instance(1)), (None, 0, false), "whether it was made is not known");
    assert_eq!(said(there.clone()), (Some(false), 0, false));
    assert_eq!(said(Instance { ended_by_us_at: Some(ended), ..there }), (None, 0, false));
    assert_eq!(said(ready.clone()), (Some(true), 600_000, true));
    let asked = Instance { drain: true, drained_at: Some(ended), ..ready.clone() };
    let leaves = Instance { leaves_at: Some(ended), ..asked.clone() };
    let taken = Instance { taken_at: Some(ended), ..ready.clone() };
    for wished in [asked, leaves, taken, Instance { ended_by_us_at: Some(ended), ..ready.clone() }] {
        assert_eq!(said(wished), (Some(true), 600_000, false));
    }
    // That one was started again is no boot.
    assert_eq!(said(Instance { resumed_at: Some(NOW), ..ready }), (None, 600_000, true));
}
