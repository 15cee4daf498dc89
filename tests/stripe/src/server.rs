//! The stand-in as a whole: its state under one lock, its router, and the task that delivers events.

use std::{
    collections::HashSet,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{Router, extract::DefaultBodyLimit, routing};
use tokio::sync::Notify;

use crate::{api, config::Config, control, control_deliveries, error::Refusal, faults::Fault, pages, post, request, state::State, work::Work};

/// The longest body that a call may have, in bytes.
const MAX_BODY: usize = 256 * 1024;

/// A running stand-in. Its deliveries end when it and all its routers are dropped.
#[derive(Clone)]
pub struct StandIn {
    inner: Arc<Inner>,
}

pub struct Inner {
    pub config: Config,
    pub http: reqwest::Client,
    pub faults: Mutex<Vec<Fault>>,
    /// Idempotency keys whose first call isn't answered yet.
    pub in_use: Mutex<HashSet<String>>,
    /// Something was put into the post, or a try has ended.
    pub news: Arc<Notify>,
    state: Mutex<State>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.news.notify_waiters();
        self.news.notify_one();
    }
}

/// Milliseconds since 1970, by the machine's clock.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

impl StandIn {
    /// Starts one: reads its state file, if it has one, and begins to deliver. Must be called within a tokio runtime; fails if the state file can't be
    /// read or is not the stand-in's.
    pub fn new(config: Config) -> io::Result<Self> {
        // The client below wants a TLS provider, although endpoints on a laptop speak plain HTTP.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(config.delivery.time_out)
            .build()
            .map_err(io::Error::other)?;
        let seed = match config.seed {
            Some(seed) => seed,
            None => getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?,
        };
        let known = match &config.state_file {
            Some(path) => State::read(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?,
            None => None,
        };
        let inner = Arc::new(Inner {
            http,
            faults: Mutex::default(),
            in_use: Mutex::default(),
            news: Arc::new(Notify::new()),
            state: Mutex::new(known.unwrap_or_else(|| State::new(seed))),
            config,
        });
        inner.configure();
        post::start(&inner);
        Ok(Self { inner })
    }

    /// Everything it serves: `/v1`, `/stand-in`, and the pages.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/", routing::get(pages::home))
            .route("/v1/{*path}", routing::any(request::serve))
            .nest(
                "/stand-in",
                control::router()
                    .merge(control_deliveries::router())
                    .fallback(control::unknown)
                    .layer(axum::middleware::from_fn_with_state(Arc::clone(&self.inner), request::guard)),
            )
            .route("/pay/{session}", routing::get(pages::checkout::show).post(pages::checkout::act))
            .route("/portal/{session}", routing::get(pages::portal::show).post(pages::portal::act))
            .route("/invoice/{id}", routing::get(pages::invoice::show))
            .route("/invoice/{id}/pdf", routing::get(pages::invoice::pdf))
            .route("/receipt/{charge}", routing::get(pages::invoice::receipt))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(Arc::clone(&self.inner))
    }
}

impl Inner {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in a request leaves what it had put; the next one goes on with that.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does a piece of work on the state: all of it, or nothing where it is refused.
    pub fn work<R>(&self, request: Option<(String, Option<String>)>, job: impl FnOnce(&mut Work<'_>) -> Result<R, Refusal>) -> Result<R, Refusal> {
        let mut state = self.lock();
        let now = now_ms() / 1000 + state.ahead_s;
        state.begin();
        let result = job(&mut Work { state: &mut state, config: &self.config, now, request });
        let kept = match &result {
            Ok(_) => true,
            Err(refusal) => refusal.kept,
        };
        if !kept {
            state.roll_back();
        } else if state.changed() {
            state.trim(self.config.max_objects);
            self.write(&state)?;
            self.news.notify_one();
        }
        result
    }

    /// Writes the state file, if there is one.
    pub fn write(&self, state: &State) -> Result<(), Refusal> {
        let Some(path) = &self.config.state_file else { return Ok(()) };
        state.write(path).map_err(|error| {
            tracing::error!(path = %path.display(), %error, "the stand-in's state was not written");
            Refusal::server(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "The stand-in's state file can't be written.")
        })
    }

    /// Puts the configured endpoints in.
    pub fn configure(&self) {
        let done = self.work(None, |work| {
            let wanted = work.config.endpoints.clone();
            api::configured(work, &wanted);
            Ok(())
        });
        if let Err(refusal) = done {
            tracing::error!(error = %refusal.json(), "the configured endpoints were not put in");
        }
    }

    /// Forgets everything, also how far the clock is ahead; the configured endpoints are put in again.
    pub fn reset(&self) -> Result<(), Refusal> {
        {
            let mut state = self.lock();
            let seed = self.config.seed.unwrap_or_else(|| getrandom::u64().unwrap_or(now_ms() as u64));
            *state = State::new(seed);
            self.write(&state)?;
        }
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.configure();
        Ok(())
    }
}
