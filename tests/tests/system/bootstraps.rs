//! Each function's own binary under the Lambda runtime API, on every file of `events/`: what is deployed is what is tested here.
//!
//! The resources are those of a running system, which says in `functions.json` what environment the template gives each function; the
//! binaries run beside it under our own [runtime API](kiln_tests::runtime_api). The events are played as one story, in which the
//! examples in them (cookies, tokens, ids, lengths) are replaced by what the answers before have made real.

use anyhow::{Context, Result, bail, ensure};
use kiln_core::time::{rfc3339, seconds};
use kiln_tests::system::{binary, root};
use kiln_tests::{Bootstrap, Client, Ended, Machine, Shop, System, picture};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SOON: Duration = Duration::from_secs(30);
const ADMIN_KEY: &str = "the-admin-key-of-this-test";
/// What stands in the events where a secret would.
const EXAMPLE: &str = "EXAMPLE-not-a-secret-EXAMPLE-not-a-secret-0";
const JOB: &str = "job_01KAJ3V9M2Q4R6T8W0Y2A4C6E8";
const UPLOAD: &str = "upl_01KAJ3TZC8E0G2J4M6P8R0T2V4";

/// What each file of `events/` leads to in the story: the status (0: its answer is not HTTP's), and what the answer says.
const EXPECTED: &[(&str, u16, &str)] = &[
    ("accounts-export", 200, r#""kind": "capture""#),
    ("accounts-invite-accept", 404, r#""code":"invite_invalid""#),
    ("accounts-invite-create", 201, r#""email":"grace@example.com""#),
    ("accounts-invite-delete", 204, ""),
    ("accounts-invites", 200, r#""role":"member""#),
    ("accounts-key-create", 201, r#""scopes":["jobs:read","jobs:write"]"#),
    ("accounts-key-delete", 204, ""),
    ("accounts-keys", 200, r#""last_used_at":null"#),
    ("accounts-me-delete", 202, r#""deleted_at":"#),
    ("accounts-member-change", 200, r#""role":"admin""#),
    ("accounts-member-delete", 204, ""),
    ("accounts-members", 200, r#""role":"owner""#),
    ("accounts-org", 200, r#""members":1"#),
    ("accounts-org-create", 201, r#""name":"Analytical Engines""#),
    ("accounts-org-delete", 202, r#""deleted_at":"#),
    ("accounts-org-rename", 200, r#""name":"Difference Engines""#),
    ("accounts-orgs", 200, r#""role":"owner""#),
    ("admin-account", 200, r#""available_millicredits":"#),
    ("admin-change", 200, r#""running":8"#),
    ("admin-find", 200, r#""email":"someone@example.com""#),
    ("admin-grant", 201, r#""entry_id":"led_"#),
    ("admin-kept", 200, r#""items":[]"#),
    ("auth-logout", 204, ""),
    ("auth-me", 200, r#""email":"someone@example.com""#),
    ("auth-me-change", 200, r#""theme":"dark""#),
    ("auth-me-confirm-email", 404, r#""code":"link_invalid""#),
    ("auth-request-link", 202, "{}"),
    ("auth-session-delete", 204, ""),
    ("auth-sessions", 200, r#""current":true"#),
    ("auth-verify-link", 200, r#""session_expires_at":"#),
    ("billing-checkout", 201, r#""millicredits":100000"#),
    ("billing-invoices", 200, r#""status":"paid""#),
    ("billing-payments", 200, r#""what":"pack:studio""#),
    ("billing-plan", 200, r#""subscription":null"#),
    ("billing-portal", 200, r#""url":"http"#),
    ("billing-subscribe", 201, r#""millicredits":120000"#),
    ("billing-subscription", 409, r#""code":"no_plan""#),
    ("credits-balance", 200, r#""available_millicredits":10000"#),
    ("credits-ledger", 200, r#""kind":"capture""#),
    ("deliveries-hints", 0, r#"{"batchItemFailures":[]}"#),
    ("deliveries-schedule", 0, r#""failed":0"#),
    ("credits-packs", 200, r#""id":"studio""#),
    ("credits-plans", 200, r#""interval":"month""#),
    ("credits-referrals", 200, r#""millicredits_each":5000"#),
    ("credits-usage", 200, r#""free":false"#),
    ("fleet-artifacts", 200, r#""name":"result.png""#),
    ("fleet-claim", 200, r#""attempt":1"#),
    ("fleet-complete", 200, r#""state":"succeeded""#),
    ("fleet-credentials", 200, r#""session_token":"#),
    ("fleet-fail", 200, r#""state":"queued""#),
    ("fleet-heartbeat", 200, r#""lease_s":60"#),
    ("fleet-register", 200, r#""token":"kin_ins_"#),
    ("jobs-cancel", 200, r#""state":"cancelled""#),
    ("jobs-creation-delete", 204, ""),
    ("jobs-creations", 200, r#""name":"result.png""#),
    ("jobs-get", 200, r#""charged_millicredits":1000"#),
    ("jobs-kinds", 200, r#""kind":"upscale""#),
    ("jobs-list", 200, r#""state":"queued""#),
    ("jobs-quote", 200, r#""quote_millicredits":1000"#),
    ("jobs-submit", 202, r#""state":"queued""#),
    ("maintenance-dlq", 0, r#"{"batchItemFailures":[]}"#),
    ("maintenance-schedule", 0, r#""failed":0"#),
    ("ops-audit", 200, r#""subject":"pool""#),
    ("ops-health", 200, r#""status":"ok""#),
    ("ops-metrics", 200, "# TYPE kiln_"),
    ("ops-openapi", 200, r#""openapi": "3.1"#),
    ("ops-pool", 200, r#""stage":"draining""#),
    ("ops-pool-events", 200, r#""items":[]"#),
    ("ops-pool-history", 200, r#""items":[]"#),
    ("ops-pool-lease", 404, r#""code":"not_found""#),
    ("ops-pool-machine", 201, r#""boot_token":"kib_ins_"#),
    ("ops-pool-prewarm", 200, r#""machines":0"#),
    ("ops-pool-release", 404, r#""code":"not_found""#),
    ("ops-pool-set", 200, r#""desired_size":1"#),
    ("ops-pool-terminate", 404, r#""code":"not_found""#),
    // First, because the others are errors until the topic is ours.
    ("ses-webhook-notification", 403, r#""code":"other_topic""#),
    ("ses-webhook-bounce", 0, r#""suppressed":1"#),
    ("ses-webhook-complaint", 0, r#""suppressed":1"#),
    ("settle-schedule", 0, r#"{"failed":0,"settled":0}"#),
    ("shares-create", 201, r#""url":"http"#),
    ("shares-delete", 204, ""),
    ("shares-list", 200, r#""id":"shr_"#),
    ("shares-open", 200, r#""kind":"upscale""#),
    ("stripe-webhook-event", 204, ""),
    ("studio-checkout", 201, r#""result_url":"http"#),
    ("studio-order", 200, r#""state":"open""#),
    ("studio-quote", 200, r#""amount":200"#),
    ("studio-session", 201, r#""expires_at":"#),
    ("uploads-complete", 200, r#""width":64"#),
    ("uploads-create", 201, r#""method":"PUT""#),
    ("uploads-delete", 204, ""),
    ("uploads-get", 200, r#""height":48"#),
    ("warm-pool-schedule", 0, r#""instances":1"#),
    ("warm-pool-wake", 0, r#""instances":1"#),
    ("webhooks-change", 200, r#""events":["job.succeeded"]"#),
    ("webhooks-create", 201, r#""secret":"whsec_"#),
    ("webhooks-delete", 204, ""),
    ("webhooks-deliveries", 200, r#""type":"webhook.test""#),
    ("webhooks-delivery", 200, r#""body":"{"#),
    ("webhooks-list", 200, r#""id":"whe_"#),
    ("webhooks-replay", 202, r#""state":"pending""#),
    ("webhooks-rotate", 200, r#""secret":"whsec_"#),
    ("webhooks-show", 200, r#""url":"https://hooks.example.com/kiln""#),
    ("webhooks-test", 202, r#""state":"pending""#),
];

#[tokio::test]
async fn every_event_is_answered_by_its_function_s_own_bootstrap() -> Result<()> {
    let machine = Machine::new()?;
    let quiet = [("KILN_TICK_S", "3600"), ("KILN_LEASE_S", "60"), ("KILN_HEARTBEAT_S", "15")];
    let quick = [("KILN_HINT_S", "1"), ("KILN_IDLE_SHUTDOWN_S", "1")];
    let ours = [("KILN_ADMIN_KEY", ADMIN_KEY), ("KILN_WORKER_BIN", machine.program.as_str())];
    // Nothing reaches the system from this shop: what it tells is carried to the bootstrap by hand.
    let shop = Shop::open().await?;
    let mut world = World::start(&[&quiet[..], &quick, &ours, &shop.env()].concat()).await?;
    world.each_file_and_each_source_has_the_other()?;

    let ada = signs_in(&mut world).await?;
    let noop = ada.noop(0).await?;
    world.learn(JOB, &noop);
    let boot_token = machine.boot_token().await?;
    maintenance_counts_hints_and_re_arms(&mut world, &ada, &noop).await?;
    a_worker_fails_a_job_and_its_owner_cancels_it(&mut world, &boot_token).await?;
    let picture = picture::png(64, 48);
    uploads_and_submits(&mut world, &ada, &picture).await?;
    buys(&mut world, &shop, &picture).await?;
    the_worker_delivers(&mut world, &ada, &picture).await?;
    shares_and_forgets(&mut world).await?;
    ensure!(ada.check_books().await? == (109_000, 0));
    webhooks_are_tried_though_nobody_is_there(&mut world, &ada).await?;
    the_pool_gives_the_idle_worker_back(&mut world, &ada).await?;
    operators_look(&mut world).await?;
    keys_and_organisations(&mut world).await?;
    mail_comes_back(&mut world).await?;
    signs_out(&mut world, &ada).await?;
    ends_the_account(&mut world, &ada).await?;

    let missing: Vec<_> = EXPECTED.iter().map(|(event, ..)| *event).filter(|event| !world.played.contains(*event)).collect();
    ensure!(missing.is_empty(), "not played: {missing:?}");
    for function in &world.functions {
        let good = |(event, status, _): &&(&str, u16, &str)| function.owns(event) && (*status == 0 || (200..300).contains(status));
        ensure!(EXPECTED.iter().any(|row| good(&row)), "{} was not seen to succeed", function.id);
    }
    Ok(())
}

async fn signs_in(world: &mut World) -> Result<Client> {
    let ada = world.system.client();
    world.play("auth-request-link").await?;
    let token = ada.mailed_token("someone@example.com", 0).await?;
    world.learn(&format!("\"token\":\"{EXAMPLE}\""), &format!("\"token\":\"{token}\""));
    let signed_in = world.play("auth-verify-link").await?;
    let cookie = signed_in.cookie()?;
    world.learn(&format!("kiln_session={EXAMPLE}"), &format!("kiln_session={cookie}"));
    world.learn("acc_01KAJ3TB5X7Z9B1D3F5H7K9M1P", signed_in.text("/account/id")?);
    ada.set_cookie(Some(cookie));
    world.play("auth-me").await?;
    world.play("auth-sessions").await?;
    world.play("credits-balance").await?;
    Ok(ada)
}

async fn maintenance_counts_hints_and_re_arms(world: &mut World, ada: &Client, job: &str) -> Result<()> {
    // The job's first hint is due after KILN_HINT_S.
    let begun = std::time::Instant::now();
    while world.play("maintenance-schedule").await?.body["hinted"] != 1 {
        ensure!(begun.elapsed() < SOON, "maintenance hints no job");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Its own schedule rests: that the queue is counted is this process's doing.
    ensure!(world.play("ops-health").await?.body["queue"]["queued"] == 1);
    let before = ada.show(job).await?["seq"].as_u64().context("seq")?;
    world.play("maintenance-dlq").await?;
    ensure!(ada.show(job).await?["seq"] == before + 1, "a dead letter left its job as it was");
    Ok(())
}

async fn a_worker_fails_a_job_and_its_owner_cancels_it(world: &mut World, boot_token: &str) -> Result<()> {
    ensure!(world.call("fleet-claim").await?.status == 401, "a stranger may not claim");
    world.learn(&format!("\"boot_token\":\"{EXAMPLE}\""), &format!("\"boot_token\":\"{boot_token}\""));
    let registered = world.play("fleet-register").await?;
    world.learn(&format!("Bearer {EXAMPLE}"), &format!("Bearer {}", registered.text("/token")?));
    world.play("fleet-credentials").await?;
    world.play("fleet-claim").await?;
    world.play("fleet-fail").await?;
    world.play("jobs-cancel").await?;
    ensure!(world.call("fleet-claim").await?.status == 409, "a cancelled job is not claimed");
    Ok(())
}

async fn uploads_and_submits(world: &mut World, ada: &Client, picture: &[u8]) -> Result<()> {
    let (bytes, sha256) = (format!("\"bytes\":{}", picture.len()), hex::encode(sha2::Sha256::digest(picture)));
    world.learn("image/jpeg", "image/png");
    for (length, hash) in [
        ("\"bytes\":482133", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
        ("\"bytes\":1893377", "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"),
    ] {
        world.learn(length, &bytes);
        world.learn(hash, &sha256);
    }
    let upload = world.play("uploads-create").await?;
    ensure!(ada.put_part(&upload.body, picture).await?.is_success());
    world.learn(UPLOAD, upload.text("/id")?);
    world.play("uploads-complete").await?;
    world.play("uploads-get").await?;
    world.play("jobs-kinds").await?;
    world.play("jobs-quote").await?;
    let job = world.play("jobs-submit").await?;
    ensure!(world.play("jobs-submit").await?.body == job.body, "the same key made another job");
    world.learn(JOB, job.text("/id")?);
    world.play("jobs-list").await?;
    Ok(())
}

async fn buys(world: &mut World, shop: &Shop, picture: &[u8]) -> Result<()> {
    world.play("credits-packs").await?;
    world.play("credits-plans").await?;
    let order = world.play("billing-checkout").await?;
    shop.pay(order.text("/url")?, "ok").await?;
    let told = shop.api("events?type=checkout.session.completed&limit=1").await?["data"][0].to_string();
    let example = read_event("stripe-webhook-event")?;
    let (body, signature) = (example["body"].as_str().context("body")?, example["headers"]["stripe-signature"].as_str().context("signature")?);
    ensure!(world.call("stripe-webhook-event").await?.status == 400, "an event that is not signed is taken");
    world.learn(body, &told);
    world.learn(signature, &kiln_tests::shop::signature(&told));
    world.play("stripe-webhook-event").await?;
    world.play("stripe-webhook-event").await?;
    for event in [
        "credits-usage",
        "credits-referrals",
        "billing-plan",
        "billing-payments",
        "billing-invoices",
        "billing-portal",
        "billing-subscription",
        "billing-subscribe",
    ] {
        world.play(event).await?;
    }
    let begun = world.play("studio-session").await?;
    let cookie = begun.cookie()?;
    world.learn("kiln_session=EXAMPLE-of-a-guest-not-a-secret-EXAMPLE-00", &format!("kiln_session={cookie}"));
    let guest = world.system.client();
    guest.set_cookie(Some(cookie));
    world.learn("upl_01KAJ3TZC8E0G2J4M6P8R0T2V5", &guest.upload("photo.png", "image/png", picture).await?);
    world.play("studio-quote").await?;
    let order = world.play("studio-checkout").await?;
    let token = order.text("/result_url")?.rsplit('/').next().context("a token")?.to_owned();
    world.learn("orders/EXAMPLE", &format!("orders/{token}"));
    world.play("studio-order").await?;
    world.play("settle-schedule").await?;
    Ok(())
}

async fn the_worker_delivers(world: &mut World, ada: &Client, picture: &[u8]) -> Result<()> {
    world.play("fleet-claim").await?;
    world.play("fleet-heartbeat").await?;
    let declared = world.play("fleet-artifacts").await?;
    let put = json!({ "parts": [declared.body["puts"][0]] });
    ensure!(ada.put_part(&put, picture).await?.is_success());
    world.play("fleet-complete").await?;
    ensure!(world.call("fleet-fail").await?.status == 409, "a finished job takes no report");
    let job = world.play("jobs-get").await?;
    ensure!(ada.download(&job.body["artifacts"][0]).await? == picture);
    world.play("credits-ledger").await?;
    world.play("jobs-creations").await?;
    Ok(())
}

async fn shares_and_forgets(world: &mut World) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    world.learn("2026-12-21T10:00:00Z", &rfc3339(i64::try_from(now)? + seconds(86_400)));
    let share = world.play("shares-create").await?;
    world.learn("shr_01KAJ40Q1S3V5X7Z9B1D3F5H7K", share.text("/id")?);
    // What is left of the examples are paths with the link's token.
    world.learn(EXAMPLE, share.text("/token")?);
    world.play("shares-list").await?;
    world.play("shares-open").await?;
    world.play("shares-delete").await?;
    ensure!(world.call("shares-open").await?.status == 404, "a deleted link shows nothing");
    world.play("jobs-creation-delete").await?;
    ensure!(world.call("uploads-delete").await?.status == 409, "a job has used the upload");
    world.learn("01KAJ3V9ENQ2T4W6Y8A0C2E4G6", "another-key");
    let unused = world.play("uploads-create").await?;
    world.learn(UPLOAD, unused.text("/id")?);
    world.play("uploads-delete").await?;
    ensure!(world.call("uploads-get").await?.status == 404, "a deleted upload is there");
    Ok(())
}

async fn webhooks_are_tried_though_nobody_is_there(world: &mut World, ada: &Client) -> Result<()> {
    let made = world.play("webhooks-create").await?;
    world.learn("whe_01KAJ41A2C4E6G8J0M2P4R6T8V", made.text("/id")?);
    for event in ["webhooks-list", "webhooks-show", "webhooks-change", "webhooks-rotate"] {
        world.play(event).await?;
    }
    let owed = world.play("webhooks-test").await?;
    world.learn("dlv_01KAJ41B3D5F7H9K1N3Q5S7T9W", owed.text("/id")?);
    world.play("deliveries-hints").await?;
    // Nobody answers at that name. Whoever tried first, this process or the system beside it, has written it down.
    kiln_tests::system::wait_for("the first try", SOON, || async {
        let shown = ada.get(&format!("/api/v1/deliveries/{}", owed.text("/id")?)).await?.expect(200)?;
        Ok(shown["tries"][0]["error"].is_string().then_some(()))
    })
    .await?;
    for event in ["webhooks-deliveries", "webhooks-delivery", "webhooks-replay", "deliveries-schedule"] {
        world.play(event).await?;
    }
    world.play("webhooks-delete").await?;
    ensure!(world.call("webhooks-show").await?.status == 404, "a deleted endpoint is there");
    Ok(())
}

async fn the_pool_gives_the_idle_worker_back(world: &mut World, ada: &Client) -> Result<()> {
    let token = world.known.iter().find_map(|(from, to)| from.starts_with("Bearer ").then(|| to.clone())).context("no worker")?;
    let idle = async || {
        let beat = ada.request(Method::POST, "/api/v1/fleet/heartbeat").header("authorization", &token).json(&json!({ "stage": "ready" }));
        ada.send(beat).await?.expect(200)
    };
    idle().await?;
    world.play("warm-pool-wake").await?;
    let begun = std::time::Instant::now();
    // As deployed it has no machine of its own to destroy: the worker hears by its heartbeat that it is to leave.
    loop {
        world.play("warm-pool-schedule").await?;
        if idle().await?["drain"] == true {
            break;
        }
        ensure!(begun.elapsed() < SOON, "the warm pool keeps an idle worker");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn mail_comes_back(world: &mut World) -> Result<()> {
    world.play("ses-webhook-notification").await?;
    let function = world.functions.iter().find(|function| function.owns("ses-webhook-bounce")).context("no function")?.clone();
    let other = world.event("ses-webhook-bounce")?.to_string();
    let refused = world.bootstrap(&function).await?.invoke(other).await?;
    ensure!(matches!(&refused, Ended::Error(error) if error["errorMessage"].as_str().unwrap_or("").contains("another topic")), "{refused:?}");
    let topic = function.topics.first().context("no topic")?;
    world.learn("arn:aws:sns:eu-central-1:123456789012:kiln-MailFeedbackTopic-EXAMPLE", topic);
    world.play("ses-webhook-bounce").await?;
    ensure!(world.call("ses-webhook-bounce").await?.body["known"] == 1, "what is delivered twice counts once");
    world.play("ses-webhook-complaint").await?;
    what_is_told_of_an_address_counts_in_any_order(world).await?;
    // Over HTTPS it would now be ours, but its example is from the past.
    let late = world.call("ses-webhook-notification").await?;
    ensure!(late.status == 403 && late.body["code"] == "stale_message", "{}", late.raw);
    Ok(())
}

/// A complaint outlives the bounces after it; a cleared address is stopped by what comes after the clearing alone; what can't be read is kept once.
async fn what_is_told_of_an_address_counts_in_any_order(world: &mut World) -> Result<()> {
    use aws_sdk_dynamodb::types::AttributeValue::{N, S};
    let table = crate::access::table_client(&world.system.stand_in()?).await;
    let key = S(format!("SUPPRESSED#{}", hex::encode(sha2::Sha256::digest("nobody@example.com"))));
    world.learn("someone.else@example.com", "nobody@example.com");
    ensure!(world.call("ses-webhook-complaint").await?.body["suppressed"] == 1, "a complaint says more than a bounce");
    ensure!(world.call("ses-webhook-bounce").await?.body["known"] == 1, "a bounce unsays a complaint");
    for (cleared_at, counts) in [("9000000000000", "known"), ("1", "suppressed")] {
        let clear = table.update_item().table_name("kiln-local-Table").key("pk", key.clone()).key("sk", S("SUPPRESSED".into()));
        let clear = clear.update_expression("SET cleared_at = :at").condition_expression("attribute_exists(pk)");
        clear.expression_attribute_values(":at", N(cleared_at.into())).send().await?;
        let told = world.call("ses-webhook-bounce").await?;
        ensure!(told.body[counts] == 1, "cleared at {cleared_at}: {}", told.raw);
    }
    world.learn(r#""bounceType":"Permanent","#, "");
    for _ in 0..2 {
        ensure!(world.call("ses-webhook-bounce").await?.body["kept"] == 1, "an unreadable message is lost");
    }
    let kept = table.query().table_name("kiln-local-Table").key_condition_expression("pk = :pk").expression_attribute_values(":pk", S("KEPT#ses".into()));
    let kept = kept.send().await?;
    ensure!(kept.count == 1 && kept.items()[0]["why"] == S("the bounce has no type".into()), "{kept:?}");
    Ok(())
}

async fn operators_look(world: &mut World) -> Result<()> {
    ensure!(world.call("ops-pool").await?.status == 401, "a worker is no operator");
    world.learn(&format!("Bearer {EXAMPLE}"), &format!("Bearer {ADMIN_KEY}"));
    for event in [
        "ops-pool",
        "ops-pool-set",
        "ops-pool-prewarm",
        "ops-pool-lease",
        "ops-pool-release",
        "ops-pool-terminate",
        "ops-pool-machine",
        "ops-pool-events",
        "ops-pool-history",
        "ops-audit",
        "ops-metrics",
        "ops-openapi",
        "admin-find",
        "admin-account",
        "admin-change",
        "admin-grant",
        "admin-kept",
    ] {
        world.play(event).await?;
    }
    Ok(())
}

async fn keys_and_organisations(world: &mut World) -> Result<()> {
    world.play("auth-me-change").await?;
    world.play("auth-me-confirm-email").await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    world.learn("2027-11-21T10:00:00Z", &rfc3339(i64::try_from(now)? + seconds(86_400)));
    let key = world.play("accounts-key-create").await?;
    ensure!(key.text("/key")?.starts_with("kiln_acc_"));
    let again = world.play("accounts-key-create").await?;
    ensure!(again.body["id"] == key.body["id"] && again.body["key"].is_null(), "a repeated answer has the secret, or made another key");
    world.play("accounts-keys").await?;
    world.learn("key_01KAJ3V2F9H1K3N5Q7S9V1X3Z5", key.text("/id")?);
    world.play("accounts-key-delete").await?;
    ensure!(world.call("accounts-key-delete").await?.status == 404, "a revoked key is there");
    let org = world.play("accounts-org-create").await?;
    world.learn("acc_01KAJ3V0D7F9H1K3M5P7R9T1V3", org.text("/id")?);
    for event in ["accounts-orgs", "accounts-org", "accounts-org-rename", "accounts-members"] {
        world.play(event).await?;
    }
    let invite = world.play("accounts-invite-create").await?;
    world.learn("inv_01KAJ3V3G0J2M4P6R8T0W2Y4A6", invite.text("/id")?);
    world.play("accounts-invites").await?;
    world.play("accounts-invite-delete").await?;
    world.play("accounts-invite-accept").await?;
    let (org, grace) = (org.text("/id")?.to_owned(), world.system.client());
    let me = grace.sign_in("grace@example.com").await?;
    let mails = grace.get("/local/mail?to=grace@example.com").await?.expect(200)?["items"].as_array().map_or(0, Vec::len);
    // The other key's body is the same, so that only the address is invited once more.
    world.learn("01KAJ3V9ENQ2T4W6Y8A0C2E4G9", "another-invite");
    world.play("accounts-invite-create").await?;
    let token = grace.mailed_token("grace@example.com", mails).await?;
    grace.post("/api/v1/invites/accept", json!({ "token": token })).await?.expect(200)?;
    world.learn("acc_01KAJ3V1E8G0J2M4P6R8T0V2X4", me["id"].as_str().context("id")?);
    world.play("accounts-member-change").await?;
    world.play("accounts-member-delete").await?;
    grace.get(&format!("/api/v1/orgs/{org}")).await?.problem(404, "not_found", "")?;
    world.play("accounts-org-delete").await?;
    ensure!(world.call("accounts-org").await?.status == 404, "a deleted organisation is there");
    world.play("accounts-export").await?;
    Ok(())
}

async fn ends_the_account(world: &mut World, ada: &Client) -> Result<()> {
    ada.sign_in("someone@example.com").await?;
    let cookie = ada.cookie().context("cookie")?;
    world.learn(&format!("kiln_session={EXAMPLE}"), &format!("kiln_session={cookie}"));
    world.play("accounts-me-delete").await?;
    ada.set_cookie(Some(cookie));
    ada.get("/api/v1/me").await?.problem(401, "signed_out", "")
}

async fn signs_out(world: &mut World, ada: &Client) -> Result<()> {
    let elsewhere = world.system.client();
    elsewhere.sign_in("someone@example.com").await?;
    let sessions = world.call("auth-sessions").await?;
    let other = sessions.body["items"].as_array().into_iter().flatten().find(|session| session["current"] == false);
    world.learn("ses_01KAJ3TQ6N8Q0S2V4X6Z8B0D2F", other.and_then(|session| session["id"].as_str()).context("no other session")?);
    world.play("auth-session-delete").await?;
    elsewhere.get("/api/v1/me").await?.problem(401, "signed_out", "")?;
    world.play("auth-logout").await?;
    ensure!(world.call("auth-me").await?.status == 401);
    ada.get("/api/v1/me").await?.problem(401, "signed_out", "")
}

#[tokio::test]
async fn what_is_no_event_ends_in_an_error_and_the_next_event_is_answered() -> Result<()> {
    let mut world = World::start(&[("KILN_POOL_MAX", "0")]).await?;
    for function in world.functions.clone() {
        let event = EXPECTED.iter().map(|(event, ..)| *event).find(|event| function.owns(event)).context("no event")?;
        let event = world.event(event)?;
        let bootstrap = world.bootstrap(&function).await?;
        for garbage in ["", "{\"version\": ", "\u{0}\u{1}"] {
            match bootstrap.invoke(garbage).await? {
                Ended::Error(error) => ensure!(error["errorMessage"].is_string(), "{error}"),
                other => bail!("{}: {garbage:?} ended in {other:?}", function.id),
            }
        }
        ensure!(matches!(bootstrap.invoke(event.to_string()).await?, Ended::Answer(_)), "{} answers nothing after an error", function.id);
    }
    Ok(())
}

#[tokio::test]
async fn a_function_that_lacks_a_variable_names_it_when_it_can_t_start() -> Result<()> {
    let world = World::start(&[("KILN_POOL_MAX", "0")]).await?;
    for function in &world.functions {
        for name in ["KILN_STAGE", "KILN_TABLE"] {
            let mut env = function.env.clone();
            ensure!(env.remove(name).is_some(), "{} has no {name}", function.id);
            let Ended::InitError(error) = Bootstrap::start(&binary(&function.binary)?, env).await?.failed_start().await? else {
                bail!("{} starts without {name}", function.id);
            };
            ensure!(error["errorMessage"] == format!("the environment variable {name} is not set"), "{error}");
        }
        let mut env = function.env.clone();
        env.insert("KILN_LEASE_S".into(), "soon".into());
        let ended = Bootstrap::start(&binary(&function.binary)?, env).await?.failed_start().await?;
        ensure!(matches!(&ended, Ended::InitError(error) if error["errorMessage"].as_str().unwrap_or("").contains("KILN_LEASE_S")), "{ended:?}");
    }
    // A price list that could not be charged by is refused as a whole, by the entry that is wrong.
    let folder = tempfile::tempdir()?;
    let list = folder.path().join("prices.toml");
    let function = world.functions.iter().find(|function| function.binary.contains("billing")).context("billing")?;
    for (text, words) in [
        ("", "the price list can't be read"),
        (&kiln_core::prices::DEFAULT.replace("inr = 10_000", "inr = 0"), "packs.starter.prices.inr"),
        (&kiln_core::prices::DEFAULT.replace("most_s = 30", "most_s = 30\nmostest_s = 1"), "kinds.noop_metered.mostest_s is no field"),
    ] {
        std::fs::write(&list, text)?;
        let mut env = function.env.clone();
        env.insert("KILN_PRICES_FILE".into(), list.to_string_lossy().into_owned());
        let ended = Bootstrap::start(&binary(&function.binary)?, env).await?.failed_start().await?;
        ensure!(matches!(&ended, Ended::InitError(error) if error["errorMessage"].as_str().unwrap_or("").contains(words)), "{words}: {ended:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_deployed_function_refuses_to_start_with_what_is_for_a_laptop() -> Result<()> {
    let world = World::start(&[("KILN_POOL_MAX", "0")]).await?;
    for function in &world.functions {
        for (stage, name) in [("production", "KILN_WEBHOOK_ALLOW_LOOPBACK"), ("staging", "KILN_WEBHOOK_ALLOW_LOOPBACK"), ("production", "KILN_DEMO")] {
            let mut env = function.env.clone();
            env.remove("KILN_TEST_ENGINES");
            env.extend([("KILN_STAGE".into(), stage.into()), (name.into(), "1".into())]);
            let ended = Bootstrap::start(&binary(&function.binary)?, env).await?.failed_start().await?;
            ensure!(matches!(&ended, Ended::InitError(error) if error["errorMessage"].as_str().unwrap_or("").contains(name)), "{}: {ended:?}", function.id);
        }
    }
    Ok(())
}

/// A function as the running system describes it.
#[derive(Debug, Clone)]
struct Function {
    id: String,
    binary: String,
    env: BTreeMap<String, String>,
    routes: BTreeSet<String>,
    schedules: usize,
    queues: BTreeSet<String>,
    topics: BTreeSet<String>,
}

impl Function {
    fn read(described: &Value) -> Result<Self> {
        let texts = |name: &str| described[name].as_array().into_iter().flatten().filter_map(|text| Some(text.as_str()?.to_owned())).collect();
        let mut env: BTreeMap<String, String> = serde_json::from_value(described["env"].clone())?;
        // Another stand-in than our own is asked with whatever credentials the tests run with.
        let given = |name: &str| std::env::var(name).ok().filter(|_| std::env::var_os("KILN_AWS_ENDPOINT").is_some());
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
            env.insert(name.into(), given(name).unwrap_or_else(|| "local".into()));
        }
        env.extend(given("AWS_SESSION_TOKEN").map(|token| ("AWS_SESSION_TOKEN".into(), token)));
        Ok(Self {
            id: described["id"].as_str().context("id")?.into(),
            binary: described["binary"].as_str().context("binary")?.into(),
            env,
            routes: texts("routes"),
            schedules: described["schedules"].as_array().map_or(0, Vec::len),
            queues: texts("queues"),
            topics: texts("topics"),
        })
    }

    /// Whether a file of `events/` is this function's, by its name.
    fn owns(&self, event: &str) -> bool {
        event.strip_prefix(self.binary.trim_start_matches("kiln-")).is_some_and(|rest| rest.starts_with('-'))
    }
}

/// What a function answered; the status is 0 where the answer is not HTTP's.
struct Answer {
    status: u16,
    raw: String,
    body: Value,
    cookies: Vec<String>,
}

impl Answer {
    /// The session that it begins.
    fn cookie(&self) -> Result<String> {
        let cookie = self.cookies.iter().find_map(|cookie| cookie.strip_prefix("kiln_session=")?.split(';').next());
        Ok(cookie.context("no session cookie")?.to_owned())
    }

    fn new(answer: Value) -> Result<Self> {
        let Some(status) = answer["statusCode"].as_u64() else {
            return Ok(Self { status: 0, raw: answer.to_string(), body: answer, cookies: vec![] });
        };
        ensure!(answer["isBase64Encoded"] != true, "a text came as Base64: {answer}");
        let raw = answer["body"].as_str().unwrap_or_default().to_owned();
        let cookies = answer["cookies"].as_array().into_iter().flatten().filter_map(|cookie| Some(cookie.as_str()?.to_owned())).collect();
        Ok(Self { status: u16::try_from(status)?, body: serde_json::from_str(&raw).unwrap_or_default(), raw, cookies })
    }

    fn text(&self, pointer: &str) -> Result<&str> {
        self.body.pointer(pointer).and_then(Value::as_str).with_context(|| format!("{pointer} of {}", self.raw))
    }
}

struct World {
    // Before the system, so that no function outlives what it speaks to.
    running: BTreeMap<String, Bootstrap>,
    system: System,
    functions: Vec<Function>,
    /// What the examples in the events really are, the longest first.
    known: Vec<(String, String)>,
    played: BTreeSet<String>,
}

impl World {
    async fn start(extra: &[(&str, &str)]) -> Result<Self> {
        let system = System::start(extra).await?;
        let described: Vec<Value> = serde_json::from_slice(&std::fs::read(system.data.join("functions.json"))?)?;
        let functions = described.iter().map(Function::read).collect::<Result<Vec<_>>>()?;
        let known = vec![("https://kiln.example.org".to_owned(), system.url.clone())];
        Ok(Self { running: BTreeMap::new(), system, functions, known, played: BTreeSet::new() })
    }

    /// From now on the events have `to` where their files have `from`.
    fn learn(&mut self, from: &str, to: &str) {
        self.known.retain(|(known, _)| known != from);
        self.known.push((from.to_owned(), to.to_owned()));
        self.known.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
    }

    fn event(&self, name: &str) -> Result<Value> {
        let mut event = read_event(name)?;
        self.make_real(&mut event);
        if let Some(length) = event["body"].as_str().map(str::len) {
            event["headers"]["content-length"] = json!(length.to_string());
        }
        Ok(event)
    }

    fn make_real(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.known.iter().fold(std::mem::take(text), |text, (from, to)| text.replace(from, to)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.make_real(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.make_real(field)),
            _ => {}
        }
    }

    async fn bootstrap(&mut self, function: &Function) -> Result<&mut Bootstrap> {
        if !self.running.contains_key(&function.id) {
            let started = Bootstrap::start(&binary(&function.binary)?, function.env.clone()).await?;
            self.running.insert(function.id.clone(), started);
        }
        self.running.get_mut(&function.id).context("it was started")
    }

    /// The event, as it is by now, to its function's process.
    async fn call(&mut self, name: &str) -> Result<Answer> {
        let event = self.event(name)?;
        let function = self.functions.iter().find(|function| function.owns(name)).with_context(|| format!("{name} is no function's"))?.clone();
        match self.bootstrap(&function).await?.invoke(event.to_string()).await.with_context(|| name.to_owned())? {
            Ended::Answer(answer) => Answer::new(answer),
            other => bail!("{name} ended in {other:?}"),
        }
    }

    /// The same, and the answer must be the expected one.
    async fn play(&mut self, name: &str) -> Result<Answer> {
        let (_, status, text) = EXPECTED.iter().find(|(event, ..)| *event == name).with_context(|| format!("{name} has no expectation"))?;
        let answer = self.call(name).await?;
        ensure!(answer.status == *status && answer.raw.contains(text), "{name}: {} {:.500}, where {status} {text} was expected", answer.status, answer.raw);
        println!("{name}: {} {:.100}", answer.status, answer.raw);
        self.played.insert(name.to_owned());
        Ok(answer)
    }

    /// Each file has an expectation and a source in the template that calls its function so; each source has a file.
    fn each_file_and_each_source_has_the_other(&self) -> Result<()> {
        let names = std::fs::read_dir(root().join("events"))?.map(|file| Ok(file?.file_name().to_string_lossy().trim_end_matches(".json").to_owned()));
        let names: BTreeSet<String> = names.collect::<Result<_>>()?;
        let expected: BTreeSet<String> = EXPECTED.iter().map(|(event, ..)| (*event).to_owned()).collect();
        ensure!(names == expected, "without file or expectation: {:?}", names.symmetric_difference(&expected).collect::<Vec<_>>());
        for function in &self.functions {
            let (mut routes, mut schedules, mut queues, mut heard) = (BTreeSet::new(), 0, BTreeSet::new(), false);
            for name in names.iter().filter(|name| function.owns(name)) {
                let event = read_event(name)?;
                if let Some(route) = event["routeKey"].as_str() {
                    routes.insert(route.to_owned());
                } else if let Some(arn) = event["Records"][0]["eventSourceARN"].as_str() {
                    queues.extend(function.queues.iter().filter(|queue| arn.contains(queue.as_str())).cloned());
                } else if event["Records"][0]["EventSource"] == "aws:sns" {
                    heard = true;
                } else if event["source"] == "aws.events" {
                    schedules += 1;
                }
            }
            let id = &function.id;
            ensure!(routes == function.routes, "{id}: without event or route: {:?}", routes.symmetric_difference(&function.routes).collect::<Vec<_>>());
            ensure!(queues == function.queues, "{id}: the queues {:?} have events for {queues:?}", function.queues);
            ensure!(heard != function.topics.is_empty(), "{id}: the topics {:?} have an event: {heard}", function.topics);
            ensure!(schedules == function.schedules, "{id}: {} schedules have {schedules} events", function.schedules);
        }
        Ok(())
    }
}

fn read_event(name: &str) -> Result<Value> {
    let path = root().join(format!("events/{name}.json"));
    serde_json::from_slice(&std::fs::read(&path).with_context(|| path.display().to_string())?).with_context(|| path.display().to_string())
}
