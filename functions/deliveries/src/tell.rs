//! The mail to an owner whose endpoint was disabled. The endpoint itself is in the owed index until it is sent, so that no
//! death between the two loses it.

use kiln_core::ids::{AccountId, EndpointId};
use kiln_core::time::{Millis, seconds};
use kiln_http::App;
use kiln_http::mail::{Disabled, Mailed, WebhookDisabled};
use kiln_store::Error;
use kiln_store::hooks::WhyDisabled;

/// When a mail that could not be sent is tried again.
const AGAIN: Millis = seconds(600);
/// Mails that may fail; then the owner finds it in the list.
const MOST: u32 = 20;

/// Tells the owner, if that is still to be done.
pub(crate) async fn owner(app: &App, account: &AccountId, id: &EndpointId) -> anyhow::Result<()> {
    let Some(endpoint) = app.table().endpoint(account, id).await? else { return Ok(()) };
    let now = app.now();
    let (Some(why), Some(due)) = (endpoint.disabled_because, endpoint.next_check_at) else { return Ok(()) };
    if due > now || !app.table().begin_telling(&endpoint, now + AGAIN).await? {
        return Ok(());
    }
    if let Some(account) = app.table().account(account).await?.filter(|_| endpoint.told < MOST) {
        let why = match why {
            WhyDisabled::Gone => Disabled::Gone,
            WhyDisabled::Failing => Disabled::Failing { days: (app.settings().hook_disable_s / 86_400) as u32 },
        };
        let link = format!("{}/account#webhooks", app.public_url());
        let mut results = Vec::new();
        for address in app.table().addresses_of(&account).await? {
            results.push(app.send_mail(&address, &WebhookDisabled { endpoint: &endpoint.url, why, link: &link }).await);
        }
        over(results)?;
        tracing::info!(endpoint_id = %id, "owner told that an endpoint was disabled");
    }
    Ok(app.table().end_telling(&endpoint).await?)
}

/// The telling is over once one owner knows, or nobody is left who takes mail. Not when it failed for all: that is the error, and it is
/// tried again. One who can't be reached must not have the others mailed each time.
fn over(results: Vec<Result<Mailed, Error>>) -> Result<(), Error> {
    let (mut told, mut failed) = (false, None);
    for result in results {
        match result {
            Ok(mailed) => told |= mailed == Mailed::Sent,
            Err(error) => {
                tracing::warn!(%error, "one owner could not be told that an endpoint was disabled");
                failed = Some(error);
            }
        }
    }
    match failed {
        Some(error) if !told => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_who_can_t_be_mailed_has_nobody_mailed_again() {
        assert!(over(vec![Ok(Mailed::Sent), Err(Error::Busy)]).is_ok());
        assert!(over(vec![Err(Error::Busy), Ok(Mailed::Sent)]).is_ok());
    }

    #[test]
    fn a_telling_that_reached_nobody_is_tried_again_unless_nobody_takes_mail() {
        assert!(over(vec![Err(Error::Busy)]).is_err());
        assert!(over(vec![Ok(Mailed::Suppressed), Err(Error::Busy)]).is_err());
        assert!(over(vec![Ok(Mailed::Suppressed)]).is_ok());
        assert!(over(vec![]).is_ok());
    }
}
