//! Signing in by a mailed link, and out; who one is, and where one is signed in.
//!
//! Promises: what `request-link` answers doesn't depend on whether the address has an account, which it doesn't even
//! look up; a link works once, for 15 minutes; tokens are kept as hashes only; no address and no token is logged.

mod link;
mod me;
mod sessions;

use kiln_core::profile::Preferences;
use kiln_http::App;
use kiln_store::Account;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

fn api() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(link::request_link))
        .routes(routes!(link::verify_link))
        .routes(routes!(sessions::logout))
        .routes(routes!(me::me, me::change))
        .routes(routes!(me::confirm_email))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::end))
}

/// The function's endpoints.
pub fn router(app: App) -> axum::Router {
    kiln_http::lambda::finish(api().with_state(app).split_for_parts().0)
}

/// The function's part of the OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api().into_openapi()
}

/// Who is signed in.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AccountView {
    #[schema(example = "acc_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    pub id: String,
    #[schema(example = "ada@example.org")]
    pub email: String,
    pub name: Option<String>,
    pub preferences: Preferences,
    #[schema(format = "date-time")]
    pub created_at: String,
}

impl From<Account> for AccountView {
    fn from(account: Account) -> Self {
        Self {
            id: account.account_id.into(),
            email: account.email.unwrap_or_default(),
            name: account.name,
            preferences: account.preferences,
            created_at: kiln_core::time::rfc3339(account.created_at),
        }
    }
}
