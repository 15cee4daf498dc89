//! The data folder: everything that outlives a run is in it, and one kiln-local at a time holds it.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Reason};

/// Below this much free space nothing is started: the stand-in loses what it can't save.
const LEAST_FREE_BYTES: u64 = 200 << 20;

/// Held until dropped; `scripts/reset` tries the same lock.
#[derive(Debug)]
pub struct DataDir {
    pub path: PathBuf,
    lock: File,
}

impl DataDir {
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let refused = |what: &str, error: std::io::Error| Failure::new(Reason::DataDir, format!("the data folder {} {what}: {error}", path.display()));
        fs::create_dir_all(path).map_err(|error| refused("can't be made", error))?;
        let path = path.canonicalize().map_err(|error| refused("can't be found", error))?;
        let lock = File::options().create(true).append(true).open(path.join("lock")).map_err(|error| refused("can't be written", error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::new(Reason::AlreadyRunning, format!("another kiln-local runs on {}; stop it, or set KILN_DATA_DIR", path.display())));
            }
            Err(TryLockError::Error(error)) => return Err(refused("can't be locked", error)),
        }
        let disk = rustix::fs::statvfs(&path).map_err(|error| refused("has an unknown disk", error.into()))?;
        let free = disk.f_bavail * disk.f_frsize;
        check_free(free, &path)?;
        Ok(Self { path, lock })
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file that only its owner may read, whole or not at all.
    pub fn write(&self, name: &str, content: &str) -> Result<(), Failure> {
        write_private(&self.join(name), content)
            .map_err(|error| Failure::new(Reason::DataDir, format!("{} can't be written: {error}", self.join(name).display())))
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // Closing is not enough: a process that is being started holds a copy of the descriptor until its exec. What fails here ends with the process.
        let _ = self.lock.unlock();
    }
}

fn check_free(free: u64, path: &Path) -> Result<(), Failure> {
    if free >= LEAST_FREE_BYTES {
        return Ok(());
    }
    let message = format!("{} MB are free under {}; kiln-local wants {}", free >> 20, path.display(), LEAST_FREE_BYTES >> 20);
    Err(Failure::new(Reason::DataDir, message))
}

fn write_private(path: &Path, content: &str) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::options().create(true).write(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_almost_full_is_refused_with_what_is_wanted() {
        check_free(LEAST_FREE_BYTES, Path::new("/data")).unwrap();
        let failure = check_free(LEAST_FREE_BYTES - 1, Path::new("/data")).unwrap_err();
        assert_eq!((failure.reason, failure.to_string().as_str()), (Reason::DataDir, "199 MB are free under /data; kiln-local wants 200"));
    }

    #[test]
    fn a_folder_has_one_holder_and_a_file_is_no_folder() {
        let root = tempfile::tempdir().unwrap();
        let held = DataDir::open(&root.path().join("a/b")).unwrap();
        assert_eq!(DataDir::open(&held.path).unwrap_err().reason, Reason::AlreadyRunning);
        held.write("x", "1").unwrap();
        assert_eq!(fs::read_to_string(held.join("x")).unwrap(), "1");
        assert_eq!(DataDir::open(&held.join("x")).unwrap_err().reason, Reason::DataDir);
        let path = held.path.clone();
        drop(held);
        DataDir::open(&path).unwrap();
    }
}
