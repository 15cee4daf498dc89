//! Which network addresses a webhook may be sent to: those of the public internet, and no other. The special ranges are
//! those of IANA's two registries, and whatever carries one of them inside itself (mapped, 6to4, Teredo, NAT64).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Special IPv4 networks: address and prefix length.
const SPECIAL_V4: [([u8; 4], u8); 21] = [
    ([0, 0, 0, 0], 8),          // this network
    ([10, 0, 0, 0], 8),         // private
    ([100, 64, 0, 0], 10),      // between carrier and customer; Alibaba's metadata is in it
    ([127, 0, 0, 0], 8),        // loopback
    ([168, 63, 129, 16], 32),   // Azure's host, seen from its guests
    ([169, 254, 0, 0], 16),     // link-local; AWS's, Google's and Azure's metadata are in it
    ([172, 16, 0, 0], 12),      // private
    ([192, 0, 0, 0], 24),       // protocol assignments; Oracle's metadata is in it
    ([192, 0, 2, 0], 24),       // documentation
    ([192, 31, 196, 0], 24),    // AS112
    ([192, 52, 193, 0], 24),    // tunnels of multicast
    ([192, 88, 99, 0], 24),     // relays of 6to4
    ([192, 168, 0, 0], 16),     // private
    ([192, 175, 48, 0], 24),    // AS112
    ([198, 18, 0, 0], 15),      // benchmarks
    ([198, 51, 100, 0], 24),    // documentation
    ([203, 0, 113, 0], 24),     // documentation
    ([224, 0, 0, 0], 4),        // multicast
    ([233, 252, 0, 0], 24),     // documentation of multicast
    ([240, 0, 0, 0], 4),        // reserved
    ([255, 255, 255, 255], 32), // broadcast
];

/// Special networks inside 2000::/3, the only part of IPv6 that is public at all.
const SPECIAL_V6: [([u16; 8], u8); 5] = [
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),           // protocol assignments: Teredo, ORCHID, benchmarks
    ([0x2001, 0x0db8, 0, 0, 0, 0, 0, 0], 32),      // documentation
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),           // 6to4: an IPv4 address inside
    ([0x2620, 0x004f, 0x8000, 0, 0, 0, 0, 0], 48), // AS112
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),           // documentation
];

/// Whether this is an address of the public internet.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Whether a webhook may go there; `loopback` is for a laptop alone, and lets in that and no other.
pub fn may_reach(address: IpAddr, loopback: bool) -> bool {
    is_public(address) || (loopback && address.to_canonical().is_loopback())
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let bits = address.to_bits();
    !SPECIAL_V4.iter().any(|(network, length)| bits >> (32 - length) == u32::from_be_bytes(*network) >> (32 - length))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let bits = address.to_bits();
    // Outside of 2000::/3: unspecified, loopback, mapped and compatible IPv4, NAT64, discard-only, unique-local (fd00:ec2::254 is AWS's
    // metadata), link-local, site-local, multicast.
    if bits >> 125 != 1 {
        return false;
    }
    // The interface of an ISATAP tunnel ends in an IPv4 address, and the tunnel in somebody's own network.
    if matches!(address.segments(), [_, _, _, _, 0 | 0x0200, 0x5efe, _, _]) {
        return false;
    }
    !SPECIAL_V6.iter().any(|(network, length)| bits >> (128 - length) == Ipv6Addr::from(*network).to_bits() >> (128 - length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn addresses_of_the_internet_are_public() {
        for text in ["1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0"] {
            assert!(is_public(ip(text)), "{text}");
        }
        for text in ["169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "198.17.255.255"] {
            assert!(is_public(ip(text)), "{text}");
        }
        for text in ["198.20.0.0", "223.255.255.255", "52.95.110.1", "2606:4700:4700::1111", "2a00:1450:4001:80b::200e", "2600:1f18::1", "2003::1"] {
            assert!(is_public(ip(text)), "{text}");
        }
    }

    #[test]
    fn special_ipv4_addresses_are_not() {
        for text in ["0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.100.100.200", "100.127.255.255", "127.0.0.1"] {
            assert!(!is_public(ip(text)), "{text}");
        }
        for text in ["127.255.255.255", "168.63.129.16", "169.254.0.0", "169.254.169.254", "169.254.170.2", "172.16.0.0", "172.31.255.255"] {
            assert!(!is_public(ip(text)), "{text}");
        }
        for text in ["192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.0", "192.168.255.255", "198.18.0.0", "198.19.255.255", "198.51.100.9"] {
            assert!(!is_public(ip(text)), "{text}");
        }
        for text in ["203.0.113.255", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.31.196.1", "192.52.193.1", "192.175.48.1"] {
            assert!(!is_public(ip(text)), "{text}");
        }
    }

    #[test]
    fn special_ipv6_addresses_are_not() {
        for text in ["::", "::1", "fe80::1", "febf::1", "fec0::1", "fc00::1", "fd00:ec2::254", "fdff::1", "ff02::1", "100::1", "2001:db8::1"] {
            assert!(!is_public(ip(text)), "{text}");
        }
        for text in ["3fff::1", "2001::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:1ff:ffff::1", "2620:4f:8000::1", "5f00::1", "4000::1", "1fff::1"] {
            assert!(!is_public(ip(text)), "{text}");
        }
    }

    #[test]
    fn an_ipv4_address_inside_an_ipv6_address_does_not_get_through() {
        // 127.0.0.1, 10.0.0.1 and 169.254.169.254 as mapped, compatible, NAT64 (both prefixes), 6to4, Teredo and ISATAP.
        for text in ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe"] {
            assert!(!is_public(ip(text)), "{text}");
        }
        for text in ["64:ff9b:1::10.0.0.1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2a00:1::5efe:10.0.0.1"] {
            assert!(!is_public(ip(text)), "{text}");
        }
        for text in ["2a00:1::200:5efe:127.0.0.1", "::ffff:0:127.0.0.1"] {
            assert!(!is_public(ip(text)), "{text}");
        }
        // A public one in such a form has no business here either: it could name what the other end translates.
        assert!(!is_public(ip("::ffff:8.8.8.8")) && !is_public(ip("2002:808:808::1")));
    }

    #[test]
    fn the_edges_of_every_special_network_are_inside_and_their_neighbours_are_judged_by_themselves() {
        for (network, length) in SPECIAL_V4 {
            let first = u32::from_be_bytes(network);
            let last = first | u32::MAX.checked_shr(length.into()).unwrap_or(0);
            for bits in [first, last] {
                assert!(!is_public(Ipv4Addr::from_bits(bits).into()), "{network:?}/{length}");
            }
        }
        for (network, length) in SPECIAL_V6 {
            let first = Ipv6Addr::from(network).to_bits();
            for bits in [first, first | u128::MAX >> length] {
                assert!(!is_public(Ipv6Addr::from_bits(bits).into()), "{network:x?}/{length}");
            }
        }
    }

    #[test]
    fn a_laptop_may_allow_loopback_and_nothing_else_that_is_special() {
        for text in ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", "1.1.1.1"] {
            assert!(may_reach(ip(text), true), "{text}");
        }
        for text in ["10.0.0.1", "169.254.169.254", "0.0.0.0", "::", "fd00:ec2::254", "::ffff:10.0.0.1", "192.168.1.1"] {
            assert!(!may_reach(ip(text), true), "{text}");
        }
        assert!(!may_reach(ip("127.0.0.1"), false) && !may_reach(ip("::1"), false));
    }
}
