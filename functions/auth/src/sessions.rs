//! Sessions: who is signed in, where, and no longer.

use crate::AccountView;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse};
use kiln_core::ids::SessionId;
use kiln_core::time::rfc3339;
use kiln_http::caller::{COOKIE, same_site, session_token};
use kiln_http::{App, Caller, Id, Page, Paging, Problem, Result};
use kiln_store::{Reason, Suppression};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is kept of a browser's name for itself.
pub const USER_AGENT_BYTES: usize = 200;

/// The session cookie; no token and no seconds clear it.
pub fn cookie(app: &App, token: &str, max_age_s: u64) -> String {
    // A browser keeps no secure cookie of plain http, as a laptop serves.
    let secure = if app.public_url().starts_with("https://") { "; Secure" } else { "" };
    format!("{COOKIE}={token}; HttpOnly; Path=/; SameSite=Lax; Max-Age={max_age_s}{secure}")
}

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

#[derive(Serialize, ToSchema)]
pub struct Me {
    account: AccountView,
    mail: MailView,
}

/// Whether mail reaches the account's address.
#[derive(Serialize, ToSchema)]
pub struct MailView {
    state: MailState,
    /// When the mail bounced or was complained about.
    #[schema(format = "date-time")]
    since: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MailState {
    Ok,
    /// The address takes no mail, so none is sent: sign-in links and invitations too. Change it while a session is open.
    Bounced,
    /// A mail of ours was called spam there, so none is sent.
    Complained,
}

impl From<Option<Suppression>> for MailView {
    fn from(known: Option<Suppression>) -> Self {
        match known.filter(Suppression::stops) {
            None => Self { state: MailState::Ok, since: None },
            Some(Suppression { reason: Reason::Bounced, since, .. }) => Self { state: MailState::Bounced, since: Some(rfc3339(since)) },
            Some(Suppression { reason: Reason::Complained, since, .. }) => Self { state: MailState::Complained, since: Some(rfc3339(since)) },
        }
    }
}

/// Who is signed in.
#[utoipa::path(get, path = "/api/v1/me", tag = "auth", responses((status = 200, body = Me)), security(("session" = [])))]
pub async fn me(State(app): State<App>, caller: Caller) -> Result<Json<Me>> {
    let account = app.table().account(&caller.account_id).await?.ok_or_else(|| Problem::unauthorized("The account is gone."))?;
    let mail = app.table().suppression(&account.email).await?.into();
    Ok(Json(Me { account: account.into(), mail }))
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
pub async fn list(State(app): State<App>, caller: Caller, paging: Paging) -> Result<Json<Page<SessionView>>> {
    let after = paging.after(kiln_store::keys::SESSION)?;
    let (sessions, next) = app.table().sessions(&caller.account_id, paging.limit, after.as_deref()).await?;
    let now = app.now();
    let items = sessions.into_iter().filter(|session| session.expires_at > now).map(|session| SessionView {
        current: session.session_id == caller.session.session_id,
        id: session.session_id.into(),
        created_at: rfc3339(session.created_at),
        expires_at: rfc3339(session.expires_at),
        user_agent: session.user_agent,
    });
    Ok(Json(Page::new(items.collect(), next)))
}

/// Signs one browser out.
#[utoipa::path(delete, path = "/api/v1/sessions/{id}", tag = "auth", params(("id" = String, Path)), responses((status = 204, description = "It is signed out.")), security(("session" = [])))]
pub async fn end(State(app): State<App>, caller: Caller, Id(id): Id<SessionId>) -> Result<StatusCode> {
    let session = app.table().account_session(&caller.account_id, &id).await?.ok_or_else(Problem::not_found)?;
    app.table().end_session(&session).await?;
    Ok(StatusCode::NO_CONTENT)
}
