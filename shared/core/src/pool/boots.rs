//! What boots took, kept from one look of the warm pool to the next, machines that are gone since included.

use crate::time::Millis;
use serde::{Deserialize, Serialize};

/// Boots that are remembered.
const KEPT: usize = 50;
/// Of so many, one in twenty may be longer than what is said; of fewer, none.
const ENOUGH: usize = 20;

/// How long a boot takes, or the start of a machine that stands by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Took {
    /// Half of them take no longer.
    pub typical: Millis,
    /// Hardly any takes longer.
    pub slowest: Millis,
}

impl Took {
    /// All of them the same.
    pub const fn all(ms: Millis) -> Self {
        Self { typical: ms, slowest: ms }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boots {
    /// Whole seconds from the order to ready, the newest last.
    #[serde(default)]
    seconds: Vec<u32>,
    /// When the newest of them was ready: what was ready by then is counted.
    #[serde(default)]
    to: Millis,
}

impl Boots {
    /// A look sees machines that were asked for and ready at these times; those that it has not seen before are kept.
    pub fn look(&mut self, machines: impl Iterator<Item = (Millis, Millis)>) {
        let mut new: Vec<_> = machines.filter(|(_, ready_at)| *ready_at > self.to).collect();
        new.sort_unstable_by_key(|(_, ready_at)| *ready_at);
        for (requested_at, ready_at) in new {
            // Rounded up: a boot of no time would let the plan count on machines at once.
            let took = (ready_at - requested_at).max(0).div_euclid(1000) + 1;
            self.seconds.push(u32::try_from(took).unwrap_or(u32::MAX));
            self.to = ready_at;
        }
        let surplus = self.seconds.len().saturating_sub(KEPT);
        self.seconds.drain(..surplus);
    }

    /// What they took: the median, and what 95 of 100 take at most (nearest rank), the longest where few are known; `None` where none is.
    pub fn took(&self) -> Option<Took> {
        let mut sorted = self.seconds.clone();
        sorted.sort_unstable();
        let beyond = if sorted.len() < ENOUGH { 0 } else { sorted.len() / 20 };
        let ms = |at: usize| sorted.get(at).map(|seconds| Millis::from(*seconds) * 1000);
        Some(Took { typical: ms(sorted.len() / 2)?, slowest: ms(sorted.len().checked_sub(1 + beyond)?)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::seconds;

    fn slowest(boots: &Boots) -> Option<Millis> {
        boots.took().map(|took| took.slowest)
    }

    #[test]
    fn each_boot_counts_once_and_is_remembered_when_its_machine_is_gone() {
        let mut boots = Boots::default();
        assert_eq!(boots.took(), None);
        let first = (0, seconds(90) - 1);
        boots.look([first].into_iter());
        boots.look([first, (seconds(60), seconds(100))].into_iter());
        assert_eq!((boots.seconds.clone(), slowest(&boots)), (vec![90, 41], Some(seconds(90))));
        boots.look(std::iter::empty());
        assert_eq!(slowest(&boots), Some(seconds(90)));
        // A clock that goes back takes no time away.
        boots.look([(seconds(300), seconds(200))].into_iter());
        assert_eq!(boots.seconds, [90, 41, 1]);
    }

    #[test]
    fn of_many_one_in_twenty_may_be_longer_and_the_oldest_are_forgotten() {
        let mut boots = Boots::default();
        let at = |n: i64, took: u64| (n * 1_000_000, n * 1_000_000 + seconds(took) - 1);
        boots.look((1..=19).map(|n| at(n, if n == 3 { 600 } else { 60 })));
        assert_eq!(boots.took(), Some(Took { typical: seconds(60), slowest: seconds(600) }));
        boots.look([at(20, 60)].into_iter());
        assert_eq!(slowest(&boots), Some(seconds(60)));
        boots.look((21..=70).map(|n| at(n, 30)));
        assert_eq!((boots.seconds.len(), boots.took()), (KEPT, Some(Took::all(seconds(30)))));
    }
}
