//! The payment service, for the functions that speak to it: its key is read from the parameter store, so that a new one needs no deploy.

use crate::{App, Problem, Result};
use axum::http::StatusCode;
use kiln_pay::Pay;

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

/// What a caller is told of the service's trouble; its own words go to the log.
pub fn problem(error: kiln_pay::Error) -> Problem {
    tracing::error!(%error, "the payment service did not do as asked");
    if matches!(error, kiln_pay::Error::NotSetUp(_)) {
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "prices_not_set_up", "This can't be bought at the moment; nothing was charged.");
    }
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "payments_unavailable", "The payment service can't be reached; nothing was charged. Please ask again.")
        .retry_after(5)
}

/// A plan's state, as it is kept with its account.
pub fn subscription(state: &kiln_pay::PlanState) -> kiln_store::Subscription {
    kiln_store::Subscription {
        id: state.id.clone(),
        plan: state.plan.clone(),
        status: state.status.clone(),
        currency: state.currency.clone(),
        period_end: state.period_end,
        ends_at_period_end: state.ends_at_period_end,
    }
}
