//! The instance's token on disk, if a folder for it is set: readable by this user alone, replaced as a whole. Beside it the file `heard` has the time of the
//! last answered heartbeat, for a health check that asks no network.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

pub struct Kept(Option<PathBuf>);

impl Kept {
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self(folder)
    }

    /// Those that may be the instance's, the likeliest first: of two, the server has taken the first or knows the second alone.
    pub fn read(&self) -> Vec<String> {
        let text = self.0.as_ref().and_then(|folder| std::fs::read_to_string(folder.join("token")).ok()).unwrap_or_default();
        text.lines().map(str::trim).filter(|token| !token.is_empty()).map(str::to_owned).collect()
    }

    pub fn write(&self, tokens: &[&str]) -> std::io::Result<()> {
        let Some(folder) = &self.0 else { return Ok(()) };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let part = folder.join("token.part");
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(tokens.join("\n").as_bytes())?;
        file.sync_all()?;
        std::fs::rename(part, folder.join("token"))
    }

    /// A heartbeat was answered. That it can't be written down is no trouble of the worker's.
    pub fn heard(&self) {
        if let Some(folder) = &self.0 {
            let _ = std::fs::write(folder.join("heard"), "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_kept_token_is_read_back_and_is_nobody_else_s() {
        let folder = std::env::temp_dir().join(format!("kiln-kept-{:x}", fastrand::u64(..)));
        let kept = Kept::new(Some(folder.clone()));
        assert!(kept.read().is_empty());
        kept.write(&["first"]).unwrap();
        kept.write(&["second", "first"]).unwrap();
        assert_eq!(kept.read(), ["second", "first"]);
        // There was none before.
        kept.write(&["third", ""]).unwrap();
        assert_eq!(kept.read(), ["third"]);
        assert_eq!(std::fs::metadata(folder.join("token")).unwrap().permissions().mode() & 0o777, 0o600);
        kept.heard();
        assert!(folder.join("heard").is_file());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
