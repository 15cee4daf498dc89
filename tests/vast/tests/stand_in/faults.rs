//! Planned faults: what a caller sees, and what has truly happened.

use std::time::Duration;

use serde_json::{Value, json};

use crate::common::{ASK, HOUR, KEY, Running, START_MS, start};

async fn truths(vast: &Running) -> Vec<Value> {
    vast.ok("GET", "/stand-in/machines", Value::Null).await["machines"].as_array().unwrap().clone()
}

#[tokio::test]
async fn too_many_requests_come_as_text_and_in_two_kinds_of_json() {
    let vast = start().await;
    vast.control("faults", json!({ "kind": "rate_limit_text", "retry_after": 2 })).await;
    let said = vast.list("").await;
    assert_eq!((said.status, said.body, said.headers["retry-after"].to_str().unwrap()), (429, json!("API requests too frequent"), "2"));
    vast.control("faults", json!({ "kind": "rate_limit_detail" })).await;
    let said = vast.list("").await;
    assert!(said.status == 429 && said.body["detail"].is_string() && said.headers.get("retry-after").is_none());
    vast.control("faults", json!({ "kind": "rate_limit_json" })).await;
    assert_eq!(vast.list("").await.error(), (429, "rate_limit_exceeded"));
    assert_eq!(vast.list("").await.status, 200);
    vast.control("faults", json!({ "kind": "search_quota" })).await;
    assert_eq!(vast.list("").await.status, 200);
    let said = vast.call("POST", "/api/v0/bundles/", json!({})).await;
    assert_eq!(said.error(), (429, "search_quota_exceeded"));
    assert_eq!(said.headers["x-ratelimit-reset"].to_str().unwrap(), ((START_MS + 2 * HOUR) / 1000).to_string());
}

#[tokio::test]
async fn a_right_key_may_be_refused_with_two_statuses() {
    let vast = start().await;
    for (body, status) in [(json!({ "kind": "auth_error" }), 401), (json!({ "kind": "auth_error", "status": 404 }), 404)] {
        vast.control("faults", body).await;
        assert_eq!(vast.list("").await.error(), (status, "auth_error"));
    }
}

#[tokio::test]
async fn errors_of_a_gateway_come_before_and_after_the_work() {
    let vast = start().await;
    vast.control("faults", json!({ "kind": "error", "status": 502, "path": "/api/v0/asks/" })).await;
    let said = vast.rent(ASK, json!({})).await;
    assert!(said.status == 502 && said.body.as_str().unwrap().contains("<html>"));
    assert!(truths(&vast).await.is_empty());
    vast.control("faults", json!({ "kind": "error_applied", "path": "/api/v0/asks/" })).await;
    assert_eq!(vast.rent(ASK, json!({ "label": "kiln-1" })).await.status, 503);
    assert_eq!(truths(&vast).await[0]["label"], "kiln-1");
}

#[tokio::test]
async fn success_may_be_false_with_status_200() {
    let vast = start().await;
    vast.control("faults", json!({ "kind": "success_false", "method": "put" })).await;
    assert_eq!(vast.list("").await.status, 200);
    let said = vast.rent(ASK, json!({})).await;
    assert_eq!((said.status, &said.body["success"], said.body.get("new_contract")), (200, &json!(false), None));
    assert!(truths(&vast).await.is_empty());
}

#[tokio::test]
async fn an_answer_is_never_sent_before_or_after_the_machine_was_rented() {
    let vast = start().await;
    let order = |label: &str| vast.request("PUT", &format!("/api/v0/asks/{ASK}/")).bearer_auth(KEY).json(&json!({ "image": "x", "label": label }));
    vast.control("faults", json!({ "kind": "time_out", "ms": 0 })).await;
    assert!(vast.tried(order("kiln-1")).await.unwrap_err().is_request());
    assert!(truths(&vast).await.is_empty());
    vast.control("faults", json!({ "kind": "time_out_applied", "ms": 0 })).await;
    assert!(vast.tried(order("kiln-2")).await.unwrap_err().is_request());
    assert_eq!(truths(&vast).await[0]["label"], "kiln-2");
    // And one that the caller doesn't wait for.
    let id = vast.listed().await[0];
    vast.control("faults", json!({ "kind": "time_out_applied", "method": "DELETE" })).await;
    let gone = vast.request("DELETE", &format!("/api/v0/instances/{id}/")).bearer_auth(KEY).timeout(Duration::from_millis(200));
    assert!(vast.tried(gone).await.unwrap_err().is_timeout());
    assert_eq!(truths(&vast).await[0]["exists"], false);
    let seen: Vec<(Value, Value, Value)> =
        vast.requests().await.iter().filter(|r| r["method"] != "GET").map(|r| (r["label"].clone(), r["fault"].clone(), r["status"].clone())).collect();
    assert_eq!(
        seen,
        [
            (json!("kiln-1"), json!("time_out"), Value::Null),
            (json!("kiln-2"), json!("time_out_applied"), Value::Null),
            (json!("kiln-2"), json!("time_out_applied"), Value::Null)
        ]
    );
}

#[tokio::test]
async fn offers_are_gone_or_can_not_start_when_they_are_ordered() {
    let vast = start().await;
    vast.control("faults", json!({ "kind": "gone" })).await;
    assert_eq!(vast.list("").await.status, 200);
    assert_eq!(vast.rent(ASK, json!({})).await.error(), (410, "no_such_ask"));
    assert!(vast.search(json!({ "id": { "eq": ASK } })).await.is_empty());
    // On demand, cancelling is what happens unless told.
    vast.control("faults", json!({ "kind": "unavailable", "times": 2 })).await;
    assert_eq!(vast.rent(12, json!({})).await.error(), (410, "no_such_ask"));
    let id = vast.rented(12, json!({ "cancel_unavail": false })).await;
    vast.advance(3_600_000).await;
    let truth = vast.truth(id).await;
    assert_eq!((&truth["status"], &truth["cost"]["gpu_ms"], &truth["cost"]["disk_ms"]), (&json!("stopped"), &json!(0), &json!(3_600_000)));
}

#[tokio::test]
async fn faults_are_counted_filtered_and_cleared() {
    let vast = start().await;
    vast.control("faults", json!({ "kind": "error", "times": 2, "label": "kiln-a" })).await;
    assert_eq!(vast.rent(ASK, json!({ "label": "kiln-b" })).await.status, 200);
    for _ in 0..2 {
        assert_eq!(vast.rent(12, json!({ "label": "kiln-a1" })).await.status, 503);
    }
    let id = vast.rented(12, json!({ "label": "kiln-a1" })).await;
    // By the label of the instance that the path names.
    vast.control("faults", json!({ "kind": "error", "until_cleared": true, "label": "kiln-a1", "method": "DELETE" })).await;
    for _ in 0..3 {
        assert_eq!(vast.destroy(id).await.status, 503);
    }
    let planned = vast.ok("GET", "/stand-in/faults", Value::Null).await;
    assert_eq!(planned["items"].as_array().unwrap().len(), 1);
    vast.ok("DELETE", "/stand-in/faults", Value::Null).await;
    assert_eq!(vast.destroy(id).await.status, 200);
    vast.control("faults", json!({ "kind": "delay", "ms": 1 })).await;
    assert_eq!(vast.list("").await.status, 200);
    for _ in 0..100 {
        vast.control("faults", json!({ "kind": "error", "path": "/never" })).await;
    }
    assert_eq!(vast.call("POST", "/stand-in/faults", json!({ "kind": "error" })).await.status, 400);
}

#[tokio::test]
async fn what_is_stopped_may_not_start_again() {
    let vast = start().await;
    let id = vast.runs(ASK, json!({})).await;
    for kind in ["refuses_start", "never_starts"] {
        vast.control("faults", json!({ "kind": kind })).await;
    }
    // Neither is met by a stop.
    assert_eq!(vast.put_state(id, "stopped").await.status, 200);
    vast.advance(HOUR).await;
    let said = vast.put_state(id, "running").await;
    assert_eq!((said.error(), &said.body["success"]), ((200, "resources_unavailable"), &json!(false)));
    let states = async || {
        let row = vast.row(id).await;
        [&row["actual_status"], &row["intended_status"], &row["cur_state"]].map(|state| state.as_str().unwrap_or_default().to_owned())
    };
    vast.advance(HOUR).await;
    assert_eq!(states().await, ["stopped", "stopped", "stopped"]);
    // Granted, and nothing comes of it until it has its GPU.
    assert_eq!(vast.put_state(id, "running").await.body["success"], true);
    vast.advance(24 * HOUR).await;
    assert_eq!(states().await, ["stopped", "running", "stopped"]);
    let cost = vast.truth(id).await["cost"].clone();
    vast.advance(HOUR).await;
    let later = vast.truth(id).await["cost"].clone();
    assert_eq!((&later["gpu_ms"], later["disk_ms"].as_i64().unwrap()), (&cost["gpu_ms"], cost["disk_ms"].as_i64().unwrap() + HOUR));
    vast.control(&format!("instances/{id}/free"), json!({})).await;
    vast.advance(5_000).await;
    assert_eq!(states().await, ["running", "running", "running"]);
    // Several at a time meet it too, and a machine whose start never comes can be destroyed.
    vast.control("faults", json!({ "kind": "never_starts" })).await;
    vast.control(&format!("instances/{id}/exited"), json!({})).await;
    assert_eq!(states().await, ["running", "running", "running"]);
    for state in ["stopped", "running"] {
        vast.ok("PUT", "/api/v0/instances/", json!({ "state": state, "ids": [id] })).await;
        vast.advance(HOUR).await;
    }
    assert_eq!(states().await, ["exited", "running", "stopped"]);
    assert_eq!(vast.destroy(id).await.status, 200);
    assert!(truths(&vast).await.iter().all(|truth| truth["exists"] == false));
}
