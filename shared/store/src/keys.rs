//! Every key of the one table. Whatever belongs to an account lives under that account's partition key, so that
//! somebody else's id can't even be asked for (invariant 11).

use crate::table::Key;
use kiln_core::ids::{AccountId, EntryId, InstanceId, JobId, SessionId, ShareId, UploadId};

fn key(pk: impl Into<String>, sk: impl Into<String>) -> Key {
    Key { pk: pk.into(), sk: sk.into() }
}

pub fn account_pk(account: &AccountId) -> String {
    format!("ACC#{account}")
}

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

pub fn idempotency(account: &AccountId, route: &str, key_hash: &str) -> Key {
    key(account_pk(account), format!("IDEM#{route}#{key_hash}"))
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

pub const FLEET: &str = "FLEET";
pub const INSTANCE: &str = "INST#";
pub fn instance(instance: &InstanceId) -> Key {
    key(FLEET, format!("{INSTANCE}{instance}"))
}

pub fn pool(name: &str) -> Key {
    key(FLEET, format!("POOL#{name}"))
}

/// The times of the instances that are gone.
pub fn times() -> Key {
    key(FLEET, "TIMES")
}

pub fn depth() -> Key {
    key("META", "DEPTH")
}
