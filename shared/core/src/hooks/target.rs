//! Which URLs may be an endpoint. What a name leads to is checked when it is resolved, at each try; here stands what can be
//! said of the text alone. The parser is that of the WHATWG standard, which the sender uses too: however an address is
//! spelled (decimal, octal, hexadecimal, short, mapped), both read the same one.

use super::address::may_reach;
use crate::FieldError;
use std::net::IpAddr;
use url::{Host, Url};

/// Bytes of an endpoint's URL.
pub const MAX_URL: usize = 2048;

/// Names that end so are of somebody's own network.
const INSIDE: [&str; 9] = ["localhost", "local", "internal", "intranet", "lan", "home", "corp", "home.arpa", "onion"];

/// The endpoint's URL in its normal form, or what is wrong with it; the field is `url`. `loopback` allows plain http to this machine.
pub fn parse(text: &str, loopback: bool) -> Result<Url, FieldError> {
    let wrong = |message: &str| FieldError::new("url", message);
    if text.len() > MAX_URL {
        return Err(wrong("2048 bytes at most"));
    }
    // The parser would drop them without a word.
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) || text.contains('\\') {
        return Err(wrong("no spaces, control characters or backslashes"));
    }
    let url = Url::parse(text).map_err(|error| wrong(&format!("not a URL: {error}")))?;
    if url.as_str().len() > MAX_URL {
        return Err(wrong("2048 bytes at most, with what must be escaped"));
    }
    let ours = loopback && is_loopback(&url);
    if url.scheme() != "https" && !(ours && url.scheme() == "http") {
        return Err(wrong("must begin with https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("no user name or password in it; the signature says who we are"));
    }
    if url.fragment().is_some() {
        return Err(wrong("no fragment (#…)"));
    }
    // 443, and what a service without privileges listens on. Mail, shells and the like live below.
    if url.port_or_known_default().is_none_or(|port| port != 443 && port < 1024) {
        return Err(wrong("the port must be 443, or 1024 and above"));
    }
    match url.host() {
        _ if ours => Ok(url),
        Some(Host::Domain(name)) if is_public_name(name) => Ok(url),
        Some(Host::Ipv4(address)) if may_reach(address.into(), loopback) => Ok(url),
        Some(Host::Ipv6(address)) if may_reach(address.into(), loopback) => Ok(url),
        _ => Err(wrong("must be an address of the public internet")),
    }
}

/// The address that the URL names outright, if it names one.
pub fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}

fn is_loopback(url: &Url) -> bool {
    url.host_str() == Some("localhost") || literal(url).is_some_and(|address| address.to_canonical().is_loopback())
}

fn is_public_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let inside = INSIDE.iter().any(|end| name == *end || name.strip_suffix(end).is_some_and(|rest| rest.ends_with('.')));
    name.len() <= 253 && name.contains('.') && !inside && name.split('.').all(|label| (1..=63).contains(&label.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str, loopback: bool) -> String {
        let error = parse(text, loopback).expect_err(text);
        assert_eq!(error.field, "url", "{text}");
        error.message
    }

    #[test]
    fn a_public_https_url_is_taken_and_normalised() {
        assert_eq!(parse("https://Hooks.Example.com/kiln?x=1", false).unwrap().as_str(), "https://hooks.example.com/kiln?x=1");
        for good in ["https://example.com", "https://example.com:8443/a", "https://1.1.1.1/", "https://[2606:4700::1111]/", "https://bücher.example/"] {
            assert!(parse(good, false).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_is_not_a_plain_https_url_is_refused() {
        for bad in ["", "example.com", "http://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com:443/", "https://"] {
            refused(bad, false);
        }
        for bad in ["https://user@example.com/", "https://user:pw@example.com/", "https://:pw@example.com/", "https://example.com/#x", "https://example.com/#"]
        {
            refused(bad, false);
        }
        for bad in [" https://example.com/", "https://exa\tmple.com/", "https://example.com/\n", "https://example.com\\@10.0.0.1/", "https:\\\\example.com"] {
            refused(bad, false);
        }
        for bad in ["https://example.com:22/", "https://example.com:25/", "https://example.com:80/", "https://example.com:0/", "https://example.com:99999/"] {
            refused(bad, false);
        }
        assert!(parse(&format!("https://example.com/{}", "a".repeat(MAX_URL - 20)), false).is_ok());
        assert!(refused(&format!("https://example.com/{}", "a".repeat(MAX_URL - 19)), false).starts_with("2048"));
        assert!(refused(&format!("https://example.com/{}", "é".repeat(1000)), false).starts_with("2048"));
    }

    #[test]
    fn an_inside_address_is_refused_in_every_spelling() {
        for host in ["127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "0177.1", "017700000001", "127.0.0.1."] {
            refused(&format!("https://{host}/"), false);
        }
        for host in ["169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "0xA9.0xFE.0xA9.0xFE", "10.1", "0", "0.0.0.0", "①②⑦.⓪.⓪.①"]
        {
            refused(&format!("https://{host}/"), false);
        }
        for host in ["[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:a9fe:a9fe]", "[fd00:ec2::254]", "[fe80::1]", "[64:ff9b::a00:1]"]
        {
            refused(&format!("https://{host}/"), false);
        }
        for host in ["localhost", "LOCALHOST", "localhost.", "a.localhost", "printer.local", "metadata.google.internal", "router.lan", "intranet", "nas"] {
            refused(&format!("https://{host}/"), false);
        }
        for host in ["[fe80::1%25eth0]", "a..example.com", "%31%32%37.0.0.1", "127.0.0.1%2f.example.com"] {
            refused(&format!("https://{host}/"), false);
        }
    }

    #[test]
    fn a_laptop_may_use_plain_http_to_itself_and_to_nothing_else() {
        for good in ["http://127.0.0.1:9000/", "http://localhost:9000/x", "http://[::1]:9000/", "https://127.0.0.1:9000/"] {
            assert!(parse(good, true).is_ok(), "{good}");
        }
        for bad in
            ["http://127.0.0.1/", "http://127.0.0.1:22/", "http://example.com:9000/", "http://10.0.0.1:9000/", "https://10.0.0.1/", "http://a.localhost:9000/"]
        {
            refused(bad, true);
        }
    }
}
