//! Maintenance: walks the owed index on a schedule, so that every accepted job ends though every message is lost and any
//! process dies; forgets uploads that nobody used, and accounts that were deleted; re-arms what fell into the dead-letter queue.
//!
//! Safe to run twice and to die anywhere: each row is its own conditional write, and a failing row never stops the others.

mod accounts;
mod dead_letters;
mod jobs;
mod uploads;

use kiln_http::{App, restoring};
use serde_json::{Value, json};

/// One run: an SQS event re-arms its jobs, anything else (the schedule) walks the index.
pub async fn handle(app: &App, event: Value) -> anyhow::Result<Value> {
    if let Some(answer) = restoring::stands_still(app, "maintenance", &event).await? {
        return Ok(answer);
    }
    if event.get("Records").is_some() {
        return dead_letters::rearm(app, &event).await;
    }
    let swept = jobs::sweep(app).await?;
    let forgotten = uploads::sweep(app).await?;
    let emptied = accounts::sweep(app).await?;
    if swept.acted + swept.hinted + swept.failed + forgotten + emptied > 0 {
        tracing::info!(unfinished = swept.unfinished, acted = swept.acted, hinted = swept.hinted, failed = swept.failed, forgotten, emptied, "maintenance");
    }
    Ok(
        json!({ "unfinished": swept.unfinished, "acted": swept.acted, "hinted": swept.hinted, "failed": swept.failed, "uploads_forgotten": forgotten, "accounts_emptied": emptied }),
    )
}
