//! Events, as the API lists them.

use super::list;
use crate::{
    error::{Answer, Refusal},
    params::Params,
    work::{Work, int, text},
};

pub fn list(work: &mut Work<'_>, mut params: Params) -> Answer {
    let kind = params.filled("type")?;
    let kinds = params.texts("types")?;
    if kind.is_some() && kinds.is_some() {
        return Err(Refusal::field("type", "You may only specify one of these parameters: type, types."));
    }
    let delivered = params.boolean("delivery_success")?;
    // `charge.*` names all types that begin with `charge.`.
    let fits = |wanted: &str, kind: &str| wanted.strip_suffix('*').map_or(wanted == kind, |start| kind.starts_with(start));
    list::page(work, "event", "/v1/events", params, |e| {
        kind.as_deref().is_none_or(|k| fits(k, text(e, "type")))
            && kinds.as_ref().is_none_or(|all| all.iter().any(|k| fits(k, text(e, "type"))))
            && delivered.is_none_or(|d| (int(e, "pending_webhooks") == 0) == d)
    })
}
