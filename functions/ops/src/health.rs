//! Whether the system does its work, and if not, what is wrong, in words. Read from what maintenance and the workers leave
//! behind, so that asking often costs little: one answer serves two seconds of callers.

use crate::workers::{POOL, count, heartbeat_age_s};
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use kiln_core::fleet::Stage;
use kiln_core::pool::Policy;
use kiln_core::settings::Settings;
use kiln_core::time::Millis;
use kiln_http::App;
use kiln_store::{Depth, Instance};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;
use utoipa::ToSchema;

const FRESH: Duration = Duration::from_secs(2);

/// Maintenance counts once a minute; after three missed rounds it isn't running.
const MAINTENANCE_SILENT_S: u64 = 180;

/// A job may wait this long without a worker on its way: the pool looks once a minute.
const WAITING_S: u64 = 120;

/// The last answer, and when it was made.
pub type Cache = Mutex<Option<(Instant, Health)>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Ok,
    Degraded,
}

/// How the system is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Health {
    status: Status,
    checks: Vec<Check>,
    /// Null while the table can't be read.
    queue: Option<QueueHealth>,
    /// Null while the table can't be read.
    workers: Option<WorkersHealth>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Check {
    #[schema(example = "workers")]
    name: &'static str,
    ok: bool,
    /// For a person.
    #[schema(example = "2 ready, 1 busy")]
    detail: String,
}

/// Unfinished jobs, as maintenance last counted them.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct QueueHealth {
    queued: u64,
    running: u64,
    /// How long the oldest queued job waits.
    oldest_queued_s: u64,
    /// Unfinished jobs above which new ones are refused.
    ceiling: u64,
}

/// The pool's machines by stage.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct WorkersHealth {
    ready: u64,
    busy: u64,
    loading: u64,
    draining: u64,
    /// How many the pool may have.
    max: u32,
    /// Jobs that can run at once now, one a worker.
    slots: u64,
}

/// Whether the system does its work, and what is wrong if it doesn't.
#[utoipa::path(get, path = "/api/v1/health", tag = "ops", responses((status = 200, description = "All is well.", body = Health), (status = 503, description = "Something is wrong; `checks` says what.", body = Health)))]
pub async fn health(State(app): State<App>, Extension(cache): Extension<Arc<Cache>>) -> (StatusCode, Json<Health>) {
    // Held while the table is read: one read serves all who wait.
    let mut last = cache.lock().await;
    let health = match &*last {
        Some((at, health)) if at.elapsed() < FRESH => health.clone(),
        _ => {
            let health = look(&app).await;
            *last = Some((Instant::now(), health.clone()));
            health
        }
    };
    let status = if health.status == Status::Ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health))
}

async fn look(app: &App) -> Health {
    let read = tokio::try_join!(app.table().depth(), app.table().fleet(POOL));
    match read {
        Ok((depth, mut fleet)) => {
            // A machine of the operator's own that may never come, or is switched off, is nobody's worker and nobody's fault.
            let speaks = |instance: &Instance| heartbeat_age_s(instance, app.now()).is_some_and(|age| age <= app.settings().instance_lost_s);
            fleet.instances.retain(|instance| !instance.is_own() || speaks(instance));
            let policy = fleet.state.map_or_else(|| app.settings().policy(), |state| state.policy);
            judge(depth, &fleet.instances, &policy, app.settings(), app.now())
        }
        Err(error) => {
            tracing::error!(%error, "health could not read the table");
            let checks = vec![Check { name: "table", ok: false, detail: "The table can't be read.".into() }];
            Health { status: Status::Degraded, checks, queue: None, workers: None }
        }
    }
}

/// What the facts mean.
fn judge(depth: Option<Depth>, instances: &[Instance], policy: &Policy, settings: &Settings, now: Millis) -> Health {
    let since = |at: Millis| (now - at).max(0) as u64 / 1000;
    let counted = depth.as_ref().map(|depth| since(depth.at));
    let depth = depth.unwrap_or_default();
    let queue =
        QueueHealth { queued: depth.queued, running: depth.running, oldest_queued_s: depth.oldest_queued_at.map_or(0, since), ceiling: settings.queue_ceiling };
    let (ready, busy) = (count(instances, Stage::Ready), count(instances, Stage::Busy));
    let workers = WorkersHealth {
        ready,
        busy,
        loading: count(instances, Stage::Requested) + count(instances, Stage::Loading),
        draining: count(instances, Stage::Draining),
        max: policy.max,
        slots: ready + busy,
    };
    let checks = vec![
        Check { name: "table", ok: true, detail: "It can be read.".into() },
        maintenance(counted),
        admission(&queue),
        supply(&queue, &workers),
        silence(instances, settings.instance_lost_s, now),
    ];
    let status = if checks.iter().all(|check| check.ok) { Status::Ok } else { Status::Degraded };
    Health { status, checks, queue: Some(queue), workers: Some(workers) }
}

fn maintenance(counted_s: Option<u64>) -> Check {
    let (ok, detail) = match counted_s {
        // A new deployment, before its first minute is over.
        None => (true, "It has not run yet.".into()),
        Some(age) if age > MAINTENANCE_SILENT_S => {
            (false, format!("It last counted the jobs {age} s ago, so it isn't running: lost leases and lost messages stay as they are."))
        }
        Some(age) => (true, format!("It counted the jobs {age} s ago.")),
    };
    Check { name: "maintenance", ok, detail }
}

fn admission(queue: &QueueHealth) -> Check {
    let unfinished = queue.queued + queue.running;
    let full = unfinished >= queue.ceiling;
    let detail = if full {
        format!("It is full: {unfinished} unfinished jobs, the ceiling is {}; new jobs are refused.", queue.ceiling)
    } else {
        format!("Unfinished jobs: {unfinished} of at most {}.", queue.ceiling)
    };
    Check { name: "queue", ok: !full, detail }
}

fn supply(queue: &QueueHealth, workers: &WorkersHealth) -> Check {
    let there = workers.slots + workers.loading;
    let stranded = queue.queued > 0 && there == 0 && (workers.max == 0 || queue.oldest_queued_s > WAITING_S);
    let detail = if stranded && workers.max == 0 {
        format!("{} jobs wait, and the pool's maximum is 0.", queue.queued)
    } else if stranded {
        format!("{} jobs wait, the oldest for {} s, and no worker is there or on its way.", queue.queued, queue.oldest_queued_s)
    } else {
        format!("{} ready, {} busy, {} on their way.", workers.ready, workers.busy, workers.loading)
    };
    Check { name: "workers", ok: !stranded, detail }
}

/// Workers that hold their place and don't speak; the pool writes them off at its next look.
fn silence(instances: &[Instance], lost_s: u64, now: Millis) -> Check {
    let silent = instances
        .iter()
        .filter(|instance| !matches!(instance.stage, Stage::Stopped | Stage::Gone | Stage::Lost))
        .filter(|instance| heartbeat_age_s(instance, now).is_some_and(|age| age > lost_s.saturating_mul(2)))
        .count();
    let detail = if silent > 0 {
        format!("{silent} workers have not spoken for more than {} s, and the warm pool has not written them off.", lost_s * 2)
    } else {
        "All workers speak.".into()
    };
    Check { name: "warm_pool", ok: silent == 0, detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_core::ids::{InstanceId, JobId};

    const NOW: Millis = 10_000_000;

    fn worker(stage: Stage, heard_s_ago: Option<i64>) -> Instance {
        Instance {
            v: 1,
            instance_id: InstanceId::new(1, 1),
            pool: POOL.into(),
            provider: "local".into(),
            provider_id: None,
            label: String::new(),
            host: String::new(),
            machine: None,
            offered_as: None,
            trusted: true,
            stage,
            requested_at: 0,
            boot_stage: None,
            provider_says: None,
            heartbeat_at: heard_s_ago.map(|s| NOW - s * 1000),
            loading_since: None,
            restarts: 0,
            idle_since: 0,
            drain: false,
            drained_at: None,
            leaves_at: None,
            capabilities: vec![],
            gpu: None,
            version: None,
            boot_hash: None,
            boot_used: None,
            boot_twice: false,
            boot_expires_at: 0,
            registered_at: None,
            ready_at: None,
            busy_since: None,
            told: None,
            rate: Default::default(),
            disk_microusd_per_hour: None,
            rests: false,
            runs_for: None,
            sleeping_hash: None,
            resumed_at: None,
            covered_to: 0,
            interruptible: false,
            taken_at: None,
            ended_by_us_at: None,
            missing_since: None,
            token_hash: None,
            slot_job: None,
            slot_account: None,
            slot_attempt: None,
            lease: None,
            timings: Default::default(),
        }
    }

    fn wrong(depth: Option<Depth>, instances: &[Instance], max: u32) -> Vec<&'static str> {
        let policy = Policy { max, ..Policy::default() };
        let health = judge(depth, instances, &policy, &Settings::default(), NOW);
        let wrong: Vec<_> = health.checks.iter().filter(|check| !check.ok).map(|check| check.name).collect();
        assert_eq!(health.status == Status::Ok, wrong.is_empty());
        wrong
    }

    fn depth(counted_s_ago: i64, queued: u64, oldest_s: i64) -> Option<Depth> {
        Some(Depth { at: NOW - counted_s_ago * 1000, queued, oldest_queued_at: (queued > 0).then_some(NOW - oldest_s * 1000), ..Depth::default() })
    }

    #[test]
    fn an_idle_system_scaled_to_zero_is_well() {
        assert!(wrong(depth(10, 0, 0), &[], 1).is_empty());
        assert!(wrong(None, &[], 1).is_empty(), "a new deployment");
    }

    #[test]
    fn a_silent_maintenance_is_told() {
        assert_eq!(wrong(depth(181, 0, 0), &[], 1), ["maintenance"]);
    }

    #[test]
    fn jobs_that_wait_and_no_worker_on_its_way_is_told() {
        assert_eq!(wrong(depth(1, 3, 121), &[], 1), ["workers"]);
        assert!(wrong(depth(1, 3, 60), &[], 1).is_empty(), "the pool has a minute to act");
        assert!(wrong(depth(1, 3, 121), &[worker(Stage::Requested, None)], 1).is_empty());
        assert_eq!(wrong(depth(1, 3, 1), &[], 0), ["workers"], "none will ever come");
    }

    #[test]
    fn a_full_queue_is_told() {
        assert_eq!(wrong(depth(1, 10_000, 1), &[worker(Stage::Ready, Some(1))], 1), ["queue"]);
    }

    #[test]
    fn a_worker_that_nobody_writes_off_is_told() {
        assert_eq!(wrong(depth(1, 0, 0), &[worker(Stage::Ready, Some(181))], 1), ["warm_pool"]);
    }

    #[test]
    fn a_worker_with_a_job_counts_as_busy_and_one_told_to_leave_as_draining() {
        let busy = Instance { slot_job: Some(JobId::new(1, 1)), ..worker(Stage::Ready, Some(1)) };
        let leaving = Instance { drain: true, ..worker(Stage::Ready, Some(1)) };
        let health = judge(depth(1, 0, 0), &[busy, leaving, worker(Stage::Ready, Some(1))], &Policy::default(), &Settings::default(), NOW);
        let workers = health.workers.unwrap();
        assert_eq!((workers.ready, workers.busy, workers.draining, workers.slots), (1, 1, 1, 2));
    }
}
