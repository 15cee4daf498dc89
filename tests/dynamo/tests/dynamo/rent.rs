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
pub(crate) const NOW: Millis = 1_796_083_080_000;
/// Two dollars an hour, and a cent when it boots.
pub(crate) const RATE: Rate = Rate { microusd_per_hour: 2_000_000, microusd_once: 10_000 };
pub(crate) const COVER: Millis = seconds(1_800);

pub(crate) fn instance(n: u128) -> Instance {
    Instance {
        v: 1,
        instance_id: InstanceId::new(NOW, n),
        pool: "main".into(),
        provider: "vast".into(),
        provider_id: None,
        label: format!("kiln/test/main/{n}"),
        host: n.to_string(),
        machine: None,
        offered_as: None,
        trusted: false,
        stage: Stage::Requested,
        requested_at: NOW,
        boot_stage: None,
        provider_says: None,
        heartbeat_at: None,
        loading_since: None,
        restarts: 0,
        idle_since: NOW,
        drain: false,
        drained_at: None,
        leaves_at: None,
        capabilities: vec![],
        gpu: None,
        version: None,
        boot_hash: None,
        boot_used: None,
        boot_twice: false,
        boot_expires_at: NOW + seconds(600),
        registered_at: None,
        ready_at: None,
        busy_since: None,
        told: None,
        rate: RATE,
        disk_microusd_per_hour: None,
        rests: false,
        runs_for: None,
        sleeping_hash: None,
        resumed_at: None,
        covered_to: NOW + COVER,
        interruptible: false,
        taken_at: None,
        ended_by_us_at: None,
        missing_since: None,
        token_hash: None,
        slot_job: None,
        slot_account: None,
        slot_attempt: None,
        lease: None,
        timings: Default::default(),
    }
}

pub(crate) fn table(memory: &Memory) -> Table {
    Table::new(&memory.sdk_config(), TABLE)
}

/// A table in the turn of the run 1.
pub(crate) async fn world(seed: u64) -> Result<Memory> {
    let memory = Memory::new(seed);
    ensure!(table(&memory).begin_run("main", NOW, NOW + COVER, "t").await?.context("a turn")?.epoch == 1);
    Ok(memory)
}

/// What is committed in the windows of a moment: hour, day, month.
pub(crate) async fn committed(memory: &Memory, at: Millis) -> Result<[i64; 3]> {
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

/// The usage events that stand, oldest first.
pub(crate) async fn events(memory: &Memory) -> Result<Vec<kiln_store::Usage>> {
    let mut events = table(memory).usage(&kiln_store::UsageFilter::default(), NOW, 100, None).await?.0;
    events.reverse();
    Ok(events)
}

/// Its life until now, as if its worker had spoken and worked.
async fn lived(memory: &Memory, told: bool) -> Result<Instance> {
    let table = table(memory);
    let mut instance = table.instance(&InstanceId::new(NOW, 1)).await?.context("the instance")?;
    (instance.registered_at, instance.ready_at) = (Some(NOW + seconds(61)), Some(NOW + seconds(90)));
    (instance.busy_since, instance.idle_since) = (Some(NOW + seconds(100)), NOW + seconds(200));
    ensure!(table.put(kiln_store::table::to_item(&kiln_store::keys::instance(&instance.instance_id), &instance)?, None).await?);
    if told {
        ensure!(table.tell_usage(&instance, NOW + seconds(300)).await?);
        instance = table.instance(&instance.instance_id).await?.context("the instance")?;
    }
    Ok(instance)
}

#[tokio::test]
async fn a_process_that_dies_anywhere_tells_each_usage_event_once_and_they_add_up_to_the_cost() -> Result<()> {
    let memory = world(4).await?;
    ensure!(table(&memory).rent(&instance(1), &Policy::default(), 1).await? == Ok(()));
    ensure!(events(&memory).await?.len() == 1);
    lived(&memory, false).await?;
    let (last, mut seen) = (NOW + seconds(600), [0, 0, 0]);
    // Told, and then forgotten: the process dies anywhere in it, and another does both again.
    let step = |memory: Memory| async move {
        let instance = table(&memory).instance(&InstanceId::new(NOW, 1)).await.expect("readable").expect("there");
        assert!(table(&memory).tell_usage(&instance, NOW + seconds(300)).await.expect("no error"));
        let instance = table(&memory).instance(&InstanceId::new(NOW, 1)).await.expect("readable").expect("there");
        assert!(table(&memory).forget_instance(&instance, NOW + seconds(600)).await.expect("no error"));
    };
    let places = at_every_await(&memory, step, |crashed: Crashed<_>| {
        let found = crashed.memory.partition("SPEND").iter().filter(|item| item["sk"].as_s().is_ok_and(|sk| sk.starts_with("USAGE#"))).count();
        seen[match found {
            1 => 0,
            5 => 1,
            _ => 2,
        }] += 1;
        async move {
            assert!([1, 5, 6].contains(&found), "{found} events: {crashed:?}");
            let table = table(&crashed.memory);
            if let Some(instance) = table.instance(&InstanceId::new(NOW, 1)).await.expect("readable") {
                assert!(table.tell_usage(&instance, NOW + seconds(300)).await.expect("no error"));
                let instance = table.instance(&instance.instance_id).await.expect("readable").expect("there");
                assert!(table.forget_instance(&instance, last).await.expect("no error"));
            }
            let told = events(&crashed.memory).await.expect("readable");
            let phases: Vec<_> = told.iter().map(|event| serde_json::to_value(event.phase).expect("a word")).collect();
            assert_eq!(phases, ["rented", "booting", "ready", "busy", "idle", "terminated"]);
            let gone = table.gone(10, None).await.expect("readable").0;
            assert_eq!((gone.len(), told.iter().map(|event| event.cost_microusd).sum::<i64>()), (1, gone[0].cost_microusd), "{told:?}");
            assert_eq!(told.iter().map(|event| event.gpu_seconds).sum::<u64>(), 600);
        }
    })
    .await;
    println!("{places} places, {seen:?} with the first event alone, with those of its life, and with its end");
    ensure!(seen.iter().all(|count| *count > 0), "{seen:?}");
    Ok(())
}

#[tokio::test]
async fn of_many_who_tell_of_a_machine_at_once_one_does_and_a_job_taken_meanwhile_is_not_forgotten() -> Result<()> {
    let memory = world(6).await?;
    let table = table(&memory);
    ensure!(table.rent(&instance(1), &Policy::default(), 1).await? == Ok(()));
    let read = lived(&memory, false).await?;
    let all = futures::future::join_all((0..8).map(|_| table.tell_usage(&read, NOW + seconds(300)))).await;
    ensure!(all.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().filter(|told| *told).count() == 1);
    let told = events(&memory).await?;
    ensure!(told.len() == 5 && table.instance(&read.instance_id).await?.context("there")?.busy_since.is_none(), "{told:?}");
    // Nothing is new: nothing is written.
    let before = memory.partition("SPEND");
    let now = table.instance(&read.instance_id).await?.context("there")?;
    ensure!(table.tell_usage(&now, NOW + seconds(310)).await? && memory.partition("SPEND") == before);
    // Between the look and its word that the machine is idle, it took a job.
    let mut busy = lived(&memory, false).await?;
    let seen = Instance { told: busy.told, ..busy.clone() };
    busy.slot_job = Some(kiln_core::ids::JobId::new(NOW, 1));
    ensure!(table.put(kiln_store::table::to_item(&kiln_store::keys::instance(&busy.instance_id), &busy)?, None).await?);
    ensure!(!table.tell_usage(&seen, NOW + seconds(600)).await?);
    ensure!(table.instance(&busy.instance_id).await?.context("there")?.busy_since == busy.busy_since);
    // One that is told of alone.
    ensure!(table.rent(&instance(2), &Policy::default(), 1).await? == Ok(()));
    let of = |n| kiln_store::UsageFilter { instance_id: Some(InstanceId::new(NOW, n)), ..Default::default() };
    ensure!(table.usage(&of(2), NOW, 100, None).await?.0.len() == 1 && table.usage(&of(3), NOW, 100, None).await?.0.is_empty());
    let later = kiln_store::UsageFilter { from: Some(NOW + seconds(90)), to: Some(NOW + seconds(200)), ..Default::default() };
    ensure!(table.usage(&later, NOW, 100, None).await?.0.len() == 2, "from is included and to is not");
    ensure!(table.usage(&of(1), NOW + seconds(500 * 86_400), 100, None).await?.0.is_empty(), "its days are over");
    Ok(())
}
