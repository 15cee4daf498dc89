//! The room that a request takes in its account beside what it makes: a step of the minute's pace, bytes that are kept, a message of the
//! hour that is sent by hand. Counted in the account's item in the same transaction, so that of two requests at once the limit lets one
//! through.

use crate::accounts::{Account, account_from};
use crate::ledger::{AccountUpdate, count_step};
use crate::table::{Expr, Parts, Refused, Table, n};
use crate::{Error, keys};
use kiln_core::ids::AccountId;
use kiln_core::job::Step;
use kiln_core::settings::Settings;
use kiln_core::time::Millis;
use serde::{Deserialize, Serialize};

const HOUR: Millis = 3_600_000;

/// What is taken, and the limits that must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub step: Step,
    /// Bytes that will be kept.
    pub bytes: i64,
    pub bytes_limit: Option<i64>,
    /// Where a webhook is sent by hand.
    pub by_hand: Option<HandStep>,
}

/// The webhooks that an account has had sent by hand in one hour: tests and replays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByHand {
    /// Hours since 1970; the count is of that hour alone.
    #[serde(default)]
    pub hand_hour: i64,
    #[serde(default)]
    pub hand_sent: i64,
}

/// How one more of them counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandStep {
    pub hour: i64,
    /// Whether the account's count is of an earlier hour, as it was read: then it begins anew.
    pub first: bool,
    /// The limit of an hour.
    pub below: i64,
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoom {
    TooFast,
    /// So many webhooks have been sent by hand in this hour.
    ByHand {
        limit: i64,
    },
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
        Self { step: account.counters.pace.step(settings.creates_per_minute, now), bytes: 0, bytes_limit: None, by_hand: None }
    }

    /// With one more webhook sent by hand, of so many an hour.
    pub fn by_hand(mut self, account: &Account, below: u64, now: Millis) -> Self {
        // A clock that is behind another's counts for the later hour that it finds.
        let hour = now.div_euclid(HOUR).max(account.by_hand.hand_hour);
        self.by_hand = Some(HandStep { hour, first: account.by_hand.hand_hour != hour, below: below as i64 });
        self
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
        if let Some(hand) = self.by_hand
            && account.by_hand.hand_hour == hand.hour
            && account.by_hand.hand_sent >= hand.below
        {
            return NoRoom::ByHand { limit: hand.below };
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
    let (update, condition) = count_step(update, condition, room.step);
    match room.by_hand {
        Some(hand) => count_by_hand(update, condition, hand),
        None => (update, condition),
    }
}

fn count_by_hand(update: AccountUpdate, condition: Expr, hand: HandStep) -> (AccountUpdate, Expr) {
    let condition = condition.value("hand_hour", n(hand.hour));
    if hand.first {
        let update = update.set("hand_hour", n(hand.hour)).set("hand_sent", n(1));
        return (update, condition.and("(attribute_not_exists(hand_hour) OR hand_hour < :hand_hour)"));
    }
    (update.add("hand_sent", 1), condition.and("hand_hour = :hand_hour AND hand_sent < :hand_below").value("hand_below", n(hand.below)))
}

impl Table {
    /// Takes the room; gives its part's index.
    pub(crate) fn add_room(&self, parts: &mut Parts, account: &AccountId, room: &Room) -> Result<usize, Error> {
        let (mut update, mut condition) = with_room(AccountUpdate::new(), Expr::new("attribute_exists(pk)"), room);
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
        self.add_update(parts, &keys::account(account), update.expr(), Some(condition))
    }

    /// Why that part was refused, if it was.
    pub(crate) fn no_room(&self, refused: &Refused, part: usize, room: &Room) -> Result<Option<NoRoom>, Error> {
        if !refused.has(Some(part)) {
            return Ok(None);
        }
        Ok(Some(room.why(refused.found(Some(part)).cloned().map(account_from).transpose()?)))
    }

    /// Bytes that are kept no more.
    pub(crate) fn add_freed_bytes(&self, parts: &mut Parts, account: &AccountId, bytes: u64) -> Result<usize, Error> {
        let update = AccountUpdate::new().add("stored_bytes", -(bytes as i64)).expr();
        self.add_update(parts, &keys::account(account), update, Some(Expr::new("attribute_exists(pk)")))
    }
}
