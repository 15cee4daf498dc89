//! The ledger's writes that belong to no job: credits that come and go, each with its entry, in one transaction that holds only
//! while the account is as it was read where that matters. And what such writes share with the job machine's ([`AccountUpdate`]).
//!
//! Promises (invariants 1 and 3): balance and entry change together or not at all; `available` never falls below zero; an increase
//! pays the account's debt first.

use crate::accounts::Account;
use crate::jobs::Idempotent;
use crate::table::{Expr, Parts, Table, Written, absent, n, to_item};
use crate::{Error, keys};
use kiln_core::hooks::{Event, EventType};
use kiln_core::ids::{AccountId, EntryId};
use kiln_core::job::{Step, Today};
use kiln_core::ledger::{DEBT, Entry, EntryKind, Move};
use kiln_core::machine::{AccountDelta, Daily};
use kiln_core::time::{Millis, rfc3339};

/// Tries of "read, decide, write" on one account.
pub(crate) const TRIES: usize = 24;

/// Changes of an account's item: numbers to add, values to set. Two additions to one attribute become one.
#[derive(Debug, Default, Clone)]
pub(crate) struct AccountUpdate {
    adds: Vec<(String, i64)>,
    sets: Vec<(String, aws_sdk_dynamodb::types::AttributeValue)>,
    removes: Vec<String>,
}

impl AccountUpdate {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn add(mut self, attribute: &str, number: i64) -> Self {
        match self.adds.iter_mut().find(|(name, _)| name == attribute) {
            Some((_, sum)) => *sum += number,
            None => self.adds.push((attribute.to_owned(), number)),
        }
        self
    }

    pub fn set(mut self, attribute: &str, value: aws_sdk_dynamodb::types::AttributeValue) -> Self {
        self.sets.push((attribute.to_owned(), value));
        self
    }

    pub fn remove(mut self, attribute: &str) -> Self {
        self.removes.push(attribute.to_owned());
        self
    }

    /// The update expression. Adding nothing at all is left out, but never everything: an update must say something.
    pub fn expr(self) -> Expr {
        let (mut text, mut expr) = (String::new(), Expr::default());
        for (i, (attribute, value)) in self.sets.into_iter().enumerate() {
            text += &format!("{} #set{i} = :set{i}", if i == 0 { "SET" } else { "," });
            expr = expr.alias(&format!("set{i}"), &attribute).value(&format!("set{i}"), value);
        }
        for (i, attribute) in self.removes.into_iter().enumerate() {
            let lead = match (i, text.is_empty()) {
                (0, true) => "REMOVE",
                (0, false) => " REMOVE",
                _ => ",",
            };
            text += &format!("{lead} #remove{i}");
            expr = expr.alias(&format!("remove{i}"), &attribute);
        }
        let mut lead = if text.is_empty() { "ADD" } else { " ADD" };
        let mut adds: Vec<_> = self.adds.into_iter().filter(|(_, number)| *number != 0).collect();
        if adds.is_empty() && text.is_empty() {
            adds.push(("available".into(), 0));
        }
        for (i, (attribute, number)) in adds.iter().enumerate() {
            text += &format!("{lead} #add{i} :add{i}");
            lead = ",";
            expr = expr.alias(&format!("add{i}"), attribute).value(&format!("add{i}"), n(number));
        }
        expr.text(text)
    }
}

/// The account still owes exactly this much: an increase that was split by another debt must not be written.
pub(crate) fn owes(condition: Expr, debt: i64) -> Expr {
    let text = if debt == 0 { "(attribute_not_exists(debt) OR debt = :debt)" } else { "debt = :debt" };
    condition.and(text).value("debt", n(debt))
}

/// The attribute of an account that counts what was charged in a month (UTC), in millicredits: `used_2026_11`.
pub(crate) fn used_in_month(at: Millis) -> String {
    format!("used_{}", rfc3339(at)[..7].replace('-', "_"))
}

/// New jobs count for their day, if the account's counts are still of the day that was read and below their limits.
pub(crate) fn count_today(update: AccountUpdate, condition: Expr, daily: Daily) -> (AccountUpdate, Expr) {
    let condition = condition.value("day", n(daily.day));
    if daily.first {
        let room = [daily.inferences_below, daily.edits_below].iter().all(|limit| limit.is_none_or(|limit| limit > 0));
        let update = update.set("day", n(daily.day)).set("day_inferences", n(daily.jobs)).set("day_edits", n(daily.edits));
        // A limit may have no room for the first ones either: a condition that can't hold.
        let condition = if room { condition } else { condition.and("attribute_not_exists(pk)") };
        return (update, condition.and("(attribute_not_exists(#day) OR #day < :day)").alias("day", "day"));
    }
    let mut condition = condition.and("#day = :day").alias("day", "day");
    if let Some(limit) = daily.inferences_below {
        condition = condition.and("day_inferences < :inferences_cap").value("inferences_cap", n(limit));
    }
    if let Some(limit) = daily.edits_below {
        condition = condition.and("day_edits < :edits_cap").value("edits_cap", n(limit));
    }
    (update.add("day_inferences", daily.jobs).add("day_edits", daily.edits), condition)
}

/// What is made counts for its account's minute, if that is still the minute that was read and has room.
pub(crate) fn count_step(update: AccountUpdate, condition: Expr, step: Step) -> (AccountUpdate, Expr) {
    let condition = condition.value("minute", n(step.minute)).alias("minute", "minute");
    if step.first {
        let update = update.set("minute", n(step.minute)).set("minute_made", n(1));
        return (update, condition.and("(attribute_not_exists(#minute) OR #minute < :minute)"));
    }
    (update.add("minute_made", 1), condition.and("#minute = :minute AND minute_made < :pace").value("pace", n(step.below)))
}

/// What new jobs, or what is to become jobs, take of the account, and the limits that must hold.
pub(crate) fn admit(update: AccountUpdate, condition: Expr, delta: &AccountDelta, new: bool) -> (AccountUpdate, Expr) {
    let (mut update, mut condition) = (update.add("running", delta.running).add("queued", delta.queued), condition);
    if let Some(daily) = delta.daily {
        (update, condition) = count_today(update, condition, daily);
    }
    if let Some(step) = delta.step {
        (update, condition) = count_step(update, condition, step);
    }
    if new {
        condition = condition.and("suspended = :no").value("no", aws_sdk_dynamodb::types::AttributeValue::Bool(false));
    }
    if let Some(needed) = delta.needs_available {
        condition = condition.and("available >= :needed").value("needed", n(needed));
    }
    if let Some(cap) = delta.running_below {
        condition = condition.and("running < :running_cap").value("running_cap", n(cap));
    }
    if let Some(cap) = delta.queued_below {
        condition = condition.and("queued < :queued_cap").value("queued_cap", n(cap));
    }
    (update, condition)
}

pub(crate) fn over_today(today: Today, daily: &Daily) -> bool {
    daily.inferences_below.is_some_and(|limit| today.day_inferences >= limit) || daily.edits_below.is_some_and(|limit| today.day_edits >= limit)
}

/// Credits that come to an account, or that an operator takes from it.
#[derive(Debug, Clone)]
pub struct Posting<'a> {
    pub account_id: &'a AccountId,
    pub kind: EntryKind,
    /// In millicredits; negative only for an adjustment, which takes no more than there is.
    pub amount: i64,
    pub cause: &'a str,
    pub external_id: Option<&'a str>,
    pub entry_id: EntryId,
    pub now: Millis,
}

/// What became of a posting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Posted {
    Done,
    /// The entry was there: this very posting was made before.
    Again,
    NoAccount,
    /// An adjustment would take more than there is.
    TooLittle {
        available: i64,
    },
    /// The idempotency key was used meanwhile.
    Repeated,
}

impl Table {
    /// Posts one change of an account's credits, with the record of the request that asked for it, and the audit log's line where that was an
    /// operator's.
    pub async fn post(&self, posting: &Posting<'_>, once: Option<&Idempotent>, audit: Option<&crate::Audit>) -> Result<Posted, Error> {
        for _ in 0..TRIES {
            let Some(account) = self.account(posting.account_id).await?.filter(|account| account.state.is_none()) else { return Ok(Posted::NoAccount) };
            if posting.amount < 0 && account.counters.available + posting.amount < 0 {
                // It may be this very posting that left too little.
                let made = self.get_item(&keys::entry(posting.account_id, &posting.entry_id)).await?.is_some();
                return Ok(if made { Posted::Again } else { Posted::TooLittle { available: account.counters.available } });
            }
            let mut parts = Parts::default();
            let step = Move::increase(posting.kind, posting.amount);
            let money = Money {
                step,
                cause: posting.cause,
                external_id: posting.external_id,
                entry_id: &posting.entry_id,
                now: posting.now,
                down_to_zero: false,
                active: true,
            };
            let entry_part = self.add_money(&mut parts, &account, money, AccountUpdate::new())?;
            let once_part = once.map(|record| self.add_idempotency(&mut parts, record)).transpose()?;
            if let Some(audit) = audit {
                self.add_audit(&mut parts, audit)?;
            }
            match self.transact(parts).await? {
                Written::Done => return Ok(Posted::Done),
                Written::Refused(refused) if refused.has(Some(entry_part)) => return Ok(Posted::Again),
                Written::Refused(refused) if refused.has(once_part) => return Ok(Posted::Repeated),
                Written::Refused(_) => {}
            }
        }
        Err(Error::Busy)
    }

    /// The parts of a change of credits: the account's balance, the entry (whose index it gives), and the entry by which a debt is paid.
    pub(crate) fn add_money(&self, parts: &mut Parts, account: &Account, money: Money<'_>, update: AccountUpdate) -> Result<usize, Error> {
        let counters = &account.counters;
        let mut update = update.add("available", money.step.d_available).add("held", money.step.d_held);
        let mut condition = if money.active { crate::api_keys::active() } else { Expr::new("attribute_exists(pk)") };
        if money.step.d_available > 0 {
            condition = owes(condition, counters.debt);
        } else if money.down_to_zero {
            condition = condition.and("available = :taken").value("taken", n(-money.step.d_available));
        } else if money.step.d_available < 0 {
            condition = condition.and("available >= :taken").value("taken", n(-money.step.d_available));
        }
        if let Some((paid, shrinks)) = money.step.pays(counters.debt) {
            update = update.add("available", paid.d_available).add("debt", -shrinks);
        }
        self.add_update(parts, &keys::account(&account.account_id), update.expr(), Some(condition))?;
        let mut entry = money.step.entry(money.entry_id.clone(), account.account_id.clone(), money.now, money.cause);
        entry.external_id = money.external_id.map(str::to_owned);
        let entry_part = self.add_entry(parts, &entry)?;
        self.add_debt_paid(parts, &entry, counters.debt)?;
        if let Some(event) = event_of(&entry) {
            self.add_owed_event(parts, &account.account_id, &counters.hook_events, &event)?;
        }
        Ok(entry_part)
    }

    pub(crate) fn add_entry(&self, parts: &mut Parts, entry: &Entry) -> Result<usize, Error> {
        self.add_put(parts, to_item(&keys::entry(&entry.account_id, &entry.id), entry)?, Some(absent()))
    }

    /// The entry by which an account in debt pays of an increase, if it owes anything.
    pub(crate) fn add_debt_paid(&self, parts: &mut Parts, increase: &Entry, debt: i64) -> Result<(), Error> {
        let step = Move { kind: increase.kind, d_available: increase.d_available, d_held: increase.d_held };
        if let Some((paid, _)) = step.pays(debt) {
            let mut entry = paid.entry(increase.id.next(), increase.account_id.clone(), increase.at, DEBT);
            entry.external_id = Some(increase.id.to_string());
            self.add_entry(parts, &entry)?;
        }
        Ok(())
    }
}

/// What webhook endpoints are told of an entry; holds and what closes them are told as their jobs.
fn event_of(entry: &Entry) -> Option<Event> {
    let kind = match entry.kind {
        EntryKind::Purchase => EventType::CreditsPurchased,
        EntryKind::Grant => EventType::CreditsGranted,
        EntryKind::Refund => EventType::CreditsRefunded,
        EntryKind::Referral => EventType::CreditsReferred,
        EntryKind::Adjustment => EventType::CreditsAdjusted,
        EntryKind::Hold | EntryKind::Capture | EntryKind::Release => return None,
    };
    let data = serde_json::json!({
        "entry_id": entry.id.as_str(), "amount_millicredits": entry.amount(), "cause": entry.cause, "external_id": entry.external_id,
    });
    Some(Event::new(kind, entry.at, entry.id.as_str(), data))
}

/// A change of credits and where it comes from.
pub(crate) struct Money<'a> {
    pub step: Move,
    pub cause: &'a str,
    pub external_id: Option<&'a str>,
    pub entry_id: &'a EntryId,
    pub now: Millis,
    /// It takes all there is, because more is to be taken: what came meanwhile must be taken too before anything is owed.
    pub down_to_zero: bool,
    /// Not for an account under deletion.
    pub active: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_to_one_attribute_become_one_and_nothing_is_left_out() {
        let update = AccountUpdate::new().add("available", 5).add("held", 0).add("available", -2).set("day", n(3));
        let text = format!("{:?}", update.expr());
        assert!(text.contains("SET #set0 = :set0 ADD #add0 :add0"), "{text}");
        assert!(!text.contains("#add1"), "{text}");
        assert!(format!("{:?}", AccountUpdate::new().add("held", 0).expr()).contains("ADD #add0 :add0"));
    }

    #[test]
    fn a_month_s_attribute_is_named_by_it() {
        assert_eq!(used_in_month(1_763_721_600_000), "used_2025_11");
    }
}
