//! Machines that are kept stopped, by whole runs against the stand-in for Vast.ai: asked to rest, stopped, started again, and all that can go wrong
//! on that way.

use crate::POOL;
use crate::pool_tests::{KEY, World, idle, one};
use kiln_core::fleet::Stage;
use kiln_core::pool::Policy;
use kiln_core::time::seconds;
use kiln_store::Instance;
use reqwest::Method;
use serde_json::{Value, json};

/// None whatever the demand.
fn none() -> Policy {
    Policy { desired_size: 0, ..one() }
}

impl World {
    /// As if a dozen jobs had come in the last minutes: enough that a machine is of use again.
    async fn jobs_came(&self) {
        let now = self.app.now();
        let mut run = self.app.table().begin_run(POOL, now, now + seconds(5), "t").await.unwrap().unwrap();
        run.arrivals.look(0, now);
        run.arrivals.look(12, now);
        self.app.table().end_run(POOL, &run).await.unwrap();
    }

    /// What its worker's parent does when it is to rest, or the host by itself.
    async fn stop(&self, id: u64) {
        let address = format!("{}/api/v0/instances/{id}/", self.url);
        let answer = self.http.put(address).bearer_auth(KEY).json(&json!({ "state": "stopped" })).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    async fn only(&self) -> Instance {
        let known = self.known().await;
        assert_eq!(known.len(), 1, "{known:?}");
        known[0].clone()
    }

    async fn told(&self) -> Vec<(String, String)> {
        let run = self.app.table().fleet(POOL).await.unwrap().run;
        run.told.into_iter().map(|told| (told.what, told.reason)).collect()
    }

    /// How many machines were ever ordered.
    async fn ordered(&self) -> usize {
        let seen = self.control(Method::GET, "requests", Value::Null).await;
        let orders = |request: &&Value| request["path"].as_str().is_some_and(|path| path.starts_with("/api/v0/asks/"));
        seen["items"].as_array().unwrap().iter().filter(orders).count()
    }
}

/// A pool with one machine that was asked to rest.
async fn resting() -> World {
    let world = World::with(one()).await;
    assert_eq!(world.run().await["started"], 1);
    assert!(world.only().await.disk_microusd_per_hour.is_some(), "its disk costs too much, or nothing is told of it");
    world.set(none()).await;
    world.jobs_came().await;
    let now = world.app.now();
    world
        .change(|instance| {
            idle(instance, now, 901);
            instance.token_hash = Some("its token's".into());
        })
        .await;
    assert_eq!(world.run().await["stopped"], 1);
    assert_eq!(world.told().await[0], ("suspend".into(), "idle".into()));
    world
}

/// One with one that is kept stopped, and its id at the provider.
async fn stopped() -> (World, u64) {
    let world = resting().await;
    let id = world.exist().await[0].0;
    world.stop(id).await;
    world.run().await;
    assert_eq!(world.only().await.stage, Stage::Stopped);
    (world, id)
}

#[tokio::test]
async fn a_machine_without_work_is_stopped_kept_for_its_disk_and_the_same_one_started_again() {
    let world = resting().await;
    let (id, dear) = (world.exist().await[0].0, world.hour().await);
    // Its worker has time to end: until then it is neither given back nor silent.
    world.change(|instance| instance.heartbeat_at = Some(instance.idle_since)).await;
    world.run().await;
    let rests = world.only().await;
    assert!(rests.drain && rests.rests && world.exist().await.len() == 1, "{rests:?}");
    world.stop(id).await;
    world.run().await;
    let stopped = world.only().await;
    assert_eq!((stopped.stage, Some(stopped.rate.microusd_per_hour)), (Stage::Stopped, rests.disk_microusd_per_hour));
    assert!(world.hour().await < dear, "what its GPU had reserved was not given back");
    for _ in 0..3 {
        let done = world.run().await;
        assert_eq!((done["started"].clone(), done["stopped"].clone(), done["failed"].clone()), (json!(0), json!(0), json!(0)));
    }
    assert_eq!((world.exist().await.len(), world.only().await.stage), (1, Stage::Stopped));
    // It is wanted again.
    world.set(one()).await;
    assert_eq!(world.run().await["started"], 1);
    assert_eq!(world.told().await[0], ("resume".into(), "floor".into()));
    let again = world.only().await;
    assert_eq!((again.stage, again.rate, again.token_hash.as_deref()), (Stage::Requested, stopped.runs_for.unwrap(), Some("its token's")));
    assert_eq!((world.exist().await.iter().map(|machine| machine.0).collect::<Vec<_>>(), world.ordered().await), (vec![id], 1), "another one was rented");
    // On its way it is enough; ready, its start is remembered as one, and not as a boot.
    assert_eq!(world.run().await["started"], 0);
    let now = world.app.now();
    world.change(|instance| (instance.stage, instance.heartbeat_at, instance.ready_at) = (Stage::Ready, Some(now), Some(now + 1))).await;
    world.run().await;
    let run = world.app.table().fleet(POOL).await.unwrap().run;
    assert_eq!((run.resumes.slowest(), world.only().await.instance_id), (Some(seconds(1)), stopped.instance_id));
    let gone = world.app.table().gone(10, None).await.unwrap().0;
    assert_eq!(gone.iter().map(|gone| (gone.stopped, gone.stays)).collect::<Vec<_>>(), [(true, true), (false, true)]);
}

#[tokio::test]
async fn one_that_does_not_stop_in_time_is_given_back() {
    let world = resting().await;
    let now = world.app.now();
    world.change(|instance| instance.drained_at = Some(now - seconds(239))).await;
    world.run().await;
    assert_eq!(world.exist().await.len(), 1);
    world.change(|instance| instance.drained_at = Some(now - seconds(241))).await;
    world.run().await;
    assert_eq!(world.exist().await, []);
    let run = world.app.table().fleet(POOL).await.unwrap().run;
    assert!(run.avoid.is_empty(), "its host is blamed: {:?}", run.avoid_why);
}

#[tokio::test]
async fn one_that_ends_instead_of_stopping_is_destroyed() {
    let world = resting().await;
    let id = world.exist().await[0].0;
    world.control(Method::POST, "clock", json!({ "advance_s": 120 })).await;
    world.control(Method::POST, &format!("instances/{id}/die"), json!({})).await;
    world.run().await;
    assert_eq!(world.exist().await, []);
}

#[tokio::test]
async fn what_no_budget_covers_stays_stopped_and_is_told() {
    let (world, _) = stopped().await;
    let spent = world.hour().await;
    world.set(Policy { budget_month_microusd: Some(spent + 1_000), ..one() }).await;
    let done = world.run().await;
    assert_eq!((done["started"].clone(), world.only().await.stage), (json!(0), Stage::Stopped));
    assert!(world.told().await.contains(&("none".into(), "not_rented".into())), "{:?}", world.told().await);
    assert_eq!(world.ordered().await, 1);
}

#[tokio::test]
async fn safe_mode_destroys_what_is_stopped() {
    let (world, _) = stopped().await;
    world.set(Policy { safe_mode: true, ..one() }).await;
    world.run().await;
    assert_eq!(world.exist().await, []);
    // Its row goes as any other's, its disk's cost in the books.
    world.run().await;
    world.missing_for(&world.only().await, seconds(61)).await;
    world.run().await;
    assert_eq!(world.known().await, []);
    assert!(world.app.table().gone(10, None).await.unwrap().0[0].stopped);
}

#[tokio::test]
async fn what_is_kept_goes_when_the_operator_wants_none_kept_or_sends_it_away() {
    let (world, _) = stopped().await;
    world.set(Policy { keep_stopped: false, ..none() }).await;
    world.run().await;
    world.run().await;
    assert_eq!(world.exist().await, []);
    let (world, _) = stopped().await;
    let (id, line) = (world.only().await.instance_id, world.line("pool.terminate"));
    assert_eq!(world.app.table().send_away(&id, false, world.app.now(), &line).await.unwrap(), Ok(()));
    world.change(|instance| instance.drained_at = instance.drained_at.map(|at| at - seconds(60))).await;
    world.run().await;
    assert_eq!(world.exist().await, []);
}

#[tokio::test]
async fn what_would_soon_give_itself_back_is_not_kept() {
    let (mut world, _) = stopped().await;
    // Its longest life is nearly over.
    world.lives_for(60);
    world.run().await;
    world.run().await;
    assert_eq!(world.exist().await, []);
}

#[tokio::test]
async fn one_whose_start_is_refused_is_given_back_and_another_rented_in_the_same_look() {
    for kind in ["success_false", "time_out"] {
        let (world, id) = stopped().await;
        world.set(one()).await;
        world.fault(json!({ "kind": kind, "method": "PUT", "path": "/api/v0/instances/", "ms": 50, "times": if kind == "time_out" { 3 } else { 1 } })).await;
        let done = world.run().await;
        assert_eq!((done["started"].clone(), world.ordered().await), (json!(1), 2), "{kind}: {done}");
        let exist = world.exist().await;
        assert!(exist.len() == 1 && exist[0].0 != id, "{kind}: {exist:?}");
        let run = world.app.table().fleet(POOL).await.unwrap().run;
        assert!(run.avoid.is_empty(), "{kind}: its host is blamed: {:?}", run.avoid_why);
    }
}

#[tokio::test]
async fn a_run_that_died_before_it_said_so_is_made_good_by_the_next() {
    let (world, id) = stopped().await;
    world.set(one()).await;
    let (table, now) = (world.app.table(), world.app.now());
    let run = table.begin_run(POOL, now, now + seconds(5), "t").await.unwrap().unwrap();
    let instance = world.only().await;
    assert!(table.resume(&instance, (now, now + seconds(90), now + seconds(3_600)), &one(), run.epoch).await.unwrap().is_ok());
    table.end_run(POOL, &run).await.unwrap();
    let is_wanted = |machines: Value| machines["machines"].as_array().unwrap().iter().any(|machine| machine["wanted"] == true);
    assert!(!is_wanted(world.control(Method::GET, "machines", Value::Null).await));
    assert_eq!(world.run().await["started"], 0);
    assert!(is_wanted(world.control(Method::GET, "machines", Value::Null).await), "nobody said to the provider that it is to run");
    assert_eq!((world.exist().await[0].0, world.ordered().await), (id, 1));
}

#[tokio::test]
async fn one_whose_gpu_somebody_else_has_is_replaced_in_time_and_its_host_is_not_blamed() {
    for starts in [true, false] {
        is_replaced(starts).await;
    }
}

async fn is_replaced(starts: bool) {
    let (world, id) = stopped().await;
    world.set(one()).await;
    world.run().await;
    // It runs, and its worker never speaks; or it waits for its GPU, for ever.
    let now = world.app.now();
    let started = |ms| move |instance: &mut Instance| (instance.requested_at, instance.boot_expires_at) = (now - ms, now - ms + seconds(90));
    match starts {
        true => {
            world.change(started(seconds(89))).await;
            world.run().await;
            assert_eq!(world.only().await.stage, Stage::Requested);
            world.change(started(seconds(91))).await;
            world.run().await;
            assert_eq!(world.told().await[0], ("destroy".into(), "boot_too_long".into()));
            world.run().await;
        }
        false => {
            world.stop(id).await;
            world.change(started(seconds(20))).await;
            world.run().await;
            assert_eq!(world.only().await.stage, Stage::Requested);
            world.stop(id).await;
            world.change(started(seconds(26))).await;
            world.run().await;
        }
    }
    let exist = world.exist().await;
    assert!(exist.len() == 1 && exist[0].0 != id, "another one was not rented: {exist:?}");
    let run = world.app.table().fleet(POOL).await.unwrap().run;
    assert!(run.avoid.is_empty(), "its host is blamed: {:?}", run.avoid_why);
}

#[tokio::test]
async fn one_that_runs_and_should_not_is_destroyed() {
    let (world, id) = stopped().await;
    let answer = world.http.put(format!("{}/api/v0/instances/{id}/", world.url)).bearer_auth(KEY).json(&json!({ "state": "running" })).send().await.unwrap();
    assert!(answer.status().is_success());
    // A list may be older than the stop.
    world.run().await;
    assert_eq!(world.only().await.stage, Stage::Stopped);
    world.change(|instance| instance.requested_at -= seconds(60)).await;
    world.run().await;
    assert_eq!((world.exist().await.len(), world.only().await.stage), (0, Stage::Lost));
}

#[tokio::test]
async fn when_no_jobs_come_any_more_what_is_kept_is_given_back() {
    let (world, _) = stopped().await;
    let (table, now) = (world.app.table(), world.app.now());
    let mut run = table.begin_run(POOL, now, now + seconds(5), "t").await.unwrap().unwrap();
    run.arrivals = Default::default();
    table.end_run(POOL, &run).await.unwrap();
    world.change(|instance| (instance.requested_at, instance.idle_since) = (now - seconds(1_000), now - seconds(1_000))).await;
    world.run().await;
    world.run().await;
    assert_eq!(world.exist().await, []);
}
