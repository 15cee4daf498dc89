//! What was paid: our orders, the payment service's invoices, and its portal, where a customer sees to cards and addresses.

use crate::checkout::{customer, millicredits};
use axum::Json;
use axum::extract::{Query, State};
use kiln_core::FieldError;
use kiln_core::access::Role;
use kiln_core::billing::{Buys, Order, OrderState};
use kiln_core::time::rfc3339;
use kiln_http::{App, Caller, For, Page, Paging, Problem, Result, pay, scope};
use kiln_store::keys;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Where to go.
#[derive(Debug, Serialize, ToSchema)]
pub struct PortalView {
    url: String,
}

/// The payment service's page for cards, invoices and the plan; the address works for some minutes.
#[utoipa::path(post, path = "/api/v1/credits/portal", tag = "credits", params(("Kiln-Account" = Option<String>, Header, description = "Acts for this organisation.")), responses((status = 200, body = PortalView), (status = 409, description = "Nothing was bought yet.")), security(("session" = [])))]
pub async fn portal(State(app): State<App>, caller: Caller) -> Result<Json<PortalView>> {
    caller.require(Role::Admin)?;
    let account = app.table().account(&caller.account_id).await?.ok_or_else(Problem::not_found)?;
    if account.customer.is_none() {
        return Err(Problem::conflict("nothing_bought", "Nothing was bought yet, so there is nothing to see to."));
    }
    let client = pay::client(&app).await?;
    let customer = customer(&app, &client, &account).await?;
    let url = client.portal(&customer, &format!("{}/credits", app.public_url())).await.map_err(pay::problem)?;
    Ok(Json(PortalView { url }))
}

/// An invoice, as the payment service has it.
#[derive(Debug, Serialize, ToSchema)]
pub struct InvoiceView {
    id: String,
    number: Option<String>,
    /// `paid`, `open`, `draft`, `void`, `uncollectible`.
    status: String,
    /// In the currency's smallest unit.
    total: i64,
    currency: String,
    #[schema(format = "date-time")]
    created_at: String,
    /// The invoice as a page, and as a PDF.
    url: Option<String>,
    pdf_url: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct InvoiceQuery {
    /// How many items at most, from 1 to 100.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[param(max_length = 255)]
    cursor: Option<String>,
}

/// The account's invoices, newest first.
#[utoipa::path(get, path = "/api/v1/invoices", tag = "credits", params(InvoiceQuery), responses((status = 200, body = Page<InvoiceView>)), security(("session" = []), ("api_key" = ["credits:read"])))]
pub async fn invoices(
    State(app): State<App>,
    caller: For<scope::CreditsRead>,
    query: std::result::Result<Query<InvoiceQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Page<InvoiceView>>> {
    caller.require(Role::Admin)?;
    let Query(query) = query.map_err(|refused| kiln_http::paging::unreadable(&refused))?;
    let limit = query.limit.unwrap_or(kiln_http::paging::DEFAULT_LIMIT);
    if !(1..=kiln_http::paging::MAX_LIMIT).contains(&limit) {
        return Err(FieldError::new("limit", "a whole number from 1 to 100").into());
    }
    let sound = |cursor: &String| cursor.starts_with("in_") && cursor.len() <= 255 && cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if query.cursor.as_ref().is_some_and(|cursor| !sound(cursor)) {
        return Err(FieldError::new("cursor", "not a cursor of this list").into());
    }
    let account = app.table().account(&caller.account_id).await?.ok_or_else(Problem::not_found)?;
    let Some(customer) = account.customer else { return Ok(Json(Page { items: vec![], next_cursor: None })) };
    let (found, more) = pay::client(&app).await?.invoices(&customer, limit, query.cursor.as_deref()).await.map_err(pay::problem)?;
    let next_cursor = found.last().filter(|_| more).map(|invoice| invoice.id.clone());
    let items = found.into_iter().map(|invoice| InvoiceView {
        id: invoice.id,
        number: invoice.number,
        status: invoice.status,
        total: invoice.total,
        currency: invoice.currency,
        created_at: rfc3339(invoice.created_at),
        url: invoice.url,
        pdf_url: invoice.pdf,
    });
    Ok(Json(Page { items: items.collect(), next_cursor }))
}

/// One order of the account's.
#[derive(Debug, Serialize, ToSchema)]
pub struct PaymentView {
    #[schema(example = "ord_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    id: String,
    /// `pack:studio`, `plan:maker` or `job:job_…`.
    what: String,
    state: OrderState,
    amount: i64,
    currency: String,
    millicredits: i64,
    #[schema(format = "date-time")]
    created_at: String,
    paid_at: Option<String>,
}

impl From<&Order> for PaymentView {
    fn from(order: &Order) -> Self {
        let what = match &order.buys {
            Buys::Pack { pack, .. } => format!("pack:{pack}"),
            Buys::Plan { plan, .. } => format!("plan:{plan}"),
            Buys::Job { job_id, .. } => format!("job:{job_id}"),
        };
        Self {
            id: order.order_id.to_string(),
            what,
            state: order.state,
            amount: order.amount,
            currency: order.currency.clone(),
            millicredits: millicredits(&order.buys),
            created_at: rfc3339(order.created_at),
            paid_at: order.paid_at.map(rfc3339),
        }
    }
}

/// What the account has ordered, paid or not, newest first.
#[utoipa::path(get, path = "/api/v1/credits/payments", tag = "credits", params(kiln_http::paging::PagingQuery), responses((status = 200, body = Page<PaymentView>)), security(("session" = []), ("api_key" = ["credits:read"])))]
pub async fn payments(State(app): State<App>, caller: For<scope::CreditsRead>, paging: Paging) -> Result<Json<Page<PaymentView>>> {
    caller.require(Role::Admin)?;
    let after = paging.after(keys::ORDER)?;
    let (orders, next) = app.table().orders(&caller.account_id, paging.limit, after.as_deref()).await?;
    Ok(Json(Page::new(orders.iter().map(PaymentView::from).collect(), next)))
}
