//! What can go wrong with a call, by script or by chance.

use std::collections::{BTreeMap, VecDeque};

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: a place in a script that lets a call pass.
    Pass,
    /// The connection breaks before the request is applied.
    Lost,
    /// The request times out and was not applied.
    TimedOut,
    /// The request is applied and the connection breaks before the answer.
    AnswerLost,
    /// The request is applied and its answer comes too late.
    AnswerTimedOut,
    /// The request times out, and is applied a few calls later, perhaps after its own repetition.
    Late,
    /// `ProvisionedThroughputExceededException`; not applied.
    Throttled,
    /// A transaction is cancelled because one of its items is throttled; another call as [`Fault::Throttled`].
    PartThrottled,
    /// HTTP 500, `InternalServerError`; not applied.
    ServerError,
    /// HTTP 500, `InternalServerError`; applied all the same.
    ServerErrorApplied,
    /// A batch leaves its second half undone (`UnprocessedKeys`, `UnprocessedItems`); another call passes.
    Partial,
}

/// How often each fault befalls a call, from 0 to 1; what is left passes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Chances {
    pub lost: f64,
    pub timed_out: f64,
    pub answer_lost: f64,
    pub answer_timed_out: f64,
    pub late: f64,
    pub throttled: f64,
    pub part_throttled: f64,
    pub server_error: f64,
    pub server_error_applied: f64,
    pub partial: f64,
}

impl Chances {
    /// The same chance for each fault.
    pub fn all(chance: f64) -> Self {
        let c = chance;
        Self {
            lost: c,
            timed_out: c,
            answer_lost: c,
            answer_timed_out: c,
            late: c,
            throttled: c,
            part_throttled: c,
            server_error: c,
            server_error_applied: c,
            partial: c,
        }
    }

    fn draw(&self, random: &mut fastrand::Rng) -> Fault {
        let faults = [
            (self.lost, Fault::Lost),
            (self.timed_out, Fault::TimedOut),
            (self.answer_lost, Fault::AnswerLost),
            (self.answer_timed_out, Fault::AnswerTimedOut),
            (self.late, Fault::Late),
            (self.throttled, Fault::Throttled),
            (self.part_throttled, Fault::PartThrottled),
            (self.server_error, Fault::ServerError),
            (self.server_error_applied, Fault::ServerErrorApplied),
            (self.partial, Fault::Partial),
        ];
        let mut drawn = random.f64();
        for (chance, fault) in faults {
            if drawn < chance {
                return fault;
            }
            drawn -= chance;
        }
        Fault::Pass
    }
}

/// What becomes of a request whose caller is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Applied,
    NotApplied,
}

/// What is to go wrong, in which order.
#[derive(Debug, Default)]
pub struct Faults {
    pub chances: Option<Chances>,
    pub script: VecDeque<Fault>,
    pub next_of: BTreeMap<String, VecDeque<Fault>>,
    /// Calls until the one that never answers, and what becomes of it.
    pub stop: Option<(u64, Fate)>,
}

impl Faults {
    /// For this call: a fault of its operation, the next of the script, or chance.
    pub fn take(&mut self, operation: &str, random: &mut fastrand::Rng) -> Fault {
        let planned = self.next_of.get_mut(operation).and_then(VecDeque::pop_front);
        let scripted = planned.or_else(|| self.script.pop_front());
        scripted.unwrap_or_else(|| self.chances.map_or(Fault::Pass, |chances| chances.draw(random)))
    }

    /// Whether this is the call that never answers.
    pub fn stops(&mut self) -> Option<Fate> {
        let (left, fate) = self.stop.as_mut()?;
        *left -= 1;
        if *left > 0 {
            return None;
        }
        let fate = *fate;
        self.stop = None;
        Some(fate)
    }
}
