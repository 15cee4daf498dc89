//! The protocol under its model: 10,000 hostile runs, none hung, none double; and the checker under planted faults.

use kiln_model::plan::{Fault, Scene};
use kiln_model::seen::{Coverage, Seen};
use kiln_model::{Kind, run, run_all, trace};
use std::io::Write;
use std::time::Instant;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}; it takes a whole number")))
}

fn runs() -> u64 {
    number("KILN_MODEL_RUNS").unwrap_or(10_000)
}

/// Says it even when the test passes: what happened in the runs is the worth of the test.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Panics with the rule, the end of the run's story and the command that tells all of it.
fn report(seed: u64, rule: &str, kind: Kind) -> ! {
    let lines = trace(seed, kind);
    let tail = &lines[lines.len().saturating_sub(60)..];
    panic!(
        "seed {seed}: {rule}\n\n{}\n\nKILN_MODEL_SCENE={:?} KILN_MODEL_SEED={seed} cargo test -p kiln-model one_seed_replays -- --nocapture",
        tail.join("\n"),
        kind.scene
    );
}

#[test]
fn ten_thousand_hostile_runs_hang_nothing_and_double_nothing() {
    if number("KILN_MODEL_SEED").is_some() {
        return;
    }
    let runs = runs();
    let started = Instant::now();
    let (broken, coverage) = run_all(1..runs + 1, Kind::default());
    if let Some(broken) = broken {
        report(broken.seed, &broken.rule, Kind::default());
    }
    tell(&format!("{runs} runs in {:.1} s; what happened in them:\n{}", started.elapsed().as_secs_f64(), coverage.lines()));
    if runs >= 10_000 {
        assert_eq!(coverage.missing(), Vec::<&str>::new(), "a fault that never struck tested nothing");
    }
}

#[test]
fn without_faults_every_job_succeeds() {
    let calm = Kind { scene: Scene::Calm, fault: None };
    let (broken, coverage) = run_all(1..501, calm);
    if let Some(broken) = broken {
        report(broken.seed, &broken.rule, calm);
    }
    assert!(coverage.count(Seen::Submitted) > 500);
    assert_eq!(coverage.count(Seen::Succeeded), coverage.count(Seen::Submitted));
}

#[test]
fn after_the_faults_no_job_waits_for_a_worker_that_is_there() {
    let patient = Kind { scene: Scene::Patient, fault: None };
    let (broken, coverage) = run_all(1..runs() / 5 + 1, patient);
    if let Some(broken) = broken {
        report(broken.seed, &broken.rule, patient);
    }
    assert!(coverage.count(Seen::SweepHint) > 0);
}

#[test]
fn one_seed_replays_the_same_run() {
    let seed = number("KILN_MODEL_SEED").unwrap_or(7);
    let scenes = [Scene::Hostile, Scene::Patient, Scene::Calm];
    let named = std::env::var("KILN_MODEL_SCENE").ok();
    let scene = scenes.into_iter().find(|scene| named == Some(format!("{scene:?}"))).unwrap_or_default();
    let kind = Kind { scene, fault: None };
    let lines = trace(seed, kind);
    assert_eq!(lines, trace(seed, kind));
    println!("{}", lines.join("\n"));
    if let Some(broken) = run(seed, kind, &mut Coverage::default()) {
        panic!("seed {seed}: {}", broken.rule);
    }
}

/// The canary: a checker that lets one of these pass proves nothing.
#[test]
fn every_planted_fault_is_caught() {
    let mut missed = vec![];
    for fault in Fault::ALL {
        let scene = if fault == Fault::HintsForgotten { Scene::Patient } else { Scene::Hostile };
        let kind = Kind { scene, fault: Some(fault) };
        match run_all(1..4001, kind).0 {
            Some(broken) => tell(&format!("{fault:?}: caught at seed {}: {}", broken.seed, broken.rule)),
            None => missed.push(fault),
        }
    }
    assert_eq!(missed, vec![], "planted faults that the checker let pass");
}
