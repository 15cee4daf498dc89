//! Sixty-four clients on one account that has credits for ten jobs.

use anyhow::{Result, ensure};
use futures::future::join_all;
use kiln_dynamo::{Chances, Memory};
use kiln_ledger_proof::reference::{Act, Saw};
use kiln_ledger_proof::world::World;

const CLIENTS: usize = 64;

async fn crowd(seed: u64, chances: Option<Chances>) -> Result<(World, Vec<Saw>)> {
    fastrand::seed(seed);
    let memory = Memory::new(seed);
    let mut world = World::new(memory.clone(), 1).await?;
    let jobs: Vec<usize> = (0..CLIENTS).map(|_| world.new_job(0, 1000, None)).collect();
    if let Some(chances) = chances {
        memory.chances(chances);
    }
    let acts: Vec<Act> = jobs.into_iter().map(|job| Act::Submit { job, key: job as u32 }).collect();
    let saws = join_all(acts.iter().map(|act| world.does(act))).await;
    memory.settle();
    ensure!(world.wrong().is_empty(), "{:?}", world.wrong());
    Ok((world, saws))
}

#[tokio::test]
async fn sixty_four_clients_at_once_get_exactly_the_ten_jobs_that_there_are_credits_for() -> Result<()> {
    let mut conflicts = 0;
    for seed in 1..=20 {
        let (world, saws) = crowd(seed, None).await?;
        let count = |wanted: Saw| saws.iter().filter(|saw| **saw == wanted).count();
        let books = &world.books()[0];
        ensure!((count(Saw::Done), count(Saw::Lacking(0))) == (10, 54), "seed {seed}: {saws:?}");
        ensure!((books.available, books.held, books.jobs.len(), books.entries("hold")) == (0, 10_000, 10, 10), "seed {seed}: {books:?}");
        conflicts += world.memory.conflicted();
    }
    println!("{} conflicts a crowd", conflicts / 20);
    ensure!(conflicts > 20 * CLIENTS as u64, "{conflicts} conflicts are no contention");
    Ok(())
}

#[tokio::test]
async fn over_a_bad_line_the_crowd_gets_no_more_than_there_is_and_whoever_is_told_so_has_a_job() -> Result<()> {
    for seed in 1..=20 {
        let (world, saws) = crowd(seed, Some(Chances::all(0.02))).await?;
        let done = saws.iter().filter(|saw| **saw == Saw::Done).count();
        let books = &world.books()[0];
        ensure!(books.available == 10_000 - 1000 * books.jobs.len() as i64 && done <= books.jobs.len() && books.jobs.len() <= 10, "seed {seed}: {books:?}");
        ensure!(done > 0, "seed {seed}: {saws:?}");
    }
    Ok(())
}
