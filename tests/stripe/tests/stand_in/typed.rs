//! What async-stripe's types make of the stand-in: every answer and every event must be read without loss of a required field.

use std::collections::BTreeSet;

use serde_json::json;
use stripe::{Client, ClientBuilder, IdempotencyKey, RequestStrategy, StripeError, StripeRequest};
use stripe_billing::{
    billing_portal_configuration::ListBillingPortalConfiguration,
    billing_portal_session::CreateBillingPortalSession,
    invoice::{ListInvoice, PayInvoice, RetrieveInvoice},
    invoice_payment::ListInvoicePayment,
    subscription::{
        CancelSubscription, ListSubscription, RetrieveSubscription, UpdateSubscription, UpdateSubscriptionItems, UpdateSubscriptionProrationBehavior,
    },
    subscription_item::ListSubscriptionItem,
};
use stripe_checkout::{
    CheckoutSessionId, CheckoutSessionMode, CheckoutSessionPaymentStatus, CheckoutSessionStatus,
    checkout_session::{
        CreateCheckoutSession, CreateCheckoutSessionInvoiceCreation, CreateCheckoutSessionLineItems, CreateCheckoutSessionPaymentIntentData,
        CreateCheckoutSessionSubscriptionData, ExpireCheckoutSession, ListCheckoutSession, ListLineItemsCheckoutSession, RetrieveCheckoutSession,
    },
};
use stripe_core::{
    balance_transaction::RetrieveBalanceTransaction,
    charge::{ListCharge, RetrieveCharge},
    customer::{CreateCustomer, DeleteCustomer, ListCustomer, RetrieveCustomer, UpdateCustomer},
    dispute::{ListDispute, RetrieveDispute},
    event::{ListEvent, RetrieveEvent},
    payment_intent::{ListPaymentIntent, RetrievePaymentIntent},
    refund::{CreateRefund, ListRefund, RetrieveRefund},
};
use stripe_misc::webhook_endpoint::{
    CreateWebhookEndpoint, CreateWebhookEndpointEnabledEvents, DeleteWebhookEndpoint, ListWebhookEndpoint, UpdateWebhookEndpoint,
};
use stripe_product::{
    price,
    price::{CreatePriceProductData, CreatePriceRecurring, CreatePriceRecurringInterval, ListPrice, RetrievePrice},
    product::{CreateProduct, ListProduct, UpdateProduct},
};
use stripe_types::Currency;
use stripe_webhook::{EventObject, Webhook};

use crate::common::{Hook, KEY, Running, start};

fn client(stripe: &Running) -> Client {
    ClientBuilder::new(KEY).url(&stripe.url).build().unwrap()
}

fn one(price: &str) -> Vec<CreateCheckoutSessionLineItems> {
    let mut item = CreateCheckoutSessionLineItems::new();
    item.price = Some(price.to_owned());
    item.quantity = Some(2);
    vec![item]
}

async fn pay(stripe: &Running, session: &CheckoutSessionId, card: &str) {
    stripe.controlled(&format!("checkout/{session}/pay"), json!({ "card": card, "email": "ada@example.com" })).await;
}

fn expand(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|p| (*p).to_owned()).collect()
}

#[tokio::test]
async fn async_stripe_reads_every_answer_of_a_purchase() {
    let stripe = start().await;
    let api = client(&stripe);
    let product = CreateProduct::new("100 credits").metadata([("credits".to_owned(), "100".to_owned())]).send(&api).await.unwrap();
    let created = price::CreatePrice::new(Currency::USD).product(product.id.as_str()).unit_amount(500).lookup_key("pack").send(&api).await.unwrap();
    let found = ListPrice::new().lookup_keys(expand(&["pack"])).expand(expand(&["data.product", "data.currency_options"])).send(&api).await.unwrap();
    assert_eq!(found.data[0].id, created.id);
    assert_eq!(found.data[0].product.as_object().unwrap().name, "100 credits");
    RetrievePrice::new(created.id.as_str()).send(&api).await.unwrap();
    UpdateProduct::new(product.id.as_str()).description("Credits").send(&api).await.unwrap();
    assert_eq!(ListProduct::new().send(&api).await.unwrap().data.len(), 1);

    let customer = CreateCustomer::new().email("ada@example.com").send(&api).await.unwrap();
    UpdateCustomer::new(customer.id.as_str()).name("Ada").send(&api).await.unwrap();
    assert_eq!(ListCustomer::new().email("ada@example.com").send(&api).await.unwrap().data.len(), 1);

    let mut data = CreateCheckoutSessionPaymentIntentData::new();
    data.metadata = Some([("account".to_owned(), "acc_1".to_owned())].into());
    let create = CreateCheckoutSession::new()
        .mode(CheckoutSessionMode::Payment)
        .line_items(one(created.id.as_str()))
        .customer(customer.id.as_str())
        .client_reference_id("acc_1")
        .payment_intent_data(data)
        .invoice_creation(CreateCheckoutSessionInvoiceCreation::new(true))
        .success_url("http://127.0.0.1:1/done?s={CHECKOUT_SESSION_ID}")
        .cancel_url("http://127.0.0.1:1/back");
    let key = || RequestStrategy::Idempotent(IdempotencyKey::new("buy-1").unwrap());
    let session = create.customize().request_strategy(key()).send(&api).await.unwrap();
    assert_eq!((session.status, session.amount_total), (Some(CheckoutSessionStatus::Open), Some(1_000)));
    let again = create.customize().request_strategy(key()).send(&api).await.unwrap();
    assert_eq!(again.id, session.id);

    pay(&stripe, &session.id, "ok").await;
    let paths = expand(&["line_items", "payment_intent.latest_charge.balance_transaction", "customer", "invoice"]);
    let paid = RetrieveCheckoutSession::new(session.id.clone()).expand(paths).send(&api).await.unwrap();
    assert_eq!(paid.payment_status, CheckoutSessionPaymentStatus::Paid);
    assert_eq!(paid.line_items.unwrap().data[0].amount_total, 1_000);
    let intent = paid.payment_intent.unwrap().into_object().unwrap();
    assert_eq!(intent.metadata["account"], "acc_1");
    let charge = intent.latest_charge.unwrap().into_object().unwrap();
    assert!(charge.paid && charge.captured);
    let transaction = charge.balance_transaction.unwrap().into_object().unwrap();
    assert_eq!(RetrieveBalanceTransaction::new(transaction.id.clone()).send(&api).await.unwrap().amount, 1_000);
    assert_eq!(ListLineItemsCheckoutSession::new(session.id.clone()).send(&api).await.unwrap().data.len(), 1);
    assert_eq!(ListCheckoutSession::new().payment_intent(intent.id.as_str()).send(&api).await.unwrap().data.len(), 1);
    assert_eq!(RetrievePaymentIntent::new(intent.id.clone()).send(&api).await.unwrap().amount_received, 1_000);
    ListPaymentIntent::new().customer(customer.id.as_str()).send(&api).await.unwrap();

    let refund = CreateRefund::new().payment_intent(intent.id.as_str()).amount(400).send(&api).await.unwrap();
    assert_eq!(refund.amount, 400);
    RetrieveRefund::new(refund.id.clone()).send(&api).await.unwrap();
    stripe.controlled(&format!("refunds/{}/fail", refund.id), json!({})).await;
    assert_eq!(ListRefund::new().charge(charge.id.as_str()).send(&api).await.unwrap().data[0].status.as_deref(), Some("failed"));
    let dispute = stripe.controlled("disputes", json!({ "charge": charge.id.as_str() })).await;
    let listed = ListDispute::new().charge(charge.id.as_str()).send(&api).await.unwrap();
    assert_eq!(listed.data[0].id.as_str(), dispute["id"].as_str().unwrap());
    stripe.controlled(&format!("disputes/{}/close", listed.data[0].id), json!({ "outcome": "won" })).await;
    assert_eq!(RetrieveDispute::new(listed.data[0].id.clone()).send(&api).await.unwrap().balance_transactions.len(), 2);
    assert!(RetrieveCharge::new(charge.id.clone()).expand(expand(&["refunds"])).send(&api).await.unwrap().disputed);
    ListCharge::new().payment_intent(intent.id.as_str()).send(&api).await.unwrap();

    let declined = create.send(&api).await.unwrap();
    pay(&stripe, &declined.id, "declined").await;
    let intent = RetrieveCheckoutSession::new(declined.id.clone()).expand(expand(&["payment_intent"])).send(&api).await.unwrap().payment_intent.unwrap();
    assert_eq!(intent.as_object().unwrap().last_payment_error.as_ref().unwrap().decline_code.as_deref(), Some("generic_decline"));
    assert_eq!(ExpireCheckoutSession::new(declined.id).send(&api).await.unwrap().status, Some(CheckoutSessionStatus::Expired));

    DeleteCustomer::new(customer.id.as_str()).send(&api).await.unwrap();
    RetrieveCustomer::new(customer.id.as_str()).send(&api).await.unwrap();
}

#[tokio::test]
async fn async_stripe_reads_every_answer_of_a_subscription() {
    let stripe = start().await;
    let api = client(&stripe);
    let plan = async |amount: i64| {
        let recurring = CreatePriceRecurring::new(CreatePriceRecurringInterval::Month);
        price::CreatePrice::new(Currency::USD)
            .product_data(CreatePriceProductData::new("Plan"))
            .unit_amount(amount)
            .recurring(recurring)
            .send(&api)
            .await
            .unwrap()
    };
    let (small, large) = (plan(1_900).await, plan(4_900).await);
    let mut data = CreateCheckoutSessionSubscriptionData::new();
    data.metadata = Some([("account".to_owned(), "acc_1".to_owned())].into());
    let create = CreateCheckoutSession::new().mode(CheckoutSessionMode::Subscription).line_items(one(small.id.as_str())).subscription_data(data);
    let session = create.success_url("http://127.0.0.1:1/done").send(&api).await.unwrap();
    pay(&stripe, &session.id, "ok").await;
    let paid = RetrieveCheckoutSession::new(session.id).expand(expand(&["subscription.latest_invoice", "invoice.payments"])).send(&api).await.unwrap();
    let subscription = paid.subscription.unwrap().into_object().unwrap();
    assert_eq!(subscription.metadata["account"], "acc_1");
    let item = &subscription.items.data[0];
    assert!(item.current_period_end > item.current_period_start);
    let mut change = UpdateSubscriptionItems::new();
    change.id = Some(item.id.to_string());
    change.price = Some(large.id.to_string());
    let update = UpdateSubscription::new(subscription.id.clone()).items(vec![change]).proration_behavior(UpdateSubscriptionProrationBehavior::AlwaysInvoice);
    assert_eq!(update.send(&api).await.unwrap().items.data[0].price.id, large.id);
    assert_eq!(ListSubscriptionItem::new(subscription.id.as_str()).send(&api).await.unwrap().data.len(), 1);
    stripe.controlled(&format!("subscriptions/{}/renew", subscription.id), json!({ "card": "declined" })).await;
    let behind = RetrieveSubscription::new(subscription.id.clone()).expand(expand(&["customer", "latest_invoice"])).send(&api).await.unwrap();
    let open = behind.latest_invoice.unwrap().into_object().unwrap();
    assert_eq!(open.amount_remaining, 9_800);
    let invoice = open.id.unwrap();
    PayInvoice::new(invoice.clone()).send(&api).await.unwrap();
    let read = RetrieveInvoice::new(invoice.clone()).expand(expand(&["payments"])).send(&api).await.unwrap();
    let parent = read.parent.unwrap().subscription_details.unwrap();
    assert_eq!(parent.subscription.id(), &subscription.id);
    assert_eq!(read.payments.unwrap().data.len(), 1);
    assert_eq!(ListInvoicePayment::new().invoice(invoice.as_str()).send(&api).await.unwrap().data.len(), 1);
    let customer = behind.customer.id().clone();
    assert_eq!(ListInvoice::new().customer(customer.as_str()).send(&api).await.unwrap().data.len(), 3);
    assert_eq!(ListSubscription::new().customer(customer.as_str()).send(&api).await.unwrap().data.len(), 1);

    let portal = CreateBillingPortalSession::new().customer(customer.as_str()).return_url("http://127.0.0.1:1/account").send(&api).await.unwrap();
    assert!(portal.url.starts_with(&stripe.url));
    assert_eq!(ListBillingPortalConfiguration::new().send(&api).await.unwrap().data.len(), 1);
    assert!(UpdateSubscription::new(subscription.id.clone()).cancel_at_period_end(true).send(&api).await.unwrap().cancel_at_period_end);
    CancelSubscription::new(subscription.id).send(&api).await.unwrap();
}

#[tokio::test]
async fn async_stripe_reads_endpoints_events_and_errors() {
    let stripe = start().await;
    let api = client(&stripe);
    let endpoint = CreateWebhookEndpoint::new(vec![CreateWebhookEndpointEnabledEvents::All], "http://127.0.0.1:1/hook").send(&api).await.unwrap();
    assert!(endpoint.secret.unwrap().starts_with("whsec_"));
    UpdateWebhookEndpoint::new(endpoint.id.clone()).disabled(true).send(&api).await.unwrap();
    assert_eq!(ListWebhookEndpoint::new().send(&api).await.unwrap().data[0].status, "disabled");
    DeleteWebhookEndpoint::new(endpoint.id).send(&api).await.unwrap();
    stripe.paid().await;
    let events = ListEvent::new().limit(100).send(&api).await.unwrap();
    RetrieveEvent::new(events.data[0].id.clone()).send(&api).await.unwrap();

    let missing = RetrieveCustomer::new("cus_none").send(&api).await.unwrap_err();
    let StripeError::Stripe(error, status) = missing else { panic!("{missing}") };
    assert_eq!((status, error.param.as_deref()), (404, Some("id")));
    let stranger = ClientBuilder::new("sk_test_wrong").url(&stripe.url).build().unwrap();
    let StripeError::Stripe(_, status) = ListEvent::new().send(&stranger).await.unwrap_err() else { panic!("Stripe's error is expected") };
    assert_eq!(status, 401);
    for kind in ["error500", "rate_limit", "lock"] {
        stripe.controlled("faults", json!({ "kind": kind })).await;
        let refused = ListCustomer::new().send(&api).await.unwrap_err();
        assert!(matches!(refused, StripeError::Stripe(..)), "{kind}: {refused}");
    }
}

/// Every kind of event that the stand-in makes.
const TYPES: [&str; 39] = [
    "billing_portal.configuration.created",
    "billing_portal.session.created",
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.dispute.funds_reinstated",
    "charge.dispute.funds_withdrawn",
    "charge.failed",
    "charge.pending",
    "charge.refund.updated",
    "charge.refunded",
    "charge.succeeded",
    "charge.updated",
    "checkout.session.async_payment_failed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.completed",
    "checkout.session.expired",
    "customer.created",
    "customer.deleted",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.updated",
    "customer.updated",
    "invoice.created",
    "invoice.finalized",
    "invoice.paid",
    "invoice.payment_failed",
    "invoice.payment_succeeded",
    "invoice_payment.paid",
    "payment_intent.created",
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.succeeded",
    "price.created",
    "price.updated",
    "product.created",
    "product.updated",
    "refund.created",
    "refund.failed",
    "refund.updated",
];

#[tokio::test]
async fn every_event_carries_a_signature_and_a_payload_that_async_stripe_takes() {
    let (stripe, hook) = (start().await, Hook::start().await);
    let secret = hook.register(&stripe, &["*"]).await;
    everything(&stripe).await;
    stripe.idle().await;
    let letters = hook.letters.lock().unwrap().clone();
    let mut seen = BTreeSet::new();
    for (signature, body) in &letters {
        let event = Webhook::construct_event(body, signature, &secret).unwrap_or_else(|error| panic!("{error}: {body}"));
        assert!(!matches!(event.data.object, EventObject::Unknown(_)), "{body}");
        seen.insert(event.type_.to_string());
        assert!(Webhook::construct_event(&body.replacen("evt_", "evt-", 1), signature, &secret).is_err(), "a changed body is refused");
    }
    let missing: Vec<_> = TYPES.iter().filter(|t| !seen.contains(**t)).collect();
    assert!(missing.is_empty(), "{missing:?} never came; what came: {seen:?}");
    assert!(stripe.deliveries().await.iter().all(|d| d["state"] == "delivered"));
}

/// Makes each kind of event at least once.
async fn everything(stripe: &Running) {
    let api = client(stripe);
    let plan = stripe.monthly("1900").await;
    stripe.ok("POST", &format!("/v1/prices/{plan}"), &[("nickname", "P")]).await;
    let product = CreateProduct::new("Thing").send(&api).await.unwrap();
    UpdateProduct::new(product.id.as_str()).name("Other thing").send(&api).await.unwrap();
    let customer = CreateCustomer::new().email("ada@example.com").send(&api).await.unwrap();
    UpdateCustomer::new(customer.id.as_str()).name("Ada").send(&api).await.unwrap();
    DeleteCustomer::new(customer.id.as_str()).send(&api).await.unwrap();

    let paid = stripe.paid().await;
    let intent = paid["payment_intent"].as_str().unwrap();
    let refund = CreateRefund::new().payment_intent(intent).amount(100).send(&api).await.unwrap();
    stripe.controlled(&format!("refunds/{}/fail", refund.id), json!({})).await;
    let dispute = stripe.controlled("disputes", json!({ "payment_intent": intent })).await;
    stripe.controlled(&format!("disputes/{}/close", dispute["id"].as_str().unwrap()), json!({ "outcome": "won" })).await;

    for (outcome, card) in [("succeeded", "declined"), ("failed", "async")] {
        let session = stripe.checkout(&[("invoice_creation[enabled]", "true")]).await;
        let path = format!("checkout/{}", session["id"].as_str().unwrap());
        if card == "declined" {
            stripe.controlled(&format!("{path}/pay"), json!({ "card": card })).await;
        }
        stripe.controlled(&format!("{path}/pay"), json!({ "card": "async" })).await;
        stripe.controlled(&format!("{path}/settle"), json!({ "outcome": outcome })).await;
    }
    let open = stripe.checkout(&[]).await;
    stripe.ok("POST", &format!("/v1/checkout/sessions/{}/expire", open["id"].as_str().unwrap()), &[]).await;

    let subscribed = stripe.subscribed(&plan).await;
    let subscription = subscribed["subscription"].as_str().unwrap();
    stripe.controlled(&format!("subscriptions/{subscription}/renew"), json!({ "card": "declined" })).await;
    CreateBillingPortalSession::new().customer(subscribed["customer"].as_str().unwrap()).send(&api).await.unwrap();
    CancelSubscription::new(subscription).send(&api).await.unwrap();
}
