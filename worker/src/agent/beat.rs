//! The heartbeat: tells that the worker lives and how its attempt goes, and brings back `cancel` and `drain`.
//! While an attempt's progress moves, it speaks sooner than its lease needs, for the person who watches the job and may cancel it.
//! It ends only when the server no longer knows the instance.

use super::Agent;
use super::slot::{Attempt, Drain, Stop};
use kiln_core::fleet::AttemptBeat;
use kiln_core::pool::room::IDLE_SAID;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Between two words of one attempt's progress; each costs the control plane as much as a heartbeat.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// A slot that is empty for so long is told of.
const IDLE: Duration = Duration::from_millis(IDLE_SAID as u64);
/// What is done sooner than this is not worth a word of its own.
const FIRST_PROGRESS: Duration = Duration::from_secs(2);

/// Whether the attempt has something to tell that the last heartbeat didn't.
fn has_news(attempt: &Attempt, told: Option<&AttemptBeat>, told_at: Instant, now: Instant) -> bool {
    let told = told.filter(|told| told.job_id == attempt.job_id && told.attempt == attempt.number);
    match told {
        Some(told) => now - told_at >= PROGRESS_EVERY && *told != attempt.beat(),
        None => now - attempt.began >= FIRST_PROGRESS,
    }
}

/// Whether the slot has just been empty for so long that the pool may want to know, and wasn't told since.
fn has_fallen_idle(emptied: Option<Instant>, told_at: Instant, now: Instant) -> bool {
    emptied.is_some_and(|emptied| (told_at..now).contains(&(emptied + IDLE)))
}

/// Runs until a heartbeat is answered 401.
pub async fn beat(agent: &Agent, period: Duration) {
    let mut due = Instant::now() + period;
    let mut failed = 0u32;
    let (mut told, mut told_at) = (None, Instant::now());
    loop {
        // Costs nothing but a look at our own memory.
        let look = Instant::now() + Duration::from_millis(500);
        tokio::select! {
            () = tokio::time::sleep_until(due.min(look)) => {
                let now = Instant::now();
                let idle = || failed == 0 && has_fallen_idle(agent.slot.emptied(), told_at, now);
                let news = || failed == 0 && agent.slot.attempt().is_some_and(|attempt| has_news(&attempt, told.as_ref(), told_at, now));
                if now < due && !news() && !idle() {
                    continue;
                }
            }
            () = agent.slot.tell.notified() => {}
        }
        let (body, attempt) = agent.slot.beat();
        let request_id = attempt.as_ref().and_then(|attempt| attempt.request_id.as_deref());
        // Registering again changes the token; no heartbeat speaks with the old one meanwhile.
        let answer = {
            let _identity = agent.identity.lock().await;
            agent.api.heartbeat(request_id, &body).await
        };
        match answer {
            Ok(answer) => {
                failed = 0;
                agent.line.answered();
                agent.kept.heard();
                due = Instant::now() + period;
                (told, told_at) = (body.job, Instant::now());
                if let (Some(word), Some(attempt)) = (&answer.cancel, &attempt) {
                    tracing::info!(job_id = %attempt.job_id, attempt = attempt.number, why = word, "the server stops the attempt");
                    attempt.stop(Stop::of(word));
                }
                if answer.drain {
                    // The last answer counts: the pool may think better of it while a job is finished.
                    agent.rests.store(answer.rest, Ordering::Relaxed);
                    agent.drains.ask(Drain::AfterAttempt);
                }
            }
            Err(error) if error.status() == Some(401) => {
                tracing::error!(%error, "the server doesn't know this instance any more");
                return;
            }
            Err(error) => {
                failed += 1;
                tracing::warn!(%error, failed, "a heartbeat did not get through");
                // Sooner than the next one would be due, since a lease may hang on it.
                due = Instant::now() + super::HEARTBEAT.wait(failed, fastrand::f64()).min(period);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::drill::Drill;
    use crate::engine::Context;
    use kiln_core::ids::{AccountId, JobId};

    #[test]
    fn that_it_has_fallen_idle_is_told_once() {
        let emptied = Instant::now();
        let told = |told_at, now| has_fallen_idle(Some(emptied), emptied + Duration::from_secs(told_at), emptied + Duration::from_secs(now));
        assert!(!told(0, 2) && told(0, 4) && told(2, 4));
        assert!(!told(4, 5) && !told(4, 60), "it has been told");
        assert!(!has_fallen_idle(None, emptied, emptied + IDLE * 2), "it has done nothing yet, or works");
    }

    #[test]
    fn progress_is_told_when_it_moves_and_not_each_time() {
        let attempt = |number| Attempt::new(JobId::new(1, 1), AccountId::new(1, 1), number, None, Drill::default());
        let one = attempt(1);
        let start = one.began;
        one.progress(0.1, "network");
        assert!(!has_news(&one, None, start, start), "it may be done in a moment");
        let told_at = start + FIRST_PROGRESS;
        assert!(has_news(&one, None, start, told_at));
        let told = one.beat();
        assert!(has_news(&one, Some(&attempt(2).beat()), start, told_at), "that was another attempt's");
        one.progress(0.2, "network");
        assert!(!has_news(&one, Some(&told), told_at, told_at), "just told");
        assert!(has_news(&one, Some(&told), told_at, told_at + PROGRESS_EVERY));
        assert!(!has_news(&one, Some(&one.beat()), told_at, told_at + PROGRESS_EVERY), "nothing has moved");
    }
}
