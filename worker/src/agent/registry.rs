//! Which engines this process has, by kind of job. They are made once, at the start, with their models in memory.

use super::Settings;
use crate::engine::Engine;
use std::sync::Arc;

#[derive(Default)]
pub struct Registry(Vec<Arc<dyn Engine>>);

/// Why the engines could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{0}. Run scripts/fetch-models, or name the folder of the models by KILN_MODELS_DIR")]
    MissingModels(String),
    #[error("{0}")]
    Other(String),
}

impl Registry {
    pub fn new(engines: Vec<Arc<dyn Engine>>) -> Self {
        Self(engines)
    }

    /// The engine that runs this kind.
    pub fn find(&self, kind: &str) -> Option<Arc<dyn Engine>> {
        self.0.iter().find(|engine| engine.kinds().contains(&kind)).cloned()
    }

    /// Every kind that some engine runs.
    pub fn kinds(&self) -> Vec<&'static str> {
        self.0.iter().flat_map(|engine| engine.kinds()).copied().collect()
    }
}

/// Makes the engines of the settings' capabilities.
pub fn load(settings: &Settings) -> Result<Registry, LoadError> {
    for capability in &settings.capabilities {
        if !kiln_core::kinds::CAPABILITIES.contains(&capability.as_str()) {
            return Err(LoadError::Other(format!("KILN_CAPABILITIES names {capability:?}; there are: {}", kiln_core::kinds::CAPABILITIES.join(", "))));
        }
    }
    Ok(Registry::default())
}
