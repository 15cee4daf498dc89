//! A case: groups of operations on a fresh table. The operations of one group run at once; any may be cut off at an await.

use crate::reference::{Act, Failing, Phase, Reference, Saw};
use crate::world::World;
use anyhow::{Result, bail, ensure};
use kiln_core::ledger::{Sums, audit, audit_counts};
use kiln_dynamo::{Chances, Memory, Planted};
use proptest::prelude::*;
use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll};

/// An operation before it is known what there is; numbers choose among what there is, the newest first.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    Submit { account: u8, quote: i64, meter: Option<i64>, same_key: bool },
    Claim { pick: u8 },
    Complete { pick: u8, late: bool },
    Fail { pick: u8, how: u8, late: bool },
    Cancel { pick: u8 },
    Sweep { pick: u8 },
    Post { account: u8, amount: i64 },
    PostAgain { pick: u8 },
    Pay { payment: u8, alias: bool },
    Claimed { payment: u8, id: u8, money: i64, standing: u8 },
    Reserve { account: u8, quotes: Vec<i64> },
    ReserveAgain { pick: u8 },
    Start { pick: u8, from: u8, rows: u8 },
    Close { pick: u8 },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Milliseconds before it.
    pub wait: i64,
    /// Each with the await at which it is cut off.
    pub ops: Vec<(Op, Option<u8>)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Of what the table draws.
    pub seed: u64,
    pub faults: bool,
    pub groups: Vec<Group>,
}

impl Case {
    pub fn len(&self) -> usize {
        self.groups.iter().map(|group| group.ops.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

const ACCOUNTS: usize = 3;

fn op() -> impl Strategy<Value = Op> {
    let account = 0..ACCOUNTS as u8;
    let pick = || 0u8..12;
    let rarely = || prop::bool::weighted(0.15);
    // Sizes that meet the balance from both sides.
    let quote = || prop_oneof![4 => 0i64..1500, 1 => 1500i64..9000, 1 => Just(1000i64)];
    let payment = 0u8..6;
    prop_oneof![
        8 => (account.clone(), quote(), prop::option::weighted(0.3, 1i64..400), rarely())
            .prop_map(|(account, quote, meter, same_key)| Op::Submit { account, quote, meter, same_key }),
        7 => pick().prop_map(|pick| Op::Claim { pick }),
        6 => (pick(), rarely()).prop_map(|(pick, late)| Op::Complete { pick, late }),
        3 => (pick(), 0u8..3, rarely()).prop_map(|(pick, how, late)| Op::Fail { pick, how, late }),
        3 => pick().prop_map(|pick| Op::Cancel { pick }),
        2 => pick().prop_map(|pick| Op::Sweep { pick }),
        2 => (account.clone(), prop_oneof![0i64..3000, -6000i64..0]).prop_map(|(account, amount)| Op::Post { account, amount }),
        1 => pick().prop_map(|pick| Op::PostAgain { pick }),
        4 => (payment.clone(), rarely()).prop_map(|(payment, alias)| Op::Pay { payment, alias }),
        5 => (payment, 0u8..3, 0i64..1200, 0u8..3).prop_map(|(payment, id, money, standing)| Op::Claimed { payment, id, money, standing }),
        2 => (account, prop::collection::vec(0i64..900, 1..6)).prop_map(|(account, quotes)| Op::Reserve { account, quotes }),
        1 => pick().prop_map(|pick| Op::ReserveAgain { pick }),
        4 => (pick(), 0u8..5, 1u8..5).prop_map(|(pick, from, rows)| Op::Start { pick, from, rows }),
        2 => pick().prop_map(|pick| Op::Close { pick }),
    ]
}

fn group() -> impl Strategy<Value = Group> {
    let one = || (op(), prop::option::weighted(0.12, 1u8..14));
    let ops = prop_oneof![7 => prop::collection::vec(one(), 1..2), 3 => prop::collection::vec(one(), 2..5)];
    let wait = prop_oneof![6 => 0i64..4000, 1 => 60_000i64..70_000, 1 => Just(22_000_000i64)];
    (wait, ops).prop_map(|(wait, ops)| Group { wait, ops })
}

pub fn case(groups: usize) -> impl Strategy<Value = Case> {
    (any::<u64>().no_shrink(), prop::bool::weighted(0.3), prop::collection::vec(group(), 1..=groups)).prop_map(|(seed, faults, groups)| Case {
        seed,
        faults,
        groups,
    })
}

/// Runs a case, comparing after each group; the error says what is wrong and after which group.
pub fn run(case: &Case, planted: Option<Planted>) -> Result<()> {
    // What the store draws too: pauses, ids.
    fastrand::seed(case.seed);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let memory = Memory::new(case.seed);
        let mut world = World::new(memory, ACCOUNTS).await?;
        if let Some(planted) = planted {
            world.memory.plant(planted);
        }
        if case.faults {
            world.memory.chances(Chances::all(0.01));
        }
        let mut reference = world.facts.clone();
        let mut books = world.books();
        for (n, group) in case.groups.iter().enumerate() {
            world.now.set(world.now.get() + group.wait);
            let acts: Vec<(Act, Option<u8>)> = group.ops.iter().filter_map(|(op, dies)| Some((resolve(&mut world, &mut reference, op)?, *dies))).collect();
            let running = acts.iter().map(|(act, dies)| Dying { future: Some(Box::pin(world.does(act))), left: dies.map(usize::from) });
            let saws = futures::future::join_all(running).await;
            world.memory.settle();
            let told: Vec<(Act, Saw)> = acts.into_iter().map(|(act, _)| act).zip(saws).collect();
            // Only what was touched can have changed; but an account that nobody touched must be as it was too, and that is seen at the end.
            for account in told.iter().map(|(act, _)| account_of(&reference, act)) {
                books[account] = crate::books::Books::of(&world.memory, world.accounts[account].as_str());
                let wrong = books[account].wrong();
                ensure!(wrong.is_empty(), "after group {n}, {told:?}: {}", wrong.join("; "));
            }
            let last = RefCell::new(None);
            let fits = |it: &Reference| {
                *last.borrow_mut() = world.differs(it, &books);
                last.borrow().is_none()
            };
            let Some(next) = reference.explain(&told, world.now.get(), &fits) else {
                let last = last.into_inner().unwrap_or_else(|| "nobody could be told that".into());
                bail!("after group {n}, no order of {told:?} leads from {:?} to what is stored; by the last one, {last}", reference.accounts);
            };
            reference = next;
        }
        world.memory.calm();
        if let Some(what) = world.differs(&reference, &world.books()) {
            bail!("what nobody touched has changed: {what}");
        }
        for id in &world.accounts {
            let wrong = audited(&world.memory, id)?;
            ensure!(wrong.is_empty(), "{}", wrong.join("; "));
        }
        Ok(())
    })
}

/// What the product's own audit says of an account.
pub fn audited(memory: &Memory, id: &kiln_core::ids::AccountId) -> Result<Vec<String>> {
    let pk = kiln_store::keys::account_pk(id);
    let Some(account) = memory.typed_item::<kiln_store::Account>(&pk, "ACCOUNT")? else { bail!("no account") };
    let jobs: Vec<kiln_core::job::Job> = memory.typed(&pk, kiln_store::keys::JOB)?;
    let open: Vec<_> = jobs.iter().filter(|job| job.hold_open).map(|job| (job.job_id.clone(), job.quote_millicredits, job.state.ended())).collect();
    let sums = Sums { available: account.counters.available, held: account.counters.held };
    let mut wrong = audit(sums, &memory.typed::<kiln_core::ledger::Entry>(&pk, kiln_store::keys::LEDGER)?, &open, &memory.typed(&pk, "BATCH#")?);
    wrong.extend(audit_counts(account.counters.running, account.counters.queued, jobs.iter().map(|job| job.state)));
    Ok(wrong)
}

fn account_of(reference: &Reference, act: &Act) -> usize {
    match act {
        Act::Submit { job, .. } | Act::Claim { job } | Act::Complete { job, .. } | Act::Fail { job, .. } | Act::Cancel { job } | Act::Sweep { job } => {
            reference.jobs[*job].account
        }
        Act::Post { post } => reference.posts[*post].account,
        Act::Pay { payment, .. } | Act::Claimed { payment, .. } => reference.payments[*payment].account,
        Act::Reserve { batch } | Act::Start { batch, .. } | Act::Close { batch } => reference.batches[*batch].account,
    }
}

/// What an operation is about. Names that are new are noted in the reference and in the world alike.
fn resolve(world: &mut World, reference: &mut Reference, op: &Op) -> Option<Act> {
    let newest = |pick: u8, count: usize| (count > 0).then(|| count - 1 - usize::from(pick) % count);
    // Mostly a job for which it makes sense, now and then any.
    let job = |pick: u8, fits: &dyn Fn(Phase) -> bool| {
        let there: Vec<usize> =
            (0..reference.jobs.len()).filter(|job| reference.jobs[*job].there && (pick == 11 || fits(reference.jobs[*job].phase))).collect();
        newest(pick, there.len()).map(|n| there[n]).or_else(|| newest(pick, reference.jobs.len()))
    };
    let attempt = |job: usize, late: bool| reference.jobs[job].attempt.saturating_sub(u32::from(late));
    Some(match op {
        Op::Submit { account, quote, meter, same_key } => {
            let account = usize::from(*account);
            let newest = reference.keys.iter().filter(|(of, _)| *of == account).map(|(_, key)| *key).max();
            let job = world.new_job(account, *quote, *meter);
            let key = newest.filter(|_| *same_key).unwrap_or(job as u32);
            reference.jobs.push(world.facts.jobs[job].clone());
            Act::Submit { job, key }
        }
        Op::Claim { pick } => Act::Claim { job: job(*pick, &|phase| phase == Phase::Queued)? },
        Op::Complete { pick, late } => {
            let job = job(*pick, &|phase| phase == Phase::Running)?;
            Act::Complete { job, attempt: attempt(job, *late) }
        }
        Op::Fail { pick, how, late } => {
            let job = job(*pick, &|phase| phase == Phase::Running)?;
            let how = [Failing::Retryable, Failing::Permanent, Failing::Drained][usize::from(*how)];
            Act::Fail { job, attempt: attempt(job, *late), how }
        }
        Op::Cancel { pick } => Act::Cancel { job: job(*pick, &|phase| !phase.ended())? },
        Op::Sweep { pick } => Act::Sweep { job: job(*pick, &|phase| !phase.ended())? },
        Op::Post { account, amount } => {
            let post = world.new_post(usize::from(*account), *amount);
            reference.posts.push(world.facts.posts[post].clone());
            Act::Post { post }
        }
        Op::PostAgain { pick } => Act::Post { post: newest(*pick, reference.posts.len())? },
        Op::Pay { payment, alias } => Act::Pay { payment: usize::from(*payment), alias: *alias },
        Op::Claimed { payment, id, money, standing } => Act::Claimed { payment: usize::from(*payment), id: *id, money: *money, standing: *standing },
        Op::Reserve { account, quotes } => {
            let batch = world.new_batch(usize::from(*account), quotes);
            reference.batches.push(world.facts.batches[batch].clone());
            reference.jobs.extend(world.facts.jobs[reference.jobs.len()..].iter().cloned());
            Act::Reserve { batch }
        }
        Op::ReserveAgain { pick } => Act::Reserve { batch: newest(*pick, reference.batches.len())? },
        Op::Start { pick, from, rows } => {
            let batch = newest(*pick, reference.batches.len())?;
            let count = reference.batches[batch].rows.len() as u32;
            let from = u32::from(*from) % count;
            Act::Start { batch, rows: (from..count.min(from + u32::from(*rows))).collect() }
        }
        Op::Close { pick } => Act::Close { batch: newest(*pick, reference.batches.len())? },
    })
}

/// A caller that is cut off when it waits for the n-th time.
struct Dying<F> {
    future: Option<Pin<Box<F>>>,
    left: Option<usize>,
}

impl<F: Future<Output = Saw>> Future for Dying<F> {
    type Output = Saw;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Saw> {
        let Some(future) = &mut self.future else { return Poll::Ready(Saw::Unknown) };
        if let Poll::Ready(saw) = future.as_mut().poll(context) {
            return Poll::Ready(saw);
        }
        match &mut self.left {
            None => return Poll::Pending,
            Some(left) if *left > 1 => {
                *left -= 1;
                return Poll::Pending;
            }
            Some(_) => {}
        }
        self.future = None;
        Poll::Ready(Saw::Unknown)
    }
}
