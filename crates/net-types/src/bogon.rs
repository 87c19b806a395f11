//! What no honest eBGP neighbour sends: special-purpose prefixes and AS numbers.
//!
//! Sources: IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890), RFC 5398 and RFC 7300 (ASNs), RFC 7607
//! (AS 0), RFC 6996 (private use). `lab` lets the documentation values through and nothing else.

use crate::{Asn, Prefix};

/// The registry entry that a bogon falls under.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bogon {
    /// What the space is for.
    pub what: &'static str,
    /// Where that is written.
    pub source: &'static str,
}

const fn v4(a: u8, b: u8, c: u8, len: u8) -> Prefix {
    Prefix::V4((a as u32) << 24 | (b as u32) << 16 | (c as u32) << 8, len)
}

const fn v6(a: u16, b: u16, len: u8) -> Prefix {
    Prefix::V6((a as u128) << 112 | (b as u128) << 96, len)
}

const BOGONS: &[(Prefix, &str, &str)] = &[
    (v4(0, 0, 0, 8), "\"this network\"", "RFC 791 §3.2"),
    (v4(10, 0, 0, 8), "private use", "RFC 1918"),
    (v4(100, 64, 0, 10), "shared address space", "RFC 6598"),
    (v4(127, 0, 0, 8), "loopback", "RFC 1122 §3.2.1.3"),
    (v4(169, 254, 0, 16), "link local", "RFC 3927"),
    (v4(172, 16, 0, 12), "private use", "RFC 1918"),
    (v4(192, 0, 0, 24), "IETF protocol assignments", "RFC 6890 §2.1"),
    (v4(192, 0, 2, 24), "documentation", "RFC 5737"),
    (v4(192, 168, 0, 16), "private use", "RFC 1918"),
    (v4(198, 18, 0, 15), "benchmarking", "RFC 2544"),
    (v4(198, 51, 100, 24), "documentation", "RFC 5737"),
    (v4(203, 0, 113, 24), "documentation", "RFC 5737"),
    (v4(224, 0, 0, 4), "multicast", "RFC 5771"),
    (v4(240, 0, 0, 4), "reserved", "RFC 1112 §4"),
    (v6(0x0000, 0, 8), "unspecified, loopback, mapped", "RFC 4291"),
    (v6(0x0100, 0, 64), "discard only", "RFC 6666"),
    (v6(0x2001, 0, 23), "IETF protocol assignments", "RFC 2928"),
    (v6(0x2001, 0x0db8, 32), "documentation", "RFC 3849"),
    (v6(0x2002, 0, 16), "6to4", "RFC 7526"),
    (v6(0x3fff, 0, 20), "documentation", "RFC 9637"),
    (v6(0x5f00, 0, 16), "SRv6 SIDs", "RFC 9602"),
    (v6(0xfc00, 0, 7), "unique local", "RFC 4193"),
    (v6(0xfe80, 0, 10), "link local", "RFC 4291"),
    (v6(0xfec0, 0, 10), "site local", "RFC 3879"),
    (v6(0xff00, 0, 8), "multicast", "RFC 4291"),
];

/// True for 192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24, 2001:db8::/32 and what lies inside them.
pub fn is_documentation_prefix(p: &Prefix) -> bool {
    [v4(192, 0, 2, 24), v4(198, 51, 100, 24), v4(203, 0, 113, 24), v6(0x2001, 0xdb8, 32)].iter().any(|d| d.covers(p))
}

/// True for 64496-64511 and 65536-65551 (RFC 5398).
pub fn is_documentation_asn(a: Asn) -> bool {
    matches!(a.0, 64496..=64511 | 65536..=65551)
}

/// False for most prefixes, by their first octets alone: no block of [`BOGONS`] overlaps them. Asked of each route.
fn begins_like_a_bogon(p: &Prefix) -> bool {
    match *p {
        Prefix::V4(bits, len) => {
            len < 8 || matches!(bits >> 24, 0 | 10 | 100 | 127 | 169 | 172 | 192 | 198 | 203 | 224..)
        }
        Prefix::V6(bits, len) => {
            len < 16 || matches!(bits >> 112, 0..=0x01ff | 0x2001 | 0x2002 | 0x3fff | 0x5f00 | 0xfc00..)
        }
    }
}

/// The special-purpose block that covers `p` or that `p` covers (the default route is no bogon), if any. With `lab`,
/// documentation space passes.
pub fn bogon_prefix(p: &Prefix, lab: bool) -> Option<Bogon> {
    if p.is_default() || !begins_like_a_bogon(p) || lab && is_documentation_prefix(p) {
        return None;
    }
    BOGONS
        .iter()
        .find(|(b, ..)| b.overlaps(p) && (b.covers(p) || !lab || !is_documentation_prefix(b)))
        .map(|&(_, what, source)| Bogon { what, source })
}

/// Why `a` may not stand in an AS_PATH on the Internet, if so. With `lab`, documentation numbers pass.
pub fn bogon_asn(a: Asn, lab: bool) -> Option<Bogon> {
    let (what, source) = match a.0 {
        0 => ("AS 0", "RFC 7607"),
        23456 => ("AS_TRANS", "RFC 6793 §9"),
        64496..=64511 | 65536..=65551 if lab => return None,
        64496..=64511 | 65536..=65551 => ("documentation", "RFC 5398"),
        64512..=65534 | 4_200_000_000..=4_294_967_294 => ("private use", "RFC 6996"),
        65535 | u32::MAX => ("last AS number, reserved", "RFC 7300"),
        65552..=131_071 => ("reserved", "IANA AS number registry"),
        _ => return None,
    };
    Some(Bogon { what, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lab_lets_documentation_through_and_nothing_else() {
        for (p, lab, bogon) in [
            ("192.0.2.0/24", false, true),
            ("192.0.2.0/24", true, false),
            ("192.0.2.128/25", true, false),
            ("10.1.0.0/16", true, true),
            ("192.0.0.0/22", false, true),
            ("2001:db8:5::/48", true, false),
            ("2001:db8:5::/48", false, true),
            ("fd00::/48", true, true),
            ("8.8.8.0/24", false, false),
            ("0.0.0.0/0", false, false),
            ("2a00::/16", false, false),
        ] {
            assert_eq!(bogon_prefix(&p.parse().unwrap(), lab).is_some(), bogon, "{p} lab={lab}");
        }
        assert!(bogon_asn(Asn(64500), true).is_none() && bogon_asn(Asn(64500), false).is_some());
        assert!(bogon_asn(Asn(64512), true).is_some() && bogon_asn(Asn(0), true).is_some());
        assert!(bogon_asn(Asn(3215), false).is_none());
    }

    #[test]
    fn the_first_octets_tell_no_bogon_to_be_none() {
        for (block, ..) in BOGONS {
            let (low, high) = block.halves().unwrap();
            for p in [*block, low, high, high.halves().unwrap().1, block.parent().unwrap(), block.truncate(5)] {
                assert!(begins_like_a_bogon(&p), "{p} beside {block}");
                assert!(p.is_default() || bogon_prefix(&p, false).is_some(), "{p} beside {block}");
            }
        }
        for p in ["8.8.8.0/24", "80.0.0.0/8", "2a00::/16", "2606:4700::/32"] {
            assert!(!begins_like_a_bogon(&p.parse().unwrap()), "{p}");
        }
    }
}
