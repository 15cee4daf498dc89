//! Sessions: where a person is signed in, and no longer.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse};
use kiln_core::ids::SessionId;
use kiln_core::time::rfc3339;
use kiln_http::caller::{cookie, same_site, session_token};
use kiln_http::{App, Id, Page, Paging, Person, Problem, Result};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is kept of a browser's name for itself.
pub const USER_AGENT_BYTES: usize = 200;

/// Ends the session; who is signed out already gets the same answer.
#[utoipa::path(post, path = "/api/v1/auth/logout", tag = "auth", responses((status = 204, description = "Signed out.", headers(("set-cookie" = String, description = "Clears kiln_session")))))]
pub async fn logout(State(app): State<App>, method: Method, headers: HeaderMap) -> Result<impl IntoResponse> {
    same_site(&app, &method, &headers)?;
    if let Some(token) = session_token(&headers)
        && let Some(session) = app.table().session(&kiln_store::hash(&token)).await?
    {
        app.table().end_session(&session).await?;
    }
    Ok((StatusCode::NO_CONTENT, AppendHeaders([(header::SET_COOKIE, cookie(&app, "", 0))])))
}

/// A browser that is signed in.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SessionView {
    #[schema(example = "ses_01JD6Z3M8Q4V5X7Y9A2B3C4D5E")]
    id: String,
    /// Whether this very request came by it.
    current: bool,
    #[schema(format = "date-time")]
    created_at: String,
    #[schema(format = "date-time")]
    expires_at: String,
    user_agent: Option<String>,
}

/// Where the account is signed in, newest first.
#[utoipa::path(get, path = "/api/v1/sessions", tag = "auth", params(kiln_http::paging::PagingQuery), responses((status = 200, body = Page<SessionView>)), security(("session" = [])))]
pub async fn list(State(app): State<App>, person: Person, paging: Paging) -> Result<Json<Page<SessionView>>> {
    let after = paging.after(kiln_store::keys::SESSION)?;
    let (sessions, next) = app.table().sessions(&person.account_id, paging.limit, after.as_deref()).await?;
    let now = app.now();
    let items = sessions.into_iter().filter(|session| session.expires_at > now).map(|session| SessionView {
        current: session.session_id == person.session.session_id,
        id: session.session_id.into(),
        created_at: rfc3339(session.created_at),
        expires_at: rfc3339(session.expires_at),
        user_agent: session.user_agent,
    });
    Ok(Json(Page::new(items.collect(), next)))
}

/// Signs one browser out.
#[utoipa::path(delete, path = "/api/v1/sessions/{id}", tag = "auth", params(("id" = String, Path)), responses((status = 204, description = "It is signed out.")), security(("session" = [])))]
pub async fn end(State(app): State<App>, person: Person, Id(id): Id<SessionId>) -> Result<StatusCode> {
    let session = app.table().account_session(&person.account_id, &id).await?.ok_or_else(Problem::not_found)?;
    app.table().end_session(&session).await?;
    Ok(StatusCode::NO_CONTENT)
}
