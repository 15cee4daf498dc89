//! The networks that workers load: `worker/models.json` pins each file by its hash. The worker reads it to know what it may load, `functions/fleet` to know
//! what a worker may fetch; nothing else is ever loaded or handed out.

use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Debug, Clone, Deserialize)]
pub struct Model {
    pub name: String,
    /// What can't be done without it.
    pub capability: String,
    /// How many times larger it makes a picture.
    pub scale: u8,
    pub files: Vec<PinnedFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PinnedFile {
    pub name: String,
    pub bytes: u64,
    /// In hex.
    pub sha256: String,
}

/// All of them.
pub fn models() -> Vec<Model> {
    #[derive(Deserialize)]
    struct Manifest {
        models: Vec<Model>,
    }
    // Committed with the source, so a fault in it is a fault of the build; a test reads it.
    serde_json::from_str::<Manifest>(include_str!("../../../worker/models.json")).expect("worker/models.json is well-formed").models
}

/// The files without which these capabilities can't be had. Two names may have one content.
pub fn needed(capabilities: &[String]) -> Vec<PinnedFile> {
    models().into_iter().filter(|model| capabilities.contains(&model.capability)).flat_map(|model| model.files).collect()
}

/// What a machine downloads that is to have these capabilities: each content once.
pub fn bytes(capabilities: &[String]) -> u64 {
    let contents: BTreeMap<String, u64> = needed(capabilities).into_iter().map(|file| (file.sha256, file.bytes)).collect();
    contents.values().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::CAPABILITIES;

    #[test]
    fn each_file_is_pinned_and_needed_by_a_capability_that_there_is() {
        let models = models();
        assert!(models.iter().all(|model| CAPABILITIES.contains(&model.capability.as_str()) && !model.files.is_empty()));
        let all: Vec<PinnedFile> = models.into_iter().flat_map(|model| model.files).collect();
        for file in &all {
            assert!(file.sha256.len() == 64 && file.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{}", file.name);
            // A name is part of a path on a worker.
            assert!(file.bytes > 0 && !file.name.starts_with('.') && !file.name.contains(['/', '\\']), "{}", file.name);
        }
        assert_eq!(needed(&CAPABILITIES.map(str::to_owned)), all);
        assert_eq!(needed(&["no such thing".into()]), []);
        // What two names share is downloaded once.
        let (all, once) = (all.iter().map(|file| file.bytes).sum::<u64>(), bytes(&CAPABILITIES.map(str::to_owned)));
        assert!(once > 0 && once < all, "{once} of {all}");
        assert_eq!(bytes(&[]), 0);
    }
}
