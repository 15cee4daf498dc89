//! One message from its receipt to its report: claim, inputs, engine, artifacts, complete or fail.
//! Whatever the engine does, the slot comes back only when its thread has ended.

use super::Agent;
use super::api::{CallError, retrying};
use super::backoff::Backoff;
use super::drill::Point;
use super::fate::{self, Fate, Next};
use super::files::{self, Made};
use super::queue::Received;
use super::slot::{Attempt, Stop};
use crate::engine::{Engine, EngineError, Input, Output};
use kiln_core::fleet::*;
use kiln_core::machine::Failure;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tracing::Instrument;

/// Quick, since other workers could take the message meanwhile.
const CLAIM: Backoff = Backoff::new(100, 2_000, 5);
const DECLARE: Backoff = Backoff::new(200, 5_000, 8);
/// About two minutes: what was made is worth waiting for, and the heartbeat keeps the lease.
const REPORT: Backoff = Backoff::new(200, 10_000, 18);

/// Why an attempt is to be reported as failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub failure: Failure,
    pub code: String,
    pub message: String,
}

impl Fault {
    pub fn retryable(code: &str, message: impl Into<String>) -> Self {
        Self { failure: Failure::Retryable, code: code.into(), message: message.into() }
    }
}

/// How an attempt ends before it is complete.
enum End {
    Fault(Fault),
    Stopped(Stop),
    /// The server refused a step: the attempt is not this worker's any more.
    Lost(CallError),
    /// The server did not answer for so long that nothing more can be said.
    Unanswered(CallError),
}

impl From<Stop> for End {
    fn from(stop: Stop) -> Self {
        End::Stopped(stop)
    }
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        End::Fault(fault)
    }
}

/// Takes the message to its end and says what the slot does next.
pub async fn take(agent: Arc<Agent>, message: Received) -> Next {
    let Some(hint) = message.hint() else {
        tracing::warn!(bytes = message.body.len(), "a message that this worker can't read");
        // Not JSON of any version: nobody can. Else a newer worker may.
        let foreign = serde_json::from_str::<serde_json::Value>(&message.body).is_ok_and(|body| body["version"].is_u64());
        return match foreign {
            true => refuse(&agent, &message, Fate::GiveBack, Next::Pause).await,
            false => refuse(&agent, &message, Fate::Delete, Next::Poll).await,
        };
    };
    agent.drill.reach(Point::BeforeClaim);
    let body = ClaimRequest { account_id: hint.account_id.clone(), claim_id: format!("{:032x}", fastrand::u128(..)) };
    let claim = match retrying(CLAIM, "claim", || agent.api.claim(&hint.job_id, &body)).await {
        Ok(claim) => claim,
        Err(error) => {
            let (fate, next) = fate::refused(&error);
            tracing::info!(job_id = %hint.job_id, %error, ?fate, "no claim");
            if error.status() == Some(401) {
                agent.slot.tell.notify_one();
            }
            return refuse(&agent, &message, fate, next).await;
        }
    };
    let attempt = Arc::new(Attempt::new(hint.job_id, hint.account_id, claim.attempt, claim.request_id.clone(), agent.drill.clone()));
    agent.slot.put(attempt.clone());
    agent.drill.reach(Point::AfterClaim);
    let span = tracing::info_span!("job", job_id = %attempt.job_id, attempt = attempt.number, kind = claim.kind, request_id = claim.request_id);
    let delete = tokio::spawn({
        let agent = agent.clone();
        async move { agent.queues.delete(&message).await }.instrument(span.clone())
    });
    let next = work(&agent, &attempt, claim).instrument(span).await;
    agent.slot.empty();
    let _ = delete.await;
    next
}

async fn refuse(agent: &Agent, message: &Received, fate: Fate, next: Next) -> Next {
    match fate {
        Fate::Delete => agent.queues.delete(message).await,
        Fate::GiveBack => agent.queues.give_back(message).await,
    }
    next
}

async fn work(agent: &Arc<Agent>, attempt: &Arc<Attempt>, claim: ClaimResponse) -> Next {
    let began = std::time::Instant::now();
    tracing::info!(inputs = claim.inputs.len(), "claimed");
    let fault = match deliver(agent, attempt, claim).await {
        Ok(report) => {
            tracing::info!(state = report.state.as_str(), ms = began.elapsed().as_millis() as u64, "delivered");
            return Next::Poll;
        }
        Err(End::Fault(fault)) => fault,
        Err(End::Stopped(Stop::Drained)) => {
            Fault { failure: Failure::Drained, code: "drained".into(), message: "The machine was taken away while it worked on the job.".into() }
        }
        Err(End::Stopped(Stop::RanTooLong)) => Fault::retryable("ran_too_long", "The job took longer than its kind may."),
        Err(End::Stopped(stop)) => {
            tracing::info!(?stop, "stopped");
            return Next::Poll;
        }
        Err(End::Lost(error)) => {
            tracing::warn!(%error, "the attempt is lost");
            return Next::Poll;
        }
        Err(End::Unanswered(error)) => {
            tracing::error!(%error, "the attempt ends unreported");
            return Next::RegisterAgain;
        }
    };
    report(agent, attempt, fault).await
}

/// Reports the fault. Goes on trying though the attempt was stopped: its slot and lease hang on it.
async fn report(agent: &Agent, attempt: &Attempt, fault: Fault) -> Next {
    tracing::warn!(failure = ?fault.failure, code = fault.code, why = fault.message, "the attempt failed");
    let body = FailRequest {
        account_id: attempt.account_id.clone(),
        attempt: attempt.number,
        failure: fault.failure,
        code: fault.code,
        message: super::cut(&fault.message, 1000).to_owned(),
    };
    match retrying(REPORT, "fail", || agent.api.fail(&attempt.job_id, attempt.request_id.as_deref(), &body)).await {
        Ok(_) => Next::Poll,
        Err(error @ CallError::Refused { .. }) => {
            tracing::warn!(%error, "the failure was not taken; the attempt is lost");
            Next::Poll
        }
        Err(error) => {
            tracing::error!(%error, "the failure could not be reported");
            Next::RegisterAgain
        }
    }
}

async fn deliver(agent: &Arc<Agent>, attempt: &Arc<Attempt>, claim: ClaimResponse) -> Result<ReportResponse, End> {
    let Some(engine) = agent.registry().find(&claim.kind) else {
        return Err(Fault::retryable("no_engine", format!("This worker has no engine for {}.", claim.kind)).into());
    };
    let inputs = attempt.unless_stopped(files::download(&agent.http, &claim.inputs)).await??;
    let made = compute(agent, attempt, engine, claim.kind, claim.params, inputs).await?;
    let body = ArtifactsRequest {
        account_id: attempt.account_id.clone(),
        attempt: attempt.number,
        artifacts: made.iter().map(|made| made.declared.clone()).collect(),
    };
    if let Err(wrong) = check_declared(&body.artifacts) {
        let fault = Fault { failure: Failure::Permanent, code: "bad_output".into(), message: format!("The engine's output can't be delivered: {wrong}") };
        return Err(fault.into());
    }
    upload(agent, attempt, &body, &made).await?;
    agent.drill.reach(Point::AfterUpload);
    let (id, request_id) = (&attempt.job_id, attempt.request_id.as_deref());
    let complete = retrying(REPORT, "complete", || {
        let answered = || agent.drill.reach(Point::BeforeCompleteAnswer);
        agent.api.complete(id, request_id, &body, answered)
    });
    attempt.unless_stopped(complete).await?.map_err(|error| refused("complete", error))
}

/// A step that the server did not take: who lost what.
fn refused(step: &str, error: CallError) -> End {
    match error {
        CallError::NoAnswer(_) | CallError::Trouble { .. } | CallError::Unreadable(_) => End::Unanswered(error),
        CallError::Refused { status: 401 | 403 | 404 | 409 | 410, .. } => End::Lost(error),
        CallError::Refused { ref detail, .. } => End::Fault(Fault::retryable("refused_output", format!("The server refused {step}: {detail}"))),
    }
}

/// Declares and uploads; once more with new addresses if the first ones had run out.
async fn upload(agent: &Agent, attempt: &Attempt, body: &ArtifactsRequest, made: &[Made]) -> Result<(), End> {
    for last in [false, true] {
        let declare = retrying(DECLARE, "artifacts", || agent.api.artifacts(&attempt.job_id, attempt.request_id.as_deref(), body));
        let puts = attempt.unless_stopped(declare).await?.map_err(|error| refused("artifacts", error))?.puts;
        match attempt.unless_stopped(files::upload(&agent.http, &puts, made)).await? {
            Err(files::UploadError::Expired) if !last => tracing::warn!("the addresses to upload to had run out"),
            Err(error) => return Err(Fault::retryable("upload_failed", error.to_string()).into()),
            Ok(()) => return Ok(()),
        }
    }
    unreachable!("the second round returns")
}

/// Runs the engine on a thread of its own and waits for that thread, also when the attempt has been stopped:
/// a slot whose engine still runs isn't free. Only a process about to exit doesn't wait.
async fn compute(
    agent: &Agent,
    attempt: &Arc<Attempt>,
    engine: Arc<dyn Engine>,
    kind: String,
    params: serde_json::Value,
    inputs: Vec<Input>,
) -> Result<Vec<Made>, End> {
    let span = tracing::Span::current();
    let context = attempt.clone();
    let mut thread = tokio::task::spawn_blocking(move || {
        let _entered = span.enter();
        let ran = std::panic::catch_unwind(AssertUnwindSafe(|| engine.run(&kind, &params, &inputs, context.as_ref())));
        judge(ran).map(|outputs| outputs.into_iter().map(Made::of).collect::<Vec<_>>())
    });
    let ended = tokio::select! {
        ended = &mut thread => ended,
        stop = attempt.until_stopped() => {
            if stop == Stop::Drained {
                return Err(stop.into());
            }
            thread.await
        }
    };
    if let Some(stop) = attempt.stopped() {
        return Err(stop.into());
    }
    agent.drill.reach(Point::MidWork);
    let made = ended.map_err(|error| Fault::retryable("engine_panic", error.to_string()))?;
    Ok(made?)
}

/// What an engine's end means for the job.
fn judge(ran: std::thread::Result<Result<Vec<Output>, EngineError>>) -> Result<Vec<Output>, Fault> {
    match ran {
        Ok(Ok(outputs)) => Ok(outputs),
        Ok(Err(EngineError::Permanent { code, message })) => Err(Fault { failure: Failure::Permanent, code: code.into(), message }),
        Ok(Err(EngineError::Retryable { code, message })) => Err(Fault::retryable(code, message)),
        Ok(Err(EngineError::Cancelled)) => Err(Fault::retryable("engine_cancelled", "The engine stopped though nobody had asked it to.")),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
            tracing::error!(panic = text, "the engine panicked; the worker lives on");
            Err(Fault::retryable("engine_panic", "The engine broke down while it worked on the job."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_retryable_fault_and_its_text_stays_in_the_log() {
        let ran = std::panic::catch_unwind(|| -> Result<Vec<Output>, EngineError> { panic!("index 7") });
        let fault = judge(ran).unwrap_err();
        assert_eq!((fault.failure, fault.code.as_str()), (Failure::Retryable, "engine_panic"));
        assert!(!fault.message.contains("index 7"));
    }

    #[test]
    fn an_engine_s_own_word_decides_whether_another_try_makes_sense() {
        let permanent = judge(Ok(Err(EngineError::Permanent { code: "bad_input", message: "no".into() }))).unwrap_err();
        assert_eq!(permanent.failure, Failure::Permanent);
        let retryable = judge(Ok(Err(EngineError::Retryable { code: "out_of_memory", message: "no".into() }))).unwrap_err();
        assert_eq!((retryable.failure, retryable.code.as_str()), (Failure::Retryable, "out_of_memory"));
    }

    #[test]
    fn a_refused_step_is_lost_when_the_attempt_is_not_ours_and_a_fault_when_its_content_is_wrong() {
        let refusal = |status| CallError::Refused { status, code: "x".into(), detail: "y".into() };
        assert!(matches!(refused("complete", refusal(409)), End::Lost(_)));
        assert!(matches!(refused("complete", refusal(422)), End::Fault(_)));
        assert!(matches!(refused("complete", CallError::NoAnswer("z".into())), End::Unanswered(_)));
    }
}
