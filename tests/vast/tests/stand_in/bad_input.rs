//! What is refused, and how.

use serde_json::{Value, json};

use crate::common::{ASK, KEY, start};

#[tokio::test]
async fn orders_that_do_not_fit_are_refused_and_rent_nothing() {
    let vast = start().await;
    let long = |n: usize| "x".repeat(n);
    let many: serde_json::Map<String, Value> = (0..200).map(|n| (format!("K{n}"), json!(long(240)))).collect();
    let refused = [
        (json!({ "label": long(1_025) }), "invalid_args"),
        (json!({ "label": 7 }), "invalid_args"),
        (json!({ "image": null }), "invalid_args"),
        (json!({ "image": long(1_025) }), "invalid_args"),
        (json!({ "env": "-e A=b" }), "invalid_args"),
        (json!({ "env": { "A": [1] } }), "invalid_args"),
        (json!({ "env": { "A=B": "c" } }), "invalid_args"),
        (json!({ "env": { "A": long(256) } }), "invalid_args"),
        (json!({ "env": many }), "invalid_args"),
        (json!({ "args": [long(4_000)], "onstart": long(97) }), "invalid_args"),
        (json!({ "args": "text" }), "invalid_args"),
        (json!({ "args_str": long(4_097) }), "invalid_args"),
        (json!({ "disk": 7.9 }), "invalid_args"),
        (json!({ "disk": 1_001 }), "invalid_args"),
        (json!({ "disk": "100" }), "invalid_args"),
        (json!({ "price": 0.0 }), "invalid_price"),
        (json!({ "price": 128.1 }), "invalid_price"),
        (json!({ "target_state": "paused" }), "invalid_args"),
        (json!({ "cancel_unavail": "yes" }), "invalid_args"),
        (json!({ "volume_info": { "create_new": true } }), "invalid_args"),
        (json!({ "colour": "red" }), "invalid_args"),
    ];
    for (body, code) in refused {
        let said = vast.rent(ASK, body.clone()).await;
        assert_eq!(said.error(), (400, code), "{body}: {}", said.body);
        assert_eq!(said.body["success"], false);
        assert!(said.body["msg"].is_string());
    }
    let unknown = vast.rent(999, json!({})).await;
    assert_eq!(unknown.error(), (404, "invalid_args"));
    assert!(unknown.body["msg"].as_str().unwrap().contains("no_such_ask") && unknown.body["ask_id"] == 999);
    assert!(vast.listed().await.is_empty());
    // The longest that is allowed.
    let most = json!({ "label": long(1_024), "env": { "A": long(255) }, "args": [long(4_000)], "onstart": long(96), "image": long(1_024), "disk": 8 });
    assert_eq!(vast.rent(ASK, most).await.status, 200);
}

#[tokio::test]
async fn searches_and_lists_that_can_not_be_read_are_refused() {
    let vast = start().await;
    for body in [
        json!({ "colour": { "eq": "red" } }),
        json!({ "num_gpus": 1 }),
        json!({ "num_gpus": { "like": 1 } }),
        json!({ "type": "reserved" }),
        json!({ "limit": 0 }),
        json!({ "order": [["colour", "asc"]] }),
        json!({ "order": [["id", "up"]] }),
        json!({ "order": "id" }),
        json!({ "allocated_storage": -1 }),
    ] {
        assert_eq!(vast.call("POST", "/api/v0/bundles/", body.clone()).await.error(), (400, "invalid_args"), "{body}");
    }
    for query in [
        "?select_filters=%7B%22dph_total%22:%7B%22gt%22:1%7D%7D",
        "?select_filters=7",
        "?limit=0",
        "?limit=a",
        "?colour=red",
        "?limit=1&limit=2",
        "?order_by=%5B%7B%22col%22:%22num_gpus%22%7D%5D",
    ] {
        assert_eq!(vast.list(query).await.error(), (400, "invalid_request"), "{query}");
    }
    for query in ["?after_token=nonsense", "?after_token=e30", "?after_token=7"] {
        assert_eq!(vast.list(query).await.error(), (400, "invalid_token"), "{query}");
    }
    for query in ["?limit=101", "?format=list", "?select_filters=%7B%22amount%22:%7B%22gt%22:1%7D%7D"] {
        assert_eq!(vast.call("GET", &format!("/api/v0/charges/{query}"), Value::Null).await.error(), (400, "invalid_request"), "{query}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_so() {
    let vast = start().await;
    assert_eq!(vast.row(5).await, Value::Null);
    assert_eq!(vast.put_state(5, "stopped").await.error(), (404, "no_such_instance"));
    assert_eq!(vast.destroy(5).await.error(), (404, "not_found"));
    assert_eq!(vast.call("GET", "/api/v0/instances/", Value::Null).await.status, 410);
    assert_eq!(vast.call("GET", "/api/v0/instances", Value::Null).await.status, 410);
    assert_eq!(vast.call("GET", "/api/v0/nothing/", Value::Null).await.error(), (404, "not_found"));
    // A route that is written without its last slash is none.
    assert_eq!(vast.call("GET", "/api/v1/instances", Value::Null).await.status, 404);
    for path in ["/api/v0/users/current", "/api/v0/users/current/"] {
        assert_eq!(vast.ok("GET", path, Value::Null).await["credit"], 100.0);
    }
}

#[tokio::test]
async fn bodies_are_json_objects_and_bounded() {
    let vast = start().await;
    for body in ["[]", "{", "7", "\u{fffd}"] {
        let said = vast.said(vast.request("POST", "/api/v0/bundles/").bearer_auth(KEY).body(body)).await;
        assert_eq!(said.error(), (400, "invalid_args"), "{body}");
    }
    let large = vast.said(vast.request("POST", "/api/v0/bundles/").bearer_auth(KEY).body(vec![b' '; 300 * 1024])).await;
    assert_eq!(large.status, 413);
    let id = vast.rented(ASK, json!({})).await;
    for body in [json!({}), json!({ "state": "paused" }), json!({ "label": 7 }), json!({ "state": "running", "x": 1 })] {
        assert_eq!(vast.call("PUT", &format!("/api/v0/instances/{id}/"), body).await.status, 400);
    }
    assert_eq!(vast.call("PUT", &format!("/api/v0/instances/{id}/"), json!({ "label": "x".repeat(1_025) })).await.error(), (400, "label_too_long"));
    assert_eq!(vast.call("PUT", "/api/v0/instances/", json!({ "state": "stopped", "ids": [id, 5] })).await.status, 404);
    assert_eq!(vast.row(id).await["intended_status"], "running");
    assert_eq!(vast.call("DELETE", "/api/v0/instances/", json!({ "ids": [id] })).await.status, 400);
    assert_eq!(vast.call("DELETE", "/api/v0/instances/", json!({ "instance_ids": [] })).await.status, 400);
}

#[tokio::test]
async fn control_endpoints_refuse_what_they_do_not_know() {
    let vast = start().await;
    for (path, body) in [
        ("faults", json!({ "kind": "error", "status": 404 })),
        ("faults", json!({ "kind": "error", "times": 0 })),
        ("faults", json!({ "kind": "weather" })),
        ("faults", json!({ "kind": "time_out", "ms": 600_001 })),
        ("clock", json!({ "advance_s": -1 })),
        ("clock", json!({ "advance_s": i64::MAX })),
        ("credit", json!({})),
    ] {
        assert_eq!(vast.call("POST", &format!("/stand-in/{path}"), body.clone()).await.status, 400, "{path} {body}");
    }
    let id = vast.rented(ASK, json!({})).await;
    for event in ["sing", "die", "outbid"] {
        assert_eq!(vast.call("POST", &format!("/stand-in/instances/{id}/{event}"), json!({})).await.status, 400, "{event}");
    }
    for change in [
        json!({ "dph_base": "x" }),
        json!({ "colour": 1 }),
        json!({ "dph_base": -0.1 }),
        json!({ "reliability": 2 }),
        json!({ "num_gpus": 0 }),
        json!({ "id": 5 }),
    ] {
        assert_eq!(vast.call("PATCH", "/stand-in/offers/11", change.clone()).await.status, 400, "{change}");
    }
    assert_eq!(vast.call("PATCH", &format!("/stand-in/instances/{id}"), json!({ "storage_cost": -1 })).await.status, 400);
}
