//! What goes on costing beyond its cover: a machine whose destroy the provider refuses. No budget can hold it, so its cost is committed whatever the
//! budgets say, and nothing else is rented for money that is gone; and it is told, in the log, in the last run and by an alarm.

use kiln_core::fleet::Stage;
use kiln_core::pool::budget::{Rate, cost_until};
use kiln_core::time::{Millis, seconds};
use kiln_http::App;
use kiln_store::{Fleet, Told};

/// So far ahead it is committed at each look: two of the schedule's.
const AHEAD: Millis = seconds(120);
/// What has this much less left is committed further: whatever the looks' distance, each of them tells it.
const SLACK: Millis = seconds(10);

/// Commits what written-off machines cost beyond what was reserved for them; gives a line for each.
pub(crate) async fn commit(app: &App, fleet: &Fleet) -> Vec<Told> {
    let (now, mut told) = (app.now(), Vec::new());
    for instance in &fleet.instances {
        // What the list lacks may be gone; if it is not, it will be listed again.
        let costs = instance.stage == Stage::Lost && instance.rate != Rate::default() && instance.missing_since.is_none();
        if !costs || instance.covered_to >= now + AHEAD - SLACK {
            continue;
        }
        if let Err(error) = app.table().commit_beyond(instance, now + AHEAD).await {
            tracing::error!(%error, instance_id = %instance.instance_id, "what a machine costs beyond its cover could not be committed");
        }
        let cost = cost_until(instance.rate, instance.requested_at, now);
        let text =
            format!("its provider doesn't let go of it, and no budget holds it any more: ${:.2} so far; end it at the provider's own page", cost as f64 / 1e6);
        tracing::error!(instance_id = %instance.instance_id, provider_id = instance.provider_id, cost_microusd = cost, reason = "beyond_cover", "{text}");
        told.push(Told { what: "none".into(), instance_id: Some(instance.instance_id.clone()), reason: "beyond_cover".into(), text });
    }
    told
}
