//! Carries the plan's decisions out. One machine's trouble is no reason to leave the others alone.

use crate::POOL;
use crate::look::deadlines;
use crate::provider::{NotMade, Order, Provider};
use anyhow::Context;
use kiln_core::fleet::Stage;
use kiln_core::ids::InstanceId;
use kiln_core::pool::budget::Rate;
use kiln_core::pool::offers::{Learned, Offer, ranked};
use kiln_core::pool::{Decision, Plan, Policy, Reason};
use kiln_core::time::{Millis, seconds};
use kiln_http::{App, new_secret};
use kiln_store::{Fleet, Instance, NoCover};

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub started: usize,
    pub stopped: usize,
    pub failed: usize,
    pub rented_at: Option<Millis>,
    pub stopped_at: Option<Millis>,
}

pub(crate) async fn all(app: &App, provider: &dyn Provider, policy: &Policy, fleet: &Fleet, plan: &Plan, epoch: u64) -> Done {
    let mut done = Done::default();
    let mut offers = None;
    let find = |id: &InstanceId| fleet.instances.iter().find(|instance| instance.instance_id == *id);
    for decision in &plan.decisions {
        let result = match decision {
            Decision::Rent { reason } => {
                if offers.is_none() {
                    offers = Some(choice(provider, policy, app.now()).await);
                }
                match offers.as_mut() {
                    Some(Ok(offers)) => rent(app, provider, policy, offers, reason, epoch).await.map(|()| {
                        done.started += 1;
                        done.rented_at = Some(app.now());
                    }),
                    // Said once, by the first.
                    Some(Err(error)) => error.take().map_or(Ok(()), Err),
                    None => Ok(()),
                }
            }
            Decision::Cover { id, to } => match find(id) {
                Some(instance) => cover(app, policy, instance, *to).await,
                None => Ok(()),
            },
            Decision::Drain { id, reason } => {
                tracing::info!(instance_id = %id, reason = reason.code(), "a machine is to finish and go: {reason}");
                app.table().drain(id).await.map_err(Into::into)
            }
            Decision::Stop { id, reason } => stop(app, provider, find(id), id, reason).await.map(|stopped| {
                if stopped {
                    done.stopped += 1;
                    done.stopped_at = Some(app.now());
                }
            }),
            Decision::Destroy { id, reason } => destroy(app, provider, find(id), id, reason).await.map(|()| done.stopped += 1),
        };
        if let Err(error) = result {
            done.failed += 1;
            tracing::error!(error = format!("{error:#}"), ?decision, "the pool could not act");
        }
    }
    leave(app, provider, fleet, &mut done).await;
    done
}

/// What may be rented, the best last; empty for a provider whose machines are the operator's own.
async fn choice(provider: &dyn Provider, policy: &Policy, now: Millis) -> Result<Vec<Offer>, Option<anyhow::Error>> {
    if provider.own() {
        return Ok(vec![]);
    }
    let offers = provider.offers(policy).await.context("the provider's offers could not be read").map_err(Some)?;
    let mut ranked: Vec<Offer> = ranked(&offers, policy, &Learned::default(), now).into_iter().cloned().collect();
    if ranked.is_empty() {
        return Err(Some(anyhow::anyhow!("none of {} machines on offer may be rented by the pool's policy", offers.len())));
    }
    ranked.reverse();
    Ok(ranked)
}

/// The intent and its cover are written before the provider is asked, so that a machine can never be unknown to us nor pass a budget.
async fn rent(app: &App, provider: &dyn Provider, policy: &Policy, offers: &mut Vec<Offer>, reason: &Reason, epoch: u64) -> anyhow::Result<()> {
    let now = app.now();
    let offer = match provider.own() {
        true => None,
        false => Some(offers.pop().context("there are no more machines on offer")?),
    };
    let id = InstanceId::new(now, app.random());
    let boot = new_secret(&format!("kib_{id}."));
    let label = format!("kiln/{}/{POOL}/{id}", app.deployment());
    let rate = offer.as_ref().map_or(Rate::default(), |offer| offer.rate);
    let instance = Instance {
        v: 1,
        instance_id: id.clone(),
        pool: POOL.into(),
        provider: provider.name().into(),
        provider_id: None,
        label: label.clone(),
        host: offer.as_ref().map(|offer| offer.host.clone()).or_else(|| provider.host()).unwrap_or_else(|| id.to_string()),
        trusted: provider.own(),
        stage: Stage::Requested,
        requested_at: now,
        boot_stage: None,
        heartbeat_at: None,
        idle_since: now,
        drain: false,
        capabilities: vec![],
        gpu: offer.as_ref().map(|offer| offer.gpu.clone()),
        version: None,
        boot_hash: Some(boot.hash),
        boot_expires_at: now + seconds(app.settings().boot_s),
        ready_at: None,
        rate,
        covered_to: now + deadlines(app).first_ms(),
        missing_since: None,
        token_hash: None,
        slot_job: None,
        slot_account: None,
        slot_attempt: None,
        timings: Default::default(),
    };
    match app.table().rent(&instance, policy, epoch).await? {
        Ok(()) => {}
        Err(NoCover::Budget(window)) => anyhow::bail!("the {}'s budget has no room for what a machine may cost", window.name()),
        Err(NoCover::Moved) => anyhow::bail!("the intent {id} stands already"),
        Err(NoCover::NotOurTurn) => anyhow::bail!("another run acts by now"),
    }
    tracing::info!(instance_id = %id, provider = provider.name(), reason = reason.code(), microusd_per_hour = rate.microusd_per_hour, "renting a machine: {reason}");
    match provider.create(&Order { instance_id: id.clone(), label, boot_token: boot.token, offer }).await {
        Ok(provider_id) => {
            app.table().set_provider_id(&id, &provider_id).await?;
            Ok(())
        }
        Err(NotMade::Refused(error)) => {
            app.table().forget_instance(&instance, now).await?;
            Err(error.context("the provider gave no machine"))
        }
        // Its intent and its cover stand until the list shows it, or has lacked it for long enough.
        Err(unknown @ NotMade::Unknown(_)) => Err(unknown.into()),
    }
}

async fn cover(app: &App, policy: &Policy, instance: &Instance, to: Millis) -> anyhow::Result<()> {
    match app.table().cover(instance, to, policy).await? {
        Ok(()) | Err(NoCover::Moved | NoCover::NotOurTurn) => Ok(()),
        Err(NoCover::Budget(window)) => {
            let reason = Reason::Budget { window: window.name().to_owned() };
            tracing::warn!(instance_id = %instance.instance_id, reason = reason.code(), "a machine is to finish and go: {reason}");
            Ok(app.table().drain(&instance.instance_id).await?)
        }
    }
}

/// Asked to leave by its next heartbeat, and by the provider's own signal; not where it has taken a job since it was seen.
async fn stop(app: &App, provider: &dyn Provider, instance: Option<&Instance>, id: &InstanceId, reason: &Reason) -> anyhow::Result<bool> {
    if !app.table().drain_idle(id).await? {
        return Ok(false);
    }
    tracing::info!(instance_id = %id, reason = reason.code(), "giving a machine back: {reason}");
    if let Some(provider_id) = instance.and_then(|instance| instance.provider_id.as_deref()) {
        provider.destroy(provider_id).await?;
    }
    Ok(true)
}

async fn destroy(app: &App, provider: &dyn Provider, instance: Option<&Instance>, id: &InstanceId, reason: &Reason) -> anyhow::Result<()> {
    tracing::warn!(instance_id = %id, reason = reason.code(), "destroying a machine: {reason}");
    app.table().revoke(id).await?;
    match instance.and_then(|instance| instance.provider_id.as_deref()) {
        // Its row stays until the provider stops listing it, so that a destroy that fails is tried again.
        Some(provider_id) => provider.destroy(provider_id).await,
        // Whether there is a machine the list will say.
        None => Ok(()),
    }
}

/// What was drained and works no more is given back; again and again, until the provider lists it no more.
async fn leave(app: &App, provider: &dyn Provider, fleet: &Fleet, done: &mut Done) {
    let finished = fleet.instances.iter().filter(|instance| instance.drain && instance.slot().is_none() && instance.stage != Stage::Lost);
    for instance in finished {
        let Some(provider_id) = &instance.provider_id else { continue };
        // It has had a heartbeat's time to go by itself.
        if instance.idle_since > app.now() - seconds(app.settings().heartbeat_s) {
            continue;
        }
        if let Err(error) = provider.destroy(provider_id).await {
            done.failed += 1;
            tracing::error!(error = format!("{error:#}"), instance_id = %instance.instance_id, "a machine that has finished could not be given back");
        }
    }
}
