//! Makes at Stripe what the price list says: a product and a price in each currency for every pack and plan, and the webhook endpoint.
//! Done again it changes nothing; a price that changed gets a new one, to which its lookup key moves.

use crate::{API_VERSION, Error, Pay, Result, currency};
use kiln_core::prices::{Interval, Prices};
use std::collections::{BTreeMap, HashMap};
use stripe_misc::webhook_endpoint::{
    CreateWebhookEndpoint, CreateWebhookEndpointEnabledEvents, ListWebhookEndpoint, UpdateWebhookEndpoint, UpdateWebhookEndpointEnabledEvents,
};
use stripe_product::price::{CreatePrice, CreatePriceRecurring, CreatePriceRecurringInterval, ListPrice, UpdatePrice};
use stripe_product::product::{CreateProduct, RetrieveProduct, UpdateProduct};

/// The events that the webhook endpoint must send.
pub const EVENTS: [&str; 18] = [
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
    "invoice.paid",
    "invoice.payment_failed",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.refund.updated",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
];

/// By what Stripe finds one of our prices: `kiln_pack_starter_inr`.
pub fn lookup_key(list: &str, id: &str, currency: &str) -> String {
    format!("kiln_{list}_{id}_{currency}")
}

/// The metadata in which a price says what it grants.
pub(crate) const MILLICREDITS: &str = "kiln_millicredits";

/// One thing that is sold.
struct Sold<'a> {
    list: &'static str,
    id: &'a str,
    title: &'a str,
    prices: &'a BTreeMap<String, i64>,
    interval: Option<Interval>,
    millicredits: i64,
}

impl Pay {
    /// Makes what is missing and says each thing that it did, one line each.
    pub async fn set_up(&self, prices: &Prices) -> Result<Vec<String>> {
        let mut done = Vec::new();
        let packs = prices.packs.iter().map(|pack| Sold {
            list: "pack",
            id: &pack.id,
            title: &pack.title,
            prices: &pack.prices,
            interval: None,
            millicredits: pack.millicredits,
        });
        let plans = prices.plans.iter().map(|plan| Sold {
            list: "plan",
            id: &plan.id,
            title: &plan.title,
            prices: &plan.prices,
            interval: Some(plan.interval),
            millicredits: plan.millicredits,
        });
        for sold in packs.chain(plans) {
            let product = self.set_up_product(&sold, &mut done).await?;
            for (code, amount) in sold.prices {
                self.set_up_price(&sold, &product, code, *amount, &mut done).await?;
            }
        }
        Ok(done)
    }

    async fn set_up_product(&self, sold: &Sold<'_>, done: &mut Vec<String>) -> Result<String> {
        // An id of our own: looking for it needs no search, and making it twice is refused.
        let id = format!("kiln_{}_{}", sold.list, sold.id);
        match self.ask(&RetrieveProduct::new(id.as_str())).await {
            Ok(product) if product.name == sold.title && product.active => {}
            Ok(_) => {
                self.ask(&UpdateProduct::new(id.as_str()).name(sold.title).active(true)).await?;
                done.push(format!("renamed product {id} to {:?}", sold.title));
            }
            Err(Error::Refused { status: 404, .. }) => {
                let metadata = HashMap::from([(format!("kiln_{}", sold.list), sold.id.to_owned())]);
                self.make(&CreateProduct::new(sold.title).id(id.as_str()).metadata(metadata), &format!("kiln-product-{id}")).await?;
                done.push(format!("made product {id}"));
            }
            Err(error) => return Err(error),
        }
        Ok(id)
    }

    async fn set_up_price(&self, sold: &Sold<'_>, product: &str, code: &str, amount: i64, done: &mut Vec<String>) -> Result<()> {
        let key = lookup_key(sold.list, sold.id, code);
        let found = self.ask(&ListPrice::new().lookup_keys(vec![key.clone()]).active(true)).await?.data.into_iter().next();
        let interval = |price: &stripe_shared::Price| price.recurring.as_ref().map(|recurring| recurring.interval.as_str().to_owned());
        let wanted = sold.interval.map(|interval| interval.as_str().to_owned());
        let grants = sold.millicredits.to_string();
        let same = |price: &stripe_shared::Price| {
            let costs = price.unit_amount == Some(amount) && price.currency.to_string() == code && interval(price) == wanted;
            costs && price.metadata.get(MILLICREDITS) == Some(&grants)
        };
        if found.as_ref().is_some_and(same) {
            return Ok(());
        }
        // With what it grants: a subscription that runs keeps its price, and that price's credits, when the list changes.
        let metadata = HashMap::from([(format!("kiln_{}", sold.list), sold.id.to_owned()), (MILLICREDITS.to_owned(), grants.clone())]);
        let mut request =
            CreatePrice::new(currency(code)).product(product).unit_amount(amount).lookup_key(key.as_str()).transfer_lookup_key(true).metadata(metadata);
        if let Some(interval) = sold.interval {
            request = request.recurring(CreatePriceRecurring::new(match interval {
                Interval::Month => CreatePriceRecurringInterval::Month,
                Interval::Year => CreatePriceRecurringInterval::Year,
            }));
        }
        // Which price it follows is part of the key: back to an earlier amount is a new price too.
        let before = found.as_ref().map_or("none", |price| price.id.as_str());
        self.make(&request, &format!("kiln-price-{key}-{amount}-{grants}-{before}")).await?;
        done.push(format!("made price {key}: {amount}"));
        if let Some(old) = found {
            // Subscriptions that run keep the price that they have.
            self.ask(&UpdatePrice::new(old.id.as_str()).active(false)).await?;
            done.push(format!("retired price {} of {key}", old.id));
        }
        Ok(())
    }

    /// The webhook endpoint at `url`, made if missing, with exactly our events. Its signing secret is told once, when it is made.
    pub async fn set_up_webhook(&self, url: &str) -> Result<(Vec<String>, Option<String>)> {
        let mut after: Option<String> = None;
        loop {
            let mut request = ListWebhookEndpoint::new().limit(100);
            if let Some(after) = &after {
                request = request.starting_after(after.as_str());
            }
            let page = self.ask(&request).await?;
            if let Some(found) = page.data.iter().find(|endpoint| endpoint.url == url) {
                return self.tend_webhook(found).await;
            }
            after = page.data.last().map(|endpoint| endpoint.id.to_string());
            if !page.has_more || after.is_none() {
                break;
            }
        }
        let events: Vec<CreateWebhookEndpointEnabledEvents> = EVENTS.iter().map(|name| parsed(name)).collect();
        let request = CreateWebhookEndpoint::new(events, url).api_version(stripe_shared::version::VERSION).description("Kiln");
        // Its secret is told in this answer alone: one that is lost must come again, and not a second endpoint. The key is of this run,
        // since an endpoint that was deleted is to be made anew.
        let made = self.make(&request, &format!("kiln-webhook-{:032x}", fastrand::u128(..))).await?;
        Ok((vec![format!("made webhook endpoint {} at {url}, version {API_VERSION}", made.id)], made.secret))
    }

    async fn tend_webhook(&self, found: &stripe_misc::WebhookEndpoint) -> Result<(Vec<String>, Option<String>)> {
        // One without a version sends the account's default, which changes under us.
        if found.api_version.as_deref() != Some(API_VERSION) {
            return Err(Error::NotSetUp(format!(
                "the webhook endpoint {} sends version {}; its version can't be changed: delete it and run this again",
                found.id,
                found.api_version.as_deref().unwrap_or("of the account's default")
            )));
        }
        let same = found.status == "enabled" && EVENTS.iter().all(|event| found.enabled_events.iter().any(|enabled| enabled == event));
        if same {
            return Ok((vec![], None));
        }
        let events: Vec<UpdateWebhookEndpointEnabledEvents> = EVENTS.iter().map(|name| parsed(name)).collect();
        self.ask(&UpdateWebhookEndpoint::new(found.id.as_str()).enabled_events(events).disabled(false)).await?;
        Ok((vec![format!("webhook endpoint {} now sends our events", found.id)], None))
    }
}

fn parsed<T: std::str::FromStr<Err = std::convert::Infallible>>(name: &str) -> T {
    name.parse().unwrap_or_else(|never| match never {})
}
