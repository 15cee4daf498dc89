//! The warm pool: on a schedule (and woken by a submit) it sees the fleet and the demand, lets core plan, and starts and
//! stops machines through a provider. What is known to us and gone at the provider is closed; what carries our label and is
//! unknown to us is destroyed; nothing else is ever touched.

mod provider;
mod reconcile;

pub use provider::{Machine, NoProvider, Order, Provider};

use kiln_core::fleet::Stage;
use kiln_core::ids::InstanceId;
use kiln_core::pool::{self, Decision, Observation, Seen};
use kiln_core::time::{Millis, seconds};
use kiln_http::{App, new_secret, restoring};
use kiln_store::{Fleet, Instance};
use serde_json::{Value, json};

/// The one pool of this version.
pub const POOL: &str = "main";

/// One run.
pub async fn handle(app: &App, provider: &dyn Provider, event: Value) -> anyhow::Result<Value> {
    if let Some(answer) = restoring::stands_still(app, "warm-pool", &event).await? {
        return Ok(answer);
    }
    let Fleet { instances, state, .. } = app.table().fleet(POOL).await?;
    let policy = state.map_or_else(|| app.settings().policy(), |state| state.policy);
    let instances = reconcile::close_the_gone(app, provider, instances).await?;
    let (depth, _) = app.table().unfinished(app.now()).await?;
    let now = app.now();
    let seen = Observation {
        unfinished: depth.unfinished(),
        instances: instances.iter().map(|instance| see(instance, now)).collect(),
        lost_after_s: app.settings().instance_lost_s,
    };
    let decisions = pool::plan(&seen, &policy, now);
    let (mut started, mut stopped) = (0, 0);
    for decision in &decisions {
        // One machine's trouble is no reason to leave the others alone.
        let result = match decision {
            Decision::Start { reason } => start(app, provider, reason).await.map(|()| started += 1),
            Decision::Stop { id, reason } => stop(app, provider, &instances, id, reason).await.map(|()| stopped += 1),
            Decision::WriteOff { id, reason } => write_off(app, provider, &instances, id, reason).await.map(|()| stopped += 1),
        };
        if let Err(error) = result {
            tracing::error!(%error, ?decision, "the pool could not act");
        }
    }
    let ready = instances.iter().filter(|instance| matches!(instance.stage, Stage::Ready | Stage::Busy)).count() as u64;
    metrics(app, depth.queued, ready);
    Ok(json!({ "unfinished": depth.unfinished(), "instances": instances.len(), "started": started, "stopped": stopped }))
}

fn see(instance: &Instance, now: Millis) -> Seen {
    let busy = instance.slot().is_some() && instance.stage == Stage::Ready;
    let booting = instance.heartbeat_at.is_none() && now < instance.boot_expires_at;
    Seen {
        id: instance.instance_id.clone(),
        stage: if instance.drain {
            Stage::Draining
        } else if busy {
            Stage::Busy
        } else {
            instance.stage
        },
        since: instance.idle_since,
        heard_at: if booting { now } else { instance.heartbeat_at.unwrap_or(instance.requested_at) },
    }
}

/// The intent is written before the provider is asked, so that a machine can never be unknown to us.
async fn start(app: &App, provider: &dyn Provider, reason: &str) -> anyhow::Result<()> {
    let now = app.now();
    let id = InstanceId::new(now, app.random());
    let boot = new_secret(&format!("kib_{id}."));
    let label = format!("kiln/{}/{POOL}/{id}", app.deployment());
    let instance = Instance {
        v: 1,
        instance_id: id.clone(),
        pool: POOL.into(),
        provider: provider.name().into(),
        provider_id: None,
        label: label.clone(),
        host: provider.host().unwrap_or_else(|| id.to_string()),
        trusted: provider.trusted(),
        stage: Stage::Requested,
        requested_at: now,
        heartbeat_at: None,
        idle_since: now,
        drain: false,
        capabilities: vec![],
        gpu: None,
        version: None,
        boot_hash: Some(boot.hash),
        boot_expires_at: now + seconds(app.settings().boot_s),
        token_hash: None,
        slot_job: None,
        slot_account: None,
        slot_attempt: None,
        timings: Default::default(),
    };
    app.table().put_instance(&instance).await?;
    tracing::info!(instance_id = %id, provider = provider.name(), reason, "starting a machine");
    match provider.create(&Order { instance_id: id.clone(), label, boot_token: boot.token }).await {
        Ok(provider_id) => {
            app.table().set_provider_id(&id, &provider_id).await?;
            Ok(())
        }
        Err(error) => {
            app.table().forget_instance(&instance).await?;
            Err(error.context("the provider gave no machine"))
        }
    }
}

/// Asked to leave by its next heartbeat, and by the provider's own signal.
async fn stop(app: &App, provider: &dyn Provider, instances: &[Instance], id: &InstanceId, reason: &str) -> anyhow::Result<()> {
    tracing::info!(instance_id = %id, reason, "stopping a machine");
    app.table().drain(id).await?;
    if let Some(provider_id) = provider_id(instances, id) {
        provider.destroy(provider_id).await?;
    }
    Ok(())
}

async fn write_off(app: &App, provider: &dyn Provider, instances: &[Instance], id: &InstanceId, reason: &str) -> anyhow::Result<()> {
    tracing::warn!(instance_id = %id, reason, "writing a machine off");
    app.table().revoke(id).await?;
    match provider_id(instances, id) {
        // Its row stays until the provider stops listing it, so that a destroy that fails is tried again.
        Some(provider_id) => provider.destroy(provider_id).await,
        None => match instances.iter().find(|instance| instance.instance_id == *id) {
            Some(instance) => Ok(app.table().forget_instance(instance).await?),
            None => Ok(()),
        },
    }
}

fn provider_id<'a>(instances: &'a [Instance], id: &InstanceId) -> Option<&'a str> {
    instances.iter().find(|instance| instance.instance_id == *id).and_then(|instance| instance.provider_id.as_deref())
}

/// CloudWatch's embedded metric format, one line on stdout; nothing while nothing runs or waits, since each metric costs
/// money for the hours in which it is written.
fn metrics(app: &App, queued: u64, ready: u64) {
    if queued + ready == 0 || std::env::var_os("AWS_LAMBDA_FUNCTION_NAME").is_none() {
        return;
    }
    let names: Vec<_> = ["QueuedJobs", "ReadyInstances", "StrandedJobs", "SpendMicrousd"].iter().map(|name| json!({ "Name": name })).collect();
    let line = json!({
        "_aws": { "Timestamp": app.now(), "CloudWatchMetrics": [{ "Namespace": "Kiln", "Dimensions": [["Deployment"]], "Metrics": names }] },
        "Deployment": app.deployment(), "QueuedJobs": queued, "ReadyInstances": ready, "StrandedJobs": if ready == 0 { queued } else { 0 }, "SpendMicrousd": 0,
    });
    println!("{line}");
}
