//! Waiting before another try: doubling, capped, with jitter so that many workers don't come back as one.

use std::time::Duration;

#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    pub first: Duration,
    pub longest: Duration,
    /// Tries in all, the first one counted.
    pub tries: u32,
}

impl Backoff {
    pub const fn new(first_ms: u64, longest_ms: u64, tries: u32) -> Self {
        Self { first: Duration::from_millis(first_ms), longest: Duration::from_millis(longest_ms), tries }
    }

    /// The wait after the `failed`-th failure (from 1): between half and all of the doubled time. `random` is 0..1.
    pub fn wait(&self, failed: u32, random: f64) -> Duration {
        let whole = self.first.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(self.longest);
        whole.mul_f64(0.5 + random / 2.0)
    }

    /// Sleeps for the wait after the `failed`-th failure.
    pub async fn rest(&self, failed: u32) {
        tokio::time::sleep(self.wait(failed, fastrand::f64())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_keep_half_of_it_at_least() {
        let backoff = Backoff::new(100, 1_000, 9);
        let most: Vec<_> = (1..=6).map(|n| backoff.wait(n, 1.0).as_millis()).collect();
        assert_eq!(most, [100, 200, 400, 800, 1_000, 1_000]);
        let least: Vec<_> = (1..=6).map(|n| backoff.wait(n, 0.0).as_millis()).collect();
        assert_eq!(least, [50, 100, 200, 400, 500, 500]);
        assert_eq!(backoff.wait(u32::MAX, 1.0).as_millis(), 1_000);
    }
}
