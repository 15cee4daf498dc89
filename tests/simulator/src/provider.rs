//! The provider's API as it is met from outside: offers, create, list, one machine by its id, destroy. It may refuse, fail, answer late or never,
//! and leave things out ([`Lies`](crate::parameters::Lies)); what it did is the world's truth whatever it answered.

use crate::parameters::*;
use crate::world::{Label, MachineId, State, World};
use kiln_core::pool::budget::Rate;
use kiln_core::pool::offers::Offer;
use kiln_core::time::seconds;

/// What a create was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    Made(MachineId),
    /// Nothing was made, for sure.
    Refused,
    /// No answer: there may be a machine.
    Unanswered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    pub id: MachineId,
    pub label: Label,
}

/// The call failed, and whether it did anything is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiError;

/// What a worker's own words say, through its heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worker {
    /// It has not registered yet.
    Silent,
    Idle {
        since: i64,
    },
    Busy,
}

impl World {
    /// Whether something with this probability happens now.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.f64() < probability
    }

    pub fn rate(&self, host: u32) -> Rate {
        Rate { microusd_per_hour: self.hosts[host as usize].microusd_per_hour, microusd_once: 0 }
    }

    /// The first hosts that are free, the cheapest first: what a search with a limit finds.
    pub fn offers(&self, most: usize) -> Vec<Offer> {
        let free = self.hosts.iter().enumerate().filter(|(_, host)| !host.taken).take(most);
        free.map(|(n, host)| Offer {
            provider: "simulated".into(),
            id: format!("{n:03}"),
            host: format!("{n:03}"),
            gpu: "RTX 4090".into(),
            rate: self.rate(n as u32),
            reliability: 0.98,
            speed: 100.0,
            interruptible: host.interruptible,
            bid_microusd_per_hour: host.interruptible.then_some(host.microusd_per_hour),
        })
        .collect()
    }

    pub fn create(&mut self, label: Label, host: u32) -> Created {
        if self.hosts[host as usize].taken || self.chance(self.lies.create_refused) {
            return Created::Refused;
        }
        if self.chance(self.lies.create_unanswered) {
            if self.rng.bool() {
                self.add(label, host);
            }
            return Created::Unanswered;
        }
        self.meter.boots += 1;
        Created::Made(self.add(label, host))
    }

    pub fn list(&mut self) -> Result<Vec<Listed>, ApiError> {
        if self.list_errors < MOST_IN_A_ROW && self.chance(self.lies.list_error) {
            self.list_errors += 1;
            return Err(ApiError);
        }
        self.list_errors = 0;
        let now = self.now;
        let there = self.live.iter().filter(|id| self.machines[**id as usize].listed_from <= now);
        let mut listed: Vec<_> = there.map(|id| Listed { id: *id, label: self.machines[*id as usize].label }).collect();
        if !listed.is_empty() && self.chance(self.lies.list_omits) {
            listed.swap_remove(self.rng.usize(0..listed.len()));
        }
        Ok(listed)
    }

    /// Whether the provider says that a machine is gone, asked by its id.
    pub fn is_gone(&mut self, id: MachineId) -> Result<bool, ApiError> {
        if self.chance(self.lies.list_error) {
            return Err(ApiError);
        }
        Ok(self.machines[id as usize].state == State::Gone)
    }

    pub fn destroy(&mut self, id: MachineId) -> Result<(), ApiError> {
        if self.machines[id as usize].refusals < MOST_IN_A_ROW && self.chance(self.lies.destroy_error) {
            self.machines[id as usize].refusals += 1;
            return Err(ApiError);
        }
        let machine = &self.machines[id as usize];
        if machine.state == State::Gone || machine.ends_at.is_some() {
            return Ok(());
        }
        if self.chance(self.lies.destroy_slow) {
            let at = self.now + self.rng.i64(seconds(1)..=seconds(2 * TICK_S));
            // It works for nobody meanwhile: its token is dead.
            self.drain(id);
            self.kill_at(id, at);
        } else {
            self.kill(id);
        }
        if self.chance(self.lies.destroy_unanswered) { Err(ApiError) } else { Ok(()) }
    }

    /// What the machine's worker has last said, and when.
    pub fn worker(&self, id: MachineId) -> (Worker, i64) {
        let machine = &self.machines[id as usize];
        let mut heard_at = machine.silent_from.unwrap_or(self.now);
        // Each speaks again with its next heartbeat.
        let phase = seconds(u64::from(id) % HEARTBEAT_S);
        if let Some((from, to)) = self.unheard.filter(|(from, to)| (*from..to + phase).contains(&self.now)) {
            heard_at = heard_at.min(from - seconds(HEARTBEAT_S) + phase);
            debug_assert!(to > from);
        }
        let worker = match machine.state {
            _ if machine.ready_at.is_none_or(|ready_at| ready_at > heard_at) => Worker::Silent,
            State::Busy => Worker::Busy,
            // Gone or hung: as it was when it was last heard.
            State::Gone if machine.works() => Worker::Busy,
            _ => Worker::Idle { since: machine.since },
        };
        (worker, heard_at)
    }

    /// When its worker first spoke.
    pub fn ready_at(&self, id: MachineId) -> Option<i64> {
        self.machines[id as usize].ready_at
    }
}
