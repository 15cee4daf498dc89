//! The whole of a run against the stand-in for Vast.ai, which the official client judges, and a table in memory: what an operator asks of a pool.

use crate::vast::{Pace, Vast, Wanted};
use crate::{POOL, Providers, handle};
use kiln_core::fleet::Stage;
use kiln_core::ids::{InstanceId, LeaseId};
use kiln_core::pool::{History, Policy};
use kiln_core::time::{Millis, seconds};
use kiln_dynamo::{Memory, TABLE};
use kiln_http::App;
use kiln_store::{Audit, DONE, Instance, Lease, NoClaim, Prewarm};
use kiln_vast_stand_in::{Config, StandIn};
use reqwest::{Client, Method};
use serde_json::{Value, json};

pub(crate) const KEY: &str = "the key of these tests";

/// A pool that rents from a stand-in of its own.
pub(crate) struct World {
    pub(crate) app: App,
    pub(crate) vast: Providers,
    pub(crate) url: String,
    pub(crate) http: Client,
    pub(crate) memory: Memory,
}

impl World {
    pub(crate) async fn with(policy: Policy) -> Self {
        Self::at(Config::new(KEY), policy).await
    }

    pub(crate) async fn at(config: Config, policy: Policy) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let stand_in = StandIn::new(config);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, stand_in.router()).await });
        let memory = Memory::new(1);
        let app = process(&memory).await;
        let wanted = Wanted { image: "kiln/worker:1".into(), download_gb: 5.0, disk_gb: 20, api_url: "https://kiln.example.org".into(), max_life_s: 86_400 };
        let vast = Providers::new(vec![Box::new(Vast::new(&url, KEY, wanted).unwrap().at_pace(Pace::NONE))]);
        let world = Self { app, vast, url, http: Client::new(), memory };
        world.set(policy).await;
        world
    }

    pub(crate) async fn set(&self, policy: Policy) {
        let stored = self.app.table().fleet(POOL).await.unwrap().state;
        assert!(self.app.table().set_policy(POOL, stored.as_ref(), &policy, None, &self.line("pool.change")).await.unwrap());
    }

    /// As if it had rented and given back long before.
    pub(crate) async fn turned_long_ago(&self) {
        let now = self.app.now();
        let mut run = self.app.table().begin_run(POOL, now, now + seconds(5), "t").await.unwrap().unwrap();
        run.history = History::default();
        self.app.table().end_run(POOL, &run).await.unwrap();
    }

    /// A line of the audit log.
    pub(crate) fn line(&self, action: &str) -> Audit {
        let [action, subject, facts, outcome, actor, ip] = [action, "pool", "{}", DONE, "", ""].map(str::to_owned);
        Audit { id: format!("{:032x}", self.app.random()), at: 1, action, subject, facts, outcome, actor, ip, ttl: 1 }
    }

    pub(crate) async fn run(&self) -> Value {
        handle(&self.app, &self.vast, json!({})).await.unwrap()
    }

    pub(crate) async fn control(&self, method: Method, path: &str, body: Value) -> Value {
        let answer = self.http.request(method, format!("{}/stand-in/{path}", self.url)).bearer_auth(KEY).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
        answer.json().await.unwrap_or_default()
    }

    /// From now on calls can be too early, by these thresholds in milliseconds, and the pool keeps to them or, hasty, does not.
    pub(crate) async fn paced(&mut self, create: u64, penalty: u64, others: u64, hasty: bool) {
        let thresholds =
            json!({ "create_ms": create, "penalty_ms": penalty, "destroy_ms": 3 * others, "list_ms": others, "show_ms": 2 * others, "charges_ms": others });
        self.control(Method::POST, "pace", thresholds).await;
        let ms = std::time::Duration::from_millis;
        let pace = Pace { create: ms(create), penalty: ms(penalty), destroy: ms(3 * others), list: ms(others), show: ms(2 * others), charges: ms(others) };
        let wanted = Wanted { image: "kiln/worker:1".into(), download_gb: 5.0, disk_gb: 20, api_url: "https://kiln.example.org".into(), max_life_s: 86_400 };
        let vast = Vast::new(&self.url, KEY, wanted).unwrap().at_pace(if hasty { Pace { penalty: pace.penalty, ..Pace::NONE } } else { pace });
        self.vast = Providers::new(vec![Box::new(vast)]);
    }

    /// From now on machines are said to give themselves back after so many seconds.
    pub(crate) fn lives_for(&mut self, max_life_s: u64) {
        let wanted = Wanted { image: "kiln/worker:1".into(), download_gb: 5.0, disk_gb: 20, api_url: "https://kiln.example.org".into(), max_life_s };
        self.vast = Providers::new(vec![Box::new(Vast::new(&self.url, KEY, wanted).unwrap().at_pace(Pace::NONE))]);
    }

    /// Method and status of all requests that came since the `n`th, and how many there are.
    pub(crate) async fn came(&self, n: usize) -> Vec<(String, u64)> {
        let seen = self.control(Method::GET, "requests", Value::Null).await;
        let of = |request: &Value| (request["method"].as_str().unwrap().to_owned(), request["status"].as_u64().unwrap_or(0));
        seen["items"].as_array().unwrap().iter().skip(n).map(of).collect()
    }

    pub(crate) async fn fault(&self, fault: Value) {
        self.control(Method::POST, "faults", fault).await;
    }

    /// Machines that truly exist, by their labels.
    pub(crate) async fn exist(&self) -> Vec<(u64, String)> {
        let truth = self.control(Method::GET, "machines", Value::Null).await;
        let there = truth["machines"].as_array().unwrap().iter().filter(|machine| machine["exists"] == true);
        there.map(|machine| (machine["id"].as_u64().unwrap(), machine["label"].as_str().unwrap_or_default().to_owned())).collect()
    }

    pub(crate) async fn known(&self) -> Vec<Instance> {
        self.app.table().fleet(POOL).await.unwrap().instances
    }

    /// What is committed in this hour.
    pub(crate) async fn hour(&self) -> i64 {
        let now = self.app.now();
        let committed = self.app.table().committed(now).await.unwrap();
        committed.get(&kiln_core::pool::budget::windows(now)[2]).copied().unwrap_or(0)
    }

    /// Changes a machine's row, as if time had passed or its worker had spoken.
    pub(crate) async fn change(&self, change: impl Fn(&mut Instance)) {
        for mut instance in self.known().await {
            change(&mut instance);
            let item = kiln_store::table::to_item(&kiln_store::keys::instance(&instance.instance_id), &instance).unwrap();
            assert!(self.app.table().put(item, None).await.unwrap());
        }
    }

    /// As if the list had lacked it for so long.
    pub(crate) async fn missing_for(&self, instance: &Instance, ms: Millis) {
        self.app.table().is_missing(&instance.instance_id, None).await.unwrap();
        self.app.table().is_missing(&instance.instance_id, Some(self.app.now() - ms)).await.unwrap();
    }
}

/// A function's process on that table.
pub(crate) async fn process(memory: &Memory) -> App {
    process_with(memory, &[]).await
}

/// One that has these settings, too.
pub(crate) async fn process_with(memory: &Memory, more: &[(&str, &str)]) -> App {
    let env = [("KILN_STAGE", "local"), ("KILN_TABLE", TABLE), ("KILN_WARM_POOL", "the-pool")];
    let env = env.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    App::on(env.collect(), memory.sdk_config()).await.unwrap()
}

pub(crate) fn one() -> Policy {
    Policy { desired_size: 1, max: 3, budget_month_microusd: Some(50_000_000), interruptible: false, ..Policy::default() }
}

#[tokio::test]
async fn it_starts_a_gpu_its_status_follows_and_it_stops_it() {
    let world = World::with(one()).await;
    assert_eq!(world.run().await["started"], 1);
    let (known, exist) = (world.known().await, world.exist().await);
    assert_eq!((known.len(), exist.len()), (1, 1));
    assert_eq!((known[0].provider_id.clone(), known[0].label.clone()), (Some(exist[0].0.to_string()), exist[0].1.clone()));
    assert!(known[0].rate.microusd_per_hour > 0 && known[0].gpu.is_some() && known[0].host.starts_with("vast-"));
    assert!(world.hour().await > 0, "nothing was reserved");
    // On its way it is enough.
    assert_eq!(world.run().await["started"], 0);
    world.set(Policy { safe_mode: true, ..one() }).await;
    world.run().await;
    assert_eq!(world.exist().await, []);
    // Its row goes when two lists a minute apart lack it; only then.
    world.run().await;
    assert_eq!(world.known().await.len(), 1);
    let before = world.hour().await;
    world.missing_for(&world.known().await[0], seconds(60)).await;
    world.run().await;
    assert_eq!(world.known().await.len(), 0);
    assert!(world.hour().await < before, "what was not used was not given back");
}

#[tokio::test]
async fn what_no_budget_covers_is_not_rented() {
    let world = World::with(Policy { budget_month_microusd: Some(1_000), ..one() }).await;
    let done = world.run().await;
    assert_eq!((done["started"].clone(), done["failed"].clone()), (json!(0), json!(1)));
    assert_eq!((world.exist().await.len(), world.known().await.len(), world.hour().await), (0, 0, 0));
    // Of three that are wanted, as many as fit.
    world.set(Policy { desired_size: 3, ..one() }).await;
    world.run().await;
    let each = world.hour().await / 3;
    assert_eq!(world.exist().await.len(), 3);
    let few = World::with(Policy { desired_size: 3, budget_month_microusd: Some(each * 2), ..one() }).await;
    few.run().await;
    assert!((1..3).contains(&few.exist().await.len()) && few.hour().await <= each * 2, "{}", few.hour().await);
}

#[tokio::test]
async fn an_order_whose_answer_was_lost_is_adopted_and_not_repeated() {
    let world = World::with(one()).await;
    world.fault(json!({ "kind": "time_out_applied", "method": "PUT", "ms": 50 })).await;
    assert_eq!(world.run().await["failed"], 1);
    assert_eq!((world.known().await[0].provider_id.clone(), world.exist().await.len()), (None, 1));
    let done = world.run().await;
    assert_eq!((done["started"].clone(), world.exist().await.len()), (json!(0), 1));
    assert_eq!(world.known().await[0].provider_id, Some(world.exist().await[0].0.to_string()));
}

#[tokio::test]
async fn an_order_that_was_never_made_holds_its_reservation_for_two_minutes_and_is_then_replaced() {
    let world = World::with(one()).await;
    world.fault(json!({ "kind": "time_out", "method": "PUT", "ms": 50 })).await;
    world.run().await;
    let reserved = world.hour().await;
    for _ in 0..3 {
        assert_eq!(world.run().await["started"], 0);
    }
    assert_eq!((world.exist().await.len(), world.known().await.len(), world.hour().await), (0, 1, reserved));
    world.missing_for(&world.known().await[0], seconds(119)).await;
    assert_eq!(world.run().await["started"], 0);
    world.missing_for(&world.known().await[0], seconds(120)).await;
    assert_eq!(world.run().await["started"], 1);
    assert_eq!((world.exist().await.len(), world.known().await.len()), (1, 1));
    assert!(world.hour().await <= reserved + 10_000, "the first one's share was not given back");
}

#[tokio::test]
async fn a_machine_that_appears_late_is_destroyed_and_what_is_not_ours_is_never_touched() {
    let world = World::with(one()).await;
    world.run().await;
    let (id, known) = (world.exist().await[0].0, world.known().await.remove(0));
    // It vanishes from the list for so long that it is closed and replaced.
    world.control(Method::POST, &format!("instances/{id}/vanish"), json!({})).await;
    world.run().await;
    assert!(world.known().await[0].missing_since.is_some());
    world.missing_for(&known, seconds(61)).await;
    world.run().await;
    assert!(world.known().await.iter().all(|instance| instance.instance_id != known.instance_id));
    // Somebody else's machine, and one of another deployment.
    let mut others = Vec::new();
    for label in ["", "my training run", "kiln/elsewhere/main/ins_1"] {
        let offers = world.vast.of("vast").unwrap().offers(&one()).await.unwrap();
        let body = json!({ "client_id": "me", "image": "x", "disk": 10, "label": label });
        let made = world.http.put(format!("{}/api/v0/asks/{}/", world.url, offers.last().unwrap().id)).bearer_auth(KEY).json(&body).send().await.unwrap();
        let made: Value = made.json().await.unwrap();
        others.push(made["new_contract"].as_u64().unwrap());
    }
    world.control(Method::POST, &format!("instances/{id}/appear"), json!({})).await;
    world.run().await;
    let left: Vec<u64> = world.exist().await.into_iter().map(|(id, _)| id).collect();
    assert!(!left.contains(&id), "the late one is left");
    world.set(Policy { safe_mode: true, ..one() }).await;
    for _ in 0..2 {
        world.run().await;
    }
    let mut left: Vec<u64> = world.exist().await.into_iter().map(|(id, _)| id).collect();
    left.sort_unstable();
    others.sort_unstable();
    assert_eq!(left, others);
}

#[tokio::test]
async fn a_machine_that_is_missed_once_and_comes_back_is_the_same_machine() {
    let world = World::with(one()).await;
    world.run().await;
    let id = world.exist().await[0].0;
    world.control(Method::POST, &format!("instances/{id}/vanish"), json!({})).await;
    assert_eq!(world.run().await["started"], 0);
    world.control(Method::POST, &format!("instances/{id}/appear"), json!({})).await;
    assert_eq!(world.run().await["started"], 0);
    let known = world.known().await;
    assert_eq!((known.len(), known[0].missing_since, world.exist().await.len()), (1, None, 1));
}

#[tokio::test]
async fn a_machine_that_will_not_die_is_destroyed_again_until_it_does() {
    let world = World::with(one()).await;
    world.run().await;
    let id = world.exist().await[0].0;
    world.control(Method::POST, &format!("instances/{id}/undying"), json!({ "status": 503 })).await;
    world.set(Policy { safe_mode: true, ..one() }).await;
    assert_eq!(world.run().await["failed"], 1);
    assert_eq!(world.run().await["failed"], 1);
    assert_eq!((world.known().await.len(), world.exist().await.len()), (1, 1));
    world.control(Method::POST, &format!("instances/{id}/mortal"), json!({})).await;
    assert_eq!(world.run().await["failed"], 0);
    assert_eq!(world.exist().await, []);
}

/// What it costs then is money that is gone: it counts, so that nothing else is rented for it, and is told.
#[tokio::test]
async fn what_a_machine_that_will_not_die_costs_beyond_its_cover_is_committed_and_told() {
    let world = World::with(Policy { max: 1, desired_size: 0, ..one() }).await;
    world.set(one()).await;
    world.run().await;
    world.fault(json!({ "kind": "undying", "method": "DELETE", "until_cleared": true })).await;
    let now = world.app.now();
    // Silent, written off, and the cover of its hour is over.
    world
        .change(|instance| {
            (instance.stage, instance.heartbeat_at) = (Stage::Lost, Some(now - seconds(3_600)));
            (instance.requested_at, instance.covered_to) = (now - seconds(7_200), now - seconds(600));
        })
        .await;
    let rate = world.known().await[0].rate;
    let full = world.hour().await;
    world.set(Policy { max: 1, desired_size: 1, budget_month_microusd: Some(full), ..one() }).await;
    assert_eq!(world.run().await["started"], 0, "another one was rented for money that is gone");
    let more = world.hour().await - full;
    // And what passed since the machine was made so old.
    let took = world.app.now() - now;
    let [least, most] = [0, took].map(|ms| rate.microusd_per_hour * (720_000 + ms) / 3_600_000);
    assert!((least..=most + 2).contains(&more), "{more} for twelve minutes and {took} ms at {rate:?}");
    let told = world.app.table().fleet(POOL).await.unwrap().run.told;
    assert!(told.iter().any(|told| told.reason == "beyond_cover" && told.instance_id.is_some() && told.text.contains('$')), "{told:?}");
    // At the next look again, and no share twice.
    let before = world.hour().await;
    world.run().await;
    assert!(world.hour().await - before <= rate.microusd_per_hour * 30 / 3_600);
}

#[tokio::test]
async fn while_the_provider_is_down_nothing_is_rented_and_nothing_is_forgotten() {
    let world = World::with(one()).await;
    world.run().await;
    world.set(Policy { desired_size: 3, ..one() }).await;
    world.fault(json!({ "kind": "error", "until_cleared": true })).await;
    for _ in 0..2 {
        let done = world.run().await;
        assert_eq!((done["started"].clone(), done["instances"].clone()), (json!(0), json!(1)));
    }
    world.control(Method::DELETE, "faults", Value::Null).await;
    assert_eq!(world.run().await["started"], 2);
    assert_eq!((world.exist().await.len(), world.known().await.len()), (3, 3));
}

#[tokio::test]
async fn two_runs_at_once_rent_what_one_would() {
    let world = World::with(one()).await;
    let all = futures::future::join_all((0..6).map(|_| world.run())).await;
    assert_eq!(all.iter().filter(|done| done["started"] == 1).count(), 1, "{all:?}");
    assert_eq!((world.exist().await.len(), world.known().await.len()), (1, 1));
}

#[tokio::test]
async fn an_order_that_is_refused_leaves_nothing_behind() {
    let world = World::with(one()).await;
    world.fault(json!({ "kind": "success_false", "method": "PUT" })).await;
    assert_eq!(world.run().await["failed"], 1);
    assert_eq!((world.known().await.len(), world.hour().await), (0, 0));
    assert_eq!(world.run().await["started"], 1);
}

/// Ready, and without work for so long.
pub(crate) fn idle(instance: &mut Instance, now: Millis, idle_s: u64) {
    instance.stage = Stage::Ready;
    let since = now - seconds(idle_s);
    (instance.ready_at, instance.heartbeat_at, instance.idle_since) = (Some(since), Some(now), since);
    instance.requested_at = now - seconds(idle_s + 600);
}

#[tokio::test]
async fn a_machine_is_given_back_after_a_quarter_of_an_hour_without_work_and_not_before() {
    let world = World::with(one()).await;
    world.run().await;
    world.set(Policy { desired_size: 0, ..one() }).await;
    let now = world.app.now();
    world.change(|instance| idle(instance, now, 890)).await;
    assert_eq!((world.run().await["stopped"].clone(), world.exist().await.len()), (json!(0), 1));
    world.change(|instance| idle(instance, now, 901)).await;
    assert_eq!((world.run().await["stopped"].clone(), world.exist().await.len()), (json!(1), 0));
    let run = world.app.table().fleet(POOL).await.unwrap().run;
    assert_eq!((run.told[0].what.as_str(), run.told[0].reason.as_str()), ("stop", "idle"), "{:?}", run.told);
}

#[tokio::test]
async fn a_claimed_machine_stays_until_its_claim_is_over_and_is_not_sent_away() {
    let world = World::with(one()).await;
    world.run().await;
    world.set(Policy { desired_size: 0, ..one() }).await;
    let (now, table) = (world.app.now(), world.app.table());
    world.change(|instance| idle(instance, now, 2_000)).await;
    let id = world.known().await[0].instance_id.clone();
    let audit = || world.line("pool.lease");
    let lease = |n: u128, until: Millis| Lease { id: LeaseId::new(now, n), until };
    assert_eq!(table.lease(&id, &lease(1, now + seconds(60)), now, &audit()).await.unwrap(), Ok(()));
    assert_eq!(table.lease(&id, &lease(2, now + seconds(60)), now, &audit()).await.unwrap(), Err(NoClaim::Claimed));
    assert_eq!(world.run().await["stopped"], 0);
    assert_eq!(table.send_away(&id, true, now, &audit()).await.unwrap(), Err(NoClaim::Claimed));
    // Over by itself, it may be claimed anew; released, it goes.
    let later = now + seconds(61);
    assert_eq!(table.lease(&id, &lease(3, later + seconds(60)), later, &audit()).await.unwrap(), Ok(()));
    assert!(!table.release(&id, &lease(1, 0), &audit()).await.unwrap(), "another's claim");
    assert!(table.release(&id, &lease(3, 0), &audit()).await.unwrap());
    assert_eq!((world.run().await["stopped"].clone(), world.exist().await.len()), (json!(1), 0));
    assert_eq!(table.lease(&id, &lease(4, later), later, &audit()).await.unwrap(), Err(NoClaim::Leaving));
    assert_eq!(table.lease(&InstanceId::new(1, 1), &lease(5, later), later, &audit()).await.unwrap(), Err(NoClaim::Gone));
}

#[tokio::test]
async fn a_machine_that_is_sent_away_goes_and_another_stays() {
    for at_once in [true, false] {
        let world = World::with(Policy { desired_size: 2, ..one() }).await;
        assert_eq!(world.run().await["started"], 2);
        world.set(Policy { desired_size: 0, ..one() }).await;
        let now = world.app.now();
        world.change(|instance| idle(instance, now, 10)).await;
        let known = world.known().await;
        assert_eq!(world.app.table().send_away(&known[0].instance_id, at_once, now, &world.line("pool.terminate")).await.unwrap(), Ok(()));
        // One that finishes first has a heartbeat's time to go by itself.
        let heartbeat = seconds(world.app.settings().heartbeat_s);
        world.change(|instance| instance.drained_at = instance.drained_at.map(|at| at - heartbeat)).await;
        world.run().await;
        let left: Vec<String> = world.exist().await.into_iter().map(|(id, _)| id.to_string()).collect();
        assert_eq!(left, [known[1].provider_id.clone().unwrap()], "at once: {at_once}");
    }
}

#[tokio::test]
async fn machines_are_there_ahead_of_the_jobs_for_as_long_as_was_said() {
    let world = World::with(Policy { desired_size: 0, ..one() }).await;
    assert_eq!(world.run().await["started"], 0);
    let prewarm = async |until: Millis| {
        let stored = world.app.table().fleet(POOL).await.unwrap().state.unwrap();
        let prewarm = Some(Prewarm { machines: 2, until });
        assert!(world.app.table().set_policy(POOL, Some(&stored), &stored.policy, prewarm, &world.line("pool.prewarm")).await.unwrap());
    };
    prewarm(world.app.now() - 1).await;
    assert_eq!(world.run().await["started"], 0);
    prewarm(world.app.now() + seconds(60)).await;
    assert_eq!((world.run().await["started"].clone(), world.exist().await.len()), (json!(2), 2));
}

#[tokio::test]
async fn a_machine_whose_container_has_ended_is_destroyed_and_its_cost_is_kept() {
    let world = World::with(one()).await;
    world.run().await;
    let (id, known) = (world.exist().await[0].0, world.known().await.remove(0));
    world.control(Method::POST, "clock", json!({ "advance_s": 120 })).await;
    world.control(Method::POST, &format!("instances/{id}/die"), json!({})).await;
    world.run().await;
    assert_eq!(world.exist().await, [], "it would bill its disk for ever");
    world.set(Policy { desired_size: 0, ..one() }).await;
    world.change(|instance| instance.requested_at -= seconds(600)).await;
    world.missing_for(&known, seconds(61)).await;
    world.run().await;
    assert_eq!(world.known().await.len(), 0);
    let (gone, _) = world.app.table().gone(10, None).await.unwrap();
    assert_eq!((gone.len(), gone[0].instance_id.clone(), gone[0].microusd_per_hour), (1, known.instance_id, known.rate.microusd_per_hour));
    assert!(gone[0].cost_microusd > 0 && gone[0].provider_id == Some(id.to_string()), "{gone:?}");
}

#[tokio::test]
async fn what_a_machine_was_used_for_is_told_by_the_looks_and_adds_up_to_what_it_cost() {
    let world = World::with(one()).await;
    world.run().await;
    let now = world.app.now();
    world
        .change(|instance| {
            idle(instance, now, 300);
            (instance.registered_at, instance.ready_at) = (Some(now - seconds(500)), Some(now - seconds(450)));
            instance.busy_since = Some(now - seconds(400));
            // As if it had been rented then.
            instance.told = None;
        })
        .await;
    world.run().await;
    world.set(Policy { safe_mode: true, ..one() }).await;
    world.run().await;
    world.run().await;
    world.missing_for(&world.known().await[0], seconds(61)).await;
    world.run().await;
    assert_eq!(world.known().await, []);
    let (events, _) = world.app.table().usage(&kiln_store::UsageFilter::default(), now, 100, None).await.unwrap();
    let life: Vec<_> = events.iter().rev().filter(|event| event.at < now - seconds(60) || event.ended.is_some()).collect();
    let phases: Vec<_> = life.iter().map(|event| format!("{:?}", event.phase).to_lowercase()).collect();
    assert_eq!(phases, ["rented", "booting", "ready", "busy", "idle", "terminated"]);
    let (gone, _) = world.app.table().gone(10, None).await.unwrap();
    assert_eq!((gone.len(), life.iter().map(|event| event.cost_microusd).sum::<i64>()), (1, gone[0].cost_microusd));
    assert_eq!(life.iter().map(|event| event.gpu_seconds).sum::<u64>(), ((gone[0].ended_at - gone[0].rented_at) / 1000) as u64);
}

#[tokio::test]
async fn what_the_list_lacks_is_gone_only_when_that_is_true_by_its_id_too() {
    let world = World::with(one()).await;
    world.run().await;
    let (id, known) = (world.exist().await[0].0, world.known().await.remove(0));
    world.control(Method::POST, &format!("instances/{id}/vanish"), json!({})).await;
    world.run().await;
    world.missing_for(&known, seconds(61)).await;
    world.fault(json!({ "kind": "error", "method": "GET", "path": format!("/api/v0/instances/{id}/"), "until_cleared": true })).await;
    world.run().await;
    assert_eq!(world.known().await, [Instance { missing_since: world.known().await[0].missing_since, ..known.clone() }]);
    world.control(Method::DELETE, "faults", Value::Null).await;
    world.run().await;
    assert!(world.known().await.iter().all(|instance| instance.instance_id != known.instance_id));
}

#[tokio::test]
async fn a_host_that_did_not_boot_is_avoided() {
    let world = World::with(one()).await;
    world.run().await;
    let first = world.known().await.remove(0);
    let now = world.app.now();
    world.change(|instance| (instance.requested_at, instance.boot_expires_at) = (now - seconds(700), now - 1)).await;
    world.run().await;
    let run = world.app.table().fleet(POOL).await.unwrap().run;
    assert!(run.avoid.contains_key(&first.host), "{run:?}");
    world.run().await;
    let second = world.known().await.into_iter().find(|instance| instance.instance_id != first.instance_id).unwrap();
    assert_ne!(second.host, first.host);
}

#[tokio::test]
async fn safe_mode_gives_back_what_is_known_though_its_provider_does_not_say_what_there_is() {
    let world = World::with(one()).await;
    world.run().await;
    world.fault(json!({ "kind": "error", "method": "GET", "until_cleared": true })).await;
    world.set(Policy { safe_mode: true, ..one() }).await;
    let done = world.run().await;
    assert_eq!((done["stopped"].clone(), done["failed"].clone(), world.exist().await.len()), (json!(1), json!(0), 0));
    // That it is gone is believed only once the provider says it.
    let known = world.known().await.remove(0);
    world.missing_for(&known, seconds(61)).await;
    world.run().await;
    assert_eq!(world.known().await.len(), 1);
    world.control(Method::DELETE, "faults", Value::Null).await;
    world.run().await;
    assert_eq!((world.known().await.len(), world.exist().await.len()), (0, 0));
}

#[tokio::test]
async fn what_a_machine_is_at_before_its_worker_speaks_is_shown_and_its_provider_s_words_tell_why_it_did_not_boot() {
    let world = World::with(one()).await;
    crate::wake_tests::submit(&world.app).await;
    world.run().await;
    world.control(Method::POST, "clock", json!({ "advance_s": 3 })).await;
    world.run().await;
    let row = world.known().await.remove(0);
    assert_eq!((row.boot_stage.as_deref(), row.provider_says.as_deref()), (Some("pulling"), Some("Pulling kiln/worker:1.")), "{row:?}");
    // Whoever waits for it sees it, too.
    let standing = world.app.table().standing().await.unwrap().unwrap();
    assert_eq!((standing.waits.machine, standing.waits.boot_stage.as_deref()), (Some(Stage::Requested), Some("pulling")));
    // Once its worker speaks that is what counts.
    let now = world.app.now();
    world.change(|row| (row.stage, row.heartbeat_at, row.boot_stage) = (Stage::Loading, Some(now), Some("models".into()))).await;
    world.run().await;
    assert_eq!(world.known().await[0].boot_stage.as_deref(), Some("models"));
    world.change(|row| (row.stage, row.heartbeat_at, row.requested_at, row.boot_expires_at) = (Stage::Requested, None, now - seconds(700), now - 1)).await;
    world.run().await;
    let told = world.app.table().fleet(POOL).await.unwrap().run.told;
    let why = told.iter().find(|told| told.reason == "boot_too_long").unwrap();
    assert!(why.text.ends_with("its provider said: Pulling kiln/worker:1."), "{told:?}");
}

#[tokio::test]
async fn safe_mode_ends_forty_machines_in_one_look_by_one_call_within_the_provider_s_thresholds() {
    let config = Config { offers: kiln_vast_stand_in::generate(7, 500), ..Config::new(KEY) };
    let mut world = World::at(config, Policy { desired_size: 40, max: 40, ..Policy::default() }).await;
    assert_eq!(world.run().await["started"], 40);
    world.paced(450, 1_200, 30, false).await;
    world.set(Policy { safe_mode: true, desired_size: 0, max: 40, ..Policy::default() }).await;
    let before = world.came(0).await.len();
    let done = world.run().await;
    assert_eq!((done["stopped"].clone(), done["failed"].clone(), world.exist().await.len()), (json!(40), json!(0), 0));
    let came = world.came(before).await;
    assert_eq!(came.iter().filter(|(method, _)| method == "DELETE").count(), 1, "{came:?}");
    assert!(came.iter().all(|(_, status)| *status == 200), "{came:?}");
    // They are asked for by their ids, a few in each look, and none too early.
    world.run().await;
    for instance in world.known().await {
        world.missing_for(&instance, seconds(61)).await;
    }
    let before = world.came(0).await.len();
    let mut looks = 0;
    while !world.known().await.is_empty() {
        world.run().await;
        looks += 1;
    }
    assert_eq!(looks, 8);
    assert!(world.came(before).await.iter().all(|(_, status)| *status != 429));
}

#[tokio::test]
async fn five_orders_are_made_as_fast_as_the_provider_takes_them_and_none_comes_too_early() {
    let five = Policy { desired_size: 5, max: 5, ..Policy::default() };
    let config = || Config { offers: kiln_vast_stand_in::generate(7, 100), ..Config::new(KEY) };
    let mut world = World::at(config(), five.clone()).await;
    world.paced(300, 2_000, 10, false).await;
    assert_eq!(world.run().await["started"], 5);
    let orders: Vec<_> = world.came(0).await.into_iter().filter(|(method, _)| method == "PUT").collect();
    assert_eq!((orders.len(), orders.iter().all(|(_, status)| *status == 200), world.exist().await.len()), (5, true, 5), "{orders:?}");
    // The canary: who does not keep to it is found out, and one who was too early waits for longer than this run has.
    let mut hasty = World::at(config(), five).await;
    hasty.paced(300, 60_000, 10, true).await;
    let done = hasty.run().await;
    assert_eq!((done["started"].clone(), done["failed"].clone()), (json!(1), json!(1)));
    let orders = async || hasty.came(0).await.into_iter().filter(|(method, _)| method == "PUT").map(|(_, status)| status).collect::<Vec<_>>();
    assert_eq!(orders().await, [200, 429]);
    // Nothing stands of what was refused, and the next look waits too.
    assert_eq!((hasty.known().await.len(), hasty.run().await["started"].clone(), orders().await.len()), (1, json!(0), 2));
}

#[tokio::test]
async fn while_nothing_runs_or_waits_one_look_a_minute_is_enough() {
    let world = World::with(Policy { desired_size: 0, ..one() }).await;
    assert!(!crate::has_work(&world.run().await));
    assert!(!crate::has_work(&json!({ "another_runs": true })));
    world.set(one()).await;
    assert!(crate::has_work(&world.run().await), "a machine was rented");
    world.set(Policy { desired_size: 0, ..one() }).await;
    assert!(crate::has_work(&world.run().await), "a machine runs");
}

#[tokio::test]
async fn a_worker_that_begins_again_on_an_old_machine_is_no_boot_that_took_too_long() {
    let world = World::with(one()).await;
    world.run().await;
    let now = world.app.now();
    world
        .change(|instance| {
            idle(instance, now, 0);
            (instance.stage, instance.boot_expires_at, instance.requested_at) = (Stage::Loading, now - 1, now - seconds(3_600));
        })
        .await;
    let loading_for = async |s: u64| world.change(|instance| instance.loading_since = Some(now - seconds(s))).await;
    loading_for(590).await;
    world.run().await;
    assert_eq!(world.exist().await.len(), 1);
    let run = world.app.table().fleet(POOL).await.unwrap().run;
    assert!(run.avoid.is_empty(), "{run:?}");
    // It speaks and is never ready: its GPU may hang.
    let host = world.known().await[0].host.clone();
    loading_for(601).await;
    assert_eq!(world.run().await["stopped"], 1);
    let run = world.app.table().fleet(POOL).await.unwrap().run;
    assert_eq!(run.avoid_why.get(&host).map(String::as_str), Some("boot_too_long"), "{run:?}");
}

#[tokio::test]
async fn a_machine_is_not_kept_by_its_own_word_that_it_works_or_loads() {
    let job = |instance: &mut Instance, stage: Stage| {
        instance.stage = stage;
        let (job, account) = (kiln_core::ids::JobId::new(1, 1), kiln_core::ids::AccountId::new(1, 1));
        (instance.slot_job, instance.slot_account, instance.slot_attempt) = (Some(job), Some(account), Some(1));
    };
    let began = |instance: &mut Instance, restarts: u32| {
        (instance.stage, instance.restarts, instance.loading_since) = (Stage::Loading, restarts, Some(instance.idle_since + seconds(890)));
    };
    type Says<'a> = (&'a str, Box<dyn Fn(&mut Instance) + 'a>, u64);
    let all: [Says<'_>; 6] = [
        ("busy", Box::new(|instance| instance.stage = Stage::Busy), 1),
        ("busy with a job", Box::new(|instance| job(instance, Stage::Busy)), 0),
        ("loading, after it was ready", Box::new(|instance| instance.stage = Stage::Loading), 1),
        ("loading with a job", Box::new(|instance| job(instance, Stage::Loading)), 0),
        ("begun again", Box::new(|instance| began(instance, 5)), 0),
        ("begun again and again", Box::new(|instance| began(instance, 6)), 1),
    ];
    for (what, says, stopped) in all {
        let world = World::with(one()).await;
        world.run().await;
        world.set(Policy { desired_size: 0, ..one() }).await;
        let now = world.app.now();
        world
            .change(|instance| {
                idle(instance, now, 901);
                says(instance);
            })
            .await;
        assert_eq!(world.run().await["stopped"], stopped, "{what}");
    }
}

#[tokio::test]
async fn two_deployments_of_one_name_at_one_account_leave_each_other_s_machines_alone() {
    let ours = World::with(one()).await;
    let mut theirs = World::with(one()).await;
    let wanted = Wanted { image: "kiln/worker:1".into(), download_gb: 5.0, disk_gb: 20, api_url: "https://kiln.example.org".into(), max_life_s: 86_400 };
    theirs.vast = Providers::new(vec![Box::new(Vast::new(&ours.url, KEY, wanted).unwrap().at_pace(Pace::NONE))]);
    for _ in 0..2 {
        ours.run().await;
        theirs.run().await;
    }
    assert_eq!(ours.app.deployment(), theirs.app.deployment());
    assert_eq!((ours.exist().await.len(), ours.known().await.len(), theirs.known().await.len()), (2, 1, 1));
}

#[tokio::test]
async fn while_machines_will_not_die_there_are_twice_the_most_at_most() {
    let world = World::with(Policy { max: 1, ..one() }).await;
    world.fault(json!({ "kind": "undying", "method": "DELETE", "until_cleared": true })).await;
    for _ in 0..5 {
        let now = world.app.now();
        world.run().await;
        world.change(|instance| (instance.stage, instance.heartbeat_at) = (Stage::Ready, Some(now - seconds(3_600)))).await;
    }
    assert_eq!(world.exist().await.len(), 2);
}
