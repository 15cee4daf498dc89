//! Messages that were received too often without a claim: their jobs are hinted again later, each time later.

use kiln_core::job::Hint;
use kiln_core::machine;
use kiln_http::App;
use kiln_http::flow::TRIES;
use kiln_store::{Commit, DeliveryHint};
use serde_json::{Value, json};

/// Handles an SQS event; a message that failed is named, so that only it comes again.
pub(crate) async fn rearm(app: &App, event: &Value) -> anyhow::Result<Value> {
    let mut failures = Vec::new();
    for record in event["Records"].as_array().into_iter().flatten() {
        let id = record["messageId"].as_str().unwrap_or_default();
        let body = record["body"].as_str().unwrap_or_default();
        let Ok(hint) = serde_json::from_str::<Hint>(body) else {
            if serde_json::from_str::<DeliveryHint>(body).is_ok() {
                // What it hinted at is in the owed index, and the sender walks that by itself.
                continue;
            }
            // Nothing of ours: coming again would not make it so.
            tracing::error!(message_id = id, "a dead letter is not a hint; dropped");
            continue;
        };
        if let Err(error) = one(app, &hint).await {
            tracing::error!(%error, job_id = %hint.job_id, "a dead letter could not be handled");
            failures.push(json!({ "itemIdentifier": id }));
        }
    }
    Ok(json!({ "batchItemFailures": failures }))
}

async fn one(app: &App, hint: &Hint) -> anyhow::Result<()> {
    for _ in 0..TRIES {
        let Some(job) = app.table().job(&hint.account_id, &hint.job_id).await? else { return Ok(()) };
        let now = app.now();
        let Some(change) = machine::rearm(&job, app.settings(), now) else { return Ok(()) };
        if app.table().commit(&change, Commit::default(), now).await?.is_ok() {
            tracing::warn!(job_id = %hint.job_id, hints = change.after.hints, "a dead letter was re-armed");
            return Ok(());
        }
    }
    anyhow::bail!("{} changes faster than it can be re-armed", hint.job_id)
}
