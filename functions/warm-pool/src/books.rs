//! What machines were used for and what they cost, written down; and once a day held against what their providers charge.
//!
//! Promises: what is told once is told once, whatever dies; what a provider charges beyond what was recorded counts against the budgets; what
//! belongs to other machines of its account does not.

use crate::act::Pool;
use crate::deadline::within;
use crate::provider::Provider;
use crate::{POOL, Providers};
use anyhow::bail;
use kiln_core::pool::budget::Rate;
use kiln_core::pool::charges::{DAY, on_day};
use kiln_core::time::Millis;
use kiln_http::App;
use kiln_store::{Charged, Instance, RunState};
use std::collections::BTreeMap;
use std::time::Duration;

/// With less time left than this a run leaves the charges to the next one.
const LEAST_TIME: Duration = Duration::from_secs(10);

/// Tells the usage events of what has changed. Of a machine that its provider's list lacks nothing is told until that is clear: it may have
/// ended by then. What fails is told by the next look.
pub(crate) async fn tell(app: &App, instances: &[Instance]) {
    for instance in instances.iter().filter(|instance| instance.missing_since.is_none()) {
        if let Err(error) = app.table().tell_usage(instance, app.now()).await {
            tracing::error!(%error, instance_id = %instance.instance_id, "the usage of a machine could not be told");
        }
    }
}

/// Once a day: the day that is over, and what there is of the new one.
pub(crate) async fn daily(pool: &Pool<'_>, run: &mut RunState) {
    let (app, now) = (pool.app, pool.app.now());
    if !run.charges.due(now) || pool.deadline.left_for(LEAST_TIME).is_zero() {
        return;
    }
    let done = within(pool.deadline.ends(), settle(app, pool.providers, pool.ours, now)).await;
    if let Err(error) = &done {
        tracing::error!(error = format!("{error:#}"), "what machines cost could not be held against what was charged; it is tried again");
    }
    run.charges.tried(now, done.is_ok());
}

/// A machine that was there in these days.
struct Cost {
    provider: String,
    provider_id: Option<String>,
    rate: Rate,
    begun: Millis,
    ended: Millis,
}

/// Holds what was recorded of yesterday and of today so far against what each provider charges. One that can't be reached leaves the others be.
pub(crate) async fn settle(app: &App, providers: &Providers, ours: &str, now: Millis) -> anyhow::Result<Vec<Charged>> {
    let today = now.div_euclid(DAY) * DAY;
    // Before the records: what has ended meanwhile is in one of the two, or in both and counts once.
    let fleet = app.table().fleet(POOL).await?;
    let gone = app.table().gone_since(today - DAY).await?;
    // A machine that was kept stopped has a life for each stretch, each with a rate of its own.
    let mut costs = BTreeMap::new();
    for instance in fleet.instances {
        let Instance { provider, provider_id, rate, requested_at, missing_since, .. } = instance;
        costs.insert((instance.instance_id, requested_at), Cost { provider, provider_id, rate, begun: requested_at, ended: missing_since.unwrap_or(now) });
    }
    for gone in gone {
        let rate = Rate { microusd_per_hour: gone.microusd_per_hour, microusd_once: gone.microusd_once };
        costs.insert(
            (gone.instance_id, gone.rented_at),
            Cost { provider: gone.provider, provider_id: gone.provider_id, rate, begun: gone.rented_at, ended: gone.ended_at },
        );
    }
    let (mut settled, mut failed) = (Vec::new(), Vec::new());
    for provider in providers.all() {
        for day in [today - DAY, today] {
            match one(app, provider, ours, &costs.values().collect::<Vec<_>>(), day, now).await {
                Ok(charged) => settled.extend(charged),
                Err(error) => failed.push(format!("{}: {error:#}", provider.name())),
            }
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("; "));
    }
    Ok(settled)
}

async fn one(app: &App, provider: &dyn Provider, ours: &str, costs: &[&Cost], day: Millis, now: Millis) -> anyhow::Result<Option<Charged>> {
    let Some(charges) = provider.charges(day).await? else { return Ok(None) };
    let name = provider.name();
    let here = || costs.iter().filter(move |cost| cost.provider == name);
    // By its label also what we don't know of, such as the second machine of one order.
    let is_ours = |id: &str, label: Option<&str>| match label.filter(|label| !label.is_empty()) {
        Some(label) => label.starts_with(ours),
        None => here().any(|cost| cost.provider_id.as_deref() == Some(id)),
    };
    let charged: i64 = charges.iter().filter(|charge| is_ours(&charge.provider_id, charge.label.as_deref())).map(|charge| charge.microusd).sum();
    let recorded: i64 = here().map(|cost| on_day(cost.rate, cost.begun, cost.ended, day)).sum();
    let settled = app.table().settle(provider.name(), day, recorded, charged, now).await?;
    if settled.counted_microusd > 0 {
        tracing::warn!(
            provider = provider.name(),
            day = settled.day,
            recorded,
            charged,
            "a provider charges more than was recorded; the difference counts against the budget"
        );
    }
    Ok(Some(settled))
}
