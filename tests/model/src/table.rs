//! The table, as DynamoDB behaves: one transaction applies whole or not at all, and holds only while the stored job
//! still has the `seq`, state and attempt that were read and the account's guards hold. Markers come and go with the
//! queued state, in the same transaction; the owed index is a copy that lags.

use crate::plan::Fault;
use kiln_core::ids::{AccountId, EntryId, InstanceId};
use kiln_core::job::{Counters, Job, State};
use kiln_core::ledger::{Entry, Move};
use kiln_core::machine::{Change, Failure, SlotChange};
use kiln_core::time::Millis;
use std::collections::BTreeSet;

/// Whose word a write rests on.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    Submit { key: usize },
    Claim { worker: usize, claim_id: String },
    Beat { worker: usize, attempt: u32 },
    Complete { worker: usize, attempt: u32 },
    Fail { worker: usize, attempt: u32, failure: Failure },
    Cancel,
    Abandoned { worker: usize, attempt: u32 },
    Sweep { hint: bool },
    Rearm,
}

/// What a slot holds: a job and its attempt.
pub type Slot = Option<(usize, u32)>;

/// A transaction as a server sends it.
#[derive(Debug, Clone)]
pub struct Write {
    pub change: Change,
    /// `None` for a new job.
    pub job: Option<usize>,
    pub account: usize,
    pub origin: Origin,
    /// The slot as it was read, for a claim.
    pub slot: Slot,
    pub decided_at: Millis,
}

#[derive(Debug)]
pub struct Account {
    pub id: AccountId,
    pub counters: Counters,
    pub closed: bool,
    pub entries: Vec<Entry>,
    /// The queued jobs, oldest first.
    pub markers: BTreeSet<(Millis, usize)>,
    pub jobs: Vec<usize>,
}

/// One version of a job's row in the owed index, visible from `visible_at`.
#[derive(Debug)]
struct Row {
    visible_at: Millis,
    next_check_at: Option<Millis>,
}

#[derive(Debug, Default)]
pub struct Table {
    pub accounts: Vec<Account>,
    pub jobs: Vec<Job>,
    /// Which account and which request each job belongs to.
    pub owner: Vec<(usize, usize)>,
    /// The idempotency records: the job that a request made.
    pub keys: Vec<Option<usize>>,
    /// The attempts whose artifacts are listed, job by job.
    pub listed: Vec<Vec<u32>>,
    pub slots: Vec<Slot>,
    pub instances: Vec<InstanceId>,
    index: Vec<Vec<Row>>,
}

/// An applied transaction: which job, and what it replaced.
#[derive(Debug)]
pub struct Applied {
    pub job: usize,
    pub old: Option<Job>,
}

impl Table {
    pub fn new(requests: usize, workers: usize) -> Self {
        Self { keys: vec![None; requests], slots: vec![None; workers], ..Self::default() }
    }

    pub fn open_account(&mut self, id: AccountId, balance: i64, counters: Counters) {
        let grant = Move::grant(balance);
        let entry = grant.entry(EntryId::new(0, self.accounts.len() as u128), id.clone(), 0, "signup");
        let counters = Counters { available: balance, ..counters };
        self.accounts.push(Account { id, counters, closed: false, entries: vec![entry], markers: BTreeSet::new(), jobs: vec![] });
    }

    pub fn worker_of(&self, instance: &InstanceId) -> Option<usize> {
        self.instances.iter().position(|id| id == instance)
    }

    /// Whether the slot holds a live attempt of another job than this one.
    pub fn busy(&self, worker: usize, job: usize) -> bool {
        self.slots[worker].is_some_and(|(held, attempt)| {
            let held_job = &self.jobs[held];
            held != job && held_job.state == State::Running && held_job.attempt == attempt && held_job.instance_id.as_ref() == Some(&self.instances[worker])
        })
    }

    /// `false` when the condition of the transaction doesn't hold.
    fn holds(&self, write: &Write, fault: Option<Fault>) -> bool {
        let job_holds = match (&write.change.before, write.job, &write.origin) {
            (Some(before), Some(job), _) => {
                let stored = &self.jobs[job];
                fault == Some(Fault::BlindWrites) || (stored.seq, stored.state, stored.attempt) == (before.seq, before.state, before.attempt)
            }
            (None, None, Origin::Submit { key }) => fault == Some(Fault::KeyForgotten) || self.keys[*key].is_none(),
            _ => false,
        };
        let (counters, guard) = (&self.accounts[write.account].counters, &write.change.account);
        let funded = fault == Some(Fault::BalanceUnguarded) || guard.needs_available.is_none_or(|needed| counters.available >= needed);
        let may_run = fault == Some(Fault::RunningUnguarded) || guard.running_below.is_none_or(|cap| counters.running < cap);
        let may_queue = guard.queued_below.is_none_or(|cap| counters.queued < cap);
        let slot_holds = match &write.change.slot {
            SlotChange::Take { instance_id } => {
                fault == Some(Fault::SlotTakenBlindly) || self.worker_of(instance_id).is_some_and(|worker| self.slots[worker] == write.slot)
            }
            _ => true,
        };
        job_holds && funded && may_run && may_queue && slot_holds
    }

    /// Applies the transaction, or nothing of it. `lag` is how long the owed index lags behind this write;
    /// `free` whether the freeing of a slot, which is best effort, comes through.
    pub fn commit(&mut self, write: &Write, now: Millis, lag: Millis, free: bool, fault: Option<Fault>) -> Option<Applied> {
        if !self.holds(write, fault) {
            return None;
        }
        let after = &write.change.after;
        let (job, old) = match write.job {
            Some(job) => (job, Some(std::mem::replace(&mut self.jobs[job], after.clone()))),
            None => {
                self.jobs.push(after.clone());
                self.listed.push(vec![]);
                self.index.push(vec![]);
                (self.jobs.len() - 1, None)
            }
        };
        if let Origin::Submit { key } = write.origin {
            self.keys[key] = Some(job);
            self.owner.push((write.account, key));
            self.accounts[write.account].jobs.push(job);
        }
        if let (State::Succeeded, Origin::Complete { attempt, .. }) = (after.state, &write.origin) {
            self.listed[job].push(*attempt);
        }
        self.mark(write, job, fault);
        self.pay(write, now);
        match &write.change.slot {
            SlotChange::Keep => {}
            SlotChange::Take { instance_id } => {
                if let Some(worker) = self.worker_of(instance_id) {
                    self.slots[worker] = Some((job, after.attempt));
                }
            }
            SlotChange::Free { instance_id } => {
                if let Some(worker) = self.worker_of(instance_id).filter(|worker| free && self.slots[*worker] == Some((job, after.attempt))) {
                    self.slots[worker] = None;
                }
            }
        }
        let rows = &mut self.index[job];
        let visible_at = rows.last().map_or(now, |row| row.visible_at).max(now + lag);
        rows.push(Row { visible_at, next_check_at: after.next_check_at });
        Some(Applied { job, old })
    }

    /// A marker stands exactly while its job is queued; derived from before and after, as the store does.
    fn mark(&mut self, write: &Write, job: usize, fault: Option<Fault>) {
        let markers = &mut self.accounts[write.account].markers;
        if let Some(before) = write.change.before.as_ref().filter(|before| before.state == State::Queued) {
            markers.remove(&(before.queued_at, job));
        }
        let after = &write.change.after;
        let forgotten = fault == Some(Fault::MarkerForgotten) && write.change.before.is_some();
        if after.state == State::Queued && !forgotten {
            markers.insert((after.queued_at, job));
        }
    }

    fn pay(&mut self, write: &Write, now: Millis) {
        let account = &mut self.accounts[write.account];
        account.counters.running += write.change.account.running;
        account.counters.queued += write.change.account.queued;
        if let Some(step) = write.change.money {
            account.counters.available += step.d_available;
            account.counters.held += step.d_held;
            let id = EntryId::new(now, account.entries.len() as u128);
            account.entries.push(step.entry(id, account.id.clone(), now, write.change.after.job_id.as_str()));
        }
    }

    /// What the owed index shows of one shard now: the jobs whose look is due, as far as the lagging copy knows.
    pub fn due(&mut self, now: Millis) -> Vec<usize> {
        let mut due = vec![];
        for (job, rows) in self.index.iter_mut().enumerate() {
            let shown = rows.partition_point(|row| row.visible_at <= now);
            if shown > 1 {
                rows.drain(..shown - 1);
            }
            if rows.first().is_some_and(|row| shown > 0 && row.next_check_at.is_some_and(|at| at <= now)) {
                due.push(job);
            }
        }
        due
    }

    /// The account's oldest queued jobs that are due, read consistently.
    pub fn oldest_due(&self, account: usize, now: Millis, most: usize) -> Vec<usize> {
        let markers = self.accounts[account].markers.iter().map(|(_, job)| *job);
        markers.filter(|job| self.jobs[*job].not_before <= now).take(most).collect()
    }
}
