//! The drill: what a system holds is written into a file, the file into an empty system, and there every account's books add up and its owner
//! finds everything. And what must not pass: a file that was cut or changed, a table that is not empty, books that are wrong.

use anyhow::{Context, Result, ensure};
use aws_sdk_dynamodb::types::AttributeValue::{self, N, S};
use kiln_tests::system::root;
use kiln_tests::{Client, System};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

const TABLE: &str = "kiln-local-Table";
const SOON: Duration = Duration::from_secs(60);

/// Runs a script; whether it ended well, and what it said.
async fn script(name: &str, arguments: &[&str]) -> Result<(bool, String)> {
    let run = Command::new(root().join("scripts").join(name)).args(arguments).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(300), run).await.context("the script did not end")??;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("{name} {}: {said}", arguments.join(" "));
    Ok((output.status.success(), said))
}

async fn well(name: &str, arguments: &[&str]) -> Result<String> {
    let (well, said) = script(name, arguments).await?;
    ensure!(well, "{name} failed: {said}");
    Ok(said)
}

async fn refused(name: &str, arguments: &[&str], why: &str) -> Result<()> {
    let (well, said) = script(name, arguments).await?;
    ensure!(!well && said.contains(why), "{name} was to say {why:?}: {said}");
    Ok(())
}

/// What an owner sees of their account; of a job what can't change while nobody works.
async fn seen(client: &Client) -> Result<Value> {
    let jobs: Vec<_> =
        client.all("/api/v1/jobs").await?.iter().map(|job| json!([job["id"], job["kind"], job["quote_millicredits"], job["charged_millicredits"]])).collect();
    let me = client.get("/api/v1/me").await?.expect(200)?;
    Ok(json!({ "me": me, "credits": client.get("/api/v1/credits").await?.expect(200)?, "ledger": client.all("/api/v1/credits/ledger").await?, "jobs": jobs }))
}

#[tokio::test]
async fn a_backup_restored_into_an_empty_system_goes_on_without_its_sessions() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("kiln.jsonl.gz");
    let file = file.to_str().context("path")?;
    let from = System::start(&[("KILN_SIGNUP_MILLICREDITS", "100000")]).await?;
    let (ada, bob) = (from.signed_in("ada@example.org").await?, from.signed_in("bob@example.org").await?);
    let done = ada.noop(0).await?;
    ada.ended(&done, SOON).await?;
    let cancelled = bob.noop(60_000).await?;
    bob.post(&format!("/api/v1/jobs/{cancelled}/cancel"), json!({})).await?.expect(200)?;
    // Ada's account changes all the while: each moment's books must add up in the file.
    let busy = async {
        for _ in 0..30 {
            ada.noop(0).await?;
        }
        anyhow::Ok(())
    };
    let at = from.stand_in()?;
    let backup = ["--endpoint", &at, file];
    let (busy, said) = tokio::join!(busy, well("backup", &backup));
    busy?;
    ensure!(said?.contains("of 2 accounts"), "both accounts");
    refused("backup", &backup, "overwrites nothing").await?;
    well("restore", &["--check", file]).await?;

    // Once more when little moves, to compare with: Bob's job keeps the one worker, so Ada's next one waits with its hold open.
    let quiet = folder.path().join("quiet.jsonl");
    let quiet = quiet.to_str().context("path")?;
    for job in ada.all("/api/v1/jobs").await? {
        ada.ended(job["id"].as_str().context("id")?, SOON).await?;
    }
    let long = bob.noop(600_000).await?;
    bob.in_state(&long, "running", SOON).await?;
    let waiting = ada.noop(0).await?;
    let odd = odd_item();
    let table = crate::access::table_client(&at).await;
    table.put_item().table_name(TABLE).set_item(Some(odd.clone())).send().await?;
    well("backup", &["--endpoint", &at, quiet]).await?;
    let (adas, bobs) = (seen(&ada).await?, seen(&bob).await?);
    let cookie = ada.cookie();

    let mut to = System::start(&[("KILN_POOL_MAX", "0")]).await?;
    let endpoint = to.stand_in()?;
    spoilt_files_are_refused(Path::new(quiet), &endpoint).await?;
    let restore = ["--endpoint", &endpoint, quiet];
    let said = well("restore", &restore).await?;
    ensure!(said.contains("add up: 2 accounts"), "{said}");
    refused("restore", &restore, "is not empty").await?;

    let again = to.client();
    again.set_cookie(cookie);
    again.get("/api/v1/me").await?.problem(401, "signed_out", "")?;
    for (address, before) in [("ada@example.org", &adas), ("bob@example.org", &bobs)] {
        let client = to.signed_in(address).await?;
        let after = seen(&client).await?;
        ensure!(&after == before, "{address} finds {after:#} where there was {before:#}");
        client.check_books().await?;
    }

    ensure!(adas["credits"]["held_millicredits"] == 1000 && bobs["credits"]["held_millicredits"] == 1000, "no hold is open, so none was tried");
    let table = crate::access::table_client(&endpoint).await;
    let get = table.get_item().table_name(TABLE).key("pk", odd["pk"].clone()).key("sk", odd["sk"].clone());
    ensure!(get.send().await?.item == Some(odd), "a type was not kept");

    // A restore that was stopped leaves its mark, and is gone on with.
    let footer: Value = serde_json::from_str(std::fs::read_to_string(quiet)?.lines().last().context("footer")?)?;
    let mark = HashMap::from([
        ("pk".into(), S("META".into())),
        ("sk".into(), S("RESTORE".into())),
        ("sha256".into(), S(footer["sha256"].as_str().context("sha256")?.into())),
    ]);
    table.put_item().table_name(TABLE).set_item(Some(mark)).send().await?;
    ensure!(well("restore", &restore).await?.contains("going on"));
    refused("restore", &restore, "is not empty").await?;

    // With a worker the restored system goes on where the other was.
    to.interrupt().await?;
    to.set("KILN_POOL_MAX", "1");
    to.restart().await?;
    let ada = to.signed_in("ada@example.org").await?;
    ensure!(ada.ended(&waiting, SOON).await?["state"] == "succeeded");
    ada.check_books().await?;
    let endpoint = to.stand_in()?;
    well("restore", &["--endpoint", &endpoint, "--check"]).await?;

    // The canary: one balance is changed by a millicredit.
    let table = crate::access::table_client(&endpoint).await;
    let account = S(format!("ACC#{}", adas["me"]["account"]["id"].as_str().context("id")?));
    let change = table.update_item().table_name(TABLE).key("pk", account).key("sk", S("ACCOUNT".into())).update_expression("ADD available :one");
    change.expression_attribute_values(":one", N("1".into())).send().await?;
    refused("restore", &["--endpoint", &endpoint, "--check"], "do not add up").await?;
    let wrong = folder.path().join("wrong.jsonl");
    let wrong = wrong.to_str().context("path")?;
    refused("backup", &["--endpoint", &endpoint, wrong], "do not add up").await?;
    refused("restore", &["--check", wrong], "do not add up").await
}

/// One of each type that DynamoDB has.
fn odd_item() -> HashMap<String, AttributeValue> {
    let bytes = |bytes: &[u8]| aws_sdk_dynamodb::primitives::Blob::new(bytes);
    HashMap::from([
        ("pk".into(), S("META".into())),
        ("sk".into(), S("ODD".into())),
        ("text".into(), S("\u{1f469}\u{200d}\u{1f467} \"quoted\" \\ \n ü".into())),
        ("number".into(), N("-12345678901234567890123456789012345.678".into())),
        ("bytes".into(), AttributeValue::B(bytes(&[0, 255, 10]))),
        ("set".into(), AttributeValue::Bs(vec![bytes(&[1])])),
        ("numbers".into(), AttributeValue::Ns(vec!["7".into()])),
        ("texts".into(), AttributeValue::Ss(vec!["a".into()])),
        ("nothing".into(), AttributeValue::Null(true)),
        (
            "map".into(),
            AttributeValue::M(HashMap::from([("list".into(), AttributeValue::L(vec![AttributeValue::Bool(false), AttributeValue::B(bytes(b"x"))]))])),
        ),
    ])
}

async fn spoilt_files_are_refused(whole: &Path, endpoint: &str) -> Result<()> {
    let text = std::fs::read_to_string(whole)?;
    let lines: Vec<&str> = text.lines().collect();
    ensure!(lines[0].starts_with("{\"kiln_backup\":1,") && lines.len() > 10, "{}", lines[0]);
    let without = |line: usize| lines.iter().enumerate().filter(|(i, _)| *i != line).map(|(_, line)| format!("{line}\n")).collect::<String>();
    let spoilt = whole.with_extension("spoilt");
    for (made, why) in [
        (without(lines.len() - 1), "it was cut off"),
        (without(5), "not what was written"),
        (without(0), "no backup of version 1"),
        (text.replace("ada@example.org", "eve@example.org"), "not what was written"),
        (text[..text.len() / 2].to_owned(), ""),
        (format!("{text}{{}}\n"), "goes on after its end"),
        (String::new(), "it was cut off"),
    ] {
        std::fs::write(&spoilt, made)?;
        refused("restore", &["--endpoint", endpoint, spoilt.to_str().context("path")?], why).await?;
    }
    Ok(())
}
