//! The stand-in as a whole: its state under one lock, its router, and the task that lets time pass.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{Router, extract::DefaultBodyLimit, routing};
use tokio::sync::{Notify, watch};

use crate::{config::Config, control, processes, request, state::State};

/// The longest body that a call may have, in bytes.
pub const MAX_BODY: usize = 256 * 1024;

/// A running stand-in. When it and all its routers are dropped, its machines' processes are killed.
#[derive(Clone)]
pub struct StandIn {
    inner: Arc<Inner>,
}

pub struct Inner {
    pub config: Config,
    state: Mutex<State>,
    /// What is due next may have changed.
    news: Arc<Notify>,
    /// Counts changes, for those who wait for one.
    changes: watch::Sender<u64>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.news.notify_one();
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.processes.clear();
    }
}

impl StandIn {
    /// Starts one. Must be called within a tokio runtime.
    pub fn new(config: Config) -> Self {
        let inner = Arc::new(Inner { state: Mutex::new(State::new(&config)), config, news: Arc::new(Notify::new()), changes: watch::Sender::new(0) });
        tokio::spawn(pass_time(Arc::downgrade(&inner), Arc::clone(&inner.news)));
        Self { inner }
    }

    /// Everything it serves: the API under `/api`, and `/stand-in`.
    pub fn router(&self) -> Router {
        Router::new()
            .nest("/stand-in", control::router().layer(axum::middleware::from_fn_with_state(Arc::clone(&self.inner), control::guard)))
            .fallback(routing::any(request::serve))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(Arc::clone(&self.inner))
    }
}

impl Inner {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in a request leaves what it had put; the next one goes on with that.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Lets happen what was due, does a piece of work in one step, and does to processes what follows from it.
    pub fn work<R>(self: &Arc<Self>, job: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        state.settle();
        // Before the work, so that what it sees of processes is what is true.
        processes::apply(self, &mut state);
        let result = job(&mut state);
        state.settle();
        processes::apply(self, &mut state);
        drop(state);
        self.news.notify_one();
        self.changes.send_modify(|n| *n += 1);
        result
    }

    /// Forgets everything, kills all machines and begins anew.
    pub fn reset(self: &Arc<Self>) {
        *self.lock() = State::new(&self.config);
        self.work(|_| ());
    }
}

/// Wakes up when something is due, so that machines start without anybody asking.
async fn pass_time(inner: std::sync::Weak<Inner>, news: Arc<Notify>) {
    loop {
        let wait = {
            let Some(inner) = inner.upgrade() else { return };
            let mut state = inner.lock();
            let settled = state.now();
            state.settle();
            processes::apply(&inner, &mut state);
            let wait = match state.next_due() {
                Some(due) if !state.clock.is_frozen() => Some(Duration::from_millis((due - state.now()).clamp(1, 60_000) as u64)),
                _ => None,
            };
            if state.now() != settled {
                inner.changes.send_modify(|n| *n += 1);
            }
            wait
        };
        match wait {
            Some(wait) => {
                let _ = tokio::time::timeout(wait, news.notified()).await;
            }
            None => news.notified().await,
        }
    }
}
