//! What earlier looks leave to this one, and what follows from it of machines that say nothing, or say that they are ready and do nothing.
//!
//! Promises: an outage of ours is not taken for the silence of machines, for a bounded time; a machine that takes no work though work waits is found,
//! one at a time, and not where none takes any: then it is more likely our queue.

use super::plan::{Observation, Seen};
use super::spot::Spot;
use crate::fleet::Stage;
use crate::time::{Millis, seconds};
use serde::{Deserialize, Serialize};

/// For so long a machine may be ready beside work that it could do, and not take it. A hint that was lost comes again after one, three and seven
/// minutes, and a job that wants a second host to witness its failure waits for one for five.
pub const DEAF_AFTER: Millis = seconds(600);
/// Where none takes work, so that our own queue may be at fault, one machine in so long is replaced to find out.
const PROBES_APART: Millis = seconds(3_600);

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_rent_at: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_stop_at: Option<Millis>,
    /// When it last turned from shrinking to growing, or back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turned_at: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<Doubt>,
    /// Since when each look has seen jobs that could run at once beside those that do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unserved_since: Option<Millis>,
    /// When a machine was last given back since it took no work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deaf_at: Option<Millis>,
    #[serde(default)]
    pub spot: Spot,
}

/// Silence that may be ours: nobody was heard after `from`, or nobody listened, as a look at `at` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    pub from: Millis,
    pub at: Millis,
    /// Many were quiet; else it was we who did not listen.
    #[serde(default)]
    pub quiet: bool,
}

impl History {
    /// A look at `now`, the one before it at `before`. `unserved`: whether jobs wait that could run at once, if that is known.
    pub fn look(&mut self, before: Option<Millis>, machines: &[Seen], unserved: Option<bool>, lost_after_s: u64, now: Millis) {
        let lost = seconds(lost_after_s);
        // A look was missed, or more were.
        let gap = before.filter(|before| now - before >= lost / 3 * 2);
        let quiet_from = many_quiet(machines, lost, now);
        self.doubt = match (gap, self.doubt, quiet_from) {
            (Some(from), ..) => Some(Doubt { from, at: now, quiet: false }),
            // Many are quiet though we listen again: the one may have led into the other.
            (None, Some(doubt), Some(from)) if !doubt.quiet => Some(Doubt { from: from.min(doubt.from), at: now, quiet: true }),
            // Many are quiet, and it is not the silence that was in doubt already: some spoke since.
            (None, doubt, Some(from)) if doubt.is_none_or(|doubt| from > doubt.at) => Some(Doubt { from, at: now, quiet: true }),
            // They had their time, and some speak again.
            (None, Some(doubt), None) if now - doubt.at > lost => None,
            (None, doubt, _) => doubt,
        };
        self.spot.look(now);
        self.unserved_since = match unserved {
            Some(true) => self.unserved_since.filter(|_| before.is_none_or(|before| now - before < DEAF_AFTER / 2)).or(Some(now)),
            Some(false) => None,
            None => self.unserved_since,
        };
    }

    /// It has rented, or started one again that stood by.
    pub fn rented(&mut self, now: Millis) {
        if self.last_rent_at <= self.last_stop_at {
            self.turned_at = Some(now);
        }
        self.last_rent_at = Some(now);
    }

    /// It has given something back for want of work, or stopped it.
    pub fn stopped(&mut self, now: Millis) {
        if self.last_stop_at < self.last_rent_at {
            self.turned_at = Some(now);
        }
        self.last_stop_at = Some(now);
    }

    /// How long it is still too soon to turn to growing, or to shrinking, if it is: it turns once in so long at most.
    pub(super) fn too_soon(&self, grows: bool, turns_after: Millis, now: Millis) -> Option<Millis> {
        if grows == (self.last_rent_at > self.last_stop_at) {
            return None;
        }
        let last = self.last_rent_at.max(self.last_stop_at);
        // What an older version left has no turn.
        self.turned_at.or(last).map(|turned| turned + turns_after - now).filter(|wait| *wait > 0)
    }

    /// Whether a machine's silence may be ours: it was not silent yet when the others were last heard, or when we last listened, and has had
    /// less than the time of a silence since we listen again.
    pub(super) fn excuses(&self, machine: &Seen, lost: Millis, now: Millis) -> bool {
        self.doubt.is_some_and(|doubt| now - doubt.at <= lost && machine.heard_at >= doubt.from - lost)
    }
}

/// From when on nothing was heard of two machines or more that should speak, and of half of them or more, where that is longer than half of a silence:
/// one has fallen silent, and the others are about to. Not only of all: at the end of an outage the first of them speak again before the others do.
fn many_quiet(machines: &[Seen], lost: Millis, now: Millis) -> Option<Millis> {
    let due = |machine: &&Seen| match machine.stage {
        // It ends, and says no more.
        _ if machine.rests => false,
        Stage::Ready | Stage::Busy | Stage::Draining => true,
        // It has spoken before.
        Stage::Loading => machine.heard_at < now,
        _ => false,
    };
    let heard: Vec<Millis> = machines.iter().filter(due).map(|machine| machine.heard_at).collect();
    let quiet = || heard.iter().copied().filter(|at| *at < now - lost / 2);
    (quiet().count() >= 2 && 2 * quiet().count() >= heard.len()).then(|| quiet().max()).flatten()
}

/// A machine that has said for long that it is ready, and took none of the jobs that it could do: the one that is to be given back for it, if any.
pub(super) fn deaf<'a>(seen: &Observation, living: &[&'a Seen], now: Millis) -> Option<&'a Seen> {
    let unserved_since = seen.history.unserved_since.filter(|since| now - since > DEAF_AFTER)?;
    let oldest_ms = seen.demand.as_ref()?.iter().filter(|demand| demand.queued > 0).map(|demand| demand.oldest_ms).max()?;
    if oldest_ms <= DEAF_AFTER {
        return None;
    }
    let takes = |machine: &Seen| machine.stage == Stage::Busy || machine.stage == Stage::Ready && now - machine.since <= DEAF_AFTER;
    let is_deaf = |machine: &&&Seen| {
        let leased = machine.leased_to.is_some_and(|until| until > now);
        // One whose silence is in doubt says nothing at all, and is found by that.
        let speaks = now - machine.heard_at <= seconds(seen.lost_after_s);
        machine.stage == Stage::Ready && machine.able && !leased && speaks && now - machine.since > DEAF_AFTER
    };
    let found = living.iter().filter(is_deaf).count();
    let apart = if living.iter().any(|machine| takes(machine)) {
        seen.boot.slowest
    } else if found == 1 || now - unserved_since > PROBES_APART {
        PROBES_APART
    } else {
        return None;
    };
    if seen.history.deaf_at.is_some_and(|at| now - at < apart) {
        return None;
    }
    // Some machine must be the one: it has said the same for longest.
    living.iter().filter(is_deaf).min_by_key(|machine| machine.since).copied()
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
