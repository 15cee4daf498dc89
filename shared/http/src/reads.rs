//! How fast one caller may read: counted in the memory of the process, by what it signs with. A Lambda answers one request at a time, and
//! each process counts for itself, so this stops a loop that runs away and nothing finer; the gateway throttles all callers together.

use crate::Problem;
use crate::pace::RateLimit;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Instant;

/// Reads of one caller in a minute, by one process.
pub const PER_MINUTE: i64 = 6000;
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
    fn take(&mut self, caller: u64, minute: u64) -> i64 {
        if self.minute != minute || self.made.len() >= MOST_CALLERS {
            *self = Self { minute, made: HashMap::new() };
        }
        let made = self.made.entry(caller).or_default();
        *made += 1;
        PER_MINUTE - *made
    }
}

static COUNTS: LazyLock<Mutex<Counts>> = LazyLock::new(Mutex::default);
static KEYED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Refuses a caller who reads too fast, and tells the others how much is left.
pub async fn layer(request: Request, next: Next) -> Response {
    let signed = signed_with(request.headers()).filter(|_| request.method() == Method::GET).map(|signed| KEYED.hash_one(signed));
    let Some(caller) = signed else { return next.run(request).await };
    let since = BEGAN.elapsed().as_secs();
    let left = COUNTS.lock().unwrap_or_else(PoisonError::into_inner).take(caller, since / MINUTE_S);
    let seconds = MINUTE_S - since % MINUTE_S;
    if left < 0 {
        let detail = format!("More than {PER_MINUTE} reads a minute; slow down.");
        return Problem::too_many("too_fast", detail, seconds).into_response();
    }
    let mut response = next.run(request).await;
    for (name, value) in (RateLimit { policy: "reads", limit: PER_MINUTE, left, seconds }).fields() {
        response.headers_mut().insert(name, value);
    }
    response
}

fn signed_with(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(header::AUTHORIZATION).or_else(|| headers.get(header::COOKIE)).map(|value| value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_who_reads_too_fast_is_stopped_until_the_next_minute_and_nobody_else() {
        let mut counts = Counts::default();
        for _ in 0..PER_MINUTE {
            assert!(counts.take(1, 7) >= 0);
        }
        assert_eq!((counts.take(1, 7), counts.take(2, 7)), (-1, PER_MINUTE - 1));
        assert_eq!(counts.take(1, 8), PER_MINUTE - 1);
        for caller in 0..2 * MOST_CALLERS as u64 {
            counts.take(caller, 8);
        }
        assert!(counts.made.len() <= MOST_CALLERS);
    }
}
