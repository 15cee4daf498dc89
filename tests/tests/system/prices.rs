//! Another price list than the one that ships: what it says is quoted, held and charged.

use anyhow::{Result, ensure};
use kiln_core::prices::DEFAULT;
use kiln_tests::System;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn rush_costs_the_multiple_of_the_deployment_s_own_list_and_the_quote_says_so() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let list = folder.path().join("prices.toml");
    let shipped = "multiple_permille = 2000";
    ensure!(DEFAULT.contains(shipped), "the list that ships has another multiple");
    std::fs::write(&list, DEFAULT.replace(shipped, "multiple_permille = 3000"))?;
    let system = System::start(&[("KILN_PRICES_FILE", &list.to_string_lossy())]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let wanted = json!({ "kind": "noop", "priority": "rush" });
    let quote = ada.post("/api/v1/jobs/quote", wanted.clone()).await?.expect(200)?;
    let lines = json!([{ "what": quote["lines"][0]["what"], "millicredits": 1000 }, { "what": "Rush (300 % of the price)", "millicredits": 2000 }]);
    ensure!(quote["quote_millicredits"] == 3000 && quote["lines"] == lines, "{quote}");
    let job = ada.job(wanted).await?;
    ensure!(ada.ended(&job, Duration::from_secs(60)).await?["charged_millicredits"] == 3000);
    // Who doesn't hurry pays what the list that ships says.
    ensure!(ada.post("/api/v1/jobs/quote", json!({ "kind": "noop" })).await?.expect(200)?["quote_millicredits"] == 1000);
    ensure!(ada.check_books().await? == (7_000, 0));
    Ok(())
}
