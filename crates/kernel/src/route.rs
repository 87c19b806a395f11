//! Route messages: `RTM_NEWROUTE`, `RTM_DELROUTE`, and the filtered dump. Equivalent to
//! `ip route add|replace|del PREFIX nhid ID proto P metric M table T`.
//!
//! A route of ours carries its protocol, a metric and `RTA_NH_ID`, nothing else. Deletion names protocol and metric, so
//! another program's route for the same prefix is never hit.

use net_types::Prefix;
use netlink_packet_core::{DecodeError, Parseable};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use std::net::IpAddr;

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
    /// A route on a next-hop object.
    pub fn put(&self, prefix: Prefix, nexthop_id: u32) -> RouteMessage {
        let mut message = self.base(prefix);
        message.header.kind = RouteType::Unicast;
        message.header.scope = RouteScope::Universe;
        message.attributes.push(RouteAttribute::NhId(nexthop_id));
        message
    }

    /// The removal of our route for a prefix, whatever it points at.
    pub fn delete(&self, prefix: Prefix) -> RouteMessage {
        let mut message = self.base(prefix);
        // Type 0 and scope nowhere match any; protocol and metric do not.
        message.header.kind = RouteType::Unspec;
        message.header.scope = RouteScope::NoWhere;
        message
    }

    /// A dump of one family, filtered by the kernel (`NETLINK_GET_STRICT_CHK`) to our table and protocol.
    pub fn dump(&self, v4: bool) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: if v4 { AddressFamily::Inet } else { AddressFamily::Inet6 },
            protocol: RouteProtocol::from(self.protocol),
            ..RouteHeader::default()
        };
        message.attributes.push(RouteAttribute::Table(self.table));
        message
    }

    /// Decodes a dumped route; `None` if it is not of this space (another protocol or table, a cached clone).
    pub fn parse(&self, body: &[u8]) -> Result<Option<InstalledRoute>, DecodeError> {
        let message = RouteMessage::parse(body)?;
        let v4 = match message.header.address_family {
            AddressFamily::Inet => true,
            AddressFamily::Inet6 => false,
            _ => return Ok(None),
        };
        if u8::from(message.header.protocol) != self.protocol {
            return Ok(None);
        }
        let mut addr = if v4 { IpAddr::from([0u8; 4]) } else { IpAddr::from([0u8; 16]) };
        let (mut table, mut metric, mut nexthop_id) = (u32::from(message.header.table), 0, None);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(a)) => addr = IpAddr::V4(*a),
                RouteAttribute::Destination(RouteAddress::Inet6(a)) => addr = IpAddr::V6(*a),
                RouteAttribute::Table(t) => table = *t,
                RouteAttribute::Priority(m) => metric = *m,
                RouteAttribute::NhId(id) => nexthop_id = Some(*id),
                _ => {}
            }
        }
        if table != self.table {
            return Ok(None);
        }
        let prefix = Prefix::new(addr, message.header.destination_prefix_length)
            .map_err(|e| DecodeError::from(e.to_string()))?;
        Ok(Some(InstalledRoute { prefix, metric, nexthop_id }))
    }

    fn base(&self, prefix: Prefix) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: if prefix.is_v4() { AddressFamily::Inet } else { AddressFamily::Inet6 },
            destination_prefix_length: prefix.len(),
            // Tables above 255 live in the attribute only.
            table: u8::try_from(self.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC),
            protocol: RouteProtocol::from(self.protocol),
            ..RouteHeader::default()
        };
        message.attributes = vec![
            RouteAttribute::Destination(prefix.addr().into()),
            RouteAttribute::Table(self.table),
            RouteAttribute::Priority(self.metric),
        ];
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::Emitable;

    #[test]
    fn a_route_survives_its_own_bytes_and_foreign_ones_are_not_ours() {
        let space = RouteSpace { protocol: 220, table: 1000, metric: 512 };
        for text in ["192.0.2.0/24", "0.0.0.0/0", "2001:db8::/32", "::/0", "2001:db8::1/128"] {
            let prefix: Prefix = text.parse().unwrap();
            let message = space.put(prefix, 77);
            let mut bytes = vec![0; message.buffer_len()];
            message.emit(&mut bytes);
            let want = InstalledRoute { prefix, metric: 512, nexthop_id: Some(77) };
            assert_eq!(space.parse(&bytes).unwrap(), Some(want));
            assert_eq!(RouteSpace { protocol: 4, ..space }.parse(&bytes).unwrap(), None);
            assert_eq!(RouteSpace { table: 254, ..space }.parse(&bytes).unwrap(), None);
        }
        assert!(space.parse(&[2, 0, 0]).is_err());
    }
}
