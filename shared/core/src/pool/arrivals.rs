//! How many jobs came lately, kept from one look of the warm pool to the next: a count for each minute of the last hour.
//!
//! Nothing counts arrivals for us, since an item that every submit writes would make all submits conflict. But jobs that succeeded are counted,
//! and those that have not ended are; what both grow by came. A job that failed or was cancelled between two looks is missed.

use crate::time::{Millis, seconds};
use serde::{Deserialize, Serialize};

const MINUTES: usize = 60;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrivals {
    /// The minute of the newest count, since 1970.
    minute: i64,
    /// By minute, the newest first.
    counts: Vec<u64>,
    /// Succeeded and unfinished jobs at the last look.
    seen: Option<u64>,
}

impl Arrivals {
    /// A look at `now` sees so many jobs that have succeeded ever or have not ended; gives how many came since the last one.
    pub fn look(&mut self, seen: u64, now: Millis) -> u64 {
        let minute = now.div_euclid(seconds(60));
        let passed = usize::try_from(minute - self.minute).unwrap_or(0).min(MINUTES);
        self.counts.splice(0..0, std::iter::repeat_n(0, passed));
        self.counts.truncate(MINUTES);
        self.minute = self.minute.max(minute);
        // What was there before the first look came at an unknown time.
        let came = self.seen.map_or(0, |before| seen.saturating_sub(before));
        self.seen = Some(seen);
        if self.counts.is_empty() {
            self.counts.push(0);
        }
        self.counts[0] += came;
        came
    }

    /// Jobs that came in so many minutes, the current one included.
    pub fn last(&self, minutes: usize, now: Millis) -> u64 {
        let gone = usize::try_from(now.div_euclid(seconds(60)) - self.minute).unwrap_or(0);
        self.counts.iter().take(minutes.saturating_sub(gone)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_known_by_the_minute_and_forgotten_after_an_hour() {
        let at = |minute: i64| seconds(60) * minute + 1;
        let mut arrivals = Arrivals::default();
        arrivals.look(100, at(1000));
        assert_eq!(arrivals.last(60, at(1000)), 0);
        arrivals.look(103, at(1000));
        arrivals.look(110, at(1005));
        assert_eq!((arrivals.last(1, at(1005)), arrivals.last(5, at(1005)), arrivals.last(6, at(1005))), (7, 7, 10));
        assert_eq!((arrivals.last(10, at(1012)), arrivals.last(60, at(1064)), arrivals.last(60, at(1065))), (7, 7, 0));
        // Some failed or were cancelled: nothing came, as far as is known. And a clock that goes back loses nothing.
        arrivals.look(90, at(1004));
        arrivals.look(91, at(1200));
        assert_eq!(arrivals.last(60, at(1200)), 1);
        assert!(arrivals.counts.len() <= MINUTES);
    }
}
