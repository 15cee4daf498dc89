//! Shares: a random token, kept by its hash, that shows one creation to whoever holds it.

use crate::table::{Parts, Table, Written, absent, from_item, to_item};
use crate::{Account, Error, Idempotent, NoRoom, Room, keys};
use kiln_core::ids::{AccountId, JobId, ShareId};
use kiln_core::time::Millis;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    pub v: u32,
    pub share_id: ShareId,
    pub account_id: AccountId,
    pub job_id: JobId,
    pub token_hash: String,
    pub created_at: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Millis>,
}

impl Table {
    pub async fn put_share(&self, share: &Share, account: &Account, room: &Room, idempotent: Option<&Idempotent>) -> Result<Result<bool, NoRoom>, Error> {
        let mut parts = Parts::default();
        let room_part = self.add_room(&mut parts, &account.account_id, room)?;
        self.add_put(&mut parts, to_item(&keys::share(&share.token_hash), share)?, Some(absent()))?;
        self.add_put(&mut parts, to_item(&keys::account_share(&share.account_id, &share.share_id), share)?, Some(absent()))?;
        if let Some(record) = idempotent {
            self.add_idempotency(&mut parts, record)?;
        }
        match self.transact(parts).await? {
            Written::Done => Ok(Ok(true)),
            Written::Refused(refused) => Ok(match self.no_room(&refused, room_part, room)? {
                Some(why) if refused.0.len() == 1 => Err(why),
                _ => Ok(false),
            }),
        }
    }

    pub async fn share_by_token(&self, token_hash: &str) -> Result<Option<Share>, Error> {
        self.get(&keys::share(token_hash)).await
    }

    pub async fn share(&self, account: &AccountId, id: &ShareId) -> Result<Option<Share>, Error> {
        self.get(&keys::account_share(account, id)).await
    }

    pub async fn shares(&self, account: &AccountId, limit: u32, after: Option<&str>) -> Result<(Vec<Share>, Option<String>), Error> {
        let (items, next) = self.page(&keys::account_pk(account), keys::SHARE, true, limit, after).await?;
        Ok((items.into_iter().map(from_item).collect::<Result<_, _>>()?, next))
    }

    pub async fn forget_share(&self, share: &Share) -> Result<(), Error> {
        let mut parts = Parts::default();
        self.add_delete(&mut parts, &keys::share(&share.token_hash), None)?;
        self.add_delete(&mut parts, &keys::account_share(&share.account_id, &share.share_id), None)?;
        self.transact(parts).await.map(|_| ())
    }
}
