//! Machines that are kept stopped, attacked: whoever dies anywhere in a stop or a start, many at once, words that cross, and what it all costs.

use crate::rent::{COVER, NOW, RATE, committed, events, instance, table, world};
use anyhow::{Context, Result, ensure};
use kiln_core::fleet::Stage;
use kiln_core::ids::{InstanceId, LeaseId};
use kiln_core::pool::budget::{Rate, cost_until};
use kiln_core::pool::{Policy, Took};
use kiln_core::time::{Millis, seconds};
use kiln_dynamo::{Crashed, Memory, at_every_await};
use kiln_store::{Audit, DONE, Instance, Lease, NoClaim, NoCover, Table};

/// What its disk costs by the hour.
const DISK: i64 = 150_000;
const STOPPED: Millis = NOW + seconds(400);
const AGAIN: Millis = NOW + seconds(700);

fn id() -> InstanceId {
    InstanceId::new(NOW, 1)
}

async fn read(table: &Table) -> Result<Instance> {
    let fleet = table.fleet("main").await?;
    fleet.instances.into_iter().find(|instance| instance.instance_id == id()).context("the instance")
}

async fn write(table: &Table, instance: &Instance) -> Result<()> {
    ensure!(table.put(kiln_store::table::to_item(&kiln_store::keys::instance(&instance.instance_id), instance)?, None).await?);
    Ok(())
}

/// A machine that was ready and idle, and is to rest.
async fn resting(seed: u64) -> Result<Memory> {
    let memory = world(seed).await?;
    let table = table(&memory);
    let rented = Instance { disk_microusd_per_hour: Some(DISK), ..instance(1) };
    ensure!(table.rent(&rented, &Policy::default(), 1).await? == Ok(()));
    let rented = read(&table).await?;
    let ready = Instance {
        stage: Stage::Ready,
        token_hash: Some("token".into()),
        boot_used: Some("boot".into()),
        registered_at: Some(NOW + seconds(60)),
        ready_at: Some(NOW + seconds(90)),
        heartbeat_at: Some(NOW + seconds(300)),
        ..rented
    };
    write(&table, &ready).await?;
    ensure!(table.rest_idle(&id(), NOW + seconds(310)).await?);
    Ok(memory)
}

/// What has been committed since in the windows of the first two hours.
async fn in_all(memory: &Memory) -> Result<i64> {
    Ok(committed(memory, NOW).await?[1] + committed(memory, NOW + COVER).await?[1])
}

/// What a rental of this rate costs from one time to another, as it begins there.
fn life(rate: Rate, from: Millis, to: Millis) -> i64 {
    cost_until(rate, from, to)
}

fn disk() -> Rate {
    Rate { microusd_per_hour: DISK, microusd_once: 0 }
}

fn again() -> Rate {
    Rate { microusd_once: 0, ..RATE }
}

#[tokio::test]
async fn only_a_machine_without_work_that_may_be_kept_is_asked_to_rest() -> Result<()> {
    let memory = world(1).await?;
    let table = table(&memory);
    let idle = Instance { stage: Stage::Ready, disk_microusd_per_hour: Some(DISK), ..instance(1) };
    let lease = |until| Some(Lease { id: LeaseId::new(NOW, 1), until });
    let others = [
        ("never kept", Instance { disk_microusd_per_hour: None, ..idle.clone() }),
        ("at work", Instance { slot_job: Some(kiln_core::ids::JobId::new(NOW, 1)), ..idle.clone() }),
        ("claimed", Instance { lease: lease(NOW + 2), ..idle.clone() }),
        ("to go", Instance { drain: true, ..idle.clone() }),
        ("loading", Instance { stage: Stage::Loading, ..idle.clone() }),
        ("ended", Instance { stage: Stage::Lost, ..idle.clone() }),
    ];
    for (name, other) in others {
        write(&table, &other).await?;
        ensure!(!table.rest_idle(&id(), NOW + 1).await?, "{name}");
    }
    write(&table, &Instance { lease: lease(NOW + 1), ..idle }).await?;
    ensure!(table.rest_idle(&id(), NOW + 1).await?);
    let rests = read(&table).await?;
    ensure!(rests.drain && rests.rests && rests.drained_at == Some(NOW + 1), "{rests:?}");
    // Whoever says that it is to go has the last word.
    table.drain(&id(), NOW + 2).await?;
    ensure!(!read(&table).await?.rests);
    ensure!(table.stopped(&rests, NOW + 3).await?.is_none() && read(&table).await?.stage == Stage::Ready);
    Ok(())
}

#[tokio::test]
async fn each_stretch_costs_what_it_costs_and_what_is_left_of_its_cover_is_given_back() -> Result<()> {
    let memory = resting(2).await?;
    let table = table(&memory);
    let first = table.stopped(&read(&table).await?, STOPPED).await?.context("stopped")?;
    ensure!(first == Instance { timings: first.timings.clone(), ..read(&table).await? });
    ensure!((first.stage, first.rate, first.requested_at, first.drain) == (Stage::Stopped, disk(), STOPPED, false), "{first:?}");
    ensure!(in_all(&memory).await? == life(RATE, NOW, STOPPED) + life(disk(), STOPPED, NOW + COVER));
    // It is covered further by its disk alone.
    ensure!(table.cover(&first, NOW + 2 * COVER, &Policy::default()).await? == Ok(()));
    ensure!(in_all(&memory).await? == life(RATE, NOW, STOPPED) + life(disk(), STOPPED, NOW + 2 * COVER));
    let first = read(&table).await?;
    let second = table.resume(&first, (AGAIN, AGAIN + 1, AGAIN + COVER), &Policy::default(), 1).await?.map_err(|why| anyhow::anyhow!("{why:?}"))?;
    ensure!((second.stage, second.rate, second.requested_at, second.resumed_at) == (Stage::Requested, again(), AGAIN, Some(AGAIN)), "{second:?}");
    let spent = life(RATE, NOW, STOPPED) + life(disk(), STOPPED, AGAIN);
    ensure!(in_all(&memory).await? == spent + life(again(), AGAIN, AGAIN + COVER));
    let ended = AGAIN + seconds(100);
    ensure!(table.forget_instance(&read(&table).await?, ended).await?);
    ensure!(in_all(&memory).await? == spent + life(again(), AGAIN, ended));
    // The history has a record for each stretch, and the events add up to the same.
    let gone = table.gone(10, None).await?.0;
    let told: Vec<_> = gone.iter().rev().map(|gone| (gone.stopped, gone.stays, gone.rented_at, gone.ended_at)).collect();
    ensure!(told == [(false, true, NOW, STOPPED), (true, true, STOPPED, AGAIN), (false, false, AGAIN, ended)], "{told:?}");
    let events = events(&memory).await?;
    let phases: Vec<_> = events.iter().map(|event| serde_json::to_value(event.phase)).collect::<Result<_, _>>()?;
    ensure!(phases == ["rented", "booting", "ready", "drained", "stopped", "rented", "terminated"], "{phases:?}");
    let cost: i64 = gone.iter().map(|gone| gone.cost_microusd).sum();
    ensure!(events.iter().map(|event| event.cost_microusd).sum::<i64>() == cost && in_all(&memory).await? == cost, "{events:?}");
    ensure!(events.iter().map(|event| event.gpu_seconds).sum::<u64>() == 400 + 100);
    Ok(())
}

#[tokio::test]
async fn a_process_that_dies_anywhere_leaves_a_machine_that_runs_or_is_stopped_and_nothing_counted_twice() -> Result<()> {
    let memory = resting(3).await?;
    let both = |memory: Memory| async move {
        let table = table(&memory);
        table.stopped(&read(&table).await.expect("there"), STOPPED).await.expect("no error").expect("it was resting");
        let stopped = read(&table).await.expect("there");
        assert!(table.resume(&stopped, (AGAIN, AGAIN + 1, AGAIN + COVER), &Policy::default(), 1).await.expect("no error").is_ok());
    };
    let mut seen = [0; 3];
    let places = at_every_await(&memory, both, |crashed: Crashed<_>| {
        let stage = crashed.memory.partition("FLEET").iter().find_map(|item| item.get("stage")?.as_s().ok().cloned());
        let at = ["ready", "stopped", "requested"].iter().position(|known| stage.as_deref() == Some(*known));
        seen[at.expect("one of the three")] += 1;
        async move {
            let table = table(&crashed.memory);
            let spent = match at {
                Some(0) => life(RATE, NOW, NOW + COVER),
                Some(1) => life(RATE, NOW, STOPPED) + life(disk(), STOPPED, NOW + COVER),
                _ => life(RATE, NOW, STOPPED) + life(disk(), STOPPED, AGAIN) + life(again(), AGAIN, AGAIN + COVER),
            };
            assert_eq!(in_all(&crashed.memory).await.expect("readable"), spent, "{crashed:?}");
            assert_eq!(table.gone(10, None).await.expect("readable").0.len(), at.expect("known"));
            // Another process goes on from there.
            if at == Some(0) {
                table.stopped(&read(&table).await.expect("there"), STOPPED).await.expect("no error").expect("it was resting");
            }
            if at != Some(2) {
                let stopped = read(&table).await.expect("there");
                assert!(table.resume(&stopped, (AGAIN, AGAIN + 1, AGAIN + COVER), &Policy::default(), 1).await.expect("no error").is_ok());
            }
            let spent = life(RATE, NOW, STOPPED) + life(disk(), STOPPED, AGAIN) + life(again(), AGAIN, AGAIN + COVER);
            assert_eq!(in_all(&crashed.memory).await.expect("readable"), spent);
            assert_eq!(events(&crashed.memory).await.expect("readable").len(), 6);
        }
    })
    .await;
    println!("{places} places, {seen:?} that found it running, stopped, and asked for again");
    ensure!(seen.iter().all(|count| *count > 0), "{seen:?}");
    Ok(())
}

#[tokio::test]
async fn of_many_who_start_it_at_once_one_does_and_only_in_its_turn_and_within_every_budget() -> Result<()> {
    let memory = resting(4).await?;
    let table = table(&memory);
    table.stopped(&read(&table).await?, STOPPED).await?.context("stopped")?;
    let stopped = read(&table).await?;
    let times = (AGAIN, AGAIN + 1, AGAIN + COVER);
    ensure!(table.resume(&stopped, times, &Policy::default(), 0).await? == Err(NoCover::NotOurTurn));
    // What the disk has reserved makes room for what the machine costs: one millionth less is too little.
    let whole = in_all(&memory).await? - life(disk(), STOPPED, NOW + COVER) + life(disk(), STOPPED, AGAIN) + life(again(), AGAIN, AGAIN + COVER);
    let month = |budget| Policy { budget_month_microusd: Some(budget), ..Policy::default() };
    let of_next_month = whole - committed(&memory, NOW).await?[2];
    let refused = table.resume(&stopped, times, &month(of_next_month - 1), 1).await?;
    ensure!(matches!(&refused, Err(NoCover::Budget(window)) if window.name() == "month"), "{refused:?}");
    ensure!(read(&table).await? == stopped, "nothing has changed");
    let policy = month(of_next_month);
    let all = futures::future::join_all((0..16).map(|_| table.resume(&stopped, times, &policy, 1))).await;
    let all = all.into_iter().collect::<Result<Vec<_>, _>>()?;
    ensure!(all.iter().filter(|one| one.is_ok()).count() == 1 && all.iter().all(|one| one.is_ok() || *one == Err(NoCover::Moved)), "{all:?}");
    ensure!(in_all(&memory).await? == whole);
    Ok(())
}

#[tokio::test]
async fn while_it_is_stopped_its_token_is_worth_nothing_and_it_can_t_be_claimed() -> Result<()> {
    let memory = resting(5).await?;
    let table = table(&memory);
    table.stopped(&read(&table).await?, STOPPED).await?.context("stopped")?;
    let said = kiln_store::Said { capabilities: &[], version: "1", gpu: None };
    ensure!(table.beat(&id(), "token", Stage::Ready, None, STOPPED).await?.is_none());
    ensure!(!table.register_again(&id(), "token", "another", &said, STOPPED).await?);
    // Nor is the boot token that its worker began with: that is no second one who holds it.
    ensure!(!table.boot_again(&id(), "boot").await? && !read(&table).await?.boot_twice);
    let [action, subject, facts, outcome, actor, ip] = ["pool.lease", "pool", "{}", DONE, "", ""].map(str::to_owned);
    let line = Audit { id: "1".into(), at: 1, action, subject, facts, outcome, actor, ip, ttl: 1 };
    let lease = Lease { id: LeaseId::new(NOW, 1), until: AGAIN + COVER };
    ensure!(table.lease(&id(), &lease, STOPPED, &line).await? == Err(NoClaim::Stopped));
    ensure!(!table.rest_idle(&id(), STOPPED).await?);
    // Again asked for it is the same worker, and its boot is not the machine's first.
    let stopped = read(&table).await?;
    ensure!(table.resume(&stopped, (AGAIN, AGAIN + 1, AGAIN + COVER), &Policy::default(), 1).await?.is_ok());
    ensure!(table.register_again(&id(), "token", "another", &said, AGAIN + 1).await?);
    ensure!(table.beat(&id(), "another", Stage::Ready, None, AGAIN + seconds(20)).await?.is_some_and(|there| there.ready_at == Some(AGAIN + seconds(20))));
    let mut run = kiln_store::RunState::default();
    run.learn(&[read(&table).await?], AGAIN + seconds(30));
    ensure!((run.boots.took(), run.resumes.took()) == (None, Some(Took::all(seconds(21)))));
    // Nobody asked for it, and it runs: then it costs what it costs, beyond every budget, and has no token.
    let memory = resting(7).await?;
    let table = crate::rent::table(&memory);
    let stopped = table.stopped(&read(&table).await?, STOPPED).await?.context("stopped")?;
    let runs = table.runs_unasked(&stopped, AGAIN, AGAIN + COVER).await?.context("runs")?;
    ensure!(
        (runs.stage, runs.rate, runs.token_hash.is_some()) == (Stage::Lost, again(), false)
            && runs == Instance { timings: runs.timings.clone(), ..read(&table).await? }
    );
    ensure!(in_all(&memory).await? == life(RATE, NOW, STOPPED) + life(disk(), STOPPED, AGAIN) + life(again(), AGAIN, AGAIN + COVER));
    ensure!(table.runs_unasked(&stopped, AGAIN, AGAIN + COVER).await?.is_none(), "it was told twice");
    // One that is to go while it is stopped goes, and is not started.
    let memory = resting(6).await?;
    let table = crate::rent::table(&memory);
    table.stopped(&read(&table).await?, STOPPED).await?.context("stopped")?;
    ensure!(table.drain_idle(&id(), STOPPED).await?);
    ensure!(table.resume(&read(&table).await?, (AGAIN, AGAIN + 1, AGAIN + COVER), &Policy::default(), 1).await? == Err(NoCover::Moved));
    // Also where it is believed to have gone before it was stopped.
    ensure!(table.forget_instance(&read(&table).await?, NOW).await?);
    ensure!(table.gone(10, None).await?.0.len() == 2);
    ensure!(in_all(&memory).await? == life(RATE, NOW, STOPPED) + life(disk(), STOPPED, STOPPED + 1));
    Ok(())
}
