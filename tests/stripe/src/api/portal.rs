//! The customer portal: sessions, and configurations that say what a customer may do there.

use serde_json::{Value, json};

use super::list;
use crate::{
    error::{Answer, Refusal},
    params::Params,
    work::{Work, text},
};

pub fn create(work: &mut Work<'_>, mut params: Params) -> Answer {
    work.room()?;
    let customer = params.required("customer")?;
    work.live("customer", &customer, "customer")?;
    let return_url = params.url("return_url")?;
    let locale = params.filled("locale")?;
    let configuration = match params.filled("configuration")? {
        Some(id) => work.get("billing_portal.configuration", &id, "configuration")?,
        None => default_configuration(work),
    };
    params.done()?;
    if configuration["active"] != true {
        return Err(Refusal::field("configuration", "The configuration is inactive."));
    }
    let id = work.id("bps");
    let session = json!({
        "id": id, "object": "billing_portal.session", "configuration": configuration["id"], "created": work.now, "customer": customer, "customer_account": null,
        "flow": null, "livemode": false, "locale": locale, "on_behalf_of": null, "return_url": return_url.map_or_else(|| configuration["default_return_url"].clone(), Value::from),
        "url": format!("{}/portal/{id}", work.config.base_url),
    });
    work.made("billing_portal.session.created", &session);
    Ok(session)
}

fn default_configuration(work: &mut Work<'_>) -> Value {
    if let Some(known) = work.state.all("billing_portal.configuration").find(|c| c["is_default"] == true) {
        return known.clone();
    }
    let configuration = blank(work, true);
    work.made("billing_portal.configuration.created", &configuration);
    configuration
}

fn blank(work: &mut Work<'_>, is_default: bool) -> Value {
    json!({
        "id": work.id("bpc"), "object": "billing_portal.configuration", "active": true, "application": null,
        "business_profile": { "headline": null, "privacy_policy_url": null, "terms_of_service_url": null }, "created": work.now, "default_return_url": null,
        "features": {
            "customer_update": { "allowed_updates": [], "enabled": false }, "invoice_history": { "enabled": true },
            "payment_method_update": { "enabled": true, "payment_method_configuration": null },
            "subscription_cancel": {
                "cancellation_reason": { "enabled": false, "options": ["too_expensive", "unused", "other"] }, "enabled": true, "mode": "at_period_end",
                "proration_behavior": "none",
            },
            "subscription_update": {
                "billing_cycle_anchor": null, "default_allowed_updates": [], "enabled": false, "products": [], "proration_behavior": "none",
                "schedule_at_period_end": { "conditions": [] }, "trial_update_behavior": "end_trial",
            },
        },
        "is_default": is_default, "livemode": false, "login_page": { "enabled": false, "url": null }, "metadata": {}, "name": null, "updated": work.now,
    })
}

/// Makes one, or changes the one with an id.
pub fn configure(work: &mut Work<'_>, id: Option<&str>, mut params: Params) -> Answer {
    let mut configuration = match id {
        Some(id) => work.get("billing_portal.configuration", id, "id")?,
        None if !params.has("features") => return Err(Refusal::missing("features")),
        None => blank(work, false),
    };
    if let Some(mut profile) = params.group("business_profile")? {
        for field in ["headline", "privacy_policy_url", "terms_of_service_url"] {
            if let Some(value) = profile.text(field)? {
                configuration["business_profile"][field] = if value.is_empty() { Value::Null } else { value.into() };
            }
        }
        profile.done()?;
    }
    if let Some(mut features) = params.group("features")? {
        for name in ["invoice_history", "payment_method_update", "subscription_cancel", "customer_update"] {
            let Some(mut feature) = features.group(name)? else { continue };
            let field = feature.name("enabled");
            configuration["features"][name]["enabled"] = feature.boolean("enabled")?.ok_or_else(|| Refusal::missing(&field))?.into();
            if name == "subscription_cancel" {
                if let Some(mode) = feature.one_of("mode", &["at_period_end", "immediately"])? {
                    configuration["features"][name]["mode"] = mode.into();
                }
                if let Some(behavior) = feature.one_of("proration_behavior", &["none"])? {
                    configuration["features"][name]["proration_behavior"] = behavior.into();
                }
            }
            if name == "customer_update"
                && let Some(allowed) = feature.texts("allowed_updates")?
            {
                configuration["features"][name]["allowed_updates"] = allowed.into();
            }
            feature.done()?;
        }
        features.done()?;
    }
    if let Some(active) = params.boolean("active")? {
        configuration["active"] = active.into();
    }
    if let Some(name) = params.filled("name")? {
        configuration["name"] = name.into();
    }
    if params.has("default_return_url") {
        configuration["default_return_url"] = params.url("default_return_url")?.into();
    }
    configuration["metadata"] = params.metadata("metadata", &configuration["metadata"])?;
    params.done()?;
    configuration["updated"] = work.now.into();
    match id {
        Some(_) => work.changed("billing_portal.configuration.updated", &configuration),
        None => work.made("billing_portal.configuration.created", &configuration),
    }
    Ok(configuration)
}

pub fn configurations(work: &mut Work<'_>, mut params: Params) -> Answer {
    let active = params.boolean("active")?;
    let default = params.boolean("is_default")?;
    list::page(work, "billing_portal.configuration", "/v1/billing_portal/configurations", params, |c| {
        active.is_none_or(|a| c["active"] == a) && default.is_none_or(|d| c["is_default"] == d)
    })
}

/// What a customer asked for on the page: a subscription ends at its period's end (or now, as the configuration says), or goes on after all.
pub fn act(work: &mut Work<'_>, session: &str, subscription: &str, ends: bool) -> Answer {
    let session = work.get("billing_portal.session", session, "id")?;
    let configuration = work.get("billing_portal.configuration", text(&session, "configuration"), "configuration")?;
    let cancel = &configuration["features"]["subscription_cancel"];
    let mut subscription = work.get("subscription", subscription, "subscription")?;
    if subscription["customer"] != session["customer"] || subscription["status"] == "canceled" || cancel["enabled"] != true {
        return Err(Refusal::no_such("subscription", text(&subscription, "id"), "subscription"));
    }
    if ends && cancel["mode"] == "immediately" {
        return Ok(super::subscriptions::end(work, subscription, "cancellation_requested"));
    }
    let end = super::subscriptions::period(&subscription).1;
    subscription["cancel_at_period_end"] = ends.into();
    subscription["cancel_at"] = if ends { end.into() } else { Value::Null };
    subscription["canceled_at"] = if ends { work.now.into() } else { Value::Null };
    subscription["cancellation_details"]["reason"] = if ends { "cancellation_requested".into() } else { Value::Null };
    work.changed("customer.subscription.updated", &subscription);
    Ok(subscription)
}
