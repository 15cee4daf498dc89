//! The agent against answers that the real server rarely gives.

mod boot;
mod fake;
mod process;
mod rented;
mod rests;

use clap::Parser;
use fake::{Fake, INPUT, JOB, JOB_2};
use kiln_worker::agent::{self, Drain, Drains, Exit, Registry, Settings};
use kiln_worker::engine::{Context, Engine, EngineError, Input, Output};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

type Run = dyn Fn(&[Input], &dyn Context) -> Result<Vec<Output>, EngineError> + Send + Sync;

/// An engine of kind `test` that does what the test says.
struct TestEngine(Box<Run>);

impl Engine for TestEngine {
    fn kinds(&self) -> &'static [&'static str] {
        &["test"]
    }
    fn self_test(&self) -> Result<(), String> {
        Ok(())
    }
    fn run(&self, _: &str, _: &Value, inputs: &[Input], context: &dyn Context) -> Result<Vec<Output>, EngineError> {
        (self.0)(inputs, context)
    }
}

fn output(name: &str) -> Output {
    Output { name: name.into(), content_type: "image/png", bytes: b"a picture".to_vec() }
}

fn settings(fake: &Fake, more: &[&str]) -> Settings {
    let api = fake.api();
    let all = ["kiln-worker", "--api", &api, "--boot-token", "boot"];
    // Short polls, so that a drain is quick, unless the test wants parked ones.
    let poll: &[&str] = if more.contains(&"--poll-s") { &[] } else { &["--poll-s", "1"] };
    Settings::parse_from(all.iter().chain(poll).chain(more))
}

/// Starts an agent whose engine runs `run`.
fn start(
    fake: &Fake,
    more: &[&str],
    run: impl Fn(&[Input], &dyn Context) -> Result<Vec<Output>, EngineError> + Send + Sync + 'static,
) -> (JoinHandle<Exit>, Drains) {
    let drains = Drains::default();
    let engines: Vec<Arc<dyn Engine>> = vec![Arc::new(TestEngine(Box::new(run)))];
    let load = move || Ok(Registry::new(engines));
    (tokio::spawn(agent::run(settings(fake, more), load, drains.clone())), drains)
}

fn problem(code: &str) -> Value {
    json!({"title": "No", "code": code, "detail": "a test said so"})
}

/// Waits until the engine has noticed that it is to stop.
fn wait_for_cancel(context: &dyn Context) -> Result<Vec<Output>, EngineError> {
    while !context.cancelled() {
        std::thread::yield_now();
    }
    Err(EngineError::Cancelled)
}

#[tokio::test]
async fn a_job_takes_no_call_more_than_it_needs_and_all_carry_its_request_id() {
    let fake = Fake::start().await;
    let (agent, drains) = start(&fake, &[], |inputs, _| {
        assert_eq!(inputs[0].bytes, INPUT);
        Ok(vec![output("a.png")])
    });
    fake.hint("standard", JOB);
    let complete = fake.until("complete", 1).await;
    drains.ask(Drain::AfterAttempt);
    assert_eq!(agent.await.unwrap(), Exit::Drained);
    let mut names = fake.names();
    names.sort();
    assert_eq!(names, ["DeleteMessage standard", "GET /in", "PUT /out/a.png", "artifacts", "claim", "complete", "credentials", "register"]);
    assert_eq!(complete.body["artifacts"][0]["bytes"], 9);
    assert_eq!(complete.body["attempt"], 1);
    for what in ["artifacts", "complete"] {
        assert_eq!(fake.calls(what)[0].request_id.as_deref(), Some("req-1"));
        assert_eq!(fake.calls(what)[0].token.as_deref(), Some("Bearer instance-token"));
    }
    assert_eq!(fake.calls("register")[0].body["boot_token"], "boot");
    let put = &fake.calls("PUT /out/a.png")[0].body;
    assert_eq!((&put["content-length"], &put["if-none-match"], &put["authorization"]), (&json!("9"), &json!("*"), &Value::Null));
}

#[tokio::test]
async fn a_claim_in_doubt_is_repeated_under_the_same_claim_id() {
    let fake = Fake::start().await;
    fake.then("claim", 503, json!({})).then("claim", 500, json!({}));
    let (agent, drains) = start(&fake, &[], |_, _| Ok(vec![output("a.png")]));
    fake.hint("standard", JOB);
    fake.until("complete", 1).await;
    let claims = fake.calls("claim");
    assert_eq!(claims.len(), 3);
    assert!(claims.iter().all(|claim| claim.body["claim_id"] == claims[0].body["claim_id"]));
    fake.hint("standard", JOB_2);
    fake.until("complete", 2).await;
    assert_ne!(fake.calls("claim")[3].body["claim_id"], claims[0].body["claim_id"]);
    drains.ask(Drain::Soon);
    assert_eq!(agent.await.unwrap(), Exit::Drained);
}

#[tokio::test]
async fn complete_is_repeated_with_the_same_body_and_a_412_counts_as_uploaded() {
    let fake = Fake::start().await;
    fake.then("PUT /out/a.png", 412, json!({})).then("complete", 503, json!({}));
    let (agent, drains) = start(&fake, &[], |_, _| Ok(vec![output("a.png")]));
    fake.hint("rush", JOB);
    fake.until("complete", 2).await;
    let calls = fake.calls("complete");
    assert_eq!(calls[0].body, calls[1].body);
    assert_eq!(fake.calls("PUT /out/a.png").len(), 1);
    assert!(fake.calls("fail").is_empty());
    drains.ask(Drain::Soon);
    assert_eq!(agent.await.unwrap(), Exit::Drained);
}

#[tokio::test]
async fn an_upload_address_that_has_run_out_is_asked_for_anew() {
    let fake = Fake::start().await;
    fake.then("PUT /out/a.png", 403, json!({})).then("PUT /out/a.png", 503, json!({}));
    let (agent, drains) = start(&fake, &[], |_, _| Ok(vec![output("a.png")]));
    fake.hint("rush", JOB);
    fake.until("complete", 1).await;
    assert_eq!((fake.calls("artifacts").len(), fake.calls("PUT /out/a.png").len()), (2, 3));
    drains.ask(Drain::Soon);
    assert_eq!(agent.await.unwrap(), Exit::Drained);
}

#[tokio::test]
async fn a_cancel_in_a_heartbeat_stops_the_engine_and_nothing_is_reported() {
    let fake = Fake::start().await;
    let (stopped, mut stops) = mpsc::unbounded_channel();
    let (agent, drains) = start(&fake, &[], move |_, context| {
        context.progress(0.25, "network");
        let ended = wait_for_cancel(context);
        stopped.send(()).unwrap();
        ended
    });
    fake.hint("standard", JOB);
    fake.until("claim", 1).await;
    fake.usually("heartbeat", 200, json!({"drain": false, "cancel": "cancelled"}));
    stops.recv().await.unwrap();
    drains.ask(Drain::Soon);
    assert_eq!(agent.await.unwrap(), Exit::Drained);
    assert!(fake.calls("complete").is_empty() && fake.calls("fail").is_empty());
    let beats = fake.calls("heartbeat");
    let busy = beats.iter().find(|beat| beat.body["stage"] == "busy").unwrap();
    assert_eq!((&busy.body["job"]["job_id"], &busy.body["job"]["attempt"]), (&json!(JOB), &json!(1)));
}

#[tokio::test]
async fn a_panic_in_an_engine_fails_the_attempt_and_the_worker_takes_the_next_job() {
    let fake = Fake::start().await;
    let first = std::sync::atomic::AtomicBool::new(true);
    let (agent, drains) = start(&fake, &[], move |_, _| match first.swap(false, std::sync::atomic::Ordering::SeqCst) {
        true => panic!("an engine's secret"),
        false => Ok(vec![output("a.png")]),
    });
    fake.hint("standard", JOB);
    let fail = fake.until("fail", 1).await;
    assert_eq!((&fail.body["failure"], &fail.body["code"]), (&json!("retryable"), &json!("engine_panic")));
    assert!(!fail.body.to_string().contains("secret"));
    fake.hint("standard", JOB_2);
    fake.until("complete", 1).await;
    drains.ask(Drain::Soon);
    assert_eq!(agent.await.unwrap(), Exit::Drained);
}

#[tokio::test]
async fn an_input_that_is_not_the_declared_bytes_never_reaches_the_engine() {
    let fake = Fake::start().await;
    let (agent, drains) = start(&fake, &[], |_, _| unreachable!("the engine saw it"));
    let input =
        json!({"url": format!("{}/in", fake.api().trim_end_matches("/api/v1")), "content_type": "image/png", "bytes": INPUT.len(), "sha256": "0".repeat(64)});
    fake.then("claim", 200, json!({"attempt": 4, "lease_s": 60, "heartbeat_s": 1, "max_run_s": 60, "kind": "test", "params": {}, "inputs": [input]}));
    fake.hint("standard", JOB);
    let fail = fake.until("fail", 1).await;
    assert_eq!((&fail.body["code"], &fail.body["attempt"]), (&json!("input_mismatch"), &json!(4)));
    drains.ask(Drain::Soon);
    assert_eq!(agent.await.unwrap(), Exit::Drained);
}

#[tokio::test]
async fn a_refusal_decides_over_the_message_and_a_busy_slot_is_freed_by_registering_again() {
    let fake = Fake::start().await;
    let (agent, drains) = start(&fake, &[], |_, _| Ok(vec![output("a.png")]));
    fake.then("claim", 409, problem("account_full"));
    fake.hint("standard", JOB);
    fake.until("DeleteMessage standard", 1).await;
    fake.then("claim", 409, problem("worker_busy"));
    fake.hint("standard", JOB);
    let back = fake.until("ChangeMessageVisibility standard", 1).await;
    assert_eq!(back.body["VisibilityTimeout"], 0);
    let again = fake.until("register", 2).await;
    assert_eq!((&again.body["boot_token"], again.token.as_deref()), (&Value::Null, Some("Bearer instance-token")));
    fake.message("rush", "no hint at all");
    fake.until("DeleteMessage rush", 1).await;
    drains.ask(Drain::Soon);
    assert_eq!(agent.await.unwrap(), Exit::Drained);
    assert_eq!(fake.calls("claim").len(), 2);
}

#[tokio::test]
async fn a_message_that_comes_while_the_slot_is_taken_is_given_back_at_once() {
    let fake = Fake::start().await;
    let (agent, _drains) = start(&fake, &["--poll-s", "20"], |_, context| wait_for_cancel(context));
    fake.until("ReceiveMessage rush", 1).await;
    fake.hint("standard", JOB);
    fake.until("GET /in", 1).await;
    fake.hint("rush", JOB_2);
    let back = fake.until("ChangeMessageVisibility rush", 1).await;
    assert_eq!(back.body["VisibilityTimeout"], 0);
    assert_eq!((fake.calls("ReceiveMessage rush").len(), fake.calls("ReceiveMessage standard").len()), (1, 1), "no poll while a job runs");
    fake.usually("heartbeat", 401, problem("unauthorized"));
    assert_eq!(agent.await.unwrap(), Exit::Over);
}

#[tokio::test]
async fn a_heartbeat_answered_401_ends_the_worker() {
    let fake = Fake::start().await;
    fake.usually("heartbeat", 401, problem("unauthorized"));
    let (agent, _drains) = start(&fake, &[], |_, _| Ok(vec![]));
    let exit = agent.await.unwrap();
    assert_eq!((exit.code(), exit), (3, Exit::Over));
}

#[tokio::test]
async fn refused_credentials_are_renewed_and_polling_goes_on() {
    let fake = Fake::start().await;
    let expired = json!({"__type": "com.amazonaws.sqs#ExpiredToken", "message": "expired"});
    fake.then("ReceiveMessage standard", 403, expired);
    let (agent, drains) = start(&fake, &[], |_, _| Ok(vec![output("a.png")]));
    fake.until("credentials", 2).await;
    fake.hint("standard", JOB);
    fake.until("complete", 1).await;
    drains.ask(Drain::Soon);
    assert_eq!(agent.await.unwrap(), Exit::Drained);
}

#[tokio::test]
async fn credentials_are_renewed_before_their_time_is_over_though_none_was_refused() {
    let fake = Fake::start().await;
    let base = fake.api().trim_end_matches("/api/v1").to_owned();
    let queue = |priority: &str| json!({"url": format!("{base}/queue/{priority}"), "capability": "image", "priority": priority});
    let lent = json!({"access_key_id": "id", "secret_access_key": "secret", "session_token": "session", "expires_in_s": 2,
        "region": "us-east-1", "endpoint": base, "queues": [queue("rush"), queue("standard")]});
    fake.usually("credentials", 200, lent);
    let (agent, drains) = start(&fake, &[], |_, _| Ok(vec![output("a.png")]));
    fake.until("credentials", 1).await;
    let first = std::time::Instant::now();
    fake.until("credentials", 2).await;
    // At four fifths of their time, and not at once.
    assert!(first.elapsed() >= std::time::Duration::from_millis(1_000), "{:?}", first.elapsed());
    fake.until("credentials", 3).await;
    fake.hint("standard", JOB);
    fake.until("complete", 1).await;
    drains.ask(Drain::Soon);
    assert_eq!(agent.await.unwrap(), Exit::Drained);
}

#[tokio::test]
async fn a_drain_asked_by_the_server_lets_the_attempt_end_however_long_it_takes() {
    let fake = Fake::start().await;
    let (finish, finished) = std::sync::mpsc::channel::<()>();
    let finished = std::sync::Mutex::new(finished);
    let (agent, _drains) = start(&fake, &["--drain-s", "0"], move |_, _| {
        finished.lock().unwrap().recv().unwrap();
        Ok(vec![output("a.png")])
    });
    fake.hint("standard", JOB);
    fake.until("GET /in", 1).await;
    fake.usually("heartbeat", 200, json!({"drain": true}));
    let beats = fake.calls("heartbeat").len();
    let draining = async {
        let mut n = beats;
        while fake.until("heartbeat", n + 1).await.body["stage"] != "draining" {
            n += 1;
        }
    };
    draining.await;
    finish.send(()).unwrap();
    assert_eq!(agent.await.unwrap(), Exit::Drained);
    assert_eq!(fake.calls("complete").len(), 1);
}

#[tokio::test]
async fn an_attempt_that_outlasts_the_drain_goes_back_as_drained() {
    let fake = Fake::start().await;
    let (agent, drains) = start(&fake, &["--drain-s", "0"], |_, context| wait_for_cancel(context));
    fake.hint("standard", JOB);
    fake.until("GET /in", 1).await;
    drains.ask(Drain::Soon);
    assert_eq!(agent.await.unwrap(), Exit::Drained);
    assert_eq!(fake.calls("fail")[0].body["failure"], "drained");
    assert!(fake.calls("complete").is_empty());
}

#[tokio::test]
async fn an_answer_to_its_registration_that_is_lost_is_asked_for_again_by_the_same_words() {
    let fake = Fake::start().await;
    fake.then("register", 500, problem("internal"));
    let (agent, drains) = start(&fake, &[], |_, _| Ok(vec![]));
    fake.until("ReceiveMessage rush", 1).await;
    drains.ask(Drain::Soon);
    assert_eq!(agent.await.unwrap(), Exit::Drained);
    let said: Vec<_> = fake.calls("register").into_iter().map(|call| call.body).collect();
    assert_eq!(said.len(), 2);
    assert_eq!(said[0], said[1]);
    assert!(kiln_core::fleet::is_secret(said[0]["secret"].as_str().unwrap()), "{}", said[0]);
}

#[tokio::test]
async fn a_kept_token_is_used_before_the_boot_token_and_given_up_when_refused() {
    let fake = Fake::start().await;
    let folder = std::env::temp_dir().join(format!("kiln-agent-{:x}", fastrand::u64(..)));
    let state = folder.to_str().unwrap().to_owned();
    for (round, tokens) in [(1, vec![None]), (2, vec![None, Some("Bearer instance-token")])] {
        let (agent, drains) = start(&fake, &["--state-dir", &state], |_, _| Ok(vec![]));
        fake.until("ReceiveMessage rush", round).await;
        drains.ask(Drain::Soon);
        assert_eq!(agent.await.unwrap(), Exit::Drained);
        assert_eq!(fake.calls("register").iter().map(|call| call.token.as_deref()).collect::<Vec<_>>(), tokens);
    }
    fake.then("register", 401, problem("unauthorized"));
    let (agent, drains) = start(&fake, &["--state-dir", &state], |_, _| Ok(vec![]));
    assert_eq!(fake.until("register", 4).await.body["boot_token"], "boot");
    drains.ask(Drain::Soon);
    assert_eq!(agent.await.unwrap(), Exit::Drained);
    std::fs::remove_dir_all(folder).unwrap();
}
