//! Signatures as the Standard Webhooks specification has them: HMAC-SHA256 over `id.timestamp.body`, base64, one for each
//! secret that is valid, with spaces between them. A receiver accepts when any of them is its own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What a secret begins with.
pub const PREFIX: &str = "whsec_";

/// An endpoint's secret. Neither `Debug` nor anything else here shows it, but [`Secret::text`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    pub fn new(random: [u8; 32]) -> Self {
        Self(random.to_vec())
    }

    /// Reads `whsec_…`; the specification wants 24 to 64 bytes behind it.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?;
        (24..=64).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// As its owner is shown it, once.
    pub fn text(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    fn signature(&self, id: &str, timestamp_s: i64, body: &str) -> String {
        // HMAC takes keys of every length.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length");
        mac.update(format!("{id}.{timestamp_s}.").as_bytes());
        mac.update(body.as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// The header `webhook-signature` of a message, with a signature of each secret.
pub fn signatures(secrets: &[Secret], id: &str, timestamp_s: i64, body: &str) -> String {
    secrets.iter().map(|secret| secret.signature(id, timestamp_s, body)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_agrees_with_the_specification_s_example() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let header = signatures(&[secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(header, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_secret_signs_and_a_secret_survives_its_text() {
        let (new, old) = (Secret::new([7; 32]), Secret::new([9; 32]));
        let both = signatures(&[new.clone(), old.clone()], "dlv_1", 1, "{}");
        let parts: Vec<_> = both.split(' ').collect();
        assert_eq!(parts, [signatures(std::slice::from_ref(&new), "dlv_1", 1, "{}"), signatures(&[old], "dlv_1", 1, "{}")]);
        assert_eq!(Secret::parse(&new.text()), Some(new.clone()));
        assert!(!format!("{new:?}").contains(&new.text()[6..]));
        for bad in ["", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_*fKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            assert!(Secret::parse(bad).is_none(), "{bad}");
        }
    }
}
