//! A signer of the tests' own. The keys in `testdata/` (PKCS#8, DER) sign nothing but these messages; `ring` can't make RSA keys.

use crate::fetch::{Fetch, NotFetched};
use crate::sns::{Envelope, Kind};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kiln_core::time::{Millis, rfc3339};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use std::sync::{Arc, Mutex};

pub const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:kiln-MailFeedbackTopic";
pub const HOST: &str = "sns.eu-central-1.amazonaws.com";
/// 2026-11-21T10:00:00Z.
pub const NOW: Millis = 1_795_255_200_000;

const SIGNER: &[u8] = include_bytes!("../testdata/signer.pk8");
const OTHER: &[u8] = include_bytes!("../testdata/other.pk8");

fn certificate_of(key: &rcgen::KeyPair, from: i32, to: i32) -> String {
    let mut params = rcgen::CertificateParams::new(vec!["sns.amazonaws.com".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(to, 1, 1);
    params.self_signed(key).unwrap().pem()
}

fn key(pkcs8: &[u8]) -> rcgen::KeyPair {
    rcgen::KeyPair::try_from(pkcs8).unwrap()
}

/// The signer's certificate, in PEM, from the first of one year to the first of another.
pub fn certificate(from: i32, to: i32) -> String {
    certificate_of(&key(SIGNER), from, to)
}

pub fn other_certificate() -> String {
    certificate_of(&key(OTHER), 2026, 2027)
}

pub fn elliptic_certificate() -> String {
    certificate_of(&rcgen::KeyPair::generate().unwrap(), 2026, 2027)
}

/// The envelope with the signature that it should have.
pub fn signed(mut envelope: Envelope) -> Envelope {
    let pair = RsaKeyPair::from_pkcs8(SIGNER).unwrap();
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), envelope.signed_text().as_bytes(), &mut signature).unwrap();
    envelope.signature = STANDARD.encode(signature);
    envelope
}

fn envelope(kind: Kind, message: &str) -> Envelope {
    Envelope {
        kind,
        message_id: "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324".into(),
        topic_arn: TOPIC.into(),
        subject: None,
        message: message.into(),
        timestamp: rfc3339(NOW),
        signature_version: "2".into(),
        signature: String::new(),
        signing_cert_url: format!("https://{HOST}/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"),
        subscribe_url: None,
        token: None,
    }
}

pub fn notification(message: &str) -> Envelope {
    signed(envelope(Kind::Notification, message))
}

pub fn confirmation() -> Envelope {
    let token = "2336412f37fb687f5d51e6e2425dacbb".to_owned();
    let subscribe_url = Some(format!("https://{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token={token}"));
    signed(Envelope { subscribe_url, token: Some(token), ..envelope(Kind::SubscriptionConfirmation, "You have chosen to subscribe to the topic.") })
}

/// Answers each GET with the same, and remembers what was asked for.
pub struct Shelf {
    body: Option<String>,
    asked: Mutex<Vec<String>>,
}

impl Shelf {
    pub fn new(body: String) -> Arc<Self> {
        Arc::new(Self { body: Some(body), asked: Mutex::default() })
    }

    pub fn failing() -> Arc<Self> {
        Arc::new(Self { body: None, asked: Mutex::default() })
    }

    pub fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    pub fn last(&self) -> Option<String> {
        self.asked.lock().unwrap().last().cloned()
    }
}

#[async_trait]
impl Fetch for Shelf {
    async fn get(&self, url: &str) -> Result<Vec<u8>, NotFetched> {
        self.asked.lock().unwrap().push(url.to_owned());
        self.body.clone().map(String::into_bytes).ok_or_else(|| NotFetched("it is away".into()))
    }
}
