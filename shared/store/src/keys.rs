//! Every key of the one table. Whatever belongs to an account lives under that account's partition key, so that
//! somebody else's id can't even be asked for (invariant 11).

use crate::table::Key;
use kiln_core::ids::{AccountId, BatchId, DeliveryId, EndpointId, EntryId, EventId, InstanceId, JobId, KeyId, OrderId, SessionId, ShareId, UploadId};

fn key(pk: impl Into<String>, sk: impl Into<String>) -> Key {
    Key { pk: pk.into(), sk: sk.into() }
}

pub fn account_pk(account: &AccountId) -> String {
    format!("ACC#{account}")
}

/// What the sort keys in an account's partition begin with.
pub const OF_AN_ACCOUNT: &[&str] =
    &["ACCOUNT", JOB, QUEUED, CREATION, LEDGER, ORDER, BATCH, UPLOAD, SHARE, IDEM, SESSION, ENDPOINT, EVENT, DELIVERY, API_KEY, MEMBER, MEMBERSHIP, INVITE];

pub fn account(account: &AccountId) -> Key {
    key(account_pk(account), "ACCOUNT")
}

pub const JOB: &str = "JOB#";
pub fn job(account: &AccountId, job: &JobId) -> Key {
    key(account_pk(account), format!("{JOB}{job}"))
}

/// Present exactly while the job is queued: the account's queue, oldest first, by base-table key.
pub const QUEUED: &str = "QUEUED#";
pub fn queued(account: &AccountId, job: &JobId) -> Key {
    key(account_pk(account), format!("{QUEUED}{job}"))
}

/// What a succeeded job made: the job's child item, and the account's list of creations.
pub const CREATION: &str = "CREATION#";
pub fn creation(account: &AccountId, job: &JobId) -> Key {
    key(account_pk(account), format!("{CREATION}{job}"))
}

pub const LEDGER: &str = "LEDGER#";
pub fn entry(account: &AccountId, entry: &EntryId) -> Key {
    key(account_pk(account), format!("{LEDGER}{entry}"))
}

pub const ORDER: &str = "ORDER#";
pub fn order(account: &AccountId, order: &OrderId) -> Key {
    key(account_pk(account), format!("{ORDER}{order}"))
}

/// What the payment service's object (a checkout session, an invoice) has led to; it never expires.
pub fn applied(object: &str) -> Key {
    key(format!("PAY#{object}"), "APPLIED")
}

/// A payment by the service's name for it, with what has been taken back of it.
pub fn payment(payment: &str) -> Key {
    key(format!("PAY#{payment}"), "PAYMENT")
}

/// Refunds and disputes that came before the payment they are of.
pub fn waiting(payment: &str) -> Key {
    key(format!("PAY#{payment}"), "WAITING")
}

/// A line of the operators' log, in the order of time.
pub const AUDIT: &str = "AUDIT";
/// What its sort keys begin with, until the year 5138.
pub const AUDIT_LINE: &str = "0";
pub fn audit(at: i64, id: &str) -> Key {
    key(AUDIT, format!("{}#{id}", audit_at(at)))
}

/// A sort key before those of this millisecond, and after all earlier ones.
pub fn audit_at(at: i64) -> String {
    format!("{:015}", at.max(0))
}

pub const BATCH: &str = "BATCH#";
pub fn batch(account: &AccountId, batch: &BatchId) -> Key {
    key(account_pk(account), format!("{BATCH}{batch}"))
}

pub fn upload(account: &AccountId, upload: &UploadId) -> Key {
    key(account_pk(account), format!("UPLOAD#{upload}"))
}

pub const SHARE: &str = "SHARE#";
pub fn account_share(account: &AccountId, share: &ShareId) -> Key {
    key(account_pk(account), format!("{SHARE}{share}"))
}

/// A share by the hash of its token.
pub fn share(token_hash: &str) -> Key {
    key(format!("SHARE#{token_hash}"), "SHARE")
}

pub const IDEM: &str = "IDEM#";
pub fn idempotency(account: &AccountId, route: &str, key_hash: &str) -> Key {
    key(account_pk(account), format!("{IDEM}{route}#{key_hash}"))
}

pub const SESSION: &str = "SESSION#";
pub fn account_session(account: &AccountId, session: &SessionId) -> Key {
    key(account_pk(account), format!("{SESSION}{session}"))
}

/// A session by the hash of its token.
pub fn session(token_hash: &str) -> Key {
    key(format!("SESSION#{token_hash}"), "SESSION")
}

pub fn link(token_hash: &str) -> Key {
    key(format!("LINK#{token_hash}"), "LINK")
}

/// Which account an address signs in to; the address itself is not in the key.
pub fn address(address_hash: &str) -> Key {
    key(format!("EMAIL#{address_hash}"), "EMAIL")
}

/// What is known against an address, by its hash.
pub fn suppression(address_hash: &str) -> Key {
    key(format!("SUPPRESSED#{address_hash}"), "SUPPRESSED")
}

/// A genuine message that could not be read, by who sent it and its hash.
pub fn kept(source: &str, body_hash: &str) -> Key {
    key(format!("KEPT#{source}"), body_hash)
}

/// A counter of one window of time.
pub fn rate(what: &str, window: i64) -> Key {
    key(format!("RATE#{what}"), format!("{window}"))
}

pub const ENDPOINT: &str = "HOOK#";
pub fn endpoint(account: &AccountId, endpoint: &EndpointId) -> Key {
    key(account_pk(account), format!("{ENDPOINT}{endpoint}"))
}

/// An event that is not yet a delivery for each endpoint.
pub const EVENT: &str = "EVENT#";
pub fn event(account: &AccountId, event: &EventId) -> Key {
    key(account_pk(account), format!("{EVENT}{event}"))
}

pub const DELIVERY: &str = "DELIVERY#";
pub fn delivery(account: &AccountId, delivery: &DeliveryId) -> Key {
    key(account_pk(account), format!("{DELIVERY}{delivery}"))
}

pub const FLEET: &str = "FLEET";
pub const INSTANCE: &str = "INST#";
pub fn instance(instance: &InstanceId) -> Key {
    key(FLEET, format!("{INSTANCE}{instance}"))
}

pub fn pool(name: &str) -> Key {
    key(FLEET, format!("POOL#{name}"))
}

/// What one run of the warm pool leaves to the next.
pub fn run(pool: &str) -> Key {
    key(FLEET, format!("RUN#{pool}"))
}

pub const SPEND: &str = "SPEND";
/// What machines cost, or are covered for, in an hour, a day or a month.
pub fn spend(window: &str) -> Key {
    key(SPEND, window)
}

/// The record of a machine that is gone, by when it went.
pub const GONE: &str = "MACHINE#";
pub fn gone(ended_at: i64, instance: &InstanceId) -> Key {
    key(SPEND, format!("{GONE}{ended_at:013}#{instance}"))
}

/// What a provider charged for a day, beside what was recorded of it.
pub const CHARGES: &str = "CHARGES#";
pub fn charges(day: &str, provider: &str) -> Key {
    key(SPEND, format!("{CHARGES}{day}#{provider}"))
}

/// Jobs of an account that failed at a host and were done at another, by the day.
pub const FAULT: &str = "FAULT#";
pub fn fault(host: &str, account: &AccountId) -> Key {
    key(FLEET, format!("{FAULT}{host}#{account}"))
}

/// A usage event, in the order of time.
pub const USAGE: &str = "USAGE#";
pub fn usage(at: i64, instance: &InstanceId, n: u32) -> Key {
    key(SPEND, format!("{}#{instance}#{n:05}", usage_at(at)))
}

/// A sort key before those of this millisecond, and after all earlier ones.
pub fn usage_at(at: i64) -> String {
    format!("{USAGE}{:013}", at.clamp(0, 9_999_999_999_999))
}

/// The times of the instances that are gone.
pub fn times() -> Key {
    key(FLEET, "TIMES")
}

pub fn depth() -> Key {
    key("META", "DEPTH")
}

/// How the pool stands for those who submit; in a partition of its own, so that their roles reach nothing else.
pub fn standing() -> Key {
    key("WAKE", "POOL")
}

/// Present while `scripts/restore` writes the table.
pub fn restore() -> Key {
    key("META", "RESTORE")
}

// Accounts: API keys, organisations, invites, changes of address.

pub const UPLOAD: &str = "UPLOAD#";

pub const API_KEY: &str = "KEY#";
pub fn api_key(account: &AccountId, id: &KeyId) -> Key {
    key(account_pk(account), format!("{API_KEY}{id}"))
}

/// When a key was last used; apart from the key, so that a function that only reads may write it.
pub fn key_used(id: &KeyId) -> Key {
    key(format!("USED#{id}"), "USED")
}

/// Who belongs to an organisation, and as what.
pub const MEMBER: &str = "MEMBER#";
pub fn member(org: &AccountId, person: &AccountId) -> Key {
    key(account_pk(org), format!("{MEMBER}{person}"))
}

/// The same from the person's side, to be listed.
pub const MEMBERSHIP: &str = "ORG#";
pub fn membership(person: &AccountId, org: &AccountId) -> Key {
    key(account_pk(person), format!("{MEMBERSHIP}{org}"))
}

/// One for each address: inviting it again replaces the first.
pub const INVITE: &str = "INVITE#";
pub fn invite(org: &AccountId, address_hash: &str) -> Key {
    key(account_pk(org), format!("{INVITE}{address_hash}"))
}

/// A mailed confirmation of a new address. Beside sign-in links, and under another sort key: neither opens what the other does.
pub fn confirmation(token_hash: &str) -> Key {
    key(format!("LINK#{token_hash}"), "CONFIRM")
}

/// That an address has had its sign-up grant, by its keyed fingerprint.
pub fn granted(fingerprint: &str) -> Key {
    key(format!("EMAIL#{fingerprint}"), "GRANTED")
}
