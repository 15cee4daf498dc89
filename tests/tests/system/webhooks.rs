//! Outbound webhooks against a real receiver: what arrives, signed; what is tried again and what isn't; what an owner can do,
//! and what somebody else can't.

use anyhow::{Context, Result, ensure};
use aws_sdk_dynamodb::types::AttributeValue;
use kiln_core::hooks::sign::{Secret, signatures};
use kiln_tests::system::wait_for;
use kiln_tests::{Client, Hook, Receiver, System, Verdict};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);
const ENDPOINTS: &str = "/api/v1/webhook-endpoints";
/// Loopback allowed, and the first wait between tries a millisecond: the fifth comes after 3.6 s and the eighth after 20 s.
const LOOPBACK: [(&str, &str); 2] = [("KILN_WEBHOOK_ALLOW_LOOPBACK", "1"), ("KILN_HOOK_RETRY_MS", "1")];

/// An endpoint and its secret.
async fn endpoint(client: &Client, url: &str, events: &[&str]) -> Result<(String, String)> {
    let made = client.post(ENDPOINTS, json!({ "url": url, "events": events })).await?.expect(201)?;
    Ok((made["id"].as_str().context("id")?.to_owned(), made["secret"].as_str().context("secret")?.to_owned()))
}

/// The newest delivery, once it is in this state.
async fn delivery(client: &Client, state: &str) -> Result<Value> {
    wait_for(&format!("a delivery to be {state}"), WITHIN, || async {
        let list = client.get("/api/v1/deliveries").await?.expect(200)?;
        Ok(Some(list["items"][0].clone()).filter(|newest| newest["state"] == state))
    })
    .await
}

/// That the message carries a signature of each of these secrets, in order, over its id, time and body.
fn check_signed(hook: &Hook, secrets: &[&str]) -> Result<()> {
    let (id, at) = (hook.header("webhook-id")?, hook.header("webhook-timestamp")?.parse::<i64>()?);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs() as i64;
    ensure!((now - 120..=now + 5).contains(&at), "{at} is not in seconds of now");
    let secrets: Vec<_> = secrets.iter().map(|text| Secret::parse(text).context("a secret")).collect::<Result<_>>()?;
    let expected = signatures(&secrets, id, at, &hook.body);
    ensure!(hook.header("webhook-signature")? == expected, "{:?} where {expected} was expected", hook.headers);
    Ok(())
}

async fn tested(client: &Client, endpoint: &str) -> Result<Value> {
    client.send(client.request(Method::POST, &format!("{ENDPOINTS}/{endpoint}/test"))).await?.expect(202)
}

#[tokio::test]
async fn a_job_s_start_and_success_arrive_signed_once_each() -> Result<()> {
    let system = System::start(&LOOPBACK).await?;
    let (ada, receiver) = (system.signed_in("ada@example.org").await?, Receiver::start().await?);
    let (endpoint_id, secret) = endpoint(&ada, &receiver.url, &["job.*"]).await?;
    let job = ada.noop(50).await?;
    ensure!(ada.ended(&job, WITHIN).await?["state"] == "succeeded");
    let mut hooks = receiver.wait(2, WITHIN).await?;
    // They may come in either order; their ids sort as things happened.
    hooks.sort_by_key(|hook| hook.header("webhook-id").unwrap_or_default().to_owned());
    for (hook, kind) in hooks.iter().zip(["job.started", "job.succeeded"]) {
        check_signed(hook, &[&secret])?;
        let body: Value = serde_json::from_str(&hook.body)?;
        ensure!(body["type"] == kind && body["data"]["id"] == job.as_str() && body["timestamp"].is_string(), "{body}");
        ensure!(hook.header("content-type")? == "application/json");
    }
    let last: Value = serde_json::from_str(&hooks[1].body)?;
    ensure!(last["data"]["charged_millicredits"] == 1000 && last["data"]["state"] == "succeeded", "{last}");
    let delivered = delivery(&ada, "delivered").await?;
    ensure!(delivered["id"] == hooks[1].header("webhook-id")? && delivered["endpoint_id"] == endpoint_id.as_str(), "{delivered}");
    ensure!(delivered["tries"].as_array().is_some_and(|tries| tries.len() == 1 && tries[0]["status"] == 200 && tries[0]["latency_ms"].is_u64()), "{delivered}");
    let shown = ada.get(&format!("/api/v1/deliveries/{}", delivered["id"].as_str().unwrap_or_default())).await?.expect(200)?;
    ensure!(shown["body"] == hooks[1].body.as_str(), "{shown}");
    ensure!(receiver.hooks().len() == 2, "more came than was owed");
    Ok(())
}

#[tokio::test]
async fn each_endpoint_gets_what_it_wants_and_an_account_without_one_writes_nothing() -> Result<()> {
    let system = System::start(&LOOPBACK).await?;
    let (ada, bob) = (system.signed_in("ada@example.org").await?, system.signed_in("bob@example.org").await?);
    let (first, second, bobs) = (Receiver::start().await?, Receiver::start().await?, Receiver::start().await?);
    endpoint(&ada, &first.url, &["job.cancelled"]).await?;
    endpoint(&ada, &second.url, &["job.succeeded", "job.cancelled", "credits.*"]).await?;
    let (off, _) = endpoint(&bob, &bobs.url, &["*"]).await?;
    ada.send(ada.request(Method::PATCH, &format!("{ENDPOINTS}/{off}")).json(&json!({ "enabled": false }))).await?.problem(404, "not_found", "")?;
    bob.send(bob.request(Method::PATCH, &format!("{ENDPOINTS}/{off}")).json(&json!({ "enabled": false }))).await?.expect(200)?;
    let (job, bobs_job) = (ada.noop(0).await?, bob.noop(0).await?);
    ada.ended(&job, WITHIN).await?;
    bob.ended(&bobs_job, WITHIN).await?;
    let long = ada.noop(600_000).await?;
    ada.post(&format!("/api/v1/jobs/{long}/cancel"), json!({})).await?.expect(200)?;
    second.wait(2, WITHIN).await?;
    first.wait(1, WITHIN).await?;
    let kinds = |receiver: &Receiver| -> Vec<String> {
        let bodies = receiver.hooks().into_iter().map(|hook| serde_json::from_str::<Value>(&hook.body).unwrap_or_default());
        // In no order: none is promised.
        let mut kinds: Vec<_> = bodies.map(|body| body["type"].as_str().unwrap_or_default().to_owned()).collect();
        kinds.sort();
        kinds
    };
    ensure!(kinds(&first) == ["job.cancelled"], "{:?}", kinds(&first));
    ensure!(kinds(&second) == ["job.cancelled", "job.succeeded"], "{:?}", kinds(&second));
    ensure!(kinds(&bobs).is_empty() && bob.all("/api/v1/deliveries").await?.is_empty());
    ensure!(ada.all("/api/v1/deliveries").await?.len() == 3);
    Ok(())
}

#[tokio::test]
async fn a_500_is_tried_again_under_the_same_id_until_a_200() -> Result<()> {
    let system = System::start(&LOOPBACK).await?;
    let (ada, receiver) = (system.signed_in("ada@example.org").await?, Receiver::start().await?);
    let (id, secret) = endpoint(&ada, &receiver.url, &["*"]).await?;
    receiver.answer(&[(500, &[]), (302, &[("location", "http://127.0.0.1:1/")]), (200, &[])]);
    tested(&ada, &id).await?;
    let delivered = delivery(&ada, "delivered").await?;
    let statuses: Vec<_> = delivered["tries"].as_array().into_iter().flatten().map(|tried| tried["status"].as_u64()).collect();
    ensure!(statuses == [Some(500), Some(302), Some(200)], "{delivered}");
    ensure!(delivered["tries"][0]["answer"] == "the answer", "{delivered}");
    let hooks = receiver.hooks();
    ensure!(hooks.len() == 3);
    for hook in &hooks {
        check_signed(hook, &[&secret])?;
        ensure!(hook.header("webhook-id")? == hooks[0].header("webhook-id")? && hook.body == hooks[0].body);
    }
    let shown = ada.get(&format!("{ENDPOINTS}/{id}")).await?.expect(200)?;
    ensure!(shown["failing_since"].is_null(), "a success forgives: {shown}");
    Ok(())
}

#[tokio::test]
async fn after_eight_tries_it_is_given_up_and_a_replay_begins_anew() -> Result<()> {
    let system = System::start(&LOOPBACK).await?;
    let (ada, receiver) = (system.signed_in("ada@example.org").await?, Receiver::start().await?);
    let (id, _) = endpoint(&ada, &receiver.url, &["*"]).await?;
    receiver.answer(&[(503, &[] as &[_]); 8]);
    let owed = tested(&ada, &id).await?;
    let failed = delivery(&ada, "failed").await?;
    ensure!(failed["tries"].as_array().map(Vec::len) == Some(8) && failed["reason"] == "tries_used_up" && failed["next_try_at"].is_null(), "{failed}");
    let failing = ada.get(&format!("{ENDPOINTS}/{id}")).await?.expect(200)?;
    ensure!(failing["failing_since"].is_string() && failing["enabled"] == true, "{failing}");

    let path = format!("/api/v1/deliveries/{}/replay", owed["id"].as_str().context("id")?);
    let once = || ada.send(ada.request(Method::POST, &path).header("idempotency-key", "again"));
    let replayed = once().await?.expect(202)?;
    ensure!(replayed["state"] == "pending", "{replayed}");
    let delivered = delivery(&ada, "delivered").await?;
    ensure!(delivered["id"] == owed["id"] && delivered["tries"].as_array().map(Vec::len) == Some(9), "{delivered}");
    let repeated = once().await?;
    ensure!(repeated.headers.get("idempotent-replayed").is_some() && repeated.expect(202)? == replayed);
    ensure!(receiver.hooks().len() == 9, "the same key replays once");
    // Without the key it is another replay, of what was delivered already.
    ada.send(ada.request(Method::POST, &path)).await?.expect(202)?;
    receiver.wait(10, WITHIN).await?;
    Ok(())
}

#[tokio::test]
async fn a_410_disables_the_endpoint_and_its_owner_is_told() -> Result<()> {
    let system = System::start(&LOOPBACK).await?;
    let (ada, receiver) = (system.signed_in("ada@example.org").await?, Receiver::start().await?);
    let (id, _) = endpoint(&ada, &receiver.url, &["job.*"]).await?;
    receiver.answer(&[(410, &[])]);
    tested(&ada, &id).await?;
    let failed = delivery(&ada, "failed").await?;
    ensure!(failed["reason"] == "endpoint_gone" && failed["tries"].as_array().map(Vec::len) == Some(1), "{failed}");
    let shown = ada.get(&format!("{ENDPOINTS}/{id}")).await?.expect(200)?;
    ensure!(shown["enabled"] == false && shown["disabled_because"] == "gone" && shown["disabled_at"].is_string(), "{shown}");
    told(&ada, "ada@example.org").await?;

    // Nothing more is written for it, and nothing sent.
    let job = ada.noop(0).await?;
    ada.ended(&job, WITHIN).await?;
    ensure!(ada.all("/api/v1/deliveries").await?.len() == 1 && receiver.hooks().len() == 1);
    let replay = format!("/api/v1/deliveries/{}/replay", failed["id"].as_str().context("id")?);
    ada.send(ada.request(Method::POST, &replay)).await?.problem(409, "endpoint_disabled", "")?;
    ada.send(ada.request(Method::POST, &format!("{ENDPOINTS}/{id}/test"))).await?.problem(409, "endpoint_disabled", "")?;
    let enabled = ada.send(ada.request(Method::PATCH, &format!("{ENDPOINTS}/{id}")).json(&json!({ "enabled": true }))).await?.expect(200)?;
    ensure!(enabled["enabled"] == true && enabled["disabled_because"].is_null(), "{enabled}");
    ada.send(ada.request(Method::POST, &replay)).await?.expect(202)?;
    receiver.wait(2, WITHIN).await?;
    Ok(())
}

/// The one mail about a disabled endpoint.
async fn told(client: &Client, email: &str) -> Result<()> {
    let mails = wait_for("the mail to the owner", WITHIN, || async {
        let mails = client.get(&format!("/local/mail?to={email}")).await?.expect(200)?;
        let about: Vec<Value> = mails["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|mail| mail["subject"].as_str().is_some_and(|s| s.contains("webhook endpoint")))
            .cloned()
            .collect();
        Ok(Some(about).filter(|about| !about.is_empty()))
    })
    .await?;
    ensure!(mails.len() == 1, "told {} times", mails.len());
    Ok(())
}

#[tokio::test]
async fn an_endpoint_that_only_fails_for_too_long_is_disabled_and_its_owner_is_told() -> Result<()> {
    let system = System::start(&[&LOOPBACK[..], &[("KILN_HOOK_DISABLE_S", "2")]].concat()).await?;
    let (ada, receiver) = (system.signed_in("ada@example.org").await?, Receiver::start().await?);
    let (id, _) = endpoint(&ada, &receiver.url, &["*"]).await?;
    receiver.answer(&[(500, &[] as &[_]); 20]);
    tested(&ada, &id).await?;
    wait_for("the endpoint to be disabled", WITHIN, || async {
        let shown = ada.get(&format!("{ENDPOINTS}/{id}")).await?.expect(200)?;
        Ok((shown["enabled"] == false && shown["disabled_because"] == "failing").then_some(()))
    })
    .await?;
    let failed = delivery(&ada, "failed").await?;
    ensure!(failed["reason"] == "endpoint_disabled" && failed["tries"].as_array().is_some_and(|tries| tries.len() < 8), "{failed}");
    told(&ada, "ada@example.org").await
}

#[tokio::test]
async fn a_429_with_retry_after_holds_everything_for_that_endpoint_back() -> Result<()> {
    let system = System::start(&LOOPBACK).await?;
    let (ada, receiver) = (system.signed_in("ada@example.org").await?, Receiver::start().await?);
    let (id, _) = endpoint(&ada, &receiver.url, &["*"]).await?;
    receiver.answer(&[(429, &[("retry-after", "3")])]);
    tested(&ada, &id).await?;
    let first = receiver.wait(1, WITHIN).await?.remove(0);
    wait_for("the try to be recorded", WITHIN, || async {
        let list = ada.get("/api/v1/deliveries").await?.expect(200)?;
        Ok((list["items"][0]["tries"][0]["status"] == 429).then_some(()))
    })
    .await?;
    // Another message for the same endpoint waits too, and that counts as no try.
    let second = tested(&ada, &id).await?;
    let hooks = receiver.wait(3, WITHIN).await?;
    for hook in &hooks[1..] {
        ensure!(hook.at.duration_since(first.at) >= Duration::from_millis(2900), "{:?} after the 429", hook.at.duration_since(first.at));
    }
    let shown = wait_for("the second to be delivered", WITHIN, || async {
        let shown = ada.get(&format!("/api/v1/deliveries/{}", second["id"].as_str().unwrap_or_default())).await?.expect(200)?;
        Ok((shown["state"] == "delivered").then_some(shown))
    })
    .await?;
    ensure!(shown["tries"].as_array().map(Vec::len) == Some(1), "{shown}");
    Ok(())
}

#[tokio::test]
async fn after_a_rotation_both_secrets_sign_and_a_second_one_ends_the_first() -> Result<()> {
    let system = System::start(&LOOPBACK).await?;
    let (ada, receiver) = (system.signed_in("ada@example.org").await?, Receiver::start().await?);
    let (id, first) = endpoint(&ada, &receiver.url, &["*"]).await?;
    let rotate = |key: &'static str| ada.send(ada.request(Method::POST, &format!("{ENDPOINTS}/{id}/rotate-secret")).header("idempotency-key", key));
    let rotated = rotate("r1").await?.expect(200)?;
    let second = rotated["secret"].as_str().context("secret")?;
    ensure!(second != first && rotated["old_secret_until"].is_string(), "{rotated}");
    tested(&ada, &id).await?;
    check_signed(&receiver.wait(1, WITHIN).await?[0], &[second, &first])?;
    let repeated = rotate("r1").await?.expect(200)?;
    ensure!(repeated.get("secret").is_none() && repeated["id"] == id.as_str(), "{repeated}");
    let third = rotate("r2").await?.expect(200)?;
    tested(&ada, &id).await?;
    check_signed(&receiver.wait(2, WITHIN).await?[1], &[third["secret"].as_str().context("secret")?, second])?;
    Ok(())
}

#[tokio::test]
async fn secrets_are_shown_once_and_kept_sealed() -> Result<()> {
    let system = System::start_watched(&LOOPBACK).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let wanted = json!({ "url": "http://127.0.0.1:9999/?token=in-the-url", "events": ["*"] });
    let made = ada.post_once(ENDPOINTS, wanted.clone(), "k").await?.expect(201)?;
    let secret = made["secret"].as_str().context("secret")?;
    ensure!(secret.starts_with("whsec_") && secret.len() == 50, "{secret}");
    let again = ada.post_once(ENDPOINTS, wanted.clone(), "k").await?.expect(201)?;
    ensure!(again["id"] == made["id"] && again.get("secret").is_none(), "{again}");
    ada.post_once(ENDPOINTS, json!({ "url": "http://127.0.0.1:9998/", "events": ["*"] }), "k").await?.problem(
        422,
        "idempotency_key_reused",
        "Idempotency-Key",
    )?;
    let id = made["id"].as_str().context("id")?;
    for shown in [ada.get(&format!("{ENDPOINTS}/{id}")).await?.expect(200)?, ada.get(ENDPOINTS).await?.expect(200)?] {
        ensure!(!shown.to_string().contains("whsec_"), "{shown}");
    }
    let written = system.faults.as_ref().context("watched")?.calls();
    let (bare, mut seen) = (&secret["whsec_".len()..], 0);
    for call in written.iter().filter(|call| call.name == "TransactWriteItems") {
        let body = String::from_utf8_lossy(&call.body);
        ensure!(!body.contains(bare) && !body.contains("whsec_"), "the secret was written as it is");
        seen += usize::from(body.contains("HOOK#"));
    }
    ensure!(seen > 0, "the endpoint's write was not seen");
    tested(&ada, id).await?;
    delivery(&ada, "pending").await?;
    for line in system.log().lines() {
        ensure!(!line.contains(bare) && !line.contains("in-the-url"), "{line}");
    }
    Ok(())
}

#[tokio::test]
async fn somebody_else_s_endpoints_and_deliveries_are_not_found() -> Result<()> {
    let system = System::start(&LOOPBACK).await?;
    let (ada, eve, receiver) = (system.signed_in("ada@example.org").await?, system.signed_in("eve@example.org").await?, Receiver::start().await?);
    let (id, _) = endpoint(&ada, &receiver.url, &["*"]).await?;
    let owed = tested(&ada, &id).await?;
    let owed = owed["id"].as_str().context("id")?;
    let nothing = ("whe_01KAJ41A2C4E6G8J0M2P4R6T8V", "dlv_01KAJ41B3D5F7H9K1N3Q5S7T9W");
    for (endpoint, delivery) in [(id.as_str(), owed), nothing, ("whe_1", "dlv_1"), (owed, id.as_str())] {
        let one = format!("{ENDPOINTS}/{endpoint}");
        eve.get(&one).await?.problem(404, "not_found", "")?;
        eve.delete(&one).await?.problem(404, "not_found", "")?;
        eve.send(eve.request(Method::PATCH, &one).json(&json!({ "enabled": false }))).await?.problem(404, "not_found", "")?;
        eve.post(&format!("{one}/test"), json!({})).await?.problem(404, "not_found", "")?;
        eve.post(&format!("{one}/rotate-secret"), json!({})).await?.problem(404, "not_found", "")?;
        eve.get(&format!("/api/v1/deliveries/{delivery}")).await?.problem(404, "not_found", "")?;
        eve.post(&format!("/api/v1/deliveries/{delivery}/replay"), json!({})).await?.problem(404, "not_found", "")?;
    }
    ensure!(eve.all(ENDPOINTS).await?.is_empty() && eve.all("/api/v1/deliveries").await?.is_empty());
    let out = system.client();
    for path in [ENDPOINTS, "/api/v1/deliveries"] {
        out.get(path).await?.problem(401, "signed_out", "")?;
    }
    delivery(&ada, "delivered").await?;
    Ok(())
}

#[tokio::test]
async fn bad_input_is_refused_by_its_field_and_inside_addresses_are_no_endpoints() -> Result<()> {
    // As deployed: no loopback.
    let system = System::start(&[]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let good = "https://hooks.example.com/kiln";
    for (url, events, field) in [
        (json!("http://hooks.example.com/"), json!(["*"]), "url"),
        (json!("http://127.0.0.1:9000/"), json!(["*"]), "url"),
        (json!("https://127.0.0.1/"), json!(["*"]), "url"),
        (json!("https://2130706433/"), json!(["*"]), "url"),
        (json!("https://0x7f.1/"), json!(["*"]), "url"),
        (json!("https://[::ffff:10.0.0.1]/"), json!(["*"]), "url"),
        (json!("https://169.254.169.254/latest/meta-data/"), json!(["*"]), "url"),
        (json!("https://localhost/"), json!(["*"]), "url"),
        (json!("https://me:secret@hooks.example.com/"), json!(["*"]), "url"),
        (json!("https://hooks.example.com:22/"), json!(["*"]), "url"),
        (json!(format!("https://hooks.example.com/{}", "a".repeat(2048))), json!(["*"]), "url"),
        (json!("not a url"), json!(["*"]), "url"),
        (json!(7), json!(["*"]), "url"),
        (json!(good), json!("*"), "events"),
        (json!(good), json!(["job.*", "nothing"]), "events[1]"),
        (json!(good), json!(["job.*", "job.*"]), "events[1]"),
        (json!(good), json!([7]), "events[0]"),
    ] {
        let answer = ada.post(ENDPOINTS, json!({ "url": url, "events": events })).await?;
        answer.problem(422, "bad_field", field).with_context(|| format!("{url} {events}"))?;
    }
    ada.post(ENDPOINTS, json!({ "url": good })).await?.problem(422, "bad_field", "events")?;
    ada.post(ENDPOINTS, json!({ "events": ["*"] })).await?.problem(422, "bad_field", "url")?;
    ada.post(ENDPOINTS, json!({ "url": good, "events": ["*"], "secret": "mine" })).await?.problem(422, "bad_field", "secret")?;
    ada.post_once(ENDPOINTS, json!({ "url": good, "events": ["*"] }), "two words").await?.problem(400, "bad_idempotency_key", "Idempotency-Key")?;
    let (id, _) = endpoint(&ada, good, &["*"]).await?;
    let change = |body: Value| ada.send(ada.request(Method::PATCH, &format!("{ENDPOINTS}/{id}")).json(&body));
    change(json!({ "url": "https://10.0.0.1/" })).await?.problem(422, "bad_field", "url")?;
    change(json!({ "events": ["nothing"] })).await?.problem(422, "bad_field", "events[0]")?;
    change(json!({ "enabled": "yes" })).await?.problem(422, "bad_field", "enabled")?;
    change(json!({ "id": "whe_1" })).await?.problem(422, "bad_field", "id")?;
    let changed = change(json!({ "url": "https://hooks.example.com/other", "events": ["job.failed"] })).await?.expect(200)?;
    ensure!(changed["url"] == "https://hooks.example.com/other" && changed["events"] == json!(["job.failed"]), "{changed}");
    for path in [ENDPOINTS, "/api/v1/deliveries"] {
        ada.get(&format!("{path}?limit=0")).await?.problem(422, "bad_field", "limit")?;
        ada.get(&format!("{path}?cursor=abc")).await?.problem(422, "bad_field", "cursor")?;
    }
    Ok(())
}

#[tokio::test]
async fn an_account_has_ten_endpoints_at_most_though_many_are_made_at_once() -> Result<()> {
    let system = System::start(&LOOPBACK).await?;
    let ada = system.signed_in("ada@example.org").await?;
    // Nine, and then three at once for the one place that is left.
    for n in 0..9 {
        endpoint(&ada, &format!("https://hooks.example.com/{n}"), &["*"]).await?;
    }
    let make = |n: u32| ada.post(ENDPOINTS, json!({ "url": format!("https://hooks.example.com/{n}"), "events": ["job.*"] }));
    let answers = [make(10), make(11), make(12)];
    let [a, b, c] = answers;
    let (a, b, c) = tokio::join!(a, b, c);
    let statuses: Vec<u16> = [a?, b?, c?].iter().map(|answer| answer.status.as_u16()).collect();
    ensure!(statuses.iter().filter(|status| **status == 201).count() == 1 && statuses.iter().filter(|status| **status == 409).count() == 2, "{statuses:?}");
    let all = ada.all(ENDPOINTS).await?;
    ensure!(all.len() == 10);
    make(13).await?.problem(409, "too_many_endpoints", "")?;
    ada.delete(&format!("{ENDPOINTS}/{}", all[0]["id"].as_str().unwrap_or_default())).await?.expect(204)?;
    make(14).await?.expect(201)?;
    Ok(())
}

/// The event is in the commit; the process dies before it can tell anybody.
#[tokio::test]
async fn the_api_killed_between_commit_and_send_loses_no_event() -> Result<()> {
    let mut system = System::start_watched(&LOOPBACK).await?;
    let (ada, receiver) = (system.signed_in("ada@example.org").await?, Receiver::start().await?);
    endpoint(&ada, &receiver.url, &["job.cancelled"]).await?;
    let job = ada.noop(600_000).await?;
    let pid = system.pid().unwrap_or(0) as i32;
    let killed = Arc::new(AtomicBool::new(false));
    let (faults, seen) = (system.faults.clone().context("watched")?, killed.clone());
    faults.rule(move |call| {
        if call.name == "SendMessage" && String::from_utf8_lossy(&call.body).contains("evt_") && !seen.swap(true, Ordering::SeqCst) {
            // SAFETY: kill(2) on the kiln-local that this test started.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            return Verdict::Swallow;
        }
        Verdict::Pass
    });
    ensure!(ada.post(&format!("/api/v1/jobs/{job}/cancel"), json!({})).await.is_err());
    system.kill().await?;
    ensure!(killed.load(Ordering::SeqCst) && receiver.hooks().is_empty());
    system.restart().await?;
    let hook = receiver.wait(1, WITHIN).await?.remove(0);
    ensure!(hook.body.contains(&job) && hook.body.contains("job.cancelled"), "{}", hook.body);
    let again = system.client();
    again.set_cookie(ada.cookie());
    delivery(&again, "delivered").await?;
    ensure!(receiver.hooks().len() == 1);
    Ok(())
}

/// The lease of a try runs out with its sender, and the next one sends it again under the same id.
#[tokio::test]
async fn a_sender_killed_in_the_middle_of_a_try_is_replaced() -> Result<()> {
    let mut system = System::start(&[&LOOPBACK[..], &[("KILN_HOOK_TIMEOUT_S", "2")]].concat()).await?;
    let (ada, receiver) = (system.signed_in("ada@example.org").await?, Receiver::start().await?);
    let (id, secret) = endpoint(&ada, &receiver.url, &["*"]).await?;
    receiver.hold(true);
    tested(&ada, &id).await?;
    let first = receiver.wait(1, WITHIN).await?.remove(0);
    system.kill().await?;
    receiver.hold(false);
    system.restart().await?;
    let again = system.client();
    again.set_cookie(ada.cookie());
    let delivered = delivery(&again, "delivered").await?;
    let hooks = receiver.hooks();
    ensure!(hooks.len() == 2 && delivered["tries"].as_array().map(Vec::len) == Some(1), "{} came, {delivered}", hooks.len());
    ensure!(hooks[1].header("webhook-id")? == first.header("webhook-id")? && hooks[1].body == first.body);
    check_signed(&hooks[1], &[&secret])
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_is_left_after_the_time_out() -> Result<()> {
    let system = System::start(&[&LOOPBACK[..], &[("KILN_HOOK_TIMEOUT_S", "1")]].concat()).await?;
    let (ada, receiver) = (system.signed_in("ada@example.org").await?, Receiver::start().await?);
    let (id, _) = endpoint(&ada, &receiver.url, &["*"]).await?;
    receiver.hold(true);
    tested(&ada, &id).await?;
    receiver.wait(1, WITHIN).await?;
    wait_for("the try to be recorded", WITHIN, || async {
        let list = ada.get("/api/v1/deliveries").await?.expect(200)?;
        Ok((list["items"][0]["tries"][0]["error"] == "timed_out").then_some(()))
    })
    .await?;
    receiver.hold(false);
    let delivered = delivery(&ada, "delivered").await?;
    let first = &delivered["tries"][0];
    ensure!(first["status"].is_null() && first["latency_ms"].as_u64().is_some_and(|ms| (1000..5000).contains(&ms)), "{delivered}");
    Ok(())
}

/// Every message to the sender is lost, every one is tripled: each event is delivered once.
#[tokio::test]
async fn hints_lost_or_tripled_deliver_each_event_once() -> Result<()> {
    let system = System::start_watched(&LOOPBACK).await?;
    let (ada, receiver) = (system.signed_in("ada@example.org").await?, Receiver::start().await?);
    endpoint(&ada, &receiver.url, &["job.succeeded"]).await?;
    let faults = system.faults.clone().context("watched")?;
    let about_hooks = |body: &[u8]| ["evt_", "dlv_"].iter().any(|id| String::from_utf8_lossy(body).contains(id));
    for (n, verdict) in [Verdict::Swallow, Verdict::Triple].into_iter().enumerate() {
        faults.rule(move |call| if call.name == "SendMessage" && about_hooks(&call.body) { verdict } else { Verdict::Pass });
        for _ in 0..3 {
            ada.noop(0).await?;
        }
        receiver.wait(3 * (n + 1), WITHIN).await?;
        wait_for("all to be delivered", WITHIN, || async {
            let all = ada.all("/api/v1/deliveries").await?;
            Ok((all.len() == 3 * (n + 1) && all.iter().all(|delivery| delivery["state"] == "delivered")).then_some(()))
        })
        .await?;
    }
    let mut ids: Vec<String> = receiver.hooks().iter().map(|hook| hook.header("webhook-id").map(str::to_owned)).collect::<Result<_>>()?;
    ids.sort();
    ids.dedup();
    ensure!(ids.len() == 6 && receiver.hooks().len() == 6, "{} messages of {} ids", receiver.hooks().len(), ids.len());
    Ok(())
}

#[tokio::test]
async fn who_is_suspended_or_has_sent_an_hour_s_worth_by_hand_sends_nothing_more() -> Result<()> {
    let system = System::start(&[LOOPBACK[0], ("KILN_ADMIN_KEY", "the-admin-key-of-this-test")]).await?;
    let (ada, receiver) = (system.signed_in("ada@example.org").await?, Receiver::start().await?);
    let (id, _) = endpoint(&ada, &receiver.url, &["batch.*"]).await?;
    let sent = ada.post(&format!("{ENDPOINTS}/{id}/test"), json!({})).await?;
    ensure!(sent.status == 202 && sent.headers["ratelimit-policy"].to_str()?.contains("creates"), "{sent:?}");
    let done = delivery(&ada, "delivered").await?["id"].as_str().context("id")?.to_owned();
    let (test, rotate, replay) = (format!("{ENDPOINTS}/{id}/test"), format!("{ENDPOINTS}/{id}/rotate-secret"), format!("/api/v1/deliveries/{done}/replay"));
    let account = ada.get("/api/v1/me").await?.expect(200)?["account"]["id"].as_str().context("id")?.to_owned();
    let suspend = async |yes: bool| {
        let change = ada.request(Method::PATCH, &format!("/api/v1/admin/accounts/{account}")).bearer_auth("the-admin-key-of-this-test");
        ada.send(change.json(&json!({ "suspended": yes }))).await?.expect(200)
    };

    suspend(true).await?;
    for path in [&test, &rotate, &replay] {
        ada.post(path, json!({})).await?.problem(403, "account_suspended", "")?;
    }
    suspend(false).await?;
    // The hour is full, as the account's item says; an hour's worth takes a minute to send.
    let client = super::access::table_client(&system.stand_in()?).await;
    let key = |name: &str, text: String| (name.to_owned(), AttributeValue::S(text));
    let item = std::collections::HashMap::from([key("pk", format!("ACC#{account}")), key("sk", "ACCOUNT".into())]);
    let full = client.update_item().table_name("kiln-local-Table").set_key(Some(item)).update_expression("SET hand_sent = :full");
    let full = full.condition_expression("hand_sent = :one").expression_attribute_values(":one", AttributeValue::N("1".into()));
    full.expression_attribute_values(":full", AttributeValue::N("60".into())).send().await?;
    for path in [&test, &replay] {
        let refused = ada.post(path, json!({})).await?;
        ensure!(refused.headers.get("retry-after").is_some(), "{refused:?}");
        refused.problem(429, "too_many_by_hand", "")?;
    }
    ada.post(&rotate, json!({})).await?.expect(200)?;
    ensure!(receiver.hooks().len() == 1, "{:?}", receiver.hooks());
    Ok(())
}
