//! The drill: what a system holds is written into a file, the file into an empty system, and there every account's books add up and its owner
//! finds everything. And what must not pass: a file that was cut or changed, a table that is not empty, books that are wrong.

use anyhow::{Context, Result, ensure};
use aws_sdk_dynamodb::types::AttributeValue::{self, N, S};
use kiln_tests::system::{root, wait_for};
use kiln_tests::{Client, System};
use serde_json::{Value, json};
use sha2::Digest;
use std::collections::HashMap;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

pub(crate) const TABLE: &str = "kiln-local-Table";
const SOON: Duration = Duration::from_secs(60);

/// Runs a script; whether it ended well, and what it said.
async fn script(name: &str, arguments: &[&str], env: &[(&str, &Path)]) -> Result<(bool, String)> {
    let run = Command::new(root().join("scripts").join(name)).args(arguments).envs(env.iter().copied()).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(300), run).await.context("the script did not end")??;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("{name} {}: {said}", arguments.join(" "));
    Ok((output.status.success(), said))
}

pub(crate) async fn well(name: &str, arguments: &[&str]) -> Result<String> {
    let (well, said) = script(name, arguments, &[]).await?;
    ensure!(well, "{name} failed: {said}");
    Ok(said)
}

/// The same, held at the place where the script waits while `variable` names a pipe; `meanwhile` happens there.
pub(crate) async fn well_held<F>(folder: &Path, variable: &str, name: &str, arguments: &[&str], meanwhile: F) -> Result<String>
where
    F: Future<Output = Result<()>>,
{
    let pipe = folder.join(variable);
    ensure!(Command::new("mkfifo").arg(&pipe).status().await?.success(), "no pipe at {}", pipe.display());
    let env = [(variable, pipe.as_path())];
    let hold = async {
        // It opens for writing once the script reads it, and not before.
        let held = wait_for("the script to wait", SOON, || async {
            match std::fs::OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&pipe) {
                Ok(file) => Ok(Some(file)),
                Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
        .await?;
        let done = meanwhile.await;
        drop(held);
        done
    };
    let (ran, done) = tokio::join!(script(name, arguments, &env), hold);
    done?;
    let (well, said) = ran?;
    ensure!(well, "{name} failed: {said}");
    Ok(said)
}

pub(crate) async fn refused(name: &str, arguments: &[&str], why: &str) -> Result<()> {
    let (well, said) = script(name, arguments, &[]).await?;
    ensure!(!well && said.contains(why), "{name} was to say {why:?}: {said}");
    Ok(())
}

/// What an owner sees of their account; of a job what can't change while nobody works.
pub(crate) async fn seen(client: &Client) -> Result<Value> {
    let jobs: Vec<_> =
        client.all("/api/v1/jobs").await?.iter().map(|job| json!([job["id"], job["kind"], job["quote_millicredits"], job["charged_millicredits"]])).collect();
    let me = client.get("/api/v1/me").await?.expect(200)?;
    Ok(json!({ "me": me, "credits": client.get("/api/v1/credits").await?.expect(200)?, "ledger": client.all("/api/v1/credits/ledger").await?, "jobs": jobs }))
}

/// What tells a table's machines from those of another.
async fn tag(table: &aws_sdk_dynamodb::Client) -> Result<Option<AttributeValue>> {
    let run = table.get_item().table_name(TABLE).key("pk", S("FLEET".into())).key("sk", S("RUN#main".into())).send().await?;
    Ok(run.item.and_then(|run| run.get("tag").cloned()))
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
    let source_tag = tag(&table).await?;
    ensure!(source_tag.is_some(), "a machine was rented");
    well("backup", &["--endpoint", &at, quiet]).await?;
    let (adas, bobs) = (seen(&ada).await?, seen(&bob).await?);
    let cookie = ada.cookie();

    // Its schedules rest: between the restore and the one that is gone on with below, nothing may move on.
    let mut to = System::start(&[("KILN_POOL_MAX", "0"), ("KILN_TICK_S", "3600")]).await?;
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
    ensure!(tag(&table).await? != source_tag, "the restored table takes its source's machines for its own");
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

    // With workers the restored system goes on where the other was: one takes Bob's long job over, the other does Ada's.
    to.interrupt().await?;
    to.set("KILN_POOL_MAX", "2");
    to.set("KILN_TICK_S", "1");
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

#[tokio::test]
async fn an_address_that_is_left_during_a_backup_is_granted_nothing_after_its_restore() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("kiln.jsonl");
    let file = file.to_str().context("path")?;
    let from = System::start(&[("KILN_POOL_MAX", "0")]).await?;
    let ada = from.signed_in("ada@example.org").await?;
    let moves = async {
        ada.patch("/api/v1/me", json!({ "email": "ada@new.example" })).await?.expect(200)?;
        let token = ada.mailed_token("ada@new.example", 0).await?;
        ada.post("/api/v1/me/confirm-email", json!({ "token": token })).await?.expect(200).map(drop)
    };
    well_held(folder.path(), "KILN_BACKUP_PAUSE", "backup", &["--endpoint", &from.stand_in()?, file], moves).await?;
    // What is known of an address goes by a keyed fingerprint: without the key it would be a stranger's.
    let to = System::start_with_secrets_of(&from, &[("KILN_POOL_MAX", "0")]).await?;
    well("restore", &["--endpoint", &to.stand_in()?, file]).await?;
    ensure!(to.signed_in("ada@new.example").await?.check_books().await? == (10_000, 0));
    ensure!(to.signed_in("ada@example.org").await?.check_books().await? == (0, 0), "the old address was granted credits again");
    Ok(())
}

#[tokio::test]
async fn a_backup_that_holds_one_address_twice_is_refused_by_its_check() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("twice.jsonl");
    let file = path.to_str().context("path")?;
    let address = format!("EMAIL#{}", hex::encode(sha2::Sha256::digest("ada@example.org")));
    let account = |id: &str| {
        let says = json!({ "pk": { "S": format!("ACC#{id}") }, "sk": { "S": "ACCOUNT" }, "email": { "S": "ada@example.org" } });
        [says, json!({ "pk": { "S": address }, "sk": { "S": "EMAIL" }, "account_id": { "S": id } })]
    };
    // Each account agrees with itself: one was read before it gave the address up, the other after it had taken it.
    for (ids, passes) in [(&["acc_a"][..], true), (&["acc_a", "acc_b"][..], false)] {
        let items: Vec<Value> = ids.iter().flat_map(|id| account(id)).collect();
        let mut text = format!("{}\n", json!({ "kiln_backup": 1, "table": "a test's", "at": "2026-11-21T00:00:00Z", "segments": 1 }));
        for item in &items {
            text += &format!("{item}\n");
        }
        let hash = hex::encode(sha2::Sha256::digest(&text));
        text += &format!("{}\n", json!({ "kiln_backup_end": 1, "items": items.len(), "sha256": hash }));
        std::fs::write(&path, text)?;
        if passes {
            well("restore", &["--check", file]).await?;
        } else {
            refused("restore", &["--check", file], "holds more than once: EMAIL#").await?;
        }
    }
    Ok(())
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
