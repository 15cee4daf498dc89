//! Money that comes late, twice, not at all, or to somebody who is gone; and what must not be for sale: refunds on demand, referrals for
//! nothing, a plan that outlives its account. Each was a way to lose money, found by an attack on the code.

use anyhow::{Context, Result, ensure};
use aws_sdk_dynamodb::types::AttributeValue;
use kiln_tests::{Client, Shop, System, wait_for};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);
const ADMIN_KEY: &str = "the-admin-key-of-this-test";
const TABLE: &str = "kiln-local-Table";

async fn credits(client: &Client) -> Result<(i64, i64)> {
    let shown = client.get("/api/v1/credits").await?.expect(200)?;
    Ok((shown["available_millicredits"].as_i64().context("available")?, shown["debt_millicredits"].as_i64().context("debt")?))
}

async fn kept(client: &Client) -> Result<Vec<String>> {
    let kept = client.send(client.request(Method::GET, "/api/v1/admin/payments/kept?limit=100").bearer_auth(ADMIN_KEY)).await?.expect(200)?;
    Ok(kept["items"].as_array().into_iter().flatten().filter_map(|item| item["why"].as_str().map(str::to_owned)).collect())
}

/// The next look at an order of a guest's is due.
pub async fn due(system: &System, token: &str) -> Result<()> {
    Ordered { url: String::new(), token: token.to_owned() }.due(system).await
}

/// A guest's order: its page at the payment service, and what its link ends in.
struct Ordered {
    url: String,
    token: String,
}

async fn order(guest: &Client, params: Value, email: &str) -> Result<Ordered> {
    guest.post("/api/v1/studio/session", json!({})).await?.expect(201)?;
    let order = guest.post("/api/v1/studio/checkout", json!({ "kind": "noop", "params": params, "email": email })).await?.expect(201)?;
    let token = order["result_url"].as_str().and_then(|url| url.rsplit('/').next()).context("a token")?.to_owned();
    Ok(Ordered { url: order["url"].as_str().context("url")?.to_owned(), token })
}

impl Ordered {
    async fn is(&self, guest: &Client, settled: &str) -> Result<Value> {
        wait_for(&format!("the order to be {settled}"), SOON, || async {
            let shown = guest.get(&format!("/api/v1/studio/orders/{}", self.token)).await?.expect(200)?;
            Ok(Some(shown).filter(|order| order["settled"] == settled))
        })
        .await
    }

    /// Changes its row past the system, as time would: the clock of the real binaries can't be moved.
    async fn change(&self, system: &System, update: &str, values: &[(&str, AttributeValue)]) -> Result<()> {
        let mut parts = self.token.split('-');
        let (account, order) = (parts.next().context("account")?, parts.next().context("order")?);
        let client = super::access::table_client(&system.stand_in()?).await;
        let mut request = client.update_item().table_name(TABLE).key("pk", AttributeValue::S(format!("ACC#{account}")));
        request = request.key("sk", AttributeValue::S(format!("ORDER#{order}"))).condition_expression("attribute_exists(pk)").update_expression(update);
        if update.contains("#state") {
            request = request.expression_attribute_names("#state", "state");
        }
        for (name, value) in values {
            request = request.expression_attribute_values(*name, value.clone());
        }
        request.send().await?;
        Ok(())
    }

    /// Its next look is due.
    async fn due(&self, system: &System) -> Result<()> {
        self.change(system, "SET next_check_at = :past", &[(":past", AttributeValue::N("1".into()))]).await
    }

    /// It was given up, as when no payment came.
    async fn given_up(&self, system: &System) -> Result<()> {
        let values = [(":expired", AttributeValue::S("expired".into())), (":abandoned", AttributeValue::S("abandoned".into()))];
        self.change(system, "SET #state = :expired, guest.settled = :abandoned REMOVE owed_shard, next_check_at", &values).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_s_payment_that_comes_after_its_order_was_given_up_is_seen_through() -> Result<()> {
    let shop = Shop::open().await?;
    let system = shop.system(&[]).await?;
    let guest = system.client();
    let good = order(&guest, json!({ "ms": 0 }), "gus@example.org").await?;
    let bad = order(&guest, json!({ "fail": "permanent" }), "gus@example.org").await?;
    for late in [&good, &bad] {
        late.given_up(&system).await?;
        late.is(&guest, "abandoned").await?;
        shop.pay(&late.url, "ok").await?;
    }
    // The one is delivered and its link mailed, the other's money goes back.
    good.is(&guest, "delivered").await?;
    bad.is(&guest, "refunded").await?;
    shop.idle().await?;
    ensure!(shop.api("refunds?limit=10").await?["data"].as_array().is_some_and(|refunds| refunds.len() == 1));
    ensure!(guest.mails("gus@example.org").await?.len() == 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_s_payment_of_which_nobody_told_is_found_by_asking() -> Result<()> {
    let shop = Shop::open().await?;
    let system = shop.system(&[]).await?;
    let guest = system.client();
    let (paid, open) = (order(&guest, json!({ "ms": 0 }), "gus@example.org").await?, order(&guest, json!({ "ms": 0 }), "gus@example.org").await?);
    shop.reaches_nobody();
    shop.pay(&paid.url, "ok").await?;
    open.due(&system).await?;
    paid.due(&system).await?;
    let done = paid.is(&guest, "delivered").await?;
    ensure!(done["state"] == "paid" && done["job"]["state"] == "succeeded", "{done}");
    // One that may still be paid waits.
    let shown = guest.get(&format!("/api/v1/studio/orders/{}", open.token)).await?.expect(200)?;
    ensure!(shown["state"] == "open" && shown["settled"].is_null(), "{shown}");
    // One whose page is closed is given up.
    let session = kiln_tests::shop::session_of(&open.url)?;
    shop.post(&format!("checkout/sessions/{session}/expire"), &[]).await?;
    open.due(&system).await?;
    ensure!(open.is(&guest, "abandoned").await?["state"] == "expired");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_whose_days_are_over_is_forgotten_and_the_books_stay() -> Result<()> {
    let shop = Shop::open().await?;
    let system = shop.system(&[("KILN_GUEST_RESULT_DAYS", "0"), ("KILN_DELETION_SETTLE_S", "0")]).await?;
    let guest = system.client();
    let done = order(&guest, json!({ "ms": 0 }), "gus@example.org").await?;
    let session = shop.pay(&done.url, "ok").await?;
    let path = format!("/api/v1/studio/orders/{}", done.token);
    wait_for("the order to be forgotten", SOON, || async { Ok((guest.get(&path).await?.status == 404).then_some(())) }).await?;
    ensure!(guest.mails("gus@example.org").await?.len() == 1);
    // Nothing of the guest is left in the table but the account's number and its ledger.
    let account = done.token.split('-').next().context("account")?;
    let client = super::access::table_client(&system.stand_in()?).await;
    let rows = wait_for("the account to be emptied", SOON, || async {
        let query = client
            .query()
            .table_name(TABLE)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", AttributeValue::S(format!("ACC#{account}")));
        let rows = query.send().await?.items.unwrap_or_default();
        let emptied = rows.iter().all(|row| row["sk"].as_s().is_ok_and(|sk| sk == "ACCOUNT" || sk.starts_with("LEDGER#")));
        Ok(Some(rows).filter(|_| emptied))
    })
    .await?;
    ensure!(rows.len() == 4 && !format!("{rows:?}").contains("gus@example.org"), "{rows:?}");
    // A refund that comes after it is booked all the same.
    shop.post("refunds", &[("payment_intent", session["payment_intent"].as_str().context("payment")?)]).await?;
    shop.idle().await?;
    let key = client.get_item().table_name(TABLE).key("pk", AttributeValue::S(format!("ACC#{account}"))).key("sk", AttributeValue::S("ACCOUNT".into()));
    let debt = key.send().await?.item.and_then(|item| item.get("debt").and_then(|debt| debt.as_n().ok().cloned()));
    ensure!(debt.as_deref() == Some("1000"), "{debt:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_can_t_be_read_keeps_no_guest_from_their_result() -> Result<()> {
    let shop = Shop::open().await?;
    let system = shop.system(&[]).await?;
    let client = super::access::table_client(&system.stand_in()?).await;
    for shard in 0..16 {
        let text = |text: String| AttributeValue::S(text);
        let put = client.put_item().table_name(TABLE).item("pk", text(format!("ACC#broken{shard}"))).item("sk", text("ORDER#broken".into()));
        put.item("owed_shard", text(format!("order#{shard:02}"))).item("next_check_at", AttributeValue::N("1".into())).send().await?;
    }
    let guest = system.client();
    let good = order(&guest, json!({ "ms": 0 }), "gus@example.org").await?;
    shop.pay(&good.url, "ok").await?;
    good.is(&guest, "delivered").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_s_refund_that_fails_or_can_t_be_made_is_an_operator_s() -> Result<()> {
    let shop = Shop::open().await?;
    let system = shop.system(&[("KILN_ADMIN_KEY", ADMIN_KEY)]).await?;
    let guest = system.client();
    let failed = order(&guest, json!({ "fail": "permanent" }), "gus@example.org").await?;
    let session = shop.pay(&failed.url, "ok").await?;
    failed.is(&guest, "refunded").await?;
    shop.idle().await?;
    let refunds = shop.api(&format!("refunds?payment_intent={}", session["payment_intent"].as_str().unwrap_or_default())).await?;
    shop.control(&format!("refunds/{}/fail", refunds["data"][0]["id"].as_str().context("a refund")?), json!({})).await?;
    shop.idle().await?;
    ensure!(kept(&guest).await?.iter().any(|why| why.contains("of a guest failed")), "{:?}", kept(&guest).await?);
    // A payment that is disputed already is refunded by nobody; the order is settled once all the same.
    let argued = order(&guest, json!({ "ms": 5000, "fail": "permanent" }), "gus@example.org").await?;
    let session = shop.pay(&argued.url, "ok").await?;
    shop.control("disputes", json!({ "payment_intent": session["payment_intent"] })).await?;
    argued.is(&guest, "refunded").await?;
    ensure!(kept(&guest).await?.iter().any(|why| why.contains("charge_disputed")), "{:?}", kept(&guest).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_an_account_buys_no_guest_s_job_with_its_refund_on_demand() -> Result<()> {
    let shop = Shop::open().await?;
    let system = shop.system(&[]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let wanted = json!({ "kind": "noop", "params": { "ms": 0 } });
    ada.post("/api/v1/studio/quote", wanted.clone()).await?.problem(409, "signed_in", "")?;
    let mut paid = wanted;
    paid["email"] = json!("ada@example.org");
    ada.post("/api/v1/studio/checkout", paid).await?.problem(409, "signed_in", "")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_referral_is_taken_back_with_the_payment_that_earned_it() -> Result<()> {
    let shop = Shop::open().await?;
    let system = shop.system(&[]).await?;
    let gil = system.signed_in("gil@example.org").await?;
    let code = gil.get("/api/v1/referrals").await?.expect(200)?["code"].as_str().context("code")?.to_owned();
    let hal = system.client();
    hal.post("/api/v1/auth/request-link", json!({ "email": "hal@example.org" })).await?.expect(202)?;
    let token = hal.mailed_token("hal@example.org", 0).await?;
    hal.post("/api/v1/auth/verify-link", json!({ "token": token, "referral": code })).await?.expect(200)?;
    let before = credits(&gil).await?.0;
    let buy = || async {
        let order = hal.post("/api/v1/credits/checkout", json!({ "pack": "starter" })).await?.expect(201)?;
        let session = shop.pay(order["url"].as_str().context("url")?, "ok").await?;
        session["payment_intent"].as_str().context("payment").map(str::to_owned)
    };
    let (first, second) = (buy().await?, buy().await?);
    ensure!(credits(&gil).await?.0 == before + 5_000);
    let refund = async |payment: &str, amount: &str| -> Result<()> {
        shop.post("refunds", &[("payment_intent", payment), ("amount", amount)]).await?;
        shop.idle().await
    };
    // Neither the refund of another payment nor of a part changes it; that of all of it does, once.
    refund(&second, "10000").await?;
    refund(&first, "4000").await?;
    ensure!(credits(&gil).await?.0 == before + 5_000);
    refund(&first, "6000").await?;
    ensure!(credits(&gil).await? == (before, 0));
    let events = shop.api("events?type=refund.created&limit=10").await?;
    for event in events["data"].as_array().into_iter().flatten() {
        shop.control(&format!("events/{}/deliver", event["id"].as_str().unwrap_or_default()), json!({ "times": 5, "ids": 2 })).await?;
    }
    shop.idle().await?;
    let shown = gil.get("/api/v1/referrals").await?.expect(200)?;
    ensure!(credits(&gil).await? == (before, 0) && shown["paid_accounts"] == 0 && shown["credited_millicredits"] == 0, "{shown}");
    gil.check_books().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_account_ends_while_a_plan_is_paid_and_what_is_paid_after_its_end_is_kept() -> Result<()> {
    let shop = Shop::open().await?;
    let system = shop.system(&[("KILN_ADMIN_KEY", ADMIN_KEY), ("KILN_SIGNUP_MILLICREDITS", "0")]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let org = ada.post("/api/v1/orgs", json!({ "name": "Engines" })).await?.expect(201)?["id"].as_str().context("id")?.to_owned();
    let subscribe = ada.request(Method::POST, "/api/v1/credits/subscribe").header("kiln-account", &org).json(&json!({ "plan": "maker" }));
    let order = ada.send(subscribe).await?.expect(201)?;
    shop.pay(order["url"].as_str().context("url")?, "ok").await?;
    ada.delete_with(&format!("/api/v1/orgs/{org}"), json!({ "confirm": "Engines" })).await?.problem(409, "plan_runs", "")?;
    // Nor by the end of its one member.
    ada.delete_with("/api/v1/me", json!({ "confirm": "ada@example.org" })).await?.problem(409, "plan_runs", "")?;
    let subscription = shop.api("subscriptions?limit=1").await?["data"][0]["id"].as_str().context("a subscription")?.to_owned();
    shop.delete(&format!("subscriptions/{subscription}")).await?;
    shop.idle().await?;
    // A checkout that is open when its account ends.
    let buys = ada.request(Method::POST, "/api/v1/credits/checkout").header("kiln-account", &org).json(&json!({ "pack": "starter" }));
    let order = ada.send(buys).await?.expect(201)?;
    ada.delete_with(&format!("/api/v1/orgs/{org}"), json!({ "confirm": "Engines" })).await?.expect(202)?;
    ensure!(kept(&ada).await?.is_empty(), "the end of a plan is nothing odd: {:?}", kept(&ada).await?);
    shop.pay(order["url"].as_str().context("url")?, "ok").await?;
    let why = kept(&ada).await?;
    ensure!(why.len() == 1 && (why[0].contains("no account") || why[0].contains("no order")), "{why:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_runs_keeps_its_price_and_its_credits_when_the_list_changes() -> Result<()> {
    let shop = Shop::open().await?;
    let folder = tempfile::tempdir()?;
    let list = folder.path().join("prices.toml");
    std::fs::write(&list, kiln_core::prices::DEFAULT)?;
    let mut system = shop.system(&[("KILN_SIGNUP_MILLICREDITS", "0"), ("KILN_ADMIN_KEY", ADMIN_KEY), ("KILN_PRICES_FILE", &list.to_string_lossy())]).await?;
    let eve = system.signed_in("eve@example.org").await?;
    let order = eve.post("/api/v1/credits/subscribe", json!({ "plan": "maker" })).await?.expect(201)?;
    shop.pay(order["url"].as_str().context("url")?, "ok").await?;
    ensure!(credits(&eve).await? == (120_000, 0));
    // The list becomes dearer, and grants less.
    let dearer =
        kiln_core::prices::DEFAULT.replace("millicredits = 120_000", "millicredits = 90_000").replace("inr = 50_000, usd = 650", "inr = 60_000, usd = 700");
    ensure!(dearer.contains("inr = 60_000") && dearer.contains("90_000"), "the list that ships has changed");
    std::fs::write(&list, &dearer)?;
    kiln_pay::Pay::new(kiln_tests::shop::KEY, Some(&shop.url))?.set_up(&kiln_core::prices::Prices::parse(&dearer).map_err(anyhow::Error::msg)?).await?;
    system.kill().await?;
    system.restart().await?;
    shop.reaches(&system);
    let again = system.client();
    again.set_cookie(eve.cookie());
    let eve = again;
    let subscription = shop.api("subscriptions?limit=1").await?["data"][0]["id"].as_str().context("a subscription")?.to_owned();
    shop.control(&format!("subscriptions/{subscription}/renew"), json!({ "card": "ok" })).await?;
    shop.idle().await?;
    ensure!(credits(&eve).await? == (240_000, 0) && kept(&eve).await?.is_empty(), "{:?} {:?}", credits(&eve).await?, kept(&eve).await?);
    // Who begins now pays and gets what the list says now.
    let fay = system.signed_in("fay@example.org").await?;
    let order = fay.post("/api/v1/credits/subscribe", json!({ "plan": "maker" })).await?.expect(201)?;
    ensure!(order["amount"] == 60_000, "{order}");
    shop.pay(order["url"].as_str().context("url")?, "ok").await?;
    ensure!(credits(&fay).await? == (90_000, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_plan_that_is_past_do_not_speak_for_the_one_that_runs() -> Result<()> {
    let shop = Shop::open().await?;
    let system = shop.system(&[("KILN_ADMIN_KEY", ADMIN_KEY)]).await?;
    let eve = system.signed_in("eve@example.org").await?;
    let begin = async |plan: &str| -> Result<String> {
        let order = eve.post("/api/v1/credits/subscribe", json!({ "plan": plan })).await?.expect(201)?;
        Ok(order["url"].as_str().context("url")?.to_owned())
    };
    let newest = async || -> Result<String> {
        shop.api("subscriptions?limit=1&status=all").await?["data"][0]["id"].as_str().context("a subscription").map(str::to_owned)
    };
    let plan = async || -> Result<Value> { Ok(eve.get("/api/v1/credits/subscription").await?.expect(200)?["subscription"].clone()) };
    // Of two pages only the newest can be paid.
    let (first, second) = (begin("maker").await?, begin("maker").await?);
    ensure!(shop.pay(&first, "ok").await.is_err(), "a page that another has replaced can still be paid");
    shop.pay(&second, "ok").await?;
    let old = newest().await?;
    shop.delete(&format!("subscriptions/{old}")).await?;
    shop.idle().await?;
    ensure!(plan().await?["status"] == "canceled", "{}", plan().await?);
    shop.pay(&begin("team").await?, "ok").await?;
    ensure!(plan().await?["plan"] == "team" && plan().await?["status"] == "active", "{}", plan().await?);
    for kind in ["customer.subscription.deleted", "customer.subscription.created", "invoice.paid"] {
        for event in shop.api(&format!("events?type={kind}&limit=10")).await?["data"].as_array().into_iter().flatten() {
            shop.control(&format!("events/{}/deliver", event["id"].as_str().unwrap_or_default()), json!({ "times": 3, "ids": 2 })).await?;
        }
    }
    shop.idle().await?;
    ensure!(plan().await?["plan"] == "team" && plan().await?["status"] == "active", "{}", plan().await?);
    ensure!(kept(&eve).await?.is_empty(), "{:?}", kept(&eve).await?);
    eve.check_books().await?;
    Ok(())
}
