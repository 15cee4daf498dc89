//! The mail to an owner whose endpoint was disabled. The endpoint itself is in the owed index until it is sent, so that no
//! death between the two loses it.

use kiln_core::ids::{AccountId, EndpointId};
use kiln_core::time::{Millis, seconds};
use kiln_http::App;
use kiln_store::hooks::{Endpoint, WhyDisabled};

/// When a mail that could not be sent is tried again.
const AGAIN: Millis = seconds(600);
/// Mails that may fail; then the owner finds it in the list.
const MOST: u32 = 20;

pub(crate) const SUBJECT: &str = "Kiln has stopped sending webhooks to one of your endpoints";

/// Tells the owner, if that is still to be done.
pub(crate) async fn owner(app: &App, account: &AccountId, id: &EndpointId) -> anyhow::Result<()> {
    let Some(endpoint) = app.table().endpoint(account, id).await? else { return Ok(()) };
    let now = app.now();
    let (Some(why), Some(due)) = (endpoint.disabled_because, endpoint.next_check_at) else { return Ok(()) };
    if due > now || !app.table().begin_telling(&endpoint, now + AGAIN).await? {
        return Ok(());
    }
    if let Some(account) = app.table().account(account).await?.filter(|_| endpoint.told < MOST) {
        let text = text(&endpoint, why, app.public_url());
        for address in app.table().addresses_of(&account).await? {
            app.mail().send(&address, SUBJECT, &text, &html(&text)).await?;
        }
        tracing::info!(endpoint_id = %id, "owner told that an endpoint was disabled");
    }
    Ok(app.table().end_telling(&endpoint).await?)
}

/// Of the URL the host alone: the rest may hold a token.
fn text(endpoint: &Endpoint, why: WhyDisabled, public_url: &str) -> String {
    let host = kiln_core::hooks::target::parse(&endpoint.url, true).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    let why = match why {
        WhyDisabled::Gone => "It answered 410 Gone, which says that it wants no more.",
        WhyDisabled::Failing => "For days every try has failed.",
    };
    format!(
        "Kiln has stopped sending webhooks to your endpoint {id} at {host}.\n\n{why}\n\n\
         What was not delivered is in the list of deliveries. When the endpoint works again, enable it and replay them:\n\n\
         PATCH {public_url}/api/v1/webhook-endpoints/{id} {{\"enabled\": true}}\n",
        id = endpoint.endpoint_id
    )
}

/// The same text, as HTML.
fn html(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let paragraphs: String = escaped.split("\n\n").map(|part| format!("<p>{}</p>\n", part.trim())).collect();
    format!("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{SUBJECT}</title></head>\n<body>\n{paragraphs}</body></html>\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_core::hooks::Wanted;

    #[test]
    fn the_mail_names_the_endpoint_and_not_what_its_url_may_hide() {
        let endpoint = Endpoint {
            v: 1,
            endpoint_id: EndpointId::new(1, 2),
            account_id: AccountId::new(1, 1),
            url: "https://hooks.example.com/in?token=s3cret".into(),
            events: Wanted::default(),
            enabled: false,
            disabled_because: Some(WhyDisabled::Gone),
            disabled_at: Some(1),
            secret: String::new(),
            old_secret: None,
            old_secret_until: None,
            created_at: 1,
            failing_since: None,
            paused_until: None,
            rev: 1,
            owed_shard: None,
            next_check_at: None,
            told: 0,
        };
        let text = text(&endpoint, WhyDisabled::Gone, "https://kiln.example");
        assert!(text.contains("hooks.example.com") && text.contains(endpoint.endpoint_id.as_str()) && text.contains("410"), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
        assert!(html(&text).contains("<p>It answered 410 Gone"), "{}", html(&text));
    }
}
