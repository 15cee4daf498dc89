//! Organisations: acting for one, who may do what in it, invites, and that it always has an owner.

use super::stored;
use anyhow::{Context, Result, ensure};
use aws_sdk_dynamodb::types::AttributeValue;
use kiln_tests::client::Answer;
use kiln_tests::{Client, System};
use reqwest::Method;
use serde_json::{Value, json};

const QUIET: [(&str, &str); 1] = [("KILN_POOL_MAX", "0")];

async fn id(client: &Client) -> Result<String> {
    Ok(client.get("/api/v1/me").await?.expect(200)?["account"]["id"].as_str().context("id")?.to_owned())
}

async fn org(client: &Client, name: &str) -> Result<String> {
    Ok(client.post("/api/v1/orgs", json!({ "name": name })).await?.expect(201)?["id"].as_str().context("id")?.to_owned())
}

/// Invites an address; the token that was mailed.
async fn invite(by: &Client, org: &str, email: &str, role: &str) -> Result<String> {
    let before = by.mails(email).await?.len();
    by.post(&format!("/api/v1/orgs/{org}/invites"), json!({ "email": email, "role": role })).await?.expect(201)?;
    by.mailed_token(email, before).await
}

async fn join(system: &System, by: &Client, org: &str, email: &str, role: &str) -> Result<Client> {
    let token = invite(by, org, email, role).await?;
    let client = system.signed_in(email).await?;
    client.post("/api/v1/invites/accept", json!({ "token": token })).await?.expect(200)?;
    Ok(client)
}

async fn acting(client: &Client, org: &str, method: Method, path: &str, body: Option<Value>) -> Result<Answer> {
    let request = client.request(method, path).header("kiln-account", org);
    client
        .send(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
}

#[tokio::test]
async fn a_session_acts_for_an_organisation_by_the_header_and_a_stranger_finds_nothing() -> Result<()> {
    let system = System::start(&QUIET).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let org = org(&ada, "Engines").await?;
    // No grant: a person could make organisations only for that.
    let credits = acting(&ada, &org, Method::GET, "/api/v1/credits", None).await?.expect(200)?;
    ensure!(credits["available_millicredits"] == 0, "{credits}");
    acting(&ada, &org, Method::POST, "/api/v1/jobs", Some(json!({ "kind": "noop" }))).await?.problem(402, "insufficient_credits", "")?;
    let upload = json!({ "filename": "a.png", "content_type": "image/png", "bytes": 9 });
    let upload = acting(&ada, &org, Method::POST, "/api/v1/uploads", Some(upload)).await?.expect(201)?;
    let path = format!("/api/v1/uploads/{}", upload["id"].as_str().context("id")?);
    ada.get(&path).await?.problem(404, "not_found", "")?;
    let grace = join(&system, &ada, &org, "grace@example.org", "member").await?;
    acting(&grace, &org, Method::GET, &path, None).await?.expect(200)?;
    let eve = system.signed_in("eve@example.org").await?;
    let unknown = acting(&eve, "acc_00000000000000000000000000", Method::GET, &path, None).await?;
    unknown.problem(404, "not_found", "")?;
    for other in [org.as_str(), &id(&ada).await?, "nonsense"] {
        for (method, path, body) in [
            (Method::GET, path.as_str(), None),
            (Method::GET, "/api/v1/jobs", None),
            (Method::GET, "/api/v1/credits", None),
            (Method::POST, "/api/v1/jobs", Some(json!({ "kind": "noop" }))),
            (Method::GET, "/api/v1/api-keys", None),
            (Method::GET, "/api/v1/me/export", None),
        ] {
            ensure!(acting(&eve, other, method, path, body).await?.body == unknown.body, "{other} {path}");
        }
    }
    // One's own id is one's own account.
    let own = id(&eve).await?;
    ensure!(acting(&eve, &own, Method::GET, "/api/v1/credits", None).await?.expect(200)?["available_millicredits"] == 10_000);
    for (method, path) in [
        (Method::GET, format!("/api/v1/orgs/{org}")),
        (Method::PATCH, format!("/api/v1/orgs/{org}")),
        (Method::DELETE, format!("/api/v1/orgs/{org}")),
        (Method::GET, format!("/api/v1/orgs/{org}/members")),
        (Method::DELETE, format!("/api/v1/orgs/{org}/members/{own}")),
        (Method::GET, format!("/api/v1/orgs/{org}/invites")),
    ] {
        let body = json!({ "name": "x" });
        let body = if method == Method::DELETE && path.ends_with(&org) { json!({ "confirm": "Engines" }) } else { body };
        let theirs = eve.send(eve.request(method.clone(), &path).json(&body)).await?;
        let none = eve.send(eve.request(method, &path.replace(&org, "acc_00000000000000000000000000")).json(&body)).await?;
        theirs.problem(404, "not_found", "").with_context(|| path.clone())?;
        ensure!(theirs.body == none.body, "{path}");
    }
    // Out of the organisation, at once.
    let grace_id = id(&grace).await?;
    ada.delete(&format!("/api/v1/orgs/{org}/members/{grace_id}")).await?.expect(204)?;
    acting(&grace, &org, Method::GET, &path, None).await?.problem(404, "not_found", "")?;
    ensure!(grace.get("/api/v1/orgs").await?.expect(200)?["items"] == json!([]));
    Ok(())
}

#[tokio::test]
async fn each_role_may_what_it_may_and_the_refusal_says_who_may() -> Result<()> {
    let system = System::start(&QUIET).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let org = org(&ada, "Engines").await?;
    let admin = join(&system, &ada, &org, "admin@example.org", "admin").await?;
    let member = join(&system, &ada, &org, "member@example.org", "member").await?;
    let (ada_id, admin_id, member_id) = (id(&ada).await?, id(&admin).await?, id(&member).await?);
    let at = |rest: &str| format!("/api/v1/orgs/{org}{rest}");
    let refused = |answer: Answer| answer.problem(403, "role_missing", "");
    // A member sees who is there, and manages nothing.
    ensure!(member.all(&at("/members")).await?.len() == 3);
    refused(member.patch(&at(""), json!({ "name": "Mine" })).await?)?;
    refused(member.get(&at("/invites")).await?)?;
    refused(member.post(&at("/invites"), json!({ "email": "x@example.org", "role": "member" })).await?)?;
    refused(member.patch(&at(&format!("/members/{admin_id}")), json!({ "role": "member" })).await?)?;
    refused(member.patch(&at(&format!("/members/{member_id}")), json!({ "role": "admin" })).await?)?;
    refused(member.delete(&at(&format!("/members/{ada_id}"))).await?)?;
    refused(acting(&member, &org, Method::GET, "/api/v1/api-keys", None).await?)?;
    refused(acting(&member, &org, Method::POST, "/api/v1/api-keys", Some(json!({ "name": "a", "scopes": ["jobs:read"] }))).await?)?;
    refused(acting(&member, &org, Method::GET, "/api/v1/me/export", None).await?)?;
    refused(acting(&member, &org, Method::GET, "/api/v1/webhook-endpoints", None).await?)?;
    let endpoint = json!({ "url": "https://example.com/kiln", "events": ["*"] });
    refused(acting(&member, &org, Method::POST, "/api/v1/webhook-endpoints", Some(endpoint.clone())).await?)?;
    refused(acting(&member, &org, Method::GET, "/api/v1/deliveries", None).await?)?;
    refused(acting(&member, &org, Method::POST, "/api/v1/credits/checkout", Some(json!({ "pack": "starter", "currency": "usd" }))).await?)?;
    // An admin manages members, keys and webhooks, and no owner.
    acting(&admin, &org, Method::POST, "/api/v1/webhook-endpoints", Some(endpoint)).await?.expect(201)?;
    admin.patch(&at(""), json!({ "name": "Better Engines" })).await?.expect(200)?;
    let key = acting(&admin, &org, Method::POST, "/api/v1/api-keys", Some(json!({ "name": "a", "scopes": ["credits:read"] }))).await?.expect(201)?;
    refused(admin.post(&at("/invites"), json!({ "email": "x@example.org", "role": "owner" })).await?)?;
    refused(admin.patch(&at(&format!("/members/{member_id}")), json!({ "role": "owner" })).await?)?;
    refused(admin.patch(&at(&format!("/members/{ada_id}")), json!({ "role": "member" })).await?)?;
    refused(admin.delete(&at(&format!("/members/{ada_id}"))).await?)?;
    refused(admin.delete_with(&at(""), json!({ "confirm": "Better Engines" })).await?)?;
    refused(acting(&admin, &org, Method::GET, "/api/v1/me/export", None).await?)?;
    admin.patch(&at(&format!("/members/{member_id}")), json!({ "role": "admin" })).await?.expect(200)?;
    // Anybody may step down and leave.
    member.patch(&at(&format!("/members/{member_id}")), json!({ "role": "member" })).await?.expect(200)?;
    refused(member.patch(&at(&format!("/members/{member_id}")), json!({ "role": "admin" })).await?)?;
    member.delete(&at(&format!("/members/{member_id}"))).await?.expect(204)?;
    member.get(&at("")).await?.problem(404, "not_found", "")?;
    // The organisation's key is the organisation's: it opens that account and no other.
    let key = key["key"].as_str().context("key")?;
    let bearer = |account: &str| ada.request(Method::GET, "/api/v1/credits").bearer_auth(key).header("kiln-account", account);
    ensure!(ada.send(bearer(&org)).await?.expect(200)?["available_millicredits"] == 0);
    ada.send(bearer(&ada_id)).await?.problem(404, "not_found", "")?;
    for (body, field) in [(json!({}), "role"), (json!({ "role": "king" }), "role"), (json!({ "role": "admin", "x": 1 }), "x")] {
        ada.patch(&at(&format!("/members/{admin_id}")), body).await?.problem(422, "bad_field", field)?;
    }
    for body in [json!({}), json!({ "name": "" }), json!({ "name": "a\nb" }), json!({ "name": "see http://x.example" })] {
        ada.patch(&at(""), body.clone()).await?.problem(422, "bad_field", "name")?;
        ada.post("/api/v1/orgs", body).await?.problem(422, "bad_field", "name")?;
    }
    Ok(())
}

#[tokio::test]
async fn an_invite_ends_with_the_right_of_who_sent_it() -> Result<()> {
    let system = System::start(&QUIET).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let org = org(&ada, "Engines").await?;
    let bob = join(&system, &ada, &org, "bob@example.org", "owner").await?;
    let (owner, admin) = (invite(&bob, &org, "second@example.org", "owner").await?, invite(&bob, &org, "third@example.org", "admin").await?);
    let second = system.signed_in("second@example.org").await?;
    let third = system.signed_in("third@example.org").await?;
    let accept = async |client: &Client, token: &str| client.post("/api/v1/invites/accept", json!({ "token": token })).await;
    // An admin may not make owners; admins they may.
    ada.patch(&format!("/api/v1/orgs/{org}/members/{}", id(&bob).await?), json!({ "role": "admin" })).await?.expect(200)?;
    accept(&second, &owner).await?.problem(404, "invite_invalid", "token")?;
    accept(&third, &admin).await?.expect(200)?;
    // Who is put out leaves no way back in.
    let back = invite(&bob, &org, "fourth@example.org", "member").await?;
    ada.delete(&format!("/api/v1/orgs/{org}/members/{}", id(&bob).await?)).await?.expect(204)?;
    let fourth = system.signed_in("fourth@example.org").await?;
    accept(&fourth, &back).await?.problem(404, "invite_invalid", "token")?;
    Ok(())
}

#[tokio::test]
async fn the_last_owner_stays_also_when_two_go_at_once() -> Result<()> {
    let system = System::start(&QUIET).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let org = org(&ada, "Engines").await?;
    let ada_id = id(&ada).await?;
    let member = |who: &str| format!("/api/v1/orgs/{org}/members/{who}");
    ada.delete(&member(&ada_id)).await?.problem(409, "last_owner", "")?;
    ada.patch(&member(&ada_id), json!({ "role": "member" })).await?.problem(409, "last_owner", "")?;
    let bob = join(&system, &ada, &org, "bob@example.org", "owner").await?;
    let bob_id = id(&bob).await?;
    let (ada_path, bob_path) = (member(&ada_id), member(&bob_id));
    for round in 0..6 {
        let (a, b) = if round % 2 == 0 {
            tokio::join!(ada.patch(&ada_path, json!({ "role": "admin" })), bob.patch(&bob_path, json!({ "role": "admin" })))
        } else {
            // Each demotes the other; the one who is demoted first may not any more.
            tokio::join!(ada.patch(&bob_path, json!({ "role": "admin" })), bob.patch(&ada_path, json!({ "role": "admin" })))
        };
        let statuses = [a?.status.as_u16(), b?.status.as_u16()];
        ensure!(
            statuses.iter().filter(|status| **status == 200).count() == 1 && statuses.iter().all(|status| [200, 403, 409].contains(status)),
            "{statuses:?}"
        );
        let view = ada.get(&format!("/api/v1/orgs/{org}")).await?.expect(200)?;
        ensure!(view["owners"] == 1 && view["members"] == 2, "{view}");
        let (owner, other) = if view["role"] == "owner" { (&ada, &bob_id) } else { (&bob, &ada_id) };
        owner.patch(&member(other), json!({ "role": "owner" })).await?.expect(200)?;
    }
    let (a, b) = tokio::join!(ada.delete(&ada_path), bob.delete(&bob_path));
    let statuses = [a?.status.as_u16(), b?.status.as_u16()];
    ensure!(statuses.contains(&204) && statuses.contains(&409), "{statuses:?}");
    Ok(())
}

#[tokio::test]
async fn an_invite_is_accepted_once_by_the_address_that_it_was_sent_to() -> Result<()> {
    let system = System::start(&QUIET).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let org = org(&ada, "Engines <b>").await?;
    let accept = |client: &Client, token: &str| {
        let request = client.request(Method::POST, "/api/v1/invites/accept").json(&json!({ "token": token }));
        async move { request.send().await }
    };
    let first = invite(&ada, &org, "grace@example.org", "member").await?;
    let mail = ada.mails("grace@example.org").await?.pop().context("a mail")?;
    ensure!(mail["html"].as_str().is_some_and(|html| html.contains("Engines &lt;b&gt;") && !html.contains("<b>")), "{mail}");
    // Inviting again replaces the first.
    let token = invite(&ada, &org, "Grace@Example.org", "admin").await?;
    let open = ada.get(&format!("/api/v1/orgs/{org}/invites")).await?.expect(200)?;
    ensure!(open["items"].as_array().is_some_and(|items| items.len() == 1 && items[0]["role"] == "admin"), "{open}");
    let (grace, eve) = (system.signed_in("grace@example.org").await?, system.signed_in("eve@example.org").await?);
    grace.post("/api/v1/invites/accept", json!({ "token": first })).await?.problem(404, "invite_invalid", "token")?;
    let other = eve.post("/api/v1/invites/accept", json!({ "token": token })).await?;
    other.problem(403, "invite_for_another", "")?;
    ensure!(!other.body.to_string().contains("grace"), "it tells whose it is: {}", other.body);
    system.client().post("/api/v1/invites/accept", json!({ "token": token })).await?.problem(401, "signed_out", "")?;
    let both = tokio::join!(accept(&grace, &token), accept(&grace, &token));
    let statuses = [both.0?.status().as_u16(), both.1?.status().as_u16()];
    ensure!(statuses.iter().filter(|status| **status == 200).count() == 1, "{statuses:?}");
    grace.post("/api/v1/invites/accept", json!({ "token": token })).await?.problem(404, "invite_invalid", "token")?;
    let view = grace.get(&format!("/api/v1/orgs/{org}")).await?.expect(200)?;
    ensure!(view["members"] == 2 && view["role"] == "admin", "{view}");
    ada.post(&format!("/api/v1/orgs/{org}/invites"), json!({ "email": "grace@example.org", "role": "member" })).await?.problem(409, "already_member", "")?;
    // Taken back, it opens nothing.
    let token = invite(&ada, &org, "eve@example.org", "member").await?;
    let open = ada.get(&format!("/api/v1/orgs/{org}/invites")).await?.expect(200)?;
    let path = format!("/api/v1/orgs/{org}/invites/{}", open["items"][0]["id"].as_str().context("id")?);
    ada.delete(&path).await?.expect(204)?;
    ada.delete(&path).await?.problem(404, "not_found", "")?;
    eve.post("/api/v1/invites/accept", json!({ "token": token })).await?.problem(404, "invite_invalid", "token")?;
    for bad in ["", "x", "acc_00000000000000000000000000.x", &format!("{org}.guess")] {
        eve.post("/api/v1/invites/accept", json!({ "token": bad })).await?.problem(404, "invite_invalid", "token")?;
    }
    for (body, field) in [
        (json!({ "role": "member" }), "email"),
        (json!({ "email": "nobody", "role": "member" }), "email"),
        (json!({ "email": "x@example.org" }), "role"),
        (json!({ "email": "x@example.org", "role": "guest" }), "role"),
    ] {
        ada.post(&format!("/api/v1/orgs/{org}/invites"), body).await?.problem(422, "bad_field", field)?;
    }
    // The same key makes one invite, and one mail.
    let wanted = json!({ "email": "zoe@example.org", "role": "member" });
    let path = format!("/api/v1/orgs/{org}/invites");
    let both = tokio::join!(ada.post_once(&path, wanted.clone(), "i"), ada.post_once(&path, wanted.clone(), "i"));
    ensure!(both.0?.expect(201)?["id"] == both.1?.expect(201)?["id"]);
    ada.mailed_token("zoe@example.org", 0).await?;
    ensure!(ada.mails("zoe@example.org").await?.len() == 1);
    Ok(())
}

#[tokio::test]
async fn limits_of_organisations_and_of_their_mails_hold() -> Result<()> {
    let system = System::start(&[("KILN_POOL_MAX", "0"), ("KILN_MAILS_PER_ACCOUNT", "3")]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let first = ada.post_once("/api/v1/orgs", json!({ "name": "A" }), "k").await?.expect(201)?;
    ensure!(ada.post_once("/api/v1/orgs", json!({ "name": "A" }), "k").await?.expect(201)?["id"] == first["id"]);
    for _ in 0..3 {
        org(&ada, "B").await?;
    }
    // The fifth place is taken once, by however many at once.
    let make = || ada.post("/api/v1/orgs", json!({ "name": "C" }));
    let (a, b, c) = tokio::join!(make(), make(), make());
    let statuses = [a?.status.as_u16(), b?.status.as_u16(), c?.status.as_u16()];
    ensure!(statuses.iter().filter(|status| **status == 201).count() == 1, "{statuses:?}");
    make().await?.problem(409, "too_many_owned", "")?;
    ensure!(ada.all("/api/v1/orgs").await?.len() == 5);
    let org = first["id"].as_str().context("id")?;
    let invites = format!("/api/v1/orgs/{org}/invites");
    let mut refused = 0;
    for i in 0..8 {
        let answer = ada.post(&invites, json!({ "email": format!("p{i}@example.org"), "role": "member" })).await?;
        if answer.status == 429 {
            answer.problem(429, "too_many_mails", "")?;
            refused += 1;
        }
    }
    // The hour's end may fall into the test.
    ensure!(refused >= 2, "{refused} of eight mails refused, with three an hour");
    // Left, one may be made again.
    ada.delete_with(&format!("/api/v1/orgs/{org}"), json!({ "confirm": "wrong" })).await?.problem(422, "bad_field", "confirm")?;
    ada.delete_with(&format!("/api/v1/orgs/{org}"), json!({ "confirm": "a" })).await?.expect(202)?;
    make().await?.expect(201)?;
    Ok(())
}

/// Changes a number in a stored item, as fifty members and their organisations are too many for a test to make.
async fn set(system: &System, account: &str, field: &str, number: u32) -> Result<()> {
    let client = super::access::table_client(&system.stand_in()?).await;
    let key = |value: &str| AttributeValue::S(value.to_owned());
    let update = client.update_item().table_name("kiln-local-Table").key("pk", key(&format!("ACC#{account}"))).key("sk", key("ACCOUNT"));
    let update = update.update_expression("SET #f = :n").expression_attribute_names("#f", field);
    update.expression_attribute_values(":n", AttributeValue::N(number.to_string())).send().await?;
    Ok(())
}

#[tokio::test]
async fn fifty_members_fifty_organisations_and_fifty_open_invites_are_the_most() -> Result<()> {
    let system = System::start(&[("KILN_POOL_MAX", "0"), ("KILN_MAILS_PER_ACCOUNT", "1000"), ("KILN_CREATES_PER_MINUTE", "1000")]).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let org = org(&ada, "Engines").await?;
    let token = invite(&ada, &org, "ben@example.org", "member").await?;
    let ben = system.signed_in("ben@example.org").await?;
    let accept = || ben.post("/api/v1/invites/accept", json!({ "token": token }));
    set(&system, &org, "n_members", 50).await?;
    accept().await?.problem(409, "org_full", "")?;
    set(&system, &org, "n_members", 1).await?;
    set(&system, &id(&ben).await?, "n_orgs", 50).await?;
    accept().await?.problem(409, "too_many_orgs", "")?;
    set(&system, &id(&ben).await?, "n_orgs", 0).await?;
    // Refused, it was not used up.
    accept().await?.expect(200)?;
    let invites = format!("/api/v1/orgs/{org}/invites");
    for i in 0..50 {
        ada.post(&invites, json!({ "email": format!("p{i}@example.org"), "role": "member" })).await?.expect(201)?;
    }
    let one_more = || ada.post(&invites, json!({ "email": "late@example.org", "role": "member" }));
    one_more().await?.problem(409, "too_many_invites", "")?;
    // Inviting the same address again takes the place of its first invite; one that is taken back makes room.
    ada.post(&invites, json!({ "email": "p0@example.org", "role": "admin" })).await?.expect(201)?;
    let open = ada.get(&invites).await?.expect(200)?;
    ensure!(open["items"].as_array().is_some_and(|open| open.len() == 50), "{open}");
    let first = open["items"][0]["id"].as_str().context("an invite")?;
    ensure!(ada.delete(&format!("{invites}/{first}")).await?.status == 204);
    one_more().await?.expect(201)?;
    Ok(())
}

#[tokio::test]
async fn an_invite_whose_days_are_over_is_as_good_as_none() -> Result<()> {
    let system = System::start(&QUIET).await?;
    let ada = system.signed_in("ada@example.org").await?;
    let org = org(&ada, "Engines").await?;
    let token = invite(&ada, &org, "ben@example.org", "member").await?;
    let ben = system.signed_in("ben@example.org").await?;
    // As the clock of the real binaries can't be moved, the row says that its time is over; the table's sweep hasn't come yet.
    let stand_in = system.stand_in()?;
    let row = stored::items(&stand_in).await?.into_iter().find(|item| stored::text(item, "sk").starts_with("INVITE#")).context("an invite")?;
    let client = super::access::table_client(&stand_in).await;
    let key = |name: &str| AttributeValue::S(stored::text(&row, name));
    let update = client.update_item().table_name("kiln-local-Table").key("pk", key("pk")).key("sk", key("sk")).update_expression("SET expires_at = :past");
    update.expression_attribute_values(":past", AttributeValue::N("1".into())).send().await?;
    let refused = ben.post("/api/v1/invites/accept", json!({ "token": token })).await?;
    refused.problem(404, "invite_invalid", "token")?;
    let made_up = ben.post("/api/v1/invites/accept", json!({ "token": format!("{org}.made-up") })).await?;
    ensure!(refused.body["detail"] == made_up.body["detail"] && made_up.status == 404, "{}", made_up.body);
    let open = ada.get(&format!("/api/v1/orgs/{org}/invites")).await?.expect(200)?;
    ensure!(open["items"].as_array().is_some_and(Vec::is_empty), "{open}");
    Ok(())
}
