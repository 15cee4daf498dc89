//! Who calls: a signed-in browser (session cookie), a program (API key), a worker (its instance's token). The operator has a module of its own.
//!
//! Safe unless told: [`Caller`] and [`Person`] take no API key; a handler that does names the scope in its type, [`For`].
//!
//! A cookie alone never changes anything for another site: it is `SameSite=Lax`, a change needs a JSON body or an
//! `Origin` that is ours, and what a browser says of a cross-site request (`Sec-Fetch-Site`) is believed.

use crate::app::App;
use crate::problem::Problem;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use kiln_core::access::{Role, Scope};
use kiln_core::ids::{AccountId, InstanceId};
use kiln_core::time::Millis;
use kiln_store::{ApiKey, Asked, Proof, Session};
use std::marker::PhantomData;
use subtle::ConstantTimeEq;

/// Name of the session cookie.
pub const COOKIE: &str = "kiln_session";

/// The header by which a session acts for an organisation.
pub const ACCOUNT_HEADER: &str = "kiln-account";

/// Who calls, and the account for which they act. As an extractor it takes a session alone and refuses API keys, so that a handler
/// that says nothing of scopes is closed to them; [`For`] names the scope that a key needs.
#[derive(Debug, Clone)]
pub struct Caller {
    pub account_id: AccountId,
    /// Of a session's person in that account (their own: owner); a key is as good as an admin within its scopes.
    pub role: Role,
    pub who: Who,
}

/// What the caller proved to hold.
#[derive(Debug, Clone)]
pub enum Who {
    Person(Session),
    Key(ApiKey),
}

impl Caller {
    /// Refuses a member of a lesser role.
    pub fn require(&self, least: Role) -> Result<(), Problem> {
        if self.role >= least { Ok(()) } else { Err(role_missing(least)) }
    }

    /// Who made the request: a person's account, or the account that a key belongs to.
    pub fn actor(&self) -> &AccountId {
        match &self.who {
            Who::Person(session) => &session.account_id,
            Who::Key(key) => &key.account_id,
        }
    }

    /// Writes down that a key is in use: once an hour, and never at the request's cost but a call's time.
    pub async fn note_use(&self, app: &App) {
        let Who::Key(key) = &self.who else { return };
        let now = app.now();
        if app.first_use(&key.key_id, now)
            && let Err(error) = app.table().note_key_use(&key.key_id, now).await
        {
            tracing::warn!(%error, key_id = %key.key_id, "the use of a key was not written down");
        }
    }
}

/// The refusal of a member who lacks a role.
pub fn role_missing(least: Role) -> Problem {
    let who = if least == Role::Owner { "an owner" } else { "an admin or an owner" };
    Problem::new(StatusCode::FORBIDDEN, "role_missing", format!("Only {who} of this account may do that."))
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let signed = Signed::from_request_parts(parts, app).await?;
        signed.check(app.table().prove(&signed.asked).await?, None, app.now())
    }
}

/// A caller who may be an API key with this scope, or a session of somebody whose role allows it: `caller: For<scope::JobsRead>`.
#[derive(Debug, Clone)]
pub struct For<S>(Caller, PhantomData<S>);

impl<S> std::ops::Deref for For<S> {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl<S: scope::Named> FromRequestParts<App> for For<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let signed = Signed::from_request_parts(parts, app).await?;
        let caller = signed.check(app.table().prove(&signed.asked).await?, Some(S::SCOPE), app.now())?;
        caller.require(S::LEAST)?;
        caller.note_use(app).await;
        Ok(Self(caller, PhantomData))
    }
}

/// Scopes as types, for [`For`].
pub mod scope {
    use kiln_core::access::{Role, Scope};

    pub trait Named: Send + Sync {
        const SCOPE: Scope;
        /// What a session's person must be in the account, for the same.
        const LEAST: Role;
    }

    macro_rules! named {
        ($($name:ident: $role:ident)*) => { $(
            #[derive(Debug, Clone, Copy)]
            pub struct $name;
            impl Named for $name {
                const SCOPE: Scope = Scope::$name;
                const LEAST: Role = Role::$role;
            }
        )* };
    }
    named!(JobsRead: Member JobsWrite: Member UploadsWrite: Member SharesWrite: Member CreditsRead: Member WebhooksWrite: Admin);
}

/// A signed-in person, about their own things, whatever account their pages act for.
#[derive(Debug, Clone)]
pub struct Person {
    pub account_id: AccountId,
    pub session: Session,
}

/// A guest: for what is sold without an account. Who has an account pays with its credits, and gets a refund of none.
#[derive(Debug, Clone)]
pub struct Visitor {
    pub account_id: AccountId,
    pub asked: Asked,
}

impl FromRequestParts<App> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let signed = Signed { asked: Signed::from_request_parts(parts, app).await?.asked.of_person() };
        let proof = app.table().prove(&signed.asked).await?;
        if !proof.session.as_ref().is_some_and(|session| session.guest) {
            signed.check(proof, None, app.now())?;
            return Err(Problem::conflict("signed_in", "You are signed in: ask for the job itself, with your credits; this is for guests."));
        }
        let session = proof.session.filter(|session| session.expires_at > app.now()).ok_or_else(session_ended)?;
        Ok(Self { account_id: session.account_id, asked: signed.asked })
    }
}

impl FromRequestParts<App> for Person {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let signed = Signed { asked: Signed::from_request_parts(parts, app).await?.asked.of_person() };
        let caller = signed.check(app.table().prove(&signed.asked).await?, None, app.now())?;
        match caller.who {
            Who::Person(session) => Ok(Self { account_id: caller.account_id, session }),
            Who::Key(_) => Err(session_needed()),
        }
    }
}

fn session_needed() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "session_needed", "This takes a signed-in person; an API key can't do it, whatever its scopes.")
}

/// What a request says of its caller, unchecked. A session's token names its account (`acc_….SECRET`) and a key names its account and itself
/// (`kiln_acc_….key_….SECRET`), so that a handler may read the proof together with whatever else it needs, in one call, and
/// [`Signed::check`] it then.
#[derive(Debug, Clone)]
pub struct Signed {
    pub asked: Asked,
}

/// What an API key begins with.
pub const KEY_PREFIX: &str = "kiln_";

impl Signed {
    /// The account that is acted for, unchecked.
    pub fn account_id(&self) -> &AccountId {
        self.asked.account_id()
    }

    fn session(token: &str, acts_for: Option<AccountId>) -> Option<Self> {
        let (account, secret) = token.split_once('.')?;
        (!secret.is_empty()).then_some(())?;
        let person: AccountId = account.parse().ok()?;
        Some(Self { asked: Asked::Session { acts_for: acts_for.unwrap_or_else(|| person.clone()), token_hash: kiln_store::hash(token), person } })
    }

    fn key(token: &str) -> Option<Self> {
        let mut parts = token.strip_prefix(KEY_PREFIX)?.splitn(3, '.');
        let (account, key, secret) = (parts.next()?, parts.next()?, parts.next()?);
        (!secret.is_empty()).then_some(())?;
        Some(Self { asked: Asked::Key { account_id: account.parse().ok()?, key_id: key.parse().ok()?, token_hash: kiln_store::hash(token) } })
    }

    /// The caller, if what was read proves it. `takes` is the scope that an API key needs here; with none, no key is taken.
    pub fn check(&self, proof: Proof, takes: Option<Scope>, now: Millis) -> Result<Caller, Problem> {
        match &self.asked {
            Asked::Session { person, acts_for, .. } => {
                // TTL only sweeps: what has expired is refused here.
                let session = proof.session.filter(|session| session.expires_at > now && session.account_id == *person).ok_or_else(session_ended)?;
                // A guest brings photos; all else is for accounts.
                if session.guest && takes != Some(Scope::UploadsWrite) {
                    return Err(guest_session());
                }
                let role = match acts_for == person {
                    true => Role::Owner,
                    // An organisation of others is as unknown as one that isn't.
                    false => proof.member.filter(|member| member.account_id == *person).ok_or_else(Problem::not_found)?.role,
                };
                Ok(Caller { account_id: acts_for.clone(), role, who: Who::Person(session) })
            }
            Asked::Key { account_id, token_hash, .. } => {
                let known = |key: &ApiKey| equal(&key.token_hash, token_hash) && key.expires_at.is_none_or(|at| at > now);
                let key = proof.key.filter(known).ok_or_else(key_invalid)?;
                let scope = takes.ok_or_else(session_needed)?;
                if !key.scopes.contains(&scope) {
                    let detail = format!("This API key lacks the scope {}.", scope.as_str());
                    return Err(Problem::new(StatusCode::FORBIDDEN, "scope_missing", detail));
                }
                Ok(Caller { account_id: account_id.clone(), role: Role::Admin, who: Who::Key(key) })
            }
        }
    }
}

fn session_ended() -> Problem {
    Problem::unauthorized("The session has ended; sign in again.")
}

fn guest_session() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "guest_session", "A guest uploads and pays for one job; sign in for all else.")
}

/// Revoked, expired and unknown keys answer the same.
fn key_invalid() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "key_invalid", "This API key was revoked, has expired or never existed.")
}

impl FromRequestParts<App> for Signed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let acts_for = match parts.headers.get(ACCOUNT_HEADER) {
            None => None,
            Some(id) => Some(id.to_str().ok().and_then(|id| id.parse().ok()).ok_or_else(Problem::not_found)?),
        };
        // A key wins over a cookie: a program that sends one means it, and a browser sends none by itself, which is why the rules
        // against other sites' pages are for cookies alone.
        if let Some(token) = has_bearer(&parts.headers) {
            let signed = bearer(&parts.headers).filter(|_| token).and_then(Self::key).ok_or_else(key_invalid)?;
            return match acts_for.is_none_or(|id| id == *signed.account_id()) {
                true => Ok(signed),
                false => Err(Problem::not_found()),
            };
        }
        let token = session_token(&parts.headers).ok_or_else(|| Problem::unauthorized("Sign in first."))?;
        same_site(app, &parts.method, &parts.headers)?;
        Self::session(&token, acts_for).ok_or_else(session_ended)
    }
}

/// Whether a bearer's token was sent, and if so whether there is only one.
fn has_bearer(headers: &HeaderMap) -> Option<bool> {
    let all = headers.get_all(header::AUTHORIZATION);
    let is_bearer =
        |value: &axum::http::HeaderValue| value.to_str().is_ok_and(|text| text.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer")));
    all.iter().any(is_bearer).then(|| all.iter().count() == 1)
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

pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
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
    /// Reads the instance out of a token, without having checked it.
    pub fn parse(token: &str) -> Option<Self> {
        let (id, secret) = token.strip_prefix(kiln_core::fleet::WORKER_PREFIX)?.split_once('.')?;
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
