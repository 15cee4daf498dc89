//! One call from the SDK: its turns, its faults, and what becomes of it when its caller is dropped.

use crate::engine::{Begun, Flight};
use crate::faults::{Fate, Fault};
use crate::memory::Memory;
use crate::plan::{Plan, plan};
use crate::turns::Turns;
use crate::wire::{Failure, Reason};
use aws_smithy_runtime_api::client::http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use std::sync::Arc;

const TARGET: &str = "DynamoDB_20120810.";
const GET_PARAMETER: &str = "AmazonSSM.GetParameter";
/// A late request is applied within so many calls.
const LATEST: u64 = 8;

/// Hands the SDK's requests to a table; those for a secret to the parameters beside it, and keeps what Lambda is asked to invoke.
#[derive(Debug, Clone)]
pub struct Connector(pub Memory);

impl HttpClient for Connector {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let memory = self.0.clone();
        HttpConnectorFuture::new(async move {
            if request.headers().get("x-amz-target") == Some(GET_PARAMETER) {
                return respond(memory.parameter(request.body().bytes().unwrap_or_default())).map_err(|error| ConnectorError::other(error.into(), None));
            }
            if let Some(function) = invoked(request.uri()) {
                memory.note_invocation(function, request.body().bytes().unwrap_or_default());
                let accepted = StatusCode::try_from(202).map_err(|error| ConnectorError::other(error.into(), None))?;
                return Ok(HttpResponse::new(accepted, SdkBody::empty()));
            }
            let operation = request.headers().get("x-amz-target").and_then(|target| target.strip_prefix(TARGET)).unwrap_or_default().to_owned();
            let planned = match request.body().bytes() {
                Some(body) => plan(&operation, body).map(Arc::new),
                None => Err(Failure::new("SerializationException", "the body is a stream")),
            };
            let result = serve(memory, &operation, planned).await?;
            respond(result).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// The function that Lambda is asked to invoke.
fn invoked(uri: &str) -> Option<&str> {
    uri.split_once("/2015-03-31/functions/")?.1.strip_suffix("/invocations")
}

fn respond(result: Result<String, Failure>) -> Result<HttpResponse, aws_smithy_runtime_api::http::HttpError> {
    let (status, kind, body) = match result {
        Ok(body) => (200, None, body),
        Err(failure) => (failure.status, Some(failure.code), failure.body()),
    };
    let mut response = HttpResponse::new(StatusCode::try_from(status)?, SdkBody::from(body));
    response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
    if let Some(kind) = kind {
        response.headers_mut().insert("x-amzn-errortype", kind);
    }
    Ok(response)
}

/// A request that is on its way or in flight. Dropped, it gets its fate.
struct Sent {
    memory: Memory,
    stage: Stage,
}

enum Stage {
    OnItsWay(Arc<Plan>),
    Flying(Box<Flight>),
    Over,
}

impl Drop for Sent {
    fn drop(&mut self) {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        if matches!(stage, Stage::Over) {
            return;
        }
        let mut state = self.memory.state();
        let drawn = if state.random.bool() { Fate::Applied } else { Fate::NotApplied };
        // Nobody hears the answer.
        let _ = match (stage, state.on_drop.unwrap_or(drawn)) {
            (Stage::OnItsWay(plan), Fate::Applied) => state.engine.at_once(&plan, false).map(drop),
            (Stage::Flying(flight), Fate::Applied) => state.engine.finish(&flight).map(drop),
            (Stage::Flying(flight), Fate::NotApplied) => {
                state.engine.abandon(&flight);
                Ok(())
            }
            _ => Ok(()),
        };
    }
}

async fn serve(memory: Memory, operation: &str, planned: Result<Arc<Plan>, Failure>) -> Result<Result<String, Failure>, ConnectorError> {
    let (fault, stop, before, between, after) = {
        let mut state = memory.state();
        let state = &mut *state;
        state.count(operation);
        let fault = state.faults.take(operation, &mut state.random);
        (fault, state.faults.stops(), state.draw(), state.draw(), state.draw())
    };
    let mut sent = Sent { memory, stage: planned.as_ref().map_or(Stage::Over, |plan| Stage::OnItsWay(plan.clone())) };
    Turns(before).await;
    if let Some(fate) = stop {
        return stop_here(sent, fate).await;
    }
    let partial = fault == Fault::Partial;
    let plan = match (planned, early(fault)) {
        (_, Some(error)) => {
            if let (Fault::Late, Stage::OnItsWay(plan)) = (fault, std::mem::replace(&mut sent.stage, Stage::Over)) {
                let mut state = sent.memory.state();
                let calls = state.random.u64(1..=LATEST);
                state.late.push((calls, plan));
            }
            Turns(after).await;
            return error;
        }
        (Err(failure), None) => return Ok(Err(failure)),
        (Ok(plan), None) => plan,
    };
    let refusal = match fault {
        Fault::Throttled => Some(throttled()),
        Fault::PartThrottled => Some(part_throttled(&plan)),
        Fault::ServerError => Some(server_error()),
        _ => None,
    };
    let result = match refusal {
        Some(failure) => {
            sent.stage = Stage::Over;
            Err(failure)
        }
        None => {
            let begun = sent.memory.state().engine.begin(&plan, partial);
            match begun {
                Err(failure) => {
                    sent.stage = Stage::Over;
                    Err(failure)
                }
                Ok(Begun::Answer(answer)) => {
                    sent.stage = Stage::Over;
                    Ok(answer)
                }
                Ok(Begun::Flight(flight)) => {
                    sent.stage = Stage::Flying(flight);
                    Turns(between).await;
                    match std::mem::replace(&mut sent.stage, Stage::Over) {
                        Stage::Flying(flight) => sent.memory.state().engine.finish(&flight),
                        _ => unreachable!("only we move it"),
                    }
                }
            }
        }
    };
    Turns(after).await;
    match fault {
        Fault::AnswerLost => Err(ConnectorError::io("the connection broke before the answer".into())),
        Fault::AnswerTimedOut => Err(ConnectorError::timeout("the answer came too late".into())),
        Fault::ServerErrorApplied if result.is_ok() => Ok(Err(server_error())),
        _ => Ok(result),
    }
}

/// What the caller hears of a request that did not arrive.
fn early(fault: Fault) -> Option<Result<Result<String, Failure>, ConnectorError>> {
    match fault {
        Fault::Lost => Some(Err(ConnectorError::io("the connection broke before the request".into()))),
        Fault::TimedOut | Fault::Late => Some(Err(ConnectorError::timeout("no answer in time".into()))),
        _ => None,
    }
}

async fn stop_here<T>(mut sent: Sent, fate: Fate) -> T {
    {
        let stage = std::mem::replace(&mut sent.stage, Stage::Over);
        let mut state = sent.memory.state();
        if let (Stage::OnItsWay(plan), Fate::Applied) = (stage, fate) {
            let _ = state.engine.at_once(&plan, false);
        }
        state.stopped = true;
        for waker in state.waiting.drain(..) {
            waker.wake();
        }
    }
    std::future::pending().await
}

fn throttled() -> Failure {
    Failure::new("ProvisionedThroughputExceededException", "The level of configured provisioned throughput for the table was exceeded")
}

fn part_throttled(plan: &Plan) -> Failure {
    let Plan::TransactWrite { writes, .. } = plan else { return throttled() };
    let reason = |at: usize| match at {
        0 => Reason { code: "ThrottlingError", message: Some("Throughput exceeds the current capacity of your table or index".into()), item: None },
        _ => Reason { code: "None", message: None, item: None },
    };
    Failure::cancelled((0..writes.len()).map(reason).collect())
}

fn server_error() -> Failure {
    Failure { status: 500, ..Failure::new("InternalServerError", "The request processing has failed because of an unknown error") }
}
