//! Runs a router or a handler as a Lambda. Both are the same code that the laptop mounts in one process.

use crate::{App, telemetry};
use axum::Router;
use std::future::Future;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The runtime API is on the same machine.
const TELL_WITHIN: Duration = Duration::from_secs(2);

/// Serves a function's router under the Lambda runtime API.
pub fn serve(router: impl FnOnce(App) -> Router) -> Result<(), lambda_http::Error> {
    run(|app| async move { lambda_http::run(router(app)).await })
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
        .layer(axum::middleware::from_fn(telemetry::layer))
}
