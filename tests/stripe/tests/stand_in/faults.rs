//! Planned failures, and what an idempotency key is worth in each.

use std::time::Duration;

use serde_json::json;

use crate::common::{KEY, Running, Said, id, start};

async fn keyed(stripe: &Running, key: &str, name: &str) -> Said {
    let request = stripe.request("POST", "/v1/customers").bearer_auth(KEY).header("idempotency-key", key);
    stripe.said(request.header("content-type", "application/x-www-form-urlencoded").body(format!("name={name}"))).await
}

async fn customers(stripe: &Running) -> usize {
    stripe.ok("GET", "/v1/customers", &[]).await["data"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_key_replays_refuses_and_stays_free_after_a_refused_parameter() {
    let stripe = start().await;
    let refused = stripe.request("POST", "/v1/customers").bearer_auth(KEY).header("idempotency-key", "k").body("colour=red");
    assert_eq!(stripe.said(refused).await.status, 400);
    let first = keyed(&stripe, "k", "A").await;
    let again = keyed(&stripe, "k", "A").await;
    assert_eq!((first.status, again.status, id(&first.body)), (200, 200, id(&again.body)));
    assert!(first.headers.get("idempotent-replayed").is_none());
    assert_eq!(again.headers["idempotent-replayed"], "true");
    let other = keyed(&stripe, "k", "B").await;
    assert_eq!((other.status, other.error("type")), (400, "idempotency_error"));
    let elsewhere = stripe.request("POST", "/v1/products").bearer_auth(KEY).header("idempotency-key", "k").body("name=A");
    assert_eq!(stripe.said(elsewhere).await.error("type"), "idempotency_error");
    let long = "k".repeat(256);
    assert_eq!(keyed(&stripe, &long, "A").await.error("type"), "idempotency_error");
    assert_eq!(customers(&stripe).await, 1);
}

#[tokio::test]
async fn two_calls_with_one_key_at_once_make_one_thing() {
    let stripe = start().await;
    stripe.controlled("faults", json!({ "kind": "delay", "ms": 300, "path": "/v1/customers" })).await;
    let (one, two) = tokio::join!(keyed(&stripe, "k", "A"), keyed(&stripe, "k", "A"));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    let conflict = if one.status == 409 { &one } else { &two };
    assert_eq!(conflict.error("code"), "idempotency_key_in_use");
    assert_eq!(customers(&stripe).await, 1);
}

#[tokio::test]
async fn each_fault_says_whether_the_call_was_applied() {
    let stripe = start().await;
    let plan = async |fault: serde_json::Value| stripe.controlled("faults", fault).await;
    plan(json!({ "kind": "error500", "method": "POST" })).await;
    assert_eq!(keyed(&stripe, "a", "A").await.status, 500);
    assert_eq!((customers(&stripe).await, keyed(&stripe, "a", "A").await.status), (0, 200), "not applied, and the key was free");
    plan(json!({ "kind": "error500_applied", "method": "POST" })).await;
    assert_eq!(keyed(&stripe, "b", "B").await.status, 500);
    let replayed = keyed(&stripe, "b", "B").await;
    assert_eq!((customers(&stripe).await, replayed.status), (2, 500), "applied, and the key's answer is the 500");
    assert_eq!(replayed.headers["idempotent-replayed"], "true");
    plan(json!({ "kind": "rate_limit", "times": 2, "method": "POST" })).await;
    for _ in 0..2 {
        let limited = keyed(&stripe, "c", "C").await;
        assert_eq!((limited.status, limited.error("code")), (429, "rate_limit"));
    }
    plan(json!({ "kind": "lock", "method": "POST" })).await;
    assert_eq!(keyed(&stripe, "c", "C").await.error("code"), "lock_timeout");
    assert_eq!((customers(&stripe).await, keyed(&stripe, "c", "C").await.status), (2, 200));
    plan(json!({ "kind": "time_out", "ms": 50, "method": "POST" })).await;
    assert_eq!((keyed(&stripe, "d", "D").await.status, customers(&stripe).await), (504, 3));
    plan(json!({ "kind": "time_out_applied", "ms": 50, "method": "POST" })).await;
    assert_eq!((keyed(&stripe, "d", "D").await.status, customers(&stripe).await), (504, 4));
    let found = keyed(&stripe, "d", "D").await;
    assert_eq!((found.status, found.body["name"].as_str()), (200, Some("D")), "the key finds what the lost answer said");
    assert_eq!(customers(&stripe).await, 4);
}

#[tokio::test]
async fn a_caller_that_gives_up_frees_its_key() {
    let stripe = start().await;
    stripe.controlled("faults", json!({ "kind": "time_out", "ms": 60_000, "method": "POST" })).await;
    let gone =
        stripe.request("POST", "/v1/customers").bearer_auth(KEY).header("idempotency-key", "k").body("name=A").timeout(Duration::from_millis(200)).send().await;
    assert!(gone.unwrap_err().is_timeout());
    // The server learns of it when the connection closes.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let said = keyed(&stripe, "k", "A").await;
        if said.status == 200 {
            break;
        }
        assert!(said.status == 409 && tokio::time::Instant::now() < deadline, "{}", said.body);
        tokio::task::yield_now().await;
    }
    assert_eq!(customers(&stripe).await, 1);
}
