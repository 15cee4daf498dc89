//! The provider's API as it is met from outside: offers, create, list, one machine by its id, stop, start, destroy. It may refuse, fail, answer late or never,
//! and leave things out ([`Lies`](crate::parameters::Lies)); what it did is the world's truth whatever it answered.

use crate::parameters::*;
use crate::world::{Label, Machine, MachineId, State, World};
use kiln_core::pool::budget::Rate;
use kiln_core::pool::offers::Offer;
use kiln_core::time::{Millis, seconds};

/// A list may say of a machine what it was so long ago.
pub const LAG: Millis = seconds(30);

/// What a create was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    Made(MachineId),
    /// Nothing was made, for sure.
    Refused,
    /// No answer: there may be a machine.
    Unanswered,
}

/// What a start was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    Asked,
    /// Somebody else has its GPU: it starts when that is free, if ever.
    Waits,
    /// No answer: it may be starting.
    Unanswered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    pub id: MachineId,
    pub label: Label,
    /// It does not run: it was stopped, or waits for its GPU since it was started again.
    pub stopped: bool,
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
            disk_microusd_per_hour: None,
            machine: None,
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
        let mut listed: Vec<Listed> = vec![];
        for at in 0..self.live.len() {
            let id = self.live[at];
            let Machine { label, state, since, listed_from, .. } = self.machines[id as usize];
            if listed_from > now {
                continue;
            }
            let turned = matches!(state, State::Stopped | State::Scheduled | State::Resuming) && now - since < LAG;
            let lags = turned && self.chance(self.lies.list_lags);
            listed.push(Listed { id, label, stopped: matches!(state, State::Stopped | State::Scheduled) != lags });
        }
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

    /// Stops a machine and keeps its disk, at once. It may be asked again.
    pub fn stop(&mut self, id: MachineId) -> Result<(), ApiError> {
        if self.machines[id as usize].state == State::Gone || self.chance(self.lies.power_error) {
            return Err(ApiError);
        }
        self.meter.killed_by_scale_in += u64::from(self.machines[id as usize].works());
        self.suspend(id);
        if self.chance(self.lies.power_unanswered) { Err(ApiError) } else { Ok(()) }
    }

    /// Starts a stopped machine again; when it is there, if ever, its worker tells.
    pub fn start(&mut self, id: MachineId) -> Started {
        let state = self.machines[id as usize].state;
        if state == State::Gone || self.chance(self.lies.power_error) {
            return Started::Unanswered;
        }
        self.meter.started_twice += u64::from(matches!(state, State::Scheduled | State::Resuming | State::Warming));
        self.resume(id);
        if self.chance(self.lies.power_unanswered) {
            Started::Unanswered
        } else if self.machines[id as usize].state == State::Scheduled && self.chance(RESUME_TOLD) {
            Started::Waits
        } else {
            Started::Asked
        }
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
            _ if machine.up_at.is_none_or(|up_at| up_at > heard_at) => Worker::Silent,
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

    /// And when it did since the machine was last started.
    pub fn up_at(&self, id: MachineId) -> Option<i64> {
        self.machines[id as usize].up_at
    }

    /// Whether the host's provider keeps a stopped machine: one that is interruptible, or is billed by EC2's minute, goes.
    pub fn keeps(&self, host: u32) -> bool {
        let host = &self.hosts[host as usize];
        !host.interruptible && host.minimum_ms == 0
    }
}
