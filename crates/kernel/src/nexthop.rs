//! Next-hop objects: `RTM_NEWNEXTHOP`, `RTM_DELNEXTHOP`, `RTM_GETNEXTHOP` (linux/nexthop.h), which netlink-packet-route
//! does not know. Equivalent to `ip nexthop add|replace|del|show`.
//!
//! An object is a single next hop (gateway and device, or device alone), a blackhole, or a group of singles with
//! weights: one that spreads by hash over its members, or a resilient one, which spreads over buckets that members own, so
//! that a member that goes moves its own buckets and no others. A message is `struct nhmsg` (8 bytes) and `NHA_*` attributes. An IPv4 route may use an object of `AF_INET6`
//! with a gateway (RFC 8950's data plane); an IPv6 route may not use one of `AF_INET`.
//!
//! Invariants: a foreign object of a kind we do not know decodes as [`NexthopKind::Other`], never as an error.

use net_types::Afi;
use netlink_packet_core::{DecodeError, DefaultNla, Emitable, NlasIterator};
use std::net::IpAddr;

/// Create or replace an object.
pub const RTM_NEWNEXTHOP: u16 = 104;
/// Remove an object, and every route on it.
pub const RTM_DELNEXTHOP: u16 = 105;
/// Read one or all.
pub const RTM_GETNEXTHOP: u16 = 106;

const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_GROUP_TYPE: u16 = 3;
const NHA_BLACKHOLE: u16 = 4;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
const NHA_ENCAP_TYPE: u16 = 7;
const NHA_FDB: u16 = 11;
const NHA_RES_GROUP: u16 = 12;
const NHA_RES_GROUP_BUCKETS: u16 = 1;
const NHA_RES_GROUP_IDLE_TIMER: u16 = 2;
const NHA_RES_GROUP_UNBALANCED_TIMER: u16 = 3;
const NEXTHOP_GRP_TYPE_RES: u16 = 1;
const NLA_F_NESTED: u16 = 0x8000;

const NHMSG_LEN: usize = 8;
const NLA_TYPE_MASK: u16 = 0x3fff;

/// One way on: a gateway on a link, or the link itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHop {
    /// The neighbour's address; `None` for a destination on the link. IPv6 (link-local too) is fine for IPv4 routes.
    pub gateway: Option<IpAddr>,
    /// The link.
    pub ifindex: u32,
    /// What the gateway was looked up for, where it is not the next hop itself: such a next hop has an object of its own, so
    /// that what hangs on it moves by itself. The kernel does not know of it.
    pub through: Option<IpAddr>,
}

/// A member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The single object's id.
    pub id: u32,
    /// Share of the traffic, 1 to 256.
    pub weight: u16,
}

/// What an object does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NexthopKind {
    /// Sends to one next hop.
    Single(NextHop),
    /// Drops.
    Blackhole,
    /// Spreads over singles by hash.
    Group(Vec<Member>),
    /// Spreads over buckets that singles own by weight, in the order of the members.
    Resilient(ResilientGroup),
    /// Something that we never make (FDB, encapsulation).
    Other,
}

/// `NEXTHOP_GRP_TYPE_RES`. The number of buckets stays for the life of an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResilientGroup {
    /// In the order of the kernel's rounding.
    pub members: Vec<Member>,
    /// How many buckets.
    pub buckets: u16,
    /// A bucket that has not been used for so long may move to a member that owns too few; hundredths of a second, 0: at once.
    pub idle_timer: u32,
    /// After so long out of balance buckets in use move too; hundredths of a second, 0: never.
    pub unbalanced_timer: u32,
}

/// A next-hop object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NexthopObject {
    /// Its id, unique in the namespace.
    pub id: u32,
    /// `nh_protocol`: who made it.
    pub protocol: u8,
    /// Address family of a single or blackhole object; a group has none.
    pub afi: Option<Afi>,
    /// What it does.
    pub kind: NexthopKind,
}

/// The body of a next-hop message, ready to be emitted behind a netlink header.
#[derive(Debug, Clone)]
pub struct NexthopMessage {
    family: u8,
    protocol: u8,
    attributes: Vec<DefaultNla>,
}

impl NexthopMessage {
    /// `RTM_NEWNEXTHOP` for an object.
    pub fn put(object: &NexthopObject) -> NexthopMessage {
        let mut attributes = vec![u32_nla(NHA_ID, object.id)];
        match &object.kind {
            NexthopKind::Single(hop) => {
                attributes.push(u32_nla(NHA_OIF, hop.ifindex));
                match hop.gateway {
                    Some(IpAddr::V4(a)) => attributes.push(DefaultNla::new(NHA_GATEWAY, a.octets().to_vec())),
                    Some(IpAddr::V6(a)) => attributes.push(DefaultNla::new(NHA_GATEWAY, a.octets().to_vec())),
                    None => {}
                }
            }
            NexthopKind::Blackhole => attributes.push(DefaultNla::new(NHA_BLACKHOLE, Vec::new())),
            NexthopKind::Group(members) => attributes.push(group_nla(members)),
            NexthopKind::Resilient(group) => {
                attributes.push(group_nla(&group.members));
                attributes.push(DefaultNla::new(NHA_GROUP_TYPE, NEXTHOP_GRP_TYPE_RES.to_ne_bytes().to_vec()));
                let nested = [
                    DefaultNla::new(NHA_RES_GROUP_BUCKETS, group.buckets.to_ne_bytes().to_vec()),
                    u32_nla(NHA_RES_GROUP_IDLE_TIMER, group.idle_timer),
                    u32_nla(NHA_RES_GROUP_UNBALANCED_TIMER, group.unbalanced_timer),
                ];
                let mut bytes = vec![0; nested.as_slice().buffer_len()];
                nested.as_slice().emit(&mut bytes);
                attributes.push(DefaultNla::new(NHA_RES_GROUP | NLA_F_NESTED, bytes));
            }
            NexthopKind::Other => {}
        }
        NexthopMessage { family: family_of(object.afi), protocol: object.protocol, attributes }
    }

    /// `RTM_DELNEXTHOP` by id.
    pub fn delete(id: u32) -> NexthopMessage {
        NexthopMessage { family: 0, protocol: 0, attributes: vec![u32_nla(NHA_ID, id)] }
    }

    /// `RTM_GETNEXTHOP` with `NLM_F_DUMP`. The kernel cannot filter by protocol: the reader does.
    pub fn dump() -> NexthopMessage {
        NexthopMessage { family: 0, protocol: 0, attributes: Vec::new() }
    }
}

impl Emitable for NexthopMessage {
    fn buffer_len(&self) -> usize {
        NHMSG_LEN + self.attributes.as_slice().buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        // struct nhmsg { u8 nh_family, nh_scope, nh_protocol, resvd; u32 nh_flags; }
        let Some((head, rest)) = buffer.split_at_mut_checked(NHMSG_LEN) else { return };
        head.copy_from_slice(&[self.family, 0, self.protocol, 0, 0, 0, 0, 0]);
        self.attributes.as_slice().emit(rest);
    }
}

impl NexthopObject {
    /// Decodes the body of an `RTM_NEWNEXTHOP` message.
    pub fn parse(body: &[u8]) -> Result<NexthopObject, DecodeError> {
        let Some(([family, _, protocol, _, ..], attributes)) = body.split_first_chunk::<NHMSG_LEN>() else {
            return Err(DecodeError::from("next-hop message shorter than struct nhmsg"));
        };
        let mut id = None;
        let (mut gateway, mut oif, mut group, mut blackhole, mut other) = (None, None, None, false, false);
        let (mut kind, mut resilient) = (0, None);
        for nla in NlasIterator::new(attributes) {
            let nla = nla?;
            let value = nla.value();
            match nla.kind() & NLA_TYPE_MASK {
                NHA_ID => id = Some(u32_of(value)?),
                NHA_OIF => oif = Some(u32_of(value)?),
                NHA_GATEWAY => gateway = Some(address_of(value)?),
                NHA_BLACKHOLE => blackhole = true,
                NHA_GROUP => group = Some(members_of(value)),
                NHA_GROUP_TYPE => kind = u16_of(value)?,
                NHA_RES_GROUP => resilient = Some(resilient_of(value)?),
                NHA_FDB | NHA_ENCAP_TYPE => other = true,
                _ => {}
            }
        }
        let kind = match (other, group, blackhole, oif) {
            (true, ..) => NexthopKind::Other,
            (_, Some(members), ..) => match (kind, resilient) {
                (0, _) => NexthopKind::Group(members),
                (NEXTHOP_GRP_TYPE_RES, Some((buckets, idle_timer, unbalanced_timer))) => {
                    NexthopKind::Resilient(ResilientGroup { members, buckets, idle_timer, unbalanced_timer })
                }
                _ => NexthopKind::Other,
            },
            (_, _, true, _) => NexthopKind::Blackhole,
            (_, _, _, Some(ifindex)) => NexthopKind::Single(NextHop { gateway, ifindex, through: None }),
            _ => NexthopKind::Other,
        };
        let afi = match i32::from(*family) {
            libc::AF_INET => Some(Afi::IPV4),
            libc::AF_INET6 => Some(Afi::IPV6),
            _ => None,
        };
        let id = id.ok_or_else(|| DecodeError::from("next-hop message without NHA_ID"))?;
        Ok(NexthopObject { id, protocol: *protocol, afi, kind })
    }
}

fn u32_nla(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_ne_bytes().to_vec())
}

fn group_nla(members: &[Member]) -> DefaultNla {
    // struct nexthop_grp { u32 id; u8 weight - 1; u8 weight_high; u16 resvd; }; kernels before 6.12 refuse a weight_high.
    let grp = members.iter().flat_map(|m| {
        let [a, b, c, d] = m.id.to_ne_bytes();
        let weight = u8::try_from(m.weight.clamp(1, 256) - 1).unwrap_or(u8::MAX);
        [a, b, c, d, weight, 0, 0, 0]
    });
    DefaultNla::new(NHA_GROUP, grp.collect())
}

/// Buckets, idle and unbalanced timer of a nested `NHA_RES_GROUP`.
fn resilient_of(value: &[u8]) -> Result<(u16, u32, u32), DecodeError> {
    let mut group = (0, 0, 0);
    for nla in NlasIterator::new(value) {
        let nla = nla?;
        match nla.kind() & NLA_TYPE_MASK {
            NHA_RES_GROUP_BUCKETS => group.0 = u16_of(nla.value())?,
            NHA_RES_GROUP_IDLE_TIMER => group.1 = u32_of(nla.value())?,
            NHA_RES_GROUP_UNBALANCED_TIMER => group.2 = u32_of(nla.value())?,
            _ => {}
        }
    }
    Ok(group)
}

fn u16_of(value: &[u8]) -> Result<u16, DecodeError> {
    value.try_into().map(u16::from_ne_bytes).map_err(|_| DecodeError::from("attribute is not 2 bytes"))
}

fn u32_of(value: &[u8]) -> Result<u32, DecodeError> {
    value.try_into().map(u32::from_ne_bytes).map_err(|_| DecodeError::from("attribute is not 4 bytes"))
}

fn address_of(value: &[u8]) -> Result<IpAddr, DecodeError> {
    if let Ok(v4) = <[u8; 4]>::try_from(value) {
        return Ok(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(value).map(IpAddr::from).map_err(|_| DecodeError::from("NHA_GATEWAY is no address"))
}

fn members_of(value: &[u8]) -> Vec<Member> {
    let (entries, _) = value.as_chunks::<8>();
    entries
        .iter()
        .map(|&[a, b, c, d, weight, ..]| Member { id: u32::from_ne_bytes([a, b, c, d]), weight: u16::from(weight) + 1 })
        .collect()
}

fn family_of(afi: Option<Afi>) -> u8 {
    match afi {
        Some(Afi::IPV4) => libc::AF_INET as u8,
        Some(Afi::IPV6) => libc::AF_INET6 as u8,
        _ => libc::AF_UNSPEC as u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(object: &NexthopObject) {
        let message = NexthopMessage::put(object);
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        assert_eq!(&NexthopObject::parse(&bytes).unwrap(), object);
    }

    #[test]
    fn every_kind_survives_its_own_bytes() {
        let object = |afi, kind| NexthopObject { id: 7_000_001, protocol: 220, afi, kind };
        let hop = |g: &str| NexthopKind::Single(NextHop { gateway: g.parse().ok(), ifindex: 3, through: None });
        round_trip(&object(Some(Afi::IPV4), hop("192.0.2.1")));
        round_trip(&object(Some(Afi::IPV6), hop("fe80::1")));
        round_trip(&object(Some(Afi::IPV6), hop("")));
        round_trip(&object(Some(Afi::IPV4), NexthopKind::Blackhole));
        let members = vec![Member { id: 1, weight: 1 }, Member { id: 0x0102_0304, weight: 256 }];
        round_trip(&object(None, NexthopKind::Group(members.clone())));
        let group = ResilientGroup { members, buckets: 128, idle_timer: 100, unbalanced_timer: 6000 };
        round_trip(&object(None, NexthopKind::Resilient(group)));
    }

    /// struct nhmsg and attributes written out by hand from linux/nexthop.h; that the kernel reads them so is asserted in
    /// `tests/namespace.rs`.
    #[test]
    fn bytes_are_laid_out_as_linux_nexthop_h_says() {
        let kind = NexthopKind::Single(NextHop { gateway: "192.0.2.1".parse().ok(), ifindex: 2, through: None });
        let message = NexthopMessage::put(&NexthopObject { id: 9, protocol: 220, afi: Some(Afi::IPV4), kind });
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        #[rustfmt::skip]
        let want = [
            2, 0, 220, 0, 0, 0, 0, 0,
            8, 0, 1, 0, 9, 0, 0, 0,
            8, 0, 5, 0, 2, 0, 0, 0,
            8, 0, 6, 0, 192, 0, 2, 1,
        ];
        if cfg!(target_endian = "little") {
            assert_eq!(bytes, want);
        }
    }

    #[test]
    fn short_and_strange_messages_are_told_apart() {
        assert!(NexthopObject::parse(&[2, 0, 220]).is_err());
        assert!(NexthopObject::parse(&[2, 0, 220, 0, 0, 0, 0, 0]).is_err(), "no id");
        let fdb = [2, 0, 4, 0, 0, 0, 0, 0, 8, 0, 1, 0, 5, 0, 0, 0, 4, 0, 11, 0];
        if cfg!(target_endian = "little") {
            assert_eq!(NexthopObject::parse(&fdb).unwrap().kind, NexthopKind::Other);
        }
    }
}
