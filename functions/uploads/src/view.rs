//! How an upload is shown.

use kiln_core::time::rfc3339;
use kiln_http::view::URL_S;
use kiln_http::{App, Result};
use kiln_store::{Upload, UploadState};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

/// An upload. While it waits, `content_type` and `bytes` are what was declared and the other facts are null.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct UploadView {
    #[schema(example = "upl_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    pub id: String,
    /// `waiting` for its bytes, or `ready` for jobs.
    #[schema(value_type = UploadProgress)]
    pub state: String,
    #[schema(example = "kiln.jpg")]
    pub filename: String,
    #[schema(example = "image/jpeg")]
    pub content_type: String,
    pub bytes: u64,
    /// Of the verified bytes, lower-case hex.
    pub sha256: Option<String>,
    /// Pixels as a viewer shows the picture, EXIF orientation applied.
    pub width: Option<u32>,
    pub height: Option<u32>,
    /// Null for what doesn't play.
    pub duration_s: Option<f64>,
    /// Where its owner may see it, for 15 minutes; null while it waits.
    pub url: Option<String>,
    #[schema(format = "date-time")]
    pub created_at: String,
}

/// Where an upload is in its life.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[allow(dead_code)]
pub enum UploadProgress {
    Waiting,
    Ready,
}

impl UploadView {
    /// The upload with a fresh link to its verified copy.
    pub async fn with_url(app: &App, upload: &Upload) -> Result<Self> {
        let ready = upload.state == UploadState::Ready;
        let url = match upload.key.as_deref().filter(|_| ready) {
            Some(key) => Some(app.files().presign_media_get(key, Duration::from_secs(URL_S), Some(&upload.filename), &upload.content_type).await?),
            None => None,
        };
        Ok(Self {
            id: upload.upload_id.to_string(),
            state: if ready { "ready" } else { "waiting" }.to_owned(),
            filename: upload.filename.clone(),
            content_type: upload.content_type.clone(),
            bytes: upload.bytes,
            sha256: upload.sha256.clone().filter(|_| ready),
            width: ready.then_some(upload.width),
            height: ready.then_some(upload.height),
            duration_s: None,
            url,
            created_at: rfc3339(upload.created_at),
        })
    }
}
