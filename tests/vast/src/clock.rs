//! The stand-in's clock: the machine's, which tests may put forward, or one that stands still and moves only when it is told to.

use std::time::{SystemTime, UNIX_EPOCH};

pub const HOUR_MS: i64 = 3_600_000;
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// Milliseconds since 1970, by the machine's clock.
pub fn machine_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

#[derive(Debug, Clone, Copy)]
pub struct Clock {
    frozen_at: Option<i64>,
    ahead_ms: i64,
}

impl Clock {
    /// Stands still at a time, if there is one; else it is the machine's.
    pub fn new(frozen_at: Option<i64>) -> Self {
        Self { frozen_at, ahead_ms: 0 }
    }

    pub fn now(&self) -> i64 {
        self.frozen_at.unwrap_or_else(|| machine_ms() + self.ahead_ms)
    }

    pub fn is_frozen(&self) -> bool {
        self.frozen_at.is_some()
    }

    pub fn advance(&mut self, by_ms: i64) {
        match &mut self.frozen_at {
            Some(at) => *at += by_ms,
            None => self.ahead_ms += by_ms,
        }
    }

    /// Lets it stand still or run on, from what it shows.
    pub fn freeze(&mut self, frozen: bool) {
        let now = self.now();
        self.frozen_at = frozen.then_some(now);
        self.ahead_ms = now - machine_ms();
    }
}
