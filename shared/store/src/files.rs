//! The two buckets: what clients upload (incoming), and what only the system writes (media: inputs and artifacts).
//!
//! Promises: a presigned PUT takes exactly the declared bytes and type, and nothing else is demanded of who uses it; reads
//! are bounded; a copy is of exactly the bytes that were read, or not made.

use crate::Error;
use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode, Delete, MetadataDirective, ObjectIdentifier};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use kiln_core::ids::{AccountId, JobId, UploadId};
use std::collections::BTreeMap;
use std::time::Duration;

/// What one call deletes at most.
pub const DELETE_BATCH: usize = 1000;

/// Where a client puts an upload; never read by a job.
pub fn incoming_key(account: &AccountId, upload: &UploadId) -> String {
    format!("incoming/{account}/{upload}")
}

/// The verified copy of an upload, in the media bucket.
pub fn input_key(account: &AccountId, upload: &UploadId) -> String {
    format!("inputs/{account}/{upload}")
}

/// A file of a model, by its content. `scripts/publish-models` puts it there.
pub fn model_key(sha256: &str) -> String {
    format!("models/{sha256}")
}

/// What one attempt made; a later attempt has keys of its own.
pub fn artifact_key(job: &JobId, attempt: u32, name: &str) -> String {
    format!("artifacts/{job}/{attempt}/{name}")
}

/// A request that anybody who holds it may send once or more until it expires.
#[derive(Clone, PartialEq, Eq)]
pub struct Presigned {
    pub url: String,
    /// What must be sent with it, by lower-case name; `host` is left to the client.
    pub headers: BTreeMap<String, String>,
}

/// The URL is a right, so it stays out of logs.
impl std::fmt::Debug for Presigned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Presigned").field("headers", &self.headers.keys()).finish_non_exhaustive()
    }
}

/// An object as S3 describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub bytes: u64,
    pub content_type: Option<String>,
    pub etag: String,
    /// Lower-case hex, where S3 has checked one.
    pub sha256: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Files {
    pub(crate) client: Client,
    incoming: Option<String>,
    media: Option<String>,
}

impl Files {
    /// Buckets from `KILN_INCOMING_BUCKET` and `KILN_MEDIA_BUCKET`; a function has only those that it may touch.
    pub fn new(config: &SdkConfig, env: impl Fn(&str) -> Option<String>) -> Self {
        let path_style = env("KILN_S3_PATH_STYLE").is_some_and(|value| value == "1");
        let settings = aws_sdk_s3::config::Builder::from(config)
            .force_path_style(path_style)
            // The SDK would else sign a CRC header of an empty body into our presigned PUTs, and a checksum mode into
            // our GETs, that no browser sends.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        let bucket = |name: &str| env(name).filter(|value| !value.is_empty());
        Self { client: Client::from_conf(settings), incoming: bucket("KILN_INCOMING_BUCKET"), media: bucket("KILN_MEDIA_BUCKET") }
    }

    pub(crate) fn incoming(&self) -> Result<&str, Error> {
        self.incoming.as_deref().ok_or_else(|| Error::internal("KILN_INCOMING_BUCKET is not set"))
    }

    pub(crate) fn media(&self) -> Result<&str, Error> {
        self.media.as_deref().ok_or_else(|| Error::internal("KILN_MEDIA_BUCKET is not set"))
    }

    /// A PUT of exactly these bytes. Their length is signed but not among the headers: a browser sends it by itself
    /// and lets no script set it.
    pub async fn presign_incoming_put(
        &self,
        key: &str,
        content_type: &str,
        bytes: u64,
        sha256_hex: Option<&str>,
        valid_for: Duration,
    ) -> Result<Presigned, Error> {
        let checksum = sha256_hex.map(hex_to_base64).transpose()?;
        let request = self
            .client
            .put_object()
            .bucket(self.incoming()?)
            .key(key)
            .content_type(content_type)
            .content_length(length(bytes)?)
            .set_checksum_sha256(checksum)
            .presigned(expiry(valid_for)?)
            .await
            .map_err(Error::aws)?;
        let mut presigned = presigned(&request);
        presigned.headers.remove("content-length");
        Ok(presigned)
    }

    pub async fn head_incoming(&self, key: &str) -> Result<Option<Stored>, Error> {
        self.head(self.incoming()?, key).await
    }

    /// The whole upload, or `None` when it is gone or no longer the one of `if_match`. More than `max` bytes is an error:
    /// ask for its size first.
    pub async fn read_incoming(&self, key: &str, max: u64, if_match: Option<&str>) -> Result<Option<(Vec<u8>, Stored)>, Error> {
        let call = self.client.get_object().bucket(self.incoming()?).key(key).checksum_mode(ChecksumMode::Enabled);
        let output = match call.set_if_match(if_match.map(str::to_owned)).send().await {
            Ok(output) => output,
            Err(error) if matches!(status(&error), Some(404 | 412)) => return Ok(None),
            Err(error) => return Err(Error::aws(error)),
        };
        let stored = Stored {
            bytes: size(output.content_length),
            content_type: output.content_type,
            etag: output.e_tag.unwrap_or_default(),
            sha256: output.checksum_sha256.as_deref().and_then(base64_to_hex),
        };
        let bytes = read_up_to(output.body, max.saturating_add(1)).await?;
        if bytes.len() as u64 > max {
            return Err(Error::internal(format!("{key} holds more than {max} bytes")));
        }
        Ok(Some((bytes, stored)))
    }

    /// Copies exactly the bytes that `etag` names to where no client can write. `false` when they are gone or others
    /// have taken their place.
    pub async fn copy_to_inputs(&self, from_incoming_key: &str, etag: &str, to_key: &str, content_type: &str) -> Result<bool, Error> {
        let call = self
            .client
            .copy_object()
            .copy_source(format!("{}/{from_incoming_key}", self.incoming()?))
            .copy_source_if_match(etag)
            .bucket(self.media()?)
            .key(to_key)
            // The type that the bytes have, not the one that the client said.
            .metadata_directive(MetadataDirective::Replace)
            .content_type(content_type)
            .checksum_algorithm(ChecksumAlgorithm::Sha256);
        match call.send().await {
            Ok(_) => Ok(true),
            Err(error) if matches!(status(&error), Some(404 | 412)) => Ok(false),
            Err(error) => Err(Error::aws(error)),
        }
    }

    /// What isn't there counts as deleted.
    pub async fn delete_incoming(&self, key: &str) -> Result<(), Error> {
        self.client.delete_object().bucket(self.incoming()?).key(key).send().await.map_err(Error::aws)?;
        Ok(())
    }

    /// Deletes inputs or artifacts; what isn't there counts as deleted. An error may leave some of them deleted.
    pub async fn delete_media(&self, keys: &[String]) -> Result<(), Error> {
        for batch in keys.chunks(DELETE_BATCH) {
            let mut delete = Delete::builder().quiet(true);
            for key in batch {
                delete = delete.objects(ObjectIdentifier::builder().key(key).build().map_err(Error::internal)?);
            }
            let delete = delete.build().map_err(Error::internal)?;
            let output = self.client.delete_objects().bucket(self.media()?).delete(delete).send().await.map_err(Error::aws)?;
            if let Some(first) = output.errors().first() {
                let (key, code) = (first.key().unwrap_or("?"), first.code().unwrap_or("no code"));
                return Err(Error::Aws(format!("{} of {} objects not deleted, the first {key}: {code}", output.errors().len(), batch.len())));
            }
        }
        Ok(())
    }

    /// A PUT of exactly these bytes, once: a second one is answered 412, so that nothing is overwritten.
    pub async fn presign_artifact_put(&self, key: &str, content_type: &str, bytes: u64, sha256_hex: &str, valid_for: Duration) -> Result<Presigned, Error> {
        let request = self
            .client
            .put_object()
            .bucket(self.media()?)
            .key(key)
            .content_type(content_type)
            .content_length(length(bytes)?)
            .checksum_sha256(hex_to_base64(sha256_hex)?)
            .if_none_match("*")
            .presigned(expiry(valid_for)?)
            .await
            .map_err(Error::aws)?;
        Ok(presigned(&request))
    }

    pub async fn head_media(&self, key: &str) -> Result<Option<Stored>, Error> {
        self.head(self.media()?, key).await
    }

    /// The first `n` bytes of an input or artifact, to tell its type by.
    pub async fn first_bytes(&self, key: &str, n: u64) -> Result<Vec<u8>, Error> {
        if n == 0 {
            return Ok(Vec::new());
        }
        match self.client.get_object().bucket(self.media()?).key(key).range(format!("bytes=0-{}", n - 1)).send().await {
            Ok(output) => read_up_to(output.body, n).await,
            // No range of an empty object can be satisfied.
            Err(error) if status(&error) == Some(416) => Ok(Vec::new()),
            Err(error) => Err(Error::aws(error)),
        }
    }

    /// A URL that shows an image, and downloads anything else: what a worker made is never executed on our origin's
    /// authority, whatever it says that it is.
    pub async fn presign_media_get(&self, key: &str, valid_for: Duration, download_name: Option<&str>, content_type: &str) -> Result<String, Error> {
        let request = self
            .client
            .get_object()
            .bucket(self.media()?)
            .key(key)
            .response_content_type(content_type)
            .response_content_disposition(disposition(content_type, download_name))
            .presigned(expiry(valid_for)?)
            .await
            .map_err(Error::aws)?;
        Ok(request.uri().to_owned())
    }

    async fn head(&self, bucket: &str, key: &str) -> Result<Option<Stored>, Error> {
        match self.client.head_object().bucket(bucket).key(key).checksum_mode(ChecksumMode::Enabled).send().await {
            Ok(output) => Ok(Some(Stored {
                bytes: size(output.content_length),
                content_type: output.content_type,
                etag: output.e_tag.unwrap_or_default(),
                sha256: output.checksum_sha256.as_deref().and_then(base64_to_hex),
            })),
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(Error::aws(error)),
        }
    }
}

fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

fn size(content_length: Option<i64>) -> u64 {
    content_length.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0)
}

fn length(bytes: u64) -> Result<i64, Error> {
    i64::try_from(bytes).map_err(|_| Error::internal(format!("no object has {bytes} bytes")))
}

fn expiry(valid_for: Duration) -> Result<PresigningConfig, Error> {
    PresigningConfig::expires_in(valid_for).map_err(Error::internal)
}

fn presigned(request: &PresignedRequest) -> Presigned {
    let headers = request.headers().map(|(name, value)| (name.to_lowercase(), value.to_owned())).filter(|(name, _)| name != "host").collect();
    Presigned { url: request.uri().to_owned(), headers }
}

/// Stops at `max` bytes, whatever the object's length is said to be.
async fn read_up_to(mut body: ByteStream, max: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| Error::Aws(format!("reading an object: {error}")))?;
        let room = usize::try_from(max - bytes.len() as u64).unwrap_or(usize::MAX);
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if bytes.len() as u64 == max {
            break;
        }
    }
    Ok(bytes)
}

/// S3 writes checksums in base64, we in lower-case hex.
pub fn hex_to_base64(sha256_hex: &str) -> Result<String, Error> {
    let bytes = hex::decode(sha256_hex).ok().filter(|bytes| bytes.len() == 32);
    Ok(BASE64.encode(bytes.ok_or_else(|| Error::internal("a SHA-256 is 64 hex digits"))?))
}

/// `None` for what isn't one SHA-256, such as the checksum of checksums that an object in parts has.
pub fn base64_to_hex(sha256_base64: &str) -> Option<String> {
    BASE64.decode(sha256_base64).ok().filter(|bytes| bytes.len() == 32).map(hex::encode)
}

/// Only these are shown by a browser; all else is offered for download.
fn is_shown(content_type: &str) -> bool {
    matches!(content_type, "image/png" | "image/jpeg" | "image/webp")
}

fn disposition(content_type: &str, download_name: Option<&str>) -> String {
    let kind = if is_shown(content_type) { "inline" } else { "attachment" };
    match download_name {
        None => kind.to_owned(),
        Some(name) => format!("{kind}; filename=\"{}\"", safe_filename(name)),
    }
}

/// A name that needs no quoting in a header and means nothing to a file system.
fn safe_filename(name: &str) -> String {
    let kept: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ') { c } else { '_' }).take(100).collect();
    let trimmed = kept.trim_matches(|c| matches!(c, '.' | ' '));
    if trimmed.is_empty() { "file".to_owned() } else { trimmed.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const EMPTY_BASE64: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

    fn files() -> Files {
        Files::new(&crate::testing::config(), |name| match name {
            "KILN_INCOMING_BUCKET" => Some("in-bucket".to_owned()),
            "KILN_MEDIA_BUCKET" => Some("media-bucket".to_owned()),
            _ => None,
        })
    }

    /// A parameter of a URL's query, still percent-encoded.
    fn query<'a>(url: &'a str, name: &str) -> Option<&'a str> {
        let (_, query) = url.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    #[test]
    fn keys_lie_under_their_owner() {
        let (account, upload, job) = (AccountId::new(1, 1), UploadId::new(1, 2), JobId::new(1, 3));
        assert_eq!(incoming_key(&account, &upload), format!("incoming/{account}/{upload}"));
        assert_eq!(input_key(&account, &upload), format!("inputs/{account}/{upload}"));
        assert_eq!(artifact_key(&job, 2, "image.png"), format!("artifacts/{job}/2/image.png"));
    }

    #[test]
    fn checksums_change_their_writing_and_back() {
        assert_eq!(hex_to_base64(EMPTY).unwrap(), EMPTY_BASE64);
        assert_eq!(base64_to_hex(EMPTY_BASE64).as_deref(), Some(EMPTY));
        assert!(hex_to_base64("abcd").is_err());
        assert!(hex_to_base64("not hex").is_err());
        assert_eq!(base64_to_hex(&format!("{EMPTY_BASE64}-2")), None);
    }

    #[test]
    fn only_images_are_shown_and_names_are_harmless() {
        assert_eq!(disposition("image/png", None), "inline");
        assert_eq!(disposition("image/svg+xml", None), "attachment");
        assert_eq!(disposition("text/html", Some("a.html")), "attachment; filename=\"a.html\"");
        assert_eq!(safe_filename("../../etc/passwd"), "_.._etc_passwd");
        assert_eq!(safe_filename("a\"; x=\"b\r\nSet-Cookie: c"), "a__ x=_b__Set-Cookie_ c".replace('=', "_"));
        assert_eq!(safe_filename("..."), "file");
        assert_eq!(safe_filename(&"é".repeat(300)).len(), 100);
    }

    #[tokio::test]
    async fn an_upload_signs_its_length_and_asks_a_browser_for_nothing_it_cannot_send() {
        let put = files().presign_incoming_put("incoming/a/u", "image/png", 1234, Some(EMPTY), Duration::from_secs(900)).await.unwrap();
        assert_eq!(query(&put.url, "X-Amz-SignedHeaders"), Some("content-length%3Bcontent-type%3Bhost%3Bx-amz-checksum-sha256"));
        assert_eq!(query(&put.url, "X-Amz-Expires"), Some("900"));
        assert!(put.url.starts_with("https://in-bucket.s3.eu-central-1.amazonaws.com/incoming/a/u?"), "{}", put.url);
        let headers: Vec<_> = put.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(headers, [("content-type", "image/png"), ("x-amz-checksum-sha256", EMPTY_BASE64)]);
    }

    #[tokio::test]
    async fn an_upload_without_a_checksum_is_asked_for_none() {
        let put = files().presign_incoming_put("incoming/a/u", "image/png", 1234, None, Duration::from_secs(900)).await.unwrap();
        assert_eq!(query(&put.url, "X-Amz-SignedHeaders"), Some("content-length%3Bcontent-type%3Bhost"));
        assert!(!put.url.to_lowercase().contains("checksum") && !put.url.to_lowercase().contains("crc"), "{}", put.url);
        assert_eq!(put.headers.len(), 1);
    }

    #[tokio::test]
    async fn an_artifact_is_put_once_and_exactly() {
        let put = files().presign_artifact_put("artifacts/j/1/a.png", "image/png", 7, EMPTY, Duration::from_secs(600)).await.unwrap();
        let signed = query(&put.url, "X-Amz-SignedHeaders").unwrap();
        assert_eq!(signed, "content-length%3Bcontent-type%3Bhost%3Bif-none-match%3Bx-amz-checksum-sha256");
        assert_eq!(put.headers.get("content-length").map(String::as_str), Some("7"));
        assert_eq!(put.headers.get("if-none-match").map(String::as_str), Some("*"));
        assert_eq!(put.headers.len(), 4);
        assert!(!format!("{put:?}").contains("Signature"));
    }

    #[tokio::test]
    async fn a_get_fixes_type_and_disposition() {
        let url = files().presign_media_get("artifacts/j/1/a.glb", Duration::from_secs(600), Some("a.glb"), "model/gltf-binary").await.unwrap();
        assert_eq!(query(&url, "response-content-type"), Some("model%2Fgltf-binary"));
        assert_eq!(query(&url, "response-content-disposition"), Some("attachment%3B%20filename%3D%22a.glb%22"));
        assert_eq!(query(&url, "X-Amz-SignedHeaders"), Some("host"));
    }

    #[tokio::test]
    async fn a_bucket_that_the_function_does_not_have_is_named() {
        let none = Files::new(&crate::testing::config(), |_| None);
        let error = none.head_media("x").await.unwrap_err();
        assert_eq!(error.to_string(), "KILN_MEDIA_BUCKET is not set");
    }

    #[tokio::test]
    async fn reading_stops_at_its_bound() {
        assert_eq!(read_up_to(ByteStream::from_static(b"abcdef"), 4).await.unwrap(), b"abcd");
        assert_eq!(read_up_to(ByteStream::from_static(b"ab"), 4).await.unwrap(), b"ab");
    }
}
