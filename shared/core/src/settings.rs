//! Every setting of the job machine and its limits, with its default and its environment variable in one place.
//! docs/LIMITS.md is generated from [`Settings::describe`].

use crate::time::{Millis, seconds};

macro_rules! settings {
    ($($(#[doc = $doc:literal])* $name:ident: $env:literal = $default:literal, $min:literal ..= $max:literal;)*) => {
        /// See the module; each field's doc line is also its line in docs/LIMITS.md.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Settings { $($(#[doc = $doc])* pub $name: u64,)* }

        impl Default for Settings {
            fn default() -> Self { Self { $($name: $default,)* } }
        }

        impl Settings {
            /// Reads each variable by `get`; what is set must be a whole number within its bounds.
            pub fn from_env(get: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
                Ok(Self { $($name: number(&get, $env, $default, $min, $max)?,)* })
            }

            /// Name of the variable, default, smallest, largest, what it is.
            pub fn describe() -> Vec<(&'static str, u64, u64, u64, &'static str)> {
                vec![$(($env, $default, $min, $max, concat!($($doc),*)),)*]
            }
        }
    };
}

fn number(get: &impl Fn(&str) -> Option<String>, name: &str, default: u64, min: u64, max: u64) -> Result<u64, String> {
    match get(name).filter(|text| !text.is_empty()) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .ok()
            .filter(|value| (min..=max).contains(value))
            .ok_or_else(|| format!("{name} is {text:?}; it takes a whole number from {min} to {max}")),
    }
}

settings! {
    #[doc = "Seconds that an attempt's lease lasts after a claim or a heartbeat."]
    lease_s: "KILN_LEASE_S" = 60, 1..=900;
    #[doc = "Seconds between a worker's heartbeats."]
    heartbeat_s: "KILN_HEARTBEAT_S" = 15, 1..=300;
    #[doc = "Seconds that a job may wait in the queue before it fails."]
    max_wait_s: "KILN_MAX_WAIT_S" = 21600, 1..=604800;
    #[doc = "Seconds that one attempt may run, where the job's kind allows no less."]
    max_run_s: "KILN_MAX_RUN_S" = 900, 1..=86400;
    #[doc = "Failures (retryable ones, lost leases) after which a job fails."]
    max_failures: "KILN_MAX_FAILURES" = 3, 1..=20;
    #[doc = "Attempts in all, drained and preempted ones counted."]
    max_attempts: "KILN_MAX_ATTEMPTS" = 10, 1..=100;
    #[doc = "Seconds before a job that failed once is tried again; doubles with each failure."]
    retry_s: "KILN_RETRY_S" = 2, 0..=600;
    #[doc = "Seconds until maintenance hints a queued job again; doubles with each hint."]
    hint_s: "KILN_HINT_S" = 60, 1..=3600;
    #[doc = "The longest time in seconds between two hints for one job."]
    hint_max_s: "KILN_HINT_MAX_S" = 900, 1..=86400;
    #[doc = "Seconds that a rented host's permanent failure waits for a second host's word."]
    second_host_s: "KILN_SECOND_HOST_S" = 300, 1..=86400;
    #[doc = "Jobs of one account that may run at once."]
    account_running: "KILN_ACCOUNT_RUNNING" = 4, 1..=1000;
    #[doc = "Jobs of one account that may wait in the queue."]
    account_queued: "KILN_ACCOUNT_QUEUED" = 100, 1..=100000;
    #[doc = "Unfinished jobs in the whole system above which new ones are refused."]
    queue_ceiling: "KILN_QUEUE_CEILING" = 10000, 1..=10000000;
    #[doc = "Minutes that an upload may take before its link expires."]
    upload_minutes: "KILN_UPLOAD_MINUTES" = 60, 1..=1440;
    #[doc = "Days that a verified upload no job has used is kept."]
    unused_upload_days: "KILN_UNUSED_UPLOAD_DAYS" = 7, 1..=365;
    #[doc = "Millicredits granted to a new account."]
    signup_millicredits: "KILN_SIGNUP_MILLICREDITS" = 10000, 0..=1000000000000;
    #[doc = "Jobs that an account which never paid may ask for in a day (UTC)."]
    free_inferences_day: "KILN_FREE_INFERENCES_DAY" = 100, 0..=10000000;
    #[doc = "Of these, jobs that change a photo."]
    free_edits_day: "KILN_FREE_EDITS_DAY" = 50, 0..=10000000;
    #[doc = "Bytes of uploads and of what jobs made that an account which never paid may keep."]
    free_stored_bytes: "KILN_FREE_STORED_BYTES" = 2000000000, 0..=1000000000000000;
    #[doc = "Projects that an account which never paid may have."]
    free_projects: "KILN_FREE_PROJECTS" = 3, 0..=1000000;
    #[doc = "Things (jobs, uploads, orders, …) that one account may make in a minute."]
    creates_per_minute: "KILN_CREATES_PER_MINUTE" = 1200, 1..=1000000;
    #[doc = "Reads that one caller may make in a minute, and as many calls of other methods, counted by each process for itself."]
    reads_per_minute: "KILN_READS_PER_MINUTE" = 6000, 1..=1000000;
    #[doc = "Minutes that a guest's session lasts."]
    guest_minutes: "KILN_GUEST_MINUTES" = 120, 5..=1440;
    #[doc = "Days that a guest's result is kept, with their address and photo; then they are forgotten. The bucket's rule for artifacts must allow as many."]
    guest_result_days: "KILN_GUEST_RESULT_DAYS" = 30, 0..=365;
    #[doc = "Guest sessions that one network address may begin in an hour."]
    guests_per_ip: "KILN_GUESTS_PER_IP" = 20, 1..=100000;
    #[doc = "Millicredits for whoever brought an account, once that account has paid; 0 for nothing."]
    referral_millicredits: "KILN_REFERRAL_MILLICREDITS" = 5000, 0..=1000000000;
    #[doc = "Days that a session lasts."]
    session_days: "KILN_SESSION_DAYS" = 30, 1..=365;
    #[doc = "Sign-in links that one address may ask for in an hour."]
    links_per_address: "KILN_LINKS_PER_ADDRESS" = 5, 1..=1000;
    #[doc = "Sign-in links that one network address may ask for in an hour."]
    links_per_ip: "KILN_LINKS_PER_IP" = 30, 1..=100000;
    #[doc = "Mails that one account may cause in an hour: invitations, and confirmations of a new address."]
    mails_per_account: "KILN_MAILS_PER_ACCOUNT" = 30, 1..=100000;
    #[doc = "Seconds after which a deleted account's files are looked for once more; longer than an upload's link works."]
    deletion_settle_s: "KILN_DELETION_SETTLE_S" = 5400, 0..=604800;
    #[doc = "Days that a line of the operators' audit log is kept."]
    audit_days: "KILN_AUDIT_DAYS" = 90, 1..=3650;
    #[doc = "Workers kept whatever the demand, until an operator sets the pool's policy."]
    pool_desired: "KILN_POOL_DESIRED" = 0, 0..=100;
    #[doc = "Workers at most, until an operator sets the pool's policy."]
    pool_max: "KILN_POOL_MAX" = 1, 0..=100;
    #[doc = "Seconds without work after which a worker is given back, until an operator sets the pool's policy."]
    idle_shutdown_s: "KILN_IDLE_SHUTDOWN_S" = 900, 1..=86400;
    #[doc = "Seconds that a machine may take from its order until it is ready for work, its image and models fetched, and a worker that begins again there until it is ready again; the boot token works for as long."]
    boot_s: "KILN_BOOT_S" = 600, 1..=7200;
    #[doc = "Seconds after which the warm pool's run of the minute looks once more, while anything runs or waits; 0: it doesn't."]
    second_look_s: "KILN_SECOND_LOOK_S" = 30, 0..=40;
    #[doc = "Seconds without a heartbeat after which a worker counts as lost."]
    instance_lost_s: "KILN_INSTANCE_LOST_S" = 90, 2..=3600;
    #[doc = "Milliseconds after which a webhook that failed once is tried again; the later waits grow with it."]
    hook_retry_ms: "KILN_HOOK_RETRY_MS" = 5000, 1..=60000;
    #[doc = "Seconds that one try of a webhook may take."]
    hook_timeout_s: "KILN_HOOK_TIMEOUT_S" = 15, 1..=15;
    #[doc = "Seconds of nothing but failures after which a webhook endpoint is disabled."]
    hook_disable_s: "KILN_HOOK_DISABLE_S" = 432000, 1..=31536000;
}

impl Settings {
    /// The pool's policy until an operator sets one.
    pub fn policy(&self) -> crate::pool::Policy {
        let max = self.pool_max as u32;
        crate::pool::Policy {
            desired_size: (self.pool_desired as u32).min(max),
            min: 0,
            max,
            idle_shutdown_s: self.idle_shutdown_s,
            ..crate::pool::Policy::default()
        }
    }

    pub fn lease(&self) -> Millis {
        seconds(self.lease_s)
    }

    /// How long after the `hints`-th hint the next one is due.
    pub fn hint_after(&self, hints: u32) -> Millis {
        seconds((self.hint_s << hints.min(20)).min(self.hint_max_s.max(self.hint_s)))
    }

    /// How long a job rests after its `failures`-th failure.
    pub fn retry_after(&self, failures: u32) -> Millis {
        seconds((self.retry_s << failures.saturating_sub(1).min(10)).min(600))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_out_of_bounds_is_refused_by_name() {
        let error = Settings::from_env(|name| (name == "KILN_LEASE_S").then(|| "0".into())).unwrap_err();
        assert_eq!(error, "KILN_LEASE_S is \"0\"; it takes a whole number from 1 to 900");
        assert_eq!(Settings::from_env(|_| None).unwrap(), Settings::default());
    }

    #[test]
    fn hints_back_off_from_a_minute_to_a_quarter_of_an_hour() {
        let settings = Settings::default();
        let waits: Vec<_> = (0..6).map(|hints| settings.hint_after(hints) / 1000).collect();
        assert_eq!(waits, [60, 120, 240, 480, 900, 900]);
    }
}
