//! The operators' audit log: what was done, what was refused and who failed to sign in, each with one line; and its list.

use anyhow::{Context, Result, ensure};
use kiln_core::time::{Millis, parse_rfc3339, rfc3339};
use kiln_tests::client::Answer;
use kiln_tests::{Client, Machine, System};
use reqwest::Method;
use serde_json::{Value, json};

const KEY: &str = "the-admin-key-of-this-test";
const WRONG: &str = "a-wrong-key-of-this-test";
const QUIET: [(&str, &str); 2] = [("KILN_ADMIN_KEY", KEY), ("KILN_POOL_MAX", "0")];
const POOL: &str = "/api/v1/admin/pool";
const HOUR: Millis = 3_600_000;

async fn by(client: &Client, key: &str, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
    let request = client.request(method, path).bearer_auth(key);
    client.send(if let Some(body) = body { request.json(body) } else { request }).await
}

async fn list(client: &Client, query: &str) -> Result<Value> {
    by(client, KEY, Method::GET, &format!("/api/v1/admin/audit?{query}"), None).await?.expect(200)
}

/// All lines, in the order of time.
async fn all(client: &Client) -> Result<Vec<Value>> {
    let page = list(client, "limit=100").await?;
    ensure!(page["next_cursor"].is_null(), "{page}");
    let mut lines = page["items"].as_array().context("items")?.clone();
    lines.reverse();
    Ok(lines)
}

fn text<'a>(line: &'a Value, name: &str) -> &'a str {
    line[name].as_str().unwrap_or_default()
}

fn at(line: &Value) -> Result<Millis> {
    parse_rfc3339(text(line, "at")).context("at")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_refused_or_asked_with_a_wrong_key_leaves_one_line_each_and_never_the_key() -> Result<()> {
    let system = System::start(&[&QUIET[..], &[("KILN_AUDIT_DAYS", "2")]].concat()).await?;
    let dora = system.signed_in("dora@example.org").await?;
    let id = dora.get("/api/v1/me").await?.expect(200)?["account"]["id"].as_str().context("id")?.to_owned();
    let operator = system.client();
    let (account, nobody) = (format!("/api/v1/admin/accounts/{id}"), "/api/v1/admin/accounts/acc_00000000000000000000000000");
    let call = |method: Method, path: &str, body: Value| {
        let path = path.to_owned();
        let operator = &operator;
        async move { by(operator, KEY, method, &path, Some(&body)).await }
    };

    call(Method::PATCH, POOL, json!({ "desired_size": 0 })).await?.expect(200)?;
    call(Method::PATCH, POOL, json!({ "desired_size": 101 })).await?.problem(422, "bad_field", "desired_size")?;
    call(Method::PATCH, &account, json!({ "suspended": false })).await?.expect(200)?;
    call(Method::PATCH, nobody, json!({ "suspended": true })).await?.problem(404, "not_found", "")?;
    call(Method::PATCH, "/api/v1/admin/accounts/nobody", json!({ "suspended": true })).await?.problem(404, "not_found", "")?;
    let grant = format!("{account}/grant");
    call(Method::POST, &grant, json!({ "millicredits": -1_000_000, "reason": "a slip" })).await?.problem(409, "insufficient_credits", "millicredits")?;
    for _ in 0..3 {
        let request = operator.request(Method::POST, &grant).bearer_auth(KEY).header("idempotency-key", "g");
        operator.send(request.json(&json!({ "millicredits": 700, "reason": "sorry" }))).await?.expect(201)?;
    }
    // The key where it has no business, and a body that is long, or none.
    call(Method::POST, &grant, json!({ "millicredits": 0, "reason": KEY })).await?.problem(422, "bad_field", "millicredits")?;
    call(Method::PATCH, &format!("/api/v1/admin/accounts/{KEY}"), json!({ "suspended": true })).await?.problem(404, "not_found", "")?;
    call(Method::PATCH, POOL, json!({ "gpus": "ä".repeat(50_000) })).await?.problem(422, "bad_field", "gpus")?;
    operator.send(operator.request(Method::PATCH, POOL).bearer_auth(KEY).body("desired_size=1")).await?.problem(415, "not_json", "")?;
    // Who only looks leaves none; who may not look does.
    by(&operator, KEY, Method::GET, POOL, None).await?.expect(200)?;
    by(&operator, KEY, Method::GET, nobody, None).await?.problem(404, "not_found", "")?;
    by(&operator, WRONG, Method::GET, POOL, None).await?.problem(401, "not_admin", "")?;
    by(&operator, WRONG, Method::POST, &grant, Some(&json!({ "millicredits": 5, "reason": "mine" }))).await?.problem(401, "not_admin", "")?;
    dora.get("/api/v1/metrics").await?.problem(401, "not_admin", "")?;
    dora.get("/api/v1/admin/audit").await?.problem(401, "not_admin", "")?;

    let lines = all(&operator).await?;
    let told: Vec<[&str; 3]> = lines.iter().map(|line| ["action", "subject", "outcome"].map(|name| text(line, name))).collect();
    let (change, given, failed) = ("account.change", "account.grant", "401 not_admin");
    let expected = [
        ["pool.change", "pool", "done"],
        ["pool.change", "pool", "422 bad_field"],
        [change, &id, "done"],
        [change, "acc_00000000000000000000000000", "404 not_found"],
        [change, "nobody", "404 not_found"],
        [given, &id, "409 insufficient_credits"],
        [given, &id, "done"],
        [given, &id, "422 bad_field"],
        [change, "[the admin key]", "404 not_found"],
        ["pool.change", "pool", "422 bad_field"],
        ["pool.change", "pool", "415 not_json"],
        ["sign-in", "GET /api/v1/admin/pool", failed],
        ["sign-in", "POST /api/v1/admin/accounts/{id}/grant", failed],
        ["sign-in", "GET /api/v1/metrics", failed],
        ["sign-in", "GET /api/v1/admin/audit", failed],
    ];
    ensure!(told == expected, "{told:#?}");
    ensure!(lines.iter().all(|line| line["ip"] == "127.0.0.1" && text(line, "id").starts_with("aud_")), "{lines:#?}");
    let print = |line: &Value| text(line, "actor").len() == 16 && text(line, "actor").bytes().all(|byte| byte.is_ascii_hexdigit());
    ensure!(lines[..13].iter().all(print) && lines[..11].iter().all(|line| line["actor"] == lines[0]["actor"]), "{lines:#?}");
    ensure!(lines[11]["actor"] == lines[12]["actor"] && lines[11]["actor"] != lines[0]["actor"], "{lines:#?}");
    ensure!(lines[13..].iter().all(|line| line["actor"].is_null()), "{lines:#?}");
    ensure!(lines[6]["facts"] == r#"{"millicredits":700,"reason":"sorry"}"#, "{}", lines[6]);
    ensure!(lines[7]["facts"] == r#"{"millicredits":0,"reason":"[the admin key]"}"#, "{}", lines[7]);
    ensure!((1_990..=2_000).contains(&text(&lines[9], "facts").len()) && lines[10]["facts"] == "" && lines[12]["facts"] == "", "{lines:#?}");

    for item in super::stored::items(&system.stand_in()?).await? {
        ensure!(!format!("{item:?}").contains(KEY) && !format!("{item:?}").contains(WRONG), "a key is stored: {item:?}");
        if super::stored::text(&item, "pk") == "AUDIT" {
            let number = |name: &str| item.get(name).and_then(|value| value.as_n().ok()?.parse::<i64>().ok()).context(name.to_owned());
            ensure!(number("ttl")? == number("at")? / 1000 + 2 * 86_400, "{item:?}");
        }
    }
    ensure!(!system.log().lines().iter().any(|line| line.contains(KEY) || line.contains(WRONG)), "a key is in the log");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_order_about_a_machine_leaves_its_line_done_or_refused() -> Result<()> {
    let machine = Machine::new()?;
    // Its worker never speaks, and no schedule looks after the first time.
    let settings = [("KILN_ADMIN_KEY", KEY), ("KILN_WORKER_BIN", machine.program.as_str()), ("KILN_POOL_DESIRED", "1"), ("KILN_TICK_S", "3600")];
    let system = System::start(&settings).await?;
    machine.boot_token().await?;
    let operator = system.client();
    let call = async |method: Method, path: &str, body: Value| by(&operator, KEY, method, &format!("{POOL}/{path}"), Some(&body)).await;
    let pool = by(&operator, KEY, Method::GET, POOL, None).await?.expect(200)?;
    let id = pool["instances"][0]["id"].as_str().context("a machine")?.to_owned();

    call(Method::POST, "prewarm", json!({ "machines": 1, "minutes": 5 })).await?.expect(200)?;
    call(Method::POST, "prewarm", json!({ "machines": 2 })).await?.problem(422, "bad_field", "machines")?;
    call(Method::POST, "leases", json!({ "instance_id": id, "minutes": 31 })).await?.problem(422, "bad_field", "minutes")?;
    let lease = call(Method::POST, "leases", json!({ "instance_id": id, "minutes": 30 })).await?.expect(201)?;
    let lease = lease["id"].as_str().context("id")?;
    call(Method::POST, "leases", json!({ "instance_id": id, "minutes": 1 })).await?.problem(409, "instance_leased", "")?;
    call(Method::POST, "terminate", json!({ "instance_id": id })).await?.problem(409, "instance_leased", "")?;
    let release = format!("{POOL}/leases/{lease}");
    let release = async || by(&operator, KEY, Method::DELETE, &release, None).await;
    ensure!(release().await?.status == 204);
    release().await?.problem(404, "not_found", "")?;
    call(Method::POST, "terminate", json!({ "instance_id": id, "at_once": true })).await?.expect(202)?;
    call(Method::POST, "terminate", json!({ "instance_id": format!("ins_{}", "0".repeat(26)) })).await?.problem(404, "not_found", "")?;
    by(&operator, KEY, Method::PATCH, POOL, Some(&json!({ "safe_mode": true }))).await?.expect(200)?;
    call(Method::POST, "prewarm", json!({ "machines": 1 })).await?.problem(409, "safe_mode", "")?;

    let lines = all(&operator).await?;
    let told: Vec<[&str; 3]> = lines.iter().map(|line| ["action", "subject", "outcome"].map(|name| text(line, name))).collect();
    let (prewarm, leases, terminate) = (["pool.prewarm", "pool/prewarm"], ["pool.lease", "pool/leases"], ["pool.terminate", "pool/terminate"]);
    let line = |[action, subject]: [&'static str; 2], outcome: &'static str| [action, subject, outcome];
    let expected = [
        line(prewarm, "done"),
        line(prewarm, "422 bad_field"),
        line(leases, "422 bad_field"),
        line(leases, "done"),
        line(leases, "409 instance_leased"),
        line(terminate, "409 instance_leased"),
        ["pool.release", lease, "done"],
        ["pool.release", lease, "404 not_found"],
        line(terminate, "done"),
        line(terminate, "404 not_found"),
        ["pool.change", "pool", "done"],
        line(prewarm, "409 safe_mode"),
    ];
    ensure!(told == expected, "{told:#?}");
    ensure!(text(&lines[8], "facts").contains(&id) && text(&lines[3], "facts").contains("30"), "{lines:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_filtered_and_paged_and_a_filter_that_makes_no_sense_is_named() -> Result<()> {
    let system = System::start(&QUIET).await?;
    let client = system.client();
    for i in 0..7 {
        let key = if i == 3 { WRONG } else { KEY };
        by(&client, key, Method::PATCH, POOL, Some(&json!({ "min": 0, "idle_shutdown_s": 100 + i }))).await?;
    }
    let lines = all(&client).await?;
    ensure!(lines.len() == 7, "{lines:#?}");
    let newest_first = |page: &Value| page["items"].as_array().cloned().unwrap_or_default().iter().map(|line| text(line, "id").to_owned()).collect::<Vec<_>>();
    let ids = |wanted: &[usize]| wanted.iter().rev().map(|i| text(&lines[*i], "id").to_owned()).collect::<Vec<_>>();
    // Page by page, all of them and those of one key.
    let (operator, stranger) = (text(&lines[0], "actor"), text(&lines[3], "actor"));
    for (query, wanted) in [
        (String::new(), &[0, 1, 2, 3, 4, 5, 6][..]),
        (format!("actor={operator}"), &[0, 1, 2, 4, 5, 6]),
        ("action=pool.change".into(), &[0, 1, 2, 4, 5, 6]),
        (format!("action=sign-in&actor={stranger}"), &[3]),
        (format!("action=sign-in&actor={operator}"), &[]),
        ("action=account.grant".into(), &[]),
    ] {
        let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = list(&client, &format!("{query}&limit=2{cursor}")).await?;
            seen.extend(newest_first(&page));
            pages += 1;
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        ensure!(seen == ids(wanted) && pages == wanted.len().div_ceil(2).max(1), "{query}: {seen:?} on {pages} pages");
    }
    // From a time on, and before one.
    let (second, fifth) = (rfc3339(at(&lines[1])?), rfc3339(at(&lines[4])?));
    ensure!(newest_first(&list(&client, &format!("from={second}&to={fifth}")).await?) == ids(&[1, 2, 3]));
    ensure!(newest_first(&list(&client, &format!("from={fifth}")).await?) == ids(&[4, 5, 6]));
    ensure!(newest_first(&list(&client, &format!("to={second}&actor={operator}")).await?) == ids(&[0]));
    ensure!(newest_first(&list(&client, &format!("from={second}&to={second}")).await?).is_empty());
    // A cursor goes on under other dates too: there may be nothing more, or all of it.
    let middle = list(&client, "limit=3").await?["next_cursor"].as_str().context("a cursor")?.to_owned();
    ensure!(newest_first(&list(&client, &format!("to={second}&cursor={middle}")).await?) == ids(&[0]));
    let after = rfc3339(at(&lines[6])?);
    ensure!(newest_first(&list(&client, &format!("from={after}&cursor={middle}")).await?).is_empty());

    for (query, field) in [
        ("action=pool", "action"),
        ("action=", "action"),
        ("actor=me", "actor"),
        ("actor=00112233445566FF", "actor"),
        ("from=yesterday", "from"),
        ("to=2026-11-21", "to"),
        ("from=2026-11-22T00:00:00Z&to=2026-11-21T00:00:00Z", "from"),
        ("from=2026-11-22T00:00:00Z&from=2026-11-22T00:00:00Z", "from"),
        ("actor=0011223344556677&actor=0011223344556677", "actor"),
        ("limit=0", "limit"),
        ("cursor=x", "cursor"),
    ] {
        by(&client, KEY, Method::GET, &format!("/api/v1/admin/audit?{query}"), None).await?.problem(422, "bad_field", field).context(query)?;
    }
    ensure!(all(&client).await?.len() == 7, "a look left a line");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_keys_fills_no_log() -> Result<()> {
    let system = System::start(&QUIET).await?;
    let client = system.client();
    let hour = || Ok::<_, anyhow::Error>(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as Millis / HOUR);
    let began = hour()?;
    for i in 0..14 {
        let guess = |n: usize| format!("guess-{i}-{n}-guess-guess");
        let keys = [0, 1, 2, 3, 4].map(guess);
        let guesses = keys.each_ref().map(|key| by(&client, key, Method::GET, POOL, None));
        let [a, b, c, d, e] = guesses;
        let answers = tokio::join!(a, b, c, d, e);
        for answer in [answers.0?, answers.1?, answers.2?, answers.3?, answers.4?] {
            answer.problem(401, "not_admin", "")?;
        }
    }
    // An hour may end in between, and the next has as many.
    let hours = usize::try_from(hour()? - began)? + 1;
    let lines = all(&client).await?;
    ensure!((60..=60 * hours).contains(&lines.len()) && lines.iter().all(|line| line["action"] == "sign-in"), "{} lines in {hours} hours", lines.len());
    let told = system.log().lines().iter().filter(|line| line.contains("the audit log has had its lines of this hour")).count();
    ensure!(told == 70 - lines.len(), "{told} lines of the function's own log");
    // The operator is not kept from signing in, and what they do has its line.
    by(&client, KEY, Method::PATCH, POOL, Some(&json!({ "min": 0 }))).await?.expect(200)?;
    ensure!(list(&client, "limit=1").await?["items"][0]["outcome"] == "done");
    Ok(())
}
