//! Whole runs that die wherever they can, the order at the provider included: what others make of it against the stand-in for Vast.ai and a table in
//! memory. Beside it what must hold whatever died, which `fuzz_tests` asks for, too.

use crate::pool_tests::{KEY, World, one};
use crate::wake_tests::submit;
use crate::{POOL, handle};
use kiln_core::fleet::Stage;
use kiln_core::pool::Policy;
use kiln_core::pool::budget::{Rate, Window, shares};
use kiln_core::time::seconds;
use kiln_dynamo::{Fate, dies_at};
use kiln_store::{Instance, keys};
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// What is committed, by window.
pub(crate) fn committed(world: &World) -> BTreeMap<String, i64> {
    #[derive(Deserialize)]
    struct Committed {
        sk: String,
        committed: i64,
    }
    let of = |span: &str| world.memory.typed::<Committed>(keys::SPEND, span).unwrap();
    ["hour#", "day#", "month#"].into_iter().flat_map(of).map(|window| (window.sk, window.committed)).collect()
}

/// What should be: the covers of the rows, what has gone has cost, and what was charged beyond that.
pub(crate) async fn accounted(world: &World) -> BTreeMap<String, i64> {
    let (table, mut sums) = (world.app.table(), BTreeMap::<String, i64>::new());
    let mut add = |all: BTreeMap<Window, i64>| all.into_iter().for_each(|(window, share)| *sums.entry(window.0).or_default() += share);
    for row in world.known().await {
        add(shares(row.rate, row.requested_at, row.requested_at, row.covered_to));
    }
    for gone in table.gone(1_000, None).await.unwrap().0 {
        let rate = Rate { microusd_per_hour: gone.microusd_per_hour, microusd_once: gone.microusd_once };
        add(shares(rate, gone.rented_at, gone.rented_at, gone.ended_at));
    }
    for charged in table.charges(100).await.unwrap() {
        let windows = [format!("day#{}", charged.day), format!("month#{}", &charged.day[..7])];
        add(windows.map(|window| (Window(window), charged.counted_microusd)).into());
    }
    sums
}

/// The windows in which something else is committed than should be.
async fn books(world: &World) -> Vec<String> {
    let (committed, accounted) = (committed(world), accounted(world).await);
    let windows: BTreeSet<&String> = committed.keys().chain(accounted.keys()).collect();
    let sums = |window: &String| (committed.get(window).copied().unwrap_or(0), accounted.get(window).copied().unwrap_or(0));
    let differ = windows.into_iter().map(|window| (window, sums(window))).filter(|(_, (is, should))| is != should);
    differ.map(|(window, (is, should))| format!("{window}: {is} is committed, and should be {should}")).collect()
}

/// Whether the row is of this machine.
fn is(row: &Instance, (id, label): &(u64, String)) -> bool {
    match &row.provider_id {
        Some(known) => *known == id.to_string(),
        None => row.label == *label,
    }
}

/// Machines of ours that exist.
pub(crate) async fn ours(world: &World) -> Vec<(u64, String)> {
    let tag = world.app.table().fleet(POOL).await.unwrap().run.tag;
    let begins = format!("kiln/{}.{tag}/", world.app.deployment());
    world.exist().await.into_iter().filter(|(_, label)| label.starts_with(&begins)).collect()
}

/// What is not as it must be once two looks have seen it: between the provider and the table, and in the books.
async fn wrong(world: &World) -> Vec<String> {
    let (rows, exist, mut wrong) = (world.known().await, ours(world).await, books(world).await);
    for machine in &exist {
        let rows = rows.iter().filter(|row| is(row, machine)).count();
        if rows != 1 {
            wrong.push(format!("{} is known by {rows} rows", machine.0));
        }
    }
    for row in rows.iter().filter(|row| !exist.iter().any(|machine| is(row, machine))) {
        // Whether an order was made whose answer is lost isn't known at first, and what the list lacks is about to be closed.
        if row.provider_id.is_some() && row.missing_since.is_none() {
            wrong.push(format!("{} is of a machine that isn't there", row.instance_id));
        }
    }
    wrong
}

impl World {
    /// As if two minutes had passed since the provider's list first lacked what it lacks.
    pub(crate) async fn two_minutes_pass(&self) {
        self.change(|row| row.missing_since = row.missing_since.map(|since| since - seconds(121))).await;
    }

    /// As if the time had passed that a run has which died.
    async fn turn_passes(&self) {
        let later = self.app.now() + seconds(120);
        let run = self.app.table().begin_run(POOL, later, later + 1, "t").await.unwrap().unwrap();
        self.app.table().end_run(POOL, &run).await.unwrap();
    }
}

/// Kills a run at every place where it waits, each time in a world of its own, and has others go on.
async fn dies_everywhere(what: &str, made: impl AsyncFn() -> World, after: impl AsyncFn(&World, &str)) {
    let mut deaths = 0;
    for at in 1.. {
        let mut ends = 0;
        for fate in [Fate::Applied, Fate::NotApplied] {
            let world = made().await;
            let ended = dies_at(&world.memory, at, fate, handle(&world.app, &world.vast, json!({}))).await;
            let place = format!("{what}, dead at {at} {fate:?}");
            match ended {
                Some(done) => ends += usize::from(done.unwrap()["another_runs"] != true),
                None => deaths += 1,
            }
            assert_eq!(books(&world).await, Vec::<String>::new(), "{place}");
            world.turn_passes().await;
            after(&world, &place).await;
        }
        if ends == 2 {
            println!("{what}: {deaths} deaths");
            assert!(deaths >= 30, "{deaths}");
            return;
        }
    }
}

/// A job waits, and there is no machine.
async fn a_job_waits() -> World {
    let world = World::with(Policy { desired_size: 0, ..one() }).await;
    submit(&world.app).await;
    world
}

/// However it died, there is one machine with one row, at the latest once it is known that an order was never made.
async fn one_machine_comes(world: &World, place: &str) {
    for _ in 0..2 {
        assert_ne!(world.run().await["another_runs"], true, "{place}");
    }
    assert_eq!(wrong(world).await, Vec::<String>::new(), "{place}");
    assert!(ours(world).await.len() <= 1 && world.known().await.len() == 1, "{place}: {:?} {:?}", ours(world).await, world.known().await);
    world.two_minutes_pass().await;
    for _ in 0..2 {
        world.run().await;
    }
    assert_eq!(wrong(world).await, Vec::<String>::new(), "{place}");
    let (exist, known) = (ours(world).await, world.known().await);
    assert_eq!((exist.len(), known.len(), known[0].provider_id.clone()), (1, 1, Some(exist[0].0.to_string())), "{place}: {known:?}");
}

#[tokio::test]
async fn a_run_that_rents_may_die_anywhere_and_there_is_one_machine_that_one_row_knows() {
    dies_everywhere("a rental", a_job_waits, one_machine_comes).await;
}

#[tokio::test]
async fn a_run_whose_first_offer_is_refused_may_die_anywhere_and_there_is_one_machine_that_one_row_knows() {
    let made = async || {
        let world = a_job_waits().await;
        world.fault(json!({ "kind": "unavailable", "method": "PUT" })).await;
        world
    };
    dies_everywhere("a refused offer", made, one_machine_comes).await;
}

#[tokio::test]
async fn a_run_that_gives_all_back_may_die_anywhere_and_nothing_is_left_of_them_but_what_they_cost() {
    let made = async || {
        let two = Policy { desired_size: 2, ..one() };
        let world = World::with(two.clone()).await;
        assert_eq!(world.run().await["started"], 2);
        world.set(Policy { safe_mode: true, ..two }).await;
        world
    };
    let after = async |world: &World, place: &str| {
        for _ in 0..2 {
            assert_ne!(world.run().await["another_runs"], true, "{place}");
        }
        assert_eq!((wrong(world).await, ours(world).await), (vec![], vec![]), "{place}");
        let known = world.known().await;
        assert!(known.iter().all(|row| row.stage == Stage::Lost && row.missing_since.is_some()), "{place}: {known:?}");
        world.two_minutes_pass().await;
        world.run().await;
        assert_eq!((wrong(world).await, world.known().await), (vec![], vec![]), "{place}");
        assert_eq!(world.app.table().gone(10, None).await.unwrap().0.len(), 2, "{place}");
    };
    dies_everywhere("safe mode", made, after).await;
}

/// The canary: what these tests look for is found where it is.
#[tokio::test]
async fn a_machine_without_a_row_a_cover_that_nobody_reserved_and_a_row_without_its_machine_are_found_out() {
    let world = World::with(one()).await;
    world.run().await;
    assert_eq!(wrong(&world).await, Vec::<String>::new());
    let (known, offers) = (world.known().await.remove(0), world.vast.of("vast").unwrap().offers(&one()).await.unwrap());
    let label = known.label.replace(known.instance_id.as_str(), "ins_of_nobody");
    let body = json!({ "client_id": "me", "image": "x", "disk": 10, "label": label });
    let order = world.http.put(format!("{}/api/v0/asks/{}/", world.url, offers.last().unwrap().id)).bearer_auth(KEY).json(&body);
    assert!(order.send().await.unwrap().status().is_success());
    let found = wrong(&world).await;
    assert!(found.len() == 1 && found[0].ends_with("is known by 0 rows"), "{found:?}");
    // Two looks mend it.
    for _ in 0..2 {
        world.run().await;
    }
    assert_eq!(wrong(&world).await, Vec::<String>::new());
    world.change(|row| row.covered_to += seconds(60)).await;
    let found = wrong(&world).await;
    assert!(found.len() >= 3 && found.iter().all(|found| found.contains("committed")), "{found:?}");
    world.change(|row| row.covered_to -= seconds(60)).await;
    let destroy = world.http.delete(format!("{}/api/v0/instances/{}/", world.url, known.provider_id.unwrap())).bearer_auth(KEY).json(&json!({}));
    assert!(destroy.send().await.unwrap().status().is_success());
    let found = wrong(&world).await;
    assert!(found.len() == 1 && found[0].ends_with("isn't there"), "{found:?}");
}
