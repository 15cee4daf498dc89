//! Completing an upload. The bytes are read once, looked at, and the very same (by their entity tag) are copied away;
//! only then is the upload ready. Whoever swaps the bytes meanwhile finds the copy refused, or a copy that nothing names.

use crate::TRIES;
use crate::view::UploadView;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kiln_core::ids::UploadId;
use kiln_core::media::{self, ImageType, LIMITS, MediaError};
use kiln_core::time::seconds;
use kiln_http::{App, For, Id, Problem, Result, scope};
use kiln_store::{Upload, UploadState, incoming_key, input_key};
use sha2::{Digest, Sha256};

/// Verifies what was sent and makes the upload ready; repeating it gives the same answer.
#[utoipa::path(post, path = "/api/v1/uploads/{id}/complete", tag = "uploads", params(("id" = UploadId, Path)), responses((status = 200, body = UploadView), (status = 409), (status = 422)), security(("session" = []), ("api_key" = ["uploads:write"])))]
pub async fn complete(State(app): State<App>, caller: For<scope::UploadsWrite>, Id(id): Id<UploadId>) -> Result<Json<UploadView>> {
    let mut last = kiln_store::Error::Busy.into();
    for _ in 0..TRIES {
        let upload = app.table().upload(&caller.account_id, &id).await?.ok_or_else(Problem::not_found)?;
        if upload.state == UploadState::Ready {
            return Ok(Json(UploadView::with_url(&app, &upload).await?));
        }
        if upload.expires_at <= app.now() {
            return Err(Problem::conflict("upload_expired", "The time to send this upload is over; begin another."));
        }
        match attempt(&app, upload).await? {
            Outcome::Ready(upload) => return Ok(Json(UploadView::with_url(&app, &upload).await?)),
            // Gone or changed: by another complete, which the next read of the row tells, or by the client.
            Outcome::Look(why) if last_is(&last, &why) => return Err(why),
            Outcome::Look(why) => last = why,
        }
    }
    Err(last)
}

/// Whether the same reason has come twice, so that no other complete explains it.
fn last_is(last: &Problem, why: &Problem) -> bool {
    last.code == why.code
}

enum Outcome {
    Ready(Upload),
    Look(Problem),
}

/// One look at the bytes.
async fn attempt(app: &App, waiting: Upload) -> Result<Outcome> {
    let from = incoming_key(&waiting.account_id, &waiting.upload_id);
    let missing = || Outcome::Look(Problem::conflict("upload_missing", "The bytes have not arrived; send them to the part's URL first."));
    let changed = || Outcome::Look(Problem::conflict("upload_changed", "The bytes changed while they were looked at; complete it again."));
    let Some(stored) = app.files().head_incoming(&from).await? else { return Ok(missing()) };
    check_size(stored.bytes, waiting.bytes)?;
    let Some((bytes, _)) = app.files().read_incoming(&from, LIMITS.max_bytes as u64, Some(&stored.etag)).await? else { return Ok(changed()) };
    let facts = look(&bytes, &waiting)?;
    // The key carries the hash: of two completes that saw different bytes, each has a copy of its own.
    let key = format!("{}/{}", input_key(&waiting.account_id, &waiting.upload_id), facts.sha256);
    if !app.files().copy_to_inputs(&from, &stored.etag, &key, facts.content_type.as_str()).await? {
        return Ok(changed());
    }
    let ready = Upload {
        state: UploadState::Ready,
        content_type: facts.content_type.as_str().to_owned(),
        bytes: bytes.len() as u64,
        sha256: Some(facts.sha256),
        width: facts.width,
        height: facts.height,
        next_check_at: Some(app.now() + seconds(app.settings().unused_upload_days * 86_400)),
        key: Some(key.clone()),
        ..waiting
    };
    if !app.table().ready_upload(&ready).await? {
        // Another complete was first, or the upload was deleted; our copy goes unless it is also the winner's.
        let winner = app.table().upload(&ready.account_id, &ready.upload_id).await?;
        if winner.as_ref().and_then(|upload| upload.key.as_deref()) != Some(&key) {
            app.files().delete_media(&[key]).await?;
        }
        return winner.filter(|upload| upload.state == UploadState::Ready).map(Outcome::Ready).ok_or_else(Problem::not_found);
    }
    // Swallowed on purpose: the upload is ready, and the bucket's lifecycle sweeps what is left.
    if let Err(error) = app.files().delete_incoming(&from).await {
        tracing::warn!(%error, upload_id = %ready.upload_id, "the incoming bytes of a ready upload were not deleted");
    }
    Ok(Outcome::Ready(ready))
}

/// What the bytes say.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    content_type: ImageType,
    width: u32,
    height: u32,
    sha256: String,
}

/// Refuses by size before anything is read.
fn check_size(found: u64, declared: u64) -> Result<()> {
    if found > LIMITS.max_bytes as u64 {
        return Err(refused(&MediaError::TooManyBytes { bytes: found as usize, limit: LIMITS.max_bytes }));
    }
    if found == 0 {
        return Err(refused(&MediaError::Empty));
    }
    if found != declared {
        return Err(mismatch("bytes", format!("{found} bytes have arrived; {declared} were declared")));
    }
    Ok(())
}

fn look(bytes: &[u8], declared: &Upload) -> Result<Facts> {
    let facts = media::inspect(bytes).map_err(|error| refused(&error))?;
    if facts.content_type.as_str() != declared.content_type {
        return Err(mismatch("content_type", format!("the file is {}; {} was declared", facts.content_type, declared.content_type)));
    }
    let sha256 = hex::encode(Sha256::digest(bytes));
    if declared.sha256.as_ref().is_some_and(|declared| *declared != sha256) {
        return Err(mismatch("sha256", "the bytes are not the declared ones".to_owned()));
    }
    let (width, height) = facts.shown_size();
    Ok(Facts { content_type: facts.content_type, width, height, sha256 })
}

fn refused(error: &MediaError) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.code(), error.to_string()).field("file")
}

fn mismatch(field: &str, detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "upload_mismatch", detail).field(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_core::ids::AccountId;

    /// Two grey pixels side by side.
    const PNG: &str =
        "89504e470d0a1a0a0000000d4948445200000002000000010800000000d14920560000000b49444154789c6360640200000700047649e3280000000049454e44ae426082";

    fn declared(content_type: &str, sha256: Option<&str>) -> Upload {
        Upload {
            v: 1,
            upload_id: UploadId::new(1, 1),
            account_id: AccountId::new(1, 1),
            filename: "a.png".into(),
            content_type: content_type.into(),
            bytes: 1,
            sha256: sha256.map(str::to_owned),
            state: UploadState::Waiting,
            created_at: 0,
            expires_at: 1,
            width: 0,
            height: 0,
            key: None,
            last_job_at: None,
            owed_shard: None,
            next_check_at: None,
        }
    }

    fn named<T: std::fmt::Debug>(result: Result<T>) -> (String, String) {
        let problem = result.unwrap_err();
        assert_eq!(problem.status, 422);
        (problem.code, problem.field.unwrap())
    }

    #[test]
    fn a_size_that_was_not_declared_is_refused_before_a_byte_is_read() {
        assert!(check_size(10, 10).is_ok());
        assert_eq!(named(check_size(0, 10)), ("media_empty".into(), "file".into()));
        assert_eq!(named(check_size(11, 10)), ("upload_mismatch".into(), "bytes".into()));
        assert_eq!(named(check_size(10_000_001, 10_000_001)), ("media_too_large".into(), "file".into()));
    }

    #[test]
    fn the_facts_are_the_bytes_and_not_the_declaration() {
        let bytes = hex::decode(PNG).unwrap();
        let facts = look(&bytes, &declared("image/png", None)).unwrap();
        assert_eq!((facts.width, facts.height, facts.content_type), (2, 1, ImageType::Png));
        assert_eq!(look(&bytes, &declared("image/png", Some(&facts.sha256))).unwrap(), facts);
        assert_eq!(named(look(&bytes, &declared("image/jpeg", None))), ("upload_mismatch".into(), "content_type".into()));
        assert_eq!(named(look(&bytes, &declared("image/png", Some(&"0".repeat(64))))), ("upload_mismatch".into(), "sha256".into()));
        assert_eq!(named(look(&bytes[..bytes.len() - 8], &declared("image/png", None))).1, "file");
        assert_eq!(named(look(b"GIF89a", &declared("image/png", None))), ("media_unsupported".into(), "file".into()));
    }
}
