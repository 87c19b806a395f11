//! The canonical IP prefix.

use ipnetwork::IpNetwork;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::Family;

/// An IPv4 or IPv6 prefix without host bits. Orders by family, then address, then length, so a sorted list is a tree
/// walked in pre-order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prefix {
    /// Network bits and length (0 to 32).
    V4(u32, u8),
    /// Network bits and length (0 to 128).
    V6(u128, u8),
}

/// Why a text or an address/length pair is no prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Not of the form address/length.
    #[error("{0:?} is not a prefix: write it as 192.0.2.0/24 or 2001:db8::/32")]
    Syntax(String),
    /// The length does not fit the family.
    #[error("prefix length {0} is too long: at most {1}")]
    Length(u8, u8),
    /// Bits are set behind the mask.
    #[error("{0} has bits set behind its length: did you mean {1}?")]
    HostBits(String, Prefix),
}

impl Prefix {
    /// The prefix of `len` bits that holds `addr`; host bits are cleared. Errors if `len` exceeds the family's width.
    pub fn new(addr: IpAddr, len: u8) -> Result<Prefix, PrefixError> {
        match addr {
            IpAddr::V4(a) if len <= 32 => Ok(Prefix::V4(u32::from(a) & mask4(len), len)),
            IpAddr::V6(a) if len <= 128 => Ok(Prefix::V6(u128::from(a) & mask6(len), len)),
            IpAddr::V4(_) => Err(PrefixError::Length(len, 32)),
            IpAddr::V6(_) => Err(PrefixError::Length(len, 128)),
        }
    }

    /// The /32 or /128 of one address.
    pub fn host(addr: IpAddr) -> Prefix {
        match addr {
            IpAddr::V4(a) => Prefix::V4(u32::from(a), 32),
            IpAddr::V6(a) => Prefix::V6(u128::from(a), 128),
        }
    }

    /// Network address.
    pub fn addr(&self) -> IpAddr {
        match *self {
            Prefix::V4(b, _) => IpAddr::V4(Ipv4Addr::from(b)),
            Prefix::V6(b, _) => IpAddr::V6(Ipv6Addr::from(b)),
        }
    }

    /// Length in bits.
    #[allow(clippy::len_without_is_empty, reason = "a prefix length is not a container's")]
    pub fn len(&self) -> u8 {
        match *self {
            Prefix::V4(_, l) | Prefix::V6(_, l) => l,
        }
    }

    /// Width of the family's address in bits: 32 or 128.
    pub fn max_len(&self) -> u8 {
        if self.is_v4() { 32 } else { 128 }
    }

    /// True for IPv4.
    pub fn is_v4(&self) -> bool {
        matches!(self, Prefix::V4(..))
    }

    /// True for 0.0.0.0/0 and ::/0.
    pub fn is_default(&self) -> bool {
        self.len() == 0
    }

    /// The unicast family this prefix belongs to.
    pub fn family(&self) -> Family {
        if self.is_v4() { Family::IPV4_UNICAST } else { Family::IPV6_UNICAST }
    }

    /// True if `other` is this prefix or lies inside it.
    pub fn covers(&self, other: &Prefix) -> bool {
        match (*self, *other) {
            (Prefix::V4(a, l), Prefix::V4(b, m)) => l <= m && (a ^ b) & mask4(l) == 0,
            (Prefix::V6(a, l), Prefix::V6(b, m)) => l <= m && (a ^ b) & mask6(l) == 0,
            _ => false,
        }
    }

    /// True if `addr` lies inside.
    pub fn contains(&self, addr: IpAddr) -> bool {
        self.covers(&Prefix::host(addr))
    }

    /// True if the two share an address.
    pub fn overlaps(&self, other: &Prefix) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// The prefix one bit shorter; `None` for the default route.
    pub fn parent(&self) -> Option<Prefix> {
        let l = self.len().checked_sub(1)?;
        Some(self.truncate(l))
    }

    /// The prefix's first `len` bits; the prefix itself if it is not longer.
    pub fn truncate(&self, len: u8) -> Prefix {
        match *self {
            Prefix::V4(b, l) if len < l => Prefix::V4(b & mask4(len), len),
            Prefix::V6(b, l) if len < l => Prefix::V6(b & mask6(len), len),
            p => p,
        }
    }

    /// The two halves, lower first; `None` for a host prefix.
    pub fn halves(&self) -> Option<(Prefix, Prefix)> {
        match *self {
            Prefix::V4(b, l) if l < 32 => Some((Prefix::V4(b, l + 1), Prefix::V4(b | 1 << (31 - l), l + 1))),
            Prefix::V6(b, l) if l < 128 => Some((Prefix::V6(b, l + 1), Prefix::V6(b | 1 << (127 - l), l + 1))),
            _ => None,
        }
    }

    /// Reads `addr/len` and refuses host bits (a person who writes them may mean something else).
    pub fn parse_strict(s: &str) -> Result<Prefix, PrefixError> {
        let (a, l) = split(s)?;
        let p = Prefix::new(a, l)?;
        if p.addr() == a { Ok(p) } else { Err(PrefixError::HostBits(s.to_owned(), p)) }
    }
}

fn split(s: &str) -> Result<(IpAddr, u8), PrefixError> {
    let bad = || PrefixError::Syntax(s.to_owned());
    let (a, l) = s.split_once('/').ok_or_else(bad)?;
    if l.is_empty() || l.len() > 3 || !l.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    Ok((a.parse().map_err(|_| bad())?, l.parse().map_err(|_| bad())?))
}

fn mask4(len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
}

fn mask6(len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr(), self.len())
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Prefix::parse_strict(s)
    }
}

impl From<IpNetwork> for Prefix {
    fn from(n: IpNetwork) -> Prefix {
        match n {
            IpNetwork::V4(n) => Prefix::V4(u32::from(n.ip()) & mask4(n.prefix()), n.prefix()),
            IpNetwork::V6(n) => Prefix::V6(u128::from(n.ip()) & mask6(n.prefix()), n.prefix()),
        }
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let s = std::borrow::Cow::<'de, str>::deserialize(d)?;
        s.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn host_bits_are_refused_with_the_cure() {
        let e = Prefix::parse_strict("192.0.2.1/24").expect_err("host bits");
        assert!(e.to_string().contains("192.0.2.0/24"), "{e}");
        for bad in ["192.0.2.0", "192.0.2.0/33", "::/129", "192.0.2.0/", "192.0.2.0/+1", "x/1", "192.0.2.0/0024"] {
            assert!(Prefix::parse_strict(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips_and_halves_cover(bits: u32, wide: u128, len in 0u8..=32, wlen in 0u8..=128) {
            for p in [Prefix::new(IpAddr::V4(bits.into()), len).unwrap(), Prefix::new(IpAddr::V6(wide.into()), wlen).unwrap()] {
                prop_assert_eq!(p.to_string().parse::<Prefix>().unwrap(), p);
                if let Some((a, b)) = p.halves() {
                    prop_assert!(p.covers(&a) && p.covers(&b) && !a.overlaps(&b));
                    prop_assert_eq!(a.parent(), Some(p));
                    prop_assert_eq!(b.parent(), Some(p));
                    prop_assert!(p < a && a < b);
                }
            }
        }
    }
}
