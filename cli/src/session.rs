//! The session on disk: one file that this user alone can read. Its cookie goes to the address it came from and to no other.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Session {
    pub url: String,
    pub mail: String,
    pub cookie: String,
}

/// `KILN_CONFIG`, or `kiln/session.json` in the user's configuration folder.
fn path() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = set("KILN_CONFIG") {
        return Ok(path);
    }
    let folder = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    Ok(folder.context("neither KILN_CONFIG nor HOME is set")?.join("kiln/session.json"))
}

pub fn read() -> Result<Option<Session>> {
    let path = path()?;
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).with_context(|| format!("{} is not a session; delete it and sign in again", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

pub fn write(session: &Session) -> Result<()> {
    let path = path()?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(|| folder.display().to_string())?;
    }
    let part = path.with_extension("part");
    // A file left from before would keep its own rights.
    let _ = std::fs::remove_file(&part);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part).with_context(|| part.display().to_string())?;
    file.write_all(&serde_json::to_vec_pretty(session)?)?;
    std::fs::rename(&part, &path).with_context(|| path.display().to_string())
}

pub fn forget() -> Result<()> {
    match std::fs::remove_file(path()?) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
