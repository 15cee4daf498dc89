//! Worker processes on this machine: what a provider's machines are elsewhere. They end when we end, however we end, and one that dies
//! unasked is named in one line; the pool then makes another.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Notify, oneshot};
use tracing::{info, warn};

use crate::process::Process;
use crate::say::say;
use crate::standin::describe;

/// What a worker inherits of our own KILN_ settings; no other, since the rest is the control plane's.
const INHERITED: &[&str] = &["KILN_CAPABILITIES", "KILN_POLL_S", "KILN_LOG", "KILN_TEST_ENGINES", "KILN_DRILL_STOP_AT", "KILN_DRILL_ONCE", "KILN_UPSCALE_TILE"];
/// Beyond what a worker may use for its last job.
pub const GRACE: Duration = Duration::from_secs(2);

#[derive(Debug, Clone)]
pub struct Settings {
    pub program: Result<PathBuf, String>,
    /// `http://127.0.0.1:PORT/api/v1`
    pub api: String,
    pub models: PathBuf,
    pub drain: Duration,
    /// How many there may be at once, where there is an end to them.
    pub most: Option<usize>,
}

/// `KILN_WORKER_BIN`, or the program beside ours, or the newest build; or in words why there is none.
pub fn find_program(root: &Path, given: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(given) = given {
        return if given.is_file() { Ok(given.to_owned()) } else { Err(format!("KILN_WORKER_BIN names {}, which is no file", given.display())) };
    }
    let beside = std::env::current_exe().ok().map(|ours| ours.with_file_name("kiln-worker"));
    let built = ["worker", "release", "debug"].map(|profile| root.join("target").join(profile).join("kiln-worker"));
    let found = beside.into_iter().chain(built).find(|program| program.is_file());
    found.ok_or_else(|| "there is no kiln-worker to start; build it with: cargo build --profile worker -p kiln-worker".into())
}

/// A living worker, as the pool is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Living {
    pub id: String,
    pub label: String,
}

#[derive(Debug)]
struct Worker {
    label: String,
    process: Arc<Process>,
    /// We have asked it to end.
    asked: bool,
}

#[derive(Debug, Clone)]
pub struct Workers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    living: Mutex<BTreeMap<String, Worker>>,
    /// Told at each end of a worker.
    ended: Notify,
    count: AtomicU64,
    spawner: mpsc::Sender<Order>,
}

type Order = (Command, oneshot::Sender<io::Result<Child>>);

impl Workers {
    /// Call it within a runtime.
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(Inner { settings, living: Mutex::default(), ended: Notify::new(), count: AtomicU64::new(0), spawner: spawner() }))
    }

    fn living(&self) -> MutexGuard<'_, BTreeMap<String, Worker>> {
        self.0.living.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The program that is started, or why there is none.
    pub fn program(&self) -> Result<&Path, &str> {
        self.0.settings.program.as_deref().map_err(String::as_str)
    }

    pub fn most(&self) -> Option<usize> {
        self.0.settings.most
    }

    pub fn list(&self) -> Vec<Living> {
        self.living().iter().map(|(id, worker)| Living { id: id.clone(), label: worker.label.clone() }).collect()
    }

    /// Starts one; returns its id, which no other ever has.
    pub async fn create(&self, label: &str, boot_token: &str) -> anyhow::Result<String> {
        let settings = &self.0.settings;
        let program = match &settings.program {
            Ok(program) => program,
            Err(why) => bail!("{why}"),
        };
        let (reply, spawned) = oneshot::channel();
        self.0.spawner.send((command(program, settings, boot_token), reply)).ok().context("the thread that starts workers is gone")?;
        let child = spawned.await.context("the thread that starts workers is gone")?;
        let mut child = child.with_context(|| format!("{} does not start", program.display()))?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).context("the worker has no process id")?;
        let process = Arc::new(Process::open(pid).context("the worker can't be watched")?);
        // The time makes it unique over runs, in which process ids come again.
        let id = format!("{pid}-{}", jiff::Timestamp::now().as_millisecond());
        let short = format!("worker {}", self.0.count.fetch_add(1, Ordering::Relaxed) + 1);
        relay(short.clone(), child.stdout.take());
        relay(short.clone(), child.stderr.take());
        self.living().insert(id.clone(), Worker { label: label.to_owned(), process, asked: false });
        info!(pid, label, "{short} started");
        tokio::spawn(self.clone().watch(id.clone(), short, child));
        Ok(id)
    }

    /// Takes it off the list when it has ended.
    async fn watch(self, id: String, short: String, mut child: Child) {
        let how = child.wait().await.map_or_else(|error| error.to_string(), describe);
        let asked = self.living().remove(&id).is_some_and(|worker| worker.asked);
        if asked {
            info!("{short} {how}");
        } else {
            warn!("{short} {how} unasked; the pool replaces it if there is work");
        }
        self.0.ended.notify_waiters();
    }

    /// Asks one to end, and kills it when it has not after a grace. It stays on the list until it has ended; asking again, or for one
    /// that is gone, changes nothing.
    pub fn destroy(&self, id: &str) {
        let mut living = self.living();
        let Some(worker) = living.get_mut(id).filter(|worker| !worker.asked) else { return };
        worker.asked = true;
        let process = worker.process.clone();
        process.terminate();
        let limit = self.0.settings.drain + GRACE;
        tokio::spawn(async move {
            if !process.gone_within(limit).await {
                warn!(pid = process.pid, "a worker did not end within {} s and is killed", limit.as_secs());
                process.kill();
            }
        });
    }

    /// Ends all of them; returns when all have ended.
    pub async fn end(&self) {
        for worker in self.list() {
            self.destroy(&worker.id);
        }
        let started = Instant::now();
        loop {
            // Enrolled before the look, so that an end between the two is not missed.
            let ended = self.0.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.living().is_empty() {
                break;
            }
            ended.await;
        }
        info!("the workers have ended ({} ms)", started.elapsed().as_millis());
    }
}

/// A line for a shell that becomes a worker with what we give each of ours, and `more`; its token and our address are the machine's.
pub fn shell_command(program: &Path, settings: &Settings, more: &[(&str, &str)]) -> String {
    let inherited = INHERITED.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
    // Whatever folder the shell is in.
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
    let ours = [("KILN_MODELS_DIR".to_owned(), absolute(&settings.models)), ("KILN_DRAIN_S".to_owned(), settings.drain.as_secs().to_string())];
    let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let variables = inherited.chain(ours).chain(more).map(|(name, value)| format!("{name}={} ", quoted(&value))).collect::<String>();
    format!("exec env {variables}{}", quoted(&absolute(program)))
}

/// One word of a shell, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn command(program: &Path, settings: &Settings, boot_token: &str) -> Command {
    let mut command = std::process::Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        // A worker holds no AWS credentials of its own and none of the control plane's secrets.
        if name.starts_with("AWS_") || (name.starts_with("KILN_") && !INHERITED.contains(&&*name)) {
            command.env_remove(&*name);
        }
    }
    command
        .env("KILN_API", &settings.api)
        .env("KILN_BOOT_TOKEN", boot_token)
        .env("KILN_MODELS_DIR", &settings.models)
        .env("KILN_DRAIN_S", settings.drain.as_secs().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // A group of its own: Ctrl-C is for us, and we ask the workers in our order.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut command = Command::from(command);
    // SAFETY: prctl is safe between fork and exec.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?));
    }
    command
}

/// The thread that starts workers. The kernel sends a worker its signal when the *thread* that started it ends, so that thread must live
/// as long as we do, which a runtime's threads need not.
fn spawner() -> mpsc::Sender<Order> {
    let (orders, taken) = mpsc::channel::<Order>();
    let runtime = tokio::runtime::Handle::current();
    std::thread::Builder::new()
        .name("spawner".into())
        .spawn(move || {
            for (mut command, reply) in taken {
                let _runtime = runtime.enter();
                // Whoever asked may have gone; the child then ends with its handle's owner, the watcher, never made.
                if let Err(Ok(mut child)) = reply.send(command.spawn()) {
                    let _ = child.start_kill();
                }
            }
        })
        .expect("a thread at start");
    orders
}

/// A worker's lines, each with its name before it.
fn relay(name: String, output: Option<impl AsyncRead + Unpin + Send + 'static>) {
    let Some(output) = output else { return };
    tokio::spawn(async move {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            say(&format!("[{name}] {line}"));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(script: &str) -> (tempfile::TempDir, Workers) {
        let folder = tempfile::tempdir().unwrap();
        let (text, program) = (folder.path().join("text"), folder.path().join("worker"));
        std::fs::write(&text, format!("#!/bin/sh\n{script}\n")).unwrap();
        // Written by another process: open for writing in ours, it could be inherited by a worker that a test beside this one forks, and a
        // program that anybody may still write to can't be started (ETXTBSY).
        assert!(std::process::Command::new("install").args(["-m", "755"]).args([&text, &program]).status().unwrap().success());
        let settings = Settings { program: Ok(program), api: "http://a/api/v1".into(), models: "/m".into(), drain: Duration::ZERO, most: None };
        let workers = Workers::new(settings);
        (folder, workers)
    }

    #[tokio::test]
    async fn a_worker_is_listed_from_its_start_to_its_end() {
        let (_folder, workers) = workers("exec sleep 600");
        let id = workers.create("kiln/d/p/i", "token").await.unwrap();
        assert_eq!(workers.list(), [Living { id: id.clone(), label: "kiln/d/p/i".into() }]);
        workers.destroy("nobody");
        workers.destroy(&id);
        workers.destroy(&id);
        workers.end().await;
        assert_eq!(workers.list(), []);
    }

    #[tokio::test]
    async fn a_worker_that_ignores_the_request_is_killed_after_the_grace() {
        let folder = tempfile::tempdir().unwrap();
        let deaf = folder.path().join("deaf");
        let (_folder, workers) = workers(&format!("trap '' TERM; touch {}; while :; do sleep 1; done", deaf.display()));
        workers.create("l", "t").await.unwrap();
        while !deaf.exists() {
            tokio::task::yield_now().await;
        }
        let asked = Instant::now();
        workers.end().await;
        assert!(asked.elapsed() >= GRACE);
        assert_eq!(workers.list(), []);
    }

    #[tokio::test]
    async fn a_worker_gets_its_token_and_no_secret_of_ours() {
        let folder = tempfile::tempdir().unwrap();
        let seen = folder.path().join("seen");
        let (_folder, workers) = workers(&format!("env > {0}.new; mv {0}.new {0}; exec sleep 600", seen.display()));
        workers.create("l", "boot-1").await.unwrap();
        // The script is a shell of its own; its file is the only sign it gives.
        while !seen.exists() {
            tokio::task::yield_now().await;
        }
        let environment = std::fs::read_to_string(&seen).unwrap();
        assert!(environment.contains("KILN_BOOT_TOKEN=boot-1\n") && environment.contains("KILN_API=http://a/api/v1\n"));
        assert!(!environment.contains("AWS_"), "{environment}");
        workers.end().await;
    }

    #[test]
    fn a_path_is_one_word_to_a_shell() {
        let settings = Settings { program: Err(String::new()), api: String::new(), models: "/m's $(x)".into(), drain: GRACE, most: None };
        let line = shell_command(Path::new("/a b/worker"), &settings, &[]);
        assert!(line.starts_with("exec env ") && line.ends_with(r"KILN_MODELS_DIR='/m'\''s $(x)' KILN_DRAIN_S='2' '/a b/worker'"), "{line}");
    }

    #[tokio::test]
    async fn a_missing_program_is_said_by_name() {
        let settings = Settings {
            program: find_program(Path::new("/"), Some(Path::new("/no/worker"))),
            api: String::new(),
            models: "/m".into(),
            drain: GRACE,
            most: None,
        };
        let error = Workers::new(settings).create("l", "t").await.unwrap_err();
        assert_eq!(error.to_string(), "KILN_WORKER_BIN names /no/worker, which is no file");
    }
}
