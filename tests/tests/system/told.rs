//! What customers' endpoints are told of: money that came and went back by the payment service, and a job that failed. Each is seen to
//! arrive, once, and to say what the ledger or the job says.

use anyhow::{Context, Result, ensure};
use kiln_tests::{Client, Hook, Receiver, Shop, System};
use serde_json::{Value, json};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);

async fn endpoint(client: &Client, receiver: &Receiver, events: &[&str]) -> Result<()> {
    client.post("/api/v1/webhook-endpoints", json!({ "url": receiver.url, "events": events })).await?.expect(201)?;
    Ok(())
}

/// The one message of this type among those that came.
fn of_type(hooks: &[Hook], kind: &str) -> Result<Value> {
    let bodies: Vec<Value> = hooks.iter().map(|hook| Ok(serde_json::from_str(&hook.body)?)).collect::<Result<_>>()?;
    let mut found = bodies.into_iter().filter(|body| body["type"] == kind);
    let body = found.next().with_context(|| format!("no {kind}"))?;
    ensure!(found.next().is_none(), "{kind} came twice");
    Ok(body)
}

/// The account's one entry of this kind.
async fn entry(client: &Client, kind: &str) -> Result<Value> {
    client.all("/api/v1/credits/ledger").await?.into_iter().find(|entry| entry["kind"] == kind).with_context(|| format!("no {kind}"))
}

fn check_tells(body: &Value, entry: &Value) -> Result<()> {
    let data = &body["data"];
    ensure!(data["entry_id"] == entry["id"] && data["amount_millicredits"] == entry["amount_millicredits"], "{body} of {entry}");
    ensure!(data["cause"] == entry["cause"] && data["external_id"] == entry["external_id"], "{body} of {entry}");
    Ok(())
}

/// The schedule comes once an hour here: what arrives was hinted.
#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_and_its_refund_are_told_at_once_and_once_each() -> Result<()> {
    let shop = Shop::open().await?;
    let system = shop.system(&[("KILN_WEBHOOK_ALLOW_LOOPBACK", "1"), ("KILN_POOL_MAX", "0"), ("KILN_TICK_S", "3600")]).await?;
    let (ada, receiver) = (system.signed_in("ada@example.org").await?, Receiver::start().await?);
    endpoint(&ada, &receiver, &["credits.*"]).await?;

    let order = ada.post("/api/v1/credits/checkout", json!({ "pack": "starter" })).await?.expect(201)?;
    let session = shop.pay(order["url"].as_str().context("url")?, "ok").await?;
    let purchased = of_type(&receiver.wait(1, WITHIN).await?, "credits.purchased")?;
    check_tells(&purchased, &entry(&ada, "purchase").await?)?;
    ensure!(purchased["data"]["amount_millicredits"] == 20_000 && purchased["data"]["cause"] == order["order_id"], "{purchased}");

    // The payment service tells of one payment again and again; the customer hears of it once.
    let events = shop.api("events?type=checkout.session.completed&limit=10").await?;
    let event = events["data"][0]["id"].as_str().context("an event")?;
    shop.control(&format!("events/{event}/deliver"), json!({ "times": 10, "ids": 3 })).await?;
    shop.idle().await?;

    shop.post("refunds", &[("payment_intent", session["payment_intent"].as_str().context("payment_intent")?)]).await?;
    shop.idle().await?;
    let hooks = receiver.wait(2, WITHIN).await?;
    let refunded = of_type(&hooks, "credits.refunded")?;
    check_tells(&refunded, &entry(&ada, "refund").await?)?;
    ensure!(refunded["data"]["amount_millicredits"] == -20_000, "{refunded}");
    of_type(&hooks, "credits.purchased")?;
    // One delivery each, so nothing more is to come.
    ensure!(ada.all("/api/v1/deliveries").await?.len() == 2 && receiver.hooks().len() == 2, "{:?}", receiver.hooks());
    Ok(())
}

#[tokio::test]
async fn a_job_that_failed_is_told_with_its_error_and_costs_nothing() -> Result<()> {
    let system = System::start(&[("KILN_WEBHOOK_ALLOW_LOOPBACK", "1")]).await?;
    let (ada, receiver) = (system.signed_in("ada@example.org").await?, Receiver::start().await?);
    endpoint(&ada, &receiver, &["job.failed"]).await?;
    // One that succeeds is nothing that this endpoint hears of.
    let good = ada.noop(0).await?;
    let bad = ada.job(json!({ "kind": "noop", "params": { "fail": "permanent" } })).await?;
    ensure!(ada.ended(&good, WITHIN).await?["state"] == "succeeded");
    let shown = ada.ended(&bad, WITHIN).await?;
    let failed = of_type(&receiver.wait(1, WITHIN).await?, "job.failed")?;
    let data = &failed["data"];
    ensure!(data["id"] == bad.as_str() && data["state"] == "failed" && data["charged_millicredits"] == 0, "{failed}");
    ensure!(data["error"]["code"] == "noop_permanent" && data["error"]["code"] == shown["error"]["code"] && data["seq"] == shown["seq"], "{failed} of {shown}");
    ensure!(ada.all("/api/v1/deliveries").await?.len() == 1);
    Ok(())
}
