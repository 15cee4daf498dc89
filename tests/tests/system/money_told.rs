//! What the payment service tells, under attack: many copies at once before any is applied, a commit that fails, a refund whose end is told
//! before its beginning, disputes to both ends, a schedule that dies after it gave the money back.

use super::stored;
use anyhow::{Context, Result, ensure};
use kiln_tests::faults::Verdict;
use kiln_tests::{Client, Shop, System, shop::session_of, wait_for};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);
const ADMIN_KEY: &str = "the-admin-key-of-this-test";

async fn available(client: &Client) -> Result<i64> {
    client.get("/api/v1/credits").await?.expect(200)?["available_millicredits"].as_i64().context("available")
}

async fn watched(shop: &Shop, extra: &[(&str, &str)]) -> Result<System> {
    let mut env = shop.env();
    env.extend(extra.iter().copied());
    let system = System::start_watched(&env).await?;
    shop.reaches(&system);
    Ok(system)
}

async fn starter(client: &Client) -> Result<String> {
    let order = client.post("/api/v1/credits/checkout", json!({ "pack": "starter" })).await?.expect(201)?;
    Ok(order["url"].as_str().context("url")?.to_owned())
}

/// Pays while nothing is delivered; gives the event of the checkout.
async fn paid_in_silence(shop: &Shop, url: &str) -> Result<String> {
    shop.control("deliveries/hold", json!({})).await?;
    shop.control(&format!("checkout/{}/pay", session_of(url)?), json!({ "card": "ok" })).await?;
    let events = shop.api("events?type=checkout.session.completed&limit=1").await?;
    events["data"][0]["id"].as_str().context("an event").map(str::to_owned)
}

fn statuses(told: &Value) -> Vec<u64> {
    told["tries"].as_array().into_iter().flatten().map(|one| one["status"].as_u64().unwrap_or_default()).collect()
}

async fn kept(client: &Client) -> Result<Vec<String>> {
    let kept = client.send(client.request(Method::GET, "/api/v1/admin/payments/kept?limit=100").bearer_auth(ADMIN_KEY)).await?.expect(200)?;
    Ok(kept["items"].as_array().into_iter().flatten().filter_map(|item| item["why"].as_str().map(str::to_owned)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_payment_told_a_hundred_times_at_once_under_three_ids_is_credited_once() -> Result<()> {
    let shop = Shop::open().await?;
    let system = watched(&shop, &[("KILN_SIGNUP_MILLICREDITS", "0")]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let event = paid_in_silence(&shop, &starter(&ada).await?).await?;
    ensure!(available(&ada).await? == 0, "nothing was told yet");
    let faults = system.faults.clone().context("a proxy")?;
    faults.overlapping_writes_conflict();
    let told = shop.control(&format!("events/{event}/deliver"), json!({ "times": 100, "ids": 3 })).await?;
    let statuses = statuses(&told);
    println!("{} conflicts", faults.conflicts());
    ensure!(statuses.len() == 100 && statuses.iter().all(|status| *status == 204), "{statuses:?}");
    ensure!(faults.conflicts() > 0, "they did not meet");
    ensure!(available(&ada).await? == 20_000);
    shop.control("deliveries/release", json!({})).await?;
    shop.idle().await?;
    ensure!(ada.check_books().await? == (20_000, 0));
    ensure!(ada.all("/api/v1/credits/ledger").await?.len() == 1);
    // What says that it was applied never expires.
    let rows = stored::items(&system.stand_in()?).await?;
    let of_money: Vec<_> = rows.iter().filter(|item| stored::text(item, "pk").starts_with("PAY#")).collect();
    ensure!(of_money.len() == 2 && of_money.iter().all(|item| !item.contains_key("ttl")), "{of_money:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_commit_fails_is_not_acknowledged_and_credits_once_when_it_comes_again() -> Result<()> {
    let shop = Shop::open().await?;
    let system = watched(&shop, &[("KILN_SIGNUP_MILLICREDITS", "0")]).await?;
    let ben = system.signed_in("ben@example.org").await?;
    let event = paid_in_silence(&shop, &starter(&ben).await?).await?;
    let fails = Arc::new(AtomicBool::new(true));
    let rule = fails.clone();
    system.faults.clone().context("a proxy")?.rule(move |call| {
        let of_money = call.name == "TransactWriteItems" && String::from_utf8_lossy(&call.body).contains("PAY#");
        if of_money && rule.load(Ordering::SeqCst) { Verdict::Conflict } else { Verdict::Pass }
    });
    let told = shop.control(&format!("events/{event}/deliver"), json!({ "times": 1 })).await?;
    ensure!(statuses(&told).iter().all(|status| *status >= 500) && available(&ben).await? == 0, "{told}");
    fails.store(false, Ordering::SeqCst);
    let told = shop.control(&format!("events/{event}/deliver"), json!({ "times": 2 })).await?;
    ensure!(statuses(&told) == [204, 204] && available(&ben).await? == 20_000, "{told}");
    ben.check_books().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_fails_and_a_dispute_that_is_won_bring_the_credits_back_and_a_lost_one_does_not() -> Result<()> {
    let shop = Shop::open().await?;
    let system = shop.system(&[("KILN_SIGNUP_MILLICREDITS", "0")]).await?;
    let cleo = system.signed_in("cleo@example.org").await?;
    let mut payments = Vec::new();
    for _ in 0..3 {
        let session = shop.pay(&starter(&cleo).await?, "ok").await?;
        payments.push(session["payment_intent"].as_str().context("payment")?.to_owned());
    }
    for _ in 0..3 {
        let job = cleo.noop(1).await?;
        cleo.ended(&job, SOON).await?;
    }
    ensure!(available(&cleo).await? == 57_000);
    let month = cleo.get("/api/v1/credits").await?.expect(200)?;
    ensure!(month["month_charged_millicredits"] == 3_000 && month["month_resets_at"].as_str().is_some_and(|at| at.ends_with("-01T00:00:00.000Z")), "{month}");

    let refund = shop.post("refunds", &[("payment_intent", &payments[0])]).await?;
    shop.idle().await?;
    ensure!(available(&cleo).await? == 37_000);
    shop.control(&format!("refunds/{}/fail", refund["id"].as_str().context("id")?), json!({})).await?;
    shop.idle().await?;
    ensure!(available(&cleo).await? == 57_000);
    for (payment, outcome, left) in [(&payments[1], "won", 57_000), (&payments[2], "lost", 37_000)] {
        let dispute = shop.control("disputes", json!({ "payment_intent": payment })).await?;
        shop.idle().await?;
        ensure!(available(&cleo).await? == 37_000, "{outcome}");
        shop.control(&format!("disputes/{}/close", dispute["id"].as_str().context("id")?), json!({ "outcome": outcome })).await?;
        shop.idle().await?;
        ensure!(available(&cleo).await? == left, "{outcome}");
    }
    cleo.check_books().await?;
    Ok(())
}

/// A guest's order of a job that fails for good; its page at the payment service, and the end of its link.
async fn doomed(guest: &Client) -> Result<(String, String)> {
    guest.post("/api/v1/studio/session", json!({})).await?.expect(201)?;
    let wanted = json!({ "kind": "noop", "params": { "fail": "permanent" }, "email": "gus@example.org" });
    let order = guest.post("/api/v1/studio/checkout", wanted).await?.expect(201)?;
    let token = order["result_url"].as_str().and_then(|url| url.rsplit('/').next()).context("a token")?.to_owned();
    Ok((order["url"].as_str().context("url")?.to_owned(), token))
}

async fn refunded(guest: &Client, token: &str) -> Result<()> {
    let path = format!("/api/v1/studio/orders/{token}");
    wait_for("the guest's refund", SOON, || async { Ok((guest.get(&path).await?.expect(200)?["settled"] == "refunded").then_some(())) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_s_refund_of_which_the_failure_is_told_first_is_an_operator_s_once() -> Result<()> {
    let shop = Shop::open().await?;
    let system = shop.system(&[("KILN_ADMIN_KEY", ADMIN_KEY)]).await?;
    let guest = system.client();
    let (url, token) = doomed(&guest).await?;
    // Held from the first: the job fails, and its money goes back, as soon as its payment is told.
    shop.control("deliveries/hold", json!({})).await?;
    let session = shop.pay(&url, "ok").await?;
    shop.control("deliveries/release", json!({ "order": ["checkout.session.completed"], "rest": "hold" })).await?;
    refunded(&guest, &token).await?;
    let refunds = shop.api(&format!("refunds?payment_intent={}", session["payment_intent"].as_str().unwrap_or_default())).await?;
    shop.control(&format!("refunds/{}/fail", refunds["data"][0]["id"].as_str().context("a refund")?), json!({})).await?;
    shop.control("deliveries/release", json!({ "order": ["refund.failed", "refund.created"] })).await?;
    shop.idle().await?;
    let about = kept(&guest).await?.into_iter().filter(|why| why.contains("of a guest failed")).count();
    ensure!(about == 1, "{:?}", kept(&guest).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_s_money_goes_back_once_though_the_schedule_dies_after_the_refund() -> Result<()> {
    let shop = Shop::open().await?;
    let system = watched(&shop, &[]).await?;
    let dies = Arc::new(AtomicUsize::new(0));
    let died = dies.clone();
    // What would settle the order is never written, twice.
    system.faults.clone().context("a proxy")?.rule(move |call| {
        let settles = call.name == "UpdateItem" && String::from_utf8_lossy(&call.body).contains("guest.settled");
        if settles && dies.fetch_add(1, Ordering::SeqCst) < 2 { Verdict::Conflict } else { Verdict::Pass }
    });
    let guest = system.client();
    let (url, token) = doomed(&guest).await?;
    let session = shop.pay(&url, "ok").await?;
    for deaths in 1..=2 {
        wait_for("the schedule to die", SOON, || async { Ok((died.load(Ordering::SeqCst) >= deaths).then_some(())) }).await?;
        super::late_money::due(&system, &token).await?;
    }
    refunded(&guest, &token).await?;
    shop.idle().await?;
    let refunds = shop.api(&format!("refunds?payment_intent={}", session["payment_intent"].as_str().unwrap_or_default())).await?;
    ensure!(refunds["data"].as_array().is_some_and(|refunds| refunds.len() == 1 && refunds[0]["amount"] == 200), "{refunds}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_whose_payment_fails_says_so_and_one_that_was_ended_ends_with_its_period() -> Result<()> {
    let shop = Shop::open().await?;
    let system = shop.system(&[("KILN_SIGNUP_MILLICREDITS", "0")]).await?;
    let eve = system.signed_in("eve@example.org").await?;
    let order = eve.post("/api/v1/credits/subscribe", json!({ "plan": "maker" })).await?.expect(201)?;
    shop.pay(order["url"].as_str().context("url")?, "ok").await?;
    let id = shop.api("subscriptions?limit=1").await?["data"][0]["id"].as_str().context("a subscription")?.to_owned();
    let status = async || -> Result<Value> { Ok(eve.get("/api/v1/credits/subscription").await?.expect(200)?["subscription"]["status"].clone()) };
    let told = async |words: &str| -> Result<bool> {
        Ok(eve.mails("eve@example.org").await?.iter().any(|mail| mail["subject"].as_str().is_some_and(|subject| subject.to_lowercase().contains(words))))
    };
    shop.control(&format!("subscriptions/{id}/renew"), json!({ "card": "declined" })).await?;
    shop.idle().await?;
    ensure!(status().await? == "past_due" && available(&eve).await? == 120_000, "{}", status().await?);
    ensure!(told("payment").await? && !told("ended").await?, "{:?}", eve.mails("eve@example.org").await?);
    shop.control(&format!("subscriptions/{id}/retry"), json!({ "card": "ok" })).await?;
    shop.idle().await?;
    ensure!(status().await? == "active" && available(&eve).await? == 240_000);
    // A step up that the card does not pay changes nothing.
    let customer = shop.api("subscriptions?limit=1").await?["data"][0]["customer"].as_str().context("customer")?.to_owned();
    shop.control(&format!("customers/{customer}/card"), json!({ "card": "declined" })).await?;
    let change = |body: Value| eve.send(eve.request(Method::PATCH, "/api/v1/credits/subscription").json(&body));
    change(json!({ "plan": "team" })).await?.problem(402, "card_declined", "")?;
    ensure!(eve.get("/api/v1/credits/subscription").await?.expect(200)?["subscription"]["plan"] == "maker" && available(&eve).await? == 240_000);
    change(json!({ "cancel": true })).await?.expect(200)?;
    ensure!(status().await? == "active");
    shop.control(&format!("subscriptions/{id}/renew"), json!({})).await?;
    shop.idle().await?;
    ensure!(status().await? == "canceled" && available(&eve).await? == 240_000 && told("ended").await?, "{:?}", eve.mails("eve@example.org").await?);
    eve.check_books().await?;
    Ok(())
}
