//! Starts and stops `kiln-local` and, where calls are to be watched, the stand-in behind a [`Faults`] proxy.

use crate::{Client, Faults};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, Command};

/// What kiln-local and its workers have written since the start, line by line.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn push(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

/// A running system; killed when dropped.
pub struct System {
    pub url: String,
    pub data: PathBuf,
    env: Vec<(String, String)>,
    child: Child,
    log: Log,
    _folder: tempfile::TempDir,
    pub faults: Option<Faults>,
    /// With a proxy: the stand-in behind it, and where it answers.
    standin: Option<(Child, String)>,
}

/// Quick clocks: what takes minutes in production takes a second or two here, with real processes and a real clock.
pub const QUICK: [(&str, &str); 11] = [
    ("KILN_TEST_ENGINES", "1"),
    ("KILN_TICK_S", "1"),
    ("KILN_LEASE_S", "3"),
    ("KILN_HEARTBEAT_S", "1"),
    ("KILN_HINT_S", "2"),
    ("KILN_RETRY_S", "0"),
    ("KILN_POLL_S", "2"),
    ("KILN_POOL_MAX", "1"),
    ("KILN_SECOND_LOOK_S", "0"),
    ("KILN_LINKS_PER_IP", "1000"),
    ("KILN_LINKS_PER_ADDRESS", "1000"),
];

/// What of a system's data folder keeps its secrets.
const SECRETS: &str = "secrets.json";

/// The top folder of the project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent").to_owned()
}

/// A program of the workspace, as built beside the test.
pub fn binary(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let folder = here.ancestors().find(|folder| folder.join(name).is_file());
    folder.map(|folder| folder.join(name)).with_context(|| format!("{name} is not built beside {}; scripts/test builds it", here.display()))
}

impl System {
    /// A system of its own, with quick clocks; `extra` overrides.
    pub async fn start(extra: &[(&str, &str)]) -> Result<Self> {
        Self::begin(extra, false, None).await
    }

    /// The same with the secrets of another system, as an operator carries them over to where its backup is restored.
    pub async fn start_with_secrets_of(other: &System, extra: &[(&str, &str)]) -> Result<Self> {
        Self::begin(extra, false, Some(&other.data.join(SECRETS))).await
    }

    /// The same with every AWS call going through a [`Faults`] proxy.
    pub async fn start_watched(extra: &[(&str, &str)]) -> Result<Self> {
        Self::begin(extra, true, None).await
    }

    async fn begin(extra: &[(&str, &str)], watched: bool, secrets: Option<&Path>) -> Result<Self> {
        // Whoever built with reqwest must name the one TLS provider; a second naming is no error.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::Builder::new().prefix("kiln-test-").tempdir()?;
        let data = folder.path().join("data");
        if let Some(secrets) = secrets {
            std::fs::create_dir_all(&data)?;
            std::fs::copy(secrets, data.join(SECRETS))?;
        }
        let mut env: Vec<(String, String)> = QUICK.iter().chain(extra).map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let (mut standin, mut faults) = (None, None);
        if watched {
            let (child, endpoint) = start_standin(folder.path()).await?;
            let proxy = Faults::start(&endpoint).await?;
            env.push(("KILN_AWS_ENDPOINT".into(), proxy.url.clone()));
            (standin, faults) = (Some((child, endpoint)), Some(proxy));
        }
        let log = Log::default();
        let (child, url) = launch(&data, &env, log.clone()).await?;
        Ok(Self { url, data, env, child, log, _folder: folder, faults, standin })
    }

    pub fn client(&self) -> Client {
        Client::new(&self.url)
    }

    /// Somebody new, signed in by the mailed link.
    pub async fn signed_in(&self, email: &str) -> Result<Client> {
        let client = self.client();
        client.sign_in(email).await?;
        Ok(client)
    }

    /// Where the stand-in answers, past every proxy.
    pub fn stand_in(&self) -> Result<String> {
        if let Some((_, endpoint)) = &self.standin {
            return Ok(endpoint.clone());
        }
        let record: serde_json::Value = serde_json::from_slice(&std::fs::read(self.data.join("stand-in.json"))?)?;
        Ok(format!("http://127.0.0.1:{}", record["port"].as_u64().context("the stand-in's port")?))
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// SIGKILL to kiln-local, as a crash would; its workers are left to find out.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.start_kill()?;
        self.child.wait().await?;
        Ok(())
    }

    /// Up again on the same data.
    pub async fn restart(&mut self) -> Result<()> {
        let (child, url) = launch(&self.data, &self.env, self.log.clone()).await?;
        self.child = child;
        self.url = url;
        Ok(())
    }

    /// Sets a variable for the next [`System::restart`].
    pub fn set(&mut self, name: &str, value: &str) {
        self.env.push((name.into(), value.into()));
    }

    /// Ctrl-C, and waits for its exit code.
    pub async fn interrupt(&mut self) -> Result<Option<i32>> {
        signal(self.child.id().context("not running")?, libc::SIGINT);
        let status = tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await.context("kiln-local did not stop within a minute")??;
        Ok(status.code())
    }
}

impl Drop for System {
    fn drop(&mut self) {
        // Everything that carries our data folder in its command line or environment goes with us.
        if let Some(pid) = self.child.id() {
            signal(pid, libc::SIGKILL);
        }
        if let Some(pid) = self.standin.as_ref().and_then(|(child, _)| child.id()) {
            signal(pid, libc::SIGKILL);
        }
        kill_by_environment(&self.data.to_string_lossy());
    }
}

fn signal(pid: u32, signal: i32) {
    // SAFETY: kill(2) on a process that we started and have not reaped.
    unsafe { libc::kill(pid as i32, signal) };
}

/// Kills what still runs with this text in its environment: the stand-in's own session and orphaned workers.
fn kill_by_environment(text: &str) {
    let Ok(processes) = std::fs::read_dir("/proc") else { return };
    for process in processes.flatten() {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<u32>() else { continue };
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        if pid != std::process::id() && environment.windows(text.len()).any(|window| window == text.as_bytes()) {
            signal(pid, libc::SIGKILL);
        }
    }
}

/// Runs kiln-local where it can't start: its exit code and what it wrote to standard error.
pub async fn refused_start(data: &Path, env: &[(&str, &str)]) -> Result<(Option<i32>, String)> {
    let mut command = Command::new(binary("kiln-local")?);
    command.env("KILN_PORT", "0").env("KILN_DATA_DIR", data).env("KILN_ROOT", root()).envs(env.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(60), command.output()).await.context("kiln-local did not end within a minute")??;
    Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

async fn launch(data: &Path, env: &[(String, String)], log: Log) -> Result<(Child, String)> {
    let mut command = Command::new(binary("kiln-local")?);
    command
        .args(["--port", "0"])
        .env("KILN_DATA_DIR", data)
        .env("KILN_ROOT", root())
        // A failed test shows each request.
        .env("RUST_LOG", "warn,kiln=info,worker=info")
        .env("KILN_WORKER_BIN", std::env::var_os("KILN_WORKER_BIN").map_or_else(|| binary("kiln-worker"), |path| Ok(path.into()))?)
        .envs(env.iter().map(|(k, v)| (k, v)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().context("kiln-local")?;
    follow(BufReader::new(child.stderr.take().context("stderr")?).lines(), log.clone());
    let mut lines = BufReader::new(child.stdout.take().context("stdout")?).lines();
    let ready = async {
        while let Some(line) = lines.next_line().await? {
            eprintln!("kiln-local: {line}");
            if let Some(url) = line.strip_prefix("kiln-local ready ") {
                return Ok(url.trim().to_owned());
            }
        }
        bail!("kiln-local ended before it was ready")
    };
    let url = tokio::time::timeout(Duration::from_secs(60), ready).await.context("kiln-local was not ready within a minute")??;
    follow(lines, log);
    Ok((child, url))
}

/// What it writes goes on to our log, which the test runner shows for a failed test.
fn follow(mut lines: Lines<BufReader<impl AsyncRead + Unpin + Send + 'static>>, log: Log) {
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            eprintln!("{line}");
            log.push(line);
        }
    });
}

/// The stand-in alone, with nothing in it: its process, which dies with its handle, and its address.
pub async fn start_standin(folder: &Path) -> Result<(Child, String)> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let program = root().join(".venv/ministack/bin/ministack");
    let program = if program.is_file() { program } else { bail!("{} is missing; scripts/test installs it", program.display()) };
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let child = Command::new(program)
        .env("BIND_HOST", "127.0.0.1")
        .env("GATEWAY_PORT", port.to_string())
        .env("PERSIST_STATE", "0")
        // The stand-in takes its root keys from here, as it does when kiln-local starts it.
        .env("AWS_ACCESS_KEY_ID", "local")
        .env("AWS_SECRET_ACCESS_KEY", "local")
        .env("STATE_DIR", folder.join("standin"))
        // It leaves a file there.
        .env("TMPDIR", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let url = format!("http://127.0.0.1:{port}");
    wait_for("the stand-in", Duration::from_secs(30), || {
        let url = format!("{url}/_ministack/health");
        async move { Ok(reqwest::get(url).await.is_ok_and(|answer| answer.status().is_success()).then_some(())) }
    })
    .await?;
    Ok((child, url))
}

/// Asks again every 50 ms until there is an answer; a deadline is a failure that says what was waited for.
pub async fn wait_for<T, F, Fut>(what: &str, within: Duration, mut ask: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Option<T>>>,
{
    let begun = Instant::now();
    loop {
        if let Some(found) = ask().await? {
            return Ok(found);
        }
        if begun.elapsed() > within {
            bail!("waited {} s in vain for {what}", within.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
