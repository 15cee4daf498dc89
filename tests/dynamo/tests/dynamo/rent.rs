//! Budgets, attacked: many rentals at once, a process that dies anywhere in one, covers that race, and what is given back.

use anyhow::{Context, Result, ensure};
use kiln_core::fleet::Stage;
use kiln_core::ids::InstanceId;
use kiln_core::pool::Policy;
use kiln_core::pool::budget::{Rate, cost_until, windows};
use kiln_core::time::{Millis, seconds};
use kiln_dynamo::{Crashed, Memory, Planted, TABLE, at_every_await};
use kiln_store::{Instance, NoCover, Table};

/// Two minutes before an hour, a day and a month end.
const NOW: Millis = 1_796_083_080_000;
/// Two dollars an hour, and a cent when it boots.
const RATE: Rate = Rate { microusd_per_hour: 2_000_000, microusd_once: 10_000 };
const COVER: Millis = seconds(1_800);

fn instance(n: u128) -> Instance {
    Instance {
        v: 1,
        instance_id: InstanceId::new(NOW, n),
        pool: "main".into(),
        provider: "vast".into(),
        provider_id: None,
        label: format!("kiln/test/main/{n}"),
        host: n.to_string(),
        trusted: false,
        stage: Stage::Requested,
        requested_at: NOW,
        boot_stage: None,
        heartbeat_at: None,
        idle_since: NOW,
        drain: false,
        drained_at: None,
        capabilities: vec![],
        gpu: None,
        version: None,
        boot_hash: None,
        boot_used: None,
        boot_expires_at: NOW + seconds(600),
        ready_at: None,
        rate: RATE,
        covered_to: NOW + COVER,
        interruptible: false,
        taken_at: None,
        missing_since: None,
        token_hash: None,
        slot_job: None,
        slot_account: None,
        slot_attempt: None,
        lease: None,
        timings: Default::default(),
    }
}

fn table(memory: &Memory) -> Table {
    Table::new(&memory.sdk_config(), TABLE)
}

/// A table in the turn of the run 1.
async fn world(seed: u64) -> Result<Memory> {
    let memory = Memory::new(seed);
    ensure!(table(&memory).begin_run("main", NOW, NOW + COVER, "t").await?.context("a turn")?.epoch == 1);
    Ok(memory)
}

/// What is committed in the windows of a moment: hour, day, month.
async fn committed(memory: &Memory, at: Millis) -> Result<[i64; 3]> {
    let all = table(memory).committed(at).await?;
    Ok(windows(at).map(|window| all.get(&window).copied().unwrap_or(0)))
}

fn instances(memory: &Memory) -> usize {
    memory.partition("FLEET").iter().filter(|item| item["sk"].as_s().is_ok_and(|sk| sk.starts_with("INST#"))).count()
}

/// The shares of one rental: before midnight and after it.
fn shares() -> (i64, i64) {
    let midnight = NOW + seconds(120);
    let before = cost_until(RATE, NOW, midnight);
    (before, cost_until(RATE, NOW, NOW + COVER) - before)
}

#[tokio::test]
async fn of_many_rentals_at_once_as_many_as_the_budget_covers_are_made() -> Result<()> {
    let (before, after) = shares();
    // In each case ten fit and an eleventh doesn't, by another window.
    let cases = [
        ("hour", Policy { budget_hour_microusd: Some(10 * before.max(after) + 5), ..Policy::default() }),
        ("day", Policy { budget_day_microusd: Some(10 * after), ..Policy::default() }),
        ("month", Policy { budget_month_microusd: Some(11 * after - 1), ..Policy::default() }),
    ];
    for (name, policy) in cases {
        let memory = world(3).await?;
        let table = table(&memory);
        let all = futures::future::join_all((0..64).map(|n| {
            let (table, policy) = (table.clone(), policy.clone());
            async move { table.rent(&instance(n), &policy, 1).await }
        }))
        .await;
        let (mut made, mut refused) = (0, 0);
        for result in all {
            match result? {
                Ok(()) => made += 1,
                Err(NoCover::Budget(window)) => {
                    ensure!(window.name() == name, "{window:?} and not the {name}");
                    refused += 1;
                }
                Err(NoCover::Moved | NoCover::NotOurTurn) => anyhow::bail!("nothing moved"),
            }
        }
        ensure!((made, refused, instances(&memory)) == (10, 54, 10), "{name}: {made} made, {refused} refused");
        ensure!(committed(&memory, NOW).await? == [10 * before; 3] && committed(&memory, NOW + COVER).await? == [10 * after; 3], "{name}");
        ensure!(memory.conflicted() > 0, "they did not meet");
    }
    Ok(())
}

#[tokio::test]
async fn a_process_that_dies_anywhere_in_a_rental_leaves_the_intent_with_its_cover_or_neither() -> Result<()> {
    let policy = Policy { budget_day_microusd: Some(1_000_000_000), ..Policy::default() };
    let (world, mut seen) = (world(1).await?, [0, 0]);
    let make = |memory: Memory| {
        let policy = policy.clone();
        async move { table(&memory).rent(&instance(1), &policy, 1).await.expect("no error") }
    };
    let places = at_every_await(&world, make, |crashed: Crashed<_>| {
        let made = instances(&crashed.memory);
        seen[made] += 1;
        async move {
            let (before, after) = shares();
            let there = i64::try_from(made).expect("one");
            assert_eq!(committed(&crashed.memory, NOW).await.expect("readable"), [there * before; 3], "{crashed:?}");
            assert_eq!(committed(&crashed.memory, NOW + COVER).await.expect("readable"), [there * after; 3], "{crashed:?}");
        }
    })
    .await;
    println!("{places} places, {seen:?} runs without and with the intent");
    ensure!(seen[0] > 0 && seen[1] > 0);
    Ok(())
}

#[tokio::test]
async fn covers_that_race_add_once_and_what_is_not_used_is_given_back_once() -> Result<()> {
    let memory = world(5).await?;
    let (table, policy) = (table(&memory), Policy { budget_month_microusd: Some(1_000_000_000), ..Policy::default() });
    ensure!(table.rent(&instance(1), &policy, 1).await? == Ok(()));
    let to = NOW + 2 * COVER;
    let all = futures::future::join_all((0..16).map(|_| {
        let (table, policy) = (table.clone(), policy.clone());
        async move { table.cover(&instance(1), to, &policy).await }
    }))
    .await;
    let done = all.into_iter().collect::<Result<Vec<_>, _>>()?;
    ensure!(done.iter().filter(|one| one.is_ok()).count() == 1 && done.iter().all(|one| matches!(one, Ok(()) | Err(NoCover::Moved))), "{done:?}");
    let covered = table.instance(&InstanceId::new(NOW, 1)).await?.context("the instance")?;
    ensure!(covered.covered_to == to);
    // It ran for ten minutes.
    let ended = NOW + seconds(600);
    let gone = futures::future::join_all((0..8).map(|_| table.forget_instance(&covered, ended))).await;
    ensure!(gone.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().filter(|gone| *gone).count() == 1);
    let (before, _) = shares();
    ensure!(committed(&memory, NOW).await? == [before; 3]);
    ensure!(committed(&memory, ended).await? == [cost_until(RATE, NOW, ended) - before; 3]);
    // What was read before the last cover gives nothing back.
    ensure!(table.rent(&instance(2), &policy, 1).await? == Ok(()));
    ensure!(table.cover(&instance(2), to, &policy).await? == Ok(()));
    ensure!(!table.forget_instance(&instance(2), NOW).await?);
    Ok(())
}

#[tokio::test]
async fn one_run_at_a_time_has_its_turn_and_a_late_one_rents_nothing() -> Result<()> {
    let memory = world(2).await?;
    let table = table(&memory);
    let policy = Policy::default();
    ensure!(table.begin_run("main", NOW + COVER, NOW + 2 * COVER, "t").await?.is_none(), "the turn is not over");
    // It died. The next has the turn, and of many at once one.
    let later = NOW + COVER + 1;
    let turns = futures::future::join_all((0..8).map(|_| table.begin_run("main", later, later + COVER, "t"))).await;
    let turns: Vec<_> = turns.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    ensure!(turns.len() == 1 && turns[0].epoch == 2, "{turns:?}");
    // The one that seemed dead only slept.
    ensure!(table.rent(&instance(1), &policy, 1).await? == Err(NoCover::NotOurTurn) && instances(&memory) == 0);
    table.end_run("main", &kiln_store::RunState { epoch: 1, ..turns[0].clone() }).await?;
    ensure!(table.begin_run("main", later, later + COVER, "t").await?.is_none(), "a late end ended another's turn");
    ensure!(table.rent(&instance(1), &policy, 2).await? == Ok(()));
    table.end_run("main", &turns[0]).await?;
    ensure!(table.begin_run("main", later, later + COVER, "t").await?.is_some_and(|run| run.epoch == 3));
    Ok(())
}

/// The canary: where a transaction may be half done, an intent stands without its cover or a budget is passed.
#[tokio::test]
async fn half_a_rental_is_found_out() -> Result<()> {
    let (_, after) = shares();
    let memory = world(1).await?;
    memory.plant(Planted::HalfTransactions);
    let policy = Policy { budget_day_microusd: Some(after - 1), ..Policy::default() };
    let told = table(&memory).rent(&instance(1), &policy, 1).await;
    ensure!(instances(&memory) == 1, "no budget covers it, and nothing was written: the fault was not planted, {told:?}");
    Ok(())
}
