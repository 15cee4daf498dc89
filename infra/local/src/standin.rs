//! The stand-in for AWS: started in a process session of its own so that no Ctrl-C reaches it, adopted where an earlier run left one
//! behind, started again with its data when it dies, and stopped by SIGTERM and waited for, because only then does it save.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};
use tracing::{info, warn};

use crate::data::DataDir;
use crate::failure::{Failure, Reason};
use crate::process::Process;

const RECORD: &str = "stand-in.json";
const LOG: &str = "stand-in.log";
const LOG_BYTES: u64 = 10 << 20;
const READY_WITHIN: Duration = Duration::from_secs(30);
/// A big table takes its time to be written.
const SAVED_WITHIN: Duration = Duration::from_secs(60);
const DEATHS: usize = 5;
const DEATHS_WITHIN: Duration = Duration::from_secs(120);

/// What is kept between runs: the port, so that presigned links and queue URLs stay right, and who listens there.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    port: u16,
    pid: Option<i32>,
}

/// Where the stand-in listens. Chosen before any thread starts, because the AWS SDK reads the endpoint from the environment.
pub fn choose_port(data: &DataDir, wanted: Option<u16>) -> Result<u16, Failure> {
    let kept = read(data).map(|record| record.port).filter(|port| *port != 0);
    if let Some(port) = wanted.or(kept) {
        return Ok(port);
    }
    let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr());
    let port = free.map_err(|error| Failure::new(Reason::Unexpected, format!("no free port: {error}")))?.port();
    write(data, &Record { port, pid: None })?;
    Ok(port)
}

fn read(data: &DataDir) -> Option<Record> {
    serde_json::from_str(&fs::read_to_string(data.join(RECORD)).ok()?).ok()
}

fn write(data: &DataDir, record: &Record) -> Result<(), Failure> {
    data.write(RECORD, &serde_json::to_string(record).map_err(|error| Failure::new(Reason::Unexpected, error))?)
}

/// Where the program is: `KILN_MINISTACK`, or what scripts/venv made.
pub fn find_program(root: &Path, given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let program = given.unwrap_or_else(|| root.join(".venv/ministack/bin/ministack"));
    // The program is a script of its own environment's Python; without that interpreter it can't start.
    let python = program.with_file_name("python3");
    let hint = "scripts/dev installs it (it needs Python 3.11 with its venv module)";
    if !program.is_file() {
        return Err(Failure::new(Reason::NoStandIn, format!("the stand-in for AWS is not at {}; {hint}", program.display())));
    }
    if program.starts_with(root) && !python.exists() {
        return Err(Failure::new(Reason::NoStandIn, format!("the Python of the stand-in, {}, is gone; {hint}", python.display())));
    }
    Ok(program)
}

/// A running stand-in.
#[derive(Debug)]
pub struct StandIn {
    data: PathBuf,
    port: u16,
    program: PathBuf,
    process: Process,
    /// None for an adopted one, whose exit status is another's to read.
    child: Option<Child>,
    deaths: VecDeque<Instant>,
}

impl StandIn {
    pub async fn start(data: &DataDir, port: u16, program: PathBuf) -> Result<Self, Failure> {
        if let Some(process) = left_behind(data, port).await {
            info!(pid = process.pid, port, "adopted the stand-in of an earlier run");
            return Ok(Self { data: data.path.clone(), port, program, process, child: None, deaths: VecDeque::new() });
        }
        if TcpListener::bind(("127.0.0.1", port)).is_err() {
            let message = format!("port {port}, which the stand-in for AWS had, is in use by another program; set KILN_AWS_PORT to a free one");
            return Err(Failure::new(Reason::PortInUse, message));
        }
        let (process, child) = spawn(&data.path, port, &program).await?;
        write(data, &Record { port, pid: Some(process.pid) })?;
        Ok(Self { data: data.path.clone(), port, program, process, child: Some(child), deaths: VecDeque::new() })
    }

    /// Until it dies unasked; says how. May be dropped and called again.
    pub async fn died(&mut self) -> String {
        match &mut self.child {
            Some(child) => child.wait().await.map_or_else(|error| error.to_string(), describe),
            None => {
                self.process.gone().await;
                "ended".into()
            }
        }
    }

    /// Starts it again with the data that it saved last. An error when it has died too often. Not to be dropped half-way, or a
    /// started process would be nobody's.
    pub async fn revive(&mut self, data: &DataDir, how: &str) -> Result<(), Failure> {
        let mut how = how.to_owned();
        loop {
            self.deaths.push_back(Instant::now());
            while self.deaths.front().is_some_and(|death| death.elapsed() > DEATHS_WITHIN) {
                self.deaths.pop_front();
            }
            if self.deaths.len() > DEATHS {
                let message =
                    format!("the stand-in for AWS died {DEATHS} times in {} s; its log is {}", DEATHS_WITHIN.as_secs(), self.data.join(LOG).display());
                return Err(Failure::new(Reason::StandIn, message));
            }
            let pause = Duration::from_millis(100 << self.deaths.len());
            warn!("the stand-in for AWS {how}; starting it again in {} ms with the data that it saved last", pause.as_millis());
            tokio::time::sleep(pause).await;
            match spawn(&self.data, self.port, &self.program).await {
                Ok((process, child)) => {
                    (self.process, self.child) = (process, Some(child));
                    return write(data, &Record { port: self.port, pid: Some(self.process.pid) });
                }
                Err(failure) => how = format!("did not start ({failure})"),
            }
        }
    }

    /// Asks it to save and end, and waits until it has.
    pub async fn stop(mut self, data: &DataDir) {
        self.process.terminate();
        if !self.process.gone_within(SAVED_WITHIN).await {
            warn!("the stand-in for AWS did not end within {} s and is killed; what it had not saved is lost", SAVED_WITHIN.as_secs());
            self.process.kill();
            self.process.gone().await;
        }
        if let Some(child) = &mut self.child {
            // Only to reap it.
            let _ = child.wait().await;
        }
        if let Err(failure) = write(data, &Record { port: self.port, pid: None }) {
            warn!("{failure}");
        }
    }
}

/// The process that an earlier run left: alive, with our folder as its state, and answering. One that is ours and does not answer is
/// ended first, so that it saves and frees the port.
async fn left_behind(data: &DataDir, port: u16) -> Option<Process> {
    let record = read(data)?;
    let pid = record.pid.filter(|_| record.port == port)?;
    let process = Process::open(pid).ok()?;
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let ours = format!("STATE_DIR={}", state_dir(&data.path).display());
    if !environment.split(|byte| *byte == 0).any(|entry| entry == ours.as_bytes()) {
        return None;
    }
    if healthy(&http_client(), port).await {
        return Some(process);
    }
    warn!(pid, "the stand-in of an earlier run does not answer; ending it");
    process.terminate();
    if !process.gone_within(SAVED_WITHIN).await {
        process.kill();
        process.gone().await;
    }
    None
}

fn state_dir(data: &Path) -> PathBuf {
    data.join("stand-in")
}

async fn spawn(data: &Path, port: u16, program: &Path) -> Result<(Process, Child), Failure> {
    let failed = |what: &str, error: std::io::Error| Failure::new(Reason::StandIn, format!("{what}: {error}"));
    let scratch = data.join("tmp");
    for folder in [state_dir(data), data.join("s3"), scratch.clone()] {
        fs::create_dir_all(&folder).map_err(|error| Failure::new(Reason::DataDir, format!("{} can't be made: {error}", folder.display())))?;
    }
    let path = data.join(LOG);
    // Kept from run to run, so that a death can be looked into, but not for ever.
    let truncate = fs::metadata(&path).is_ok_and(|log| log.len() > LOG_BYTES);
    let mut options = File::options();
    let log = if truncate { options.write(true).truncate(true) } else { options.create(true).append(true) }.open(&path);
    let log = log.map_err(|error| failed("the stand-in's log", error))?;
    let mut command = std::process::Command::new(program);
    command
        .env("BIND_HOST", "127.0.0.1")
        .env("GATEWAY_PORT", port.to_string())
        .env("PERSIST_STATE", "1")
        .env("STATE_DIR", state_dir(data))
        .env("S3_PERSIST", "1")
        .env("S3_DATA_DIR", data.join("s3"))
        .env("TMPDIR", scratch)
        .env_remove("AWS_ENDPOINT_URL")
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(|error| failed("the stand-in's log", error))?)
        .stderr(log);
    // SAFETY: setsid is safe between fork and exec.
    unsafe {
        command.pre_exec(|| Ok(rustix::process::setsid().map(drop)?));
    }
    let mut child = Command::from(command).spawn().map_err(|error| failed(&format!("{} does not start", program.display()), error))?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
    let process = Process::open(pid).map_err(|error| failed("the stand-in for AWS ended at once", error))?;
    let client = http_client();
    let deadline = Instant::now() + READY_WITHIN;
    while !healthy(&client, port).await {
        if let Ok(Some(status)) = child.try_wait() {
            let message = format!("the stand-in for AWS {} before it was ready; its log is {}", describe(status), path.display());
            return Err(Failure::new(Reason::StandIn, message));
        }
        if Instant::now() > deadline {
            process.kill();
            let message = format!("the stand-in for AWS was not ready within {} s; its log is {}", READY_WITHIN.as_secs(), path.display());
            return Err(Failure::new(Reason::StandIn, message));
        }
        // It offers nothing to wait on but an address to ask.
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    Ok((process, child))
}

async fn healthy(client: &reqwest::Client, port: u16) -> bool {
    let answer = client.get(format!("http://127.0.0.1:{port}/_ministack/health")).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

/// For the stand-in's own pages. A proxy of the machine has no part in it.
pub fn http_client() -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build();
    client.expect("an HTTP client without options that can fail")
}

/// How a process ended, in words: "exited with code 1", "was ended by signal 9".
pub fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".into(),
    }
}
