//! The arithmetic of credits. Two-phase, as double-entry ledgers do it: a hold sets credits aside, a capture or
//! a release closes it. Each entry carries `d_available` and `d_held`, so that the sums of an account's entries
//! are its balances, always (invariant 1). Amounts are integer millicredits.

use crate::batch::Batch;
use crate::ids::{AccountId, EntryId, JobId};
use crate::job::State;
use crate::time::Millis;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// Credits that were paid for.
    Purchase,
    /// Credits given by the operator or at sign-up.
    Grant,
    /// Set aside for a job or a batch.
    Hold,
    /// A hold closed because its job delivered; what was not charged goes back.
    Capture,
    /// A hold closed without a charge.
    Release,
    /// Credits taken back because their money went back (a refund, a dispute), or given again because it came after all.
    Refund,
    /// Credits for having brought somebody.
    Referral,
    /// A correction by the operator.
    Adjustment,
}

/// One immutable line of an account's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub id: EntryId,
    pub account_id: AccountId,
    pub at: Millis,
    pub kind: EntryKind,
    pub d_available: i64,
    pub d_held: i64,
    /// What caused it: a job id, or a word such as `signup`.
    pub cause: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
}

impl Entry {
    /// The change of what the account owns in all: 0 for a hold or a release.
    pub fn amount(&self) -> i64 {
        self.d_available + self.d_held
    }
}

/// An entry before it has its id and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    pub kind: EntryKind,
    pub d_available: i64,
    pub d_held: i64,
}

impl Move {
    pub fn grant(amount: i64) -> Self {
        Self { kind: EntryKind::Grant, d_available: amount, d_held: 0 }
    }

    /// Sets `quote` aside for a job.
    pub fn hold(quote: i64) -> Self {
        Self { kind: EntryKind::Hold, d_available: -quote, d_held: quote }
    }

    /// Credits of any kind that come to the account.
    pub fn increase(kind: EntryKind, amount: i64) -> Self {
        Self { kind, d_available: amount, d_held: 0 }
    }

    /// Closes a hold of `quote`, charging at most that; what is left of it goes back.
    pub fn capture(quote: i64, charge: i64) -> Self {
        let charge = charge.clamp(0, quote);
        Self { kind: EntryKind::Capture, d_available: quote - charge, d_held: -quote }
    }

    /// Closes a hold of `quote` and charges nothing.
    pub fn release(quote: i64) -> Self {
        Self { kind: EntryKind::Release, d_available: quote, d_held: -quote }
    }

    pub fn entry(self, id: EntryId, account_id: AccountId, at: Millis, cause: &str) -> Entry {
        Entry { id, account_id, at, kind: self.kind, d_available: self.d_available, d_held: self.d_held, cause: cause.to_owned(), external_id: None }
    }

    /// What an account in debt pays of this move's increase: a second move of the same transaction, and how much the debt shrinks by.
    pub fn pays(self, debt: i64) -> Option<(Self, i64)> {
        let paid = debt.min(self.d_available);
        (paid > 0).then_some((Self { kind: EntryKind::Refund, d_available: -paid, d_held: 0 }, paid))
    }
}

/// The cause of the entry by which an account pays its debt.
pub const DEBT: &str = "debt";

/// Credits whose money went back: as much as there is is taken, the rest is owed (invariant 3: never below zero).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakeBack {
    pub step: Move,
    /// By how much the debt grows.
    pub owed: i64,
}

impl TakeBack {
    pub fn of(amount: i64, available: i64) -> Self {
        let taken = amount.min(available.max(0));
        Self { step: Move { kind: EntryKind::Refund, d_available: -taken, d_held: 0 }, owed: amount - taken }
    }
}

/// What an account's item says, beside what its entries and open holds sum to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    pub available: i64,
    pub held: i64,
}

/// What is wrong with an account's books, one line each; empty when invariants 1 and 2 hold.
///
/// `open_holds` are the jobs whose hold is open, with its amount and whether the job has ended; `batches` all batches of the account.
pub fn audit(account: Sums, entries: &[Entry], open_holds: &[(JobId, i64, bool)], batches: &[Batch]) -> Vec<String> {
    let mut wrong = Vec::new();
    let sums = entries.iter().fold(Sums::default(), |sums, entry| Sums { available: sums.available + entry.d_available, held: sums.held + entry.d_held });
    if sums != account {
        wrong.push(format!("the account says {account:?}, its entries sum to {sums:?}"));
    }
    let held: i64 = open_holds.iter().map(|(_, amount, _)| amount).chain(batches.iter().map(|batch| &batch.left_millicredits)).sum();
    if held != account.held {
        wrong.push(format!("the account says held {}, its open holds sum to {held}", account.held));
    }
    for (job, _, ended) in open_holds {
        if *ended {
            wrong.push(format!("{job} has ended with an open hold"));
        }
    }
    if account.available < 0 {
        wrong.push(format!("available is {}", account.available));
    }
    let mut causes: std::collections::BTreeMap<&str, Hold> = Default::default();
    for entry in entries.iter().filter(|entry| matches!(entry.kind, EntryKind::Hold | EntryKind::Capture | EntryKind::Release)) {
        let hold = causes.entry(entry.cause.as_str()).or_default();
        match entry.kind {
            EntryKind::Hold => hold.opened += 1,
            _ => hold.closed += 1,
        }
        hold.left += entry.d_held;
    }
    for batch in batches {
        let left = causes.get(batch.batch_id.as_str()).map_or(0, |hold| hold.left);
        if left != batch.left_millicredits || (left != 0 && !batch.open()) {
            wrong.push(format!("{} is {:?} and says {} are left, its entries say {left}", batch.batch_id, batch.state, batch.left_millicredits));
        }
    }
    for (cause, hold) in causes {
        // A batch's hold closes in parts, a job's at once.
        let in_parts = cause.starts_with(crate::ids::BatchId::PREFIX);
        if hold.opened > 1 || (hold.closed > hold.opened && !in_parts) || hold.left < 0 || (hold.closed > 0 && hold.left != 0 && !in_parts) {
            wrong.push(format!("{cause} has {} holds and {} closes, which leave {}", hold.opened, hold.closed, hold.left));
        }
    }
    wrong
}

/// What is wrong with the counters of an account that go by the states of its jobs, one line each. A claim moves them without an entry, so
/// sums of credits alone don't show that an account was read while it changed.
pub fn audit_counts(running: i64, queued: i64, jobs: impl IntoIterator<Item = State>) -> Vec<String> {
    let (mut are_running, mut are_queued) = (0_i64, 0_i64);
    for state in jobs {
        match state {
            State::Running => are_running += 1,
            State::Queued => are_queued += 1,
            State::Succeeded | State::Failed | State::Cancelled => {}
        }
    }
    let counters = [("running", running, are_running), ("queued", queued, are_queued)];
    let wrong = counters.into_iter().filter(|(_, says, are)| says != are);
    wrong.map(|(name, says, are)| format!("the account says {says} {name}, {are} of its jobs are")).collect()
}

/// The entries of one hold.
#[derive(Default)]
struct Hold {
    opened: u32,
    closed: u32,
    /// What they leave set aside.
    left: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_increase_pays_the_debt_first_and_no_more_than_it() {
        let bought = Move::increase(EntryKind::Purchase, 1000);
        assert_eq!(bought.pays(0), None);
        assert_eq!(bought.pays(300), Some((Move { kind: EntryKind::Refund, d_available: -300, d_held: 0 }, 300)));
        assert_eq!(bought.pays(5000).unwrap().1, 1000);
        assert_eq!(Move::hold(1000).pays(300), None);
        assert_eq!(Move::release(200).pays(300).unwrap().1, 200);
    }

    #[test]
    fn what_is_spent_already_is_owed() {
        assert_eq!(TakeBack::of(1000, 400), TakeBack { step: Move { kind: EntryKind::Refund, d_available: -400, d_held: 0 }, owed: 600 });
        assert_eq!(TakeBack::of(1000, 4000).owed, 0);
        assert_eq!(TakeBack::of(1000, 0).step.d_available, 0);
    }

    fn entry(n: u128, step: Move, cause: &str) -> Entry {
        step.entry(EntryId::new(1, n), AccountId::new(1, 1), 1, cause)
    }

    #[test]
    fn a_capture_never_charges_above_the_quote_and_gives_the_rest_back() {
        assert_eq!(Move::capture(1000, 5000), Move { kind: EntryKind::Capture, d_available: 0, d_held: -1000 });
        assert_eq!(Move::capture(1000, 300).d_available, 700);
        assert_eq!(Move::capture(1000, -5).d_available, 1000);
    }

    #[test]
    fn clean_books_pass_the_audit() {
        let job = JobId::new(1, 7);
        let entries = [entry(1, Move::grant(10_000), "signup"), entry(2, Move::hold(1000), job.as_str()), entry(3, Move::capture(1000, 1000), job.as_str())];
        assert_eq!(audit(Sums { available: 9000, held: 0 }, &entries, &[], &[]), Vec::<String>::new());
        assert_eq!(audit(Sums { available: 9000, held: 1000 }, &entries[..2], &[(job, 1000, false)], &[]), Vec::<String>::new());
    }

    #[test]
    fn counters_that_are_not_the_jobs_states_are_caught() {
        let jobs = [State::Running, State::Queued, State::Queued, State::Succeeded, State::Failed, State::Cancelled];
        assert_eq!(audit_counts(1, 2, jobs), Vec::<String>::new());
        assert_eq!(audit_counts(2, 1, jobs).len(), 2);
        assert!(audit_counts(0, 2, jobs)[0].contains("0 running"));
    }

    /// The canary: the audit must catch each planted fault.
    #[test]
    fn each_planted_fault_is_caught() {
        let job = JobId::new(1, 7);
        let hold = entry(2, Move::hold(1000), job.as_str());
        let grant = entry(1, Move::grant(10_000), "signup");
        let release = entry(3, Move::release(1000), job.as_str());
        type Case = (Sums, Vec<Entry>, Vec<(JobId, i64, bool)>);
        let cases: [Case; 4] = [
            (Sums { available: 10_000, held: 0 }, vec![grant.clone(), hold.clone()], vec![]),
            (Sums { available: 9000, held: 1000 }, vec![grant.clone(), hold.clone()], vec![(job.clone(), 1000, true)]),
            (Sums { available: -1000, held: 1000 }, vec![hold.clone()], vec![(job.clone(), 1000, false)]),
            (Sums { available: 11_000, held: -1000 }, vec![grant, hold, release.clone(), release], vec![]),
        ];
        for (account, entries, holds) in cases {
            assert!(!audit(account, &entries, &holds, &[]).is_empty());
        }
    }
}
