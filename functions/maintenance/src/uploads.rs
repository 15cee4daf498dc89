//! Uploads that never came, or that no job has used: their files go, then their rows.

use kiln_core::job::OWED_SHARDS;
use kiln_http::App;
use kiln_store::{Upload, UploadState, incoming_key};

const MOST_PER_SHARD: u32 = 50;

pub(crate) async fn sweep(app: &App) -> anyhow::Result<u64> {
    let mut forgotten = 0;
    for shard in 0..OWED_SHARDS {
        for row in app.table().owed("upload", shard, app.now(), MOST_PER_SHARD).await? {
            let Some(upload) = app.table().owed_item::<Upload>(&row).await? else { continue };
            match forget(app, &upload).await {
                Ok(true) => forgotten += 1,
                Ok(false) => {}
                Err(error) => tracing::error!(%error, upload_id = %upload.upload_id, "an orphaned upload could not be forgotten"),
            }
        }
    }
    Ok(forgotten)
}

/// Row first, on the condition that no job has used the upload meanwhile; a file left behind by our death here is
/// caught by the bucket's lifecycle.
async fn forget(app: &App, upload: &Upload) -> anyhow::Result<bool> {
    if upload.last_job_at.is_some() || upload.next_check_at.is_none_or(|at| at > app.now()) {
        return Ok(false);
    }
    if !app.table().forget_orphan(upload).await? {
        return Ok(false);
    }
    match (upload.state, &upload.key) {
        (UploadState::Ready, Some(key)) => app.files().delete_media(std::slice::from_ref(key)).await?,
        _ => app.files().delete_incoming(&incoming_key(&upload.account_id, &upload.upload_id)).await?,
    }
    Ok(true)
}
