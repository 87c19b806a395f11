//! What export depends on besides the route: the profile that neighbours of one update group share, and the one neighbour.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_wire::{NextHop, PathAttributes, Role, SessionContext};
use net_types::{Asn, Family, RouterId};

use super::types::SessionFacts;
use crate::config::{NeighborConfig, PolicyMode, Relation};
use crate::rib::PeerId;

/// Everything about a neighbour that export and encoding depend on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExportProfile {
    pub(super) policy: PolicyMode,
    pub(super) relation: Relation,
    pub(super) role: Option<Role>,
    pub(super) remote_as: Asn,
    pub(super) next_hop_self: bool,
    pub(super) prepend: u8,
    self_ipv4: Option<Ipv4Addr>,
    self_ipv6: Option<Ipv6Addr>,
    self_link_local: Option<Ipv6Addr>,
    /// The session runs over IPv6: IPv4 routes take the IPv6 next hop where RFC 8950 allows it.
    over_ipv6: bool,
    pub(super) context: SessionContext,
}

impl ExportProfile {
    /// The profile of an established session.
    pub fn new(neighbor: &NeighborConfig, session: &SessionFacts) -> ExportProfile {
        let (v4, v6) = match session.local_address {
            IpAddr::V4(a) => (Some(a), session.local_ipv6),
            IpAddr::V6(a) if a.is_unicast_link_local() => (session.local_ipv4, session.local_ipv6),
            IpAddr::V6(a) => (session.local_ipv4, Some(a)),
        };
        let link_local = match session.local_address {
            IpAddr::V6(a) if a.is_unicast_link_local() => Some(a),
            _ => session.link_local,
        };
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
            remote_as: session.remote_as,
            next_hop_self: neighbor.next_hop_self,
            prepend: neighbor.prepend,
            self_ipv4: v4,
            self_ipv6: v6,
            // RFC 2545 §3: only to a neighbour on the same link.
            self_link_local: link_local.filter(|_| !neighbor.relation.is_internal() && neighbor.multihop.is_none()),
            over_ipv6: session.local_address.is_ipv6(),
            context,
        }
    }

    /// What encoding needs.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    pub(super) fn ebgp(&self) -> bool {
        !self.relation.is_internal()
    }

    /// Towards those that must not carry our other routes: they get own and customers' routes only.
    pub(super) fn upstream(&self) -> bool {
        matches!(self.relation, Relation::Transit | Relation::Peer | Relation::RouteServer)
    }

    /// Our own address as next hop for a family.
    pub(super) fn self_next_hop(&self, family: Family) -> Option<NextHop> {
        let v6 = || {
            let global = self.self_ipv6.or(self.self_link_local)?;
            Some(NextHop::V6 { global, link_local: self.self_link_local.filter(|l| *l != global) })
        };
        if family != Family::IPV4_UNICAST {
            return v6();
        }
        let extended = self.context.extended_next_hop.contains(&family);
        match self.self_ipv4 {
            Some(a) if !(extended && self.over_ipv6) => Some(NextHop::V4(a)),
            // RFC 8950 §3
            _ if extended => v6(),
            _ => None,
        }
    }
}

/// The one neighbour, for the checks that are about it alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExportTarget {
    /// Who.
    pub peer: PeerId,
    /// Its BGP Identifier.
    pub bgp_identifier: RouterId,
    /// Its address.
    pub address: IpAddr,
}

impl ExportTarget {
    /// The neighbour of a session.
    pub fn new(session: &SessionFacts) -> ExportTarget {
        ExportTarget { peer: session.peer, bgp_identifier: session.bgp_identifier, address: session.address }
    }

    /// True if the exported route must not go to this neighbour: it came from there, it begins there (RFC 4456 §8), or it
    /// would name the neighbour as its own next hop (RFC 4271 §5.1.3).
    pub fn withholds(&self, source: PeerId, attributes: &PathAttributes, next_hop: &NextHop) -> bool {
        self.split_horizon(source) || self.originator(attributes) || self.own_next_hop(next_hop)
    }

    pub(super) fn split_horizon(&self, source: PeerId) -> bool {
        self.peer == source
    }

    pub(super) fn originator(&self, attributes: &PathAttributes) -> bool {
        attributes.originator_id == Some(self.bgp_identifier)
    }

    pub(super) fn own_next_hop(&self, next_hop: &NextHop) -> bool {
        match *next_hop {
            NextHop::V4(a) => self.address == IpAddr::V4(a),
            NextHop::V6 { global, link_local } => {
                self.address == IpAddr::V6(global) || link_local.is_some_and(|l| self.address == IpAddr::V6(l))
            }
        }
    }
}
