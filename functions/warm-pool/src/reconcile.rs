//! Holds what we know of the fleet against what the provider lists.

use crate::provider::Provider;
use kiln_core::time::seconds;
use kiln_http::{App, flow};
use kiln_store::Instance;

/// Closes the instances that the provider no longer runs, ends what they were doing, destroys machines of ours that we don't
/// know, and gives the instances that remain.
pub(crate) async fn close_the_gone(app: &App, provider: &dyn Provider, instances: Vec<Instance>) -> anyhow::Result<Vec<Instance>> {
    let machines = provider.list().await?;
    let now = app.now();
    let mut remain = Vec::with_capacity(instances.len());
    for instance in instances {
        let gone = match &instance.provider_id {
            Some(id) => !machines.iter().any(|machine| machine.running && machine.provider_id == *id),
            // An intent whose create was never answered. Its machine, should there be one, carries its label.
            None => now > instance.requested_at + seconds(app.settings().boot_s) && !machines.iter().any(|machine| machine.label == instance.label),
        };
        if !gone || instance.provider != provider.name() {
            remain.push(instance);
            continue;
        }
        tracing::info!(instance_id = %instance.instance_id, "the machine is gone");
        // Its token dies with its row; then its attempt is ended, which it can no longer contradict.
        app.table().forget_instance(&instance).await?;
        if let Some(slot) = instance.slot() {
            flow::end_attempt(app, &instance.instance_id, &slot).await?;
        }
    }
    let ours = format!("kiln/{}/", app.deployment());
    for machine in machines.iter().filter(|machine| machine.running && machine.label.starts_with(&ours)) {
        if !remain.iter().any(|instance| instance.label == machine.label) {
            tracing::warn!(label = machine.label, "a machine of ours that we don't know is destroyed");
            provider.destroy(&machine.provider_id).await?;
        }
    }
    Ok(remain)
}
