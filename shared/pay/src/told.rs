//! What Stripe tells by webhook: verified by signature and age, then in our words. Only what changes credits or plans is read; all else
//! is known by its type alone.

use kiln_core::billing::{Claim, Standing};
use stripe_shared::{CheckoutSession, CheckoutSessionMode, CheckoutSessionPaymentStatus, Dispute, DisputeStatus, InvoicePayment, Refund, Subscription};
use stripe_webhook::{EventObject, Webhook, WebhookError};

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// For the log alone: what is applied once is the business object, not the event.
    pub id: String,
    pub kind: String,
    pub told: Told,
}

/// What an event says.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// A checkout was completed, or its slow payment came. `paid` is what decides.
    Checkout {
        session: String,
        account: Option<String>,
        order: Option<String>,
        paid: bool,
        subscription: bool,
        /// In the currency's smallest unit.
        amount: Option<i64>,
        currency: Option<String>,
        payment: Option<String>,
    },
    /// A checkout can't be paid any more.
    CheckoutOver {
        account: Option<String>,
        order: Option<String>,
    },
    InvoicePaid(Box<Invoice>),
    InvoiceFailed {
        subscription: Option<String>,
        failed: FailedPayment,
    },
    /// A refund or dispute of a payment.
    Claim {
        id: String,
        payment: Option<String>,
        claim: Claim,
    },
    /// A subscription changed in some way; ask what it is now.
    Subscription {
        id: String,
        account: Option<String>,
    },
    Other,
}

/// A payment of a plan's that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedPayment {
    pub amount: i64,
    pub currency: String,
    /// When the service tries again; none when it won't.
    pub next_try_at: Option<kiln_core::time::Millis>,
}

/// An invoice that was paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    pub id: String,
    pub account: Option<String>,
    /// None for the invoice of a single purchase, which its checkout credits.
    pub subscription: Option<String>,
    pub currency: String,
    pub amount_paid: i64,
    pub total: i64,
    pub subtotal: i64,
    pub lines: Vec<InvoiceLine>,
    /// Whether all lines came with the event.
    pub complete: bool,
    pub payment: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoiceLine {
    /// Stripe's id of the price.
    pub price: Option<String>,
    pub amount: i64,
    pub prorated: bool,
}

/// Why a webhook's body is not an event that can be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Untold {
    /// Not signed by our secret.
    BadSignature,
    /// Signed, but more than five minutes ago (or ahead): perhaps a replay.
    BadAge,
    /// Validly signed and not readable: it must not be lost.
    Unreadable(String),
}

/// Verifies and reads a webhook's body. `now` in seconds since 1970.
pub fn read(body: &str, signature: &str, secret: &str, now: i64) -> Result<Event, Untold> {
    let event = Webhook::construct_event_with_timestamp(body, signature, secret, now).map_err(|error| match error {
        WebhookError::BadParse(why) => Untold::Unreadable(why),
        WebhookError::BadTimestamp(_) => Untold::BadAge,
        WebhookError::BadKey | WebhookError::BadHeader(_) | WebhookError::BadSignature => Untold::BadSignature,
    })?;
    let told = match event.data.object {
        EventObject::CheckoutSessionCompleted(session) | EventObject::CheckoutSessionAsyncPaymentSucceeded(session) => checkout(&session),
        EventObject::CheckoutSessionExpired(session) | EventObject::CheckoutSessionAsyncPaymentFailed(session) => {
            Told::CheckoutOver { account: meta(&session, "kiln_account"), order: meta(&session, "kiln_order") }
        }
        EventObject::InvoicePaid(invoice) => Told::InvoicePaid(Box::new(self::invoice(&invoice))),
        EventObject::InvoicePaymentFailed(invoice) => {
            let failed = FailedPayment {
                amount: invoice.amount_due,
                currency: invoice.currency.to_string(),
                next_try_at: invoice.next_payment_attempt.map(|at| at * 1000),
            };
            Told::InvoiceFailed { subscription: self::invoice(&invoice).subscription, failed }
        }
        EventObject::RefundCreated(refund)
        | EventObject::RefundUpdated(refund)
        | EventObject::RefundFailed(refund)
        | EventObject::ChargeRefundUpdated(refund) => of_refund(&refund),
        EventObject::ChargeDisputeCreated(dispute)
        | EventObject::ChargeDisputeUpdated(dispute)
        | EventObject::ChargeDisputeClosed(dispute)
        | EventObject::ChargeDisputeFundsWithdrawn(dispute)
        | EventObject::ChargeDisputeFundsReinstated(dispute) => of_dispute(&dispute),
        EventObject::CustomerSubscriptionCreated(subscription)
        | EventObject::CustomerSubscriptionUpdated(subscription)
        | EventObject::CustomerSubscriptionDeleted(subscription) => of_subscription(&subscription),
        _ => Told::Other,
    };
    Ok(Event { id: event.id.to_string(), kind: event.type_.as_str().to_owned(), told })
}

fn meta(session: &CheckoutSession, key: &str) -> Option<String> {
    session.metadata.as_ref().and_then(|metadata| metadata.get(key)).cloned()
}

pub(crate) fn checkout(session: &CheckoutSession) -> Told {
    Told::Checkout {
        session: session.id.to_string(),
        account: meta(session, "kiln_account"),
        order: meta(session, "kiln_order"),
        paid: session.payment_status == CheckoutSessionPaymentStatus::Paid,
        subscription: session.mode == CheckoutSessionMode::Subscription,
        amount: session.amount_total,
        currency: session.currency.as_ref().map(ToString::to_string),
        payment: session.payment_intent.as_ref().map(|intent| intent.id().to_string()),
    }
}

fn invoice(invoice: &stripe_shared::Invoice) -> Invoice {
    let parent = invoice.parent.as_ref().and_then(|parent| parent.subscription_details.as_ref());
    let lines = invoice.lines.data.iter().map(|line| {
        let parent = line.parent.as_ref();
        let of_item = parent.and_then(|parent| parent.subscription_item_details.as_ref()).is_some_and(|item| item.proration);
        let of_invoice_item = parent.and_then(|parent| parent.invoice_item_details.as_ref()).is_some_and(|item| item.proration);
        let price = line.pricing.as_ref().and_then(|pricing| pricing.price_details.as_ref()).map(|details| details.price.id().to_string());
        InvoiceLine { price, amount: line.amount, prorated: of_item || of_invoice_item }
    });
    let payments = invoice.payments.as_ref().map(|list| list.data.as_slice()).unwrap_or_default();
    Invoice {
        id: invoice.id.as_ref().map(ToString::to_string).unwrap_or_default(),
        account: parent.and_then(|parent| parent.metadata.as_ref()).and_then(|metadata| metadata.get("kiln_account")).cloned(),
        subscription: parent.map(|parent| parent.subscription.id().to_string()),
        currency: invoice.currency.to_string(),
        amount_paid: invoice.amount_paid,
        total: invoice.total,
        subtotal: invoice.subtotal,
        lines: lines.collect(),
        complete: !invoice.lines.has_more,
        // Of a payment that failed there is one too; none here has the caller ask.
        payment: payments.iter().filter(|payment| payment.status == "paid").find_map(payment_name),
    }
}

pub(crate) fn payment_name(payment: &InvoicePayment) -> Option<String> {
    let intent = payment.payment.payment_intent.as_ref().map(|intent| intent.id().to_string());
    intent.or_else(|| payment.payment.charge.as_ref().map(|charge| charge.id().to_string()))
}

fn of_refund(refund: &Refund) -> Told {
    let standing = match refund.status.as_deref() {
        Some("succeeded") => Standing::Gone,
        Some("failed" | "canceled") => Standing::Kept,
        _ => Standing::Pending,
    };
    let payment = refund.payment_intent.as_ref().map(|intent| intent.id().to_string());
    let payment = payment.or_else(|| refund.charge.as_ref().map(|charge| charge.id().to_string()));
    Told::Claim { id: refund.id.to_string(), payment, claim: Claim { amount: refund.amount, standing } }
}

fn of_dispute(dispute: &Dispute) -> Told {
    let standing = match dispute.status {
        DisputeStatus::Lost => Standing::Gone,
        DisputeStatus::Won => Standing::Kept,
        // A warning is a question: no money has moved. Nor is its end an answer for good, should the same dispute go on.
        DisputeStatus::WarningNeedsResponse | DisputeStatus::WarningUnderReview | DisputeStatus::WarningClosed => return Told::Other,
        // Prevented either by blocking it, which moves nothing, or by giving the payer the money: the money says which.
        DisputeStatus::Prevented => match dispute.balance_transactions.iter().map(|moved| moved.amount).sum::<i64>() {
            ..0 => Standing::Gone,
            _ if dispute.balance_transactions.is_empty() => return Told::Other,
            _ => Standing::Kept,
        },
        _ => Standing::Pending,
    };
    let payment = dispute.payment_intent.as_ref().map(|intent| intent.id().to_string());
    let payment = payment.or_else(|| Some(dispute.charge.id().to_string()));
    Told::Claim { id: dispute.id.to_string(), payment, claim: Claim { amount: dispute.amount, standing } }
}

fn of_subscription(subscription: &Subscription) -> Told {
    Told::Subscription { id: subscription.id.to_string(), account: subscription.metadata.get("kiln_account").cloned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_test";

    fn signed(body: &str, at: i64) -> String {
        Webhook::generate_test_header(body, SECRET, Some(at))
    }

    #[test]
    fn a_signature_of_another_secret_or_another_time_is_refused() {
        let body = r#"{"id":"evt_1","object":"event","type":"customer.created"}"#;
        let header = signed(body, 1_000);
        assert_eq!(read(body, &header, "whsec_other", 1_000), Err(Untold::BadSignature));
        assert_eq!(read(&format!("{body} "), &header, SECRET, 1_000), Err(Untold::BadSignature));
        assert_eq!(read(body, "", SECRET, 1_000), Err(Untold::BadSignature));
        assert_eq!(read(body, "t=x,v1=00", SECRET, 1_000), Err(Untold::BadSignature));
        assert_eq!(read(body, &header, SECRET, 1_301), Err(Untold::BadAge));
        assert_eq!(read(body, &header, SECRET, 699), Err(Untold::BadAge));
    }

    /// The header is what npm's `stripe` 23.0.1 made of this body: `webhooks.generateTestHeaderString`.
    #[test]
    fn a_signature_made_by_the_client_of_npm_is_believed() {
        let body = r#"{"id":"evt_from_npm","object":"event","type":"invoice.paid","note":"é ✓"}"#;
        let header = "t=1795255218,v1=b206b57a147e6ab1c705173e8777691706f1d6453fea418d9bd3121c3b3b8cd1";
        // Believed, and then not readable: the invoice is missing.
        assert!(matches!(read(body, header, "whsec_npm_fixture", 1_795_255_218), Err(Untold::Unreadable(_))));
        assert_eq!(read(body, header, "whsec_npm_fixturf", 1_795_255_218), Err(Untold::BadSignature));
    }

    #[test]
    fn a_signed_body_that_cannot_be_read_is_told_apart() {
        for body in ["not json", r#"{"id":"evt_1"}"#, r#"{"id":"evt_1","object":"event","type":"invoice.paid","data":{"object":{}}}"#] {
            assert!(matches!(read(body, &signed(body, 1_000), SECRET, 1_000), Err(Untold::Unreadable(_))), "{body}");
        }
    }
}
