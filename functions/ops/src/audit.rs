//! The audit log, for operators to read: what was done by the admin key, what was refused, and who failed to sign in by one.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use kiln_core::FieldError;
use kiln_core::time::{parse_rfc3339, rfc3339};
use kiln_http::operator::ACTOR_CHARS;
use kiln_http::{Action, Admin, App, Page, Paging, Result};
use kiln_store::{Audit, AuditFilter, keys};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which lines.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Those of this action.
    #[param(pattern = r"^(sign-in|pool\.(change|prewarm|terminate|lease|release|machine)|account\.(change|grant))$", example = "pool.change")]
    action: Option<String>,
    /// Those of the key with this fingerprint, as the lines name it.
    #[param(pattern = "^[0-9a-f]{16}$", example = "5f0c3b1a9d2e4c67")]
    actor: Option<String>,
    /// Those from this time on.
    #[param(format = "date-time", example = "2026-11-21T00:00:00Z")]
    from: Option<String>,
    /// Those before this time.
    #[param(format = "date-time", example = "2026-11-22T00:00:00Z")]
    to: Option<String>,
}

impl AuditQuery {
    fn filter(&self) -> std::result::Result<AuditFilter, FieldError> {
        let time = |field: &str, text: &Option<String>| {
            let read = |text: &String| parse_rfc3339(text).ok_or_else(|| FieldError::new(field, "a time such as 2026-11-21T00:00:00Z"));
            text.as_ref().map(read).transpose()
        };
        let (from, to) = (time("from", &self.from)?, time("to", &self.to)?);
        if from.zip(to).is_some_and(|(from, to)| from > to) {
            return Err(FieldError::new("from", "it is after `to`"));
        }
        if self.action.as_ref().is_some_and(|word| Action::parse(word).is_none()) {
            return Err(FieldError::new("action", Action::ALL.map(Action::as_str).join(", ")));
        }
        let print = |actor: &String| actor.len() == ACTOR_CHARS && actor.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if self.actor.as_ref().is_some_and(|actor| !print(actor)) {
            return Err(FieldError::new("actor", format!("{ACTOR_CHARS} characters of 0-9 and a-f")));
        }
        Ok(AuditFilter { action: self.action.clone(), actor: self.actor.clone(), from, to })
    }
}

/// One line of the audit log.
#[derive(Serialize, ToSchema)]
pub struct AuditView {
    #[schema(example = "aud_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    id: String,
    #[schema(format = "date-time")]
    at: String,
    /// `sign-in`: somebody came with no key, or a wrong one.
    #[schema(example = "pool.change")]
    action: String,
    /// What it was done to; of a failed sign-in the route that was asked.
    #[schema(example = "pool")]
    subject: String,
    /// The beginning of the request's body.
    #[schema(example = "{\"desired_size\":1}")]
    facts: String,
    /// `done`, or the status and code of the refusal.
    #[schema(example = "422 bad_field")]
    outcome: String,
    /// The fingerprint of the key that came with it; null where none did.
    #[schema(example = "5f0c3b1a9d2e4c67")]
    actor: Option<String>,
    /// The caller's network address.
    #[schema(example = "203.0.113.24")]
    ip: Option<String>,
}

impl From<Audit> for AuditView {
    fn from(line: Audit) -> Self {
        let known = |text: String| Some(text).filter(|text| !text.is_empty());
        let Audit { id, at, action, subject, facts, outcome, actor, ip, .. } = line;
        Self { id, at: rfc3339(at), action, subject, facts, outcome, actor: known(actor), ip: known(ip) }
    }
}

/// What operators did and were refused, and who failed to sign in as one, newest first. With a filter a page may be short before the end:
/// `next_cursor` says whether there is more.
#[utoipa::path(get, path = "/api/v1/admin/audit", tag = "ops", params(AuditQuery, kiln_http::paging::PagingQuery), responses((status = 200, body = Page<AuditView>)), security(("admin" = [])))]
pub async fn list(
    State(app): State<App>,
    _: Admin,
    paging: Paging,
    query: std::result::Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<Page<AuditView>>> {
    let Query(query) = query.map_err(|refused| {
        let said = refused.body_text();
        let field = ["action", "actor", "from"].into_iter().find(|field| said.contains(&format!("`{field}`"))).unwrap_or("to");
        FieldError::new(field, "it stands twice")
    })?;
    let filter = query.filter()?;
    let after = paging.after(keys::AUDIT_LINE)?;
    let (lines, next) = app.table().audit(&filter, app.now(), paging.limit, after.as_deref()).await?;
    Ok(Json(Page::new(lines.into_iter().map(AuditView::from).collect(), next)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(change: impl FnOnce(&mut AuditQuery)) -> std::result::Result<AuditFilter, String> {
        let mut query = AuditQuery::default();
        change(&mut query);
        query.filter().map_err(|error| error.field)
    }

    #[test]
    fn a_filter_that_makes_no_sense_is_refused_by_its_field() {
        assert_eq!(query(|_| ()), Ok(AuditFilter::default()));
        let good = query(|query| {
            (query.action, query.actor) = (Some("sign-in".into()), Some("00112233445566ff".into()));
            (query.from, query.to) = (Some("1970-01-01T00:00:01Z".into()), Some("1970-01-01T01:00:01+01:00".into()));
        });
        assert_eq!(good.map(|filter| (filter.from, filter.to)), Ok((Some(1000), Some(1000))));
        assert_eq!(query(|query| query.action = Some("pool".into())), Err("action".into()));
        for actor in ["", "00112233445566f", "00112233445566FF", "00112233445566ff0"] {
            assert_eq!(query(|query| query.actor = Some(actor.into())), Err("actor".into()), "{actor}");
        }
        assert_eq!(query(|query| query.from = Some("yesterday".into())), Err("from".into()));
        assert_eq!(query(|query| query.to = Some("2026-11-21".into())), Err("to".into()));
        let backwards = |query: &mut AuditQuery| (query.from, query.to) = (Some("2026-11-22T00:00:00Z".into()), Some("2026-11-21T00:00:00Z".into()));
        assert_eq!(query(backwards), Err("from".into()));
    }
}
