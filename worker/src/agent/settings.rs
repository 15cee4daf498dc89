//! The worker's settings, each an environment variable and a flag. `--help` says what each one trades for what.

use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Runs Kiln's jobs on this machine: takes them from the queues, makes the media, delivers it.
///
/// Exit codes: 0 drained, 1 could not start, 2 wrong settings, 3 the server ended this instance,
/// 4 a model's weights are missing, 5 this machine fails the self-test, 6 drained and the machine is to be stopped, 143 told twice to stop.
///
/// On a rented machine, `kiln-worker --rented vast|ec2 …` (first of all arguments) watches over the worker, starts it again twice if it dies, and gives
/// the machine back: when the worker is not needed any more, KILN_DEAD_MAN_S (900) seconds after the last answered heartbeat, or KILN_MAX_LIFE_S
/// (86400) seconds after its first start. One that the pool keeps stopped it has stopped by Vast.ai, and gives back if that isn't done within
/// KILN_REST_S (300) seconds.
#[derive(Parser, Clone)]
#[command(name = "kiln-worker", version)]
pub struct Settings {
    /// Where the API answers, e.g. https://kiln.example.com/api/v1. Plain http only on this machine itself: the token travels with each call.
    #[arg(long, env = "KILN_API")]
    pub api: String,
    /// The one-use token this machine was booted with. Better in the environment or a file than on the command line, which every process can read.
    #[arg(long, env = "KILN_BOOT_TOKEN", hide_env_values = true)]
    pub boot_token: Option<String>,
    /// A file that holds the boot token.
    #[arg(long, env = "KILN_BOOT_TOKEN_FILE", conflicts_with = "boot_token")]
    pub boot_token_file: Option<PathBuf>,
    /// What it can run. It sees only the queues of these; each one named loads its models into memory.
    #[arg(long, env = "KILN_CAPABILITIES", default_value = "image", value_delimiter = ',')]
    pub capabilities: Vec<String>,
    /// Where the models' weights lie (scripts/fetch-models puts them there).
    #[arg(long, env = "KILN_MODELS_DIR", default_value = crate::models::DEFAULT_DIR)]
    pub models_dir: PathBuf,
    /// A folder where the instance's token is kept (0600), so that a restarted process is the same instance. Without it, a restart needs a new boot token.
    #[arg(long, env = "KILN_WORKER_STATE")]
    pub state_dir: Option<PathBuf>,
    /// How many seconds a job may still take after SIGTERM. Longer wastes less work; the host must allow as much before it kills.
    #[arg(long, env = "KILN_DRAIN_S", default_value_t = 30)]
    pub drain_s: u64,
    /// Seconds that a poll stays parked. Shorter costs more calls while nothing is to do, and lets an idle worker exit sooner.
    #[arg(long, env = "KILN_POLL_S", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=20))]
    pub poll_s: u64,
    /// Seconds that the engines' self-tests may take, all of them. A machine that takes longer ends with 5.
    #[arg(long, env = "KILN_GATE_S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub gate_s: u64,
    /// How log lines look: one JSON object each, or text to read.
    #[arg(long, env = "KILN_LOG", value_enum, default_value_t = LogForm::Text)]
    pub log: LogForm,
    /// Standard input is a parent's line (`agent::line`).
    #[arg(long, hide = true)]
    pub supervised: bool,
    /// Set to 1 on a test system: offers the engine `noop` and lets drills stop the process.
    #[arg(long, env = "KILN_TEST_ENGINES", hide = true, default_value = "0")]
    pub test_engines: String,
    /// Where a drill makes the process kill itself.
    #[arg(long, env = "KILN_DRILL_STOP_AT", hide = true)]
    pub drill_stop_at: Option<super::drill::Point>,
    /// Made when a drill strikes; while it exists, none does.
    #[arg(long, env = "KILN_DRILL_ONCE", hide = true)]
    pub drill_once: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogForm {
    Json,
    Text,
}

impl Settings {
    /// Whether this is a test system.
    pub fn test_engines(&self) -> bool {
        self.test_engines == "1"
    }

    /// How long a parked poll waits.
    pub fn poll(&self) -> Duration {
        Duration::from_secs(self.poll_s)
    }

    /// How long the engines' self-tests may take, all of them: on two old cores they take a few hundred milliseconds.
    pub fn gate(&self) -> Duration {
        Duration::from_secs(self.gate_s)
    }

    /// The boot token, from wherever it was given.
    pub fn read_boot_token(&self) -> Result<Option<String>, String> {
        let Some(path) = &self.boot_token_file else {
            return Ok(self.boot_token.clone().filter(|token| !token.is_empty()));
        };
        let text = std::fs::read_to_string(path).map_err(|error| format!("the boot token's file {}: {error}", path.display()))?;
        Ok(Some(text.trim().to_owned()).filter(|token| !token.is_empty()))
    }

    /// The API's address without a trailing slash, or why it can't be used.
    pub fn api(&self) -> Result<String, String> {
        safe_url("KILN_API", &self.api)
    }
}

/// An address that a token may be sent to, without a trailing slash, or why it is none.
pub fn safe_url(name: &str, given: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(given).map_err(|error| format!("{name} is no URL: {error}"))?;
    let host = url.host_str().unwrap_or_default();
    let here = matches!(host, "localhost" | "[::1]") || host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback());
    match url.scheme() {
        "https" => {}
        "http" if here => {}
        _ => return Err(format!("{name} must be https, or http on this machine itself; {host} is another one")),
    }
    Ok(given.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(url: &str) -> Result<String, String> {
        Settings::parse_from(["kiln-worker", "--api", url]).api()
    }

    #[test]
    fn a_token_never_travels_in_the_clear_to_another_machine() {
        assert_eq!(api("http://127.0.0.1:8080/api/v1/").unwrap(), "http://127.0.0.1:8080/api/v1");
        assert!(api("https://kiln.example.com/api/v1").is_ok());
        assert!(api("http://localhost:8080/api/v1").is_ok());
        for bad in ["http://kiln.example.com/api/v1", "http://10.0.0.1/api/v1", "ftp://127.0.0.1/", "kiln"] {
            assert!(api(bad).is_err(), "{bad}");
        }
    }
}
