//! The tag: `our AS:1:relation`, a large community (RFC 8092, use as in RFC 8195 §3) that import from eBGP sets and
//! export to eBGP removes. A border that learns a route over iBGP reads from it what the route is: without it, it could not
//! tell a customer's route from a transit's.

use bgp_wire::{LargeCommunity, PathAttributes};
use net_types::Asn;

use crate::config::Relation;

/// Local Data Part 1 of every tag.
pub const FUNCTION: u32 = 1;

/// The code of a relationship, for those that routes are taken from.
pub fn code(relation: Relation) -> Option<u32> {
    match relation {
        Relation::Transit => Some(1),
        Relation::Peer => Some(2),
        Relation::RouteServer => Some(3),
        Relation::Customer => Some(4),
        Relation::RsClient => Some(5),
        Relation::Internal | Relation::RrClient | Relation::Collector => None,
    }
}

/// The tag of a relationship.
pub fn of(local_as: Asn, relation: Relation) -> Option<LargeCommunity> {
    code(relation).map(|local2| LargeCommunity { global: local_as.0, local1: FUNCTION, local2 })
}

/// True for every value of the tag's function, known code or not.
pub fn is_tag(local_as: Asn, community: &LargeCommunity) -> bool {
    community.global == local_as.0 && community.local1 == FUNCTION
}

/// The relationship that the route's tag names; `None` without a tag, with an unknown one, or with two that differ (then
/// nobody knows, and what nobody knows is not a customer's).
pub fn read(local_as: Asn, attributes: &PathAttributes) -> Option<Relation> {
    let mut tags = attributes.large_communities.iter().filter(|c| is_tag(local_as, c));
    let first = tags.next()?;
    if tags.next().is_some() {
        return None;
    }
    [Relation::Transit, Relation::Peer, Relation::RouteServer, Relation::Customer, Relation::RsClient]
        .into_iter()
        .find(|&r| code(r) == Some(first.local2))
}
