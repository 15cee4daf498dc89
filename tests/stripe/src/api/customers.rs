//! Customers.

use serde_json::{Value, json};

use super::{list, subscriptions};
use crate::{
    error::{Answer, Refusal},
    params::Params,
    work::{Work, text},
};

const ADDRESS: [&str; 6] = ["city", "country", "line1", "line2", "postal_code", "state"];

/// A customer with an address of mail and a name, as Checkout makes them.
pub fn blank(work: &mut Work<'_>, email: Option<&str>, name: Option<&str>) -> Value {
    let id = work.id("cus");
    json!({
        "id": id, "object": "customer", "address": null, "balance": 0, "created": work.now, "currency": null, "customer_account": null,
        "default_source": null, "delinquent": false, "description": null, "discount": null, "email": email,
        "invoice_prefix": id[id.len() - 8..].to_uppercase(),
        "invoice_settings": { "custom_fields": null, "default_payment_method": null, "footer": null, "rendering_options": null },
        "livemode": false, "metadata": {}, "name": name, "next_invoice_sequence": 1, "phone": null, "preferred_locales": [], "shipping": null,
        "tax_exempt": "none", "test_clock": null,
        // How the customer's card fares at the next charge: "ok" or "declined".
        "_card": "ok",
    })
}

fn apply(params: &mut Params, customer: &mut Value) -> Result<(), Refusal> {
    for field in ["name", "description", "phone"] {
        if let Some(text) = params.text(field)? {
            customer[field] = if text.is_empty() { Value::Null } else { text.into() };
        }
    }
    if let Some(email) = params.text("email")? {
        if !email.is_empty() && !looks_like_mail(&email) {
            return Err(Refusal::field("email", format!("Invalid email address: {email}")).code("email_invalid"));
        }
        customer["email"] = if email.is_empty() { Value::Null } else { email.into() };
    }
    if let Some(address) = params.record("address", &ADDRESS)? {
        customer["address"] = address;
    }
    if let Some(balance) = params.int("balance")? {
        customer["balance"] = balance.into();
    }
    if let Some(exempt) = params.one_of("tax_exempt", &["none", "exempt", "reverse"])? {
        customer["tax_exempt"] = exempt.into();
    }
    if let Some(locales) = params.texts("preferred_locales")? {
        customer["preferred_locales"] = locales.into();
    }
    if let Some(mut settings) = params.group("invoice_settings")? {
        if let Some(method) = settings.text("default_payment_method")? {
            customer["invoice_settings"]["default_payment_method"] = if method.is_empty() { Value::Null } else { method.into() };
        }
        if let Some(footer) = settings.text("footer")? {
            customer["invoice_settings"]["footer"] = if footer.is_empty() { Value::Null } else { footer.into() };
        }
        settings.done()?;
    }
    customer["metadata"] = params.metadata("metadata", &customer["metadata"])?;
    Ok(())
}

/// Whether there is something, an @ and a host.
pub fn looks_like_mail(text: &str) -> bool {
    text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.') && !host.starts_with('.') && !host.ends_with('.'))
        && !text.contains(char::is_whitespace)
}

pub fn create(work: &mut Work<'_>, mut params: Params) -> Answer {
    work.room()?;
    let mut customer = blank(work, None, None);
    apply(&mut params, &mut customer)?;
    params.done()?;
    work.made("customer.created", &customer);
    Ok(customer)
}

pub fn update(work: &mut Work<'_>, id: &str, mut params: Params) -> Answer {
    let mut customer = work.live("customer", id, "id")?;
    apply(&mut params, &mut customer)?;
    params.done()?;
    work.changed("customer.updated", &customer);
    Ok(customer)
}

pub fn list(work: &mut Work<'_>, mut params: Params) -> Answer {
    let email = params.filled("email")?;
    list::page(work, "customer", "/v1/customers", params, |c| email.as_deref().is_none_or(|e| text(c, "email") == e))
}

/// Its subscriptions end at once.
pub fn delete(work: &mut Work<'_>, id: &str, params: Params) -> Answer {
    params.done()?;
    let customer = work.live("customer", id, "id")?;
    let open: Vec<Value> = work.state.all("subscription").filter(|s| s["customer"] == id && s["status"] != "canceled").cloned().collect();
    for subscription in open {
        subscriptions::end(work, subscription, "cancellation_requested");
    }
    let deleted = json!({ "id": id, "object": "customer", "deleted": true });
    work.put(&deleted);
    work.emit("customer.deleted", &customer);
    Ok(deleted)
}
