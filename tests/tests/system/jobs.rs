//! The main job, from the mailed link to the shared picture, and what surrounds it.

use anyhow::{Context, Result, ensure};
use kiln_tests::{System, picture};
use serde_json::json;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_photo_becomes_a_larger_picture_that_is_charged_once_and_shared() -> Result<()> {
    let system = System::start(&[]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let me = ada.get("/api/v1/me").await?.expect(200)?;
    ensure!(me["account"]["email"] == "ada@example.org");
    let upload = ada.upload("photo.png", "image/png", &picture::png(64, 48)).await?;
    let wanted = json!({ "kind": "upscale", "params": { "scale": 2 }, "inputs": [upload] });
    let quote = ada.post("/api/v1/jobs/quote", wanted.clone()).await?.expect(200)?;
    ensure!(quote["quote_millicredits"] == 1000, "{quote}");
    let id = ada.job(wanted).await?;
    ensure!(ada.check_books().await? == (9000, 1000) || ada.show(&id).await?["state"] != "queued");
    let job = ada.ended(&id, SOON).await?;
    ensure!(job["state"] == "succeeded", "{job}");
    ensure!(job["charged_millicredits"] == 1000 && job["attempt"] == 1, "{job}");
    let picture = ada.download(&job["artifacts"][0]).await?;
    ensure!(picture::size(&picture) == (128, 96), "{:?}", picture::size(&picture));
    ensure!(ada.check_books().await? == (9000, 0));

    let share = ada.post("/api/v1/shares", json!({ "job_id": id })).await?.expect(201)?;
    let stranger = system.client();
    let token = share["token"].as_str().context("token")?;
    let shown = stranger.get(&format!("/api/v1/share/{token}")).await?.expect(200)?;
    ensure!(stranger.download(&shown["artifacts"][0]).await? == picture);
    let share_id = share["id"].as_str().context("id")?;
    ada.delete(&format!("/api/v1/shares/{share_id}")).await?.expect(204)?;
    stranger.get(&format!("/api/v1/share/{token}")).await?.problem(404, "not_found", "")?;

    let creations = ada.all("/api/v1/creations").await?;
    ensure!(creations.len() == 1 && creations[0]["artifacts"][0].get("url").is_none(), "{creations:?}");
    ada.delete(&format!("/api/v1/creations/{id}")).await?.expect(204)?;
    ensure!(ada.all("/api/v1/creations").await?.is_empty());
    ensure!(ada.show(&id).await?["artifacts"] == json!([]));
    Ok(())
}

#[tokio::test]
async fn the_same_key_makes_one_job_and_another_body_is_refused() -> Result<()> {
    let system = System::start(&[("KILN_POOL_MAX", "0")]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let body = json!({ "kind": "noop" });
    let first = ada.post_once("/api/v1/jobs", body.clone(), "k1").await?.expect(202)?;
    let both = tokio::try_join!(ada.post_once("/api/v1/jobs", body.clone(), "k1"), ada.post_once("/api/v1/jobs", body.clone(), "k1"))?;
    ensure!(both.0.expect(202)? == first && both.1.expect(202)? == first);
    // At the same instant, under a key nobody has used: still one.
    let both = tokio::try_join!(ada.post_once("/api/v1/jobs", body.clone(), "k2"), ada.post_once("/api/v1/jobs", body.clone(), "k2"))?;
    ensure!(both.0.expect(202)?["id"] == both.1.expect(202)?["id"]);
    ada.post_once("/api/v1/jobs", json!({ "kind": "noop", "params": { "ms": 1 } }), "k1").await?.problem(422, "idempotency_key_reused", "Idempotency-Key")?;
    ensure!(ada.all("/api/v1/jobs").await?.len() == 2);
    ensure!(ada.check_books().await? == (8000, 2000));
    // An upload too.
    let wanted = json!({ "filename": "a.png", "content_type": "image/png", "bytes": 100 });
    let once = ada.post_once("/api/v1/uploads", wanted.clone(), "u1").await?.expect(201)?;
    let again = ada.post_once("/api/v1/uploads", wanted, "u1").await?.expect(201)?;
    ensure!(once["id"] == again["id"] && again["parts"][0]["url"].is_string(), "{again}");
    Ok(())
}

#[tokio::test]
async fn a_cancelled_job_is_not_charged_and_the_worker_goes_on_to_the_next() -> Result<()> {
    let system = System::start(&[]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let long = ada.noop(600_000).await?;
    ada.in_state(&long, "running", SOON).await?;
    let cancelled = ada.post(&format!("/api/v1/jobs/{long}/cancel"), json!({})).await?.expect(200)?;
    ensure!(cancelled["state"] == "cancelled", "{cancelled}");
    ada.post(&format!("/api/v1/jobs/{long}/cancel"), json!({})).await?.expect(200)?;
    ensure!(ada.check_books().await? == (10_000, 0));
    let next = ada.noop(0).await?;
    ensure!(ada.ended(&next, SOON).await?["state"] == "succeeded");
    ada.post(&format!("/api/v1/jobs/{next}/cancel"), json!({})).await?.problem(409, "job_finished", "")?;
    ada.check_books().await?;
    Ok(())
}

#[tokio::test]
async fn a_failing_engine_fails_the_job_and_not_the_worker() -> Result<()> {
    let system = System::start(&[]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    for (how, attempts) in [("panic", 3), ("retryable", 3), ("permanent", 1)] {
        let id = ada.job(json!({ "kind": "noop", "params": { "fail": how } })).await?;
        let job = ada.ended(&id, SOON).await?;
        ensure!(job["state"] == "failed" && job["attempt"] == attempts, "{how}: {job}");
        ensure!(job["error"]["code"].is_string() && job["artifacts"] == json!([]), "{job}");
    }
    let id = ada.noop(0).await?;
    ensure!(ada.ended(&id, SOON).await?["state"] == "succeeded");
    ensure!(ada.check_books().await? == (9000, 0));
    Ok(())
}

#[tokio::test]
async fn one_account_is_capped_and_cannot_starve_another() -> Result<()> {
    let system =
        System::start(&[("KILN_ACCOUNT_RUNNING", "1"), ("KILN_ACCOUNT_QUEUED", "3"), ("KILN_POOL_MAX", "2"), ("KILN_SIGNUP_MILLICREDITS", "100000")]).await?;
    let (greedy, modest) = (system.signed_in("greedy@example.org").await?, system.signed_in("modest@example.org").await?);
    let first = greedy.noop(600_000).await?;
    greedy.in_state(&first, "running", SOON).await?;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(greedy.noop(0).await?);
    }
    let refused = greedy.post("/api/v1/jobs", json!({ "kind": "noop" })).await?;
    refused.problem(429, "account_queue_full", "")?;
    ensure!(refused.headers.contains_key("retry-after"));
    let id = modest.noop(0).await?;
    ensure!(modest.ended(&id, SOON).await?["state"] == "succeeded");
    ensure!(greedy.show(&waiting[0]).await?["state"] == "queued");
    greedy.post(&format!("/api/v1/jobs/{first}/cancel"), json!({})).await?.expect(200)?;
    for id in &waiting {
        ensure!(greedy.ended(id, SOON).await?["state"] == "succeeded");
    }
    greedy.check_books().await?;
    Ok(())
}

#[tokio::test]
async fn an_account_at_its_cap_goes_on_by_itself_and_rush_goes_first() -> Result<()> {
    // More workers than the account may use: they eat hints that they may not act on. Maintenance, which would send them again, is away.
    let settings = [
        ("KILN_ACCOUNT_RUNNING", "2"),
        ("KILN_POOL_MAX", "5"),
        ("KILN_POOL_DESIRED", "5"),
        ("KILN_TICK_S", "3600"),
        ("KILN_LEASE_S", "600"),
        ("KILN_SIGNUP_MILLICREDITS", "100000"),
    ];
    let system = System::start(&settings).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let mut ids = Vec::new();
    for _ in 0..16 {
        ids.push(ada.noop(100).await?);
    }
    let rush = ada.job(json!({ "kind": "noop", "params": { "ms": 100 }, "priority": "rush" })).await?;
    let mut started = Vec::new();
    for id in &ids {
        let job = ada.ended(id, Duration::from_secs(60)).await?;
        ensure!(job["state"] == "succeeded", "{job}");
        started.push(job["started_at"].as_str().unwrap_or_default().to_owned());
    }
    let rush = ada.ended(&rush, Duration::from_secs(60)).await?;
    let earlier = started.iter().filter(|at| at.as_str() < rush["started_at"].as_str().unwrap_or_default()).count();
    ensure!(rush["state"] == "succeeded" && earlier < 12, "{earlier} of 16 standard jobs that were asked for first started before the rush one");
    ensure!(ada.check_books().await?.1 == 0);
    Ok(())
}

#[tokio::test]
async fn above_the_ceiling_the_queue_as_a_whole_refuses_with_the_reason() -> Result<()> {
    let system = System::start(&[("KILN_QUEUE_CEILING", "2"), ("KILN_POOL_MAX", "0")]).await?;
    let (ada, ben) = (system.signed_in("ada@example.org").await?, system.signed_in("ben@example.org").await?);
    ada.noop(0).await?;
    ada.noop(0).await?;
    // The count is taken by maintenance: a soft limit, a tick behind.
    kiln_tests::system::wait_for("maintenance to count two jobs", SOON, || async {
        let health = ben.get("/api/v1/health").await?;
        Ok((health.body["queue"]["queued"] == 2).then_some(()))
    })
    .await?;
    let refused = ben.post("/api/v1/jobs", json!({ "kind": "noop" })).await?;
    refused.problem(429, "queue_full", "")?;
    ensure!(refused.headers.contains_key("retry-after"));
    ensure!(ben.all("/api/v1/jobs").await?.is_empty());
    ben.check_books().await?;
    Ok(())
}

#[tokio::test]
async fn without_credits_a_job_is_refused_and_nothing_is_held() -> Result<()> {
    let system = System::start(&[("KILN_SIGNUP_MILLICREDITS", "1500"), ("KILN_POOL_MAX", "0")]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    // Five at once on 1.5 credits: exactly one is accepted.
    let tries = (0..5).map(|_| ada.post("/api/v1/jobs", json!({ "kind": "noop" })));
    let mut accepted = 0;
    for answer in futures_join(tries).await {
        let answer = answer?;
        match answer.status.as_u16() {
            202 => accepted += 1,
            _ => answer.problem(402, "insufficient_credits", "")?,
        }
    }
    ensure!(accepted == 1, "{accepted} accepted");
    ensure!(ada.check_books().await? == (500, 1000));
    Ok(())
}

async fn futures_join<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut set: Vec<_> = all.map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = set.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        let mut waiting = false;
        for (future, slot) in set.iter_mut().zip(done.iter_mut()).filter(|(_, slot)| slot.is_none()) {
            match future.as_mut().poll(context) {
                std::task::Poll::Ready(value) => *slot = Some(value),
                std::task::Poll::Pending => waiting = true,
            }
        }
        if waiting { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    done.into_iter().flatten().collect()
}
