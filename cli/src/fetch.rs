//! Files to and from the storage, over presigned URLs: uploads declared with their hash, downloads checked by theirs.

use crate::api::Api;
use crate::args::Save;
use crate::text;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Uploads the file and gives the verified upload.
pub async fn upload(api: &Api, path: &Path) -> Result<Value> {
    let bytes: Bytes = std::fs::read(path).with_context(|| path.display().to_string())?.into();
    let filename = path.file_name().and_then(|name| name.to_str()).unwrap_or("upload");
    let content_type = content_type(&bytes).with_context(|| match bytes.len() {
        0 => format!("{} is empty", path.display()),
        _ => format!("{} is no JPEG, PNG or WebP file", path.display()),
    })?;
    let body = json!({"filename": filename, "content_type": content_type, "bytes": bytes.len(), "sha256": hex::encode(Sha256::digest(&bytes))});
    let ticket = api.post("uploads", &body).await?;
    let parts = ticket["parts"].as_array().context("the server named no place to upload to")?;
    let [part] = parts.as_slice() else { bail!("this version uploads in one part, the server asks for {}", parts.len()) };
    let mut request = api.http().put(part["url"].as_str().context("the upload has no address")?);
    for (name, value) in part["headers"].as_object().into_iter().flatten() {
        // The client itself writes the length.
        if !name.eq_ignore_ascii_case("content-length") && !name.eq_ignore_ascii_case("host") {
            request = request.header(name, value.as_str().unwrap_or_default());
        }
    }
    let answer = request.body(bytes).send().await.map_err(|error| anyhow::anyhow!("uploading {}: {}", path.display(), error.without_url()))?;
    if !answer.status().is_success() {
        bail!("the storage refused {} (HTTP {})", path.display(), answer.status().as_u16());
    }
    let id = text::plain(&ticket["id"]);
    api.post(&format!("uploads/{id}/complete"), &json!({})).await
}

/// By its first bytes; the server looks closer.
fn content_type(bytes: &[u8]) -> Option<&'static str> {
    Some(match bytes {
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        _ => return None,
    })
}

/// Downloads every artifact of the finished job and gives the files' paths. `default` names a single result.
pub async fn download(api: &Api, job: &Value, save: &Save, default: Option<PathBuf>) -> Result<Vec<PathBuf>> {
    let artifacts = job["artifacts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut paths = Vec::new();
    for artifact in artifacts {
        let path = place(artifact, job, save, default.as_deref(), artifacts.len())?;
        let bytes = get(api, artifact).await?;
        write(&path, &bytes, save.force)?;
        paths.push(path);
    }
    Ok(paths)
}

/// Where an artifact goes: `--out` as a file for a single one, as a folder otherwise.
fn place(artifact: &Value, job: &Value, save: &Save, default: Option<&Path>, count: usize) -> Result<PathBuf> {
    let name = text::plain(&artifact["name"]);
    // A name from the server never leads out of the folder.
    let name = Path::new(&name).file_name().and_then(|name| name.to_str()).context("an artifact without a name")?.to_owned();
    Ok(match (&save.out, default) {
        (Some(out), _) if count > 1 || out.is_dir() => out.join(name),
        (Some(out), _) => out.clone(),
        (None, Some(default)) if count == 1 => default.to_owned(),
        (None, _) => PathBuf::from(format!("{}-{name}", text::plain(&job["id"]))),
    })
}

async fn get(api: &Api, artifact: &Value) -> Result<Vec<u8>> {
    let url = artifact["url"].as_str().context("the artifact has no address")?;
    let wanted = artifact["bytes"].as_u64().context("the artifact has no length")?;
    let failed = |error: reqwest::Error| anyhow::anyhow!("downloading: {}", error.without_url());
    let mut answer = api.http().get(url).send().await.map_err(failed)?;
    if !answer.status().is_success() {
        bail!("the storage refused the download (HTTP {})", answer.status().as_u16());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > wanted {
            break;
        }
    }
    if bytes.len() as u64 != wanted || artifact["sha256"].as_str() != Some(&hex::encode(Sha256::digest(&bytes))) {
        bail!("what came is not what the job made (its SHA-256 differs); nothing was written");
    }
    Ok(bytes)
}

/// Whether the file may be written; said before anything is paid for.
pub fn check_free(path: &Path, force: bool) -> Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        bail!("there is no folder {}", folder.display());
    }
    if path.is_file() && !force {
        bail!("{} is there already; name another by --out, or pass --force", path.display());
    }
    Ok(())
}

/// The whole file or none.
fn write(path: &Path, bytes: &[u8], force: bool) -> Result<()> {
    check_free(path, force)?;
    let part = path.with_file_name(format!(".{}.part", path.file_name().and_then(|name| name.to_str()).unwrap_or("kiln")));
    let written = std::fs::File::create(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        std::fs::rename(&part, path)
    });
    written.with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_the_server_stays_in_the_folder() {
        let save = Save { out: Some(std::env::temp_dir()), force: false };
        let job = json!({"id": "job_1"});
        let placed = place(&json!({"name": "../../etc/passwd"}), &job, &save, None, 1).unwrap();
        assert_eq!(placed, std::env::temp_dir().join("passwd"));
        assert!(place(&json!({"name": ".."}), &job, &save, None, 1).is_err());
    }

    #[test]
    fn a_file_s_type_is_told_by_its_bytes() {
        assert_eq!(content_type(b"\x89PNG\r\n"), Some("image/png"));
        assert_eq!(content_type(b"RIFF0000WEBPVP8 "), Some("image/webp"));
        assert_eq!((content_type(b"GIF89a"), content_type(b"")), (None, None));
    }
}
