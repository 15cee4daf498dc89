//! Carries the plan's decisions out. One machine's trouble is no reason to leave the others alone.

use crate::look::deadlines;
use crate::provider::{NotMade, Order, Provider};
use crate::{POOL, Providers};
use anyhow::bail;
use kiln_core::fleet::Stage;
use kiln_core::ids::InstanceId;
use kiln_core::pool::budget::Rate;
use kiln_core::pool::offers::{Learned, Offer, ranked};
use kiln_core::pool::{Decision, Plan, Policy, Reason};
use kiln_core::time::{Millis, seconds};
use kiln_http::{App, new_secret};
use kiln_store::{Fleet, Instance, NoCover, RunState, Told};
use std::time::{Duration, Instant};

/// For how long no machine is rented of a host that did not boot or fell silent.
const AVOIDED_FOR: Millis = seconds(24 * 3600);

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub started: usize,
    pub stopped: usize,
    pub failed: usize,
    pub rented_at: Option<Millis>,
    pub stopped_at: Option<Millis>,
}

/// What decisions are carried out with.
pub(crate) struct Pool<'a> {
    pub app: &'a App,
    pub providers: &'a Providers,
    /// What the labels of our machines begin with.
    pub ours: &'a str,
    /// Those that said what exists there, and may be asked for more.
    pub rent_at: &'a [&'a dyn Provider],
    pub policy: &'a Policy,
    pub fleet: &'a Fleet,
    pub learned: &'a Learned,
    pub begun: Instant,
}

/// A run asks a provider for nothing new after so long: what it began must end before the function's time-out.
const ASKS_FOR: Duration = Duration::from_secs(28);

impl Pool<'_> {
    fn has_time(&self) -> bool {
        self.begun.elapsed() < ASKS_FOR
    }

    /// For how long it may still ask.
    pub(crate) fn time_left(&self) -> Duration {
        ASKS_FOR.saturating_sub(self.begun.elapsed())
    }
}

pub(crate) async fn all(pool: &Pool<'_>, plan: &Plan, run: &mut RunState) -> Done {
    let mut done = Done::default();
    let mut choice: Option<Result<Choice, Option<anyhow::Error>>> = None;
    // What this run finds out counts for what it rents.
    let mut learned = pool.learned.clone();
    let (app, epoch) = (pool.app, run.epoch);
    let find = |id: &InstanceId| pool.fleet.instances.iter().find(|instance| instance.instance_id == *id);
    // What is written to the table alone comes first: a provider that hangs must cost no machine its cover. Of what a provider is asked for,
    // another comes first in each run, so that one that hangs does not stand before all others.
    let (quick, mut asked): (Vec<&Decision>, Vec<&Decision>) =
        plan.decisions.iter().partition(|decision| matches!(decision, Decision::Cover { .. } | Decision::Drain { .. }));
    let ends = asked.iter().take_while(|decision| matches!(decision, Decision::Destroy { .. })).count();
    if ends > 0 {
        asked[..ends].rotate_left(epoch as usize % ends);
    }
    for decision in quick.into_iter().chain(asked) {
        if !matches!(decision, Decision::Cover { .. } | Decision::Drain { .. }) && !pool.has_time() {
            tracing::warn!("there was no time for all that the pool decided; the next run goes on");
            break;
        }
        let result = match decision {
            Decision::Rent { reason } => {
                if choice.is_none() {
                    choice = Some(pool.choice(&learned, app.now()).await.map_err(Some));
                }
                match choice.as_mut() {
                    Some(Ok(choice)) => rent(pool, choice, reason, epoch).await.map(|()| {
                        done.started += 1;
                        done.rented_at = Some(app.now());
                    }),
                    // Said once, by the first.
                    Some(Err(error)) => error.take().map_or(Ok(()), Err),
                    None => Ok(()),
                }
            }
            Decision::Cover { id, to } => match find(id) {
                Some(instance) => cover(app, pool.policy, instance, *to).await,
                None => Ok(()),
            },
            Decision::Drain { id, reason } => {
                tracing::info!(instance_id = %id, reason = reason.code(), "a machine is to finish and go: {reason}");
                app.table().drain(id, app.now()).await.map_err(Into::into)
            }
            Decision::Stop { id, reason } => stop(pool, find(id), id, reason).await.map(|stopped| {
                if stopped {
                    done.stopped += 1;
                    done.stopped_at = Some(app.now());
                }
            }),
            Decision::Destroy { id, reason } => {
                if let Some(instance) = find(id).filter(|_| matches!(reason, Reason::BootTooLong { .. } | Reason::Silent { .. })) {
                    run.avoid.insert(instance.host.clone(), app.now() + AVOIDED_FOR);
                    learned.avoid.insert(instance.host.clone(), app.now() + AVOIDED_FOR);
                }
                destroy(pool, find(id), id, reason).await.map(|()| done.stopped += 1)
            }
        };
        if let Err(error) = result {
            done.failed += 1;
            tracing::error!(error = format!("{error:#}"), ?decision, "the pool could not act");
            if matches!(decision, Decision::Rent { .. }) {
                let told = Told { what: "none".into(), instance_id: None, reason: "not_rented".into(), text: format!("{error:#}") };
                run.told.retain(|other| *other != told);
                run.told.push(told);
            }
        }
    }
    leave(pool, &mut done).await;
    done
}

/// Where the next machines may come from.
struct Choice {
    /// The operator's own, each with how many more it has.
    own: Vec<(String, usize)>,
    /// The best last.
    offers: Vec<Offer>,
    /// Why there are no offers, or not all.
    why: Option<anyhow::Error>,
}

impl Choice {
    /// What the operator has costs nothing by the hour, and is taken first.
    fn next(&mut self) -> anyhow::Result<(String, Option<Offer>)> {
        if let Some((name, left)) = self.own.iter_mut().find(|(_, left)| *left > 0) {
            *left -= 1;
            return Ok((name.clone(), None));
        }
        match (self.offers.pop(), self.why.take()) {
            (Some(offer), _) => Ok((offer.provider.clone(), Some(offer))),
            (None, Some(why)) => Err(why),
            (None, None) => bail!("there are no more machines on offer"),
        }
    }
}

impl Pool<'_> {
    async fn choice(&self, learned: &Learned, now: Millis) -> anyhow::Result<Choice> {
        if self.rent_at.is_empty() {
            bail!("KILN_PROVIDERS names no provider that can be asked, so no machine can be rented");
        }
        let (own, others): (Vec<&dyn Provider>, Vec<&dyn Provider>) = self.rent_at.iter().partition(|provider| provider.own());
        let own = own.into_iter().map(|provider| {
            let there = self.fleet.instances.iter().filter(|instance| instance.provider == provider.name()).count();
            (provider.name().to_owned(), provider.most().unwrap_or(usize::MAX).saturating_sub(there))
        });
        let mut choice = Choice { own: own.collect(), offers: vec![], why: None };
        let mut found = Vec::new();
        for (provider, offers) in futures::future::join_all(others.into_iter().map(async |provider| (provider, provider.offers(self.policy).await))).await {
            match offers {
                Ok(offers) => found.extend(offers),
                Err(error) => choice.why = Some(error.context(format!("the offers of {} could not be read", provider.name()))),
            }
        }
        choice.offers = ranked(&found, self.policy, learned, now).into_iter().cloned().collect();
        if choice.offers.is_empty() && !found.is_empty() && choice.why.is_none() {
            choice.why = Some(anyhow::anyhow!("none of {} machines on offer may be rented by the pool's policy", found.len()));
        }
        choice.offers.reverse();
        Ok(choice)
    }
}

/// The intent and its cover are written before the provider is asked, so that a machine can never be unknown to us nor pass a budget.
async fn rent(pool: &Pool<'_>, choice: &mut Choice, reason: &Reason, epoch: u64) -> anyhow::Result<()> {
    let Pool { app, policy, .. } = *pool;
    let now = app.now();
    let (name, offer) = choice.next()?;
    let provider = pool.providers.must(&name)?;
    let id = InstanceId::new(now, app.random());
    let boot = new_secret(&format!("kib_{id}."));
    let label = format!("{}{POOL}/{id}", pool.ours);
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
        drained_at: None,
        capabilities: vec![],
        gpu: offer.as_ref().map(|offer| offer.gpu.clone()),
        version: None,
        boot_hash: Some(boot.hash),
        boot_used: None,
        boot_expires_at: now + seconds(app.settings().boot_s),
        registered_at: None,
        ready_at: None,
        busy_since: None,
        told: None,
        rate,
        covered_to: now + deadlines(app).first_ms(),
        missing_since: None,
        token_hash: None,
        slot_job: None,
        slot_account: None,
        slot_attempt: None,
        lease: None,
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
            app.table().forget_instance(&instance.begun(), now).await?;
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
            Ok(app.table().drain(&instance.instance_id, app.now()).await?)
        }
    }
}

/// Asked to leave by its next heartbeat, and by the provider's own signal; not where it has taken a job since it was seen.
async fn stop(pool: &Pool<'_>, instance: Option<&Instance>, id: &InstanceId, reason: &Reason) -> anyhow::Result<bool> {
    if !pool.app.table().drain_idle(id, pool.app.now()).await? {
        return Ok(false);
    }
    tracing::info!(instance_id = %id, reason = reason.code(), "giving a machine back: {reason}");
    give_back(pool, instance).await?;
    Ok(true)
}

async fn destroy(pool: &Pool<'_>, instance: Option<&Instance>, id: &InstanceId, reason: &Reason) -> anyhow::Result<()> {
    tracing::warn!(instance_id = %id, reason = reason.code(), "destroying a machine: {reason}");
    pool.app.table().revoke(id).await?;
    // Its row stays until the provider stops listing it, so that a destroy that fails is tried again.
    give_back(pool, instance).await
}

/// Where no answer has named the machine, whether there is one the list will say; and what the list lacks is asked for no more.
async fn give_back(pool: &Pool<'_>, instance: Option<&Instance>) -> anyhow::Result<()> {
    let Some(Instance { provider, provider_id: Some(provider_id), missing_since: None, .. }) = instance else { return Ok(()) };
    pool.providers.must(provider)?.destroy(provider_id).await
}

/// Destroys what the lists show and nobody wants; what there is no time for comes in the next run.
pub(crate) async fn destroy_unwanted(pool: &Pool<'_>, unwanted: &[(&dyn Provider, String)], done: &mut Done) {
    for (provider, id) in unwanted {
        if !pool.has_time() {
            tracing::warn!("there was no time to destroy all that nobody wants; the next run goes on");
            break;
        }
        if let Err(error) = provider.destroy(id).await {
            done.failed += 1;
            tracing::error!(error = format!("{error:#}"), provider = provider.name(), provider_id = id, "a machine could not be destroyed; it is tried again");
        }
    }
}

/// What was drained and works no more is given back; again and again, until the provider lists it no more.
async fn leave(pool: &Pool<'_>, done: &mut Done) {
    let finished = pool.fleet.instances.iter().filter(|instance| instance.drain && instance.slot().is_none() && instance.stage != Stage::Lost);
    for instance in finished {
        // It has had a heartbeat's time to go by itself.
        if instance.drained_at.unwrap_or(instance.idle_since) > pool.app.now() - seconds(pool.app.settings().heartbeat_s) {
            continue;
        }
        // It is gone already, as far as the list says: what may be asked of the provider goes to those that are there.
        if instance.missing_since.is_some() {
            continue;
        }
        if !pool.has_time() {
            tracing::warn!("there was no time to give back all that has finished; the next run goes on");
            break;
        }
        if let Err(error) = give_back(pool, Some(instance)).await {
            done.failed += 1;
            tracing::error!(error = format!("{error:#}"), instance_id = %instance.instance_id, "a machine that has finished could not be given back");
        }
    }
}
