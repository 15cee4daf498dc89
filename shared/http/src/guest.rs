//! A guest's order: paid by card, without an account of its own. Its job starts when it is paid; its result is reached by a link that
//! nobody can guess. What a webhook, the schedule and the page share stands here.

use crate::{App, Problem, Result, flow, limits};
use kiln_core::billing::Order;
use kiln_core::ids::{AccountId, OrderId, UploadId};
use kiln_core::job::Job;
use kiln_core::machine;
use kiln_store::{Commit, Why};

/// What became of the start of a guest's job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// It runs, or ran already.
    Yes,
    /// It can't: its photo is gone, or its money went back before.
    No(String),
}

/// The job of a guest's order, as it will be submitted.
pub fn job_of(order: &Order) -> Result<Job> {
    let guest = order.guest.as_ref().ok_or_else(|| Problem::internal("an order without a guest"))?;
    serde_json::from_str(&guest.job).map_err(Problem::internal)
}

/// Submits the job of a paid order. Its id is the order's, so that it starts once however often this is called.
pub async fn start(app: &App, order: &Order) -> Result<Started> {
    let job = job_of(order)?;
    let uploads: Vec<UploadId> = job.inputs.iter().map(|input| input.upload_id.clone()).collect();
    for _ in 0..flow::TRIES {
        let (found, account) = app.table().job_and_account(&order.account_id, &job.job_id).await?;
        if found.is_some() {
            return Ok(Started::Yes);
        }
        let Some(account) = account else { return Ok(Started::No("the guest's account is gone".into())) };
        let now = app.now();
        let change = machine::submit(job.clone(), &account.counters, app.settings(), now);
        let with = Commit { entry_id: flow::entry_id(app, &change), uses: &uploads, ..Commit::default() };
        match app.table().commit(&change, with, now).await? {
            Ok(()) => {
                tracing::info!(job_id = %job.job_id, order_id = %order.order_id, "a guest's job was started");
                flow::after_commit(app, &change, &account.counters).await;
                // What can't be read is as good as never said: it is woken.
                flow::wake(app, &job, app.table().standing().await.unwrap_or_default().as_ref()).await;
                return Ok(Started::Yes);
            }
            Err(Why::Upload(_)) => return Ok(Started::No("its photo is gone".into())),
            Err(Why::NoFunds { .. }) => return Ok(Started::No("its money went back".into())),
            Err(Why::AccountGone | Why::Suspended) => return Ok(Started::No("the guest's account is closed".into())),
            Err(Why::Moved | Why::Repeated | Why::RunningFull | Why::QueuedFull | Why::DayFull { .. } | Why::TooFast) => {}
        }
    }
    Err(kiln_store::Error::Busy.into())
}

/// The token of the link to an order's result: the order's own name and a keyed fingerprint of it, so that it need not be stored.
pub async fn token(app: &App, account: &AccountId, order: &OrderId) -> Result<String> {
    Ok(token_by(limits::Keys::read(app).await?.present(), account, order))
}

fn token_by(key: &str, account: &AccountId, order: &OrderId) -> String {
    // No dot: what has one in its last part is a file to whoever serves pages.
    let name = format!("{account}-{order}");
    format!("{name}-{}", limits::fingerprint(key, "guest-result", &name))
}

/// The order that a token names, if it is ours.
pub async fn order_of(app: &App, given: &str) -> Result<Option<Order>> {
    let Some((account, order)) = named(given) else { return Ok(None) };
    if !is_ours(&limits::Keys::read(app).await?, given, &account, &order) {
        return Ok(None);
    }
    Ok(app.table().order(&account, &order).await?)
}

fn named(token: &str) -> Option<(AccountId, OrderId)> {
    let mut parts = token.splitn(3, '-');
    let (account, order, _) = (parts.next()?, parts.next()?, parts.next()?);
    Some((account.parse().ok()?, order.parse().ok()?))
}

/// Whether any of our keys has made this token: a mailed link outlives the rotation of the key that made it.
fn is_ours(keys: &limits::Keys, given: &str, account: &AccountId, order: &OrderId) -> bool {
    keys.all().iter().any(|key| crate::caller::equal(given, &token_by(key, account, order)))
}

/// Where the result of an order is seen.
pub fn page(app: &App, token: &str) -> String {
    format!("{}/guest/{token}", app.public_url())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_s_link_outlives_the_rotation_of_the_key_that_made_it() {
        let (account, order) = (AccountId::new(1_763_721_600_000, 1), OrderId::new(1_763_721_600_000, 2));
        let keys = |parameter: &str| limits::Keys::parse(parameter).unwrap();
        let link = token_by(keys("old").present(), &account, &order);
        assert_eq!(named(&link), Some((account.clone(), order.clone())));
        assert!(is_ours(&keys("new,old"), &link, &account, &order));
        assert!(is_ours(&keys("new,old"), &token_by(keys("new,old").present(), &account, &order), &account, &order));
        assert!(!is_ours(&keys("new"), &link, &account, &order), "no key of ours");
        assert!(!is_ours(&keys("new,old"), &format!("{link}0"), &account, &order));
    }

    #[test]
    fn what_is_no_token_names_nothing() {
        for bad in ["", "a-b-c", "acc_00000000000000000000000001", "-", "--"] {
            assert_eq!(named(bad), None, "{bad}");
        }
    }
}
