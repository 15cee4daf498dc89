//! The hosted Checkout page: what is sold, and buttons for each way that paying can go.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use serde_json::Value;

use super::{escape, go, page, refused, rows, say};
use crate::{
    api::{complete, money, payments::Card},
    error::Refusal,
    form::{self, Node},
    server::Inner,
    work::{int, text},
};

pub async fn show(State(inner): State<Arc<Inner>>, Path(id): Path<String>) -> Response {
    match session(&inner, &id) {
        Ok(session) => render(&inner, &session, None),
        Err(refusal) => refused(&refusal),
    }
}

fn session(inner: &Inner, id: &str) -> Result<Value, Refusal> {
    inner.work(None, |work| {
        crate::api::checkout::expire_due(work);
        let mut session = work.get("checkout.session", id, "id")?;
        let known = session["customer"].as_str().and_then(|c| work.state.get(c)).map(|c| c["email"].clone());
        session["_known_email"] = known.unwrap_or_else(|| session["customer_email"].clone());
        Ok(session)
    })
}

fn success(session: &Value) -> String {
    text(session, "success_url").replace("{CHECKOUT_SESSION_ID}", text(session, "id"))
}

fn render(inner: &Inner, session: &Value, problem: Option<&str>) -> Response {
    let success = success(session);
    match text(session, "status") {
        "expired" => {
            return say(
                StatusCode::GONE,
                "This checkout has expired",
                "Go back to the shop and begin again.",
                session["cancel_url"].as_str().map(|u| (u, "Back to the shop")),
            );
        }
        "complete" if session["payment_status"] == "unpaid" => return under_way(inner, session),
        "complete" => return say(StatusCode::OK, "This checkout is paid", "Nothing is left to do here.", Some((&success, "Back to the shop"))),
        _ => {}
    }
    let currency = text(session, "currency");
    let total = money::spoken(int(session, "amount_total"), currency);
    let subscription = session["mode"] == "subscription";
    let items = session["_line_items"].as_array().cloned().unwrap_or_default();
    let note = problem.map_or(String::new(), |p| format!("<p class=\"note bad\" role=\"alert\">{}</p>", escape(p)));
    let email = match session["_known_email"].as_str() {
        Some(email) => format!("<label for=\"email\">Email</label><input id=\"email\" value=\"{}\" readonly>", escape(email)),
        None => {
            "<label for=\"email\">Email</label><input id=\"email\" name=\"email\" type=\"email\" autocomplete=\"email\" placeholder=\"you@example.com\">".into()
        }
    };
    let back = session["cancel_url"].as_str().map_or(String::new(), |u| format!("<a class=\"back\" href=\"{}\">Cancel and go back</a>", escape(u)));
    let body = format!(
        "<div class=\"two\"><section><p class=\"seller\">{seller}</p><h1>{what}</h1><p class=\"total\">{total}{first}</p><table>{rows}<tr class=\"sum\"><td>Total due today</td>\
         <td class=\"amount\">{total}</td></tr></table></section>\
         <section class=\"card\"><h2>Pay with a toy card</h2>{note}<form method=\"post\" action=\"{base}/pay/{id}\">{email}\
         <button class=\"go\" name=\"card\" value=\"ok\">{pay} {total}</button>\
         <button name=\"card\" value=\"declined\">Pay with a card that is declined</button>\
         <button name=\"card\" value=\"async\">Pay by bank debit, settled later</button></form>{back}\
         <p class=\"hint\">No card number is asked for. Choose how the payment shall go.</p></section></div>",
        seller = escape(&inner.config.seller),
        what = if subscription { "Subscribe" } else { "Your order" },
        first = if subscription { " <small>today</small>" } else { "" },
        rows = rows(items.iter(), "amount_total", currency),
        base = escape(&inner.config.base_url),
        id = escape(text(session, "id")),
        pay = if subscription { "Subscribe for" } else { "Pay" },
    );
    page(if problem.is_some() { StatusCode::PAYMENT_REQUIRED } else { StatusCode::OK }, "Checkout", &body)
}

/// Completed, and the money not here yet.
fn under_way(inner: &Inner, session: &Value) -> Response {
    let total = money::spoken(int(session, "amount_total"), text(session, "currency"));
    let body = format!(
        "<section class=\"card small\"><h1>The payment of {total} is under way</h1><p>A bank debit takes days at Stripe. Here you decide when it ends.</p>\
         <form method=\"post\" action=\"{}/pay/{}\"><button class=\"go\" name=\"settle\" value=\"succeeded\">Let it succeed</button>\
         <button name=\"settle\" value=\"failed\">Let it fail</button></form><a class=\"back\" href=\"{}\">Back to the shop</a></section>",
        escape(&inner.config.base_url),
        escape(text(session, "id")),
        escape(&success(session)),
    );
    page(StatusCode::OK, "Payment under way", &body)
}

pub async fn act(State(inner): State<Arc<Inner>>, Path(id): Path<String>, body: Bytes) -> Response {
    let mut fields = BTreeMap::new();
    if let Err(refusal) = form::read(&body, &mut fields) {
        return refused(&refusal);
    }
    let field = |name: &str| match fields.get(name) {
        Some(Node::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let done = match (field("card").and_then(Card::named), field("settle")) {
        (Some(card), None) => inner.work(None, |work| complete::pay(work, &id, card, field("email"))),
        (None, Some(outcome @ ("succeeded" | "failed"))) => inner.work(None, |work| complete::settle(work, &id, outcome == "succeeded")),
        _ => Err(Refusal::invalid("The form says neither how to pay nor how a payment ends.")),
    };
    let paid = match done {
        Ok(paid) => paid,
        Err(refusal) if refusal.json()["error"]["code"] == "checkout_session_not_open" => return show(State(inner), Path(id)).await,
        Err(refusal) => return refused(&refusal),
    };
    if paid["status"] != "open" {
        return go(&success(&paid));
    }
    match session(&inner, &id) {
        Ok(session) => render(&inner, &session, Some("Your card was declined. Try another one.")),
        Err(refusal) => refused(&refusal),
    }
}
