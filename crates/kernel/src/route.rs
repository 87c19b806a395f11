//! Route messages: `RTM_NEWROUTE`, `RTM_DELROUTE`, and the filtered dump. Equivalent to
//! `ip route add|replace|del PREFIX nhid ID proto P metric M table T`.
//!
//! A route of ours carries its protocol, a metric and `RTA_NH_ID`, nothing else. Deletion names protocol and metric, so
//! another program's route for the same prefix is never hit. Written and read by hand: a full table is a million of them
//! (`struct rtmsg` and `RTA_*` of linux/rtnetlink.h).

use crate::message::{Writer, attributes};
use net_types::Prefix;
use netlink_packet_core::{DecodeError, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE};
use std::net::IpAddr;

/// Create or replace a route; also what a dump consists of.
pub(crate) const RTM_NEWROUTE: u16 = 24;
/// Remove a route.
pub(crate) const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;

const RTA_DST: u16 = 1;
const RTA_PRIORITY: u16 = 6;
const RTA_TABLE: u16 = 15;
const RTA_NH_ID: u16 = 30;

const RTMSG_LEN: usize = 12;
const RTN_UNICAST: u8 = 1;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_NOWHERE: u8 = 255;
/// Answer with the route that matches, not with what a packet would get.
const RTM_F_FIB_MATCH: u32 = 0x2000;

/// Where routes of ours live: what tells them from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteSpace {
    /// `rtm_protocol`.
    pub protocol: u8,
    /// Routing table.
    pub table: u32,
    /// `RTA_PRIORITY`.
    pub metric: u32,
}

/// A route as the kernel holds it, reduced to what we compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstalledRoute {
    /// Destination.
    pub prefix: Prefix,
    /// Metric.
    pub metric: u32,
    /// The object that it points at; `None` for a route of another shape.
    pub nexthop_id: Option<u32>,
}

impl RouteSpace {
    /// A route on a next-hop object; without `replace` any route at our metric is EEXIST.
    pub(crate) fn put(&self, out: &mut Writer, prefix: Prefix, nexthop_id: u32, replace: bool) {
        out.begin(RTM_NEWROUTE, NLM_F_CREATE | if replace { NLM_F_REPLACE } else { NLM_F_EXCL });
        self.body(out, prefix, RT_SCOPE_UNIVERSE, RTN_UNICAST);
        out.attribute(RTA_NH_ID, nexthop_id.to_ne_bytes());
        out.end();
    }

    /// The removal of our route for a prefix, whatever it points at.
    pub(crate) fn delete(&self, out: &mut Writer, prefix: Prefix) {
        out.begin(RTM_DELROUTE, 0);
        // Type 0 and scope nowhere match any; protocol and metric do not.
        self.body(out, prefix, RT_SCOPE_NOWHERE, 0);
        out.end();
    }

    /// A dump of one family, filtered by the kernel (`NETLINK_GET_STRICT_CHK`) to our table and protocol.
    pub(crate) fn dump(&self, out: &mut Writer, v4: bool) {
        out.begin(RTM_GETROUTE, NLM_F_DUMP);
        out.raw(&[family(v4), 0, 0, 0, 0, self.protocol, 0, 0, 0, 0, 0, 0]);
        out.attribute(RTA_TABLE, self.table.to_ne_bytes());
        out.end();
    }

    /// The question which route the first address of a prefix takes.
    pub(crate) fn lookup(&self, out: &mut Writer, prefix: Prefix) {
        out.begin(RTM_GETROUTE, 0);
        let [f0, f1, f2, f3] = RTM_F_FIB_MATCH.to_ne_bytes();
        out.raw(&[family(prefix.is_v4()), prefix.max_len(), 0, 0, 0, 0, 0, 0, f0, f1, f2, f3]);
        destination(out, prefix);
        out.end();
    }

    /// Decodes a route of an answer; `None` if it is not of this space (another protocol or table).
    pub fn parse(&self, body: &[u8]) -> Result<Option<InstalledRoute>, DecodeError> {
        let Some((&[family, len, _, _, table, protocol, ..], rest)) = body.split_first_chunk::<RTMSG_LEN>() else {
            return Err(DecodeError::from("route message shorter than struct rtmsg"));
        };
        let mut addr = match i32::from(family) {
            libc::AF_INET => IpAddr::from([0u8; 4]),
            libc::AF_INET6 => IpAddr::from([0u8; 16]),
            _ => return Ok(None),
        };
        if protocol != self.protocol {
            return Ok(None);
        }
        let (mut table, mut metric, mut nexthop_id) = (u32::from(table), 0, None);
        for (kind, value) in attributes(rest) {
            match kind {
                RTA_DST => addr = address_of(value).filter(|a| a.is_ipv4() == addr.is_ipv4()).ok_or("RTA_DST")?,
                RTA_TABLE => table = u32_of(value)?,
                RTA_PRIORITY => metric = u32_of(value)?,
                RTA_NH_ID => nexthop_id = Some(u32_of(value)?),
                _ => {}
            }
        }
        if table != self.table {
            return Ok(None);
        }
        let prefix = Prefix::new(addr, len).map_err(|e| DecodeError::from(e.to_string()))?;
        Ok(Some(InstalledRoute { prefix, metric, nexthop_id }))
    }

    fn body(&self, out: &mut Writer, prefix: Prefix, scope: u8, kind: u8) {
        // Tables above 255 live in the attribute only.
        let table = u8::try_from(self.table).unwrap_or(0);
        out.raw(&[family(prefix.is_v4()), prefix.len(), 0, 0, table, self.protocol, scope, kind, 0, 0, 0, 0]);
        destination(out, prefix);
        if table == 0 {
            out.attribute(RTA_TABLE, self.table.to_ne_bytes());
        }
        out.attribute(RTA_PRIORITY, self.metric.to_ne_bytes());
    }
}

fn destination(out: &mut Writer, prefix: Prefix) {
    match prefix {
        Prefix::V4(bits, _) => out.attribute(RTA_DST, bits.to_be_bytes()),
        Prefix::V6(bits, _) => out.attribute(RTA_DST, bits.to_be_bytes()),
    }
}

fn family(v4: bool) -> u8 {
    (if v4 { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

fn u32_of(value: &[u8]) -> Result<u32, DecodeError> {
    value.try_into().map(u32::from_ne_bytes).map_err(|_| DecodeError::from("attribute is not 4 bytes"))
}

fn address_of(value: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::HEADER_LEN;
    use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
    use netlink_packet_route::RouteNetlinkMessage;
    use netlink_packet_route::route::{RouteAttribute, RouteProtocol, RouteScope, RouteType};

    const SPACE: RouteSpace = RouteSpace { protocol: 220, table: 1000, metric: 512 };

    fn written(write: impl Fn(&mut Writer)) -> Vec<u8> {
        let mut out = Writer::default();
        write(&mut out);
        out.bytes().to_vec()
    }

    #[test]
    fn a_route_survives_its_own_bytes_and_foreign_ones_are_not_ours() {
        for text in ["192.0.2.0/24", "0.0.0.0/0", "2001:db8::/32", "::/0", "2001:db8::1/128"] {
            let prefix: Prefix = text.parse().unwrap();
            for space in [SPACE, RouteSpace { table: 254, ..SPACE }] {
                let bytes = written(|out| space.put(out, prefix, 77, false));
                let body = &bytes[HEADER_LEN..];
                let want = InstalledRoute { prefix, metric: 512, nexthop_id: Some(77) };
                assert_eq!(space.parse(body).unwrap(), Some(want));
                assert_eq!(RouteSpace { protocol: 4, ..space }.parse(body).unwrap(), None);
                assert_eq!(RouteSpace { table: 7, ..space }.parse(body).unwrap(), None);
            }
        }
        assert!(SPACE.parse(&[2, 0, 0]).is_err());
        assert!(SPACE.parse(&[2, 24, 0, 0, 254, 220, 0, 1, 0, 0, 0, 0, 6, 0, 1, 0, 192, 0, 0, 0]).is_err());
    }

    #[test]
    fn another_implementation_reads_what_we_write() {
        let read = |bytes: &[u8]| NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes).unwrap();
        for text in ["192.0.2.0/24", "0.0.0.0/0", "2001:db8::/32", "::/0"] {
            let prefix: Prefix = text.parse().unwrap();
            let put = read(&written(|out| SPACE.put(out, prefix, 77, true)));
            assert_eq!(put.header.flags, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE);
            let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(put)) = put.payload else {
                panic!("{put:?}")
            };
            assert_eq!((put.header.destination_prefix_length, put.header.table), (prefix.len(), 0));
            assert_eq!((put.header.protocol, put.header.kind), (RouteProtocol::from(220), RouteType::Unicast));
            let want = [
                RouteAttribute::Destination(prefix.addr().into()),
                RouteAttribute::Table(1000),
                RouteAttribute::Priority(512),
                RouteAttribute::NhId(77),
            ];
            assert_eq!(put.attributes, want);
            let delete = read(&written(|out| SPACE.delete(out, prefix)));
            let NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelRoute(delete)) = delete.payload else {
                panic!("{delete:?}")
            };
            assert_eq!((delete.header.scope, delete.header.kind), (RouteScope::NoWhere, RouteType::Unspec));
            assert_eq!(delete.attributes, want[..3]);
            let dump = read(&written(|out| SPACE.dump(out, prefix.is_v4())));
            assert_eq!(dump.header.flags, NLM_F_REQUEST | NLM_F_DUMP);
            let NetlinkPayload::InnerMessage(RouteNetlinkMessage::GetRoute(dump)) = dump.payload else {
                panic!("{dump:?}")
            };
            assert_eq!(dump.attributes, [RouteAttribute::Table(1000)]);
        }
    }
}
