//! A guest's visit: a short session uploads, validates and quotes; one job is paid by card; its result is reached by a link that nobody
//! can guess. No sign-up.
//!
//! Promises: nothing starts before it is paid; what is paid and comes to nothing is refunded by itself (`functions/settle`); a guest's
//! session reaches nothing but its own uploads and orders.

mod checkout;
mod result;
mod session;

use kiln_http::App;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

fn api() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(session::begin)).routes(routes!(checkout::quote)).routes(routes!(checkout::checkout)).routes(routes!(result::show))
}

/// The function's endpoints.
pub fn router(app: App) -> axum::Router {
    kiln_http::lambda::finish(api().with_state(app).split_for_parts().0)
}

/// The function's part of the OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api().into_openapi()
}
