//! Lists of instances and their pages.

use serde_json::{Value, json};

use crate::common::{KEY, Running, config, encoded, start_with};
use kiln_vast_stand_in::{Config, Offer};

fn many() -> Config {
    let mut config = config();
    config.offers =
        (1..=60).map(|id| Offer { id, machine_id: id, gpu_name: if id % 2 == 0 { "RTX 3090" } else { "RTX 4090" }.into(), ..Offer::default() }).collect();
    config
}

async fn thirty() -> (Running, Vec<u64>) {
    let vast = start_with(many()).await;
    let mut ids = Vec::new();
    for ask in 1..=30 {
        ids.push(vast.rented(ask, json!({ "label": format!("kiln-{}", ask % 3) })).await);
    }
    (vast, ids)
}

fn ids(body: &Value) -> Vec<u64> {
    body["instances"].as_array().unwrap().iter().map(|row| row["id"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn pages_are_bounded_and_neither_skip_nor_repeat_while_instances_come_and_go() {
    let (vast, made) = thirty().await;
    let first = vast.list("?limit=1000").await.body;
    assert_eq!((ids(&first), &first["total_instances"], &first["instances_found"]), (made[..25].to_vec(), &json!(30), &json!(30)));
    assert_eq!(first["label_counts"], json!({ "kiln-0": 10, "kiln-1": 10, "kiln-2": 10 }));
    vast.destroy(made[0]).await;
    vast.destroy(made[26]).await;
    let new = vast.rented(31, json!({})).await;
    let token = first["next_token"].as_str().unwrap();
    let second = vast.list(&format!("?limit=1000&after_token={token}")).await.body;
    let rest: Vec<u64> = [&made[25..26], &made[27..], &[new]].concat();
    assert_eq!((ids(&second), &second["next_token"]), (rest, &Value::Null));
    // A token belongs to the order that it was given for.
    for other in [json!([{ "col": "label", "dir": "asc" }]), json!([{ "col": "id", "dir": "desc" }])] {
        assert_eq!(vast.list(&format!("?order_by={}&after_token={token}", encoded(&other))).await.error(), (400, "invalid_token"));
    }
}

#[tokio::test]
async fn lists_are_filtered_ordered_and_cut_to_columns() {
    let (vast, made) = thirty().await;
    let filters = encoded(&json!({ "label": { "eq": "kiln-1" }, "gpu_name": { "in": ["RTX 3090"] }, "actual_status": { "eq": null } }));
    let order = encoded(&json!([{ "col": "id", "dir": "desc" }]));
    let columns = encoded(&json!(["id", "label"]));
    let mut found = Vec::new();
    let mut token = String::new();
    loop {
        let page = vast.list(&format!("?select_filters={filters}&order_by={order}&select_cols={columns}&limit=2{token}")).await.body;
        assert_eq!(page["instances_found"], 5);
        assert_eq!(page["instances"][0].as_object().unwrap().len(), 2);
        found.extend(ids(&page));
        let Some(next) = page["next_token"].as_str() else { break };
        token = format!("&after_token={next}");
    }
    // Asks 28, 22, 16, 10 and 4.
    assert_eq!(found, [made[27], made[21], made[15], made[9], made[3]]);
    let by_label = encoded(&json!([{ "col": "label", "dir": "desc" }, { "col": "gpu_name" }]));
    let rows = vast.list(&format!("?order_by={by_label}&limit=1")).await.body;
    assert_eq!((&rows["instances"][0]["label"], &rows["instances"][0]["gpu_name"]), (&json!("kiln-2"), &json!("RTX 3090")));
    let values = vast.ok("GET", "/api/v0/instances/filters/", Value::Null).await;
    assert_eq!(values["filters"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_second_page_fails_or_its_token_is_bad() {
    let (vast, made) = thirty().await;
    vast.control("faults", json!({ "kind": "error", "status": 500, "path": "/api/v1/instances/", "query": "after_token" })).await;
    let first = vast.list("").await;
    assert_eq!((first.status, ids(&first.body).len()), (200, 25));
    let next = format!("?after_token={}", first.body["next_token"].as_str().unwrap());
    assert_eq!(vast.list(&next).await.status, 500);
    assert_eq!(ids(&vast.list(&next).await.body), made[25..]);

    vast.control("faults", json!({ "kind": "bad_token" })).await;
    let first = vast.list("").await.body;
    let bad = first["next_token"].as_str().unwrap();
    assert_eq!(vast.list(&format!("?after_token={bad}")).await.error(), (400, "invalid_token"));
    assert!(vast.requests().await.iter().any(|r| r["fault"] == "bad_token"));
    // Another key sees nothing of it.
    assert_eq!(vast.call_as(&KEY[1..], "GET", "/api/v1/instances/", Value::Null).await.status, 401);
}
