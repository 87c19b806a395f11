//! OPEN (RFC 4271 §4.2, extended optional parameters RFC 9072).

use net_types::{Asn, RouterId};

use crate::Capability;

/// An OPEN message as the peer meant it: `asn` is the four-octet number when the capability says so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Open {
    /// BGP version; 4.
    pub version: u8,
    /// My Autonomous System: from capability 65 when present, else the two-octet field.
    pub asn: Asn,
    /// The two-octet field as it stood on the wire.
    pub my_as: u16,
    /// Proposed hold time in seconds: 0 or at least 3.
    pub hold_time: u16,
    /// BGP Identifier; never 0.0.0.0 (RFC 6286).
    pub bgp_identifier: RouterId,
    /// Every capability in order of appearance.
    pub capabilities: Vec<Capability>,
}
