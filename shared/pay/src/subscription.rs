//! Plans that run, their invoices, and the portal where a customer sees to them.

use crate::setup::{MILLICREDITS, lookup_key};
use crate::{Error, Pay, Result};
use kiln_core::billing::SoldPlan;
use kiln_core::time::Millis;
use stripe_billing::billing_portal_session::CreateBillingPortalSession;
use stripe_billing::invoice::{ListInvoice, RetrieveInvoice};
use stripe_billing::subscription::{
    RetrieveSubscription, UpdateSubscription, UpdateSubscriptionItems, UpdateSubscriptionPaymentBehavior, UpdateSubscriptionProrationBehavior,
};
use stripe_product::price::RetrievePrice;

/// A subscription as Stripe has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanState {
    pub id: String,
    pub account: Option<String>,
    pub customer: String,
    /// Of our price list.
    pub plan: String,
    /// The plan that it was begun with, which a price made for that one sale stands for.
    pub begun: Option<String>,
    pub status: String,
    pub currency: String,
    pub period_end: Option<Millis>,
    pub ends_at_period_end: bool,
    item: String,
    /// Stripe's id of the newest invoice: with each step up there is another.
    pub latest_invoice: Option<String>,
}

/// An invoice, as its customer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoiceView {
    pub id: String,
    pub number: Option<String>,
    pub status: String,
    pub total: i64,
    pub currency: String,
    pub created_at: Millis,
    pub url: Option<String>,
    pub pdf: Option<String>,
}

impl Pay {
    /// What Stripe knows of a subscription now, whatever an event's copy said.
    pub async fn plan_state(&self, subscription: &str) -> Result<PlanState> {
        let found = self.ask(&RetrieveSubscription::new(subscription)).await?;
        let item = found.items.data.first().ok_or_else(|| Error::Silent("a subscription without an item".into()))?;
        // A price made for one sale has no plan of its own; then the subscription says which it was begun with.
        let plan = item.price.metadata.get("kiln_plan").or_else(|| found.metadata.get("kiln_plan")).cloned().unwrap_or_default();
        Ok(PlanState {
            id: found.id.to_string(),
            account: found.metadata.get("kiln_account").cloned(),
            customer: found.customer.id().to_string(),
            plan,
            begun: found.metadata.get("kiln_plan").cloned(),
            status: found.status.as_str().to_owned(),
            currency: found.currency.to_string(),
            period_end: Some(item.current_period_end * 1000),
            ends_at_period_end: found.cancel_at_period_end || found.cancel_at.is_some(),
            item: item.id.to_string(),
            latest_invoice: found.latest_invoice.as_ref().and_then(|invoice| invoice.id().as_ref().map(ToString::to_string)),
        })
    }

    /// Changes the plan. Up: at once, the difference is paid now. Down: what was paid for stays, the next invoice is the smaller one.
    pub async fn change_plan(&self, state: &PlanState, plan: &str, up: bool, key: &str) -> Result<()> {
        let mut item = UpdateSubscriptionItems::new();
        item.id = Some(state.item.clone());
        item.price = Some(self.price_of(&lookup_key("plan", plan, &state.currency)).await?);
        let mut request = UpdateSubscription::new(state.id.as_str()).items(vec![item]).cancel_at_period_end(false);
        request = if up {
            // Refused as a whole when the card does not pay: else the plan would be the dear one, unpaid.
            request
                .proration_behavior(UpdateSubscriptionProrationBehavior::AlwaysInvoice)
                .payment_behavior(UpdateSubscriptionPaymentBehavior::ErrorIfIncomplete)
        } else {
            request.proration_behavior(UpdateSubscriptionProrationBehavior::None)
        };
        self.make(&request, key).await.map(|_| ())
    }

    /// Lets a plan end with its period, or go on after all.
    pub async fn end_plan(&self, subscription: &str, end: bool) -> Result<()> {
        self.ask(&UpdateSubscription::new(subscription).cancel_at_period_end(end)).await.map(|_| ())
    }

    /// The plan that a price of Stripe's stands for, if any, and what it costs and grants by that price.
    pub async fn plan_of_price(&self, price: &str) -> Result<(Option<String>, Option<SoldPlan>)> {
        let found = self.ask(&RetrievePrice::new(price)).await?;
        let millicredits = found.metadata.get(MILLICREDITS).and_then(|text| text.parse().ok());
        let sold = found.unit_amount.zip(millicredits).map(|(amount, millicredits)| SoldPlan { amount, millicredits });
        Ok((found.metadata.get("kiln_plan").cloned(), sold))
    }

    /// Stripe's name of the payment that paid an invoice.
    pub async fn payment_of_invoice(&self, invoice: &str) -> Result<Option<String>> {
        let found = self.ask(&RetrieveInvoice::new(invoice).expand(vec!["payments".to_owned()])).await?;
        let payments = found.payments.map(|list| list.data).unwrap_or_default();
        Ok(payments.iter().find(|payment| payment.status == "paid").and_then(crate::told::payment_name))
    }

    /// A customer's invoices, newest first, and whether there are more.
    pub async fn invoices(&self, customer: &str, limit: u32, after: Option<&str>) -> Result<(Vec<InvoiceView>, bool)> {
        let mut request = ListInvoice::new().customer(customer).limit(i64::from(limit));
        if let Some(after) = after {
            request = request.starting_after(after);
        }
        let found = self.ask(&request).await?;
        let items = found.data.into_iter().map(|invoice| InvoiceView {
            id: invoice.id.map(|id| id.to_string()).unwrap_or_default(),
            number: invoice.number,
            status: invoice.status.map(|status| status.as_str().to_owned()).unwrap_or_default(),
            total: invoice.total,
            currency: invoice.currency.to_string(),
            created_at: invoice.created * 1000,
            url: invoice.hosted_invoice_url,
            pdf: invoice.invoice_pdf,
        });
        Ok((items.collect(), found.has_more))
    }

    /// The address of the page where a customer sees to cards, invoices and the plan.
    pub async fn portal(&self, customer: &str, return_url: &str) -> Result<String> {
        Ok(self.ask(&CreateBillingPortalSession::new().customer(customer).return_url(return_url)).await?.url)
    }
}
