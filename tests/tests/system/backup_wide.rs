//! The wide drill: a system with one of everything that an account can have is backed up and restored into another stack, to which the operator has
//! carried its secrets; and there everything opens, signs, counts and pays back as before.

use super::backup::{TABLE, seen, well};
use anyhow::{Context, Result, ensure};
use aws_sdk_dynamodb::types::AttributeValue::{self, N, S};
use kiln_core::hooks::sign::{Secret, signatures};
use kiln_core::ids::{BatchId, EntryId};
use kiln_tests::{Client, Hook, Receiver, Shop, System, wait_for};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);
/// Webhooks may come to this machine.
const LOOPBACK: [(&str, &str); 1] = [("KILN_WEBHOOK_ALLOW_LOOPBACK", "1")];
const WHO: [&str; 5] = ["ada@example.org", "bat@example.org", "eve@example.org", "grace@example.org", "hal@example.org"];

fn text(value: &Value, name: &str) -> Result<String> {
    Ok(value[name].as_str().with_context(|| format!("{name} of {value}"))?.to_owned())
}

async fn made(client: &Client, path: &str, body: Value) -> Result<Value> {
    client.post(path, body).await?.expect(201)
}

async fn buys(shop: &Shop, client: &Client, path: &str, what: Value) -> Result<Value> {
    shop.pay(&text(&made(client, path, what).await?, "url")?, "ok").await
}

/// What the drill looks for again: ids, and the secrets that only their holders know.
struct World {
    org: String,
    key: String,
    endpoint: String,
    secret: String,
    share: String,
    guest: String,
    payment: String,
}

/// Ada buys, is paid back a part, brings Hal, who buys; has an organisation with Grace, a key, an endpoint, and a share of what a job made.
async fn adas(shop: &Shop, system: &System, ada: &Client, receiver: &Receiver) -> Result<World> {
    let paid = buys(shop, ada, "/api/v1/credits/checkout", json!({ "pack": "starter" })).await?;
    let payment = text(&paid, "payment_intent")?;
    shop.post("refunds", &[("payment_intent", payment.as_str()), ("amount", "2500")]).await?;
    shop.idle().await?;
    let code = text(&ada.get("/api/v1/referrals").await?.expect(200)?, "code")?;
    let hal = system.client();
    hal.post("/api/v1/auth/request-link", json!({ "email": "hal@example.org" })).await?.expect(202)?;
    let token = hal.mailed_token("hal@example.org", 0).await?;
    hal.post("/api/v1/auth/verify-link", json!({ "token": token, "referral": code })).await?.expect(200)?;
    buys(shop, &hal, "/api/v1/credits/checkout", json!({ "pack": "starter" })).await?;

    let org = text(&made(ada, "/api/v1/orgs", json!({ "name": "Engines" })).await?, "id")?;
    made(ada, &format!("/api/v1/orgs/{org}/invites"), json!({ "email": "grace@example.org", "role": "member" })).await?;
    let invite = ada.mailed_token("grace@example.org", 0).await?;
    let grace = system.signed_in("grace@example.org").await?;
    grace.post("/api/v1/invites/accept", json!({ "token": invite })).await?.expect(200)?;

    let key = text(&made(ada, "/api/v1/api-keys", json!({ "name": "of a drill", "scopes": ["jobs:read"] })).await?, "key")?;
    let job = ada.noop(0).await?;
    ada.ended(&job, SOON).await?;
    let share = text(&made(ada, "/api/v1/shares", json!({ "job_id": job })).await?, "token")?;
    let endpoint = made(ada, "/api/v1/webhook-endpoints", json!({ "url": receiver.url, "events": ["job.*"] })).await?;
    let guest = guest_s(shop, &system.client()).await?;
    Ok(World { org, key, endpoint: text(&endpoint, "id")?, secret: text(&endpoint, "secret")?, share, guest, payment })
}

/// A guest's order that is paid and delivered; what its link ends in.
async fn guest_s(shop: &Shop, guest: &Client) -> Result<String> {
    made(guest, "/api/v1/studio/session", json!({})).await?;
    let order = made(guest, "/api/v1/studio/checkout", json!({ "kind": "noop", "params": { "ms": 1 }, "email": "gus@example.org" })).await?;
    let link = text(&order, "result_url")?;
    let token = link.rsplit('/').next().context("a token")?.to_owned();
    shop.pay(&text(&order, "url")?, "ok").await?;
    delivered(guest, &token).await?;
    Ok(token)
}

/// The guest's order, once it is delivered.
async fn delivered(guest: &Client, token: &str) -> Result<Value> {
    wait_for("the guest's result", SOON, || async {
        let order = guest.get(&format!("/api/v1/studio/orders/{token}")).await?.expect(200)?;
        Ok(Some(order).filter(|order| order["settled"] == "delivered"))
    })
    .await
}

/// An open batch, as the store writes one: no route makes them yet.
async fn batch(system: &System, account: &str) -> Result<()> {
    let table = super::access::table_client(&system.stand_in()?).await;
    let (pk, batch, entry) = (format!("ACC#{account}"), BatchId::new(1, 1).to_string(), EntryId::new(1, 1).to_string());
    let update = table.update_item().table_name(TABLE).key("pk", S(pk.clone())).key("sk", S("ACCOUNT".into()));
    let update = update.update_expression("ADD available :less, held :more").expression_attribute_values(":less", N("-3000".into()));
    update.expression_attribute_values(":more", N("3000".into())).send().await?;
    let put = async |sk: String, rest: Vec<(&str, AttributeValue)>| -> Result<()> {
        let mut item: HashMap<String, AttributeValue> = rest.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        item.insert("pk".to_owned(), S(pk.clone()));
        item.insert("sk".to_owned(), S(sk));
        item.insert("account_id".to_owned(), S(account.to_owned()));
        table.put_item().table_name(TABLE).set_item(Some(item)).send().await?;
        Ok(())
    };
    let number = |number: i64| N(number.to_string());
    let hold = vec![
        ("id", S(entry.clone())),
        ("at", number(1)),
        ("kind", S("hold".into())),
        ("cause", S(batch.clone())),
        ("d_available", number(-3000)),
        ("d_held", number(3000)),
    ];
    put(format!("LEDGER#{entry}"), hold).await?;
    let open = vec![
        ("v", number(1)),
        ("batch_id", S(batch.clone())),
        ("state", S("open".into())),
        ("seq", number(1)),
        ("rows", number(3)),
        ("started", number(0)),
        ("total_millicredits", number(3000)),
        ("left_millicredits", number(3000)),
        ("created_at", number(1)),
    ];
    put(format!("BATCH#{batch}"), open).await
}

/// What each of them sees of their account.
async fn all_seen(system: &System) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for email in WHO {
        let client = system.signed_in(email).await?;
        let subscription = client.get("/api/v1/credits/subscription").await?.expect(200)?;
        all.push(json!([seen(&client).await?, subscription, client.get("/api/v1/referrals").await?.expect(200)?["credited_millicredits"]]));
    }
    Ok(all)
}

fn check_signed(hook: &Hook, secret: &str) -> Result<()> {
    let secret = Secret::parse(secret).context("a secret")?;
    let expected = signatures(&[secret], hook.header("webhook-id")?, hook.header("webhook-timestamp")?.parse()?, &hook.body);
    ensure!(hook.header("webhook-signature")? == expected, "{:?} where {expected} was expected", hook.headers);
    Ok(())
}

/// Everything that somebody holds a secret of opens in the restored system.
async fn opens(system: &System, ada: &Client, receiver: &Receiver, world: &World) -> Result<()> {
    let stranger = system.client();
    let jobs = stranger.send(stranger.request(Method::GET, "/api/v1/jobs").bearer_auth(&world.key)).await?.expect(200)?;
    ensure!(jobs["items"].as_array().is_some_and(|jobs| jobs.len() == 1), "{jobs}");
    stranger.get(&format!("/api/v1/share/{}", world.share)).await?.expect(200)?;
    delivered(&stranger, &world.guest).await?;
    ensure!(ada.all(&format!("/api/v1/orgs/{}/members", world.org)).await?.len() == 2);
    // The endpoint's secret can be opened, and it signs as its owner knows it.
    let before = receiver.hooks().len();
    ada.send(ada.request(Method::POST, &format!("/api/v1/webhook-endpoints/{}/test", world.endpoint))).await?.expect(202)?;
    let hooks = receiver.wait(before + 1, SOON).await?;
    check_signed(hooks.last().context("a hook")?, &world.secret)
}

/// Every event that the payment service has sent comes once more.
async fn all_again(shop: &Shop) -> Result<()> {
    for kind in ["checkout.session.completed", "invoice.paid", "refund.created"] {
        for event in shop.api(&format!("events?type={kind}&limit=50")).await?["data"].as_array().context("events")? {
            shop.control(&format!("events/{}/deliver", text(event, "id")?), json!({ "times": 2, "ids": 2 })).await?;
        }
    }
    shop.idle().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_everything_is_restored_into_another_stack_and_opens_there_with_the_old_secrets() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("kiln.jsonl.gz");
    let file = file.to_str().context("path")?;
    let shop = Shop::open().await?;
    let from = shop.system(&LOOPBACK).await?;
    let (ada, receiver) = (from.signed_in("ada@example.org").await?, Receiver::start().await?);
    let world = adas(&shop, &from, &ada, &receiver).await?;
    let eve = from.signed_in("eve@example.org").await?;
    buys(&shop, &eve, "/api/v1/credits/subscribe", json!({ "plan": "maker" })).await?;
    let bat = from.signed_in("bat@example.org").await?;
    batch(&from, &text(&bat.get("/api/v1/me").await?.expect(200)?["account"], "id")?).await?;
    let before = all_seen(&from).await?;
    well("backup", &["--endpoint", &from.stand_in()?, file]).await?;
    well("restore", &["--check", file]).await?;

    let mut env = shop.env();
    env.extend(LOOPBACK);
    let to = System::start_with_secrets_of(&from, &env).await?;
    let at = to.stand_in()?;
    well("restore", &["--endpoint", &at, file]).await?;
    shop.reaches(&to);
    let after = all_seen(&to).await?;
    for (email, (before, after)) in WHO.iter().zip(before.iter().zip(&after)) {
        ensure!(before == after, "{email} finds {after:#} where there was {before:#}");
    }
    ensure!(after[1][0]["credits"]["held_millicredits"] == 3000, "the batch's reservation is not there: {}", after[1][0]);
    let ada = to.signed_in("ada@example.org").await?;
    opens(&to, &ada, &receiver, &world).await?;

    // What the payment service tells again changes nothing, and what it tells anew finds its payment.
    all_again(&shop).await?;
    ensure!(all_seen(&to).await? == after, "an event was applied again");
    let (available, _) = ada.check_books().await?;
    shop.post("refunds", &[("payment_intent", world.payment.as_str()), ("amount", "2500")]).await?;
    shop.idle().await?;
    ensure!(ada.check_books().await?.0 == available - 5000, "the second part of the refund was not taken");
    well("restore", &["--endpoint", &at, "--check"]).await.map(drop)
}
