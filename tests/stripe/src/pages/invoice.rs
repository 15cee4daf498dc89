//! An invoice as a page and as a PDF, and a charge's receipt.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;

use super::{date, escape, page, pdf, refused, rows, say};
use crate::{
    api::money,
    error::Refusal,
    server::Inner,
    work::{int, text},
};

fn find(inner: &Inner, id: &str) -> Result<Value, Refusal> {
    inner.work(None, |work| {
        let invoice = work.get("invoice", id, "id")?;
        if invoice["status"] == "draft" { Err(Refusal::no_such("invoice", id, "id")) } else { Ok(invoice) }
    })
}

fn status(invoice: &Value) -> String {
    let at = &invoice["status_transitions"];
    match text(invoice, "status") {
        "paid" => format!("Paid on {}", date(int(at, "paid_at"))),
        other => format!("Status: {other}"),
    }
}

pub async fn show(State(inner): State<Arc<Inner>>, Path(id): Path<String>) -> Response {
    let invoice = match find(&inner, &id) {
        Ok(invoice) => invoice,
        Err(refusal) => return refused(&refusal),
    };
    let currency = text(&invoice, "currency");
    let sum = |label: &str, field: &str| {
        format!("<tr class=\"sum\"><td>{label}</td><td class=\"amount\">{}</td></tr>", money::spoken(int(&invoice, field), currency))
    };
    let balance = int(&invoice, "starting_balance") - int(&invoice, "ending_balance");
    let applied =
        if balance == 0 { String::new() } else { format!("<tr><td>Applied balance</td><td class=\"amount\">{}</td></tr>", money::spoken(balance, currency)) };
    let body = format!(
        "<section class=\"card wide\"><p class=\"seller\">{}</p><h1>Invoice {}</h1><p class=\"note {}\">{}</p><p class=\"quiet\">{}<br>{}</p><table>{}{}{applied}{}</table>\
         <p class=\"hint\"><a href=\"{}\">Download as PDF</a></p></section>",
        escape(&inner.config.seller),
        escape(text(&invoice, "number")),
        if invoice["status"] == "paid" { "good" } else { "bad" },
        status(&invoice),
        escape(text(&invoice, "customer_email")),
        date(int(&invoice, "created")),
        rows(invoice["_lines"].as_array().into_iter().flatten(), "amount", currency),
        sum("Total", "total"),
        sum("Amount due", "amount_remaining"),
        escape(text(&invoice, "invoice_pdf")),
    );
    page(StatusCode::OK, "Invoice", &body)
}

pub async fn pdf(State(inner): State<Arc<Inner>>, Path(id): Path<String>) -> Response {
    let invoice = match find(&inner, &id) {
        Ok(invoice) => invoice,
        Err(refusal) => return refused(&refusal),
    };
    let currency = text(&invoice, "currency").to_owned();
    let mut lines = vec![
        (18, format!("Invoice {}", text(&invoice, "number"))),
        (11, "PLAY MONEY - nothing was charged".to_owned()),
        (11, String::new()),
        (11, format!("From: {}", inner.config.seller)),
        (11, format!("To: {}", text(&invoice, "customer_email"))),
        (11, format!("Date: {}", date(int(&invoice, "created")))),
        (11, status(&invoice)),
        (11, String::new()),
    ];
    for line in invoice["_lines"].as_array().into_iter().flatten() {
        lines.push((11, format!("{}   {}", text(line, "description"), money::spoken(int(line, "amount"), &currency))));
    }
    lines.push((11, String::new()));
    lines.push((13, format!("Total   {}", money::spoken(int(&invoice, "total"), &currency))));
    let name = format!("inline; filename=\"Invoice-{}.pdf\"", text(&invoice, "number"));
    ([(header::CONTENT_TYPE, "application/pdf".to_owned()), (header::CONTENT_DISPOSITION, name)], pdf::write(&lines)).into_response()
}

pub async fn receipt(State(inner): State<Arc<Inner>>, Path(id): Path<String>) -> Response {
    match inner.work(None, |work| work.get("charge", &id, "id")) {
        Ok(charge) => {
            let amount = money::spoken(int(&charge, "amount"), text(&charge, "currency"));
            let refunded = int(&charge, "amount_refunded");
            let back = if refunded == 0 { String::new() } else { format!(" {} of it was refunded.", money::spoken(refunded, text(&charge, "currency"))) };
            let text = format!("{amount} in play money, on {}.{back}", date(int(&charge, "created")));
            say(StatusCode::OK, &format!("Receipt from {}", inner.config.seller), &text, None)
        }
        Err(refusal) => refused(&refusal),
    }
}
