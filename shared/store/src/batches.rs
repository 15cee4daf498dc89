//! Batches: the reservation of many jobs' credits at once, its chunks, and its end. Each is one transaction of core's [`batch`].
//!
//! Promises (invariants 1 to 3): reservation and entry change together; a row becomes one job however often it is asked for, by whomever
//! and in whatever chunk; what a chunk releases it holds for its jobs in the same transaction, so that nobody else can spend it between;
//! a batch closes once, and what it gives back pays the account's debt first. Its first start and its close are events for the account's
//! webhook endpoints, written in the same transaction; after the commit send `Queues::deliver` a hint for the account, or the sender's
//! schedule finds them.

use crate::accounts::{Account, account_from};
use crate::jobs::{Idempotent, Why, why_account};
use crate::ledger::{AccountUpdate, Money, TRIES, admit};
use crate::table::{Expr, Parts, Table, Written, absent, from_item, n, s, to_item};
use crate::{Error, keys};
use kiln_core::batch::{self, Batch, Chunk, NoBatch, Reserve, Row};
use kiln_core::hooks::{self, Wanted};
use kiln_core::ids::{AccountId, BatchId, EntryId, UploadId};
use kiln_core::job::Job;
use kiln_core::ledger::Move;
use kiln_core::settings::Settings;
use kiln_core::time::Millis;
use std::collections::BTreeSet;

/// Parts of one transaction.
const PARTS: usize = 100;

/// What became of rows that were to be started.
#[derive(Debug, Clone, PartialEq)]
pub enum Started {
    /// These jobs are queued now. `left` rows found no room, in the transaction, the queue or the day, and are to be asked for again.
    New {
        jobs: Vec<Job>,
        left: usize,
    },
    /// All of them had been started before.
    Again,
    NoBatch,
    /// The batch doesn't take them.
    Refused(NoBatch),
    /// The account doesn't.
    Account(Why),
}

/// What became of a batch that was to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// This many millicredits went back.
    New {
        millicredits: i64,
    },
    Again,
    NoBatch,
}

impl Table {
    pub async fn batch(&self, account: &AccountId, batch: &BatchId) -> Result<Option<Batch>, Error> {
        self.get(&keys::batch(account, batch)).await
    }

    /// The account's batches, newest first.
    pub async fn batches(&self, account: &AccountId, limit: u32, after: Option<&str>) -> Result<(Vec<Batch>, Option<String>), Error> {
        let (items, next) = self.page(&keys::account_pk(account), keys::BATCH, true, limit, after).await?;
        Ok((items.into_iter().map(from_item).collect::<Result<_, _>>()?, next))
    }

    /// Sets a new batch's credits aside, with the record of its request. Done also where this very batch is there already.
    pub async fn reserve_batch(&self, reserve: &Reserve, entry_id: &EntryId, once: Option<&Idempotent>, now: Millis) -> Result<Result<(), Why>, Error> {
        let batch = &reserve.batch;
        let mut parts = Parts::default();
        let batch_part = self.add_put(&mut parts, to_item(&keys::batch(&batch.account_id, &batch.batch_id), batch)?, Some(absent()))?;
        let update = AccountUpdate::new().add("available", reserve.money.d_available).add("held", reserve.money.d_held);
        let (update, condition) = admit(update, Expr::new("attribute_exists(pk)"), &reserve.account, true);
        let account_part = self.add_update(&mut parts, &keys::account(&batch.account_id), update.expr(), Some(condition))?;
        self.add_entry(&mut parts, &reserve.money.entry(entry_id.clone(), batch.account_id.clone(), now, batch.batch_id.as_str()))?;
        let once_part = once.map(|record| self.add_idempotency(&mut parts, record)).transpose()?;
        let refused = match self.transact(parts).await? {
            Written::Done => return Ok(Ok(())),
            Written::Refused(refused) => refused,
        };
        if refused.has(Some(batch_part)) {
            return Ok(Ok(()));
        }
        if refused.has(once_part) {
            return Ok(Err(Why::Repeated));
        }
        if refused.has(Some(account_part)) {
            let account = refused.found(Some(account_part)).cloned().map(account_from).transpose()?;
            return Ok(Err(why_account(&reserve.account, true, account)));
        }
        Ok(Err(Why::Moved))
    }

    /// Turns rows into jobs, those that are none yet; [`batch::CHUNK`] of them at most. `entry_id` is the first of the chunk's
    /// entries, the others follow it.
    pub async fn start_rows(
        &self,
        account_id: &AccountId,
        batch_id: &BatchId,
        rows: &[Row],
        entry_id: &EntryId,
        settings: &Settings,
        now: Millis,
    ) -> Result<Started, Error> {
        if rows.is_empty() || rows.len() > batch::CHUNK {
            return Ok(Started::Refused(NoBatch::Chunk));
        }
        let (batch_key, account_key) = (keys::batch(account_id, batch_id), keys::account(account_id));
        let job_key = |row: &Row| keys::job(account_id, &batch::job_id(batch_id, row.row));
        for _ in 0..TRIES {
            let mut wanted = vec![batch_key.clone(), account_key.clone()];
            wanted.extend(rows.iter().map(job_key));
            let mut found = self.get_many(&wanted).await?;
            let Some(batch): Option<Batch> = found.remove(&batch_key).map(from_item).transpose()? else { return Ok(Started::NoBatch) };
            let Some(account): Option<Account> = found.remove(&account_key).map(account_from).transpose()? else {
                return Ok(Started::Account(Why::AccountGone));
            };
            let new: Vec<Row> = rows.iter().filter(|row| !found.contains_key(&job_key(row))).cloned().collect();
            if new.is_empty() {
                return Ok(Started::Again);
            }
            // Without any room one row is tried all the same: the refusal says which limit it is.
            let taken = fitting(&new).min(batch::room(&account.counters, settings, now).max(1));
            let left = new.len() - taken;
            let chunk = match batch::start_chunk(&batch, new.into_iter().take(taken).collect(), &account.counters, settings, now) {
                Ok(chunk) => chunk,
                Err(why) => return Ok(Started::Refused(why)),
            };
            match self.commit_chunk(&chunk, &account.counters.hook_events, entry_id, now).await? {
                Ok(()) => return Ok(Started::New { jobs: chunk.rows.into_iter().map(|row| row.job).collect(), left }),
                Err(Why::Moved) => {}
                Err(why) => return Ok(Started::Account(why)),
            }
        }
        Err(Error::Busy)
    }

    async fn commit_chunk(&self, chunk: &Chunk, wanted: &Wanted, entry_id: &EntryId, now: Millis) -> Result<Result<(), Why>, Error> {
        let (before, after) = (&chunk.before, &chunk.after);
        let account_id = &after.account_id;
        let mut parts = Parts::default();
        let batch_part = self.add_batch(&mut parts, before, after)?;
        // What the release gives, the holds take: the balances stay, and only the counters change.
        let (update, condition) = admit(AccountUpdate::new(), Expr::new("attribute_exists(pk)"), &chunk.account, true);
        let account_part = self.add_update(&mut parts, &keys::account(account_id), update.expr(), Some(condition))?;
        let mut entry_id = entry_id.clone();
        let mut entry = chunk.release.entry(entry_id.clone(), account_id.clone(), now, after.batch_id.as_str());
        entry.external_id = Some(chunk.name());
        self.add_entry(&mut parts, &entry)?;
        let (mut job_parts, mut upload_parts) = (Vec::new(), Vec::new());
        let mut used = BTreeSet::new();
        for Row { row, job } in &chunk.rows {
            job_parts.push(self.add_put(&mut parts, to_item(&keys::job(account_id, &job.job_id), job)?, Some(absent()))?);
            self.add_queued(&mut parts, job)?;
            entry_id = entry_id.next();
            let mut entry = Move::hold(job.quote_millicredits).entry(entry_id.clone(), account_id.clone(), now, job.job_id.as_str());
            entry.external_id = Some(chunk.row_name(*row));
            self.add_entry(&mut parts, &entry)?;
            for input in job.inputs.iter().filter(|input| used.insert(input.upload_id.clone())) {
                upload_parts.push(self.add_use(&mut parts, account_id, &input.upload_id, now)?);
            }
        }
        if let Some(event) = hooks::of_chunk(chunk, now) {
            self.add_owed_event(&mut parts, account_id, wanted, &event)?;
        }
        let refused = match self.transact(parts).await? {
            Written::Done => return Ok(Ok(())),
            Written::Refused(refused) => refused,
        };
        if refused.has(Some(batch_part)) || job_parts.iter().any(|part| refused.has(Some(*part))) {
            return Ok(Err(Why::Moved));
        }
        if refused.has(Some(account_part)) {
            let account = refused.found(Some(account_part)).cloned().map(account_from).transpose()?;
            return Ok(Err(why_account(&chunk.account, true, account)));
        }
        Ok(Err(upload_parts.iter().position(|part| refused.has(Some(*part))).map_or(Why::Moved, Why::Upload)))
    }

    /// Gives back what is left of a batch's reservation; no row of it starts any more.
    pub async fn close_batch(&self, account_id: &AccountId, batch_id: &BatchId, entry_id: &EntryId, now: Millis) -> Result<Closed, Error> {
        for _ in 0..TRIES {
            let Some(batch) = self.batch(account_id, batch_id).await? else { return Ok(Closed::NoBatch) };
            let Some(close) = batch::close(&batch, now) else { return Ok(Closed::Again) };
            let Some(account) = self.account(account_id).await? else { return Ok(Closed::NoBatch) };
            let mut parts = Parts::default();
            self.add_batch(&mut parts, &close.before, &close.after)?;
            self.add_owed_event(&mut parts, account_id, &account.counters.hook_events, &hooks::of_close(&close, now))?;
            if let Some(step) = close.money {
                let money = Money { step, cause: batch_id.as_str(), external_id: Some("close"), entry_id, now, down_to_zero: false, active: false };
                self.add_money(&mut parts, &account, money, AccountUpdate::new())?;
            }
            if matches!(self.transact(parts).await?, Written::Done) {
                return Ok(Closed::New { millicredits: batch.left_millicredits });
            }
        }
        Err(Error::Busy)
    }

    fn add_batch(&self, parts: &mut Parts, before: &Batch, after: &Batch) -> Result<usize, Error> {
        let same = Expr::new("seq = :seq AND #state = :open").name("state").value("seq", n(before.seq)).value("open", s("open"));
        self.add_put(parts, to_item(&keys::batch(&after.account_id, &after.batch_id), after)?, Some(same))
    }
}

/// How many of the rows, from the first, one transaction has room for: job, marker and entry each, and each upload once; beside them
/// batch, account, the release's entry and an event.
fn fitting(rows: &[Row]) -> usize {
    let mut parts = 4;
    let mut used: BTreeSet<&UploadId> = BTreeSet::new();
    rows.iter()
        .take_while(|row| {
            parts += 3 + row.job.inputs.iter().filter(|input| used.insert(&input.upload_id)).count();
            parts <= PARTS
        })
        .count()
}
