//! What a stand-in is started with.

use std::path::PathBuf;

use crate::offers::Offer;

/// How long an instance stays in each state on its way, in milliseconds of the stand-in's clock.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// From the answer to `create` until there is a container: `actual_status` is null.
    pub provision: i64,
    /// `created`, before the image is pulled.
    pub create: i64,
    /// `loading`: the pull of the image.
    pub load: i64,
    /// `loading` when a container that exists is started again.
    pub restart: i64,
    /// From `stop` until it has stopped; the GPUs are billed until then.
    pub stop: i64,
}

impl Default for Times {
    fn default() -> Self {
        Self { provision: 1_000, create: 1_000, load: 20_000, restart: 5_000, stop: 2_000 }
    }
}

/// The program that is run as each instance's container.
#[derive(Debug, Clone)]
pub struct MachineCommand {
    /// Given to `sh -c`.
    pub command: String,
    /// Where each instance's output goes, as `<instance id>.log`; nowhere unless told.
    pub log_folder: Option<PathBuf>,
    /// A folder in which each instance has its disk, as `<instance id>`: its container's working and temporary folder, kept while it is stopped and
    /// wiped when it is destroyed. None unless told; it is the stand-in's own working folder then.
    pub disks: Option<PathBuf>,
    /// How long a process that is stopped has between SIGTERM and SIGKILL.
    pub grace_ms: u64,
}

impl MachineCommand {
    pub fn new(command: impl Into<String>) -> Self {
        Self { command: command.into(), log_folder: None, disks: None, grace_ms: 2_000 }
    }
}

#[derive(Debug, Clone)]
pub struct Config {
    /// The account's key.
    pub key: String,
    /// What is offered.
    pub offers: Vec<Offer>,
    pub times: Times,
    /// A clock that stands still at this time, in milliseconds since 1970; the machine's clock unless told.
    pub frozen_at_ms: Option<i64>,
    /// The account's prepaid credit, in dollars.
    pub credit: f64,
    pub machine_command: Option<MachineCommand>,
    /// Decides instance ids and keys.
    pub seed: u64,
    /// How many instances may exist at a time, and how many that are gone are remembered.
    pub max_instances: usize,
    /// How many requests are remembered.
    pub max_requests: usize,
}

impl Config {
    pub fn new(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            offers: crate::offers::generate(7, 24),
            times: Times::default(),
            frozen_at_ms: None,
            credit: 100.0,
            machine_command: None,
            seed: 7,
            max_instances: 1_000,
            max_requests: 10_000,
        }
    }
}
