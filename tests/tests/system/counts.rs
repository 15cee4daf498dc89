//! What one job costs in AWS calls and DynamoDB units, counted at the wire. Fails when they grow.

use anyhow::{Result, ensure};
use kiln_tests::{Call, System, picture};
use serde_json::{Value, json};
use std::time::Duration;

/// The calls of one job, submit to succeeded: worker warm, one input, one artifact, successful polls only.
const MOST_CALLS: usize = 14;
/// Write request units of the same, by the sizes of what was written (transactions count twice), index writes included.
const MOST_WRITE_UNITS: usize = 38;
/// Read request units of the same: one for each item, all of them below 4 kB and read consistently.
const MOST_READ_UNITS: usize = 14;

#[tokio::test]
async fn one_job_takes_fourteen_aws_calls_at_most() -> Result<()> {
    // No maintenance and no heartbeat falls into the count: both are the clock's, not the job's.
    let system = System::start_watched(&[("KILN_TICK_S", "3600"), ("KILN_HEARTBEAT_S", "300"), ("KILN_LEASE_S", "900")]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let upload = ada.upload("photo.png", "image/png", &picture::png(16, 16)).await?;
    let wanted = json!({ "kind": "noop", "inputs": [upload] });
    let warm = ada.job(wanted.clone()).await?;
    ada.ended(&warm, Duration::from_secs(60)).await?;
    let Some(faults) = &system.faults else { return Ok(()) };
    // Let the worker's next poll be parked, so that its call is the one that brings the message.
    kiln_tests::system::wait_for("the worker's polls to be parked", Duration::from_secs(30), || async {
        Ok((faults.calls().iter().filter(|call| call.name == "ReceiveMessage").count() >= 3).then_some(()))
    })
    .await?;
    faults.reset();
    let id = ada.job(wanted).await?;
    let done = kiln_tests::system::wait_for("the last write", Duration::from_secs(60), || async {
        Ok((faults.counts().get("TransactWriteItems") == Some(&3)).then_some(()))
    })
    .await;
    let calls: Vec<Call> = faults.calls().into_iter().filter(|call| call.name != "GetItem" || !call.body.is_empty()).collect();
    done?;
    let job = ada.ended(&id, Duration::from_secs(30)).await?;
    ensure!(job["state"] == "succeeded", "{job}");
    // The poll that brought the message was sent before the count began; the next one that is parked stands for it.
    let polls = calls.iter().filter(|call| call.name == "ReceiveMessage").count();
    let others: Vec<&Call> = calls.iter().filter(|call| call.name != "ReceiveMessage").collect();
    let total = others.len() + 1;
    println!("AWS calls of one job ({polls} polls seen, the successful one counted):");
    for call in &others {
        println!("  {:20} {:2} write units, {:2} read units", call.name, write_units(call), read_units(call));
    }
    let units: usize = others.iter().map(|call| write_units(call)).sum();
    let read: usize = others.iter().map(|call| read_units(call)).sum();
    println!("calls: {total}; DynamoDB request units by item size: {units} written, {read} read");
    ensure!(total <= MOST_CALLS, "{total} AWS calls, {MOST_CALLS} at most");
    ensure!(units <= MOST_WRITE_UNITS, "{units} write units, {MOST_WRITE_UNITS} at most");
    ensure!(read <= MOST_READ_UNITS, "{read} read units, {MOST_READ_UNITS} at most");
    Ok(())
}

fn read_units(call: &Call) -> usize {
    let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
    match call.name.as_str() {
        "GetItem" => 1,
        "BatchGetItem" => body["RequestItems"].as_object().map_or(0, |tables| tables.values().filter_map(|table| Some(table["Keys"].as_array()?.len())).sum()),
        _ => 0,
    }
}

/// Units of a write: a kilobyte or part of one of each item, twice in a transaction. An update's item is taken as 1 kB.
fn write_units(call: &Call) -> usize {
    let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
    let item = |put: &Value| put["Item"].to_string().len().div_ceil(1024).max(1) + usize::from(put["Item"].get("owed_shard").is_some());
    match call.name.as_str() {
        "PutItem" => item(&body),
        "UpdateItem" | "DeleteItem" => 1,
        "TransactWriteItems" => body["TransactItems"]
            .as_array()
            .map_or(0, |parts| parts.iter().map(|part| if part.get("Put").is_some() { 2 * item(&part["Put"]) } else { 2 }).sum()),
        _ => 0,
    }
}
