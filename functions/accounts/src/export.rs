//! Everything of an account as a file. A large account comes in parts, each bounded, which a cursor leads through; no part has a secret
//! or a hash of one.

use crate::{api_keys, members, orgs};
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kiln_core::FieldError;
use kiln_core::access::Role;
use kiln_core::time::rfc3339;
use kiln_http::view::{JobView, URL_S, with_urls};
use kiln_http::{App, Caller, Problem, Result};
use kiln_store::{Account, AccountKind, Upload, keys};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// A part is closed once it is larger; what one page adds to that stays far below the 6 MB that a function may answer.
const PART_BYTES: usize = 2_000_000;
/// Items of one page within a part: so that a page of jobs with the longest parameters stays below 2 MB.
const PAGE: u32 = 50;
/// The same of creations, each of which may have 64 links.
const PAGE_OF_CREATIONS: u32 = 10;

/// The lists of an account, in the order of the export.
const LISTS: [&str; 13] = [
    "sessions",
    "api_keys",
    "organisations",
    "members",
    "invites",
    "uploads",
    "jobs",
    "creations",
    "batches",
    "ledger",
    "payments",
    "webhook_endpoints",
    "deliveries",
];
const SHARES: &str = "shares";

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ExportQuery {
    /// `next_cursor` of the part before.
    pub cursor: Option<String>,
}

/// One part of an export.
#[derive(Serialize, ToSchema)]
#[allow(dead_code)]
pub struct Export {
    /// When this part was made.
    #[schema(format = DateTime)]
    exported_at: String,
    #[schema(value_type = Object)]
    account: Value,
    /// Each list under its name, as far as it is in this part.
    #[serde(flatten)]
    lists: Map<String, Value>,
    /// Ask for the next part with it; null in the last.
    next_cursor: Option<String>,
}

/// Where the next part begins: a list, and the sort key to go on after.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Place {
    list: usize,
    after: Option<String>,
}

fn names() -> impl Iterator<Item = &'static str> {
    LISTS.into_iter().chain([SHARES])
}

impl Place {
    fn read(cursor: &str) -> std::result::Result<Self, FieldError> {
        let wrong = || FieldError::new("cursor", "not a cursor of this export");
        let text = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(wrong)?;
        let (name, after) = text.split_once(' ').ok_or_else(wrong)?;
        let list = names().position(|list| list == name).ok_or_else(wrong)?;
        if after.len() > 200 || !(after.is_empty() || prefix(name).is_some_and(|prefix| after.starts_with(prefix))) {
            return Err(wrong());
        }
        Ok(Self { list, after: Some(after.to_owned()).filter(|after| !after.is_empty()) })
    }

    fn write(&self) -> Option<String> {
        let name = names().nth(self.list)?;
        Some(URL_SAFE_NO_PAD.encode(format!("{name} {}", self.after.as_deref().unwrap_or_default())))
    }
}

/// What the sort keys of a list that comes in pages begin with.
fn prefix(list: &str) -> Option<&'static str> {
    Some(match list {
        "sessions" => keys::SESSION,
        "organisations" => keys::MEMBERSHIP,
        "members" => keys::MEMBER,
        "uploads" => keys::UPLOAD,
        "jobs" => keys::JOB,
        "creations" => keys::CREATION,
        "ledger" => keys::LEDGER,
        "invites" => keys::INVITE,
        "batches" => keys::BATCH,
        "payments" => keys::ORDER,
        "webhook_endpoints" => keys::ENDPOINT,
        "deliveries" => keys::DELIVERY,
        SHARES => keys::SHARE,
        _ => return None,
    })
}

/// Everything of the account that is acted for, as a JSON file; links to files in it work for 15 minutes. A large account comes in parts of
/// about 2 MB. An owner may.
#[utoipa::path(get, path = "/api/v1/me/export", tag = "accounts", params(ExportQuery, ("Kiln-Account" = Option<String>, Header, description = "Of this organisation.")), responses((status = 200, body = Export, headers(("content-disposition" = String, description = "attachment"))), (status = 403), (status = 404)), security(("session" = [])))]
pub async fn export(
    State(app): State<App>,
    caller: Caller,
    query: std::result::Result<Query<ExportQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response> {
    caller.require(Role::Owner)?;
    let cursor = query.map_err(|_| FieldError::new("cursor", "not a cursor of this export"))?.0.cursor;
    let mut place = cursor.as_deref().map(Place::read).transpose()?.unwrap_or_default();
    let account = app.table().account(&caller.account_id).await?.filter(|account| account.state.is_none()).ok_or_else(Problem::not_found)?;
    let mut lists: Map<String, Value> = Map::new();
    let mut bytes = 0;
    while let Some(name) = names().nth(place.list) {
        let (items, next) = page(&app, &caller, name, place.after.as_deref()).await?;
        bytes += items.iter().map(|item| item.to_string().len()).sum::<usize>();
        if let Value::Array(list) = lists.entry(name).or_insert_with(|| json!([])) {
            list.extend(items);
        }
        place = match next {
            Some(after) => Place { list: place.list, after: Some(after) },
            None => Place { list: place.list + 1, after: None },
        };
        if bytes > PART_BYTES {
            break;
        }
    }
    let part = Export { exported_at: rfc3339(app.now()), account: account_json(&account), lists, next_cursor: place.write() };
    let body = serde_json::to_vec_pretty(&part).map_err(Problem::internal)?;
    let name = format!("attachment; filename=\"kiln-{}.json\"", caller.account_id);
    Ok(([(header::CONTENT_TYPE, "application/json".to_owned()), (header::CONTENT_DISPOSITION, name)], body).into_response())
}

fn account_json(account: &Account) -> Value {
    json!({
        "id": account.account_id,
        "kind": account.kind,
        "email": account.email,
        "name": account.name,
        "preferences": if account.kind == AccountKind::Person { json!(account.preferences) } else { Value::Null },
        "created_at": rfc3339(account.created_at),
        "available_millicredits": account.counters.available,
        "held_millicredits": account.counters.held,
        "debt_millicredits": account.counters.debt,
        "stored_bytes": account.stored_bytes,
        "referrals": account.referrals,
        "referral_millicredits": account.referral_millicredits,
        "prices": account.prices,
        "limits": {
            "running": account.counters.max_running, "queued": account.counters.max_queued, "stored_bytes": account.max_stored_bytes, "projects": account.max_projects,
        },
        "plan": account.subscription.as_ref().map(|plan| json!({
            "plan": plan.plan, "status": plan.status, "currency": plan.currency, "period_end": plan.period_end.map(rfc3339), "ends_at_period_end": plan.ends_at_period_end,
        })),
    })
}

fn value<T: Serialize>(item: &T) -> Result<Value> {
    serde_json::to_value(item).map_err(Problem::internal)
}

/// One page of a list, as the API shows its items.
async fn page(app: &App, caller: &Caller, list: &str, after: Option<&str>) -> Result<(Vec<Value>, Option<String>)> {
    let (table, id) = (app.table(), &caller.account_id);
    Ok(match list {
        "sessions" => {
            let (found, next) = table.sessions(id, PAGE, after).await?;
            let view = |s: &kiln_store::Session| json!({"id": s.session_id, "created_at": rfc3339(s.created_at), "expires_at": rfc3339(s.expires_at), "user_agent": s.user_agent});
            (found.iter().map(view).collect(), next)
        }
        "api_keys" => (api_keys::views(app, caller).await?.iter().map(value).collect::<Result<_>>()?, None),
        "organisations" => {
            let (found, next) = table.orgs(id, PAGE, after).await?;
            (orgs::views(&found).iter().map(value).collect::<Result<_>>()?, next)
        }
        "members" => {
            let (found, next) = table.members(id, PAGE, after).await?;
            (members::views(app, &found).await?.iter().map(value).collect::<Result<_>>()?, next)
        }
        "uploads" => {
            let (found, next) = table.uploads_page(id, PAGE, after).await?;
            let mut items = Vec::new();
            for upload in &found {
                items.push(upload_json(app, upload).await?);
            }
            (items, next)
        }
        "jobs" => {
            let (found, next) = table.jobs(id, PAGE, after).await?;
            (found.iter().map(|job| value(&JobView::new(job, vec![], None))).collect::<Result<_>>()?, next)
        }
        "creations" => {
            let (found, next) = table.creations(id, PAGE_OF_CREATIONS, after).await?;
            let mut items = Vec::new();
            for made in &found {
                let artifacts = with_urls(app.files(), &made.artifacts).await?;
                let params: Value = serde_json::from_str(&made.params).unwrap_or_default();
                items.push(json!({"job_id": made.job_id, "kind": made.kind, "params": params, "created_at": rfc3339(made.created_at), "artifacts": artifacts}));
            }
            (items, next)
        }
        "invites" => {
            let (found, next) = table.invite_page(id, PAGE, after).await?;
            let view = |i: &kiln_store::Invite| json!({"id": i.invite_id, "email": i.email, "role": i.role, "created_at": rfc3339(i.created_at), "expires_at": rfc3339(i.expires_at)});
            (found.iter().map(view).collect(), next)
        }
        "batches" => {
            let (found, next) = table.batches(id, PAGE, after).await?;
            let view = |b: &kiln_core::batch::Batch| {
                json!({"id": b.batch_id, "state": b.state, "rows": b.rows, "started": b.started, "total_millicredits": b.total_millicredits,
                    "left_millicredits": b.left_millicredits, "created_at": rfc3339(b.created_at), "closed_at": b.closed_at.map(rfc3339)})
            };
            (found.iter().map(view).collect(), next)
        }
        "payments" => {
            let (found, next) = table.orders(id, PAGE, after).await?;
            let view = |o: &kiln_core::billing::Order| {
                json!({"id": o.order_id, "buys": o.buys, "state": o.state, "amount": o.amount, "currency": o.currency, "created_at": rfc3339(o.created_at),
                    "paid_at": o.paid_at.map(rfc3339)})
            };
            (found.iter().map(view).collect(), next)
        }
        "webhook_endpoints" => {
            let (found, next) = table.endpoint_page(id, PAGE, after).await?;
            let view = |e: &kiln_store::hooks::Endpoint| {
                json!({"id": e.endpoint_id, "url": e.url, "events": e.events.as_slice(), "enabled": e.enabled, "disabled_because": e.disabled_because,
                    "created_at": rfc3339(e.created_at)})
            };
            (found.iter().map(view).collect(), next)
        }
        "deliveries" => {
            let (found, next) = table.deliveries(id, &Default::default(), PAGE, after).await?;
            let view = |d: &kiln_store::hooks::Delivery| json!({"id": d.delivery_id, "endpoint_id": d.endpoint_id, "type": d.kind, "state": d.state, "at": rfc3339(d.at), "tries": d.tries.len()});
            (found.iter().map(view).collect(), next)
        }
        "ledger" => {
            let (found, next) = table.entries(id, PAGE, after).await?;
            let view = |e: &kiln_core::ledger::Entry| {
                json!({"id": e.id, "at": rfc3339(e.at), "kind": e.kind, "amount_millicredits": e.amount(), "d_available_millicredits": e.d_available,
                    "d_held_millicredits": e.d_held, "cause": e.cause, "external_id": e.external_id})
            };
            (found.iter().map(view).collect(), next)
        }
        _ => {
            let (found, next) = table.shares(id, PAGE, after).await?;
            let view = |s: &kiln_store::Share| json!({"id": s.share_id, "job_id": s.job_id, "created_at": rfc3339(s.created_at), "expires_at": s.expires_at.map(rfc3339)});
            (found.iter().map(view).collect(), next)
        }
    })
}

async fn upload_json(app: &App, upload: &Upload) -> Result<Value> {
    let url = match &upload.key {
        Some(key) => Some(app.files().presign_media_get(key, Duration::from_secs(URL_S), Some(&upload.filename), &upload.content_type).await?),
        None => None,
    };
    Ok(json!({
        "id": upload.upload_id, "state": upload.state, "filename": upload.filename, "content_type": upload.content_type, "bytes": upload.bytes,
        "sha256": upload.sha256, "width": upload.width, "height": upload.height, "created_at": rfc3339(upload.created_at), "url": url,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_to_its_list_and_to_no_other() {
        for place in [Place { list: 0, after: None }, Place { list: 6, after: Some("JOB#job_1".into()) }, Place { list: 13, after: Some("SHARE#shr_1".into()) }]
        {
            assert_eq!(Place::read(&place.write().unwrap()).unwrap(), place);
        }
        assert_eq!(Place { list: 14, after: None }.write(), None, "the last part has none");
        for bad in ["", "x", "jobs ACCOUNT", "jobs LEDGER#led_1", "api_keys KEY#key_1", "other JOB#job_1"] {
            assert_eq!(Place::read(&URL_SAFE_NO_PAD.encode(bad)).unwrap_err().field, "cursor", "{bad}");
        }
        assert!(Place::read("%%").is_err());
    }

    /// What lies in an account's partition is exported, or stands here with the reason.
    #[test]
    fn whatever_an_account_has_is_exported_or_left_out_by_name() {
        let left_out = [
            // Shown as a list of their own, without what is secret.
            keys::API_KEY,
            // A job's place in the queue; an event that is about to become deliveries; answers to repeated requests, for a day.
            keys::QUEUED,
            keys::EVENT,
            keys::IDEM,
        ];
        let known: Vec<&str> = names().filter_map(prefix).chain(left_out).chain(["ACCOUNT"]).collect();
        for sort_key in kiln_store::keys::OF_AN_ACCOUNT {
            assert!(known.contains(sort_key), "{sort_key}");
        }
    }

    #[test]
    fn every_list_but_the_keys_comes_in_pages() {
        assert_eq!(names().filter(|name| prefix(name).is_none()).collect::<Vec<_>>(), ["api_keys"]);
    }
}
