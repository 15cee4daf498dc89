//! What the plan is made from: the fleet, the jobs, what boots and jobs take, and what is committed of the budgets.

use crate::{Providers, own};
use kiln_core::fleet::Stage;
use kiln_core::kinds;
use kiln_core::pool::budget::{Deadlines, Rate, windows};
use kiln_core::pool::offers::Learned;
use kiln_core::pool::{Demand, Observation, Policy, Seen, Took};
use kiln_core::time::{Millis, seconds};
use kiln_core::timing::Timings;
use kiln_http::App;
use kiln_store::{Depth, Fleet, Instance, RunState};

/// What was read.
pub(crate) struct Looked {
    pub seen: Observation,
    pub unfinished: u64,
    pub queued: u64,
    /// Jobs that came since the last look.
    pub came: u64,
    /// Committed in this day.
    pub day_microusd: i64,
    pub learned: Learned,
}

/// `listed`: whether a provider that rents has said what exists there; without that nothing is rented. `woken_for`: the kind of a job that has just
/// come, which the index may not have yet.
pub(crate) async fn look(
    app: &App,
    providers: &Providers,
    fleet: &Fleet,
    policy: &Policy,
    run: &mut RunState,
    listed: bool,
    woken_for: Option<(&str, bool)>,
) -> Looked {
    let now = app.now();
    let depth = match app.table().unfinished(now).await {
        Ok((mut depth, _)) => {
            if let Some((kind, rush)) = woken_for.filter(|(kind, _)| kinds::offered(true).any(|known| known.name == *kind)) {
                depth.at_least_one(kind, rush, now);
            }
            Some(depth)
        }
        Err(error) => {
            tracing::error!(%error, "the jobs could not be counted");
            None
        }
    };
    let committed = match app.table().committed(now).await {
        Ok(committed) => Some(committed),
        Err(error) => {
            tracing::error!(%error, "what is committed of the budgets could not be read");
            None
        }
    };
    let mut came = 0;
    if let Some(depth) = &depth {
        let succeeded: u64 = fleet.timings.0.values().map(|times| times.run.count()).sum();
        came = run.arrivals.look(succeeded + depth.unfinished(), now);
    }
    let day_microusd = committed.as_ref().and_then(|committed| committed.get(&windows(now)[1])).copied().unwrap_or(0);
    // One that is kept is to be of use for a while when it runs again.
    let lives = |instance: &Instance, life: Millis| now + deadlines(app).first_ms() < instance.instance_id.time() + life;
    let may_run = |instance: &Instance| {
        let rate = instance.runs_for.unwrap_or(instance.rate);
        policy.max_microusd_per_hour.is_none_or(|most| rate.microusd_per_hour <= most)
            && (policy.gpus.is_empty() || instance.gpu.as_ref().is_some_and(|gpu| policy.gpus.contains(gpu)))
    };
    let keeps = |instance: &Instance| {
        let kept = providers.keeps(&instance.provider).filter(|_| policy.keep_stopped && instance.disk_microusd_per_hour.is_some());
        kept.is_some_and(|keeps| lives(instance, keeps.life) && may_run(instance))
    };
    let see = |instance: &Instance| Seen { keeps: keeps(instance), ..see(instance, depth.as_ref(), app.settings().boot_s, now) };
    // A word that is lost, or two, are no silence.
    let lost_after_s = app.settings().instance_lost_s.max(4 * app.settings().heartbeat_s);
    // Safe mode ends what only may come, too.
    let counts = |instance: &&Instance| policy.safe_mode || own::counts(instance, lost_after_s, now);
    let instances: Vec<Seen> = fleet.instances.iter().filter(counts).map(see).collect();
    let useful = useful(app, depth.as_ref()).await;
    run.learn(&fleet.instances, now);
    run.history.look(run.ran_at, &instances, unserved(depth.as_ref(), useful), lost_after_s, now);
    let seen = Observation {
        demand: depth.as_ref().map(|depth| demand(app, depth, fleet, run, now)),
        listed,
        instances,
        useful,
        committed,
        boot: run.boots.took().unwrap_or_else(|| Took::all(providers.usual_boot())),
        resume: providers.usual_resume().filter(|_| policy.keep_stopped).map(|usual| run.resumes.took().unwrap_or(Took::all(usual))),
        history: run.history.clone(),
        lost_after_s,
        deadlines: deadlines(app),
        look_s: match app.settings().second_look_s {
            0 => deadlines(app).tick_s,
            second => second,
        },
    };
    let learned = Learned {
        jobs_per_hour: run.jobs_per_hour.clone(),
        reliability: run.reliability.clone(),
        avoid: run.avoid.clone(),
        taken_away: run.history.spot.share(),
        spot_paused: run.history.spot.paused,
    };
    Looked { seen, learned, unfinished: depth.as_ref().map_or(0, Depth::unfinished), queued: depth.map_or(0, |depth| depth.queued), came, day_microusd }
}

/// Machines that could have work at once, as maintenance last summed it up, and one for each job that came since; `None` where it never did.
async fn useful(app: &App, depth: Option<&Depth>) -> Option<u32> {
    let kept = app.table().depth().await.inspect_err(|error| tracing::error!(%error, "the kept count of jobs could not be read")).ok()??;
    let came = depth?.unfinished().saturating_sub(kept.unfinished());
    Some(kept.useful?.saturating_add(u32::try_from(came).unwrap_or(u32::MAX)))
}

/// Whether jobs wait that could run at once; `None` where that isn't known.
fn unserved(depth: Option<&Depth>, useful: Option<u32>) -> Option<bool> {
    let depth = depth?;
    Some(depth.queued > 0 && u64::from(useful?) > depth.running)
}

/// How long things may take. The tick is the schedule's in production, and more than a laptop's.
pub(crate) fn deadlines(app: &App) -> Deadlines {
    let longest = kinds::offered(true).map(|kind| kind.max_run_s).max().unwrap_or(0);
    Deadlines { boot_s: app.settings().boot_s, job_s: longest, tick_s: 60 }
}

/// One for each kind of which some wait or run, one more where some of them are to be served first, and one for all that came.
fn demand(app: &App, depth: &Depth, fleet: &Fleet, run: &RunState, now: Millis) -> Vec<Demand> {
    let mut all: Vec<Demand> = Vec::new();
    for kind in kinds::offered(true) {
        let of = |state: &str| depth.by_kind.get(&format!("{}/{state}", kind.name)).copied().unwrap_or(0);
        let (queued, running) = (of("queued"), of("running"));
        let service_ms = service(app, &fleet.timings, kind.name);
        let rush = depth.rush.get(kind.name).copied().unwrap_or(0).min(queued);
        let waits = |count: u64, since: Option<Millis>| since.filter(|_| count > 0).map_or(0, |at| now - at);
        if rush > 0 {
            all.push(Demand { rush: true, queued: rush, oldest_ms: waits(rush, depth.oldest_rush_at), service_ms, ..Demand::default() });
        }
        if queued - rush + running > 0 {
            let oldest_ms = waits(queued - rush, depth.oldest_queued_at);
            all.push(Demand { queued: queued - rush, running, oldest_ms, service_ms, ..Demand::default() });
        }
    }
    let [came_2_min, came_10_min, came_hour] = [2, 10, 60].map(|minutes| run.arrivals.last(minutes, now));
    if came_hour > 0 {
        all.push(Demand { came_2_min, came_10_min, came_hour, service_ms: mean(&fleet.timings).unwrap_or(seconds(30)), ..Demand::default() });
    }
    all
}

/// What a job of the kind takes on a machine: as measured, or as the price list expects.
fn service(app: &App, timings: &Timings, kind: &str) -> Millis {
    let measured = timings.0.get(kind).filter(|times| times.run.count() > 0).map(|times| (times.run.sum_ms / times.run.count()) as Millis);
    measured.unwrap_or_else(|| seconds(app.prices().kinds.get(kind).map_or(30, |kind| kind.expected_s))).max(1)
}

fn mean(timings: &Timings) -> Option<Millis> {
    let (sum, count) = timings.0.values().fold((0, 0), |(sum, count), times| (sum + times.run.sum_ms, count + times.run.count()));
    (count > 0).then(|| (sum / count) as Millis)
}

/// A rented machine's worker that began more often than this is not waited for: its parent starts it again twice.
const MOST_RESTARTS: u32 = 5;

/// Whether it is at what a worker does before it is ready. One that was ready and did not begin again has no engines to load, and one that begins again
/// and again would be paid without end, since what loads is never idle.
fn loads(instance: &Instance) -> bool {
    instance.ready_at.is_none() || instance.loading_since.is_some() && (instance.trusted || instance.restarts <= MOST_RESTARTS)
}

/// One that was told to rest so long ago is not waited for any more: its worker may hang.
const AWAITED: Millis = seconds(90);

fn see(instance: &Instance, depth: Option<&Depth>, boot_s: u64, now: Millis) -> Seen {
    let waits = |kind: &kinds::Kind| depth.is_some_and(|depth| depth.by_kind.get(&format!("{}/queued", kind.name)).is_some_and(|count| *count > 0));
    // By its slot, which the job's own transactions fill and empty, and not by its word.
    let busy = instance.slot().is_some() && matches!(instance.stage, Stage::Loading | Stage::Ready | Stage::Busy);
    let booting = instance.heartbeat_at.is_none() && now < instance.boot_expires_at;
    // Nothing is to be heard of one that is stopped, nor of one that ends to be; whoever asked for that sees that it doesn't last.
    let rests = instance.rests && instance.slot().is_none() && instance.stage != Stage::Lost;
    let says_nothing = rests || instance.runs_for.is_some();
    Seen {
        id: instance.instance_id.clone(),
        stage: match instance.stage {
            // Its tokens are revoked: nothing that it does counts.
            Stage::Lost => Stage::Lost,
            _ if instance.drain => Stage::Draining,
            // It may be gone, and is no machine to count on.
            Stage::Stopped if instance.missing_since.is_some() => Stage::Draining,
            _ if busy => Stage::Busy,
            Stage::Busy => Stage::Ready,
            Stage::Loading if !loads(instance) => Stage::Ready,
            stage => stage,
        },
        since: instance.idle_since.max(instance.ready_at.unwrap_or(0)),
        heard_at: if booting || says_nothing { now } else { instance.heartbeat_at.unwrap_or(instance.requested_at) },
        begun: instance.requested_at,
        // A worker that begins again has a boot's time for it, too: it may speak and never be ready.
        boot_by: match instance.ready_at {
            None if instance.stage == Stage::Stopped => Millis::MAX,
            // One that was kept stopped and speaks again has a whole boot's time to be ready.
            None if instance.resumed_at.is_some() && instance.heartbeat_at.is_some() => instance.requested_at + seconds(boot_s),
            None if !instance.is_own() => instance.boot_expires_at,
            _ => instance.loading_since.map_or(Millis::MAX, |since| since + seconds(boot_s)),
        },
        rate: instance.rate,
        covered_to: if instance.rate == Rate::default() { Millis::MAX } else { instance.covered_to },
        keeps: false,
        rests: rests && instance.drained_at.is_some_and(|at| now - at <= AWAITED),
        runs_for: instance.runs_for.unwrap_or(instance.rate),
        resumes: instance.resumed_at.is_some() && instance.ready_at.is_none(),
        // An own one is not given back for want of work: it costs nothing, and nothing would bring it again.
        leased_to: if instance.is_own() { Some(Millis::MAX) } else { instance.lease.as_ref().map(|lease| lease.until) },
        able: kinds::offered(true).any(|kind| waits(kind) && instance.capabilities.iter().any(|can| can == kind.capability)),
        interruptible: instance.interruptible,
        taken_away: instance.taken_at.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool_tests::process;

    #[tokio::test]
    async fn a_kind_s_jobs_take_what_was_measured_of_them_and_what_the_price_list_says_until_then() {
        let app = process(&kiln_dynamo::Memory::new(1)).await;
        let depth = Depth { queued: 3, by_kind: [("noop/queued".into(), 2), ("upscale/queued".into(), 1)].into(), ..Depth::default() };
        let takes = |fleet: &Fleet| {
            let all = demand(&app, &depth, fleet, &RunState::default(), 0);
            [2, 1].map(|queued| all.iter().find(|demand| demand.queued == queued).unwrap().service_ms)
        };
        let listed = ["noop", "upscale"].map(|kind| seconds(app.prices().kinds[kind].expected_s));
        let mut fleet = Fleet::default();
        assert_eq!(takes(&fleet), listed);
        // Four jobs in twenty seconds.
        assert!(fleet.timings.add("t.noop.r6", 4) && fleet.timings.add("t.noop.rs", 20_000));
        assert_eq!(takes(&fleet), [5_000, listed[1]]);
    }
}
