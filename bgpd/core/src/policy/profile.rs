//! What export depends on besides the route: the profile that neighbours of one update group share, and the one neighbour.
//!
//! Fifty neighbours with fifty AS numbers on fifty subnets, alike otherwise, have one profile: what is said to them differs
//! in the octets of the next hop alone ([`ExportNextHop::Own`]) and in which routes are kept from whom.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_wire::{AsPath, NextHop, Role, SessionContext};
use net_types::{Asn, Family, RouterId};

use super::types::{RouteSource, SessionFacts};
use crate::config::{NeighborConfig, PolicyMode, Relation};
use crate::rib::PeerId;

/// Where the next hop of an exported route comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ExportNextHop {
    /// The neighbour is given our own address ([`ExportTarget::own`]).
    Own,
    /// As received, less what means nothing to the neighbour.
    Keep(NextHop),
}

/// What an own address looks like as a next hop: neighbours that are given other addresses of one shape share everything
/// but those octets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NextHopShape {
    /// An IPv4 address.
    V4,
    /// An IPv6 address.
    V6,
    /// A global address and a link-local one (RFC 2545 §3).
    V6LinkLocal,
}

impl NextHopShape {
    fn of(next_hop: NextHop) -> NextHopShape {
        match next_hop {
            NextHop::V4(_) => NextHopShape::V4,
            NextHop::V6 { link_local: None, .. } => NextHopShape::V6,
            NextHop::V6 { link_local: Some(_), .. } => NextHopShape::V6LinkLocal,
        }
    }

    /// A next hop of this shape that is nobody's, to stand where the neighbour's goes.
    pub fn placeholder(self) -> NextHop {
        let none = Ipv6Addr::UNSPECIFIED;
        match self {
            NextHopShape::V4 => NextHop::V4(Ipv4Addr::UNSPECIFIED),
            NextHopShape::V6 => NextHop::V6 { global: none, link_local: None },
            NextHopShape::V6LinkLocal => NextHop::V6 { global: none, link_local: Some(none) },
        }
    }
}

/// Our own addresses as next hops on one session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnNextHops {
    /// For IPv4 routes.
    pub ipv4: Option<NextHop>,
    /// For IPv6 routes.
    pub ipv6: Option<NextHop>,
}

impl OwnNextHops {
    fn new(neighbor: &NeighborConfig, session: &SessionFacts) -> OwnNextHops {
        let (v4, v6) = match session.local_address {
            IpAddr::V4(a) => (Some(a), session.local_ipv6),
            IpAddr::V6(a) if a.is_unicast_link_local() => (session.local_ipv4, session.local_ipv6),
            IpAddr::V6(a) => (session.local_ipv4, Some(a)),
        };
        let link_local = match session.local_address {
            IpAddr::V6(a) if a.is_unicast_link_local() => Some(a),
            _ => session.link_local,
        };
        // RFC 2545 §3: only to a neighbour on the same link.
        let link_local = link_local.filter(|_| !neighbor.relation.is_internal() && neighbor.multihop.is_none());
        let ipv6 =
            v6.or(link_local).map(|global| NextHop::V6 { global, link_local: link_local.filter(|l| *l != global) });
        let extended = session.context.extended_next_hop.contains(&Family::IPV4_UNICAST);
        let ipv4 = match v4 {
            // Over IPv6, IPv4 routes take the IPv6 next hop where RFC 8950 allows it.
            Some(a) if !(extended && session.local_address.is_ipv6()) => Some(NextHop::V4(a)),
            // RFC 8950 §3
            _ if extended => ipv6,
            _ => None,
        };
        OwnNextHops { ipv4, ipv6 }
    }

    /// The one for routes of a family.
    pub fn of(&self, family: Family) -> Option<NextHop> {
        if family == Family::IPV4_UNICAST { self.ipv4 } else { self.ipv6 }
    }
}

/// Everything about a neighbour that export and encoding depend on, the neighbour itself aside: neither its AS nor any
/// address, so that whoever gets the same is one group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExportProfile {
    pub(super) policy: PolicyMode,
    pub(super) relation: Relation,
    pub(super) role: Option<Role>,
    pub(super) next_hop_self: bool,
    pub(super) prepend: u8,
    pub(super) drain: bool,
    own_ipv4: Option<NextHopShape>,
    own_ipv6: Option<NextHopShape>,
    pub(super) context: SessionContext,
}

impl ExportProfile {
    /// The profile of an established session.
    pub fn new(neighbor: &NeighborConfig, session: &SessionFacts) -> ExportProfile {
        let own = OwnNextHops::new(neighbor, session);
        let mut context = session.context.clone();
        context.families.sort();
        context.add_path_send.sort();
        context.extended_next_hop.sort();
        // Says how the neighbour's NLRI look, not ours.
        context.add_path_receive.clear();
        ExportProfile {
            policy: if neighbor.export { neighbor.policy } else { PolicyMode::Deny },
            relation: neighbor.relation,
            role: neighbor.our_role(),
            next_hop_self: neighbor.next_hop_self,
            prepend: neighbor.prepend,
            drain: neighbor.drain,
            own_ipv4: own.ipv4.map(NextHopShape::of),
            own_ipv6: own.ipv6.map(NextHopShape::of),
            context,
        }
    }

    /// What encoding needs.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// What our own address as next hop looks like in routes of a family; `None`: there is none to give.
    pub fn own_next_hop(&self, family: Family) -> Option<NextHopShape> {
        if family == Family::IPV4_UNICAST { self.own_ipv4 } else { self.own_ipv6 }
    }

    pub(super) fn ebgp(&self) -> bool {
        !self.relation.is_internal()
    }

    /// eBGP under the relationship's own filters (not `accept-all`).
    pub(super) fn filtered(&self) -> bool {
        self.ebgp() && self.policy == PolicyMode::Relationship
    }

    /// Such a neighbour is told no route, whatever there is (the first rule of all, `policy-deny`).
    pub(crate) fn is_silent(&self) -> bool {
        self.policy == PolicyMode::Deny
    }

    /// Towards those that must not carry our other routes: they get own and customers' routes only, a route server's
    /// clients each other's too.
    pub(super) fn upstream(&self) -> bool {
        matches!(self.relation, Relation::Transit | Relation::Peer | Relation::RouteServer | Relation::RsClient)
    }

    /// From one of our route-server clients to another (RFC 7947 §2.2): as if we were not there.
    pub(super) fn brokers(&self, source: &RouteSource<'_>) -> bool {
        self.relation == Relation::RsClient && source.neighbor.is_some_and(|n| n.relation == Relation::RsClient)
    }

    /// True if a path through the neighbour's AS is kept from it, so that [`ExportTarget::as_loop`] must be asked.
    pub(crate) fn checks_as_loop(&self) -> bool {
        self.filtered()
    }
}

/// The one neighbour, for the checks that are about it alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExportTarget {
    /// Who.
    pub peer: PeerId,
    /// Its AS, from its OPEN.
    pub remote_as: Asn,
    /// Its BGP Identifier.
    pub bgp_identifier: RouterId,
    /// Its address.
    pub address: IpAddr,
    /// Our own addresses as next hops.
    pub own: OwnNextHops,
}

impl ExportTarget {
    /// The neighbour of a session.
    pub fn new(neighbor: &NeighborConfig, session: &SessionFacts) -> ExportTarget {
        ExportTarget {
            peer: session.peer,
            remote_as: session.remote_as,
            bgp_identifier: session.bgp_identifier,
            address: session.address,
            own: OwnNextHops::new(neighbor, session),
        }
    }

    /// The next hop as it stands in what this neighbour is sent.
    pub fn next_hop(&self, family: Family, next_hop: ExportNextHop) -> Option<NextHop> {
        match next_hop {
            ExportNextHop::Own => self.own.of(family),
            ExportNextHop::Keep(next_hop) => Some(next_hop),
        }
    }

    /// The route came from there (RFC 4271 §9.2).
    pub fn split_horizon(&self, source: PeerId) -> bool {
        self.peer == source
    }

    /// The neighbour's AS is in AS_PATH: it would refuse the route (RFC 4271 §9.1.2). Only some profiles ask.
    pub fn as_loop(&self, as_path: &AsPath) -> bool {
        as_path.asns().any(|a| a == self.remote_as)
    }

    /// The route begins there (RFC 4456 §8).
    pub fn originator(&self, originator_id: Option<RouterId>) -> bool {
        originator_id == Some(self.bgp_identifier)
    }

    /// It would name the neighbour as its own next hop (RFC 4271 §5.1.3).
    pub fn is_next_hop(&self, next_hop: &NextHop) -> bool {
        match *next_hop {
            NextHop::V4(a) => self.address == IpAddr::V4(a),
            NextHop::V6 { global, link_local } => {
                self.address == IpAddr::V6(global) || link_local.is_some_and(|l| self.address == IpAddr::V6(l))
            }
        }
    }
}
