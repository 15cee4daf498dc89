//! Who calls: a signed-in browser (session cookie), a worker (its instance's token), an operator (the admin key).
//!
//! A cookie alone never changes anything for another site: it is `SameSite=Lax`, a change needs a JSON body or an
//! `Origin` that is ours, and what a browser says of a cross-site request (`Sec-Fetch-Site`) is believed.

use crate::app::App;
use crate::problem::Problem;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use kiln_core::ids::{AccountId, InstanceId};
use kiln_store::Session;
use subtle::ConstantTimeEq;

/// Name of the session cookie.
pub const COOKIE: &str = "kiln_session";

/// A signed-in caller and the account for which they act.
#[derive(Debug, Clone)]
pub struct Caller {
    pub account_id: AccountId,
    pub session: Session,
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let signed = Signed::from_request_parts(parts, app).await?;
        // TTL only sweeps: what has expired is refused by the check.
        signed.check(app.table().session(&signed.token_hash).await?, app.now())
    }
}

/// What a session token says of itself, unchecked: it names its account (`acc_….SECRET`), so that a handler may read the
/// session together with whatever else it needs, in one call, and [`Signed::check`] it then.
#[derive(Debug, Clone)]
pub struct Signed {
    pub account_id: AccountId,
    pub token_hash: String,
}

impl Signed {
    pub fn parse(token: &str) -> Option<Self> {
        let (account, secret) = token.split_once('.')?;
        (!secret.is_empty()).then_some(())?;
        Some(Self { account_id: account.parse().ok()?, token_hash: kiln_store::hash(token) })
    }

    /// The caller, if this is a living session of that account.
    pub fn check(&self, session: Option<Session>, now: kiln_core::time::Millis) -> Result<Caller, Problem> {
        session
            .filter(|session| session.expires_at > now && session.account_id == self.account_id)
            .map(|session| Caller { account_id: session.account_id.clone(), session })
            .ok_or_else(|| Problem::unauthorized("The session has ended; sign in again."))
    }
}

impl FromRequestParts<App> for Signed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let token = session_token(&parts.headers).ok_or_else(|| Problem::unauthorized("Sign in first."))?;
        same_site(app, &parts.method, &parts.headers)?;
        Self::parse(&token).ok_or_else(|| Problem::unauthorized("The session has ended; sign in again."))
    }
}

/// The session cookie; no token and no seconds clear it.
pub fn cookie(app: &App, token: &str, max_age_s: u64) -> String {
    // A browser keeps no secure cookie of plain http, as a laptop serves.
    let secure = if app.public_url().starts_with("https://") { "; Secure" } else { "" };
    format!("{COOKIE}={token}; HttpOnly; Path=/; SameSite=Lax; Max-Age={max_age_s}{secure}")
}

/// The session token of a request's cookies.
pub fn session_token(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, value)| *name == COOKIE && !value.is_empty() && value.len() <= 256)
        .map(|(_, value)| value.to_owned())
}

/// Refuses a change that another site's page has a browser send.
pub fn same_site(app: &App, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    if method.is_safe() {
        return Ok(());
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let refused = || Problem::new(StatusCode::FORBIDDEN, "cross_site", "A page of another site may not do this.");
    if text("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return Err(refused());
    }
    if let Some(origin) = text("origin") {
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        let ours = origin == app.public_url() || (!host.is_empty() && Some(host) == text("host"));
        if !ours {
            return Err(refused());
        }
    }
    Ok(())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= 512).then_some(token.trim())
}

/// Whether two secrets are equal, in a time that doesn't tell where they differ.
pub fn equal(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

/// A worker, as its token says. The token names its instance (`kin_ins_….SECRET`), so that it is checked by base-table
/// key together with whatever else the call reads; nothing is read here.
#[derive(Debug, Clone)]
pub struct Worker {
    pub instance_id: InstanceId,
    pub token_hash: String,
}

impl Worker {
    pub const PREFIX: &'static str = "kin_";

    /// Reads the instance out of a token, without having checked it.
    pub fn parse(token: &str) -> Option<Self> {
        let (id, secret) = token.strip_prefix(Self::PREFIX)?.split_once('.')?;
        (!secret.is_empty()).then_some(())?;
        Some(Self { instance_id: id.parse().ok()?, token_hash: kiln_store::hash(token) })
    }

    /// The instance, if this is its token.
    pub fn check(&self, instance: Option<kiln_store::Instance>) -> Result<kiln_store::Instance, Problem> {
        instance
            .filter(|instance| instance.token_hash.as_deref().is_some_and(|hash| equal(hash, &self.token_hash)))
            .ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "unknown_worker", "This instance's token is not valid."))
    }
}

impl FromRequestParts<App> for Worker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        bearer(&parts.headers).and_then(Self::parse).ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "unknown_worker", "A worker's token is needed."))
    }
}

/// The worker, where a call may come without one.
pub struct MaybeWorker(pub Option<Worker>);

impl FromRequestParts<App> for MaybeWorker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        Ok(Self(bearer(&parts.headers).and_then(Worker::parse)))
    }
}

/// Of characters; a shorter admin key opens nothing.
pub const LEAST_ADMIN_KEY: usize = 16;

/// The operator.
#[derive(Debug, Clone, Copy)]
pub struct Admin;

impl FromRequestParts<App> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let refused = || Problem::new(StatusCode::UNAUTHORIZED, "not_admin", "The admin key is needed.");
        let given = bearer(&parts.headers).ok_or_else(refused)?.to_owned();
        let key = app.secrets().get("admin-key").await?;
        if key.len() >= LEAST_ADMIN_KEY && equal(&given, &key) { Ok(Self) } else { Err(refused()) }
    }
}

/// The id that follows a request from the gateway to the worker's log.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.extensions.get::<RequestId>().map_or_else(String::new, |id| id.0.clone())))
    }
}

/// The caller's network address. The gateway writes the last entry of `x-forwarded-for`; a request that came through our
/// distribution proves it by `x-kiln-edge`, and then the distribution wrote the entry before that. What a client wrote into
/// the header itself stands before both and is never believed.
pub fn network_address(app: &App, headers: &HeaderMap) -> String {
    address_of(app.env("KILN_EDGE"), headers)
}

fn address_of(edge: Option<&str>, headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let through_edge = edge.is_some_and(|edge| equal(edge, text("x-kiln-edge")));
    text("x-forwarded-for").rsplit(',').nth(usize::from(through_edge)).unwrap_or("").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "a=b; kiln_session=tok".parse().unwrap());
        assert_eq!(session_token(&headers).as_deref(), Some("tok"));
        headers.insert(header::COOKIE, "kiln_session=".parse().unwrap());
        assert_eq!(session_token(&headers), None);
    }

    #[test]
    fn a_forged_forwarding_header_does_not_choose_the_address() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "1.2.3.4, 203.0.113.9".parse().unwrap());
        assert_eq!(address_of(None, &headers), "203.0.113.9");
        headers.insert("x-kiln-edge", "stack".parse().unwrap());
        assert_eq!(address_of(Some("stack"), &headers), "1.2.3.4");
        assert_eq!(address_of(Some("other"), &headers), "203.0.113.9");
    }

    #[test]
    fn a_worker_s_token_names_its_instance() {
        let id = InstanceId::new(1, 2);
        assert_eq!(Worker::parse(&format!("kin_{id}.abc")).unwrap().instance_id, id);
        for bad in ["", "kin_", "kin_ins_1.abc", &format!("kin_{id}."), &format!("{id}.abc")] {
            assert!(Worker::parse(bad).is_none(), "{bad}");
        }
    }
}
