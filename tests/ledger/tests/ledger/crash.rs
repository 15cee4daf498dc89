//! The process dies at every place of each operation, the request under way applied and not; then another does it again. The books are
//! right at both times, and in the end it is done exactly once.

use anyhow::{Result, ensure};
use kiln_dynamo::{Crashed, Fault, Memory, at_every_await};
use kiln_ledger_proof::reference::{Act, Failing, Reference, Saw};
use kiln_ledger_proof::world::World;

/// What has been done before, and what is done by who dies; all on a fresh table.
async fn dies_everywhere(setup: impl AsyncFn(&mut World, &mut Reference) -> Result<Act>) -> Result<usize> {
    let mut world = World::new(Memory::new(1), 2).await?;
    let mut before = world.facts.clone();
    let act = setup(&mut world, &mut before).await?;
    let now = world.now.get();
    // What it comes to where nobody dies.
    let calm = world.on(world.memory.fork());
    let mut after = before.clone();
    let told = calm.goes(&mut after, &act).await?;
    ensure!(after != before, "{act:?} changes nothing: {told:?}");
    let (world, act, before, after) = (&world, &act, &before, &after);
    let mut outcomes = [0, 0];
    let places = at_every_await(
        &world.memory,
        |memory| async move { world.on(memory).does(act).await },
        |crashed: Crashed<Saw>| {
            let dead = world.on(crashed.memory.clone());
            assert_eq!(dead.wrong(), Vec::<String>::new(), "{act:?} died at {} {:?}", crashed.at, crashed.fate);
            let books = dead.books();
            let first = (act.clone(), crashed.ended.clone().unwrap_or(Saw::Unknown));
            let left = before.explain(std::slice::from_ref(&first), now, &|it| dead.is(it, &books));
            let left = left.unwrap_or_else(|| panic!("{act:?} died at {} {:?} and left {books:?}", crashed.at, crashed.fate));
            outcomes[usize::from(left == *after)] += 1;
            async move {
                // Another takes over, with ids of its own.
                let other = dead.on(crashed.memory.clone());
                let again = other.does(act).await;
                assert_eq!(other.wrong(), Vec::<String>::new(), "{act:?} again after {} {:?}", crashed.at, crashed.fate);
                let books = other.books();
                assert!(other.is(after, &books), "{act:?} again gave {again:?} after {} {:?}: {books:?}", crashed.at, crashed.fate);
            }
        },
    )
    .await;
    println!("{act:?}: {places} places, {outcomes:?} runs without and with the effect");
    ensure!(places >= 3 && outcomes.iter().all(|count| *count > 0), "{places} places, {outcomes:?}");
    Ok(places)
}

/// A name that is new, noted in the reference too.
fn job(world: &mut World, reference: &mut Reference, quote: i64, meter: Option<i64>) -> usize {
    let job = world.new_job(0, quote, meter);
    reference.jobs.push(world.facts.jobs[job].clone());
    job
}

async fn running(world: &mut World, reference: &mut Reference, quote: i64, meter: Option<i64>) -> Result<usize> {
    let job = job(world, reference, quote, meter);
    world.goes(reference, &Act::Submit { job, key: 1 }).await?;
    world.goes(reference, &Act::Claim { job }).await?;
    world.now.set(world.now.get() + 2500);
    Ok(job)
}

#[tokio::test]
async fn a_hold_is_there_once_wherever_its_process_dies() -> Result<()> {
    dies_everywhere(async |world, reference| Ok(Act::Submit { job: job(world, reference, 1000, None), key: 1 })).await.map(drop)
}

#[tokio::test]
async fn a_capture_charges_once_wherever_its_process_dies() -> Result<()> {
    // All of it; and of a metered job, three started seconds, the rest of which goes back.
    dies_everywhere(async |world, reference| Ok(Act::Complete { job: running(world, reference, 1000, None).await?, attempt: 1 })).await?;
    dies_everywhere(async |world, reference| Ok(Act::Complete { job: running(world, reference, 1000, Some(7)).await?, attempt: 1 })).await?;
    // And where what goes back pays a debt.
    dies_everywhere(async |world, reference| {
        let job = running(world, reference, 9000, Some(7)).await?;
        world.goes(reference, &Act::Pay { payment: 2, alias: false }).await?;
        ensure!(reference.accounts[0].debt == 1000, "{:?}", reference.accounts);
        Ok(Act::Complete { job, attempt: 1 })
    })
    .await
    .map(drop)
}

#[tokio::test]
async fn a_release_gives_back_once_wherever_its_process_dies() -> Result<()> {
    dies_everywhere(async |world, reference| Ok(Act::Cancel { job: running(world, reference, 1000, None).await? })).await?;
    let fail = async |world: &mut World, reference: &mut Reference| {
        Ok(Act::Fail { job: running(world, reference, 1000, None).await?, attempt: 1, how: Failing::Permanent })
    };
    dies_everywhere(fail).await.map(drop)
}

#[tokio::test]
async fn a_purchase_is_applied_once_wherever_its_process_dies() -> Result<()> {
    dies_everywhere(async |_, _| Ok(Act::Pay { payment: 0, alias: false })).await?;
    // An invoice that gives back more than there is.
    dies_everywhere(async |world, reference| {
        running(world, reference, 9000, None).await?;
        Ok(Act::Pay { payment: 2, alias: false })
    })
    .await?;
    // With a refund and a dispute that came before it.
    dies_everywhere(async |world, reference| {
        world.goes(reference, &Act::Claimed { payment: 0, id: 1, money: 400, standing: 1 }).await?;
        world.goes(reference, &Act::Claimed { payment: 0, id: 2, money: 100, standing: 0 }).await?;
        Ok(Act::Pay { payment: 0, alias: false })
    })
    .await
    .map(drop)
}

#[tokio::test]
async fn a_refund_is_applied_once_wherever_its_process_dies() -> Result<()> {
    let bought = async |world: &mut World, reference: &mut Reference| {
        world.goes(reference, &Act::Pay { payment: 0, alias: false }).await?;
        running(world, reference, 14_000, None).await?;
        Ok(Act::Claimed { payment: 0, id: 1, money: 1000, standing: 1 })
    };
    dies_everywhere(bought).await?;
    // And comes again: the refund failed.
    dies_everywhere(async |world, reference| {
        let refund = bought(world, reference).await?;
        world.goes(reference, &refund).await?;
        ensure!(reference.accounts[0].debt == 4000, "{:?}", reference.accounts);
        Ok(Act::Claimed { payment: 0, id: 1, money: 1000, standing: 2 })
    })
    .await
    .map(drop)
}

#[tokio::test]
async fn a_batch_reserves_starts_and_closes_once_wherever_its_process_dies() -> Result<()> {
    let named = |world: &mut World, reference: &mut Reference| {
        let batch = world.new_batch(0, &[1000, 500, 2000]);
        reference.batches.push(world.facts.batches[batch].clone());
        reference.jobs.clone_from(&world.facts.jobs);
        batch
    };
    dies_everywhere(async |world, reference| Ok(Act::Reserve { batch: named(world, reference) })).await?;
    let reserved = async |world: &mut World, reference: &mut Reference| {
        let batch = named(world, reference);
        world.goes(reference, &Act::Reserve { batch }).await.map(|_| batch)
    };
    dies_everywhere(async |world, reference| Ok(Act::Start { batch: reserved(world, reference).await?, rows: vec![0, 1, 2] })).await?;
    let begun = async |world: &mut World, reference: &mut Reference| {
        let batch = reserved(world, reference).await?;
        world.goes(reference, &Act::Start { batch, rows: vec![1] }).await?;
        Ok(Act::Close { batch })
    };
    dies_everywhere(begun).await.map(drop)
}

#[tokio::test]
async fn a_transaction_that_arrives_late_behind_its_own_repetition_is_the_same_transaction() -> Result<()> {
    for seed in 1..=40 {
        let mut world = World::new(Memory::new(seed), 1).await?;
        let job = world.new_job(0, 1000, None);
        // Nobody hears of the first try, which is applied a few calls later; the second is throttled, and the store tries again by itself.
        world.memory.fault_next("TransactWriteItems", Fault::Late).fault_next("TransactWriteItems", Fault::PartThrottled);
        let told = world.does(&Act::Submit { job, key: 1 }).await;
        world.memory.settle();
        let books = &world.books()[0];
        ensure!((told == Saw::Done, books.available, books.held, books.wrong().len()) == (true, 9000, 1000, 0), "seed {seed}: {told:?} {books:?}");
    }
    Ok(())
}
