//! Lambda's invocation, as far as functions of ours invoke one another: by name, to be run now and not waited for. On this machine alone.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tracing::warn;

use crate::functions::Scheduled;
use crate::model::Function;

/// The largest event of an asynchronous invocation.
const MOST_BYTES: usize = 256 << 10;
/// Whoever has this in its environment invokes another function.
const INVOKES: &str = "KILN_WARM_POOL";

/// Where functions invoke one another.
pub struct Invocations {
    listener: TcpListener,
}

impl Invocations {
    /// Binds a port of this machine, and tells it to those functions that invoke another one.
    pub fn bind(functions: &mut [Function]) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let url = format!("http://{}", listener.local_addr()?);
        for function in functions.iter_mut().filter(|function| function.env.contains_key(INVOKES)) {
            function.env.insert("AWS_ENDPOINT_URL_LAMBDA".into(), url.clone());
        }
        Ok(Self { listener })
    }

    /// Answers from now on.
    pub fn serve(self, functions: impl Iterator<Item = Arc<Scheduled>>) -> Result<()> {
        let by_name: BTreeMap<String, Arc<Scheduled>> = functions.map(|function| (function.name.clone(), function)).collect();
        self.listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let router = Router::new().route("/2015-03-31/functions/{name}/invocations", post(invoke)).with_state(Arc::new(by_name));
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                warn!("functions can't invoke one another any more: {error}");
            }
        });
        Ok(())
    }
}

type ByName = Arc<BTreeMap<String, Arc<Scheduled>>>;

async fn invoke(State(by_name): State<ByName>, Path(name): Path<String>, request: Request) -> Response {
    let Some(function) = by_name.get(&name).cloned() else {
        return refused(StatusCode::NOT_FOUND, "ResourceNotFoundException", format!("Function not found: {name}"));
    };
    let waited_for = request.headers().get("x-amz-invocation-type").is_none_or(|kind| kind != "Event");
    if waited_for {
        return refused(StatusCode::BAD_REQUEST, "InvalidParameterValueException", "only InvocationType Event is served here".into());
    }
    let Ok(body) = to_bytes(request.into_body(), MOST_BYTES).await else {
        return refused(StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLargeException", format!("more than {MOST_BYTES} bytes"));
    };
    let Some(event) = event(&body) else { return refused(StatusCode::BAD_REQUEST, "InvalidRequestContentException", "the event is no JSON".into()) };
    tokio::spawn(async move {
        if let Err(error) = function.call(event).await {
            warn!("{} failed: {error:#}", function.id);
        }
    });
    StatusCode::ACCEPTED.into_response()
}

fn event(body: &Bytes) -> Option<Value> {
    if body.is_empty() { Some(json!({})) } else { serde_json::from_slice(body).ok() }
}

fn refused(status: StatusCode, kind: &'static str, message: String) -> Response {
    (status, [("x-amzn-errortype", kind)], axum::Json(json!({ "Type": "User", "Message": message }))).into_response()
}
