//! Fault drills: real processes die, messages are lost and tripled, answers are lost. Each time the job ends, the credits are
//! right and the artifact is one.

use crate::own;
use anyhow::{Context, Result, ensure};
use kiln_tests::system::wait_for;
use kiln_tests::{Client, System, Verdict};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(90);

/// The job succeeded with one artifact, was charged once, and the books are right.
async fn one_success(client: &Client, id: &str) -> Result<Value> {
    let job = client.ended(id, WITHIN).await?;
    ensure!(job["state"] == "succeeded", "{job}");
    ensure!(job["artifacts"].as_array().map(Vec::len) == Some(1), "{job}");
    client.download(&job["artifacts"][0]).await?;
    ensure!(client.check_books().await? == (9000, 0));
    ensure!(client.all("/api/v1/creations").await?.len() == 1);
    Ok(job)
}

async fn worker_killed_at(point: &str) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let marker = folder.path().join("once");
    let system = System::start(&[("KILN_DRILL_STOP_AT", point), ("KILN_DRILL_ONCE", &marker.to_string_lossy())]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let id = ada.noop(300).await?;
    let job = one_success(&ada, &id).await?;
    ensure!(marker.exists(), "the worker never came to {point}");
    Ok(job)
}

#[tokio::test]
async fn a_worker_killed_before_its_claim_costs_nothing() -> Result<()> {
    let job = worker_killed_at("before_claim").await?;
    ensure!(job["attempt"] == 1, "{job}");
    Ok(())
}

#[tokio::test]
async fn a_worker_killed_after_its_claim_is_replaced() -> Result<()> {
    let job = worker_killed_at("after_claim").await?;
    ensure!(job["attempt"] == 2, "{job}");
    Ok(())
}

#[tokio::test]
async fn a_worker_killed_in_the_middle_of_its_work_is_replaced() -> Result<()> {
    let job = worker_killed_at("mid_work").await?;
    ensure!(job["attempt"] == 2, "{job}");
    Ok(())
}

/// In seconds; longer than the other drills', so that what else takes a second is little beside it.
const LEASE_S: u64 = 8;

/// On machines that nothing lists, so that the lease alone tells of a death, as it does of a rented one.
#[tokio::test]
async fn a_dead_worker_s_job_starts_again_within_two_leases_where_another_worker_is_free() -> Result<()> {
    let (system, operator) = own::nothing_else(&[("KILN_LEASE_S", &LEASE_S.to_string())]).await?;
    let folder = tempfile::tempdir()?;
    let marker = folder.path().join("once");
    let drill = [("KILN_DRILL_STOP_AT", "mid_work"), ("KILN_DRILL_ONCE", &*marker.to_string_lossy())];
    let mut workers = Vec::new();
    for host in ["one", "two"] {
        let made = own::ask(&operator, Method::POST, "/machines", json!({ "host": host })).await?.expect(201)?;
        workers.push(own::worker(&system, &folder.path().join(host), made["boot_token"].as_str().context("a token")?, &drill)?);
    }
    let ready = |pool: &Value| pool["instances"].as_array().is_some_and(|all| all.iter().all(|one| one["stage"] == "ready"));
    own::when(&operator, "two workers", ready).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let id = ada.noop(300).await?;
    wait_for("the second attempt", WITHIN, async || Ok((ada.show(&id).await?["attempt"] == 2).then_some(()))).await?;
    // The marker is made where the worker kills itself.
    let took = marker.metadata()?.modified()?.elapsed()?;
    ensure!(
        took <= Duration::from_secs(2 * LEASE_S),
        "a dead worker's job began again {:.1} s after its death; two leases are {} s",
        took.as_secs_f64(),
        2 * LEASE_S
    );
    one_success(&ada, &id).await?;
    Ok(())
}

#[tokio::test]
async fn a_worker_killed_after_its_upload_leaves_no_second_artifact() -> Result<()> {
    let job = worker_killed_at("after_upload").await?;
    ensure!(job["attempt"] == 2, "{job}");
    Ok(())
}

#[tokio::test]
async fn a_worker_killed_before_completes_answer_has_delivered() -> Result<()> {
    let job = worker_killed_at("before_complete_answer").await?;
    ensure!(job["attempt"] == 1 || job["attempt"] == 2, "{job}");
    Ok(())
}

#[tokio::test]
async fn the_api_killed_between_commit_and_send_loses_no_job() -> Result<()> {
    let mut system = System::start_watched(&[]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let pid = system.pid().unwrap_or(0) as i32;
    let killed = Arc::new(AtomicBool::new(false));
    let (faults, seen) = (system.faults.clone(), killed.clone());
    if let Some(faults) = &faults {
        faults.rule(move |call| {
            if call.name == "SendMessage" && !seen.swap(true, Ordering::SeqCst) {
                // SAFETY: kill(2) on the kiln-local that this test started.
                unsafe { libc::kill(pid, libc::SIGKILL) };
                return Verdict::Swallow;
            }
            Verdict::Pass
        });
    }
    // The commit is done, the answer never comes.
    ensure!(ada.post_once("/api/v1/jobs", json!({ "kind": "noop" }), "k").await.is_err());
    system.kill().await?;
    ensure!(killed.load(Ordering::SeqCst));
    system.restart().await?;
    let again = system.client();
    again.set_cookie(ada.cookie());
    // The integrator asks again with its key and gets the job that was accepted.
    let job = again.post_once("/api/v1/jobs", json!({ "kind": "noop" }), "k").await?.expect(202)?;
    one_success(&again, job["id"].as_str().unwrap_or_default()).await?;
    Ok(())
}

#[tokio::test]
async fn every_message_lost_ends_the_job_uncharged() -> Result<()> {
    let system = System::start_watched(&[("KILN_MAX_WAIT_S", "6")]).await?;
    if let Some(faults) = &system.faults {
        faults.rule(|call| if call.name == "SendMessage" { Verdict::Swallow } else { Verdict::Pass });
    }
    let ada = system.signed_in("ada@example.org").await?;
    let id = ada.noop(0).await?;
    let job = ada.ended(&id, WITHIN).await?;
    ensure!(job["state"] == "failed" && job["error"]["code"] == "waited_too_long", "{job}");
    ensure!(ada.check_books().await? == (10_000, 0));
    Ok(())
}

#[tokio::test]
async fn a_lost_first_message_is_sent_again_by_maintenance() -> Result<()> {
    let system = System::start_watched(&[]).await?;
    let lost = Arc::new(AtomicBool::new(false));
    if let Some(faults) = &system.faults {
        let lost = lost.clone();
        faults.rule(move |call| if call.name == "SendMessage" && !lost.swap(true, Ordering::SeqCst) { Verdict::Swallow } else { Verdict::Pass });
    }
    let ada = system.signed_in("ada@example.org").await?;
    let id = ada.noop(0).await?;
    one_success(&ada, &id).await?;
    ensure!(lost.load(Ordering::SeqCst));
    Ok(())
}

#[tokio::test]
async fn every_message_delivered_three_times_makes_one_artifact_a_job() -> Result<()> {
    let system = System::start_watched(&[("KILN_POOL_MAX", "2")]).await?;
    if let Some(faults) = &system.faults {
        faults.rule(|call| if call.name == "SendMessage" { Verdict::Triple } else { Verdict::Pass });
    }
    let ada = system.signed_in("ada@example.org").await?;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(ada.noop(200).await?);
    }
    for id in &ids {
        let job = ada.ended(id, WITHIN).await?;
        ensure!(job["state"] == "succeeded" && job["attempt"] == 1, "{job}");
    }
    ensure!(ada.check_books().await? == (5000, 0));
    ensure!(ada.all("/api/v1/creations").await?.len() == 5);
    Ok(())
}

/// DynamoDB refuses a transaction that overlaps another one; the stand-in never does. One in three is refused here.
#[tokio::test]
async fn transaction_conflicts_are_retried_until_they_pass() -> Result<()> {
    let system = System::start_watched(&[]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let refused = Arc::new(AtomicUsize::new(0));
    let turn = Arc::new(AtomicUsize::new(0));
    if let Some(faults) = &system.faults {
        let refused = refused.clone();
        faults.rule(move |call| {
            if call.name == "TransactWriteItems" && turn.fetch_add(1, Ordering::SeqCst) % 3 != 2 {
                refused.fetch_add(1, Ordering::SeqCst);
                return Verdict::Conflict;
            }
            Verdict::Pass
        });
    }
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(ada.noop(0).await?);
    }
    for id in &ids {
        ensure!(ada.ended(id, WITHIN).await?["state"] == "succeeded");
    }
    ensure!(refused.load(Ordering::SeqCst) > 12, "{refused:?} refused");
    ensure!(ada.check_books().await? == (6000, 0));
    Ok(())
}

/// Each write is carried out and its answer lost, once: whoever wrote must look before it believes.
#[tokio::test]
async fn answers_lost_after_the_write_double_nothing() -> Result<()> {
    let system = System::start_watched(&[]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    // Of each write the first answer: the SDK sends the same body again.
    let lost = Arc::new(Mutex::new(HashSet::new()));
    if let Some(faults) = &system.faults {
        let lost = lost.clone();
        faults.rule(move |call| {
            let first = call.name == "TransactWriteItems" && lost.lock().is_ok_and(|mut lost| lost.insert(call.body.clone()));
            if first { Verdict::LoseAnswer } else { Verdict::Pass }
        });
    }
    let mut ids = Vec::new();
    for n in 0..3 {
        let job = ada.post_once("/api/v1/jobs", json!({ "kind": "noop" }), &format!("k{n}")).await?.expect(202)?;
        ids.push(job["id"].as_str().unwrap_or_default().to_owned());
    }
    for id in &ids {
        ensure!(ada.ended(id, WITHIN).await?["state"] == "succeeded");
    }
    ensure!(lost.lock().is_ok_and(|lost| lost.len() >= 9), "three writes a job");
    ensure!(ada.all("/api/v1/jobs").await?.len() == 3);
    ensure!(ada.check_books().await? == (7000, 0));
    Ok(())
}
