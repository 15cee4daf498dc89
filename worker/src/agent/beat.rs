//! The heartbeat: tells that the worker lives and how its attempt goes, and brings back `cancel` and `drain`.
//! It ends only when the server no longer knows the instance.

use super::Agent;
use super::slot::{Drain, Stop};
use std::time::Duration;
use tokio::time::Instant;

/// Runs until a heartbeat is answered 401.
pub async fn beat(agent: &Agent, period: Duration) {
    let mut due = Instant::now() + period;
    let mut failed = 0u32;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
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
                due = Instant::now() + period;
                if let (Some(word), Some(attempt)) = (&answer.cancel, &attempt) {
                    tracing::info!(job_id = %attempt.job_id, attempt = attempt.number, why = word, "the server stops the attempt");
                    attempt.stop(Stop::of(word));
                }
                if answer.drain {
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
