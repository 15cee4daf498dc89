//! A guest's order and its result, for whoever holds the link.

use axum::Json;
use axum::extract::{Path, State};
use kiln_core::billing::{Order, OrderState, Settled};
use kiln_http::view::{self, JobView};
use kiln_http::{App, Problem, Result, guest};
use serde::Serialize;
use utoipa::ToSchema;

/// An order, and its job once it is paid.
#[derive(Debug, Serialize, ToSchema)]
pub struct GuestOrder {
    order_id: String,
    state: OrderState,
    /// How it came out; null until then.
    settled: Option<Settled>,
    amount: i64,
    currency: String,
    job: Option<JobView>,
}

/// A guest's order and, once there, its result.
#[utoipa::path(get, path = "/api/v1/studio/orders/{token}", tag = "guest", params(("token" = String, Path, description = "The end of the result's link.")), responses((status = 200, body = GuestOrder)))]
pub async fn show(State(app): State<App>, path: std::result::Result<Path<String>, axum::extract::rejection::PathRejection>) -> Result<Json<GuestOrder>> {
    let Path(token) = path.map_err(|_| Problem::not_found())?;
    let order = guest::order_of(&app, &token).await?.ok_or_else(Problem::not_found)?;
    let job = job(&app, &order).await?;
    let settled = order.guest.as_ref().and_then(|guest| guest.settled);
    Ok(Json(GuestOrder { order_id: order.order_id.to_string(), state: order.state, settled, amount: order.amount, currency: order.currency, job }))
}

async fn job(app: &App, order: &Order) -> Result<Option<JobView>> {
    let wanted = guest::job_of(order)?;
    let (job, creation) = app.table().job_and_creation(&order.account_id, &wanted.job_id).await?;
    match job {
        Some(job) => Ok(Some(view::shown(app, &job, creation).await?)),
        None => Ok(None),
    }
}
