//! The parent process of a worker on a rented machine (`kiln-worker --rented vast`): starts the worker as its child, starts it again twice if it dies
//! unasked, and gives the machine back when there is no more use for it. Nobody else may be able to: the control plane may not see this
//! machine, or be gone itself, while the machine goes on costing money. A machine that the pool keeps stopped it has stopped by its provider
//! instead; started again, it goes on as the same instance.
//!
//! It promises: without an answered heartbeat for `KILN_DEAD_MAN_S`, or past `KILN_MAX_LIFE_S`, the time that it was stopped included, the machine is
//! given back, whatever the worker and the API do; one that was to be stopped, and is not within `KILN_REST_S`, is given back; on one that its provider
//! takes away the worker drains first, as far as the notice lasts; time is counted by a clock that nobody sets, but for the stops; the machine's key at
//! its provider is in no child's environment and in no log.

mod child;
mod host;
mod life;
mod settings;

pub use host::Host;
pub use settings::{Own, asked_for};

use crate::agent::{Backoff, Exit, RESTED, until};
use child::Child;
use life::Life;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

/// How often a worker that died is started again.
const RESTARTS: u32 = 2;
const PAUSE: Backoff = Backoff::new(500, 5_000, RESTARTS + 1);
/// A spot instance has two minutes from its notice: within so long the worker has drained, or is killed, and the machine is given back.
const NOTICE: Duration = Duration::from_secs(90);
/// How long a killed process is waited for: one that hangs in a driver can't be killed, and the machine goes all the same.
const KILLED: Duration = Duration::from_secs(5);

/// Why the machine is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The worker has ended by itself, and another start would end no better.
    Ended(i32),
    /// It died once more than it is started again.
    Died,
    /// No heartbeat was answered for too long.
    Unheard,
    /// The machine's longest life is over.
    Old,
    /// The provider takes it away: a spot instance's notice.
    TakenAway,
    /// A signal.
    Asked,
    /// It was to be stopped, and that was refused, or was not done in time.
    NotStopped,
    /// This process itself could not go on.
    Broken,
}

/// Watches over workers until the machine has to go, and gives it back. Returns when that is done, or when the machine is being stopped.
pub async fn run(own: &Own) {
    let life = Life::begin(&own.state);
    let why = watch(own, &life).await.unwrap_or_else(|error| {
        tracing::error!(%error, "the worker can't be watched over");
        Some(Why::Broken)
    });
    let Some(why) = why else { return };
    life.forget();
    if own.own_state {
        // The token in it is of no more use to anybody; there is none where no worker has registered.
        let _ = std::fs::remove_dir_all(&own.state);
    }
    give_back(own, why).await;
}

/// Gives the machine back, however long that takes.
pub async fn give_back(own: &Own, why: Why) {
    tracing::warn!(?why, "this machine is given back");
    own.host.give_back().await;
    tracing::info!("this machine is given back: done");
}

/// Why the machine has to go; none where it is being stopped. No worker is left then.
async fn watch(own: &Own, life: &Life) -> std::io::Result<Option<Why>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (began, old) = (Instant::now(), life.over(own.max_life));
    let (mut heard, mut deaths, mut start_at) = (began, 0, Some(began));
    let mut child: Option<Child> = None;
    // Why the worker was asked to go, and until when it may take.
    let mut going: Option<(Why, Instant)> = None;
    let mut taken_away = std::pin::pin!(own.host.taken_away());
    let mut noticed = false;
    let why = loop {
        let alone = child.is_none();
        let (line, process) = child.as_mut().map(Child::parts).unzip();
        tokio::select! {
            // In this order: what was heard while this process itself stood still counts before the silence does.
            biased;
            () = child::heard(line) => heard = Instant::now(),
            ended = child::ended(process) => {
                child = None;
                if let Some((why, _)) = going {
                    break why;
                }
                if let Some(code) = final_code(&ended) {
                    break Why::Ended(code);
                }
                match pause(&mut deaths) {
                    Some(pause) => start_at = Some(Instant::now() + pause),
                    None => break Why::Died,
                }
            }
            () = told(&mut term, &mut int) => match (&child, going) {
                (Some(child), None) => going = Some((Why::Asked, child.leave(own.drain))),
                // It is in a hurry, or there is nobody to wait for.
                _ => break Why::Asked,
            },
            () = sleep_until(heard + own.dead_man) => break Why::Unheard,
            () = sleep_until(old), if going.is_none() => match &child {
                Some(child) => going = Some((Why::Old, child.leave(own.drain))),
                None => break Why::Old,
            },
            () = &mut taken_away, if !noticed => {
                noticed = true;
                tracing::warn!("the provider takes this machine away");
                going = match (&child, going) {
                    (Some(child), None) => Some((Why::TakenAway, child.leave(own.drain.min(NOTICE)))),
                    (Some(_), Some((why, limit))) => Some((why, limit.min(Instant::now() + NOTICE))),
                    (None, _) => break Why::TakenAway,
                };
            }
            () = until(going.map(|(_, limit)| limit)), if going.is_some() => {
                tracing::warn!("the worker has not drained in time");
                break going.map_or(Why::Broken, |(why, _)| why);
            }
            () = until(start_at), if alone => {
                start_at = None;
                match Child::start(own) {
                    Ok(started) => child = Some(started),
                    Err(error) => {
                        tracing::error!(%error, "the worker could not be started");
                        match pause(&mut deaths) {
                            Some(pause) => start_at = Some(Instant::now() + pause),
                            None => break Why::Died,
                        }
                    }
                }
            }
        }
    };
    if let Some(child) = child {
        child.kill(KILLED).await;
    }
    if why != Why::Ended(RESTED) {
        return Ok(Some(why));
    }
    // Kept before the provider is asked: the stop may come before its answer.
    if let Err(error) = life.keep() {
        tracing::error!(%error, "this machine's age can't be kept while it is stopped");
        return Ok(Some(Why::NotStopped));
    }
    tokio::select! {
        biased;
        () = told(&mut term, &mut int) => {
            tracing::info!("this machine is being stopped");
            Ok(None)
        }
        () = sleep_until(old) => Ok(Some(Why::Old)),
        () = sleep_until(heard + own.dead_man) => Ok(Some(Why::Unheard)),
        () = not_stopped(own) => Ok(Some(Why::NotStopped)),
    }
}

/// Asks the provider to stop the machine, and returns when that was refused, or was not done in time.
async fn not_stopped(own: &Own) {
    let asked = async {
        match own.host.stop().await {
            Ok(()) => std::future::pending().await,
            Err(why) => tracing::error!("this machine is not stopped: {why}"),
        }
    };
    if tokio::time::timeout(own.rest, asked).await.is_err() {
        tracing::error!("this machine was not stopped in time");
    }
}

/// After a death: how long until the next start, if there is one.
fn pause(deaths: &mut u32) -> Option<Duration> {
    *deaths += 1;
    (*deaths <= RESTARTS).then(|| PAUSE.wait(*deaths, fastrand::f64()))
}

/// The worker's exit code, if it is one after which a new start makes no sense.
fn final_code(ended: &std::io::Result<ExitStatus>) -> Option<i32> {
    match ended {
        Ok(status) => {
            let last = status.code().filter(|code| Exit::is_final(*code));
            match last {
                Some(0) => tracing::info!("the worker has drained"),
                Some(RESTED) => tracing::info!("the worker has drained; this machine is to be stopped"),
                _ => tracing::error!(%status, "the worker has ended"),
            }
            last
        }
        Err(error) => {
            tracing::error!(%error, "the worker has ended, nobody knows how");
            None
        }
    }
}

async fn told(term: &mut Signal, int: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
