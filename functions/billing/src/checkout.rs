//! Checkouts: an order is written first, then the payment service is asked for its page. Whoever dies in between leaves an order that
//! nobody pays; asked again with the same key, the same order gets the same page.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kiln_core::FieldError;
use kiln_core::access::Role;
use kiln_core::billing::{Buys, Order, OrderState};
use kiln_core::ids::OrderId;
use kiln_core::time::{Millis, rfc3339, seconds};
use kiln_http::flow::TRIES;
use kiln_http::{App, Body, Caller, Key, Once, Problem, Result, pay};
use kiln_pay::{Line, Mode, Pay, Wanted};
use kiln_store::{Account, NoRoom, Room};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// For how long a checkout can be paid.
pub const OPEN_FOR: Millis = seconds(3600);

/// What is bought where no currency is named.
const DEFAULT_CURRENCY: &str = "inr";

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckoutRequest {
    /// Of `GET credits/packs`.
    #[schema(example = "studio", max_length = 40)]
    pack: String,
    /// ISO 4217, small letters; one in which the pack has a price.
    #[serde(default)]
    #[schema(example = "inr", max_length = 3)]
    currency: Option<String>,
}

/// Where to pay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckoutView {
    #[schema(example = "ord_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    pub order_id: String,
    /// The payment service's page; send the customer there.
    pub url: String,
    /// In the currency's smallest unit.
    #[schema(example = 50_000)]
    pub amount: i64,
    #[schema(example = "inr")]
    pub currency: String,
    /// What the payment will give; for a plan, each period.
    #[schema(example = 100_000)]
    pub millicredits: i64,
    #[schema(format = "date-time")]
    pub expires_at: String,
}

/// A page of the payment service's where a pack of credits is bought. The credits come when the service says that it is paid.
#[utoipa::path(post, path = "/api/v1/credits/checkout", tag = "credits", request_body = CheckoutRequest,
    params(("Kiln-Account" = Option<String>, Header, description = "Acts for this organisation."), ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,128}$", description = "Repeats with the same key and body get the same order for 24 hours.")),
    responses((status = 201, body = CheckoutView), (status = 409, description = "The order of this key is paid or has expired.")), security(("session" = [])))]
pub async fn checkout(State(app): State<App>, caller: Caller, key: Key, body: Body<CheckoutRequest>) -> Result<(StatusCode, Json<CheckoutView>)> {
    caller.require(Role::Admin)?;
    let once = Once::new("checkout", key, &body.bytes);
    let request = body.value;
    let pack = app.prices().pack(&request.pack).ok_or_else(|| FieldError::new("pack", "no such pack; GET credits/packs lists them"))?;
    let (currency, amount) = priced(&pack.prices, request.currency.as_deref())?;
    let buys = Buys::Pack { pack: pack.id.clone(), millicredits: pack.millicredits };
    let order = ordered(&app, &caller, &once, buys, amount, &currency).await?;
    let line = Sold { list: "pack", id: &pack.id, title: &format!("Kiln: {}", pack.title), mode: Mode::Payment };
    open(&app, &caller, order, line).await.map(|view| (StatusCode::CREATED, Json(view)))
}

/// The price in the wanted currency, or why there is none.
pub fn priced(prices: &std::collections::BTreeMap<String, i64>, wanted: Option<&str>) -> Result<(String, i64)> {
    let currency = wanted.unwrap_or(DEFAULT_CURRENCY);
    let Some(amount) = prices.get(currency) else {
        let known: Vec<_> = prices.keys().map(String::as_str).collect();
        return Err(FieldError::new("currency", format!("it is sold in {}", known.join(", "))).into());
    };
    Ok((currency.to_owned(), *amount))
}

/// What the replayed answer keeps: the rest is made anew.
#[derive(Serialize, Deserialize)]
struct Ordered {
    order_id: OrderId,
}

/// A new order, or the one that this very request made before.
pub async fn ordered(app: &App, caller: &Caller, once: &Once, buys: Buys, amount: i64, currency: &str) -> Result<Order> {
    for _ in 0..TRIES {
        let now = app.now();
        if let Some((route, hash)) = once.lookup()
            && let Some((_, answer)) = once.replayed(app.table().replay(&caller.account_id, route, hash).await?, now)?
        {
            let Ordered { order_id } = serde_json::from_str(&answer).map_err(Problem::internal)?;
            return app.table().order(&caller.account_id, &order_id).await?.ok_or_else(|| Problem::internal("a recorded order is gone"));
        }
        let order_id = OrderId::new(now, app.random());
        let order = Order {
            v: 1,
            order_id: order_id.clone(),
            account_id: caller.account_id.clone(),
            buys: buys.clone(),
            amount,
            currency: currency.to_owned(),
            state: OrderState::Open,
            created_at: now,
            paid_at: None,
            session: None,
            payment: None,
            guest: None,
            owed_shard: None,
            next_check_at: None,
            ttl: None,
        };
        let answer = serde_json::to_string(&Ordered { order_id }).map_err(Problem::internal)?;
        let record = once.record(&caller.account_id, StatusCode::CREATED, answer, now);
        let account = app.table().account(&caller.account_id).await?.ok_or_else(Problem::not_found)?;
        let room = Room::of(&account, app.settings(), now);
        match app.table().put_order(&order, &account, &room, record.as_ref()).await? {
            Ok(true) => return Ok(order),
            Ok(false) | Err(NoRoom::Moved) => {}
            Err(why) => return Err(kiln_http::pace::no_room(why, app.settings(), now)),
        }
    }
    Err(kiln_store::Error::Busy.into())
}

/// What an order is for, as the payment service shows it.
pub struct Sold<'a> {
    pub list: &'a str,
    pub id: &'a str,
    pub title: &'a str,
    pub mode: Mode,
}

/// Opens the order's page.
pub async fn open(app: &App, caller: &Caller, order: Order, sold: Sold<'_>) -> Result<CheckoutView> {
    if order.state != OrderState::Open {
        return Err(Problem::conflict("order_over", "This order is paid or has expired; ask with another Idempotency-Key."));
    }
    let pay = pay::client(app).await?;
    let account = app.table().account(&caller.account_id).await?.ok_or_else(Problem::not_found)?;
    let customer = customer(app, &pay, &account).await?;
    let back = format!("{}/credits", app.public_url());
    let expires_at = order.created_at + OPEN_FOR;
    let wanted = Wanted {
        account: order.account_id.as_str(),
        order: order.order_id.as_str(),
        line: Line::Listed { list: sold.list, id: sold.id, title: sold.title, amount: order.amount, currency: &order.currency },
        mode: sold.mode,
        customer: Some(&customer),
        email: None,
        success_url: &format!("{back}?paid={}", order.order_id),
        cancel_url: &format!("{back}?left={}", order.order_id),
        expires_at,
    };
    let made = pay.checkout(&wanted).await.map_err(pay::problem)?;
    let agrees = made.amount.is_none_or(|amount| amount == order.amount) && made.currency.as_ref().is_none_or(|currency| *currency == order.currency);
    if !agrees {
        // Paid like this it would not be credited: better not sold at all.
        tracing::error!(order_id = %order.order_id, amount = ?made.amount, wanted = order.amount, "the payment service has another price; run scripts/stripe-setup");
        pay.expire_checkout(&made.id).await.map_err(pay::problem)?;
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "prices_not_set_up", "This can't be bought at the moment; nothing was charged."));
    }
    app.table().order_has_session(&order, &made.id).await?;
    Ok(CheckoutView {
        order_id: order.order_id.to_string(),
        url: made.url,
        amount: order.amount,
        millicredits: millicredits(&order.buys),
        currency: order.currency,
        expires_at: rfc3339(expires_at),
    })
}

pub fn millicredits(buys: &Buys) -> i64 {
    match buys {
        Buys::Pack { millicredits, .. } | Buys::Plan { millicredits, .. } | Buys::Job { millicredits, .. } => *millicredits,
    }
}

/// The payment service's customer of this account; made when first needed.
pub async fn customer(app: &App, pay: &Pay, account: &Account) -> Result<String> {
    if let Some(customer) = &account.customer {
        return Ok(customer.clone());
    }
    let email = account.email.as_deref();
    let made = pay.customer(account.account_id.as_str(), email, account.name.as_deref()).await.map_err(pay::problem)?;
    Ok(app.table().set_customer(&account.account_id, &made).await?)
}
