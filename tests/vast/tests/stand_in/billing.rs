//! What is billed, when, and how it is listed.

use serde_json::{Value, json};

use crate::common::{ASK, HOUR, SECOND, START_MS, close, config, encoded, start, start_with};

#[tokio::test]
async fn gpus_are_billed_while_it_runs_and_disk_from_the_order_to_the_end() {
    let vast = start().await;
    // 100 GB at 0.216 a month: 0.03 an hour.
    let id = vast.rented(ASK, json!({})).await;
    vast.advance(59 * SECOND).await;
    let cost = vast.truth(id).await["cost"].clone();
    assert_eq!((&cost["gpu_ms"], &cost["disk_ms"]), (&json!(0), &json!(59 * SECOND)));
    vast.advance(SECOND + HOUR / 2).await;
    vast.put_state(id, "stopped").await;
    vast.advance(2 * SECOND + HOUR).await;
    let cost = vast.truth(id).await["cost"].clone();
    // The two seconds of stopping are billed.
    assert_eq!(cost["gpu_ms"], HOUR / 2 + 2 * SECOND);
    assert_eq!(cost["disk_ms"], 60 * SECOND + HOUR / 2 + 2 * SECOND + HOUR);
    assert!(close(&cost["gpu_usd"], 0.6 * (1802.0 / 3600.0)) && close(&cost["disk_usd"], 0.03 * (5462.0 / 3600.0)));
    vast.destroy(id).await;
    vast.advance(HOUR).await;
    assert_eq!(vast.truth(id).await["cost"], cost);
    let left = vast.ok("GET", "/api/v0/users/current/", Value::Null).await["credit"].clone();
    assert!(close(&left, 100.0 - cost["gpu_usd"].as_f64().unwrap() - cost["disk_usd"].as_f64().unwrap()));
}

#[tokio::test]
async fn one_that_is_kept_stopped_pays_for_each_time_it_runs_and_for_its_disk_between() {
    let vast = start().await;
    let id = vast.runs(ASK, json!({})).await;
    vast.advance(HOUR).await;
    vast.put_state(id, "stopped").await;
    vast.advance(2 * SECOND).await;
    vast.advance(10 * HOUR).await;
    vast.put_state(id, "running").await;
    vast.advance(5 * SECOND + HOUR / 2).await;
    // It is destroyed while it is stopped.
    vast.put_state(id, "stopped").await;
    vast.advance(HOUR).await;
    assert_eq!(vast.row(id).await["actual_status"], "stopped");
    vast.destroy(id).await;
    vast.advance(HOUR).await;
    let truth = vast.truth(id).await;
    let (ran, had) = (HOUR + HOUR / 2 + 4 * SECOND, 60 * SECOND + HOUR + 2 * SECOND + 10 * HOUR + 5 * SECOND + HOUR / 2 + HOUR);
    assert_eq!((&truth["cost"]["gpu_ms"], &truth["cost"]["disk_ms"], &truth["starts"]), (&json!(ran), &json!(had), &json!(2)));
    let wanted = (0.6 * ran as f64 + 0.03 * had as f64) / HOUR as f64;
    assert!(close(&truth["cost_total"], wanted));
    let charges = vast.ok("GET", "/api/v0/charges/", Value::Null).await;
    let charged: f64 = charges["results"].as_array().unwrap().iter().map(|row| row["amount"].as_f64().unwrap()).sum();
    assert!((charged - wanted).abs() < 1e-9);
}

#[tokio::test]
async fn nothing_is_billed_while_a_machine_is_offline() {
    let vast = start().await;
    let id = vast.runs(ASK, json!({})).await;
    vast.control(&format!("instances/{id}/offline"), json!({})).await;
    vast.advance(HOUR).await;
    let cost = vast.truth(id).await["cost"].clone();
    assert_eq!((&cost["gpu_ms"], &cost["disk_ms"]), (&json!(0), &json!(60 * SECOND)));
    vast.control(&format!("instances/{id}/return"), json!({})).await;
    vast.control(&format!("instances/{id}/unheard"), json!({})).await;
    vast.advance(HOUR).await;
    assert_eq!(vast.truth(id).await["cost"]["gpu_ms"], HOUR);
}

#[tokio::test]
async fn traffic_and_new_prices_count_from_their_moment() {
    let vast = start().await;
    let id = vast.runs(ASK, json!({})).await;
    vast.control(&format!("instances/{id}/traffic"), json!({ "up_bytes": 1_500_000_000, "down_bytes": 1 })).await;
    vast.advance(HOUR).await;
    vast.ok("PATCH", &format!("/stand-in/instances/{id}"), json!({ "dph_base": 1.2 })).await;
    vast.advance(HOUR).await;
    // An offer's price is not that of the contracts that were made of it.
    vast.ok("PATCH", &format!("/stand-in/offers/{ASK}"), json!({ "dph_base": 9.0 })).await;
    vast.advance(HOUR).await;
    let cost = vast.truth(id).await["cost"].clone();
    assert!(close(&cost["gpu_usd"], 0.6 + 1.2 + 1.2) && close(&cost["up_usd"], 0.03) && close(&cost["down_usd"], 1e-11));
    assert_eq!(vast.row(id).await["dph_total"], 1.23);
}

#[tokio::test]
async fn charges_are_listed_by_day_in_pages_and_add_up_to_what_is_true() {
    let vast = start().await;
    let (first, second) = (vast.runs(ASK, json!({ "label": "kiln-1" })).await, vast.runs(12, json!({})).await);
    // Over two midnights.
    vast.advance(30 * HOUR).await;
    vast.destroy(first).await;
    let charges = async |query: &str| vast.ok("GET", &format!("/api/v0/charges/{query}"), Value::Null).await;
    let all = charges("").await;
    assert_eq!((&all["count"], &all["total"], &all["next_token"]), (&json!(6), &json!(6), &Value::Null));
    let rows = all["results"].as_array().unwrap();
    let of = |id: u64| rows.iter().filter(move |r| r["source"] == format!("instance-{id}"));
    for id in [first, second] {
        let sum: f64 = of(id).map(|r| r["amount"].as_f64().unwrap()).sum();
        assert!(close(&vast.truth(id).await["cost_total"], sum));
        for row in of(id) {
            let items: f64 = row["items"].as_array().unwrap().iter().map(|i| i["amount"].as_f64().unwrap()).sum();
            assert!(close(&row["amount"], items));
        }
    }
    let midnight = (START_MS + 2 * HOUR) / 1000;
    assert_eq!(of(first).map(|r| r["start"].as_i64().unwrap()).collect::<Vec<_>>(), [midnight - 86_400, midnight, midnight + 86_400]);
    // A day of GPUs and disk.
    assert!(close(&of(first).nth(1).unwrap()["amount"], 24.0 * 0.63));

    let day = encoded(&json!({ "day": { "gte": midnight, "lte": midnight }, "type": { "in": ["instance"] } }));
    assert_eq!(charges(&format!("?select_filters={day}")).await["total"], 2);
    let none = encoded(&json!({ "type": { "in": ["volume"] } }));
    assert_eq!(charges(&format!("?select_filters={none}")).await["total"], 0);

    let mut paged = Vec::new();
    let mut token = String::new();
    loop {
        let page = charges(&format!("?limit=4&latest_first=True{token}")).await;
        paged.extend(page["results"].as_array().unwrap().clone());
        let Some(next) = page["next_token"].as_str() else { break };
        token = format!("&after_token={next}");
    }
    paged.reverse();
    assert_eq!(&paged, rows);

    let tree = charges("?format=tree").await;
    assert_eq!((&tree["total"], tree["results"][0]["items"].as_array().unwrap().len()), (&json!(2), 3));
}

#[tokio::test]
async fn when_the_credit_is_used_up_everything_stops_at_that_moment() {
    let mut config = config();
    config.credit = 1.26 + 0.03 / 60.0;
    let vast = start_with(config).await;
    // A minute of disk alone, then two hours at 0.63.
    let id = vast.runs(ASK, json!({})).await;
    vast.advance(100 * HOUR).await;
    let truth = vast.truth(id).await;
    assert_eq!((&truth["status"], &truth["wanted"]), (&json!("stopped"), &json!(false)));
    let ran = truth["cost"]["gpu_ms"].as_i64().unwrap();
    assert!((ran - 2 * HOUR).abs() <= 1, "{ran}");
    assert_eq!(truth["cost"]["disk_ms"], 60 * SECOND + 100 * HOUR);
    assert_eq!(vast.put_state(id, "running").await.error(), (400, "missing_billing"));
    assert_eq!(vast.rent(12, json!({})).await.error(), (400, "missing_billing"));
    vast.control("credit", json!({ "left": 5.0 })).await;
    assert_eq!(vast.put_state(id, "running").await.status, 200);
    vast.advance(5 * SECOND).await;
    assert_eq!(vast.row(id).await["actual_status"], "running");
}
