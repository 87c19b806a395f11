//! Address families: AFI and SAFI (IANA registries; RFC 4760).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Address Family Identifier.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Afi(pub u16);

/// Subsequent Address Family Identifier.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Safi(pub u8);

impl Afi {
    /// IPv4.
    pub const IPV4: Afi = Afi(1);
    /// IPv6.
    pub const IPV6: Afi = Afi(2);
}

impl Safi {
    /// Unicast forwarding.
    pub const UNICAST: Safi = Safi(1);
}

/// An (AFI, SAFI) pair; any pair is representable, so that a capability we do not know is kept as it came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Family {
    /// Address family.
    pub afi: Afi,
    /// Subsequent address family.
    pub safi: Safi,
}

impl Family {
    /// IPv4 unicast.
    pub const IPV4_UNICAST: Family = Family { afi: Afi::IPV4, safi: Safi::UNICAST };
    /// IPv6 unicast.
    pub const IPV6_UNICAST: Family = Family { afi: Afi::IPV6, safi: Safi::UNICAST };
    /// The families this build can carry routes of.
    pub const SUPPORTED: [Family; 2] = [Family::IPV4_UNICAST, Family::IPV6_UNICAST];
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Family::IPV4_UNICAST => f.write_str("ipv4-unicast"),
            Family::IPV6_UNICAST => f.write_str("ipv6-unicast"),
            Family { afi, safi } => write!(f, "afi{}-safi{}", afi.0, safi.0),
        }
    }
}

impl FromStr for Family {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Family::SUPPORTED
            .into_iter()
            .find(|f| f.to_string() == s)
            .ok_or_else(|| format!("unknown family {s:?}: one of ipv4-unicast, ipv6-unicast"))
    }
}
