//! What import asks of a next hop.

use std::net::IpAddr;

use bgp_wire::NextHop;

use super::import::Arrival;
use super::types::Finding;
use crate::config::Relation;

/// No address that a host can have.
pub(super) fn no_host(next_hop: &NextHop) -> bool {
    let address = next_hop.address();
    address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || matches!(address, IpAddr::V4(a) if a.octets()[0] == 0 || a.octets()[0] >= 240)
}

/// The address in the next hop that is our own.
pub(super) fn our_next_hop(c: &Arrival<'_>) -> Option<IpAddr> {
    let ours = |a: &IpAddr| {
        *a == c.session.local_address
            || c.session.local_ipv4.is_some_and(|o| *a == IpAddr::V4(o))
            || c.session.local_ipv6.is_some_and(|o| *a == IpAddr::V6(o))
            || c.session.link_local.is_some_and(|o| *a == IpAddr::V6(o))
    };
    let second = match *c.next_hop {
        NextHop::V6 { link_local, .. } => link_local.map(IpAddr::V6),
        NextHop::V4(_) => None,
    };
    [Some(c.next_hop.address()), second].into_iter().flatten().find(ours)
}

/// RFC 4271 §6.3 for a neighbour one hop away; a multihop session shares no subnet with us and is not asked.
pub(super) fn third_party_next_hop(c: &Arrival<'_>) -> Finding {
    if !c.filtered() || c.neighbor.multihop.is_some() {
        return Finding::Skip;
    }
    let address = c.next_hop.address();
    let link_local = |a: IpAddr| matches!(a, IpAddr::V6(a) if a.is_unicast_link_local());
    // RFC 7948 §4.8: a client's next hop goes on to the others as it is; with another member's in it, traffic would be
    // drawn to where nobody asked for it.
    let comparable = address.is_ipv4() == c.session.address.is_ipv4() && !link_local(c.session.address);
    if c.neighbor.relation == Relation::RsClient && comparable {
        return Finding::refuse_if(address != c.session.address);
    }
    if address == c.session.address || link_local(address) || c.session.connected.iter().any(|p| p.contains(address)) {
        return Finding::Pass;
    }
    let subnet_known = c.session.connected.iter().any(|p| p.is_v4() == address.is_ipv4() && !link_local(p.addr()));
    // Without the subnet, the neighbour's own address says enough, except at a route server, whose next hops are always
    // others', and where the session runs over another family.
    Finding::refuse_if(subnet_known || (comparable && c.neighbor.relation != Relation::RouteServer))
}
