//! The networks' weights on disk: `worker/models.json` pins each file by its hash, and nothing else is ever loaded.
//!
//! `scripts/fetch-models` puts the files there; this module reads them, checks them and hands out a [`CompactNet`].

mod compact;
mod ncnn;

use kiln_core::models::{PinnedFile, models};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

pub use compact::{CompactNet, Conv};

/// Where the files are looked for unless the caller says otherwise, relative to the working folder.
pub const DEFAULT_DIR: &str = ".cache/models";

/// Why a network could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("the model file {path} can't be read ({source}); scripts/fetch-models fetches it")]
    Missing { path: PathBuf, source: std::io::Error },
    #[error("the model file {path} is not the pinned one (SHA-256 {found}, pinned {pinned}); scripts/fetch-models fetches it anew")]
    NotAsPinned { path: PathBuf, found: String, pinned: String },
    #[error("{file}: {why}")]
    Unreadable { file: String, why: String },
    #[error("no model enlarges {0} times")]
    NoSuchScale(u8),
    #[error("this build computes on a GPU, and there is none to compute on: {0}")]
    NoGpu(String),
}

/// The super-resolution network that enlarges `scale` times, checked against its pins.
pub fn load_upscaler(dir: &Path, scale: u8) -> Result<CompactNet, ModelError> {
    let model = models().into_iter().find(|m| m.scale == scale).ok_or(ModelError::NoSuchScale(scale))?;
    let file = |extension: &str| {
        let pinned = model.files.iter().find(|f| f.name.ends_with(extension));
        let pinned = pinned.ok_or_else(|| ModelError::Unreadable { file: model.name.clone(), why: format!("worker/models.json names no {extension} file") })?;
        read_pinned(dir, pinned)
    };
    let unreadable = |why| ModelError::Unreadable { file: model.name.clone(), why };
    let param = String::from_utf8(file(".param")?).map_err(|e| unreadable(e.to_string()))?;
    let graph = ncnn::read(&param, &file(".bin")?).map_err(unreadable)?;
    CompactNet::from_graph(graph, scale).map_err(unreadable)
}

fn read_pinned(dir: &Path, pinned: &PinnedFile) -> Result<Vec<u8>, ModelError> {
    let path = dir.join(&pinned.name);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(source) => return Err(ModelError::Missing { path, source }),
    };
    let found = hex::encode(Sha256::digest(&bytes));
    if bytes.len() as u64 != pinned.bytes || found != pinned.sha256 {
        return Err(ModelError::NotAsPinned { path, found, pinned: pinned.sha256.clone() });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_pins_two_files_for_each_factor() {
        let models = models();
        assert_eq!(models.iter().map(|m| m.scale).collect::<Vec<_>>(), [2, 3, 4]);
        for file in models.iter().flat_map(|m| &m.files) {
            assert_eq!(file.sha256.len(), 64, "{}", file.name);
        }
        assert!(models.iter().all(|m| m.files.len() == 2));
    }

    #[test]
    fn an_absent_file_names_the_script_that_fetches_it() {
        let error = load_upscaler(Path::new("no/such/folder"), 2).unwrap_err();
        assert!(error.to_string().contains("scripts/fetch-models"), "{error}");
    }

    #[test]
    fn a_changed_file_is_refused() {
        let dir = std::env::temp_dir().join(format!("kiln-models-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("realesr-animevideov3-x2.param"), "7767517\n").unwrap();
        let error = load_upscaler(&dir, 2).unwrap_err();
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(matches!(error, ModelError::NotAsPinned { .. }), "{error}");
    }

    #[test]
    fn a_factor_without_a_network_is_an_error() {
        assert!(matches!(load_upscaler(Path::new("."), 5), Err(ModelError::NoSuchScale(5))));
    }
}
