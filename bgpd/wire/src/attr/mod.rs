//! Path attributes as values (RFC 4271 §5 and the RFCs named beside each). MP_REACH_NLRI, MP_UNREACH_NLRI and NEXT_HOP
//! are not here: they belong to the routes ([`crate::Reach`]), not to what routes share.

mod as_path;
mod as_path_wire;
mod canonical;
mod community;
pub(crate) mod decode;
pub(crate) mod encode;
pub mod table;

pub use as_path::{AsPath, AsPathSegment, AsPathSegmentType};
pub use canonical::{decode_canonical, decode_canonical_into, encode_canonical};
pub use community::{Community, ExtendedCommunity, LargeCommunity};

use bytes::Bytes;
use net_types::{Asn, RouterId};
use std::net::Ipv4Addr;

use crate::List;

/// ORIGIN (RFC 4271 §5.1.1); orders as the decision process prefers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Origin {
    /// 0
    #[default]
    Igp,
    /// 1
    Egp,
    /// 2
    Incomplete,
}

/// AGGREGATOR (RFC 4271 §5.1.7, RFC 6793 §4.2.3 after merging AS4_AGGREGATOR).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Aggregator {
    /// The AS that aggregated.
    pub asn: Asn,
    /// Its router.
    pub address: Ipv4Addr,
}

/// An attribute we do not act on, kept exactly.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UnknownAttribute {
    /// Flags octet as it will be sent: the decoder sets Partial (0x20) on optional transitive ones it does not know
    /// (RFC 4271 §5) and drops optional non-transitive ones. Extended Length (0x10) is cleared and set by the encoder.
    pub flags: u8,
    /// Type code.
    pub code: u8,
    /// Value octets.
    pub value: Bytes,
}

/// What the routes of one UPDATE share, next hop aside: the unit of interning.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct PathAttributes {
    /// 1, well-known mandatory.
    pub origin: Origin,
    /// 2, AS4_PATH already merged (RFC 6793 §4.2.3).
    pub as_path: AsPath,
    /// 4
    pub med: Option<u32>,
    /// 5; on eBGP sessions the decoder discards it (RFC 7606 §7.5).
    pub local_pref: Option<u32>,
    /// 6
    pub atomic_aggregate: bool,
    /// 7
    pub aggregator: Option<Aggregator>,
    /// 8, RFC 1997; sorted, no duplicates.
    pub communities: List<Community, 8>,
    /// 9, RFC 4456; eBGP: discarded.
    pub originator_id: Option<RouterId>,
    /// 10, RFC 4456; eBGP: discarded.
    pub cluster_list: List<RouterId, 4>,
    /// 16, RFC 4360; sorted, no duplicates.
    pub extended_communities: List<ExtendedCommunity, 2>,
    /// 32, RFC 8092; sorted, no duplicates.
    pub large_communities: List<LargeCommunity, 2>,
    /// 35, Only To Customer, RFC 9234.
    pub otc: Option<Asn>,
    /// Everything else, sorted by type code.
    pub unknown: Vec<UnknownAttribute>,
}
