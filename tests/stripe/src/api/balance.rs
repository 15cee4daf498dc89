//! Balance transactions: what a charge, refund or dispute does to the seller's balance, with Stripe's usual fees.

use serde_json::{Value, json};

use super::money;
use crate::work::Work;

/// Fees of a charge: 2.9 % and 30 of the smallest unit.
pub fn charge_fee(amount: i64) -> i64 {
    (amount * 29 + 500) / 1000 + 30
}

/// Of a dispute, kept also when it is won.
pub const DISPUTE_FEE: i64 = 1_500;

/// Makes one. `kind`: `charge`, `refund`, `adjustment`.
pub fn transaction(work: &mut Work<'_>, kind: &str, source: &str, amount: i64, fee: i64, currency: &str) -> Value {
    let details = if fee == 0 {
        json!([])
    } else {
        json!([{ "amount": fee, "application": null, "currency": currency, "description": "Processing fees", "type": "stripe_fee" }])
    };
    let category = if source.starts_with("du_") { "dispute" } else { kind };
    let transaction = json!({
        "id": work.id("txn"), "object": "balance_transaction", "amount": amount, "available_on": work.now, "balance_type": "payments", "created": work.now,
        "currency": currency, "description": format!("{category} of {}", money::spoken(amount, currency)), "exchange_rate": null, "fee": fee,
        "fee_details": details, "net": amount - fee, "reporting_category": category, "source": source, "status": "available", "type": kind,
    });
    work.put(&transaction);
    transaction
}
