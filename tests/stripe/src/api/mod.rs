//! The API: from a method and a path to what serves it. What isn't listed here is a 404 in Stripe's words.

mod balance;
pub mod checkout;
pub mod complete;
mod customers;
mod disputes;
mod endpoints;
mod events;
mod expand;
pub mod invoices;
mod line_items;
mod list;
pub mod money;
pub mod payments;
pub mod portal;
mod prices;
mod products;
pub mod refunds;
mod subscription_change;
pub mod subscriptions;

pub use self::disputes::{close as close_dispute, open as open_dispute};
pub use self::endpoints::configured;
use crate::{
    error::{Answer, Refusal},
    params::Params,
    work::{Work, public},
};
use axum::http::Method;

/// Serves one call of the API. `segments`: the path after `/v1/`.
pub fn call(work: &mut Work<'_>, method: &Method, segments: &[&str], mut params: Params) -> Answer {
    let expand = params.texts("expand")?.unwrap_or_default();
    let mut value = public(&route(work, method, segments, params)?);
    expand::all(work, &mut value, &expand)?;
    Ok(value)
}

fn route(work: &mut Work<'_>, method: &Method, segments: &[&str], params: Params) -> Answer {
    let (get, post, delete) = (method == Method::GET, method == Method::POST, method == Method::DELETE);
    match segments {
        ["customers"] if post => customers::create(work, params),
        ["customers"] if get => customers::list(work, params),
        ["customers", id] if post => customers::update(work, id, params),
        ["customers", id] if get => find(work, "customer", id, params),
        ["customers", id] if delete => customers::delete(work, id, params),

        ["products"] if post => products::create(work, params),
        ["products"] if get => products::list(work, params),
        ["products", id] if post => products::update(work, id, params),
        ["products", id] if get => find(work, "product", id, params),
        ["products", id] if delete => products::delete(work, id, params),
        ["prices"] if post => prices::create(work, params),
        ["prices"] if get => prices::list(work, params),
        ["prices", id] if post => prices::update(work, id, params),
        ["prices", id] if get => find(work, "price", id, params),

        ["checkout", "sessions"] if post => checkout::create(work, params),
        ["checkout", "sessions"] if get => checkout::list(work, params),
        ["checkout", "sessions", id] if get => find(work, "checkout.session", id, params),
        ["checkout", "sessions", id] if post => checkout::update(work, id, params),
        ["checkout", "sessions", id, "expire"] if post => checkout::expire(work, id, params),
        ["checkout", "sessions", id, "line_items"] if get => checkout::line_items(work, id, params),

        ["payment_intents"] if get => payments::list(work, "payment_intent", params),
        ["payment_intents", id] if get => payments::intent(work, id, params),
        ["charges"] if get => payments::list(work, "charge", params),
        ["charges", id] if get => find(work, "charge", id, params),
        ["payment_methods", id] if get => find(work, "payment_method", id, params),
        ["balance_transactions", id] if get => find(work, "balance_transaction", id, params),
        ["refunds"] if post => refunds::create(work, params),
        ["refunds"] if get => refunds::list(work, params),
        ["refunds", id] if post => refunds::update(work, id, params),
        ["refunds", id] if get => find(work, "refund", id, params),
        ["disputes"] if get => disputes::list(work, params),
        ["disputes", id] if get => find(work, "dispute", id, params),
        ["disputes", id, "close"] if post => disputes::accept(work, id, params),

        ["subscriptions"] if get => subscriptions::list(work, params),
        ["subscriptions", id] if get => find(work, "subscription", id, params),
        ["subscriptions", id] if post => subscription_change::update(work, id, params),
        ["subscriptions", id] if delete => subscriptions::cancel(work, id, params),
        ["subscription_items"] if get => subscriptions::items(work, params),
        ["invoices"] if get => invoices::list(work, params),
        ["invoices", id] if get => find(work, "invoice", id, params),
        ["invoices", id, "pay"] if post => invoices::pay(work, id, params),
        ["invoices", id, "lines"] if get => invoices::lines(work, id, params),
        ["invoice_payments"] if get => invoices::payments(work, params),
        ["invoice_payments", id] if get => find(work, "invoice_payment", id, params),

        ["billing_portal", "sessions"] if post => portal::create(work, params),
        ["billing_portal", "configurations"] if post => portal::configure(work, None, params),
        ["billing_portal", "configurations"] if get => portal::configurations(work, params),
        ["billing_portal", "configurations", id] if post => portal::configure(work, Some(id), params),
        ["billing_portal", "configurations", id] if get => find(work, "billing_portal.configuration", id, params),

        ["webhook_endpoints"] if post => endpoints::create(work, params),
        ["webhook_endpoints"] if get => endpoints::list(work, params),
        ["webhook_endpoints", id] if post => endpoints::update(work, id, params),
        ["webhook_endpoints", id] if get => find(work, "webhook_endpoint", id, params),
        ["webhook_endpoints", id] if delete => endpoints::delete(work, id, params),
        ["events"] if get => events::list(work, params),
        ["events", id] if get => find(work, "event", id, params),

        _ => Err(Refusal::no_route(method.as_str(), &format!("/v1/{}", segments.join("/")))),
    }
}

fn find(work: &mut Work<'_>, kind: &str, id: &str, params: Params) -> Answer {
    params.done()?;
    // A deleted customer can still be asked for; what else is deleted is gone.
    if kind == "customer" { work.get(kind, id, "id") } else { work.live(kind, id, "id") }
}
