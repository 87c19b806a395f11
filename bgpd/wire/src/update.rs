//! UPDATE: the sections, the NLRI, the next hop (RFC 4271 §4.3, RFC 4760, RFC 7606, RFC 7911, RFC 8950).
//!
//! In: [`decode_update`] cuts the body into its three sections, reads the two NLRI fields, then the attributes.
//! Out: [`AttributeBlock`], [`encode_withdraw`] and [`encode_end_of_rib`] append whole messages, each as full as the
//! session allows, straight into one buffer.

mod decode;
mod encode;

pub use decode::decode_update;
pub(crate) use encode::encode_update;
pub use encode::{AttributeBlock, encode_announce, encode_end_of_rib, encode_withdraw};

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use net_types::{Family, Prefix};

use crate::message::{MAX_EXTENDED_LEN, MAX_LEN};
use crate::{AttrError, List, PathAttributes};

/// What was negotiated, as far as decoding and encoding need it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionContext {
    /// True on a session to another AS (confederations aside).
    pub ebgp: bool,
    /// Both sides sent capability 65: AS numbers are four octets wide.
    pub four_octet_as: bool,
    /// RFC 8654 in force: messages up to 65535 octets in both directions.
    pub extended_message: bool,
    /// Families in force.
    pub families: Vec<Family>,
    /// Families whose NLRI carry a Path Identifier towards us (RFC 7911).
    pub add_path_receive: Vec<Family>,
    /// Families whose NLRI carry a Path Identifier from us.
    pub add_path_send: Vec<Family>,
    /// Families whose NLRI may come with a next hop of another AFI (RFC 8950); IPv4 unicast is the one we use.
    pub extended_next_hop: Vec<Family>,
}

impl SessionContext {
    /// What holds before the OPENs are exchanged: nothing but IPv4 unicast and two-octet AS numbers.
    pub fn initial() -> SessionContext {
        SessionContext {
            ebgp: true,
            four_octet_as: false,
            extended_message: false,
            families: vec![Family::IPV4_UNICAST],
            add_path_receive: Vec::new(),
            add_path_send: Vec::new(),
            extended_next_hop: Vec::new(),
        }
    }

    /// Longest message in force, as [`crate::message::frame`] wants it.
    pub fn max_len(&self) -> usize {
        if self.extended_message { MAX_EXTENDED_LEN } else { MAX_LEN }
    }
}

impl Default for SessionContext {
    fn default() -> Self {
        SessionContext::initial()
    }
}

/// One route's key on the wire. `path_id` is 0 where ADD-PATH is not in force.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Nlri {
    /// The destination.
    pub prefix: Prefix,
    /// Path Identifier (RFC 7911).
    pub path_id: u32,
}

/// The next hop of an announcement.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum NextHop {
    /// NEXT_HOP attribute.
    V4(Ipv4Addr),
    /// Global address and, where sent, the link-local one (RFC 2545 §3). A lone link-local address is held as `global`.
    V6 {
        /// Global (or only) address.
        global: Ipv6Addr,
        /// Link-local address.
        link_local: Option<Ipv6Addr>,
    },
}

impl Nlri {
    /// A route's key where ADD-PATH is not in force.
    pub const fn new(prefix: Prefix) -> Nlri {
        Nlri { prefix, path_id: 0 }
    }
}

impl NextHop {
    /// The address that packets are sent towards; the global one where there are two.
    pub fn address(&self) -> IpAddr {
        match *self {
            NextHop::V4(a) => IpAddr::V4(a),
            NextHop::V6 { global, .. } => IpAddr::V6(global),
        }
    }
}

impl From<IpAddr> for NextHop {
    fn from(address: IpAddr) -> NextHop {
        match address {
            IpAddr::V4(a) => NextHop::V4(a),
            IpAddr::V6(global) => NextHop::V6 { global, link_local: None },
        }
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NextHop::V4(a) => write!(f, "{a}"),
            NextHop::V6 { global, link_local: None } => write!(f, "{global}"),
            NextHop::V6 { global, link_local: Some(l) } => write!(f, "{global} ({l})"),
        }
    }
}

/// Routes announced with one next hop in one UPDATE.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reach {
    /// Family of the NLRI.
    pub family: Family,
    /// Their next hop.
    pub next_hop: NextHop,
    /// At least one.
    pub nlri: Vec<Nlri>,
}

/// Routes withdrawn, or (after an error) treated as withdrawn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unreach {
    /// Family of the NLRI.
    pub family: Family,
    /// At least one.
    pub nlri: Vec<Nlri>,
}

/// A decoded UPDATE. After an error of class treat-as-withdraw `reach` is empty and its routes stand in `unreach`.
/// Withdrawals are to be applied before announcements (a prefix in both is announced, RFC 4271 §4.3).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Update {
    /// Routes withdrawn.
    pub unreach: List<Unreach, 1>,
    /// Routes announced; all share `attributes`.
    pub reach: List<Reach, 1>,
    /// Attributes of `reach`; default when nothing is announced.
    pub attributes: PathAttributes,
    /// End-of-RIB marker (RFC 4724 §2) of this family.
    pub end_of_rib: Option<Family>,
    /// Errors that RFC 7606 lets the session survive, the first of them: a message made of nothing but errors must not
    /// cost more memory than it is long.
    pub errors: Vec<AttrError>,
}
