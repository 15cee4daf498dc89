//! Checkout sessions: made, read, listed, expired. What paying one does is in `complete`.

use serde_json::{Value, json};

use super::{customers, line_items, list, money};
use crate::{
    error::{Answer, Refusal},
    params::Params,
    work::{Work, int, text},
};

const HALF_AN_HOUR_S: i64 = 30 * 60;
const A_DAY_S: i64 = 24 * 3600;

pub fn create(work: &mut Work<'_>, mut params: Params) -> Answer {
    work.room()?;
    let mode = params.one_of("mode", &["payment", "subscription"])?.ok_or_else(|| Refusal::missing("mode"))?;
    let subscription = mode == "subscription";
    let success_url = params.url("success_url")?.ok_or_else(|| Refusal::missing("success_url"))?;
    let cancel_url = params.url("cancel_url")?;
    let (customer, email) = buyer(work, &mut params)?;
    let reference = params.filled("client_reference_id")?;
    if reference.as_ref().is_some_and(|r| r.len() > 200) {
        return Err(Refusal::field("client_reference_id", "client_reference_id holds up to 200 characters."));
    }
    let expires = expires_at(&mut params, work.now)?;
    let creation = params.one_of("customer_creation", &["always", "if_required"])?;
    if creation.is_some() && (subscription || customer.is_some()) {
        return Err(Refusal::field("customer_creation", "`customer_creation` can only be used in `payment` mode, and not with `customer`."));
    }
    let intent_data = kept(
        &mut params,
        "payment_intent_data",
        subscription.then_some("subscription"),
        &["description", "receipt_email", "statement_descriptor", "statement_descriptor_suffix"],
    )?;
    let subscription_data = kept(&mut params, "subscription_data", (!subscription).then_some("payment"), &["description"])?;
    let invoice = invoice_creation(&mut params, subscription)?;
    let metadata = params.metadata("metadata", &Value::Null)?;
    let methods = params.texts("payment_method_types")?.unwrap_or_else(|| vec!["card".into()]);
    if methods.is_empty() {
        return Err(Refusal::field("payment_method_types", "Give at least one payment method type."));
    }
    let look = look(&mut params)?;
    let currency = params.currency("currency")?;
    let (items, currency) = line_items::read(work, &mut params, subscription, currency)?;
    params.done()?;
    let total = line_items::total(&items);
    if total > 0 && total < money::least(&currency) {
        let least = money::spoken(money::least(&currency), &currency);
        return Err(Refusal::invalid(format!("The Checkout Session's total amount due must add up to at least {least} {currency}")).code("amount_too_small"));
    }
    let id = work.id("cs_test");
    let creation = match (subscription, &customer) {
        (false, None) => creation.unwrap_or_else(|| if invoice["enabled"] == true { "always".into() } else { "if_required".into() }).into(),
        (true, None) => "always".into(),
        _ => Value::Null,
    };
    let mut session = json!({
        "id": id, "object": "checkout.session", "adaptive_pricing": { "enabled": false }, "after_expiration": null, "allow_promotion_codes": null,
        "amount_subtotal": total, "amount_total": total, "automatic_tax": { "enabled": false, "liability": null, "provider": null, "status": null },
        "billing_address_collection": null, "cancel_url": cancel_url, "client_reference_id": reference, "client_secret": null,
        "collected_information": null, "consent": null, "consent_collection": null, "created": work.now, "currency": currency,
        "currency_conversion": null, "custom_fields": [],
        "custom_text": { "after_submit": null, "shipping_address": null, "submit": null, "terms_of_service_acceptance": null },
        "customer": customer, "customer_account": null, "customer_creation": creation, "customer_details": null, "customer_email": email, "discounts": [],
        "expires_at": expires, "invoice": null, "invoice_creation": if subscription { Value::Null } else { invoice }, "livemode": false, "locale": null,
        "metadata": metadata, "mode": mode, "origin_context": null, "payment_intent": null, "payment_link": null,
        "payment_method_collection": if subscription { "always" } else { "if_required" }, "payment_method_configuration_details": null,
        "payment_method_options": {}, "payment_method_types": methods, "payment_status": if total == 0 && !subscription { "no_payment_required" } else { "unpaid" },
        "permissions": null, "phone_number_collection": { "enabled": false }, "recovered_from": null, "saved_payment_method_options": null,
        "setup_intent": null, "shipping_address_collection": null, "shipping_cost": null, "shipping_options": [], "status": "open", "submit_type": null,
        "subscription": null, "success_url": success_url, "total_details": { "amount_discount": 0, "amount_shipping": 0, "amount_tax": 0 },
        "ui_mode": "hosted_page", "url": format!("{}/pay/{id}", work.config.base_url), "wallet_options": null,
        "_line_items": items, "_payment_intent_data": intent_data, "_subscription_data": subscription_data,
    });
    for (name, value) in look {
        session[name] = value;
    }
    work.put(&session);
    Ok(session)
}

/// Who pays: a customer that exists, or an address of mail, or neither.
fn buyer(work: &Work<'_>, params: &mut Params) -> Result<(Option<String>, Option<String>), Refusal> {
    let customer = params.filled("customer")?;
    let email = params.filled("customer_email")?;
    if let Some(update) = params.group("customer_update")? {
        if customer.is_none() {
            return Err(Refusal::field("customer_update", "`customer_update` can only be used with `customer`."));
        }
        let mut update = update;
        for field in ["address", "name", "shipping"] {
            update.one_of(field, &["auto", "never"])?;
        }
        update.done()?;
    }
    if let Some(id) = &customer {
        work.live("customer", id, "customer")?;
        if email.is_some() {
            return Err(Refusal::field("customer_email", "You may only specify one of these parameters: customer, customer_email."));
        }
    }
    if let Some(email) = email.as_ref().filter(|e| !customers::looks_like_mail(e)) {
        return Err(Refusal::field("customer_email", format!("Invalid email address: {email}")).code("email_invalid"));
    }
    Ok((customer, email))
}

fn expires_at(params: &mut Params, now: i64) -> Result<i64, Refusal> {
    let at = params.int("expires_at")?.unwrap_or(now + A_DAY_S);
    // A minute of slack on both sides, for the clocks of caller and server.
    if at < now + HALF_AN_HOUR_S - 60 || at > now + A_DAY_S + 60 {
        return Err(Refusal::field("expires_at", "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation."));
    }
    Ok(at)
}

/// `payment_intent_data` and `subscription_data`: metadata and some texts, for the object that paying makes. `other_mode`: the mode that lacks it.
fn kept(params: &mut Params, key: &str, other_mode: Option<&str>, texts: &[&str]) -> Result<Value, Refusal> {
    let Some(mut group) = params.group(key)? else { return Ok(json!({ "metadata": {} })) };
    if let Some(mode) = other_mode {
        return Err(Refusal::field(key, format!("You can not pass `{key}` in `{mode}` mode.")));
    }
    let mut data = json!({ "metadata": group.metadata("metadata", &Value::Null)? });
    for text in texts {
        data[*text] = group.filled(text)?.into();
    }
    if key == "payment_intent_data" {
        group.one_of("capture_method", &["automatic", "automatic_async"])?;
        data["setup_future_usage"] = group.one_of("setup_future_usage", &["on_session", "off_session"])?.into();
    }
    group.done()?;
    Ok(data)
}

fn invoice_creation(params: &mut Params, subscription: bool) -> Answer {
    let mut invoice = json!({
        "enabled": false,
        "invoice_data": { "account_tax_ids": null, "custom_fields": null, "description": null, "footer": null, "issuer": null, "metadata": {}, "rendering_options": null },
    });
    let Some(mut group) = params.group("invoice_creation")? else { return Ok(invoice) };
    let enabled = group.boolean("enabled")?.ok_or_else(|| Refusal::missing("invoice_creation[enabled]"))?;
    if enabled && subscription {
        return Err(Refusal::field(
            "invoice_creation",
            "You can only enable invoice creation when `mode` is set to `payment`. Invoices are created automatically when `mode` is set to `subscription`.",
        ));
    }
    invoice["enabled"] = enabled.into();
    if let Some(mut data) = group.group("invoice_data")? {
        invoice["invoice_data"]["description"] = data.filled("description")?.into();
        invoice["invoice_data"]["footer"] = data.filled("footer")?.into();
        invoice["invoice_data"]["metadata"] = data.metadata("metadata", &Value::Null)?;
        data.done()?;
    }
    group.done()?;
    Ok(invoice)
}

/// What changes only the page's look, and is kept as it came.
fn look(params: &mut Params) -> Result<Vec<(&'static str, Value)>, Refusal> {
    let mut kept = Vec::new();
    params.one_of("ui_mode", &["hosted_page"])?;
    if let Some(value) = params.filled("locale")? {
        kept.push(("locale", value.into()));
    }
    if let Some(value) = params.one_of("billing_address_collection", &["auto", "required"])? {
        kept.push(("billing_address_collection", value.into()));
    }
    if let Some(value) = params.one_of("submit_type", &["auto", "book", "donate", "pay", "subscribe"])? {
        kept.push(("submit_type", value.into()));
    }
    if let Some(value) = params.one_of("payment_method_collection", &["always", "if_required"])? {
        kept.push(("payment_method_collection", value.into()));
    }
    if let Some(value) = params.boolean("allow_promotion_codes")? {
        kept.push(("allow_promotion_codes", value.into()));
    }
    for (group, field) in
        [("automatic_tax", "automatic_tax"), ("tax_id_collection", "tax_id_collection"), ("phone_number_collection", "phone_number_collection")]
    {
        let Some(mut given) = params.group(group)? else { continue };
        if given.boolean("enabled")? == Some(true) {
            return Err(Refusal::field(given.name("enabled"), format!("The stand-in has no {field}: leave it off.")));
        }
        given.done()?;
    }
    Ok(kept)
}

pub fn list(work: &mut Work<'_>, mut params: Params) -> Answer {
    let filters = ["customer", "payment_intent", "subscription", "status"].map(|name| params.filled(name).map(|value| (name, value)));
    let filters: Vec<_> = filters.into_iter().collect::<Result<_, _>>()?;
    let email = match params.group("customer_details")? {
        Some(mut group) => {
            let email = group.filled("email")?;
            group.done()?;
            email
        }
        None => None,
    };
    list::page(work, "checkout.session", "/v1/checkout/sessions", params, |s| {
        filters.iter().all(|(name, wanted)| wanted.as_deref().is_none_or(|w| s[*name] == w))
            && email.as_deref().is_none_or(|e| s["customer_details"]["email"] == e)
    })
}

pub fn update(work: &mut Work<'_>, id: &str, mut params: Params) -> Answer {
    let mut session = work.get("checkout.session", id, "id")?;
    session["metadata"] = params.metadata("metadata", &session["metadata"])?;
    params.done()?;
    work.put(&session);
    Ok(session)
}

pub fn line_items(work: &mut Work<'_>, id: &str, params: Params) -> Answer {
    let session = work.get("checkout.session", id, "id")?;
    let items = session["_line_items"].as_array().cloned().unwrap_or_default();
    list::slice(items, &format!("/v1/checkout/sessions/{id}/line_items"), params)
}

pub fn expire(work: &mut Work<'_>, id: &str, params: Params) -> Answer {
    params.done()?;
    let session = work.get("checkout.session", id, "id")?;
    if session["status"] != "open" {
        let message =
            format!("Only Checkout Sessions with a status in [\"open\"] can be expired. This Checkout Session has a status of {}.", text(&session, "status"));
        return Err(Refusal::invalid(message));
    }
    Ok(end(work, session))
}

fn end(work: &mut Work<'_>, mut session: Value) -> Value {
    session["status"] = "expired".into();
    session["url"] = Value::Null;
    work.made("checkout.session.expired", &session);
    session
}

/// Ends the sessions whose time is over.
pub fn expire_due(work: &mut Work<'_>) {
    let due: Vec<Value> = work.state.all("checkout.session").filter(|s| s["status"] == "open" && int(s, "expires_at") <= work.now).cloned().collect();
    for session in due {
        end(work, session);
    }
}
