//! Orders, and what the payment service says of them: each business object (a checkout session, an invoice, a refund, a dispute) is
//! applied once, in the transaction of its credits, however often and in whatever order it is told.
//!
//! Promises (invariant 3): the marker of an object never expires; a refund that comes before its payment waits for it; a refund and a
//! dispute of one payment take its credits once; nothing is taken below zero, the rest is a debt.

use crate::accounts::Account;
use crate::jobs::Idempotent;
use crate::ledger::{AccountUpdate, Money};
use crate::table::{Expr, Parts, Table, Written, absent, from_item, n, s, to_item};
use crate::{Error, NoRoom, Room, keys};
use kiln_core::billing::{Claim, Order, OrderState, Payment, Settled};
use kiln_core::ids::{AccountId, EntryId, OrderId};
use kiln_core::job::owed_shard;
use kiln_core::ledger::{EntryKind, Move, TakeBack};
use kiln_core::time::Millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const TRIES: usize = 24;

/// What became of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// Its credits are there now.
    New,
    /// They were there already.
    Again,
    NoAccount,
}

/// What became of a refund or dispute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// This many millicredits were taken back; of them `owed` became a debt.
    Taken { millicredits: i64, owed: i64 },
    /// This many came again: the refund failed, or the dispute was won.
    Returned { millicredits: i64 },
    /// Known already, or it changes nothing.
    Nothing,
    /// Its payment has not been told of yet.
    Waiting,
}

/// An account's plan, as the payment service last said it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    pub id: String,
    pub plan: String,
    /// The service's word: `active`, `past_due`, `canceled`, …
    pub status: String,
    pub currency: String,
    pub period_end: Option<Millis>,
    pub ends_at_period_end: bool,
}

impl Subscription {
    /// Whether it is one that money is still taken for, so that no second may stand beside it.
    pub fn runs(&self) -> bool {
        !matches!(self.status.as_str(), "canceled" | "incomplete_expired")
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Waiting {
    claims: BTreeMap<String, Claim>,
    seq: u64,
}

#[derive(Clone, Serialize, Deserialize)]
struct Marker {
    account_id: AccountId,
    /// The service's name of the payment that it was applied for.
    payment: String,
    at: Millis,
    /// What a referral was credited with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    millicredits: Option<i64>,
}

/// The business object of a referral.
fn referral(referred: &AccountId) -> String {
    format!("referral:{referred}")
}

/// What the ledger calls a referral: the same when it is taken back, and no name of the other person.
fn referral_id(referred: &AccountId) -> String {
    format!("ref_{}", &crate::hash(&referral(referred))[..32])
}

impl Table {
    /// Writes a new order, with the record of its request; `Ok(Ok(false))` when that record's key was used meanwhile.
    pub async fn put_order(&self, order: &Order, account: &Account, room: &Room, once: Option<&Idempotent>) -> Result<Result<bool, NoRoom>, Error> {
        let mut parts = Parts::default();
        let room_part = self.add_room(&mut parts, &account.account_id, room)?;
        self.add_put(&mut parts, to_item(&keys::order(&order.account_id, &order.order_id), order)?, Some(absent()))?;
        let once_part = once.map(|record| self.add_idempotency(&mut parts, record)).transpose()?;
        match self.transact(parts).await? {
            Written::Done => Ok(Ok(true)),
            Written::Refused(refused) if refused.has(once_part) => Ok(Ok(false)),
            // Our own first try may have been the one that committed: then the order is there.
            Written::Refused(refused) => Ok(self.no_room(&refused, room_part, room)?.map_or(Ok(true), Err)),
        }
    }

    pub async fn order(&self, account: &AccountId, order: &OrderId) -> Result<Option<Order>, Error> {
        self.get(&keys::order(account, order)).await
    }

    /// The account's orders, newest first.
    pub async fn orders(&self, account: &AccountId, limit: u32, after: Option<&str>) -> Result<(Vec<Order>, Option<String>), Error> {
        let (items, next) = self.page(&keys::account_pk(account), keys::ORDER, true, limit, after).await?;
        Ok((items.into_iter().map(from_item).collect::<Result<_, _>>()?, next))
    }

    /// Notes which checkout an order is paid in.
    pub async fn order_has_session(&self, order: &Order, session: &str) -> Result<(), Error> {
        let update = Expr::new("SET #session = :session").alias("session", "session").value("session", s(session));
        self.update(&keys::order(&order.account_id, &order.order_id), update, Some(Expr::new("attribute_exists(pk)"))).await?;
        Ok(())
    }

    /// An open order goes into another state; any other stays as it is.
    pub async fn order_ends(&self, account: &AccountId, order: &OrderId, state: OrderState) -> Result<(), Error> {
        let update = Expr::new("SET #state = :state").name("state").value("state", s(word(state)));
        let unpaid = Expr::new("attribute_exists(pk) AND #state = :open").value("open", s(word(OrderState::Open)));
        self.update(&keys::order(account, order), update, Some(unpaid)).await?;
        Ok(())
    }

    /// Gives a payment's credits: its object's marker, the payment, the order, the balance and the entry in one transaction.
    /// `charge` is the service's name of the payment, by which its refunds and disputes will find it.
    pub async fn apply_payment(&self, payment: &Payment, charge: &str, entry_id: &EntryId, now: Millis) -> Result<Applied, Error> {
        for _ in 0..TRIES {
            let Some(account) = self.account(&payment.account_id).await? else { return Ok(Applied::NoAccount) };
            if account.state.is_some() {
                // Credits of an account that nobody opens any more would be lost: somebody must look at that money.
                return Ok(if self.applied(&payment.object).await? { Applied::Again } else { Applied::NoAccount });
            }
            let mut parts = Parts::default();
            let marker = Marker { account_id: payment.account_id.clone(), payment: charge.to_owned(), at: now, millicredits: None };
            let marker_part = self.add_put(&mut parts, to_item(&keys::applied(&payment.object), &marker)?, Some(absent()))?;
            let payment_part = self.add_put(&mut parts, to_item(&keys::payment(charge), payment)?, Some(absent()))?;
            if let Some(order) = &payment.order_id {
                let update = match account.guest {
                    false => Expr::new("SET #state = :paid, paid_at = :now, payment = :charge"),
                    // However late it was paid, and though it was given up: it is owed from this moment.
                    true => {
                        Expr::new("SET #state = :paid, paid_at = :now, payment = :charge, owed_shard = :shard, next_check_at = :now REMOVE guest.settled, #ttl")
                            .name("ttl")
                            .value("shard", s(owed_shard("order", order.as_str())))
                    }
                };
                let update = update.name("state").value("paid", s(word(OrderState::Paid))).value("now", n(now)).value("charge", s(charge));
                self.add_update(&mut parts, &keys::order(&payment.account_id, order), update, Some(Expr::new("attribute_exists(pk)")))?;
            }
            let back = TakeBack::of(-payment.millicredits, account.counters.available);
            let (step, owed) = match payment.millicredits {
                0.. => (Move::increase(EntryKind::Purchase, payment.millicredits), 0),
                _ => (back.step, back.owed),
            };
            let money = Money { step, cause: &payment.cause, external_id: Some(&payment.object), entry_id, now, down_to_zero: owed > 0, active: true };
            // A guest's account would be swept: now it holds books.
            let update = AccountUpdate::new().set("paid", aws_sdk_dynamodb::types::AttributeValue::Bool(true)).remove("ttl").add("debt", owed);
            self.add_money(&mut parts, &account, money, update)?;
            match self.transact(parts).await? {
                Written::Done => {
                    self.settle_waiting(charge, now).await?;
                    return Ok(Applied::New);
                }
                Written::Refused(refused) if refused.has(Some(marker_part)) || refused.has(Some(payment_part)) => {
                    // Whoever committed it may have died before this.
                    self.settle_waiting(charge, now).await?;
                    return Ok(Applied::Again);
                }
                Written::Refused(_) => {}
            }
        }
        Err(Error::Busy)
    }

    /// A guest's order is looked at again at `at`.
    pub async fn order_again(&self, order: &Order, at: Millis) -> Result<bool, Error> {
        let update = Expr::new("SET next_check_at = :at").value("at", n(at));
        let owed = Expr::new("attribute_exists(owed_shard)");
        Ok(self.update(&keys::order(&order.account_id, &order.order_id), update, Some(owed)).await?.is_some())
    }

    /// A paid order of a guest's came out so; at `forget_at` it is looked at for the last time. `false` when it was settled meanwhile.
    pub async fn order_settled(&self, order: &Order, settled: Settled, forget_at: Millis) -> Result<bool, Error> {
        let update = Expr::new("SET guest.settled = :settled, next_check_at = :at")
            .value("settled", serde_dynamo::to_attribute_value(settled).map_err(Error::internal)?)
            .value("at", n(forget_at));
        let paid = Expr::new("attribute_exists(owed_shard) AND attribute_not_exists(guest.settled) AND #state = :paid")
            .name("state")
            .value("paid", s(word(OrderState::Paid)));
        Ok(self.update(&keys::order(&order.account_id, &order.order_id), update, Some(paid)).await?.is_some())
    }

    /// A guest's order that was never paid is owed no more; `false` where the money came after all.
    pub async fn order_abandoned(&self, order: &Order) -> Result<bool, Error> {
        let update = Expr::new("SET guest.settled = :settled REMOVE owed_shard, next_check_at")
            .value("settled", serde_dynamo::to_attribute_value(Settled::Abandoned).map_err(Error::internal)?);
        let unpaid = Expr::new("attribute_exists(owed_shard) AND #state <> :paid").name("state").value("paid", s(word(OrderState::Paid)));
        Ok(self.update(&keys::order(&order.account_id, &order.order_id), update, Some(unpaid)).await?.is_some())
    }

    /// Credits whoever brought this account, once, now that it has paid by `charge`. It may be called any number of times.
    pub async fn credit_referral(&self, referred: &Account, charge: &str, amount: i64, entry_id: &EntryId, now: Millis) -> Result<Applied, Error> {
        let Some(referrer) = &referred.referred_by else { return Ok(Applied::Again) };
        let object = referral(&referred.account_id);
        for _ in 0..TRIES {
            let Some(account) = self.account(referrer).await?.filter(|account| account.state.is_none()) else { return Ok(Applied::NoAccount) };
            let mut parts = Parts::default();
            let marker = Marker { account_id: referrer.clone(), payment: charge.to_owned(), at: now, millicredits: Some(amount) };
            let marker_part = self.add_put(&mut parts, to_item(&keys::applied(&object), &marker)?, Some(absent()))?;
            let step = Move::increase(EntryKind::Referral, amount);
            // The ledger names no other person: the object does, for us alone.
            let money =
                Money { step, cause: "referral", external_id: Some(&referral_id(&referred.account_id)), entry_id, now, down_to_zero: false, active: true };
            self.add_money(&mut parts, &account, money, AccountUpdate::new().add("referrals", 1).add("referral_millicredits", amount))?;
            match self.transact(parts).await? {
                Written::Done => return Ok(Applied::New),
                Written::Refused(refused) if refused.has(Some(marker_part)) => return Ok(Applied::Again),
                Written::Refused(_) => {}
            }
        }
        Err(Error::Busy)
    }

    /// Takes back, once, what a referrer was credited for a payment whose money is all gone again. `None` where nothing was.
    pub async fn take_back_referral(&self, referred: &AccountId, charge: &str, entry_id: &EntryId, now: Millis) -> Result<Option<AccountId>, Error> {
        let Some(credited) = self.get::<Marker>(&keys::applied(&referral(referred))).await?.filter(|marker| marker.payment == charge) else {
            return Ok(None);
        };
        let Some(amount) = credited.millicredits else { return Ok(None) };
        let object = format!("referral-back:{referred}");
        for _ in 0..TRIES {
            let Some(account) = self.account(&credited.account_id).await? else { return Ok(None) };
            let mut parts = Parts::default();
            let marker_part = self.add_put(&mut parts, to_item(&keys::applied(&object), &Marker { at: now, ..credited.clone() })?, Some(absent()))?;
            let back = TakeBack::of(amount, account.counters.available);
            let money = Money {
                step: back.step,
                cause: "referral-back",
                external_id: Some(&referral_id(referred)),
                entry_id,
                now,
                down_to_zero: back.owed > 0,
                active: false,
            };
            let update = AccountUpdate::new().add("debt", back.owed).add("referrals", -1).add("referral_millicredits", -amount);
            self.add_money(&mut parts, &account, money, update)?;
            match self.transact(parts).await? {
                Written::Done => return Ok(Some(credited.account_id)),
                Written::Refused(refused) if refused.has(Some(marker_part)) => return Ok(None),
                Written::Refused(_) => {}
            }
        }
        Err(Error::Busy)
    }

    pub async fn payment(&self, charge: &str) -> Result<Option<Payment>, Error> {
        self.get(&keys::payment(charge)).await
    }

    /// Whether the object has been applied.
    pub async fn applied(&self, object: &str) -> Result<bool, Error> {
        Ok(self.charge_of(object).await?.is_some())
    }

    /// The service's name of the payment that an object was applied for.
    pub async fn charge_of(&self, object: &str) -> Result<Option<String>, Error> {
        Ok(self.get::<Marker>(&keys::applied(object)).await?.map(|marker| marker.payment))
    }

    /// Learns of a refund or a dispute (`id`) of the payment `charge`, and takes back or gives again what follows from it.
    pub async fn apply_claim(&self, charge: &str, id: &str, claim: Claim, entry_id: &EntryId, now: Millis) -> Result<Claimed, Error> {
        for _ in 0..TRIES {
            let Some(mut payment) = self.payment(charge).await? else {
                if self.wait_for_payment(charge, id, claim).await? {
                    return Ok(Claimed::Waiting);
                }
                continue;
            };
            if !payment.learn(id, claim) {
                return Ok(Claimed::Nothing);
            }
            let Some(account) = self.account(&payment.account_id).await? else { return Ok(Claimed::Nothing) };
            let change = payment.to_take() - payment.taken;
            payment.taken += change;
            let seen = payment.seq;
            payment.seq += 1;
            let mut parts = Parts::default();
            let same = Expr::new("seq = :seq").value("seq", n(seen));
            self.add_put(&mut parts, to_item(&keys::payment(charge), &payment)?, Some(same))?;
            let claimed = self.add_claim(&mut parts, &account, &payment, change, id, entry_id, now)?;
            if matches!(self.transact(parts).await?, Written::Done) {
                return Ok(claimed);
            }
        }
        Err(Error::Busy)
    }

    #[allow(clippy::too_many_arguments)]
    fn add_claim(
        &self,
        parts: &mut Parts,
        account: &Account,
        payment: &Payment,
        change: i64,
        id: &str,
        entry_id: &EntryId,
        now: Millis,
    ) -> Result<Claimed, Error> {
        let (step, owed, claimed) = match change {
            0 => return Ok(Claimed::Nothing),
            1.. => {
                let back = TakeBack::of(change, account.counters.available);
                (back.step, back.owed, Claimed::Taken { millicredits: change, owed: back.owed })
            }
            _ => (Move::increase(EntryKind::Refund, -change), 0, Claimed::Returned { millicredits: -change }),
        };
        let money = Money { step, cause: &payment.cause, external_id: Some(id), entry_id, now, down_to_zero: owed > 0, active: false };
        self.add_money(parts, account, money, AccountUpdate::new().add("debt", owed))?;
        Ok(claimed)
    }

    /// A claim whose payment is not known waits beside it; `false` when the payment came meanwhile.
    async fn wait_for_payment(&self, charge: &str, id: &str, claim: Claim) -> Result<bool, Error> {
        let key = keys::waiting(charge);
        let stored: Option<Waiting> = self.get(&key).await?;
        let guard = match &stored {
            None => absent(),
            Some(waiting) => Expr::new("seq = :seq").value("seq", n(waiting.seq)),
        };
        let mut waiting = stored.unwrap_or_default();
        if waiting.claims.len() >= kiln_core::billing::MAX_CLAIMS && !waiting.claims.contains_key(id) {
            return Err(Error::internal("too many refunds wait for one payment"));
        }
        let known = waiting.claims.entry(id.to_owned()).or_insert(claim);
        known.amount = known.amount.max(claim.amount);
        known.standing = known.standing.max(claim.standing);
        waiting.seq += 1;
        let mut parts = Parts::default();
        self.add_check(&mut parts, &keys::payment(charge), absent())?;
        self.add_put(&mut parts, to_item(&key, &waiting)?, Some(guard))?;
        Ok(matches!(self.transact(parts).await?, Written::Done))
    }

    /// Applies the claims that came before their payment. It may be done any number of times.
    pub async fn settle_waiting(&self, charge: &str, now: Millis) -> Result<(), Error> {
        let key = keys::waiting(charge);
        let Some(waiting) = self.get::<Waiting>(&key).await? else { return Ok(()) };
        for (id, claim) in &waiting.claims {
            let entry_id = EntryId::new(now, fastrand::u128(..));
            self.apply_claim(charge, id, *claim, &entry_id, now).await?;
        }
        // With the payment there nothing can wait any more: this row is done with.
        self.delete(&key).await
    }

    /// Writes down what the payment service says of the account's plan, if nobody has since the account was read and the account is not
    /// under deletion: what was asked of the service before that read may be older than what is written.
    pub async fn set_subscription(&self, account: &Account, customer: &str, subscription: &Subscription) -> Result<bool, Error> {
        let value = serde_dynamo::to_attribute_value(subscription).map_err(Error::internal)?;
        let update = Expr::new("SET subscription = :subscription, customer = :customer, plan_rev = :next")
            .value("subscription", value)
            .value("customer", s(customer))
            .value("next", n(account.plan_rev + 1));
        let same = match account.plan_rev {
            0 => "(attribute_not_exists(plan_rev) OR plan_rev = :seen)",
            _ => "plan_rev = :seen",
        };
        let same = crate::api_keys::active().and(same).value("seen", n(account.plan_rev));
        Ok(self.update(&keys::account(&account.account_id), update, Some(same)).await?.is_some())
    }

    /// The payment service's customer of an account, if none was noted before; gives the one that is noted then.
    pub async fn set_customer(&self, account: &AccountId, customer: &str) -> Result<String, Error> {
        let update = Expr::new("SET customer = if_not_exists(customer, :customer)").value("customer", s(customer));
        let item = self.update(&keys::account(account), update, Some(crate::api_keys::active())).await?;
        let noted = item.and_then(|item| item.get("customer").and_then(|value| value.as_s().ok()).cloned());
        noted.ok_or_else(|| Error::internal("the account is gone"))
    }
}

fn word(state: OrderState) -> &'static str {
    match state {
        OrderState::Open => "open",
        OrderState::Paid => "paid",
        OrderState::Begun => "begun",
        OrderState::Expired => "expired",
        OrderState::Mismatch => "mismatch",
    }
}
