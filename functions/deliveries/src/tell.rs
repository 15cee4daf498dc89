//! The mail to an owner whose endpoint was disabled. The endpoint itself is in the owed index until it is sent, so that no
//! death between the two loses it.

use kiln_core::ids::{AccountId, EndpointId};
use kiln_core::time::{Millis, seconds};
use kiln_http::App;
use kiln_http::mail::{Disabled, WebhookDisabled};
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
        for address in app.table().addresses_of(&account).await? {
            app.send_mail(&address, &WebhookDisabled { endpoint: &endpoint.url, why, link: &link }).await?;
        }
        tracing::info!(endpoint_id = %id, "owner told that an endpoint was disabled");
    }
    Ok(app.table().end_telling(&endpoint).await?)
}
