//! The certificates that SNS signs with: where one may come from, what is asked of it, and the few that are remembered.
//!
//! SNS serves the leaf alone, so there is no chain to follow: that it is SNS's says the TLS connection to SNS's own host. Its key must be
//! RSA of 2048 bits at least, and now must lie within its dates.

use crate::fetch::{Fetch, NotFetched};
use kiln_core::time::Millis;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Mutex;
use x509_cert::Certificate;
use x509_cert::der::oid::ObjectIdentifier;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// SNS has one certificate a region at a time.
const MOST_REMEMBERED: usize = 8;

/// The host of SNS in a topic's region and partition.
pub fn host(topic_arn: &str) -> Option<String> {
    let mut parts = topic_arn.split(':');
    let (arn, partition, service, region) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let plain = !region.is_empty() && region.len() <= 32 && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let domain = if partition == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
    (arn == "arn" && service == "sns" && plain).then(|| format!("sns.{region}.{domain}"))
}

/// Whether an address is that of a certificate of SNS: `https://HOST/NAME.pem`, letter for letter, so that no reader of URLs can take it
/// for another. No port, user, query, escape or folder.
pub fn is_certificate_url(url: &str, host: &str) -> bool {
    let name = url.strip_prefix("https://").and_then(|rest| rest.strip_prefix(host)).and_then(|rest| rest.strip_prefix('/'));
    name.and_then(|name| name.strip_suffix(".pem"))
        .is_some_and(|name| (1..=128).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'))
}

/// Why a certificate is not used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    #[error("it is no X.509 certificate in PEM")]
    Unreadable,
    #[error("its key is not RSA")]
    OtherKey,
    #[error("it is not valid yet, or no longer")]
    OutOfDate,
}

/// What is needed of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// PKCS#1, DER.
    key: Vec<u8>,
    not_before: Millis,
    not_after: Millis,
}

impl Signer {
    pub fn parse(pem: &[u8]) -> Result<Self, BadCertificate> {
        let chain = Certificate::load_pem_chain(pem).map_err(|_| BadCertificate::Unreadable)?;
        let certificate = chain.first().ok_or(BadCertificate::Unreadable)?.tbs_certificate();
        let info = certificate.subject_public_key_info();
        if info.algorithm.oid != RSA {
            return Err(BadCertificate::OtherKey);
        }
        let key = info.subject_public_key.as_bytes().ok_or(BadCertificate::Unreadable)?.to_vec();
        let millis = |time: &x509_cert::time::Time| Millis::try_from(time.to_unix_duration().as_millis()).map_err(|_| BadCertificate::Unreadable);
        let validity = certificate.validity();
        Ok(Self { key, not_before: millis(&validity.not_before)?, not_after: millis(&validity.not_after)? })
    }

    pub fn valid_at(&self, now: Millis) -> Result<(), BadCertificate> {
        if (self.not_before..=self.not_after).contains(&now) { Ok(()) } else { Err(BadCertificate::OutOfDate) }
    }

    /// Whether it has signed these bytes with RSA (PKCS #1 v1.5) over SHA-256.
    pub fn has_signed(&self, bytes: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.key).verify(bytes, signature).is_ok()
    }
}

/// Those that have been fetched.
pub struct Certificates {
    fetch: Arc<dyn Fetch>,
    known: Mutex<HashMap<String, Arc<Signer>>>,
}

/// Why there is no signer.
#[derive(Debug, thiserror::Error)]
pub enum NoSigner {
    #[error(transparent)]
    NotFetched(#[from] NotFetched),
    #[error(transparent)]
    Bad(#[from] BadCertificate),
}

impl Certificates {
    pub fn new(fetch: Arc<dyn Fetch>) -> Self {
        Self { fetch, known: Mutex::default() }
    }

    /// The certificate at an address that [`is_certificate_url`] has passed, valid now. One is fetched at a time, however many ask.
    pub async fn get(&self, url: &str, now: Millis) -> Result<Arc<Signer>, NoSigner> {
        let mut known = self.known.lock().await;
        if let Some(signer) = known.get(url) {
            signer.valid_at(now)?;
            return Ok(signer.clone());
        }
        let signer = Arc::new(Signer::parse(&self.fetch.get(url).await?)?);
        signer.valid_at(now)?;
        if known.len() >= MOST_REMEMBERED {
            known.clear();
        }
        known.insert(url.to_owned(), signer.clone());
        Ok(signer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, HOST, NOW};

    #[test]
    fn a_topic_s_host_is_that_of_its_region() {
        assert_eq!(host("arn:aws:sns:eu-central-1:123456789012:t").as_deref(), Some("sns.eu-central-1.amazonaws.com"));
        assert_eq!(host("arn:aws-cn:sns:cn-north-1:1:t").as_deref(), Some("sns.cn-north-1.amazonaws.com.cn"));
        for bad in ["", "arn:aws:sqs:eu-central-1:1:t", "arn:aws:sns::1:t", "arn:aws:sns:evil.example/:1:t", "arn:aws:sns:a@b:1:t", "x:aws:sns:eu-1:1:t"] {
            assert_eq!(host(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_certificate_comes_from_sns_s_own_host_and_from_nowhere_that_looks_like_it() {
        assert!(is_certificate_url(&format!("https://{HOST}/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"), HOST));
        let rest = "SimpleNotificationService-01.pem";
        for bad in [
            format!("http://{HOST}/{rest}"),
            format!("HTTPS://{HOST}/{rest}"),
            format!("https://{HOST}:443/{rest}"),
            format!("https://user@{HOST}/{rest}"),
            format!("https://{HOST}@evil.example/{rest}"),
            format!("https://{HOST}.evil.example/{rest}"),
            format!("https://evil.example/{HOST}/{rest}"),
            format!("https://evil.example#{HOST}/{rest}"),
            format!("https://evil{HOST}/{rest}"),
            format!("https://sns.us-east-1.amazonaws.com/{rest}"),
            format!("https://s3.eu-central-1.amazonaws.com/{rest}"),
            format!("https://{HOST}/a/{rest}"),
            format!("https://{HOST}//{rest}"),
            format!("https://{HOST}/../{rest}"),
            format!("https://{HOST}/%2e%2e/{rest}"),
            format!("https://{HOST}/\\{rest}"),
            format!("https://{HOST}/{rest}?x=.pem"),
            format!("https://{HOST}/{rest}#.pem"),
            format!("https://{HOST}/?Action=x.pem"),
            format!("https://{HOST}/.pem"),
            format!("https://{HOST}/x.crt"),
            format!("https://{HOST}/{}.pem", "x".repeat(129)),
            format!(" https://{HOST}/{rest}"),
            format!("https://{HOST}/{rest}\n"),
            format!("https://{}/{rest}", HOST.to_uppercase()),
            format!("//{HOST}/{rest}"),
            format!("file:///{rest}"),
            String::new(),
        ] {
            assert!(!is_certificate_url(&bad, HOST), "{bad}");
        }
    }

    #[test]
    fn a_certificate_counts_between_its_dates_and_with_an_rsa_key_alone() {
        let signer = Signer::parse(testing::certificate(2026, 2027).as_bytes()).unwrap();
        assert_eq!(signer.valid_at(NOW), Ok(()));
        let expired = Signer::parse(testing::certificate(2020, 2021).as_bytes()).unwrap();
        assert_eq!(expired.valid_at(NOW), Err(BadCertificate::OutOfDate));
        let early = Signer::parse(testing::certificate(2030, 2031).as_bytes()).unwrap();
        assert_eq!(early.valid_at(NOW), Err(BadCertificate::OutOfDate));
        assert_eq!(Signer::parse(testing::elliptic_certificate().as_bytes()), Err(BadCertificate::OtherKey));
        for bad in [&b""[..], b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"<html>"] {
            assert_eq!(Signer::parse(bad), Err(BadCertificate::Unreadable));
        }
    }
}
