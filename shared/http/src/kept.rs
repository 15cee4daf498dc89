//! What came from outside, was genuine, and could not be read: kept in the table for a person, and told of by a metric that an
//! alarm watches. Losing it would lose what it says (a payment, a bounce); failing would only bring it back.

use crate::App;
use serde_json::json;

/// Bytes of a message that are kept: one item of the table holds 400 KB.
const MOST_KEPT: usize = 256 * 1024;

/// Keeps a message of `source` (`ses`, `stripe`); `why` is for the person and names no secret. An error means that it is not kept, and
/// the sender must be told to send it again.
pub async fn keep(app: &App, source: &str, why: &str, body: &str) -> Result<(), kiln_store::Error> {
    let now = app.now();
    // Of more than an item of the table holds, the beginning, in which the thing is named.
    let kept = &body[..body.floor_char_boundary(MOST_KEPT)];
    app.table().keep(source, why, kept, now).await?;
    tracing::error!(source, why, "a genuine message could not be read; it is kept in the table");
    if std::env::var_os("AWS_LAMBDA_FUNCTION_NAME").is_some() {
        // CloudWatch's embedded metric format.
        let line = json!({
            "_aws": { "Timestamp": now, "CloudWatchMetrics": [{ "Namespace": "Kiln", "Dimensions": [["Deployment"]], "Metrics": [{ "Name": "KeptMessages" }] }] },
            "Deployment": app.deployment(), "KeptMessages": 1,
        });
        println!("{line}");
    }
    Ok(())
}
