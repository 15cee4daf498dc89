//! A rented machine that is kept stopped: its worker rests, its parent has it stopped, and started again it is the same instance.

use crate::fake::{Fake, JOB, JOB_2};
use crate::rented::{KEY, Machine, SOON, pid, script};
use kiln_vast_stand_in::{Config, MachineCommand, Times};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::process::Child;

/// Drained, and to be stopped.
fn rest(fake: &Fake) {
    fake.usually("heartbeat", 200, json!({"drain": true, "rest": true}));
}

/// A job that takes so long.
fn job(fake: &Fake, ms: u64) {
    let claim = json!({"attempt": 1, "lease_s": 60, "heartbeat_s": 1, "max_run_s": 60, "kind": "noop", "params": {"ms": ms}, "inputs": []});
    fake.usually("claim", 200, claim);
}

/// The boot token and the bearer of each registration.
fn registrations(fake: &Fake) -> Vec<(Option<String>, Option<String>)> {
    fake.calls("register").iter().map(|call| (call.body["boot_token"].as_str().map(str::to_owned), call.token.clone())).collect()
}

impl Machine {
    /// What its provider was told of starts and stops: by whom, and what was answered.
    async fn puts(&self) -> Vec<(String, u64)> {
        let seen = self.call("GET", "/stand-in/requests", Value::Null).await;
        let path = format!("/api/v0/instances/{}/", self.id);
        let puts = seen["items"].as_array().unwrap().iter().filter(|request| request["method"] == "PUT" && request["path"] == path.as_str());
        puts.map(|request| (request["by"].as_str().unwrap().to_owned(), request["status"].as_u64().unwrap_or_default())).collect()
    }

    fn myself(&self) -> String {
        format!("instance:{}", self.id)
    }

    /// Waits until its provider was told `count` times.
    async fn told(&self, count: usize) -> Vec<(String, u64)> {
        let wait = async {
            loop {
                let puts = self.puts().await;
                if puts.iter().filter(|(_, status)| *status != 0).count() >= count {
                    return puts;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(SOON, wait).await.expect("it is told")
    }

    /// Its file of this name, wherever in its disk the state folder is.
    fn kept(&self, name: &str) -> Option<String> {
        let folders = std::fs::read_dir(&self.disk).unwrap();
        folders.filter_map(|folder| std::fs::read_to_string(folder.ok()?.path().join(name)).ok()).next()
    }
}

/// The parent's end, which must be a quiet one, and its log.
async fn quiet(parent: Child) -> String {
    let ended = tokio::time::timeout(SOON, parent.wait_with_output()).await.expect("it ends").unwrap();
    let log = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{log}");
    assert!(!log.contains("given back"), "{log}");
    log
}

#[tokio::test]
async fn a_machine_that_rests_is_stopped_and_started_again_it_is_the_same_instance() {
    let fake = Fake::start().await;
    let folder = std::env::temp_dir().join(format!("kiln-rests-{:x}", fastrand::u64(..)));
    let program = env!("CARGO_BIN_EXE_kiln-worker");
    // Its log lies on its disk, and longer than a test may take to stop it is no stop of its own.
    let command = MachineCommand { disks: Some(folder), grace_ms: 60_000, ..MachineCommand::new(format!("exec '{program}' --rented vast 2>>log")) };
    let times = Times { provision: 0, create: 0, load: 0, restart: 0, stop: 5_000 };
    let config = Config { machine_command: Some(command), times, ..Config::new(KEY) };
    job(&fake, 1_500);
    fake.hint("standard", JOB);
    let api = fake.api();
    let env = |vast: &str| json!({ "KILN_API": api, "KILN_BOOT_TOKEN": "the-boot-token", "KILN_TEST_ENGINES": "1", "KILN_POLL_S": "1", "VAST_URL": vast });
    let machine = Machine::rent_with(config, env).await;
    let disk = machine.disk.join(machine.id.to_string());
    let log = || std::fs::read_to_string(disk.join("log")).unwrap_or_default();
    let until = async |wanted: &str| {
        let path = format!("/stand-in/instances/{}/wait?{wanted}&timeout_ms=40000", machine.id);
        machine.call("GET", &path, Value::Null).await
    };

    // It has a job when it is told, and ends that first.
    fake.until("claim", 1).await;
    rest(&fake);
    fake.until("complete", 1).await;
    // By its own request, and by the signal that this brings.
    until("process=false").await;
    let log_of_rest = log();
    assert!(log_of_rest.contains("this machine is being stopped") && !log_of_rest.contains("given back"), "{log_of_rest}");
    until("status=stopped").await;
    assert_eq!((machine.puts().await, machine.deletes().await), (vec![(machine.myself(), 200)], vec![]), "{log_of_rest}");
    assert!(fake.calls("fail").is_empty() && fake.calls("register").len() == 1);

    // The pool wants it back.
    fake.usually("heartbeat", 200, json!({"drain": false}));
    job(&fake, 10);
    machine.call("PUT", &format!("/api/v0/instances/{}/", machine.id), json!({ "state": "running" })).await;
    fake.until("register", 2).await;
    fake.hint("standard", JOB_2);
    fake.until("complete", 2).await;
    let again = (None, Some("Bearer instance-token".to_owned()));
    assert_eq!(registrations(&fake), [(Some("the-boot-token".into()), None), again], "{}", log());
    assert_eq!(fake.calls("claim").len(), 2);
    let truth = machine.call("GET", &format!("/stand-in/instances/{}", machine.id), Value::Null).await;
    assert_eq!((&truth["starts"], &truth["shown_as"]), (&json!(2), &json!("running")));
    let log = log();
    for secret in ["the-boot-token", "instance-token"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn a_signal_while_it_rests_is_its_stop_and_it_keeps_what_it_has() {
    let (fake, machine) = (Fake::start().await, Machine::rent().await);
    rest(&fake);
    // What passes is no refusal.
    machine.call("POST", "/stand-in/faults", json!({ "kind": "error", "method": "PUT" })).await;
    let parent = machine.start(&fake.api(), &[]);
    let puts = machine.told(2).await;
    assert_eq!(puts, [(machine.myself(), 503), (machine.myself(), 200)]);
    kill_process(pid(parent.id().unwrap()), Signal::TERM).unwrap();
    let log = quiet(parent).await;
    assert!(!machine.destroyed().await && machine.deletes().await.is_empty(), "{log}");
    assert_eq!(machine.kept("token").as_deref(), Some("instance-token"));
    assert!(machine.kept("life").is_some());

    // Started again it is the same one; what the pool does not want any more is given back, with all that it has kept.
    fake.usually("heartbeat", 200, json!({"drain": true}));
    let log = machine.given_back(machine.start(&fake.api(), &[])).await;
    let again = (None, Some("Bearer instance-token".to_owned()));
    assert_eq!(registrations(&fake), [(Some("the-boot-token".into()), None), again], "{log}");
    assert_eq!((machine.kept("token"), machine.kept("life")), (None, None));
}

#[tokio::test]
async fn what_the_pool_says_last_of_a_drained_machine_counts() {
    let (fake, machine) = (Fake::start().await, Machine::rent().await);
    job(&fake, 5_000);
    fake.hint("standard", JOB);
    let parent = machine.start(&fake.api(), &[]);
    fake.until("claim", 1).await;
    rest(&fake);
    fake.until("heartbeat", fake.calls("heartbeat").len() + 1).await;
    fake.usually("heartbeat", 200, json!({"drain": true}));
    let log = machine.given_back(parent).await;
    assert_eq!((fake.calls("complete").len(), machine.puts().await.len()), (1, 0), "{log}");
}

#[tokio::test]
async fn a_machine_that_is_not_stopped_is_given_back() {
    let refused = [json!({ "kind": "success_false", "method": "PUT" }), json!({ "kind": "auth_error", "method": "PUT" })].map(Some);
    for fault in refused.into_iter().chain([None]) {
        let (fake, machine) = (Fake::start().await, Machine::rent().await);
        rest(&fake);
        let in_time = fault.is_none();
        if let Some(fault) = fault {
            machine.call("POST", "/stand-in/faults", fault).await;
        }
        // The stop is granted, and never comes: no process of this machine is its provider's.
        let env: &[(&str, &str)] = if in_time { &[("KILN_REST_S", "1")] } else { &[] };
        let log = machine.given_back(machine.start(&fake.api(), env)).await;
        assert_eq!((machine.puts().await.len(), machine.deletes().await.len()), (1, 1), "{log}");
        assert!(log.contains("NotStopped") && log.contains("was not stopped in time") == in_time, "{log}");
        assert_eq!(machine.kept("token"), None);
    }
}

#[tokio::test]
async fn the_dead_man_watches_over_a_machine_that_rests() {
    let (fake, machine) = (Fake::start().await, Machine::rent().await);
    rest(&fake);
    let log = machine.given_back(machine.start(&fake.api(), &[("KILN_DEAD_MAN_S", "5")])).await;
    assert!(log.contains("Unheard"), "{log}");
    assert_eq!(machine.puts().await, [(machine.myself(), 200)]);
}

#[tokio::test]
async fn the_time_that_a_machine_was_stopped_counts_towards_its_longest_life() {
    let (fake, machine) = (Fake::start().await, Machine::rent().await);
    rest(&fake);
    let state = machine.disk.join("state");
    let env = [("KILN_MAX_LIFE_S", "3600"), ("KILN_WORKER_STATE", state.to_str().unwrap())];
    let parent = machine.start(&fake.api(), &env);
    machine.told(1).await;
    kill_process(pid(parent.id().unwrap()), Signal::TERM).unwrap();
    quiet(parent).await;
    // An hour passes.
    let life = state.join("life");
    let text = std::fs::read_to_string(&life).unwrap();
    let (first, ran) = text.trim().split_once(' ').unwrap();
    assert!((1..60_000).contains(&ran.parse::<u64>().unwrap()), "{text}");
    std::fs::write(&life, format!("{} {ran}\n", first.parse::<u64>().unwrap() - 3_600_000)).unwrap();
    let log = machine.given_back(machine.start(&fake.api(), &env)).await;
    assert!(log.contains("Old") && fake.calls("register").len() == 1, "{log}");
    assert!(!life.exists());
}

#[tokio::test]
async fn a_machine_of_ec2_is_given_back_instead() {
    let (fake, machine) = (Fake::start().await, Machine::rent().await);
    rest(&fake);
    let (program, said) = (machine.disk.join("shutdown"), machine.disk.join("said"));
    script(&program, &format!("echo \"$@\" >>'{}'", said.display()));
    let closed = { tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap() };
    let nobody = format!("http://{closed}");
    let env = [("KILN_SHUTDOWN", program.to_str().unwrap()), ("PATH", "/usr/bin:/bin"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", nobody.as_str())];
    let parent = machine.command(&fake.api(), &["--rented", "ec2"], &env).spawn().unwrap();
    let ended = tokio::time::timeout(SOON, parent.wait_with_output()).await.expect("it ends").unwrap();
    let log = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), std::fs::read_to_string(said).unwrap().as_str()), (Some(0), "-h now\n"), "{log}");
    assert!(log.contains("NotStopped") && machine.puts().await.is_empty(), "{log}");
}
