//! Checkout: the page of Stripe's where a customer pays, for a pack, a plan, or a guest's job; and refunds.

use crate::setup::lookup_key;
use crate::{Error, Pay, Result, Told, currency};
use kiln_core::prices::Interval;
use kiln_core::time::Millis;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use stripe_checkout::checkout_session::{
    CreateCheckoutSession, CreateCheckoutSessionInvoiceCreation, CreateCheckoutSessionLineItems, CreateCheckoutSessionLineItemsPriceData,
    CreateCheckoutSessionLineItemsPriceDataRecurring, CreateCheckoutSessionLineItemsPriceDataRecurringInterval, CreateCheckoutSessionPaymentIntentData,
    CreateCheckoutSessionSubscriptionData, ExpireCheckoutSession, ProductData, RetrieveCheckoutSession,
};
use stripe_core::customer::CreateCustomer;
use stripe_core::refund::CreateRefund;
use stripe_product::price::ListPrice;
use stripe_shared::{CheckoutSessionMode, CheckoutSessionStatus};

/// What is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// Something of the price list: `pack` or `plan`, and its id. The price that `scripts/stripe-setup` made is taken; where there is
    /// none, one of the same amount is made for this sale.
    Listed { list: &'a str, id: &'a str, title: &'a str, amount: i64, currency: &'a str },
    /// A price of this one sale, in the currency's smallest unit.
    Once { title: &'a str, amount: i64, currency: &'a str },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Paid once.
    Payment,
    /// Paid each period.
    Subscription { interval: Interval },
}

/// A checkout to be made.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub account: &'a str,
    /// Our order, which comes back with every event.
    pub order: &'a str,
    pub line: Line<'a>,
    pub mode: Mode,
    /// Stripe's customer, where the account has one.
    pub customer: Option<&'a str>,
    /// Else the address, which the page then shows.
    pub email: Option<&'a str>,
    pub success_url: &'a str,
    pub cancel_url: &'a str,
    /// Milliseconds since 1970; Stripe takes from 30 minutes to 24 hours ahead.
    pub expires_at: Millis,
}

/// A checkout that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    pub id: String,
    pub url: String,
    pub amount: Option<i64>,
    pub currency: Option<String>,
}

impl Pay {
    /// Makes a checkout; asked again for the same order it gives the same one.
    pub async fn checkout(&self, wanted: &Wanted<'_>) -> Result<Checkout> {
        let metadata: HashMap<String, String> = [("kiln_account", wanted.account), ("kiln_order", wanted.order)].map(|(k, v)| (k.into(), v.into())).into();
        let mut item = CreateCheckoutSessionLineItems::new();
        item.quantity = Some(1);
        match wanted.line {
            Line::Listed { list, id, title, amount, currency } => match self.price_of(&lookup_key(list, id, currency)).await {
                Ok(price) => item.price = Some(price),
                Err(Error::NotSetUp(_)) => item.price_data = Some(price_once(wanted.mode, Some((list, id)), title, amount, currency)),
                Err(error) => return Err(error),
            },
            Line::Once { title, amount, currency } => item.price_data = Some(price_once(wanted.mode, None, title, amount, currency)),
        }
        let mut request = CreateCheckoutSession::new()
            .line_items(vec![item])
            .client_reference_id(wanted.order)
            .metadata(metadata.clone())
            .success_url(wanted.success_url)
            .cancel_url(wanted.cancel_url)
            .expires_at(wanted.expires_at / 1000);
        request = match wanted.mode {
            Mode::Payment => {
                let mut intent = CreateCheckoutSessionPaymentIntentData::new();
                intent.metadata = Some(metadata);
                let invoice = CreateCheckoutSessionInvoiceCreation::new(true);
                request.mode(CheckoutSessionMode::Payment).payment_intent_data(intent).invoice_creation(invoice)
            }
            Mode::Subscription { .. } => {
                let mut subscription = CreateCheckoutSessionSubscriptionData::new();
                let mut metadata = metadata;
                if let Line::Listed { id, .. } = wanted.line {
                    metadata.insert("kiln_plan".into(), id.into());
                }
                subscription.metadata = Some(metadata);
                request.mode(CheckoutSessionMode::Subscription).subscription_data(subscription)
            }
        };
        request = match (wanted.customer, wanted.email) {
            (Some(customer), _) => request.customer(customer),
            (None, Some(email)) => request.customer_email(email),
            (None, None) => request,
        };
        let made = self.make(&request, &format!("kiln-checkout-{}", wanted.order)).await?;
        let url = made.url.ok_or_else(|| Error::Silent("a checkout without an address".into()))?;
        Ok(Checkout { id: made.id.to_string(), url, amount: made.amount_total, currency: made.currency.map(|code| code.to_string()) })
    }

    /// What has become of a checkout, as its event would tell it; and whether it may still be paid: its page is open, or a slow payment
    /// is on its way.
    pub async fn checkout_now(&self, session: &str) -> Result<(Told, bool)> {
        let found = self.ask(&RetrieveCheckoutSession::new(session)).await?;
        let may_come = found.status != Some(CheckoutSessionStatus::Expired);
        Ok((crate::told::checkout(&found), may_come))
    }

    /// Closes a checkout that is not paid, so that it can't be any more; one that is over already is no error.
    pub async fn expire_checkout(&self, session: &str) -> Result<()> {
        match self.ask(&ExpireCheckoutSession::new(session)).await {
            Ok(_) => Ok(()),
            Err(Error::Refused { status: 400, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Stripe's customer for an account; asked again it is the same.
    pub async fn customer(&self, account: &str, email: Option<&str>, name: Option<&str>) -> Result<String> {
        let mut request = CreateCustomer::new().metadata(HashMap::from([("kiln_account".to_owned(), account.to_owned())]));
        if let Some(email) = email {
            request = request.email(email);
        }
        if let Some(name) = name {
            request = request.name(name);
        }
        // What is sent is part of the key: the address may have changed since an earlier try, and one key takes one request.
        let mut sent = DefaultHasher::new();
        (email, name).hash(&mut sent);
        Ok(self.make(&request, &format!("kiln-customer-{account}-{:x}", sent.finish())).await?.id.to_string())
    }

    /// Gives all of a payment's money back, once: asked again it is the same refund, and a payment that is refunded already is no error.
    /// `Some` names why Stripe never will: the payer disputes it, say.
    pub async fn refund(&self, payment: &str, order: &str) -> Result<Option<String>> {
        let request = CreateRefund::new().payment_intent(payment).metadata(HashMap::from([("kiln_order".to_owned(), order.to_owned())]));
        match self.make(&request, &format!("kiln-refund-{order}")).await {
            Ok(_) => Ok(None),
            Err(Error::Refused { code, .. }) if code == "charge_already_refunded" => Ok(None),
            Err(Error::Refused { code, .. }) if matches!(code.as_str(), "charge_disputed" | "charge_not_refundable") => Ok(Some(code)),
            Err(error) => Err(error),
        }
    }

    /// Stripe's id of one of our prices.
    pub(crate) async fn price_of(&self, lookup_key: &str) -> Result<String> {
        let price = match self.ask(&ListPrice::new().lookup_keys(vec![lookup_key.to_owned()]).active(true)).await {
            Ok(found) => found.data.into_iter().next(),
            Err(Error::Refused { status: 404, .. }) => None,
            Err(error) => return Err(error),
        };
        price.map(|price| price.id.to_string()).ok_or_else(|| Error::NotSetUp(format!("Stripe has no price {lookup_key}; run scripts/stripe-setup")))
    }
}

/// A price for one sale.
fn price_once(mode: Mode, listed: Option<(&str, &str)>, title: &str, amount: i64, code: &str) -> CreateCheckoutSessionLineItemsPriceData {
    let mut product = ProductData::new(title);
    product.metadata = listed.map(|(list, id)| HashMap::from([(format!("kiln_{list}"), id.to_owned())]));
    let mut price = CreateCheckoutSessionLineItemsPriceData::new(currency(code));
    price.unit_amount = Some(amount);
    price.product_data = Some(product);
    if let Mode::Subscription { interval } = mode {
        price.recurring = Some(CreateCheckoutSessionLineItemsPriceDataRecurring::new(match interval {
            Interval::Month => CreateCheckoutSessionLineItemsPriceDataRecurringInterval::Month,
            Interval::Year => CreateCheckoutSessionLineItemsPriceDataRecurringInterval::Year,
        }));
    }
    price
}
