//! What outlives the process, and what a seed fixes.

use serde_json::{Value, json};

use crate::common::{Hook, KEY, id, start, start_with};
use kiln_stripe_stand_in::{Config, Endpoint, StandIn};

#[tokio::test]
async fn the_state_file_brings_everything_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stripe.json");
    let hook = Hook::start().await;
    let (session, customer, secret);
    {
        let stripe = start_with(|c| c.state_file = Some(file.clone())).await;
        secret = hook.register(&stripe, &["*"]).await;
        session = stripe.paid().await;
        let request = stripe.request("POST", "/v1/customers").bearer_auth(KEY).header("idempotency-key", "k").body("name=A");
        customer = stripe.said(request).await.body;
        stripe.idle().await;
        stripe.controlled("deliveries/hold", json!({})).await;
        stripe.ok("POST", "/v1/customers", &[("name", "Held")]).await;
    }
    let before = hook.letters.lock().unwrap().len();
    let stripe = start_with(|c| c.state_file = Some(file.clone())).await;
    let back = stripe.ok("GET", &format!("/v1/checkout/sessions/{}", id(&session)), &[]).await;
    assert_eq!(back, session);
    let request = stripe.request("POST", "/v1/customers").bearer_auth(KEY).header("idempotency-key", "k").body("name=A");
    assert_eq!(stripe.said(request).await.body, customer, "keys are remembered");
    stripe.controlled("deliveries/release", json!({})).await;
    let letters = hook.letters.lock().unwrap().split_off(before);
    assert_eq!(letters.len(), 1, "what was held is still to be delivered");
    stripe_webhook::Webhook::construct_event(&letters[0].1, &letters[0].0, &secret).unwrap();
    let next = stripe.ok("POST", "/v1/customers", &[]).await;
    assert_ne!(id(&next), id(&customer), "no id comes twice");
    assert!(!folder.path().join("stripe.new").exists());
}

#[tokio::test]
async fn a_state_file_that_is_broken_is_refused_and_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stripe.json");
    std::fs::write(&file, "{").unwrap();
    let mut config = Config::new("http://127.0.0.1:1", KEY);
    config.state_file = Some(file.clone());
    assert!(StandIn::new(config).is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{");
}

#[tokio::test]
async fn one_seed_gives_the_same_ids_and_another_gives_others() {
    let mut ids = Vec::new();
    for seed in [7, 7, 8] {
        let stripe = start_with(|c| c.seed = Some(seed)).await;
        ids.push(stripe.price().await);
    }
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], ids[2]);
}

#[tokio::test]
async fn configured_endpoints_are_there_with_their_secrets_also_after_a_reset() {
    let hook = Hook::start().await;
    let endpoint = Endpoint { url: hook.url.clone(), secret: "whsec_chosen".into(), events: vec!["*".into()] };
    let stripe = start_with(|c| c.endpoints = vec![endpoint]).await;
    stripe.controlled("reset", json!({})).await;
    stripe.ok("POST", "/v1/customers", &[]).await;
    stripe.idle().await;
    let (signature, body) = hook.letters.lock().unwrap().remove(0);
    stripe_webhook::Webhook::construct_event(&body, &signature, "whsec_chosen").unwrap();
}

#[tokio::test]
async fn lists_page_both_ways_newest_first() {
    let stripe = start().await;
    for n in 0..5 {
        stripe.ok("POST", "/v1/customers", &[("name", &n.to_string())]).await;
    }
    let names = |list: &Value| list["data"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let first = stripe.ok("GET", "/v1/customers", &[("limit", "2")]).await;
    assert_eq!((names(&first), first["has_more"].as_bool()), (vec!["4".into(), "3".into()], Some(true)));
    let last = id(&first["data"][1]);
    let rest = stripe.ok("GET", "/v1/customers", &[("limit", "3"), ("starting_after", last)]).await;
    assert_eq!((names(&rest), rest["has_more"].as_bool()), (vec!["2".into(), "1".into(), "0".into()], Some(false)));
    let back = stripe.ok("GET", "/v1/customers", &[("limit", "2"), ("ending_before", id(&rest["data"][2]))]).await;
    assert_eq!((names(&back), back["has_more"].as_bool()), (vec!["2".into(), "1".into()], Some(true)));
    let none = stripe.ok("GET", "/v1/customers", &[("created[lt]", "1000")]).await;
    assert_eq!(none["data"], json!([]));
}

#[tokio::test]
async fn a_patched_object_is_what_the_api_shows_and_makes_no_event() {
    let stripe = start().await;
    let session = stripe.checkout(&[]).await;
    let before = stripe.ok("GET", "/v1/events", &[("limit", "100")]).await["data"].as_array().unwrap().len();
    let patch =
        stripe.request("PATCH", &format!("/stand-in/objects/{}", id(&session))).bearer_auth(KEY).json(&json!({ "amount_total": 1, "metadata": { "a": "b" } }));
    assert_eq!(stripe.said(patch).await.status, 200);
    let shown = stripe.ok("GET", &format!("/v1/checkout/sessions/{}", id(&session)), &[]).await;
    assert_eq!((shown["amount_total"].as_i64(), shown["metadata"]["a"].as_str()), (Some(1), Some("b")));
    assert_eq!(stripe.ok("GET", "/v1/events", &[("limit", "100")]).await["data"].as_array().unwrap().len(), before);
}
