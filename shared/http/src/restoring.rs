//! Standing still while the table is restored. `scripts/restore` writes items in no order that means anything, so what a schedule finds owed may
//! lead to what is not there yet: a delivery whose endpoint is still to come would fail for good. So all that walks the owed index asks here first.

use crate::App;
use serde_json::{Value, json};

/// Says in the log and by its answer that this run of `function` does nothing, where a restore is under way; one consistent read of one item. An SQS
/// event's messages come again.
pub async fn stands_still(app: &App, function: &str, event: &Value) -> Result<Option<Value>, kiln_store::Error> {
    if !app.table().restoring().await? {
        return Ok(None);
    }
    tracing::warn!(function, "a restore is under way: this run does nothing");
    let failures: Vec<Value> = event["Records"].as_array().into_iter().flatten().map(|record| json!({ "itemIdentifier": record["messageId"] })).collect();
    Ok(Some(json!({ "restoring": true, "batchItemFailures": failures })))
}
