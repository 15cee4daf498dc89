//! Guests' orders, seen through to their end: what is paid and delivered gets its link by mail, what is paid and came to nothing gets its
//! money back, what was never paid is forgotten.
//!
//! Safe to run twice and to die anywhere: a refund has one key for its order, the job one id, and an order is settled by one conditional
//! write after what it says was done. A mail may go twice where we die between the mail and that write; money never does.

use kiln_core::billing::{Order, OrderState, Settled};
use kiln_core::job::{Job, OWED_SHARDS, State};
use kiln_core::time::{Millis, seconds};
use kiln_http::guest::{self, Started};
use kiln_http::mail::{GuestRefund, GuestResult, Message};
use kiln_http::{App, pay};
use serde_json::{Value, json};

/// Orders of one shard that one run looks at.
const MOST_PER_SHARD: u32 = 100;
/// Between two looks at an order whose job has not ended.
const AGAIN: Millis = seconds(20);
/// After a failure of ours or of the payment service's.
const AFTER_FAILURE: Millis = seconds(60);

/// One run over what is owed to guests.
pub async fn handle(app: &App, _event: Value) -> anyhow::Result<Value> {
    let (mut settled, mut failed) = (0, 0);
    for shard in 0..OWED_SHARDS {
        for row in app.table().owed("order", shard, app.now(), MOST_PER_SHARD).await? {
            let Some(order) = app.table().owed_item::<Order>(&row).await? else { continue };
            if order.next_check_at.is_none_or(|at| at > app.now()) {
                continue;
            }
            match look(app, &order).await {
                Ok(done) => settled += u32::from(done),
                Err(problem) => {
                    tracing::error!(order_id = %order.order_id, %problem, "a guest's order could not be settled; it is tried again");
                    app.table().order_goes_on(&order, None, app.now() + AFTER_FAILURE).await?;
                    failed += 1;
                }
            }
        }
    }
    Ok(json!({ "settled": settled, "failed": failed }))
}

/// One order; whether it is settled now.
async fn look(app: &App, order: &Order) -> anyhow::Result<bool> {
    let settled = match order.state {
        OrderState::Paid => match paid(app, order).await? {
            Some(settled) => settled,
            None => {
                app.table().order_goes_on(order, None, app.now() + AGAIN).await?;
                return Ok(false);
            }
        },
        // An operator looks at what was paid wrongly.
        OrderState::Open | OrderState::Begun | OrderState::Expired | OrderState::Mismatch => {
            app.table().order_ends(&order.account_id, &order.order_id, OrderState::Expired).await?;
            Settled::Abandoned
        }
    };
    app.table().order_goes_on(order, Some(settled), app.now()).await?;
    tracing::info!(order_id = %order.order_id, ?settled, "a guest's order is settled");
    Ok(true)
}

/// How a paid order came out, once it has; what follows from that is done.
async fn paid(app: &App, order: &Order) -> anyhow::Result<Option<Settled>> {
    if let Started::No(why) = guest::start(app, order).await.map_err(told)? {
        tracing::warn!(order_id = %order.order_id, why, "a guest's job can't be started");
        return refund(app, order, "It could not be started.").await.map(Some);
    }
    let wanted = guest::job_of(order).map_err(told)?;
    let (job, _) = app.table().job_and_account(&order.account_id, &wanted.job_id).await?;
    match job {
        Some(Job { state: State::Succeeded, finished_at, .. }) => {
            tell_delivered(app, order, finished_at.unwrap_or_else(|| app.now())).await?;
            Ok(Some(Settled::Delivered))
        }
        Some(Job { state: State::Failed | State::Cancelled, error, .. }) => {
            let why = error.map_or_else(|| "It was cancelled.".to_owned(), |error| error.message);
            refund(app, order, &why).await.map(Some)
        }
        _ => Ok(None),
    }
}

async fn refund(app: &App, order: &Order, why: &str) -> anyhow::Result<Settled> {
    let payment = order.payment.as_deref().ok_or_else(|| anyhow::anyhow!("a paid order without a payment"))?;
    let client = pay::client(app).await.map_err(told)?;
    client.refund(payment, order.order_id.as_str()).await?;
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
