//! One account, as its operator sees and changes it.

use axum::Json;
use axum::extract::{Query, State};
use kiln_core::FieldError;
use kiln_core::address;
use kiln_core::ids::AccountId;
use kiln_core::prices::OwnPrices;
use kiln_core::time::rfc3339;
use kiln_http::flow::TRIES;
use kiln_http::{Acts, Admin, App, Body, Id, Problem, Result, action};
use kiln_store::{Account, AccountPatch};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

/// An account, with its own limits: null where the general ones hold.
#[derive(Debug, Serialize, ToSchema)]
pub struct OperatorsView {
    id: String,
    /// Null for a guest's, an organisation's, and for one whose person is gone.
    email: Option<String>,
    name: Option<String>,
    #[schema(format = "date-time")]
    created_at: String,
    suspended: bool,
    /// Whether it ever paid.
    paid: bool,
    available_millicredits: i64,
    held_millicredits: i64,
    debt_millicredits: i64,
    running: i64,
    queued: i64,
    stored_bytes: i64,
    plan: Option<String>,
    limits: Limits,
    prices: OwnPrices,
}

/// An account's own limits.
#[derive(Debug, Serialize, ToSchema)]
pub struct Limits {
    running: Option<i64>,
    queued: Option<i64>,
    inferences_day: Option<i64>,
    edits_day: Option<i64>,
    stored_bytes: Option<i64>,
    projects: Option<i64>,
}

impl From<Account> for OperatorsView {
    fn from(account: Account) -> Self {
        let counters = account.counters;
        Self {
            id: account.account_id.to_string(),
            email: account.email,
            name: account.name,
            created_at: rfc3339(account.created_at),
            suspended: account.suspended,
            paid: counters.paid,
            available_millicredits: counters.available,
            held_millicredits: counters.held,
            debt_millicredits: counters.debt,
            running: counters.running,
            queued: counters.queued,
            stored_bytes: account.stored_bytes,
            plan: account.subscription.map(|subscription| format!("{} ({})", subscription.plan, subscription.status)),
            limits: Limits {
                running: counters.max_running,
                queued: counters.max_queued,
                inferences_day: counters.max_inferences_day,
                edits_day: counters.max_edits_day,
                stored_bytes: account.max_stored_bytes,
                projects: account.max_projects,
            },
            prices: account.prices,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FindQuery {
    /// The address that the account signs in with.
    #[param(max_length = 254, example = "ada@example.org")]
    email: Option<String>,
}

/// The account of an address.
#[utoipa::path(get, path = "/api/v1/admin/accounts", tag = "admin", params(FindQuery), responses((status = 200, body = OperatorsView), (status = 404, description = "No account signs in with that address.")), security(("admin" = [])))]
pub async fn find(
    State(app): State<App>,
    _: Admin,
    query: std::result::Result<Query<FindQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<OperatorsView>> {
    let email = query.ok().and_then(|Query(query)| query.email).ok_or_else(|| FieldError::new("email", "name the account's address"))?;
    let email = address::parse(&email)?;
    let id = app.table().account_of(&email).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(app.table().account(&id).await?.ok_or_else(Problem::not_found)?.into()))
}

/// One account.
#[utoipa::path(get, path = "/api/v1/admin/accounts/{id}", tag = "admin", params(("id" = AccountId, Path)), responses((status = 200, body = OperatorsView)), security(("admin" = [])))]
pub async fn show(State(app): State<App>, _: Admin, Id(id): Id<AccountId>) -> Result<Json<OperatorsView>> {
    Ok(Json(app.table().account(&id).await?.ok_or_else(Problem::not_found)?.into()))
}

/// What to change; what is left out stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountChange {
    /// A suspended account asks for nothing new; what it asked for goes on.
    #[serde(default)]
    suspended: Option<bool>,
    #[serde(default)]
    limits: Option<LimitsChange>,
    /// In permille of the price list; replaces all of the account's own prices.
    #[serde(default)]
    prices: Option<OwnPrices>,
}

/// A number sets the account's own limit, null takes it away, left out it stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsChange {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 1_000)]
    running: Option<Option<i64>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 100_000)]
    queued: Option<Option<i64>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>, minimum = 0)]
    inferences_day: Option<Option<i64>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>, minimum = 0)]
    edits_day: Option<Option<i64>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>, minimum = 0)]
    stored_bytes: Option<Option<i64>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>, minimum = 0)]
    projects: Option<Option<i64>>,
}

/// Tells null (`Some(None)`) from left out (`None`).
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Option<i64>>, D::Error> {
    Option::<i64>::deserialize(deserializer).map(Some)
}

const MOST: i64 = 1_000_000_000_000_000;

impl AccountChange {
    fn patch(self) -> Result<AccountPatch> {
        if let Some(prices) = &self.prices {
            prices.validate()?;
        }
        let limits = self.limits.unwrap_or_default();
        let mut numbers = Vec::new();
        for (field, attribute, value, most) in [
            ("running", "max_running", limits.running, 1_000),
            ("queued", "max_queued", limits.queued, 100_000),
            ("inferences_day", "max_inferences_day", limits.inferences_day, MOST),
            ("edits_day", "max_edits_day", limits.edits_day, MOST),
            ("stored_bytes", "max_stored_bytes", limits.stored_bytes, MOST),
            ("projects", "max_projects", limits.projects, MOST),
        ] {
            let Some(value) = value else { continue };
            if value.is_some_and(|value| !(0..=most).contains(&value)) {
                return Err(FieldError::new(format!("limits.{field}"), format!("from 0 to {most}, or null")).into());
            }
            numbers.push((attribute, value));
        }
        let patch = AccountPatch { suspended: self.suspended, prices: self.prices, numbers };
        if patch.is_empty() {
            return Err(FieldError::new("body", "nothing to change: suspended, limits or prices").into());
        }
        Ok(patch)
    }
}

/// Changes an account's own limits and prices, or suspends it.
#[utoipa::path(patch, path = "/api/v1/admin/accounts/{id}", tag = "admin", params(("id" = AccountId, Path)), request_body = AccountChange, responses((status = 200, body = OperatorsView)), security(("admin" = [])))]
pub async fn change(
    State(app): State<App>,
    operator: Acts<action::AccountChange>,
    Id(id): Id<AccountId>,
    body: Body<AccountChange>,
) -> Result<Json<OperatorsView>> {
    let patch = body.value.patch()?;
    for _ in 0..TRIES {
        let audit = operator.line(&app, app.now()).await?;
        match app.table().patch_account(&id, &patch, &audit).await? {
            Some(true) => {
                tracing::info!(account_id = %id, "an operator changed an account");
                return Ok(Json(app.table().account(&id).await?.ok_or_else(Problem::not_found)?.into()));
            }
            Some(false) => return Err(Problem::not_found()),
            None => {}
        }
    }
    Err(kiln_store::Error::Busy.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(body: serde_json::Value) -> Result<AccountPatch> {
        serde_json::from_value::<AccountChange>(body).unwrap().patch()
    }

    #[test]
    fn a_null_takes_a_limit_away_and_what_is_left_out_stays() {
        let patch = patch(serde_json::json!({"limits": {"running": 8, "queued": null}})).unwrap();
        assert_eq!(patch.numbers, [("max_running", Some(8)), ("max_queued", None)]);
    }

    #[test]
    fn a_change_that_makes_no_sense_is_refused_by_its_field() {
        let field = |body| patch(body).unwrap_err().field.unwrap();
        assert_eq!(field(serde_json::json!({})), "body");
        assert_eq!(field(serde_json::json!({"limits": {"running": -1}})), "limits.running");
        assert_eq!(field(serde_json::json!({"prices": {"all_permille": -1}})), "prices.all_permille");
        assert_eq!(field(serde_json::json!({"prices": {"kinds_permille": {"gold": 1}}})), "prices.kinds_permille");
        assert_eq!(field(serde_json::json!({"prices": {"kinds_permille": {"upscale": 100_001}}})), "prices.kinds_permille.upscale");
    }
}
