//! A machine of the pool that runs nothing: it hands over its boot token, so that a test can be the worker.

use crate::system::wait_for;
use anyhow::{Result, ensure};
use std::time::Duration;

/// What `KILN_WORKER_BIN` is to name.
pub struct Machine {
    pub program: String,
    folder: tempfile::TempDir,
}

impl Machine {
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("kiln-test-machine-").tempdir()?;
        let (text, path, here) = (folder.path().join("text"), folder.path().join("machine"), folder.path().display());
        std::fs::write(&text, format!("#!/bin/sh\nprintf %s \"$KILN_BOOT_TOKEN\" >'{here}/new.'$$\nmv '{here}/new.'$$ '{here}/token.'$$\nexec sleep 600\n"))?;
        // Written by another process: open for writing in ours, it could be inherited by what a test beside this one forks, and a program
        // that anybody may still write to can't be started (ETXTBSY).
        ensure!(std::process::Command::new("install").args(["-m", "700"]).args([&text, &path]).status()?.success(), "install");
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
