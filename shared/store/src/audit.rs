//! The operators' audit log: what was done by the admin key, what was refused, and who failed to sign in by one.
//!
//! Promises: a change and its line are one transaction ([`Table::add_audit`]); the list is one query a page, and shows no line whose days are over.

use crate::table::{Parts, Sorted, Table, absent, to_item};
use crate::{Error, keys};
use kiln_core::time::Millis;
use serde::{Deserialize, Serialize};

/// The outcome of a line whose action was done.
pub const DONE: &str = "done";

/// Rows that a filtered page looks at.
const FILTER_ROWS: u32 = 1_000;

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    pub id: String,
    pub at: Millis,
    pub action: String,
    /// What it was done to; of a failed sign-in what was asked.
    pub subject: String,
    /// The beginning of the request's body.
    pub facts: String,
    /// [`DONE`], or the status and code of the refusal.
    #[serde(default = "done")]
    pub outcome: String,
    /// The keyed fingerprint of the key that was presented; empty where there was none.
    #[serde(default)]
    pub actor: String,
    /// The caller's network address; empty where nothing named it.
    #[serde(default)]
    pub ip: String,
    /// Until when it is kept, in seconds.
    pub ttl: i64,
}

fn done() -> String {
    DONE.into()
}

/// Which lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    pub action: Option<String>,
    pub actor: Option<String>,
    /// From this time on.
    pub from: Option<Millis>,
    /// Before this time.
    pub to: Option<Millis>,
}

impl AuditFilter {
    fn takes(&self, line: &Audit) -> bool {
        self.action.as_ref().is_none_or(|action| *action == line.action) && self.actor.as_ref().is_none_or(|actor| *actor == line.actor)
    }
}

impl Table {
    /// The line, beside what it tells of.
    pub(crate) fn add_audit(&self, parts: &mut Parts, line: &Audit) -> Result<usize, Error> {
        self.add_put(parts, to_item(&keys::audit(line.at, &line.id), line)?, Some(absent()))
    }

    /// A line of what changed nothing.
    pub async fn put_audit(&self, line: &Audit) -> Result<(), Error> {
        self.put(to_item(&keys::audit(line.at, &line.id), line)?, Some(absent())).await.map(drop)
    }

    /// The lines that the filter takes, newest first. A page may be short, or empty, and go on all the same.
    pub async fn audit(&self, filter: &AuditFilter, now: Millis, limit: u32, after: Option<&str>) -> Result<(Vec<Audit>, Option<String>), Error> {
        let (first, last) = (keys::audit_at(filter.from.unwrap_or(0)), keys::audit_at(filter.to.unwrap_or(Millis::MAX)));
        // A cursor that other dates have given may lie outside of these, where DynamoDB takes none.
        let after = after.filter(|after| *after < last.as_str());
        if first > last || after.is_some_and(|after| after <= first.as_str()) {
            return Ok((Vec::new(), None));
        }
        let rows = if filter.action.is_none() && filter.actor.is_none() { limit } else { FILTER_ROWS };
        let takes = |line: &Audit| line.ttl > now / 1000 && filter.takes(line);
        self.sift(keys::AUDIT, Sorted::Between(&first, &last), (1, rows), limit, after, takes).await
    }
}
