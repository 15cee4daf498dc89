//! How often one address, one network address or one account may cause a mail: counted by the hour under keyed fingerprints, so that the
//! table holds no address (invariant 12).

use crate::{App, Problem};
use hmac::{Hmac, KeyInit, Mac};
use kiln_core::time::Millis;
use sha2::Sha256;

const HOUR: Millis = 3_600_000;

/// Counts one more of `what`; `false` when this hour's are used up.
pub async fn take(app: &App, what: &str, value: &str, limit: u64) -> Result<bool, Problem> {
    let key = app.secrets().get("hmac-key").await?;
    let window = app.now().div_euclid(HOUR);
    // Swept an hour after the window's end.
    let ttl = (window + 2) * HOUR / 1000;
    Ok(app.table().count_in_window(&format!("{what}:{}", fingerprint(&key, what, value)), window, limit, ttl).await?)
}

/// The fingerprint by which an address that has left its account is known to have had its sign-up grant.
pub async fn address(app: &App, email: &str) -> Result<String, Problem> {
    Ok(fingerprint(&app.secrets().get("hmac-key").await?, "granted", email))
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
