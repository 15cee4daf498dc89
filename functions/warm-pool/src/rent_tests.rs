//! Which offers are asked for, one after the other, and until when.

use crate::deadline::Deadline;
use crate::pool_tests::{KEY, World, one};
use crate::{POOL, handle_until};
use kiln_core::pool::Policy;
use kiln_core::pool::budget::cost_until;
use kiln_core::pool::offers::{Learned, Offer, ranked};
use kiln_vast_stand_in::Config;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What a world's provider offers, the best first.
async fn offers(world: &World, policy: &Policy) -> Vec<Offer> {
    let all = world.vast.of("vast").unwrap().offers(policy).await.unwrap();
    ranked(&all, policy, &Learned::default(), world.app.now()).into_iter().cloned().collect()
}

async fn orders(world: &World) -> Vec<u64> {
    world.came(0).await.into_iter().filter(|(method, _)| method == "PUT").map(|(_, status)| status).collect()
}

#[tokio::test]
async fn an_offer_that_can_t_be_had_is_passed_over_for_the_next_in_the_same_look_and_its_host_is_left() {
    for kind in ["gone", "unavailable"] {
        let world = World::with(one()).await;
        let best = offers(&world, &one()).await;
        world.fault(json!({ "kind": kind, "method": "PUT", "times": 2 })).await;
        let done = world.run().await;
        assert_eq!((done["started"].clone(), done["failed"].clone(), orders(&world).await), (json!(1), json!(0), vec![410, 410, 200]), "{kind}");
        // What was refused has left neither row nor reservation.
        let known = world.known().await;
        let covered = cost_until(known[0].rate, known[0].requested_at, known[0].covered_to);
        assert_eq!((known.len(), world.exist().await.len()), (1, 1));
        let [hour, day, _] = kiln_core::pool::budget::windows(world.app.now());
        let committed = world.app.table().committed(world.app.now()).await.unwrap();
        assert!(committed[&day] <= covered && committed[&hour] <= covered, "{committed:?} {covered}");
        let run = world.app.table().fleet(POOL).await.unwrap().run;
        assert_eq!(run.avoid_why.get(&best[0].host).map(String::as_str), Some("none_there"), "{run:?}");
        assert!(!run.avoid.contains_key(&known[0].host) && run.avoid.len() == 2);
    }
}

#[tokio::test]
async fn where_nothing_can_be_had_one_decision_asks_for_each_host_once_and_says_why() {
    let world = World::with(one()).await;
    let hosts: std::collections::BTreeSet<_> = offers(&world, &one()).await.into_iter().map(|offer| offer.host).collect();
    world.fault(json!({ "kind": "unavailable", "method": "PUT", "until_cleared": true })).await;
    let done = world.run().await;
    assert_eq!((done["started"].clone(), done["failed"].clone(), orders(&world).await.len()), (json!(0), json!(1), hosts.len()));
    assert_eq!((world.known().await.len(), world.hour().await), (0, 0));
    let run = world.app.table().fleet(POOL).await.unwrap().run;
    assert!(run.told.iter().any(|told| told.reason == "not_rented" && told.text.contains("no_such_ask")), "{run:?}");
}

#[tokio::test]
async fn where_the_best_offer_is_beyond_the_budget_a_cheaper_one_is_rented() {
    // The dearer one does more for a dollar.
    let offer = |id: u64, dph_base: f64, dlperf: f64| kiln_vast_stand_in::Offer {
        id,
        machine_id: id,
        host_id: id,
        datacenter: true,
        dph_base,
        dlperf,
        ..Default::default()
    };
    let world = World::at(Config { offers: vec![offer(1, 0.2, 20.0), offer(2, 0.5, 100.0), offer(3, 1.0, 400.0)], ..Config::new(KEY) }, one()).await;
    let offers = offers(&world, &one()).await;
    let first_ms = crate::look::deadlines(&world.app).first_ms();
    let first = |offer: &Offer| cost_until(offer.rate, 0, first_ms);
    let cheaper: Vec<&Offer> = offers.iter().filter(|offer| first(offer) < first(&offers[0])).collect();
    assert_eq!(cheaper.len(), 2);
    let budget = first(&offers[0]) - 1;
    world.set(Policy { budget_month_microusd: Some(budget), ..one() }).await;
    let done = world.run().await;
    assert_eq!((done["started"].clone(), done["failed"].clone(), orders(&world).await), (json!(1), json!(0), vec![200]));
    let known = world.known().await;
    // The best of those that fit, and not the cheapest of all.
    assert_eq!((known.len(), known[0].rate), (1, cheaper[0].rate));
    assert!(cost_until(known[0].rate, known[0].requested_at, known[0].covered_to) <= budget);
    // Nothing fits: nothing is asked for, and the reason is the budget.
    let poor = World::with(Policy { desired_size: 3, budget_month_microusd: Some(1_000), ..one() }).await;
    let done = poor.run().await;
    assert_eq!((done["started"].clone(), done["failed"].clone(), orders(&poor).await.len()), (json!(0), json!(3), 0));
    let told = poor.app.table().fleet(POOL).await.unwrap().run.told;
    assert!(told.iter().filter(|told| told.reason == "not_rented").all(|told| told.text.contains("month's budget")), "{told:?}");
}

#[tokio::test]
async fn no_order_is_begun_that_could_be_cut_off_and_the_next_look_goes_on() {
    let many = Policy { desired_size: 12, max: 12, interruptible: false, ..Policy::default() };
    let config = Config { offers: kiln_vast_stand_in::generate(7, 200), ..Config::new(KEY) };
    let mut world = World::at(config, many).await;
    world.paced(700, 2_000, 10, false).await;
    let takes = world.vast.of("vast").unwrap().order_takes();
    // In two seconds there are three orders at most.
    let (begun, left) = (Instant::now(), Duration::from_secs(2));
    let done = handle_until(&world.app, &world.vast, json!({}), Deadline::within(takes + left)).await.unwrap();
    let first = done["started"].as_u64().unwrap();
    assert!(first <= 3 && begun.elapsed() < takes, "{done} in {:?}", begun.elapsed());
    assert_eq!((done["failed"].clone(), orders(&world).await.len() as u64), (json!(0), first));
    // Its turn is given back, and when the next order may come is known to the next run.
    assert_ne!(world.run().await["another_runs"], true);
    assert_eq!(world.exist().await.len(), 12);
    assert!(orders(&world).await.iter().all(|status| *status == 200));
    // With no time at all nothing is asked for.
    world.set(Policy { desired_size: 13, max: 13, interruptible: false, ..Policy::default() }).await;
    let done = handle_until(&world.app, &world.vast, json!({}), Deadline::within(takes)).await.unwrap();
    let told = world.app.table().fleet(POOL).await.unwrap().run.told;
    assert_eq!((done["started"].clone(), done["failed"].clone(), world.exist().await.len()), (json!(0), json!(0), 12), "{told:?}");
}

#[tokio::test]
async fn a_provider_that_never_answers_keeps_no_run_from_ending_in_time_with_its_turn_given_back() {
    let world = World::with(one()).await;
    world.run().await;
    for (method, left_s) in [("GET", 6), ("DELETE", 9)] {
        world.set(Policy { safe_mode: true, ..one() }).await;
        world.fault(json!({ "kind": "delay", "method": method, "ms": 60_000, "until_cleared": true })).await;
        let begun = Instant::now();
        handle_until(&world.app, &world.vast, json!({}), Deadline::within(Duration::from_secs(left_s))).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(left_s + 3), "{method}: {:?}", begun.elapsed());
        world.control(Method::DELETE, "faults", Value::Null).await;
        assert_eq!(world.exist().await.len(), 1, "{method}");
    }
    // The next look has its turn, and does what was left.
    assert_eq!(world.run().await["failed"], 0);
    assert_eq!(world.exist().await.len(), 0);
}

#[tokio::test]
async fn what_machines_were_measured_to_do_decides_which_is_ordered_next() {
    use kiln_store::table::{n, to_item};
    let offer = |id: u64, gpu: &str, dlperf: f64| kiln_vast_stand_in::Offer {
        id,
        machine_id: id,
        host_id: id,
        gpu_name: gpu.into(),
        datacenter: true,
        dph_base: 0.4,
        dlperf,
        ..Default::default()
    };
    let (said, true_one) = ("RTX 3090", "RTX 4090");
    for measured in [false, true] {
        let offers = vec![offer(1, said, 100.0), offer(2, said, 100.0), offer(3, true_one, 50.0), offer(4, true_one, 50.0)];
        let world = World::at(Config { offers, ..Config::new(KEY) }, Policy { gpus: vec![true_one.into()], ..one() }).await;
        assert_eq!(world.run().await["started"], 1);
        world.set(Policy { desired_size: 2, ..one() }).await;
        assert_eq!(world.run().await["started"], 1);
        let gpus = async || {
            let mut gpus: Vec<String> = world.known().await.into_iter().filter_map(|instance| instance.gpu).collect();
            gpus.sort();
            gpus
        };
        assert_eq!(gpus().await, [said, true_one], "what its provider says of it comes first");
        for instance in world.known().await.into_iter().filter(|_| measured) {
            let mut item = to_item(&kiln_store::keys::instance(&instance.instance_id), &instance).unwrap();
            // Ten jobs, of twenty seconds each and of five.
            let ms: u64 = if instance.gpu.as_deref() == Some(said) { 200_000 } else { 50_000 };
            item.extend([("t.noop.r7".to_owned(), n(10)), ("t.noop.rs".to_owned(), n(ms))]);
            assert!(world.app.table().put(item, None).await.unwrap());
        }
        world.set(Policy { desired_size: 3, ..one() }).await;
        assert_eq!(world.run().await["started"], 1);
        assert_eq!(gpus().await, if measured { [said, true_one, true_one] } else { [said, said, true_one] });
    }
}
