//! Uploads: waiting for their bytes, verified, used by a job or forgotten by maintenance.

use crate::table::{Expr, Parts, Table, Written, absent, from_item, n, s, to_item};
use crate::{Account, Error, Idempotent, NoRoom, Room, keys};
use kiln_core::ids::{AccountId, UploadId};
use kiln_core::time::Millis;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UploadState {
    /// Its presigned PUT may be used.
    Waiting,
    /// Verified, and copied to a key that no client can write.
    Ready,
}

/// A file that a client put into S3 and the server has verified.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Upload {
    pub v: u32,
    pub upload_id: UploadId,
    pub account_id: AccountId,
    pub filename: String,
    /// As declared by the client until it is verified; then as the bytes say.
    pub content_type: String,
    pub bytes: u64,
    /// Lower-case hex; as declared (if it was) until verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    pub state: UploadState,
    pub created_at: Millis,
    pub expires_at: Millis,
    pub width: u32,
    pub height: u32,
    /// Where the verified copy is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The job that used it last; an upload that a job used is not an orphan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_job_at: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owed_shard: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_check_at: Option<Millis>,
}

impl Table {
    /// Records a new upload, its bytes counted from now on; an idempotency record that exists already is told by `false`.
    pub async fn put_upload(&self, upload: &Upload, account: &Account, room: &Room, idempotent: Option<&Idempotent>) -> Result<Result<bool, NoRoom>, Error> {
        let mut parts = Parts::default();
        let room_part = self.add_room(&mut parts, &account.account_id, room)?;
        self.add_put(&mut parts, to_item(&keys::upload(&upload.account_id, &upload.upload_id), upload)?, Some(absent()))?;
        if let Some(record) = idempotent {
            self.add_idempotency(&mut parts, record)?;
        }
        match self.transact(parts).await? {
            Written::Done => Ok(Ok(true)),
            Written::Refused(refused) => Ok(match self.no_room(&refused, room_part, room)? {
                // Of two with one key the second also finds the minute's count moved: the record decides.
                Some(why) if refused.0.len() == 1 => Err(why),
                _ => Ok(false),
            }),
        }
    }

    pub async fn upload(&self, account: &AccountId, id: &UploadId) -> Result<Option<Upload>, Error> {
        self.get(&keys::upload(account, id)).await
    }

    /// The account's uploads, newest first.
    pub async fn uploads_page(&self, account: &AccountId, limit: u32, after: Option<&str>) -> Result<(Vec<Upload>, Option<String>), Error> {
        let (items, next) = self.page(&keys::account_pk(account), keys::UPLOAD, true, limit, after).await?;
        Ok((items.into_iter().map(from_item).collect::<Result<_, _>>()?, next))
    }

    pub async fn uploads(&self, account: &AccountId, ids: &[UploadId]) -> Result<Vec<Upload>, Error> {
        let keys: Vec<_> = ids.iter().map(|id| keys::upload(account, id)).collect();
        self.get_many(&keys).await?.into_values().map(from_item).collect()
    }

    /// Waiting becomes ready, once. `false` when it is not waiting any more.
    pub async fn ready_upload(&self, upload: &Upload) -> Result<bool, Error> {
        let waiting = Expr::new("#state = :waiting").name("state").value("waiting", s("waiting"));
        self.put(to_item(&keys::upload(&upload.account_id, &upload.upload_id), upload)?, Some(waiting)).await
    }

    /// Maintenance forgets an upload that no job has used, if that is still so.
    pub async fn forget_orphan(&self, upload: &Upload) -> Result<bool, Error> {
        let unused = Expr::new("attribute_not_exists(last_job_at) AND next_check_at = :at").value("at", n(upload.next_check_at.unwrap_or(0)));
        for counted in [true, false] {
            let mut parts = Parts::default();
            self.add_delete(&mut parts, &keys::upload(&upload.account_id, &upload.upload_id), Some(unused.clone()))?;
            let account = if counted { Some(self.add_freed_bytes(&mut parts, &upload.account_id, upload.bytes)?) } else { None };
            match self.transact(parts).await? {
                Written::Done => return Ok(true),
                // A guest's account that nobody paid for is swept before its uploads: there is nothing to count in.
                Written::Refused(refused) if refused.has(account) => {}
                Written::Refused(_) => return Ok(false),
            }
        }
        Ok(false)
    }
}
