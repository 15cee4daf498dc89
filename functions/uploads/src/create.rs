//! Asking for an upload: the declared facts are checked, the row and its answer are recorded in one transaction, and the
//! client gets a PUT that takes exactly the declared bytes.

use crate::TRIES;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::HeaderName;
use axum::response::{AppendHeaders, IntoResponse, Response};
use kiln_core::FieldError;
use kiln_core::ids::UploadId;
use kiln_core::job::owed_shard;
use kiln_core::media::{ImageType, LIMITS};
use kiln_core::time::{Millis, rfc3339, seconds};
use kiln_http::{App, Body, Caller, For, Key, Once, Problem, Result, pace, scope};
use kiln_store::{NoRoom, Room, Upload, UploadState, incoming_key};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use utoipa::ToSchema;

const ROUTE: &str = "uploads";

/// Longest name of a file, in bytes.
const FILENAME_BYTES: usize = 128;

/// The file that is to be sent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUpload {
    /// At most 128 bytes; what looks like a path loses its folders.
    #[schema(min_length = 1, max_length = 128, example = "kiln.jpg")]
    filename: String,
    #[schema(inline)]
    content_type: ImageType,
    #[schema(minimum = 1, maximum = 10_000_000, example = 482_113)]
    bytes: u64,
    /// In hex; S3 checks it then, and so do we.
    #[schema(pattern = "^[0-9a-fA-F]{64}$")]
    #[serde(default)]
    sha256: Option<String>,
}

/// One request that sends bytes.
#[derive(Serialize, ToSchema)]
pub struct UploadPart {
    number: u32,
    #[schema(example = "PUT")]
    method: &'static str,
    url: String,
    /// To be sent with it, as they are.
    headers: BTreeMap<String, String>,
}

/// Where to send the bytes.
#[derive(Serialize, ToSchema)]
pub struct UploadTicket {
    #[schema(example = "upl_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    id: String,
    /// Empty in a repeated answer when the upload waits for no bytes any more.
    parts: Vec<UploadPart>,
    #[schema(format = "date-time")]
    expires_at: String,
}

/// What is kept of an answer: all but its URLs.
#[derive(Serialize, Deserialize)]
struct Kept {
    id: UploadId,
    expires_at: Millis,
}

/// Prepares an upload; its bytes are then sent to the URL of each part, as they are.
#[utoipa::path(post, path = "/api/v1/uploads", tag = "uploads", request_body = NewUpload, params(("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,128}$", description = "The same key and body give the same answer for 24 h.")), responses((status = 201, body = UploadTicket)), security(("session" = []), ("api_key" = ["uploads:write"])))]
pub async fn create(State(app): State<App>, caller: For<scope::UploadsWrite>, key: Key, body: Body<NewUpload>) -> Result<Response> {
    let wanted = body.value.check()?;
    let once = Once::new(ROUTE, key, &body.bytes);
    let now = app.now();
    if let Some(kept) = replayed(&app, &caller, &once).await? {
        return again(&app, &caller, kept).await.map(IntoResponse::into_response);
    }
    let upload_id = UploadId::new(now, app.random());
    let expires_at = now + seconds(app.settings().upload_minutes * 60);
    let upload = Upload {
        v: 1,
        owed_shard: Some(owed_shard("upload", upload_id.as_str())),
        upload_id,
        account_id: caller.account_id.clone(),
        filename: wanted.filename,
        content_type: wanted.content_type.as_str().to_owned(),
        bytes: wanted.bytes,
        sha256: wanted.sha256,
        state: UploadState::Waiting,
        created_at: now,
        expires_at,
        width: 0,
        height: 0,
        key: None,
        last_job_at: None,
        next_check_at: Some(expires_at),
    };
    let kept = serde_json::to_string(&Kept { id: upload.upload_id.clone(), expires_at }).map_err(Problem::internal)?;
    let record = once.record(&caller.account_id, StatusCode::CREATED, kept, now);
    for _ in 0..TRIES {
        let now = app.now();
        let account = app.table().account(&caller.account_id).await?.ok_or_else(Problem::not_found)?;
        let room = Room::of(&account, app.settings(), now).bytes(upload.bytes, account.kept_limits(app.settings()).bytes);
        match app.table().put_upload(&upload, &account, &room, record.as_ref()).await? {
            Ok(true) => {
                let paced = pace::headers(room.step, now);
                return answer(&app, Some(&upload), Kept { id: upload.upload_id.clone(), expires_at }, false)
                    .await
                    .map(|answer| (paced, answer).into_response());
            }
            // Another request with this key was first; its answer is this one's too.
            Ok(false) => {
                let kept = replayed(&app, &caller, &once).await?.ok_or(kiln_store::Error::Busy)?;
                return again(&app, &caller, kept).await.map(IntoResponse::into_response);
            }
            Err(NoRoom::Moved) => {}
            Err(why) => return Err(pace::no_room(why, app.settings(), now)),
        }
    }
    Err(kiln_store::Error::Busy.into())
}

/// The earlier answer to this key, if there is one.
async fn replayed(app: &App, caller: &Caller, once: &Once) -> Result<Option<Kept>> {
    let Some((route, hash)) = once.lookup() else { return Ok(None) };
    let replay = app.table().replay(&caller.account_id, route, hash).await?;
    let earlier = once.replayed(replay, app.now())?;
    earlier.map(|(_, answer)| serde_json::from_str(&answer).map_err(Problem::internal)).transpose()
}

async fn again(app: &App, caller: &Caller, kept: Kept) -> Result<Answer> {
    let upload = app.table().upload(&caller.account_id, &kept.id).await?;
    answer(app, upload.as_ref(), kept, true).await
}

type Answer = (StatusCode, AppendHeaders<Option<(HeaderName, &'static str)>>, Json<UploadTicket>);

/// The ticket, its URLs signed now and for as long as the upload waits.
async fn answer(app: &App, upload: Option<&Upload>, kept: Kept, repeated: bool) -> Result<Answer> {
    let left = kept.expires_at - app.now();
    let waiting = upload.filter(|upload| upload.state == UploadState::Waiting && left >= 1000);
    let mut parts = Vec::new();
    if let Some(upload) = waiting {
        let key = incoming_key(&upload.account_id, &upload.upload_id);
        let valid_for = Duration::from_secs(left as u64 / 1000);
        let put = app.files().presign_incoming_put(&key, &upload.content_type, upload.bytes, upload.sha256.as_deref(), valid_for).await?;
        parts.push(UploadPart { number: 1, method: "PUT", url: put.url, headers: put.headers });
    }
    let mark = repeated.then_some((HeaderName::from_static("idempotent-replayed"), "true"));
    let ticket = UploadTicket { id: kept.id.into(), parts, expires_at: rfc3339(kept.expires_at) };
    Ok((StatusCode::CREATED, AppendHeaders(mark), Json(ticket)))
}

/// What was declared, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    filename: String,
    content_type: ImageType,
    bytes: u64,
    sha256: Option<String>,
}

impl NewUpload {
    fn check(&self) -> std::result::Result<Wanted, FieldError> {
        if self.filename.is_empty() || self.filename.len() > FILENAME_BYTES {
            return Err(FieldError::new("filename", format!("from 1 to {FILENAME_BYTES} bytes")));
        }
        if self.bytes == 0 || self.bytes > LIMITS.max_bytes as u64 {
            return Err(FieldError::new("bytes", format!("from 1 to {}", LIMITS.max_bytes)));
        }
        let sha256 = self.sha256.as_ref().map(|hex| hex.to_ascii_lowercase());
        if sha256.as_ref().is_some_and(|hex| hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit())) {
            return Err(FieldError::new("sha256", "64 hex digits"));
        }
        Ok(Wanted { filename: base_name(&self.filename), content_type: self.content_type, bytes: self.bytes, sha256 })
    }
}

/// The name alone, without folders and control characters; `file` when nothing is left.
fn base_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or("");
    let kept: String = last.chars().filter(|c| !c.is_control()).collect();
    let kept = kept.trim().trim_matches('.');
    if kept.is_empty() { "file".to_owned() } else { kept.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: serde_json::Value) -> std::result::Result<Wanted, FieldError> {
        serde_json::from_value::<NewUpload>(json).expect("the shape is right").check()
    }

    #[test]
    fn a_declared_upload_is_refused_by_the_field_that_is_wrong() {
        let good = serde_json::json!({"filename": "a.png", "content_type": "image/png", "bytes": 10});
        assert!(check(good.clone()).is_ok());
        for (field, value) in [
            ("bytes", serde_json::json!(0)),
            ("bytes", serde_json::json!(10_000_001)),
            ("filename", serde_json::json!("")),
            ("filename", serde_json::json!("é".repeat(65))),
            ("sha256", serde_json::json!("abc")),
            ("sha256", serde_json::json!("g".repeat(64))),
        ] {
            let mut bad = good.clone();
            bad[field] = value.clone();
            assert_eq!(check(bad).unwrap_err().field, field, "{value}");
        }
    }

    #[test]
    fn a_name_loses_its_folders_and_control_characters() {
        for (given, kept) in
            [("C:\\a\\b.jpg", "b.jpg"), ("../../etc/passwd", "passwd"), ("a\r\nb.png", "ab.png"), ("..", "file"), ("/", "file"), ("ärger.webp", "ärger.webp")]
        {
            assert_eq!(base_name(given), kept);
        }
    }

    #[test]
    fn a_hash_is_kept_in_lower_case() {
        let wanted = check(serde_json::json!({"filename": "a", "content_type": "image/webp", "bytes": 1, "sha256": "AB".repeat(32)})).unwrap();
        assert_eq!(wanted.sha256, Some("ab".repeat(32)));
    }
}
