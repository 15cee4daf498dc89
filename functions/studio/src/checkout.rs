//! A guest's price and checkout. The job is validated, priced and written down with its order before the payment service is asked for
//! its page: what is paid is exactly what will run.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kiln_core::FieldError;
use kiln_core::billing::{Buys, Guest, Order, OrderState};
use kiln_core::ids::{OrderId, UploadId};
use kiln_core::job::{Job, Priority, owed_shard};
use kiln_core::price::{self, Line, Priced};
use kiln_core::prices::{GuestTier, OwnPrices};
use kiln_core::time::{Millis, rfc3339, seconds};
use kiln_http::ask::{self, JobRequest};
use kiln_http::flow::TRIES;
use kiln_http::{App, Body, Key, Once, Problem, RequestId, Result, Visitor, guest, pay};
use kiln_pay::{Mode, Wanted};
use kiln_store::{NoRoom, Room};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// For how long a guest's checkout can be paid.
const OPEN_FOR: Millis = seconds(3600);
/// For how long what was never paid is kept: a slow payment takes some days, and its events may be late.
pub(crate) const UNPAID_FOR_S: i64 = 30 * 86_400;
/// When an order is first looked at: after its checkout is over and its last event could have come.
const LOOK_AFTER: Millis = OPEN_FOR + seconds(3600);

/// One job of a guest.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GuestRequest {
    #[schema(example = "upscale", max_length = 64)]
    kind: String,
    #[serde(default = "empty")]
    #[schema(value_type = Object, example = json!({"scale": 2}))]
    params: Value,
    #[serde(default)]
    #[schema(max_items = 16, example = json!(["upl_01JD6Z3M8Q4V5X7Y9A2B3C4D5E"]))]
    inputs: Vec<UploadId>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GuestCheckoutRequest {
    #[schema(example = "upscale", max_length = 64)]
    kind: String,
    #[serde(default = "empty")]
    #[schema(value_type = Object, example = json!({"scale": 2}))]
    params: Value,
    #[serde(default)]
    #[schema(max_items = 16, example = json!(["upl_01JD6Z3M8Q4V5X7Y9A2B3C4D5E"]))]
    inputs: Vec<UploadId>,
    /// Where the link to the result is mailed.
    #[schema(format = "email", min_length = 5, max_length = 254, example = "ada@example.org")]
    email: String,
}

fn empty() -> Value {
    Value::Object(Default::default())
}

/// What a guest's job costs.
#[derive(Debug, Serialize, ToSchema)]
pub struct GuestQuote {
    /// Of the price list: `standard` or `high`.
    tier: String,
    title: String,
    /// In the currency's smallest unit.
    #[schema(example = 200)]
    amount: i64,
    #[schema(example = "usd")]
    currency: String,
    /// How the tier follows: what the job would cost in millicredits, line by line.
    lines: Vec<Line>,
    expected_s: u64,
}

/// Where a guest pays, and where the result will be.
#[derive(Debug, Serialize, ToSchema)]
pub struct GuestCheckout {
    order_id: String,
    /// The payment service's page.
    url: String,
    /// Where the job and its result are seen; it is mailed too. Whoever has it sees the result.
    result_url: String,
    #[schema(example = 200)]
    amount: i64,
    currency: String,
    #[schema(format = "date-time")]
    expires_at: String,
}

/// A valid and priced job of a guest.
struct Ready {
    job: Job,
    priced: Priced,
    tier: (String, GuestTier),
}

async fn ready(app: &App, caller: &Visitor, request: &JobRequest, request_id: &str) -> Result<Ready> {
    ask::check_inputs(request)?;
    let valid = ask::validate(app, request)?;
    let found = app.table().before_submit(&caller.asked, &request.inputs, None, None).await?;
    let inputs = ask::inputs(request, &found.uploads)?;
    let priced = price::quote(app.prices(), &OwnPrices::default(), valid.kind.name, &valid.params, &inputs, request.priority)?;
    let tier = app.prices().guest_tier(priced.quote.quote_millicredits).map(|(name, tier)| (name.to_owned(), tier.clone()));
    let tier = tier.ok_or_else(|| FieldError::new("params", "this job is larger than what is sold without an account; sign in for it"))?;
    Ok(Ready { job: ask::draft(app, &caller.account_id, request, &valid, inputs, &priced, request_id), priced, tier })
}

/// What a guest's job would cost.
#[utoipa::path(post, path = "/api/v1/studio/quote", tag = "guest", request_body = GuestRequest, responses((status = 200, body = GuestQuote), (status = 409, description = "Somebody is signed in here: their credits buy it.")), security(("session" = [])))]
pub async fn quote(State(app): State<App>, caller: Visitor, body: Body<GuestRequest>) -> Result<Json<GuestQuote>> {
    let GuestRequest { kind, params, inputs } = body.value;
    let request = JobRequest { kind, params, inputs, priority: Priority::Standard, webhook: None };
    let Ready { priced, tier: (tier, of), .. } = ready(&app, &caller, &request, "").await?;
    let currency = app.prices().guest.currency.clone();
    Ok(Json(GuestQuote { tier, title: of.title, amount: of.amount, currency, lines: priced.quote.lines, expected_s: priced.quote.expected_s }))
}

/// What the replayed answer keeps: the rest is made anew.
#[derive(Serialize, Deserialize)]
struct Ordered {
    order_id: OrderId,
}

/// A page of the payment service's where one job is paid. It starts when the payment has come.
#[utoipa::path(post, path = "/api/v1/studio/checkout", tag = "guest", request_body = GuestCheckoutRequest,
    params(("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,128}$", description = "Repeats with the same key and body get the same order for 24 hours.")),
    responses((status = 201, body = GuestCheckout), (status = 409, description = "The order of this key is paid or has expired, or somebody is signed in here.")), security(("session" = [])))]
pub async fn checkout(
    State(app): State<App>,
    caller: Visitor,
    RequestId(request_id): RequestId,
    key: Key,
    body: Body<GuestCheckoutRequest>,
) -> Result<(StatusCode, Json<GuestCheckout>)> {
    let once = Once::new("studio-checkout", key, &body.bytes);
    let GuestCheckoutRequest { kind, params, inputs, email } = body.value;
    let email = kiln_core::address::parse(&email)?;
    let request = JobRequest { kind, params, inputs, priority: Priority::Standard, webhook: None };
    let order = ordered(&app, &caller, &once, &request, &request_id, email).await?;
    open(&app, order).await.map(|view| (StatusCode::CREATED, Json(view)))
}

async fn ordered(app: &App, caller: &Visitor, once: &Once, request: &JobRequest, request_id: &str, email: String) -> Result<Order> {
    for _ in 0..TRIES {
        let now = app.now();
        if let Some((route, hash)) = once.lookup()
            && let Some((_, answer)) = once.replayed(app.table().replay(&caller.account_id, route, hash).await?, now)?
        {
            let Ordered { order_id } = serde_json::from_str(&answer).map_err(Problem::internal)?;
            return app.table().order(&caller.account_id, &order_id).await?.ok_or_else(|| Problem::internal("a recorded order is gone"));
        }
        let Ready { job, priced, tier: (_, tier) } = ready(app, caller, request, request_id).await?;
        let order_id = OrderId::new(now, app.random());
        let order = Order {
            v: 1,
            order_id: order_id.clone(),
            account_id: caller.account_id.clone(),
            buys: Buys::Job { job_id: job.job_id.clone(), millicredits: priced.quote.quote_millicredits },
            amount: tier.amount,
            currency: app.prices().guest.currency.clone(),
            state: OrderState::Open,
            created_at: now,
            paid_at: None,
            session: None,
            payment: None,
            guest: Some(Guest { email: email.clone(), job: serde_json::to_string(&job).map_err(Problem::internal)?, settled: None }),
            owed_shard: Some(owed_shard("order", order_id.as_str())),
            next_check_at: Some(now + LOOK_AFTER),
            ttl: Some(now / 1000 + UNPAID_FOR_S),
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

async fn open(app: &App, order: Order) -> Result<GuestCheckout> {
    if order.state != OrderState::Open {
        return Err(Problem::conflict("order_over", "This order is paid or has expired; ask with another Idempotency-Key."));
    }
    let client = pay::client(app).await?;
    let guest = order.guest.as_ref().ok_or_else(|| Problem::internal("an order without a guest"))?;
    let result_url = guest::page(app, &guest::token(app, &order.account_id, &order.order_id).await?);
    let expires_at = order.created_at + OPEN_FOR;
    let wanted = Wanted {
        account: order.account_id.as_str(),
        order: order.order_id.as_str(),
        line: kiln_pay::Line::Once { title: "Kiln: one picture", amount: order.amount, currency: &order.currency },
        mode: Mode::Payment,
        customer: None,
        email: Some(&guest.email),
        success_url: &result_url,
        cancel_url: &format!("{}/guest", app.public_url()),
        expires_at,
    };
    let made = client.checkout(&wanted).await.map_err(pay::problem)?;
    app.table().order_has_session(&order, &made.id).await?;
    let order_id = order.order_id.to_string();
    Ok(GuestCheckout { order_id, url: made.url, result_url, amount: order.amount, currency: order.currency, expires_at: rfc3339(expires_at) })
}
