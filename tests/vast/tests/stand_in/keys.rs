//! Who may do what.

use serde_json::{Value, json};

use crate::common::{ASK, start};

#[tokio::test]
async fn without_the_key_nothing_is_served_but_the_names_of_gpus() {
    let vast = start().await;
    for (method, path) in
        [("GET", "/api/v1/instances/"), ("POST", "/api/v0/bundles/"), ("PUT", "/api/v0/asks/11/"), ("GET", "/stand-in/machines"), ("POST", "/stand-in/reset")]
    {
        for said in [vast.said(vast.request(method, path)).await, vast.call_as("wrong", method, path, json!({})).await] {
            assert_eq!(said.error(), (401, "auth_error"), "{method} {path}");
            assert_eq!(said.body["msg"], "Invalid user key");
        }
    }
    assert_eq!(vast.said(vast.request("GET", "/api/v0/gpu_names/unique/")).await.status, 200);
}

#[tokio::test]
async fn an_instances_own_key_stops_starts_and_destroys_it_and_does_nothing_else() {
    let vast = start().await;
    let made = vast.rent(ASK, json!({ "label": "mine" })).await.body;
    let (id, key) = (made["new_contract"].as_u64().unwrap(), made["instance_api_key"].as_str().unwrap().to_owned());
    let other = vast.rented(12, json!({})).await;
    let (own, others) = (format!("/api/v0/instances/{id}/"), format!("/api/v0/instances/{other}/"));
    for (method, path, body) in [
        ("GET", "/api/v1/instances/", Value::Null),
        ("GET", own.as_str(), Value::Null),
        ("POST", "/api/v0/bundles/", json!({})),
        ("PUT", "/api/v0/asks/13/", json!({ "image": "x" })),
        ("GET", "/api/v0/charges/", Value::Null),
        ("GET", "/api/v0/users/current/", Value::Null),
        ("PUT", own.as_str(), json!({ "label": "x" })),
        ("PUT", own.as_str(), json!({ "state": "stopped", "label": "x" })),
        ("PUT", own.as_str(), json!({})),
        ("PUT", others.as_str(), json!({ "state": "stopped" })),
        ("DELETE", others.as_str(), json!({})),
        ("PUT", "/api/v0/instances/", json!({ "state": "stopped", "ids": [id] })),
        ("DELETE", "/api/v0/instances/", json!({ "instance_ids": [id] })),
    ] {
        assert_eq!(vast.call_as(&key, method, path, body.clone()).await.error(), (403, "not_authorized"), "{method} {path} {body}");
    }
    assert_eq!(vast.call_as(&key, "GET", "/stand-in/machines", Value::Null).await.status, 401);
    for state in ["stopped", "running"] {
        assert_eq!(vast.call_as(&key, "PUT", &own, json!({ "state": state })).await.status, 200);
        assert_eq!(vast.row(id).await["intended_status"], state);
    }
    assert_eq!(vast.call_as(&key, "DELETE", &own, json!({})).await.status, 200);
    assert_eq!(vast.listed().await, [other]);
    // With the instance the key is gone.
    assert_eq!(vast.call_as(&key, "DELETE", &own, json!({})).await.error(), (401, "auth_error"));
    let by: Vec<Value> = vast.requests().await.iter().filter(|r| r["method"] == "DELETE").map(|r| r["by"].clone()).collect();
    assert!(by.contains(&json!(format!("instance:{id}"))) && by.contains(&json!("nobody")));
    assert!(!vast.row(other).await.to_string().contains(&key));
}
