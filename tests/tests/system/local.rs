//! The laptop's system as a whole: it stops cleanly, comes up again with its data, and names what broke.

use anyhow::{Context, Result, ensure};
use kiln_tests::System;
use kiln_tests::system::{refused_start, root, wait_for};
use serde_json::Value;
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
    let health = wait_for("a ready worker", Duration::from_secs(60), || async {
        let health = client.get("/api/v1/health").await?;
        Ok((health.body["workers"]["ready"] == 1).then_some(health.body))
    })
    .await?;
    ensure!(health["queue"]["ceiling"] == 10_000 && health["workers"]["max"] == 1, "{health}");
    let page = client.get("/").await?;
    ensure!(page.headers.contains_key("content-security-policy"), "{:?}", page.headers);
    Ok(())
}

#[tokio::test]
async fn what_keeps_it_from_starting_is_one_clear_line_and_an_exit_code() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("kiln-test-").tempdir()?;
    let data = folder.path().join("data");
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port().to_string();
    let file = folder.path().join("file");
    std::fs::write(&file, "")?;
    // A checkout whose Python has been taken away since.
    let bare = folder.path().join("bare");
    std::fs::create_dir_all(bare.join(".venv/ministack/bin"))?;
    std::fs::copy(root().join("template.yaml"), bare.join("template.yaml"))?;
    std::fs::write(bare.join(".venv/ministack/bin/ministack"), "#!/nowhere/python3\n")?;
    let (file, bare, none) = (file.to_string_lossy(), bare.to_string_lossy(), folder.path().join("none").to_string_lossy().into_owned());
    let cases = [
        (("KILN_TICK_S", "0"), 2, "--tick-s"),
        (("KILN_LEASE_S", "soon"), 3, "KILN_LEASE_S"),
        (("KILN_ADMIN_KEY", "short"), 3, "KILN_ADMIN_KEY has less than 16 characters"),
        (("KILN_ROOT", &none), 3, "there is no template.yaml in "),
        (("KILN_PORT", &port), 4, "is in use; set KILN_PORT to a free one"),
        (("KILN_AWS_PORT", &port), 4, "is in use by another program; set KILN_AWS_PORT to a free one"),
        (("KILN_MINISTACK", &none), 5, "scripts/dev installs it (it needs Python 3.11"),
        (("KILN_ROOT", &bare), 5, "is gone; scripts/dev installs it"),
        (("KILN_DATA_DIR", &file), 6, "the data folder "),
        (("KILN_MINISTACK", "/bin/false"), 7, "exited with code 1 before it was ready; its log is "),
    ];
    for (setting, code, words) in cases {
        let (ended, said) = refused_start(&data, &[setting]).await?;
        ensure!(ended == Some(code) && said.contains(words), "{setting:?}: {ended:?} {said}");
        let complaint: Vec<&str> = said.lines().filter(|line| line.contains(words)).collect();
        ensure!(complaint.len() == 1 && !said.contains("panicked"), "{setting:?}: {said}");
    }
    let system = System::start(&[]).await?;
    let (ended, said) = refused_start(&system.data, &[]).await?;
    ensure!(ended == Some(8) && said.contains("another kiln-local runs on "), "{ended:?} {said}");
    system.client().get("/api/v1/health").await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn a_stand_in_that_dies_is_named_started_again_and_served_from() -> Result<()> {
    let system = System::start(&[]).await?;
    let record: Value = serde_json::from_slice(&std::fs::read(system.data.join("stand-in.json"))?)?;
    let pid = record["pid"].as_i64().context("the stand-in's process")?;
    // SAFETY: kill(2) on the process that the system says is its stand-in.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
    let said = "the stand-in for AWS was ended by signal 9; starting it again in ";
    wait_for("the line that names it", Duration::from_secs(30), || async { Ok(system.log().lines().iter().any(|line| line.contains(said)).then_some(())) })
        .await?;
    let ada = system.client();
    // What it had not saved is gone with it; all that the template declares is there again.
    wait_for("signing in", Duration::from_secs(30), || async { Ok(ada.sign_in("ada@example.org").await.ok()) }).await?;
    let id = ada.noop(0).await?;
    ensure!(ada.ended(&id, Duration::from_secs(60)).await?["state"] == "succeeded");
    ensure!(ada.check_books().await? == (9_000, 0));
    Ok(())
}
