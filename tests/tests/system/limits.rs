//! What an account may do in a minute and a day and may keep, counted in the transaction of what is made; and an operator's hand on it.

use anyhow::{Context, Result, ensure};
use kiln_tests::{Client, System, picture};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
const ADMIN_KEY: &str = "the-admin-key-of-this-test";

fn noop() -> Value {
    json!({ "kind": "noop" })
}

/// Six requests at once.
async fn six(client: &Client) -> Result<Vec<u16>> {
    let all = [(); 6].map(|()| client.post("/api/v1/jobs", noop()));
    let [a, b, c, d, e, f] = all;
    let (a, b, c, d, e, f) = tokio::join!(a, b, c, d, e, f);
    [a, b, c, d, e, f].into_iter().map(|answer| Ok(answer?.status.as_u16())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_free_account_s_day_has_an_end_and_of_requests_at_once_no_more_pass() -> Result<()> {
    let system = System::start(&[("KILN_FREE_INFERENCES_DAY", "4"), ("KILN_FREE_EDITS_DAY", "1")]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let upload = ada.upload("a.png", "image/png", &picture::png(8, 8)).await?;
    let edit = json!({ "kind": "upscale", "params": { "scale": 2 }, "inputs": [upload] });
    ada.post("/api/v1/jobs", edit.clone()).await?.expect(202)?;
    let refused = ada.post("/api/v1/jobs", edit).await?;
    refused.problem(429, "daily_limit", "")?;
    ensure!(refused.headers.contains_key("retry-after") && refused.body["detail"].as_str().is_some_and(|text| text.contains("edits")), "{}", refused.body);
    let statuses = six(&ada).await?;
    ensure!(statuses.iter().filter(|status| **status == 202).count() == 3 && statuses.iter().all(|status| [202, 429].contains(status)), "{statuses:?}");
    let usage = ada.get("/api/v1/usage").await?.expect(200)?;
    ensure!(usage["inferences"]["used"] == 4 && usage["inferences"]["limit"] == 4 && usage["edits"]["used"] == 1, "{usage}");
    ensure!(usage["inferences"]["resets_at"].as_str().is_some_and(|at| at.ends_with("T00:00:00.000Z")) && usage["free"] == true, "{usage}");
    // A refusal has held nothing.
    let credits = ada.get("/api/v1/credits").await?.expect(200)?;
    ensure!(credits["available_millicredits"].as_i64().context("available")? + credits["held_millicredits"].as_i64().context("held")? <= 10_000);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_in_a_minute_is_limited_and_the_headers_say_what_is_left() -> Result<()> {
    let system = System::start(&[("KILN_CREATES_PER_MINUTE", "3")]).await?;
    let ben = system.signed_in("ben@example.org").await?;
    // A minute may end in between: six at once are refused at least three times within one.
    let first = ben.post("/api/v1/jobs", noop()).await?;
    let left = first.headers.get("ratelimit").and_then(|value| value.to_str().ok()).context("ratelimit")?.to_owned();
    ensure!(left.starts_with("\"creates\";r=2;t="), "{left}");
    ensure!(first.headers["ratelimit-policy"] == "\"creates\";q=3;w=60");
    let statuses = six(&ben).await?;
    ensure!(statuses.iter().filter(|status| **status == 429).count() >= 1, "{statuses:?}");
    let statuses = six(&ben).await?;
    ensure!(statuses.iter().filter(|status| **status == 429).count() >= 3, "{statuses:?}");
    let refused = ben.post("/api/v1/uploads", json!({ "filename": "a.png", "content_type": "image/png", "bytes": 10 })).await?;
    if refused.status == 429 {
        refused.problem(429, "too_fast", "")?;
        ensure!(refused.headers.contains_key("retry-after") && refused.headers["ratelimit"].to_str()?.contains("r=0"));
    }
    let read = ben.get("/api/v1/credits").await?;
    ensure!(read.headers["ratelimit-policy"] == "\"reads\";q=6000;w=60");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_too_fast_is_told_when_the_next_minute_begins_and_nobody_else_waits() -> Result<()> {
    let system = System::start(&[("KILN_POOL_MAX", "0"), ("KILN_READS_PER_MINUTE", "10")]).await?;
    let (ida, jon) = (system.signed_in("ida@example.org").await?, system.signed_in("jon@example.org").await?);
    let first = ida.get("/api/v1/credits").await?;
    ensure!(first.status == 200 && first.headers["ratelimit-policy"] == "\"reads\";q=10;w=60", "{first:?}");
    ensure!(first.headers["ratelimit"].to_str()?.starts_with("\"reads\";r=9;t="), "{first:?}");
    // A minute may end in between, but no second one: of one and twenty reads eleven lie in the same.
    let mut refused = None;
    for _ in 0..20 {
        let answer = ida.get("/api/v1/credits").await?;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        answer.expect(200)?;
    }
    let refused = refused.context("one and twenty reads, and none refused")?;
    refused.problem(429, "too_fast", "")?;
    let wait: u64 = refused.headers["retry-after"].to_str()?.parse()?;
    ensure!((1..=60).contains(&wait) && refused.body["retry_after_s"] == wait, "{refused:?}");
    ensure!(refused.headers["ratelimit-policy"] == "\"reads\";q=10;w=60", "{refused:?}");
    ensure!(refused.headers["ratelimit"].to_str()? == format!("\"reads\";r=0;t={wait}"), "{refused:?}");
    // Another cookie beside it makes no other caller.
    let disguised = system.client();
    disguised.set_cookie(ida.cookie().map(|cookie| format!("{cookie}; n=1")));
    disguised.get("/api/v1/credits").await?.problem(429, "too_fast", "")?;
    // What is asked by POST is no read, but has its own count; and each caller has theirs.
    let quote = ida.post("/api/v1/jobs/quote", noop()).await?;
    ensure!(quote.status == 200 && quote.headers["ratelimit-policy"] == "\"calls\";q=10;w=60", "{quote:?}");
    let mut slowed = None;
    for _ in 0..20 {
        slowed = Some(ida.post("/api/v1/jobs/quote", noop()).await?).filter(|answer| answer.status == 429);
        if slowed.is_some() {
            break;
        }
    }
    slowed.context("one and twenty quotes, and none refused")?.problem(429, "too_fast", "")?;
    jon.get("/api/v1/credits").await?.expect(200)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_free_account_keeps_is_limited_and_deleting_makes_room() -> Result<()> {
    let system = System::start(&[("KILN_FREE_STORED_BYTES", "1000")]).await?;
    let cleo = system.signed_in("cleo@example.org").await?;
    let wanted = |bytes: u64| cleo.post("/api/v1/uploads", json!({ "filename": "a.png", "content_type": "image/png", "bytes": bytes }));
    let first = wanted(600).await?.expect(201)?;
    wanted(600).await?.problem(403, "storage_full", "bytes")?;
    wanted(400).await?.expect(201)?;
    ensure!(cleo.get("/api/v1/usage").await?.expect(200)?["stored_bytes"]["used"] == 1000);
    cleo.delete(&format!("/api/v1/uploads/{}", first["id"].as_str().context("id")?)).await?.expect(204)?;
    wanted(500).await?.expect(201)?;
    ensure!(cleo.get("/api/v1/usage").await?.expect(200)?["stored_bytes"]["used"] == 900);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_limits_prices_suspends_and_grants_and_each_wrong_field_is_named() -> Result<()> {
    let system = System::start(&[("KILN_ADMIN_KEY", ADMIN_KEY), ("KILN_FREE_INFERENCES_DAY", "1")]).await?;
    let dora = system.signed_in("dora@example.org").await?;
    let id = dora.get("/api/v1/me").await?.expect(200)?["account"]["id"].as_str().context("id")?.to_owned();
    let path = format!("/api/v1/admin/accounts/{id}");
    let operator = system.client();
    let patch = |body: Value| operator.send(operator.request(Method::PATCH, &path).bearer_auth(ADMIN_KEY).json(&body));
    let grant =
        |body: Value| operator.send(operator.request(Method::POST, &format!("{path}/grant")).bearer_auth(ADMIN_KEY).header("idempotency-key", "g").json(&body));

    operator.get(&path).await?.problem(401, "not_admin", "")?;
    dora.get("/api/v1/admin/accounts?email=dora@example.org").await?.problem(401, "not_admin", "")?;
    let find = |query: &'static str| operator.send(operator.request(Method::GET, &format!("/api/v1/admin/accounts{query}")).bearer_auth(ADMIN_KEY));
    ensure!(find("?email=Dora@example.org").await?.expect(200)?["id"] == id.as_str());
    find("?email=nobody@example.org").await?.problem(404, "not_found", "")?;
    find("").await?.problem(422, "bad_field", "email")?;

    ensure!(dora.post("/api/v1/jobs/quote", noop()).await?.expect(200)?["quote_millicredits"] == 1000);
    let changed = patch(json!({ "limits": { "inferences_day": 5, "running": 1 }, "prices": { "kinds_permille": { "noop": 500 } } })).await?.expect(200)?;
    ensure!(changed["limits"]["inferences_day"] == 5 && changed["prices"]["kinds_permille"]["noop"] == 500, "{changed}");
    let quote = dora.post("/api/v1/jobs/quote", noop()).await?.expect(200)?;
    ensure!(quote["quote_millicredits"] == 500 && quote["lines"].as_array().is_some_and(|lines| lines.len() == 2), "{quote}");
    for _ in 0..2 {
        let job = dora.job(noop()).await?;
        ensure!(dora.ended(&job, SOON).await?["charged_millicredits"] == 500);
    }
    patch(json!({ "limits": { "inferences_day": null } })).await?.expect(200)?;
    dora.post("/api/v1/jobs", noop()).await?.problem(429, "daily_limit", "")?;
    patch(json!({ "suspended": true })).await?.expect(200)?;
    dora.post("/api/v1/jobs", noop()).await?.problem(403, "account_suspended", "")?;
    dora.post("/api/v1/credits/checkout", json!({ "pack": "starter" })).await?.problem(403, "account_suspended", "")?;
    for (body, field) in [
        (json!({ "limits": { "running": -1 } }), "limits.running"),
        (json!({ "limits": { "walking": 1 } }), "limits.walking"),
        (json!({ "prices": { "all_permille": -1 } }), "prices.all_permille"),
        (json!({ "suspended": "yes" }), "suspended"),
        (json!({}), "body"),
    ] {
        patch(body).await?.problem(422, "bad_field", field)?;
    }

    let before = dora.get("/api/v1/credits").await?.expect(200)?["available_millicredits"].as_i64().context("available")?;
    let twice = tokio::join!(grant(json!({ "millicredits": 700, "reason": "sorry" })), grant(json!({ "millicredits": 700, "reason": "sorry" })));
    let (first, second) = (twice.0?.expect(201)?, twice.1?.expect(201)?);
    ensure!(first == second, "{first} {second}");
    grant(json!({ "millicredits": 800, "reason": "sorry" })).await?.problem(422, "idempotency_key_reused", "Idempotency-Key")?;
    let other = |body: Value| operator.send(operator.request(Method::POST, &format!("{path}/grant")).bearer_auth(ADMIN_KEY).json(&body));
    other(json!({ "millicredits": 0, "reason": "x" })).await?.problem(422, "bad_field", "millicredits")?;
    other(json!({ "millicredits": 5, "reason": " " })).await?.problem(422, "bad_field", "reason")?;
    other(json!({ "millicredits": -1_000_000, "reason": "a slip" })).await?.problem(409, "insufficient_credits", "millicredits")?;
    other(json!({ "millicredits": -700, "reason": "a slip" })).await?.expect(201)?;
    ensure!(dora.get("/api/v1/credits").await?.expect(200)?["available_millicredits"] == before);
    let kinds: Vec<_> = dora.all("/api/v1/credits/ledger").await?.iter().map(|entry| entry["kind"].as_str().unwrap_or_default().to_owned()).collect();
    ensure!(kinds[0] == "adjustment" && kinds[1] == "grant", "{kinds:?}");
    dora.check_books().await?;
    // Each of these has its line in the audit log, done or refused; what was repeated has none.
    let audit = super::stored::items(&system.stand_in()?).await?.into_iter().filter(|item| super::stored::text(item, "pk") == "AUDIT");
    let mut lines: Vec<_> = audit.map(|item| ["sk", "action", "outcome"].map(|name| super::stored::text(&item, name))).collect();
    lines.sort();
    let lines: Vec<_> = lines.iter().map(|[_, action, outcome]| (action.as_str(), outcome.as_str())).collect();
    let (change, grant) = ("account.change", "account.grant");
    let signed_out = [("sign-in", "401 not_admin"); 2].to_vec();
    let changes = [vec![(change, "done"); 3], vec![(change, "422 bad_field"); 5]].concat();
    let grants = [
        (grant, "done"),
        (grant, "422 idempotency_key_reused"),
        (grant, "422 bad_field"),
        (grant, "422 bad_field"),
        (grant, "409 insufficient_credits"),
        (grant, "done"),
    ];
    ensure!(lines == [signed_out, changes, grants.to_vec()].concat(), "{lines:?}");
    // Who is suspended makes nothing else either; and it can be lifted.
    dora.post("/api/v1/api-keys", json!({ "name": "a", "scopes": ["jobs:read"] })).await?.problem(403, "account_suspended", "")?;
    dora.post("/api/v1/orgs", json!({ "name": "Engines" })).await?.problem(403, "account_suspended", "")?;
    let endpoint = json!({ "url": "https://hooks.example.com/", "events": ["job.*"] });
    dora.post("/api/v1/webhook-endpoints", endpoint).await?.problem(403, "account_suspended", "")?;
    patch(json!({ "suspended": false, "limits": { "inferences_day": 50, "stored_bytes": 10 } })).await?.expect(200)?;
    dora.post("/api/v1/uploads", json!({ "filename": "a.png", "content_type": "image/png", "bytes": 11 })).await?.problem(403, "storage_full", "bytes")?;
    let key = dora.post("/api/v1/api-keys", json!({ "name": "a", "scopes": ["jobs:read"] })).await?;
    ensure!(key.status == 201 && key.headers["ratelimit-policy"].to_str()?.contains("creates"), "{key:?}");
    dora.ended(&dora.job(noop()).await?, SOON).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_s_own_limits_of_what_waits_and_of_edits_hold() -> Result<()> {
    let system = System::start(&[("KILN_ADMIN_KEY", ADMIN_KEY), ("KILN_POOL_MAX", "0")]).await?;
    let fay = system.signed_in("fay@example.org").await?;
    let id = fay.get("/api/v1/me").await?.expect(200)?["account"]["id"].as_str().context("id")?.to_owned();
    let operator = system.client();
    let limits = json!({ "limits": { "queued": 2, "edits_day": 1 } });
    let patch = operator.request(Method::PATCH, &format!("/api/v1/admin/accounts/{id}")).bearer_auth(ADMIN_KEY).json(&limits);
    operator.send(patch).await?.expect(200)?;
    let upload = fay.upload("a.png", "image/png", &picture::png(8, 8)).await?;
    let edit = json!({ "kind": "upscale", "params": { "scale": 2 }, "inputs": [upload] });
    let job = fay.job(edit.clone()).await?;
    fay.post("/api/v1/jobs", edit.clone()).await?.problem(429, "daily_limit", "")?;
    let usage = fay.get("/api/v1/usage").await?.expect(200)?;
    ensure!(usage["edits"]["used"] == 1 && usage["edits"]["limit"] == 1, "{usage}");
    // One waits; of six at once one more may.
    let statuses = six(&fay).await?;
    ensure!(statuses.iter().filter(|status| **status == 202).count() == 1 && statuses.iter().all(|status| [202, 429].contains(status)), "{statuses:?}");
    fay.post("/api/v1/jobs", noop()).await?.problem(429, "account_queue_full", "")?;
    // What has ended waits no more.
    fay.post(&format!("/api/v1/jobs/{job}/cancel"), json!({})).await?.expect(200)?;
    fay.post("/api/v1/jobs", noop()).await?.expect(202)?;
    fay.check_books().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metered_job_is_charged_by_the_started_second_and_never_above_its_quote() -> Result<()> {
    let system = System::start(&[]).await?;
    let eve = system.signed_in("eve@example.org").await?;
    let quote = eve.post("/api/v1/jobs/quote", json!({ "kind": "noop_metered" })).await?.expect(200)?["quote_millicredits"].clone();
    ensure!(quote == 3000, "{quote}");
    let job = eve.job(json!({ "kind": "noop_metered", "params": { "ms": 1200 } })).await?;
    let done = eve.ended(&job, SOON).await?;
    let charged = done["charged_millicredits"].as_i64().context("charged")?;
    ensure!(charged % 100 == 0 && (200..3000).contains(&charged), "{done}");
    eve.check_books().await?;
    Ok(())
}
