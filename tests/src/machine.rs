//! A machine of the pool that runs nothing: it hands over its boot token, so that a test can be the worker.

use crate::system::wait_for;
use anyhow::Result;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// What `KILN_WORKER_BIN` is to name.
pub struct Machine {
    pub program: String,
    folder: tempfile::TempDir,
}

impl Machine {
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("kiln-test-machine-").tempdir()?;
        let (path, here) = (folder.path().join("machine"), folder.path().display());
        std::fs::write(&path, format!("#!/bin/sh\nprintf %s \"$KILN_BOOT_TOKEN\" >'{here}/new.'$$\nmv '{here}/new.'$$ '{here}/token.'$$\nexec sleep 600\n"))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))?;
        Ok(Self { program: path.display().to_string(), folder })
    }

    pub async fn boot_token(&self) -> Result<String> {
        Ok(self.boot_tokens(1).await?.remove(0))
    }

    /// Of so many machines, once the pool has started them.
    pub async fn boot_tokens(&self, count: usize) -> Result<Vec<String>> {
        wait_for("the pool to start its machines", Duration::from_secs(60), || async {
            let mut tokens = Vec::new();
            for file in std::fs::read_dir(self.folder.path())?.flatten() {
                if file.file_name().to_string_lossy().starts_with("token.") {
                    tokens.push(std::fs::read_to_string(file.path())?);
                }
            }
            Ok((tokens.len() >= count).then_some(tokens))
        })
        .await
    }
}
