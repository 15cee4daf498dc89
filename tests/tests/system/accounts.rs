//! What a person says of themselves, their new address, the export, and the end of an account.

use super::stored;
use anyhow::{Context, Result, ensure};
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use kiln_tests::system::wait_for;
use kiln_tests::{Client, System, Verdict, picture};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const QUIET: [(&str, &str); 1] = [("KILN_POOL_MAX", "0")];

#[tokio::test]
async fn a_profile_changes_by_what_is_given_and_a_bad_field_is_named() -> Result<()> {
    let system = System::start(&QUIET).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let change = json!({ "name": " Ada ", "preferences": { "marketing_mail": true, "locale": "en-GB", "theme": "dark" } });
    let changed = ada.patch("/api/v1/me", change).await?.expect(200)?;
    ensure!(changed["email_pending"] == false && changed["account"]["name"] == "Ada", "{changed}");
    ada.patch("/api/v1/me", json!({ "preferences": { "locale": null } })).await?.expect(200)?;
    let me = ada.get("/api/v1/me").await?.expect(200)?;
    ensure!(me["account"]["preferences"] == json!({ "marketing_mail": true, "locale": null, "theme": "dark" }), "{me}");
    ensure!(ada.patch("/api/v1/me", json!({ "name": null })).await?.expect(200)?["account"]["name"].is_null());
    ada.patch("/api/v1/me", json!({})).await?.expect(200)?;
    for (body, field) in [
        (json!({ "name": "" }), "name"),
        (json!({ "name": "a\u{202e}b" }), "name"),
        (json!({ "name": 7 }), "name"),
        (json!({ "email": "nobody" }), "email"),
        (json!({ "email": "ADA@example.org" }), "email"),
        (json!({ "preferences": { "theme": "pink" } }), "preferences.theme"),
        (json!({ "preferences": { "locale": "English" } }), "preferences.locale"),
        (json!({ "preferences": { "colour": 1 } }), "preferences.colour"),
        (json!({ "balance": 1 }), "balance"),
    ] {
        ada.patch("/api/v1/me", body.clone()).await?.problem(422, "bad_field", field).with_context(|| body.to_string())?;
    }
    Ok(())
}

#[tokio::test]
async fn a_new_address_counts_once_it_is_confirmed_there_by_the_same_person() -> Result<()> {
    let system = System::start(&QUIET).await?;
    let (ada, eve) = (system.signed_in("ada@example.org").await?, system.signed_in("eve@example.org").await?);
    let asked = ada.patch("/api/v1/me", json!({ "email": "ada@new.example" })).await?.expect(200)?;
    ensure!(asked["email_pending"] == true && asked["account"]["email"] == "ada@example.org", "{asked}");
    let token = ada.mailed_token("ada@new.example", 0).await?;
    // A mail scanner opens the link, by every method that takes none back; and it signs nobody in.
    for method in [Method::GET, Method::HEAD] {
        ada.request(method, &format!("/confirm-email?token={token}")).send().await?;
    }
    ada.post("/api/v1/auth/verify-link", json!({ "token": token })).await?.problem(401, "link_invalid", "token")?;
    eve.post("/api/v1/me/confirm-email", json!({ "token": token })).await?.problem(404, "link_invalid", "token")?;
    system.client().post("/api/v1/me/confirm-email", json!({ "token": token })).await?.problem(401, "signed_out", "")?;
    let confirm = || ada.post("/api/v1/me/confirm-email", json!({ "token": token }));
    let both = tokio::join!(confirm(), confirm());
    let statuses = [both.0?.status.as_u16(), both.1?.status.as_u16()];
    ensure!(statuses.contains(&200) && statuses.contains(&404), "{statuses:?}");
    ensure!(ada.get("/api/v1/me").await?.expect(200)?["account"]["email"] == "ada@new.example");
    wait_for("the word to the old address", Duration::from_secs(10), || async {
        Ok(ada.mails("ada@example.org").await?.iter().any(|mail| mail["subject"].as_str().is_some_and(|subject| subject.contains("was changed"))).then_some(()))
    })
    .await?;
    // The new address signs in to the same account, the old one to another, without a second grant.
    let id = ada.get("/api/v1/me").await?.expect(200)?["account"]["id"].clone();
    ensure!(system.client().sign_in("ada@new.example").await?["id"] == id);
    let other = system.client();
    ensure!(other.sign_in("ada@example.org").await?["id"] != id && other.check_books().await? == (0, 0));
    // A taken address gets the same answer, and a mail without a link that confirms.
    let taken = eve.patch("/api/v1/me", json!({ "email": "ada@new.example" })).await?.expect(200)?;
    ensure!(taken["email_pending"] == true);
    wait_for("the mail to the taken address", Duration::from_secs(10), || async {
        let mails = eve.mails("ada@new.example").await?;
        let mail = mails.iter().find(|mail| mail["subject"].as_str().is_some_and(|subject| subject.contains("already")));
        Ok(mail.map(|mail| assert!(!mail["text"].as_str().unwrap_or_default().contains("token="), "{mail}")))
    })
    .await?;
    // Two ask for one free address: the second to confirm finds it taken.
    for client in [&ada, &eve] {
        client.patch("/api/v1/me", json!({ "email": "both@example.org" })).await?.expect(200)?;
    }
    let tokens = wait_for("both mails", Duration::from_secs(10), || async {
        let mails = eve.mails("both@example.org").await?;
        let tokens: Vec<String> =
            mails.iter().filter_map(|mail| Some(mail["text"].as_str()?.split("token=").nth(1)?.split_whitespace().next()?.to_owned())).collect();
        Ok((tokens.len() == 2).then_some(tokens))
    })
    .await?;
    ada.post("/api/v1/me/confirm-email", json!({ "token": tokens[0] })).await?.expect(200)?;
    eve.post("/api/v1/me/confirm-email", json!({ "token": tokens[1] })).await?.problem(409, "address_taken", "")?;
    for (body, field) in [(json!({}), "token"), (json!({ "token": 1 }), "token")] {
        eve.post("/api/v1/me/confirm-email", body).await?.problem(422, "bad_field", field)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_mail_scanner_s_look_at_a_link_uses_nothing_up() -> Result<()> {
    let system = System::start(&QUIET).await?;
    let ada = system.client();
    ada.post("/api/v1/auth/request-link", json!({ "email": "ada@example.org" })).await?.expect(202)?;
    let token = ada.mailed_token("ada@example.org", 0).await?;
    for path in [format!("/sign-in?token={token}"), format!("/api/v1/auth/verify-link?token={token}")] {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            ada.request(method, &path).send().await?;
        }
    }
    ensure!(ada.cookie().is_none(), "a look signed somebody in");
    ada.post("/api/v1/auth/verify-link", json!({ "token": token })).await?.expect(200)?;
    Ok(())
}

/// A person with a bit of everything: an upload, a job that made a file, a share, a key, two sessions.
async fn settle_in(system: &System, email: &str) -> Result<(Client, Client, String, String)> {
    let client = system.signed_in(email).await?;
    let upload = client.upload("photo.png", "image/png", &picture::png(8, 8)).await?;
    client.put("waiting.png", "image/png", &picture::png(8, 8)).await?;
    let job = client.job(json!({ "kind": "noop", "inputs": [upload] })).await?;
    ensure!(client.ended(&job, Duration::from_secs(60)).await?["state"] == "succeeded");
    let share = client.post("/api/v1/shares", json!({ "job_id": job })).await?.expect(201)?;
    let key = client.post("/api/v1/api-keys", json!({ "name": "k", "scopes": ["jobs:read"] })).await?.expect(201)?;
    let second = system.signed_in(email).await?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok((client, second, text(&share["token"]), text(&key["key"])))
}

#[tokio::test]
async fn an_export_holds_everything_of_the_account_and_no_secret() -> Result<()> {
    let system = System::start(&[]).await?;
    let (ada, _second, share, key) = settle_in(&system, "ada@example.org").await?;
    ada.post("/api/v1/orgs", json!({ "name": "Engines" })).await?.expect(201)?;
    for _ in 0..60 {
        let job = ada.post("/api/v1/jobs", json!({ "kind": "noop", "params": { "ms": 60000 } })).await?;
        if job.status == 402 {
            break;
        }
    }
    let answer = ada.get("/api/v1/me/export").await?;
    let disposition = answer.headers.get("content-disposition").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    ensure!(disposition.starts_with("attachment; filename=\"kiln-acc_"), "{disposition}");
    let export = answer.expect(200)?;
    let count = |name: &str| export[name].as_array().map_or(0, Vec::len);
    let jobs = ada.all("/api/v1/jobs").await?.len();
    ensure!((count("sessions"), count("api_keys"), count("organisations"), count("uploads"), count("shares")) == (2, 1, 1, 2, 1), "{export}");
    ensure!(count("jobs") == jobs && count("creations") == 1 && count("ledger") == ada.all("/api/v1/credits/ledger").await?.len(), "{export}");
    ensure!(export["account"]["email"] == "ada@example.org" && export["next_cursor"].is_null());
    ada.download(&export["creations"][0]["artifacts"][0]).await?;
    let all = export.to_string();
    let hash = |token: &str| hex::encode(<sha2::Sha256 as sha2::Digest>::digest(token.as_bytes()));
    for secret in [share.clone(), key.clone(), ada.cookie().unwrap_or_default(), hash(&share), hash(&key), hash(&ada.cookie().unwrap_or_default())] {
        ensure!(!secret.is_empty() && !all.contains(&secret), "a secret is in the export");
    }
    ada.get("/api/v1/me/export?cursor=x").await?.problem(422, "bad_field", "cursor")?;
    system.client().get("/api/v1/me/export").await?.problem(401, "signed_out", "")?;
    Ok(())
}

#[tokio::test]
async fn an_end_is_refused_while_something_is_under_way_or_not_meant() -> Result<()> {
    let system = System::start(&QUIET).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let end = || ada.delete_with("/api/v1/me", json!({ "confirm": "ada@example.org" }));
    for (body, field) in [(json!({}), "confirm"), (json!({ "confirm": "yes" }), "confirm"), (json!({ "confirm": "ada@example.org", "x": 1 }), "x")] {
        ada.delete_with("/api/v1/me", body).await?.problem(422, "bad_field", field)?;
    }
    let job = ada.noop(0).await?;
    end().await?.problem(409, "jobs_unfinished", "")?;
    ada.post(&format!("/api/v1/jobs/{job}/cancel"), json!({})).await?.expect(200)?;
    let org = ada.post("/api/v1/orgs", json!({ "name": "Engines" })).await?.expect(201)?;
    let org = org["id"].as_str().context("id")?;
    ada.post(&format!("/api/v1/orgs/{org}/invites"), json!({ "email": "bob@example.org", "role": "member" })).await?.expect(201)?;
    let token = ada.mailed_token("bob@example.org", 0).await?;
    let bob = system.signed_in("bob@example.org").await?;
    bob.post("/api/v1/invites/accept", json!({ "token": token })).await?.expect(200)?;
    let refused = end().await?;
    refused.problem(409, "last_owner", "")?;
    ensure!(refused.body["detail"].as_str().is_some_and(|detail| detail.contains("Engines")));
    ada.get("/api/v1/me").await?.expect(200)?;
    // With another owner it goes on without her.
    let bob_id = bob.get("/api/v1/me").await?.expect(200)?["account"]["id"].as_str().context("id")?.to_owned();
    ada.patch(&format!("/api/v1/orgs/{org}/members/{bob_id}"), json!({ "role": "owner" })).await?.expect(200)?;
    end().await?.expect(202)?;
    let view = bob.get(&format!("/api/v1/orgs/{org}")).await?.expect(200)?;
    ensure!(view["members"] == 1 && view["owners"] == 1, "{view}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_a_job_forestalls_leaves_every_organisation_as_it_was() -> Result<()> {
    let system = System::start_watched(&QUIET).await?;
    let faults = system.faults.clone().context("a watched system")?;
    let ada = system.signed_in("ada@example.org").await?;
    let hers = ada.post("/api/v1/orgs", json!({ "name": "Only hers" })).await?.expect(201)?["id"].as_str().context("id")?.to_owned();
    let bob = system.signed_in("bob@example.org").await?;
    let bobs = bob.post("/api/v1/orgs", json!({ "name": "Bob's" })).await?.expect(201)?["id"].as_str().context("id")?.to_owned();
    bob.post(&format!("/api/v1/orgs/{bobs}/invites"), json!({ "email": "ada@example.org", "role": "member" })).await?.expect(201)?;
    let before = ada.mails("ada@example.org").await?.len() - 1;
    let token = ada.mailed_token("ada@example.org", before).await?;
    ada.post("/api/v1/invites/accept", json!({ "token": token })).await?.expect(200)?;
    // The end waits at its commit, which conflicts until a job has come in.
    let (seen, come) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, gone_on) = (seen.clone(), come.clone());
    faults.rule(move |call| {
        let ends = call.name == "TransactWriteItems" && String::from_utf8_lossy(&call.body).contains("deleted_at");
        if ends {
            count.fetch_add(1, Ordering::SeqCst);
        }
        if ends && !gone_on.load(Ordering::SeqCst) { Verdict::Conflict } else { Verdict::Pass }
    });
    let end = ada.delete_with("/api/v1/me", json!({ "confirm": "ada@example.org" }));
    let job = async {
        wait_for("the end to be at its commit", Duration::from_secs(20), || async { Ok((seen.load(Ordering::SeqCst) > 0).then_some(())) }).await?;
        let job = ada.noop(0).await;
        come.store(true, Ordering::SeqCst);
        job
    };
    let (end, job) = tokio::join!(end, job);
    end?.problem(409, "jobs_unfinished", "")?;
    for (org, members) in [(&hers, 1), (&bobs, 2)] {
        let view = ada.get(&format!("/api/v1/orgs/{org}")).await?.expect(200)?;
        ensure!(view["members"] == members, "{view}");
    }
    // Without it, all ends together: hers with her, and her place in his.
    ada.post(&format!("/api/v1/jobs/{}/cancel", job?), json!({})).await?.expect(200)?;
    ada.delete_with("/api/v1/me", json!({ "confirm": "ada@example.org" })).await?.expect(202)?;
    ensure!(bob.get(&format!("/api/v1/orgs/{bobs}")).await?.expect(200)?["members"] == 1);
    let rows = stored::items(&faults.url).await?;
    let state = |id: &str| rows.iter().find(|item| stored::text(item, "pk") == format!("ACC#{id}") && stored::text(item, "sk") == "ACCOUNT");
    ensure!(state(&hers).is_some_and(|item| item.contains_key("state")), "{:?}", state(&hers));
    Ok(())
}

#[tokio::test]
async fn nobody_s_changes_of_address_use_up_another_s_links() -> Result<()> {
    let system = System::start(&[("KILN_POOL_MAX", "0"), ("KILN_LINKS_PER_ADDRESS", "3")]).await?;
    let eve = system.signed_in("eve@example.org").await?;
    for _ in 0..8 {
        eve.patch("/api/v1/me", json!({ "email": "ada@example.org" })).await?;
    }
    // Hers to sign in with is another mail than the question whether the address is Eve's.
    let ada = system.client();
    ada.sign_in("ada@example.org").await?;
    ensure!(ada.get("/api/v1/me").await?.expect(200)?["account"]["email"] == "ada@example.org");
    Ok(())
}

#[tokio::test]
async fn a_large_account_s_export_comes_in_parts_that_hold_everything_once() -> Result<()> {
    let system = System::start(&QUIET).await?;
    let ada = system.signed_in("ada@example.org").await?;
    ada.noop(0).await?;
    let stand_in = system.stand_in()?;
    let row = stored::items(&stand_in).await?.into_iter().find(|item| stored::text(item, "sk").starts_with("JOB#")).context("a job")?;
    let client = super::access::table_client(&stand_in).await;
    let (mut ids, mut puts) = (vec![stored::text(&row, "job_id")], Vec::new());
    for n in 0..1_500_u128 {
        let id = kiln_core::ids::JobId::new(1_700_000_000_000 + n as i64, n).to_string();
        let mut copy = row.clone();
        copy.insert("sk".into(), AttributeValue::S(format!("JOB#{id}")));
        copy.insert("job_id".into(), AttributeValue::S(id.clone()));
        copy.insert("params".into(), AttributeValue::S(json!({ "note": "x".repeat(2_000) }).to_string()));
        copy.retain(|name, _| !["owed_shard", "next_check_at"].contains(&name.as_str()));
        ids.push(id);
        puts.push(WriteRequest::builder().put_request(PutRequest::builder().set_item(Some(copy)).build()?).build());
    }
    for some in puts.chunks(25) {
        client.batch_write_item().request_items("kiln-local-Table", some.to_vec()).send().await?;
    }
    let (mut found, mut parts, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let part = ada.get(&format!("/api/v1/me/export{cursor}")).await?.expect(200)?;
        ensure!(part.to_string().len() < 6_000_000, "a part is larger than a function may answer");
        parts += 1;
        found.extend(part["jobs"].as_array().into_iter().flatten().filter_map(|job| job["id"].as_str().map(str::to_owned)));
        match part["next_cursor"].as_str() {
            Some(next) => cursor = format!("?cursor={next}"),
            None => break,
        }
    }
    println!("{} jobs in {parts} parts", found.len());
    found.sort();
    ids.sort();
    ensure!(parts > 1 && found == ids, "{parts} parts, {} of {} jobs", found.len(), ids.len());
    Ok(())
}

#[tokio::test]
async fn after_its_end_nothing_of_a_person_is_left_but_the_books_though_the_system_dies_at_every_step() -> Result<()> {
    let mut system = System::start_watched(&[("KILN_DELETION_SETTLE_S", "0"), ("KILN_TICK_S", "3600")]).await?;
    let faults = system.faults.clone().context("a watched system")?;
    let (ada, second, share, key) = settle_in(&system, "ada@example.org").await?;
    let bob = settle_in(&system, "bob@example.org").await?.0;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (id, bob_id) = (text(&ada.get("/api/v1/me").await?.body["account"]["id"]), text(&bob.get("/api/v1/me").await?.body["account"]["id"]));
    let job = text(&ada.all("/api/v1/jobs").await?[0]["id"]);
    ada.post("/api/v1/orgs", json!({ "name": "Only hers" })).await?.expect(201)?;
    let entries = ada.all("/api/v1/credits/ledger").await?.len();
    let ours = |key: &String| key.contains(&id) || key.contains(&job);
    ensure!(stored::objects(&faults.url).await?.iter().filter(|key| ours(key)).count() >= 3);
    let bobs = |keys: Vec<String>| keys.into_iter().filter(|key| !ours(key)).count();
    let kept = bobs(stored::objects(&faults.url).await?);

    ada.delete_with("/api/v1/me", json!({ "confirm": "ada@example.org" })).await?.expect(202)?;
    // At once: no session, key or link opens anything.
    second.get("/api/v1/me").await?.problem(401, "signed_out", "")?;
    second.get("/api/v1/jobs").await?.problem(401, "signed_out", "")?;
    let stranger = system.client();
    stranger.send(stranger.request(Method::GET, "/api/v1/jobs").bearer_auth(&key)).await?.problem(401, "key_invalid", "")?;
    stranger.get(&format!("/api/v1/share/{share}")).await?.problem(404, "not_found", "")?;

    // Maintenance begins now. The system dies with the first, second, third … of the calls that change something, until one run gets through:
    // that call is carried out and its answer lost, what it sends before it is killed is not carried out.
    system.set("KILN_TICK_S", "1");
    for step in 1.. {
        ensure!(step < 60, "the end never comes");
        system.kill().await?;
        let seen = Arc::new(AtomicUsize::new(0));
        let count = seen.clone();
        faults.rule(move |call| {
            let changes = call.name == "s3 POST" || call.name == "TransactWriteItems" || call.name == "UpdateItem";
            match if changes { count.fetch_add(1, Ordering::SeqCst) + 1 } else { 0 } {
                now if now == step => Verdict::LoseAnswer,
                now if now > step => Verdict::Swallow,
                _ => Verdict::Pass,
            }
        });
        system.restart().await?;
        let ended = wait_for("the end of the account, or of the system", Duration::from_secs(60), || async {
            if seen.load(Ordering::SeqCst) >= step {
                return Ok(Some(false));
            }
            let items = stored::items(&faults.url).await?;
            let account = items.iter().find(|item| stored::text(item, "pk") == format!("ACC#{id}") && stored::text(item, "sk") == "ACCOUNT");
            Ok(account.filter(|account| stored::text(account, "state") == "deleted").map(|_| true))
        })
        .await?;
        if ended {
            println!("the end came after {} deaths", step - 1);
            ensure!(step > 2, "nothing was interrupted");
            break;
        }
    }
    faults.rule(|_| Verdict::Pass);
    let objects = stored::objects(&faults.url).await?;
    ensure!(!objects.iter().any(ours), "files are left: {objects:?}");
    ensure!(bobs(objects) == kept, "somebody else's files are gone");
    let items = stored::items(&faults.url).await?;
    let mine: Vec<_> = items.iter().filter(|item| stored::text(item, "pk") == format!("ACC#{id}")).collect();
    let ledger = mine.iter().filter(|item| stored::text(item, "sk").starts_with("LEDGER#")).count();
    ensure!(ledger == entries && mine.len() == entries + 1, "{mine:?}");
    for item in items.iter().filter(|item| !stored::text(item, "pk").starts_with("LINK#")) {
        let shown = format!("{item:?}");
        ensure!(!shown.contains("ada@example.org"), "her address is left: {shown}");
        ensure!(!shown.contains(&id) || stored::text(item, "pk") == format!("ACC#{id}"), "her account is named elsewhere: {shown}");
    }
    // The address may sign up again: another account, and no second grant.
    let again = system.client();
    ensure!(again.sign_in("ada@example.org").await?["id"] != json!(id));
    ensure!(again.check_books().await? == (0, 0) && again.all("/api/v1/jobs").await?.is_empty());
    let bob_again = system.client();
    bob_again.set_cookie(bob.cookie());
    ensure!(bob_again.get("/api/v1/me").await?.expect(200)?["account"]["id"] == json!(bob_id) && bob_again.all("/api/v1/jobs").await?.len() == 1);
    Ok(())
}
