//! A speaker (AS 64500), neighbours of every relationship and routes, for tests.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bgp_wire::{AsPath, NextHop, PathAttributes, SessionContext};
use net_types::{Asn, Prefix, RouterId};

use super::{RouteSource, SessionFacts, SourceKind};
use crate::config::{Ducts, Multipath, NeighborConfig, Relation, SpeakerConfig};
use crate::rib::PeerId;

pub(crate) const OWN: Asn = Asn(64500);
pub(crate) const RELATIONS: [Relation; 7] = [
    Relation::Transit,
    Relation::Peer,
    Relation::RouteServer,
    Relation::Customer,
    Relation::Internal,
    Relation::RrClient,
    Relation::Collector,
];

pub(crate) fn prefix(s: &str) -> Prefix {
    s.parse().unwrap()
}

pub(crate) fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

pub(crate) fn id(s: &str) -> RouterId {
    s.parse().unwrap()
}

pub(crate) fn hop(s: &str) -> NextHop {
    match ip(s) {
        IpAddr::V4(a) => NextHop::V4(a),
        IpAddr::V6(a) => NextHop::V6 { global: a, link_local: None },
    }
}

/// AS 64500, not a lab: 192.0.2.0/24 stands in the tests that need documentation space only.
pub(crate) fn speaker() -> SpeakerConfig {
    SpeakerConfig {
        local_as: OWN,
        router_id: id("10.255.0.1"),
        lab: true,
        own_prefixes: vec![prefix("203.0.113.0/24"), prefix("2001:db8:500::/44")],
        internal_prefixes: vec![],
        cluster_id: None,
        selection_deferral: Duration::from_secs(60),
        max_med_on_startup: Duration::ZERO,
        wait_for_fib: false,
        ducts: Ducts::default(),
        multipath: Multipath::default(),
    }
}

pub(crate) fn neighbor(relation: Relation) -> NeighborConfig {
    let internal = relation.is_internal();
    let remote_as = if internal { OWN } else { Asn(64501) };
    NeighborConfig {
        send_hold_time: Duration::ZERO,
        extended_message: false,
        allowed_prefixes: match relation {
            Relation::Customer => vec![prefix("198.51.100.0/23"), prefix("2001:db8:a00::/40")],
            _ => vec![],
        },
        ..NeighborConfig::ordinary(&format!("n-{relation}"), ip("192.0.2.2"), remote_as, relation)
    }
}

/// A session over 192.0.2.0/24: we are .1, the neighbour is .2.
pub(crate) fn session(neighbor: &NeighborConfig) -> SessionFacts {
    SessionFacts {
        peer: PeerId(2),
        remote_as: neighbor.remote_as,
        bgp_identifier: id("10.255.0.2"),
        address: ip("192.0.2.2"),
        local_address: ip("192.0.2.1"),
        local_ipv4: None,
        local_ipv6: Some("2001:db8::1".parse().unwrap()),
        link_local: None,
        peer_role: None,
        context: SessionContext {
            ebgp: !neighbor.relation.is_internal(),
            four_octet_as: true,
            extended_message: false,
            families: neighbor.families.clone(),
            add_path_receive: vec![],
            add_path_send: vec![],
            extended_next_hop: vec![],
        },
        enhanced_refresh: true,
        connected: vec![prefix("192.0.2.0/24"), prefix("2001:db8::/64")],
    }
}

pub(crate) fn attributes(path: &[u32]) -> PathAttributes {
    PathAttributes { as_path: AsPath::sequence(path.iter().map(|a| Asn(*a))), ..PathAttributes::default() }
}

/// A path from another neighbour (peer 9) of the given kind.
pub(crate) fn source(kind: SourceKind, neighbor: Option<&NeighborConfig>) -> RouteSource<'_> {
    let local = kind.is_local();
    RouteSource {
        peer: if local { PeerId::LOCAL } else { PeerId(9) },
        neighbor,
        kind,
        bgp_identifier: id(if local { "10.255.0.1" } else { "10.255.0.9" }),
        peer_address: ip(if local { "192.0.2.1" } else { "192.0.2.9" }),
        last_resort: false,
    }
}

pub(crate) fn arc(a: PathAttributes) -> Arc<PathAttributes> {
    Arc::new(a)
}
