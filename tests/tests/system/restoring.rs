//! While the mark of a restore stands, what the schedules would do waits; and nothing of it is lost.

use super::backup::TABLE;
use anyhow::{Result, ensure};
use aws_sdk_dynamodb::types::AttributeValue::S;
use kiln_tests::{Receiver, System, wait_for};
use serde_json::json;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);
const STAND_STILL: [&str; 4] = ["deliveries", "maintenance", "settle", "warm-pool"];

/// Waits until each scheduled function has stood still twice more: the second of the two began after this was asked.
async fn all_stand_still(system: &System) -> Result<()> {
    let count = |name: &str| {
        let told = format!("\"{name}\"");
        system.log().lines().iter().filter(|line| line.contains("a restore is under way") && line.contains(&told)).count()
    };
    let before = STAND_STILL.map(count);
    wait_for("every function to stand still", SOON, || async {
        Ok(STAND_STILL.iter().zip(before).all(|(name, before)| count(name) >= before + 2).then_some(()))
    })
    .await
}

#[tokio::test]
async fn what_is_owed_waits_while_a_restore_is_under_way_and_is_done_after_it() -> Result<()> {
    let system = System::start(&[("KILN_WEBHOOK_ALLOW_LOOPBACK", "1"), ("KILN_HOOK_RETRY_MS", "1")]).await?;
    let (ada, receiver) = (system.signed_in("ada@example.org").await?, Receiver::start().await?);
    let endpoint = json!({ "url": receiver.url, "events": ["job.*"] });
    ada.post("/api/v1/webhook-endpoints", endpoint).await?.expect(201)?;
    let table = super::access::table_client(&system.stand_in()?).await;
    let mark = table.put_item().table_name(TABLE).item("pk", S("META".into())).item("sk", S("RESTORE".into()));
    mark.item("sha256", S("of a test".into())).send().await?;
    all_stand_still(&system).await?;

    // A job needs a machine, and its end must be told: the schedules do both.
    let job = ada.noop(0).await?;
    let cancelled = ada.noop(0).await?;
    ada.post(&format!("/api/v1/jobs/{cancelled}/cancel"), json!({})).await?.expect(200)?;
    all_stand_still(&system).await?;
    ensure!(ada.show(&job).await?["state"] == "queued" && receiver.hooks().is_empty() && ada.all("/api/v1/deliveries").await?.is_empty());

    table.delete_item().table_name(TABLE).key("pk", S("META".into())).key("sk", S("RESTORE".into())).send().await?;
    ensure!(ada.ended(&job, SOON).await?["state"] == "succeeded");
    // The cancel, the start and the success.
    receiver.wait(3, SOON).await?;
    ada.check_books().await.map(drop)
}
