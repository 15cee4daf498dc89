//! The payment service, for the functions that speak to it: its key is read from the parameter store, so that a new one needs no deploy.

use crate::{App, Problem, Result};
use axum::http::StatusCode;
use kiln_core::billing::{Buys, Order, Payment};
use kiln_core::ids::{AccountId, EntryId};
use kiln_pay::{Pay, PlanState};
use kiln_store::{Account, Applied, Subscription};

/// What the parameter store holds where no key was given: nothing can be bought.
pub const UNSET: &str = "unset";

/// The service's client, or a problem that says that nothing can be bought here.
pub async fn client(app: &App) -> Result<Pay> {
    let key = app.secrets().get("stripe-secret-key").await?;
    if &*key == UNSET {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "payments_off", "Nothing can be bought here: no payment service is set up."));
    }
    Pay::new(&key, app.env("STRIPE_API_BASE")).map_err(problem)
}

/// What a caller is told of the service's trouble; its code goes to the log, and not its words, which may quote what a customer wrote.
pub fn problem(error: kiln_pay::Error) -> Problem {
    match &error {
        kiln_pay::Error::Refused { status, code, .. } => tracing::error!(status, code, "the payment service refused"),
        other => tracing::error!(error = %other, "the payment service did not do as asked"),
    }
    if matches!(&error, kiln_pay::Error::Refused { code, .. } if code == "email_invalid") {
        return kiln_core::FieldError::new("email", "the payment service takes no such address").into();
    }
    if matches!(error, kiln_pay::Error::NotSetUp(_)) {
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "prices_not_set_up", "This can't be bought at the moment; nothing was charged.");
    }
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "payments_unavailable", "The payment service can't be reached; nothing was charged. Please ask again.")
        .retry_after(5)
}

/// Gives the credits of an order whose checkout was paid as asked, once. `charge` is the service's name of the payment.
pub async fn apply_order(app: &App, order: &Order, session: &str, charge: &str) -> Result<(Payment, Applied)> {
    let now = app.now();
    let (Buys::Pack { millicredits, .. } | Buys::Plan { millicredits, .. } | Buys::Job { millicredits, .. }) = &order.buys;
    let paid = Payment {
        v: 1,
        account_id: order.account_id.clone(),
        order_id: Some(order.order_id.clone()),
        cause: order.order_id.to_string(),
        object: session.to_owned(),
        millicredits: *millicredits,
        amount: order.amount,
        currency: order.currency.clone(),
        paid_at: now,
        claims: Default::default(),
        taken: 0,
        seq: 1,
    };
    let applied = app.table().apply_payment(&paid, charge, &EntryId::new(now, app.random()), now).await?;
    tracing::info!(order_id = %order.order_id, ?applied, "a checkout was paid");
    Ok((paid, applied))
}

/// What became of a plan that the service speaks of.
#[derive(Debug)]
pub enum Plan {
    /// It is written down; `before` is the account as it was.
    Kept { before: Box<Account>, now: Subscription },
    /// It is over, and the account has another or none: nothing to write down.
    Past,
    /// It runs beside another plan of the account's, or for an account that is gone: somebody pays for nothing. Why, for an operator.
    Odd(String),
}

/// Writes down what a plan is now. The account is read before the service is asked and the write holds only if no other came in between: so
/// of two at once the one that knows more wins, in whatever order the service's events come.
pub async fn keep_plan(app: &App, client: &Pay, account: &AccountId, subscription_id: &str) -> Result<(Plan, PlanState)> {
    for _ in 0..crate::flow::TRIES {
        let before = app.table().account(account).await?;
        let state = client.plan_state(subscription_id).await.map_err(problem)?;
        let now = subscription(&state);
        let Some(before) = before.filter(|account| account.state.is_none()) else {
            let plan = if now.runs() { Plan::Odd(format!("plan {subscription_id} runs, and there is no account {account}")) } else { Plan::Past };
            return Ok((plan, state));
        };
        if let Some(other) = before.subscription.as_ref().filter(|other| other.id != now.id) {
            if !now.runs() {
                return Ok((Plan::Past, state));
            }
            if other.runs() {
                let why = format!("account {account} pays for two plans: {subscription_id} beside {}; end one and give its money back", other.id);
                return Ok((Plan::Odd(why), state));
            }
        }
        if app.table().set_subscription(&before, &state.customer, &now).await? {
            return Ok((Plan::Kept { before: Box::new(before), now }, state));
        }
    }
    Err(kiln_store::Error::Busy.into())
}

/// A plan's state, as it is kept with its account.
fn subscription(state: &PlanState) -> Subscription {
    Subscription {
        id: state.id.clone(),
        plan: state.plan.clone(),
        status: state.status.clone(),
        currency: state.currency.clone(),
        period_end: state.period_end,
        ends_at_period_end: state.ends_at_period_end,
    }
}
