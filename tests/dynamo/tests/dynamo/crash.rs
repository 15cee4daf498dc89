//! The process dies at every place of a submit: its books are right all the same, and the client's repetition ends as if nothing had been.

use anyhow::{Context, Result};
use kiln_core::ids::{AccountId, EntryId, JobId};
use kiln_core::job::Job;
use kiln_core::ledger::{Entry, EntryKind, Move, Sums, audit, audit_counts};
use kiln_core::machine;
use kiln_core::settings::Settings;
use kiln_dynamo::{Crashed, Memory, TABLE, at_every_await};
use kiln_store::table::{Expr, Parts, absent, n, to_item};
use kiln_store::{Account, AccountKind, Commit, Idempotent, Table, Why, keys};

const NOW: i64 = 1_763_721_600_000;

fn account_id() -> AccountId {
    AccountId::new(NOW, 1)
}

/// A table with one account that was granted 10 credits.
async fn world() -> Result<Memory> {
    let memory = Memory::new(1);
    let table = Table::new(&memory.sdk_config(), TABLE);
    let id = account_id();
    let account = Account::new(id.clone(), AccountKind::Person, 10_000, NOW);
    table.put(to_item(&keys::account(&id), &account)?, Some(absent())).await?;
    let grant = Move::grant(10_000).entry(EntryId::new(NOW, 1), id.clone(), NOW, "signup");
    table.put(to_item(&keys::entry(&id, &grant.id), &grant)?, Some(absent())).await?;
    Ok(memory)
}

/// The client's request, which it repeats with the same key: a job of one credit. A repetition comes with ids of its own, as it does in production.
async fn submit(memory: &Memory, random: u128) -> Result<Result<(), Why>, kiln_store::Error> {
    let table = Table::new(&memory.sdk_config(), TABLE);
    let Some(account) = table.account(&account_id()).await? else { return Ok(Err(Why::AccountGone)) };
    let change = machine::submit(draft(JobId::new(NOW, random)), &account.counters, &Settings::default(), NOW);
    let idempotent = Idempotent {
        account_id: account_id(),
        route: "jobs",
        key_hash: "key".into(),
        body_hash: "body".into(),
        status: 202,
        answer: "{}".into(),
        now: NOW,
        expires_at: NOW + 86_400_000,
    };
    let with = Commit { entry_id: Some(EntryId::new(NOW + 1, random)), idempotent: Some(&idempotent), ..Commit::default() };
    table.commit(&change, with, NOW).await
}

fn draft(job_id: JobId) -> Job {
    Job { quote_millicredits: 1000, ..Job::draft(job_id, account_id(), "noop", "image", 900, 0) }
}

/// What is wrong with the books, and how many holds there are.
fn books(memory: &Memory) -> Result<(Vec<String>, usize)> {
    let pk = keys::account_pk(&account_id());
    let account: Account = memory.typed_item(&pk, "ACCOUNT")?.context("an account")?;
    let entries: Vec<Entry> = memory.typed(&pk, keys::LEDGER)?;
    let jobs: Vec<Job> = memory.typed(&pk, keys::JOB)?;
    let open: Vec<_> = jobs.iter().filter(|job| job.hold_open).map(|job| (job.job_id.clone(), job.quote_millicredits, job.state.ended())).collect();
    let holds = entries.iter().filter(|entry| entry.kind == EntryKind::Hold).count();
    let mut wrong = audit(Sums { available: account.counters.available, held: account.counters.held }, &entries, &open, &[]);
    wrong.extend(audit_counts(account.counters.running, account.counters.queued, jobs.iter().map(|job| job.state)));
    Ok((wrong, holds))
}

#[tokio::test]
async fn a_process_that_dies_anywhere_in_a_submit_leaves_right_books_and_its_repetition_holds_once() -> Result<()> {
    let world = world().await?;
    let mut seen = [0, 0];
    let places = at_every_await(
        &world,
        |memory| async move { submit(&memory, 2).await },
        |crashed: Crashed<_>| {
            let (wrong, holds) = books(&crashed.memory).expect("readable books");
            assert_eq!((wrong, holds <= 1), (vec![], true), "{crashed:?}");
            seen[holds] += 1;
            async move {
                let again = submit(&crashed.memory, 3).await.expect("an answer");
                assert_eq!(again, if holds == 1 { Err(Why::Repeated) } else { Ok(()) });
                assert_eq!(books(&crashed.memory).expect("readable books"), (vec![], 1));
            }
        },
    )
    .await;
    println!("{places} places, {seen:?} runs without and with the hold");
    // A read has two places, a transaction three.
    assert_eq!((places, seen[0] > 0, seen[1] > 0), (5, true, true));
    Ok(())
}

/// The canary: where a transaction may be half done, the books show it.
#[tokio::test]
async fn half_a_transaction_is_seen_in_the_books() -> Result<()> {
    let world = world().await?;
    world.plant(kiln_dynamo::Planted::HalfTransactions);
    assert_eq!(submit(&world, 2).await?, Ok(()));
    let _ = submit(&world, 3).await;
    // The repeated key stood in the way, and its hold was written all the same.
    assert_eq!(books(&world)?.1, 2);
    Ok(())
}

/// The canary of the crashes: balance and entry in two writes are right at their end, and not at every place between.
#[tokio::test]
async fn a_hold_in_two_writes_is_found_out() -> Result<()> {
    let two_writes = |memory: Memory| async move {
        let table = Table::new(&memory.sdk_config(), TABLE);
        let taken = Expr::new("ADD available :less, held :more, queued :one").value("less", n(-1000)).value("more", n(1000)).value("one", n(1));
        table.update(&keys::account(&account_id()), taken, None).await?;
        let job = Job { hold_open: true, ..draft(JobId::new(NOW, 2)) };
        let entry = Move::hold(1000).entry(EntryId::new(NOW + 1, 2), account_id(), NOW, job.job_id.as_str());
        let mut parts = Parts::default();
        table.add_put(&mut parts, to_item(&keys::entry(&account_id(), &entry.id), &entry)?, None)?;
        table.add_put(&mut parts, to_item(&keys::job(&account_id(), &job.job_id), &job)?, None)?;
        table.transact(parts).await
    };
    let mut wrong_at = Vec::new();
    at_every_await(&world().await?, two_writes, |crashed| {
        if !books(&crashed.memory).expect("readable books").0.is_empty() {
            wrong_at.push((crashed.at, crashed.ended.is_some()));
        }
        async {}
    })
    .await;
    assert!(!wrong_at.is_empty() && wrong_at.iter().all(|(_, ended)| !ended), "{wrong_at:?}");
    Ok(())
}

/// Clients on one account at once, over a bad line: each request is done once or refused, and the books are right.
#[tokio::test]
async fn many_clients_on_one_account_over_a_bad_line_never_spend_more_than_there_is() -> Result<()> {
    fastrand::seed(5);
    let memory = world().await?;
    memory.chances(kiln_dynamo::Chances::all(0.01));
    let table = Table::new(&memory.sdk_config(), TABLE);
    let results = futures::future::join_all((0..64).map(|client: u128| {
        let table = table.clone();
        async move {
            let account = table.account(&account_id()).await.ok().flatten()?;
            let change = machine::submit(draft(JobId::new(NOW, 100 + client)), &account.counters, &Settings::default(), NOW);
            let with = Commit { entry_id: Some(EntryId::new(NOW + 1, 100 + client)), ..Commit::default() };
            Some(table.commit(&change, with, NOW).await)
        }
    }))
    .await;
    let (wrong, holds) = books(&memory)?;
    assert_eq!(wrong, Vec::<String>::new());
    let done = results.iter().filter(|result| matches!(result, Some(Ok(Ok(()))))).count();
    println!("{done} done, {holds} holds, {} conflicts, calls {:?}", memory.conflicted(), memory.calls());
    assert!(holds <= 10 && done <= holds && done > 0 && memory.conflicted() > 0);
    Ok(())
}
