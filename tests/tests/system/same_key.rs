//! One `Idempotency-Key`, many requests: at one moment, after a refusal, and a day later.

use super::stored;
use anyhow::{Context, Result, ensure};
use aws_sdk_dynamodb::types::AttributeValue;
use kiln_tests::client::Answer;
use kiln_tests::system::wait_for;
use kiln_tests::{Client, Receiver, Shop, System};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
const ADMIN_KEY: &str = "the-admin-key-of-this-test";
const AT_ONCE: usize = 8;

/// So many of the same request at one moment; all answers.
async fn at_once(system: &System, who: &Client, path: &str, body: &Value) -> Result<Vec<Answer>> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let (client, path, body) = (system.client(), path.to_owned(), body.clone());
        client.set_cookie(who.cookie());
        tasks.spawn(async move { client.post_once(&path, body, "the-same-key").await });
    }
    let mut answers = Vec::new();
    while let Some(answer) = tasks.join_next().await {
        answers.push(answer??);
    }
    Ok(answers)
}

/// What tells one thing that was made from another.
fn name(answer: &Answer) -> String {
    ["order_id", "id"].iter().find_map(|field| answer.body[field].as_str()).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_requests_with_one_key_at_one_moment_every_route_makes_one_thing() -> Result<()> {
    let shop = Shop::open().await?;
    let mut env = shop.env();
    env.push(("KILN_WEBHOOK_ALLOW_LOOPBACK", "1"));
    let system = System::start_watched(&env).await?;
    shop.reaches(&system);
    let ada = system.signed_in("ada@example.org").await?;
    let job = ada.noop(1).await?;
    ada.ended(&job, SOON).await?;
    let org = ada.post("/api/v1/orgs", json!({ "name": "Engines" })).await?.expect(201)?["id"].as_str().context("id")?.to_owned();
    let faults = system.faults.clone().context("a proxy")?;
    faults.overlapping_writes_conflict();
    let invites = format!("/api/v1/orgs/{org}/invites");
    let routes = [
        ("/api/v1/jobs", json!({ "kind": "noop" }), 202, "JOB#", 2),
        ("/api/v1/uploads", json!({ "filename": "a.png", "content_type": "image/png", "bytes": 10 }), 201, "UPLOAD#", 1),
        ("/api/v1/shares", json!({ "job_id": job }), 201, "SHARE#", 1),
        ("/api/v1/orgs", json!({ "name": "Looms" }), 201, "ORG#", 2),
        (&invites, json!({ "email": "ben@example.org", "role": "member" }), 201, "INVITE#", 1),
        ("/api/v1/api-keys", json!({ "name": "a", "scopes": ["jobs:read"] }), 201, "KEY#", 1),
        ("/api/v1/webhook-endpoints", json!({ "url": "http://127.0.0.1:9999/", "events": ["job.*"] }), 201, "HOOK#", 1),
        ("/api/v1/credits/checkout", json!({ "pack": "starter" }), 201, "ORDER#", 1),
        ("/api/v1/credits/subscribe", json!({ "plan": "maker" }), 201, "ORDER#", 2),
    ];
    for (path, body, status, place, there) in &routes {
        let answers = at_once(&system, &ada, path, body).await?;
        let odd: Vec<_> = answers.iter().filter(|answer| answer.status != *status).collect();
        ensure!(odd.is_empty(), "{path}: {odd:?}");
        ensure!(answers.iter().all(|answer| !name(answer).is_empty() && name(answer) == name(&answers[0])), "{path}: {answers:?}");
        let rows = stored::items(&system.stand_in()?).await?;
        let of_account = |item: &&std::collections::HashMap<String, AttributeValue>| {
            let (pk, sk) = (stored::text(item, "pk"), stored::text(item, "sk"));
            pk.starts_with("ACC#") && sk.starts_with(place)
        };
        let rows = rows.iter().filter(of_account).count();
        ensure!(rows == *there, "{path}: {rows} rows of {place}");
    }
    println!("{} conflicts", faults.conflicts());
    ada.check_books().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_met_a_refusal_may_be_used_again_and_one_of_yesterday_is_free() -> Result<()> {
    let system = System::start(&[("KILN_ADMIN_KEY", ADMIN_KEY), ("KILN_SIGNUP_MILLICREDITS", "0")]).await?;
    let ben = system.signed_in("ben@example.org").await?;
    let id = ben.get("/api/v1/me").await?.expect(200)?["account"]["id"].as_str().context("id")?.to_owned();
    let noop = || ben.post_once("/api/v1/jobs", json!({ "kind": "noop" }), "one");
    noop().await?.problem(402, "insufficient_credits", "")?;
    let grant = ben.request(Method::POST, &format!("/api/v1/admin/accounts/{id}/grant")).bearer_auth(ADMIN_KEY);
    ben.send(grant.json(&json!({ "millicredits": 5_000, "reason": "a gift" }))).await?.expect(201)?;
    let first = noop().await?.expect(202)?;
    ensure!(noop().await?.expect(202)?["id"] == first["id"]);
    ben.post_once("/api/v1/jobs", json!({ "kind": "noop", "params": { "ms": 2 } }), "one").await?.problem(422, "idempotency_key_reused", "Idempotency-Key")?;
    // A day later, as the clock of the real binaries can't be moved: the row says so, and the sweep hasn't come yet.
    let stand_in = system.stand_in()?;
    let record = stored::items(&stand_in).await?.into_iter().find(|item| stored::text(item, "sk").starts_with("IDEM#jobs")).context("a record")?;
    let client = super::access::table_client(&stand_in).await;
    let key = |name: &str| AttributeValue::S(stored::text(&record, name));
    let update = client.update_item().table_name("kiln-local-Table").key("pk", key("pk")).key("sk", key("sk")).update_expression("SET expires_at = :past");
    update.expression_attribute_values(":past", AttributeValue::N("1".into())).send().await?;
    let second = ben.post_once("/api/v1/jobs", json!({ "kind": "noop", "params": { "ms": 2 } }), "one").await?.expect(202)?;
    ensure!(second["id"] != first["id"], "{second}");
    ben.check_books().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_requests_with_one_key_a_webhook_is_sent_by_hand_once_and_a_secret_made_once() -> Result<()> {
    let system = System::start_watched(&[("KILN_WEBHOOK_ALLOW_LOOPBACK", "1")]).await?;
    let (ada, receiver) = (system.signed_in("ada@example.org").await?, Receiver::start().await?);
    let made = ada.post("/api/v1/webhook-endpoints", json!({ "url": receiver.url, "events": ["batch.*"] })).await?.expect(201)?;
    let endpoint = format!("/api/v1/webhook-endpoints/{}", made["id"].as_str().context("id")?);
    let faults = system.faults.clone().context("a proxy")?;
    faults.overlapping_writes_conflict();
    let sent_by_hand = async || {
        let rows = stored::items(&system.stand_in()?).await?;
        anyhow::Ok(rows.into_iter().find(|item| item.contains_key("hand_sent")).and_then(|item| item["hand_sent"].as_n().ok().cloned()))
    };

    let tests = at_once(&system, &ada, &format!("{endpoint}/test"), &json!({})).await?;
    ensure!(tests.iter().all(|answer| answer.status == 202 && name(answer) == name(&tests[0])), "{tests:?}");
    ensure!(ada.all("/api/v1/deliveries").await?.len() == 1 && sent_by_hand().await?.as_deref() == Some("1"));
    let delivery = format!("/api/v1/deliveries/{}", name(&tests[0]));
    let delivered = async |tries: usize| {
        wait_for("the delivery", SOON, async || {
            let now = ada.get(&delivery).await?.expect(200)?;
            Ok((now["state"] == "delivered" && now["tries"].as_array().map(Vec::len) == Some(tries)).then_some(()))
        })
        .await
    };
    delivered(1).await?;

    let replays = at_once(&system, &ada, &format!("{delivery}/replay"), &json!({})).await?;
    ensure!(replays.iter().all(|answer| answer.status == 202), "{replays:?}");
    delivered(2).await?;
    ensure!(sent_by_hand().await?.as_deref() == Some("2"));
    ensure!(receiver.hooks().len() == 2, "{:?}", receiver.hooks());

    let secrets = at_once(&system, &ada, &format!("{endpoint}/rotate-secret"), &json!({})).await?;
    ensure!(secrets.iter().all(|answer| answer.status == 200), "{secrets:?}");
    ensure!(secrets.iter().filter(|answer| answer.body["secret"].is_string()).count() == 1, "{secrets:?}");
    Ok(())
}
