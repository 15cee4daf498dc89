//! How long jobs waited and ran, as histograms by kind: counters that only grow, so that any two readings give what came between.
//!
//! A succeeded job is counted on the instance that did it, in the transaction that frees its slot: no further call, no item that all
//! requests write, and no job twice. Each counter is an attribute of its own (`t.upscale.w3`), so that DynamoDB's `ADD` is enough.

use crate::job::{Job, State};
use std::collections::BTreeMap;

/// Upper bounds of the buckets in seconds; one more takes all that is above.
pub const BOUNDS_S: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0];

/// What attribute names of counters begin with.
const PREFIX: &str = "t.";

/// One histogram; `buckets` are not cumulative.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    pub buckets: [u64; BOUNDS_S.len() + 1],
    pub sum_ms: u64,
}

impl Histogram {
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// A kind's two times: from the submit to the start of the attempt that succeeded, and from there to its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times {
    pub wait: Histogram,
    pub run: Histogram,
}

/// The times of all kinds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timings(pub BTreeMap<String, Times>);

impl Timings {
    /// The counters that a job that has just succeeded adds to, by the names of their attributes; none for any other job.
    pub fn of(job: &Job) -> Vec<(String, u64)> {
        let (State::Succeeded, Some(started), Some(finished)) = (job.state, job.started_at, job.finished_at) else { return vec![] };
        let mut counters = Vec::new();
        for (letter, ms) in [('w', started - job.created_at), ('r', finished - started)] {
            // Two machines' clocks may differ by more than a short time lasts.
            let ms = u64::try_from(ms).unwrap_or(0);
            let bucket = BOUNDS_S.iter().position(|bound| ms as f64 <= bound * 1000.0).unwrap_or(BOUNDS_S.len());
            counters.push((format!("{PREFIX}{}.{letter}{bucket}", job.kind), 1));
            counters.push((format!("{PREFIX}{}.{letter}s", job.kind), ms));
        }
        counters
    }

    /// Adds a counter that was read back; false for an attribute that is none.
    pub fn add(&mut self, attribute: &str, number: u64) -> bool {
        let Some((kind, code)) = attribute.strip_prefix(PREFIX).and_then(|rest| rest.rsplit_once('.')) else { return false };
        let mut letters = code.chars();
        let histogram: fn(&mut Times) -> &mut Histogram = match letters.next() {
            Some('w') => |times| &mut times.wait,
            Some('r') => |times| &mut times.run,
            _ => return false,
        };
        let bucket = letters.as_str();
        if bucket == "s" {
            histogram(self.0.entry(kind.to_owned()).or_default()).sum_ms += number;
        } else if let Some(bucket) = bucket.parse::<usize>().ok().filter(|bucket| *bucket <= BOUNDS_S.len()) {
            histogram(self.0.entry(kind.to_owned()).or_default()).buckets[bucket] += number;
        } else {
            return false;
        }
        true
    }

    /// All counters that are not zero, as attributes.
    pub fn counters(&self) -> Vec<(String, u64)> {
        let of = |kind: &str, letter: char, histogram: &Histogram| {
            let buckets = histogram.buckets.iter().enumerate().map(|(i, number)| (format!("{PREFIX}{kind}.{letter}{i}"), *number));
            buckets.chain([(format!("{PREFIX}{kind}.{letter}s"), histogram.sum_ms)]).filter(|(_, number)| *number > 0).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(|(kind, times)| [of(kind, 'w', &times.wait), of(kind, 'r', &times.run)].concat()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_come_back_as_they_were_and_what_is_none_is_left_alone() {
        let mut timings = Timings::default();
        for (attribute, number) in [("t.upscale.w0", 3), ("t.upscale.ws", 120), ("t.upscale.r12", 1), ("t.a.b.r3", 2), ("t.a.b.r3", 2)] {
            assert!(timings.add(attribute, number), "{attribute}");
        }
        for attribute in ["ttl", "t.upscale.x3", "t.upscale.w13", "t.upscale.w", "t.upscale", "stage"] {
            assert!(!timings.add(attribute, 1), "{attribute}");
        }
        assert_eq!(timings.0["upscale"].wait.buckets[0], 3);
        assert_eq!(timings.0["a.b"].run.count(), 4);
        let mut again = Timings::default();
        for (attribute, number) in timings.counters() {
            again.add(&attribute, number);
        }
        assert_eq!(again, timings);
    }
}
