//! How fast one caller may read, and how fast it may ask for all else: counted in the memory of the process, by what it signs with. A Lambda answers one request at a time, and
//! each process counts for itself, so this stops a loop that runs away and nothing finer; the gateway throttles all callers together.

use crate::Problem;
use crate::caller::{KEY_PREFIX, bearer, session_token};
use crate::pace::RateLimit;
use axum::extract::Request;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use kiln_core::settings::Settings;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// Reads of one caller in a minute, and as many other calls. One for the process, as the counts are: all apps of a process have the same settings.
static PER_MINUTE: OnceLock<i64> = OnceLock::new();
const MINUTE_S: u64 = 60;
/// Callers that are remembered; more in one minute begin anew, which forgives and never blocks.
const MOST_CALLERS: usize = 10_000;

#[derive(Default)]
struct Counts {
    minute: u64,
    /// By the keyed hash of what they sign with: no token is kept.
    made: HashMap<u64, i64>,
}

impl Counts {
    /// Counts one read; what is left of the minute, below zero where it is used up.
    fn take(&mut self, caller: u64, minute: u64, limit: i64) -> i64 {
        if self.minute != minute || self.made.len() >= MOST_CALLERS {
            *self = Self { minute, made: HashMap::new() };
        }
        let made = self.made.entry(caller).or_default();
        *made += 1;
        limit - *made
    }
}

static COUNTS: LazyLock<Mutex<Counts>> = LazyLock::new(Mutex::default);
static KEYED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Takes the limit from the settings of the process's first app.
pub(crate) fn limit_by(settings: &Settings) -> i64 {
    *PER_MINUTE.get_or_init(|| i64::try_from(settings.reads_per_minute).unwrap_or(i64::MAX))
}

/// Refuses a caller who reads too fast, and tells each how much is left.
pub async fn layer(request: Request, next: Next) -> Response {
    let read = request.method() == Method::GET;
    let (policy, what) = if read { ("reads", "reads") } else { ("calls", "calls that are no reads") };
    let Some(caller) = signed_with(request.headers(), read).map(|token| KEYED.hash_one((read, token))) else { return next.run(request).await };
    let since = BEGAN.elapsed().as_secs();
    let limit = limit_by(&Settings::default());
    let left = COUNTS.lock().unwrap_or_else(PoisonError::into_inner).take(caller, since / MINUTE_S, limit);
    let seconds = MINUTE_S - since % MINUTE_S;
    let mut response = match left < 0 {
        true => Problem::too_many("too_fast", format!("More than {limit} {what} a minute; slow down."), seconds).into_response(),
        false => next.run(request).await,
    };
    for (name, value) in (RateLimit { policy, limit, left: left.max(0), seconds }).fields() {
        // What a creating call says of its account's own limit is nearer.
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

/// The token alone: with what else stands in those headers a caller could be as many callers as it likes. Of calls that are no reads only
/// customers' count: a worker speaks as often as its jobs want, and the operator is trusted.
fn signed_with(headers: &HeaderMap, read: bool) -> Option<String> {
    match bearer(headers) {
        Some(token) => Some(token.to_owned()).filter(|token| read || token.starts_with(KEY_PREFIX)),
        None => session_token(headers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_who_reads_too_fast_is_stopped_until_the_next_minute_and_nobody_else() {
        let mut counts = Counts::default();
        for _ in 0..50 {
            assert!(counts.take(1, 7, 50) >= 0);
        }
        assert_eq!((counts.take(1, 7, 50), counts.take(2, 7, 50)), (-1, 49));
        assert_eq!(counts.take(1, 8, 50), 49);
        for caller in 0..2 * MOST_CALLERS as u64 {
            counts.take(caller, 8, 50);
        }
        assert!(counts.made.len() <= MOST_CALLERS);
    }
}
