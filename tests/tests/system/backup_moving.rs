//! What changes while a backup is made, between its scan and its reading of the accounts: the file has both halves of it or none, and the
//! restored system goes on from there.

use super::backup::{well, well_held};
use anyhow::{Context, Result, ensure};
use kiln_tests::{Client, Shop, System, wait_for};
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);
const QUIET: [(&str, &str); 1] = [("KILN_POOL_MAX", "0")];

async fn available(client: &Client) -> Result<i64> {
    client.get("/api/v1/credits").await?.expect(200)?["available_millicredits"].as_i64().context("available")
}

fn text(value: &Value, name: &str) -> Result<String> {
    Ok(value[name].as_str().with_context(|| format!("{name} of {value}"))?.to_owned())
}

async fn id(client: &Client) -> Result<String> {
    text(&client.get("/api/v1/me").await?.expect(200)?["account"], "id")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_that_falls_into_a_backup_is_credited_once_after_its_restore() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("kiln.jsonl.gz");
    let file = file.to_str().context("path")?;
    let shop = Shop::open().await?;
    let from = shop.system(&QUIET).await?;
    let (ada, bob) = (from.signed_in("ada@example.org").await?, from.signed_in("bob@example.org").await?);
    let checkout = async |client: &Client| -> Result<Value> { client.post("/api/v1/credits/checkout", json!({ "pack": "starter" })).await?.expect(201) };
    // Bob has bought before; what is taken back of it falls into the backup too.
    let bobs = shop.pay(&text(&checkout(&bob).await?, "url")?, "ok").await?;
    let order = checkout(&ada).await?;
    let paid = async {
        shop.pay(&text(&order, "url")?, "ok").await?;
        shop.post("refunds", &[("payment_intent", text(&bobs, "payment_intent")?.as_str()), ("amount", "2500")]).await?;
        shop.idle().await
    };
    let at = from.stand_in()?;
    well_held(folder.path(), "KILN_BACKUP_PAUSE", "backup", &["--endpoint", &at, file], paid).await?;
    ensure!((available(&ada).await?, available(&bob).await?) == (30_000, 25_000));
    well("restore", &["--check", file]).await?;

    let to = shop.system(&QUIET).await?;
    let at = to.stand_in()?;
    // While the restore writes, what is owed waits.
    let waits = async {
        wait_for("maintenance to stand still", SOON, || async {
            let lines = to.log().lines();
            Ok(lines.iter().any(|line| line.contains("a restore is under way") && line.contains("maintenance")).then_some(()))
        })
        .await
    };
    well_held(folder.path(), "KILN_RESTORE_PAUSE", "restore", &["--endpoint", &at, file], waits).await?;
    let (ada, bob) = (to.signed_in("ada@example.org").await?, to.signed_in("bob@example.org").await?);
    ensure!((available(&ada).await?, available(&bob).await?) == (30_000, 25_000), "the file lacks what fell into the backup");

    // An operator has every event sent again.
    for kind in ["checkout.session.completed", "refund.created"] {
        for event in shop.api(&format!("events?type={kind}&limit=10")).await?["data"].as_array().context("events")? {
            shop.control(&format!("events/{}/deliver", text(event, "id")?), json!({ "times": 3, "ids": 2 })).await?;
        }
    }
    shop.idle().await?;
    ensure!((available(&ada).await?, available(&bob).await?) == (30_000, 25_000), "an event was applied again");
    // The refund of what was paid meanwhile finds its payment.
    let session = shop.api(&format!("checkout/sessions/{}", kiln_tests::shop::session_of(&text(&order, "url")?)?)).await?;
    shop.post("refunds", &[("payment_intent", text(&session, "payment_intent")?.as_str())]).await?;
    shop.idle().await?;
    ensure!(available(&ada).await? == 10_000);
    ada.check_books().await?;
    bob.check_books().await?;
    well("restore", &["--endpoint", &at, "--check"]).await.map(drop)
}

/// Changes the address of who is signed in, by the token that is mailed there.
async fn moves(client: &Client, email: &str) -> Result<()> {
    client.patch("/api/v1/me", json!({ "email": email })).await?.expect(200)?;
    let token = client.mailed_token(email, 0).await?;
    client.post("/api/v1/me/confirm-email", json!({ "token": token })).await?.expect(200).map(drop)
}

/// The token that invites an address into an organisation.
async fn invited(by: &Client, org: &str, email: &str) -> Result<String> {
    let before = by.mails(email).await?.len();
    by.post(&format!("/api/v1/orgs/{org}/invites"), json!({ "email": email, "role": "member" })).await?.expect(201)?;
    by.mailed_token(email, before).await
}

#[tokio::test]
async fn who_signs_up_moves_or_joins_while_a_backup_is_made_finds_themselves_after_its_restore() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("kiln.jsonl");
    let file = file.to_str().context("path")?;
    let from = System::start(&QUIET).await?;
    let (ada, bob, dan) = (from.signed_in("ada@example.org").await?, from.signed_in("bob@example.org").await?, from.signed_in("dan@example.org").await?);
    let org = text(&ada.post("/api/v1/orgs", json!({ "name": "Engines" })).await?.expect(201)?, "id")?;
    let invite = invited(&ada, &org, "dan@example.org").await?;
    let (bobs, dans) = (id(&bob).await?, id(&dan).await?);
    let cleo = from.client();
    let meanwhile = async {
        moves(&bob, "bob@new.example").await?;
        dan.post("/api/v1/invites/accept", json!({ "token": invite })).await?.expect(200)?;
        cleo.sign_in("cleo@example.org").await?;
        // An organisation that the scan has not seen, with somebody in it whom it has.
        ada.post("/api/v1/orgs", json!({ "name": "Later" })).await?.expect(201).map(drop)
    };
    let at = from.stand_in()?;
    well_held(folder.path(), "KILN_BACKUP_PAUSE", "backup", &["--endpoint", &at, file], meanwhile).await?;
    well("restore", &["--check", file]).await?;

    // With the old secrets, by which the old address is known to have had its grant.
    let to = System::start_with_secrets_of(&from, &QUIET).await?;
    let at = to.stand_in()?;
    well("restore", &["--endpoint", &at, file]).await?;
    ensure!(id(&to.signed_in("bob@new.example").await?).await? == bobs, "the new address signs in to another account");
    let stranger = to.signed_in("bob@example.org").await?;
    ensure!(id(&stranger).await? != bobs && stranger.check_books().await? == (0, 0), "the old address still opens it, or was granted again");
    // The file may have the sign-up or not, but never half of it.
    let cleo = to.signed_in("cleo@example.org").await?;
    ensure!(cleo.check_books().await? == (10_000, 0));
    let (ada, dan) = (to.signed_in("ada@example.org").await?, to.signed_in("dan@example.org").await?);
    let members = ada.all(&format!("/api/v1/orgs/{org}/members")).await?;
    ensure!(members.len() == 2 && id(&dan).await? == dans && dan.all("/api/v1/orgs").await?.len() == 1, "{members:?}");
    ensure!(ada.all("/api/v1/orgs").await?.len() == 2, "an organisation was lost that its owner counts");
    for client in [&ada, &dan, &cleo] {
        client.check_books().await?;
    }
    well("restore", &["--endpoint", &at, "--check"]).await.map(drop)
}
