//! Sixty-four clients at once on one account that has credits for ten jobs, over HTTP, where overlapping writes fail as DynamoDB fails them.

use anyhow::{Context, Result, ensure};
use kiln_tests::System;
use serde_json::json;

const CLIENTS: usize = 64;

#[tokio::test]
async fn sixty_four_clients_at_once_get_ten_jobs_and_the_others_are_told_what_they_lack() -> Result<()> {
    let system = System::start_watched(&[("KILN_POOL_MAX", "0")]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let faults = system.faults.clone().context("a proxy")?;
    faults.overlapping_writes_conflict();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let client = system.client();
        client.set_cookie(ada.cookie());
        tasks.spawn(async move { client.post("/api/v1/jobs", json!({ "kind": "noop" })).await });
    }
    let (mut accepted, mut lacking, mut others) = (0, 0, vec![]);
    while let Some(answer) = tasks.join_next().await {
        let answer = answer??;
        match answer.status.as_u16() {
            202 => accepted += 1,
            402 => {
                answer.problem(402, "insufficient_credits", "")?;
                ensure!(answer.body["detail"].as_str().is_some_and(|detail| detail.contains("lacking: 1 credit.")), "{}", answer.body);
                lacking += 1;
            }
            _ => others.push(answer),
        }
    }
    println!("{accepted} accepted, {lacking} lack credits, {} conflicts", faults.conflicts());
    ensure!((accepted, lacking) == (10, 54), "{accepted} accepted, {lacking} lack credits, others {others:?}");
    ensure!(faults.conflicts() >= 10, "{} conflicts are no contention", faults.conflicts());
    ensure!(ada.all("/api/v1/jobs").await?.len() == 10);
    ensure!(ada.check_books().await? == (0, 10_000));
    Ok(())
}
