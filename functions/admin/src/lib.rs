//! The operator's hand on one account: what it has, its own limits and prices, its suspension, credits granted or taken; and what the
//! payment service told that could not be applied.
//!
//! Promises: every call needs the admin key; each change, done or refused, is a line of the audit log, and a grant is a ledger entry that
//! names its reason.

mod accounts;
mod grants;

use kiln_http::App;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

fn api() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(accounts::find))
        .routes(routes!(accounts::show, accounts::change))
        .routes(routes!(grants::grant))
        .routes(routes!(grants::kept))
}

/// The function's endpoints.
pub fn router(app: App) -> axum::Router {
    let router = api().with_state(app.clone()).split_for_parts().0;
    kiln_http::lambda::finish(kiln_http::operator::audited(router, app))
}

/// The function's part of the OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api().into_openapi()
}
