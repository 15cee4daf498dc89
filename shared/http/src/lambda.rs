//! Runs a router or a handler as a Lambda. Both are the same code that the laptop mounts in one process.

use crate::{App, reads, telemetry};
use axum::Router;
use lambda_http::lambda_runtime::{self, LambdaEvent, service_fn};
use lambda_http::request::LambdaRequest;
use serde_json::Value;
use std::future::Future;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::pin::Pin;
use std::time::Duration;
use tower::ServiceExt;

/// The runtime API is on the same machine.
const TELL_WITHIN: Duration = Duration::from_secs(2);

/// Serves a function's router under the Lambda runtime API.
pub fn serve(router: impl FnOnce(App) -> Router) -> Result<(), lambda_http::Error> {
    run(|app| async move { lambda_http::run(router(app)).await })
}

/// Serves a function that has both routes and other events (a topic): what API Gateway sends names its route, and all else goes to `handle`.
pub fn serve_both<H>(router: impl FnOnce(App) -> Router, handle: H) -> Result<(), lambda_http::Error>
where
    H: AsyncFn(&App, Value) -> anyhow::Result<Value>,
{
    run(|app| async move {
        // What lambda_http::run wraps a router into; it takes HTTP events alone.
        let http = lambda_http::Adapter::from(router(app.clone()));
        let (app, http, handle) = (&app, &http, &handle);
        lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| async move {
            let (payload, context) = event.into_parts();
            // Boxed, so that the router's type doesn't become part of the process's one future.
            let work: Pin<Box<dyn Future<Output = Result<Value, lambda_http::Error>> + '_>> = if payload["requestContext"]["http"].is_object() {
                Box::pin(async move {
                    let request: LambdaRequest = serde_json::from_value(payload)?;
                    let response = http.clone().oneshot(LambdaEvent::new(request, context)).await?;
                    Ok(serde_json::to_value(response)?)
                })
            } else {
                Box::pin(async move { handle(app, payload).await.map_err(|error| lambda_http::Error::from(format!("{error:#}"))) })
            };
            work.await
        }))
        .await
    })
}

/// Starts the runtime, the logs and the app, then `work`. One thread is enough: Lambda sends one request at a time.
pub fn run<F: Future<Output = Result<(), lambda_http::Error>>>(work: impl FnOnce(App) -> F) -> Result<(), lambda_http::Error> {
    telemetry::init();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let app = App::from_process().await.inspect_err(tell_init_error)?;
        work(app).await
    })
}

/// Lambda gives what is posted here as the cause of the failed invocation; of a process that only ends it knows the exit status.
fn tell_init_error(error: &anyhow::Error) {
    tracing::error!("the function can't start: {error:#}");
    let body = serde_json::json!({ "errorType": "Kiln.CannotStart", "errorMessage": format!("{error:#}"), "stackTrace": [] });
    if let Ok(api) = std::env::var("AWS_LAMBDA_RUNTIME_API")
        && let Err(failed) = post_init_error(&api, &body.to_string())
    {
        tracing::warn!("the runtime API was not told: {failed}");
    }
}

/// By hand: the process ends after this one request, and the runtime's own client has no call for it.
fn post_init_error(api: &str, body: &str) -> std::io::Result<()> {
    let mut connection = TcpStream::connect(api)?;
    connection.set_read_timeout(Some(TELL_WITHIN))?;
    connection.set_write_timeout(Some(TELL_WITHIN))?;
    let length = body.len();
    write!(
        connection,
        "POST /2018-06-01/runtime/init/error HTTP/1.1\r\nhost: {api}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         lambda-runtime-function-error-type: Kiln.CannotStart\r\nconnection: close\r\n\r\n{body}"
    )?;
    // It has been taken when there is an answer; which one changes nothing.
    connection.read(&mut [0; 64]).map(drop)
}

/// A function's router with what all of them have: the request id, the log line, problem+json for what no route takes.
pub fn finish(router: Router) -> Router {
    router
        .fallback(|| async { crate::Problem::not_found() })
        .method_not_allowed_fallback(|| async {
            crate::Problem::new(axum::http::StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This route does not take that method.")
        })
        .layer(axum::middleware::from_fn(reads::layer))
        .layer(axum::middleware::from_fn(telemetry::layer))
}
