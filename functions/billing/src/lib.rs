//! Buying: checkouts for packs and plans, changes of a plan, the customer's portal and invoices.
//!
//! Promises: nothing here gives credits. A checkout is only asked for; what is paid is told by the payment service's webhook
//! (`functions/stripe-webhook`), and the browser's return means nothing.

mod checkout;
mod invoices;
mod plan;

use kiln_http::App;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

fn api() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(checkout::checkout))
        .routes(routes!(plan::subscribe))
        .routes(routes!(plan::show, plan::change))
        .routes(routes!(invoices::portal))
        .routes(routes!(invoices::invoices))
        .routes(routes!(invoices::payments))
}

/// The function's endpoints.
pub fn router(app: App) -> axum::Router {
    kiln_http::lambda::finish(api().with_state(app).split_for_parts().0)
}

/// The function's part of the OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api().into_openapi()
}
