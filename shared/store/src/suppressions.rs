//! Addresses that mail no longer goes to, because it bounced for good or was complained about; and messages from outside that
//! were genuine and could not be read, which wait here for a person.
//!
//! An address is found by its hash alone. Everything here may be written twice and in any order with the same result: SNS
//! delivers what it has more than once.

use crate::table::{Expr, Table, n, s, to_item};
use crate::{Error, accounts::address_hash, hash, keys};
use kiln_core::time::Millis;
use serde::{Deserialize, Serialize};

/// Why mail to an address stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A hard bounce: the address takes no mail.
    Bounced,
    /// Its reader called our mail spam.
    Complained,
}

/// What SES told of one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppression {
    pub v: u32,
    pub reason: Reason,
    /// When SES saw it.
    pub since: Millis,
    /// SES's own word for it, such as `NoEmail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Set by an operator: mail goes to it again, until it bounces after this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleared_at: Option<Millis>,
}

impl Suppression {
    pub fn new(reason: Reason, since: Millis, detail: Option<String>) -> Self {
        Self { v: 1, reason, since, detail, cleared_at: None }
    }

    /// Whether it keeps mail back.
    pub fn stops(&self) -> bool {
        self.cleared_at.is_none()
    }
}

/// A genuine message that could not be read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kept {
    /// Who sent it, such as `ses`.
    pub source: String,
    pub at: Millis,
    /// What was wrong with it.
    pub why: String,
    pub body: String,
    pub ttl: i64,
}

/// Longest body that is kept; SNS sends at most this, and an item holds 400 KB.
const KEPT_BYTES: usize = 256 * 1024;
/// For how long, in seconds: a year.
const KEPT_FOR_S: i64 = 366 * 86_400;

impl Table {
    /// What is known against an address, cleared or not.
    pub async fn suppression(&self, email: &str) -> Result<Option<Suppression>, Error> {
        self.get(&keys::suppression(&address_hash(email))).await
    }

    /// Notes what SES told of an address; `false` where that changes nothing: it is known, a complaint is not unsaid by a later bounce,
    /// and what SES saw before an operator cleared the address no longer counts.
    pub async fn suppress(&self, email: &str, found: &Suppression) -> Result<bool, Error> {
        let key = keys::suppression(&address_hash(email));
        let is_news = match found.reason {
            Reason::Bounced => Expr::new("attribute_not_exists(pk) OR cleared_at < :since"),
            Reason::Complained => Expr::new("attribute_not_exists(pk) OR cleared_at < :since OR (attribute_not_exists(cleared_at) AND reason = :bounced)")
                .value("bounced", s("bounced")),
        };
        self.put(to_item(&key, found)?, Some(is_news.value("since", n(found.since)))).await
    }

    /// Keeps a message for a person; the same message is kept once. What is longer than 256 KiB is cut.
    pub async fn keep(&self, source: &str, why: &str, body: &str, now: Millis) -> Result<(), Error> {
        let body = &body[..body.floor_char_boundary(KEPT_BYTES)];
        let kept = Kept { source: source.to_owned(), at: now, why: why.to_owned(), body: body.to_owned(), ttl: now / 1000 + KEPT_FOR_S };
        self.put(to_item(&keys::kept(source, &hash(body)), &kept)?, Some(crate::table::absent())).await?;
        Ok(())
    }

    /// What is kept of a source.
    pub async fn kept(&self, source: &str, limit: u32, after: Option<&str>) -> Result<(Vec<Kept>, Option<String>), Error> {
        let (items, next) = self.page(&keys::kept(source, "").pk, "", false, limit, after).await?;
        Ok((items.into_iter().map(crate::table::from_item).collect::<Result<_, _>>()?, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_stops_mail_until_it_is_cleared() {
        let mut found = Suppression::new(Reason::Complained, 5, Some("abuse".into()));
        assert_eq!(serde_json::to_value(&found).unwrap(), serde_json::json!({"v": 1, "reason": "complained", "since": 5, "detail": "abuse"}));
        assert!(found.stops());
        found.cleared_at = Some(6);
        assert!(!found.stops());
    }
}
