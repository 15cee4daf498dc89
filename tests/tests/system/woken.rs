//! The warm pool is woken by the job that needs a machine, and whoever waits is told for what.

use crate::pool::{Operator, decided};
use anyhow::{Context, Result, ensure};
use kiln_tests::system::wait_for;
use kiln_tests::{Client, Machine, System};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const ADMIN: &str = "the-admin-key-of-this-test";
const SOON: Duration = Duration::from_secs(60);

/// The job, once what it waits for is so.
async fn when(client: &Client, job: &str, what: &str, so: impl Fn(&Value) -> bool) -> Result<Value> {
    wait_for(what, SOON, async || Ok(Some(client.show(job).await?["waits_for"].clone()).filter(&so))).await
}

#[tokio::test]
async fn a_job_into_an_empty_pool_brings_its_machine_though_no_schedule_looks() -> Result<()> {
    let system = System::start(&[("KILN_ADMIN_KEY", ADMIN), ("KILN_POOL_MAX", "1"), ("KILN_TICK_S", "3600")]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let job = ada.noop(1).await?;
    let ended = ada.ended(&job, SOON).await?;
    ensure!(ended["state"] == "succeeded", "{ended}");
    let pool = ada.send(ada.request(Method::GET, "/api/v1/admin/pool").bearer_auth(ADMIN)).await?.expect(200)?;
    let decided = &pool["last_run"]["decisions"][0];
    ensure!(decided["what"] == "rent" && decided["reason"] == "waiting", "{pool}");
    println!("job at {}, decided at {}, started at {}", ended["created_at"], pool["last_run"]["decided_at"], ended["started_at"]);
    Ok(())
}

#[tokio::test]
async fn a_machine_that_falls_idle_is_given_back_though_no_schedule_looks() -> Result<()> {
    let system = System::start(&[("KILN_ADMIN_KEY", ADMIN), ("KILN_POOL_MAX", "1"), ("KILN_TICK_S", "3600"), ("KILN_SECOND_LOOK_S", "30")]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let admin = |method: Method| ada.request(method, "/api/v1/admin/pool").bearer_auth(ADMIN);
    ada.send(admin(Method::PATCH).json(&json!({ "policy": "learned" }))).await?.expect(200)?;
    // Longer than a boot takes here: the pool turns once in that time.
    let job = ada.noop(8_000).await?;
    ensure!(ada.ended(&job, SOON).await?["state"] == "succeeded");
    // Its row is closed by later looks; that it goes is decided, and done, in this one.
    let decided = |pool: &Value| pool["last_run"]["decisions"][0]["what"] == "stop";
    let pool = wait_for("the machine to be given back", SOON, async || Ok(Some(ada.send(admin(Method::GET)).await?.expect(200)?).filter(decided))).await?;
    ensure!(pool["last_run"]["decisions"][0]["reason"] == "not_needed", "{pool}");
    Ok(())
}

#[tokio::test]
async fn whoever_waits_is_told_how_far_the_machine_is_and_why_there_is_none() -> Result<()> {
    let machine = Machine::new()?;
    let system =
        System::start(&[("KILN_ADMIN_KEY", ADMIN), ("KILN_WORKER_BIN", machine.program.as_str()), ("KILN_POOL_MAX", "0"), ("KILN_TICK_S", "1")]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let job = ada.noop(1).await?;
    when(&ada, &job, "the pool to say that it is switched off", |waits| waits["reason"] == "paused" && waits["expected_start_s"].is_null()).await?;
    ada.send(ada.request(Method::PATCH, "/api/v1/admin/pool").bearer_auth(ADMIN).json(&json!({ "max": 1 }))).await?.expect(200)?;
    let waits = when(&ada, &job, "a machine to be asked for", |waits| waits["machine"] == "requested").await?;
    ensure!(waits["expected_start_s"].is_u64() && waits["reason"].is_null(), "{waits}");
    // Its worker boots.
    let body = json!({ "boot_token": machine.boot_token().await?, "version": "1", "capabilities": ["image"] });
    let registered = ada.post("/api/v1/fleet/register", body).await?.expect(200)?;
    let token = registered["token"].as_str().context("token")?;
    let beat = |body: Value| ada.send(ada.request(Method::POST, "/api/v1/fleet/heartbeat").bearer_auth(token).json(&body));
    beat(json!({ "stage": "loading", "boot_stage": "models" })).await?.expect(200)?;
    when(&ada, &job, "it to load its models", |waits| waits["machine"] == "loading" && waits["boot_stage"] == "models").await?;
    beat(json!({ "stage": "ready" })).await?.expect(200)?;
    let waits = when(&ada, &job, "it to be ready", |waits| waits["machine"] == "ready").await?;
    ensure!(waits["expected_start_s"] == 0 && waits["boot_stage"].is_null(), "{waits}");
    // A job that is over waits for nothing.
    ada.post(&format!("/api/v1/jobs/{job}/cancel"), json!({})).await?.expect(200)?;
    ensure!(ada.show(&job).await?["waits_for"].is_null());
    Ok(())
}

#[tokio::test]
async fn what_an_operator_orders_is_done_at_once_though_no_schedule_looks() -> Result<()> {
    let system = System::start(&[("KILN_ADMIN_KEY", ADMIN), ("KILN_POOL_MAX", "2"), ("KILN_TICK_S", "3600")]).await?;
    let operator = Operator(system.client());
    let in_stage = |pool: &Value, stage: &str| pool["instances"].as_array().map_or(0, |all| all.iter().filter(|one| one["stage"] == stage).count());
    operator.post("/prewarm", json!({ "machines": 2 })).await?.expect(200)?;
    let pool = operator.when("two machines ahead of the jobs", |pool| in_stage(pool, "ready") == 2).await?;
    let [goes, stays] = [0_usize, 1].map(|n| pool["instances"][n]["id"].clone());
    // Nobody takes the place of the one that goes.
    operator.post("/prewarm", json!({ "machines": 0 })).await?.expect(200)?;
    operator.post("/terminate", json!({ "instance_id": goes, "at_once": true })).await?.expect(202)?;
    // Its worker hears that it is over and may have ended before the pool looks: then there is nothing left to destroy.
    let gone = |pool: &Value| pool["instances"].as_array().is_some_and(|all| all.iter().all(|one| one["id"] != goes));
    let pool = operator.when("the one to be destroyed", |pool| decided(pool, "destroy", "sent_away") || gone(pool)).await?;
    ensure!(pool["instances"].as_array().is_some_and(|all| all.iter().any(|one| one["id"] == stays && one["stage"] == "ready")), "{pool}");

    let lease = operator.post("/leases", json!({ "instance_id": stays, "minutes": 1 })).await?.expect(201)?;
    let looked = operator.pool().await?["last_run"]["at"].clone();
    let release = format!("/leases/{}", lease["id"].as_str().context("id")?);
    ensure!(operator.ask(Method::DELETE, &release, None).await?.status == 204);
    operator.when("a look for the release", |pool| pool["last_run"]["at"] != looked).await?;

    operator.change(json!({ "safe_mode": true })).await?.expect(200)?;
    let pool = operator.when("safe mode to end the other", |pool| decided(pool, "destroy", "safe_mode")).await?;
    ensure!(in_stage(&pool, "ready") == 0, "{pool}");
    Ok(())
}
