//! Runs a router or a handler as a Lambda. Both are the same code that the laptop mounts in one process.

use crate::{App, telemetry};
use axum::Router;
use std::future::Future;

/// Serves a function's router under the Lambda runtime API.
pub fn serve(router: impl FnOnce(App) -> Router) -> Result<(), lambda_http::Error> {
    run(|app| async move { lambda_http::run(router(app)).await })
}

/// Starts the runtime, the logs and the app, then `work`. One thread is enough: Lambda sends one request at a time.
pub fn run<F: Future<Output = Result<(), lambda_http::Error>>>(work: impl FnOnce(App) -> F) -> Result<(), lambda_http::Error> {
    telemetry::init();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let app = App::from_process().await?;
        work(app).await
    })
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
