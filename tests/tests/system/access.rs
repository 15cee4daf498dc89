//! Who may see what: a wrong id and somebody else's answer the same, a link works once, a session ends, another site's page
//! can do nothing, and what a rented machine holds opens no more than its one job.

use anyhow::{Context, Result, ensure};
use kiln_tests::{System, picture};
use reqwest::Method;
use serde_json::json;
use sha2::Digest;
use std::time::Duration;

#[tokio::test]
async fn somebody_else_s_things_and_things_that_are_not_answer_the_same_404() -> Result<()> {
    let system = System::start(&[]).await?;
    let (ada, eve) = (system.signed_in("ada@example.org").await?, system.signed_in("eve@example.org").await?);
    let upload = ada.upload("photo.png", "image/png", &picture::png(8, 8)).await?;
    let job = ada.noop(0).await?;
    ada.ended(&job, Duration::from_secs(60)).await?;
    let share = ada.post("/api/v1/shares", json!({ "job_id": job })).await?.expect(201)?;
    let share = share["id"].as_str().context("id")?;
    let session = ada.get("/api/v1/sessions").await?.expect(200)?["items"][0]["id"].as_str().context("session")?.to_owned();
    let nobody = "00000000000000000000000000";
    let paths = [
        (Method::GET, format!("/api/v1/uploads/{upload}"), format!("/api/v1/uploads/upl_{nobody}")),
        (Method::POST, format!("/api/v1/uploads/{upload}/complete"), format!("/api/v1/uploads/upl_{nobody}/complete")),
        (Method::DELETE, format!("/api/v1/uploads/{upload}"), format!("/api/v1/uploads/upl_{nobody}")),
        (Method::GET, format!("/api/v1/jobs/{job}"), format!("/api/v1/jobs/job_{nobody}")),
        (Method::POST, format!("/api/v1/jobs/{job}/cancel"), format!("/api/v1/jobs/job_{nobody}/cancel")),
        (Method::DELETE, format!("/api/v1/creations/{job}"), format!("/api/v1/creations/job_{nobody}")),
        (Method::DELETE, format!("/api/v1/shares/{share}"), format!("/api/v1/shares/shr_{nobody}")),
        (Method::DELETE, format!("/api/v1/sessions/{session}"), format!("/api/v1/sessions/ses_{nobody}")),
    ];
    for (method, theirs, none) in paths {
        let a = eve.send(eve.request(method.clone(), &theirs).json(&json!({}))).await?;
        let b = eve.send(eve.request(method, &none).json(&json!({}))).await?;
        a.problem(404, "not_found", "").with_context(|| theirs.clone())?;
        ensure!(a.body == b.body, "{theirs}: {} and {}", a.body, b.body);
    }
    let wanted = |id: &str| json!({ "kind": "upscale", "params": { "scale": 2 }, "inputs": [id] });
    let a = eve.post("/api/v1/jobs", wanted(&upload)).await?;
    a.problem(422, "upload_not_found", "inputs[0]")?;
    ensure!(a.body == eve.post("/api/v1/jobs", wanted(&format!("upl_{nobody}"))).await?.body);
    eve.post("/api/v1/shares", json!({ "job_id": job })).await?.problem(404, "not_found", "")?;
    ensure!(eve.all("/api/v1/jobs").await?.is_empty() && eve.check_books().await? == (10_000, 0));
    ada.get(&format!("/api/v1/uploads/{upload}")).await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn a_link_works_once_and_a_signed_out_cookie_not_at_all() -> Result<()> {
    let system = System::start(&[("KILN_POOL_MAX", "0")]).await?;
    let ada = system.client();
    ada.post("/api/v1/auth/request-link", json!({ "email": "Ada@Example.org" })).await?.expect(202)?;
    let token = ada.mailed_token("ada@example.org", 0).await?;
    // A mail scanner's GET uses nothing up.
    ada.get(&format!("/sign-in?token={token}")).await?;
    let verify = |token: &str| ada.post("/api/v1/auth/verify-link", json!({ "token": token }));
    let both = tokio::join!(verify(&token), verify(&token));
    let oks = [both.0?.status.as_u16(), both.1?.status.as_u16()];
    ensure!(oks.iter().filter(|status| **status == 200).count() == 1, "{oks:?}");
    verify(&token).await?.problem(401, "link_invalid", "token")?;
    verify("nonsense").await?.problem(401, "link_invalid", "token")?;
    ada.sign_in("ada@example.org").await?;
    let cookie = ada.cookie();
    ada.get("/api/v1/me").await?.expect(200)?;
    ensure!(ada.check_books().await? == (10_000, 0), "the grant was given once");
    ada.post("/api/v1/auth/logout", json!({})).await?.expect(204)?;
    ada.set_cookie(cookie);
    for path in ["/api/v1/me", "/api/v1/credits", "/api/v1/jobs", "/api/v1/uploads/upl_00000000000000000000000000"] {
        ada.get(path).await?.problem(401, "signed_out", "")?;
    }
    ada.post("/api/v1/jobs", json!({ "kind": "noop" })).await?.problem(401, "signed_out", "")?;
    Ok(())
}

/// Counted by the hour; so that its end may fall into the test, more are asked for than two hours allow.
#[tokio::test]
async fn links_are_limited_by_address_in_silence_and_by_network_aloud() -> Result<()> {
    let system = System::start(&[("KILN_POOL_MAX", "0"), ("KILN_LINKS_PER_ADDRESS", "2"), ("KILN_LINKS_PER_IP", "12")]).await?;
    let client = system.client();
    let ask = |email: &'static str| client.post("/api/v1/auth/request-link", json!({ "email": email }));
    let first = ask("ada@example.org").await?.expect(202)?;
    for _ in 0..4 {
        ensure!(ask("ada@example.org").await?.expect(202)? == first, "the answer tells nothing");
    }
    let token = client.mailed_token("ada@example.org", 0).await?;
    let mails = client.get("/local/mail?to=ada@example.org").await?.expect(200)?;
    ensure!(mails["items"].as_array().is_some_and(|mails| mails.len() < 5), "{mails}");
    let mut refused = None;
    for _ in 0..20 {
        let answer = ask("bob@example.org").await?;
        if answer.status != 202 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.context("twenty-five links, and none refused")?;
    refused.problem(429, "too_many_links", "")?;
    let wait = refused.headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    ensure!(wait.is_some_and(|seconds| (1..=3600).contains(&seconds)), "{wait:?}");
    // What was mailed before still works.
    client.post("/api/v1/auth/verify-link", json!({ "token": token })).await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn whether_an_address_has_an_account_can_t_be_told_from_the_answer_or_the_mail() -> Result<()> {
    let system = System::start(&[("KILN_POOL_MAX", "0")]).await?;
    system.signed_in("known@example.org").await?;
    let stranger = system.client();
    let mut told = Vec::new();
    for address in ["known@example.org", "other@example.org"] {
        let before = stranger.mails(address).await?.len();
        let answer = stranger.post("/api/v1/auth/request-link", json!({ "email": address })).await?;
        let mut names: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
        names.sort();
        let token = stranger.mailed_token(address, before).await?;
        let mail = stranger.mails(address).await?[before].clone();
        let words = |part: &str| mail[part].as_str().unwrap_or_default().replace(&token, "TOKEN").replace(address, "ADDRESS");
        told.push((answer.status, names, answer.headers.get("content-length").cloned(), answer.body, words("subject"), words("text")));
    }
    ensure!(told[0] == told[1], "{told:#?}");
    Ok(())
}

#[tokio::test]
async fn guests_of_one_network_are_limited_aloud() -> Result<()> {
    let system = System::start(&[("KILN_POOL_MAX", "0"), ("KILN_GUESTS_PER_IP", "2")]).await?;
    let mut refused = 0;
    for _ in 0..5 {
        let answer = system.client().post("/api/v1/studio/session", json!({})).await?;
        if answer.status == 429 {
            answer.problem(429, "too_many_guests", "")?;
            let wait: u64 = answer.headers["retry-after"].to_str()?.parse()?;
            ensure!((1..=3600).contains(&wait), "{wait}");
            refused += 1;
        }
    }
    // The hour's end may fall into the test.
    ensure!(refused >= 1, "{refused} of five guests refused, with two an hour");
    Ok(())
}

#[tokio::test]
async fn what_is_no_text_in_a_path_is_simply_not_found() -> Result<()> {
    let system = System::start(&[("KILN_POOL_MAX", "0")]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    for path in ["/api/v1/jobs/%FF", "/api/v1/uploads/%FF", "/api/v1/share/%FF"] {
        ada.get(path).await?.problem(404, "not_found", "")?;
    }
    for path in ["/api/v1/creations/%FF", "/api/v1/sessions/%FF", "/api/v1/shares/%FF", "/api/v1/uploads/%FF"] {
        ada.delete(path).await?.problem(404, "not_found", "")?;
    }
    ada.post("/api/v1/jobs/%FF/cancel", json!({})).await?.problem(404, "not_found", "")?;
    Ok(())
}

#[tokio::test]
async fn an_expired_link_and_an_expired_session_are_as_good_as_none() -> Result<()> {
    let system = System::start(&[("KILN_POOL_MAX", "0")]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let bob = system.client();
    bob.post("/api/v1/auth/request-link", json!({ "email": "bob@example.org" })).await?.expect(202)?;
    let token = bob.mailed_token("bob@example.org", 0).await?;
    // The clock can't be put forward, so what is stored is put back; the sweep by TTL has not come by.
    expire(&system, "LINK", &token).await?;
    bob.post("/api/v1/auth/verify-link", json!({ "token": token })).await?.problem(401, "link_invalid", "token")?;
    ada.get("/api/v1/me").await?.expect(200)?;
    expire(&system, "SESSION", &ada.cookie().unwrap_or_default()).await?;
    ada.get("/api/v1/me").await?.problem(401, "signed_out", "")?;
    ada.post("/api/v1/jobs", json!({ "kind": "noop" })).await?.problem(401, "signed_out", "")?;
    ada.sign_in("ada@example.org").await?;
    ensure!(ada.all("/api/v1/jobs").await?.is_empty() && ada.check_books().await? == (10_000, 0));
    Ok(())
}

/// The stand-in's table, past the system.
pub(crate) async fn table_client(endpoint: &str) -> aws_sdk_dynamodb::Client {
    let config = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region("us-east-1")
        .credentials_provider(aws_sdk_dynamodb::config::Credentials::new("local", "local", None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .load()
        .await;
    aws_sdk_dynamodb::Client::new(&config)
}

/// Puts the end of a stored secret into the past. It is found by its hash, which is all that is stored of it.
async fn expire(system: &System, what: &str, token: &str) -> Result<()> {
    use aws_sdk_dynamodb::types::AttributeValue;
    let hash = hex::encode(sha2::Sha256::digest(token.as_bytes()));
    let update = table_client(&system.stand_in()?).await.update_item().table_name("kiln-local-Table");
    update
        .key("pk", AttributeValue::S(format!("{what}#{hash}")))
        .key("sk", AttributeValue::S(what.to_owned()))
        .update_expression("SET expires_at = :past")
        .condition_expression("attribute_exists(pk)")
        .expression_attribute_values(":past", AttributeValue::N("1".into()))
        .send()
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_page_of_another_site_can_change_nothing() -> Result<()> {
    let system = System::start(&[("KILN_POOL_MAX", "0")]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let post = || ada.request(Method::POST, "/api/v1/jobs").json(&json!({ "kind": "noop" }));
    for (name, value) in [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site")] {
        ada.send(post().header(name, value)).await?.problem(403, "cross_site", "")?;
    }
    let form = ada.request(Method::POST, "/api/v1/jobs").header("content-type", "text/plain").body(r#"{"kind":"noop"}"#);
    ada.send(form).await?.problem(415, "not_json", "")?;
    ensure!(ada.all("/api/v1/jobs").await?.is_empty());
    ada.send(post().header("origin", system.url.clone()).header("sec-fetch-site", "same-origin")).await?.expect(202)?;
    Ok(())
}

#[tokio::test]
async fn a_stranger_gets_nothing_out_of_the_fleet_s_endpoints() -> Result<()> {
    let system = System::start(&[("KILN_POOL_MAX", "0")]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let job = ada.noop(0).await?;
    let account = ada.get("/api/v1/me").await?.expect(200)?["account"]["id"].clone();
    let instance = "ins_00000000000000000000000000";
    let eve = system.client();
    let with = |token: String, path: &str, body: serde_json::Value| eve.send(eve.request(Method::POST, path).bearer_auth(token).json(&body));
    let claim = json!({ "account_id": account, "claim_id": "c1" });
    for token in [format!("kin_{instance}.guess"), "kin_.".into(), format!("kib_{instance}.guess")] {
        for path in ["claim", "artifacts", "complete", "fail"] {
            let body = match path {
                "claim" => claim.clone(),
                "fail" => json!({ "account_id": account, "attempt": 1, "failure": "permanent", "code": "x", "message": "" }),
                _ => {
                    json!({ "account_id": account, "attempt": 1, "artifacts": [{ "name": "a.png", "content_type": "image/png", "bytes": 1, "sha256": "0".repeat(64) }] })
                }
            };
            with(token.clone(), &format!("/api/v1/fleet/jobs/{job}/{path}"), body).await?.problem(401, "unknown_worker", "")?;
        }
        with(token.clone(), "/api/v1/fleet/credentials", json!({})).await?.problem(401, "unknown_worker", "")?;
        with(token, "/api/v1/fleet/heartbeat", json!({ "stage": "ready" })).await?.problem(401, "unknown_worker", "")?;
    }
    let register = json!({ "boot_token": format!("kib_{instance}.guess"), "version": "1", "capabilities": ["image"] });
    eve.post("/api/v1/fleet/register", register).await?.problem(401, "unknown_worker", "")?;
    ensure!(ada.show(&job).await?["state"] == "queued");
    eve.get("/api/v1/metrics").await?.problem(401, "not_admin", "")?;
    eve.send(eve.request(Method::GET, "/api/v1/admin/pool").bearer_auth("guess-guess-guess-guess")).await?.problem(401, "not_admin", "")?;
    Ok(())
}
