//! Where a drill may kill this process, on test systems only: at a named point of a job, by SIGKILL, so that
//! nothing is tidied up. With a marker file it strikes once among all the processes that share the file.

use std::path::PathBuf;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Point {
    /// A message is here, and nobody has been asked for its job.
    BeforeClaim,
    /// The attempt is open and the message still in the queue.
    AfterClaim,
    MidWork,
    /// Every artifact is in S3, and the job isn't reported complete.
    AfterUpload,
    /// The server has committed `complete`, and the worker hasn't read its answer.
    BeforeCompleteAnswer,
}

#[derive(Debug, Clone, Default)]
pub struct Drill {
    point: Option<Point>,
    once: Option<PathBuf>,
}

impl Drill {
    pub fn of(settings: &super::Settings) -> Self {
        if !settings.test_engines() {
            return Self::default();
        }
        Self { point: settings.drill_stop_at, once: settings.drill_once.clone() }
    }

    /// Kills the process if this is the drill's point.
    pub fn reach(&self, point: Point) {
        if self.point != Some(point) {
            return;
        }
        if let Some(marker) = &self.once {
            // Made before the kill and only if new: of several processes exactly one strikes.
            if std::fs::OpenOptions::new().write(true).create_new(true).open(marker).is_err() {
                return;
            }
        }
        eprintln!("drill: this worker dies at {point:?}");
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}
