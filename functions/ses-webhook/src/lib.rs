//! Bounces and complaints, as SES tells them by SNS: to the Lambda itself, or over HTTPS.
//!
//! Promises: an event of another topic is refused; over HTTPS nothing counts whose signature (version 2) does not verify; a hard bounce or
//! a complaint stops mail to that address; what is delivered twice or late changes nothing; a genuine message that can't be read is kept
//! and told of; no address is logged.

mod certificate;
mod feedback;
pub mod fetch;
mod receive;
mod sns;
mod take;
#[cfg(test)]
mod testing;

use anyhow::{Context, bail, ensure};
use axum::Extension;
use fetch::{Fetch, Https};
use kiln_http::App;
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

fn api() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(receive::receive))
}

/// The function's endpoint.
pub fn router(app: App) -> axum::Router {
    router_with(app, Arc::new(Https::default()))
}

/// The same with another way to SNS's own hosts, for tests: those hosts' names, certificates and port can't be put on this machine.
pub fn router_with(app: App, fetch: Arc<dyn Fetch>) -> axum::Router {
    let verifier = Arc::new(sns::Verifier::new(topic(&app).unwrap_or_default(), fetch));
    kiln_http::lambda::finish(api().with_state(app).split_for_parts().0.layer(Extension(verifier)))
}

/// The function's part of the OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    api().into_openapi()
}

/// The ARN of the one topic that is heard.
fn topic(app: &App) -> Option<String> {
    app.env("KILN_MAIL_TOPIC").map(str::to_owned)
}

/// One event of the topic that this function is subscribed to. Lambda itself lets nobody else call it, so there is no signature to
/// check; an error brings the event back.
pub async fn handle(app: &App, event: Value) -> anyhow::Result<Value> {
    let topic = topic(app).context("the environment variable KILN_MAIL_TOPIC is not set")?;
    let records = event["Records"].as_array().context("no event of a topic: it has no Records")?;
    let mut counts = take::Counts::default();
    for record in records {
        let sns = &record["Sns"];
        if record["EventSource"] != "aws:sns" {
            bail!("no event of a topic: its source is another");
        }
        ensure!(sns["TopicArn"] == topic.as_str(), "an event of another topic is refused");
        let message = sns["Message"].as_str().context("an event of the topic has no Message")?;
        take::take(app, message, &mut counts).await?;
    }
    Ok(json!({ "suppressed": counts.suppressed, "known": counts.known, "quiet": counts.quiet, "kept": counts.kept }))
}
