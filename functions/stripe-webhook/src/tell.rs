//! The mails that follow what the payment service told. All failures are swallowed on purpose: the money is booked, the page shows it, and
//! a mail that bounces must not bring the event again.

use kiln_core::billing::Payment;
use kiln_http::App;
use kiln_http::mail::{Ended, Message, PaymentFailed, Receipt, SubscriptionEnded};
use kiln_pay::FailedPayment;
use kiln_store::{Account, Subscription};

/// To whoever bought: what, for how much, and what there is now.
pub async fn receipt(app: &App, paid: &Payment, reference: &str) {
    let Ok(Some(account)) = app.table().account(&paid.account_id).await else { return };
    let message = Receipt {
        credits: paid.millicredits,
        amount_minor: paid.amount,
        currency: &paid.currency,
        balance: account.counters.available,
        at: paid.paid_at,
        reference: Some(reference),
        invoice_url: None,
    };
    send(app, &account, &message).await;
}

/// Of a plan: that its payment failed, or that it has ended. `before` is the account as it was, so that an end is told once.
pub async fn plan(app: &App, before: &Account, now: &Subscription, failed: Option<&FailedPayment>) {
    let link = format!("{}/credits", app.public_url());
    let title = app.prices().plan(&now.plan).map_or(now.plan.as_str(), |plan| plan.title.as_str());
    let ran = before.subscription.as_ref().is_some_and(|before| before.id == now.id && before.status != "canceled");
    if now.status == "canceled" && ran {
        let asked = before.subscription.as_ref().is_some_and(|before| before.ends_at_period_end);
        let why = if asked { Ended::Cancelled } else { Ended::Unpaid };
        send(app, before, &SubscriptionEnded { plan: title, why, at: app.now(), balance: before.counters.available, link: &link }).await;
    } else if let Some(failed) = failed {
        let message = PaymentFailed { plan: title, amount_minor: failed.amount, currency: &failed.currency, link: &link, next_try_at: failed.next_try_at };
        send(app, before, &message).await;
    }
}

async fn send(app: &App, account: &Account, message: &impl Message) {
    match app.table().addresses_of(account).await {
        Ok(addresses) => {
            for address in addresses {
                if let Err(error) = app.send_mail(&address, message).await {
                    tracing::error!(%error, "a mail about a payment was not sent");
                }
            }
        }
        Err(error) => tracing::error!(%error, "whom to tell of a payment could not be read"),
    }
}
