//! The files of a job over presigned URLs: inputs in, checked by length and hash; artifacts out.
//! A URL is a secret while it lives, so none is logged.

use super::api::{CallError, retrying};
use super::backoff::Backoff;
use super::work::Fault;
use crate::engine::{Input, Output};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use kiln_core::fleet::{ClaimInput, Declared, MAX_ARTIFACT_BYTES, Put};
use sha2::{Digest, Sha256};
use std::time::Duration;

pub(super) const TRIES: Backoff = Backoff::new(200, 5_000, 6);
/// Transfers of one job at once.
const AT_ONCE: usize = 4;

/// An output with what is declared of it.
pub struct Made {
    pub declared: Declared,
    pub bytes: Bytes,
}

impl Made {
    pub fn of(output: Output) -> Self {
        let sha256 = hex::encode(Sha256::digest(&output.bytes));
        let declared = Declared { name: output.name, content_type: output.content_type.into(), bytes: output.bytes.len() as u64, sha256 };
        Self { declared, bytes: output.bytes.into() }
    }
}

/// Fetches every input, in order.
pub async fn download(http: &reqwest::Client, inputs: &[ClaimInput]) -> Result<Vec<Input>, Fault> {
    let mut fetched = Vec::with_capacity(inputs.len());
    // In their order: an engine knows its inputs by position.
    let mut coming = stream::iter(inputs.to_vec()).map(|input| fetch(http.clone(), input)).buffered(AT_ONCE);
    while let Some(input) = coming.try_next().await? {
        fetched.push(input);
    }
    Ok(fetched)
}

async fn fetch(http: reqwest::Client, input: ClaimInput) -> Result<Input, Fault> {
    if input.bytes > MAX_ARTIFACT_BYTES {
        return Err(Fault::retryable("input_too_large", format!("An input of {} bytes is more than a worker takes.", input.bytes)));
    }
    let bytes = retrying(TRIES, "an input", || get(&http, &input))
        .await
        .map_err(|error| Fault::retryable("input_unavailable", format!("An input could not be fetched: {error}")))?;
    if bytes.len() as u64 != input.bytes || hex::encode(Sha256::digest(&bytes)) != input.sha256 {
        return Err(Fault::retryable("input_mismatch", "An input isn't the file that was uploaded."));
    }
    Ok(Input { content_type: input.content_type, bytes })
}

/// Reads as much as was announced and one byte more, whatever the other side sends.
async fn get(http: &reqwest::Client, input: &ClaimInput) -> Result<Vec<u8>, CallError> {
    let mut response = http.get(&input.url).timeout(patience(input.bytes)).send().await.map_err(CallError::of)?;
    check(&response)?;
    let mut bytes = Vec::with_capacity(input.bytes as usize);
    while let Some(chunk) = response.chunk().await.map_err(CallError::of)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > input.bytes {
            break;
        }
    }
    Ok(bytes)
}

#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// 403: signed for another time or other headers; new addresses may help once.
    #[error("S3 refuses the address")]
    Expired,
    #[error("an artifact could not be uploaded: {0}")]
    Failed(CallError),
    #[error("the server gave no address for {0}")]
    NoAddress(String),
}

/// Sends every artifact to its address.
pub async fn upload(http: &reqwest::Client, puts: &[Put], made: &[Made]) -> Result<(), UploadError> {
    let pairs = made
        .iter()
        .map(|made| {
            let put = puts.iter().find(|put| put.name == made.declared.name).cloned();
            put.map(|put| (put, made.bytes.clone())).ok_or_else(|| UploadError::NoAddress(made.declared.name.clone()))
        })
        .collect::<Result<Vec<_>, _>>()?;
    stream::iter(pairs.into_iter().map(Ok)).try_for_each_concurrent(AT_ONCE, |(put, bytes)| send(http.clone(), put, bytes)).await
}

async fn send(http: reqwest::Client, put: Put, bytes: Bytes) -> Result<(), UploadError> {
    retrying(TRIES, "an upload", || once(&http, &put, bytes.clone())).await.map_err(|error| match error.status() {
        Some(403) => UploadError::Expired,
        _ => UploadError::Failed(error),
    })
}

async fn once(http: &reqwest::Client, put: &Put, bytes: Bytes) -> Result<(), CallError> {
    let mut request = http.put(&put.url).timeout(patience(bytes.len() as u64));
    for (name, value) in &put.headers {
        // The client itself writes the length (signed too), and would write it twice.
        if !name.eq_ignore_ascii_case("content-length") && !name.eq_ignore_ascii_case("host") {
            request = request.header(name, value);
        }
    }
    let response = request.body(bytes).send().await.map_err(CallError::of)?;
    // Already there: an earlier try got through and its answer did not. `complete` checks what is there.
    if response.status().as_u16() == 412 {
        return Ok(());
    }
    check(&response)
}

pub(super) fn check(response: &reqwest::Response) -> Result<(), CallError> {
    let status = response.status().as_u16();
    match status {
        200..=299 => Ok(()),
        408 | 429 | 500.. => Err(CallError::Trouble { status, after: None }),
        // S3's 409 is a conditional write that met another one: to be sent again.
        409 => Err(CallError::Trouble { status, after: None }),
        _ => Err(CallError::Refused { status, code: "storage".into(), detail: "the storage refused it".into() }),
    }
}

/// Half a minute, and more for a large file: 256 KiB a second at least.
pub(super) fn patience(bytes: u64) -> Duration {
    Duration::from_secs(30 + bytes / (256 << 10))
}
