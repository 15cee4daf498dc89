//! What workers call: register, credentials, heartbeats, and the four steps of an attempt (claim, artifacts, complete, fail).
//! A rented machine is an untrusted host: every call is checked against the instance, the job and the attempt's number,
//! read together in one call.

mod attempt;
mod instance;

use kiln_http::App;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

fn api() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(instance::register))
        .routes(routes!(instance::credentials))
        .routes(routes!(instance::heartbeat))
        .routes(routes!(attempt::claim))
        .routes(routes!(attempt::artifacts))
        .routes(routes!(attempt::complete))
        .routes(routes!(attempt::fail))
}

/// The function's endpoints.
pub fn router(app: App) -> axum::Router {
    kiln_http::lambda::finish(api().with_state(app).split_for_parts().0)
}

/// The function's part of the OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api().into_openapi()
}
