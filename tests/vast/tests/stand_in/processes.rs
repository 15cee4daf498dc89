//! Containers that are processes of this machine.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use kiln_vast_stand_in::{Config, MachineCommand};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::common::{ASK, HOUR, KEY, Running, SECOND, config, start_with};

/// Says that it is there and stays, with a child; both hold the pipe open.
const STAYS: &str = r#"exec 9>"$PIPE"; sleep 600 & echo "$CONTAINER_ID" >&9; wait"#;
/// The same, and it doesn't end when it is asked to.
const STUBBORN: &str = r#"trap '' TERM; exec 9>"$PIPE"; sleep 600 & echo "$CONTAINER_ID" >&9; while :; do wait; done"#;

/// A pipe with a name: what a container says in it, and when the last process that held it has ended.
struct Pipe {
    path: PathBuf,
    said: Option<oneshot::Receiver<String>>,
    ended: Option<oneshot::Receiver<()>>,
}

impl Pipe {
    fn new(folder: &Path, name: &str) -> Self {
        let path = folder.join(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let ((say, said), (end, ended)) = (oneshot::channel(), oneshot::channel());
        let opened = path.clone();
        // A thread of its own: opening and reading block.
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(std::fs::File::open(opened).unwrap());
            let mut line = String::new();
            pipe.read_line(&mut line).unwrap();
            let _ = say.send(line.trim().to_owned());
            pipe.read_to_end(&mut Vec::new()).unwrap();
            let _ = end.send(());
        });
        Self { path, said: Some(said), ended: Some(ended) }
    }

    async fn said(&mut self) -> String {
        tokio::time::timeout(Duration::from_secs(20), self.said.take().unwrap()).await.expect("it never came up").unwrap()
    }

    async fn ended(&mut self) {
        tokio::time::timeout(Duration::from_secs(20), self.ended.take().unwrap()).await.expect("a process was left").unwrap();
    }
}

fn running(command: &str, grace_ms: u64) -> Config {
    let mut config = config();
    config.machine_command = Some(MachineCommand { grace_ms, ..MachineCommand::new(command) });
    config
}

async fn waited(vast: &Running, id: u64, query: &str) -> Value {
    vast.ok("GET", &format!("/stand-in/instances/{id}/wait?{query}&timeout_ms=20000"), Value::Null).await
}

/// An instance whose container has come up.
async fn up(vast: &Running, ask: u64, pipe: &mut Pipe) -> u64 {
    let id = vast.runs(ask, json!({ "env": { "PIPE": pipe.path.to_str().unwrap() } })).await;
    assert_eq!(pipe.said().await, id.to_string());
    id
}

#[tokio::test]
async fn a_container_finds_its_variables_and_when_it_ends_its_instance_has_exited() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = running(r#"env >"$WHERE"; echo told; exit 7"#, 1_000);
    config.machine_command.as_mut().unwrap().log_folder = Some(folder.path().into());
    let vast = start_with(config).await;
    let file = folder.path().join("env");
    let env = json!({ "WHERE": file.to_str().unwrap(), "BOOT": "a b", "CONTAINER_ID": "not mine", "-p 9000:9000": "1" });
    let order = json!({ "env": env, "onstart": "go", "args": ["x"], "label": "kiln-1" });
    let made = vast.rent(ASK, order).await.body;
    let id = made["new_contract"].as_u64().unwrap();
    assert!(!file.exists());
    vast.advance(60 * SECOND).await;
    let truth = waited(&vast, id, "status=exited").await;
    assert_eq!((&truth["pid"], &truth["starts"]), (&Value::Null, &json!(1)));
    assert!(vast.row(id).await["status_msg"].as_str().unwrap().contains("exit code 7"));
    let found = std::fs::read_to_string(&file).unwrap();
    let key = made["instance_api_key"].as_str().unwrap();
    for line in ["BOOT=a b", "VAST_STAND_IN_ONSTART=go", "VAST_STAND_IN_ARGS=[\"x\"]", "VAST_STAND_IN_IMAGE=kiln/worker:1"] {
        assert!(found.lines().any(|l| l == line), "{line}: {found}");
    }
    for line in [format!("CONTAINER_ID={id}"), format!("CONTAINER_API_KEY={key}"), format!("VAST_CONTAINERLABEL=C.{id}")] {
        assert!(found.lines().any(|l| l == line), "{line}: {found}");
    }
    assert!(found.contains("VAST_TCP_PORT_9000=") && !found.contains("CARGO") && !found.contains(KEY));
    assert_eq!(std::fs::read_to_string(folder.path().join(format!("{id}.log"))).unwrap(), "told\n");
    // With what it found it can end itself.
    assert_eq!(vast.call_as(key, "DELETE", &format!("/api/v0/instances/{id}/"), json!({})).await.status, 200);
}

#[tokio::test]
async fn stopping_and_destroying_end_a_container_with_all_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let vast = start_with(running(STAYS, 60_000)).await;
    let (mut one, mut two) = (Pipe::new(folder.path(), "one"), Pipe::new(folder.path(), "two"));
    let stopped = up(&vast, ASK, &mut one).await;
    let destroyed = up(&vast, 12, &mut two).await;
    assert!(vast.truth(stopped).await["pid"].is_u64());
    // It ends by SIGTERM: the grace is longer than this test may take.
    vast.put_state(stopped, "stopped").await;
    one.ended().await;
    waited(&vast, stopped, "process=false").await;
    vast.advance(2 * SECOND).await;
    assert_eq!(vast.row(stopped).await["actual_status"], "stopped");
    vast.destroy(destroyed).await;
    two.ended().await;
}

#[tokio::test]
async fn a_container_that_is_stopped_finds_its_disk_again_until_it_is_destroyed() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = running(r#"echo up >>"$TMPDIR/starts"; exec 9>"$PIPE"; wc -l <starts >&9; sleep 600 & wait"#, 60_000);
    config.machine_command.as_mut().unwrap().disks = Some(folder.path().join("disks"));
    let vast = start_with(config).await;
    let mut first = Pipe::new(folder.path(), "pipe");
    let env = json!({ "PIPE": first.path.to_str().unwrap() });
    let id = vast.runs(ASK, json!({ "env": env })).await;
    assert_eq!(first.said().await, "1");
    vast.put_state(id, "stopped").await;
    first.ended().await;
    vast.advance(HOUR).await;
    std::fs::remove_file(&first.path).unwrap();
    let mut second = Pipe::new(folder.path(), "pipe");
    vast.put_state(id, "running").await;
    vast.advance(5 * SECOND).await;
    // On the same disk and with the same environment.
    assert_eq!(second.said().await, "2");
    let disk = folder.path().join("disks").join(id.to_string());
    assert!(disk.is_dir());
    vast.destroy(id).await;
    second.ended().await;
    assert!(!disk.exists());
}

#[tokio::test]
async fn what_does_not_end_when_it_is_asked_to_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let vast = start_with(running(STUBBORN, 50)).await;
    let mut pipe = Pipe::new(folder.path(), "pipe");
    let id = up(&vast, ASK, &mut pipe).await;
    vast.put_state(id, "stopped").await;
    pipe.ended().await;
    waited(&vast, id, "process=false").await;
}

#[tokio::test]
async fn a_machine_that_is_cut_off_stands_still_and_one_that_dies_is_started_anew() {
    let folder = tempfile::tempdir().unwrap();
    let vast = start_with(running(STAYS, 1_000)).await;
    let mut pipe = Pipe::new(folder.path(), "pipe");
    let id = up(&vast, ASK, &mut pipe).await;
    let pid = vast.truth(id).await["pid"].as_u64().unwrap();
    vast.control(&format!("instances/{id}/offline"), json!({})).await;
    vast.control(&format!("instances/{id}/return"), json!({})).await;
    assert_eq!(vast.truth(id).await["pid"], pid);
    vast.control(&format!("instances/{id}/offline"), json!({})).await;
    // Also what stands still can be killed.
    vast.control(&format!("instances/{id}/die"), json!({})).await;
    pipe.ended().await;
    vast.control(&format!("instances/{id}/return"), json!({})).await;
    assert_eq!(vast.row(id).await["actual_status"], "exited");
    // Its container knows the pipe by its name.
    std::fs::remove_file(&pipe.path).unwrap();
    let mut again = Pipe::new(folder.path(), "pipe");
    vast.put_state(id, "running").await;
    vast.advance(5 * SECOND).await;
    assert_eq!(again.said().await, id.to_string());
    assert_eq!(vast.truth(id).await["starts"], 2);
    vast.control("reset", json!({})).await;
    again.ended().await;
}

#[tokio::test]
async fn no_container_outlives_the_stand_in() {
    let folder = tempfile::tempdir().unwrap();
    let vast = start_with(running(STAYS, 1_000)).await;
    let mut pipe = Pipe::new(folder.path(), "pipe");
    up(&vast, ASK, &mut pipe).await;
    vast.end().await;
    pipe.ended().await;
}

#[tokio::test]
async fn no_container_outlives_the_program_however_it_ends() {
    for signal in ["-TERM", "-KILL"] {
        let folder = tempfile::tempdir().unwrap();
        let mut pipe = Pipe::new(folder.path(), "pipe");
        let mut program = Command::new(env!("CARGO_BIN_EXE_kiln-vast-stand-in"))
            .args([
                "--port",
                "0",
                "--key",
                KEY,
                "--provision-ms",
                "0",
                "--create-ms",
                "0",
                "--load-ms",
                "0",
                "--stop-ms",
                "600000",
                "--grace-ms",
                "600000",
                "--machine-command",
                STUBBORN,
            ])
            .env_remove("VAST_API_KEY")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(program.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("kiln-vast-stand-in ready ").unwrap().to_owned();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let found: Value =
            http.post(format!("{url}/api/v0/bundles/")).bearer_auth(KEY).json(&json!({ "limit": 1 })).send().await.unwrap().json().await.unwrap();
        let order = json!({ "image": "x", "env": { "PIPE": pipe.path.to_str().unwrap() } });
        let ask = format!("{url}/api/v0/asks/{}/", found["offers"][0]["id"]);
        assert_eq!(http.put(ask).bearer_auth(KEY).json(&order).send().await.unwrap().status().as_u16(), 200);
        let id = pipe.said().await;
        if signal == "-KILL" {
            // It has been asked to end, and doesn't: its grace is longer than the program lives.
            let stop = http.put(format!("{url}/api/v0/instances/{id}/")).bearer_auth(KEY).json(&json!({ "state": "stopped" }));
            assert_eq!(stop.send().await.unwrap().status().as_u16(), 200);
        }
        assert!(Command::new("kill").args([signal, &program.id().to_string()]).status().unwrap().success());
        program.wait().unwrap();
        pipe.ended().await;
    }
}
