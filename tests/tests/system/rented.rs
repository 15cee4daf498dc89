//! A machine of Vast.ai, from the pool's order to its end: the order that the pool sends, the stand-in's container with nothing in it but what the order
//! and Vast.ai put there, and the real worker with its parent process in it.

use anyhow::{Context, Result, ensure};
use kiln_core::ids::InstanceId;
use kiln_core::pool::Policy;
use kiln_tests::system::{binary, wait_for};
use kiln_tests::{Machine, System};
use kiln_vast_stand_in::{Config, MachineCommand, StandIn, Times};
use kiln_warm_pool::vast::{Vast, Wanted};
use kiln_warm_pool::{Order, Provider};
use serde_json::{Value, json};
use std::time::Duration;

const ADMIN: &str = "an-admin-key-of-the-tests";
const KEY: &str = "the account's key at Vast.ai";
const SOON: Duration = Duration::from_secs(60);

/// What the image of the worker is: an entry point that gets the order's `args`, and a service that is not at its usual address.
fn image(worker: &str, vast: &str, models: &str) -> String {
    format!(
        "export VAST_URL={vast} KILN_TEST_ENGINES=1 KILN_MODELS_DIR='{models}'; exec '{worker}' $(printf %s \"$VAST_STAND_IN_ARGS\" | tr -d '[]\"' | tr , ' ')"
    )
}

#[tokio::test]
async fn a_machine_that_is_rented_boots_by_its_order_alone_and_gives_itself_back() -> Result<()> {
    let machine = Machine::new()?;
    let system = System::start(&[("KILN_ADMIN_KEY", ADMIN), ("KILN_WORKER_BIN", machine.program.as_str()), ("KILN_POOL_DESIRED", "1")]).await?;
    let boot_token = machine.boot_token().await?;
    let http = reqwest::Client::new();

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let logs = tempfile::tempdir()?;
    let command = MachineCommand {
        log_folder: Some(logs.path().to_owned()),
        ..MachineCommand::new(image(binary("kiln-worker")?.to_str().context("the worker's path")?, &url, &logs.path().join("models").to_string_lossy()))
    };
    let times = Times { provision: 10, create: 10, load: 10, ..Times::default() };
    let stand_in = StandIn::new(Config { machine_command: Some(command), times, ..Config::new(KEY) });
    tokio::spawn(async move { axum::serve(listener, stand_in.router()).await });

    let wanted = Wanted { image: "kiln/worker:1".into(), download_gb: 5.0, disk_gb: 20, api_url: system.url.clone(), max_life_s: 86_400 };
    let vast = Vast::new(&url, KEY, wanted)?;
    let offer = vast.offers(&Policy::default()).await?.into_iter().next();
    let order = Order { instance_id: InstanceId::new(1, 1), label: "kiln/test/main/ins".into(), boot_token: boot_token.clone(), offer };
    let id = vast.create(&order).await.map_err(|error| anyhow::anyhow!("{error}"))?;

    let pool = || async {
        let answer: Value = http.get(format!("{}/api/v1/admin/pool", system.url)).bearer_auth(ADMIN).send().await?.json().await?;
        anyhow::Ok(answer["instances"][0]["stage"].as_str().map(str::to_owned))
    };
    let log = || std::fs::read_to_string(logs.path().join(format!("{id}.log"))).unwrap_or_default();
    let ready = wait_for("the machine to be ready", SOON, || async { Ok((pool().await?.as_deref() == Some("ready")).then_some(())) }).await;
    ensure!(ready.is_ok(), "it did not boot: {}", log());
    let change = http.patch(format!("{}/api/v1/admin/pool", system.url)).bearer_auth(ADMIN).json(&json!({ "safe_mode": true }));
    ensure!(change.send().await?.status() == 200);
    // The pool here gives back a machine of its own kind; that this one's instance is over is what the worker hears, and its parent acts on.
    let gone = wait_for("the machine to give itself back", SOON, || async {
        let truth: Value = http.get(format!("{url}/stand-in/instances/{id}")).bearer_auth(KEY).send().await?.json().await?;
        Ok((!truth["destroyed_at_ms"].is_null()).then_some(()))
    });
    ensure!(gone.await.is_ok(), "it is there still: {}", log());
    let seen: Value = http.get(format!("{url}/stand-in/requests")).bearer_auth(KEY).send().await?.json().await?;
    let by: Vec<_> = seen["items"].as_array().context("items")?.iter().filter(|request| request["method"] == "DELETE").map(|request| &request["by"]).collect();
    ensure!(by == [&json!(format!("instance:{id}"))], "{by:?}");
    let log = log();
    ensure!(log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()) && !log.contains(&boot_token) && !log.contains(KEY), "{log}");
    Ok(())
}

#[tokio::test]
async fn a_machine_without_models_gets_them_from_the_bucket_and_is_shown_no_other_file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let models = folder.path().join("models");
    let machine = Machine::new()?;
    let system =
        System::start(&[("KILN_ADMIN_KEY", ADMIN), ("KILN_WORKER_BIN", machine.program.as_str()), ("KILN_POOL_DESIRED", "2"), ("KILN_POOL_MAX", "2")]).await?;
    let boot_tokens = machine.boot_tokens(2).await?;
    let stand_in = system.stand_in()?;
    for _ in 0..2 {
        crate::backup::well("publish-models", &["--endpoint", &stand_in]).await?;
    }
    let needed = kiln_core::models::needed(&["image".into()]);
    let mut wanted: Vec<_> = needed.iter().map(|file| format!("models/{}", file.sha256)).collect();
    wanted.sort();
    wanted.dedup();
    let mut there = crate::stored::objects(&stand_in).await?;
    there.retain(|key| key.starts_with("models/"));
    there.sort();
    ensure!(there == wanted, "{there:?}");

    let mut command = tokio::process::Command::new(binary("kiln-worker")?);
    command.env("KILN_API", format!("{}/api/v1", system.url)).env("KILN_BOOT_TOKEN", &boot_tokens[0]).env("KILN_MODELS_DIR", &models).kill_on_drop(true);
    let worker = command.spawn()?;
    let http = reqwest::Client::new();
    wait_for("the machine to be ready", SOON, || async {
        let pool: Value = http.get(format!("{}/api/v1/admin/pool", system.url)).bearer_auth(ADMIN).send().await?.json().await?;
        let instances = pool["instances"].as_array().context("instances")?;
        for step in instances.iter().filter_map(|machine| machine["boot_stage"].as_str()) {
            ensure!(["provisioning", "pulling", "starting", "models", "engines", "self-test"].contains(&step), "{step}");
        }
        Ok(instances.iter().any(|machine| machine["stage"] == "ready" && machine["boot_stage"].is_null()).then_some(()))
    })
    .await?;
    drop(worker);
    for file in &needed {
        ensure!(std::fs::metadata(models.join(&file.name))?.len() == file.bytes, "{}", file.name);
    }
    ensure!(std::fs::read_dir(&models)?.count() == needed.len());

    // Only what is pinned is shown, whatever a machine names.
    let body = json!({ "boot_token": boot_tokens[1], "version": "1", "capabilities": ["image"], "lacks": ["0".repeat(64), needed[0].sha256, "../inputs"] });
    let registered: Value = http.post(format!("{}/api/v1/fleet/register", system.url)).json(&body).send().await?.error_for_status()?.json().await?;
    let shown: Vec<_> = registered["models"].as_array().context("models")?.iter().map(|get| &get["sha256"]).collect();
    ensure!(shown == [&json!(needed[0].sha256)], "{registered}");
    Ok(())
}
