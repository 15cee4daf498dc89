//! Events on their way: signatures, further tries, order, copies.

use std::collections::BTreeSet;

use serde_json::json;

use crate::common::{Hook, id, start, start_with};

#[tokio::test]
async fn a_delivery_is_tried_again_until_it_is_accepted() {
    let (stripe, hook) = (start().await, Hook::start().await);
    hook.register(&stripe, &["customer.created"]).await;
    hook.answer(&[500, 302, 200]);
    stripe.ok("POST", "/v1/customers", &[("name", "A")]).await;
    stripe.idle().await;
    let deliveries = stripe.deliveries().await;
    assert_eq!(deliveries.len(), 1);
    assert_eq!(deliveries[0]["state"], "delivered");
    let statuses: Vec<_> = deliveries[0]["tries"].as_array().unwrap().iter().map(|t| t["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [500, 302, 200], "a redirect isn't followed and is no success");
    let bodies: BTreeSet<String> = hook.letters.lock().unwrap().iter().map(|(_, body)| body.clone()).collect();
    assert_eq!(bodies.len(), 1, "each try sends the same bytes");
    assert_eq!(stripe.ok("GET", "/v1/events", &[]).await["data"][0]["pending_webhooks"], 0);
}

#[tokio::test]
async fn a_delivery_that_nobody_accepts_fails_after_its_last_try() {
    let (stripe, hook) = (start().await, Hook::start().await);
    hook.register(&stripe, &["*"]).await;
    hook.answer(&[400, 500, 503, 404]);
    stripe.ok("POST", "/v1/customers", &[("name", "A")]).await;
    stripe.idle().await;
    let deliveries = stripe.deliveries().await;
    assert_eq!((deliveries[0]["state"].as_str(), deliveries[0]["tries"].as_array().unwrap().len()), (Some("failed"), 4));
    let failed = stripe.ok("GET", "/v1/events", &[("delivery_success", "false")]).await;
    assert_eq!(failed["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_endpoint_gets_only_what_it_asked_for_while_it_is_on() {
    let (stripe, hook) = (start().await, Hook::start().await);
    hook.register(&stripe, &["customer.deleted"]).await;
    let customer = stripe.ok("POST", "/v1/customers", &[("name", "A")]).await;
    stripe.ok("DELETE", &format!("/v1/customers/{}", id(&customer)), &[]).await;
    stripe.idle().await;
    assert_eq!(hook.types(), ["customer.deleted"]);
    let endpoint = stripe.ok("GET", "/v1/webhook_endpoints", &[]).await["data"][0].clone();
    stripe.ok("POST", &format!("/v1/webhook_endpoints/{}", id(&endpoint)), &[("disabled", "true")]).await;
    let other = stripe.ok("POST", "/v1/customers", &[]).await;
    stripe.ok("DELETE", &format!("/v1/customers/{}", id(&other)), &[]).await;
    stripe.idle().await;
    assert_eq!(hook.types().len(), 1);
}

#[tokio::test]
async fn in_order_a_failing_try_holds_back_what_follows() {
    let stripe = start_with(|c| c.delivery.in_order = true).await;
    let hook = Hook::start().await;
    hook.register(&stripe, &["*"]).await;
    hook.answer(&[500, 500]);
    for name in ["A", "B", "C"] {
        stripe.ok("POST", "/v1/customers", &[("name", name)]).await;
    }
    stripe.idle().await;
    let names: Vec<String> = hook.events().iter().map(|e| e["data"]["object"]["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["A", "A", "A", "B", "C"]);
}

#[tokio::test]
async fn held_deliveries_are_released_in_the_order_asked_for() {
    let (stripe, hook) = (start().await, Hook::start().await);
    hook.register(&stripe, &["payment_intent.succeeded", "charge.refunded", "checkout.session.completed", "charge.succeeded"]).await;
    stripe.controlled("deliveries/hold", json!({})).await;
    let paid = stripe.paid().await;
    stripe.ok("POST", "/v1/refunds", &[("payment_intent", paid["payment_intent"].as_str().unwrap())]).await;
    assert!(hook.types().is_empty());
    let released = stripe.controlled("deliveries/release", json!({ "order": ["charge.refunded", "checkout.session.completed"], "rest": "hold" })).await;
    assert_eq!(released["items"].as_array().unwrap().len(), 2);
    assert_eq!(hook.types(), ["charge.refunded", "checkout.session.completed"], "the refund came first");
    stripe.controlled("deliveries/release", json!({ "rest": "drop" })).await;
    stripe.paid().await;
    stripe.idle().await;
    assert_eq!(hook.types().len(), 5, "nothing is held any more, and what was dropped stays away");
}

#[tokio::test]
async fn one_event_comes_a_hundred_times_under_three_ids() {
    let (stripe, hook) = (start().await, Hook::start().await);
    hook.register(&stripe, &["checkout.session.completed"]).await;
    stripe.paid().await;
    stripe.idle().await;
    let event = hook.events().remove(0);
    let sent = stripe.controlled(&format!("events/{}/deliver", id(&event)), json!({ "times": 100, "ids": 3 })).await;
    assert!(sent["tries"].as_array().unwrap().iter().all(|t| t["status"] == 200));
    let events = hook.events();
    assert_eq!(events.len(), 101);
    assert_eq!(events.iter().map(|e| id(e).to_owned()).collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(events.iter().map(|e| id(&e["data"]["object"]).to_owned()).collect::<BTreeSet<_>>().len(), 1);
    assert_eq!(stripe.ok("GET", "/v1/events", &[("type", "checkout.session.completed")]).await["data"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn any_text_can_be_sent_with_a_signature_that_holds() {
    let (stripe, hook) = (start().await, Hook::start().await);
    let secret = hook.register(&stripe, &["*"]).await;
    let body = r#"{"id":"evt_thin","object":"event","type":"checkout.session.completed","data":{"object":{"id":"cs_test_thin"}}}"#;
    stripe.controlled("deliver", json!({ "body": body })).await;
    let (signature, came) = hook.letters.lock().unwrap().remove(0);
    assert_eq!(came, body);
    let refused = stripe_webhook::Webhook::construct_event(&came, &signature, &secret).unwrap_err();
    assert!(matches!(refused, stripe_webhook::WebhookError::BadParse { .. }), "the signature holds and the payload can't be read: {refused}");
}
