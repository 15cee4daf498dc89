//! A provider that fails in every way that its stand-in knows, by chance: whole runs, seed by seed, with time that passes between them. While it does,
//! no machine has two rows, the books are right and what is not ours is left alone; afterwards safe mode leaves nothing.

use crate::POOL;
use crate::crash_tests::{accounted, committed, ours};
use crate::pool_tests::{KEY, World, one};
use futures::StreamExt;
use kiln_core::fleet::Stage;
use kiln_core::pool::Policy;
use kiln_core::time::{Millis, seconds};
use kiln_store::Instance;
use kiln_vast_stand_in::{Config, generate};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const SEEDS: u64 = 100;
const RUNS: u32 = 12;
/// Worlds at a time: each waits most of the time for its next try.
const AT_ONCE: usize = 25;
const MAX: u32 = 3;

/// One that the next calls meet.
fn fault(random: &mut fastrand::Rng) -> Value {
    let times = random.u32(1..=3);
    match random.u32(0..14) {
        0 => json!({ "kind": "rate_limit_text", "times": times }),
        1 => json!({ "kind": "rate_limit_json", "times": times }),
        2 => json!({ "kind": "rate_limit_detail", "times": times }),
        3 => json!({ "kind": "error", "method": "GET", "times": times }),
        4 => json!({ "kind": "error", "method": "DELETE", "times": times }),
        5 => json!({ "kind": "bad_token", "path": "/api/v1/instances/" }),
        6 => json!({ "kind": "success_false" }),
        7 => json!({ "kind": "error_applied", "method": "DELETE" }),
        8 => json!({ "kind": "error_applied", "method": "PUT" }),
        9 => json!({ "kind": "time_out", "method": "PUT", "ms": 20 }),
        10 => json!({ "kind": "time_out_applied", "method": "PUT", "ms": 20 }),
        11 => json!({ "kind": "unavailable", "method": "PUT", "times": times }),
        12 => json!({ "kind": "never_boots", "method": "PUT", "times": times }),
        _ => json!({ "kind": "undying", "method": "DELETE" }),
    }
}

const EVENTS: [&str; 10] = ["die", "stick", "offline", "unheard", "return", "vanish", "appear", "undying", "mortal", "outbid"];

impl World {
    /// What happens to a machine; nothing where that can't happen to it as it is.
    async fn happens(&self, id: u64, event: &str) {
        let address = format!("{}/stand-in/instances/{id}/{event}", self.url);
        self.http.post(address).bearer_auth(KEY).json(&json!({})).send().await.unwrap();
    }

    /// Time passes, for the provider and for what is known of its machines.
    async fn time_passes(&self, s: u64) {
        self.control(Method::POST, "clock", json!({ "advance_s": s })).await;
        self.change(|row| earlier(row, seconds(s))).await;
    }
}

/// As if all that is known of it had been so much earlier.
fn earlier(row: &mut Instance, by: Millis) {
    for at in [&mut row.requested_at, &mut row.idle_since, &mut row.boot_expires_at, &mut row.covered_to] {
        *at -= by;
    }
    let known = [&mut row.heartbeat_at, &mut row.loading_since, &mut row.drained_at, &mut row.leaves_at, &mut row.registered_at, &mut row.ready_at];
    for at in known.into_iter().chain([&mut row.busy_since, &mut row.taken_at, &mut row.missing_since]).flatten() {
        *at -= by;
    }
    if let Some(told) = &mut row.told {
        told.at -= by;
    }
}

/// The sums of all hours, days and months: what a machine costs is the same whenever it is thought to have begun.
fn sums(windows: BTreeMap<String, i64>) -> BTreeMap<String, i64> {
    let mut sums = BTreeMap::from(["hour", "day", "month"].map(|span| (span.to_owned(), 0)));
    for (window, sum) in windows {
        *sums.get_mut(window.split('#').next().unwrap()).unwrap() += sum;
    }
    sums
}

/// Machines that are not ours.
async fn others(world: &World) -> Vec<u64> {
    let mut made = Vec::new();
    for label in ["my training run", "kiln/elsewhere/main/ins_1"] {
        let offers = world.vast.of("vast").unwrap().offers(&one()).await.unwrap();
        let body = json!({ "client_id": "me", "image": "x", "disk": 10, "label": label });
        let order = world.http.put(format!("{}/api/v0/asks/{}/", world.url, offers.last().unwrap().id)).bearer_auth(KEY).json(&body);
        made.push(order.send().await.unwrap().json::<Value>().await.unwrap()["new_contract"].as_u64().unwrap());
    }
    made
}

/// What must hold after each run.
async fn holds(world: &World, others: &[u64], place: &str) {
    let known = world.known().await;
    let named: Vec<_> = known.iter().filter_map(|row| row.provider_id.clone()).collect();
    assert_eq!(named.iter().collect::<BTreeSet<_>>().len(), named.len(), "{place}: a machine has two rows: {known:?}");
    assert!(known.len() <= 2 * MAX as usize, "{place}: {known:?}");
    assert_eq!(sums(committed(world)), sums(accounted(world).await), "{place}: what is committed, and should be");
    let exist = world.exist().await;
    assert!(others.iter().all(|other| exist.iter().any(|(id, _)| id == other)), "{place}: what is not ours was touched");
}

/// One seed: faults for a while, and then none.
async fn endures(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let policy = Policy { desired_size: 2, max: MAX, interruptible: random.bool(), keep_stopped: false, ..one() };
    let world = World::at(Config { offers: generate(7, 200), ..Config::new(KEY) }, policy.clone()).await;
    // Who meets whom in the table is asked for elsewhere.
    world.memory.yields(0..=0);
    let others = others(&world).await;
    for n in 1..=RUNS {
        let place = format!("seed {seed}, run {n}");
        if random.u32(0..4) > 0 {
            world.fault(fault(&mut random)).await;
        }
        if let (Some((id, _)), true) = (random.choice(&ours(&world).await), random.bool()) {
            world.happens(*id, EVENTS[random.usize(0..EVENTS.len())]).await;
        }
        if random.u32(0..3) == 0 {
            world.set(Policy { desired_size: random.u32(0..=MAX), ..policy.clone() }).await;
        }
        if random.bool() {
            speak(&world).await;
        }
        // A look comes each minute at least: that is what covers reckon with.
        world.time_passes(random.u64(1..=60)).await;
        world.run().await;
        holds(&world, &others, &place).await;
    }
    world.control(Method::DELETE, "faults", Value::Null).await;
    for (id, _) in ours(&world).await {
        for event in ["appear", "mortal", "return"] {
            world.happens(id, event).await;
        }
    }
    world.set(Policy { safe_mode: true, ..policy }).await;
    for n in 1..=10 {
        world.run().await;
        holds(&world, &others, &format!("seed {seed}, run {n} of safe mode")).await;
        world.two_minutes_pass().await;
        if world.known().await.is_empty() && ours(&world).await.is_empty() {
            break;
        }
    }
    let mut left: Vec<u64> = world.exist().await.into_iter().map(|(id, _)| id).collect();
    left.sort_unstable();
    assert_eq!((left, world.known().await), (others, vec![]), "seed {seed}: what is left");
    let gone = world.app.table().gone(1_000, None).await.unwrap().0;
    let spent: i64 = gone.iter().map(|gone| gone.cost_microusd).sum();
    assert_eq!(sums(committed(&world))["hour"], spent, "seed {seed}: more is reserved than was spent");
    assert!(world.app.table().fleet(POOL).await.unwrap().run.epoch >= u64::from(RUNS), "seed {seed}");
}

/// What their workers do: they are ready, and say so.
async fn speak(world: &World) {
    let now = world.app.now();
    let says = |row: &mut Instance| {
        if row.provider_id.is_some() && row.missing_since.is_none() && matches!(row.stage, Stage::Requested | Stage::Ready) {
            row.stage = Stage::Ready;
            (row.registered_at, row.ready_at, row.heartbeat_at) = (row.registered_at.or(Some(now)), row.ready_at.or(Some(now)), Some(now));
        }
    };
    world.change(says).await;
}

#[tokio::test]
async fn whatever_the_provider_does_nothing_is_left_of_it_in_the_end() {
    futures::stream::iter(0..SEEDS).for_each_concurrent(AT_ONCE, endures).await;
}
