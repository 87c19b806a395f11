//! A neighbour's own addresses as next hops: what is of no use once the session with it is gone.
//!
//! Its end of the session is one. In a family other than the session's it is another address of it, which its UPDATEs name
//! (IPv6 routes over an IPv4 session, a link-local address beside the global one: RFC 2545 §3). Third parties' next hops,
//! as a route server passes them on, outlive the session; so do those that a reflector names.

use std::net::IpAddr;

use bgp_core::config::{NeighborConfig, Relation};
use bgp_wire::{NextHop, Update};

/// Most addresses of one neighbour; one that names more says whose they are by having several sessions.
const MOST: usize = 8;

/// See the module.
#[derive(Debug)]
pub(super) struct Gateways {
    session: IpAddr,
    /// UPDATEs may name others.
    learns: bool,
    others: Vec<IpAddr>,
    last: Option<NextHop>,
}

impl Gateways {
    /// Of a session with this end of it.
    pub(super) fn new(config: &NeighborConfig, session: IpAddr) -> Gateways {
        let third_parties = config.relation.is_internal() || config.relation == Relation::RouteServer;
        Gateways { session, learns: !third_parties, others: Vec::new(), last: None }
    }

    /// What these UPDATEs name.
    pub(super) fn learn(&mut self, updates: &[Update]) {
        if !self.learns {
            return;
        }
        for next_hop in updates.iter().flat_map(|u| u.reach.iter()).map(|r| r.next_hop) {
            // Most name the same as the one before.
            if self.last.replace(next_hop) == Some(next_hop) {
                continue;
            }
            let NextHop::V6 { global, link_local } = next_hop else { continue };
            for address in [Some(global), link_local].into_iter().flatten().map(IpAddr::V6) {
                let own = self.session.is_ipv4() || Some(address) == link_local.map(IpAddr::V6);
                if own && address != self.session && !self.others.contains(&address) && self.others.len() < MOST {
                    self.others.push(address);
                }
            }
        }
    }

    /// All of them.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        std::iter::once(self.session).chain(self.others.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use bgp_wire::Reach;
    use net_types::{Asn, Family};

    fn update(next_hop: NextHop) -> Update {
        let reach = Reach { family: Family::IPV6_UNICAST, next_hop, nlri: Vec::new() };
        Update { reach: [reach].into_iter().collect(), ..Update::default() }
    }

    fn of(relation: Relation, session: &str) -> Vec<String> {
        let session: IpAddr = session.parse().unwrap();
        let mut gateways = Gateways::new(&NeighborConfig::ordinary("n", session, Asn(64501), relation), session);
        let v6 = NextHop::V6 { global: "2001:db8::1".parse().unwrap(), link_local: "fe80::1".parse().ok() };
        gateways.learn(&[update(v6), update(v6), update(NextHop::V4("192.0.2.99".parse().unwrap()))]);
        gateways.addresses().map(|a| a.to_string()).collect()
    }

    #[test]
    fn rfc2545_3_a_neighbour_goes_with_the_addresses_that_it_names_as_its_own() {
        assert_eq!(of(Relation::Transit, "192.0.2.1"), ["192.0.2.1", "2001:db8::1", "fe80::1"]);
        // Of its own family another global address is a third party's.
        assert_eq!(of(Relation::Transit, "2001:db8::7"), ["2001:db8::7", "fe80::1"]);
    }

    #[test]
    fn third_parties_next_hops_outlive_the_session() {
        for relation in [Relation::RouteServer, Relation::Internal, Relation::RrClient] {
            assert_eq!(of(relation, "192.0.2.1"), ["192.0.2.1"], "{relation}");
        }
    }
}
