//! `expand[]`: an id in an answer is replaced by what it names, and what is only included on request is included.

use serde_json::Value;

use super::list;
use crate::{
    error::Refusal,
    work::{Work, public, text},
};

const MAX_LEVELS: usize = 4;

pub fn all(work: &Work<'_>, value: &mut Value, paths: &[String]) -> Result<(), Refusal> {
    for path in paths {
        let steps: Vec<&str> = path.split('.').collect();
        let levels = steps.iter().filter(|s| **s != "data").count();
        if levels > MAX_LEVELS {
            return Err(Refusal::field("expand", format!("You can't expand more than {MAX_LEVELS} levels of a property. Property: {path}")));
        }
        follow(work, value, &steps, path)?;
    }
    Ok(())
}

fn follow(work: &Work<'_>, value: &mut Value, steps: &[&str], path: &str) -> Result<(), Refusal> {
    let Some((step, rest)) = steps.split_first() else { return Ok(()) };
    let refuse = || Refusal::field("expand", format!("This property cannot be expanded ({path})."));
    if let Some(included) = include(work, value, step) {
        value[*step] = included;
    }
    match value.get_mut(*step) {
        None => Err(refuse()),
        Some(Value::Null) => Ok(()),
        Some(Value::Array(members)) => {
            for member in members {
                replace(work, member);
                follow(work, member, rest, path)?;
            }
            Ok(())
        }
        Some(member) => {
            replace(work, member);
            if member.is_object() { follow(work, member, rest, path) } else { Err(refuse()) }
        }
    }
}

fn replace(work: &Work<'_>, value: &mut Value) {
    if let Some(found) = value.as_str().and_then(|id| work.state.get(id)) {
        *value = public(found);
    }
}

/// What an object shows only when it is asked for.
fn include(work: &Work<'_>, value: &Value, field: &str) -> Option<Value> {
    let id = text(value, "id");
    let whole = work.state.get(id)?;
    let of = |kind: &str, by: &str| work.state.all(kind).filter(|v| v[by] == id).map(public).collect::<Vec<_>>();
    match (text(value, "object"), field) {
        ("checkout.session", "line_items") => {
            let items = whole["_line_items"].as_array().cloned().unwrap_or_default();
            Some(list::inside(format!("/v1/checkout/sessions/{id}/line_items"), items))
        }
        ("price", "currency_options") => Some(whole["_currency_options"].clone()),
        ("charge", "refunds") => Some(list::inside(format!("/v1/charges/{id}/refunds"), of("refund", "charge"))),
        ("customer", "subscriptions") => {
            let open = of("subscription", "customer").into_iter().filter(|s| s["status"] != "canceled").collect();
            Some(list::inside(format!("/v1/customers/{id}/subscriptions"), open))
        }
        ("invoice", "payments") => Some(list::inside("/v1/invoice_payments".into(), of("invoice_payment", "invoice"))),
        _ => None,
    }
}
