//! Plans: begun by a checkout, changed and ended here. Up takes effect and is paid at once; down and the end come with the period.

use crate::checkout::{CheckoutView, Sold, open, ordered, priced};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kiln_core::FieldError;
use kiln_core::access::Role;
use kiln_core::billing::{Buys, OrderState};
use kiln_core::time::rfc3339;
use kiln_http::pay::Plan;
use kiln_http::{App, Body, Caller, For, Key, Once, Problem, Result, pay, scope};
use kiln_pay::Mode;
use kiln_store::Subscription;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Of the account's orders, the newest that are looked at for a page that is still open: one is open for an hour, and a minute makes few.
const EARLIER: u32 = 50;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscribeRequest {
    /// Of `GET credits/plans`.
    #[schema(example = "maker", max_length = 40)]
    plan: String,
    #[serde(default)]
    #[schema(example = "inr", max_length = 3)]
    currency: Option<String>,
}

/// A page of the payment service's where a plan is begun. Each payment grants the plan's credits.
#[utoipa::path(post, path = "/api/v1/credits/subscribe", tag = "credits", request_body = SubscribeRequest,
    params(("Kiln-Account" = Option<String>, Header, description = "Acts for this organisation."), ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,128}$", description = "Repeats with the same key and body get the same order for 24 hours.")),
    responses((status = 201, body = CheckoutView), (status = 409, description = "There is a plan already: change it.")), security(("session" = [])))]
pub async fn subscribe(State(app): State<App>, caller: Caller, key: Key, body: Body<SubscribeRequest>) -> Result<(StatusCode, Json<CheckoutView>)> {
    caller.require(Role::Admin)?;
    let once = Once::new("subscribe", key, &body.bytes);
    let request = body.value;
    let plan = app.prices().plan(&request.plan).ok_or_else(|| FieldError::new("plan", "no such plan; GET credits/plans lists them"))?;
    let (currency, amount) = priced(&plan.prices, request.currency.as_deref())?;
    let account = app.table().account(&caller.account_id).await?.ok_or_else(Problem::not_found)?;
    if account.subscription.as_ref().is_some_and(Subscription::runs) {
        return Err(Problem::conflict("plan_runs", "There is a plan already; change it with PATCH credits/subscription."));
    }
    let buys = Buys::Plan { plan: plan.id.clone(), millicredits: plan.millicredits };
    let order = ordered(&app, &caller, &once, buys, amount, &currency).await?;
    // Of two pages that are open at once both could be paid: only the newest stays.
    let client = pay::client(&app).await?;
    let (orders, _) = app.table().orders(&caller.account_id, EARLIER, None).await?;
    for earlier in orders.into_iter().filter(|earlier| earlier.state == OrderState::Open && earlier.order_id != order.order_id) {
        if let (Buys::Plan { .. }, Some(session)) = (&earlier.buys, &earlier.session) {
            client.expire_checkout(session).await.map_err(pay::problem)?;
            app.table().order_ends(&caller.account_id, &earlier.order_id, OrderState::Expired).await?;
        }
    }
    let sold = Sold { list: "plan", id: &plan.id, title: &format!("Kiln: {}", plan.title), mode: Mode::Subscription { interval: plan.interval } };
    open(&app, &caller, order, sold).await.map(|view| (StatusCode::CREATED, Json(view)))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanChange {
    /// Another plan. A dearer one begins at once and its difference is paid now; a cheaper one begins with the next period.
    #[serde(default)]
    #[schema(max_length = 40)]
    plan: Option<String>,
    /// True ends the plan with its period; false lets it go on after all.
    #[serde(default)]
    cancel: Option<bool>,
}

/// The account's plan.
#[derive(Debug, Serialize, ToSchema)]
pub struct SubscriptionView {
    plan: String,
    /// `active`, `past_due` (its payment failed and is tried again), `unpaid`, `canceled`, …
    status: String,
    /// When the period that is paid for ends.
    period_end: Option<String>,
    ends_at_period_end: bool,
}

impl From<&Subscription> for SubscriptionView {
    fn from(subscription: &Subscription) -> Self {
        Self {
            plan: subscription.plan.clone(),
            status: subscription.status.clone(),
            period_end: subscription.period_end.map(rfc3339),
            ends_at_period_end: subscription.ends_at_period_end,
        }
    }
}

/// The account's plan, if it has one.
#[derive(Debug, Serialize, ToSchema)]
pub struct Running {
    subscription: Option<SubscriptionView>,
}

/// The account's plan, as the payment service last told it; null where there is none.
#[utoipa::path(get, path = "/api/v1/credits/subscription", tag = "credits", responses((status = 200, body = Running)), security(("session" = []), ("api_key" = ["credits:read"])))]
pub async fn show(State(app): State<App>, caller: For<scope::CreditsRead>) -> Result<Json<Running>> {
    let account = app.table().account(&caller.account_id).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(Running { subscription: account.subscription.as_ref().map(SubscriptionView::from) }))
}

/// Changes the plan, or ends it.
#[utoipa::path(patch, path = "/api/v1/credits/subscription", tag = "credits", request_body = PlanChange, params(("Kiln-Account" = Option<String>, Header, description = "Acts for this organisation.")), responses((status = 200, body = SubscriptionView), (status = 402, description = "The card did not pay the difference; the plan stays as it was."), (status = 409, description = "There is no plan.")), security(("session" = [])))]
pub async fn change(State(app): State<App>, caller: Caller, body: Body<PlanChange>) -> Result<Json<SubscriptionView>> {
    caller.require(Role::Admin)?;
    let PlanChange { plan, cancel } = body.value;
    if plan.is_some() == cancel.is_some() {
        return Err(FieldError::new("plan", "either another plan or cancel").into());
    }
    let account = app.table().account(&caller.account_id).await?.ok_or_else(Problem::not_found)?;
    let Some(subscription) = account.subscription.as_ref().filter(|subscription| subscription.runs()) else {
        return Err(Problem::conflict("no_plan", "There is no plan; begin one with POST credits/subscribe."));
    };
    let client = pay::client(&app).await?;
    let state = client.plan_state(&subscription.id).await.map_err(pay::problem)?;
    if let Some(wanted) = plan {
        let prices = app.prices();
        let wanted = prices.plan(&wanted).ok_or_else(|| FieldError::new("plan", "no such plan; GET credits/plans lists them"))?;
        let now_price = prices.plan(&state.plan).and_then(|plan| plan.prices.get(&state.currency)).copied();
        let price = *wanted.prices.get(&state.currency).ok_or_else(|| FieldError::new("plan", format!("it is not sold in {}", state.currency)))?;
        if prices.plan(&state.plan).is_some_and(|plan| plan.interval != wanted.interval) {
            return Err(FieldError::new("plan", "a plan with another period: end this one first").into());
        }
        if wanted.id != state.plan {
            // One key for one step from this state: pressed twice it is done once.
            let newest = state.latest_invoice.as_deref().unwrap_or("none");
            let key = format!("kiln-plan-{}-{}-{}-{newest}-{}", state.id, state.plan, wanted.id, app.now() / 60_000);
            client.change_plan(&state, &wanted.id, now_price.is_none_or(|now| price > now), &key).await.map_err(declined)?;
        }
    } else if let Some(end) = cancel {
        client.end_plan(&state.id, end).await.map_err(pay::problem)?;
    }
    match pay::keep_plan(&app, &client, &caller.account_id, &subscription.id).await?.0 {
        Plan::Kept { now, .. } => Ok(Json(SubscriptionView::from(&now))),
        Plan::Past | Plan::Odd(_) => Err(Problem::conflict("no_plan", "The plan has ended meanwhile; look again.")),
    }
}

fn declined(error: kiln_pay::Error) -> Problem {
    match error {
        kiln_pay::Error::Refused { status: 402, .. } => {
            Problem::new(StatusCode::PAYMENT_REQUIRED, "card_declined", "The card did not pay the difference; the plan stays as it was.")
        }
        other => pay::problem(other),
    }
}
