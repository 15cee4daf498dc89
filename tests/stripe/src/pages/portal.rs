//! The customer portal's page: subscriptions, which can be ended or kept, and invoices.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use serde_json::Value;

use super::{date, escape, go, page, refused};
use crate::{
    api::{money, portal, subscriptions},
    error::Refusal,
    form::{self, Node},
    server::Inner,
    work::{Work, int, text},
};

pub async fn show(State(inner): State<Arc<Inner>>, Path(id): Path<String>) -> Response {
    match inner.work(None, |work| render(work, &id)) {
        Ok(body) => page(StatusCode::OK, "Your subscription", &body),
        Err(refusal) => refused(&refusal),
    }
}

fn render(work: &mut Work<'_>, id: &str) -> Result<String, Refusal> {
    let session = work.get("billing_portal.session", id, "id")?;
    let customer = work.live("customer", text(&session, "customer"), "customer")?;
    let configuration = work.get("billing_portal.configuration", text(&session, "configuration"), "configuration")?;
    let may_cancel = configuration["features"]["subscription_cancel"]["enabled"] == true;
    let action = format!("{}/portal/{id}", work.config.base_url);
    let mine = |kind: &str| work.state.all(kind).filter(|v| v["customer"] == customer["id"]).collect::<Vec<_>>();
    let plans: String = mine("subscription").into_iter().map(|s| plan(work, s, &action, may_cancel)).collect();
    let invoices: String = mine("invoice").into_iter().filter(|i| i["status"] != "draft").take(24).map(invoice).collect();
    let back =
        session["return_url"].as_str().map_or(String::new(), |u| format!("<p><a href=\"{}\">← Back to {}</a></p>", escape(u), escape(&work.config.seller)));
    Ok(format!(
        "<div class=\"wide\">{back}<p class=\"seller\">{}</p><h1>Your subscription</h1><p class=\"quiet\">{}</p><section class=\"card\"><h2>Plans</h2>{}</section>\
         <section class=\"card\" style=\"margin-top:1.5rem\"><h2>Invoices</h2>{}</section></div>",
        escape(&work.config.seller),
        escape(text(&customer, "email")),
        if plans.is_empty() { "<p class=\"quiet\">No subscription.</p>".into() } else { plans },
        if invoices.is_empty() { "<p class=\"quiet\">No invoice yet.</p>".into() } else { format!("<table>{invoices}</table>") },
    ))
}

fn plan(work: &Work<'_>, subscription: &Value, action: &str, may_cancel: bool) -> String {
    let currency = text(subscription, "currency");
    let items = subscriptions::items_of(subscription);
    let names: Vec<String> = items.iter().map(|i| subscriptions::name(work, i)).collect();
    let amount: i64 = items.iter().map(|i| subscriptions::unit_amount(work, i, currency) * int(i, "quantity")).sum();
    let interval = items.first().map_or("month", |i| text(&i["price"]["recurring"], "interval"));
    let end = date(subscriptions::period(subscription).1);
    let ends = subscription["cancel_at_period_end"] == true;
    let (says, button) = match text(subscription, "status") {
        "canceled" => (format!("Ended on {}", date(int(subscription, "ended_at"))), None),
        _ if ends => (format!("Ends on {end}"), Some(("keep", "Keep it after all"))),
        "past_due" | "unpaid" => ("The last payment failed".to_owned(), Some(("cancel", "Cancel the subscription"))),
        _ => (format!("Renews on {end}"), Some(("cancel", "Cancel the subscription"))),
    };
    let form = button.filter(|_| may_cancel).map_or(String::new(), |(what, label)| {
        format!("<form method=\"post\" action=\"{}\"><input type=\"hidden\" name=\"subscription\" value=\"{}\"><button name=\"do\" value=\"{what}\">{label}</button></form>", escape(action), escape(text(subscription, "id")))
    });
    format!(
        "<div class=\"plan row\"><div><p><strong>{}</strong></p><p>{} every {interval}</p><p class=\"quiet\">{says}</p></div>{form}</div>",
        escape(&names.join(", ")),
        money::spoken(amount, currency),
    )
}

fn invoice(invoice: &Value) -> String {
    format!(
        "<tr><td><a href=\"{}\">{}</a></td><td>{}</td><td>{}</td><td class=\"amount\">{}</td></tr>",
        escape(text(invoice, "hosted_invoice_url")),
        escape(text(invoice, "number")),
        date(int(invoice, "created")),
        escape(text(invoice, "status")),
        money::spoken(int(invoice, "total"), text(invoice, "currency")),
    )
}

pub async fn act(State(inner): State<Arc<Inner>>, Path(id): Path<String>, body: Bytes) -> Response {
    let mut fields = BTreeMap::new();
    if let Err(refusal) = form::read(&body, &mut fields) {
        return refused(&refusal);
    }
    let (subscription, ends) = match (fields.get("subscription"), fields.get("do")) {
        (Some(Node::Text(subscription)), Some(Node::Text(what))) if what == "cancel" || what == "keep" => (subscription, what == "cancel"),
        _ => return refused(&Refusal::invalid("The form doesn't say what to do with which subscription.")),
    };
    match inner.work(None, |work| portal::act(work, &id, subscription, ends)) {
        Ok(_) => go(&format!("{}/portal/{id}", inner.config.base_url)),
        Err(refusal) => refused(&refusal),
    }
}
