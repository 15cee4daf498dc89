//! Each field of what comes from outside, wrong in each way that it can be: a problem with the field's name, and nothing is changed. One
//! table for each area; what other files show beside their own matter is not shown again. An id in a path that is none, and an account in
//! `Kiln-Account` that is not one's own, are not found like somebody else's: such a refusal names no field (invariant 11).

use anyhow::{Context, Result, ensure};
use kiln_tests::client::Answer;
use kiln_tests::shop::{self, signature, signature_at};
use kiln_tests::system::wait_for;
use kiln_tests::{Client, Receiver, Shop, System, picture};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const ADMIN_KEY: &str = "the-admin-key-of-this-test";
const QUIET: [(&str, &str); 2] = [("KILN_POOL_MAX", "0"), ("KILN_ADMIN_KEY", ADMIN_KEY)];
/// What follows the prefix of an id that nobody has.
const NOBODY: &str = "00000000000000000000000000";

/// One call; with the operator's key where the path is the operator's.
async fn call(client: &Client, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
    let mut request = client.request(method, path);
    if path.starts_with("/api/v1/admin/") {
        request = request.bearer_auth(ADMIN_KEY);
    }
    client
        .send(match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
}

/// That each of these bodies is refused by the name of its wrong field.
async fn refused(client: &Client, method: Method, path: &str, cases: &[(Value, &str)]) -> Result<()> {
    for (body, field) in cases {
        let answer = call(client, method.clone(), path, Some(body)).await?;
        answer.problem(422, "bad_field", field).with_context(|| format!("{method} {path} {body}"))?;
    }
    Ok(())
}

async fn id(client: &Client) -> Result<String> {
    Ok(client.get("/api/v1/me").await?.expect(200)?["account"]["id"].as_str().context("id")?.to_owned())
}

async fn org(client: &Client) -> Result<String> {
    Ok(client.post("/api/v1/orgs", json!({ "name": "Engines" })).await?.expect(201)?["id"].as_str().context("id")?.to_owned())
}

#[tokio::test]
async fn a_wrong_field_of_signing_in_of_oneself_of_keys_or_of_organisations_is_named() -> Result<()> {
    let system = System::start(&QUIET).await?;
    let (ada, out) = (system.signed_in("ada@example.org").await?, system.client());
    let (org, ada_id) = (org(&ada).await?, id(&ada).await?);
    refused(
        &out,
        Method::POST,
        "/api/v1/auth/request-link",
        &[
            (json!({}), "email"),
            (json!({ "email": 7 }), "email"),
            (json!({ "email": null }), "email"),
            (json!({ "email": "a".repeat(243) + "@example.org" }), "email"),
            (json!({ "email": "ada@example.org", "colour": 1 }), "colour"),
            (json!(7), "body"),
            (json!("ada@example.org"), "body"),
            (json!(null), "body"),
        ],
    )
    .await?;
    refused(
        &out,
        Method::POST,
        "/api/v1/auth/verify-link",
        &[
            (json!({}), "token"),
            (json!({ "token": 7 }), "token"),
            (json!({ "token": "x", "referral": 7 }), "referral"),
            (json!({ "token": "x", "colour": 1 }), "colour"),
        ],
    )
    .await?;
    // A code that is nobody's is no error, however long; the token is.
    for token in ["", "x", &"x".repeat(300)] {
        out.post("/api/v1/auth/verify-link", json!({ "token": token, "referral": "x".repeat(300) })).await?.problem(401, "link_invalid", "token")?;
        ada.post("/api/v1/me/confirm-email", json!({ "token": token })).await?.problem(404, "link_invalid", "token")?;
        ada.post("/api/v1/invites/accept", json!({ "token": token })).await?.problem(404, "invite_invalid", "token")?;
    }
    refused(
        &ada,
        Method::PATCH,
        "/api/v1/me",
        &[
            (json!({ "name": "a".repeat(81) }), "name"),
            (json!({ "name": "see https://x.example" }), "name"),
            (json!({ "email": 7 }), "email"),
            (json!({ "email": "a".repeat(243) + "@example.org" }), "email"),
            (json!({ "preferences": 7 }), "preferences"),
            (json!({ "preferences": "dark" }), "preferences"),
            (json!({ "preferences": { "marketing_mail": "yes" } }), "preferences.marketing_mail"),
            (json!({ "preferences": { "locale": 7 } }), "preferences.locale"),
            (json!({ "preferences": { "locale": "en-gb" } }), "preferences.locale"),
            (json!({ "preferences": { "theme": 7 } }), "preferences.theme"),
        ],
    )
    .await?;
    refused(&ada, Method::POST, "/api/v1/me/confirm-email", &[(json!({ "token": "x", "colour": 1 }), "colour")]).await?;
    refused(&ada, Method::DELETE, "/api/v1/me", &[(json!({ "confirm": 7 }), "confirm"), (json!({ "confirm": "" }), "confirm")]).await?;
    refused(
        &ada,
        Method::POST,
        "/api/v1/api-keys",
        &[
            (json!({ "name": 7, "scopes": ["jobs:read"] }), "name"),
            (json!({ "name": "a", "scopes": "jobs:read" }), "scopes"),
            (json!({ "name": "a", "scopes": null }), "scopes"),
            (json!({ "name": "a", "scopes": [7] }), "scopes[0]"),
            (json!({ "name": "a", "scopes": ["jobs:read"], "expires_at": 7 }), "expires_at"),
            (json!({ "name": "a", "scopes": ["jobs:read"], "expires_at": "2027-01-01" }), "expires_at"),
        ],
    )
    .await?;
    for (method, path) in [(Method::POST, "/api/v1/orgs"), (Method::PATCH, format!("/api/v1/orgs/{org}").as_str())] {
        refused(
            &ada,
            method,
            path,
            &[
                (json!({ "name": 7 }), "name"),
                (json!({ "name": null }), "name"),
                (json!({ "name": "a".repeat(81) }), "name"),
                (json!({ "name": "A", "colour": 1 }), "colour"),
            ],
        )
        .await?;
    }
    refused(
        &ada,
        Method::DELETE,
        &format!("/api/v1/orgs/{org}"),
        &[
            (json!({}), "confirm"),
            (json!({ "confirm": 7 }), "confirm"),
            (json!({ "confirm": "Engine" }), "confirm"),
            (json!({ "confirm": "Engines", "colour": 1 }), "colour"),
        ],
    )
    .await?;
    refused(
        &ada,
        Method::POST,
        &format!("/api/v1/orgs/{org}/invites"),
        &[
            (json!({ "email": 7, "role": "member" }), "email"),
            (json!({ "email": "a".repeat(243) + "@example.org", "role": "member" }), "email"),
            (json!({ "email": "x@example.org", "role": 7 }), "role"),
            (json!({ "email": "x@example.org", "role": "member", "colour": 1 }), "colour"),
        ],
    )
    .await?;
    refused(
        &ada,
        Method::PATCH,
        &format!("/api/v1/orgs/{org}/members/{ada_id}"),
        &[(json!({ "role": 7 }), "role"), (json!({ "role": null }), "role"), (json!({ "role": "OWNER" }), "role")],
    )
    .await?;
    refused(
        &ada,
        Method::POST,
        "/api/v1/invites/accept",
        &[(json!({}), "token"), (json!({ "token": 7 }), "token"), (json!({ "token": "x", "colour": 1 }), "colour")],
    )
    .await?;
    let me = ada.get("/api/v1/me").await?.expect(200)?;
    let plain = json!({ "marketing_mail": false, "locale": null, "theme": "system" });
    ensure!(me["account"]["name"].is_null() && me["account"]["email"] == "ada@example.org" && me["account"]["preferences"] == plain, "{me}");
    let orgs = ada.all("/api/v1/orgs").await?;
    ensure!(orgs.len() == 1 && orgs[0]["name"] == "Engines" && orgs[0]["role"] == "owner", "{orgs:?}");
    ensure!(ada.all("/api/v1/api-keys").await?.is_empty() && ada.get(&format!("/api/v1/orgs/{org}/invites")).await?.expect(200)?["items"] == json!([]));
    Ok(())
}

#[tokio::test]
async fn a_wrong_field_of_a_quote_a_checkout_or_a_plan_is_named() -> Result<()> {
    let system = System::start(&QUIET).await?;
    let ada = system.signed_in("ada@example.org").await?;
    refused(
        &ada,
        Method::POST,
        "/api/v1/credits/checkout",
        &[
            (json!({ "pack": 7 }), "pack"),
            (json!({ "pack": null }), "pack"),
            (json!({ "pack": "a".repeat(41) }), "pack"),
            (json!({ "pack": "starter", "currency": 7 }), "currency"),
            (json!({ "pack": "starter", "currency": "INR" }), "currency"),
            (json!({ "pack": "starter", "currency": "rupees" }), "currency"),
        ],
    )
    .await?;
    refused(
        &ada,
        Method::POST,
        "/api/v1/credits/subscribe",
        &[
            (json!({}), "plan"),
            (json!({ "plan": 7 }), "plan"),
            (json!({ "plan": "a".repeat(41) }), "plan"),
            (json!({ "plan": "maker", "currency": 7 }), "currency"),
            (json!({ "plan": "maker", "currency": "gbp" }), "currency"),
            (json!({ "plan": "maker", "colour": 1 }), "colour"),
        ],
    )
    .await?;
    refused(
        &ada,
        Method::PATCH,
        "/api/v1/credits/subscription",
        &[
            (json!({}), "plan"),
            (json!({ "plan": 7 }), "plan"),
            (json!({ "plan": "team", "cancel": true }), "plan"),
            (json!({ "cancel": "yes" }), "cancel"),
            (json!({ "cancel": null }), "plan"),
            (json!({ "cancel": true, "colour": 1 }), "colour"),
        ],
    )
    .await?;
    let upload = "upl_01JD6Z3M8Q4V5X7Y9A2B3C4D5E";
    refused(
        &ada,
        Method::POST,
        "/api/v1/jobs/quote",
        &[
            (json!({ "kind": null }), "kind"),
            (json!({ "kind": "a".repeat(65) }), "kind"),
            (json!({ "kind": "noop", "params": null }), "params"),
            (json!({ "kind": "noop", "params": 7 }), "params"),
            (json!({ "kind": "noop", "params": { "ms": -1 } }), "params.ms"),
            (json!({ "kind": "noop", "params": { "ms": 600001 } }), "params.ms"),
            (json!({ "kind": "noop", "params": { "ms": "1" } }), "params.ms"),
            (json!({ "kind": "noop", "params": { "fail": "perhaps" } }), "params.fail"),
            (json!({ "kind": "noop", "params": { "fail": 7 } }), "params.fail"),
            (json!({ "kind": "noop", "params": { "outputs": 0 } }), "params.outputs"),
            (json!({ "kind": "noop", "params": { "outputs": 65 } }), "params.outputs"),
            (json!({ "kind": "noop", "params": { "outputs": 256 } }), "params.outputs"),
            (json!({ "kind": "noop_metered", "params": { "colour": 1 } }), "params.colour"),
            (json!({ "kind": "upscale", "params": {}, "inputs": [upload] }), "params.scale"),
            (json!({ "kind": "upscale", "params": { "scale": "2" }, "inputs": [upload] }), "params.scale"),
            (json!({ "kind": "upscale", "params": { "scale": 2.5 }, "inputs": [upload] }), "params.scale"),
            (json!({ "kind": "upscale", "params": { "scale": 2, "sharpen": 1.5 }, "inputs": [upload] }), "params.sharpen"),
            (json!({ "kind": "upscale", "params": { "scale": 2, "auto_exposure": "yes" }, "inputs": [upload] }), "params.auto_exposure"),
            (json!({ "kind": "upscale", "params": { "scale": 2, "auto_white_balance": 1 }, "inputs": [upload] }), "params.auto_white_balance"),
            (json!({ "kind": "noop", "inputs": null }), "inputs"),
            (json!({ "kind": "noop", "inputs": upload }), "inputs"),
            (json!({ "kind": "noop", "inputs": [7] }), "inputs[0]"),
            (json!({ "kind": "noop", "inputs": [upload, "job_01JD6Z3M8Q4V5X7Y9A2B3C4D5E"] }), "inputs[1]"),
            (json!({ "kind": "noop", "priority": 7 }), "priority"),
            (json!({ "kind": "noop", "priority": null }), "priority"),
            (json!({ "kind": "noop", "project_id": "x" }), "project_id"),
        ],
    )
    .await?;
    ada.post("/api/v1/jobs/quote", json!({ "kind": "noop", "inputs": [upload] })).await?.problem(422, "upload_not_found", "inputs[0]")?;
    // Four times as wide and high it would have more pixels than a picture may.
    let large = ada.upload("large.png", "image/png", &picture::png(4096, 1536)).await?;
    let wanted = |scale: u8| ada.post("/api/v1/jobs/quote", json!({ "kind": "upscale", "params": { "scale": scale }, "inputs": [large] }));
    wanted(4).await?.problem(422, "bad_field", "params.scale")?;
    wanted(3).await?.expect(200)?;
    ensure!(ada.all("/api/v1/credits/payments").await?.is_empty() && ada.check_books().await? == (10_000, 0));
    Ok(())
}

#[tokio::test]
async fn a_wrong_field_of_a_guest_s_quote_or_checkout_is_named() -> Result<()> {
    // No tier for guests pays for any job here, so that one is too dear.
    let folder = tempfile::tempdir()?;
    let list = folder.path().join("prices.toml");
    let (from, to) = (["most_millicredits = 4000", "most_millicredits = 16000"], "most_millicredits = 999");
    ensure!(from.iter().all(|from| kiln_core::prices::DEFAULT.contains(from)), "the list that ships has other tiers");
    std::fs::write(&list, kiln_core::prices::DEFAULT.replace(from[0], to).replace(from[1], to))?;
    let system = System::start(&[&QUIET[..], &[("KILN_PRICES_FILE", &list.to_string_lossy())]].concat()).await?;
    let guest = system.client();
    guest.post("/api/v1/studio/session", json!({})).await?.expect(201)?;
    let waiting = guest.put("photo.png", "image/png", &picture::png(16, 16)).await?;
    let upload = "upl_01JD6Z3M8Q4V5X7Y9A2B3C4D5E";
    let both = [
        (json!({}), "bad_field", "kind"),
        (json!({ "kind": 7 }), "bad_field", "kind"),
        (json!({ "kind": "mine_bitcoin" }), "bad_field", "kind"),
        (json!({ "kind": "a".repeat(65) }), "bad_field", "kind"),
        (json!({ "kind": "noop", "params": "large" }), "bad_field", "params"),
        (json!({ "kind": "noop", "params": null }), "bad_field", "params"),
        (json!({ "kind": "noop", "params": { "note": "x".repeat(40_000) } }), "bad_field", "params"),
        (json!({ "kind": "noop", "params": { "ms": "long" } }), "bad_field", "params.ms"),
        (json!({ "kind": "noop", "params": { "colour": 1 } }), "bad_field", "params.colour"),
        (json!({ "kind": "upscale", "params": {}, "inputs": [waiting] }), "bad_field", "params.scale"),
        (json!({ "kind": "upscale", "params": { "scale": 5 }, "inputs": [waiting] }), "bad_field", "params.scale"),
        (json!({ "kind": "upscale", "params": { "scale": 2, "sharpen": -1 }, "inputs": [waiting] }), "bad_field", "params.sharpen"),
        (json!({ "kind": "upscale", "params": { "scale": 2 } }), "bad_field", "inputs"),
        (json!({ "kind": "noop", "inputs": upload }), "bad_field", "inputs"),
        (json!({ "kind": "noop", "inputs": [waiting, waiting] }), "bad_field", "inputs"),
        (json!({ "kind": "noop", "inputs": vec![upload; 17] }), "bad_field", "inputs"),
        (json!({ "kind": "noop", "inputs": [7] }), "bad_field", "inputs[0]"),
        (json!({ "kind": "noop", "inputs": ["nonsense"] }), "bad_field", "inputs[0]"),
        (json!({ "kind": "noop", "inputs": [upload] }), "upload_not_found", "inputs[0]"),
        (json!({ "kind": "noop", "inputs": [waiting] }), "upload_not_ready", "inputs[0]"),
        // A guest's job waits its turn like others.
        (json!({ "kind": "noop", "priority": "rush" }), "bad_field", "priority"),
        (json!({ "kind": "noop" }), "bad_field", "params"),
    ];
    for (mut body, code, field) in both {
        guest.post("/api/v1/studio/quote", body.clone()).await?.problem(422, code, field).with_context(|| format!("studio/quote {body}"))?;
        body["email"] = json!("gus@example.org");
        guest.post("/api/v1/studio/checkout", body.clone()).await?.problem(422, code, field).with_context(|| format!("studio/checkout {body}"))?;
    }
    refused(&guest, Method::POST, "/api/v1/studio/quote", &[(json!({ "kind": "noop", "email": "gus@example.org" }), "email")]).await?;
    refused(
        &guest,
        Method::POST,
        "/api/v1/studio/checkout",
        &[
            (json!({ "kind": "noop" }), "email"),
            (json!({ "kind": "noop", "email": 7 }), "email"),
            (json!({ "kind": "noop", "email": null }), "email"),
            (json!({ "kind": "noop", "email": "nobody" }), "email"),
            (json!({ "kind": "noop", "email": "a".repeat(243) + "@example.org" }), "email"),
            (json!({ "kind": "noop", "email": "gus@example.org", "colour": 1 }), "colour"),
        ],
    )
    .await?;
    for token in ["nonsense", "acc_1-ord_1-x", &format!("acc_{NOBODY}-ord_{NOBODY}-x"), "%FF"] {
        guest.get(&format!("/api/v1/studio/orders/{token}")).await?.problem(404, "not_found", "").with_context(|| token.to_owned())?;
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_field_of_an_operator_s_call_is_named() -> Result<()> {
    let system = System::start(&QUIET).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let path = format!("/api/v1/admin/accounts/{}", id(&ada).await?);
    let operator = system.client();
    let before = call(&operator, Method::GET, &path, None).await?.expect(200)?;
    for limit in ["running", "queued", "inferences_day", "edits_day", "stored_bytes", "projects"] {
        let field = format!("limits.{limit}");
        for value in [json!(-1), json!(1_000_000_000_000_001_i64), json!("1"), json!(1.5), json!(true)] {
            let body = json!({ "limits": { limit: value } });
            call(&operator, Method::PATCH, &path, Some(&body)).await?.problem(422, "bad_field", &field).with_context(|| body.to_string())?;
        }
    }
    refused(
        &operator,
        Method::PATCH,
        &path,
        &[
            (json!({ "limits": { "running": 1001 } }), "limits.running"),
            (json!({ "limits": { "queued": 100001 } }), "limits.queued"),
            (json!({ "limits": 7 }), "limits"),
            (json!({ "limits": {} }), "body"),
            (json!({ "prices": 7 }), "prices"),
            (json!({ "prices": { "all_permille": 100001 } }), "prices.all_permille"),
            (json!({ "prices": { "all_permille": "half" } }), "prices.all_permille"),
            (json!({ "prices": { "kinds_permille": 7 } }), "prices.kinds_permille"),
            (json!({ "prices": { "kinds_permille": { "mine_bitcoin": 1 } } }), "prices.kinds_permille"),
            (json!({ "prices": { "kinds_permille": { "noop": -1 } } }), "prices.kinds_permille.noop"),
            (json!({ "prices": { "kinds_permille": { "noop": "half" } } }), "prices.kinds_permille.noop"),
            (json!({ "prices": { "colour": 1 } }), "prices.colour"),
            (json!({ "suspended": 1 }), "suspended"),
            (json!({ "suspended": true, "colour": 1 }), "colour"),
        ],
    )
    .await?;
    refused(
        &operator,
        Method::POST,
        &format!("{path}/grant"),
        &[
            (json!({ "reason": "x" }), "millicredits"),
            (json!({ "millicredits": "5", "reason": "x" }), "millicredits"),
            (json!({ "millicredits": 0.5, "reason": "x" }), "millicredits"),
            (json!({ "millicredits": 1_000_000_001, "reason": "x" }), "millicredits"),
            (json!({ "millicredits": -1_000_000_001, "reason": "x" }), "millicredits"),
            (json!({ "millicredits": 5 }), "reason"),
            (json!({ "millicredits": 5, "reason": 7 }), "reason"),
            (json!({ "millicredits": 5, "reason": "" }), "reason"),
            (json!({ "millicredits": 5, "reason": "x".repeat(201) }), "reason"),
            (json!({ "millicredits": 5, "reason": "a\nb" }), "reason"),
            (json!({ "millicredits": 5, "reason": "x", "colour": 1 }), "colour"),
        ],
    )
    .await?;
    let long = format!("{}@example.org", "a".repeat(243));
    for query in ["", "?email=", "?email=nobody", &format!("?email={long}"), "?email=a@example.org&email=b@example.org"] {
        let found = call(&operator, Method::GET, &format!("/api/v1/admin/accounts{query}"), None).await?;
        found.problem(422, "bad_field", "email").with_context(|| query.to_owned())?;
    }
    let after = call(&operator, Method::GET, &path, None).await?.expect(200)?;
    ensure!(after == before, "{after}");
    Ok(())
}

#[tokio::test]
async fn a_wrong_field_of_a_webhook_endpoint_s_change_is_named() -> Result<()> {
    let system = System::start(&QUIET).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let good = json!({ "url": "https://hooks.example.com/kiln", "events": ["*"] });
    let made = ada.post("/api/v1/webhook-endpoints", good).await?.expect(201)?;
    let path = format!("/api/v1/webhook-endpoints/{}", made["id"].as_str().context("id")?);
    refused(
        &ada,
        Method::POST,
        "/api/v1/webhook-endpoints",
        &[
            (json!({ "url": null, "events": ["*"] }), "url"),
            (json!({ "url": "", "events": ["*"] }), "url"),
            (json!({ "url": "https://hooks.example.com/", "events": null }), "events"),
            (json!({ "url": "https://hooks.example.com/", "events": vec!["*"; 21] }), "events"),
            (json!({ "url": "https://hooks.example.com/", "events": ["webhook.test"] }), "events[0]"),
        ],
    )
    .await?;
    refused(
        &ada,
        Method::PATCH,
        &path,
        &[
            (json!({ "url": 7 }), "url"),
            (json!({ "url": "not a url" }), "url"),
            (json!({ "url": "http://hooks.example.com/" }), "url"),
            (json!({ "url": "https://hooks.example.com/".to_owned() + &"a".repeat(2048) }), "url"),
            (json!({ "events": "*" }), "events"),
            (json!({ "events": vec!["*"; 21] }), "events"),
            (json!({ "events": [7] }), "events[0]"),
            (json!({ "events": ["job.*", "job.*"] }), "events[1]"),
            (json!({ "enabled": 1 }), "enabled"),
            (json!({ "enabled": false, "colour": 1 }), "colour"),
        ],
    )
    .await?;
    let shown = ada.get(&path).await?.expect(200)?;
    ensure!(shown["url"] == made["url"] && shown["events"] == made["events"] && shown["enabled"] == true, "{shown}");
    ensure!(ada.all("/api/v1/webhook-endpoints").await?.len() == 1);
    Ok(())
}

#[tokio::test]
async fn a_message_of_stripe_or_of_sns_is_refused_by_the_field_that_is_wrong() -> Result<()> {
    // Whom the keys are for is never asked here.
    let stripe = [("STRIPE_SECRET_KEY", shop::KEY), ("STRIPE_WEBHOOK_SECRET", shop::SECRET), ("STRIPE_API_BASE", "http://127.0.0.1:9")];
    let system = System::start(&[&QUIET[..], &stripe[..]].concat()).await?;
    let out = system.client();
    let stripe = |signature: &str| {
        let request = out.request(Method::POST, "/api/v1/webhooks/stripe").header("content-type", "application/json");
        out.send(request.header("stripe-signature", signature).body("{}"))
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    // Signed as it should be, too long ago and ahead of time.
    for at in [now - 600, now + 600] {
        stripe(&signature_at("{}", at)).await?.problem(400, "bad_age", "Stripe-Signature")?;
    }
    for bad in [String::new(), format!("t={now}"), "v1=00".into(), signature("[]"), "x".repeat(4097)] {
        stripe(&bad).await?.problem(400, "bad_signature", "Stripe-Signature").with_context(|| bad.clone())?;
    }
    // It is the age alone: signed now, the same is taken (and kept, since it can't be read).
    stripe(&signature("{}")).await?.expect(204)?;

    let whole = json!({
        "Type": "Notification", "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324", "TopicArn": "arn:aws:sns:us-east-1:000000000000:kiln-local-MailFeedbackTopic",
        "Message": "{}", "Timestamp": "2026-11-21T10:00:00.000Z", "SignatureVersion": "2", "Signature": "AAAA",
        "SigningCertURL": "https://sns.us-east-1.amazonaws.com/x.pem",
    });
    let sns = |kind: &str, body: &Value| {
        let request = out.request(Method::POST, "/api/v1/webhooks/ses").header("content-type", "text/plain; charset=UTF-8");
        out.send(request.header("x-amz-sns-message-type", kind).body(body.to_string()))
    };
    for field in ["Type", "MessageId", "TopicArn", "Message", "Timestamp", "SignatureVersion", "Signature", "SigningCertURL"] {
        let mut body = whole.clone();
        body.as_object_mut().context("an object")?.remove(field);
        sns("Notification", &body).await?.problem(422, "bad_field", field)?;
    }
    for field in
        ["Type", "MessageId", "TopicArn", "Subject", "Message", "Timestamp", "SignatureVersion", "Signature", "SigningCertURL", "SubscribeURL", "Token"]
    {
        let mut body = whole.clone();
        body[field] = json!(7);
        sns("Notification", &body).await?.problem(422, "bad_field", field)?;
    }
    let mut other = whole.clone();
    other["Type"] = json!("Gossip");
    sns("Gossip", &other).await?.problem(422, "bad_field", "Type")?;
    for kind in ["", "SubscriptionConfirmation"] {
        sns(kind, &whole).await?.problem(422, "bad_field", "Type")?;
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_limit_cursor_id_account_or_key_is_refused_wherever_one_is_taken() -> Result<()> {
    let system = System::start(&QUIET).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let org = org(&ada).await?;
    let members = format!("/api/v1/orgs/{org}/members");
    let pages = [
        "/api/v1/sessions",
        "/api/v1/orgs",
        &members,
        "/api/v1/credits/ledger",
        "/api/v1/credits/payments",
        "/api/v1/invoices",
        "/api/v1/webhook-endpoints",
        "/api/v1/deliveries",
        "/api/v1/admin/payments/kept",
        "/api/v1/admin/audit",
    ];
    // Base64 of what no list begins with; and of more than any key is long.
    let (foreign, long) = ("RUxTRVdIRVJFI3g", "YWFh".repeat(67));
    for path in pages {
        for limit in ["0", "101", "-1", "1.5", "many", "18446744073709551616", "5&limit=6"] {
            let answer = call(&ada, Method::GET, &format!("{path}?limit={limit}"), None).await?;
            answer.problem(422, "bad_field", "limit").with_context(|| format!("{path} limit={limit}"))?;
        }
        for cursor in ["x", "abc", "a%20b", foreign, long.as_str(), "eA&cursor=eA"] {
            // What is kept lies under one key, so that list's cursors are of any name.
            if cursor == foreign && path.ends_with("/kept") {
                continue;
            }
            let answer = call(&ada, Method::GET, &format!("{path}?limit=5&cursor={cursor}"), None).await?;
            answer.problem(422, "bad_field", "cursor").with_context(|| format!("{path} cursor={cursor}"))?;
        }
    }
    for cursor in ["x", "abc", foreign, long.as_str(), "eA&cursor=eA"] {
        ada.get(&format!("/api/v1/me/export?cursor={cursor}")).await?.problem(422, "bad_field", "cursor").with_context(|| cursor.to_owned())?;
    }

    let role = json!({ "role": "member" });
    for (method, path, prefix, body) in [
        (Method::DELETE, "/api/v1/sessions/{}", "ses_", None),
        (Method::DELETE, "/api/v1/api-keys/{}", "key_", None),
        (Method::GET, "/api/v1/orgs/{}", "acc_", None),
        (Method::PATCH, "/api/v1/orgs/{}", "acc_", Some(json!({ "name": "A" }))),
        (Method::DELETE, "/api/v1/orgs/{}", "acc_", Some(json!({ "confirm": "Engines" }))),
        (Method::GET, "/api/v1/orgs/{}/invites", "acc_", None),
        (Method::POST, "/api/v1/orgs/{}/invites", "acc_", Some(json!({ "email": "x@example.org", "role": "member" }))),
        (Method::GET, "/api/v1/orgs/{}/members", "acc_", None),
        (Method::PATCH, format!("/api/v1/orgs/{{}}/members/acc_{NOBODY}").as_str(), "acc_", Some(role.clone())),
        (Method::PATCH, format!("/api/v1/orgs/{org}/members/{{}}").as_str(), "acc_", Some(role)),
        (Method::DELETE, format!("/api/v1/orgs/{{}}/members/acc_{NOBODY}").as_str(), "acc_", None),
        (Method::DELETE, format!("/api/v1/orgs/{org}/members/{{}}").as_str(), "acc_", None),
        (Method::DELETE, format!("/api/v1/orgs/{{}}/invites/inv_{NOBODY}").as_str(), "acc_", None),
        (Method::DELETE, format!("/api/v1/orgs/{org}/invites/{{}}").as_str(), "inv_", None),
        (Method::GET, "/api/v1/webhook-endpoints/{}", "whe_", None),
        (Method::PATCH, "/api/v1/webhook-endpoints/{}", "whe_", Some(json!({ "enabled": false }))),
        (Method::DELETE, "/api/v1/webhook-endpoints/{}", "whe_", None),
        (Method::POST, "/api/v1/webhook-endpoints/{}/rotate-secret", "whe_", None),
        (Method::POST, "/api/v1/webhook-endpoints/{}/test", "whe_", None),
        (Method::GET, "/api/v1/deliveries/{}", "dlv_", None),
        (Method::POST, "/api/v1/deliveries/{}/replay", "dlv_", None),
        (Method::GET, "/api/v1/admin/accounts/{}", "acc_", None),
        (Method::PATCH, "/api/v1/admin/accounts/{}", "acc_", Some(json!({ "suspended": true }))),
        (Method::POST, "/api/v1/admin/accounts/{}/grant", "acc_", Some(json!({ "millicredits": 5, "reason": "x" }))),
    ] {
        for id in ["nonsense", "%FF", prefix, &format!("{prefix}1"), &format!("zzz_{NOBODY}"), &format!("{prefix}{NOBODY}")] {
            let path = path.replace("{}", id);
            call(&ada, method.clone(), &path, body.as_ref()).await?.problem(404, "not_found", "").with_context(|| format!("{method} {path}"))?;
        }
    }

    for (method, path) in [
        (Method::GET, "/api/v1/api-keys"),
        (Method::POST, "/api/v1/api-keys"),
        (Method::DELETE, format!("/api/v1/api-keys/key_{NOBODY}").as_str()),
        (Method::GET, "/api/v1/me/export"),
        (Method::GET, "/api/v1/credits"),
        (Method::GET, "/api/v1/credits/ledger"),
        (Method::GET, "/api/v1/credits/payments"),
        (Method::GET, "/api/v1/credits/subscription"),
        (Method::PATCH, "/api/v1/credits/subscription"),
        (Method::POST, "/api/v1/credits/checkout"),
        (Method::POST, "/api/v1/credits/subscribe"),
        (Method::POST, "/api/v1/credits/portal"),
        (Method::GET, "/api/v1/usage"),
        (Method::GET, "/api/v1/referrals"),
        (Method::GET, "/api/v1/invoices"),
        (Method::POST, "/api/v1/jobs/quote"),
        (Method::GET, "/api/v1/webhook-endpoints"),
        (Method::POST, "/api/v1/webhook-endpoints"),
        (Method::GET, "/api/v1/deliveries"),
    ] {
        let body = match (&method, path) {
            (&Method::POST, "/api/v1/api-keys") => json!({ "name": "a", "scopes": ["jobs:read"] }),
            (&Method::POST, "/api/v1/credits/checkout") => json!({ "pack": "starter" }),
            (&Method::POST, "/api/v1/jobs/quote") => json!({ "kind": "noop" }),
            (&Method::POST, "/api/v1/webhook-endpoints") => json!({ "url": "https://hooks.example.com/kiln", "events": ["*"] }),
            _ => json!({ "plan": "maker" }),
        };
        for account in ["nonsense", "", &format!("acc_{NOBODY}"), &format!("key_{NOBODY}")] {
            let request = ada.request(method.clone(), path).header("kiln-account", account);
            let request = if method == Method::GET || method == Method::DELETE { request } else { request.json(&body) };
            ada.send(request).await?.problem(404, "not_found", "").with_context(|| format!("{method} {path} for {account:?}"))?;
        }
    }

    let guest = system.client();
    guest.post("/api/v1/studio/session", json!({})).await?.expect(201)?;
    for path in [
        "/api/v1/api-keys",
        "/api/v1/orgs",
        &format!("/api/v1/orgs/acc_{NOBODY}/invites"),
        "/api/v1/credits/checkout",
        "/api/v1/credits/subscribe",
        "/api/v1/studio/checkout",
        "/api/v1/webhook-endpoints",
        &format!("/api/v1/webhook-endpoints/whe_{NOBODY}/rotate-secret"),
        &format!("/api/v1/webhook-endpoints/whe_{NOBODY}/test"),
        &format!("/api/v1/deliveries/dlv_{NOBODY}/replay"),
        &format!("/api/v1/admin/accounts/acc_{NOBODY}/grant"),
    ] {
        for key in [&b""[..], b"two words", &[b'k'; 129], b"caf\xe9"] {
            let client = if path.starts_with("/api/v1/studio/") { &guest } else { &ada };
            let request = client.request(Method::POST, path).header("idempotency-key", key).json(&json!({}));
            let request = if path.starts_with("/api/v1/admin/") { request.bearer_auth(ADMIN_KEY) } else { request };
            client.send(request).await?.problem(400, "bad_idempotency_key", "Idempotency-Key").with_context(|| format!("{path} {key:?}"))?;
        }
    }
    Ok(())
}

/// Where this isn't shown by the file of what is made: keys, packs, endpoints and grants have theirs.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_used_for_something_else_is_refused_wherever_one_is_taken() -> Result<()> {
    let shop = Shop::open().await?;
    let system = shop.system(&[("KILN_WEBHOOK_ALLOW_LOOPBACK", "1")]).await?;
    let (ada, guest, receiver) = (system.signed_in("ada@example.org").await?, system.client(), Receiver::start().await?);
    guest.post("/api/v1/studio/session", json!({})).await?.expect(201)?;
    let reused = |answer: Answer| answer.problem(422, "idempotency_key_reused", "Idempotency-Key");
    let invites = format!("/api/v1/orgs/{}/invites", org(&ada).await?);
    let invite = |role: &str| json!({ "email": "x@example.org", "role": role });
    let guests = |email: &str| json!({ "kind": "noop", "email": email });
    for (client, path, first, second) in [
        (&ada, "/api/v1/orgs", json!({ "name": "A" }), json!({ "name": "B" })),
        (&ada, invites.as_str(), invite("member"), invite("admin")),
        (&ada, "/api/v1/credits/subscribe", json!({ "plan": "maker" }), json!({ "plan": "team" })),
        (&guest, "/api/v1/studio/checkout", guests("gus@example.org"), guests("guy@example.org")),
    ] {
        client.post_once(path, first, "k").await?.expect(201).context(path.to_owned())?;
        reused(client.post_once(path, second, "k").await?).context(path.to_owned())?;
    }
    // These take no body: what another endpoint or delivery is asked is another thing.
    let endpoint = || ada.post("/api/v1/webhook-endpoints", json!({ "url": receiver.url, "events": ["batch.*"] }));
    let (one, other) = (endpoint().await?.expect(201)?, endpoint().await?.expect(201)?);
    let at = |made: &Value, rest: &str| format!("/api/v1/webhook-endpoints/{}/{rest}", made["id"].as_str().unwrap_or_default());
    ada.post_once(&at(&one, "rotate-secret"), json!({}), "r").await?.expect(200)?;
    reused(ada.post_once(&at(&other, "rotate-secret"), json!({}), "r").await?)?;
    let first = ada.post_once(&at(&one, "test"), json!({}), "t").await?.expect(202)?;
    reused(ada.post_once(&at(&other, "test"), json!({}), "t").await?)?;
    let second = ada.post_once(&at(&other, "test"), json!({}), "u").await?.expect(202)?;
    wait_for("both to be delivered", Duration::from_secs(30), || async {
        let all = ada.all("/api/v1/deliveries").await?;
        Ok((all.len() == 2 && all.iter().all(|delivery| delivery["state"] == "delivered")).then_some(()))
    })
    .await?;
    let replay = |owed: &Value| format!("/api/v1/deliveries/{}/replay", owed["id"].as_str().unwrap_or_default());
    ada.post_once(&replay(&first), json!({}), "p").await?.expect(202)?;
    reused(ada.post_once(&replay(&second), json!({}), "p").await?)?;
    Ok(())
}
