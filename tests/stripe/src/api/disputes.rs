//! Disputes. A test or the laptop's user opens and closes them; the API reads them, and can give one up.

use serde_json::{Value, json};

use super::{balance, list, money};
use crate::{
    error::{Answer, Refusal},
    params::Params,
    work::{Work, int, text},
};

const A_WEEK_S: i64 = 7 * 24 * 3600;

/// A buyer disputes a charge, whole unless an amount is given. The money is withdrawn at once.
pub fn open(work: &mut Work<'_>, charge: &str, amount: Option<i64>, reason: &str) -> Answer {
    work.room()?;
    let mut charge = work.get("charge", charge, "charge")?;
    let (whole, currency) = (int(&charge, "amount_captured"), text(&charge, "currency").to_owned());
    let amount = amount.unwrap_or(whole);
    if charge["status"] != "succeeded" || charge["disputed"] == true {
        return Err(Refusal::field("charge", "Only a charge that succeeded and was never disputed can be."));
    }
    if !(1..=whole).contains(&amount) {
        return Err(Refusal::field("amount", format!("A dispute is over 0.01 to {}.", money::spoken(whole, &currency))));
    }
    let id = work.id("du");
    let nothing = [
        "access_activity_log",
        "billing_address",
        "cancellation_policy",
        "cancellation_policy_disclosure",
        "cancellation_rebuttal",
        "customer_communication",
        "customer_email_address",
        "customer_name",
        "customer_purchase_ip",
        "customer_signature",
        "duplicate_charge_documentation",
        "duplicate_charge_explanation",
        "duplicate_charge_id",
        "product_description",
        "receipt",
        "refund_policy",
        "refund_policy_disclosure",
        "refund_refusal_explanation",
        "service_date",
        "service_documentation",
        "shipping_address",
        "shipping_carrier",
        "shipping_date",
        "shipping_documentation",
        "shipping_tracking_number",
        "uncategorized_file",
        "uncategorized_text",
    ];
    let mut evidence: serde_json::Map<String, Value> = nothing.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
    evidence.insert("enhanced_evidence".into(), json!({}));
    let mut dispute = json!({
        "id": id, "object": "dispute", "amount": amount, "balance_transactions": [], "charge": charge["id"], "created": work.now, "currency": currency,
        "enhanced_eligibility_types": [], "evidence": evidence,
        "evidence_details": { "due_by": work.now + A_WEEK_S, "enhanced_eligibility": {}, "has_evidence": false, "past_due": false, "submission_count": 0 },
        "is_charge_refundable": false, "livemode": false, "metadata": {}, "network_reason_code": "10.4", "payment_intent": charge["payment_intent"],
        "payment_method_details": { "type": "card", "card": { "brand": "visa", "case_type": "chargeback", "network": "visa", "network_reason_code": "10.4" } },
        "reason": reason, "status": "needs_response",
    });
    charge["disputed"] = true.into();
    charge["_dispute_open"] = true.into();
    work.changed("charge.updated", &charge);
    work.made("charge.dispute.created", &dispute);
    let withdrawn = balance::transaction(work, "adjustment", &id, -amount, balance::DISPUTE_FEE, &currency);
    dispute["balance_transactions"] = json!([withdrawn]);
    work.changed("charge.dispute.funds_withdrawn", &dispute);
    Ok(dispute)
}

/// The bank decides. Won: the money comes back.
pub fn close(work: &mut Work<'_>, id: &str, won: bool) -> Answer {
    let mut dispute = work.get("dispute", id, "id")?;
    if ["won", "lost"].contains(&text(&dispute, "status")) {
        return Err(Refusal::invalid(format!("This dispute is already closed: it was {}.", text(&dispute, "status"))));
    }
    let mut charge = work.get("charge", text(&dispute, "charge"), "charge")?;
    dispute["status"] = if won { "won" } else { "lost" }.into();
    work.changed("charge.dispute.closed", &dispute);
    if won {
        let (amount, currency) = (int(&dispute, "amount"), text(&dispute, "currency").to_owned());
        let back = balance::transaction(work, "adjustment", id, amount, 0, &currency);
        if let Some(transactions) = dispute["balance_transactions"].as_array_mut() {
            transactions.push(back);
        }
        work.changed("charge.dispute.funds_reinstated", &dispute);
        charge["_dispute_open"] = false.into();
        work.put(&charge);
    }
    Ok(dispute)
}

/// The seller gives up.
pub fn accept(work: &mut Work<'_>, id: &str, params: Params) -> Answer {
    params.done()?;
    close(work, id, false)
}

pub fn list(work: &mut Work<'_>, mut params: Params) -> Answer {
    let (charge, intent) = (params.filled("charge")?, params.filled("payment_intent")?);
    list::page(work, "dispute", "/v1/disputes", params, |d| {
        charge.as_deref().is_none_or(|c| d["charge"] == c) && intent.as_deref().is_none_or(|i| d["payment_intent"] == i)
    })
}
