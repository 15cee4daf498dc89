//! A model of the life of a job (DESIGN.md section 4) that attacks the production transitions of `kiln_core::machine`.
//! One seed is one run: every random choice comes from it, time is simulated, and the same seed replays the same run.
//!
//! Modelled: the table (transactions with their conditions and guards, conflicts, commits whose answer is lost, commits
//! that apply after their server gave them up), the queued markers, the lagging sharded index, standard queues (loss,
//! doubles, disorder, visibility timeouts, dead letters; runs with every message lost, or three times), servers that
//! pause, die before a commit or before what follows it, clocks that differ by some milliseconds, a network that loses,
//! doubles and delays calls and answers, hosts cut off for a while, workers that die at each step, restart, hang, drain
//! or lie, customers who repeat and cancel, accounts with little credit and low caps, maintenance that is late and dies.
//! After a while all faults stop, and whatever is left must end in the time that the settings allow.
//!
//! Not modelled: the bytes (S3 is a set of uploaded attempts), sign-in and ids that aren't one's own, the system-wide
//! queue ceiling, the pool, operators who change caps, money beside holds, and anything of the AWS SDK; the whole-system
//! tests and drills have those.
//!
//! `KILN_MODEL_RUNS` sets the number of runs; `KILN_MODEL_SEED` replays one with its trace (`KILN_MODEL_SCENE` if it was
//! not a hostile one).

mod checker;
pub mod plan;
mod queue;
pub mod seen;
mod server;
mod table;
mod worker;
mod world;

use plan::{Fault, Scene};
use seen::Coverage;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A run that broke a rule.
#[derive(Debug, Clone)]
pub struct Broken {
    pub seed: u64,
    pub rule: String,
}

/// How a run is made, beside its seed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kind {
    pub scene: Scene,
    /// A fault planted in the rules.
    pub fault: Option<Fault>,
}

/// One run; the first rule that it broke, if any. A panic in the transitions is a broken rule too.
pub fn run(seed: u64, kind: Kind, coverage: &mut Coverage) -> Option<Broken> {
    let ran = std::panic::catch_unwind(|| {
        let mut world = world::World::new(seed, kind.scene, kind.fault, false);
        let rule = world.run();
        (rule, world.seen)
    });
    let rule = match ran {
        Ok((rule, seen)) => {
            coverage.add(&seen);
            rule
        }
        Err(_) => Some("a transition panicked".to_owned()),
    };
    rule.map(|rule| Broken { seed, rule })
}

/// The same run again, told line by line.
pub fn trace(seed: u64, kind: Kind) -> Vec<String> {
    let mut world = world::World::new(seed, kind.scene, kind.fault, true);
    world.run();
    world.trace.unwrap_or_default()
}

/// Runs these seeds on all cores until one breaks a rule; gives the smallest such seed, and what was seen.
pub fn run_all(seeds: std::ops::Range<u64>, kind: Kind) -> (Option<Broken>, Coverage) {
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicBool::new(false);
    let result = Mutex::new((None::<Broken>, Coverage::default()));
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut coverage = Coverage::default();
                let mut broken = None;
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    broken = run(seed, kind, &mut coverage);
                    if broken.is_some() {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
                let mut result = result.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                result.1.add(&coverage);
                let smaller = broken.filter(|broken| result.0.as_ref().is_none_or(|other| broken.seed < other.seed));
                result.0 = smaller.or(result.0.take());
            });
        }
    });
    result.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
}
