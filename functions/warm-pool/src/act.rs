//! Carries the plan's decisions out. One machine's trouble is no reason to leave the others alone.

use crate::deadline::{Deadline, within};
use crate::look::deadlines;
use crate::provider::{NotMade, NotStarted, Order, Provider};
use crate::quarantine::{SILENT_AT_WORK, may_leave_silent};
use crate::reconcile::{ENDED_BEFORE_READY, Found, left_for};
use crate::{POOL, Providers};
use anyhow::bail;
use kiln_core::fleet::Stage;
use kiln_core::ids::InstanceId;
use kiln_core::pool::budget::{Rate, cost_until};
use kiln_core::pool::offers::{Learned, Offer, ranked};
use kiln_core::pool::{Decision, Plan, Policy, Reason};
use kiln_core::time::{Millis, seconds};
use kiln_http::{App, new_secret};
use kiln_store::{Fleet, Instance, NoCover, RunState, Told};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// For how long nothing is asked for of a kind that the provider said it has none of.
const FULL_FOR: Millis = seconds(5 * 60);
/// Why.
const FULL: &str = "none_there";
/// Two held the boot token of a machine there: it was read by somebody else.
const BOOT_TWICE: &str = "boot_token_twice";

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub started: usize,
    pub stopped: usize,
    pub failed: usize,
    pub rented_at: Option<Millis>,
    pub stopped_at: Option<Millis>,
    /// Of those stopped, which were at work and could not be covered any further.
    pub killed_for_cover: u64,
    /// Of those started, which had been kept stopped.
    pub resumed: Vec<InstanceId>,
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
    pub deadline: Deadline,
}

impl Pool<'_> {
    /// Whether an order may still be begun, of the provider that takes least for it.
    fn has_time(&self) -> bool {
        let least = self.rent_at.iter().map(|provider| provider.order_takes()).min().unwrap_or_default();
        !self.deadline.left_for(least).is_zero()
    }
}

/// None is asked to go when less than this is left: an answer takes so long at most.
const DESTROY_TAKES: Duration = Duration::from_secs(8);

/// One that is asked to rest has so long until its provider lists it as stopped: a heartbeat, its own word to its provider, and two looks.
const RESTS_WITHIN: Millis = seconds(240);

/// A machine that goes in this run.
struct Going {
    provider: String,
    provider_id: String,
    /// Whether it counts as stopped: what nobody wants, and what has been told before, does not.
    counts: bool,
}

pub(crate) async fn all(pool: &Pool<'_>, plan: &Plan, run: &mut RunState, found: &Found<'_>) -> Done {
    let mut done = Done::default();
    // What this run finds out counts for what it rents.
    let mut learned = pool.learned.clone();
    let app = pool.app;
    let resumed = |id: &InstanceId| plan.decisions.iter().any(|decision| matches!(decision, Decision::Resume { id: other, .. } if other == id));
    let find = |id: &InstanceId| pool.fleet.instances.iter().find(|instance| instance.instance_id == *id);
    // What is written to the table alone comes first: a provider that hangs must cost no machine its cover, and leave no token that works.
    let mut going = Vec::new();
    for decision in &plan.decisions {
        let result = match decision {
            // Its start covers it further, or it is not covered as it was read.
            Decision::Cover { id, .. } if resumed(id) => Ok(()),
            Decision::Cover { id, to } => match find(id) {
                Some(instance) => cover(app, pool.policy, instance, *to).await,
                None => Ok(()),
            },
            Decision::Drain { id, reason } => {
                tracing::info!(instance_id = %id, reason = reason.code(), "a machine is to finish and go: {reason}");
                app.table().drain(id, app.now()).await.map_err(Into::into)
            }
            Decision::Destroy { id, reason } => {
                if matches!(reason, Reason::IdleBesideWork { .. }) {
                    run.history.deaf_at = Some(app.now());
                }
                if let Some(instance) = find(id) {
                    let why = match reason {
                        // Somebody else has its GPU by now, which is no fault of its host.
                        Reason::BootTooLong { .. } if instance.resumed_at.is_some() => None,
                        Reason::BootTooLong { .. } | Reason::IdleBesideWork { .. } => Some(reason.code()),
                        Reason::SentAway | Reason::Silent { .. } if instance.boot_twice => Some(BOOT_TWICE),
                        // Its tokens are revoked: it is silent because we ended it.
                        Reason::Silent { .. } if instance.stage == Stage::Lost => None,
                        // The list lacks it: it has ended.
                        Reason::Silent { .. } if instance.missing_since.is_some() && instance.slot().is_none() => {
                            Some(ENDED_BEFORE_READY).filter(|_| instance.ready_at.is_none())
                        }
                        Reason::Silent { .. } if instance.slot().is_none() => Some(reason.code()),
                        Reason::Silent { .. } => Some(SILENT_AT_WORK).filter(|_| may_leave_silent(pool.fleet, run, app.now())),
                        _ => None,
                    };
                    if let Some(why) = why {
                        let for_ms = |provider: &dyn Provider| if why == ENDED_BEFORE_READY { left_for(provider) } else { provider.avoided_for() };
                        let until = app.now() + pool.providers.of(&instance.provider).map_or(0, for_ms);
                        run.leave(instance.avoided_as(), until, why);
                        learned.avoid.insert(instance.avoided_as().to_owned(), until);
                    }
                }
                tracing::warn!(instance_id = %id, reason = reason.code(), "destroying a machine: {reason}");
                // Its row stays until the provider stops listing it, so that a destroy that fails is tried again.
                // One that is written off already was not ended by this.
                let by_us = matches!(reason, Reason::SafeMode | Reason::CoverEnds { .. }) && find(id).is_some_and(|it| it.stage != Stage::Lost);
                let ended = if by_us { app.table().end_by_us(id, app.now()).await } else { app.table().revoke(id).await };
                if ended.is_ok() && matches!(reason, Reason::CoverEnds { .. }) && find(id).is_some_and(|it| it.slot().is_some()) {
                    done.killed_for_cover += 1;
                }
                ended.map(|_| add(&mut going, find(id), true, &mut done)).map_err(Into::into)
            }
            Decision::Rent { .. } | Decision::Resume { .. } | Decision::Suspend { .. } | Decision::Stop { .. } => Ok(()),
        };
        failed(result, decision, &mut done);
    }
    // Another one comes first in each run, so that one that hangs does not stand before all others.
    if !going.is_empty() {
        let first = run.epoch as usize % going.len();
        going.rotate_left(first);
    }
    give_back(pool, &going, &mut done).await;
    start_again(pool, &found.to_start).await;
    let (mut wanted, mut broken) = resumes(pool, plan, run, &mut done).await;
    wanted.extend(plan.decisions.iter().filter_map(|decision| if let Decision::Rent { reason } = decision { Some((decision, reason)) } else { None }));
    rents(pool, &wanted, &learned, run, &mut done).await;
    going.append(&mut broken);
    let asked: Vec<String> = going.into_iter().map(|gone| gone.provider_id).collect();
    let mut going = Vec::new();
    for decision in &plan.decisions {
        if let Decision::Suspend { id, reason } = decision {
            let result = rest(app, id, reason).await.map(|rests| {
                if rests {
                    done.stopped_at = Some(app.now());
                    done.stopped += 1;
                }
            });
            failed(result, decision, &mut done);
        }
        if let Decision::Stop { id, reason } = decision {
            let result = stop(app, id, reason).await.map(|stops| {
                if stops {
                    done.stopped_at = Some(app.now());
                    add(&mut going, find(id), true, &mut done);
                }
            });
            failed(result, decision, &mut done);
        }
    }
    leave(pool, &mut going, &mut done);
    going.extend(found.unwanted.iter().map(|(provider, id)| Going { provider: provider.name().into(), provider_id: id.clone(), counts: false }));
    going.retain(|going| !asked.contains(&going.provider_id));
    give_back(pool, &going, &mut done).await;
    done
}

fn failed(result: anyhow::Result<()>, decision: &Decision, done: &mut Done) {
    if let Err(error) = result {
        done.failed += 1;
        tracing::error!(error = format!("{error:#}"), ?decision, "the pool could not act");
    }
}

/// Says once more to the providers that these are to run: the first word may have been lost.
async fn start_again(pool: &Pool<'_>, to_start: &[(&dyn Provider, String)]) {
    for (provider, id) in to_start {
        if pool.deadline.left_for(provider.start_takes()).is_zero() {
            return;
        }
        if let Err(error) = within(pool.deadline.ends(), async { Ok(provider.start(id).await?) }).await {
            tracing::warn!(
                error = format!("{error:#}"),
                provider = provider.name(),
                provider_id = id,
                "a machine that was kept stopped could not be started yet"
            );
        }
    }
}

/// Asks for those again that were kept stopped; gives what is to be rented in the place of those that can't be had, and these, which are given back.
async fn resumes<'a>(pool: &Pool<'_>, plan: &'a Plan, run: &mut RunState, done: &mut Done) -> (Vec<(&'a Decision, &'a Reason)>, Vec<Going>) {
    let (mut instead, mut broken) = (Vec::new(), Vec::new());
    for decision in &plan.decisions {
        let Decision::Resume { id, reason } = decision else { continue };
        let Some(instance) = pool.fleet.instances.iter().find(|instance| instance.instance_id == *id) else { continue };
        match resume(pool, instance, reason, run).await {
            Ok(Resumed::Asked) => {
                done.started += 1;
                done.resumed.push(id.clone());
                done.rented_at = Some(pool.app.now());
                continue;
            }
            // The next look goes on.
            Ok(Resumed::Later) => tracing::warn!(instance_id = %id, "there was no time to start a machine again"),
            Ok(Resumed::Moved) => instead.push((decision, reason)),
            Ok(Resumed::Broken(error)) => {
                not_rented(error, decision, run, done);
                add(&mut broken, Some(instance), true, done);
                instead.push((decision, reason));
            }
            Err(error) => {
                not_rented(error, decision, run, done);
                // No budget may have room for this one, and for a cheaper one.
                instead.push((decision, reason));
            }
        }
        run.told.retain(|told| told.what != "resume" || told.instance_id.as_ref() != Some(id));
    }
    give_back(pool, &broken, done).await;
    (instead, broken)
}

/// What became of a machine that was kept stopped.
enum Resumed {
    Asked,
    /// It is not what was read: it goes, or another run has it.
    Moved,
    /// There is no time for it in this run.
    Later,
    /// Its provider doesn't start it: it is written off.
    Broken(anyhow::Error),
}

/// Its whole cover is written before its provider is asked, as for a new one.
async fn resume(pool: &Pool<'_>, instance: &Instance, reason: &Reason, run: &RunState) -> anyhow::Result<Resumed> {
    let Pool { app, policy, .. } = *pool;
    let (id, now) = (&instance.instance_id, app.now());
    let provider = pool.providers.must(&instance.provider)?;
    if pool.deadline.left_for(provider.start_takes()).is_zero() {
        return Ok(Resumed::Later);
    }
    let (Some(keeps), Some(provider_id)) = (pool.providers.keeps(&instance.provider), &instance.provider_id) else { return Ok(Resumed::Moved) };
    let times = (now, now + keeps.most, now + deadlines(app).first_ms());
    match app.table().resume(instance, times, policy, run.epoch).await? {
        Ok(awake) => {
            let microusd_per_hour = awake.rate.microusd_per_hour;
            tracing::info!(instance_id = %id, provider = provider.name(), reason = reason.code(), microusd_per_hour, "starting a machine again: {reason}");
        }
        Err(NoCover::Budget(window)) => bail!("the {}'s budget has no room for what a machine may cost that is kept stopped", window.name()),
        Err(NoCover::Moved) => return Ok(Resumed::Moved),
        Err(NoCover::NotOurTurn) => bail!("another run acts by now"),
    }
    match tokio::time::timeout_at(pool.deadline.ends().into(), provider.start(provider_id)).await {
        Ok(Err(NotStarted::Refused(error))) => {
            app.table().revoke(id).await?;
            Ok(Resumed::Broken(error.context("a machine that was kept stopped does not start; another one is rented")))
        }
        Ok(Ok(())) => Ok(Resumed::Asked),
        // It is asked for again at the next look.
        Ok(Err(NotStarted::Unknown(_))) | Err(_) => {
            tracing::warn!(instance_id = %id, "whether a machine that was kept stopped starts is not known");
            Ok(Resumed::Asked)
        }
    }
}

/// Rents what is wanted, as fast as its provider takes orders; what there is no time for comes in the next run.
async fn rents(pool: &Pool<'_>, wanted: &[(&Decision, &Reason)], learned: &Learned, run: &mut RunState, done: &mut Done) {
    let mut choice: Option<Choice> = None;
    for (decision, reason) in wanted {
        if !pool.has_time() {
            tracing::warn!("there was no time for all that the pool decided; the next run goes on");
            break;
        }
        if choice.is_none() {
            choice = match pool.choice(learned, pool.app.now()).await {
                Ok(found) => Some(found),
                Err(error) => {
                    not_rented(error, decision, run, done);
                    // It is the same for all others.
                    break;
                }
            };
        }
        let Some(choice) = choice.as_mut() else { break };
        let rented = rent(pool, choice, reason, run).await;
        for host in choice.full.drain(..) {
            run.leave(&host, pool.app.now() + FULL_FOR, FULL);
        }
        match rented {
            Ok(Some(interruptible)) => {
                if interruptible {
                    run.history.spot.rented(pool.app.now());
                }
                done.started += 1;
                done.rented_at = Some(pool.app.now());
            }
            Ok(None) => {}
            Err(error) => not_rented(error, decision, run, done),
        }
    }
}

fn not_rented(error: anyhow::Error, decision: &Decision, run: &mut RunState, done: &mut Done) {
    let told = Told { what: "none".into(), instance_id: None, reason: "not_rented".into(), text: format!("{error:#}") };
    run.told.retain(|other| *other != told);
    run.told.push(told);
    failed(Err(error), decision, done);
}

/// Where the next machines may come from.
struct Choice {
    /// The operator's own, each with how many more it has.
    own: Vec<(String, usize)>,
    /// The best last.
    offers: Vec<Offer>,
    /// Whose offers stand for more than one machine.
    many: BTreeSet<String>,
    /// Hosts that the provider said it has no machine of.
    full: Vec<String>,
    /// Why there are no offers, or not all.
    why: Option<String>,
}

impl Choice {
    /// What the operator has costs nothing by the hour, and is taken first. `stays`: not one that may be taken away.
    fn next(&mut self, stays: bool) -> anyhow::Result<(String, Option<Offer>)> {
        if let Some((name, left)) = self.own.iter_mut().find(|(_, left)| *left > 0) {
            *left -= 1;
            return Ok((name.clone(), None));
        }
        let at = self.offers.iter().rposition(|offer| !(stays && offer.interruptible));
        let many = at.is_some_and(|at| self.many.contains(&self.offers[at].provider));
        let best = at.map(|at| if many { self.offers[at].clone() } else { self.offers.remove(at) });
        if let Some(best) = best.as_ref().filter(|_| !many) {
            // One machine may be on offer by a bid and on demand: it is one.
            self.offers.retain(|other| other.provider != best.provider || other.id != best.id);
        }
        match (best, &self.why) {
            (Some(offer), _) => Ok((offer.provider.clone(), Some(offer))),
            (None, Some(why)) => bail!("{why}"),
            (None, None) => bail!("there are no more machines on offer"),
        }
    }

    /// There is none of this kind now. What is offered of it is asked for no more; if nothing is left, this is why.
    fn is_full(&mut self, host: String, why: &anyhow::Error) {
        self.offers.retain(|offer| offer.host != host);
        self.full.push(host);
        self.why = Some(format!("{why:#}"));
    }

    /// No budget has room for what such a machine costs at first, nor for a dearer one.
    fn is_dear(&mut self, rate: Rate, for_ms: Millis, why: &anyhow::Error) {
        let first = |rate: Rate| cost_until(rate, 0, for_ms);
        self.offers.retain(|offer| first(offer.rate) < first(rate));
        self.why = Some(format!("{why:#}"));
    }
}

impl Pool<'_> {
    /// Whether a rental of it may take a machine of ours away: it is one that we hold by a bid, or one that is stopped, or about to be or to start, and
    /// wants its GPU back.
    fn displaces(&self, offer: &Offer) -> bool {
        let held = |instance: &Instance| {
            let back = instance.resumed_at.is_some() && instance.stage == Stage::Requested;
            instance.interruptible && instance.stage != Stage::Lost || instance.stage == Stage::Stopped || instance.rests || back
        };
        let same = |instance: &Instance| instance.provider == offer.provider && instance.machine == offer.machine;
        offer.machine.is_some() && self.fleet.instances.iter().any(|instance| held(instance) && same(instance))
    }

    async fn choice(&self, learned: &Learned, now: Millis) -> anyhow::Result<Choice> {
        if self.rent_at.is_empty() {
            bail!("KILN_PROVIDERS names no provider that can be asked, so no machine can be rented");
        }
        let (own, others): (Vec<&dyn Provider>, Vec<&dyn Provider>) = self.rent_at.iter().partition(|provider| provider.own());
        let own = own.into_iter().map(|provider| {
            let there = self.fleet.instances.iter().filter(|instance| instance.provider == provider.name()).count();
            (provider.name().to_owned(), provider.most().unwrap_or(usize::MAX).saturating_sub(there))
        });
        let many = others.iter().filter(|provider| provider.has_many()).map(|provider| provider.name().to_owned()).collect();
        let mut choice = Choice { own: own.collect(), offers: vec![], many, full: vec![], why: None };
        let mut found = Vec::new();
        for (provider, offers) in
            futures::future::join_all(others.into_iter().map(async |provider| (provider, self.deadline.read(provider.offers(self.policy)).await))).await
        {
            match offers {
                Ok(offers) => found.extend(offers),
                Err(error) => choice.why = Some(format!("the offers of {} could not be read: {error:#}", provider.name())),
            }
        }
        let all = found.len();
        found.retain(|offer| !self.displaces(offer));
        if found.is_empty() && all > 0 && choice.why.is_none() {
            choice.why =
                Some("what is on offer are machines that the pool holds already, by a bid or stopped: renting them would take them away from it".into());
        }
        choice.offers = ranked(&found, self.policy, learned, now).into_iter().cloned().collect();
        if choice.offers.is_empty() && !found.is_empty() && choice.why.is_none() {
            choice.why = Some(format!("none of {} machines on offer may be rented by the pool's policy", found.len()));
        }
        choice.offers.reverse();
        Ok(choice)
    }
}

/// What became of an order.
enum Ordered {
    /// There is a machine, which may be taken away or not.
    Made { interruptible: bool },
    /// The provider has none at this host, by its own word.
    Full { host: String, why: anyhow::Error },
    /// No budget has room for one at this rate.
    Dear { rate: Rate, for_ms: Millis, why: anyhow::Error },
    /// The provider takes no order in what is left of this run.
    Later,
}

/// Where the provider has none of the best kind, or no budget has room for one, the next best is asked for: each with an intent, a cover and a boot
/// token of its own. Gives whether the machine may be taken away; nothing where its provider takes no order in what is left of this run.
async fn rent(pool: &Pool<'_>, choice: &mut Choice, reason: &Reason, run: &mut RunState) -> anyhow::Result<Option<bool>> {
    loop {
        let (host, why) = match order(pool, choice, reason, run).await? {
            Ordered::Made { interruptible } => return Ok(Some(interruptible)),
            Ordered::Later => return Ok(None),
            Ordered::Full { host, why } => (host, why),
            // Nothing was asked for, so there is time for another.
            Ordered::Dear { rate, for_ms, why } => {
                tracing::warn!(microusd_per_hour = rate.microusd_per_hour, error = format!("{why:#}"), "a cheaper machine is looked for");
                choice.is_dear(rate, for_ms, &why);
                continue;
            }
        };
        if !pool.has_time() {
            choice.full.push(host);
            return Err(why.context("the provider has no such machine now, and there was no time to ask for another"));
        }
        tracing::warn!(host, error = format!("{why:#}"), "the provider has no such machine now; the next offer is asked for");
        choice.is_full(host, &why.context("the provider gave no machine"));
    }
}

/// One order. The intent and its cover are written before the provider is asked, so that a machine can never be unknown to us nor pass a budget.
async fn order(pool: &Pool<'_>, choice: &mut Choice, reason: &Reason, run: &mut RunState) -> anyhow::Result<Ordered> {
    let Pool { app, policy, .. } = *pool;
    let (name, offer) = choice.next(matches!(reason, Reason::Hedge { .. }))?;
    let provider = pool.providers.must(&name)?;
    let early = run.orders_from.get(&name).map_or(0, |from| from - app.now());
    let wait = Duration::from_millis(u64::try_from(early).unwrap_or(0));
    if wait >= pool.deadline.left_for(provider.order_takes()) {
        tracing::info!(provider = name, wait_ms = early, "its provider takes no other order in this run; the next one goes on");
        return Ok(Ordered::Later);
    }
    tokio::time::sleep(wait).await;
    let now = app.now();
    let id = InstanceId::new(now, app.random());
    let boot = new_secret(&format!("kib_{id}."));
    let label = format!("{}{POOL}/{id}", pool.ours);
    let rate = offer.as_ref().map_or(Rate::default(), |offer| offer.rate);
    let offered = offer.as_ref().map(|offer| offer.host.clone());
    let machine = offer.as_ref().and_then(|offer| offer.machine.clone());
    let offered_as = offered.clone().filter(|_| provider.has_many());
    let intent = Instance::intent(id.clone(), POOL, provider.name(), label.clone(), boot.hash, now + seconds(app.settings().boot_s), now);
    let instance = Instance {
        // Of an offer that stands for many machines each is a host of its own: as a witness, and for what fails there.
        host: offered.filter(|_| !provider.has_many()).or_else(|| provider.host()).unwrap_or_else(|| id.to_string()),
        machine,
        offered_as,
        trusted: provider.own(),
        gpu: offer.as_ref().map(|offer| offer.gpu.clone()),
        rate,
        disk_microusd_per_hour: offer.as_ref().filter(|_| provider.keeps().is_some()).and_then(Offer::kept_for),
        covered_to: now + deadlines(app).first_ms(),
        interruptible: offer.as_ref().is_some_and(|offer| offer.interruptible),
        ..intent
    };
    match app.table().rent(&instance, policy, run.epoch).await? {
        Ok(()) => {}
        Err(NoCover::Budget(window)) => {
            let why = anyhow::anyhow!("the {}'s budget has no room for what a machine may cost", window.name());
            return Ok(Ordered::Dear { rate, for_ms: instance.covered_to - now, why });
        }
        Err(NoCover::Moved) => anyhow::bail!("the intent {id} stands already"),
        Err(NoCover::NotOurTurn) => anyhow::bail!("another run acts by now"),
    }
    tracing::info!(instance_id = %id, provider = provider.name(), reason = reason.code(), microusd_per_hour = rate.microusd_per_hour, "renting a machine: {reason}");
    let made = provider.create(&Order { instance_id: id.clone(), label, boot_token: boot.token, offer }).await;
    let rests = if let Err(NotMade::TooSoon(wait, _)) = &made { *wait } else { provider.between_orders() };
    if !rests.is_zero() {
        run.orders_from.insert(name, app.now() + rests.as_millis() as Millis);
    }
    match made {
        Ok(provider_id) => {
            app.table().set_provider_id(&id, &provider_id).await?;
            Ok(Ordered::Made { interruptible: instance.interruptible })
        }
        Err(NotMade::Full(why)) => {
            let host = instance.avoided_as().to_owned();
            app.table().forget_instance(&instance.begun(), now).await?;
            Ok(Ordered::Full { host, why })
        }
        Err(NotMade::Refused(error) | NotMade::TooSoon(_, error)) => {
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
async fn stop(app: &App, id: &InstanceId, reason: &Reason) -> anyhow::Result<bool> {
    let stops = app.table().drain_idle(id, app.now()).await?;
    if stops {
        tracing::info!(instance_id = %id, reason = reason.code(), "giving a machine back: {reason}");
    }
    Ok(stops)
}

/// Asked to end and keep what it has; not where it has taken a job since it was seen.
async fn rest(app: &App, id: &InstanceId, reason: &Reason) -> anyhow::Result<bool> {
    let rests = app.table().rest_idle(id, app.now()).await?;
    if rests {
        tracing::info!(instance_id = %id, reason = reason.code(), "a machine is to be kept stopped: {reason}");
    }
    Ok(rests)
}

/// Where no answer has named the machine, whether there is one the list will say; and what the list lacks is asked for no more.
fn add(going: &mut Vec<Going>, instance: Option<&Instance>, counts: bool, done: &mut Done) {
    match instance {
        Some(Instance { provider, provider_id: Some(provider_id), missing_since: None, .. }) => {
            going.push(Going { provider: provider.clone(), provider_id: provider_id.clone(), counts });
        }
        _ => done.stopped += usize::from(counts),
    }
}

/// Gives machines back, those of a provider together: one by one there would be no time for many.
async fn give_back(pool: &Pool<'_>, going: &[Going], done: &mut Done) {
    let mut by_provider: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for going in going {
        by_provider.entry(&going.provider).or_default().push(going.provider_id.clone());
    }
    let (begins_until, until) = (Instant::now() + pool.deadline.left_for(DESTROY_TAKES), pool.deadline.ends());
    let left = futures::future::join_all(by_provider.into_iter().map(async |(name, ids)| {
        let done = match pool.providers.must(name) {
            // One that is cut off may be done; that is asked again.
            Ok(provider) => within(until, async { Ok(provider.destroy_many(&ids, begins_until).await) }).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(left) => left.into_iter().map(|(id, why)| (name, id, why)).collect(),
            Err(error) => ids.into_iter().map(|id| (name, id, anyhow::anyhow!("{error:#}"))).collect::<Vec<_>>(),
        }
    }));
    let left: Vec<_> = left.await.into_iter().flatten().collect();
    for (provider, id, error) in &left {
        done.failed += 1;
        tracing::error!(error = format!("{error:#}"), provider, provider_id = id, "a machine could not be given back; it is tried again");
    }
    let is_left = |going: &&Going| left.iter().any(|(name, id, _)| *name == going.provider && *id == going.provider_id);
    done.stopped += going.iter().filter(|going| going.counts && !is_left(going)).count();
}

/// What was drained and works no more is given back; again and again, until the provider lists it no more.
fn leave(pool: &Pool<'_>, going: &mut Vec<Going>, done: &mut Done) {
    let finished = pool.fleet.instances.iter().filter(|instance| instance.drain && instance.slot().is_none() && instance.stage != Stage::Lost);
    // It has had a heartbeat's time to go by itself.
    let within = |instance: &Instance| if instance.rests { RESTS_WITHIN } else { seconds(pool.app.settings().heartbeat_s) };
    let had_time = |instance: &&Instance| pool.app.now() - instance.drained_at.unwrap_or(instance.idle_since) >= within(instance);
    for instance in finished.filter(had_time) {
        add(going, Some(instance), false, done);
    }
}
