//! Webhook endpoints. The secret is told once, in the answer that makes one.

use serde_json::{Value, json};

use super::list;
use crate::{
    config::{API_VERSION, Endpoint},
    error::{Answer, Refusal},
    params::Params,
    work::{Work, text},
};

/// Stripe's own limit.
const MOST: usize = 16;

fn blank(work: &mut Work<'_>, url: &str, events: Vec<String>) -> Value {
    json!({
        "id": work.id("we"), "object": "webhook_endpoint", "api_version": API_VERSION, "application": null, "created": work.now, "description": null,
        "enabled_events": events, "livemode": false, "metadata": {}, "status": "enabled", "url": url,
    })
}

/// `checkout.session.completed`, or `*` for all.
fn events(params: &mut Params) -> Result<Option<Vec<String>>, Refusal> {
    let Some(events) = params.texts("enabled_events")? else { return Ok(None) };
    let known = |e: &String| e == "*" || (e.contains('.') && e.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'_'));
    match events.iter().position(|e| !known(e)) {
        Some(at) => Err(Refusal::field(format!("enabled_events[{at}]"), format!("Invalid enabled_events[{at}]: '{}' is no event type.", events[at]))),
        None if events.is_empty() => Err(Refusal::missing("enabled_events")),
        None => Ok(Some(events)),
    }
}

pub fn create(work: &mut Work<'_>, mut params: Params) -> Answer {
    let url = params.url("url")?.ok_or_else(|| Refusal::missing("url"))?;
    let events = events(&mut params)?.ok_or_else(|| Refusal::missing("enabled_events"))?;
    let version = params.filled("api_version")?;
    if version.as_deref().is_some_and(|v| v != API_VERSION) {
        return Err(Refusal::field("api_version", format!("The stand-in speaks {API_VERSION} only.")));
    }
    if work.state.count("webhook_endpoint") >= MOST {
        return Err(Refusal::invalid(format!("You have reached the maximum of {MOST} test webhook endpoints.")));
    }
    let mut endpoint = blank(work, &url, events);
    endpoint["description"] = params.filled("description")?.into();
    endpoint["metadata"] = params.metadata("metadata", &Value::Null)?;
    params.done()?;
    let secret = work.state.id("whsec", 32);
    endpoint["_secret"] = secret.clone().into();
    work.put(&endpoint);
    endpoint["secret"] = secret.into();
    Ok(endpoint)
}

pub fn update(work: &mut Work<'_>, id: &str, mut params: Params) -> Answer {
    let mut endpoint = work.live("webhook_endpoint", id, "id")?;
    if let Some(url) = params.url("url")? {
        endpoint["url"] = url.into();
    }
    if let Some(events) = events(&mut params)? {
        endpoint["enabled_events"] = events.into();
    }
    if let Some(disabled) = params.boolean("disabled")? {
        endpoint["status"] = if disabled { "disabled" } else { "enabled" }.into();
    }
    if let Some(description) = params.text("description")? {
        endpoint["description"] = if description.is_empty() { Value::Null } else { description.into() };
    }
    endpoint["metadata"] = params.metadata("metadata", &endpoint["metadata"])?;
    params.done()?;
    work.put(&endpoint);
    Ok(endpoint)
}

pub fn list(work: &mut Work<'_>, params: Params) -> Answer {
    list::page(work, "webhook_endpoint", "/v1/webhook_endpoints", params, |_| true)
}

pub fn delete(work: &mut Work<'_>, id: &str, params: Params) -> Answer {
    params.done()?;
    work.live("webhook_endpoint", id, "id")?;
    let deleted = json!({ "id": id, "object": "webhook_endpoint", "deleted": true });
    work.put(&deleted);
    Ok(deleted)
}

/// Puts in the endpoints that the configuration names, in the place of those with the same URL; other ones of an earlier start go.
pub fn configured(work: &mut Work<'_>, wanted: &[Endpoint]) {
    let known: Vec<Value> = work.state.all("webhook_endpoint").filter(|e| e["_configured"] == true).cloned().collect();
    for endpoint in known.iter().filter(|e| !wanted.iter().any(|w| w.url == text(e, "url"))) {
        work.put(&json!({ "id": endpoint["id"], "object": "webhook_endpoint", "deleted": true }));
    }
    for want in wanted {
        let known = known.iter().find(|e| text(e, "url") == want.url).cloned();
        let mut endpoint = known.unwrap_or_else(|| blank(work, &want.url, Vec::new()));
        endpoint["enabled_events"] = want.events.clone().into();
        endpoint["_secret"] = want.secret.clone().into();
        endpoint["_configured"] = true.into();
        work.put(&endpoint);
    }
}
