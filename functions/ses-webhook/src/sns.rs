//! A message of SNS as it comes over HTTPS, and whether it is genuine. Pure but for fetching a certificate.
//!
//! Genuine is: of the one topic; signed with version 2 (SHA-256; version 1 is SHA-1 and is refused); by a certificate from SNS's own host
//! of the topic's region; at most an hour old. What makes the signature is said in the SNS developer guide, "Verifying the signatures of
//! Amazon SNS messages".

use crate::certificate::{Certificates, NoSigner, host, is_certificate_url};
use crate::fetch::{Fetch, NotFetched};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kiln_core::time::{Millis, parse_rfc3339};
use serde::Deserialize;
use std::sync::Arc;

const HOUR: Millis = 3_600_000;
/// How far SNS's clock may be ahead of ours.
const AHEAD: Millis = 5 * 60_000;

/// A message in its envelope. Fields that are not signed and not needed (`UnsubscribeURL`) are left out.
#[derive(Debug, Clone, Deserialize)]
pub struct Envelope {
    #[serde(rename = "Type")]
    pub kind: Kind,
    #[serde(rename = "MessageId")]
    pub message_id: String,
    #[serde(rename = "TopicArn")]
    pub topic_arn: String,
    #[serde(rename = "Subject", default)]
    pub subject: Option<String>,
    #[serde(rename = "Message")]
    pub message: String,
    #[serde(rename = "Timestamp")]
    pub timestamp: String,
    #[serde(rename = "SignatureVersion")]
    pub signature_version: String,
    #[serde(rename = "Signature")]
    pub signature: String,
    #[serde(rename = "SigningCertURL")]
    pub signing_cert_url: String,
    #[serde(rename = "SubscribeURL", default)]
    pub subscribe_url: Option<String>,
    #[serde(rename = "Token", default)]
    pub token: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Kind {
    Notification,
    SubscriptionConfirmation,
    UnsubscribeConfirmation,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Notification => "Notification",
            Self::SubscriptionConfirmation => "SubscriptionConfirmation",
            Self::UnsubscribeConfirmation => "UnsubscribeConfirmation",
        }
    }
}

impl Envelope {
    /// What is signed: name and value of each field that the type has, a line each, in order of the names.
    pub fn signed_text(&self) -> String {
        let kind = Some(self.kind.as_str());
        let fields = match self.kind {
            Kind::Notification => [
                ("Message", Some(self.message.as_str())),
                ("MessageId", Some(&self.message_id)),
                ("Subject", self.subject.as_deref()),
                ("Timestamp", Some(&self.timestamp)),
                ("TopicArn", Some(&self.topic_arn)),
                ("Type", kind),
                ("", None),
            ],
            Kind::SubscriptionConfirmation | Kind::UnsubscribeConfirmation => [
                ("Message", Some(self.message.as_str())),
                ("MessageId", Some(&self.message_id)),
                ("SubscribeURL", self.subscribe_url.as_deref()),
                ("Timestamp", Some(&self.timestamp)),
                ("Token", self.token.as_deref()),
                ("TopicArn", Some(&self.topic_arn)),
                ("Type", kind),
            ],
        };
        fields.into_iter().filter_map(|(name, value)| Some(format!("{name}\n{}\n", value?))).collect()
    }
}

/// Why a message is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("The message is of another topic.")]
    OtherTopic,
    #[error("Only signature version 2 is taken; set the topic's SignatureVersion to 2.")]
    SignatureVersion,
    #[error("The message is more than an hour old, or from the future.")]
    Stale,
    #[error("The certificate is not at an address of SNS in the topic's region.")]
    CertificateUrl,
    #[error("The certificate can't be used: {0}.")]
    Certificate(crate::certificate::BadCertificate),
    #[error("The signature does not verify.")]
    Signature,
    #[error("The address to confirm at is not one of SNS for this topic.")]
    SubscribeUrl,
    /// Passing: asked again, it may be there.
    #[error("SNS could not be asked: {0}")]
    NotFetched(NotFetched),
}

impl Refusal {
    /// The stable code of the problem.
    pub fn code(&self) -> &'static str {
        match self {
            Self::OtherTopic => "other_topic",
            Self::SignatureVersion => "signature_version",
            Self::Stale => "stale_message",
            Self::CertificateUrl => "certificate_url",
            Self::Certificate(_) => "bad_certificate",
            Self::Signature => "bad_signature",
            Self::SubscribeUrl => "subscribe_url",
            Self::NotFetched(_) => "sns_unreachable",
        }
    }
}

/// Tells genuine messages of one topic.
pub struct Verifier {
    topic_arn: String,
    host: Option<String>,
    certificates: Certificates,
    fetch: Arc<dyn Fetch>,
}

impl Verifier {
    /// An empty ARN takes no message at all.
    pub fn new(topic_arn: String, fetch: Arc<dyn Fetch>) -> Self {
        Self { host: host(&topic_arn), topic_arn, certificates: Certificates::new(fetch.clone()), fetch }
    }

    /// Whether the message is genuine. What costs nothing is looked at first, so that a stranger makes us fetch little.
    pub async fn verify(&self, envelope: &Envelope, now: Millis) -> Result<(), Refusal> {
        let host = self.host.as_deref().filter(|_| envelope.topic_arn == self.topic_arn).ok_or(Refusal::OtherTopic)?;
        if envelope.signature_version != "2" {
            return Err(Refusal::SignatureVersion);
        }
        let sent = parse_rfc3339(&envelope.timestamp).ok_or(Refusal::Stale)?;
        if !(now - HOUR..=now + AHEAD).contains(&sent) {
            return Err(Refusal::Stale);
        }
        if !is_certificate_url(&envelope.signing_cert_url, host) {
            return Err(Refusal::CertificateUrl);
        }
        let signature = STANDARD.decode(&envelope.signature).map_err(|_| Refusal::Signature)?;
        let signer = self.certificates.get(&envelope.signing_cert_url, now).await.map_err(|why| match why {
            NoSigner::NotFetched(why) => Refusal::NotFetched(why),
            NoSigner::Bad(why) => Refusal::Certificate(why),
        })?;
        if signer.has_signed(envelope.signed_text().as_bytes(), &signature) { Ok(()) } else { Err(Refusal::Signature) }
    }

    /// Confirms the subscription that a verified message offers.
    pub async fn confirm(&self, envelope: &Envelope) -> Result<(), Refusal> {
        let (url, token) = (envelope.subscribe_url.as_deref().unwrap_or_default(), envelope.token.as_deref().unwrap_or_default());
        if !self.is_subscribe_url(url, token) {
            return Err(Refusal::SubscribeUrl);
        }
        self.fetch.get(url).await.map(drop).map_err(Refusal::NotFetched)
    }

    /// `https://HOST/?Action=ConfirmSubscription&TopicArn=OURS&Token=TOKEN`, letter for letter.
    fn is_subscribe_url(&self, url: &str, token: &str) -> bool {
        let Some(host) = &self.host else { return false };
        let plain = (1..=1024).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_alphanumeric());
        let with = |topic: &str| format!("https://{host}/?Action=ConfirmSubscription&TopicArn={topic}&Token={token}");
        plain && (url == with(&self.topic_arn) || url == with(&self.topic_arn.replace(':', "%3A")))
    }
}

#[cfg(test)]
#[path = "sns_tests.rs"]
mod tests;
