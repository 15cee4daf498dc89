//! The end of an account. One transaction takes the person out of it and owes the rest; what opens it (sessions, keys, shares, members)
//! goes next, and maintenance deletes files and items in bounded steps until nothing is left but the ledger and an account without a name.
//!
//! Promises: each step may be repeated and may die anywhere; a file is deleted before the item that leads to it; nothing can be begun in an
//! account under deletion.

use crate::accounts::address_hash;
use crate::orgs::is;
use crate::profile::Granted;
use crate::table::{Expr, Item, Key, Parts, Table, Written, from_item, key_of, n, s, to_item};
use crate::{Account, ApiKey, Error, Member, Session, Share, keys};
use aws_sdk_dynamodb::types::AttributeValue;
use kiln_core::access::Role;
use kiln_core::ids::{AccountId, JobId};
use kiln_core::job::owed_shard;
use kiln_core::time::Millis;
use serde::{Deserialize, Serialize};

/// Where an account is on its way out; one that isn't has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leaving {
    Deleting,
    Deleted,
}

/// Sort keys of what stays: the account without its person, and its books. Whatever else lies in the partition goes.
const KEPT: [&str; 2] = ["ACCOUNT", keys::LEDGER];

/// What opens an account.
const OPENS: [&str; 4] = [keys::SESSION, keys::API_KEY, keys::SHARE, keys::MEMBER];

/// Deletes of one transaction.
const BATCH: usize = 100;

/// Why an account's end didn't begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoEnd {
    /// It has jobs or holds that have not ended.
    Unfinished,
    /// It is being deleted already.
    Gone,
    /// It pays for a plan: the payment service would go on taking money for an account that is gone.
    PlanRuns,
    /// It isn't what was read: another address, a member or an organisation more. Read again and decide again.
    Moved,
}

/// What a person leaves with the end of their account: at most [`Places::MOST_LEFT`] places, and no more organisations than one may own.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Organisations that end, by their one member.
    pub ended: Vec<Member>,
    /// Places in organisations that go on.
    pub left: Vec<Member>,
}

impl Places {
    /// So many fit, three parts each, into the one transaction beside all else.
    pub const MOST_LEFT: usize = 25;
}

/// What remains of an account under deletion: one item, and the job whose files go before it.
#[derive(Debug, Clone)]
pub struct Leftover {
    pub job_id: Option<JobId>,
    /// When that job ended.
    pub ended_at: Option<Millis>,
    item: Item,
}

impl Leftover {
    fn new(item: Item) -> Self {
        let ended_at = item.get("finished_at").and_then(|at| at.as_n().ok()).and_then(|at| at.parse().ok());
        Self { job_id: key_of(&item).sk.strip_prefix(keys::JOB).and_then(|id| id.parse().ok()), ended_at, item }
    }
}

impl Table {
    /// Begins the end of a person's account, of the organisations that end with it (the person, their owner, is their one member) and of the
    /// person's place in others, all or nothing. `fingerprint` is of their address, which may sign up again, without a second grant.
    pub async fn delete_person(&self, account: &Account, email: &str, fingerprint: &str, places: &Places, now: Millis) -> Result<Result<(), NoEnd>, Error> {
        let mut parts = Parts::default();
        // A place that came since they were read has moved the number; one that went is refused by its own part.
        let same = match account.tally.n_orgs {
            0 => "(attribute_not_exists(n_orgs) OR n_orgs = :orgs)",
            _ => "n_orgs = :orgs",
        };
        let condition = may_end().and("email = :email").and(same).value("email", s(email)).value("orgs", n(account.tally.n_orgs));
        let mut end = ending(&account.account_id, now);
        if !places.left.is_empty() {
            let owned = places.left.iter().filter(|member| member.role == Role::Owner).count();
            end = end.adding(&[("n_orgs".to_owned(), -(places.left.len() as i64)), ("n_owned".to_owned(), -(owned as i64))]);
        }
        let part = self.add_update(&mut parts, &keys::account(&account.account_id), end, Some(condition))?;
        let theirs = Expr::new("account_id = :id").value("id", s(account.account_id.as_str()));
        self.add_delete(&mut parts, &keys::address(&address_hash(email)), Some(theirs))?;
        self.add_put(&mut parts, to_item(&keys::granted(fingerprint), &Granted {})?, None)?;
        for member in &places.ended {
            self.add_end_of_org(&mut parts, member, true, now)?;
        }
        for member in &places.left {
            self.add_leave(&mut parts, member)?;
        }
        self.begin_end(parts, part).await
    }

    /// Begins the end of an organisation, by the word of an owner.
    pub async fn delete_org(&self, owner: &Member, now: Millis) -> Result<Result<(), NoEnd>, Error> {
        let mut parts = Parts::default();
        let part = self.add_end_of_org(&mut parts, owner, false, now)?;
        self.begin_end(parts, part).await
    }

    /// The end of an organisation by the word of its owner; `alone`: only if that owner is its one member.
    fn add_end_of_org(&self, parts: &mut Parts, owner: &Member, alone: bool, now: Millis) -> Result<usize, Error> {
        let condition = if alone { may_end().and("n_members = :one").value("one", n(1)) } else { may_end() };
        let part = self.add_update(parts, &keys::account(&owner.org_id), ending(&owner.org_id, now), Some(condition))?;
        self.add_check(parts, &keys::member(&owner.org_id, &owner.account_id), is(owner))?;
        Ok(part)
    }

    /// Begins the end of a guest's account, whose order is settled and whose result is kept no longer.
    pub async fn delete_guest(&self, account: &AccountId, now: Millis) -> Result<Result<(), NoEnd>, Error> {
        let mut parts = Parts::default();
        // What was paid and not yet used is somebody's.
        let condition = may_end().and("guest = :yes AND available = :zero");
        let part = self.add_update(&mut parts, &keys::account(account), ending(account, now), Some(condition))?;
        self.begin_end(parts, part).await
    }

    async fn begin_end(&self, parts: Parts, account: usize) -> Result<Result<(), NoEnd>, Error> {
        Ok(match self.transact(parts).await? {
            Written::Done => Ok(()),
            Written::Refused(refused) => Err(match refused.found(Some(account)).cloned().map(from_item::<Account>).transpose()? {
                Some(found) if found.state.is_some() => NoEnd::Gone,
                Some(found) if found.subscription.as_ref().is_some_and(crate::Subscription::runs) => NoEnd::PlanRuns,
                Some(found) if found.counters.running != 0 || found.counters.queued != 0 || found.counters.held != 0 => NoEnd::Unfinished,
                _ => NoEnd::Moved,
            }),
        })
    }

    /// Ends what opens an account: `rounds` pages of each at most, `true` when nothing is left.
    pub async fn shut(&self, account: &AccountId, rounds: u32) -> Result<bool, Error> {
        let mut left = false;
        for prefix in OPENS {
            let mut empty = false;
            for _ in 0..rounds {
                let (items, next) = self.page(&keys::account_pk(account), prefix, false, BATCH as u32, None).await?;
                let items: Vec<_> = items.into_iter().map(Leftover::new).collect();
                self.forget(&items).await?;
                empty = next.is_none();
                if empty {
                    break;
                }
            }
            left |= !empty;
        }
        Ok(!left)
    }

    /// Items that are still to go, [`BATCH`] at most, after a sort key; and the one to go on after, `None` at the end.
    pub async fn leftovers(&self, account: &AccountId, after: Option<&str>) -> Result<(Vec<Leftover>, Option<String>), Error> {
        let (items, mut next) = self.page(&keys::account_pk(account), "", false, BATCH as u32, after).await?;
        // Past all that is kept of a kind, however much that is.
        if let Some(kept) = KEPT.iter().find(|kept| next.as_ref().is_some_and(|next| next.starts_with(**kept))) {
            next = Some(format!("{kept}~"));
        }
        let goes = |item: &Item| !KEPT.iter().any(|kept| key_of(item).sk.starts_with(*kept));
        let found = items.into_iter().filter(goes).map(Leftover::new).collect();
        Ok((found, next))
    }

    /// Deletes items and what else stands of them elsewhere in the table.
    pub async fn forget(&self, items: &[Leftover]) -> Result<(), Error> {
        let mut going: Vec<Key> = Vec::new();
        for Leftover { item, .. } in items {
            let key = key_of(item);
            let is = |prefix: &str| key.sk.starts_with(prefix);
            if is(keys::MEMBER) {
                self.drop_member(&from_item(item.clone())?).await?;
                continue;
            } else if is(keys::SESSION) {
                going.push(keys::session(&from_item::<Session>(item.clone())?.token_hash));
            } else if is(keys::SHARE) {
                going.push(keys::share(&from_item::<Share>(item.clone())?.token_hash));
            } else if is(keys::API_KEY) {
                going.push(keys::key_used(&from_item::<ApiKey>(item.clone())?.key_id));
            }
            going.push(key);
        }
        for batch in going.chunks(BATCH) {
            let mut parts = Parts::default();
            for key in batch {
                self.add_delete(&mut parts, key, None)?;
            }
            self.transact(parts).await?;
        }
        Ok(())
    }

    /// Looks at an account under deletion again at `at`; without one, it is deleted and nothing is owed any more.
    pub async fn deletion_goes_on(&self, account: &AccountId, at: Option<Millis>) -> Result<(), Error> {
        let update = match at {
            Some(at) => Expr::new("SET next_check_at = :at").value("at", n(at)),
            None => Expr::new("SET #state = :deleted REMOVE owed_shard, next_check_at").value("deleted", s("deleted")),
        };
        let deleting = Expr::new("#state = :deleting").value("deleting", s("deleting"));
        self.update(&keys::account(account), update.name("state"), Some(deleting.name("state"))).await.map(drop)
    }
}

/// Nothing of it is under way, and no plan is paid for.
fn may_end() -> Expr {
    crate::api_keys::active()
        .and("running = :zero AND queued = :zero AND held = :zero")
        .and("(attribute_not_exists(subscription) OR subscription.#status IN (:canceled, :expired))")
        .alias("status", "status")
        .value("zero", n(0))
        .value("canceled", s("canceled"))
        .value("expired", s("incomplete_expired"))
}

/// The person goes out of the account at once, and no job comes in any more.
fn ending(account: &AccountId, now: Millis) -> Expr {
    Expr::new("SET #state = :deleting, deleted_at = :now, suspended = :yes, owed_shard = :shard, next_check_at = :now REMOVE customer, subscription, referred_by, email, #name, marketing_mail, #locale, #theme")
        .name("state")
        .name("name")
        .name("locale")
        .name("theme")
        .value("deleting", s("deleting"))
        .value("now", n(now))
        .value("yes", AttributeValue::Bool(true))
        .value("shard", s(owed_shard("account", account.as_str())))
}
