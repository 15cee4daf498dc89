//! One worker process, as its parent sees it: its process, and the line on which it tells of answered heartbeats (`crate::agent::line`).

use super::settings::{Own, SECRET};
use std::io::{ErrorKind, Result};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::process::{Child as Process, Command};
use tokio::time::{Instant, timeout};

pub struct Child {
    process: Process,
    /// None once the worker has closed it.
    line: Option<UnixStream>,
    /// The same socket, to end our side of it.
    ours: std::os::unix::net::UnixStream,
}

impl Child {
    pub fn start(own: &Own) -> Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let line = UnixStream::from_std(ours.try_clone()?)?;
        let mut command = Command::new(&own.program);
        command.arg("--supervised").args(&own.args).envs(own.own_state.then_some(("KILN_WORKER_STATE", &own.state)));
        // It is not in our own environment any more; this says it once more for whoever changes that.
        command.env_remove(SECRET).stdin(Stdio::from(OwnedFd::from(theirs))).kill_on_drop(true);
        let process = command.spawn()?;
        tracing::info!(pid = process.id(), "the worker is started");
        Ok(Self { process, line: Some(line), ours })
    }

    pub fn parts(&mut self) -> (&mut Option<UnixStream>, &mut Process) {
        (&mut self.line, &mut self.process)
    }

    /// Asks the worker to drain, and tells until when it may take. By the line and not by SIGTERM: whoever signals this process may signal the worker
    /// too, and a second SIGTERM would end it at once.
    pub fn leave(&self, limit: Duration) -> Instant {
        tracing::info!("the worker is to drain");
        if let Err(error) = self.ours.shutdown(Shutdown::Write) {
            tracing::warn!(%error, "the worker could not be asked to drain");
        }
        Instant::now() + limit
    }

    pub async fn kill(mut self, limit: Duration) {
        let killed = self.process.start_kill();
        match timeout(limit, self.process.wait()).await {
            Ok(Ok(_)) => {}
            left => tracing::warn!(?killed, ?left, "the worker could not be killed"),
        }
    }
}

/// Waits for the worker's word that heartbeats were answered; for ever where none can come.
pub async fn heard(line: Option<&mut Option<UnixStream>>) {
    if let Some(line) = line {
        while let Some(open) = line {
            let read = match open.readable().await {
                Ok(()) => open.try_read(&mut [0; 64]),
                Err(error) => Err(error),
            };
            match read {
                Ok(0) => *line = None,
                Ok(_) => return,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => *line = None,
            }
        }
    }
    std::future::pending().await
}

/// Waits for the worker's end; for ever where there is none.
pub async fn ended(process: Option<&mut Process>) -> Result<ExitStatus> {
    match process {
        Some(process) => process.wait().await,
        None => std::future::pending().await,
    }
}
