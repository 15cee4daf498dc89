//! Sign-in links: asked for by anybody, sent to the address, used once.

use crate::AccountView;
use crate::sessions::USER_AGENT_BYTES;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse};
use kiln_core::address;
use kiln_core::ids::{AccountId, EntryId, SessionId};
use kiln_core::time::{Millis, rfc3339, seconds};
use kiln_http::caller::{cookie, network_address, same_site};
use kiln_http::mail::SignIn as SignInMail;
use kiln_http::{App, Body, Problem, Result, limits, new_secret};
use kiln_store::{Link, Session, SignIn};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// For how many minutes a link works.
pub const MINUTES: u32 = 15;

/// Tries at a sign-in that meets another of the same new address.
const TRIES: u32 = 3;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkRequest {
    #[schema(format = "email", min_length = 5, max_length = 254, example = "ada@example.org")]
    email: String,
}

/// Nothing to say.
#[derive(Serialize, ToSchema)]
pub struct Asked {}

/// Mails a sign-in link; the answer is the same whether or not the address has an account.
#[utoipa::path(post, path = "/api/v1/auth/request-link", tag = "auth", request_body = LinkRequest, responses((status = 202, description = "If the address is right, a link is on its way.", body = Asked)))]
pub async fn request_link(State(app): State<App>, headers: HeaderMap, body: Body<LinkRequest>) -> Result<(StatusCode, Json<Asked>)> {
    let email = address::parse(&body.value.email)?;
    let network = limits::network(&network_address(&app, &headers));
    if !limits::take(&app, "link-network", &network, app.settings().links_per_ip).await? {
        return Err(Problem::too_many(
            "too_many_links",
            "Too many sign-in links were asked for from your network; try again later.",
            limits::until_next(app.now()),
        ));
    }
    // Over this limit the answer is the same: who asks need not be who owns the address.
    if limits::take(&app, "link-address", &email, app.settings().links_per_address).await? {
        send_link(&app, email).await?;
    } else {
        tracing::info!("an address has had its sign-in links of this hour");
    }
    Ok((StatusCode::ACCEPTED, Json(Asked {})))
}

async fn send_link(app: &App, email: String) -> Result<()> {
    let secret = new_secret("");
    let expires_at = app.now() + seconds(u64::from(MINUTES) * 60);
    app.table().put_link(&secret.hash, &Link { email: email.clone(), expires_at, used_at: None, ttl: expires_at / 1000 }).await?;
    let link = format!("{}/sign-in?token={}", app.public_url(), secret.token);
    // Swallowed on purpose: the answer says nothing about an address, and SES refuses some for what it knows of them.
    if let Err(error) = app.send_mail(&email, &SignInMail { link: &link, minutes: MINUTES }).await {
        tracing::error!(%error, "a sign-in link could not be mailed");
    }
    Ok(())
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkToken {
    /// What the mailed link ends in.
    #[schema(min_length = 1, max_length = 256)]
    token: String,
    /// The code of whoever brought this person (`GET referrals`); it counts for a new account, and an unknown one is no error.
    #[serde(default)]
    #[schema(max_length = 64)]
    referral: Option<String>,
}

/// A session has begun.
#[derive(Serialize, ToSchema)]
pub struct SignedIn {
    account: AccountView,
    #[schema(format = "date-time")]
    session_expires_at: String,
}

/// Uses a mailed link up and begins a session; the first time, it makes the account.
#[utoipa::path(post, path = "/api/v1/auth/verify-link", tag = "auth", request_body = LinkToken, responses((status = 200, description = "Signed in; the session is in the cookie.", body = SignedIn, headers(("set-cookie" = String, description = "kiln_session"))), (status = 401, description = "The link was used, has expired or never existed.")))]
pub async fn verify_link(State(app): State<App>, method: Method, headers: HeaderMap, body: Body<LinkToken>) -> Result<impl IntoResponse> {
    // Else another site could sign a visitor in to an account of its own.
    same_site(&app, &method, &headers)?;
    let link_hash = kiln_store::hash(&body.value.token);
    let user_agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).map(|text| cut(text, USER_AGENT_BYTES).to_owned());
    for _ in 0..TRIES {
        let now = app.now();
        let link = app.table().link(&link_hash).await?;
        let email = link.filter(|link| link.used_at.is_none() && link.expires_at > now).ok_or_else(invalid)?.email;
        let known = app.table().account_of(&email).await?;
        let new_account = known.is_none();
        let account_id = known.unwrap_or_else(|| AccountId::new(now, app.random()));
        let secret = new_secret(&format!("{account_id}."));
        let session = begin(&app, account_id.clone(), secret.hash, user_agent.clone(), now);
        let session_expires_at = rfc3339(session.expires_at);
        let entry_id = EntryId::new(now, app.random());
        let granted_before = new_account && limits::was_granted(&app, &email).await?;
        let grant = if granted_before { 0 } else { app.settings().signup_millicredits as i64 };
        let referred_by = if new_account { referrer(&app, body.value.referral.as_deref()).await? } else { None };
        let wanted = SignIn { link_hash: link_hash.clone(), email, session, now, grant, entry_id, referred_by };
        if app.table().sign_in(&wanted, new_account).await?.is_none() {
            // The link was used meanwhile, or the account was made: the next round tells which.
            continue;
        }
        let account = app.table().account(&account_id).await?.ok_or_else(|| Problem::internal("an address leads to an account that is gone"))?;
        let set_cookie = cookie(&app, &secret.token, app.settings().session_days * 86_400);
        return Ok((AppendHeaders([(header::SET_COOKIE, set_cookie)]), Json(SignedIn { account: account.into(), session_expires_at })));
    }
    Err(kiln_store::Error::Busy.into())
}

/// The account that a referral's code names, if there is one.
async fn referrer(app: &App, code: Option<&str>) -> Result<Option<AccountId>> {
    let Some(id) = code.and_then(|code| format!("{}_{code}", AccountId::PREFIX).parse::<AccountId>().ok()) else { return Ok(None) };
    let known = app.table().account(&id).await?.filter(|account| account.state.is_none() && !account.guest && !account.suspended);
    Ok(known.map(|account| account.account_id))
}

fn begin(app: &App, account_id: AccountId, token_hash: String, user_agent: Option<String>, now: Millis) -> Session {
    let expires_at = now + seconds(app.settings().session_days * 86_400);
    Session {
        session_id: SessionId::new(now, app.random()),
        account_id,
        token_hash,
        created_at: now,
        expires_at,
        user_agent,
        guest: false,
        ttl: expires_at / 1000,
    }
}

/// Unknown, used and expired links answer the same.
fn invalid() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "link_invalid", "This link has been used, has expired or never existed; ask for a new one.").field("token")
}

/// At most `max` bytes of a text, whole characters.
fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("aéb", 2), "a");
        assert_eq!(cut("aéb", 3), "aé");
        assert_eq!(cut("ab", 200), "ab");
    }
}
