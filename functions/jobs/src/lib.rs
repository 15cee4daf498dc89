//! Jobs: their kinds, what one would cost, asking for one, following it, cancelling it, and what the account has made.

mod creations;
mod submit;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kiln_core::ids::JobId;
use kiln_core::machine;
use kiln_http::flow::{self, TRIES};
use kiln_http::view::{self, JobView};
use kiln_http::{App, For, Id, Page, Paging, Problem, Result, scope};
use kiln_store::{Commit, keys};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

fn api() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(kinds))
        .routes(routes!(submit::quote))
        .routes(routes!(submit::submit, list))
        .routes(routes!(show))
        .routes(routes!(cancel))
        .routes(routes!(creations::list))
        .routes(routes!(creations::remove))
}

/// The function's endpoints.
pub fn router(app: App) -> axum::Router {
    kiln_http::lambda::finish(api().with_state(app).split_for_parts().0)
}

/// The function's part of the OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api().into_openapi()
}

/// A kind of job and its parameters.
#[derive(Serialize, ToSchema)]
struct KindView {
    #[schema(example = "upscale")]
    kind: &'static str,
    title: &'static str,
    min_inputs: usize,
    max_inputs: usize,
    max_run_s: u64,
    /// JSON Schema of `params`.
    params: serde_json::Value,
}

#[derive(Serialize, ToSchema)]
struct Kinds {
    items: Vec<KindView>,
}

/// The kinds of job, each with its parameters as JSON Schema.
#[utoipa::path(get, path = "/api/v1/jobs/kinds", tag = "jobs", responses((status = 200, body = Kinds)))]
async fn kinds(State(app): State<App>) -> Json<Kinds> {
    let items = kiln_core::kinds::offered(app.test_engines())
        .map(|kind| KindView {
            kind: kind.name,
            title: kind.title,
            min_inputs: kind.min_inputs,
            max_inputs: kind.max_inputs,
            max_run_s: kind.max_run_s,
            params: kind.schema(),
        })
        .collect();
    Json(Kinds { items })
}

/// One job, with links to what it made.
#[utoipa::path(get, path = "/api/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path)), responses((status = 200, body = JobView)), security(("session" = []), ("api_key" = ["jobs:read"])))]
async fn show(State(app): State<App>, caller: For<scope::JobsRead>, Id(id): Id<JobId>) -> Result<Json<JobView>> {
    let (job, creation) = app.table().job_and_creation(&caller.account_id, &id).await?;
    Ok(Json(view::shown(&app, &job.ok_or_else(Problem::not_found)?, creation).await?))
}

/// The account's jobs, newest first.
#[utoipa::path(get, path = "/api/v1/jobs", tag = "jobs", params(kiln_http::paging::PagingQuery), responses((status = 200, body = Page<JobView>)), security(("session" = []), ("api_key" = ["jobs:read"])))]
async fn list(State(app): State<App>, caller: For<scope::JobsRead>, paging: Paging) -> Result<Json<Page<JobView>>> {
    let after = paging.after(keys::JOB)?;
    let (jobs, next) = app.table().jobs(&caller.account_id, paging.limit, after.as_deref()).await?;
    Ok(Json(Page::new(jobs.iter().map(|job| JobView::new(job, vec![], None)).collect(), next)))
}

/// Cancels a job that has not ended; its hold is released at once.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/cancel", tag = "jobs", params(("id" = String, Path)), responses((status = 200, body = JobView), (status = 409)), security(("session" = []), ("api_key" = ["jobs:write"])))]
async fn cancel(State(app): State<App>, caller: For<scope::JobsWrite>, Id(id): Id<JobId>) -> Result<(StatusCode, Json<JobView>)> {
    for _ in 0..TRIES {
        let (job, account) = app.table().job_and_account(&caller.account_id, &id).await?;
        let job = job.ok_or_else(Problem::not_found)?;
        let now = app.now();
        let change = match machine::cancel(&job, now) {
            Ok(machine::Step::New(change)) => change,
            Ok(machine::Step::Again) => return Ok((StatusCode::OK, Json(JobView::new(&job, vec![], None)))),
            Err(state) => return Err(Problem::conflict("job_finished", format!("The job has already {}.", state.as_str()))),
        };
        let counters = account.as_ref().map(|account| &account.counters);
        let with = Commit { entry_id: flow::entry_id(&app, &change), account: counters, ..Commit::default() };
        if app.table().commit(&change, with, now).await?.is_ok() {
            if let Some(account) = account {
                flow::after_commit(&app, &change, &account.counters).await;
            }
            tracing::info!(job_id = %id, "job cancelled");
            return Ok((StatusCode::OK, Json(JobView::new(&change.after, vec![], None))));
        }
    }
    Err(kiln_store::Error::Busy.into())
}
