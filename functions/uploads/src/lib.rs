//! Uploads: a signed PUT for a client, then the server's own look at the bytes, and a copy of exactly those.
//!
//! Promises: an upload is ready only once its bytes were read, are a picture that a job may take and are what was
//! declared; the copy lies under a key named by their hash, which no client can write (invariant 13).

mod create;
mod verify;
mod view;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kiln_core::ids::UploadId;
use kiln_http::{App, For, Id, Problem, Result, scope};
use kiln_store::{Upload, incoming_key};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use view::UploadView;

fn api() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create::create)).routes(routes!(verify::complete)).routes(routes!(show, remove))
}

/// The function's endpoints.
pub fn router(app: App) -> axum::Router {
    kiln_http::lambda::finish(api().with_state(app).split_for_parts().0)
}

/// The function's part of the OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api().into_openapi()
}

/// Tries at deciding about an upload that changes in between.
const TRIES: u32 = 4;

/// One upload: as declared while it waits, as verified once it is ready.
#[utoipa::path(get, path = "/api/v1/uploads/{id}", tag = "uploads", params(("id" = UploadId, Path)), responses((status = 200, body = UploadView)), security(("session" = []), ("api_key" = ["uploads:write"])))]
async fn show(State(app): State<App>, caller: For<scope::UploadsWrite>, Id(id): Id<UploadId>) -> Result<Json<UploadView>> {
    let upload = app.table().upload(&caller.account_id, &id).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(UploadView::with_url(&app, &upload).await?))
}

/// Forgets an upload and its bytes; one that a job has used stays.
#[utoipa::path(delete, path = "/api/v1/uploads/{id}", tag = "uploads", params(("id" = UploadId, Path)), responses((status = 204, description = "It is gone."), (status = 409)), security(("session" = []), ("api_key" = ["uploads:write"])))]
async fn remove(State(app): State<App>, caller: For<scope::UploadsWrite>, Id(id): Id<UploadId>) -> Result<StatusCode> {
    for _ in 0..TRIES {
        let upload = app.table().upload(&caller.account_id, &id).await?.ok_or_else(Problem::not_found)?;
        if upload.last_job_at.is_some() {
            return Err(Problem::conflict("upload_in_use", "A job has used this upload; it is kept with the job."));
        }
        if app.table().forget_orphan(&upload).await? {
            delete_bytes(&app, &upload).await;
            return Ok(StatusCode::NO_CONTENT);
        }
    }
    Err(kiln_store::Error::Busy.into())
}

/// Deletes what lies in the buckets. A failure is swallowed on purpose: the row is gone, so nobody can reach the bytes,
/// and the buckets' lifecycle sweeps what is left.
async fn delete_bytes(app: &App, upload: &Upload) {
    let mut result = app.files().delete_incoming(&incoming_key(&upload.account_id, &upload.upload_id)).await;
    if let Some(key) = &upload.key {
        result = result.and(app.files().delete_media(std::slice::from_ref(key)).await);
    }
    if let Err(error) = result {
        tracing::warn!(%error, upload_id = %upload.upload_id, "the bytes of a forgotten upload were not deleted");
    }
}
