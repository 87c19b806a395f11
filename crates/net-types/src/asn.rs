//! AS numbers (RFC 6793, asplain of RFC 5396) and BGP Identifiers (RFC 6286).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// A four-octet AS number, written as asplain; parsing takes `AS64500`, `64500` and asdot `1.0`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Asn(pub u32);

/// A text that is no AS number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an AS number: write 64500, AS64500 or 1.5 (0 to 4294967295)")]
pub struct AsnParseError(String);

impl Asn {
    /// AS_TRANS, which stands for a four-octet AS number towards a two-octet speaker (RFC 6793 §9).
    pub const TRANS: Asn = Asn(23456);

    /// The number as two octets carry it: itself, or AS_TRANS.
    pub fn as_two_octet(self) -> u16 {
        u16::try_from(self.0).unwrap_or(23456)
    }

    /// Private use, RFC 6996: 64512-65534 and 4200000000-4294967294.
    pub fn is_private(self) -> bool {
        matches!(self.0, 64512..=65534 | 4_200_000_000..=4_294_967_294)
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AS{}", self.0)
    }
}

impl FromStr for Asn {
    type Err = AsnParseError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let bad = || AsnParseError(s.to_owned());
        let t = s.strip_prefix("AS").or_else(|| s.strip_prefix("as")).unwrap_or(s);
        if t.starts_with('+') {
            return Err(bad());
        }
        if let Some((hi, lo)) = t.split_once('.') {
            let (hi, lo): (u16, u16) = (hi.parse().map_err(|_| bad())?, lo.parse().map_err(|_| bad())?);
            return Ok(Asn(u32::from(hi) << 16 | u32::from(lo)));
        }
        t.parse().map(Asn).map_err(|_| bad())
    }
}

/// A BGP Identifier, ORIGINATOR_ID or CLUSTER_ID: 32 bits written as a dotted quad; compared as an unsigned number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RouterId(pub Ipv4Addr);

impl RouterId {
    /// The identifier as the number that collision detection and the decision process compare.
    pub fn to_u32(self) -> u32 {
        u32::from(self.0)
    }
}

impl From<u32> for RouterId {
    fn from(v: u32) -> Self {
        RouterId(Ipv4Addr::from(v))
    }
}

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for RouterId {
    type Err = std::net::AddrParseError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        s.parse().map(RouterId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asn_reads_the_three_spellings_and_nothing_else() {
        assert_eq!("AS64500".parse(), Ok(Asn(64500)));
        assert_eq!("1.0".parse(), Ok(Asn(65536)));
        assert_eq!("4294967295".parse(), Ok(Asn(u32::MAX)));
        for bad in ["", "AS", "4294967296", "-1", "+1", "65536.1", "1.2.3", "AS 1"] {
            assert!(bad.parse::<Asn>().is_err(), "{bad}");
        }
    }

    #[test]
    fn rfc6793_9_wide_numbers_travel_as_as_trans() {
        assert_eq!(Asn(65536).as_two_octet(), 23456);
        assert_eq!(Asn(64500).as_two_octet(), 64500);
    }
}
