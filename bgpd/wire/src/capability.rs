//! Capabilities (RFC 5492): one enum, one row each; unknown ones are kept as they came.
//!
//! A capability whose length its RFC fixes and whose sender got it wrong is an error of the OPEN (2/0, RFC 4271 §6.2). One
//! of variable length that makes no sense is kept as [`Capability::Unknown`], which is to ignore it (RFC 5492 §3): the
//! session comes up without that feature. Values that are nothing but text (FQDN, software version) are never looked into.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use net_types::{Afi, Asn, Family, Safi};

use crate::EncodeError;
use crate::reader::Reader;

/// Capability codes (IANA) of the rows of [`Capability`].
#[allow(missing_docs, reason = "the names are the registry's own")]
pub mod code {
    pub const MULTIPROTOCOL: u8 = 1;
    pub const ROUTE_REFRESH: u8 = 2;
    pub const EXTENDED_NEXT_HOP: u8 = 5;
    pub const EXTENDED_MESSAGE: u8 = 6;
    pub const ROLE: u8 = 9;
    pub const GRACEFUL_RESTART: u8 = 64;
    pub const FOUR_OCTET_ASN: u8 = 65;
    pub const ADD_PATH: u8 = 69;
    pub const ENHANCED_ROUTE_REFRESH: u8 = 70;
    pub const LONG_LIVED_GRACEFUL_RESTART: u8 = 71;
}

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

/// A capability whose fixed length was not kept: the OPEN is malformed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BadCapability;

impl Role {
    /// The role of a value on the wire; `None` where IANA has assigned none.
    pub fn from_u8(v: u8) -> Option<Role> {
        [Role::Provider, Role::RouteServer, Role::RouteServerClient, Role::Customer, Role::Peer]
            .into_iter()
            .find(|r| r.to_u8() == v)
    }

    /// The value on the wire (RFC 9234 §4.1).
    pub fn to_u8(self) -> u8 {
        match self {
            Role::Provider => 0,
            Role::RouteServer => 1,
            Role::RouteServerClient => 2,
            Role::Customer => 3,
            Role::Peer => 4,
        }
    }

    /// True if a session may have these two ends (RFC 9234 §4.2, table 2).
    pub fn matches(self, other: Role) -> bool {
        matches!(
            (self, other),
            (Role::Provider, Role::Customer)
                | (Role::Customer, Role::Provider)
                | (Role::RouteServer, Role::RouteServerClient)
                | (Role::RouteServerClient, Role::RouteServer)
                | (Role::Peer, Role::Peer)
        )
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Provider => "provider",
            Role::RouteServer => "route-server",
            Role::RouteServerClient => "route-server-client",
            Role::Customer => "customer",
            Role::Peer => "peer",
        })
    }
}

fn family(r: &mut Reader<'_>) -> Option<Family> {
    Some(Family { afi: Afi(r.u16()?), safi: Safi(r.u8()?) })
}

/// Reads entries until the value is used up; `None` if the last is cut short or one makes no sense.
fn entries<T>(value: &[u8], mut one: impl FnMut(&mut Reader<'_>) -> Option<T>) -> Option<Vec<T>> {
    let mut r = Reader::new(value);
    let mut all = Vec::new();
    while !r.is_empty() {
        all.push(one(&mut r)?);
    }
    Some(all)
}

fn extended_next_hop(value: &[u8]) -> Option<Capability> {
    entries(value, |r| {
        let (afi, safi, next_hop) = (r.u16()?, r.u16()?, r.u16()?);
        // The SAFI is two octets wide here and nowhere else (RFC 8950 §4).
        Some((Family { afi: Afi(afi), safi: Safi(u8::try_from(safi).ok()?) }, Afi(next_hop)))
    })
    .map(Capability::ExtendedNextHop)
}

fn graceful_restart(value: &[u8]) -> Option<Capability> {
    let (head, tail) = value.split_first_chunk::<2>()?;
    let head = u16::from_be_bytes(*head);
    Some(Capability::GracefulRestart(GracefulRestart {
        restarting: head & 0x8000 != 0,
        notification: head & 0x4000 != 0,
        restart_time: head & 0x0fff,
        families: entries(tail, |r| Some((family(r)?, r.u8()? & 0x80 != 0)))?,
    }))
}

fn add_path(value: &[u8]) -> Option<Capability> {
    entries(value, |r| {
        let family = family(r)?;
        // RFC 7911 §4: with any other value the capability is as good as not understood.
        let mode = match r.u8()? {
            1 => AddPathMode::Receive,
            2 => AddPathMode::Send,
            3 => AddPathMode::Both,
            _ => return None,
        };
        Some((family, mode))
    })
    .map(Capability::AddPath)
}

fn long_lived(value: &[u8]) -> Option<Capability> {
    entries(value, |r| {
        let (family, flags, [a, b, c]) = (family(r)?, r.u8()?, r.array::<3>()?);
        Some((family, flags & 0x80 != 0, u32::from_be_bytes([0, a, b, c])))
    })
    .map(Capability::LongLivedGracefulRestart)
}

impl Capability {
    /// Capability code.
    pub fn code(&self) -> u8 {
        match self {
            Capability::Multiprotocol(_) => code::MULTIPROTOCOL,
            Capability::RouteRefresh => code::ROUTE_REFRESH,
            Capability::ExtendedNextHop(_) => code::EXTENDED_NEXT_HOP,
            Capability::ExtendedMessage => code::EXTENDED_MESSAGE,
            Capability::Role(_) => code::ROLE,
            Capability::GracefulRestart(_) => code::GRACEFUL_RESTART,
            Capability::FourOctetAsn(_) => code::FOUR_OCTET_ASN,
            Capability::AddPath(_) => code::ADD_PATH,
            Capability::EnhancedRouteRefresh => code::ENHANCED_ROUTE_REFRESH,
            Capability::LongLivedGracefulRestart(_) => code::LONG_LIVED_GRACEFUL_RESTART,
            Capability::Unknown { code, .. } => *code,
        }
    }

    pub(crate) fn decode(code: u8, value: &[u8]) -> Result<Capability, BadCapability> {
        let understood = match (code, value) {
            (code::MULTIPROTOCOL, &[a, b, _, s]) => {
                Some(Capability::Multiprotocol(Family { afi: Afi(u16::from_be_bytes([a, b])), safi: Safi(s) }))
            }
            (code::ROUTE_REFRESH, []) => Some(Capability::RouteRefresh),
            (code::EXTENDED_MESSAGE, []) => Some(Capability::ExtendedMessage),
            (code::ENHANCED_ROUTE_REFRESH, []) => Some(Capability::EnhancedRouteRefresh),
            (code::FOUR_OCTET_ASN, &[a, b, c, d]) => {
                Some(Capability::FourOctetAsn(Asn(u32::from_be_bytes([a, b, c, d]))))
            }
            // A role without a name stays Unknown with code 9: the session's owner judges it (RFC 9234 §4.2).
            (code::ROLE, &[v]) => Role::from_u8(v).map(Capability::Role),
            (
                code::MULTIPROTOCOL
                | code::ROUTE_REFRESH
                | code::EXTENDED_MESSAGE
                | code::ENHANCED_ROUTE_REFRESH
                | code::FOUR_OCTET_ASN
                | code::ROLE,
                _,
            ) => return Err(BadCapability),
            (code::EXTENDED_NEXT_HOP, v) => extended_next_hop(v),
            (code::GRACEFUL_RESTART, v) => graceful_restart(v),
            (code::ADD_PATH, v) => add_path(v),
            (code::LONG_LIVED_GRACEFUL_RESTART, v) => long_lived(v),
            _ => None,
        };
        Ok(understood.unwrap_or_else(|| Capability::Unknown { code, value: Bytes::copy_from_slice(value) }))
    }

    /// Appends code, length and value.
    pub(crate) fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let mut v = BytesMut::new();
        match self {
            Capability::Multiprotocol(f) => {
                v.put_u16(f.afi.0);
                v.put_u8(0);
                v.put_u8(f.safi.0);
            }
            Capability::RouteRefresh | Capability::ExtendedMessage | Capability::EnhancedRouteRefresh => {}
            Capability::ExtendedNextHop(list) => {
                for (f, next_hop) in list {
                    v.put_u16(f.afi.0);
                    v.put_u16(u16::from(f.safi.0));
                    v.put_u16(next_hop.0);
                }
            }
            Capability::Role(role) => v.put_u8(role.to_u8()),
            Capability::GracefulRestart(gr) => {
                let flags = u16::from(gr.restarting) << 15 | u16::from(gr.notification) << 14;
                v.put_u16(flags | gr.restart_time.min(0x0fff));
                for (f, forwarding) in &gr.families {
                    v.put_u16(f.afi.0);
                    v.put_u8(f.safi.0);
                    v.put_u8(u8::from(*forwarding) << 7);
                }
            }
            Capability::FourOctetAsn(asn) => v.put_u32(asn.0),
            Capability::AddPath(list) => {
                for (f, mode) in list {
                    v.put_u16(f.afi.0);
                    v.put_u8(f.safi.0);
                    v.put_u8(match mode {
                        AddPathMode::Receive => 1,
                        AddPathMode::Send => 2,
                        AddPathMode::Both => 3,
                    });
                }
            }
            Capability::LongLivedGracefulRestart(list) => {
                for (f, forwarding, seconds) in list {
                    v.put_u16(f.afi.0);
                    v.put_u8(f.safi.0);
                    v.put_u32(u32::from(*forwarding) << 31 | (*seconds).min(0x00ff_ffff));
                }
            }
            Capability::Unknown { value, .. } => v.put_slice(value),
        }
        let len = u8::try_from(v.len()).map_err(|_| EncodeError::FieldTooLong("a capability"))?;
        out.put_u8(self.code());
        out.put_u8(len);
        out.put_slice(&v);
        Ok(())
    }
}

/// For people: `multiprotocol ipv4-unicast`, `graceful-restart 120 s (ipv4-unicast)`, `capability 73 (9 octets)`.
impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Capability::Multiprotocol(family) => write!(f, "multiprotocol {family}"),
            Capability::RouteRefresh => f.write_str("route-refresh"),
            Capability::ExtendedNextHop(list) => {
                f.write_str("extended-next-hop")?;
                for (family, afi) in list {
                    match *afi {
                        Afi::IPV4 => write!(f, " {family}/ipv4")?,
                        Afi::IPV6 => write!(f, " {family}/ipv6")?,
                        Afi(n) => write!(f, " {family}/afi{n}")?,
                    }
                }
                Ok(())
            }
            Capability::ExtendedMessage => f.write_str("extended-message"),
            Capability::Role(role) => write!(f, "role {role}"),
            Capability::GracefulRestart(gr) => {
                write!(f, "graceful-restart {} s", gr.restart_time)?;
                if gr.restarting {
                    f.write_str(" restarting")?;
                }
                if gr.notification {
                    f.write_str(" notification")?;
                }
                for (family, forwarding) in &gr.families {
                    write!(f, " {family}{}", if *forwarding { "/forwarding" } else { "" })?;
                }
                Ok(())
            }
            Capability::FourOctetAsn(asn) => write!(f, "four-octet-asn {asn}"),
            Capability::AddPath(list) => {
                f.write_str("add-path")?;
                for (family, mode) in list {
                    let mode = match mode {
                        AddPathMode::Receive => "receive",
                        AddPathMode::Send => "send",
                        AddPathMode::Both => "both",
                    };
                    write!(f, " {family}/{mode}")?;
                }
                Ok(())
            }
            Capability::EnhancedRouteRefresh => f.write_str("enhanced-route-refresh"),
            Capability::LongLivedGracefulRestart(list) => {
                f.write_str("long-lived-graceful-restart")?;
                for (family, _, seconds) in list {
                    write!(f, " {family}/{seconds}s")?;
                }
                Ok(())
            }
            Capability::Unknown { code, value } => write!(f, "capability {code} ({} octets)", value.len()),
        }
    }
}
