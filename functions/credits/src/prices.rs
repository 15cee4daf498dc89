//! What is sold, and what an account has used: read from the price list and the account's item alone.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use kiln_core::machine::{DAY, daily_limits};
use kiln_core::prices::{Interval, Pack, Plan};
use kiln_core::time::{Millis, next_month, rfc3339};
use kiln_http::{App, For, Problem, Result, scope};
use kiln_store::Account;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Credits that are bought once.
#[derive(Debug, Serialize, ToSchema)]
pub struct PackView {
    #[schema(example = "studio")]
    id: String,
    #[schema(example = "100 credits")]
    title: String,
    #[schema(example = 100_000)]
    millicredits: i64,
    /// In each currency's smallest unit.
    #[schema(example = json!({"inr": 50_000, "usd": 650}))]
    prices: BTreeMap<String, i64>,
}

impl From<&Pack> for PackView {
    fn from(pack: &Pack) -> Self {
        Self { id: pack.id.clone(), title: pack.title.clone(), millicredits: pack.millicredits, prices: pack.prices.clone() }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Packs {
    items: Vec<PackView>,
}

/// Credits that are bought each period.
#[derive(Debug, Serialize, ToSchema)]
pub struct PlanView {
    #[schema(example = "maker")]
    id: String,
    title: String,
    /// Granted by each payment.
    #[schema(example = 120_000)]
    millicredits: i64,
    interval: Interval,
    #[schema(example = json!({"inr": 50_000, "usd": 650}))]
    prices: BTreeMap<String, i64>,
}

impl From<&Plan> for PlanView {
    fn from(plan: &Plan) -> Self {
        Self { id: plan.id.clone(), title: plan.title.clone(), millicredits: plan.millicredits, interval: plan.interval, prices: plan.prices.clone() }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Plans {
    items: Vec<PlanView>,
}

/// The same for everybody, and it changes with a deploy.
const CACHED: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "public, max-age=300")];

/// The packs of credits that are sold.
#[utoipa::path(get, path = "/api/v1/credits/packs", tag = "credits", responses((status = 200, body = Packs)))]
pub async fn packs(State(app): State<App>) -> impl IntoResponse {
    (CACHED, Json(Packs { items: app.prices().packs.iter().map(PackView::from).collect() }))
}

/// The plans that are sold.
#[utoipa::path(get, path = "/api/v1/credits/plans", tag = "credits", responses((status = 200, body = Plans)))]
pub async fn plans(State(app): State<App>) -> impl IntoResponse {
    (CACHED, Json(Plans { items: app.prices().plans.iter().map(PlanView::from).collect() }))
}

/// One counted thing.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct Used {
    used: i64,
    /// Null where there is none.
    limit: Option<i64>,
    /// When the count begins anew; null for what is only freed by deleting.
    #[schema(example = "2026-11-22T00:00:00.000Z")]
    resets_at: Option<String>,
}

/// What the account has used, of what it may.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct Usage {
    /// Jobs asked for today (UTC).
    inferences: Used,
    /// Of these, jobs that change a photo.
    edits: Used,
    /// Bytes of uploads, and of what jobs made, that are kept.
    stored_bytes: Used,
    projects: Used,
    /// Millicredits charged in this month (UTC).
    charged_millicredits: Used,
    /// Whether the free tier's limits are the account's.
    free: bool,
}

fn usage_of(app: &App, account: &Account, charged: i64, now: Millis) -> Usage {
    let (settings, counters) = (app.settings(), &account.counters);
    let day = now.div_euclid(DAY);
    let today = counters.today.on(day);
    let (inferences, edits) = daily_limits(counters, settings);
    let midnight = Some(rfc3339((day + 1) * DAY));
    let kept = account.kept_limits(settings);
    Usage {
        inferences: Used { used: today.day_inferences, limit: inferences, resets_at: midnight.clone() },
        edits: Used { used: today.day_edits, limit: edits, resets_at: midnight },
        stored_bytes: Used { used: account.stored_bytes, limit: kept.bytes, resets_at: None },
        projects: Used { used: account.projects, limit: kept.projects, resets_at: None },
        charged_millicredits: Used { used: charged, limit: None, resets_at: Some(rfc3339(next_month(now))) },
        free: !counters.paid,
    }
}

/// What the account has used, of what it may, and when each count begins anew.
#[utoipa::path(get, path = "/api/v1/usage", tag = "credits", responses((status = 200, body = Usage)), security(("session" = []), ("api_key" = ["credits:read"])))]
pub async fn usage(State(app): State<App>, caller: For<scope::CreditsRead>) -> Result<Json<Usage>> {
    let now = app.now();
    let (account, charged) = app.table().account_with_use(&caller.account_id, now).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(usage_of(&app, &account, charged, now)))
}
