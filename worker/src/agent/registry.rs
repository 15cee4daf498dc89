//! Which engines this process has, by kind of job. They are made once, at the start, with their models in memory.

use super::Settings;
use crate::engine::Engine;
use crate::engine::noop::Noop;
use crate::engine::upscale::{Upscale, UpscaleSettings};
use crate::models::ModelError;
use std::sync::Arc;

#[derive(Default)]
pub struct Registry(Vec<Arc<dyn Engine>>);

/// Why the engines could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file is missing or isn't the pinned one; the text names scripts/fetch-models.
    #[error("{0}; KILN_MODELS_DIR names the folder")]
    MissingModels(String),
    #[error("{0}")]
    Unfit(String),
    #[error("{0}")]
    Other(String),
}

impl LoadError {
    fn of(error: ModelError) -> Self {
        match error {
            ModelError::Missing { .. } | ModelError::NotAsPinned { .. } => LoadError::MissingModels(error.to_string()),
            ModelError::NoGpu(_) => LoadError::Unfit(error.to_string()),
            other => LoadError::Other(other.to_string()),
        }
    }
}

impl Registry {
    pub fn new(engines: Vec<Arc<dyn Engine>>) -> Self {
        Self(engines)
    }

    /// The engine that runs this kind.
    pub fn find(&self, kind: &str) -> Option<Arc<dyn Engine>> {
        self.0.iter().find(|engine| engine.kinds().contains(&kind)).cloned()
    }

    /// Whether each engine makes of something known what it must.
    pub fn self_test(&self) -> Result<(), String> {
        self.0.iter().try_for_each(|engine| engine.self_test().map_err(|why| format!("{}: {why}", engine.kinds().join(", "))))
    }

    /// Every kind that some engine runs.
    pub fn kinds(&self) -> Vec<&'static str> {
        self.0.iter().flat_map(|engine| engine.kinds()).copied().collect()
    }
}

/// Makes the engines of the settings' capabilities.
pub fn load(settings: &Settings) -> Result<Registry, LoadError> {
    let mut engines: Vec<Arc<dyn Engine>> = Vec::new();
    for capability in &settings.capabilities {
        match capability.as_str() {
            "image" => engines.extend(image(settings)?),
            other => {
                let known = kiln_core::kinds::CAPABILITIES.join(", ");
                return Err(LoadError::Other(format!("KILN_CAPABILITIES names {other:?}; there are: {known}")));
            }
        }
    }
    Ok(Registry::new(engines))
}

fn image(settings: &Settings) -> Result<Vec<Arc<dyn Engine>>, LoadError> {
    let from_env = UpscaleSettings::from_env().map_err(LoadError::Other)?;
    let upscale = Upscale::new(&UpscaleSettings { models_dir: settings.models_dir.clone(), need_gpu: settings.supervised, ..from_env }).map_err(LoadError::of);
    if !settings.test_engines() {
        return Ok(vec![Arc::new(upscale?)]);
    }
    let noop: Arc<dyn Engine> = Arc::new(Noop);
    match upscale {
        Ok(upscale) => Ok(vec![Arc::new(upscale), noop]),
        // Drills and benches of the noop engine need no weights.
        Err(LoadError::MissingModels(why)) => {
            tracing::warn!("upscale is not offered: {why}");
            Ok(vec![noop])
        }
        Err(other) => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_its_gpu_is_unfit_and_one_without_models_is_not() {
        assert!(matches!(LoadError::of(ModelError::NoGpu("no driver".into())), LoadError::Unfit(why) if why.contains("no driver")));
        let absent = ModelError::Missing { path: "a".into(), source: std::io::ErrorKind::NotFound.into() };
        assert!(matches!(LoadError::of(absent), LoadError::MissingModels(_)));
    }
}
