//! How fast an account may make things: counted in its own item, in the transaction of what is made, and told in the `RateLimit`
//! headers of the IETF's draft (draft-ietf-httpapi-ratelimit-headers): a policy and what is left of it.

use crate::Problem;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponseParts, ResponseParts};
use kiln_core::job::{MINUTE, Step};
use kiln_core::settings::Settings;
use kiln_core::time::Millis;
use kiln_store::NoRoom;

/// The two headers of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// Which limit it is: `creates` or `reads`.
    pub policy: &'static str,
    pub limit: i64,
    pub left: i64,
    /// Until the count begins anew.
    pub seconds: u64,
}

/// What is left after this step.
pub fn headers(step: Step, now: Millis) -> RateLimit {
    RateLimit { policy: "creates", limit: step.below, left: (step.below - step.made - 1).max(0), seconds: until_next(now) }
}

/// Seconds until the next minute.
pub fn until_next(now: Millis) -> u64 {
    ((MINUTE - now.rem_euclid(MINUTE)) as u64).div_ceil(1000)
}

/// The refusal of what came too fast.
pub fn too_fast(settings: &Settings, now: Millis) -> Problem {
    let limit = settings.creates_per_minute;
    Problem::too_many("too_fast", format!("This account makes more than {limit} things a minute; slow down."), until_next(now)).limited(limit as i64)
}

/// What a caller is told where its account has no room for what it asks to make.
pub fn no_room(why: NoRoom, settings: &Settings, now: Millis) -> Problem {
    match why {
        NoRoom::TooFast => too_fast(settings, now),
        NoRoom::ByHand { limit } => {
            let detail = format!("This account has sent {limit} tests and replays in this hour, as many as it may; wait.");
            Problem::too_many("too_many_by_hand", detail, crate::limits::until_next(now))
        }
        NoRoom::Bytes { kept, limit } => {
            let detail = format!("This account keeps {kept} bytes of {limit}; delete uploads, or buy credits to lift the free limit.");
            Problem::new(StatusCode::FORBIDDEN, "storage_full", detail).field("bytes")
        }
        NoRoom::AccountGone | NoRoom::Suspended => Problem::new(StatusCode::FORBIDDEN, "account_suspended", "This account may make nothing."),
        NoRoom::Moved => kiln_store::Error::Busy.into(),
    }
}

impl RateLimit {
    /// The headers' names and values.
    pub fn fields(&self) -> [(&'static str, HeaderValue); 2] {
        let value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
        [
            ("ratelimit-policy", value(format!("\"{}\";q={};w=60", self.policy, self.limit))),
            ("ratelimit", value(format!("\"{}\";r={};t={}", self.policy, self.left, self.seconds))),
        ]
    }
}

impl IntoResponseParts for RateLimit {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        for (name, value) in self.fields() {
            parts.headers_mut().insert(name, value);
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_core::job::Pace;

    #[test]
    fn the_headers_say_what_is_left_of_the_minute() {
        let pace = Pace { minute: 1, minute_made: 4 };
        let left = headers(pace.step(10, MINUTE + 18_500), MINUTE + 18_500);
        assert_eq!(left, RateLimit { policy: "creates", limit: 10, left: 5, seconds: 42 });
        assert_eq!(left.fields()[1].1, "\"creates\";r=5;t=42");
        assert_eq!(headers(pace.step(10, 2 * MINUTE), 2 * MINUTE), RateLimit { policy: "creates", limit: 10, left: 9, seconds: 60 });
    }
}
