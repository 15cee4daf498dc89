//! The worker's line to the process that watches over it on a rented machine (`crate::supervisor`): a socket on standard input. The worker puts a
//! byte on it for each heartbeat that was answered; that it ends is the other side's word to drain, or its death. Without such a process there is none.

use std::os::fd::AsFd;
use tokio::net::UnixStream;

pub struct Line(Option<UnixStream>);

impl Line {
    /// Call it within a runtime.
    pub fn of(settings: &super::Settings) -> std::io::Result<Self> {
        if !settings.supervised {
            return Ok(Self(None));
        }
        let line = std::os::unix::net::UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        line.set_nonblocking(true)?;
        UnixStream::from_std(line).map(|line| Self(Some(line)))
    }

    /// A heartbeat was answered. Where nobody reads any more there is nobody to tell.
    pub fn answered(&self) {
        if let Some(line) = &self.0 {
            let _ = line.try_write(&[1]);
        }
    }

    /// Waits for its end; for ever where there is no line.
    pub async fn ended(&self) {
        let Some(line) = &self.0 else { return std::future::pending().await };
        loop {
            if line.readable().await.is_err() {
                return;
            }
            match line.try_read(&mut [0; 16]) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}
