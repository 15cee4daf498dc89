//! A machine of the operator's own, as docker-compose.gpu.yml runs one: a token over the API, a real worker process that begins with it, and its end.

use anyhow::{Context, Result, ensure};
use kiln_tests::system::{binary, wait_for};
use kiln_tests::{Client, System};
use reqwest::Method;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use tokio::process::{Child, Command};

const ADMIN: &str = "the-admin-key-of-this-test";
const SOON: Duration = Duration::from_secs(60);

pub(crate) async fn ask(client: &Client, method: Method, path: &str, body: Value) -> Result<kiln_tests::client::Answer> {
    client.send(client.request(method, &format!("/api/v1/admin/pool{path}")).bearer_auth(ADMIN).json(&body)).await
}

async fn pool(client: &Client) -> Result<Value> {
    client.send(client.request(Method::GET, "/api/v1/admin/pool").bearer_auth(ADMIN)).await?.expect(200)
}

/// The pool, once this is so.
pub(crate) async fn when(client: &Client, what: &str, so: impl Fn(&Value) -> bool) -> Result<Value> {
    wait_for(what, SOON, async || Ok(Some(pool(client).await?).filter(&so))).await
}

/// The worker's process, as its container starts it: again and again on the same volume.
pub(crate) fn worker(system: &System, folder: &Path, boot_token: &str, more: &[(&str, &str)]) -> Result<Child> {
    let mut command = Command::new(binary("kiln-worker")?);
    command.env("KILN_API", format!("{}/api/v1", system.url)).env("KILN_BOOT_TOKEN", boot_token).env("KILN_TEST_ENGINES", "1").env("KILN_POLL_S", "2");
    command.env("KILN_MODELS_DIR", folder.join("models")).env("KILN_WORKER_STATE", folder.join("state")).env("KILN_DRAIN_S", "5");
    Ok(command.envs(more.iter().copied()).kill_on_drop(true).spawn()?)
}

async fn ended(mut worker: Child) -> Result<Option<i32>> {
    Ok(tokio::time::timeout(SOON, worker.wait()).await.context("the worker goes on")??.code())
}

/// Of the pool's own kind there is none: what is done here is done there.
pub(crate) async fn nothing_else(more: &[(&str, &str)]) -> Result<(System, Client)> {
    let system = System::start(&[&[("KILN_ADMIN_KEY", ADMIN), ("KILN_POOL_MAX", "0")], more].concat()).await?;
    let operator = system.client();
    when(&operator, "the pool's first look", |pool| !pool["last_run"].is_null()).await?;
    Ok((system, operator))
}

#[tokio::test]
async fn a_machine_of_one_s_own_begins_with_its_token_does_jobs_is_restarted_and_ends_by_a_word() -> Result<()> {
    let (system, operator) = nothing_else(&[]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let made = ask(&operator, Method::POST, "/machines", json!({ "host": "workbench", "gpu": "RTX 4090" })).await?.expect(201)?;
    let (id, token) = (made["instance_id"].as_str().context("id")?, made["boot_token"].as_str().context("token")?);
    ensure!(token.starts_with(&format!("kib_{id}.")) && made["expires_at"].is_string(), "{made}");
    let shown = pool(&operator).await?["instances"][0].clone();
    ensure!(shown["id"] == id && shown["provider"] == "own" && shown["host"] == "own-workbench" && shown["gpu"] == "RTX 4090", "{shown}");
    ensure!(shown["stage"] == "requested" && shown["microusd_per_hour"] == 0 && shown["provider_id"].is_null() && shown["boot_by"].is_string(), "{shown}");

    let folder = tempfile::tempdir()?;
    let first = worker(&system, folder.path(), token, &[])?;
    let job = ada.noop(1).await?;
    ensure!(ada.ended(&job, SOON).await?["state"] == "succeeded");
    let free = |pool: &Value| pool["instances"][0]["stage"] == "ready" && pool["instances"][0]["job_id"].is_null();
    let shown = when(&operator, "it to be free", free).await?["instances"].clone();
    ensure!(shown.as_array().map(Vec::len) == Some(1) && shown[0]["id"] == id && shown[0]["heartbeat_age_s"].is_u64(), "{shown}");

    // As the machine does that is switched off and on.
    // SAFETY: kill(2) on a process that we started and have not reaped.
    unsafe { libc::kill(first.id().context("it runs")? as i32, libc::SIGTERM) };
    ensure!(ended(first).await? == Some(0));
    ensure!(pool(&operator).await?["instances"][0]["stage"] == "draining", "it has said that it leaves");
    let second = worker(&system, folder.path(), token, &[])?;
    when(&operator, "it to be back", |pool| free(pool) && pool["instances"][0]["id"] == id).await?;
    let job = ada.noop(1).await?;
    ensure!(ada.ended(&job, SOON).await?["state"] == "succeeded");

    let going = ask(&operator, Method::POST, "/terminate", json!({ "instance_id": id })).await?.expect(202)?;
    ensure!(going["stage"] == "draining", "{going}");
    ensure!(ended(second).await? == Some(0));
    when(&operator, "its row to end", |pool| pool["instances"] == json!([])).await?;
    // Whoever starts it again by its volume, and by its token, is told that it is over.
    ensure!(ended(worker(&system, folder.path(), token, &[])?).await? == Some(3));
    let audit = operator.send(operator.request(Method::GET, "/api/v1/admin/audit?action=pool.machine").bearer_auth(ADMIN)).await?.expect(200)?;
    let lines = audit["items"].as_array().context("items")?;
    ensure!(lines.len() == 1 && lines[0]["outcome"] == "done" && !audit.to_string().contains(token), "{audit}");
    ada.check_books().await?;
    Ok(())
}

#[tokio::test]
async fn an_own_machine_that_makes_no_sense_is_refused_by_its_field_and_only_so_many_are_taken() -> Result<()> {
    let (_system, operator) = nothing_else(&[]).await?;
    let long = "a".repeat(65);
    for (body, field) in [
        (json!({}), "host"),
        (json!({ "host": 7 }), "host"),
        (json!({ "host": "" }), "host"),
        (json!({ "host": &long[..64] }), "host"),
        (json!({ "host": "work bench" }), "host"),
        (json!({ "host": "werkbank-ä" }), "host"),
        (json!({ "host": "a", "gpu": "" }), "gpu"),
        (json!({ "host": "a", "gpu": " RTX" }), "gpu"),
        (json!({ "host": "a", "gpu": long }), "gpu"),
        (json!({ "host": "a", "gpu": "RTX\n4090" }), "gpu"),
        (json!({ "host": "a", "rate": 0 }), "rate"),
    ] {
        ask(&operator, Method::POST, "/machines", body).await?.problem(422, "bad_field", field)?;
    }
    let stranger = operator.request(Method::POST, "/api/v1/admin/pool/machines").bearer_auth("guess-guess-guess").json(&json!({ "host": "a" }));
    operator.send(stranger).await?.problem(401, "not_admin", "")?;
    ensure!(pool(&operator).await?["instances"] == json!([]));
    for n in 0..16 {
        ask(&operator, Method::POST, "/machines", json!({ "host": format!("rack-{n}") })).await?.expect(201)?;
    }
    ask(&operator, Method::POST, "/machines", json!({ "host": "rack-16" })).await?.problem(409, "too_many_machines", "")?;
    ask(&operator, Method::PATCH, "", json!({ "safe_mode": true })).await?.expect(200)?;
    ask(&operator, Method::POST, "/machines", json!({ "host": "a" })).await?.problem(409, "safe_mode", "")?;
    when(&operator, "safe mode to end them", |pool| pool["instances"] == json!([])).await?;
    Ok(())
}
