//! Payment intents, charges and the payment methods behind them. They are made by Checkout and by invoices; the API only reads them.

use serde_json::{Value, json};

use super::{balance, list};
use crate::{
    error::{Answer, Refusal},
    params::Params,
    work::{Work, text},
};

/// How the card of a payment fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Card {
    Ok,
    Declined,
    /// The money comes later, or doesn't.
    Async,
}

impl Card {
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "ok" => Some(Self::Ok),
            "declined" => Some(Self::Declined),
            "async" => Some(Self::Async),
            _ => None,
        }
    }
}

/// What is paid, and for whom.
pub struct Payment<'a> {
    pub amount: i64,
    pub currency: &'a str,
    pub customer: &'a Value,
    pub email: Option<&'a str>,
    /// `metadata` and some texts, as `payment_intent_data` gives them.
    pub data: &'a Value,
}

/// A new intent, not yet tried.
pub fn begin(work: &mut Work<'_>, payment: &Payment<'_>) -> Value {
    let id = work.id("pi");
    let secret = work.id("secret");
    let intent = json!({
        "id": id, "object": "payment_intent", "amount": payment.amount, "amount_capturable": 0, "amount_details": { "tip": {} }, "amount_received": 0,
        "application": null, "application_fee_amount": null, "automatic_payment_methods": null, "canceled_at": null, "cancellation_reason": null,
        "capture_method": "automatic_async", "client_secret": format!("{id}_{secret}"), "confirmation_method": "automatic", "created": work.now,
        "currency": payment.currency, "customer": payment.customer, "customer_account": null, "description": payment.data["description"],
        "last_payment_error": null, "latest_charge": null, "livemode": false, "metadata": payment.data["metadata"], "next_action": null,
        "on_behalf_of": null, "payment_method": null, "payment_method_configuration_details": null, "payment_method_options": { "card": { "installments": null, "mandate_options": null, "network": null, "request_three_d_secure": "automatic" } },
        "payment_method_types": ["card"], "processing": null, "receipt_email": payment.data["receipt_email"], "review": null,
        "setup_future_usage": payment.data["setup_future_usage"], "shipping": null, "source": null,
        "statement_descriptor": payment.data["statement_descriptor"], "statement_descriptor_suffix": payment.data["statement_descriptor_suffix"],
        "status": "requires_payment_method", "transfer_data": null, "transfer_group": null, "_email": payment.email,
    });
    work.made("payment_intent.created", &intent);
    intent
}

/// One try with a card: the intent afterwards. A declined one stays open for another.
pub fn attempt(work: &mut Work<'_>, mut intent: Value, card: Card) -> Value {
    let method = payment_method(work, &intent, card);
    let mut charge = charge(work, &intent, &method);
    intent["latest_charge"] = charge["id"].clone();
    match card {
        Card::Ok => {
            intent["payment_method"] = method["id"].clone();
            capture(work, &mut charge);
            work.made("charge.succeeded", &charge);
            received(work, &mut intent);
        }
        Card::Async => {
            intent["payment_method"] = method["id"].clone();
            intent["status"] = "processing".into();
            charge["status"] = "pending".into();
            work.made("charge.pending", &charge);
            work.made("payment_intent.processing", &intent);
        }
        Card::Declined => {
            fail_charge(&mut charge, "generic_decline");
            work.made("charge.failed", &charge);
            refused(work, &mut intent, &charge, &method);
        }
    }
    intent
}

/// What a payment that was under way has come to: the intent afterwards.
pub fn settle(work: &mut Work<'_>, mut intent: Value, succeeded: bool) -> Result<Value, Refusal> {
    let mut charge = work.get("charge", text(&intent, "latest_charge"), "charge")?;
    if succeeded {
        capture(work, &mut charge);
        work.made("charge.succeeded", &charge);
        received(work, &mut intent);
    } else {
        let method = work.get("payment_method", text(&charge, "payment_method"), "payment_method")?;
        fail_charge(&mut charge, "insufficient_funds");
        work.made("charge.failed", &charge);
        refused(work, &mut intent, &charge, &method);
    }
    Ok(intent)
}

fn received(work: &mut Work<'_>, intent: &mut Value) {
    intent["status"] = "succeeded".into();
    intent["amount_received"] = intent["amount"].clone();
    intent["last_payment_error"] = Value::Null;
    work.made("payment_intent.succeeded", intent);
}

fn refused(work: &mut Work<'_>, intent: &mut Value, charge: &Value, method: &Value) {
    intent["status"] = "requires_payment_method".into();
    intent["payment_method"] = Value::Null;
    intent["last_payment_error"] = json!({
        "type": "card_error", "code": "card_declined", "decline_code": charge["outcome"]["reason"], "charge": charge["id"],
        "doc_url": "https://stripe.com/docs/error-codes/card-declined", "message": "Your card was declined.", "payment_method": crate::work::public(method),
    });
    work.made("payment_intent.payment_failed", intent);
}

fn capture(work: &mut Work<'_>, charge: &mut Value) {
    let (id, amount, currency) = (text(charge, "id").to_owned(), crate::work::int(charge, "amount"), text(charge, "currency").to_owned());
    let transaction = balance::transaction(work, "charge", &id, amount, balance::charge_fee(amount), &currency);
    charge["status"] = "succeeded".into();
    charge["paid"] = true.into();
    charge["captured"] = true.into();
    charge["amount_captured"] = amount.into();
    charge["balance_transaction"] = transaction["id"].clone();
    charge["receipt_url"] = format!("{}/receipt/{id}", work.config.base_url).into();
}

fn fail_charge(charge: &mut Value, decline: &str) {
    charge["status"] = "failed".into();
    charge["paid"] = false.into();
    charge["failure_code"] = "card_declined".into();
    charge["failure_message"] = "Your card was declined.".into();
    charge["outcome"] = json!({
        "advice_code": null, "network_advice_code": null, "network_decline_code": null, "network_status": "declined_by_network", "reason": decline,
        "risk_level": "normal", "risk_score": 20, "seller_message": "The bank did not return any further details with this decline.", "type": "issuer_declined",
    });
}

fn payment_method(work: &mut Work<'_>, intent: &Value, card: Card) -> Value {
    let last4 = if card == Card::Declined { "0002" } else { "4242" };
    let method = json!({
        "id": work.id("pm"), "object": "payment_method", "allow_redisplay": "limited", "billing_details": billing(intent), "created": work.now,
        "customer": intent["customer"], "customer_account": null, "livemode": false, "metadata": {}, "type": "card",
        "card": {
            "brand": "visa", "checks": { "address_line1_check": null, "address_postal_code_check": null, "cvc_check": "pass" }, "country": "US",
            "display_brand": "visa", "exp_month": 12, "exp_year": 2034, "fingerprint": "PlayMoneyCard000", "funding": "credit", "generated_from": null,
            "last4": last4, "networks": { "available": ["visa"], "preferred": null }, "regulated_status": "unregulated",
            "three_d_secure_usage": { "supported": true }, "wallet": null,
        },
    });
    work.put(&method);
    method
}

fn billing(intent: &Value) -> Value {
    let nowhere = json!({ "city": null, "country": null, "line1": null, "line2": null, "postal_code": null, "state": null });
    json!({ "address": nowhere, "email": intent["_email"], "name": null, "phone": null, "tax_id": null })
}

fn charge(work: &mut Work<'_>, intent: &Value, method: &Value) -> Value {
    let card = &method["card"];
    json!({
        "id": work.id("ch"), "object": "charge", "amount": intent["amount"], "amount_captured": 0, "amount_refunded": 0, "application": null,
        "application_fee": null, "application_fee_amount": null, "balance_transaction": null, "billing_details": method["billing_details"],
        "calculated_statement_descriptor": "PLAY MONEY", "captured": false, "created": work.now, "currency": intent["currency"],
        "customer": intent["customer"], "description": intent["description"], "disputed": false, "failure_balance_transaction": null, "failure_code": null,
        "failure_message": null, "fraud_details": {}, "livemode": false, "metadata": intent["metadata"], "on_behalf_of": null,
        "outcome": {
            "advice_code": null, "network_advice_code": null, "network_decline_code": null, "network_status": "approved_by_network", "reason": null,
            "risk_level": "normal", "risk_score": 20, "seller_message": "Payment complete.", "type": "authorized",
        },
        "paid": false, "payment_intent": intent["id"], "payment_method": method["id"],
        "payment_method_details": { "type": "card", "card": {
            "amount_authorized": intent["amount"], "brand": "visa", "checks": card["checks"], "country": "US", "exp_month": 12, "exp_year": 2034,
            "fingerprint": card["fingerprint"], "funding": "credit", "installments": null, "last4": card["last4"], "mandate": null, "network": "visa",
            "three_d_secure": null, "wallet": null,
        } },
        "presentment_details": null, "radar_options": {}, "receipt_email": intent["receipt_email"], "receipt_number": null, "receipt_url": null,
        "refunded": false, "review": null, "shipping": null, "source": null, "source_transfer": null, "statement_descriptor": null,
        "statement_descriptor_suffix": null, "status": "pending", "transfer_data": null, "transfer_group": null,
    })
}

pub fn intent(work: &mut Work<'_>, id: &str, mut params: Params) -> Answer {
    params.filled("client_secret")?;
    params.done()?;
    work.get("payment_intent", id, "id")
}

/// Intents or charges, by customer (and charges by their intent).
pub fn list(work: &mut Work<'_>, kind: &str, mut params: Params) -> Answer {
    let customer = params.filled("customer")?;
    let intent = if kind == "charge" { params.filled("payment_intent")? } else { None };
    list::page(work, kind, &format!("/v1/{kind}s"), params, |v| {
        customer.as_deref().is_none_or(|c| v["customer"] == c) && intent.as_deref().is_none_or(|i| v["payment_intent"] == i)
    })
}
