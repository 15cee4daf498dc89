//! Machines of the operator's own in whole runs, beside rented ones: nothing lists them, and nothing but a word or silence ends them.

use crate::POOL;
use crate::pool_tests::{World, idle, one};
use kiln_core::fleet::Stage;
use kiln_core::ids::{AccountId, InstanceId, JobId};
use kiln_core::pool::Policy;
use kiln_core::time::{Millis, seconds};
use kiln_store::{Instance, OWN};
use serde_json::json;

/// None is wanted for nothing.
fn none() -> Policy {
    Policy { desired_size: 0, ..one() }
}

/// Registered by hand a moment ago.
async fn registered(world: &World) -> InstanceId {
    // The first run gives the fleet its tag.
    world.run().await;
    let (app, now) = (&world.app, world.app.now());
    let id = InstanceId::new(now, app.random());
    let label = format!("{}{POOL}/{id}", app.table().fleet(POOL).await.unwrap().run.ours(app.deployment()));
    let row = Instance { trusted: true, ..Instance::intent(id.clone(), POOL, OWN, label, "the boot token's".into(), now + seconds(3_600), now) };
    assert!(app.table().add_own(&row, &world.line("pool.machine")).await.unwrap());
    id
}

/// The same, whose worker is ready, and last spoke so long ago.
async fn ready(world: &World, silent: Millis) -> InstanceId {
    let (id, now) = (registered(world).await, world.app.now());
    change(world, |row| {
        idle(row, now, 10_000);
        (row.heartbeat_at, row.token_hash) = (Some(now - silent), Some("its token's".into()));
    })
    .await;
    id
}

/// Changes the own ones alone.
async fn change(world: &World, change: impl Fn(&mut Instance)) {
    world
        .change(|row| {
            if row.is_own() {
                change(row)
            }
        })
        .await;
}

async fn own(world: &World) -> Option<Instance> {
    world.known().await.into_iter().find(Instance::is_own)
}

/// What the last run told of a machine.
async fn told(world: &World, id: &InstanceId) -> Vec<(String, String)> {
    let told = world.app.table().fleet(POOL).await.unwrap().run.told;
    told.into_iter().filter(|told| told.instance_id.as_ref() == Some(id)).map(|told| (told.what, told.reason)).collect()
}

#[tokio::test]
async fn an_own_machine_counts_while_it_speaks_and_is_not_given_back_for_want_of_work() {
    let world = World::with(none()).await;
    ready(&world, 0).await;
    world.set(one()).await;
    assert_eq!((world.run().await["started"].clone(), world.exist().await.len()), (json!(0), 0), "another was rented beside it");
    // Idle for hours, where none is wanted, and where none may be.
    for policy in [none(), Policy { max: 0, ..none() }] {
        world.set(policy).await;
        assert_eq!(world.run().await["stopped"], 0);
        assert!(own(&world).await.is_some_and(|row| !row.drain && row.stage == Stage::Ready));
    }
    // A rented one goes rather.
    world.set(Policy { desired_size: 2, ..one() }).await;
    assert_eq!(world.run().await["started"], 1);
    world.set(one()).await;
    let now = world.app.now();
    world
        .change(|row| {
            if !row.is_own() {
                idle(row, now, 901)
            }
        })
        .await;
    assert_eq!((world.run().await["stopped"].clone(), world.exist().await.len()), (json!(1), 0));
    assert!(own(&world).await.is_some_and(|row| !row.drain));
}

#[tokio::test]
async fn an_own_machine_that_has_not_come_yet_is_no_supply_and_its_row_ends_with_its_token() {
    let world = World::with(none()).await;
    let id = registered(&world).await;
    world.set(one()).await;
    assert_eq!(world.run().await["started"], 1, "jobs would wait for a machine that may never come");
    let now = world.app.now();
    change(&world, |row| row.boot_expires_at = now + seconds(60)).await;
    world.run().await;
    assert!(own(&world).await.is_some());
    change(&world, |row| row.boot_expires_at = now - 1).await;
    world.run().await;
    assert_eq!((own(&world).await, told(&world, &id).await), (None, vec![("destroy".to_owned(), "boot_too_long".to_owned())]));
    assert_eq!(world.exist().await.len(), 1);
}

#[tokio::test]
async fn a_silent_own_machine_counts_no_more_keeps_its_token_for_a_quarter_of_an_hour_and_then_its_row_is_closed() {
    let world = World::with(none()).await;
    let id = ready(&world, seconds(880)).await;
    world.set(one()).await;
    assert_eq!(world.run().await["started"], 1, "a silent machine counts as supply");
    assert!(own(&world).await.is_some_and(|row| row.token_hash.is_some() && row.stage == Stage::Ready));
    let now = world.app.now();
    change(&world, |row| row.heartbeat_at = Some(now - seconds(900))).await;
    // Nobody looked for an hour: it may have been the whole system that was silent.
    let mut run = world.app.table().fleet(POOL).await.unwrap().run;
    run.ran_at = Some(now - seconds(3_600));
    world.app.table().end_run(POOL, &run).await.unwrap();
    world.run().await;
    assert!(own(&world).await.is_some(), "an outage of ours closed it");
    world.run().await;
    assert_eq!((own(&world).await, told(&world, &id).await), (None, vec![("destroy".to_owned(), "silent".to_owned())]));
}

#[tokio::test]
async fn an_own_machine_that_is_sent_away_finishes_its_job_and_its_row_and_token_end() {
    let world = World::with(none()).await;
    let id = ready(&world, 0).await;
    let (table, now) = (world.app.table(), world.app.now());
    let account = AccountId::new(now, 1);
    change(&world, |row| (row.slot_job, row.slot_account, row.slot_attempt) = (Some(JobId::new(now, 1)), Some(account.clone()), Some(1))).await;
    table.send_away(&id, false, now, &world.line("pool.terminate")).await.unwrap().unwrap();
    world.run().await;
    change(&world, |row| row.drained_at = Some(now - seconds(61))).await;
    world.run().await;
    assert!(own(&world).await.is_some_and(|row| row.drain && row.slot_job.is_some()), "it was not let finish");
    change(&world, |row| (row.slot_job, row.slot_account, row.slot_attempt) = (None, None, None)).await;
    world.run().await;
    assert_eq!(own(&world).await, None);
    assert!(table.beat(&id, "its token's", Stage::Ready, None, now).await.unwrap().is_none(), "its token works");
    // At once.
    let id = ready(&world, 0).await;
    table.send_away(&id, true, now, &world.line("pool.terminate")).await.unwrap().unwrap();
    assert!(table.beat(&id, "its token's", Stage::Ready, None, now).await.unwrap().is_none());
    world.run().await;
    assert_eq!((own(&world).await, told(&world, &id).await), (None, vec![]));
}

#[tokio::test]
async fn safe_mode_ends_own_machines_those_that_may_come_too() {
    let world = World::with(none()).await;
    ready(&world, 0).await;
    registered(&world).await;
    world.set(Policy { safe_mode: true, ..none() }).await;
    assert_eq!(world.run().await["stopped"], 2);
    let known = world.known().await;
    assert!(known.iter().all(|row| row.stage == Stage::Lost && row.token_hash.is_none() && row.boot_hash.is_none()), "{known:?}");
    world.run().await;
    assert_eq!(world.known().await, []);
}

#[tokio::test]
async fn an_own_machine_that_is_restarted_takes_jobs_again_unless_it_was_sent_away_meanwhile() {
    let world = World::with(none()).await;
    let id = ready(&world, 0).await;
    let (table, now) = (world.app.table(), world.app.now());
    for sent_away in [false, true] {
        let left = table.beat(&id, "its token's", Stage::Draining, None, now).await.unwrap().unwrap();
        assert!(left.left_by_itself() && left.leaves_at == Some(now), "{left:?}");
        change(&world, |row| row.heartbeat_at = Some(now - seconds(600))).await;
        world.run().await;
        assert!(own(&world).await.is_some_and(|row| row.drain), "its row is closed before it could come back");
        if sent_away {
            table.send_away(&id, false, now, &world.line("pool.terminate")).await.unwrap().unwrap();
        }
        assert!(!table.comes_back(&id, "another token's", now).await.unwrap());
        assert_eq!(table.comes_back(&id, "its token's", now).await.unwrap(), !sent_away);
        assert_eq!(own(&world).await.map(|row| (row.drain, row.drained_at.is_some())), Some((sent_away, sent_away)));
    }
}
