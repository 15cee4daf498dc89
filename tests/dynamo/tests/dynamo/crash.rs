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

/// A job that failed at one rented host is done at another: the fault is counted with its end, once, wherever the process dies.
#[tokio::test]
async fn a_fault_of_a_host_is_counted_once_with_the_job_that_shows_it() -> Result<()> {
    use kiln_core::ids::InstanceId;
    use kiln_core::machine::{Claim, Failure, Step, Worker};
    let (memory, settings) = (world().await?, Settings::default());
    let table = Table::new(&memory.sdk_config(), TABLE);
    assert_eq!(submit(&memory, 2).await?, Ok(()));
    let (id, capabilities) = (JobId::new(NOW, 2), ["image".to_owned()]);
    let instances = [InstanceId::new(NOW, 1), InstanceId::new(NOW, 2)];
    let worker = |at: usize| Worker {
        instance_id: &instances[at],
        host: ["vast-1", "vast-2"][at],
        trusted: false,
        capabilities: &capabilities,
        draining: false,
        busy: false,
    };
    let read = async || table.job_and_account(&account_id(), &id).await.map(|(job, account)| (job.expect("the job"), account.expect("the account")));
    let changed = async |change: &machine::Change, now| {
        // The instances have no rows here: what is done to their slots has tests of its own.
        let change = machine::Change { slot: machine::SlotChange::Keep, ..change.clone() };
        let with = Commit { entry_id: change.money.map(|_| EntryId::new(now, 9)), ..Commit::default() };
        table.commit(&change, with, now).await.expect("no error")
    };
    for (at, now) in [(0, NOW + 1_000), (1, NOW + 100_000)] {
        let (job, account) = read().await?;
        let Ok(Claim::New(change)) = machine::claim(&job, &account.counters, &worker(at), &format!("c{at}"), &settings, now) else { panic!("a claim") };
        assert_eq!(changed(&change, now).await, Ok(()));
        if at == 0 {
            let error = kiln_core::job::JobError { code: "oops".into(), message: String::new(), retryable: true };
            let Ok(Step::New(change)) = machine::fail(&change.after, &worker(0), 1, Failure::Retryable, error, &settings, now) else { panic!("a failure") };
            assert_eq!(changed(&change, now).await, Ok(()));
        }
    }
    let complete = |memory: Memory| async move {
        let table = Table::new(&memory.sdk_config(), TABLE);
        let job = table.job(&account_id(), &JobId::new(NOW, 2)).await.expect("readable").expect("the job");
        let Ok(Step::New(change)) = machine::complete(&job, &InstanceId::new(NOW, 2), 2, 0, NOW + 110_000) else { return };
        let change = machine::Change { slot: machine::SlotChange::Keep, ..*change };
        let with = Commit { entry_id: Some(EntryId::new(NOW + 110_000, 7)), ..Commit::default() };
        assert_eq!(table.commit(&change, with, NOW + 110_000).await.expect("no error"), Ok(()));
    };
    let mut seen = [0, 0];
    at_every_await(&memory, complete, |crashed: Crashed<_>| {
        let counted = crashed.memory.partition("FLEET").iter().filter(|item| item["sk"].as_s().is_ok_and(|sk| sk.starts_with("FAULT#"))).count();
        seen[counted] += 1;
        async move {
            complete(crashed.memory.clone()).await;
            let table = Table::new(&crashed.memory.sdk_config(), TABLE);
            let faults = table.fleet("main").await.expect("readable").faults;
            assert_eq!(faults.now(NOW + 120_000).into_iter().collect::<Vec<_>>(), [("vast-1", (1, 1))]);
            assert!(faults.now(NOW + 2 * 86_400_000 + 110_000).is_empty(), "its days are over");
        }
    })
    .await;
    anyhow::ensure!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
    Ok(())
}
