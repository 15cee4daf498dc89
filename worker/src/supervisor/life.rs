//! How old the machine is, over the times that it was stopped: nothing but its disk outlives those. Kept in the worker's state folder, in the file
//! `life`: when the machine was first started (milliseconds since 1970) and for how long it has run until it last rested. While a process runs, time is
//! counted by a clock that nobody sets; a clock that was set back meanwhile takes nothing off what the machine has run.

use std::io::{Result, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// One start of the machine, and those before it.
pub struct Life {
    file: PathBuf,
    /// Since 1970.
    first: Duration,
    /// In the starts before this one.
    ran: Duration,
    /// How old it was when this process began.
    age: Duration,
    began: Instant,
}

impl Life {
    /// Reads what is known of the starts before; without that, this is the first one.
    pub fn begin(folder: &Path) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let file = folder.join("life");
        let known = std::fs::read_to_string(&file).ok().and_then(|text| parse(&text));
        let (first, ran) = known.unwrap_or((now, Duration::ZERO));
        let life = Self { file, first, ran, age: now.saturating_sub(first).max(ran), began: Instant::now() };
        match known {
            Some(_) => tracing::info!(age_s = life.age.as_secs(), "this machine is started again"),
            None => {
                if let Err(error) = life.write(Duration::ZERO) {
                    tracing::warn!(%error, "when this machine was first started can't be kept");
                }
            }
        }
        life
    }

    /// When the longest life is over; in the past there is only now.
    pub fn over(&self, longest: Duration) -> Instant {
        self.began + longest.saturating_sub(self.age)
    }

    /// Before the machine rests.
    pub fn keep(&self) -> Result<()> {
        self.write(self.ran + self.began.elapsed())
    }

    /// The machine goes, and whatever comes to have its folder is another one.
    pub fn forget(&self) {
        let _ = std::fs::remove_file(&self.file);
    }

    fn write(&self, ran: Duration) -> Result<()> {
        if let Some(folder) = self.file.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let part = self.file.with_extension("part");
        let mut file = std::fs::File::create(&part)?;
        writeln!(file, "{} {}", self.first.as_millis(), ran.as_millis())?;
        file.sync_all()?;
        std::fs::rename(part, &self.file)
    }
}

fn parse(text: &str) -> Option<(Duration, Duration)> {
    let (first, ran) = text.trim().split_once(' ')?;
    Some((Duration::from_millis(first.parse().ok()?), Duration::from_millis(ran.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    /// How long a machine may still live whose file says so.
    fn left(folder: &Path, text: Option<String>, longest: Duration) -> Duration {
        if let Some(text) = text {
            std::fs::write(folder.join("life"), text).unwrap();
        }
        let life = Life::begin(folder);
        life.over(longest) - life.began
    }

    #[test]
    fn a_machine_s_age_counts_on_while_it_is_stopped_and_no_clock_makes_it_younger() {
        let folder = std::env::temp_dir().join(format!("kiln-life-{:x}", fastrand::u64(..)));
        std::fs::create_dir(&folder).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let ago = |by: Duration, ran: Duration| Some(format!("{} {}\n", (now - by).as_millis(), ran.as_millis()));
        assert_eq!(left(&folder, None, HOUR), HOUR);
        // Now it is known, and so it stays.
        assert!(folder.join("life").is_file() && left(&folder, None, HOUR) <= HOUR);
        let half = left(&folder, ago(HOUR / 2, HOUR / 10), HOUR);
        assert!(half <= HOUR / 2 && half > HOUR / 3, "{half:?}");
        assert_eq!(left(&folder, ago(2 * HOUR, HOUR / 10), HOUR), Duration::ZERO);
        // The clock was set back by a day.
        let later = Some(format!("{} {}\n", (now + 24 * HOUR).as_millis(), (HOUR / 4).as_millis()));
        assert_eq!(left(&folder, later, HOUR), HOUR * 3 / 4);
        assert_eq!(left(&folder, Some("nonsense".into()), HOUR), HOUR);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_it_has_run_is_kept_when_it_rests_and_forgotten_when_it_goes() {
        let folder = std::env::temp_dir().join(format!("kiln-life-{:x}", fastrand::u64(..)));
        let mut life = Life::begin(&folder);
        life.ran = HOUR;
        life.keep().unwrap();
        assert!(Life::begin(&folder).ran >= HOUR);
        life.forget();
        assert_eq!(Life::begin(&folder).ran, Duration::ZERO);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
