//! Machines that are kept stopped, by whole runs against the stand-in for Vast.ai: asked to rest, stopped, started again, and all that can go wrong
//! on that way.

use crate::POOL;
use crate::pool_tests::{KEY, World, idle, one};
use kiln_core::fleet::Stage;
use kiln_core::pool::{Policy, Took};
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
    resting_in(World::with(one()).await).await
}

async fn resting_in(world: World) -> World {
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
    stopped_in(World::with(one()).await).await
}

async fn stopped_in(world: World) -> (World, u64) {
    let world = resting_in(world).await;
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
    assert_eq!((run.resumes.took(), world.only().await.instance_id), (Some(Took::all(seconds(1))), stopped.instance_id));
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
    for kind in ["success_false", "refuses_start"] {
        let (world, id) = stopped().await;
        world.set(one()).await;
        world.fault(json!({ "kind": kind, "method": "PUT", "path": "/api/v0/instances/" })).await;
        let done = world.run().await;
        assert_eq!((done["started"].clone(), world.ordered().await), (json!(1), 2), "{kind}: {done}");
        let exist = world.exist().await;
        assert!(exist.len() == 1 && exist[0].0 != id, "{kind}: {exist:?}");
        assert!(world.told().await.iter().all(|(what, _)| what != "resume"), "{:?}", world.told().await);
        let run = world.app.table().fleet(POOL).await.unwrap().run;
        assert!(run.avoid.is_empty(), "{kind}: its host is blamed: {:?}", run.avoid_why);
    }
}

#[tokio::test]
async fn one_whose_start_was_not_answered_is_asked_again_and_not_written_off() {
    let (world, id) = stopped().await;
    world.set(one()).await;
    world.fault(json!({ "kind": "time_out", "method": "PUT", "path": "/api/v0/instances/", "ms": 50, "times": 3 })).await;
    assert_eq!(world.run().await["started"], 1);
    assert_eq!(world.only().await.stage, Stage::Requested);
    assert_eq!(world.run().await["started"], 0);
    let truth = world.control(Method::GET, "machines", Value::Null).await;
    assert_eq!((&truth["machines"][0]["wanted"], world.exist().await[0].0, world.ordered().await), (&json!(true), id, 1));
}

#[tokio::test]
async fn a_run_without_the_time_for_a_start_leaves_what_is_stopped_as_it_is() {
    let (world, id) = stopped().await;
    world.set(one()).await;
    let deadline = crate::Deadline::within(std::time::Duration::from_secs(7));
    let done = crate::handle_until(&world.app, &world.vast, json!({}), deadline).await.unwrap();
    assert_eq!((done["started"].clone(), world.only().await.stage, world.exist().await[0].0), (json!(0), Stage::Stopped, id));
    assert_eq!(world.run().await["started"], 1);
}

#[tokio::test]
async fn one_that_speaks_again_before_the_list_shows_it_is_left_to_its_work() {
    let (world, id) = stopped().await;
    world.set(one()).await;
    world.run().await;
    // The list is of a moment ago.
    world.stop(id).await;
    let now = world.app.now();
    let spoke = |ms| move |instance: &mut Instance| (instance.stage, instance.heartbeat_at) = (Stage::Loading, Some(now - ms));
    world.change(spoke(seconds(5))).await;
    world.run().await;
    assert_eq!((world.exist().await.len(), world.only().await.stage), (1, Stage::Loading));
    // It has ended.
    world.change(spoke(seconds(61))).await;
    world.run().await;
    assert!(world.exist().await.iter().all(|machine| machine.0 != id));
}

#[tokio::test]
async fn one_that_the_list_lacks_is_not_waited_for() {
    let (world, id) = stopped().await;
    world.set(one()).await;
    world.control(Method::POST, &format!("instances/{id}/vanish"), json!({})).await;
    let done = world.run().await;
    assert_eq!((done["started"].clone(), world.ordered().await), (json!(1), 2), "{done}");
}

#[tokio::test]
async fn where_no_budget_has_room_for_it_a_cheaper_one_is_rented() {
    let many = World::with(one()).await;
    many.run().await;
    let best = many.control(Method::GET, "machines", Value::Null).await["machines"][0]["ask_id"].as_u64().unwrap();
    let mut config = kiln_vast_stand_in::Config::new(KEY);
    config.offers.retain(|offer| offer.id == best);
    let good = config.offers[0].clone();
    let id = best + 100_000;
    let slow = kiln_vast_stand_in::Offer { id, machine_id: id, dph_base: good.dph_base / 2.0, dlperf: good.dlperf / 10.0, inet_down_cost: 0.0, ..good };
    config.offers.push(slow);
    let (world, _) = stopped_in(World::at(config, one()).await).await;
    let kept = world.only().await;
    let cover = crate::look::deadlines(&world.app).first_ms();
    let whole = kiln_core::pool::budget::cost_until(kept.runs_for.unwrap(), 0, cover);
    world.set(Policy { budget_month_microusd: Some(world.hour().await + whole - 20_000), ..one() }).await;
    let done = world.run().await;
    assert_eq!((done["started"].clone(), world.ordered().await), (json!(1), 2), "{:?}", world.app.table().fleet(POOL).await.unwrap().run.told);
    let known = world.known().await;
    let rented = known.iter().find(|instance| instance.stage == Stage::Requested).unwrap();
    assert!(rented.rate.microusd_per_hour < kept.runs_for.unwrap().microusd_per_hour && known.iter().any(|instance| instance.stage == Stage::Stopped));
}

#[tokio::test]
async fn what_the_policy_allows_no_more_is_not_started_again() {
    let (world, id) = stopped().await;
    let dear = world.only().await.runs_for.unwrap().microusd_per_hour;
    world.set(Policy { max_microusd_per_hour: Some(dear - 1), ..one() }).await;
    world.run().await;
    world.run().await;
    assert!(world.exist().await.iter().all(|machine| machine.0 != id), "{:?}", world.exist().await);
    assert!(world.known().await.iter().all(|instance| instance.stage != Stage::Requested || instance.rate.microusd_per_hour < dear));
}

#[tokio::test]
async fn one_whose_cover_is_to_be_renewed_in_the_same_look_is_started_all_the_same() {
    let (world, id) = stopped().await;
    world.set(one()).await;
    let (now, tick) = (world.app.now(), seconds(60));
    let work = crate::look::deadlines(&world.app).work_ms();
    world.change(|instance| instance.covered_to = now + work + 2 * tick).await;
    assert_eq!(world.run().await["started"], 1);
    assert_eq!((world.only().await.stage, world.exist().await[0].0, world.ordered().await), (Stage::Requested, id, 1));
}

#[tokio::test]
async fn one_that_comes_to_rest_is_waited_for_and_started_again_and_no_other_is_rented() {
    let world = resting().await;
    let id = world.exist().await[0].0;
    world.set(one()).await;
    assert_eq!(world.run().await["started"], 0);
    world.stop(id).await;
    assert_eq!(world.run().await["started"], 1);
    assert_eq!((world.only().await.stage, world.exist().await[0].0, world.ordered().await), (Stage::Requested, id, 1));
    // But not for one that doesn't come to rest.
    let world = resting().await;
    world.set(one()).await;
    let now = world.app.now();
    world.change(|instance| instance.drained_at = Some(now - seconds(91))).await;
    assert_eq!((world.run().await["started"].clone(), world.ordered().await), (json!(1), 2));
}

#[tokio::test]
async fn what_one_that_will_not_die_costs_is_told_though_it_is_stopped() {
    let (world, _) = stopped().await;
    world.fault(json!({ "kind": "undying", "method": "DELETE", "until_cleared": true })).await;
    world.set(Policy { safe_mode: true, ..one() }).await;
    world.run().await;
    let now = world.app.now();
    world.change(|instance| instance.covered_to = now + seconds(30)).await;
    world.run().await;
    assert!(world.told().await.contains(&("none".into(), "beyond_cover".into())), "{:?}", world.told().await);
    assert!(world.only().await.missing_since.is_none(), "it is listed");
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
    let found = world.only().await;
    assert_eq!((world.exist().await.len(), found.stage), (0, Stage::Lost));
    // From then on it counts as what it is, whatever comes of it.
    assert!(found.rate.microusd_per_hour > 10 * found.disk_microusd_per_hour.unwrap() && found.covered_to >= found.requested_at + seconds(120));
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
