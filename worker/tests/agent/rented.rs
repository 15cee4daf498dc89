//! The worker with the parent process that it has on a rented machine: the real binary, whose machine is one of the stand-in for Vast.ai.

use crate::fake::{Fake, JOB};
use kiln_vast_stand_in::{Config, StandIn};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

pub const KEY: &str = "the account's key";
/// For whatever has to happen by itself.
pub const SOON: Duration = Duration::from_secs(40);

/// One rented machine, and what its provider knows of it.
pub struct Machine {
    url: String,
    pub id: u64,
    key: String,
    /// Its disk.
    pub disk: PathBuf,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.disk);
    }
}

impl Machine {
    /// One whose processes the test starts.
    pub async fn rent() -> Self {
        Self::rent_with(Config::new(KEY), |_| json!({})).await
    }

    /// By its provider's settings, and with an environment that is told where the provider is.
    pub async fn rent_with(config: Config, env: impl FnOnce(&str) -> Value) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let disks = config.machine_command.as_ref().and_then(|command| command.disks.clone());
        let stand_in = StandIn::new(config);
        tokio::spawn(async move { axum::serve(listener, stand_in.router()).await });
        let disk = disks.unwrap_or_else(|| std::env::temp_dir().join(format!("kiln-rented-{:x}", fastrand::u64(..))));
        std::fs::create_dir_all(&disk).unwrap();
        let mut machine = Self { url, id: 0, key: String::new(), disk };
        let offers = machine.call("POST", "/api/v0/bundles/", json!({})).await;
        let ask = &offers["offers"][0]["id"];
        let order = json!({ "image": "kiln/worker:1", "disk": 20, "env": env(&machine.url) });
        let made = machine.call("PUT", &format!("/api/v0/asks/{ask}/"), order).await;
        (machine.id, machine.key) = (made["new_contract"].as_u64().unwrap(), made["instance_api_key"].as_str().unwrap().to_owned());
        machine
    }

    pub async fn call(&self, method: &str, path: &str, body: Value) -> Value {
        let request = reqwest::Client::new().request(method.parse().unwrap(), format!("{}{path}", self.url)).bearer_auth(KEY);
        let answer = request.json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
        answer.json().await.unwrap_or_default()
    }

    pub async fn destroyed(&self) -> bool {
        !self.call("GET", &format!("/stand-in/instances/{}", self.id), Value::Null).await["destroyed_at_ms"].is_null()
    }

    /// Who asked for its end, in order, and what was answered.
    pub async fn deletes(&self) -> Vec<(String, u64)> {
        let seen = self.call("GET", "/stand-in/requests", Value::Null).await;
        let deletes = seen["items"].as_array().unwrap().iter().filter(|request| request["method"] == "DELETE");
        deletes.map(|request| (request["by"].as_str().unwrap().to_owned(), request["status"].as_u64().unwrap())).collect()
    }

    pub fn command(&self, api: &str, args: &[&str], env: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln-worker"));
        command.env_clear().env("KILN_API", api).env("KILN_BOOT_TOKEN", "the-boot-token").env("KILN_TEST_ENGINES", "1").env("KILN_POLL_S", "1");
        command.env("TMPDIR", &self.disk).env("VAST_URL", &self.url).env("CONTAINER_ID", self.id.to_string()).env("CONTAINER_API_KEY", &self.key);
        // A group of its own, as a container's processes are.
        command.args(args).envs(env.iter().copied()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        command
    }

    pub fn start(&self, api: &str, env: &[(&str, &str)]) -> Child {
        self.command(api, &["--rented", "vast"], env).spawn().unwrap()
    }

    /// The parent has ended, and with it the rental. Gives its log, in which no secret stands.
    pub async fn given_back(&self, parent: Child) -> String {
        let ended = tokio::time::timeout(SOON, parent.wait_with_output()).await.expect("it ends").unwrap();
        let log = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(0), "{log}");
        assert!(self.destroyed().await, "{log}");
        assert_eq!(self.deletes().await.last().unwrap(), &(format!("instance:{}", self.id), 200));
        for secret in [self.key.as_str(), "the-boot-token", "instance-token"] {
            assert!(!log.contains(secret), "{log}");
        }
        log
    }
}

pub fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).unwrap()).unwrap()
}

/// Waits until there is something.
async fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.expect("it comes")
}

/// The worker's process.
async fn worker_of(parent: &Child) -> u32 {
    let id = parent.id().unwrap();
    until(|| std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?.split_whitespace().next()?.parse().ok()).await
}

/// Whether a process runs: it exists, and is not one that nobody has waited for yet.
pub fn runs(id: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
}

/// A job that goes on for longer than any test.
pub fn endless_job(fake: &Fake) {
    let claim = json!({"attempt": 1, "lease_s": 60, "heartbeat_s": 1, "max_run_s": 900, "kind": "noop", "params": {"ms": 600_000}, "inputs": []});
    fake.usually("claim", 200, claim).hint("standard", JOB);
}

#[tokio::test]
async fn a_worker_that_dies_is_started_again_twice_and_then_the_machine_is_given_back() {
    let (fake, machine) = (Fake::start().await, Machine::rent().await);
    for _ in 0..4 {
        fake.hint("standard", JOB);
    }
    let log = machine.given_back(machine.start(&fake.api(), &[("KILN_DRILL_STOP_AT", "after_claim")])).await;
    assert_eq!(fake.calls("claim").len(), 3, "{log}");
    // It stays the same instance.
    let tokens: Vec<_> = fake.calls("register").iter().map(|call| (call.body["boot_token"].as_str().map(str::to_owned), call.token.clone())).collect();
    let again = (None, Some("Bearer instance-token".to_owned()));
    assert_eq!(tokens, [(Some("the-boot-token".into()), None), again.clone(), again]);
    assert_eq!(machine.deletes().await.len(), 1);
}

#[tokio::test]
async fn a_worker_whose_end_is_final_is_not_started_again_and_a_destroy_that_fails_is_tried_until_it_is_done() {
    for (args, refused) in [(vec!["--rented", "vast"], true), (vec!["--rented=vast", "--no-such-flag"], false)] {
        let (fake, machine) = (Fake::start().await, Machine::rent().await);
        fake.usually("register", 401, json!({"title": "No", "code": "unknown_worker", "detail": "a test said so"}));
        for fault in [json!({ "kind": "error", "method": "DELETE" }), json!({ "kind": "success_false", "method": "DELETE" })] {
            machine.call("POST", "/stand-in/faults", fault).await;
        }
        let log = machine.given_back(machine.command(&fake.api(), &args, &[]).spawn().unwrap()).await;
        assert_eq!(fake.calls("register").len(), usize::from(refused), "{log}");
        let statuses: Vec<_> = machine.deletes().await.into_iter().map(|(_, status)| status).collect();
        assert_eq!(statuses, [503, 200, 200], "{log}");
    }
}

#[tokio::test]
async fn without_an_answered_heartbeat_the_machine_is_given_back_though_the_worker_hangs() {
    let (fake, machine) = (Fake::start().await, Machine::rent().await);
    let parent = machine.start(&fake.api(), &[("KILN_DEAD_MAN_S", "4")]);
    // One a second: beyond the limit it lives by its heartbeats alone.
    fake.until("heartbeat", 7).await;
    assert!(!machine.destroyed().await);
    let worker = worker_of(&parent).await;
    kill_process(pid(worker), Signal::STOP).unwrap();
    machine.given_back(parent).await;
    assert!(!runs(worker));
}

#[tokio::test]
async fn a_heartbeat_that_fails_is_none() {
    let (fake, machine) = (Fake::start().await, Machine::rent().await);
    fake.usually("heartbeat", 503, json!({}));
    machine.given_back(machine.start(&fake.api(), &[("KILN_DEAD_MAN_S", "2")])).await;
    assert!(!fake.calls("heartbeat").is_empty());
}

#[tokio::test]
async fn a_machine_whose_control_plane_is_gone_is_given_back() {
    let machine = Machine::rent().await;
    let closed = { tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap() };
    machine.given_back(machine.start(&format!("http://{closed}/api/v1"), &[("KILN_DEAD_MAN_S", "2")])).await;
}

#[tokio::test]
async fn past_its_longest_life_a_machine_drains_and_is_given_back() {
    let (fake, machine) = (Fake::start().await, Machine::rent().await);
    endless_job(&fake);
    let log = machine.given_back(machine.start(&fake.api(), &[("KILN_MAX_LIFE_S", "5"), ("KILN_DRAIN_S", "0")])).await;
    assert_eq!(fake.calls("fail")[0].body["failure"], "drained", "{log}");
    assert_eq!(fake.calls("register").len(), 1);
}

#[tokio::test]
async fn sigterm_drains_the_worker_and_gives_the_machine_back_whoever_else_gets_it_and_the_worker_has_no_key() {
    for all in [false, true] {
        let (fake, machine) = (Fake::start().await, Machine::rent().await);
        endless_job(&fake);
        let parent = machine.start(&fake.api(), &[("KILN_DRAIN_S", "0")]);
        fake.until("claim", 1).await;
        let environment = std::fs::read(format!("/proc/{}/environ", worker_of(&parent).await)).unwrap();
        let environment = String::from_utf8(environment).unwrap();
        assert!(environment.contains("CONTAINER_ID=") && !environment.contains("CONTAINER_API_KEY") && !environment.contains(&machine.key));
        let id = pid(parent.id().unwrap());
        if all { kill_process_group(id, Signal::TERM) } else { kill_process(id, Signal::TERM) }.unwrap();
        let log = machine.given_back(parent).await;
        assert_eq!(fake.calls("fail").first().expect(&log).body["failure"], "drained");
    }
}

#[tokio::test]
async fn a_worker_whose_parent_is_killed_drains() {
    let (fake, machine) = (Fake::start().await, Machine::rent().await);
    let parent = machine.start(&fake.api(), &[]);
    fake.until("ReceiveMessage rush", 1).await;
    let worker = worker_of(&parent).await;
    kill_process(pid(parent.id().unwrap()), Signal::KILL).unwrap();
    until(|| (!runs(worker)).then_some(())).await;
    assert!(!machine.destroyed().await);
}

#[tokio::test]
async fn a_machine_of_ec2_shuts_down_and_tries_again_where_that_fails() {
    let (fake, machine) = (Fake::start().await, Machine::rent().await);
    fake.usually("heartbeat", 200, json!({"drain": true}));
    let folder = std::env::temp_dir().join(format!("kiln-shutdown-{:x}", fastrand::u64(..)));
    std::fs::create_dir(&folder).unwrap();
    let (program, said) = (folder.join("shutdown"), folder.join("said"));
    script(&program, &format!("echo \"$@\" >>'{0}'; [ \"$(wc -l <'{0}')\" -gt 1 ]", said.display()));
    // Without a metadata service a machine is rented all the same.
    let closed = { tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap() };
    let nobody = format!("http://{closed}");
    let env = [("KILN_SHUTDOWN", program.to_str().unwrap()), ("PATH", "/usr/bin:/bin"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", nobody.as_str())];
    let parent = machine.command(&fake.api(), &["--rented", "ec2"], &env).spawn().unwrap();
    let ended = tokio::time::timeout(SOON, parent.wait_with_output()).await.expect("it ends").unwrap();
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(said).unwrap(), "-h now\n-h now\n");
    assert_eq!(fake.calls("register").len(), 1, "drained is no death");
    std::fs::remove_dir_all(folder).unwrap();
}

/// EC2's metadata service, version 2: nothing without a session's token, and a notice from when it is told to have one.
#[derive(Clone, Default)]
struct Metadata(std::sync::Arc<std::sync::Mutex<Told>>);

#[derive(Default)]
struct Told {
    notice: bool,
    /// Sessions begun; the last one's token is good, and the first one's only once.
    sessions: u32,
    looks: u32,
    refused: u32,
}

impl Told {
    fn look(&mut self, token: Option<&[u8]>) -> (axum::http::StatusCode, String) {
        use axum::http::StatusCode;
        self.looks += 1;
        let over = self.sessions == 1 && self.looks > 1;
        if over || token != Some(format!("session-{}", self.sessions).as_bytes()) {
            self.refused += 1;
            return (StatusCode::UNAUTHORIZED, String::new());
        }
        if !self.notice {
            return (StatusCode::NOT_FOUND, String::new());
        }
        (StatusCode::OK, json!({ "action": "terminate", "time": "2026-11-29T08:22:00Z" }).to_string())
    }
}

impl Metadata {
    async fn start(&self) -> String {
        use axum::http::{HeaderMap, StatusCode};
        use axum::routing::{get, put};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (begin, look) = (self.clone(), self.clone());
        let session = move |headers: HeaderMap| {
            let lasts = headers.get("x-aws-ec2-metadata-token-ttl-seconds").and_then(|lasts| lasts.to_str().ok()?.parse::<u32>().ok());
            let mut told = begin.0.lock().unwrap();
            told.sessions += 1;
            let good = lasts.is_some_and(|lasts| lasts <= 21_600);
            std::future::ready(if good { (StatusCode::OK, format!("session-{}", told.sessions)) } else { (StatusCode::BAD_REQUEST, String::new()) })
        };
        let action =
            move |headers: HeaderMap| std::future::ready(look.0.lock().unwrap().look(headers.get("x-aws-ec2-metadata-token").map(|token| token.as_bytes())));
        let router = axum::Router::new().route("/latest/api/token", put(session)).route("/latest/meta-data/spot/instance-action", get(action));
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }
}

#[tokio::test]
async fn a_spot_instance_that_is_taken_away_drains_within_its_notice_and_shuts_down() {
    let (fake, machine, metadata) = (Fake::start().await, Machine::rent().await, Metadata::default());
    endless_job(&fake);
    let folder = std::env::temp_dir().join(format!("kiln-notice-{:x}", fastrand::u64(..)));
    std::fs::create_dir(&folder).unwrap();
    let (program, said) = (folder.join("shutdown"), folder.join("said"));
    script(&program, &format!("echo \"$@\" >>'{}'", said.display()));
    let at = metadata.start().await;
    let env =
        [("KILN_SHUTDOWN", program.to_str().unwrap()), ("PATH", "/usr/bin:/bin"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", at.as_str()), ("KILN_DRAIN_S", "0")];
    let parent = machine.command(&fake.api(), &["--rented", "ec2"], &env).spawn().unwrap();
    fake.until("claim", 1).await;
    // Its session ended meanwhile, and it has begun another one: no notice is no reason to go.
    until(|| (metadata.0.lock().unwrap().looks >= 3).then_some(())).await;
    assert!(!said.exists() && fake.calls("fail").is_empty());
    metadata.0.lock().unwrap().notice = true;
    let ended = tokio::time::timeout(SOON, parent.wait_with_output()).await.expect("it ends").unwrap();
    let log = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{log}");
    assert_eq!(fake.calls("fail").first().expect(&log).body["failure"], "drained");
    assert_eq!(std::fs::read_to_string(&said).unwrap(), "-h now\n");
    let told = metadata.0.lock().unwrap();
    assert_eq!((told.sessions, told.refused), (2, 1), "{log}");
    assert!(log.contains("TakenAway") && !log.contains("session-"), "{log}");
    std::fs::remove_dir_all(folder).unwrap();
}

pub fn script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
