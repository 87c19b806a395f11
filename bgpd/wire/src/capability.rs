//! Capabilities (RFC 5492): one enum, one row each; unknown ones are kept as they came.

use bytes::Bytes;
use net_types::{Afi, Asn, Family};

/// One capability of an OPEN.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Capability {
    /// 1, RFC 4760.
    Multiprotocol(Family),
    /// 2, RFC 2918.
    RouteRefresh,
    /// 5, RFC 8950: (family of the NLRI, AFI of the next hop).
    ExtendedNextHop(Vec<(Family, Afi)>),
    /// 6, RFC 8654.
    ExtendedMessage,
    /// 9, RFC 9234.
    Role(Role),
    /// 64, RFC 4724.
    GracefulRestart(GracefulRestart),
    /// 65, RFC 6793.
    FourOctetAsn(Asn),
    /// 69, RFC 7911: (family, may receive from us, may send to us) as the sender states it.
    AddPath(Vec<(Family, AddPathMode)>),
    /// 70, RFC 7313.
    EnhancedRouteRefresh,
    /// 71, RFC 9494: (family, forwarding preserved, stale time in seconds).
    LongLivedGracefulRestart(Vec<(Family, bool, u32)>),
    /// Any other code, or a known code whose value we do not act on.
    Unknown {
        /// Capability code.
        code: u8,
        /// Value octets.
        value: Bytes,
    },
}

/// What the sender of an ADD-PATH capability is able to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddPathMode {
    /// 1: receive.
    Receive,
    /// 2: send.
    Send,
    /// 3: both.
    Both,
}

/// BGP Role of the sender (RFC 9234 §4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// 0
    Provider,
    /// 1
    RouteServer,
    /// 2
    RouteServerClient,
    /// 3
    Customer,
    /// 4
    Peer,
}

/// Graceful Restart capability (RFC 4724 §3, N bit RFC 8538 §2).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GracefulRestart {
    /// R: the sender has restarted and waits for End-of-RIB.
    pub restarting: bool,
    /// N: GR also covers NOTIFICATION and hold timer expiry.
    pub notification: bool,
    /// Seconds until the session should be back (12 bits).
    pub restart_time: u16,
    /// (family, F: forwarding state was preserved).
    pub families: Vec<(Family, bool)>,
}
