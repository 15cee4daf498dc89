//! The real binary: its exit codes, its signals, and the points where a drill kills it.

use crate::fake::{Fake, JOB};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use tokio::process::{Child, Command};

fn worker(fake: &Fake, env: &[(&str, &str)]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln-worker"));
    command.env_clear().env("KILN_API", fake.api()).env("KILN_BOOT_TOKEN", "the-boot-token").env("KILN_TEST_ENGINES", "1").env("KILN_POLL_S", "1");
    command.envs(env.iter().copied()).stderr(Stdio::piped()).kill_on_drop(true);
    command.spawn().unwrap()
}

#[tokio::test]
async fn a_drill_kills_the_process_at_its_point_and_only_once() {
    let marker = std::env::temp_dir().join(format!("kiln-drill-{:x}", fastrand::u64(..)));
    let env = [("KILN_DRILL_STOP_AT", "after_claim"), ("KILN_DRILL_ONCE", marker.to_str().unwrap())];
    let fake = Fake::start().await;
    fake.hint("standard", JOB);
    let dead = worker(&fake, &env).wait_with_output().await.unwrap();
    assert_eq!(dead.status.signal(), Some(9), "{}", String::from_utf8_lossy(&dead.stderr));
    assert_eq!((fake.calls("claim").len(), fake.calls("DeleteMessage standard").len()), (1, 0));
    let second = worker(&fake, &env);
    fake.hint("standard", JOB);
    fake.until("DeleteMessage standard", 1).await;
    drop(second);
    std::fs::remove_file(marker).unwrap();
}

#[tokio::test]
async fn each_point_of_a_drill_leaves_exactly_the_steps_before_it() {
    let steps = [
        ("before_claim", vec![]),
        ("after_claim", vec!["claim"]),
        ("mid_work", vec!["claim"]),
        ("after_upload", vec!["claim", "artifacts", "PUT /out/result.png"]),
        ("before_complete_answer", vec!["claim", "artifacts", "PUT /out/result.png", "complete"]),
    ];
    for (point, expected) in steps {
        let fake = Fake::start().await;
        let claim = json!({"attempt": 1, "lease_s": 60, "heartbeat_s": 1, "max_run_s": 60, "kind": "noop", "params": {"ms": 30}, "inputs": []});
        fake.usually("claim", 200, claim).hint("standard", JOB);
        let dead = worker(&fake, &[("KILN_DRILL_STOP_AT", point)]).wait_with_output().await.unwrap();
        assert_eq!(dead.status.signal(), Some(9), "{point}: {}", String::from_utf8_lossy(&dead.stderr));
        // Its delete goes beside the work, so whether it got through is open.
        let beside = ["register", "credentials", "DeleteMessage standard"];
        let done: Vec<_> = fake.names().into_iter().filter(|name| !beside.contains(&name.as_str())).collect();
        assert_eq!(done, expected, "{point}");
    }
}

#[tokio::test]
async fn sigterm_drains_to_exit_code_0_and_the_log_holds_no_token() {
    let fake = Fake::start().await;
    let child = worker(&fake, &[("KILN_LOG", "json"), ("RUST_LOG", "kiln_worker=trace")]);
    fake.until("ReceiveMessage standard", 1).await;
    kill_process(Pid::from_raw(child.id().unwrap() as i32).unwrap(), Signal::TERM).unwrap();
    let ended = child.wait_with_output().await.unwrap();
    let log = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{log}");
    assert!(log.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{log}");
    for secret in ["the-boot-token", "instance-token"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn a_worker_that_is_to_rest_ends_with_a_code_of_its_own_unless_it_is_asked_to_go() {
    for asked in [false, true] {
        let fake = Fake::start().await;
        let claim = json!({"attempt": 1, "lease_s": 60, "heartbeat_s": 1, "max_run_s": 900, "kind": "noop", "params": {"ms": 4_000}, "inputs": []});
        fake.usually("claim", 200, claim).hint("standard", JOB);
        let child = worker(&fake, &[]);
        fake.until("claim", 1).await;
        fake.usually("heartbeat", 200, json!({"drain": true, "rest": true}));
        fake.until("heartbeat", fake.calls("heartbeat").len() + 1).await;
        if asked {
            kill_process(Pid::from_raw(child.id().unwrap() as i32).unwrap(), Signal::TERM).unwrap();
        }
        let ended = child.wait_with_output().await.unwrap();
        assert_eq!(ended.status.code(), Some(if asked { 0 } else { 6 }), "{}", String::from_utf8_lossy(&ended.stderr));
        assert_eq!((fake.calls("complete").len(), fake.calls("fail").len()), (1, 0));
    }
}

/// As where its terminal, or whoever relayed its log, has gone: that its last words are lost must not hold it up. Many at a time, so that
/// the signal comes at another moment each time.
#[tokio::test]
async fn a_worker_whose_log_nobody_reads_any_more_ends_all_the_same() {
    let one = || async {
        let fake = Fake::start().await;
        let claim = json!({"attempt": 1, "lease_s": 60, "heartbeat_s": 1, "max_run_s": 900, "kind": "noop", "params": {"ms": 600_000}, "inputs": []});
        fake.usually("claim", 200, claim).usually("fail", 200, json!({"state": "queued"})).hint("standard", JOB);
        let mut child = worker(&fake, &[("KILN_DRAIN_S", "0")]);
        fake.until("claim", 1).await;
        drop(child.stderr.take());
        kill_process(Pid::from_raw(child.id().unwrap() as i32).unwrap(), Signal::TERM).unwrap();
        let ended = tokio::time::timeout(std::time::Duration::from_secs(30), child.wait()).await.expect("it ends").unwrap();
        assert_eq!(ended.code(), Some(0));
        assert_eq!(fake.calls("fail").len(), 1);
    };
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..20 {
        all.spawn(one());
    }
    all.join_all().await;
}

#[tokio::test]
async fn a_worker_without_a_token_says_what_to_set() {
    let fake = Fake::start().await;
    let ended = worker(&fake, &[("KILN_BOOT_TOKEN", "")]).wait_with_output().await.unwrap();
    assert_eq!(ended.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("set KILN_BOOT_TOKEN"));
}
