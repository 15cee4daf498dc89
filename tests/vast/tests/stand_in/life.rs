//! How an instance goes on with time.

use serde_json::{Value, json};

use crate::common::{ASK, HOUR, KEY, SECOND, START_MS, config, start, start_with};

#[tokio::test]
async fn an_instance_boots_step_by_step_as_the_clock_is_moved() {
    let vast = start().await;
    let order = json!({ "label": "kiln-1", "env": { "A": "b", "-p 8080:8080": "1" }, "onstart": "go", "runtype": "args", "args": ["--once"] });
    let id = vast.rented(ASK, order).await;
    let row = vast.row(id).await;
    assert_eq!((&row["actual_status"], &row["intended_status"], &row["cur_state"]), (&Value::Null, &json!("running"), &json!("running")));
    assert_eq!((&row["extra_env"], &row["image_args"], &row["onstart"]), (&json!([["-p 8080:8080", "1"], ["A", "b"]]), &json!(["--once"]), &json!("go")));
    assert_eq!((row["start_date"].as_f64().unwrap(), &row["ports"]), (START_MS as f64 / 1000.0, &Value::Null));
    for (at, status) in [(9, Value::Null), (1, json!("created")), (19, json!("created")), (1, json!("loading")), (29, json!("loading")), (1, json!("running"))]
    {
        vast.advance(at * SECOND).await;
        assert_eq!(vast.row(id).await["actual_status"], status, "{at}");
    }
    vast.advance(HOUR).await;
    let row = vast.row(id).await;
    assert_eq!(row["uptime_mins"], 60.0);
    assert!(row["ports"]["8080/tcp"][0]["HostPort"].is_string());
    let fields = "id label actual_status intended_status cur_state next_state status_msg machine_id host_id gpu_name num_gpus gpu_util gpu_temp gpu_ram cpu_util \
        cpu_cores_effective cpu_ram mem_usage mem_limit vmem_usage disk_space disk_util disk_usage dph_base dph_total min_bid is_bid image_uuid image_args image_runtype \
        onstart extra_env template_id template_hash_id template_name ssh_host ssh_port ssh_idx public_ipaddr local_ipaddrs ports direct_port_start direct_port_end \
        direct_port_count static_ip start_date end_date uptime_mins duration reliability2 verification geolocation driver_version cuda_max_good inet_up inet_down jupyter_token";
    for field in fields.split_whitespace() {
        assert!(row.get(field).is_some(), "{field}");
    }
}

#[tokio::test]
async fn stopping_takes_its_time_and_starting_skips_the_making() {
    let vast = start().await;
    let id = vast.runs(ASK, json!({})).await;
    vast.put_state(id, "stopped").await;
    let row = vast.row(id).await;
    assert_eq!((&row["actual_status"], &row["intended_status"]), (&json!("running"), &json!("stopped")));
    vast.advance(2 * SECOND).await;
    let row = vast.row(id).await;
    assert_eq!((&row["actual_status"], &row["cur_state"]), (&json!("stopped"), &json!("stopped")));
    vast.put_state(id, "running").await;
    assert_eq!(vast.row(id).await["actual_status"], "loading");
    vast.advance(5 * SECOND).await;
    assert_eq!(vast.row(id).await["actual_status"], "running");
    // Started again before it has stopped.
    vast.put_state(id, "stopped").await;
    vast.put_state(id, "running").await;
    vast.advance(5 * SECOND).await;
    assert_eq!(vast.row(id).await["actual_status"], "running");
    vast.ok("PUT", "/api/v0/instances/", json!({ "state": "stopped", "ids": [id] })).await;
    vast.advance(HOUR).await;
    assert_eq!(vast.row(id).await["actual_status"], "stopped");
    vast.ok("DELETE", "/api/v0/instances/", json!({ "instance_ids": [id, id] })).await;
    assert_eq!(vast.row(id).await, Value::Null);
    assert_eq!(vast.truth(id).await["exists"], false);
}

#[tokio::test]
async fn a_machine_that_stands_still_can_be_made_to_run_on_by_the_real_clock() {
    let mut config = config();
    config.times = kiln_vast_stand_in::Times { provision: 0, create: 0, load: 5, restart: 0, stop: 0 };
    let vast = start_with(config).await;
    let id = vast.rented(ASK, json!({})).await;
    // All that takes no time has happened; the clock stands.
    assert_eq!(vast.row(id).await["actual_status"], "loading");
    vast.control("clock", json!({ "frozen": false })).await;
    // Nobody asks for it: the stand-in itself wakes up.
    let truth = vast.ok("GET", &format!("/stand-in/instances/{id}/wait?status=running"), Value::Null).await;
    assert_eq!(truth["shown_as"], "running");
    let late = vast.call("GET", &format!("/stand-in/instances/{id}/wait?status=stopped&timeout_ms=1"), Value::Null).await;
    assert_eq!(late.status, 408);
}

#[tokio::test]
async fn machines_stick_die_fall_silent_and_come_back() {
    let vast = start().await;
    vast.control("faults", json!({ "kind": "never_boots" })).await;
    let stuck = vast.rented(ASK, json!({})).await;
    let id = vast.rented(12, json!({})).await;
    vast.advance(24 * HOUR).await;
    assert_eq!((&vast.row(stuck).await["actual_status"], &vast.row(id).await["actual_status"]), (&json!("loading"), &json!("running")));
    assert_eq!(vast.truth(stuck).await["cost"]["gpu_ms"], 0);

    vast.control(&format!("instances/{id}/unheard"), json!({})).await;
    assert_eq!(vast.row(id).await["actual_status"], "unknown");
    vast.control(&format!("instances/{id}/offline"), json!({})).await;
    assert_eq!(vast.row(id).await["actual_status"], "offline");
    vast.control(&format!("instances/{id}/return"), json!({})).await;
    assert_eq!(vast.row(id).await["actual_status"], "running");

    // What a machine is told while it is cut off, it does when it is back.
    vast.control(&format!("instances/{id}/offline"), json!({})).await;
    vast.put_state(id, "stopped").await;
    vast.advance(HOUR).await;
    assert_eq!(vast.truth(id).await["status"], "running");
    vast.control(&format!("instances/{id}/return"), json!({})).await;
    assert_eq!(vast.row(id).await["actual_status"], "stopped");
    vast.put_state(id, "running").await;
    vast.advance(5 * SECOND).await;

    vast.control(&format!("instances/{id}/die"), json!({})).await;
    let row = vast.row(id).await;
    assert_eq!((&row["actual_status"], &row["intended_status"]), (&json!("exited"), &json!("running")));
    assert!(row["status_msg"].as_str().unwrap().starts_with("Error"));
    vast.put_state(id, "running").await;
    vast.advance(5 * SECOND).await;
    assert_eq!(vast.row(id).await["actual_status"], "running");
    vast.control(&format!("instances/{id}/stick"), json!({})).await;
    vast.put_state(id, "stopped").await;
    vast.advance(HOUR).await;
    vast.put_state(id, "running").await;
    vast.advance(HOUR).await;
    assert_eq!(vast.row(id).await["actual_status"], "loading");
}

#[tokio::test]
async fn a_machine_that_vanishes_is_in_no_list_and_costs_on() {
    let vast = start().await;
    let id = vast.runs(ASK, json!({ "label": "kiln-1" })).await;
    vast.control(&format!("instances/{id}/vanish"), json!({})).await;
    assert_eq!((vast.row(id).await, vast.listed().await), (Value::Null, vec![]));
    assert_eq!(vast.list("").await.body["total_instances"], 0);
    let before = vast.truth(id).await["cost_total"].as_f64().unwrap();
    vast.advance(HOUR).await;
    let after = vast.truth(id).await;
    assert!((after["cost_total"].as_f64().unwrap() - before - 0.63).abs() < 1e-9);
    assert_eq!((&after["exists"], &after["status"]), (&json!(true), &json!("running")));
    vast.control(&format!("instances/{id}/appear"), json!({})).await;
    assert_eq!(vast.listed().await, [id]);
    // It could have been destroyed unseen.
    vast.control(&format!("instances/{id}/vanish"), json!({})).await;
    assert_eq!(vast.destroy(id).await.status, 200);
    assert_eq!(vast.truth(id).await["exists"], false);
}

#[tokio::test]
async fn a_machine_refuses_to_die_until_it_is_told() {
    let vast = start().await;
    let (polite, rude) = (vast.runs(ASK, json!({})).await, vast.runs(12, json!({})).await);
    vast.control("faults", json!({ "kind": "undying", "path": format!("/api/v0/instances/{polite}/") })).await;
    vast.control(&format!("instances/{rude}/undying"), json!({ "status": 500 })).await;
    for _ in 0..2 {
        assert_eq!(vast.destroy(polite).await.status, 200);
        assert_eq!(vast.destroy(rude).await.status, 500);
    }
    assert_eq!(vast.listed().await, [polite, rude]);
    for id in [polite, rude] {
        assert_eq!(vast.truth(id).await["status"], "running");
        vast.control(&format!("instances/{id}/mortal"), json!({})).await;
        assert_eq!(vast.destroy(id).await.status, 200);
    }
    assert!(vast.listed().await.is_empty());
}

#[tokio::test]
async fn everything_is_forgotten_at_a_reset_and_so_much_is_kept_at_most() {
    let mut config = config();
    (config.max_instances, config.max_requests) = (2, 5);
    let vast = start_with(config).await;
    let id = vast.rented(ASK, json!({})).await;
    vast.rented(12, json!({})).await;
    assert_eq!(vast.rent(13, json!({})).await.error(), (507, "stand_in_full"));
    vast.destroy(id).await;
    vast.rented(13, json!({})).await;
    let requests = vast.requests().await;
    assert_eq!((requests.len(), requests[4]["n"].as_u64()), (5, Some(5)));
    let after = vast.ok("GET", "/stand-in/requests?after=4", Value::Null).await;
    assert_eq!(
        (&after["items"][0]["method"], &after["items"][0]["path"], &after["items"][0]["status"]),
        (&json!("PUT"), &json!("/api/v0/asks/13/"), &json!(200))
    );
    vast.control("reset", json!({})).await;
    assert!(vast.listed().await.is_empty());
    assert_eq!(vast.call_as(KEY, "GET", "/stand-in/clock", Value::Null).await.body["now_ms"], START_MS);
}
