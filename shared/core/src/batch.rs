//! Many jobs asked for at once. A batch reserves its total in one hold, and turns it into the holds of its jobs in chunks: what a
//! chunk takes out of the reservation it sets aside for its jobs in the same transaction, so that `available` and `held` stay as
//! they are. What is left goes back when the batch closes.
//!
//! Promises: the reservation is never exceeded and closes once; a row becomes one job however often it is started, because its job's id
//! follows from the batch's id and the row. What takes part in a transaction is said here; that it holds only while the batch is what
//! was read (`seq`) is the store's part.

use crate::ids::{AccountId, BatchId, JobId};
use crate::job::{Counters, Job};
use crate::ledger::Move;
use crate::machine::{AccountDelta, DAY, daily, daily_limits, queued, queued_cap};
use crate::settings::Settings;
use crate::time::Millis;
use serde::{Deserialize, Serialize};

/// The version that this code writes into every batch item.
pub const SCHEMA: u32 = 1;

/// Rows of one chunk at most: each is three items of a transaction, which has 100.
pub const CHUNK: usize = 25;

/// Rows of one batch at most.
pub const MAX_ROWS: u32 = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchState {
    /// Its rows may be started.
    Open,
    /// No row starts any more, and nothing of the reservation is left.
    Closed,
}

/// A batch as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    pub v: u32,
    pub batch_id: BatchId,
    pub account_id: AccountId,
    pub state: BatchState,
    /// Rises with every write.
    pub seq: u64,
    pub rows: u32,
    /// Rows that have become jobs.
    pub started: u32,
    /// What was reserved in all, in millicredits.
    pub total_millicredits: i64,
    /// What is reserved still and not yet a job's hold.
    pub left_millicredits: i64,
    pub created_at: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Millis>,
}

impl Batch {
    pub fn open(&self) -> bool {
        self.state == BatchState::Open
    }
}

/// The job of a batch's row: always the same one.
pub fn job_id(batch: &BatchId, row: u32) -> JobId {
    JobId::new(batch.time(), batch.random().wrapping_add(u128::from(row) + 1))
}

/// A row as it is to be started. The job comes with its spec and price; its id is set here.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub row: u32,
    pub job: Job,
}

/// Why a batch is no batch, or rows can't be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoBatch {
    #[error("a batch has from 1 to {MAX_ROWS} rows")]
    Rows,
    #[error("the total is not an amount of credits")]
    Total,
    #[error("the batch is closed")]
    Closed,
    #[error("a chunk has from 1 to {CHUNK} rows")]
    Chunk,
    #[error("the batch has no row {0}")]
    NoRow(u32),
    #[error("row {0} is there twice")]
    Twice(u32),
    #[error("row {0} is not of the batch's account, or has no price")]
    Row(u32),
    /// These rows cost more than is left of what was reserved.
    #[error("the rows cost {cost} millicredits, {left} are left of what the batch reserved")]
    Exceeds { cost: i64, left: i64 },
}

/// The transaction that reserves.
#[derive(Debug, Clone, PartialEq)]
pub struct Reserve {
    pub batch: Batch,
    pub account: AccountDelta,
    pub money: Move,
}

/// The transaction that starts rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// The stored batch must still have this one's `seq`.
    pub before: Batch,
    pub after: Batch,
    /// Each with its row, as it is queued; its hold is its quote.
    pub rows: Vec<Row>,
    pub account: AccountDelta,
    /// Takes out of the reservation what the jobs hold.
    pub release: Move,
}

impl Chunk {
    /// What the holds of its jobs are called beyond their job: the row, in the batch.
    pub fn row_name(&self, row: u32) -> String {
        format!("{}/{row}", self.after.batch_id)
    }

    /// What its release is called beyond the batch.
    pub fn name(&self) -> String {
        format!("chunk {}", self.after.seq)
    }
}

/// The transaction that closes.
#[derive(Debug, Clone, PartialEq)]
pub struct Close {
    pub before: Batch,
    pub after: Batch,
    /// `None` when nothing is left.
    pub money: Option<Move>,
}

/// Reserves `total` for `rows` jobs. As one request it counts once for the account's minute; its jobs count for their day when they start.
pub fn reserve(
    batch_id: BatchId,
    account_id: AccountId,
    rows: u32,
    total: i64,
    counters: &Counters,
    settings: &Settings,
    now: Millis,
) -> Result<Reserve, NoBatch> {
    if rows == 0 || rows > MAX_ROWS {
        return Err(NoBatch::Rows);
    }
    if total < 0 {
        return Err(NoBatch::Total);
    }
    let batch = Batch {
        v: SCHEMA,
        batch_id,
        account_id,
        state: BatchState::Open,
        seq: 1,
        rows,
        started: 0,
        total_millicredits: total,
        left_millicredits: total,
        created_at: now,
        closed_at: None,
    };
    let step = counters.pace.step(settings.creates_per_minute, now);
    let account = AccountDelta { needs_available: Some(total), step: Some(step), ..AccountDelta::default() };
    Ok(Reserve { batch, account, money: Move::hold(total) })
}

/// How many more jobs the account's queue and its day have room for.
pub fn room(counters: &Counters, settings: &Settings, now: Millis) -> usize {
    let queue = queued_cap(counters, settings) - counters.queued;
    let (inferences, _) = daily_limits(counters, settings);
    let today = inferences.map_or(i64::MAX, |limit| limit - counters.today.on(now.div_euclid(DAY)).day_inferences);
    usize::try_from(queue.min(today)).unwrap_or(0)
}

/// Rows that have not been started become jobs, all of them or none.
pub fn start_chunk(batch: &Batch, rows: Vec<Row>, counters: &Counters, settings: &Settings, now: Millis) -> Result<Chunk, NoBatch> {
    if !batch.open() {
        return Err(NoBatch::Closed);
    }
    if rows.is_empty() || rows.len() > CHUNK {
        return Err(NoBatch::Chunk);
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut cost = 0i64;
    for Row { row, job } in &rows {
        if *row >= batch.rows {
            return Err(NoBatch::NoRow(*row));
        }
        if !seen.insert(*row) {
            return Err(NoBatch::Twice(*row));
        }
        if job.account_id != batch.account_id || job.quote_millicredits < 0 {
            return Err(NoBatch::Row(*row));
        }
        cost = cost.saturating_add(job.quote_millicredits);
    }
    if cost > batch.left_millicredits {
        return Err(NoBatch::Exceeds { cost, left: batch.left_millicredits });
    }
    let start = |Row { row, job }| Row { row, job: queued(Job { job_id: job_id(&batch.batch_id, row), ..job }, settings, now) };
    let rows: Vec<Row> = rows.into_iter().map(start).collect();
    let count = rows.len();
    let mut after = batch.clone();
    after.seq += 1;
    after.started += count as u32;
    after.left_millicredits -= cost;
    let jobs: Vec<Job> = rows.iter().map(|row| row.job.clone()).collect();
    let account = AccountDelta {
        queued: count as i64,
        queued_below: Some(queued_cap(counters, settings) - count as i64 + 1),
        daily: Some(daily(&jobs, counters, settings, now)),
        ..AccountDelta::default()
    };
    Ok(Chunk { before: batch.clone(), after, rows, account, release: Move::release(cost) })
}

/// No further row starts, and what is left goes back; `None` when it was closed before.
pub fn close(batch: &Batch, now: Millis) -> Option<Close> {
    batch.open().then(|| {
        let mut after = batch.clone();
        after.state = BatchState::Closed;
        after.seq += 1;
        after.left_millicredits = 0;
        after.closed_at = Some(now);
        let money = (batch.left_millicredits > 0).then(|| Move::release(batch.left_millicredits));
        Close { before: batch.clone(), after, money }
    })
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
