//! A process that may or may not be our child: whether it lives, its end, and the two signals that we send.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Names one process for good: a pidfd never comes to mean another one that got the same number.
#[derive(Debug)]
pub struct Process {
    pub pid: i32,
    handle: AsyncFd<OwnedFd>,
}

impl Process {
    /// An error where no such process lives.
    pub fn open(pid: i32) -> io::Result<Self> {
        let number = Pid::from_raw(pid).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let handle = pidfd_open(number, PidfdFlags::NONBLOCK)?;
        // SAFETY: the descriptor is ours alone, and stays open and the same until the AsyncFd that holds it is dropped.
        let handle = unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE)? };
        Ok(Self { pid, handle })
    }

    /// Asks it to end. One that is gone already has done so.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // ESRCH: it is gone, which is what was wanted.
        let _ = pidfd_send_signal(self.handle.get_ref(), signal);
    }

    /// Until it has ended.
    pub async fn gone(&self) {
        // A pidfd turns readable when its process ends, and stays so.
        let _ = self.handle.readable().await;
    }

    /// Whether it ended within `limit`.
    pub async fn gone_within(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.gone()).await.is_ok()
    }
}
