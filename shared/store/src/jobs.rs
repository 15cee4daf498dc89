//! Jobs: reads, and the one transaction that commits a [`Change`] of core's job machine with its money, its
//! counters, its queue marker, its slot and its idempotency record.

use crate::accounts::{Account, account_from};
use crate::callers::{Asked, Proof};
use crate::fleet::{emptied, holds};
use crate::hooks::Endpoint;
use crate::ledger::{AccountUpdate, admit, over_today, owes, used_in_month};
use crate::owed::Depth;
use crate::table::{Expr, Parts, Table, Written, absent, from_item, n, s, to_item};
use crate::uploads::Upload;
use crate::{Error, keys};
use kiln_core::hooks;
use kiln_core::ids::{AccountId, EndpointId, EntryId, JobId, UploadId};
use kiln_core::job::{Artifact, Counters, Job, Priority, State};
use kiln_core::ledger::EntryKind;
use kiln_core::machine::{AccountDelta, Change, SlotChange};
use kiln_core::pool::Standing;
use kiln_core::time::Millis;
use kiln_core::timing::Timings;
use serde::{Deserialize, Serialize};

/// The record that makes a POST repeatable, written in the transaction of its effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotent {
    pub account_id: AccountId,
    pub route: &'static str,
    pub key_hash: String,
    pub body_hash: String,
    pub status: u16,
    /// The answer as JSON, without URLs and secrets.
    pub answer: String,
    pub now: Millis,
    pub expires_at: Millis,
}

/// An earlier answer to the same key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    pub body_hash: String,
    pub status: u16,
    pub answer: String,
    pub expires_at: Millis,
    pub ttl: i64,
}

/// What a succeeded job made; its child item, and a line of its account's creations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Creation {
    pub v: u32,
    pub job_id: JobId,
    pub account_id: AccountId,
    pub kind: String,
    pub params: String,
    pub created_at: Millis,
    pub artifacts: Vec<Artifact>,
    /// Its files' bytes are among those that the account keeps; not of creations that are older than that count.
    #[serde(default)]
    pub counted: bool,
}

impl Creation {
    /// Of all its files.
    fn bytes(&self) -> i64 {
        self.artifacts.iter().map(|artifact| artifact.bytes as i64).sum()
    }
}

/// A queued job's place in its account's queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Marker {
    job_id: JobId,
    capability: String,
    priority: Priority,
    not_before: Millis,
}

/// What one commit writes beside the change itself.
#[derive(Debug, Default)]
pub struct Commit<'a> {
    pub entry_id: Option<EntryId>,
    /// Uploads that the new job uses; each must be ready.
    pub uses: &'a [UploadId],
    pub idempotent: Option<&'a Idempotent>,
    pub creation: Option<&'a Creation>,
    /// The slot that the worker's instance was seen to hold, for a claim.
    pub slot_seen: Option<&'a crate::Slot>,
    /// The token (by its hash) that the worker of a claim spoke with: revoked or replaced meanwhile, it takes no slot.
    pub spoke_with: Option<&'a str>,
    /// The account as read, which says what its webhook endpoints want to be told; without it, a commit that is an event reads it.
    pub account: Option<&'a Counters>,
}

/// Why a commit was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The job (or the worker's slot) is not what was read: read again and decide again.
    Moved,
    /// With what there was, in millicredits.
    NoFunds {
        available: i64,
    },
    /// The account has made as much in this minute as it may.
    TooFast,
    /// The account's jobs of the day are used up; `edits` where it was their limit.
    DayFull {
        edits: bool,
    },
    RunningFull,
    QueuedFull,
    AccountGone,
    Suspended,
    /// This upload is gone or not ready.
    Upload(usize),
    /// The same idempotency key has been used; read its record.
    Repeated,
}

/// What a submit reads before it decides, in one call.
#[derive(Debug)]
pub struct Submitted {
    pub account: Option<Account>,
    pub uploads: Vec<Option<Upload>>,
    /// The endpoint that was asked for.
    pub webhook: Option<Endpoint>,
    pub depth: Option<Depth>,
    pub standing: Option<Standing>,
    pub replay: Option<Replay>,
    pub proof: Proof,
}

impl Table {
    /// Reads a job; one of an older schema is upgraded here.
    pub async fn job(&self, account: &AccountId, job: &JobId) -> Result<Option<Job>, Error> {
        self.get(&keys::job(account, job)).await
    }

    /// A job and what it made, in one call.
    pub async fn job_and_creation(&self, account: &AccountId, job: &JobId) -> Result<(Option<Job>, Option<Creation>), Error> {
        let (job_key, creation_key) = (keys::job(account, job), keys::creation(account, job));
        let mut found = self.get_many(&[job_key.clone(), creation_key.clone()]).await?;
        Ok((found.remove(&job_key).map(from_item).transpose()?, found.remove(&creation_key).map(from_item).transpose()?))
    }

    /// A job and its account, in one call.
    pub async fn job_and_account(&self, account: &AccountId, job: &JobId) -> Result<(Option<Job>, Option<Account>), Error> {
        let (job_key, account_key) = (keys::job(account, job), keys::account(account));
        let mut found = self.get_many(&[job_key.clone(), account_key.clone()]).await?;
        Ok((found.remove(&job_key).map(from_item).transpose()?, found.remove(&account_key).map(account_from).transpose()?))
    }

    /// Everything a submit decides by: who calls, account, uploads, the endpoint that is to be told, the queue's depth, how the pool stands and an earlier
    /// answer to its key.
    pub async fn before_submit(
        &self,
        asked: &Asked,
        uploads: &[UploadId],
        webhook: Option<&EndpointId>,
        idempotency: Option<(&'static str, &str)>,
    ) -> Result<Submitted, Error> {
        let account = asked.account_id();
        let account_key = keys::account(account);
        let upload_keys: Vec<_> = uploads.iter().map(|id| keys::upload(account, id)).collect();
        let webhook_key = webhook.map(|id| keys::endpoint(account, id));
        let replay_key = idempotency.map(|(route, hash)| keys::idempotency(account, route, hash));
        let mut wanted = vec![account_key.clone(), keys::depth(), keys::standing()];
        wanted.extend(asked.keys());
        wanted.extend(upload_keys.iter().cloned());
        wanted.extend(webhook_key.clone());
        wanted.extend(replay_key.clone());
        let mut found = self.get_many(&wanted).await?;
        Ok(Submitted {
            account: found.remove(&account_key).map(account_from).transpose()?,
            uploads: upload_keys.iter().map(|key| found.get(key).cloned().map(from_item).transpose()).collect::<Result<_, _>>()?,
            webhook: webhook_key.and_then(|key| found.remove(&key)).map(from_item).transpose()?,
            depth: found.remove(&keys::depth()).map(from_item).transpose()?,
            standing: found.remove(&keys::standing()).map(from_item).transpose()?,
            proof: asked.proof(&mut found)?,
            replay: replay_key.and_then(|key| found.remove(&key)).map(from_item).transpose()?,
        })
    }

    pub async fn replay(&self, account: &AccountId, route: &'static str, key_hash: &str) -> Result<Option<Replay>, Error> {
        self.get(&keys::idempotency(account, route, key_hash)).await
    }

    pub(crate) fn add_idempotency(&self, parts: &mut Parts, record: &Idempotent) -> Result<usize, Error> {
        let replay = Replay {
            body_hash: record.body_hash.clone(),
            status: record.status,
            answer: record.answer.clone(),
            expires_at: record.expires_at,
            ttl: record.expires_at / 1000,
        };
        let key = keys::idempotency(&record.account_id, record.route, &record.key_hash);
        // An expired record that the sweep has not removed yet is as good as none.
        let free = Expr::new("attribute_not_exists(pk) OR expires_at <= :now").value("now", n(record.now));
        self.add_put(parts, to_item(&key, &replay)?, Some(free))
    }

    /// Commits a change: all of it or nothing. `Ok(Err(why))` says what stood in the way.
    pub async fn commit(&self, change: &Change, with: Commit<'_>, now: Millis) -> Result<Result<(), Why>, Error> {
        let job = &change.after;
        let job_key = keys::job(&job.account_id, &job.job_id);
        let guard = match &change.before {
            None => absent(),
            Some(before) => Expr::new("seq = :seq AND #state = :state AND attempt = :attempt")
                .name("state")
                .value("seq", n(before.seq))
                .value("state", s(before.state.as_str()))
                .value("attempt", n(before.attempt)),
        };
        let item = to_item(&job_key, job)?;
        let alone = change.account == Default::default() && change.money.is_none() && change.slot == SlotChange::Keep;
        let same_state = change.before.as_ref().is_some_and(|before| before.state == job.state);
        if alone && same_state {
            return Ok(if self.put(item, Some(guard)).await? { Ok(()) } else { Err(Why::Moved) });
        }
        let event = hooks::of_change(change);
        let wanted = match (&event, with.account) {
            (None, _) => hooks::Wanted::default(),
            (Some(_), Some(counters)) => counters.hook_events.clone(),
            (Some(_), None) => self.account(&job.account_id).await?.map(|account| account.counters.hook_events).unwrap_or_default(),
        };
        let mut free_slot = true;
        // Nearly no account owes anything, so nobody reads for it: the one that does is met by the condition.
        let mut debt = 0;
        loop {
            let mut parts = Parts::default();
            let job_part = self.add_put(&mut parts, item.clone(), Some(guard.clone()))?;
            let kept = with.creation.filter(|creation| creation.counted).map_or(0, Creation::bytes);
            let account_part = self.add_account(&mut parts, change, debt, kept, now)?;
            self.add_marker(&mut parts, change)?;
            let slot_part = self.add_slot(&mut parts, change, &with, free_slot)?;
            if let (Some(money), Some(id)) = (change.money, &with.entry_id) {
                let entry = money.entry(id.clone(), job.account_id.clone(), now, job.job_id.as_str());
                self.add_put(&mut parts, to_item(&keys::entry(&job.account_id, id), &entry)?, Some(absent()))?;
                self.add_debt_paid(&mut parts, &entry, debt)?;
            }
            let mut upload_parts = Vec::new();
            for upload in with.uses {
                upload_parts.push(self.add_use(&mut parts, &job.account_id, upload, now)?);
            }
            let repeat_part = with.idempotent.map(|record| self.add_idempotency(&mut parts, record)).transpose()?;
            if let Some(creation) = with.creation {
                self.add_put(&mut parts, to_item(&keys::creation(&job.account_id, &job.job_id), creation)?, Some(absent()))?;
            }
            if let Some(host) = &change.fault {
                self.add_fault(&mut parts, host, &job.account_id, now)?;
            }
            if let Some(event) = &event {
                self.add_owed_event(&mut parts, &job.account_id, &wanted, event)?;
            }
            let refused = match self.transact(parts).await? {
                Written::Done => return Ok(Ok(())),
                Written::Refused(refused) => refused,
            };
            if refused.has(repeat_part) {
                return Ok(Err(Why::Repeated));
            }
            if refused.has(Some(job_part)) {
                return Ok(Err(Why::Moved));
            }
            if refused.has(account_part) {
                let account = refused.found(account_part).cloned().map(account_from).transpose()?;
                let owed = account.as_ref().map_or(0, |account| account.counters.debt);
                if owed != debt && change.money.is_some_and(|step| step.d_available > 0) {
                    debt = owed;
                    continue;
                }
                return Ok(Err(why_account(&change.account, change.before.is_none(), account)));
            }
            if let Some(i) = upload_parts.iter().position(|part| refused.has(Some(*part))) {
                return Ok(Err(Why::Upload(i)));
            }
            if refused.has(slot_part) && matches!(change.slot, SlotChange::Free { .. }) && free_slot {
                // The slot has moved on (its process restarted, its machine is gone): nothing to free.
                free_slot = false;
                continue;
            }
            return Ok(Err(Why::Moved));
        }
    }

    /// `kept`: bytes that the account keeps from now on. What is paid for is kept however much that is; the next upload finds no room.
    fn add_account(&self, parts: &mut Parts, change: &Change, debt: i64, kept: i64, now: Millis) -> Result<Option<usize>, Error> {
        let delta = &change.account;
        if *delta == Default::default() && change.money.is_none() {
            return Ok(None);
        }
        let mut condition = Expr::new("attribute_exists(pk)");
        let mut update = AccountUpdate::new();
        if kept > 0 {
            update = update.add("stored_bytes", kept);
        }
        if let Some(step) = change.money {
            update = update.add("available", step.d_available).add("held", step.d_held);
            if let Some((paid, shrinks)) = step.pays(debt) {
                update = update.add("available", paid.d_available).add("debt", -shrinks);
            }
            if step.d_available > 0 {
                condition = owes(condition, debt);
            }
            if step.kind == EntryKind::Capture {
                update = update.add(&used_in_month(now), -(step.d_available + step.d_held));
            }
        }
        let (update, condition) = admit(update, condition, delta, change.before.is_none());
        self.add_update(parts, &keys::account(&change.after.account_id), update.expr(), Some(condition)).map(Some)
    }

    /// A marker stands exactly while the job is queued.
    fn add_marker(&self, parts: &mut Parts, change: &Change) -> Result<(), Error> {
        let job = &change.after;
        let key = keys::queued(&job.account_id, &job.job_id);
        let was = change.before.as_ref().is_some_and(|before| before.state == State::Queued);
        match (was, job.state == State::Queued) {
            (_, true) => self.add_queued(parts, job)?,
            (true, false) => {
                self.add_delete(parts, &key, None)?;
            }
            (false, false) => {}
        }
        Ok(())
    }

    /// The marker of a job that is queued.
    pub(crate) fn add_queued(&self, parts: &mut Parts, job: &Job) -> Result<(), Error> {
        let marker = Marker { job_id: job.job_id.clone(), capability: job.capability.clone(), priority: job.priority, not_before: job.not_before };
        self.add_put(parts, to_item(&keys::queued(&job.account_id, &job.job_id), &marker)?, None).map(drop)
    }

    /// A new job uses an upload, which must be ready.
    pub(crate) fn add_use(&self, parts: &mut Parts, account: &AccountId, upload: &UploadId, now: Millis) -> Result<usize, Error> {
        let used = Expr::new("SET last_job_at = :now REMOVE owed_shard, next_check_at").value("now", n(now));
        let ready = Expr::new("#state = :ready").name("state").value("ready", s("ready"));
        self.add_update(parts, &keys::upload(account, upload), used, Some(ready))
    }

    fn add_slot(&self, parts: &mut Parts, change: &Change, with: &Commit<'_>, free: bool) -> Result<Option<usize>, Error> {
        let job = &change.after;
        match &change.slot {
            SlotChange::Take { instance_id } => {
                let update = Expr::new("SET slot_job = :job, slot_account = :account, slot_attempt = :attempt, busy_since = if_not_exists(busy_since, :began)")
                    .value("began", n(job.attempt_started_at.unwrap_or(job.queued_at)))
                    .value("job", s(job.job_id.as_str()))
                    .value("account", s(job.account_id.as_str()))
                    .value("attempt", n(job.attempt));
                let free_or_seen = match with.slot_seen {
                    None => Expr::new("attribute_exists(pk) AND attribute_not_exists(slot_job)"),
                    Some(slot) => holds(&slot.job_id, slot.attempt),
                };
                // A machine that is asked to leave meanwhile is given back at once: it may not have taken a job just then.
                let free_or_seen = free_or_seen
                    .and("(attribute_not_exists(drain) OR drain = :staying)")
                    .value("staying", aws_sdk_dynamodb::types::AttributeValue::Bool(false));
                let condition = match with.spoke_with {
                    None => free_or_seen,
                    Some(token_hash) => free_or_seen.and("token_hash = :token").value("token", s(token_hash)),
                };
                self.add_update(parts, &keys::instance(instance_id), update, Some(condition)).map(Some)
            }
            SlotChange::Free { instance_id } if free => {
                let update = emptied(job.finished_at.unwrap_or(job.queued_at)).adding(&Timings::of(job));
                let condition = holds(&job.job_id, job.attempt);
                self.add_update(parts, &keys::instance(instance_id), update, Some(condition)).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The account's jobs, newest first.
    pub async fn jobs(&self, account: &AccountId, limit: u32, after: Option<&str>) -> Result<(Vec<Job>, Option<String>), Error> {
        let (items, next) = self.page(&keys::account_pk(account), keys::JOB, true, limit, after).await?;
        Ok((items.into_iter().map(from_item).collect::<Result<_, _>>()?, next))
    }

    pub async fn creation(&self, account: &AccountId, job: &JobId) -> Result<Option<Creation>, Error> {
        self.get(&keys::creation(account, job)).await
    }

    pub async fn creations(&self, account: &AccountId, limit: u32, after: Option<&str>) -> Result<(Vec<Creation>, Option<String>), Error> {
        let (items, next) = self.page(&keys::account_pk(account), keys::CREATION, true, limit, after).await?;
        Ok((items.into_iter().map(from_item).collect::<Result<_, _>>()?, next))
    }

    /// A creation goes, and its bytes are free again, once.
    pub async fn forget_creation(&self, creation: &Creation) -> Result<(), Error> {
        let key = keys::creation(&creation.account_id, &creation.job_id);
        if !creation.counted {
            return self.delete(&key).await;
        }
        let mut parts = Parts::default();
        self.add_delete(&mut parts, &key, Some(Expr::new("attribute_exists(pk)")))?;
        self.add_freed_bytes(&mut parts, &creation.account_id, creation.bytes() as u64)?;
        // Refused: it went meanwhile, or all of its account did.
        self.transact(parts).await.map(drop)
    }

    /// The account's queued jobs that are due, `limit` at most, rush before standard and then the oldest: by base-table key, consistently.
    pub async fn due_jobs(&self, account: &AccountId, limit: u32, now: Millis) -> Result<Vec<(JobId, String, Priority)>, Error> {
        if limit == 0 {
            return Ok(vec![]);
        }
        // Twice the default cap of a queue; what is behind that in a longer one has its turn later.
        let (items, _) = self.page(&keys::account_pk(account), keys::QUEUED, false, limit.max(100) * 2, None).await?;
        let mut markers: Vec<Marker> = items.into_iter().map(from_item).collect::<Result<_, _>>()?;
        markers.retain(|marker| marker.not_before <= now);
        // Stable: within a priority the order of the ids, which is that of their making, stays.
        markers.sort_by_key(|marker| marker.priority);
        Ok(markers.into_iter().take(limit as usize).map(|marker| (marker.job_id, marker.capability, marker.priority)).collect())
    }
}

/// Why the account, as a refused transaction found it, did not admit this; `new` where it would have made something.
pub(crate) fn why_account(delta: &AccountDelta, new: bool, account: Option<Account>) -> Why {
    let Some(account) = account else { return Why::AccountGone };
    if account.suspended && new {
        Why::Suspended
    } else if let Some(daily) = delta.daily.filter(|daily| over_today(account.counters.today.on(daily.day), daily)) {
        Why::DayFull { edits: daily.edits_below.is_some_and(|limit| account.counters.today.on(daily.day).day_edits >= limit) }
    } else if delta.step.is_some_and(|step| account.counters.pace.minute == step.minute && account.counters.pace.minute_made >= step.below) {
        Why::TooFast
    } else if delta.step.is_some_and(|step| step.first != (account.counters.pace.minute != step.minute)) {
        Why::Moved
    } else if delta.daily.is_some_and(|daily| daily.first != (account.counters.today.day != daily.day)) {
        // Midnight, or the day's first job, came in between.
        Why::Moved
    } else if delta.queued_below.is_some_and(|cap| account.counters.queued >= cap) {
        Why::QueuedFull
    } else if delta.running_below.is_some_and(|cap| account.counters.running >= cap) {
        Why::RunningFull
    } else if delta.needs_available.is_some_and(|needed| account.counters.available < needed) {
        Why::NoFunds { available: account.counters.available }
    } else {
        Why::Moved
    }
}
