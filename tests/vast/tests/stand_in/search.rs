//! Searching.

use kiln_vast_stand_in::generate;
use serde_json::{Value, json};

use crate::common::{ASK, close, config, start, start_with};

fn ids(rows: &[Value]) -> Vec<u64> {
    rows.iter().map(|row| row["id"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn filters_orders_and_limits_hold_with_numbers_and_numbers_in_strings() {
    let vast = start().await;
    for one in [json!(1), json!("1")] {
        let body = json!({ "gpu_name": { "eq": "RTX 4090" }, "num_gpus": { "eq": one }, "verified": { "eq": true }, "order": [["dph_total", "asc"]], "type": "on-demand" });
        assert_eq!(ids(&vast.search(body).await), [13, ASK]);
    }
    assert_eq!(ids(&vast.search(json!({ "gpu_name": { "notin": ["RTX 4090", "RTX 3090"] } })).await), [14]);
    assert_eq!(ids(&vast.search(json!({ "dph_base": { "gt": "0.3", "lte": 0.6 }, "order": [["dph_base", "desc"]], "limit": "1" })).await), [ASK]);
    let asks = vast
        .ok("PUT", "/api/v0/search/asks/", json!({ "select_cols": ["id", "gpu_name"], "q": { "id": { "in": [12, "13"] }, "order": [["id", "desc"]] } }))
        .await;
    assert_eq!(asks["offers"], json!([{ "id": 13, "gpu_name": "RTX 4090" }, { "id": 12, "gpu_name": "RTX 3090" }]));
    let names = vast.said(vast.request("GET", "/api/v0/gpu_names/unique/")).await;
    assert_eq!(names.body["gpu_names"], json!(["H100 SXM", "RTX 3090", "RTX 4090"]));
}

#[tokio::test]
async fn prices_cover_the_storage_and_bids_are_cheaper() {
    let vast = start().await;
    let price = async |body: Value| vast.search(body).await[0]["dph_total"].clone();
    assert!(close(&price(json!({ "id": { "eq": ASK }, "allocated_storage": 100 })).await, 0.63));
    assert!(close(&price(json!({ "id": { "eq": ASK }, "allocated_storage": "200.0" })).await, 0.66));
    assert!(close(&price(json!({ "id": { "eq": ASK }, "allocated_storage": 100, "type": "bid" })).await, 0.23));
}

#[tokio::test]
async fn a_rented_offer_can_not_be_rented_and_one_that_is_gone_not_found() {
    let vast = start().await;
    let rentable = json!({ "rentable": { "eq": true }, "order": [["id", "asc"]] });
    let id = vast.rented(ASK, json!({})).await;
    assert_eq!(ids(&vast.search(rentable.clone()).await), [12, 13, 14]);
    assert_eq!(vast.rent(ASK, json!({})).await.error(), (410, "no_such_ask"));
    vast.destroy(id).await;
    vast.ok("PATCH", "/stand-in/offers/12", json!({ "gone": true })).await;
    vast.ok("PATCH", "/stand-in/offers/13", json!({ "dph_base": 0.9 })).await;
    let now = vast.search(rentable).await;
    assert_eq!(ids(&now), [ASK, 13, 14]);
    assert!(close(&now[1]["dph_base"], 0.9));
    assert_eq!(vast.rent(12, json!({})).await.error(), (410, "no_such_ask"));
}

#[tokio::test]
async fn generated_offers_are_the_same_for_a_seed_and_have_every_field() {
    assert_eq!(generate(3, 40), generate(3, 40));
    assert_ne!(generate(3, 40), generate(4, 40));
    let mut config = config();
    config.offers = generate(3, 40);
    let vast = start_with(config).await;
    let rows = vast.search(json!({})).await;
    assert_eq!(rows.len(), 40);
    let fields = "id ask_contract_id machine_id host_id bundle_id num_gpus gpu_name gpu_ram gpu_total_ram gpu_frac gpu_arch compute_cap cuda_max_good driver_version \
        cpu_arch cpu_cores cpu_cores_effective cpu_ghz cpu_ram has_avx disk_space disk_bw inet_up inet_down inet_up_cost inet_down_cost dph_base dph_total min_bid \
        storage_cost storage_total_cost dlperf dlperf_per_dphtotal flops_per_dphtotal score reliability reliability2 rentable rented is_bid verification verified external \
        geolocation public_ipaddr direct_port_count static_ip start_date end_date duration hosting_type datacenter vms_enabled pcie_bw cluster_id";
    for row in &rows {
        for field in fields.split_whitespace() {
            assert!(row.get(field).is_some(), "{field}");
        }
        assert!(row["min_bid"].as_f64() < row["dph_base"].as_f64());
    }
    for field in ["verified", "datacenter", "static_ip"] {
        assert!(rows.iter().any(|r| r[field] == true) && rows.iter().any(|r| r[field] == false), "{field}");
    }
}
