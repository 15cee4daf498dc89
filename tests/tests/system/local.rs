//! The laptop's system as a whole: it stops cleanly, comes up again with its data, and names what broke.

use anyhow::{Result, ensure};
use kiln_tests::System;
use std::time::Duration;

const ADMIN: &str = "an-admin-key-of-the-tests";

#[tokio::test]
async fn it_stops_on_ctrl_c_and_comes_up_again_with_its_data() -> Result<()> {
    let mut system = System::start(&[("KILN_ADMIN_KEY", ADMIN)]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let id = ada.noop(0).await?;
    ensure!(ada.ended(&id, Duration::from_secs(60)).await?["state"] == "succeeded");
    ensure!(system.interrupt().await? == Some(0));
    system.restart().await?;
    let again = system.client();
    again.set_cookie(ada.cookie());
    let job = again.show(&id).await?;
    ensure!(job["state"] == "succeeded");
    again.download(&job["artifacts"][0]).await?;
    ensure!(again.check_books().await? == (9000, 0));
    let next = again.noop(0).await?;
    ensure!(again.ended(&next, Duration::from_secs(60)).await?["state"] == "succeeded");
    // The times of the first one outlive the machine that did it.
    let metrics = reqwest::Client::new().get(format!("{}/api/v1/metrics", system.url)).bearer_auth(ADMIN).send().await?.text().await?;
    for line in ["kiln_job_wait_seconds_count{kind=\"noop\"} 2", "kiln_job_run_seconds_bucket{kind=\"noop\",le=\"+Inf\"} 2"] {
        ensure!(metrics.lines().any(|l| l == line), "{line} in\n{metrics}");
    }
    Ok(())
}

#[tokio::test]
async fn killed_it_adopts_its_stand_in_and_loses_nothing() -> Result<()> {
    let mut system = System::start(&[]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let id = ada.noop(0).await?;
    ada.ended(&id, Duration::from_secs(60)).await?;
    system.kill().await?;
    system.restart().await?;
    let again = system.client();
    again.set_cookie(ada.cookie());
    ensure!(again.show(&id).await?["state"] == "succeeded");
    let next = again.noop(0).await?;
    ensure!(again.ended(&next, Duration::from_secs(60)).await?["state"] == "succeeded");
    again.check_books().await?;
    Ok(())
}

#[tokio::test]
async fn health_tells_the_settings_and_the_fleet() -> Result<()> {
    let system = System::start(&[("KILN_POOL_DESIRED", "1")]).await?;
    let client = system.client();
    let health = kiln_tests::system::wait_for("a ready worker", Duration::from_secs(60), || async {
        let health = client.get("/api/v1/health").await?;
        Ok((health.body["workers"]["ready"] == 1).then_some(health.body))
    })
    .await?;
    ensure!(health["queue"]["ceiling"] == 10_000 && health["workers"]["max"] == 1, "{health}");
    let page = client.get("/").await?;
    ensure!(page.headers.contains_key("content-security-policy"), "{:?}", page.headers);
    Ok(())
}
