//! The provider against the stand-in for Vast.ai, which the official client judges.

use super::*;
use kiln_core::ids::InstanceId;
use kiln_vast_stand_in::{Config, StandIn};

const KEY: &str = "the key of these tests";

struct Shop {
    url: String,
    http: Client,
}

impl Shop {
    async fn open() -> Self {
        Self::with(Config::new(KEY)).await
    }

    async fn with(config: Config) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let stand_in = StandIn::new(config);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, stand_in.router()).await });
        Self { url, http: Client::new() }
    }

    fn vast(&self, key: &str) -> Vast {
        let wanted = Wanted { image: "kiln/worker:1".into(), download_gb: 5.0, disk_gb: 20, api_url: "https://kiln.example.org".into(), max_life_s: 86_400 };
        Vast::new(&self.url, key, wanted).unwrap().at_pace(Pace::NONE)
    }

    async fn control(&self, method: Method, path: &str, body: Value) -> Value {
        let answer = self.http.request(method, format!("{}/stand-in/{path}", self.url)).bearer_auth(KEY).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
        answer.json().await.unwrap_or_default()
    }

    async fn fault(&self, fault: Value) {
        self.control(Method::POST, "faults", fault).await;
    }

    /// Requests that came, of this method.
    async fn came(&self, method: &str) -> usize {
        let seen = self.control(Method::GET, "requests", Value::Null).await;
        seen["items"].as_array().unwrap().iter().filter(|request| request["method"] == method).count()
    }

    /// Machines that exist, whoever knows of them.
    async fn exist(&self) -> Vec<Value> {
        let truth = self.control(Method::GET, "machines", Value::Null).await;
        truth["machines"].as_array().unwrap().iter().filter(|machine| machine["exists"] != false && machine["destroyed_at_ms"].is_null()).cloned().collect()
    }
}

/// A pool that rents no machine that may be taken away.
fn on_demand() -> Policy {
    Policy { interruptible: false, ..Policy::default() }
}

fn order(n: u128, offer: Option<Offer>) -> Order {
    let instance_id = InstanceId::new(1, n);
    Order { label: format!("kiln/test/main/{instance_id}"), instance_id, boot_token: "kib_once".into(), offer }
}

/// That the worker knows these names, and boots by them, is `a_machine_that_is_rented_boots_by_its_order_alone` in tests/.
#[tokio::test]
async fn an_order_tells_the_machine_what_it_needs_and_no_key_of_ours_and_keeps_the_limits() {
    let shop = Shop::open().await;
    let vast = shop.vast(KEY);
    let boot_token = kiln_http::new_secret(&format!("kib_{}.", InstanceId::new(1, 1))).token;
    let body = vast.order(&Order { boot_token: boot_token.clone(), ..order(1, None) });
    let env = body["env"].as_object().unwrap();
    assert_eq!(
        (&env["KILN_API"], &env["KILN_BOOT_TOKEN"], &env["KILN_MAX_LIFE_S"]),
        (&json!("https://kiln.example.org/api/v1"), &json!(boot_token), &json!("86400"))
    );
    assert!(env.iter().all(|(name, value)| name.len() + value.as_str().unwrap().len() <= MOST_ENTRY), "{env:?}");
    assert_eq!((&body["runtype"], &body["args"]), (&json!("args"), &json!(["--rented", "vast"])));
    assert!(!body.to_string().contains(KEY));
    let long = Wanted { api_url: format!("https://{}.example.org", "k".repeat(300)), ..vast.wanted };
    assert!(long.check().is_err());
}

#[test]
fn that_a_machine_is_to_stop_is_no_word_that_it_has() {
    let of = |actual: &str, intended: &str| {
        let machine = Machine::from(serde_json::from_value::<Listed>(json!({ "id": 1, "actual_status": actual, "intended_status": intended })).unwrap());
        (machine.running, machine.stopped)
    };
    assert_eq!([of("running", "running"), of("loading", "running"), of("running", "stopped"), of("offline", "running")], [(true, false); 4]);
    assert_eq!([of("stopped", "stopped"), of("exited", "stopped"), of("stopped", "running"), of("loading", "stopped")], [(false, true); 4]);
    // It has ended by itself, or can't be heard and is to be stopped.
    assert_eq!([of("exited", "running"), of("offline", "stopped")], [(false, false); 2]);
}

#[test]
fn what_the_service_says_of_a_machine_is_one_short_line_and_its_status_what_it_is_at() {
    let of = |actual: Option<&str>, said: Option<&str>| {
        let listed = json!({ "id": 1, "actual_status": actual, "intended_status": "running", "status_msg": said });
        let machine = Machine::from(serde_json::from_value::<Listed>(listed).unwrap());
        (machine.boot_stage, machine.says)
    };
    assert_eq!(of(None, None), (Some("provisioning"), None));
    let pulling = of(Some("loading"), Some("Error response from daemon:\n\tpull access denied\u{1b}[31m\r\n"));
    assert_eq!(pulling, (Some("pulling"), Some("Error response from daemon: pull access denied [31m".into())));
    assert_eq!([of(Some("created"), Some(" \n")), of(Some("running"), Some(""))], [(Some("provisioning"), None), (Some("starting"), None)]);
    assert_eq!([of(Some("exited"), None), of(Some("offline"), None)], [(None, None), (None, None)]);
    // Cut between letters, and not within one.
    let long = of(Some("loading"), Some(&"ä".repeat(500))).1.unwrap();
    assert_eq!(long, "ä".repeat(100));
    assert_eq!(of(Some("loading"), Some(&format!("x{}", "ä".repeat(500)))).1.unwrap().len(), 199);
}

#[tokio::test]
async fn a_machine_is_found_rented_listed_and_given_back() {
    let (shop, policy) = (Shop::open().await, on_demand());
    let vast = shop.vast(KEY);
    let offers = vast.offers(&policy).await.unwrap();
    assert!(offers.len() > 3 && offers.iter().all(|offer| offer.rate.microusd_per_hour > 0 && offer.speed > 0.0), "{offers:?}");
    let narrow = Policy { gpus: vec![offers[0].gpu.clone()], max_microusd_per_hour: Some(offers[0].rate.microusd_per_hour), ..policy };
    let few = vast.offers(&narrow).await.unwrap();
    assert!(!few.is_empty() && few.len() < offers.len() && few.iter().all(|offer| offer.gpu == offers[0].gpu));
    assert_eq!(vast.list().await.unwrap(), []);
    let order = order(1, Some(offers[0].clone()));
    let id = vast.create(&order).await.unwrap();
    let listed = vast.list().await.unwrap();
    assert!(listed[0].boot_stage.is_some(), "{listed:?}");
    let up = Machine { provider_id: id.clone(), label: order.label, running: true, ..Machine::default() };
    assert_eq!(listed, [Machine { boot_stage: listed[0].boot_stage, says: listed[0].says.clone(), ..up }]);
    vast.destroy(&id).await.unwrap();
    assert_eq!(vast.list().await.unwrap(), []);
    // What is gone is gone.
    vast.destroy(&id).await.unwrap();
    vast.destroy("../users/current").await.unwrap_err();
}

#[tokio::test]
async fn an_order_is_sent_once_and_its_lost_answer_is_said_to_be_lost() {
    let shop = Shop::open().await;
    let vast = shop.vast(KEY);
    let offers = vast.offers(&on_demand()).await.unwrap();
    // (fault, whether a machine was made, whether that is known)
    let cases = [
        (json!({ "kind": "rate_limit_text", "method": "PUT" }), false, true),
        (json!({ "kind": "rate_limit_json", "method": "PUT" }), false, true),
        (json!({ "kind": "success_false", "method": "PUT" }), false, true),
        (json!({ "kind": "gone", "method": "PUT" }), false, true),
        (json!({ "kind": "unavailable", "method": "PUT" }), false, true),
        (json!({ "kind": "error", "method": "PUT" }), false, false),
        (json!({ "kind": "error_applied", "method": "PUT" }), true, false),
        (json!({ "kind": "time_out", "method": "PUT", "ms": 50 }), false, false),
        (json!({ "kind": "time_out_applied", "method": "PUT", "ms": 50 }), true, false),
    ];
    for (n, ((fault, made, known), offer)) in cases.into_iter().zip(offers).enumerate() {
        let (before, sent) = (shop.exist().await.len(), shop.came("PUT").await);
        shop.fault(fault.clone()).await;
        let order = order(n as u128, Some(offer));
        let refused = vast.create(&order).await.unwrap_err();
        assert_eq!(!matches!(refused, NotMade::Unknown(_)), known, "{fault}: {refused:?}");
        // What is wrong with the offer is no reason to ask for no other.
        let of_offer = matches!(fault["kind"].as_str(), Some("gone" | "unavailable"));
        assert_eq!(matches!(refused, NotMade::Full(_)), of_offer, "{fault}: {refused:?}");
        assert_eq!((shop.exist().await.len() - before, shop.came("PUT").await - sent), (usize::from(made), 1), "{fault}");
        // Where one was made, its label tells whose it is.
        assert_eq!(vast.list().await.unwrap().iter().any(|machine| machine.label == order.label), made, "{fault}");
    }
}

#[tokio::test]
async fn reads_and_destroys_are_tried_three_times_and_a_broken_list_is_none() {
    let shop = Shop::open().await;
    let vast = shop.vast(KEY);
    let offers = vast.offers(&on_demand()).await.unwrap();
    let id = vast.create(&order(1, Some(offers[0].clone()))).await.unwrap();
    for kind in ["rate_limit_text", "rate_limit_detail", "error"] {
        shop.fault(json!({ "kind": kind, "method": "GET", "times": 2 })).await;
        assert_eq!(vast.list().await.unwrap().len(), 1, "{kind}");
    }
    shop.fault(json!({ "kind": "error", "method": "GET", "times": 3 })).await;
    let error = vast.list().await.unwrap_err().to_string();
    assert!(error.contains("503") && error.contains("3 times"), "{error}");
    shop.fault(json!({ "kind": "bad_token", "path": "/api/v1/instances/" })).await;
    assert!(vast.list().await.is_err(), "a list that breaks between its pages");
    shop.fault(json!({ "kind": "error", "method": "DELETE", "times": 2 })).await;
    vast.destroy(&id).await.unwrap();
    shop.fault(json!({ "kind": "search_quota" })).await;
    let before = shop.came("POST").await;
    assert!(vast.offers(&on_demand()).await.unwrap_err().to_string().contains("used up"));
    assert_eq!(shop.came("POST").await - before, 1);
}

#[tokio::test]
async fn several_are_destroyed_by_one_call_and_one_that_is_gone_or_will_not_die_keeps_none_of_the_others() {
    let shop = Shop::with(Config { offers: kiln_vast_stand_in::generate(7, 200), ..Config::new(KEY) }).await;
    let vast = shop.vast(KEY);
    let later = Instant::now() + Duration::from_secs(60);
    let rented = async |first: u128| {
        let mut ids = Vec::new();
        for (n, offer) in vast.offers(&Policy::default()).await.unwrap().into_iter().take(6).enumerate() {
            ids.push(vast.create(&order(first + n as u128, Some(offer))).await.unwrap());
        }
        ids
    };
    let ids = rented(0).await;
    assert!(vast.destroy_many(&ids, later).await.is_empty() && shop.exist().await.is_empty());
    assert_eq!(shop.came("DELETE").await, 1);
    // One of them is gone.
    let ids = rented(10).await;
    vast.destroy(&ids[2]).await.unwrap();
    assert!(vast.destroy_many(&ids, later).await.is_empty() && shop.exist().await.is_empty());
    // One will not die, and one is hidden by the list.
    let ids = rented(20).await;
    shop.control(Method::POST, &format!("instances/{}/undying", ids[1]), json!({ "status": 503 })).await;
    shop.control(Method::POST, &format!("instances/{}/vanish", ids[4]), json!({})).await;
    let left = vast.destroy_many(&ids, later).await;
    assert_eq!((left.len(), left[0].0.clone(), shop.exist().await.len()), (1, ids[1].clone(), 1), "{left:?}");
    // Where there is no time, none is asked for.
    let before = shop.came("DELETE").await;
    assert_eq!((vast.destroy_many(&ids, Instant::now()).await.len(), shop.came("DELETE").await), (6, before));
}

#[tokio::test]
async fn a_list_of_several_pages_is_whole() {
    let shop = Shop::with(Config { offers: kiln_vast_stand_in::generate(7, 250), ..Config::new(KEY) }).await;
    let vast = shop.vast(KEY);
    // One offer each; what is rented is offered no more.
    let mut made = Vec::new();
    for n in 0.. {
        let Some(offer) = vast.offers(&on_demand()).await.unwrap().into_iter().next() else { break };
        made.push(vast.create(&order(n, Some(offer))).await.unwrap());
    }
    let listed: Vec<_> = vast.list().await.unwrap().into_iter().map(|machine| machine.provider_id).collect();
    made.sort();
    let mut sorted = listed.clone();
    sorted.sort();
    assert_eq!(sorted, made);
    assert!(made.len() > 25, "{} are one page", made.len());
}

#[tokio::test]
async fn a_wrong_key_is_told_and_nobody_at_home_is_a_refusal() {
    let shop = Shop::open().await;
    let wrong = shop.vast("wrong");
    assert!(wrong.list().await.unwrap_err().to_string().contains("401"));
    assert!(matches!(wrong.create(&order(1, None)).await, Err(NotMade::Refused(_))));
    let offer = shop.vast(KEY).offers(&on_demand()).await.unwrap().remove(0);
    assert!(matches!(wrong.create(&order(1, Some(offer.clone()))).await, Err(NotMade::Refused(_))));
    let closed = { tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap() };
    let nobody = Vast { url: Url::parse(&format!("http://{closed}")).unwrap(), ..shop.vast(KEY) };
    assert!(matches!(nobody.create(&order(1, Some(offer))).await, Err(NotMade::Refused(_))));
    assert!(Vast::new("no address", KEY, nobody.wanted.clone()).is_err() && Vast::new(URL, "", nobody.wanted).is_err());
}

#[tokio::test]
async fn bids_are_offered_beside_what_stays_and_an_order_names_its_bid() {
    let shop = Shop::open().await;
    let vast = shop.vast(KEY);
    let (all, stays) = (vast.offers(&Policy::default()).await.unwrap(), vast.offers(&on_demand()).await.unwrap());
    let (bids, others): (Vec<&Offer>, Vec<&Offer>) = all.iter().partition(|offer| offer.interruptible);
    assert_eq!((others.len(), stays.iter().any(|offer| offer.interruptible)), (stays.len(), false));
    for bid in &bids {
        let price = others.iter().find(|offer| offer.id == bid.id).map(|offer| offer.rate.microusd_per_hour);
        assert!(price.is_none_or(|price| bid.rate.microusd_per_hour * 10 <= price * 9), "{bid:?} {price:?}");
        assert!(bid.bid_microusd_per_hour.is_some_and(|of_gpu| of_gpu > 0 && of_gpu < bid.rate.microusd_per_hour), "{bid:?}");
    }
    // Below the least that is taken by now.
    let low = Offer { bid_microusd_per_hour: Some(1), ..bids[0].clone() };
    assert!(matches!(vast.create(&order(2, Some(low))).await, Err(NotMade::Full(_))));
    let nothing = Offer { id: "1".into(), ..bids[0].clone() };
    assert!(matches!(vast.create(&order(3, Some(nothing))).await, Err(NotMade::Full(_))));
    let order = order(1, Some(bids[0].clone()));
    assert_eq!(vast.order(&order)["price"], json!(bids[0].bid_microusd_per_hour.unwrap() as f64 / 1e6));
    let id = vast.create(&order).await.unwrap();
    assert_eq!(shop.exist().await[0]["is_bid"], true);
    // Somebody pays more: it has ended, and is listed all the same.
    shop.control(Method::POST, &format!("instances/{id}/outbid"), json!({})).await;
    let outbid = Machine { provider_id: id, label: order.label, taken: true, stopped: true, says: Some("Outbid.".into()), ..Machine::default() };
    assert_eq!(vast.list().await.unwrap(), [outbid]);
}

#[tokio::test]
async fn a_host_that_asks_too_much_for_traffic_is_none_to_rent_of() {
    let found = |down: Option<f64>, up: Option<f64>| Found {
        id: 1,
        host_id: Some(2),
        machine_id: None,
        gpu_name: Some("RTX 4090".into()),
        dph_total: Some(0.05),
        min_bid: None,
        storage_total_cost: None,
        inet_down_cost: down,
        inet_up_cost: up,
        reliability: Some(0.99),
        dlperf: Some(80.0),
    };
    let shop = Shop::open().await;
    let vast = shop.vast(KEY);
    for (down, up, once) in [(None, None, Some(0)), (Some(0.01), Some(0.2), Some(50_000)), (Some(-1.0), None, Some(0))] {
        assert_eq!(vast.offer(found(down, up), false).map(|offer| offer.rate.microusd_once), once, "{down:?} {up:?}");
    }
    for (down, up) in [(Some(20.0), None), (Some(0.01), Some(0.21)), (Some(f64::INFINITY), None)] {
        assert_eq!(vast.offer(found(down, up), false), None, "{down:?} {up:?}");
    }
    // The search leaves them out, so that they take no other's place in it.
    let dear =
        |n: u64| kiln_vast_stand_in::Offer { id: n, machine_id: n, host_id: n, datacenter: true, dph_base: 0.01, inet_up_cost: 9.0, ..Default::default() };
    let mut offers: Vec<_> = (1..=100).map(dear).collect();
    offers.extend(kiln_vast_stand_in::generate(7, 24));
    let shop = Shop::with(Config { offers, ..Config::new(KEY) }).await;
    let offers = shop.vast(KEY).offers(&on_demand()).await.unwrap();
    assert!(!offers.is_empty() && offers.iter().all(|offer| offer.rate.microusd_per_hour > 20_000), "{offers:?}");
}

#[tokio::test]
async fn what_is_not_verified_or_no_datacenter_s_is_not_offered_however_cheap_it_is() {
    let offer = |id: u64, verified: bool, datacenter: bool, dph_base: f64| kiln_vast_stand_in::Offer {
        id,
        machine_id: id,
        host_id: id,
        verified,
        datacenter,
        dph_base,
        min_bid: dph_base / 2.0,
        ..Default::default()
    };
    let offers = vec![offer(1, true, true, 0.5), offer(2, false, true, 0.05), offer(3, true, false, 0.05), offer(4, false, false, 0.05)];
    let shop = Shop::with(Config { offers, ..Config::new(KEY) }).await;
    for policy in [on_demand(), Policy::default()] {
        let ids: Vec<String> = shop.vast(KEY).offers(&policy).await.unwrap().into_iter().map(|offer| offer.id).collect();
        assert!(!ids.is_empty() && ids.iter().all(|id| id == "1"), "{policy:?}: {ids:?}");
    }
}
