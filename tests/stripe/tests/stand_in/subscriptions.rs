//! Subscriptions over time: what each change costs, and what the clock does.

use serde_json::{Value, json};

use crate::common::{Hook, Running, id, start};

async fn invoices(stripe: &Running, subscription: &str) -> Vec<Value> {
    stripe.ok("GET", "/v1/invoices", &[("subscription", subscription), ("limit", "100")]).await["data"].as_array().unwrap().clone()
}

/// A subscription at 20 dollars, its item, and half of its period over.
async fn halfway(stripe: &Running) -> (String, String) {
    let plan = stripe.monthly("2000").await;
    let subscription = stripe.subscribed(&plan).await["subscription"].as_str().unwrap().to_owned();
    let item = stripe.ok("GET", &format!("/v1/subscriptions/{subscription}"), &[]).await["items"]["data"][0].clone();
    let period = item["current_period_end"].as_i64().unwrap() - item["current_period_start"].as_i64().unwrap();
    stripe.controlled("clock", json!({ "advance_s": period / 2 })).await;
    (subscription, id(&item).to_owned())
}

/// Within a second's worth of what half a period costs.
fn about(amount: &Value, wanted: i64) -> bool {
    (amount.as_i64().unwrap() - wanted).abs() <= 1
}

#[tokio::test]
async fn an_upgrade_invoices_the_difference_for_the_rest_of_the_period() {
    let stripe = start().await;
    let (subscription, item) = halfway(&stripe).await;
    let larger = stripe.monthly("5000").await;
    let form = [("items[0][id]", item.as_str()), ("items[0][price]", larger.as_str()), ("proration_behavior", "always_invoice")];
    stripe.ok("POST", &format!("/v1/subscriptions/{subscription}"), &form).await;
    let invoice = invoices(&stripe, &subscription).await.remove(0);
    assert!(about(&invoice["amount_paid"], 1_500), "{}", invoice["amount_paid"]);
    let lines = invoice["lines"]["data"].as_array().unwrap();
    assert!(about(&lines[0]["amount"], -1_000) && about(&lines[1]["amount"], 2_500));
    assert_eq!(lines[0]["parent"]["subscription_item_details"]["proration"], true);
}

#[tokio::test]
async fn a_downgrade_waits_for_the_next_invoice_or_becomes_credit() {
    let stripe = start().await;
    let (subscription, item) = halfway(&stripe).await;
    let smaller = stripe.monthly("1000").await;
    let form = [("items[0][id]", item.as_str()), ("items[0][price]", smaller.as_str())];
    stripe.ok("POST", &format!("/v1/subscriptions/{subscription}"), &form).await;
    assert_eq!(invoices(&stripe, &subscription).await.len(), 1, "nothing is invoiced yet");
    stripe.controlled(&format!("subscriptions/{subscription}/renew"), json!({})).await;
    let cycle = invoices(&stripe, &subscription).await.remove(0);
    assert!(about(&cycle["amount_paid"], 500), "10 dollars less the 5 that were left over: {}", cycle["amount_paid"]);

    let (subscription, item) = halfway(&stripe).await;
    let form = [("items[0][id]", item.as_str()), ("items[0][price]", smaller.as_str()), ("proration_behavior", "always_invoice")];
    stripe.ok("POST", &format!("/v1/subscriptions/{subscription}"), &form).await;
    let credit = invoices(&stripe, &subscription).await.remove(0);
    assert_eq!((credit["status"].as_str(), credit["amount_due"].as_i64()), (Some("paid"), Some(0)));
    assert!(about(&credit["ending_balance"], -500));
    stripe.controlled(&format!("subscriptions/{subscription}/renew"), json!({})).await;
    let cycle = invoices(&stripe, &subscription).await.remove(0);
    assert!(about(&cycle["amount_paid"], 500) && about(&cycle["starting_balance"], -500));
}

#[tokio::test]
async fn without_proration_only_the_next_period_costs_more() {
    let stripe = start().await;
    let (subscription, item) = halfway(&stripe).await;
    let larger = stripe.monthly("5000").await;
    let form = [("items[0][id]", item.as_str()), ("items[0][price]", larger.as_str()), ("proration_behavior", "none")];
    stripe.ok("POST", &format!("/v1/subscriptions/{subscription}"), &form).await;
    stripe.controlled(&format!("subscriptions/{subscription}/renew"), json!({})).await;
    let all = invoices(&stripe, &subscription).await;
    assert_eq!(all.iter().map(|i| i["amount_paid"].as_i64().unwrap()).collect::<Vec<_>>(), [5_000, 2_000]);
}

#[tokio::test]
async fn an_upgrade_that_must_be_paid_changes_nothing_when_the_card_is_declined() {
    let stripe = start().await;
    let (subscription, item) = halfway(&stripe).await;
    let before = stripe.ok("GET", &format!("/v1/subscriptions/{subscription}"), &[]).await;
    stripe.controlled(&format!("customers/{}/card", before["customer"].as_str().unwrap()), json!({ "card": "declined" })).await;
    let larger = stripe.monthly("5000").await;
    let form = [
        ("items[0][id]", item.as_str()),
        ("items[0][price]", larger.as_str()),
        ("proration_behavior", "always_invoice"),
        ("payment_behavior", "error_if_incomplete"),
    ];
    let said = stripe.call("POST", &format!("/v1/subscriptions/{subscription}"), &form).await;
    assert_eq!((said.status, said.error("type")), (402, "card_error"));
    assert_eq!(stripe.ok("GET", &format!("/v1/subscriptions/{subscription}"), &[]).await, before);
    assert_eq!(invoices(&stripe, &subscription).await.len(), 1);
}

#[tokio::test]
async fn the_clock_renews_each_period_once_and_ends_what_was_to_end() {
    let (stripe, hook) = (start().await, Hook::start().await);
    let plan = stripe.monthly("1900").await;
    let (goes_on, ends) = (stripe.subscribed(&plan).await, stripe.subscribed(&plan).await);
    let ends = ends["subscription"].as_str().unwrap();
    stripe.ok("POST", &format!("/v1/subscriptions/{ends}"), &[("cancel_at_period_end", "true")]).await;
    hook.register(&stripe, &["invoice.paid", "customer.subscription.deleted"]).await;
    stripe.controlled("clock", json!({ "advance_s": 93 * 86_400 })).await;
    stripe.idle().await;
    let mut types = hook.types();
    types.sort();
    assert_eq!(types, ["customer.subscription.deleted", "invoice.paid", "invoice.paid", "invoice.paid"]);
    assert_eq!(invoices(&stripe, goes_on["subscription"].as_str().unwrap()).await.len(), 4);
    assert_eq!(stripe.ok("GET", &format!("/v1/subscriptions/{ends}"), &[]).await["status"], "canceled");
}

#[tokio::test]
async fn a_failed_renewal_is_past_due_then_paid_or_ended() {
    let (stripe, hook) = (start().await, Hook::start().await);
    hook.register(&stripe, &["invoice.payment_failed", "customer.subscription.deleted", "customer.subscription.updated"]).await;
    let plan = stripe.monthly("1900").await;
    let subscription = stripe.subscribed(&plan).await["subscription"].as_str().unwrap().to_owned();
    let path = |what: &str| format!("subscriptions/{subscription}/{what}");
    assert_eq!(stripe.controlled(&path("renew"), json!({ "card": "declined" })).await["status"], "past_due");
    assert_eq!(stripe.controlled(&path("retry"), json!({ "card": "declined", "last": "unpaid" })).await["status"], "unpaid");
    assert_eq!(stripe.controlled(&path("retry"), json!({ "card": "ok" })).await["status"], "active");
    assert_eq!(stripe.control(&path("retry"), json!({})).await.status, 400, "nothing is open");
    stripe.controlled(&path("renew"), json!({ "card": "declined" })).await;
    let ended = stripe.controlled(&path("retry"), json!({ "card": "declined", "last": "canceled" })).await;
    assert_eq!((ended["status"].as_str(), ended["cancellation_details"]["reason"].as_str()), (Some("canceled"), Some("payment_failed")));
    assert_eq!(stripe.control(&path("renew"), json!({})).await.status, 400);
    stripe.idle().await;
    let events = hook.events();
    let failed: Vec<i64> =
        events.iter().filter(|e| e["type"] == "invoice.payment_failed").map(|e| e["data"]["object"]["attempt_count"].as_i64().unwrap()).collect();
    assert_eq!(failed.len(), 4);
    let past_due = events.iter().find(|e| e["data"]["previous_attributes"]["status"] == "active").unwrap();
    assert_eq!(past_due["data"]["object"]["status"], "past_due", "an update says what was before");
}

#[tokio::test]
async fn a_subscription_s_first_payment_can_be_declined_or_come_later() {
    let stripe = start().await;
    let plan = stripe.monthly("1900").await;
    let form =
        [("mode", "subscription"), ("line_items[0][price]", plan.as_str()), ("line_items[0][quantity]", "1"), ("success_url", "http://127.0.0.1:1/done")];
    let session = stripe.ok("POST", "/v1/checkout/sessions", &form).await;
    let pay = format!("checkout/{}/pay", id(&session));
    let declined = stripe.controlled(&pay, json!({ "card": "declined" })).await;
    assert_eq!((declined["status"].as_str(), &declined["subscription"]), (Some("open"), &Value::Null));
    let later = stripe.controlled(&pay, json!({ "card": "async" })).await;
    assert_eq!((later["status"].as_str(), later["payment_status"].as_str()), (Some("complete"), Some("unpaid")));
    let invoice = format!("/v1/invoices/{}", later["invoice"].as_str().unwrap());
    assert_eq!(stripe.ok("GET", &invoice, &[]).await["status"], "open");
    let settled = stripe.controlled(&format!("checkout/{}/settle", id(&session)), json!({ "outcome": "failed" })).await;
    assert_eq!(settled["payment_status"], "unpaid");
    let subscription = format!("/v1/subscriptions/{}", later["subscription"].as_str().unwrap());
    assert_eq!(stripe.ok("GET", &subscription, &[]).await["status"], "past_due");
}
