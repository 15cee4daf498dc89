//! The parent's own settings. They come by the environment alone, and none of them is a reason not to start: a rented machine on which nothing
//! runs is not given back by anybody here. What can't be read or is out of bounds is said and replaced.

use super::host::Host;
use crate::agent::{LAST_WORD, LogForm, Settings};
use clap::Parser;
use sha2::Digest;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

/// The machine's key at its provider.
pub const SECRET: &str = "CONTAINER_API_KEY";
/// Seconds: what is set unless told, and its bounds.
const DEAD_MAN: Bounds = Bounds { name: "KILN_DEAD_MAN_S", usual: 900, least: 1, most: 3_600 };
const MAX_LIFE: Bounds = Bounds { name: "KILN_MAX_LIFE_S", usual: 86_400, least: 1, most: 7 * 86_400 };
const REST: Bounds = Bounds { name: "KILN_REST_S", usual: 300, least: 1, most: 3_600 };
/// The longest that a worker may take to drain, whatever it is set to.
const MOST_DRAIN_S: u64 = 3_600;
/// What a worker needs beside its drain and its last word: to notice, and to end.
const SLACK: Duration = Duration::from_secs(5);

/// What the parent of a worker needs to know.
pub struct Own {
    pub host: Host,
    pub program: PathBuf,
    /// The worker's, as they came.
    pub args: Vec<OsString>,
    pub dead_man: Duration,
    pub max_life: Duration,
    pub drain: Duration,
    /// How long the provider may take to stop this machine.
    pub rest: Duration,
    /// Where the worker keeps its token, and this process the machine's age: without that, one that is started again would be a stranger.
    pub state: PathBuf,
    /// Nobody has said where, so that the worker has to be told.
    pub own_state: bool,
    pub log: LogForm,
    /// What was replaced; said once the log is there.
    pub complaints: Vec<String>,
}

struct Bounds {
    name: &'static str,
    usual: u64,
    least: u64,
    most: u64,
}

impl Bounds {
    fn read(&self, text: Option<&str>, complaints: &mut Vec<String>) -> Duration {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Duration::from_secs(self.usual) };
        let value = text.parse().map_or(self.usual, |given: u64| given.clamp(self.least, self.most));
        if text.parse() != Ok(value) {
            complaints.push(format!("{} is {} to {} seconds; {value} counts instead of {text:?}", self.name, self.least, self.most));
        }
        Duration::from_secs(value)
    }
}

/// The word after `--rented`, and the worker's own arguments; none where this is to be a plain worker. `--rented` comes first, so that nothing
/// that is wrong behind it keeps the machine from being given back.
pub fn asked_for(mut args: impl Iterator<Item = OsString>) -> Option<(OsString, Vec<OsString>)> {
    let _program = args.next();
    let first = args.next()?;
    let word = match first.to_str()?.strip_prefix("--rented")? {
        "" => args.next().unwrap_or_default(),
        with => OsString::from(with.strip_prefix('=')?),
    };
    Some((word, args.collect()))
}

impl Own {
    /// Or why this process can't watch over a worker here.
    pub fn new(word: &OsStr, args: Vec<OsString>, env: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let mut complaints = Vec::new();
        let host = Host::new(&word.to_string_lossy(), &env, &mut complaints)?;
        let program = std::env::current_exe().map_err(|error| format!("this program's own file: {error}"))?;
        // Only for what both need: a worker that can't read its settings will say so itself.
        let worker = Settings::try_parse_from([OsString::from("kiln-worker")].iter().chain(&args)).ok();
        let drain_s = worker.as_ref().map_or(30, |worker| worker.drain_s.min(MOST_DRAIN_S));
        let given = worker.as_ref().and_then(|worker| worker.state_dir.clone());
        let own_state = given.is_none();
        let state = given.unwrap_or_else(|| {
            let token = env("KILN_BOOT_TOKEN").filter(|token| !token.is_empty()).or_else(|| worker.as_ref()?.read_boot_token().ok()?);
            std::env::temp_dir().join(format!("kiln-worker-{}", folder(token.as_deref())))
        });
        Ok(Self {
            host,
            program,
            dead_man: DEAD_MAN.read(env(DEAD_MAN.name).as_deref(), &mut complaints),
            max_life: MAX_LIFE.read(env(MAX_LIFE.name).as_deref(), &mut complaints),
            drain: Duration::from_secs(drain_s) + LAST_WORD + SLACK,
            rest: REST.read(env(REST.name).as_deref(), &mut complaints),
            state,
            own_state,
            log: worker.map_or(LogForm::Text, |worker| worker.log),
            args,
            complaints,
        })
    }
}

/// The name of a folder that is the same whenever this machine is started, and that nobody without its boot token can foresee.
fn folder(boot_token: Option<&str>) -> String {
    match boot_token {
        Some(token) => hex::encode(&sha2::Sha256::digest(token)[..16]),
        None => format!("{:032x}", fastrand::u128(..)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(args: &[&str]) -> Option<(String, Vec<String>)> {
        let (word, rest) = asked_for(args.iter().map(OsString::from))?;
        Some((word.into_string().unwrap(), rest.into_iter().map(|arg| arg.into_string().unwrap()).collect()))
    }

    #[test]
    fn only_a_first_argument_makes_a_parent() {
        assert_eq!(asked(&["kiln-worker"]), None);
        assert_eq!(asked(&["kiln-worker", "--api", "--rented"]), None);
        assert_eq!(asked(&["kiln-worker", "--rentedness"]), None);
        assert_eq!(asked(&["kiln-worker", "--rented", "vast", "--drain-s", "5"]), Some(("vast".into(), vec!["--drain-s".into(), "5".into()])));
        assert_eq!(asked(&["kiln-worker", "--rented=ec2"]), Some(("ec2".into(), vec![])));
        assert_eq!(asked(&["kiln-worker", "--rented"]), Some((String::new(), vec![])));
    }

    #[test]
    fn a_wrong_setting_is_replaced_and_said() {
        let read = |text: Option<&str>| {
            let mut complaints = Vec::new();
            (DEAD_MAN.read(text, &mut complaints).as_secs(), complaints.len())
        };
        assert_eq!([read(None), read(Some("")), read(Some("2")), read(Some("3600"))], [(900, 0), (900, 0), (2, 0), (3600, 0)]);
        assert_eq!([read(Some("0")), read(Some("99999")), read(Some("15m")), read(Some("-1"))], [(1, 1), (3600, 1), (900, 1), (900, 1)]);
    }

    #[test]
    fn a_parent_starts_whatever_the_worker_s_settings_are_but_only_where_it_can_give_the_machine_back() {
        let here = |name: &str| match name {
            "CONTAINER_ID" => Some("7".to_owned()),
            "CONTAINER_API_KEY" => Some("key".to_owned()),
            _ => None,
        };
        let own = Own::new(OsStr::new("vast"), vec!["--no-such-flag".into()], here).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!((own.drain, own.dead_man.as_secs(), own.max_life.as_secs()), (Duration::from_secs(45), 900, 86_400));
        assert!(own.own_state && own.rest.as_secs() == 300);
        for (word, without) in [("vast", "CONTAINER_ID"), ("vast", "CONTAINER_API_KEY"), ("", ""), ("azure", "")] {
            assert!(Own::new(OsStr::new(word), vec![], |name| here(name).filter(|_| name != without)).is_err(), "{word} {without}");
        }
        assert!(Own::new(OsStr::new("ec2"), vec![], |_| None).is_ok());
    }

    #[test]
    fn a_state_folder_that_nobody_named_is_the_machine_s_own_and_the_same_at_each_start() {
        let state = |token: &str| {
            let env = |name: &str| (name == "KILN_BOOT_TOKEN").then(|| token.to_owned());
            Own::new(OsStr::new("ec2"), vec![], env).unwrap_or_else(|why| panic!("{why}")).state
        };
        assert_eq!(state("one"), state("one"));
        assert_ne!(state("one"), state("two"));
        assert!(!state("one").to_string_lossy().contains("one"));
        assert_ne!(state(""), state(""), "without a token there is nothing to go by");
    }
}
