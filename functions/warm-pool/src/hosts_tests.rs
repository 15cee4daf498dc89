//! Which hosts are left, and why: by machines that ended before they were any use, and by boot tokens that two hold.

use crate::leaving_tests::spot;
use crate::pool_tests::{World, idle, one};
use crate::providers_tests::Own;
use crate::{POOL, Providers};
use kiln_core::fleet::Stage;
use kiln_core::pool::Policy;
use kiln_core::time::seconds;
use kiln_store::{Instance, RunState};
use reqwest::Method;
use serde_json::json;
use std::sync::Mutex;

async fn left(world: &World) -> RunState {
    world.app.table().fleet(POOL).await.unwrap().run
}

/// The container of the one machine, which had begun, ends.
async fn dies(world: &World) {
    world.control(Method::POST, "clock", json!({ "advance_s": 120 })).await;
    world.control(Method::POST, &format!("instances/{}/die", world.exist().await[0].0), json!({})).await;
    world.run().await;
}

/// The one machine ends as its worker's parent ends it, so that no list shows it, and is believed gone.
async fn gives_itself_back(world: &World) {
    let known = world.known().await.remove(0);
    world.vast.of("vast").unwrap().destroy(known.provider_id.as_ref().unwrap()).await.unwrap();
    world.run().await;
    world.missing_for(&known, seconds(61)).await;
    world.run().await;
}

#[tokio::test]
async fn a_host_whose_machine_gave_itself_back_before_it_was_ready_is_not_rented_again() {
    let world = World::with(one()).await;
    world.run().await;
    let mut hosts = vec![world.known().await.remove(0).host];
    // Its worker has registered, and failed its self-test.
    let now = world.app.now();
    world.change(|instance| (instance.stage, instance.registered_at, instance.heartbeat_at) = (Stage::Loading, Some(now), Some(now))).await;
    for _ in 0..3 {
        gives_itself_back(&world).await;
        let run = left(&world).await;
        let host = hosts.last().unwrap();
        assert_eq!(run.avoid_why.get(host).map(String::as_str), Some("ended_before_ready"), "{run:?}");
        // A setting that was wrong is mended within the hour.
        assert!(run.avoid[host] > world.app.now() && run.avoid[host] <= world.app.now() + seconds(3_600));
        let next = world.known().await.remove(0).host;
        assert!(!hosts.contains(&next), "{next} is rented again");
        hosts.push(next);
    }
}

#[tokio::test]
async fn a_host_whose_container_ended_before_it_was_ready_is_left_at_once() {
    let world = World::with(one()).await;
    world.run().await;
    let host = world.known().await.remove(0).host;
    dies(&world).await;
    assert_eq!(left(&world).await.avoid_why.get(&host).map(String::as_str), Some("ended_before_ready"));
    // Silent, since it has ended, it is left for no longer.
    let now = world.app.now();
    world.change(|instance| (instance.stage, instance.heartbeat_at) = (Stage::Loading, Some(now - seconds(3_600)))).await;
    world.run().await;
    let run = left(&world).await;
    assert!(run.avoid_why[&host] == "ended_before_ready" && run.avoid[&host] <= world.app.now() + seconds(3_600), "{run:?}");
}

#[tokio::test]
async fn what_we_ended_what_was_ready_and_the_operator_s_own_leave_no_host() {
    // Ended by us.
    let world = World::with(one()).await;
    world.run().await;
    world.set(Policy { safe_mode: true, ..one() }).await;
    world.run().await;
    let known = world.known().await.remove(0);
    world.run().await;
    // Its tokens are revoked, so it is silent.
    let now = world.app.now();
    world.set(Policy { desired_size: 0, ..one() }).await;
    world.change(|instance| instance.requested_at = now - seconds(3_600)).await;
    world.run().await;
    world.missing_for(&known, seconds(61)).await;
    world.run().await;
    assert!(world.known().await.is_empty() && left(&world).await.avoid.is_empty());
    // Ready once.
    let world = World::with(one()).await;
    world.run().await;
    let now = world.app.now();
    world.change(|instance| idle(instance, now, 10)).await;
    gives_itself_back(&world).await;
    assert!(left(&world).await.avoid.is_empty());
    // The operator's own.
    let mut world = World::with(one()).await;
    world.vast = Providers::new(vec![Box::new(Own(1, Mutex::default()))]);
    world.run().await;
    world.vast.of("local").unwrap().destroy(world.known().await[0].provider_id.as_ref().unwrap()).await.unwrap();
    world.run().await;
    assert!(left(&world).await.avoid.is_empty());
}

#[tokio::test]
async fn a_host_whose_boot_token_was_used_twice_is_left_and_one_that_an_operator_sent_away_is_not() {
    let world = World::with(Policy { desired_size: 2, ..one() }).await;
    world.run().await;
    let now = world.app.now();
    let registered = |instance: &mut Instance| (instance.boot_used, instance.token_hash) = (Some("the hash".into()), Some("its token's".into()));
    world.change(registered).await;
    world.change(|instance| instance.heartbeat_at = Some(now)).await;
    let known = world.known().await;
    assert_ne!(known[0].host, known[1].host);
    let table = world.app.table();
    assert!(!table.boot_again(&known[0].instance_id, "another").await.unwrap());
    assert!(table.boot_again(&known[0].instance_id, "the hash").await.unwrap());
    table.send_away(&known[1].instance_id, true, now, &world.line("pool.terminate")).await.unwrap().unwrap();
    world.run().await;
    let run = left(&world).await;
    assert_eq!(run.avoid_why.into_iter().collect::<Vec<_>>(), [(known[0].host.clone(), "boot_token_twice".to_owned())]);
    assert!(run.avoid[&known[0].host] > now + seconds(80_000));
    // Neither of the two that hold it keeps the machine.
    assert!(world.exist().await.iter().all(|(id, _)| Some(id.to_string()) != known[0].provider_id), "it still exists at its provider");
    let there = world.known().await;
    assert!(there.iter().all(|instance| known.contains(instance) || instance.stage == Stage::Lost || instance.host != known[0].host), "{there:?}");
}

#[tokio::test]
async fn a_bid_that_ended_by_itself_or_before_it_was_ready_is_not_one_that_was_taken_away() {
    let taken = async |world: &World| left(world).await.history.spot.taken_at.is_some();
    let bid = async || {
        let world = World::with(spot()).await;
        world.run().await;
        assert!(world.known().await[0].interruptible);
        world
    };
    // Its container has ended by itself; and it gave itself back, at the end of its longest life.
    for listed in [true, false] {
        let world = bid().await;
        let now = world.app.now();
        world.change(|instance| idle(instance, now, 10)).await;
        if listed {
            dies(&world).await;
        } else {
            gives_itself_back(&world).await;
        }
        assert!(!taken(&world).await && left(&world).await.avoid.is_empty(), "listed: {listed}");
    }
    // Outbid before it was of any use.
    let world = bid().await;
    let host = world.known().await.remove(0).host;
    world.control(Method::POST, &format!("instances/{}/outbid", world.exist().await[0].0), json!({})).await;
    world.run().await;
    assert!(!taken(&world).await && left(&world).await.avoid.contains_key(&host));
}

#[tokio::test]
async fn what_became_of_a_machine_is_remembered_once_of_its_gpu_and_of_its_host_where_it_was_no_wish_of_ours() {
    for fails in [true, false] {
        let world = World::with(one()).await;
        world.run().await;
        let (known, now) = (world.known().await.remove(0), world.app.now());
        if fails {
            world.change(|instance| (instance.requested_at, instance.boot_expires_at) = (now - seconds(700), now - 1)).await;
        } else {
            world.set(Policy { safe_mode: true, ..one() }).await;
        }
        world.run().await;
        for _ in 0..3 {
            world.missing_for(&known, seconds(61)).await;
            world.run().await;
        }
        assert!(world.known().await.iter().all(|instance| instance.instance_id != known.instance_id));
        let (run, gpu) = (left(&world).await, known.gpu.unwrap());
        let (here, elsewhere) = (run.reliability.of("vast", &gpu, &known.host, 0.9), run.reliability.of("vast", &gpu, "another", 0.9));
        if fails {
            // Of one trial beside twenty that are believed.
            assert!((elsewhere - 0.9 * 20.0 / 21.0).abs() < 1e-6 && here < elsewhere, "{here} {elsewhere} {run:?}");
        } else {
            assert_eq!((here, elsewhere), (0.9, 0.9), "{run:?}");
        }
    }
}
