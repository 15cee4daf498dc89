//! A receiver of webhooks on loopback: keeps what comes, and answers as it is told.

use crate::system::wait_for;
use anyhow::{Context, Result};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// One message as it came.
#[derive(Debug, Clone)]
pub struct Hook {
    pub at: Instant,
    pub headers: HeaderMap,
    pub body: String,
}

impl Hook {
    pub fn header(&self, name: &str) -> Result<&str> {
        let value = self.headers.get(name).with_context(|| format!("no header {name}"))?;
        Ok(value.to_str()?)
    }
}

/// A status and the headers with it.
pub type Reply = (u16, &'static [(&'static str, &'static str)]);

#[derive(Default)]
struct Inner {
    hooks: Vec<Hook>,
    replies: VecDeque<Reply>,
}

/// The running receiver.
pub struct Receiver {
    pub url: String,
    inner: Shared,
    held: watch::Sender<bool>,
}

type Shared = Arc<Mutex<Inner>>;

impl Receiver {
    pub async fn start() -> Result<Self> {
        let (inner, (held, holds)) = (Shared::default(), watch::channel(false));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let router = axum::Router::new().fallback(receive).with_state((inner.clone(), holds));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, inner, held })
    }

    /// How the next messages are answered, one each; after them all with 200.
    pub fn answer(&self, replies: &[Reply]) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).replies.extend(replies);
    }

    /// While held, what comes is kept and not answered.
    pub fn hold(&self, hold: bool) {
        self.held.send_replace(hold);
    }

    pub fn hooks(&self) -> Vec<Hook> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).hooks.clone()
    }

    /// What has come, once that is so many.
    pub async fn wait(&self, count: usize, within: Duration) -> Result<Vec<Hook>> {
        wait_for(&format!("{count} webhooks"), within, || async { Ok(Some(self.hooks()).filter(|hooks| hooks.len() >= count)) }).await
    }
}

async fn receive(State((inner, mut holds)): State<(Shared, watch::Receiver<bool>)>, headers: HeaderMap, body: String) -> Response {
    let (status, headers) = {
        let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.hooks.push(Hook { at: Instant::now(), headers, body });
        inner.replies.pop_front().unwrap_or((200, &[]))
    };
    let _ = holds.wait_for(|held| !held).await;
    let mut response = (StatusCode::from_u16(status).unwrap_or_default(), "the answer").into_response();
    for (name, value) in headers {
        response.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    response
}
