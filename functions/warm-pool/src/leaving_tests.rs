//! Machines that leave by themselves, or are taken away for somebody who pays more.

use crate::POOL;
use crate::pool_tests::{World, idle, one};
use kiln_core::fleet::Stage;
use kiln_core::pool::Policy;
use kiln_core::time::{Millis, seconds};
use kiln_store::Instance;
use reqwest::Method;
use serde_json::{Value, json};

/// As its worker's heartbeat does it.
async fn says_that_it_leaves(world: &World, instance: &Instance, now: Millis) {
    world.change(|row| row.token_hash = Some("its token".into())).await;
    let said = world.app.table().beat(&instance.instance_id, "its token", Stage::Draining, None, now).await.unwrap().unwrap();
    assert!(said.drain && !said.was_asked_to_go() && said.drained_at == Some(now), "{said:?}");
}

#[tokio::test]
async fn a_machine_that_says_that_it_leaves_is_given_back_and_replaced_and_fills_no_room() {
    let world = World::with(Policy { max: 1, ..one() }).await;
    world.run().await;
    let (now, first) = (world.app.now(), world.known().await.remove(0));
    world.change(|instance| idle(instance, now, 10)).await;
    // It has a heartbeat's time to go by itself, and is replaced at once.
    says_that_it_leaves(&world, &first, now).await;
    assert_eq!((world.run().await["started"].clone(), world.exist().await.len()), (json!(1), 2));
    let heartbeat = seconds(world.app.settings().heartbeat_s);
    world.change(|instance| instance.drained_at = instance.drained_at.map(|at| at - heartbeat)).await;
    world.run().await;
    assert!(world.exist().await.iter().all(|(id, _)| Some(id.to_string()) != first.provider_id), "it is paid for nothing");
    // What it says afterwards changes nothing.
    let after = world.app.table().beat(&first.instance_id, "its token", Stage::Ready, None, now).await.unwrap().unwrap();
    assert!(after.drain);
}

#[tokio::test]
async fn a_machine_that_says_that_it_leaves_and_is_taken_away_counts_as_taken_and_one_that_was_asked_to_go_does_not() {
    for asked in [false, true] {
        let world = World::with(spot()).await;
        world.run().await;
        let (now, known) = (world.app.now(), world.known().await.remove(0));
        world.change(|instance| idle(instance, now, 10)).await;
        if asked {
            world.app.table().drain(&known.instance_id, now - 1).await.unwrap();
            world.change(|row| row.token_hash = Some("its token".into())).await;
            assert!(world.app.table().beat(&known.instance_id, "its token", Stage::Draining, None, now).await.unwrap().unwrap().was_asked_to_go());
        } else {
            says_that_it_leaves(&world, &known, now).await;
        }
        world.control(Method::POST, &format!("instances/{}/outbid", known.provider_id.unwrap()), json!({})).await;
        world.run().await;
        assert_eq!(world.app.table().fleet(POOL).await.unwrap().run.history.spot.paused, !asked);
    }
}

pub(crate) fn spot() -> Policy {
    Policy { interruptible: true, ..one() }
}

#[tokio::test]
async fn interruptible_machines_come_first_by_a_bid_and_their_whole_bid_is_covered() {
    let world = World::with(spot()).await;
    assert_eq!(world.run().await["started"], 1);
    let known = world.known().await;
    let truth = world.control(Method::GET, "machines", Value::Null).await;
    let machine = &truth["machines"][0];
    assert!(known[0].interruptible && machine["is_bid"] == true, "{machine}");
    // What it costs in truth is what was reserved for it, to the rounding.
    let price = machine["gpu_price"].as_f64().unwrap() + machine["disk_price"].as_f64().unwrap();
    assert!((known[0].rate.microusd_per_hour as f64 - price * 1e6).abs() < 2.0, "{price} {:?}", known[0].rate);
    let stays = World::with(one()).await;
    stays.run().await;
    let known_on_demand = stays.known().await;
    assert!(!known_on_demand[0].interruptible);
}

#[tokio::test]
async fn a_machine_that_is_held_by_a_bid_is_not_taken_away_by_our_own_next_rental() {
    // Its provider offers it on all the same, on demand and for a higher bid.
    let many = World::with(spot()).await;
    many.run().await;
    let best = many.control(Method::GET, "machines", Value::Null).await["machines"][0]["ask_id"].as_u64().unwrap();
    let mut config = kiln_vast_stand_in::Config::new(crate::pool_tests::KEY);
    config.offers.retain(|offer| offer.id == best);
    let world = World::at(config, spot()).await;
    assert_eq!(world.run().await["started"], 1);
    assert!(world.known().await[0].interruptible);
    world.set(Policy { desired_size: 2, ..spot() }).await;
    let done = world.run().await;
    assert_eq!((done["started"].clone(), world.exist().await.len()), (json!(0), 1), "{done}");
    let truth = world.control(Method::GET, "machines", Value::Null).await;
    assert_eq!(truth["machines"][0]["holds_gpu"], true, "{truth}");
    assert!(world.app.table().fleet(POOL).await.unwrap().run.told.iter().any(|told| told.text.contains("holds already")));
    // Another machine of the same host is another machine.
    let mut config = kiln_vast_stand_in::Config::new(crate::pool_tests::KEY);
    config.offers.retain(|offer| offer.id == best);
    let other = kiln_vast_stand_in::Offer { id: best + 100_000, machine_id: config.offers[0].machine_id + 100_000, ..config.offers[0].clone() };
    config.offers.push(other);
    let world = World::at(config, Policy { desired_size: 2, ..spot() }).await;
    assert_eq!(world.run().await["started"], 2);
    world.set(Policy { desired_size: 3, ..spot() }).await;
    assert_eq!((world.run().await["started"].clone(), world.exist().await.len()), (json!(0), 2));
}

#[tokio::test]
async fn a_machine_that_was_outbid_is_given_back_and_replaced_by_one_that_stays() {
    let world = World::with(spot()).await;
    world.run().await;
    let (id, known) = (world.exist().await[0].0, world.known().await);
    let now = world.app.now();
    world.change(|instance| idle(instance, now, 10)).await;
    world.control(Method::POST, &format!("instances/{id}/outbid"), json!({})).await;
    // Its disk would cost for ever. One of one was taken: the next one is no bid.
    assert_eq!(world.run().await["started"], 1);
    let left = world.known().await;
    let (old, new): (Vec<&Instance>, Vec<&Instance>) = left.iter().partition(|instance| instance.instance_id == known[0].instance_id);
    assert!(old[0].taken_at.is_some() && old[0].stage == Stage::Lost && old[0].token_hash.is_none(), "{old:?}");
    assert_eq!((new.len(), new[0].interruptible), (1, false));
    assert!(!world.exist().await.iter().any(|(there, _)| *there == id), "it stands there, stopped");
    let run = world.app.table().fleet(POOL).await.unwrap().run;
    assert!(run.told.iter().any(|told| told.reason == "taken_away") && run.history.spot.paused, "{run:?}");
    // Counted once, and closed as any other.
    world.missing_for(old[0], seconds(61)).await;
    world.run().await;
    assert_eq!((world.known().await.len(), world.exist().await.len()), (1, 1));
    let share = world.app.table().fleet(POOL).await.unwrap().run.history.spot.share();
    assert!(share > 0.2 && share <= 0.25, "{share}");
}

/// A job that the machine works on, with a lease that is over.
async fn works_on(world: &World, instance: &Instance) -> (kiln_store::Account, kiln_core::job::Job) {
    use kiln_core::ids::{AccountId, JobId};
    use kiln_store::table::to_item;
    let (app, now) = (&world.app, world.app.now());
    let (account, job) = (AccountId::new(now, 1), JobId::new(now, 1));
    let mut row = kiln_store::Account::new(account.clone(), kiln_store::AccountKind::Person, 0, now);
    row.counters.running = 1;
    let draft = kiln_core::job::Job::draft(job.clone(), account.clone(), "noop", "image", 900, now);
    let mut job = kiln_core::machine::submit(draft, &row.counters, app.settings(), now).after;
    (job.state, job.attempt, job.lease_until) = (kiln_core::job::State::Running, 1, Some(now - 1));
    (job.instance_id, job.host, job.next_check_at) = (Some(instance.instance_id.clone()), Some(instance.host.clone()), Some(now - 1));
    for item in [to_item(&kiln_store::keys::account(&account), &row), to_item(&kiln_store::keys::job(&account, &job.job_id), &job)] {
        assert!(app.table().put(item.unwrap(), None).await.unwrap());
    }
    world
        .change(|instance| {
            (instance.slot_job, instance.slot_account, instance.slot_attempt) = (Some(job.job_id.clone()), Some(account.clone()), Some(1));
        })
        .await;
    (row, job)
}

#[tokio::test]
async fn a_job_whose_machine_was_taken_away_loses_no_try_and_its_host_is_not_blamed() {
    use kiln_http::flow::end_preempted;
    for listed in [true, false] {
        let world = World::with(spot()).await;
        world.run().await;
        let (id, known, now) = (world.exist().await[0].0, world.known().await.remove(0), world.app.now());
        world.change(|instance| idle(instance, now, 10)).await;
        let (account, job) = works_on(&world, &known).await;
        // A lease that is over says nothing of the machine.
        assert_eq!(end_preempted(&world.app, &job, Some(&account)).await.unwrap(), None);
        // It stands there, outbid; or it is gone from one look to the next, which at Vast.ai is no taking away.
        let what = if listed { "outbid" } else { "vanish" };
        world.control(Method::POST, &format!("instances/{id}/{what}"), json!({})).await;
        world.run().await;
        let row = async || world.app.table().instance(&known.instance_id).await.unwrap();
        if !listed {
            world.missing_for(&known, seconds(61)).await;
            world.run().await;
            assert_eq!(row().await, None);
            assert_eq!(end_preempted(&world.app, &job, Some(&account)).await.unwrap(), None);
            continue;
        }
        for _ in 0..2 {
            world.missing_for(&known, seconds(61)).await;
            world.run().await;
            assert!(row().await.unwrap().taken_at.is_some(), "{what}: its row is gone before its job knows");
        }
        assert_eq!(end_preempted(&world.app, &job, Some(&account)).await.unwrap(), Some(true));
        let after = world.app.table().job(&account.account_id, &job.job_id).await.unwrap().unwrap();
        assert_eq!((after.state.as_str(), after.attempt, after.failures, after.failed_on.len()), ("queued", 1, 0, 0));
        assert_eq!(end_preempted(&world.app, &job, Some(&account)).await.unwrap(), Some(false), "it has moved on");
        // It was told: now the row goes.
        assert_eq!(row().await.unwrap().slot(), None);
        world.run().await;
        assert!(row().await.is_none(), "{what}");
        // Counted once.
        let share = world.app.table().fleet(POOL).await.unwrap().run.history.spot.share();
        assert!(share > 0.0 && share <= 0.25, "{share}");
    }
}

#[tokio::test]
async fn a_job_whose_machine_the_pool_ended_loses_no_try_and_those_ended_for_their_cover_are_counted() {
    use kiln_http::flow::end_preempted;
    for what in ["safe mode", "sent away", "cover"] {
        let world = World::with(one()).await;
        world.run().await;
        let (known, now) = (world.known().await.remove(0), world.app.now());
        world.change(|instance| idle(instance, now, 10)).await;
        let (account, job) = works_on(&world, &known).await;
        match what {
            "safe mode" => world.set(Policy { safe_mode: true, ..one() }).await,
            "sent away" => {
                let sent = world.app.table().send_away(&known.instance_id, true, now, &world.line("pool.terminate")).await;
                assert_eq!(sent.unwrap(), Ok(()));
            }
            // With three looks left it goes, whatever it does.
            _ => world.change(|instance| instance.covered_to = now + seconds(170)).await,
        }
        world.run().await;
        assert!(world.exist().await.iter().all(|(id, _)| Some(id.to_string()) != known.provider_id), "{what}");
        let row = async || world.app.table().instance(&known.instance_id).await.unwrap();
        let ended = row().await.unwrap();
        assert!(ended.stage == Stage::Lost && ended.ended_by_us_at.is_some() && ended.token_hash.is_none(), "{what}: {ended:?}");
        for _ in 0..2 {
            world.missing_for(&known, seconds(61)).await;
            world.run().await;
            assert!(row().await.is_some_and(|row| row.slot().is_some()), "{what}: its row is gone before its job knows");
        }
        assert_eq!(end_preempted(&world.app, &job, Some(&account)).await.unwrap(), Some(true), "{what}");
        let after = world.app.table().job(&account.account_id, &job.job_id).await.unwrap().unwrap();
        assert_eq!((after.state.as_str(), after.attempt, after.failures, after.failed_on.len()), ("queued", 1, 0, 0), "{what}");
        world.missing_for(&known, seconds(61)).await;
        world.run().await;
        assert_eq!(row().await, None, "{what}");
        let run = world.app.table().fleet(POOL).await.unwrap().run;
        assert_eq!((run.killed_for_cover, run.avoid.contains_key(&known.host)), (u64::from(what == "cover"), false), "{what}: {run:?}");
    }
}

#[tokio::test]
async fn a_machine_without_a_job_that_is_ended_for_its_cover_is_no_job_that_was_killed() {
    let world = World::with(one()).await;
    world.run().await;
    let (id, now) = (world.exist().await[0].0, world.app.now());
    world
        .change(|instance| {
            idle(instance, now, 10);
            instance.covered_to = now + seconds(170);
        })
        .await;
    world.run().await;
    assert!(!world.exist().await.iter().any(|(there, _)| *there == id));
    let run = world.app.table().fleet(POOL).await.unwrap().run;
    assert!(run.killed_for_cover == 0 && run.told.iter().any(|told| told.reason == "cover_ends"), "{run:?}");
}
