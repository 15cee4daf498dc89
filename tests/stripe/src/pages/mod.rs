//! The pages that a browser sees in Stripe's place. It promises: each says that it is play money, what comes from a caller is escaped, and no script runs.

pub mod checkout;
pub mod invoice;
mod pdf;
pub mod portal;

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
};

use crate::{error::Refusal, server::Inner, work::text};

const STYLE: &str = include_str!("style.css");

/// Text as HTML shows it.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// A whole page around a body that is HTML already.
pub fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"robots\" content=\"noindex\"><title>{} – play money</title><style>{STYLE}</style></head><body>\
         <p class=\"play\" role=\"note\"><strong>Play money</strong> – nothing is charged. This page stands in for Stripe.</p><main>{body}</main></body></html>",
        escape(title)
    );
    let mut response = (status, Html(html)).into_response();
    let policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A short page that says one thing.
pub fn say(status: StatusCode, title: &str, text: &str, link: Option<(&str, &str)>) -> Response {
    let link = link.map_or(String::new(), |(href, label)| format!("<p><a class=\"button quiet\" href=\"{}\">{}</a></p>", escape(href), escape(label)));
    page(status, title, &format!("<section class=\"card small\"><h1>{}</h1><p>{}</p>{link}</section>", escape(title), escape(text)))
}

pub fn refused(refusal: &Refusal) -> Response {
    let message = refusal.json()["error"]["message"].as_str().unwrap_or("That doesn't work.").to_owned();
    let title = if refusal.status == StatusCode::NOT_FOUND { "Not here" } else { "That doesn't work" };
    say(refusal.status, title, &message, None)
}

/// 303, so that a reload asks nothing again.
pub fn go(to: &str) -> Response {
    match HeaderValue::from_str(to) {
        Ok(_) => Redirect::to(to).into_response(),
        Err(_) => say(StatusCode::BAD_REQUEST, "That doesn't work", "The address to return to isn't one.", None),
    }
}

/// A date as the pages show it: 2026-11-21.
pub fn date(second: i64) -> String {
    jiff::Timestamp::from_second(second).map_or_else(|_| "–".into(), |t| t.strftime("%-d %B %Y").to_string())
}

/// What is here, for whoever opens the address.
pub async fn home(State(inner): State<Arc<Inner>>) -> Response {
    let rows = {
        let state = inner.lock();
        let kinds = [
            ("customer", "Customers"),
            ("price", "Prices"),
            ("checkout.session", "Checkout sessions"),
            ("charge", "Charges"),
            ("refund", "Refunds"),
            ("subscription", "Subscriptions"),
            ("invoice", "Invoices"),
            ("event", "Events"),
        ];
        kinds.map(|(kind, label)| format!("<tr><td>{label}</td><td class=\"amount\">{}</td></tr>", state.count(kind))).concat()
    };
    let body = format!(
        "<section class=\"card small\"><p class=\"seller\">{}</p><h1>A stand-in for Stripe</h1><p>Checkout, invoices and the customer portal work as they do at Stripe, but every card \
         is a toy. The API answers under <code>/v1</code>.</p><table>{rows}</table></section>",
        escape(&inner.config.seller)
    );
    page(StatusCode::OK, "Stand-in for Stripe", &body)
}

/// Rows of what was sold: name, quantity, amount.
pub fn rows<'v>(items: impl Iterator<Item = &'v serde_json::Value>, amount: &str, currency: &str) -> String {
    items
        .map(|i| {
            let quantity = i["quantity"].as_i64().unwrap_or(1);
            // An invoice's line of a subscription says how many in its own words.
            let times =
                if quantity == 1 || text(i, "description").contains('×') { String::new() } else { format!("<span class=\"quiet\"> × {quantity}</span>") };
            let every = match (i["price"]["recurring"]["interval"].as_str(), i["price"]["recurring"]["interval_count"].as_i64()) {
                (Some(interval), Some(1) | None) => format!("<span class=\"quiet\"> every {interval}</span>"),
                (Some(interval), Some(count)) => format!("<span class=\"quiet\"> every {count} {interval}s</span>"),
                _ => String::new(),
            };
            let price = crate::api::money::spoken(i[amount].as_i64().unwrap_or(0), currency);
            format!("<tr><td>{}{times}{every}</td><td class=\"amount\">{price}</td></tr>", escape(text(i, "description")))
        })
        .collect()
}
