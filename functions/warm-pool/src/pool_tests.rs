//! The whole of a run against the stand-in for Vast.ai, which the official client judges, and a table in memory: what an operator asks of a pool.

use crate::vast::{Vast, Wanted};
use crate::{POOL, handle};
use kiln_core::pool::Policy;
use kiln_core::time::{Millis, seconds};
use kiln_dynamo::{Memory, TABLE};
use kiln_http::App;
use kiln_store::{Audit, DONE, Instance};
use kiln_vast_stand_in::{Config, StandIn};
use reqwest::{Client, Method};
use serde_json::{Value, json};

const KEY: &str = "the key of these tests";

/// A pool that rents from a stand-in of its own.
struct World {
    app: App,
    vast: Vast,
    url: String,
    http: Client,
    _memory: Memory,
}

impl World {
    async fn with(policy: Policy) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let stand_in = StandIn::new(Config::new(KEY));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, stand_in.router()).await });
        let memory = Memory::new(1);
        let env = [("KILN_STAGE", "local"), ("KILN_TABLE", TABLE)].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let app = App::on(env.into(), memory.sdk_config()).await.unwrap();
        let wanted = Wanted { image: "kiln/worker:1".into(), image_gb: 5.0, disk_gb: 20, api_url: "https://kiln.example.org".into() };
        let vast = Vast::new(&url, KEY, wanted).unwrap();
        let world = Self { app, vast, url, http: Client::new(), _memory: memory };
        world.set(policy).await;
        world
    }

    async fn set(&self, policy: Policy) {
        let stored = self.app.table().fleet(POOL).await.unwrap().state;
        let [action, subject, facts, outcome, actor, ip] = ["pool.change", "pool", "{}", DONE, "", ""].map(str::to_owned);
        let audit = Audit { id: format!("{:032x}", self.app.random()), at: 1, action, subject, facts, outcome, actor, ip, ttl: 1 };
        assert!(self.app.table().set_policy(POOL, stored.as_ref(), &policy, &audit).await.unwrap());
    }

    async fn run(&self) -> Value {
        handle(&self.app, &self.vast, json!({})).await.unwrap()
    }

    async fn control(&self, method: Method, path: &str, body: Value) -> Value {
        let answer = self.http.request(method, format!("{}/stand-in/{path}", self.url)).bearer_auth(KEY).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
        answer.json().await.unwrap_or_default()
    }

    async fn fault(&self, fault: Value) {
        self.control(Method::POST, "faults", fault).await;
    }

    /// Machines that truly exist, by their labels.
    async fn exist(&self) -> Vec<(u64, String)> {
        let truth = self.control(Method::GET, "machines", Value::Null).await;
        let there = truth["machines"].as_array().unwrap().iter().filter(|machine| machine["exists"] == true);
        there.map(|machine| (machine["id"].as_u64().unwrap(), machine["label"].as_str().unwrap_or_default().to_owned())).collect()
    }

    async fn known(&self) -> Vec<Instance> {
        self.app.table().fleet(POOL).await.unwrap().instances
    }

    /// What is committed in this hour.
    async fn hour(&self) -> i64 {
        let now = self.app.now();
        let committed = self.app.table().committed(now).await.unwrap();
        committed.get(&kiln_core::pool::budget::windows(now)[2]).copied().unwrap_or(0)
    }

    /// As if the list had lacked it for so long.
    async fn missing_for(&self, instance: &Instance, ms: Millis) {
        self.app.table().is_missing(&instance.instance_id, None).await.unwrap();
        self.app.table().is_missing(&instance.instance_id, Some(self.app.now() - ms)).await.unwrap();
    }
}

fn one() -> Policy {
    Policy { desired_size: 1, max: 3, budget_month_microusd: Some(50_000_000), ..Policy::default() }
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
        let offers = crate::Provider::offers(&world.vast, &Policy::default()).await.unwrap();
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
async fn an_offer_that_is_gone_leaves_nothing_behind() {
    let world = World::with(one()).await;
    world.fault(json!({ "kind": "gone", "method": "PUT" })).await;
    assert_eq!(world.run().await["failed"], 1);
    assert_eq!((world.known().await.len(), world.hour().await), (0, 0));
    assert_eq!(world.run().await["started"], 1);
}
