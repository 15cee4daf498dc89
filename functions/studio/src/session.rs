//! The session of a guest: an account for one visit, which nobody signs in to and which is swept unless it pays.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse};
use kiln_core::ids::{AccountId, SessionId};
use kiln_core::time::{rfc3339, seconds};
use kiln_http::caller::{cookie, network_address, same_site, session_token};
use kiln_http::{App, Problem, Result, limits, new_secret};
use kiln_store::{Account, AccountKind, Session};
use serde::Serialize;
use utoipa::ToSchema;

/// The session's row is kept this much longer.
const SWEPT_AFTER: i64 = 86_400;

/// A guest's session has begun.
#[derive(Serialize, ToSchema)]
pub struct GuestSession {
    #[schema(format = "date-time")]
    expires_at: String,
}

/// Begins a guest's session: it uploads, quotes and pays for one job, without an account.
#[utoipa::path(post, path = "/api/v1/studio/session", tag = "guest", responses((status = 201, description = "The session is in the cookie.", body = GuestSession, headers(("set-cookie" = String, description = "kiln_session"))), (status = 409, description = "Somebody is signed in here.")))]
pub async fn begin(State(app): State<App>, method: Method, headers: HeaderMap) -> Result<impl IntoResponse> {
    same_site(&app, &method, &headers)?;
    let network = limits::network(&network_address(&app, &headers));
    if !limits::take(&app, "guest-network", &network, app.settings().guests_per_ip).await? {
        let detail = "Too many guests come from your network; try again later, or sign in.";
        return Err(Problem::too_many("too_many_guests", detail, limits::until_next(app.now())));
    }
    let now = app.now();
    // The cookie would take the place of theirs.
    if let Some(token) = session_token(&headers)
        && app.table().session(&kiln_store::hash(&token)).await?.is_some_and(|session| !session.guest && session.expires_at > now)
    {
        return Err(Problem::conflict("signed_in", "You are signed in; sign out first to come as a guest."));
    }
    let life_s = app.settings().guest_minutes * 60;
    let expires_at = now + seconds(life_s);
    let account_id = AccountId::new(now, app.random());
    let secret = new_secret(&format!("{account_id}."));
    let ttl = expires_at / 1000 + SWEPT_AFTER;
    let account =
        Account { guest: true, ttl: Some(expires_at / 1000 + crate::checkout::UNPAID_FOR_S), ..Account::new(account_id.clone(), AccountKind::Person, 0, now) };
    let session = Session {
        session_id: SessionId::new(now, app.random()),
        account_id,
        token_hash: secret.hash,
        created_at: now,
        expires_at,
        user_agent: None,
        guest: true,
        ttl,
    };
    app.table().begin_guest(&account, &session).await?;
    let set_cookie = cookie(&app, &secret.token, life_s);
    Ok((StatusCode::CREATED, AppendHeaders([(header::SET_COOKIE, set_cookie)]), Json(GuestSession { expires_at: rfc3339(expires_at) })))
}
