//! What the account has made, newest first, and forgetting one of them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kiln_core::ids::JobId;
use kiln_core::time::rfc3339;
use kiln_http::view::ArtifactView;
use kiln_http::{App, For, Id, Page, Paging, Problem, Result, scope};
use kiln_store::{Creation, keys};
use serde::Serialize;
use utoipa::ToSchema;

/// What one job made. Its id is its job's.
#[derive(Serialize, ToSchema)]
pub(crate) struct CreationView {
    id: String,
    job_id: String,
    kind: String,
    params: serde_json::Value,
    created_at: String,
    /// Without links; `GET jobs/{id}` has them.
    artifacts: Vec<ArtifactView>,
}

impl From<&Creation> for CreationView {
    fn from(creation: &Creation) -> Self {
        Self {
            id: creation.job_id.to_string(),
            job_id: creation.job_id.to_string(),
            kind: creation.kind.clone(),
            params: serde_json::from_str(&creation.params).unwrap_or_default(),
            created_at: rfc3339(creation.created_at),
            artifacts: creation.artifacts.iter().map(|artifact| ArtifactView::new(artifact, None)).collect(),
        }
    }
}

/// What the account has made, newest first.
#[utoipa::path(get, path = "/api/v1/creations", tag = "jobs", params(kiln_http::paging::PagingQuery), responses((status = 200, body = Page<CreationView>)), security(("session" = []), ("api_key" = ["jobs:read"])))]
pub(crate) async fn list(State(app): State<App>, caller: For<scope::JobsRead>, paging: Paging) -> Result<Json<Page<CreationView>>> {
    let after = paging.after(keys::CREATION)?;
    let (creations, next) = app.table().creations(&caller.account_id, paging.limit, after.as_deref()).await?;
    Ok(Json(Page::new(creations.iter().map(CreationView::from).collect(), next)))
}

/// Deletes what a job made, files and all; the job itself stays in the account's history.
#[utoipa::path(delete, path = "/api/v1/creations/{id}", tag = "jobs", params(("id" = String, Path)), responses((status = 204)), security(("session" = []), ("api_key" = ["jobs:write"])))]
pub(crate) async fn remove(State(app): State<App>, caller: For<scope::JobsWrite>, Id(id): Id<JobId>) -> Result<StatusCode> {
    let creation = app.table().creation(&caller.account_id, &id).await?.ok_or_else(Problem::not_found)?;
    // Files first: should we die in between, the row still tells which files remain.
    let files: Vec<String> = creation.artifacts.iter().map(|artifact| artifact.key.clone()).collect();
    app.files().delete_media(&files).await?;
    app.table().forget_creation(&creation).await?;
    Ok(StatusCode::NO_CONTENT)
}
