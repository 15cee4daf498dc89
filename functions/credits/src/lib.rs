//! Credits: what the account has, and the history that it sums from. Only reads: no request to this function can move
//! money, and its role couldn't write an entry.

mod prices;
mod referrals;

use axum::Json;
use axum::extract::State;
use kiln_core::ledger::{Entry, EntryKind};
use kiln_core::time::{Millis, next_month, rfc3339};
use kiln_http::{App, For, Page, Paging, Problem, Result, scope};
use kiln_store::{Account, keys};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

fn api() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(balance))
        .routes(routes!(ledger))
        .routes(routes!(prices::packs))
        .routes(routes!(prices::plans))
        .routes(routes!(prices::usage))
        .routes(routes!(referrals::show))
}

/// The function's endpoints.
pub fn router(app: App) -> axum::Router {
    kiln_http::lambda::finish(api().with_state(app).split_for_parts().0)
}

/// The function's part of the OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api().into_openapi()
}

/// What an account has.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct Balance {
    /// May be spent.
    #[schema(example = 8_500, minimum = 0)]
    available_millicredits: i64,
    /// Set aside for jobs that have not ended.
    #[schema(example = 1_500, minimum = 0)]
    held_millicredits: i64,
    /// Owed after a refund of credits that were spent already; new credits pay it first.
    #[schema(example = 0, minimum = 0)]
    debt_millicredits: i64,
    /// Charged in this month (UTC).
    #[schema(example = 4_000)]
    month_charged_millicredits: i64,
    /// When the next month begins.
    #[schema(example = "2026-12-01T00:00:00.000Z", format = DateTime)]
    month_resets_at: String,
}

impl Balance {
    fn new(account: &Account, charged: i64, now: Millis) -> Self {
        let counters = &account.counters;
        Self {
            available_millicredits: counters.available,
            held_millicredits: counters.held,
            debt_millicredits: counters.debt,
            month_charged_millicredits: charged,
            month_resets_at: rfc3339(next_month(now)),
        }
    }
}

/// One line of the account's history. All `amount_millicredits` sum to what is available and held together.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct EntryView {
    #[schema(example = "led_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    id: String,
    #[schema(example = "2026-11-21T10:40:00.123Z", format = DateTime)]
    at: String,
    kind: EntryKind,
    /// The sum of the two changes: 0 where credits were only set aside or given back.
    #[schema(example = -1_500)]
    amount_millicredits: i64,
    #[schema(example = 0)]
    d_available_millicredits: i64,
    #[schema(example = -1_500)]
    d_held_millicredits: i64,
    /// The job, or a word such as `signup`.
    #[schema(example = "job_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    cause: String,
    /// The other system's name for what caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<String>,
}

impl From<&Entry> for EntryView {
    fn from(entry: &Entry) -> Self {
        Self {
            id: entry.id.to_string(),
            at: rfc3339(entry.at),
            kind: entry.kind,
            amount_millicredits: entry.amount(),
            d_available_millicredits: entry.d_available,
            d_held_millicredits: entry.d_held,
            cause: entry.cause.clone(),
            external_id: entry.external_id.clone(),
        }
    }
}

/// What the account has: available, held for jobs, and owed; and what this month was charged.
#[utoipa::path(get, path = "/api/v1/credits", tag = "credits", responses((status = 200, body = Balance)), security(("session" = []), ("api_key" = ["credits:read"])))]
async fn balance(State(app): State<App>, caller: For<scope::CreditsRead>) -> Result<Json<Balance>> {
    let now = app.now();
    let (account, charged) = app.table().account_with_use(&caller.account_id, now).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(Balance::new(&account, charged, now)))
}

/// The account's history, newest first.
#[utoipa::path(get, path = "/api/v1/credits/ledger", tag = "credits", params(kiln_http::paging::PagingQuery), responses((status = 200, body = Page<EntryView>)), security(("session" = []), ("api_key" = ["credits:read"])))]
async fn ledger(State(app): State<App>, caller: For<scope::CreditsRead>, paging: Paging) -> Result<Json<Page<EntryView>>> {
    let after = paging.after(keys::LEDGER)?;
    let (entries, next) = app.table().entries(&caller.account_id, paging.limit, after.as_deref()).await?;
    Ok(Json(Page::new(entries.iter().map(EntryView::from).collect(), next)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_core::ids::{AccountId, EntryId};
    use kiln_core::ledger::Move;

    fn view(moved: Move) -> serde_json::Value {
        let entry = moved.entry(EntryId::new(1_000, 1), AccountId::new(1, 1), 1_000, "signup");
        serde_json::to_value(EntryView::from(&entry)).unwrap()
    }

    #[test]
    fn an_entry_has_the_shape_that_clients_rely_on() {
        let expected = serde_json::json!({
            "id": EntryId::new(1_000, 1).as_str(),
            "at": "1970-01-01T00:00:01.000Z",
            "kind": "capture",
            "amount_millicredits": -1_200,
            "d_available_millicredits": 300,
            "d_held_millicredits": -1_500,
            "cause": "signup",
        });
        assert_eq!(view(Move::capture(1_500, 1_200)), expected);
    }

    #[test]
    fn amounts_sum_to_the_balance() {
        let moves = [Move::grant(10_000), Move::hold(1_500), Move::capture(1_500, 1_200), Move::hold(700), Move::release(700), Move::hold(400)];
        let amounts: i64 = moves.iter().map(|moved| view(*moved)["amount_millicredits"].as_i64().unwrap()).sum();
        let balance: i64 = moves.iter().map(|moved| moved.d_available + moved.d_held).sum();
        assert_eq!(amounts, balance);
        assert_eq!(amounts, 10_000 - 1_200);
    }

    #[test]
    fn each_route_is_documented() {
        let document = openapi();
        assert_eq!(
            document.paths.paths.keys().map(String::as_str).collect::<Vec<_>>(),
            ["/api/v1/credits", "/api/v1/credits/ledger", "/api/v1/credits/packs", "/api/v1/credits/plans", "/api/v1/referrals", "/api/v1/usage"]
        );
    }
}
