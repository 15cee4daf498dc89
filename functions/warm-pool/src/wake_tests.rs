//! Who wakes the warm pool, and that what woke it is seen: over the store's own code and a table in memory.

use crate::pool_tests::{World, idle, process, process_with};
use crate::{POOL, handle, invoked, tick};
use kiln_core::ids::{AccountId, JobId};
use kiln_core::job::{Job, Priority};
use kiln_core::machine;
use kiln_core::pool::room::{IDLE_SAID, IDLE_WAKES_EVERY};
use kiln_core::pool::{Keep, Policy};
use kiln_http::{App, flow};
use kiln_store::table::{absent, to_item};
use kiln_store::{Account, AccountKind, Commit, keys};
use serde_json::{Value, json};

fn policy(max: u32) -> Policy {
    Policy { max, budget_month_microusd: Some(50_000_000), ..Policy::default() }
}

fn wake() -> Value {
    json!({ "wake": { "kind": "noop", "priority": "standard" } })
}

/// Commits a job of an account of its own, as `jobs` does, and wakes the pool if need be.
pub(crate) async fn submit(app: &App) -> Job {
    submit_as(app, Priority::Standard).await
}

async fn submit_as(app: &App, priority: Priority) -> Job {
    let (account, job) = (AccountId::new(app.now(), app.random()), JobId::new(app.now(), app.random()));
    let row = Account::new(account.clone(), AccountKind::Person, 0, app.now());
    assert!(app.table().put(to_item(&keys::account(&account), &row).unwrap(), Some(absent())).await.unwrap());
    let change = machine::submit(Job { priority, ..Job::draft(job, account, "noop", "image", 900, app.now()) }, &row.counters, app.settings(), app.now());
    let with = Commit { entry_id: flow::entry_id(app, &change), ..Commit::default() };
    let standing = app.table().standing().await.unwrap();
    app.table().commit(&change, with, app.now()).await.unwrap().unwrap();
    flow::wake(app, &change.after, standing.as_ref()).await;
    change.after
}

#[tokio::test]
async fn the_first_job_wakes_the_pool_and_those_within_its_room_do_not() {
    let world = World::with(policy(3)).await;
    world.run().await;
    assert_eq!(world.app.table().standing().await.unwrap().unwrap().room, Some(0));
    submit(&world.app).await;
    assert_eq!(world.memory.take_invocations(), [("the-pool".to_owned(), wake())]);
    assert_eq!(invoked(&world.app, &world.vast, wake()).await.unwrap()["started"], 1);
    let room = world.app.table().standing().await.unwrap().unwrap().room.expect("there are two more");
    assert!(room >= 1, "a machine on its way takes another job");
    for _ in 0..room {
        submit(&world.app).await;
    }
    assert_eq!(world.memory.take_invocations(), []);
    submit(&world.app).await;
    assert_eq!(world.memory.take_invocations().len(), 1);
    assert!(invoked(&world.app, &world.vast, wake()).await.unwrap()["started"].as_u64() >= Some(1));
}

#[tokio::test]
async fn who_has_paid_to_be_first_wakes_a_patient_pool_and_gets_a_machine_at_once() {
    let world = World::with(Policy { start_within_s: 3_600, ..policy(3) }).await;
    world.run().await;
    submit(&world.app).await;
    assert_eq!((world.memory.take_invocations(), world.run().await["started"].clone()), (vec![], json!(0)), "others may wait for more of them");
    submit_as(&world.app, Priority::Rush).await;
    let event = json!({ "wake": { "kind": "noop", "priority": "rush" } });
    assert_eq!(world.memory.take_invocations(), [("the-pool".to_owned(), event.clone())]);
    assert_eq!(invoked(&world.app, &world.vast, event).await.unwrap()["started"], 1);
    // Now that one is on its way nobody need wake it.
    submit_as(&world.app, Priority::Rush).await;
    assert_eq!(world.memory.take_invocations(), []);
}

#[tokio::test]
async fn where_more_jobs_bring_no_machine_nobody_wakes_it() {
    for policy in [policy(0), Policy { safe_mode: true, ..policy(3) }, Policy { budget_month_microusd: Some(1), ..policy(3) }] {
        let world = World::with(policy.clone()).await;
        submit(&world.app).await;
        world.memory.take_invocations();
        world.run().await;
        assert_eq!(world.app.table().standing().await.unwrap().unwrap().room, None, "{policy:?}");
        submit(&world.app).await;
        assert_eq!(world.memory.take_invocations(), [], "{policy:?}");
    }
}

#[tokio::test]
async fn of_a_crowd_in_one_moment_one_wakes_it_and_the_others_leave_a_mark_that_the_run_takes() {
    let world = World::with(policy(30)).await;
    world.run().await;
    let processes = futures::future::join_all((0..40).map(|_| process(&world.memory))).await;
    futures::future::join_all(processes.iter().map(submit)).await;
    assert_eq!(world.memory.take_invocations().len(), 1);
    assert!(world.app.table().standing().await.unwrap().unwrap().again);
    let done = invoked(&world.app, &world.vast, wake()).await.unwrap();
    assert!(done["started"].as_u64().unwrap() > 1 && done["unfinished"] == 40, "{done}");
    assert!(!world.app.table().standing().await.unwrap().unwrap().again);
}

#[tokio::test]
async fn what_comes_while_another_run_acts_is_seen_once_that_has_ended() {
    let world = World::with(policy(3)).await;
    let now = world.app.now();
    let run = world.app.table().begin_run(POOL, now, now + 60_000, "tag").await.unwrap().unwrap();
    submit(&world.app).await;
    let woken = invoked(&world.app, &world.vast, wake()).await.unwrap();
    assert_eq!(woken["another_runs"], true);
    assert!(world.app.table().standing().await.unwrap().unwrap().again);
    // Its turn ends as in `invoked`: it gives it back, and then looks for the mark.
    world.app.table().end_run(POOL, &run).await.unwrap();
    assert!(world.app.table().takes_another_look().await.unwrap());
    assert_eq!(handle(&world.app, &world.vast, json!({})).await.unwrap()["started"], 1);
}

#[tokio::test]
async fn a_run_that_meets_a_mark_runs_again() {
    let world = World::with(policy(3)).await;
    world.app.table().look_again().await.unwrap();
    submit(&world.app).await;
    let epoch = world.app.table().fleet(POOL).await.unwrap().run.epoch;
    invoked(&world.app, &world.vast, json!({})).await.unwrap();
    assert_eq!(world.app.table().fleet(POOL).await.unwrap().run.epoch, epoch + 2);
    invoked(&world.app, &world.vast, json!({})).await.unwrap();
    assert_eq!(world.app.table().fleet(POOL).await.unwrap().run.epoch, epoch + 3);
}

#[tokio::test]
async fn a_job_that_the_index_has_not_yet_is_carried_by_the_wake_and_a_kind_that_is_none_is_not() {
    let world = World::with(policy(3)).await;
    for event in [json!({}), json!({ "wake": { "kind": "no such kind" } }), json!({ "wake": 1 })] {
        assert_eq!(handle(&world.app, &world.vast, event).await.unwrap()["started"], 0);
    }
    assert_eq!(handle(&world.app, &world.vast, wake()).await.unwrap()["started"], 1);
}

#[tokio::test]
async fn a_machine_that_falls_idle_wakes_the_pool_once_where_it_may_be_given_back() {
    let learned = Policy { keep: Keep::Learned, keep_stopped: false, desired_size: 1, ..policy(3) };
    let world = World::with(Policy { keep: Keep::Idle, ..learned.clone() }).await;
    assert_eq!(world.run().await["started"], 1);
    let fell_idle = async |idle_ms: i64| {
        let now = world.app.now();
        world
            .change(|instance| {
                idle(instance, now, 0);
                instance.idle_since = now - idle_ms;
            })
            .await;
        flow::fell_idle(&world.app, &world.known().await[0]).await;
        world.memory.take_invocations()
    };
    assert_eq!(fell_idle(IDLE_SAID).await, [], "it is kept for its time whenever the pool looks");
    world.set(Policy { desired_size: 0, ..learned }).await;
    world.run().await;
    for not_just_now in [0, IDLE_SAID - 1_000, IDLE_SAID + IDLE_WAKES_EVERY] {
        assert_eq!(fell_idle(not_just_now).await, []);
    }
    let event = json!({ "wake": { "for": "idle" } });
    assert_eq!(fell_idle(IDLE_SAID).await, [("the-pool".to_owned(), event.clone())]);
    // Others that fall idle within seconds are seen by the same look.
    assert_eq!(fell_idle(IDLE_SAID + 1_000).await, []);
    // It was idle for less than what a boot's time is worth: that it is needed no more is seen when the pool has not just turned.
    let now = world.app.now();
    world.change(|instance| idle(instance, now, 120)).await;
    world.turned_long_ago().await;
    assert_eq!((invoked(&world.app, &world.vast, event).await.unwrap()["stopped"].clone(), world.exist().await.len()), (json!(1), 0));
}

#[tokio::test]
async fn one_that_works_already_wakes_nobody() {
    let world = World::with(Policy { keep: Keep::Learned, ..policy(3) }).await;
    world.run().await;
    submit(&world.app).await;
    world.memory.take_invocations();
    world.run().await;
    let now = world.app.now();
    world
        .change(|instance| {
            idle(instance, now, 3);
            instance.slot_job = Some(JobId::new(1, 1));
        })
        .await;
    flow::fell_idle(&world.app, &world.known().await[0]).await;
    assert_eq!(world.memory.take_invocations(), []);
}

#[tokio::test]
async fn a_tick_looks_twice_while_jobs_wait_once_while_nothing_does_and_once_where_it_was_woken() {
    let world = World::with(policy(3)).await;
    let app = process_with(&world.memory, &[("KILN_SECOND_LOOK_S", "2")]).await;
    let looks = async |event: Value| {
        let epoch = async || world.app.table().fleet(POOL).await.unwrap().run.epoch;
        let before = epoch().await;
        tick(&app, event).await.unwrap();
        epoch().await - before
    };
    assert_eq!(looks(json!({})).await, 1);
    submit(&world.app).await;
    let begun = std::time::Instant::now();
    assert_eq!(looks(json!({})).await, 2);
    assert!(begun.elapsed().as_secs() >= 2, "{:?} apart", begun.elapsed());
    assert_eq!(looks(wake()).await, 1);
    // The setting switches it off.
    let app = process_with(&world.memory, &[("KILN_SECOND_LOOK_S", "0")]).await;
    assert!(crate::has_work(&tick(&app, json!({})).await.unwrap()));
    assert_eq!(world.app.table().fleet(POOL).await.unwrap().run.epoch, 5);
}
