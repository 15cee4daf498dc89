//! What one call of the plan takes with a thousand machines and ten thousand jobs that wait: a millisecond at most is the goal.

use criterion::{Criterion, criterion_group, criterion_main};
use kiln_core::fleet::Stage;
use kiln_core::ids::InstanceId;
use kiln_core::pool::budget::{Rate, Window};
use kiln_core::pool::{Demand, History, Keep, Observation, Policy, Seen, Took, plan};
use kiln_core::time::{Millis, seconds};
use kiln_simulator::executor::DEADLINES;
use std::collections::BTreeMap;
use std::hint::black_box;

const NOW: Millis = 1_795_935_600_000;

/// Of every stage some; every fourth is to be covered further.
fn observation(machines: u32) -> Observation {
    let stages = [Stage::Busy, Stage::Busy, Stage::Busy, Stage::Ready, Stage::Loading, Stage::Requested, Stage::Draining, Stage::Stopped];
    let instances = (0..machines).map(|n| Seen {
        id: InstanceId::new(NOW, u128::from(n)),
        stage: stages[n as usize % stages.len()],
        since: NOW - seconds(u64::from(n) % 1_200),
        heard_at: NOW - seconds(u64::from(n) % 60),
        begun: NOW - seconds(4_000 + u64::from(n)),
        boot_by: NOW + seconds(300),
        rate: Rate { microusd_per_hour: 300_000 + i64::from(n), microusd_once: 0 },
        covered_to: NOW + seconds(if n % 4 == 0 { 1_990 } else { 2_500 }),
        leased_to: None,
        able: true,
        interruptible: false,
        taken_away: false,
        keeps: true,
        rests: false,
        resumes: false,
        runs_for: Rate::default(),
    });
    // Ten thousand jobs in eight queues.
    let queue = Demand {
        rush: false,
        queued: 1_250,
        running: 60,
        oldest_ms: seconds(50),
        service_ms: seconds(30),
        came_2_min: 300,
        came_10_min: 1_500,
        came_hour: 6_000,
    };
    Observation {
        useful: None,
        listed: true,
        demand: Some(vec![queue; 8]),
        instances: instances.collect(),
        committed: Some(BTreeMap::from([(Window("hour#2026-11-29T07".into()), 1_000_000)])),
        boot: Took::all(seconds(90)),
        resume: Some(Took::all(seconds(60))),
        history: History { last_rent_at: Some(NOW - seconds(600)), unserved_since: Some(NOW - seconds(1_200)), ..History::default() },
        lost_after_s: 90,
        deadlines: DEADLINES,
        look_s: 30,
    }
}

fn bench(criterion: &mut Criterion) {
    let policy = Policy { max: 100, keep: Keep::Learned, budget_hour_microusd: Some(900_000_000), ..Policy::default() };
    for machines in [10, 1_000] {
        let seen = observation(machines);
        criterion.bench_function(&format!("plan, {machines} machines, 10,000 jobs"), |bencher| bencher.iter(|| plan(black_box(&seen), &policy, NOW)));
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
