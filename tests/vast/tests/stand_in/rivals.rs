//! Several who want one machine.

use serde_json::json;

use crate::common::{ASK, HOUR, SECOND, config, start, start_with};

#[tokio::test]
async fn of_many_orders_at_once_for_one_offer_one_wins() {
    let vast = start().await;
    let tries = futures::future::join_all((0..16).map(|n| vast.rent(ASK, json!({ "label": format!("kiln-{n}") })))).await;
    let won: Vec<_> = tries.iter().filter(|said| said.status == 200).collect();
    assert_eq!(won.len(), 1);
    assert!(tries.iter().filter(|said| said.status != 200).all(|said| said.error() == (410, "no_such_ask") && said.body["ask_id"] == ASK));
    assert_eq!(vast.listed().await, [won[0].body["new_contract"].as_u64().unwrap()]);
}

#[tokio::test]
async fn a_stopped_instance_loses_its_machine_and_waits_for_it() {
    let vast = start().await;
    let first = vast.runs(ASK, json!({})).await;
    vast.put_state(first, "stopped").await;
    // It still has the machine while it is stopping.
    assert_eq!(vast.rent(ASK, json!({})).await.status, 410);
    vast.advance(2 * SECOND).await;
    let second = vast.runs(ASK, json!({})).await;
    let said = vast.put_state(first, "running").await;
    assert_eq!((said.error(), &said.body["success"]), ((200, "resources_unavailable"), &json!(false)));
    vast.advance(HOUR).await;
    let row = vast.row(first).await;
    assert_eq!((&row["actual_status"], &row["intended_status"], &row["next_state"]), (&json!("stopped"), &json!("running"), &json!("running")));
    vast.destroy(second).await;
    vast.advance(5 * SECOND).await;
    assert_eq!(vast.row(first).await["actual_status"], "running");
}

#[tokio::test]
async fn the_highest_bid_has_the_machine_and_on_demand_has_it_before_all() {
    let vast = start().await;
    let low = vast.runs(ASK, json!({ "price": 0.25 })).await;
    let search = json!({ "id": { "eq": ASK }, "type": "bid" });
    let offer = vast.search(search.clone()).await.remove(0);
    assert_eq!((&offer["rentable"], &offer["min_bid"]), (&json!(true), &json!(0.251)));
    // A bid that doesn't win waits unless it is to be cancelled.
    assert_eq!(vast.rent(ASK, json!({ "price": 0.25, "cancel_unavail": true })).await.error(), (410, "no_such_ask"));
    let waiting = vast.rented(ASK, json!({ "price": 0.25 })).await;
    assert_eq!(vast.row(waiting).await["actual_status"], "stopped");
    let high = vast.rented(ASK, json!({ "price": 0.4 })).await;
    vast.advance(60 * SECOND).await;
    assert_eq!(vast.row(low).await["actual_status"], "stopped");
    assert_eq!(vast.row(high).await["actual_status"], "running");
    let bid = format!("/api/v0/instances/bid_price/{low}/");
    assert_eq!(vast.call("PUT", &bid, json!({ "client_id": "me", "price": 33 })).await.error(), (400, "invalid_price"));
    vast.ok("PUT", &bid, json!({ "client_id": "me", "price": 0.5 })).await;
    vast.advance(5 * SECOND).await;
    assert_eq!((&vast.row(low).await["actual_status"], &vast.row(high).await["actual_status"]), (&json!("running"), &json!("stopped")));
    let demand = vast.runs(ASK, json!({})).await;
    assert_eq!(vast.row(low).await["actual_status"], "stopped");
    assert_eq!(vast.search(search).await[0]["rentable"], false);
    assert_eq!(vast.call("PUT", &format!("/api/v0/instances/bid_price/{demand}/"), json!({ "price": 1 })).await.status, 400);
    vast.destroy(demand).await;
    vast.advance(5 * SECOND).await;
    assert_eq!(vast.row(low).await["actual_status"], "running");
    // What the host asks for more than is bid.
    vast.ok("PATCH", &format!("/stand-in/offers/{ASK}"), json!({ "min_bid": 0.55 })).await;
    assert_eq!(vast.row(low).await["actual_status"], "stopped");
    vast.ok("PUT", &bid, json!({ "client_id": "me", "price": null })).await;
    vast.advance(5 * SECOND).await;
    assert_eq!(vast.row(low).await["actual_status"], "running");
    vast.control(&format!("instances/{low}/outbid"), json!({})).await;
    vast.advance(HOUR).await;
    assert_eq!(vast.row(low).await["actual_status"], "stopped");
    vast.control(&format!("instances/{low}/free"), json!({})).await;
    vast.advance(5 * SECOND).await;
    assert_eq!(vast.row(low).await["actual_status"], "running");
}

#[tokio::test]
async fn one_that_is_ordered_stopped_costs_disk_alone() {
    let vast = start_with(config()).await;
    let id = vast.rented(ASK, json!({ "target_state": "stopped" })).await;
    vast.advance(HOUR).await;
    let truth = vast.truth(id).await;
    assert_eq!((&truth["status"], &truth["cost"]["gpu_ms"], &truth["cost"]["disk_ms"]), (&json!("stopped"), &json!(0), &json!(HOUR)));
    // Its offer is still to be had.
    assert_eq!(vast.rent(ASK, json!({})).await.status, 200);
}
