//! Lists: `limit`, `cursor` in; `items`, `next_cursor` out. A cursor is opaque to its client and only a sort key to us;
//! the partition always comes from who calls.

use crate::problem::Problem;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kiln_core::FieldError;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

pub const DEFAULT_LIMIT: u32 = 20;
pub const MAX_LIMIT: u32 = 100;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PagingQuery {
    /// How many items at most, from 1 to 100.
    #[param(minimum = 1, maximum = 100, default = 20)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Paging {
    pub limit: u32,
    cursor: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Paging {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(query) = Query::<PagingQuery>::from_request_parts(parts, state).await.map_err(|refused| unreadable(&refused))?;
        let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(FieldError::new("limit", "a whole number from 1 to 100").into());
        }
        Ok(Self { limit, cursor: query.cursor })
    }
}

/// What is wrong with a query that can't be read as `limit` and `cursor`. A cursor is any text, so only two of them are wrong.
pub fn unreadable(refused: &QueryRejection) -> FieldError {
    match refused.body_text().contains("`cursor`") {
        true => FieldError::new("cursor", "it stands twice"),
        false => FieldError::new("limit", "a whole number from 1 to 100"),
    }
}

impl Paging {
    /// The sort key to start after; it must be one of this list's.
    pub fn after(&self, prefix: &str) -> Result<Option<String>, Problem> {
        self.cursor
            .as_ref()
            .map(|cursor| {
                let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
                bytes
                    .and_then(|bytes| String::from_utf8(bytes).ok())
                    .filter(|key| key.starts_with(prefix) && key.len() < 200)
                    .ok_or_else(|| FieldError::new("cursor", "not a cursor of this list").into())
            })
            .transpose()
    }
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T: ToSchema> {
    pub items: Vec<T>,
    /// Ask for the next page with it; null at the end.
    pub next_cursor: Option<String>,
}

impl<T: ToSchema> Page<T> {
    pub fn new(items: Vec<T>, next: Option<String>) -> Self {
        Self { items, next_cursor: next.map(|key| URL_SAFE_NO_PAD.encode(key)) }
    }
}
