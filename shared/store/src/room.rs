//! The room that a request takes in its account beside what it makes: a step of the minute's pace, bytes that are kept. Counted in the
//! account's item in the same transaction, so that of two requests at once the limit lets one through.

use crate::accounts::{Account, account_from};
use crate::ledger::{AccountUpdate, count_step};
use crate::table::{Expr, Parts, Refused, Table, n};
use crate::{Error, keys};
use kiln_core::job::Step;
use kiln_core::settings::Settings;
use kiln_core::time::Millis;

/// What is taken, and the limits that must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub step: Step,
    /// Bytes that will be kept.
    pub bytes: i64,
    pub bytes_limit: Option<i64>,
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoom {
    TooFast,
    /// So many bytes are kept, of so many that may be.
    Bytes {
        kept: i64,
        limit: i64,
    },
    AccountGone,
    /// The account may make nothing.
    Suspended,
    /// The account is not what was read: read and ask again.
    Moved,
}

impl Room {
    /// Room for one thing without bytes.
    pub fn of(account: &Account, settings: &Settings, now: Millis) -> Self {
        Self { step: account.counters.pace.step(settings.creates_per_minute, now), bytes: 0, bytes_limit: None }
    }

    pub fn bytes(mut self, bytes: u64, limit: Option<i64>) -> Self {
        (self.bytes, self.bytes_limit) = (bytes as i64, limit);
        self
    }

    /// Why the account, as a refused transaction found it, had no room.
    fn why(&self, account: Option<Account>) -> NoRoom {
        let Some(account) = account else { return NoRoom::AccountGone };
        let pace = account.counters.pace;
        if account.suspended {
            return NoRoom::Suspended;
        }
        if pace.minute == self.step.minute && pace.minute_made >= self.step.below {
            return NoRoom::TooFast;
        }
        match self.bytes_limit {
            Some(limit) if account.stored_bytes + self.bytes > limit => NoRoom::Bytes { kept: account.stored_bytes, limit },
            _ => NoRoom::Moved,
        }
    }
}

/// Takes the room in a part that changes the account anyway: an account is in a transaction once.
pub(crate) fn with_room(update: AccountUpdate, condition: Expr, room: &Room) -> (AccountUpdate, Expr) {
    let condition = condition.and("suspended = :no").value("no", aws_sdk_dynamodb::types::AttributeValue::Bool(false));
    count_step(update, condition, room.step)
}

impl Table {
    /// Takes the room; gives its part's index.
    pub(crate) fn add_room(&self, parts: &mut Parts, account: &Account, room: &Room) -> Result<usize, Error> {
        let condition = Expr::new("attribute_exists(pk) AND suspended = :no").value("no", aws_sdk_dynamodb::types::AttributeValue::Bool(false));
        let (mut update, mut condition) = count_step(AccountUpdate::new(), condition, room.step);
        if room.bytes > 0 {
            update = update.add("stored_bytes", room.bytes);
            if let Some(limit) = room.bytes_limit {
                condition = condition.and("(attribute_not_exists(stored_bytes) OR stored_bytes <= :room)").value("room", n(limit - room.bytes));
                if room.bytes > limit {
                    // An account without the attribute would pass.
                    condition = condition.and("attribute_not_exists(pk)");
                }
            }
        }
        self.add_update(parts, &keys::account(&account.account_id), update.expr(), Some(condition))
    }

    /// Why that part was refused, if it was.
    pub(crate) fn no_room(&self, refused: &Refused, part: usize, room: &Room) -> Result<Option<NoRoom>, Error> {
        if !refused.has(Some(part)) {
            return Ok(None);
        }
        Ok(Some(room.why(refused.found(Some(part)).cloned().map(account_from).transpose()?)))
    }

    /// Bytes that are kept no more.
    pub(crate) fn add_freed_bytes(&self, parts: &mut Parts, account: &kiln_core::ids::AccountId, bytes: u64) -> Result<usize, Error> {
        let update = AccountUpdate::new().add("stored_bytes", -(bytes as i64)).expr();
        self.add_update(parts, &keys::account(account), update, Some(Expr::new("attribute_exists(pk)")))
    }
}
