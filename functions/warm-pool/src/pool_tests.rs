//! The whole of a run against the stand-in for Vast.ai, which the official client judges, and a table in memory: what an operator asks of a pool.

use crate::vast::{Vast, Wanted};
use crate::{Machine, NotMade, Order, POOL, Provider, Providers, handle};
use kiln_core::fleet::Stage;
use kiln_core::ids::{InstanceId, LeaseId};
use kiln_core::pool::Policy;
use kiln_core::pool::offers::Offer;
use kiln_core::time::{Millis, seconds};
use kiln_dynamo::{Memory, TABLE};
use kiln_http::App;
use kiln_store::{Audit, DONE, Instance, Lease, NoClaim, Prewarm};
use kiln_vast_stand_in::{Config, StandIn};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::sync::Mutex;

const KEY: &str = "the key of these tests";

/// A pool that rents from a stand-in of its own.
struct World {
    app: App,
    vast: Providers,
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
        let wanted = Wanted { image: "kiln/worker:1".into(), image_gb: 5.0, disk_gb: 20, api_url: "https://kiln.example.org".into(), max_life_s: 86_400 };
        let vast = Providers::new(vec![Box::new(Vast::new(&url, KEY, wanted).unwrap())]);
        let world = Self { app, vast, url, http: Client::new(), _memory: memory };
        world.set(policy).await;
        world
    }

    async fn set(&self, policy: Policy) {
        let stored = self.app.table().fleet(POOL).await.unwrap().state;
        assert!(self.app.table().set_policy(POOL, stored.as_ref(), &policy, None, &self.line("pool.change")).await.unwrap());
    }

    /// A line of the audit log.
    fn line(&self, action: &str) -> Audit {
        let [action, subject, facts, outcome, actor, ip] = [action, "pool", "{}", DONE, "", ""].map(str::to_owned);
        Audit { id: format!("{:032x}", self.app.random()), at: 1, action, subject, facts, outcome, actor, ip, ttl: 1 }
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

    /// Changes a machine's row, as if time had passed or its worker had spoken.
    async fn change(&self, change: impl Fn(&mut Instance)) {
        for mut instance in self.known().await {
            change(&mut instance);
            let item = kiln_store::table::to_item(&kiln_store::keys::instance(&instance.instance_id), &instance).unwrap();
            assert!(self.app.table().put(item, None).await.unwrap());
        }
    }

    /// As if the list had lacked it for so long.
    async fn missing_for(&self, instance: &Instance, ms: Millis) {
        self.app.table().is_missing(&instance.instance_id, None).await.unwrap();
        self.app.table().is_missing(&instance.instance_id, Some(self.app.now() - ms)).await.unwrap();
    }
}

fn one() -> Policy {
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

/// Ready, and without work for so long.
fn idle(instance: &mut Instance, now: Millis, idle_s: u64) {
    instance.stage = Stage::Ready;
    (instance.ready_at, instance.heartbeat_at, instance.idle_since) = (Some(now - seconds(idle_s)), Some(now), now - seconds(idle_s));
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

/// The operator's own machine, with room for so many.
struct Own(usize, Mutex<Vec<Machine>>);

#[async_trait::async_trait]
impl Provider for Own {
    fn name(&self) -> &'static str {
        "local"
    }
    fn own(&self) -> bool {
        true
    }
    fn most(&self) -> Option<usize> {
        Some(self.0)
    }
    fn lists_at_once(&self) -> bool {
        true
    }
    async fn offers(&self, _: &Policy) -> anyhow::Result<Vec<Offer>> {
        Ok(vec![])
    }
    async fn list(&self) -> anyhow::Result<Vec<Machine>> {
        Ok(self.1.lock().unwrap().clone())
    }
    async fn is_gone(&self, id: &str) -> anyhow::Result<bool> {
        Ok(self.1.lock().unwrap().iter().all(|machine| machine.provider_id != id))
    }
    async fn create(&self, order: &Order) -> Result<String, NotMade> {
        let mut machines = self.1.lock().unwrap();
        let id = format!("{}", machines.len());
        machines.push(Machine { provider_id: id.clone(), label: order.label.clone(), running: true });
        Ok(id)
    }
    async fn destroy(&self, id: &str) -> anyhow::Result<()> {
        self.1.lock().unwrap().retain(|machine| machine.provider_id != id);
        Ok(())
    }
}

#[tokio::test]
async fn of_several_providers_the_own_machine_is_taken_first_and_one_s_trouble_is_not_the_others() {
    let mut world = World::with(Policy { desired_size: 3, ..one() }).await;
    let vast = std::mem::replace(&mut world.vast, Providers::new(vec![]));
    let Providers(mut all) = vast;
    all.insert(0, Box::new(Own(2, Mutex::default())));
    world.vast = Providers(all);
    assert_eq!(world.run().await["started"], 3);
    let of = |known: &[Instance], name: &str| known.iter().filter(|instance| instance.provider == name).count();
    let known = world.known().await;
    assert_eq!((of(&known, "local"), of(&known, "vast"), world.exist().await.len()), (2, 1, 1));
    // While the one can't be read, the other is still acted for.
    world.fault(json!({ "kind": "error", "until_cleared": true })).await;
    world.set(Policy { safe_mode: true, ..one() }).await;
    world.run().await;
    world.run().await;
    let known = world.known().await;
    assert_eq!((of(&known, "local"), of(&known, "vast")), (0, 1));
}

#[tokio::test]
async fn a_provider_that_can_t_be_set_up_says_why_and_one_that_is_no_longer_named_still_gives_back() {
    let world = World::with(one()).await;
    let named = async |providers: &str, key: Option<&str>| {
        let env = [("KILN_STAGE", "local"), ("KILN_TABLE", TABLE), ("KILN_SECRETS_PREFIX", "/kiln/"), ("KILN_PROVIDERS", providers)];
        let more = [("VAST_URL", world.url.as_str()), ("KILN_WORKER_IMAGE", "kiln/worker:1"), ("KILN_PUBLIC_URL", "https://kiln.example.org")];
        if let Some(key) = key {
            world._memory.put_parameter("/kiln/vast-api-key", key);
        }
        let env = env.into_iter().chain(more).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Providers::named(&App::on(env, world._memory.sdk_config()).await.unwrap(), None).await
    };
    let why = async |providers: &Providers, name: &str| format!("{:#}", providers.of(name).unwrap().list().await.unwrap_err());
    let none = named("vast, local,mars", Some("unset")).await;
    assert!(why(&none, "vast").await.contains("deploy with VAST_API_KEY"));
    assert!(why(&none, "local").await.contains("one machine"));
    assert!(why(&none, "unknown").await.contains("\"mars\"; there are: local, vast"));
    assert!(none.all().all(|provider| !provider.rents()));
    let set_up = named("vast", Some(KEY)).await;
    assert!(set_up.of("vast").unwrap().rents());
    handle(&world.app, &set_up, json!({})).await.unwrap();
    assert_eq!(world.exist().await.len(), 1);
    // The setting is taken back while a machine runs: it is given back, and none is rented.
    let dropped = named("", None).await;
    assert!(!dropped.of("vast").unwrap().rents());
    world.set(Policy { safe_mode: true, ..one() }).await;
    handle(&world.app, &dropped, json!({})).await.unwrap();
    assert_eq!(world.exist().await, []);
    world.set(one()).await;
    let done = handle(&world.app, &dropped, json!({})).await.unwrap();
    assert_eq!((done["started"].clone(), world.exist().await.len()), (json!(0), 0));
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
    world.run().await;
    assert_eq!(world.exist().await.len(), 1);
    let run = world.app.table().fleet(POOL).await.unwrap().run;
    assert!(run.avoid.is_empty(), "{run:?}");
}

#[tokio::test]
async fn two_deployments_of_one_name_at_one_account_leave_each_other_s_machines_alone() {
    let ours = World::with(one()).await;
    let mut theirs = World::with(one()).await;
    let wanted = Wanted { image: "kiln/worker:1".into(), image_gb: 5.0, disk_gb: 20, api_url: "https://kiln.example.org".into(), max_life_s: 86_400 };
    theirs.vast = Providers::new(vec![Box::new(Vast::new(&ours.url, KEY, wanted).unwrap())]);
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

fn spot() -> Policy {
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
