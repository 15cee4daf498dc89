//! API keys: a secret of one account, kept by its hash in one item of the account's partition. Deleting the item revokes the key at once.

use crate::ledger::AccountUpdate;
use crate::room::with_room;
use crate::table::{Expr, Parts, Table, Written, absent, from_item, n, to_item};
use crate::{Error, Idempotent, NoRoom, Room, keys};
use kiln_core::access::{MOST_KEYS, Scope, USE_NOTED_EVERY};
use kiln_core::ids::{AccountId, KeyId};
use kiln_core::time::Millis;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    pub v: u32,
    pub key_id: KeyId,
    pub account_id: AccountId,
    pub name: String,
    pub scopes: Vec<Scope>,
    /// SHA-256 of the whole key, lower-case hex.
    pub token_hash: String,
    pub created_at: Millis,
    /// Who made it: the person, for an organisation's key.
    pub created_by: AccountId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Millis>,
}

/// Why a key was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoKey {
    /// The account has [`MOST_KEYS`].
    TooMany,
    /// The account is gone.
    Gone,
    /// It makes too much at once, or may make nothing.
    NoRoom(NoRoom),
    /// The same idempotency key has been used; read its record.
    Repeated,
}

#[derive(Serialize, Deserialize)]
struct Used {
    at: Millis,
}

impl Table {
    pub async fn put_api_key(&self, key: &ApiKey, room: &Room, idempotent: Option<&Idempotent>) -> Result<Result<(), NoKey>, Error> {
        let mut parts = Parts::default();
        self.add_put(&mut parts, to_item(&keys::api_key(&key.account_id, &key.key_id), key)?, Some(absent()))?;
        let below = active().and("(attribute_not_exists(n_keys) OR n_keys < :most)").value("most", n(MOST_KEYS));
        let (update, condition) = with_room(AccountUpdate::new().add("n_keys", 1), below, room);
        let account = self.add_update(&mut parts, &keys::account(&key.account_id), update.expr(), Some(condition))?;
        let repeat = idempotent.map(|record| self.add_idempotency(&mut parts, record)).transpose()?;
        Ok(match self.transact(parts).await? {
            Written::Done => Ok(()),
            Written::Refused(refused) if refused.has(repeat) => Err(NoKey::Repeated),
            Written::Refused(refused) => Err(match refused.found(Some(account)).cloned().map(crate::accounts::account_from).transpose()? {
                Some(found) if found.state.is_some() => NoKey::Gone,
                Some(found) if found.tally.n_keys >= MOST_KEYS => NoKey::TooMany,
                Some(_) => self.no_room(&refused, account, room)?.map_or(NoKey::Repeated, NoKey::NoRoom),
                None => NoKey::Gone,
            }),
        })
    }

    /// All keys of an account, newest first; there are [`MOST_KEYS`] at most.
    pub async fn api_keys(&self, account: &AccountId) -> Result<Vec<ApiKey>, Error> {
        let (items, _) = self.page(&keys::account_pk(account), keys::API_KEY, true, MOST_KEYS * 2, None).await?;
        items.into_iter().map(from_item).collect()
    }

    /// When each of these keys was last used, to within [`USE_NOTED_EVERY`]; one that never was is missing.
    pub async fn api_keys_used(&self, ids: &[KeyId]) -> Result<HashMap<KeyId, Millis>, Error> {
        let found = self.get_many(&ids.iter().map(keys::key_used).collect::<Vec<_>>()).await?;
        let used = |id: &KeyId| found.get(&keys::key_used(id)).cloned().map(from_item::<Used>).transpose();
        ids.iter().filter_map(|id| used(id).map(|used| used.map(|used| (id.clone(), used.at))).transpose()).collect()
    }

    /// From now on the key is as unknown as any other. `false` when it was already.
    pub async fn revoke_api_key(&self, account: &AccountId, id: &KeyId) -> Result<bool, Error> {
        let mut parts = Parts::default();
        let there = Expr::new("attribute_exists(pk)");
        self.add_delete(&mut parts, &keys::api_key(account, id), Some(there.clone()))?;
        self.add_delete(&mut parts, &keys::key_used(id), None)?;
        self.add_update(&mut parts, &keys::account(account), Expr::new("ADD n_keys :less").value("less", n(-1)), Some(there))?;
        Ok(matches!(self.transact(parts).await?, Written::Done))
    }

    /// Writes down that a key is in use, if that hasn't been done for [`USE_NOTED_EVERY`].
    pub async fn note_key_use(&self, id: &KeyId, now: Millis) -> Result<(), Error> {
        let long_ago = Expr::new("attribute_not_exists(pk) OR #at < :before").name("at").value("before", n(now - USE_NOTED_EVERY));
        self.put(to_item(&keys::key_used(id), &Used { at: now })?, Some(long_ago)).await.map(drop)
    }
}

/// The account is there and not being deleted.
pub(crate) fn active() -> Expr {
    Expr::new("attribute_exists(pk) AND attribute_not_exists(#state)").name("state")
}
