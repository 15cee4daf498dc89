//! Referrals: a link to pass on, and what came of it.

use axum::Json;
use axum::extract::State;
use kiln_core::ids::AccountId;
use kiln_http::{App, For, Problem, Result, scope};
use serde::Serialize;
use utoipa::ToSchema;

/// The account's link, and what it has brought.
#[derive(Debug, Serialize, ToSchema)]
pub struct Referrals {
    /// Ends the link; `auth/verify-link` takes it.
    #[schema(example = "01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    code: String,
    url: String,
    /// For each account that has come by it and paid.
    millicredits_each: i64,
    paid_accounts: i64,
    credited_millicredits: i64,
}

/// A link to pass on: for each account that comes by it and pays, credits come, once.
#[utoipa::path(get, path = "/api/v1/referrals", tag = "credits", responses((status = 200, body = Referrals)), security(("session" = []), ("api_key" = ["credits:read"])))]
pub async fn show(State(app): State<App>, caller: For<scope::CreditsRead>) -> Result<Json<Referrals>> {
    let account = app.table().account(&caller.account_id).await?.ok_or_else(Problem::not_found)?;
    let code = account.account_id.as_str().trim_start_matches(AccountId::PREFIX).trim_start_matches('_').to_owned();
    Ok(Json(Referrals {
        url: format!("{}/sign-in?ref={code}", app.public_url()),
        code,
        millicredits_each: app.settings().referral_millicredits as i64,
        paid_accounts: account.referrals,
        credited_millicredits: account.referral_millicredits,
    }))
}
