//! What rented machines were used for, for operators to read: an event for each phase, with the seconds and the cost of the one before it.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use kiln_core::FieldError;
use kiln_core::pool::usage::Phase;
use kiln_core::time::{parse_rfc3339, rfc3339};
use kiln_http::{Admin, App, Page, Paging, Result};
use kiln_store::{Usage, UsageFilter, keys};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which events.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct UsageQuery {
    /// Those of this machine.
    #[param(pattern = "^ins_[0-7][0-9A-HJKMNP-TV-Z]{25}$", example = "ins_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    instance_id: Option<String>,
    /// Those from this time on.
    #[param(format = "date-time", example = "2026-11-21T00:00:00Z")]
    from: Option<String>,
    /// Those before this time.
    #[param(format = "date-time", example = "2026-11-22T00:00:00Z")]
    to: Option<String>,
}

impl UsageQuery {
    fn filter(&self) -> std::result::Result<UsageFilter, FieldError> {
        let time = |field: &str, text: &Option<String>| {
            let read = |text: &String| parse_rfc3339(text).ok_or_else(|| FieldError::new(field, "a time such as 2026-11-21T00:00:00Z"));
            text.as_ref().map(read).transpose()
        };
        let (from, to) = (time("from", &self.from)?, time("to", &self.to)?);
        if from.zip(to).is_some_and(|(from, to)| from > to) {
            return Err(FieldError::new("from", "it is after `to`"));
        }
        let id = |text: &String| text.parse().map_err(|_| FieldError::new("instance_id", "the id of a machine, such as ins_01JD6Z3M8Q4V5X7Y9A2B3C4D5E"));
        Ok(UsageFilter { instance_id: self.instance_id.as_ref().map(id).transpose()?, from, to })
    }
}

/// A machine's phase begins, and another one is over.
#[derive(Serialize, ToSchema)]
pub struct UsageView {
    #[schema(format = "date-time")]
    at: String,
    #[schema(example = "ins_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    instance_id: String,
    #[schema(example = "vast")]
    provider: String,
    gpu: Option<String>,
    event: Phase,
    /// The phase that is over; null where the machine was asked for just now.
    ended: Option<Phase>,
    /// How long that phase was.
    gpu_seconds: u64,
    /// What it cost, in millionths of a dollar.
    cost_microusd: i64,
}

impl From<Usage> for UsageView {
    fn from(usage: Usage) -> Self {
        let Usage { instance_id, provider, gpu, at, phase, ended, gpu_seconds, cost_microusd, .. } = usage;
        Self { at: rfc3339(at), instance_id: instance_id.to_string(), provider, gpu, event: phase, ended, gpu_seconds, cost_microusd }
    }
}

/// What rented machines were used for, newest first. With `instance_id` a page may be short before the end: `next_cursor` says whether there is
/// more. Kept for thirteen months.
#[utoipa::path(get, path = "/api/v1/admin/pool/events", tag = "ops", params(UsageQuery, kiln_http::paging::PagingQuery), responses((status = 200, body = Page<UsageView>)), security(("admin" = [])))]
pub async fn list(
    State(app): State<App>,
    _: Admin,
    paging: Paging,
    query: std::result::Result<Query<UsageQuery>, QueryRejection>,
) -> Result<Json<Page<UsageView>>> {
    let Query(query) = query.map_err(|refused| {
        let said = refused.body_text();
        let field = ["instance_id", "from"].into_iter().find(|field| said.contains(&format!("`{field}`"))).unwrap_or("to");
        FieldError::new(field, "it stands twice")
    })?;
    let filter = query.filter()?;
    let after = paging.after(keys::USAGE)?;
    let (events, next) = app.table().usage(&filter, app.now(), paging.limit, after.as_deref()).await?;
    Ok(Json(Page::new(events.into_iter().map(UsageView::from).collect(), next)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_makes_no_sense_is_refused_by_its_field() {
        let query = |change: &dyn Fn(&mut UsageQuery)| {
            let mut query = UsageQuery::default();
            change(&mut query);
            query.filter().map_err(|error| error.field)
        };
        assert_eq!(query(&|_| ()), Ok(UsageFilter::default()));
        assert_eq!(query(&|query| query.instance_id = Some("i-1".into())), Err("instance_id".into()));
        assert_eq!(query(&|query| query.to = Some("soon".into())), Err("to".into()));
        let backwards = |query: &mut UsageQuery| (query.from, query.to) = (Some("2026-11-22T00:00:00Z".into()), Some("2026-11-21T00:00:00Z".into()));
        assert_eq!(query(&backwards), Err("from".into()));
    }
}
