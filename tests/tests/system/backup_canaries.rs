//! What `scripts/restore --check` must find in a backup: one that is sound passes, and each fault that is planted in it is named for what it is.

use super::backup::{refused, well};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::Digest;
use std::path::Path;

fn s(text: &str) -> Value {
    json!({ "S": text })
}

fn n(number: i64) -> Value {
    json!({ "N": number.to_string() })
}

fn item(pk: &str, sk: &str, mut rest: Value) -> Value {
    rest["pk"] = s(pk);
    rest["sk"] = s(sk);
    rest
}

fn address(email: &str) -> String {
    format!("EMAIL#{}", hex::encode(sha2::Sha256::digest(email)))
}

/// Two persons and their organisation: a purchase with a part of it taken back, a referral, a queued and a running job, a share.
fn sound() -> Vec<Value> {
    let (ada, bob, org) = ("ACC#acc_a", "ACC#acc_b", "ACC#acc_o");
    let open = |state: &str| json!({ "state": s(state), "hold_open": { "BOOL": true }, "quote_millicredits": n(1000) });
    let entry =
        |kind: &str, cause: &str, available: i64, held: i64| json!({ "kind": s(kind), "cause": s(cause), "d_available": n(available), "d_held": n(held) });
    let of = |mut entry: Value, external: &str| {
        entry["external_id"] = s(external);
        entry
    };
    let share = json!({ "account_id": s("acc_a"), "token_hash": s("h1") });
    let ada_says = json!({
        "email": s("ada@example.org"), "available": n(21_000), "held": n(1000), "debt": n(3000), "running": n(0), "queued": n(1),
        "referrals": n(1), "n_orgs": n(1), "n_owned": n(1),
    });
    let bob_says = json!({ "email": s("bob@example.org"), "referred_by": s("acc_a"), "available": n(9000), "held": n(1000), "running": n(1), "n_orgs": n(1) });
    let paid = json!({
        "account_id": s("acc_a"), "object": s("cs_1"), "millicredits": n(20_000), "taken": n(6000), "claims": { "M": { "re_1": { "M": {} } } },
    });
    vec![
        item(ada, "ACCOUNT", ada_says),
        item(ada, "LEDGER#led_1", of(entry("purchase", "ord_1", 20_000, 0), "cs_1")),
        // Of 6 credits that were taken back, 3 were spent and are owed.
        item(ada, "LEDGER#led_2", of(entry("refund", "ord_1", -3000, 0), "re_1")),
        item(ada, "LEDGER#led_3", entry("referral", "referral", 5000, 0)),
        item(ada, "LEDGER#led_4", entry("hold", "job_1", -1000, 1000)),
        item(ada, "JOB#job_1", open("queued")),
        item(ada, "QUEUED#job_1", json!({})),
        item(ada, "SHARE#shr_1", share.clone()),
        item(ada, "ORG#acc_o", json!({ "role": s("owner") })),
        item(bob, "ACCOUNT", bob_says),
        item(bob, "LEDGER#led_5", entry("grant", "signup", 10_000, 0)),
        item(bob, "LEDGER#led_6", entry("hold", "job_2", -1000, 1000)),
        item(bob, "JOB#job_2", open("running")),
        item(bob, "ORG#acc_o", json!({ "role": s("member") })),
        item(org, "ACCOUNT", json!({ "available": n(0), "held": n(0), "n_members": n(2), "n_owners": n(1) })),
        item(org, "MEMBER#acc_a", json!({ "role": s("owner") })),
        item(org, "MEMBER#acc_b", json!({ "role": s("member") })),
        item("PAY#cs_1", "APPLIED", json!({ "account_id": s("acc_a"), "payment": s("pi_1") })),
        item("PAY#pi_1", "PAYMENT", paid),
        item("PAY#referral:acc_b", "APPLIED", json!({ "account_id": s("acc_a"), "payment": s("pi_2"), "millicredits": n(5000) })),
        item(&address("ada@example.org"), "EMAIL", json!({ "account_id": s("acc_a") })),
        item(&address("bob@example.org"), "EMAIL", json!({ "account_id": s("acc_b") })),
        item("SHARE#h1", "SHARE", share),
    ]
}

/// Writes a backup of these items, whole as far as its footer can say.
fn write(file: &Path, items: &[Value]) -> Result<()> {
    let mut text = format!("{}\n", json!({ "kiln_backup": 1, "table": "a test's", "at": "2026-11-21T00:00:00Z", "segments": 1 }));
    for item in items {
        text += &format!("{item}\n");
    }
    let hash = hex::encode(sha2::Sha256::digest(&text));
    text += &format!("{}\n", json!({ "kiln_backup_end": 1, "items": items.len(), "sha256": hash }));
    Ok(std::fs::write(file, text)?)
}

fn gone(items: &mut Vec<Value>, pk: &str, sk: &str) {
    items.retain(|item| item["pk"] != s(pk) || item["sk"] != s(sk));
}

fn set(items: &mut [Value], pk: &str, sk: &str, name: &str, value: Value) {
    if let Some(item) = items.iter_mut().find(|item| item["pk"] == s(pk) && item["sk"] == s(sk)) {
        item[name] = value;
    }
}

/// A fault, and what must be said of it.
type Planted = (fn(&mut Vec<Value>), &'static str);

const FAULTS: [Planted; 23] = [
    (|items| set(items, "ACC#acc_a", "ACCOUNT", "available", n(21_001)), "says available 21001, its 4 entries sum to 21000"),
    (|items| set(items, "ACC#acc_b", "ACCOUNT", "running", n(0)), "says 0 running, 1 of its jobs are"),
    (|items| set(items, "ACC#acc_a", "ACCOUNT", "queued", n(2)), "says 2 queued, 1 of its jobs are"),
    (|items| gone(items, "ACC#acc_a", "QUEUED#job_1"), "job_1 of acc_a is queued without a place in its queue"),
    (|items| items.push(item("ACC#acc_b", "QUEUED#job_2", json!({}))), "job_2 of acc_b is not queued and has a place in its queue"),
    (|items| gone(items, "PAY#cs_1", "APPLIED"), "credited for cs_1, and no marker says so"),
    (|items| gone(items, "PAY#pi_1", "PAYMENT"), "its payment pi_1 is not there"),
    (|items| set(items, "PAY#cs_1", "APPLIED", "payment", s("pi_9")), "pi_1 of acc_a paid for cs_1, which is not marked"),
    (
        |items| items.push(item("PAY#cs_9", "APPLIED", json!({ "account_id": s("acc_b"), "payment": s("pi_9") }))),
        "cs_9 is marked as applied to acc_b, and no entry",
    ),
    (|items| set(items, "PAY#pi_1", "PAYMENT", "taken", n(3000)), "3000 were taken back of the payments of acc_a, its entries and its debt sum to 6000"),
    (|items| set(items, "PAY#pi_1", "PAYMENT", "claims", json!({ "M": {} })), "an entry of re_1, of which no payment knows"),
    (|items| set(items, "ACC#acc_a", "ACCOUNT", "debt", n(0)), "its entries and its debt sum to 3000"),
    (|items| gone(items, "PAY#referral:acc_b", "APPLIED"), "5000 for 1 referrals, markers say 0 for 0"),
    (|items| gone(items, &address("ada@example.org"), "EMAIL"), "the address of acc_a does not sign in to it"),
    (|items| items.push(item(&address("old@example.org"), "EMAIL", json!({ "account_id": s("acc_b") }))), "an address signs in to acc_b, which has another"),
    (|items| items.push(item(&address("eve@example.org"), "EMAIL", json!({ "account_id": s("acc_e") }))), "leads to acc_e, which is no account"),
    (|items| gone(items, "SHARE#h1", "SHARE"), "a share of acc_a has no link"),
    (|items| gone(items, "ACC#acc_a", "SHARE#shr_1"), "a link shows a share that acc_a does not list"),
    (|items| gone(items, "ACC#acc_o", "MEMBER#acc_b"), "acc_b lists acc_o and is no member of it"),
    (|items| gone(items, "ACC#acc_b", "ORG#acc_o"), "acc_b is a member of acc_o and does not list it"),
    (|items| set(items, "ACC#acc_o", "ACCOUNT", "n_owners", n(2)), "acc_o says n_owners 2, there are 1"),
    (|items| set(items, "ACC#acc_a", "ACCOUNT", "n_owned", n(0)), "acc_a says n_owned 0, it owns 1"),
    (|items| set(items, "ACC#acc_b", "ACCOUNT", "n_keys", n(1)), "acc_b says n_keys 1, there are 0"),
];

#[tokio::test]
async fn a_sound_backup_passes_and_each_planted_fault_is_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("kiln.jsonl");
    let file = path.to_str().context("path")?;
    write(&path, &sound())?;
    well("restore", &["--check", file]).await?;
    for (plant, why) in FAULTS {
        let mut items = sound();
        plant(&mut items);
        write(&path, &items)?;
        refused("restore", &["--check", file], why).await?;
    }
    Ok(())
}
