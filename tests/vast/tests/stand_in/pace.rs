//! Calls that come too early, once a test has switched that on.

use serde_json::{Value, json};

use crate::common::{ASK, SECOND, start};

#[tokio::test]
async fn who_is_too_early_gets_a_429_and_who_rents_too_early_waits_for_longer() {
    let vast = start().await;
    let list = async || vast.call("GET", "/api/v1/instances/", Value::Null).await;
    assert_eq!((list().await.status, list().await.status), (200, 200), "off unless it is switched on");
    vast.control("pace", json!({})).await;
    assert_eq!(list().await.status, 200);
    let early = list().await;
    assert_eq!((early.status, early.body.as_str()), (429, Some("API requests too frequent: endpoint threshold=1")));
    vast.advance(SECOND).await;
    assert_eq!(list().await.status, 200);
    let rent = async |ask: u64| vast.call("PUT", &format!("/api/v0/asks/{ask}/"), json!({ "image": "x" })).await.status;
    assert_eq!(rent(ASK).await, 200);
    vast.advance(4 * SECOND).await;
    assert_eq!(rent(12).await, 429);
    vast.advance(11 * SECOND).await;
    assert_eq!(rent(12).await, 429, "each that is too early begins it anew");
    vast.advance(12 * SECOND).await;
    assert_eq!(rent(12).await, 200);
    // Destroying one and several is one kind of call.
    assert_eq!(vast.call("DELETE", "/api/v0/instances/5/", Value::Null).await.status, 404);
    assert_eq!(vast.call("DELETE", "/api/v0/instances/", json!({ "instance_ids": [5] })).await.status, 429);
    vast.control("pace", json!({ "list_ms": 0 })).await;
    assert_eq!((list().await.status, list().await.status), (200, 200));
    let refused = vast.call("POST", "/stand-in/pace", json!({ "list_ms": -1 })).await;
    assert_eq!(refused.error(), (400, "invalid_args"));
    vast.ok("DELETE", "/stand-in/pace", Value::Null).await;
    assert_eq!((rent(13).await, rent(14).await), (200, 200));
}
