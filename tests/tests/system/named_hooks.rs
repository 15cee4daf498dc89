//! Whom an event reaches: the endpoint that a job names, and what is owed for a change of credits, at once; and which deliveries a list shows.

use anyhow::{Context, Result, ensure};
use kiln_tests::system::wait_for;
use kiln_tests::{Client, Receiver, System, Verdict};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);
const ADMIN_KEY: &str = "an admin key of this test";

async fn endpoint(client: &Client, receiver: &Receiver, events: &[&str]) -> Result<String> {
    let made = client.post("/api/v1/webhook-endpoints", json!({ "url": receiver.url, "events": events })).await?.expect(201)?;
    Ok(made["id"].as_str().context("id")?.to_owned())
}

fn kinds(receiver: &Receiver) -> Vec<String> {
    let bodies = receiver.hooks().into_iter().map(|hook| serde_json::from_str::<Value>(&hook.body).unwrap_or_default());
    // In no order: none is promised.
    let mut kinds: Vec<_> = bodies.map(|body| body["type"].as_str().unwrap_or_default().to_owned()).collect();
    kinds.sort();
    kinds
}

#[tokio::test]
async fn a_job_s_own_endpoint_is_told_of_it_and_of_no_other_job() -> Result<()> {
    let system = System::start(&[("KILN_WEBHOOK_ALLOW_LOOPBACK", "1")]).await?;
    let ada = &system.signed_in("ada@example.org").await?;
    let (named, general) = (Receiver::start().await?, Receiver::start().await?);
    // It hears of nothing by itself.
    let own = endpoint(ada, &named, &[]).await?;
    let wide = endpoint(ada, &general, &["job.succeeded"]).await?;
    let body = |webhook: &str| json!({ "kind": "noop", "params": { "ms": 0 }, "webhook": webhook });
    let job = ada.job(body(&own)).await?;
    let other = ada.noop(0).await?;
    ada.ended(&job, WITHIN).await?;
    ada.ended(&other, WITHIN).await?;
    named.wait(2, WITHIN).await?;
    general.wait(2, WITHIN).await?;
    ensure!(kinds(&named) == ["job.started", "job.succeeded"], "{:?}", kinds(&named));
    ensure!(kinds(&general) == ["job.succeeded", "job.succeeded"], "{:?}", kinds(&general));
    for hook in named.hooks() {
        ensure!(serde_json::from_str::<Value>(&hook.body)?["data"]["id"] == job.as_str(), "{}", hook.body);
    }
    // One that wants the event anyway gets it once.
    let twice = ada.job(body(&wide)).await?;
    ada.ended(&twice, WITHIN).await?;
    general.wait(4, WITHIN).await?;
    ensure!(kinds(&general) == ["job.started", "job.succeeded", "job.succeeded", "job.succeeded"], "{:?}", kinds(&general));
    // Lists by endpoint and by state.
    let listed =
        |query: String| async move { anyhow::Ok(ada.get(&format!("/api/v1/deliveries?{query}")).await?.expect(200)?["items"].as_array().map_or(0, Vec::len)) };
    wait_for("all to be delivered", WITHIN, || async { Ok((listed("state=delivered".into()).await? == 6).then_some(())) }).await?;
    ensure!(listed(format!("endpoint_id={own}")).await? == 2 && listed(format!("endpoint_id={wide}&state=delivered")).await? == 4);
    ensure!(listed(format!("endpoint_id={own}&state=failed")).await? == 0 && listed(format!("endpoint_id={own}&limit=1")).await? == 1);
    Ok(())
}

#[tokio::test]
async fn an_endpoint_that_can_t_be_told_of_a_job_is_refused_by_its_field() -> Result<()> {
    let system = System::start(&[("KILN_WEBHOOK_ALLOW_LOOPBACK", "1"), ("KILN_POOL_MAX", "0")]).await?;
    let (ada, bob) = (system.signed_in("ada@example.org").await?, system.signed_in("bob@example.org").await?);
    let receiver = Receiver::start().await?;
    let (bobs, off) = (endpoint(&bob, &receiver, &[]).await?, endpoint(&ada, &receiver, &["*"]).await?);
    ada.patch(&format!("/api/v1/webhook-endpoints/{off}"), json!({ "enabled": false })).await?.expect(200)?;
    let nobody = "whe_00000000000000000000000000";
    for path in ["/api/v1/jobs", "/api/v1/jobs/quote"] {
        for (webhook, code) in [
            (json!(bobs), "endpoint_not_found"),
            (json!(nobody), "endpoint_not_found"),
            (json!(off), "endpoint_disabled"),
            (json!("https://example.com/hook"), "bad_field"),
            (json!(7), "bad_field"),
        ] {
            let answer = ada.post(path, json!({ "kind": "noop", "webhook": webhook })).await?;
            answer.problem(422, code, "webhook").with_context(|| format!("{path} {webhook}"))?;
        }
        ada.post(path, json!({ "kind": "noop", "webhook": null })).await?;
    }
    ensure!(ada.all("/api/v1/jobs").await?.len() == 1);
    for (query, field) in
        [("endpoint_id=whe_1", "endpoint_id"), ("state=lost", "state"), ("limit=0", "limit"), ("cursor=!", "cursor"), ("state=failed&state=failed", "state")]
    {
        ada.get(&format!("/api/v1/deliveries?{query}")).await?.problem(422, "bad_field", field).with_context(|| query)?;
    }
    // A list in the place of an object means nothing.
    ada.post("/api/v1/jobs", json!(["noop"])).await?.problem(422, "bad_field", "body")?;
    Ok(())
}

/// The schedule comes once an hour here: what arrives was hinted.
#[tokio::test]
async fn a_change_of_credits_is_told_at_once() -> Result<()> {
    let system = System::start(&[("KILN_WEBHOOK_ALLOW_LOOPBACK", "1"), ("KILN_POOL_MAX", "0"), ("KILN_TICK_S", "3600"), ("KILN_ADMIN_KEY", ADMIN_KEY)]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let receiver = Receiver::start().await?;
    endpoint(&ada, &receiver, &["credits.*"]).await?;
    let account = ada.get("/api/v1/me").await?.expect(200)?["account"]["id"].as_str().context("id")?.to_owned();
    let operator = system.client();
    let grant = |millicredits: i64| {
        let request = operator.request(Method::POST, &format!("/api/v1/admin/accounts/{account}/grant")).bearer_auth(ADMIN_KEY);
        operator.send(request.json(&json!({ "millicredits": millicredits, "reason": "sorry" })))
    };
    grant(500).await?.expect(201)?;
    receiver.wait(1, WITHIN).await?;
    grant(-200).await?.expect(201)?;
    receiver.wait(2, WITHIN).await?;
    ensure!(kinds(&receiver) == ["credits.adjusted", "credits.granted"], "{:?}", kinds(&receiver));
    Ok(())
}

/// Two hints are lost, so that the third one finds all three changes owed; the endpoint answers to none of them. Were they sent one after
/// the other, each would wait for the time-out of the one before, and the function would be over before the last.
#[tokio::test]
async fn a_silent_endpoint_holds_up_none_of_the_account_s_other_events() -> Result<()> {
    const TIME_OUT: Duration = Duration::from_secs(15);
    let system =
        System::start_watched(&[("KILN_WEBHOOK_ALLOW_LOOPBACK", "1"), ("KILN_POOL_MAX", "0"), ("KILN_TICK_S", "3600"), ("KILN_ADMIN_KEY", ADMIN_KEY)]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let receiver = Receiver::start().await?;
    endpoint(&ada, &receiver, &["credits.*"]).await?;
    let account = ada.get("/api/v1/me").await?.expect(200)?["account"]["id"].as_str().context("id")?.to_owned();
    let (hints, of) = (AtomicUsize::new(0), account.clone());
    system.faults.clone().context("watched")?.rule(move |call| {
        let ours = call.name == "SendMessage" && String::from_utf8_lossy(&call.body).contains(&of);
        if ours && hints.fetch_add(1, Ordering::SeqCst) < 2 { Verdict::Swallow } else { Verdict::Pass }
    });
    receiver.hold(true);
    let operator = system.client();
    for millicredits in [100, 200, 300] {
        let request = operator.request(Method::POST, &format!("/api/v1/admin/accounts/{account}/grant")).bearer_auth(ADMIN_KEY);
        operator.send(request.json(&json!({ "millicredits": millicredits, "reason": "sorry" }))).await?.expect(201)?;
    }
    let hooks = receiver.wait(3, WITHIN).await?;
    receiver.hold(false);
    ensure!(hooks[2].at.duration_since(hooks[0].at) < TIME_OUT, "{:?} between the first and the third", hooks[2].at.duration_since(hooks[0].at));
    let mut ids: Vec<&str> = hooks[..3].iter().map(|hook| hook.header("webhook-id")).collect::<Result<_>>()?;
    ids.sort_unstable();
    ids.dedup();
    ensure!(ids.len() == 3, "{ids:?}");
    Ok(())
}
