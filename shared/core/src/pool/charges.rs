//! When what was recorded of a day is held against what its provider charged: once a day, and again and again where that failed.

use super::budget::{Rate, cost_until};
use crate::time::{Millis, seconds};
use serde::{Deserialize, Serialize};

/// A day, in milliseconds.
pub const DAY: Millis = seconds(86_400);
/// After midnight (UTC) a provider has so long to book the day that is over.
const BOOKED_AFTER: Millis = seconds(600);
/// Between two tries of a day, and how many there are.
const AGAIN_AFTER: Millis = seconds(900);
const MOST_TRIES: u32 = 12;

/// How far the daily comparison is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Daily {
    /// The last day on which it was done, since 1970.
    #[serde(default)]
    done: i64,
    /// The day of the last try, when it was, and how many there were on it.
    #[serde(default)]
    tried: i64,
    #[serde(default)]
    tried_at: Millis,
    #[serde(default)]
    tries: u32,
}

impl Daily {
    /// Whether it is to be done now.
    pub fn due(&self, now: Millis) -> bool {
        let day = now.div_euclid(DAY);
        let rests = self.tried == day && (self.tries >= MOST_TRIES || now - self.tried_at < AGAIN_AFTER);
        day > self.done && now.rem_euclid(DAY) >= BOOKED_AFTER && !rests
    }

    /// It was tried.
    pub fn tried(&mut self, now: Millis, done: bool) {
        let day = now.div_euclid(DAY);
        self.tries = if self.tried == day { self.tries + 1 } else { 1 };
        (self.tried, self.tried_at) = (day, now);
        if done {
            self.done = day;
        }
    }
}

/// What a machine that was asked for at `begun` and has ended, or is there, at `ended` cost on the day that began at `day`.
pub fn on_day(rate: Rate, begun: Millis, ended: Millis, day: Millis) -> i64 {
    let until = |at: Millis| cost_until(rate, begun, at.min(ended));
    until(day + DAY) - until(day)
}

#[cfg(test)]
mod tests {
    use super::super::budget::{shares, windows};
    use super::*;

    /// 2026-11-29T00:00:00Z.
    const MIDNIGHT: Millis = 1_795_910_400_000;

    #[test]
    fn it_is_done_once_a_day_after_ten_minutes_and_tried_again_a_dozen_times() {
        let mut daily = Daily::default();
        assert!(!daily.due(MIDNIGHT + BOOKED_AFTER - 1) && daily.due(MIDNIGHT + BOOKED_AFTER));
        daily.tried(MIDNIGHT + BOOKED_AFTER, true);
        assert!(!daily.due(MIDNIGHT + DAY - 1) && !daily.due(MIDNIGHT + DAY) && daily.due(MIDNIGHT + DAY + BOOKED_AFTER));
        let (mut tries, mut at) = (0, MIDNIGHT + DAY);
        while at < MIDNIGHT + 2 * DAY {
            if daily.due(at) {
                tries += 1;
                daily.tried(at, false);
                assert!(!daily.due(at + AGAIN_AFTER - 1));
            }
            at += seconds(30);
        }
        assert_eq!(tries, MOST_TRIES);
        assert!(daily.due(MIDNIGHT + 2 * DAY + BOOKED_AFTER), "the next day has tries of its own");
    }

    #[test]
    fn a_day_s_cost_is_what_was_reserved_for_that_day() {
        let rate = Rate { microusd_per_hour: 333_333, microusd_once: 1_000 };
        for (begun, ended) in [(0, 86_400), (-3_600, 100_000), (5, 6), (86_399, 86_401), (-90_000, -10), (90_000, 90_001), (10, 10)] {
            let (begun, ended) = (MIDNIGHT + seconds(200_000) + begun * 1_000, MIDNIGHT + seconds(200_000) + ended * 1_000);
            let of = shares(rate, begun, begun, ended);
            for day in 0..6 {
                let day = MIDNIGHT + day * DAY;
                assert_eq!(on_day(rate, begun, ended, day), of.get(&windows(day)[1]).copied().unwrap_or(0), "{begun} {ended} {day}");
            }
        }
    }
}
