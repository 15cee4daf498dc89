//! How often one address, one network address or one account may cause a mail: counted by the hour under keyed fingerprints, so that the
//! table holds no address (invariant 12). And the keys of such fingerprints.

use crate::{App, Problem};
use hmac::{Hmac, KeyInit, Mac};
use kiln_core::time::Millis;
use sha2::Sha256;

const HOUR: Millis = 3_600_000;

/// What an address's fingerprint is for, when it says that it has had its sign-up grant.
const GRANTED: &str = "granted";

/// The keys of fingerprints, from the parameter `hmac-key`: the present one first, then those that a rotation has put behind it, with
/// commas between. New fingerprints are made with the present one; what an older one has made is known still.
pub struct Keys(Vec<String>);

impl Keys {
    pub async fn read(app: &App) -> Result<Self, kiln_store::Error> {
        let parameter = app.secrets().get("hmac-key").await?;
        Self::parse(&parameter).ok_or_else(|| kiln_store::Error::internal("hmac-key holds no key"))
    }

    /// `None` where nothing in it is a key.
    pub(crate) fn parse(parameter: &str) -> Option<Self> {
        let keys: Vec<String> = parameter.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        (!keys.is_empty()).then_some(Self(keys))
    }

    pub fn present(&self) -> &str {
        &self.0[0]
    }

    /// Newest first.
    pub fn all(&self) -> &[String] {
        &self.0
    }
}

/// Counts one more of `what`; `false` when this hour's are used up.
pub async fn take(app: &App, what: &str, value: &str, limit: u64) -> Result<bool, Problem> {
    let keys = Keys::read(app).await?;
    let window = app.now().div_euclid(HOUR);
    // Swept an hour after the window's end.
    let ttl = (window + 2) * HOUR / 1000;
    Ok(app.table().count_in_window(&format!("{what}:{}", fingerprint(keys.present(), what, value)), window, limit, ttl).await?)
}

/// The fingerprint by which an address that has left its account is known to have had its sign-up grant.
pub async fn address(app: &App, email: &str) -> Result<String, Problem> {
    Ok(fingerprint(Keys::read(app).await?.present(), GRANTED, email))
}

/// Whether an address that left its account has had its sign-up grant, whichever key was the present one then.
pub async fn was_granted(app: &App, email: &str) -> Result<bool, Problem> {
    for key in Keys::read(app).await?.all() {
        if app.table().was_granted(&fingerprint(key, GRANTED, email)).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Seconds until the next window.
pub fn until_next(now: Millis) -> u64 {
    ((HOUR - now.rem_euclid(HOUR)) as u64).div_ceil(1000)
}

/// HMAC-SHA256 of a value for one purpose, in hex.
pub fn fingerprint(key: &str, what: &str, value: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(what.as_bytes());
    mac.update(&[0]);
    mac.update(value.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// What of a network address is counted: one IPv6 customer has at least a /64 to choose from.
pub fn network(address: &str) -> String {
    match address.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_none() => {
            let [a, b, c, d, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        Ok(ip) => ip.to_canonical().to_string(),
        Err(_) => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_needs_the_key_and_is_of_one_purpose() {
        let print = fingerprint("key", "link-address", "ada@example.org");
        assert_eq!(print.len(), 64);
        assert_ne!(print, fingerprint("other", "link-address", "ada@example.org"));
        assert_ne!(print, fingerprint("key", "link-network", "ada@example.org"));
    }

    #[test]
    fn a_rotated_key_makes_what_is_new_and_those_behind_it_are_known_still() {
        let keys = Keys::parse("new,old,older").unwrap();
        assert_eq!((keys.present(), keys.all().len()), ("new", 3));
        assert_eq!(Keys::parse("alone").unwrap().present(), "alone");
        assert!(Keys::parse("").is_none() && Keys::parse(",").is_none(), "a fingerprint without a key hides nothing");
    }

    #[test]
    fn another_address_of_the_same_ipv6_network_is_the_same_caller() {
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:203.0.113.9"), network("203.0.113.9"));
    }

    #[test]
    fn the_next_window_begins_within_the_hour() {
        assert_eq!(until_next(0), 3600);
        assert_eq!(until_next(HOUR - 1), 1);
    }
}
