//! When a delivery is tried again, and when not any more.
//!
//! Eight tries: at once, then after about 5 s, 5 min, 30 min, 2 h, 5 h, 10 h and 10 h, each up to a tenth earlier or later, so
//! that what failed together doesn't come back together. That is about 28 h in all.

use crate::time::{Millis, seconds};

/// Tries of a delivery, before somebody replays it.
pub const TRIES: usize = 8;

/// The waits between tries, in units of the first one.
const WAITS: [u64; TRIES - 1] = [1, 60, 360, 1440, 3600, 7200, 7200];

/// The longest wait that an endpoint may ask for.
pub const MOST_RETRY_AFTER: Millis = seconds(24 * 3600);

/// A delivery that is older than this is not tried any more, whatever kept it: an endpoint that keeps asking to wait, or our own trouble.
pub const MOST_AGE: Millis = seconds(5 * 24 * 3600);

/// How a try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Answered {
        status: u16,
        /// From `Retry-After`, where it came with a 429 or 503.
        retry_after: Option<Millis>,
    },
    /// No answer: no such name, no connection, no TLS, too slow.
    Failed,
}

/// What follows a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Delivered,
    /// 410: the endpoint wants nothing any more.
    Gone,
    /// Again after this long.
    Again(Millis),
    /// That was the last try.
    GivenUp,
}

/// Decides what follows the `tries`-th try (from 1). `base_ms` is the first wait; `random` any number.
pub fn after_try(tries: usize, outcome: Outcome, base_ms: u64, random: u64) -> Next {
    let asked = match outcome {
        Outcome::Answered { status: 200..=299, .. } => return Next::Delivered,
        Outcome::Answered { status: 410, .. } => return Next::Gone,
        Outcome::Answered { retry_after, .. } => retry_after.unwrap_or(0).clamp(0, MOST_RETRY_AFTER),
        Outcome::Failed => 0,
    };
    match WAITS.get(tries.saturating_sub(1)) {
        Some(units) => Next::Again(jittered(units.saturating_mul(base_ms), random).max(asked)),
        None => Next::GivenUp,
    }
}

/// Up to a tenth less or more.
fn jittered(ms: u64, random: u64) -> Millis {
    i64::try_from(ms.saturating_mul(900 + random % 201) / 1000).unwrap_or(i64::MAX)
}

/// The wait that a `Retry-After` asks for: seconds, or a date as HTTP writes it. What can't be read asks for nothing.
pub fn retry_after(text: &str, now: Millis) -> Option<Millis> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number too long to read is a very long wait.
        return Some(text.parse::<i64>().ok().and_then(|s| s.checked_mul(1000)).unwrap_or(i64::MAX).min(MOST_RETRY_AFTER));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_millisecond();
    Some((at - now).clamp(0, MOST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 5000;
    const ANSWERED_500: Outcome = Outcome::Answered { status: 500, retry_after: None };

    fn wait(tries: usize, outcome: Outcome, random: u64) -> Millis {
        match after_try(tries, outcome, BASE, random) {
            Next::Again(wait) => wait,
            next => panic!("{next:?}"),
        }
    }

    #[test]
    fn eight_tries_take_about_28_hours() {
        let all = |random: u64| (1..TRIES).map(|tries| wait(tries, ANSWERED_500, random)).sum::<Millis>() as f64 / 3_600_000.0;
        assert!((all(100) - 27.58).abs() < 0.01, "{}", all(100));
        assert!((24.8..24.9).contains(&all(0)) && (30.3..30.4).contains(&all(200)), "{} {}", all(0), all(200));
        let waits: Vec<_> = (1..TRIES).map(|tries| wait(tries, Outcome::Failed, 100) / 1000).collect();
        assert_eq!(waits, [5, 300, 1800, 7200, 18_000, 36_000, 36_000]);
        assert_eq!(after_try(TRIES, ANSWERED_500, BASE, 7), Next::GivenUp);
    }

    /// INTEGRATORS.md promises these to customers; the tests around this one are of the same first wait.
    #[test]
    fn what_customers_are_promised_is_what_is_set_by_default() {
        let settings = crate::settings::Settings::default();
        assert_eq!(settings.hook_retry_ms, BASE);
        assert_eq!(settings.hook_timeout_s, 15, "seconds for an answer");
        assert_eq!(settings.hook_disable_s, 5 * 24 * 3600, "five days of failures disable");
        assert_eq!(MOST_AGE, seconds(5 * 24 * 3600), "five days to deliver");
        assert_eq!((TRIES, wait(1, ANSWERED_500, 100)), (8, 5_000), "eight tries, the second after 5 s");
    }

    #[test]
    fn the_jitter_stays_within_a_tenth() {
        for random in 0..1000 {
            assert!((4500..=5500).contains(&wait(1, ANSWERED_500, random)));
        }
        assert_ne!(wait(1, ANSWERED_500, 0), wait(1, ANSWERED_500, 1));
    }

    #[test]
    fn a_2xx_delivers_a_410_ends_and_all_else_comes_again() {
        let after = |status| after_try(1, Outcome::Answered { status, retry_after: None }, BASE, 0);
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(after(status), Next::Delivered);
        }
        assert_eq!(after(410), Next::Gone);
        for status in [100, 199, 300, 301, 302, 307, 308, 400, 401, 404, 429, 500, 503] {
            assert!(matches!(after(status), Next::Again(_)), "{status}");
        }
    }

    #[test]
    fn an_endpoint_may_ask_for_a_longer_wait_and_for_no_shorter_one() {
        let asked = |ms| wait(2, Outcome::Answered { status: 429, retry_after: Some(ms) }, 100);
        assert_eq!(asked(1000), 300_000);
        assert_eq!(asked(900_000), 900_000);
        assert_eq!(asked(i64::MAX), MOST_RETRY_AFTER);
        assert_eq!(asked(-5), 300_000);
        let last = Outcome::Answered { status: 429, retry_after: Some(60_000) };
        assert_eq!(after_try(TRIES, last, BASE, 0), Next::GivenUp);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = 784_111_770_000; // Sun, 06 Nov 1994 08:49:30 GMT
        assert_eq!(retry_after("120", now), Some(120_000));
        assert_eq!(retry_after(" 0 ", now), Some(0));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(7000));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:00 GMT", now), Some(0));
        assert_eq!(retry_after("99999999999999999999999", now), Some(MOST_RETRY_AFTER));
        for bad in ["", "-1", "soon", "1.5", "Sun, 06 Nov"] {
            assert_eq!(retry_after(bad, now), None, "{bad}");
        }
    }
}
