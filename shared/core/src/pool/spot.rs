//! How it goes with interruptible machines: a share of those that were taken away, which fades, and with it the decision whether to rent more of them
//! (after Mao and others, "SkyServe: Serving AI Models across Regions and Clouds with Spot Instances", 2024, section 3: spot first, on demand in its
//! place while spot is short).

use crate::time::{Millis, seconds};
use serde::{Deserialize, Serialize};

/// What happened so long ago counts half.
const HALF_LIFE: Millis = seconds(3_600);
/// Machines that stayed are assumed beside those that were seen: one that was taken is not yet all of them.
const ASSUMED: f64 = 3.0;
/// Above this share of machines taken away only those are rented that stay; below the other they are tried again.
const TOO_MANY: f64 = 0.2;
const FEW: f64 = 0.1;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Spot {
    #[serde(default)]
    rented: f64,
    #[serde(default)]
    taken: f64,
    #[serde(default)]
    at: Millis,
    /// Too many were taken away: for now only those are rented that stay.
    #[serde(default)]
    pub paused: bool,
    /// When one was last taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<Millis>,
}

impl Spot {
    /// One was rented.
    pub fn rented(&mut self, now: Millis) {
        self.look(now);
        self.rented += 1.0;
    }

    /// One was taken away.
    pub fn taken(&mut self, now: Millis) {
        self.look(now);
        self.taken += 1.0;
        self.taken_at = Some(now);
        self.look(now);
    }

    /// Lets time pass.
    pub fn look(&mut self, now: Millis) {
        let left = 0.5_f64.powf((now - self.at).max(0) as f64 / HALF_LIFE as f64);
        (self.rented, self.taken, self.at) = (self.rented * left, self.taken * left, now.max(self.at));
        self.paused = self.share() > if self.paused { FEW } else { TOO_MANY };
    }

    /// Of those that were rented lately, the share that was taken away.
    pub fn share(&self) -> f64 {
        self.taken / (self.rented.max(self.taken) + ASSUMED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_taken_of_few_stops_renting_them_and_time_or_others_that_stay_bring_it_back() {
        let mut spot = Spot::default();
        spot.rented(0);
        spot.taken(1);
        assert_eq!((spot.paused, spot.taken_at), (true, Some(1)));
        // Not at the border where it stopped: it would go to and fro.
        spot.look(seconds(3_600));
        assert!(spot.paused && spot.share() < TOO_MANY, "{spot:?}");
        spot.look(seconds(2 * 3_600));
        assert!(!spot.paused, "{spot:?}");
        let mut many = Spot::default();
        (0..10).for_each(|_| many.rented(0));
        many.taken(1);
        assert!(!many.paused, "{many:?}");
        many.taken(2);
        many.taken(3);
        assert!(many.paused, "{many:?}");
    }

    #[test]
    fn more_taken_than_rented_and_a_clock_that_goes_back_are_borne() {
        let mut spot = Spot::default();
        (0..50).for_each(|n| spot.taken(seconds(50 - n)));
        assert!(spot.share() < 1.0 && spot.paused);
    }
}
