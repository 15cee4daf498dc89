//! Faults that are planted, and must be caught by what proves the rest: by the books' own rules or by the reference.

use anyhow::{Result, ensure};
use futures::future::join_all;
use kiln_core::ids::EntryId;
use kiln_core::ledger::EntryKind;
use kiln_dynamo::{Memory, Planted, TABLE};
use kiln_ledger_proof::reference::{Act, Reference, Saw};
use kiln_ledger_proof::world::{BEGIN, World};
use kiln_store::{Posting, keys};
use serde_json::json;

/// One account with a job that runs, a payment and its refund.
async fn world() -> Result<(World, Reference, usize)> {
    let mut world = World::new(Memory::new(1), 1).await?;
    let mut reference = world.facts.clone();
    let job = world.new_job(0, 1000, None);
    reference.jobs.push(world.facts.jobs[job].clone());
    for act in
        [Act::Submit { job, key: 1 }, Act::Claim { job }, Act::Pay { payment: 0, alias: false }, Act::Claimed { payment: 0, id: 1, money: 500, standing: 1 }]
    {
        world.goes(&mut reference, &act).await?;
    }
    ensure!(world.wrong().is_empty() && reference.accounts[0].available == 11_500, "{:?}", reference.accounts);
    Ok((world, reference, job))
}

/// Changes one item behind the store's back.
fn tamper(world: &World, sk: &str, update: &str, values: serde_json::Value, names: Option<serde_json::Value>) {
    let key = json!({ "pk": { "S": keys::account_pk(&world.accounts[0]) }, "sk": { "S": sk } });
    let mut request = json!({ "TableName": TABLE, "Key": key, "UpdateExpression": update, "ExpressionAttributeValues": values });
    if let Some(names) = names {
        request["ExpressionAttributeNames"] = names;
    }
    let (status, body) = world.memory.answer("UpdateItem", &request);
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn a_capture_without_its_condition_is_caught() -> Result<()> {
    let (world, _, job) = world().await?;
    world.memory.conflicts(false).yields(2..=2).plant(Planted::ConditionsIgnored);
    let act = Act::Complete { job, attempt: 1 };
    let told = join_all([world.does(&act), world.does(&act)]).await;
    ensure!(told == [Saw::Done, Saw::Done], "{told:?}");
    let wrong = world.wrong().join("; ");
    ensure!(wrong.contains("held is -1000") && wrong.contains("[\"hold\", \"capture\", \"capture\"]"), "{wrong}");
    Ok(())
}

/// Its sums are right: only the reference knows that it was one refund.
#[tokio::test]
async fn a_refund_that_is_applied_twice_is_caught() -> Result<()> {
    let (world, reference, _) = world().await?;
    let twice = Posting {
        account_id: &world.accounts[0],
        kind: EntryKind::Refund,
        amount: -2500,
        cause: "ord",
        external_id: Some("re_1"),
        entry_id: EntryId::new(BEGIN, 77),
        now: BEGIN,
    };
    world.table.post(&twice, None, None).await?;
    ensure!(world.wrong().is_empty(), "{:?}", world.wrong());
    let again = [(Act::Claimed { payment: 0, id: 1, money: 500, standing: 1 }, Saw::Unknown)];
    let books = world.books();
    ensure!(reference.explain(&again, world.now.get(), &|it| world.is(it, &books)).is_none());
    Ok(())
}

#[tokio::test]
async fn half_a_transaction_is_caught() -> Result<()> {
    let (mut world, mut reference, _) = world().await?;
    world.memory.plant(Planted::HalfTransactions);
    let job = world.new_job(0, 1000, None);
    reference.jobs.push(world.facts.jobs[job].clone());
    // Its key was used: nothing may be written, and what has no condition of its own to fail is.
    let act = Act::Submit { job, key: 1 };
    let saw = world.does(&act).await;
    let books = world.books();
    ensure!(reference.explain(&[(act, saw)], world.now.get(), &|it| world.is(it, &books)).is_none());
    Ok(())
}

#[tokio::test]
async fn books_that_were_tampered_with_are_caught_each_for_its_reason() -> Result<()> {
    let one = json!({ ":n": { "N": "1" } });
    for (what, says) in [("available", "available is 11501"), ("held", "held is 1001"), ("queued", "counts 1 running and 1 queued")] {
        let (world, ..) = world().await?;
        tamper(&world, "ACCOUNT", "ADD #what :n", one.clone(), Some(json!({ "#what": what })));
        let wrong = world.wrong().join("; ");
        ensure!(wrong.contains(says), "{what}: {wrong}");
    }
    let (world, _, job) = world().await?;
    let sk = format!("JOB#{}", world.job_id(job));
    tamper(&world, &sk, "SET #state = :s", json!({ ":s": { "S": "failed" } }), Some(json!({ "#state": "state" })));
    let wrong = world.wrong().join("; ");
    ensure!(wrong.contains("is failed with [\"hold\"]") && wrong.contains("its hold open: true"), "{wrong}");
    Ok(())
}
