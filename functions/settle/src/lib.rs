//! Guests' orders, seen through to their end: what is paid and delivered gets its link by mail, what is paid and came to nothing gets its
//! money back, what was never paid is given up after the payment service was asked; and when the days of a result are over, the guest is
//! forgotten.
//!
//! Safe to run twice and to die anywhere: a refund has one key for its order, the job one id, and an order is settled by one conditional
//! write after what it says was done. A mail may go twice where we die between the mail and that write; money never does.

use kiln_core::billing::{Order, OrderState, Settled};
use kiln_core::job::{Job, OWED_SHARDS, State};
use kiln_core::time::{Millis, seconds};
use kiln_http::guest::{self, Started};
use kiln_http::mail::{GuestRefund, GuestResult, Message};
use kiln_http::{App, kept, pay, restoring};
use kiln_pay::Told;
use kiln_store::{Applied, NoEnd, OwedRow};
use serde_json::{Value, json};

/// Orders of one shard that one run looks at.
const MOST_PER_SHARD: u32 = 100;
/// Between two looks at an order whose job has not ended.
const AGAIN: Millis = seconds(20);
/// After a failure of ours or of the payment service's.
const AFTER_FAILURE: Millis = seconds(60);
/// A refund that is still refused so long after the payment is told to an operator.
const LONG: Millis = seconds(3600);
/// Between two looks at a checkout that may still be paid, and how long it may: a slow payment takes some days.
const UNPAID_AGAIN: Millis = seconds(3600);
const UNPAID_FOR: Millis = seconds(30 * 86_400);
/// Between two looks at a guest's account that can't be forgotten yet, or is being forgotten.
const FORGET_AGAIN: Millis = seconds(86_400);

/// One run over what is owed to guests. One row that fails stops no other.
pub async fn handle(app: &App, event: Value) -> anyhow::Result<Value> {
    if let Some(answer) = restoring::stands_still(app, "settle", &event).await? {
        return Ok(answer);
    }
    let (mut settled, mut failed) = (0, 0);
    for shard in 0..OWED_SHARDS {
        for row in app.table().owed("order", shard, app.now(), MOST_PER_SHARD).await? {
            match one(app, &row).await {
                Ok(done) => settled += u32::from(done),
                Err(error) => {
                    tracing::error!(row = row.sk, "a guest's order could not be settled; it is tried again: {error:#}");
                    app.table().look_later(&row, app.now() + AFTER_FAILURE).await?;
                    failed += 1;
                }
            }
        }
    }
    Ok(json!({ "settled": settled, "failed": failed }))
}

async fn one(app: &App, row: &OwedRow) -> anyhow::Result<bool> {
    // The index only suggests.
    match app.table().owed_item::<Order>(row).await? {
        Some(order) if order.next_check_at.is_some_and(|at| at <= app.now()) => look(app, &order).await,
        _ => Ok(false),
    }
}

/// One order; whether it is settled now.
async fn look(app: &App, order: &Order) -> anyhow::Result<bool> {
    if order.guest.as_ref().is_some_and(|guest| guest.settled.is_some()) {
        return forget(app, order).await;
    }
    if order.state != OrderState::Paid {
        return unpaid(app, order).await;
    }
    let Some((settled, ended_at)) = paid(app, order).await? else {
        app.table().order_again(order, app.now() + AGAIN).await?;
        return Ok(false);
    };
    let forget_at = ended_at + seconds(app.settings().guest_result_days * 86_400);
    let done = app.table().order_settled(order, settled, forget_at).await?;
    tracing::info!(order_id = %order.order_id, ?settled, done, "a guest's order is settled");
    Ok(done)
}

/// An order of which no payment was told. The service is asked before it is given up: what it told may be late, or lost.
async fn unpaid(app: &App, order: &Order) -> anyhow::Result<bool> {
    if let (OrderState::Open, Some(session)) = (order.state, &order.session) {
        let (now, may_come) = pay::client(app).await.map_err(told)?.checkout_now(session).await?;
        match now {
            Told::Checkout { paid: true, amount, currency, payment, .. } if amount == Some(order.amount) && currency.as_ref() == Some(&order.currency) => {
                tracing::warn!(order_id = %order.order_id, "a guest's payment was found by asking; no event had told of it");
                // Owed anew by that commit: the next run sees it through.
                let (_, applied) = pay::apply_order(app, order, session, payment.as_deref().unwrap_or(session)).await.map_err(told)?;
                anyhow::ensure!(applied != Applied::NoAccount, "the account of a paid order is gone");
                return Ok(false);
            }
            Told::Checkout { paid: true, .. } => {
                let why = format!("order {} was paid, and not as it was asked", order.order_id);
                kept::keep(app, "stripe", &why, &format!("{{\"checkout\":\"{session}\"}}")).await?;
                app.table().order_ends(&order.account_id, &order.order_id, OrderState::Mismatch).await?;
            }
            _ if may_come && app.now() - order.created_at < UNPAID_FOR => {
                app.table().order_again(order, app.now() + UNPAID_AGAIN).await?;
                return Ok(false);
            }
            _ => {}
        }
    }
    // An operator looks at what was paid wrongly; all else was never paid.
    app.table().order_ends(&order.account_id, &order.order_id, OrderState::Expired).await?;
    let done = app.table().order_abandoned(order).await?;
    tracing::info!(order_id = %order.order_id, done, "a guest's order was not paid");
    Ok(done)
}

/// The days of a guest's result are over: their account ends as anybody's does, with address, photo and result. The books stay.
async fn forget(app: &App, order: &Order) -> anyhow::Result<bool> {
    match app.table().delete_guest(&order.account_id, app.now()).await? {
        Ok(()) => tracing::info!(account_id = %order.account_id, "a guest is forgotten"),
        Err(NoEnd::Gone) => {}
        // Their refund failed, or a dispute of an order that came to nothing was won: the money is with us and nothing was had for it. Until
        // an operator has given it back, it must be known whose it is.
        Err(NoEnd::Moved) => {
            let why = format!("order {} came to nothing and its money is with us: give it back, so that the guest can be forgotten", order.order_id);
            kept::keep(app, "stripe", &why, &json!({ "order": order.order_id, "payment": order.payment }).to_string()).await?;
        }
        Err(why) => tracing::warn!(account_id = %order.account_id, ?why, "a guest can't be forgotten yet"),
    }
    app.table().order_again(order, app.now() + FORGET_AGAIN).await?;
    Ok(false)
}

/// How a paid order came out and when, once it has; what follows from that is done.
async fn paid(app: &App, order: &Order) -> anyhow::Result<Option<(Settled, Millis)>> {
    if let Started::No(why) = guest::start(app, order).await.map_err(told)? {
        tracing::warn!(order_id = %order.order_id, why, "a guest's job can't be started");
        return refund(app, order, "It could not be started.").await.map(|settled| Some((settled, app.now())));
    }
    let wanted = guest::job_of(order).map_err(told)?;
    let (job, _) = app.table().job_and_account(&order.account_id, &wanted.job_id).await?;
    match job {
        Some(Job { state: State::Succeeded, finished_at, .. }) => {
            let at = finished_at.unwrap_or_else(|| app.now());
            tell_delivered(app, order, at).await?;
            Ok(Some((Settled::Delivered, at)))
        }
        Some(Job { state: State::Failed | State::Cancelled, error, .. }) => {
            let why = error.map_or_else(|| "It was cancelled.".to_owned(), |error| error.message);
            refund(app, order, &why).await.map(|settled| Some((settled, app.now())))
        }
        _ => Ok(None),
    }
}

async fn refund(app: &App, order: &Order, why: &str) -> anyhow::Result<Settled> {
    let payment = order.payment.as_deref().ok_or_else(|| anyhow::anyhow!("a paid order without a payment"))?;
    let client = pay::client(app).await.map_err(told)?;
    let for_a_person = async |code: &str| {
        let why = format!("order {} came to nothing and its payment can't be refunded: {code}", order.order_id);
        kept::keep(app, "stripe", &why, &format!("{{\"payment\":\"{payment}\"}}")).await
    };
    match client.refund(payment, order.order_id.as_str()).await {
        Ok(None) => {}
        // A dispute has the money already, or nobody can send it back but a person.
        Ok(Some(code)) => {
            for_a_person(&code).await?;
            return Ok(Settled::Refunded);
        }
        Err(error) => {
            // It is tried again, for ever; and when that has gone on for long (a balance that is empty, say), somebody must know.
            if let kiln_pay::Error::Refused { code, .. } = &error
                && order.paid_at.is_some_and(|at| app.now() - at > LONG)
            {
                for_a_person(code).await?;
            }
            return Err(error.into());
        }
    }
    mail(app, order, &GuestRefund { why, amount_minor: order.amount, currency: &order.currency, at: app.now() }).await;
    Ok(Settled::Refunded)
}

/// Mails the link to the result.
async fn tell_delivered(app: &App, order: &Order, finished_at: Millis) -> anyhow::Result<()> {
    let link = guest::page(app, &guest::token(app, &order.account_id, &order.order_id).await.map_err(told)?);
    let days = app.settings().guest_result_days;
    mail(app, order, &GuestResult { link: &link, until: finished_at + seconds(days * 86_400) }).await;
    Ok(())
}

/// Swallowed on purpose: the page that the payer came back to shows the same, and a mail that bounces must not hold up the order.
async fn mail(app: &App, order: &Order, message: &impl Message) {
    let Some(guest) = &order.guest else { return };
    if let Err(error) = app.send_mail(&guest.email, message).await {
        tracing::error!(%error, order_id = %order.order_id, "a guest's mail was not sent");
    }
}

fn told(problem: kiln_http::Problem) -> anyhow::Error {
    anyhow::anyhow!("{}: {}", problem.code, problem.detail)
}

#[cfg(test)]
mod settle_tests;
