//! Rented machines on a laptop: with `--vast-stand-in` a stand-in for Vast.ai runs inside this program, and its machines are worker processes
//! of this machine, so that an operator can watch rentals, faults and spend with nothing at stake. Nothing of it outlives a run.

use crate::config::Config;
use crate::failure::{Failure, Reason};
use crate::secrets::random;
use crate::workers;
use anyhow::Context;
use kiln_vast_stand_in as stand_in;
use std::collections::BTreeMap;
use std::path::Path;
use tracing::warn;

/// How the system reaches who rents machines.
pub enum Rentals {
    /// Vast.ai itself or another that speaks as it does, if a key was given.
    Given,
    Play(Box<Play>),
}

/// The stand-in, bound and not yet serving.
pub struct Play {
    listener: std::net::TcpListener,
    base: String,
    key: String,
}

/// The image that play machines are said to run; nothing is pulled.
const IMAGE: &str = "kiln-worker";

impl Rentals {
    pub fn choose(config: &Config) -> Result<Self, Failure> {
        if !config.vast_stand_in {
            return Ok(Self::Given);
        }
        let failed = |error: &dyn std::fmt::Display| Failure::new(Reason::Unexpected, format!("the stand-in for Vast.ai: {error}"));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(|error| failed(&error))?;
        listener.set_nonblocking(true).map_err(|error| failed(&error))?;
        let port = listener.local_addr().map_err(|error| failed(&error))?.port();
        let key = random().map_err(|error| failed(&error))?;
        Ok(Self::Play(Box::new(Play { listener, base: format!("http://127.0.0.1:{port}"), key })))
    }

    /// The template's parameters that say where machines come from.
    pub fn parameters(&self, config: &Config) -> Vec<(&'static str, String)> {
        let given = |value: &Option<String>| value.clone().unwrap_or_default();
        match self {
            Self::Given => vec![
                ("Providers", config.providers.clone().unwrap_or_else(|| "local".into())),
                ("VastUrl", given(&config.vast_url)),
                ("WorkerImage", given(&config.worker_image)),
            ],
            Self::Play(play) => {
                vec![("Providers", config.providers.clone().unwrap_or_else(|| "vast".into())), ("VastUrl", play.base.clone()), ("WorkerImage", IMAGE.into())]
            }
        }
    }

    /// What goes into the parameter store.
    pub fn secrets(&self, config: &Config) -> BTreeMap<String, String> {
        let key = match self {
            Self::Given => config.vast_api_key.clone().filter(|key| !key.is_empty()),
            Self::Play(play) => Some(play.key.clone()),
        };
        key.map(|key| ("vast-api-key".to_owned(), key)).into_iter().collect()
    }

    /// Starts the stand-in, if it is one; gives a line that says where it is and how it is driven. In `disks` its machines have theirs.
    pub fn serve(self, settings: &workers::Settings, disks: &Path) -> anyhow::Result<Option<String>> {
        let Self::Play(play) = self else { return Ok(None) };
        let Play { listener, base, key } = *play;
        let mut config = stand_in::Config::new(&key);
        if let Ok(program) = &settings.program {
            let mut command = stand_in::MachineCommand::new(format!("{} --rented vast", workers::shell_command(program, settings, &[("VAST_URL", &base)])));
            // Those of an earlier start: their machines are gone with it.
            match std::fs::remove_dir_all(disks) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).context("the play machines' disks"),
                _ => command.disks = Some(std::path::absolute(disks)?),
            }
            command.grace_ms = (settings.drain + workers::GRACE).as_millis() as u64;
            config.machine_command = Some(command);
        }
        let router = stand_in::StandIn::new(config).router();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                warn!("the stand-in for Vast.ai ended: {error}");
            }
        });
        Ok(Some(format!("play machines at {base}; faults: POST {base}/stand-in/faults with Authorization: Bearer {key}")))
    }
}
