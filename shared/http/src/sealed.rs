//! Secrets that must be used again (an endpoint's `whsec_…`) are kept sealed: AES-256-GCM under a key from SSM Parameter Store.
//!
//! Promises: what is sealed opens only with its key and only where it belongs (`place` is authenticated with it), so one account's
//! secret can't be moved under another's name. The parameter may hold several keys with commas between them: the first seals,
//! all open. So a new key is put before the old ones and nothing becomes unreadable.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::Sha256;

/// The version of the form: a nonce, then the sealed bytes with their tag, in base64.
const FORM: &str = "1.";

/// Seals and opens under the keys of one parameter.
pub struct Sealer(Vec<LessSafeKey>);

impl Sealer {
    /// `parameter` is the value from the parameter store. `None` where no key in it is worth the name.
    pub fn new(parameter: &str) -> Option<Self> {
        let words = parameter.split(',').map(str::trim).filter(|word| word.len() >= 32);
        let keys: Option<Vec<_>> = words.map(key).collect();
        keys.filter(|keys| !keys.is_empty()).map(Self)
    }

    pub fn seal(&self, plain: &str, place: &str) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).ok()?;
        let mut bytes = plain.as_bytes().to_vec();
        let sealing = self.0.first()?;
        sealing.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut bytes).ok()?;
        Some(format!("{FORM}{}", STANDARD.encode([&nonce[..], &bytes].concat())))
    }

    /// What was sealed for this place, or `None`: another key, another place, or not as it was written.
    pub fn open(&self, sealed: &str, place: &str) -> Option<String> {
        let bytes = STANDARD.decode(sealed.strip_prefix(FORM)?).ok()?;
        let (nonce, rest) = bytes.split_at_checked(NONCE_LEN)?;
        self.0.iter().find_map(|key| {
            let mut rest = rest.to_vec();
            let plain = key.open_in_place(Nonce::try_assume_unique_for_key(nonce).ok()?, Aad::from(place), &mut rest).ok()?;
            String::from_utf8(plain.to_vec()).ok()
        })
    }
}

/// A key for this use alone, whatever else the word may be used for.
fn key(word: &str) -> Option<LessSafeKey> {
    let mut mac = Hmac::<Sha256>::new_from_slice(word.as_bytes()).ok()?;
    mac.update(b"kiln sealed secrets 1");
    UnboundKey::new(&AES_256_GCM, &mac.finalize().into_bytes()).ok().map(LessSafeKey::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    const NEW: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";

    #[test]
    fn what_is_sealed_opens_where_it_belongs_and_nowhere_else() {
        let sealer = Sealer::new(OLD).unwrap();
        let sealed = sealer.seal("whsec_abc", "acc_1/whe_1").unwrap();
        assert!(!sealed.contains("whsec"));
        assert_eq!(sealer.open(&sealed, "acc_1/whe_1").as_deref(), Some("whsec_abc"));
        assert_eq!(sealer.open(&sealed, "acc_2/whe_1"), None);
        assert_ne!(sealer.seal("whsec_abc", "acc_1/whe_1").unwrap(), sealed, "a nonce of its own each time");
        assert_eq!(Sealer::new(NEW).unwrap().open(&sealed, "acc_1/whe_1"), None);
    }

    #[test]
    fn a_changed_bit_opens_nothing() {
        let sealer = Sealer::new(OLD).unwrap();
        let sealed = sealer.seal("whsec_abc", "p").unwrap();
        let bytes = STANDARD.decode(&sealed[FORM.len()..]).unwrap();
        for i in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[i] ^= 1;
            assert_eq!(sealer.open(&format!("{FORM}{}", STANDARD.encode(bent)), "p"), None, "{i}");
        }
        for bad in ["", "1.", "1.AAAA", "2.AAAA", &sealed[2..]] {
            assert_eq!(sealer.open(bad, "p"), None, "{bad}");
        }
    }

    #[test]
    fn a_new_key_before_the_old_one_seals_and_both_open() {
        let sealed = Sealer::new(OLD).unwrap().seal("s", "p").unwrap();
        let both = Sealer::new(&format!("{NEW},{OLD}")).unwrap();
        assert_eq!(both.open(&sealed, "p").as_deref(), Some("s"));
        let again = both.seal("s", "p").unwrap();
        assert_eq!(Sealer::new(NEW).unwrap().open(&again, "p").as_deref(), Some("s"));
        assert_eq!(Sealer::new(OLD).unwrap().open(&again, "p"), None);
    }

    #[test]
    fn a_word_that_is_too_short_is_no_key() {
        assert!(Sealer::new("").is_none() && Sealer::new("short").is_none() && Sealer::new(",,").is_none());
    }
}
