//! The parent process of a worker on a rented machine (`kiln-worker --rented vast`): starts the worker as its child, starts it again twice if it dies
//! unasked, and gives the machine back when there is no more use for it. Nobody else may be able to: the control plane may not see this
//! machine, or be gone itself, while the machine goes on costing money.
//!
//! It promises: without an answered heartbeat for `KILN_DEAD_MAN_S`, or past `KILN_MAX_LIFE_S`, the machine is given back, whatever the worker and
//! the API do; on one that its provider takes away the worker drains first, as far as the notice lasts; time is counted by a clock that nobody sets;
//! the machine's key at its provider is in no child's environment and in no log.

mod child;
mod host;
mod settings;

pub use host::Host;
pub use settings::{Own, asked_for};

use crate::agent::{Backoff, Exit, until};
use child::Child;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

/// How often a worker that died is started again.
const RESTARTS: u32 = 2;
const REST: Backoff = Backoff::new(500, 5_000, RESTARTS + 1);
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
    /// This process itself could not go on.
    Broken,
}

/// Watches over workers until the machine has to go, and gives it back. Returns when that is done.
pub async fn run(own: &Own) {
    let why = watch(own).await.unwrap_or_else(|error| {
        tracing::error!(%error, "the worker can't be watched over");
        Why::Broken
    });
    if let Some(folder) = &own.state {
        // The token in it is of no more use to anybody; there is none where no worker has registered.
        let _ = std::fs::remove_dir_all(folder);
    }
    give_back(own, why).await;
}

/// Gives the machine back, however long that takes.
pub async fn give_back(own: &Own, why: Why) {
    tracing::warn!(?why, "this machine is given back");
    own.host.give_back().await;
    tracing::info!("this machine is given back: done");
}

/// Why the machine has to go. No worker is left then.
async fn watch(own: &Own) -> std::io::Result<Why> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let began = Instant::now();
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
                match rest(&mut deaths) {
                    Some(rest) => start_at = Some(Instant::now() + rest),
                    None => break Why::Died,
                }
            }
            () = told(&mut term, &mut int) => match (&child, going) {
                (Some(child), None) => going = Some((Why::Asked, child.leave(own.drain))),
                // It is in a hurry, or there is nobody to wait for.
                _ => break Why::Asked,
            },
            () = sleep_until(heard + own.dead_man) => break Why::Unheard,
            () = sleep_until(began + own.max_life), if going.is_none() => match &child {
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
                        match rest(&mut deaths) {
                            Some(rest) => start_at = Some(Instant::now() + rest),
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
    Ok(why)
}

/// After a death: how long until the next start, if there is one.
fn rest(deaths: &mut u32) -> Option<Duration> {
    *deaths += 1;
    (*deaths <= RESTARTS).then(|| REST.wait(*deaths, fastrand::f64()))
}

/// The worker's exit code, if it is one after which a new start makes no sense.
fn final_code(ended: &std::io::Result<ExitStatus>) -> Option<i32> {
    match ended {
        Ok(status) => {
            let last = status.code().filter(|code| Exit::is_final(*code));
            match last {
                Some(0) => tracing::info!("the worker has drained"),
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
