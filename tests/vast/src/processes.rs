//! Containers as processes of this machine: one for each instance that runs, in a process group of its own.
//!
//! It promises that none outlives the stand-in, however that ends: each group holds the read end of a pipe whose write end only the stand-in has.
//! When that closes, a watcher within the group kills the group. A process that leaves its group is not found.

use std::{
    fs::OpenOptions,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Weak},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{ChildStdin, Command};

use crate::{
    config::MachineCommand,
    instance::Instance,
    server::Inner,
    state::{Effect, State},
};

/// Turns the pipe on standard input into a lifeline, and becomes the command. The watcher ignores the signals by which the command may be asked to end,
/// from before it is there.
const WRAPPER: &str = r#"exec 3<&0; trap '' TERM INT HUP; { cat <&3 >/dev/null; kill -KILL 0; } & trap - TERM INT HUP; exec sh -c "$1" 3<&- </dev/null"#;
/// What of the stand-in's own environment a container sees.
const KEPT: [&str; 4] = ["PATH", "HOME", "LANG", "TMPDIR"];

pub struct Process {
    pub pid: u32,
    /// Tells this start of the container from the ones before and after.
    start: u32,
    /// Open as long as the process may live.
    lifeline: Option<ChildStdin>,
}

impl Process {
    fn signal(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // It may have ended by itself a moment ago.
            let _ = kill_process_group(group, signal);
        }
    }

    fn kill(&mut self) {
        self.lifeline = None;
        self.signal(Signal::KILL);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a container finds in its environment beside its own variables.
fn environment(instance: &Instance) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = vec![
        ("CONTAINER_ID".into(), instance.id.to_string()),
        ("CONTAINER_API_KEY".into(), instance.key.clone()),
        ("VAST_CONTAINERLABEL".into(), format!("C.{}", instance.id)),
        ("PUBLIC_IPADDR".into(), instance.offer.public_ipaddr.clone()),
        ("GPU_COUNT".into(), instance.offer.num_gpus.to_string()),
        ("VAST_STAND_IN_IMAGE".into(), instance.order.image.clone()),
        ("VAST_STAND_IN_ONSTART".into(), instance.order.onstart.clone().unwrap_or_default()),
        ("VAST_STAND_IN_ARGS".into(), serde_json::json!(instance.order.args).to_string()),
    ];
    for (inside, outside) in instance.ports() {
        let (port, kind) = inside.split_once('/').unwrap_or((&inside, "tcp"));
        env.push((format!("VAST_{}_PORT_{port}", kind.to_uppercase()), outside.to_string()));
    }
    env
}

/// Does what a change of the state asks of processes. The caller has the state's lock.
pub fn apply(inner: &Arc<Inner>, state: &mut State) {
    while let Some(effect) = state.effects.pop_front() {
        let Some(command) = &inner.config.machine_command else { continue };
        match effect {
            Effect::Start(id) => start(inner, command, state, id),
            Effect::Kill(id) => drop(state.processes.remove(&id)),
            Effect::Wipe(id) => {
                let Some(disk) = disk(command, id) else { continue };
                if let Err(error) = std::fs::remove_dir_all(&disk)
                    && error.kind() != std::io::ErrorKind::NotFound
                {
                    tracing::warn!(instance = id, %error, "the machine's disk could not be wiped");
                }
            }
            Effect::Freeze(id) => state.processes.get(&id).into_iter().for_each(|p| p.signal(Signal::STOP)),
            Effect::Thaw(id) => state.processes.get(&id).into_iter().for_each(|p| p.signal(Signal::CONT)),
            Effect::Stop(id) => {
                let Some(process) = state.processes.get(&id) else { continue };
                process.signal(Signal::TERM);
                let (inner, start, grace) = (Arc::downgrade(inner), process.start, command.grace_ms);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(grace)).await;
                    if let Some(inner) = inner.upgrade() {
                        forget(&mut inner.lock(), id, start);
                    }
                });
            }
        }
    }
}

/// Kills a start of a container, unless it is over or another has followed.
fn forget(state: &mut State, id: u64, start: u32) -> bool {
    let same = state.processes.get(&id).is_some_and(|p| p.start == start);
    if same {
        state.processes.remove(&id);
    }
    same
}

fn start(inner: &Arc<Inner>, command: &MachineCommand, state: &mut State, id: u64) {
    // The one before may be within its grace.
    drop(state.processes.remove(&id));
    let Some(instance) = state.instances.get(&id) else { return };
    let start = instance.starts;
    match spawn(command, instance) {
        Ok((mut child, process)) => {
            state.processes.insert(id, process);
            let inner = Arc::downgrade(inner);
            tokio::spawn(async move {
                let ended = child.wait().await;
                let why = match ended.map(|status| status.code()) {
                    Ok(Some(code)) => format!("Error: the container ended with exit code {code}"),
                    _ => "Error: the container was killed".into(),
                };
                over(&inner, id, start, why);
            });
        }
        Err(error) => {
            tracing::warn!(instance = id, %error, "the machine's command could not be started");
            state.exited(id, format!("Error: the container could not be started: {error}"));
        }
    }
}

/// Where an instance's disk is, if it has one.
fn disk(command: &MachineCommand, id: u64) -> Option<PathBuf> {
    command.disks.as_ref().map(|folder| folder.join(id.to_string()))
}

fn spawn(command: &MachineCommand, instance: &Instance) -> std::io::Result<(tokio::process::Child, Process)> {
    let output = || match &command.log_folder {
        None => Ok(Stdio::null()),
        Some(folder) => OpenOptions::new().create(true).append(true).open(folder.join(format!("{}.log", instance.id))).map(Stdio::from),
    };
    let disk = disk(command, instance.id);
    if let Some(disk) = &disk {
        std::fs::create_dir_all(disk)?;
    }
    let mut child = Command::new("sh");
    child
        .args(["-c", WRAPPER, "sh", &command.command])
        .env_clear()
        .envs(KEPT.iter().filter_map(|name| std::env::var_os(name).map(|value| (name, value))))
        // Vast.ai's own come last: an order can't take another instance's name.
        .envs(instance.variables().map(|(key, value)| (key, value)))
        .envs(environment(instance))
        .stdin(Stdio::piped())
        .stdout(output()?)
        .stderr(output()?)
        .process_group(0);
    if let Some(disk) = &disk {
        child.current_dir(disk).env("TMPDIR", disk);
    }
    let mut child = child.spawn()?;
    let process = Process { pid: child.id().unwrap_or_default(), start: instance.starts, lifeline: child.stdin.take() };
    Ok((child, process))
}

fn over(inner: &Weak<Inner>, id: u64, start: u32, why: String) {
    let Some(inner) = inner.upgrade() else { return };
    inner.work(|state| {
        // What the container's first process leaves behind ends with it.
        if forget(state, id, start) {
            state.exited(id, why);
        }
    });
}
