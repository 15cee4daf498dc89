//! Paying a Checkout session: what the page's buttons and the tests' calls do.

use serde_json::{Value, json};

use super::{
    customers,
    invoices::{self, Draft, Line},
    payments::{self, Card, Payment},
    subscriptions,
};
use crate::{
    error::{Answer, Refusal},
    work::{Work, int, text},
};

/// The buyer's address of mail where nobody gave one.
pub const SOMEBODY: &str = "buyer@example.com";

/// Pays an open session. A declined card leaves it open. `email`: what the buyer typed, where the session doesn't know.
pub fn pay(work: &mut Work<'_>, id: &str, card: Card, email: Option<&str>) -> Answer {
    let mut session = work.get("checkout.session", id, "id")?;
    if session["status"] == "open" && int(&session, "expires_at") <= work.now {
        super::checkout::expire_due(work);
        session = work.get("checkout.session", id, "id")?;
        return Err(refuse(&session).keep());
    }
    if session["status"] != "open" {
        return Err(refuse(&session));
    }
    work.room()?;
    let known = session["customer"].as_str().and_then(|c| work.state.get(c)).filter(|c| c["deleted"] != true).cloned();
    let typed = email.filter(|e| customers::looks_like_mail(e));
    let email = session["customer_email"].as_str().or_else(|| known.as_ref().and_then(|c| c["email"].as_str())).or(typed).unwrap_or(SOMEBODY).to_owned();
    let amount = int(&session, "amount_total");
    if card == Card::Declined && amount > 0 {
        let intent = try_card(work, &session, &known.as_ref().map_or(Value::Null, |c| c["id"].clone()), &email, card)?;
        // In subscription mode a session shows no intent: it would be an invoice's.
        if session["mode"] == "payment" {
            session["payment_intent"] = intent["id"].clone();
        }
        work.put(&session);
        return Ok(session);
    }
    let customer = match known {
        Some(customer) => customer["id"].clone(),
        None if session["mode"] == "subscription" || session["customer_creation"] == "always" => {
            let customer = customers::blank(work, Some(&email), None);
            work.made("customer.created", &customer);
            customer["id"].clone()
        }
        None => Value::Null,
    };
    session["customer"] = customer.clone();
    session["customer_details"] = json!({
        "address": { "city": null, "country": "US", "line1": null, "line2": null, "postal_code": null, "state": null }, "business_name": null, "email": email,
        "individual_name": null, "name": null, "phone": null, "tax_exempt": "none", "tax_ids": [],
    });
    let paid = if session["mode"] == "subscription" {
        let (subscription, invoice) = subscriptions::begin(work, &session, customer.as_str().unwrap_or_default(), card)?;
        session["subscription"] = subscription["id"].clone();
        session["invoice"] = invoice["id"].clone();
        if invoice["status"] == "paid" { "paid" } else { "unpaid" }
    } else if amount == 0 {
        "no_payment_required"
    } else {
        let intent = try_card(work, &session, &customer, &email, card)?;
        session["payment_intent"] = intent["id"].clone();
        if intent["status"] == "succeeded" {
            bill(work, &mut session, &intent)?;
            "paid"
        } else {
            "unpaid"
        }
    };
    session["payment_status"] = paid.into();
    session["status"] = "complete".into();
    session["url"] = Value::Null;
    work.made("checkout.session.completed", &session);
    Ok(session)
}

fn refuse(session: &Value) -> Refusal {
    Refusal::invalid(format!("This Checkout Session can't be paid: its status is {}.", text(session, "status"))).code("checkout_session_not_open")
}

/// One try of the session's intent, which the first try makes.
fn try_card(work: &mut Work<'_>, session: &Value, customer: &Value, email: &str, card: Card) -> Answer {
    let intent = match session["payment_intent"].as_str() {
        Some(id) => {
            let mut intent = work.get("payment_intent", id, "payment_intent")?;
            intent["customer"] = customer.clone();
            intent
        }
        None => {
            // In subscription mode the intent would be an invoice's.
            let data = if session["mode"] == "payment" { session["_payment_intent_data"].clone() } else { json!({ "metadata": {} }) };
            let payment = Payment { amount: int(session, "amount_total"), currency: text(session, "currency"), customer, email: Some(email), data: &data };
            payments::begin(work, &payment)
        }
    };
    Ok(payments::attempt(work, intent, card))
}

/// The invoice that `invoice_creation` asked for, paid.
fn bill(work: &mut Work<'_>, session: &mut Value, intent: &Value) -> Result<(), Refusal> {
    let asked = session["invoice_creation"].clone();
    if asked["enabled"] != true {
        return Ok(());
    }
    let sold = session["_line_items"].as_array().cloned().unwrap_or_default();
    let currency = text(session, "currency").to_owned();
    let line = |sold: &Value| Line {
        amount: int(sold, "amount_total"),
        currency: currency.clone(),
        description: text(sold, "description").to_owned(),
        price: sold["price"].clone(),
        quantity: int(sold, "quantity"),
        period: (work.now, work.now),
        item: None,
        proration: false,
    };
    let lines = sold.iter().map(line).collect();
    let data = &asked["invoice_data"];
    let (metadata, description) = (data["metadata"].clone(), data["description"].clone());
    let draft = Draft { customer: text(session, "customer"), currency: &currency, reason: "manual", lines, subscription: None, metadata, description };
    let invoice = invoices::draft(work, draft)?;
    let invoice = invoices::finalize(work, invoice, false)?;
    let invoice = invoices::paid(work, invoice, Some(intent));
    session["invoice"] = invoice["id"].clone();
    Ok(())
}

/// What a payment that was under way has come to.
pub fn settle(work: &mut Work<'_>, id: &str, succeeded: bool) -> Answer {
    let mut session = work.get("checkout.session", id, "id")?;
    let invoice = session["invoice"].as_str().and_then(|i| work.state.get(i)).cloned();
    let link = invoice.as_ref().and_then(|i| work.state.all("invoice_payment").find(|p| p["invoice"] == i["id"]).cloned());
    let intent = session["payment_intent"].as_str().or_else(|| link.as_ref().and_then(|l| l["payment"]["payment_intent"].as_str())).unwrap_or_default();
    let waiting = work.state.get(intent).filter(|i| i["status"] == "processing").cloned();
    let Some(waiting) = waiting.filter(|_| session["status"] == "complete") else {
        return Err(Refusal::invalid("No payment of this Checkout Session is under way."));
    };
    let intent = payments::settle(work, waiting, succeeded)?;
    if let Some(invoice) = invoice {
        let invoice = invoices::outcome(work, invoice, &intent)?;
        subscriptions::follow_invoice(work, &invoice)?;
    } else if succeeded {
        bill(work, &mut session, &intent)?;
    }
    session["payment_status"] = if succeeded { "paid" } else { "unpaid" }.into();
    work.made(if succeeded { "checkout.session.async_payment_succeeded" } else { "checkout.session.async_payment_failed" }, &session);
    Ok(session)
}
