//! Refunds, whole or in part, of a charge. What was refunded already or is in dispute is refused.

use serde_json::{Value, json};

use super::{balance, list, money};
use crate::{
    error::{Answer, Refusal},
    params::Params,
    work::{Work, int, text},
};

pub fn create(work: &mut Work<'_>, mut params: Params) -> Answer {
    work.room()?;
    let (charge, intent) = (params.filled("charge")?, params.filled("payment_intent")?);
    let amount = params.int_in("amount", 1, i64::MAX)?;
    let reason = params.one_of("reason", &["duplicate", "fraudulent", "requested_by_customer"])?;
    let metadata = params.metadata("metadata", &Value::Null)?;
    params.done()?;
    let mut charge = match (charge, intent) {
        (Some(_), Some(_)) => return Err(Refusal::field("charge", "You may only specify one of these parameters: charge, payment_intent.")),
        (None, None) => {
            return Err(
                Refusal::invalid("One of the following params should be provided for this request: payment_intent or charge.").code("parameter_missing")
            );
        }
        (Some(id), None) => work.get("charge", &id, "charge")?,
        (None, Some(id)) => {
            let intent = work.get("payment_intent", &id, "payment_intent")?;
            let charge = intent["latest_charge"].as_str().filter(|_| intent["status"] == "succeeded");
            let charge =
                charge.ok_or_else(|| Refusal::field("payment_intent", format!("This PaymentIntent ({id}) does not have a successful charge to refund.")))?;
            work.get("charge", charge, "payment_intent")?
        }
    };
    let id = text(&charge, "id").to_owned();
    let currency = text(&charge, "currency").to_owned();
    let left = int(&charge, "amount_captured") - int(&charge, "amount_refunded");
    if charge["status"] != "succeeded" {
        return Err(Refusal::field("charge", format!("Charge {id} is {}, not succeeded: it can't be refunded.", text(&charge, "status"))));
    }
    if left == 0 {
        return Err(Refusal::invalid(format!("Charge {id} has already been refunded.")).code("charge_already_refunded"));
    }
    if charge["disputed"] == true && charge["_dispute_open"] != false {
        return Err(Refusal::invalid(format!("Charge {id} has been charged back; cannot issue a refund.")).code("charge_disputed"));
    }
    let amount = amount.unwrap_or(left);
    if amount > left {
        let message =
            format!("Refund amount ({}) is greater than unrefunded amount on charge ({})", money::spoken(amount, &currency), money::spoken(left, &currency));
        return Err(Refusal::field("amount", message));
    }
    let refund_id = work.id("re");
    let transaction = balance::transaction(work, "refund", &refund_id, -amount, 0, &currency);
    let refund = json!({
        "id": refund_id, "object": "refund", "amount": amount, "balance_transaction": transaction["id"], "charge": id, "created": work.now,
        "currency": currency, "customer": charge["customer"],
        "destination_details": { "type": "card", "card": { "reference": null, "reference_status": "pending", "reference_type": "acquirer_reference_number", "type": "refund" } },
        "metadata": metadata, "payment_intent": charge["payment_intent"], "payment_method": charge["payment_method"], "reason": reason,
        "receipt_number": null, "source_transfer_reversal": null, "status": "succeeded", "transfer_reversal": null,
    });
    work.made("refund.created", &refund);
    charge["amount_refunded"] = (int(&charge, "amount_refunded") + amount).into();
    charge["refunded"] = (amount == left).into();
    work.changed("charge.refunded", &charge);
    work.emit("charge.refund.updated", &refund);
    Ok(refund)
}

pub fn update(work: &mut Work<'_>, id: &str, mut params: Params) -> Answer {
    let mut refund = work.get("refund", id, "id")?;
    refund["metadata"] = params.metadata("metadata", &refund["metadata"])?;
    params.done()?;
    work.changed("refund.updated", &refund);
    Ok(refund)
}

pub fn list(work: &mut Work<'_>, mut params: Params) -> Answer {
    let (charge, intent) = (params.filled("charge")?, params.filled("payment_intent")?);
    list::page(work, "refund", "/v1/refunds", params, |r| {
        charge.as_deref().is_none_or(|c| r["charge"] == c) && intent.as_deref().is_none_or(|i| r["payment_intent"] == i)
    })
}

/// The bank sends a refund back: the money is the seller's again.
pub fn fail(work: &mut Work<'_>, id: &str) -> Answer {
    let mut refund = work.get("refund", id, "id")?;
    if refund["status"] == "failed" {
        return Err(Refusal::invalid("This refund has failed already."));
    }
    let mut charge = work.get("charge", text(&refund, "charge"), "charge")?;
    let back = balance::transaction(work, "refund_failure", id, int(&refund, "amount"), 0, text(&refund, "currency"));
    refund["status"] = "failed".into();
    refund["failure_reason"] = "lost_or_stolen_card".into();
    refund["failure_balance_transaction"] = back["id"].clone();
    charge["amount_refunded"] = (int(&charge, "amount_refunded") - int(&refund, "amount")).into();
    charge["refunded"] = false.into();
    work.changed("refund.updated", &refund);
    work.emit("refund.failed", &refund);
    work.emit("charge.refund.updated", &refund);
    work.changed("charge.updated", &charge);
    Ok(refund)
}
