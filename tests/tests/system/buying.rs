//! Money and credits, end to end: a checkout is paid at the stand-in for the payment service, its signed events come, and what they say is
//! applied once, whatever their number and order.

use anyhow::{Context, Result, ensure};
use kiln_tests::{Client, Shop, wait_for};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

async fn available(client: &Client) -> Result<i64> {
    client.get("/api/v1/credits").await?.expect(200)?["available_millicredits"].as_i64().context("available")
}

async fn debt(client: &Client) -> Result<i64> {
    client.get("/api/v1/credits").await?.expect(200)?["debt_millicredits"].as_i64().context("debt")
}

async fn entries(client: &Client, kind: &str) -> Result<usize> {
    Ok(client.all("/api/v1/credits/ledger").await?.iter().filter(|entry| entry["kind"] == kind).count())
}

async fn checkout(client: &Client, pack: &str) -> Result<Value> {
    client.post("/api/v1/credits/checkout", json!({ "pack": pack })).await?.expect(201)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_is_bought_credited_once_spent_and_taken_back_down_to_a_debt() -> Result<()> {
    let shop = Shop::open().await?;
    let system = shop.system(&[]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let before = available(&ada).await?;
    let order = checkout(&ada, "starter").await?;
    ensure!(order["amount"] == 10_000 && order["currency"] == "inr" && order["millicredits"] == 20_000, "{order}");
    // The browser's return means nothing.
    ada.get(&format!("/credits?paid={}", order["order_id"].as_str().unwrap_or_default())).await?;
    ensure!(available(&ada).await? == before);

    let session = shop.pay(order["url"].as_str().context("url")?, "ok").await?;
    ensure!(available(&ada).await? == before + 20_000, "{session}");
    let entry = ada.all("/api/v1/credits/ledger").await?.into_iter().find(|entry| entry["kind"] == "purchase").context("a purchase")?;
    ensure!(entry["cause"] == order["order_id"] && entry["external_id"] == session["id"], "{entry}");
    ensure!(ada.get("/api/v1/credits/payments").await?.expect(200)?["items"][0]["state"] == "paid");
    ensure!(ada.get("/api/v1/usage").await?.expect(200)?["free"] == false);

    // One event a hundred times at once, under three ids: one credit.
    let events = shop.api("events?type=checkout.session.completed&limit=10").await?;
    let event = events["data"][0]["id"].as_str().context("an event")?;
    shop.control(&format!("events/{event}/deliver"), json!({ "times": 100, "ids": 3 })).await?;
    shop.idle().await?;
    ensure!(available(&ada).await? == before + 20_000);
    ensure!(entries(&ada, "purchase").await? == 1);

    // So much is spent that the refund finds too little, and leaves the rest as a debt.
    for _ in 0..12 {
        let job = ada.noop(1).await?;
        ada.ended(&job, SOON).await?;
    }
    let left = available(&ada).await?;
    ensure!(left == before + 8_000 && left < 20_000, "{left}");
    let payment = session["payment_intent"].as_str().context("payment_intent")?;
    let refund = shop.post("refunds", &[("payment_intent", payment), ("amount", "10000")]).await?;
    shop.idle().await?;
    let taken = left.min(20_000);
    ensure!(available(&ada).await? == left - taken && debt(&ada).await? == 20_000 - taken);
    // The dispute of the same charge takes nothing more.
    let dispute = shop.control("disputes", json!({ "payment_intent": payment })).await?;
    shop.idle().await?;
    ensure!((available(&ada).await?, debt(&ada).await?) == (0, 20_000 - taken));
    // The bank sends the refund back, but the dispute still has the money; when that is won the credits come again, and pay the debt first.
    shop.control(&format!("refunds/{}/fail", refund["id"].as_str().unwrap_or_default()), json!({})).await?;
    shop.idle().await?;
    ensure!((available(&ada).await?, debt(&ada).await?) == (0, 20_000 - taken));
    shop.control(&format!("disputes/{}/close", dispute["id"].as_str().unwrap_or_default()), json!({ "outcome": "won" })).await?;
    shop.idle().await?;
    ensure!((available(&ada).await?, debt(&ada).await?) == (left, 0));
    ada.check_books().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_spent_is_owed_and_paid_first_from_what_comes_next() -> Result<()> {
    let shop = Shop::open().await?;
    let system = shop.system(&[("KILN_SIGNUP_MILLICREDITS", "0"), ("KILN_ADMIN_KEY", "the-admin-key-of-this-test")]).await?;
    let ben = system.signed_in("ben@example.org").await?;
    let order = checkout(&ben, "starter").await?;
    let session = shop.pay(order["url"].as_str().context("url")?, "ok").await?;
    for _ in 0..3 {
        let job = ben.noop(1).await?;
        ben.ended(&job, SOON).await?;
    }
    // 17 credits are left of 20; one more is held by a job that runs.
    let running = ben.noop(60_000).await?;
    ben.in_state(&running, "running", SOON).await?;
    shop.post("refunds", &[("payment_intent", session["payment_intent"].as_str().context("payment")?)]).await?;
    shop.idle().await?;
    ensure!((available(&ben).await?, debt(&ben).await?) == (0, 4_000));
    // The release of a hold is an increase like any other.
    ben.post(&format!("/api/v1/jobs/{running}/cancel"), json!({})).await?.expect(200)?;
    ensure!((available(&ben).await?, debt(&ben).await?) == (0, 3_000));
    let me = ben.get("/api/v1/me").await?.expect(200)?;
    let grant = ben.request(Method::POST, &format!("/api/v1/admin/accounts/{}/grant", me["account"]["id"].as_str().unwrap_or_default()));
    let grant = grant.bearer_auth("the-admin-key-of-this-test").header("idempotency-key", "g1").json(&json!({ "millicredits": 5_000, "reason": "a gift" }));
    ben.send(grant).await?.expect(201)?;
    ensure!((available(&ben).await?, debt(&ben).await?) == (2_000, 0));
    ben.check_books().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_comes_before_its_purchase_waits_for_it() -> Result<()> {
    let shop = Shop::open().await?;
    let system = shop.system(&[("KILN_SIGNUP_MILLICREDITS", "0")]).await?;
    let cleo = system.signed_in("cleo@example.org").await?;
    let order = checkout(&cleo, "starter").await?;
    shop.control("deliveries/hold", json!({})).await?;
    let session = kiln_tests::shop::session_of(order["url"].as_str().context("url")?)?;
    let paid = shop.control(&format!("checkout/{session}/pay"), json!({ "card": "ok" })).await?;
    shop.post("refunds", &[("payment_intent", paid["payment_intent"].as_str().context("payment")?), ("amount", "2500")]).await?;
    shop.control("deliveries/release", json!({ "order": ["refund.created", "checkout.session.completed"], "rest": "release" })).await?;
    shop.idle().await?;
    // A quarter went back: 15 of 20 credits are left.
    ensure!(available(&cleo).await? == 15_000, "{}", available(&cleo).await?);
    ensure!((entries(&cleo, "purchase").await?, entries(&cleo, "refund").await?) == (1, 1));
    cleo.check_books().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_paid_or_not_what_was_asked_is_not_credited_and_is_kept() -> Result<()> {
    let shop = Shop::open().await?;
    let system = shop.system(&[("KILN_SIGNUP_MILLICREDITS", "0"), ("KILN_ADMIN_KEY", "the-admin-key-of-this-test")]).await?;
    let dora = system.signed_in("dora@example.org").await?;
    // A slow payment completes its checkout unpaid.
    let slow = checkout(&dora, "starter").await?;
    let url = slow["url"].as_str().context("url")?;
    shop.pay(url, "async").await?;
    ensure!(available(&dora).await? == 0);
    let session = kiln_tests::shop::session_of(url)?;
    shop.control(&format!("checkout/{session}/settle"), json!({ "outcome": "succeeded" })).await?;
    shop.idle().await?;
    ensure!(available(&dora).await? == 20_000);
    // A declined card changes nothing.
    let order = checkout(&dora, "starter").await?;
    shop.pay(order["url"].as_str().context("url")?, "declined").await.ok();
    ensure!(available(&dora).await? == 20_000);
    // Another amount than ours is recorded and not credited.
    let session = kiln_tests::shop::session_of(order["url"].as_str().context("url")?)?;
    shop.patch(&session, json!({ "amount_total": 1 })).await?;
    shop.control(&format!("checkout/{session}/pay"), json!({ "card": "ok" })).await?;
    shop.idle().await?;
    ensure!(available(&dora).await? == 20_000);
    let state = dora.get("/api/v1/credits/payments").await?.expect(200)?["items"][0]["state"].clone();
    let kept = dora.send(dora.request(Method::GET, "/api/v1/admin/payments/kept").bearer_auth("the-admin-key-of-this-test")).await?.expect(200)?;
    let why = kept["items"].as_array().into_iter().flatten().filter_map(|item| item["why"].as_str()).collect::<Vec<_>>().join("; ");
    ensure!(state == "mismatch" && why.contains("costs 10000 inr"), "{state} {why}");
    // Signed and unreadable: kept, and told so.
    shop.control("deliver", json!({ "body": "{\"id\":\"evt_odd\",\"object\":\"event\",\"type\":\"invoice.paid\"}" })).await?;
    shop.idle().await?;
    let kept = dora.send(dora.request(Method::GET, "/api/v1/admin/payments/kept").bearer_auth("the-admin-key-of-this-test")).await?.expect(200)?;
    ensure!(
        kept["items"].as_array().is_some_and(|items| items.iter().any(|item| item["why"].as_str().is_some_and(|why| why.contains("unreadable")))),
        "{kept}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_not_signed_or_is_old_is_refused() -> Result<()> {
    let shop = Shop::open().await?;
    let system = shop.system(&[]).await?;
    let client = system.client();
    let send = |signature: Option<&'static str>| {
        let mut request = client.request(Method::POST, "/api/v1/webhooks/stripe").header("content-type", "application/json").body("{}");
        if let Some(signature) = signature {
            request = request.header("stripe-signature", signature);
        }
        client.send(request)
    };
    send(None).await?.problem(400, "bad_signature", "Stripe-Signature")?;
    send(Some("t=1,v1=00")).await?.problem(400, "bad_signature", "Stripe-Signature")?;
    send(Some("nonsense")).await?.problem(400, "bad_signature", "Stripe-Signature")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_grants_each_period_goes_up_at_once_and_ends_when_told() -> Result<()> {
    let shop = Shop::open().await?;
    let system = shop.system(&[("KILN_SIGNUP_MILLICREDITS", "0")]).await?;
    let eve = system.signed_in("eve@example.org").await?;
    let order = eve.post("/api/v1/credits/subscribe", json!({ "plan": "maker" })).await?.expect(201)?;
    shop.pay(order["url"].as_str().context("url")?, "ok").await?;
    ensure!(available(&eve).await? == 120_000, "{}", available(&eve).await?);
    eve.post("/api/v1/credits/subscribe", json!({ "plan": "team" })).await?.problem(409, "plan_runs", "")?;
    let subscription = shop.api("subscriptions?limit=1").await?["data"][0]["id"].as_str().context("a subscription")?.to_owned();
    shop.control(&format!("subscriptions/{subscription}/renew"), json!({ "card": "ok" })).await?;
    shop.idle().await?;
    ensure!(available(&eve).await? == 240_000, "{}", available(&eve).await?);

    // Up: the difference is paid now, and its credits come in proportion.
    let change = |body: Value| eve.send(eve.request(Method::PATCH, "/api/v1/credits/subscription").json(&body));
    ensure!(change(json!({ "plan": "team" })).await?.expect(200)?["plan"] == "team");
    shop.idle().await?;
    let up = available(&eve).await?;
    ensure!((860_000..=870_000).contains(&up), "{up}");
    // Down again: nothing now, and the next period grants the smaller plan.
    ensure!(change(json!({ "plan": "maker" })).await?.expect(200)?["plan"] == "maker");
    shop.idle().await?;
    ensure!(available(&eve).await? == up);
    shop.control(&format!("subscriptions/{subscription}/renew"), json!({ "card": "ok" })).await?;
    shop.idle().await?;
    ensure!(available(&eve).await? == up + 120_000, "{} {}", up, available(&eve).await?);

    // A payment that fails grants nothing and says so.
    shop.control(&format!("subscriptions/{subscription}/renew"), json!({ "card": "declined" })).await?;
    shop.idle().await?;
    ensure!(available(&eve).await? == up + 120_000);
    shop.control(&format!("subscriptions/{subscription}/retry"), json!({ "card": "ok" })).await?;
    shop.idle().await?;
    ensure!(available(&eve).await? == up + 240_000);
    ensure!(change(json!({ "cancel": true })).await?.expect(200)?["ends_at_period_end"] == true);
    change(json!({ "plan": "gold" })).await?.problem(422, "bad_field", "plan")?;
    change(json!({})).await?.problem(422, "bad_field", "plan")?;
    let invoices = eve.get("/api/v1/invoices?limit=2").await?.expect(200)?;
    ensure!(invoices["items"].as_array().is_some_and(|items| items.len() == 2) && invoices["next_cursor"].is_string(), "{invoices}");
    ensure!(eve.post("/api/v1/credits/portal", json!({})).await?.expect(200)?["url"].as_str().is_some_and(|url| url.starts_with("http")));
    eve.check_books().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_names_the_field_that_is_wrong_and_the_same_key_makes_one_order() -> Result<()> {
    let shop = Shop::open().await?;
    let system = shop.system(&[]).await?;
    let fay = system.signed_in("fay@example.org").await?;
    let post = |body: Value| fay.post("/api/v1/credits/checkout", body);
    post(json!({ "pack": "gold" })).await?.problem(422, "bad_field", "pack")?;
    post(json!({ "pack": "starter", "currency": "gbp" })).await?.problem(422, "bad_field", "currency")?;
    post(json!({ "pack": "starter", "colour": 1 })).await?.problem(422, "bad_field", "colour")?;
    post(json!({})).await?.problem(422, "bad_field", "pack")?;
    fay.post("/api/v1/credits/subscribe", json!({ "plan": "gold" })).await?.problem(422, "bad_field", "plan")?;
    fay.send(fay.request(Method::PATCH, "/api/v1/credits/subscription").json(&json!({ "plan": "maker" }))).await?.problem(409, "no_plan", "")?;
    fay.get("/api/v1/invoices?cursor=x").await?.problem(422, "bad_field", "cursor")?;
    fay.get("/api/v1/invoices?limit=0").await?.problem(422, "bad_field", "limit")?;
    let client = system.client();
    client.post("/api/v1/credits/checkout", json!({ "pack": "starter" })).await?.problem(401, "signed_out", "")?;
    ensure!(client.get("/api/v1/credits/packs").await?.expect(200)?["items"].as_array().is_some_and(|items| items.len() == 3));

    let twice = (0..4).map(|_| fay.post_once("/api/v1/credits/checkout", json!({ "pack": "studio" }), "one"));
    let answers = futures_all(twice).await?;
    let orders: std::collections::BTreeSet<_> = answers.iter().map(|answer| answer.body["order_id"].to_string()).collect();
    ensure!(orders.len() == 1 && answers.iter().all(|answer| answer.status == 201), "{answers:?}");
    fay.post_once("/api/v1/credits/checkout", json!({ "pack": "agency" }), "one").await?.problem(422, "idempotency_key_reused", "Idempotency-Key")?;

    // While the service is silent, it is said so; asked again, the same order goes on.
    shop.control("faults", json!({ "kind": "error500", "times": 20, "path": "/v1/checkout/sessions" })).await?;
    fay.post_once("/api/v1/credits/checkout", json!({ "pack": "starter" }), "two").await?.problem(503, "payments_unavailable", "")?;
    shop.clear_faults().await?;
    fay.post_once("/api/v1/credits/checkout", json!({ "pack": "starter" }), "two").await?.expect(201)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_brought_an_account_is_credited_once_when_it_pays_and_endpoints_hear_of_it() -> Result<()> {
    let shop = Shop::open().await?;
    let system = shop.system(&[("KILN_WEBHOOK_ALLOW_LOOPBACK", "1")]).await?;
    let receiver = kiln_tests::Receiver::start().await?;
    let gil = system.signed_in("gil@example.org").await?;
    gil.post("/api/v1/webhook-endpoints", json!({ "url": receiver.url, "events": ["credits.*"] })).await?.expect(201)?;
    let code = gil.get("/api/v1/referrals").await?.expect(200)?["code"].as_str().context("code")?.to_owned();
    let hal = system.client();
    hal.post("/api/v1/auth/request-link", json!({ "email": "hal@example.org" })).await?.expect(202)?;
    let token = hal.mailed_token("hal@example.org", 0).await?;
    hal.post("/api/v1/auth/verify-link", json!({ "token": token, "referral": code })).await?.expect(200)?;
    let before = available(&gil).await?;
    for _ in 0..2 {
        let order = checkout(&hal, "starter").await?;
        shop.pay(order["url"].as_str().context("url")?, "ok").await?;
    }
    ensure!(available(&gil).await? == before + 5_000);
    let shown = gil.get("/api/v1/referrals").await?.expect(200)?;
    ensure!(shown["paid_accounts"] == 1 && shown["credited_millicredits"] == 5_000, "{shown}");
    let hooks = receiver.wait(1, SOON).await?;
    let told: Value = serde_json::from_str(&hooks[0].body)?;
    ensure!(told["type"] == "credits.referred" && told["data"]["amount_millicredits"] == 5_000, "{told}");
    // A code that is nobody's, or one's own, is no error and brings nothing.
    let ida = system.client();
    ida.post("/api/v1/auth/request-link", json!({ "email": "ida@example.org" })).await?.expect(202)?;
    let token = ida.mailed_token("ida@example.org", 0).await?;
    ida.post("/api/v1/auth/verify-link", json!({ "token": token, "referral": "nobody" })).await?.expect(200)?;
    gil.check_books().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sold_is_set_up_once_and_a_price_that_changed_is_replaced() -> Result<()> {
    let shop = Shop::open().await?;
    let folder = tempfile::tempdir()?;
    let (list, secret) = (folder.path().join("prices.toml"), folder.path().join("secret"));
    let setup = async |arguments: &[&str]| -> Result<(bool, String)> {
        let program = kiln_tests::system::binary("kiln-stripe-setup")?;
        let mut command = tokio::process::Command::new(program);
        command.env("STRIPE_SECRET_KEY", kiln_tests::shop::KEY).args(["--api-base", &shop.url]).args(arguments);
        let done = command.output().await?;
        Ok((done.status.success(), format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))))
    };
    let list_path = list.to_string_lossy().into_owned();
    let secret_path = secret.to_string_lossy().into_owned();
    std::fs::write(&list, kiln_core::prices::DEFAULT)?;
    let (ok, said) = setup(&["--prices", &list_path]).await?;
    ensure!(ok && said.contains("nothing was to do"), "{said}");
    // Another price: a new one with the old one's lookup key, and the old one is retired.
    std::fs::write(&list, kiln_core::prices::DEFAULT.replace("inr = 10_000, usd = 150", "inr = 9_000, usd = 150"))?;
    let (ok, said) = setup(&["--prices", &list_path]).await?;
    ensure!(ok && said.contains("made price kiln_pack_starter_inr: 9000") && said.contains("retired"), "{said}");
    let found = shop.api("prices?lookup_keys[]=kiln_pack_starter_inr&active=true").await?;
    ensure!(found["data"].as_array().is_some_and(|prices| prices.len() == 1 && prices[0]["unit_amount"] == 9_000), "{found}");
    let webhook = ["--webhook", "https://kiln.example.org", "--secret-file", &secret_path];
    let (ok, said) = setup(&webhook).await?;
    let kept = std::fs::read_to_string(&secret)?;
    ensure!(ok && kept.starts_with("whsec_") && !said.contains(kept.trim()), "{said}");
    std::fs::remove_file(&secret)?;
    let (ok, said) = setup(&webhook).await?;
    ensure!(ok && !said.contains("made webhook") && !secret.exists(), "{said}");
    let endpoints = shop.api("webhook_endpoints?limit=10").await?;
    let ours = endpoints["data"].as_array().into_iter().flatten().find(|endpoint| endpoint["url"] == "https://kiln.example.org/api/v1/webhooks/stripe");
    ensure!(ours.is_some_and(|endpoint| endpoint["api_version"] == kiln_pay::API_VERSION), "{endpoints}");
    // A list that could not be charged by is refused by its entry's name, and nothing is made.
    std::fs::write(&list, kiln_core::prices::DEFAULT.replace("inr = 10_000, usd = 150", "inr = -1"))?;
    let (ok, said) = setup(&["--prices", &list_path]).await?;
    ensure!(!ok && said.contains("packs.starter.prices.inr"), "{said}");
    Ok(())
}

async fn futures_all<T>(futures: impl Iterator<Item = impl std::future::Future<Output = Result<T>>>) -> Result<Vec<T>> {
    let mut all = Vec::new();
    let mut running: Vec<_> = futures.map(Box::pin).collect();
    while !running.is_empty() {
        let (done, rest) = wait_any(running).await;
        all.push(done?);
        running = rest;
    }
    Ok(all)
}

/// The first of some futures that is ready, and the others.
async fn wait_any<F: std::future::Future + Unpin>(mut running: Vec<F>) -> (F::Output, Vec<F>) {
    std::future::poll_fn(move |context| {
        for i in 0..running.len() {
            if let std::task::Poll::Ready(done) = std::pin::Pin::new(&mut running[i]).poll(context) {
                drop(running.swap_remove(i));
                return std::task::Poll::Ready((done, std::mem::take(&mut running)));
            }
        }
        std::task::Poll::Pending
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_pays_for_one_job_gets_its_link_and_is_refunded_when_it_fails() -> Result<()> {
    let shop = Shop::open().await?;
    let system = shop.system(&[]).await?;
    let guest = system.client();
    guest.post("/api/v1/studio/session", json!({})).await?.expect(201)?;
    let wanted = json!({ "kind": "noop", "params": { "ms": 1 } });
    let quote = guest.post("/api/v1/studio/quote", wanted.clone()).await?.expect(200)?;
    ensure!(quote["tier"] == "standard" && quote["amount"] == 200 && quote["currency"] == "usd", "{quote}");
    // Nothing starts before it is paid.
    guest.post("/api/v1/jobs", wanted.clone()).await?.problem(403, "guest_session", "")?;
    let mut paid = wanted.clone();
    paid["email"] = json!("gus@example.org");
    let order = guest.post("/api/v1/studio/checkout", paid.clone()).await?.expect(201)?;
    let token = order["result_url"].as_str().and_then(|url| url.rsplit('/').next()).context("a token")?.to_owned();
    let path = format!("/api/v1/studio/orders/{token}");
    let show = || guest.get(&path);
    ensure!(show().await?.expect(200)?["job"].is_null());
    let session = shop.pay(order["url"].as_str().context("url")?, "ok").await?;
    ensure!(session["amount_total"] == 200);
    let done = wait_for("the guest's result", SOON, || async { Ok(Some(show().await?.expect(200)?).filter(|order| order["settled"] == "delivered")) }).await?;
    ensure!(done["job"]["state"] == "succeeded" && done["job"]["artifacts"][0]["url"].is_string(), "{done}");
    let mails = guest.get("/local/mail?to=gus@example.org").await?.expect(200)?;
    ensure!(mails["items"][0]["text"].as_str().is_some_and(|text| text.contains(&token)), "{mails}");
    // A link that is one character off is nobody's.
    guest.get(&format!("/api/v1/studio/orders/{}x", &token[..token.len() - 1])).await?.problem(404, "not_found", "")?;

    // A job that fails for good gives its money back, once.
    guest.post("/api/v1/studio/session", json!({})).await?.expect(201)?;
    paid["params"] = json!({ "fail": "permanent" });
    let order = guest.post("/api/v1/studio/checkout", paid).await?.expect(201)?;
    let token = order["result_url"].as_str().and_then(|url| url.rsplit('/').next()).context("a token")?.to_owned();
    let session = shop.pay(order["url"].as_str().context("url")?, "ok").await?;
    let path = format!("/api/v1/studio/orders/{token}");
    let show = || guest.get(&path);
    wait_for("the guest's refund", SOON, || async { Ok(Some(show().await?.expect(200)?).filter(|order| order["settled"] == "refunded")) }).await?;
    shop.idle().await?;
    let refunds = shop.api(&format!("refunds?payment_intent={}", session["payment_intent"].as_str().unwrap_or_default())).await?;
    ensure!(refunds["data"].as_array().is_some_and(|refunds| refunds.len() == 1 && refunds[0]["amount"] == 200), "{refunds}");
    let guest = system.client();
    guest.post("/api/v1/studio/checkout", wanted).await?.problem(401, "signed_out", "")?;
    Ok(())
}
