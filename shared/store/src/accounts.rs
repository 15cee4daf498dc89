//! Accounts, sign-in links, sessions, and the counters that limit requests for links.

use crate::api_keys::active;
use crate::deletion::Leaving;
use crate::table::{Expr, Item, Parts, Table, Written, absent, from_item, n, s, to_item};
use crate::{ByHand, Error, hash, keys};
use kiln_core::ids::{AccountId, EntryId, SessionId};
use kiln_core::job::Counters;
use kiln_core::ledger::{Entry, Move};
use kiln_core::prices::OwnPrices;
use kiln_core::profile::Preferences;
use kiln_core::settings::Settings;
use kiln_core::time::Millis;
use serde::{Deserialize, Serialize};

/// Who owns credits, projects and jobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Account {
    pub v: u32,
    pub account_id: AccountId,
    #[serde(default, skip_serializing_if = "AccountKind::is_person")]
    pub kind: AccountKind,
    /// Where a person signs in; an organisation has none, nor has who is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub created_at: Millis,
    #[serde(flatten)]
    pub counters: Counters,
    #[serde(default)]
    pub suspended: bool,
    /// Nobody signs in to it: it is one guest's, for one visit.
    #[serde(default)]
    pub guest: bool,
    /// Seconds since 1970; only of a guest's account that has not paid, and only sweeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<i64>,
    /// Whose link brought it; they are credited with its first payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub referred_by: Option<AccountId>,
    /// How many accounts it has brought that have paid, and what it was credited for them.
    #[serde(default)]
    pub referrals: i64,
    #[serde(default)]
    pub referral_millicredits: i64,
    /// Bytes of uploads that are kept.
    #[serde(default)]
    pub stored_bytes: i64,
    #[serde(default)]
    pub projects: i64,
    /// The account's own limits, where an operator has set them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_stored_bytes: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_projects: Option<i64>,
    /// Its own prices, where an operator has agreed any with it.
    #[serde(default)]
    pub prices: OwnPrices,
    /// The payment service's name for it, once it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<crate::Subscription>,
    /// Rises with each write of the plan.
    #[serde(default)]
    pub plan_rev: u64,
    #[serde(flatten)]
    pub preferences: Preferences,
    #[serde(flatten)]
    pub tally: Tally,
    #[serde(flatten)]
    pub by_hand: ByHand,
    /// On its way out; `None` otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Leaving>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_check_at: Option<Millis>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountKind {
    #[default]
    Person,
    Organisation,
}

impl AccountKind {
    fn is_person(&self) -> bool {
        *self == AccountKind::Person
    }
}

/// How many an account has of what is limited; moved in the transactions of what is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    #[serde(default)]
    pub n_keys: u32,
    /// Of an organisation.
    #[serde(default)]
    pub n_members: u32,
    #[serde(default)]
    pub n_owners: u32,
    /// Of a person: organisations that they belong to, and those of them that they own.
    #[serde(default)]
    pub n_orgs: u32,
    #[serde(default)]
    pub n_owned: u32,
}

impl Account {
    /// A new account with nothing in it but `available` millicredits.
    pub fn new(account_id: AccountId, kind: AccountKind, available: i64, now: Millis) -> Self {
        Self {
            v: 1,
            account_id,
            kind,
            email: None,
            name: None,
            created_at: now,
            counters: Counters { available, ..Counters::default() },
            suspended: false,
            guest: false,
            ttl: None,
            referred_by: None,
            referrals: 0,
            referral_millicredits: 0,
            stored_bytes: 0,
            projects: 0,
            max_stored_bytes: None,
            max_projects: None,
            prices: OwnPrices::default(),
            customer: None,
            subscription: None,
            plan_rev: 0,
            preferences: Preferences::default(),
            tally: Tally::default(),
            by_hand: ByHand::default(),
            state: None,
            deleted_at: None,
            next_check_at: None,
        }
    }
}

/// Which account an address signs in to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AddressRow {
    pub account_id: AccountId,
}

/// A mailed sign-in link; kept by the hash of its token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Link {
    pub email: String,
    pub expires_at: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at: Option<Millis>,
    /// Seconds since 1970; only sweeps.
    pub ttl: i64,
}

/// A signed-in browser; kept by the hash of its token, and once more under its account to be listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub session_id: SessionId,
    pub account_id: AccountId,
    pub token_hash: String,
    pub created_at: Millis,
    pub expires_at: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// A guest's: it uploads, quotes and pays for one job, and nothing else.
    #[serde(default)]
    pub guest: bool,
    pub ttl: i64,
}

/// What a verified link leads to; all ids are chosen by the caller so that a repeat is recognisable.
#[derive(Debug, Clone)]
pub struct SignIn {
    pub link_hash: String,
    pub email: String,
    pub session: Session,
    pub now: Millis,
    pub grant: i64,
    pub entry_id: EntryId,
    /// Whose link brought a new account.
    pub referred_by: Option<AccountId>,
}

/// Addresses are compared without case and outer space.
pub fn address_hash(email: &str) -> String {
    hash(&email.trim().to_lowercase())
}

/// Limits of what an account may keep; `None` where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptLimits {
    pub bytes: Option<i64>,
    pub projects: Option<i64>,
}

impl Account {
    /// The account's own limits, else the free tier's where it never paid.
    pub fn kept_limits(&self, settings: &Settings) -> KeptLimits {
        let free = |limit: u64| (!self.counters.paid).then_some(limit as i64);
        KeptLimits { bytes: self.max_stored_bytes.or(free(settings.free_stored_bytes)), projects: self.max_projects.or(free(settings.free_projects)) }
    }
}

impl Table {
    /// The account, and what it was charged in the month of `now`.
    pub async fn account_with_use(&self, id: &AccountId, now: Millis) -> Result<Option<(Account, i64)>, Error> {
        let Some(item) = self.get_many(&[keys::account(id)]).await?.remove(&keys::account(id)) else { return Ok(None) };
        let used = item.get(&crate::ledger::used_in_month(now)).and_then(|value| value.as_n().ok()).and_then(|number| number.parse().ok());
        Ok(Some((account_from(item)?, used.unwrap_or(0))))
    }

    pub async fn account(&self, id: &AccountId) -> Result<Option<Account>, Error> {
        self.get(&keys::account(id)).await
    }

    pub async fn put_link(&self, token_hash: &str, link: &Link) -> Result<(), Error> {
        self.put(to_item(&keys::link(token_hash), link)?, Some(absent())).await?;
        Ok(())
    }

    pub async fn link(&self, token_hash: &str) -> Result<Option<Link>, Error> {
        self.get(&keys::link(token_hash)).await
    }

    /// The account that an address signs in to, if it has one.
    pub async fn account_of(&self, email: &str) -> Result<Option<AccountId>, Error> {
        Ok(self.get::<AddressRow>(&keys::address(&address_hash(email))).await?.map(|row| row.account_id))
    }

    /// One transaction: the link is used up, the account is made on its first sign-in (with its grant), the session
    /// begins. `None` when the link was used or another sign-in of the same new address came first.
    pub async fn sign_in(&self, wanted: &SignIn, new_account: bool) -> Result<Option<()>, Error> {
        let mut parts = Parts::default();
        let unused =
            Expr::new("attribute_not_exists(used_at) AND expires_at > :now AND email = :email").value("now", n(wanted.now)).value("email", s(&wanted.email));
        self.add_update(&mut parts, &keys::link(&wanted.link_hash), Expr::new("SET used_at = :now"), Some(unused))?;
        let session = &wanted.session;
        let account_id = &session.account_id;
        if new_account {
            let row = AddressRow { account_id: account_id.clone() };
            self.add_put(&mut parts, to_item(&keys::address(&address_hash(&wanted.email)), &row)?, Some(absent()))?;
            let email = Some(wanted.email.clone());
            let referred_by = wanted.referred_by.clone();
            let account = Account { email, referred_by, ..Account::new(account_id.clone(), AccountKind::Person, wanted.grant, wanted.now) };
            self.add_put(&mut parts, to_item(&keys::account(account_id), &account)?, Some(absent()))?;
            if wanted.grant > 0 {
                let entry = Move::grant(wanted.grant).entry(wanted.entry_id.clone(), account_id.clone(), wanted.now, "signup");
                self.add_put(&mut parts, to_item(&keys::entry(account_id, &entry.id), &entry)?, Some(absent()))?;
            }
        } else {
            // Of sign-in and deletion one comes first, and no session outlives its account.
            self.add_check(&mut parts, &keys::account(account_id), active().and("email = :email").value("email", s(&wanted.email)))?;
        }
        self.add_put(&mut parts, to_item(&keys::session(&session.token_hash), session)?, Some(absent()))?;
        self.add_put(&mut parts, to_item(&keys::account_session(account_id, &session.session_id), session)?, Some(absent()))?;
        match self.transact(parts).await? {
            Written::Done => Ok(Some(())),
            // Our own first try may have been the one that committed: the session says so.
            Written::Refused(_) => Ok(self.session(&session.token_hash).await?.map(|_| ())),
        }
    }

    /// A guest's account and its one session.
    pub async fn begin_guest(&self, account: &Account, session: &Session) -> Result<(), Error> {
        let mut parts = Parts::default();
        self.add_put(&mut parts, to_item(&keys::account(&account.account_id), account)?, Some(absent()))?;
        self.add_put(&mut parts, to_item(&keys::session(&session.token_hash), session)?, Some(absent()))?;
        self.add_put(&mut parts, to_item(&keys::account_session(&account.account_id, &session.session_id), session)?, Some(absent()))?;
        match self.transact(parts).await? {
            Written::Done => Ok(()),
            // Our own first try may have been the one that committed.
            Written::Refused(_) if self.session(&session.token_hash).await?.is_some() => Ok(()),
            Written::Refused(_) => Err(Error::Busy),
        }
    }

    pub async fn session(&self, token_hash: &str) -> Result<Option<Session>, Error> {
        self.get(&keys::session(token_hash)).await
    }

    pub async fn sessions(&self, account: &AccountId, limit: u32, after: Option<&str>) -> Result<(Vec<Session>, Option<String>), Error> {
        let (items, next) = self.page(&keys::account_pk(account), keys::SESSION, true, limit, after).await?;
        Ok((items.into_iter().map(from_item).collect::<Result<_, _>>()?, next))
    }

    pub async fn account_session(&self, account: &AccountId, id: &SessionId) -> Result<Option<Session>, Error> {
        self.get(&keys::account_session(account, id)).await
    }

    pub async fn end_session(&self, session: &Session) -> Result<(), Error> {
        let mut parts = Parts::default();
        self.add_delete(&mut parts, &keys::session(&session.token_hash), None)?;
        self.add_delete(&mut parts, &keys::account_session(&session.account_id, &session.session_id), None)?;
        self.transact(parts).await.map(|_| ())
    }

    /// Counts one more of `what` in the window; `false` when the window already holds `limit`.
    pub async fn count_in_window(&self, what: &str, window: i64, limit: u64, ttl: i64) -> Result<bool, Error> {
        let update = Expr::new("ADD used :one SET #ttl = :ttl").name("ttl").value("one", n(1)).value("ttl", n(ttl));
        let room = Expr::new("attribute_not_exists(used) OR used < :limit").value("limit", n(limit));
        Ok(self.update(&keys::rate(what, window), update, Some(room)).await?.is_some())
    }

    /// The account's history, newest first.
    pub async fn entries(&self, account: &AccountId, limit: u32, after: Option<&str>) -> Result<(Vec<Entry>, Option<String>), Error> {
        let (items, next) = self.page(&keys::account_pk(account), keys::LEDGER, true, limit, after).await?;
        Ok((items.into_iter().map(from_item).collect::<Result<_, _>>()?, next))
    }
}

/// The account among items read together.
pub(crate) fn account_from(item: Item) -> Result<Account, Error> {
    from_item(item)
}
