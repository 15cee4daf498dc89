//! The operator: who holds the admin key, what they do by it, and the line that this leaves in the audit log.
//!
//! Promises: a handler that changes something names its action in its type ([`Acts`]) and gives the line to the transaction of the change; what
//! was refused, and who failed to sign in, is written by [`audited`] routes when it has been answered. No key is kept, but its keyed fingerprint;
//! and strangers can't fill the log.

use crate::caller::{bearer, equal, network_address};
use crate::limits::{self, Keys, fingerprint};
use crate::problem::{Code, Problem};
use crate::{App, Result};
use axum::Router;
use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use kiln_core::ids::AuditId;
use kiln_core::time::{Millis, seconds};
use kiln_store::{Audit, DONE};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

/// Of characters; a shorter admin key opens nothing.
pub const LEAST_ADMIN_KEY: usize = 16;

/// Lines of failed sign-ins that one network's callers, and all callers, get in an hour. What is beyond is a line of the function's log alone.
pub const FAILED_PER_NETWORK: u64 = 60;
pub const FAILED_IN_ALL: u64 = 600;

/// Of a request's body in its line.
pub const FACTS_BYTES: usize = 2_000;
const SUBJECT_BYTES: usize = 100;
const ADDRESS_BYTES: usize = 64;
/// Of a fingerprint: 64 bits tell keys apart and can be typed.
pub const ACTOR_CHARS: usize = 16;

/// What stands in a line where the key itself stood in a request.
const KEY_STOOD_HERE: &str = "[the admin key]";

/// What leaves a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// With no key, or a wrong one.
    SignIn,
    PoolChange,
    PoolPrewarm,
    PoolTerminate,
    PoolLease,
    PoolRelease,
    PoolMachine,
    AccountChange,
    AccountGrant,
}

impl Action {
    pub const ALL: [Self; 9] = [
        Self::SignIn,
        Self::PoolChange,
        Self::PoolPrewarm,
        Self::PoolTerminate,
        Self::PoolLease,
        Self::PoolRelease,
        Self::PoolMachine,
        Self::AccountChange,
        Self::AccountGrant,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign-in",
            Self::PoolChange => "pool.change",
            Self::PoolPrewarm => "pool.prewarm",
            Self::PoolTerminate => "pool.terminate",
            Self::PoolLease => "pool.lease",
            Self::PoolRelease => "pool.release",
            Self::PoolMachine => "pool.machine",
            Self::AccountChange => "account.change",
            Self::AccountGrant => "account.grant",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == word)
    }
}

/// Actions as types, for [`Acts`].
pub mod action {
    use super::Action;

    pub trait Named: Send + Sync {
        const ACTION: Action;
    }

    macro_rules! named {
        ($($name:ident)*) => { $(
            #[derive(Debug, Clone, Copy)]
            pub struct $name;
            impl Named for $name {
                const ACTION: Action = Action::$name;
            }
        )* };
    }
    named!(PoolChange PoolPrewarm PoolTerminate PoolLease PoolRelease PoolMachine AccountChange AccountGrant);
}

/// The operator, who looks. What changes something takes [`Acts`], and is refused with this.
#[derive(Debug, Clone, Copy)]
pub struct Admin;

impl FromRequestParts<App> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        sign_in(parts, app).await?;
        match parts.method.is_safe() {
            true => Ok(Self),
            false => Err(Problem::internal("an operator's route that changes something names no action")),
        }
    }
}

/// The operator, who does what the type names: `operator: Acts<action::PoolChange>`. It stands before whatever may refuse the request, so that the
/// refusal has its line.
pub struct Acts<A>(Trail, PhantomData<A>);

impl<A: action::Named> FromRequestParts<App> for Acts<A> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let key = sign_in(parts, app).await?;
        let subject = subject(parts, app).await.replace(&key, KEY_STOOD_HERE);
        let trail = Trail::of(parts)?;
        trail.note(Act { action: A::ACTION, subject, key: Some(key), ip: network_address(app, &parts.headers) });
        Ok(Self(trail, PhantomData))
    }
}

impl<A> Acts<A> {
    /// The line of the action, for the transaction that does it.
    pub async fn line(&self, app: &App, now: Millis) -> Result<Audit> {
        let act = self.0.act().ok_or_else(|| Problem::internal("an action without its trail"))?;
        self.0.line(app, act, now, DONE.into()).await
    }
}

/// What is acted on: the one that the path names, or what stands behind `admin/` in it.
async fn subject(parts: &mut Parts, app: &App) -> String {
    let named = RawPathParams::from_request_parts(parts, app).await.ok().and_then(|params| params.iter().next().map(|(_, value)| value.to_owned()));
    named.unwrap_or_else(|| route(parts).rsplit_once("/admin/").map_or_else(String::new, |(_, rest)| rest.to_owned()))
}

fn route(parts: &Parts) -> &str {
    parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str)
}

/// The key, where it is the operator's. Where it isn't, or there is none, that is a failed sign-in.
async fn sign_in(parts: &Parts, app: &App) -> Result<String> {
    let trail = Trail::of(parts)?;
    let given = bearer(&parts.headers).map(str::to_owned);
    if let Some(given) = &given {
        let key = app.secrets().get("admin-key").await?;
        if key.len() >= LEAST_ADMIN_KEY && equal(given, &key) {
            return Ok(given.clone());
        }
    }
    let asked = format!("{} {}", parts.method, route(parts));
    trail.note(Act { action: Action::SignIn, subject: asked, key: given, ip: network_address(app, &parts.headers) });
    Err(Problem::new(StatusCode::UNAUTHORIZED, "not_admin", "The admin key is needed."))
}

#[derive(Clone)]
struct Act {
    action: Action,
    subject: String,
    /// That was presented.
    key: Option<String>,
    ip: String,
}

/// What a request may leave in the audit log, as its extractors find it.
#[derive(Clone, Default)]
pub(crate) struct Trail(Arc<Mutex<Found>>);

#[derive(Default)]
struct Found {
    act: Option<Act>,
    body: Bytes,
}

impl Trail {
    fn of(parts: &Parts) -> Result<Self> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Problem::internal("an operator's route lacks the audit log's layer"))
    }

    fn note(&self, act: Act) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).act = Some(act);
    }

    pub(crate) fn note_body(&self, body: &Bytes) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).body = body.clone();
    }

    fn act(&self) -> Option<Act> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).act.clone()
    }

    async fn line(&self, app: &App, act: Act, at: Millis, outcome: String) -> Result<Audit> {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner).body.clone();
        let mut facts = String::from_utf8_lossy(&body).into_owned();
        let mut actor = String::new();
        if let Some(key) = &act.key {
            facts = facts.replace(key, KEY_STOOD_HERE);
            actor = fingerprint(Keys::read(app).await?.present(), "admin-key", key);
        }
        Ok(Audit {
            id: AuditId::new(at, app.random()).to_string(),
            at,
            action: act.action.as_str().into(),
            subject: cut(act.subject, SUBJECT_BYTES),
            facts: cut(facts, FACTS_BYTES),
            outcome,
            actor: cut(actor, ACTOR_CHARS),
            ip: cut(act.ip, ADDRESS_BYTES),
            ttl: (at + seconds(app.settings().audit_days * 86_400)) / 1000,
        })
    }

    /// Writes what was refused. Of failed sign-ins only so many: a stranger chooses how often to fail.
    async fn refused(&self, app: &App, act: Act, outcome: String) -> Result<()> {
        if act.action == Action::SignIn {
            let network = limits::network(&act.ip);
            if !limits::take(app, "admin-network", &network, FAILED_PER_NETWORK).await? || !limits::take(app, "admin-all", "", FAILED_IN_ALL).await? {
                tracing::warn!(asked = %act.subject, "a failed sign-in of an operator; the audit log has had its lines of this hour");
                return Ok(());
            }
        }
        let line = self.line(app, act, app.now(), outcome).await?;
        Ok(app.table().put_audit(&line).await?)
    }
}

fn cut(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    text
}

/// The routes with [`layer`], which those of [`Admin`] and [`Acts`] need.
pub fn audited(routes: Router, app: App) -> Router {
    routes.layer(axum::middleware::from_fn_with_state(app, layer))
}

/// Writes the line of what an operator was refused. What was done has its line already, from the transaction that did it.
async fn layer(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let trail = Trail::default();
    request.extensions_mut().insert(trail.clone());
    let response = next.run(request).await;
    let status = response.status();
    if let Some(act) = trail.act().filter(|_| !status.is_success()) {
        let outcome = match response.extensions().get::<Code>() {
            Some(Code(code)) => format!("{} {code}", status.as_u16()),
            None => status.as_u16().to_string(),
        };
        let action = act.action.as_str();
        if let Err(problem) = trail.refused(&app, act, outcome).await {
            tracing::error!(action, code = problem.code, "the audit log lacks a line");
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_action_is_found_by_its_name_and_no_other_is() {
        for action in Action::ALL {
            assert_eq!(Action::parse(action.as_str()), Some(action));
        }
        assert_eq!(Action::parse("pool"), None);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(cut("äöü".into(), 3), "ä");
        assert_eq!(cut("äöü".into(), 6), "äöü");
    }
}
