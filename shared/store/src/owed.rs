//! The owed index: every unfinished job and every upload that may become an orphan, by when it is looked at next.
//! Sixteen shards; eventually consistent, so that it only suggests and the base table decides.

use crate::table::{Expr, Item, Table, n, s, to_item};
use crate::{Error, keys};
use kiln_core::ids::AccountId;
use kiln_core::job::{OWED_SHARDS, Priority, State};
use kiln_core::time::Millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A row of the index: a key to read, and enough of a job to count it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct OwedRow {
    pub pk: String,
    pub sk: String,
    pub next_check_at: Millis,
    #[serde(default)]
    pub state: Option<String>,
    #[serde(default)]
    pub kind: Option<String>,
    #[serde(default)]
    pub capability: Option<String>,
    #[serde(default)]
    pub priority: Option<Priority>,
    #[serde(default)]
    pub queued_at: Option<Millis>,
    #[serde(default)]
    pub account_id: Option<AccountId>,
}

/// Unfinished jobs as maintenance last counted them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Depth {
    pub at: Millis,
    pub queued: u64,
    pub running: u64,
    /// When the longest-waiting queued job was queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_queued_at: Option<Millis>,
    /// `kind/state` to how many.
    #[serde(default)]
    pub by_kind: BTreeMap<String, u64>,
    /// Machines that these jobs could use at once: no account runs more than it may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub useful: Option<u32>,
    /// Of those that wait, by kind, whose customers paid to be served first, and when the longest-waiting of them was queued; not kept.
    #[serde(skip)]
    pub rush: BTreeMap<String, u64>,
    #[serde(skip)]
    pub oldest_rush_at: Option<Millis>,
    /// By the account; not kept.
    #[serde(skip)]
    pub by_account: BTreeMap<AccountId, u64>,
}

impl Depth {
    pub fn unfinished(&self) -> u64 {
        self.queued + self.running
    }
}

impl Table {
    /// Rows of one shard that are due, oldest first, `limit` at most.
    pub async fn owed(&self, what: &str, shard: u32, due_by: Millis, limit: u32) -> Result<Vec<OwedRow>, Error> {
        let output = self
            .client
            .query()
            .table_name(&self.name)
            .index_name("owed")
            .key_condition_expression("owed_shard = :shard AND next_check_at <= :due")
            .expression_attribute_values(":shard", s(format!("{what}#{shard:02}")))
            .expression_attribute_values(":due", n(due_by))
            .limit(limit as i32)
            .send()
            .await
            .map_err(Error::aws)?;
        output.items.unwrap_or_default().into_iter().map(crate::table::from_item).collect()
    }

    /// Counts the unfinished jobs over all shards, and gives the rows that are due, oldest first.
    pub async fn unfinished(&self, now: Millis) -> Result<(Depth, Vec<OwedRow>), Error> {
        let mut depth = Depth { at: now, ..Depth::default() };
        let mut due = Vec::new();
        let shards = futures::future::try_join_all((0..OWED_SHARDS).map(|shard| self.shard(shard))).await?;
        for row in shards.into_iter().flatten() {
            depth.add(&row);
            if row.next_check_at <= now {
                due.push(row);
            }
        }
        due.sort_by_key(|row| row.next_check_at);
        Ok((depth, due))
    }

    async fn shard(&self, shard: u32) -> Result<Vec<OwedRow>, Error> {
        let mut rows = Vec::new();
        let mut start: Option<Item> = None;
        loop {
            let output = self
                .client
                .query()
                .table_name(&self.name)
                .index_name("owed")
                .key_condition_expression("owed_shard = :shard")
                .expression_attribute_values(":shard", s(format!("job#{shard:02}")))
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(Error::aws)?;
            for item in output.items.unwrap_or_default() {
                rows.push(crate::table::from_item(item)?);
            }
            start = output.last_evaluated_key;
            if start.is_none() {
                return Ok(rows);
            }
        }
    }

    /// Keeps the count for the functions that admit new jobs.
    pub async fn put_depth(&self, depth: &Depth) -> Result<(), Error> {
        self.put(to_item(&keys::depth(), depth)?, None).await.map(|_| ())
    }

    pub async fn depth(&self) -> Result<Option<Depth>, Error> {
        self.get(&keys::depth()).await
    }

    /// Whether `scripts/restore` is writing the table: what is owed may be there already, and what it leads to not yet.
    pub async fn restoring(&self) -> Result<bool, Error> {
        Ok(self.get_item(&keys::restore()).await?.is_some())
    }

    /// Looks at a row again at `at`, whatever it is: one that can't be read stands in no other's way.
    pub async fn look_later(&self, row: &OwedRow, at: Millis) -> Result<(), Error> {
        let update = Expr::new("SET next_check_at = :at").value("at", n(at));
        let key = crate::table::Key { pk: row.pk.clone(), sk: row.sk.clone() };
        self.update(&key, update, Some(Expr::new("attribute_exists(owed_shard)"))).await.map(drop)
    }

    /// A row's base item, read consistently, as whatever it is.
    pub async fn owed_item<T: serde::de::DeserializeOwned>(&self, row: &OwedRow) -> Result<Option<T>, Error> {
        self.get(&crate::table::Key { pk: row.pk.clone(), sk: row.sk.clone() }).await
    }
}

impl Depth {
    /// One job of the kind waits at least, and is to be served first where it is one of those: it was committed, and the index may not have it yet.
    pub fn at_least_one(&mut self, kind: &str, rush: bool, now: Millis) {
        let waiting = self.by_kind.entry(format!("{kind}/{}", State::Queued.as_str())).or_default();
        if *waiting == 0 {
            *waiting = 1;
            self.queued += 1;
            self.oldest_queued_at = self.oldest_queued_at.or(Some(now));
        }
        if rush {
            let first = self.rush.entry(kind.to_owned()).or_default();
            *first = (*first).max(1);
            self.oldest_rush_at = self.oldest_rush_at.or(Some(now));
        }
    }

    fn add(&mut self, row: &OwedRow) {
        let state = row.state.as_deref().unwrap_or("queued");
        if state == State::Running.as_str() {
            self.running += 1;
        } else {
            let older = |oldest: Option<Millis>| match (oldest, row.queued_at) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            self.queued += 1;
            self.oldest_queued_at = older(self.oldest_queued_at);
            if let Some(kind) = row.kind.as_ref().filter(|_| row.priority == Some(Priority::Rush)) {
                *self.rush.entry(kind.clone()).or_default() += 1;
                self.oldest_rush_at = older(self.oldest_rush_at);
            }
        }
        if let Some(kind) = &row.kind {
            *self.by_kind.entry(format!("{kind}/{state}")).or_default() += 1;
        }
        if let Some(account) = &row.account_id {
            *self.by_account.entry(account.clone()).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_that_are_to_be_served_first_are_counted_among_all_and_apart() {
        let row = |state: State, priority: Priority, queued_at: Millis| OwedRow {
            pk: "pk".into(),
            sk: "sk".into(),
            next_check_at: 0,
            state: Some(state.as_str().into()),
            kind: Some("upscale".into()),
            capability: Some("image".into()),
            priority: Some(priority),
            queued_at: Some(queued_at),
            account_id: None,
        };
        let mut depth = Depth::default();
        let rows = [
            (State::Queued, Priority::Standard, 3),
            (State::Queued, Priority::Rush, 9),
            (State::Queued, Priority::Rush, 7),
            (State::Running, Priority::Rush, 1),
        ];
        rows.into_iter().for_each(|(state, priority, at)| depth.add(&row(state, priority, at)));
        assert_eq!((depth.queued, depth.running, depth.oldest_queued_at), (3, 1, Some(3)));
        assert_eq!((depth.rush, depth.oldest_rush_at), ([("upscale".to_owned(), 2)].into(), Some(7)));
    }
}
