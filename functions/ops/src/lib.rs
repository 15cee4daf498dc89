//! For those who run the system: is it well, how much of what is there, the pool's policy, what operators did; and the API's own description.
//!
//! Promises: `health` needs no key and tells nothing of any account; all else here needs the admin key, but for the
//! OpenAPI document, which is the committed one.

mod audit;
mod health;
mod machines;
mod metrics;
mod own;
mod pool;
mod usage;
mod workers;

use axum::Extension;
use axum::http::header;
use axum::response::IntoResponse;
use kiln_http::App;
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

fn api() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(health::health))
        .routes(routes!(metrics::metrics))
        .routes(routes!(description))
        .routes(routes!(pool::show, pool::change))
        .routes(routes!(machines::prewarm))
        .routes(routes!(machines::terminate))
        .routes(routes!(machines::lease))
        .routes(routes!(machines::release))
        .routes(routes!(machines::history))
        .routes(routes!(own::add))
        .routes(routes!(usage::list))
        .routes(routes!(audit::list))
}

/// The function's endpoints.
pub fn router(app: App) -> axum::Router {
    let router = api().with_state(app.clone()).split_for_parts().0;
    let router = kiln_http::operator::audited(router, app);
    kiln_http::lambda::finish(router.layer(Extension(Arc::<health::Cache>::default())))
}

/// The function's part of the OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api().into_openapi()
}

const DOCUMENT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json"));

/// This API as OpenAPI 3.1.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "ops", responses((status = 200, description = "The document.", body = serde_json::Value)))]
async fn description() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "public, max-age=300")], DOCUMENT)
}
