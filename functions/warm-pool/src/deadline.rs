//! Until when an invocation may begin what. One that is cut off at the function's time-out keeps its turn to the turn's end, in which no wake is
//! served, and loses what it would have left to the next: which hosts to leave, and when a provider takes its next order.
//!
//! Promises: whatever a provider does, an invocation ends before the time-out, its turn given back.

use anyhow::Context;
use std::time::{Duration, Instant};

/// Of the function, in template.yaml.
pub(crate) const TIME_OUT: Duration = Duration::from_secs(55);
/// For what is written to the table at a run's end.
const REST: Duration = Duration::from_secs(4);
/// So long before the end no read is waited for any more: what is covered and given back by the table alone comes after it.
const READ_REST: Duration = Duration::from_secs(5);
/// With less left than this no further run is begun: it could do nothing.
const LEAST: Duration = Duration::from_secs(10);
/// The longest that machines are asked for by their ids in one run: other things are to be done, too.
const BY_ID: Duration = Duration::from_secs(12);

/// Counted from the beginning of the invocation, however many runs it makes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    ends: Instant,
}

impl Deadline {
    /// Of an invocation that began then.
    pub fn of(begun: Instant) -> Self {
        Self { ends: begun + TIME_OUT - REST }
    }

    #[cfg(test)]
    pub fn within(left: Duration) -> Self {
        Self { ends: Instant::now() + left }
    }

    /// When the provider is asked for nothing any more.
    pub fn ends(self) -> Instant {
        self.ends
    }

    /// How long is left in which something may begin that takes so long.
    pub fn left_for(self, takes: Duration) -> Duration {
        self.ends.saturating_duration_since(Instant::now() + takes)
    }

    /// Whether there is time for another run.
    pub fn begins_another(self) -> bool {
        !self.left_for(LEAST).is_zero()
    }

    /// The end of what asks for machines by their ids, if it begins now.
    pub fn by_id(self) -> Instant {
        (Instant::now() + BY_ID).min(self.ends - READ_REST)
    }

    /// What is read of a provider, or that there was no time for it.
    pub async fn read<T>(self, read: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        within(self.ends - READ_REST, read).await
    }
}

/// What comes until then, or that there was no time for it.
pub(crate) async fn within<T>(until: Instant, done: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::time::timeout_at(until.into(), done).await.context("there was no time for it")?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a function in the template, up to the next one's.
    fn in_template(function: &str) -> &'static str {
        let template = include_str!("../../../template.yaml");
        let from = template.split_once(&format!("\n  {function}:\n")).unwrap().1;
        from.split("\n\n").next().unwrap()
    }

    #[test]
    fn the_time_out_is_the_function_s_and_a_turn_outlasts_it() {
        assert!(in_template("WarmPoolFunction").contains(&format!("\n      Timeout: {}\n", TIME_OUT.as_secs())));
        assert!(crate::TURN > TIME_OUT.as_millis() as i64);
    }

    #[test]
    fn an_order_that_is_begun_in_time_is_answered_before_the_time_out() {
        let begun = Instant::now();
        let deadline = Deadline::of(begun);
        for longest in [8, 15].map(Duration::from_secs) {
            let last = Instant::now() + deadline.left_for(longest);
            assert!(last + longest + REST <= begun + TIME_OUT + Duration::from_millis(100), "{longest:?}");
            // The second look, half a minute later, still has some.
            assert!(last > begun + Duration::from_secs(35), "{longest:?}");
        }
        assert!(Deadline::within(Duration::from_secs(9)).left_for(Duration::from_secs(15)).is_zero());
        assert!(!Deadline::within(Duration::from_secs(9)).begins_another() && deadline.begins_another());
    }
}
