//! From what was told to what is written. Each branch may run any number of times and in any order.

use crate::{SOURCE, tell};
use kiln_core::billing::{Buys, Claim, OrderState, Payment, PlanLine, Standing, invoice_credits};
use kiln_core::ids::{AccountId, EntryId, OrderId};
use kiln_http::flow;
use kiln_http::guest::{self, Started};
use kiln_http::pay::Plan;
use kiln_http::{App, Result, kept, pay};
use kiln_pay::{Event, FailedPayment, Invoice, Pay, Told};
use kiln_store::Applied;
use serde_json::json;
use std::collections::BTreeMap;

/// Applies an event; what can't be is kept.
pub async fn apply(app: &App, event: &Event, body: &str) -> Result<()> {
    let odd = match &event.told {
        Told::Checkout { subscription: true, account, .. } => of_plan_checkout(app, event, account.as_deref()).await?,
        Told::Checkout { .. } => checkout(app, &event.told).await?,
        Told::CheckoutOver { account, order } => {
            if let Some((account, order)) = ids(account.as_deref(), order.as_deref()) {
                app.table().order_ends(&account, &order, OrderState::Expired).await?;
            }
            None
        }
        Told::InvoicePaid(invoice) => paid_invoice(app, invoice).await?,
        Told::Subscription { id: subscription, account } => plan(app, subscription, account.as_deref(), None).await?,
        Told::InvoiceFailed { subscription: Some(subscription), failed, .. } => plan(app, subscription, None, Some(failed)).await?,
        Told::InvoiceFailed { subscription: None, .. } => None,
        Told::Claim { payment: None, .. } => Some("a refund or dispute without a payment".to_owned()),
        Told::Claim { id, payment: Some(payment), claim } => self::claim(app, id, payment, *claim).await?,
        Told::Other => None,
    };
    match odd {
        Some(why) => Ok(kept::keep(app, SOURCE, &format!("{} {}: {why}", event.kind, event.id), body).await?),
        None => Ok(()),
    }
}

fn ids(account: Option<&str>, order: Option<&str>) -> Option<(AccountId, OrderId)> {
    Some((account?.parse().ok()?, order?.parse().ok()?))
}

/// A single purchase. `Some` says why it can't be credited.
async fn checkout(app: &App, told: &Told) -> Result<Option<String>> {
    let Told::Checkout { session, account, order, paid, amount, currency, payment, .. } = told else { return Ok(None) };
    let Some((account_id, order_id)) = ids(account.as_deref(), order.as_deref()) else {
        return Ok(Some("a checkout that names no order of ours".into()));
    };
    // A slow payment completes its checkout unpaid; another event tells when the money has come.
    if !paid {
        return Ok(None);
    }
    let Some(order) = app.table().order(&account_id, &order_id).await? else { return Ok(Some(format!("no order {order_id}"))) };
    if *amount != Some(order.amount) || currency.as_deref() != Some(order.currency.as_str()) {
        app.table().order_ends(&account_id, &order_id, OrderState::Mismatch).await?;
        let (amount, currency) = (amount.unwrap_or_default(), currency.as_deref().unwrap_or("?"));
        return Ok(Some(format!("order {order_id} costs {} {}, paid were {amount} {currency}", order.amount, order.currency)));
    }
    let charge = payment.as_deref().unwrap_or(session);
    let (paid, applied) = pay::apply_order(app, &order, session, charge).await?;
    if applied == Applied::New {
        flow::tell_of_credits(app, &account_id).await;
    }
    if matches!(order.buys, Buys::Job { .. }) && applied != Applied::NoAccount {
        // Owed since that commit: what goes wrong here the schedule does again, or gives the money back.
        match guest::start(app, &order).await {
            Ok(Started::Yes) => {}
            Ok(Started::No(why)) => tracing::warn!(%order_id, why, "a guest paid for a job that can't be started"),
            Err(problem) => tracing::warn!(%order_id, code = problem.code, "a guest's job was not started at once; the schedule will"),
        }
    }
    if !matches!(order.buys, Buys::Job { .. }) {
        referred(app, &paid, charge, applied).await?;
        if applied == Applied::New {
            tell::receipt(app, &paid, order_id.as_str()).await;
        }
    }
    Ok((applied == Applied::NoAccount).then(|| format!("no account {account_id}")))
}

/// The checkout of a plan grants nothing, its invoice does; but from now on the account has a plan.
async fn of_plan_checkout(app: &App, event: &Event, account: Option<&str>) -> Result<Option<String>> {
    let Told::Checkout { order, session, .. } = &event.told else { return Ok(None) };
    if let Some((account, order)) = ids(account, order.as_deref()) {
        tracing::info!(%order, session, %account, "a plan was begun");
        app.table().order_ends(&account, &order, OrderState::Begun).await?;
    }
    Ok(None)
}

/// What a plan is now, asked of the service: its events may come in any order.
async fn plan(app: &App, subscription: &str, account: Option<&str>, failed: Option<&FailedPayment>) -> Result<Option<String>> {
    let client = pay::client(app).await?;
    let account = match account {
        Some(account) => Some(account.to_owned()),
        None => match client.plan_state(subscription).await {
            Ok(state) => state.account,
            Err(kiln_pay::Error::Refused { status: 404, .. }) => return Ok(Some(format!("no subscription {subscription}"))),
            Err(error) => return Err(pay::problem(error)),
        },
    };
    let Some(account) = account.and_then(|account| account.parse::<AccountId>().ok()) else {
        return Ok(Some(format!("subscription {subscription} names no account of ours")));
    };
    match pay::keep_plan(app, &client, &account, subscription).await? {
        (Plan::Kept { before, now }, _) => {
            tell::plan(app, &before, &now, failed).await;
            tracing::info!(plan = now.plan, status = now.status, "a plan changed");
            Ok(None)
        }
        (Plan::Past, _) => Ok(None),
        (Plan::Odd(why), _) => Ok(Some(why)),
    }
}

/// A period of a plan was paid: its credits come, in proportion to the money of each line.
async fn paid_invoice(app: &App, invoice: &Invoice) -> Result<Option<String>> {
    let Some(subscription) = &invoice.subscription else {
        // The invoice of a single purchase: its checkout is what is credited.
        return Ok(None);
    };
    if let Some(charge) = app.table().charge_of(&invoice.id).await? {
        // Whoever applied it may have died before what follows from it.
        app.table().settle_waiting(&charge, app.now()).await?;
        if let Some(paid) = app.table().payment(&charge).await?.filter(|_| invoice.amount_paid > 0) {
            referred(app, &paid, &charge, Applied::Again).await?;
        }
        return Ok(None);
    }
    let client = pay::client(app).await?;
    let account = match &invoice.account {
        Some(account) => Some(account.clone()),
        None => client.plan_state(subscription).await.map_err(pay::problem)?.account,
    };
    let account = account.and_then(|account| account.parse::<AccountId>().ok());
    let Some(account_id) = account else { return Ok(Some(format!("invoice {} names no account of ours", invoice.id))) };
    // Paid is paid: its credits come also where the plan is past, or one too many.
    let (kept, state) = pay::keep_plan(app, &client, &account_id, subscription).await?;
    let millicredits = match credits(app, &client, invoice, state.begun.as_ref().unwrap_or(&state.plan)).await? {
        Ok(millicredits) => millicredits,
        Err(why) => return Ok(Some(why)),
    };
    let payment = match &invoice.payment {
        Some(payment) => Some(payment.clone()),
        None => client.payment_of_invoice(&invoice.id).await.map_err(pay::problem)?,
    };
    let now = app.now();
    let paid = Payment {
        v: 1,
        account_id: account_id.clone(),
        order_id: None,
        cause: format!("plan:{}", state.plan),
        object: invoice.id.clone(),
        millicredits,
        // Of what the lines cost: a part may be paid from what the service owed the customer, and a refund goes by the whole.
        amount: if invoice.total > 0 { invoice.total } else { invoice.amount_paid },
        currency: invoice.currency.clone(),
        paid_at: now,
        claims: BTreeMap::new(),
        taken: 0,
        seq: 1,
    };
    let charge = payment.as_deref().unwrap_or(&invoice.id);
    let applied = app.table().apply_payment(&paid, charge, &EntryId::new(now, app.random()), now).await?;
    if applied == Applied::New {
        flow::tell_of_credits(app, &paid.account_id).await;
    }
    tracing::info!(invoice = invoice.id, millicredits, ?applied, "a plan's invoice was paid");
    if invoice.amount_paid > 0 {
        referred(app, &paid, charge, applied).await?;
    }
    if applied == Applied::New && millicredits > 0 {
        tell::receipt(app, &paid, &invoice.id).await;
    }
    if applied == Applied::NoAccount {
        return Ok(Some(format!("no account {account_id}")));
    }
    if let Plan::Odd(why) = kept {
        return Ok(Some(why));
    }
    // Paid past the service, say. It is credited; but a refund names a payment, and would not find it.
    let nameless = payment.is_none() && invoice.amount_paid > 0;
    Ok(nameless.then(|| format!("invoice {} was paid by no payment that the service names: its refund would find no credits to take back", invoice.id)))
}

/// What an invoice grants, or why it does not agree with the price list. `begun` is the plan that the subscription was begun with.
async fn credits(app: &App, client: &Pay, invoice: &Invoice, begun: &str) -> Result<std::result::Result<i64, String>> {
    if !invoice.complete {
        return Ok(Err(format!("invoice {} has more lines than its event", invoice.id)));
    }
    let sum: i64 = invoice.lines.iter().map(|line| line.amount).sum();
    if sum != invoice.subtotal || invoice.total != invoice.subtotal || invoice.amount_paid > invoice.total.max(0) {
        let Invoice { id, subtotal, total, amount_paid, .. } = invoice;
        return Ok(Err(format!("invoice {id}: its lines sum to {sum}, it says {subtotal}, {total} in all, and {amount_paid} paid")));
    }
    let mut lines = Vec::with_capacity(invoice.lines.len());
    for line in &invoice.lines {
        let (named, sold) = match &line.price {
            Some(price) => client.plan_of_price(price).await.map_err(pay::problem)?,
            None => (None, None),
        };
        // A price made for one sale names no plan: then it is the one that the subscription was begun with.
        lines.push(PlanLine { plan: named.unwrap_or_else(|| begun.to_owned()), amount: line.amount, prorated: line.prorated, sold });
    }
    Ok(invoice_credits(app.prices(), &invoice.currency, &lines).map_err(|why| format!("invoice {}: {why}", invoice.id)))
}

/// Whoever brought an account that has paid now is credited, once; also where the one that applied the payment died before this.
async fn referred(app: &App, paid: &Payment, charge: &str, applied: Applied) -> Result<()> {
    let amount = app.settings().referral_millicredits as i64;
    if applied == Applied::NoAccount || amount == 0 || paid.amount <= 0 || paid.millicredits <= 0 {
        return Ok(());
    }
    let Some(account) = app.table().account(&paid.account_id).await?.filter(|account| account.referred_by.is_some()) else { return Ok(()) };
    let now = app.now();
    let credited = app.table().credit_referral(&account, charge, amount, &EntryId::new(now, app.random()), now).await?;
    tracing::info!(?credited, "a referral has paid");
    if let (Applied::New, Some(referrer)) = (credited, &account.referred_by) {
        flow::tell_of_credits(app, referrer).await;
    }
    // A refund that was applied between the payment and this found no referral to take back: of the two, the later one sees the other.
    match app.table().payment(charge).await? {
        Some(payment) => take_back_referral(app, &payment, charge).await,
        None => Ok(()),
    }
}

/// Takes back what was credited for a payment, if all its money is gone again. Harmless at any time and any number of times.
async fn take_back_referral(app: &App, payment: &Payment, charge: &str) -> Result<()> {
    if payment.millicredits <= 0 || payment.taken < payment.millicredits {
        return Ok(());
    }
    let now = app.now();
    if let Some(referrer) = app.table().take_back_referral(&payment.account_id, charge, &EntryId::new(now, app.random()), now).await? {
        flow::tell_of_credits(app, &referrer).await;
    }
    Ok(())
}

/// A refund or a dispute of one payment.
async fn claim(app: &App, id: &str, charge: &str, claim: Claim) -> Result<Option<String>> {
    let now = app.now();
    let claimed = app.table().apply_claim(charge, id, claim, &EntryId::new(now, app.random()), now).await?;
    tracing::info!(claim = id, ?claimed, "a refund or dispute was applied");
    // It waits for its payment, and whoever applies that sees to it.
    let Some(payment) = app.table().payment(charge).await? else { return Ok(None) };
    flow::tell_of_credits(app, &payment.account_id).await;
    // Also where nothing was new: whoever applied it may have died before this.
    take_back_referral(app, &payment, charge).await?;
    let Some(stands) = payment.claims.get(id) else {
        return Ok(Some(format!("payment {charge} has more refunds and disputes than are kept: {id} is not among them")));
    };
    match (id.starts_with("re_"), stands.standing) {
        (true, Standing::Kept) if of_guest(app, &payment).await? => {
            // However many events tell of it, and in whatever order, it is one thing for an operator.
            let why = format!("the refund {id} of a guest failed: they were told that their money comes back, and it did not");
            kept::keep(app, SOURCE, &why, &json!({ "refund": id, "payment": charge }).to_string()).await?;
            Ok(None)
        }
        (false, Standing::Kept) if claim.standing == Standing::Gone => Ok(Some(format!("the dispute {id} was won, and now it is told as lost"))),
        _ => Ok(None),
    }
}

async fn of_guest(app: &App, payment: &Payment) -> Result<bool> {
    let Some(order) = &payment.order_id else { return Ok(false) };
    Ok(app.table().order(&payment.account_id, order).await?.is_some_and(|order| order.guest.is_some()))
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
