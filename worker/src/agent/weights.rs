//! Gets the models' files that this machine's folder lacks, from the deployment's bucket, by addresses that the server signs.
//!
//! It promises: names, lengths and hashes are the pinned ones, whatever the server says; a file is there whole and as pinned, or not at all; no more
//! is read than is pinned; an address is in no log.

use super::api::{CallError, retrying};
use super::files::{TRIES, check, patience};
use kiln_core::fleet::ModelGet;
use kiln_core::models::{PinnedFile, needed};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::Path;

/// What these capabilities need and the folder has not. By length alone: whoever loads a file looks at its hash.
pub fn lacking(folder: &Path, capabilities: &[String]) -> Vec<PinnedFile> {
    let there = |file: &PinnedFile| std::fs::metadata(folder.join(&file.name)).is_ok_and(|found| found.is_file() && found.len() == file.bytes);
    needed(capabilities).into_iter().filter(|file| !there(file)).collect()
}

/// Fetches them all, or says why that can't be done.
pub async fn fetch(http: &reqwest::Client, folder: &Path, lacking: &[PinnedFile], gets: &[ModelGet]) -> Result<(), String> {
    let began = std::time::Instant::now();
    for (i, file) in lacking.iter().enumerate() {
        // Written beside its place and renamed: who loads it sees the whole file or none.
        let (part, place) = (folder.join(format!(".{}.part", file.name)), folder.join(&file.name));
        let disk = |error: std::io::Error| format!("{} can't be written: {error}", place.display());
        match lacking[..i].iter().find(|had| had.sha256 == file.sha256) {
            Some(same) => drop(std::fs::copy(folder.join(&same.name), &part).map_err(disk)?),
            None => {
                let get = gets.iter().find(|get| get.sha256 == file.sha256);
                let get = get.ok_or_else(|| format!("the server has no address for the model file {}", file.name))?;
                let fetched = retrying(TRIES, "a model's file", || once(http, &get.url, &part, file)).await;
                fetched.map_err(|error| {
                    format!("the model file {} could not be fetched ({error}); scripts/publish-models puts it into the bucket", file.name)
                })??;
            }
        }
        std::fs::rename(&part, &place).map_err(disk)?;
    }
    let bytes: u64 = lacking.iter().map(|file| file.bytes).sum();
    tracing::info!(files = lacking.len(), bytes, ms = began.elapsed().as_millis() as u64, "the models were fetched");
    Ok(())
}

/// One try. The inner error is one that another try would not mend.
async fn once(http: &reqwest::Client, url: &str, part: &Path, file: &PinnedFile) -> Result<Result<(), String>, CallError> {
    let mut response = http.get(url).timeout(patience(file.bytes)).send().await.map_err(CallError::of)?;
    check(&response)?;
    // In pieces as they come, since a file may be larger than the memory; each is small, so nobody waits for the disk for long.
    let (mut hash, mut length) = (Sha256::new(), 0u64);
    let made = part.parent().map_or(Ok(()), std::fs::create_dir_all);
    let mut to = match made.and_then(|()| std::fs::File::create(part)) {
        Ok(to) => to,
        Err(error) => return Ok(Err(format!("{} can't be written: {error}", part.display()))),
    };
    while let Some(chunk) = response.chunk().await.map_err(CallError::of)? {
        length += chunk.len() as u64;
        if length > file.bytes {
            break;
        }
        hash.update(&chunk);
        if let Err(error) = to.write_all(&chunk) {
            return Ok(Err(format!("{} can't be written: {error}", part.display())));
        }
    }
    let found = hex::encode(hash.finalize());
    if length != file.bytes || found != file.sha256 {
        let _ = std::fs::remove_file(part);
        let why = format!(
            "the bucket's model file {} is not the pinned one (SHA-256 {found} of {length} bytes, pinned {} of {})",
            file.name, file.sha256, file.bytes
        );
        return Ok(Err(why));
    }
    Ok(to.sync_all().map_err(|error| format!("{} can't be written: {error}", part.display())))
}
