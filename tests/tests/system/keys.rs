//! API keys: what each scope opens and nothing else, the one answer to keys that are none, revoking, expiry, and that a key makes no key.

use anyhow::{Context, Result, ensure};
use kiln_core::time::rfc3339;
use kiln_tests::client::Answer;
use kiln_tests::system::wait_for;
use kiln_tests::{Client, System, picture};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const QUIET: [(&str, &str); 1] = [("KILN_POOL_MAX", "0")];

async fn key(client: &Client, scopes: &[&str]) -> Result<(String, String)> {
    let made = client.post("/api/v1/api-keys", json!({ "name": "of a test", "scopes": scopes })).await?.expect(201)?;
    Ok((made["id"].as_str().context("id")?.to_owned(), made["key"].as_str().context("key")?.to_owned()))
}

/// One call with a key and without a cookie.
async fn with(system: &System, key: &str, method: Method, path: &str, body: Option<Value>) -> Result<Answer> {
    let client = system.client();
    let request = client.request(method, path).bearer_auth(key);
    client
        .send(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
}

#[tokio::test]
async fn a_key_opens_what_its_scopes_name_and_the_refusal_names_the_one_it_lacks() -> Result<()> {
    let system = System::start(&QUIET).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let upload = ada.upload("photo.png", "image/png", &picture::png(8, 8)).await?;
    let job = ada.noop(0).await?;
    let wanted = json!({ "kind": "noop" });
    let nobody = "00000000000000000000000000";
    let calls: [(&str, Method, String, Option<Value>, u16); 25] = [
        ("jobs:read", Method::GET, "/api/v1/jobs".into(), None, 200),
        ("jobs:read", Method::GET, format!("/api/v1/jobs/{job}"), None, 200),
        ("jobs:read", Method::GET, "/api/v1/creations".into(), None, 200),
        ("jobs:write", Method::POST, "/api/v1/jobs/quote".into(), Some(wanted.clone()), 200),
        ("jobs:write", Method::POST, "/api/v1/jobs".into(), Some(wanted), 202),
        ("jobs:write", Method::POST, format!("/api/v1/jobs/{job}/cancel"), None, 200),
        ("jobs:write", Method::DELETE, format!("/api/v1/creations/job_{nobody}"), None, 404),
        ("uploads:write", Method::POST, "/api/v1/uploads".into(), Some(json!({ "filename": "a.png", "content_type": "image/png", "bytes": 9 })), 201),
        ("uploads:write", Method::POST, format!("/api/v1/uploads/{upload}/complete"), None, 200),
        ("uploads:write", Method::GET, format!("/api/v1/uploads/{upload}"), None, 200),
        ("uploads:write", Method::DELETE, format!("/api/v1/uploads/upl_{nobody}"), None, 404),
        ("credits:read", Method::GET, "/api/v1/credits".into(), None, 200),
        ("credits:read", Method::GET, "/api/v1/credits/ledger".into(), None, 200),
        ("credits:read", Method::GET, "/api/v1/credits/payments".into(), None, 200),
        ("credits:read", Method::GET, "/api/v1/credits/subscription".into(), None, 200),
        ("credits:read", Method::GET, "/api/v1/usage".into(), None, 200),
        ("credits:read", Method::GET, "/api/v1/referrals".into(), None, 200),
        ("credits:read", Method::GET, "/api/v1/invoices".into(), None, 200),
        ("webhooks:write", Method::GET, "/api/v1/webhook-endpoints".into(), None, 200),
        ("webhooks:write", Method::POST, "/api/v1/webhook-endpoints".into(), Some(json!({ "url": "https://example.com/kiln", "events": ["job.*"] })), 201),
        ("webhooks:write", Method::DELETE, format!("/api/v1/webhook-endpoints/whe_{nobody}"), None, 404),
        ("webhooks:write", Method::GET, "/api/v1/deliveries".into(), None, 200),
        ("webhooks:write", Method::POST, format!("/api/v1/deliveries/dlv_{nobody}/replay"), None, 404),
        ("shares:write", Method::GET, "/api/v1/shares".into(), None, 200),
        ("shares:write", Method::DELETE, format!("/api/v1/shares/shr_{nobody}"), None, 404),
    ];
    let all = ["jobs:read", "jobs:write", "uploads:write", "credits:read", "shares:write", "webhooks:write"];
    for scope in all {
        let others: Vec<&str> = all.into_iter().filter(|other| *other != scope).collect();
        let ((_, right), (_, wrong)) = (key(&ada, &[scope]).await?, key(&ada, &others).await?);
        for (_, method, path, body, status) in calls.iter().filter(|call| call.0 == scope) {
            let refused = with(&system, &wrong, method.clone(), path, body.clone()).await?;
            refused.problem(403, "scope_missing", "").with_context(|| path.clone())?;
            ensure!(refused.body["detail"].as_str().is_some_and(|detail| detail.contains(scope)), "{}", refused.body);
            let answer = with(&system, &right, method.clone(), path, body.clone()).await?;
            ensure!(answer.status == *status, "{method} {path}: {} {}", answer.status, answer.body);
        }
    }
    Ok(())
}

#[tokio::test]
async fn no_scope_opens_what_is_a_person_s() -> Result<()> {
    let system = System::start(&QUIET).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let (id, all) = key(&ada, &["jobs:read", "jobs:write", "uploads:write", "credits:read", "shares:write", "webhooks:write"]).await?;
    let org = "acc_00000000000000000000000000";
    let paths = [
        (Method::GET, "/api/v1/me".to_owned()),
        (Method::PATCH, "/api/v1/me".into()),
        (Method::DELETE, "/api/v1/me".into()),
        (Method::GET, "/api/v1/me/export".into()),
        (Method::POST, "/api/v1/me/confirm-email".into()),
        (Method::GET, "/api/v1/sessions".into()),
        (Method::GET, "/api/v1/api-keys".into()),
        (Method::POST, "/api/v1/api-keys".into()),
        (Method::DELETE, format!("/api/v1/api-keys/{id}")),
        (Method::GET, "/api/v1/orgs".into()),
        (Method::POST, "/api/v1/orgs".into()),
        (Method::GET, format!("/api/v1/orgs/{org}")),
        (Method::GET, format!("/api/v1/orgs/{org}/members")),
        (Method::POST, format!("/api/v1/orgs/{org}/invites")),
        (Method::POST, "/api/v1/invites/accept".into()),
        (Method::POST, "/api/v1/credits/checkout".into()),
        (Method::POST, "/api/v1/credits/subscribe".into()),
        (Method::PATCH, "/api/v1/credits/subscription".into()),
        (Method::POST, "/api/v1/credits/portal".into()),
    ];
    for (method, path) in paths {
        with(&system, &all, method, &path, Some(json!({}))).await?.problem(403, "session_needed", "").with_context(|| path)?;
    }
    ada.get("/api/v1/me").await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn revoked_expired_and_made_up_keys_answer_the_same_401_at_once() -> Result<()> {
    let system = System::start(&QUIET).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let (id, revoked) = key(&ada, &["jobs:read"]).await?;
    with(&system, &revoked, Method::GET, "/api/v1/jobs", None).await?.expect(200)?;
    ada.delete(&format!("/api/v1/api-keys/{id}")).await?.expect(204)?;
    let first = with(&system, &revoked, Method::GET, "/api/v1/jobs", None).await?;
    first.problem(401, "key_invalid", "")?;
    let soon = SystemTime::now().duration_since(UNIX_EPOCH)? + Duration::from_secs(2);
    let body = json!({ "name": "short", "scopes": ["jobs:read"], "expires_at": rfc3339(i64::try_from(soon.as_millis())?) });
    let expiring = ada.post("/api/v1/api-keys", body).await?.expect(201)?;
    let expiring = expiring["key"].as_str().context("key")?;
    with(&system, expiring, Method::GET, "/api/v1/jobs", None).await?.expect(200)?;
    let expired = wait_for("the key to expire", Duration::from_secs(20), || async {
        let answer = with(&system, expiring, Method::GET, "/api/v1/jobs", None).await?;
        Ok((answer.status == 401).then_some(answer))
    })
    .await?;
    ensure!(expired.body == first.body, "{} and {}", expired.body, first.body);
    let (_, good) = key(&ada, &["jobs:read"]).await?;
    let account = ada.get("/api/v1/me").await?.expect(200)?["account"]["id"].as_str().context("id")?.to_owned();
    let last = if good.ends_with('A') { "B" } else { "A" };
    let nobody = "00000000000000000000000000";
    for bad in [
        format!("{}{last}", &good[..good.len() - 1]),
        format!("kiln_{account}.key_{nobody}.secret"),
        format!("kiln_acc_{nobody}.key_{nobody}.secret"),
        good.replace("kiln_", "kin_"),
        good.trim_start_matches("kiln_").to_owned(),
        "kiln_..".into(),
        "guess".into(),
    ] {
        let answer = with(&system, &bad, Method::GET, "/api/v1/jobs", None).await?;
        ensure!(answer.status == 401 && answer.body == first.body, "{bad}: {}", answer.body);
        with(&system, &bad, Method::POST, "/api/v1/jobs", Some(json!({ "kind": "noop" }))).await?.problem(401, "key_invalid", "")?;
    }
    // A key wins over a cookie, whichever of them is good.
    ada.send(ada.request(Method::GET, "/api/v1/jobs").bearer_auth("kiln_no")).await?.problem(401, "key_invalid", "")?;
    // No rule against other sites' pages: no browser sends a key by itself.
    let eve = system.client();
    let from_a_page = eve.request(Method::GET, "/api/v1/jobs").bearer_auth(&good).header("origin", "https://other.example");
    eve.send(from_a_page).await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn a_key_s_secret_is_shown_once_and_its_use_is_told() -> Result<()> {
    let system = System::start(&QUIET).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let body = json!({ "name": "nightly", "scopes": ["credits:read", "jobs:write"] });
    let first = ada.post_once("/api/v1/api-keys", body.clone(), "k1").await?.expect(201)?;
    let again = ada.post_once("/api/v1/api-keys", body.clone(), "k1").await?;
    ensure!(again.headers.get("idempotent-replayed").is_some() && again.body["id"] == first["id"] && again.body["key"].is_null(), "{}", again.body);
    ada.post_once("/api/v1/api-keys", json!({ "name": "other", "scopes": ["jobs:read"] }), "k1").await?.problem(
        422,
        "idempotency_key_reused",
        "Idempotency-Key",
    )?;
    let both = tokio::join!(ada.post_once("/api/v1/api-keys", body.clone(), "k2"), ada.post_once("/api/v1/api-keys", body, "k2"));
    ensure!(both.0?.expect(201)?["id"] == both.1?.expect(201)?["id"], "one key of idempotency, two API keys");
    let listed = ada.get("/api/v1/api-keys").await?.expect(200)?;
    let items = listed["items"].as_array().context("items")?;
    ensure!(items.len() == 2 && items.iter().all(|item| item["last_used_at"].is_null() && item.get("key").is_none()), "{listed}");
    let secret = first["key"].as_str().context("key")?;
    let random = secret.rsplit('.').next().unwrap_or(secret);
    for item in super::stored::items(&system.stand_in()?).await? {
        ensure!(!format!("{item:?}").contains(random), "the secret is stored");
    }
    with(&system, secret, Method::GET, "/api/v1/credits", None).await?.expect(200)?;
    with(&system, secret, Method::POST, "/api/v1/jobs", Some(json!({ "kind": "noop" }))).await?.expect(202)?;
    let listed = ada.get("/api/v1/api-keys").await?.expect(200)?;
    let used: Vec<_> = listed["items"].as_array().into_iter().flatten().filter(|item| item["last_used_at"].is_string()).collect();
    ensure!(used.len() == 1 && used[0]["id"] == first["id"], "{listed}");
    ensure!(!system.log().lines().iter().any(|line| line.contains(random)), "the secret is in the log");
    Ok(())
}

#[tokio::test]
async fn a_bad_key_is_refused_by_its_field_and_there_are_twenty_five_at_most() -> Result<()> {
    let system = System::start(&QUIET).await?;
    let (ada, eve) = (system.signed_in("ada@example.org").await?, system.signed_in("eve@example.org").await?);
    for (body, field) in [
        (json!({ "scopes": ["jobs:read"] }), "name"),
        (json!({ "name": "", "scopes": ["jobs:read"] }), "name"),
        (json!({ "name": "a\u{7}b", "scopes": ["jobs:read"] }), "name"),
        (json!({ "name": "a".repeat(81), "scopes": ["jobs:read"] }), "name"),
        (json!({ "name": "a" }), "scopes"),
        (json!({ "name": "a", "scopes": [] }), "scopes"),
        (json!({ "name": "a", "scopes": ["jobs:read", "everything"] }), "scopes[1]"),
        (json!({ "name": "a", "scopes": ["jobs:read", "jobs:read"] }), "scopes[1]"),
        (json!({ "name": "a", "scopes": ["jobs:read"], "expires_at": "2020-01-01T00:00:00Z" }), "expires_at"),
        (json!({ "name": "a", "scopes": ["jobs:read"], "expires_at": "tomorrow" }), "expires_at"),
        (json!({ "name": "a", "scopes": ["jobs:read"], "admin": true }), "admin"),
    ] {
        ada.post("/api/v1/api-keys", body.clone()).await?.problem(422, "bad_field", field).with_context(|| body.to_string())?;
    }
    let mut last = String::new();
    for _ in 0..24 {
        last = key(&ada, &["jobs:read"]).await?.0;
    }
    // The last place is taken once, by however many at once.
    let body = || json!({ "name": "one more", "scopes": ["jobs:read"] });
    let made = futures(&ada, body()).await?;
    ensure!(made.iter().filter(|status| **status == 201).count() == 1 && made.iter().all(|status| [201, 409].contains(status)), "{made:?}");
    ada.post("/api/v1/api-keys", body()).await?.problem(409, "too_many_keys", "")?;
    let nobody = "key_00000000000000000000000000";
    let (theirs, none) = (eve.delete(&format!("/api/v1/api-keys/{last}")).await?, eve.delete(&format!("/api/v1/api-keys/{nobody}")).await?);
    theirs.problem(404, "not_found", "")?;
    ensure!(theirs.body == none.body);
    ada.delete(&format!("/api/v1/api-keys/{last}")).await?.expect(204)?;
    key(&ada, &["jobs:read"]).await?;
    Ok(())
}

/// The statuses of four of the same at once.
async fn futures(client: &Client, body: Value) -> Result<Vec<u16>> {
    let post = || client.post("/api/v1/api-keys", body.clone());
    let (a, b, c, d) = tokio::join!(post(), post(), post(), post());
    Ok([a?, b?, c?, d?].iter().map(|answer| answer.status.as_u16()).collect())
}
