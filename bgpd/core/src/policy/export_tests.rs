//! Export: the table of relationships and sources, then each rule and change.

use std::net::Ipv6Addr;

use bgp_wire::{AsPath, Community, ExtendedCommunity, LargeCommunity, NextHop, PathAttributes};
use net_types::{Asn, Family};

use super::testutil::*;
use super::{ExportProfile, ExportTarget, RouteSource, SessionFacts, SourceKind, explain_export, export, tag};
use crate::config::{NeighborConfig, PolicyMode, Relation, SpeakerConfig};

struct Case {
    speaker: SpeakerConfig,
    neighbor: NeighborConfig,
    session: SessionFacts,
    kind: SourceKind,
    from: Option<NeighborConfig>,
    prefix: &'static str,
    next_hop: NextHop,
    attributes: PathAttributes,
}

/// A route of a source, to a relationship. Foreign routes come from AS 64502, as import would leave them.
fn to(relation: Relation, kind: SourceKind, from: Relation) -> Case {
    let neighbor = neighbor(relation);
    let local = kind.is_local();
    let mut a = if local { PathAttributes::default() } else { attributes(&[64502]) };
    if !local && !from.is_internal() {
        a.large_communities = tag::of(OWN, from).into_iter().collect();
        a.local_pref = super::import::default_local_pref(from);
        a.otc = (from != Relation::Customer).then_some(Asn(64502));
    }
    Case {
        speaker: speaker(),
        session: session(&neighbor),
        neighbor,
        kind,
        from: (!local).then(|| self::neighbor(from)),
        prefix: if local { "203.0.113.0/24" } else { "198.51.100.0/24" },
        next_hop: hop("192.0.2.9"),
        attributes: a,
    }
}

fn own(relation: Relation) -> Case {
    to(relation, SourceKind::Local, relation)
}

fn customers(relation: Relation) -> Case {
    to(relation, SourceKind::External, Relation::Customer)
}

impl Case {
    fn with(mut self, f: impl FnOnce(&mut Case)) -> Case {
        f(&mut self);
        self
    }

    fn verdict(&self) -> Result<(PathAttributes, NextHop), &'static str> {
        let (a, p) = (arc(self.attributes.clone()), prefix(self.prefix));
        let source: RouteSource<'_> = source(self.kind, self.from.as_ref());
        let (speaker, neighbor, session, hop) = (&self.speaker, &self.neighbor, &self.session, &self.next_hop);
        let verdict = export(speaker, neighbor, session, &source, &p, hop, &a).map_err(|r| r.rule);
        let steps = explain_export(speaker, neighbor, session, &source, &p, hop, &a);
        assert_eq!(verdict.as_ref().err().copied(), steps.iter().find(|s| !s.pass).map(|s| s.rule));
        verdict
    }

    fn sent(&self) -> (PathAttributes, NextHop) {
        self.verdict().unwrap_or_else(|r| panic!("{} to {} refused by {r}", self.prefix, self.neighbor.relation))
    }

    fn attrs(&self) -> PathAttributes {
        self.sent().0
    }

    fn refused(&self, rule: &str) {
        assert_eq!(self.verdict().err(), Some(rule), "{} to {}", self.prefix, self.neighbor.relation);
    }
}

const EXTERNAL: [Relation; 5] =
    [Relation::Transit, Relation::Peer, Relation::RouteServer, Relation::Customer, Relation::Collector];
const UPSTREAM: [Relation; 3] = [Relation::Transit, Relation::Peer, Relation::RouteServer];
const INTERNAL: [Relation; 2] = [Relation::Internal, Relation::RrClient];

#[test]
fn rfc8326_4_1_a_drained_neighbour_is_asked_to_keep_away_once() {
    let drained = |c: &mut Case| c.neighbor.drain = true;
    let marked = |c: &mut Case| c.attributes.communities = [Community(7), Community::GRACEFUL_SHUTDOWN].into();
    for relation in [Relation::Transit, Relation::Peer, Relation::Customer] {
        assert!(own(relation).attrs().communities.is_empty());
        assert_eq!(own(relation).with(drained).attrs().communities, [Community::GRACEFUL_SHUTDOWN], "{relation}");
        let sent = customers(relation).with(drained).with(marked).attrs().communities;
        assert_eq!(sent, [Community(7), Community::GRACEFUL_SHUTDOWN], "{relation}");
    }
}

#[test]
fn rfc7908_3_every_relationship_by_every_source() {
    use Relation::{Customer, Peer, RouteServer, Transit};
    use SourceKind::{External, Internal, InternalClient, Local, LocalInternal};
    // Columns: transit, peer, route-server, customer, internal, rr-client, collector (the order of RELATIONS).
    let table = [
        (Local, Transit, "yyyyyyy"),
        (LocalInternal, Transit, "....yy."),
        (External, Transit, "...yyyy"),
        (External, Peer, "...yyyy"),
        (External, RouteServer, "...yyyy"),
        (External, Customer, "yyyyyyy"),
        (Internal, Transit, "...y.yy"),
        (Internal, Peer, "...y.yy"),
        (Internal, RouteServer, "...y.yy"),
        (Internal, Customer, "yyyy.yy"),
        (InternalClient, Transit, "...yyyy"),
        (InternalClient, Peer, "...yyyy"),
        (InternalClient, RouteServer, "...yyyy"),
        (InternalClient, Customer, "yyyyyyy"),
    ];
    for (kind, from, want) in table {
        let got: String =
            RELATIONS.iter().map(|&r| if to(r, kind, from).verdict().is_ok() { 'y' } else { '.' }).collect();
        assert_eq!(got, want, "{kind:?} from {from}");
        // The relationship alone holds it back too: without OTC the answer is the same.
        let got: String = RELATIONS
            .iter()
            .map(|&r| if to(r, kind, from).with(|c| c.attributes.otc = None).verdict().is_ok() { 'y' } else { '.' })
            .collect();
        assert_eq!(got, want, "{kind:?} from {from}, no OTC");
    }
}

#[test]
fn rfc8212_2_2_deny_sends_nothing() {
    for relation in RELATIONS {
        own(relation).with(|c| c.neighbor.policy = PolicyMode::Deny).refused("policy-deny");
    }
}

#[test]
fn untagged_ibgp_route_is_nobodys_customers() {
    for relation in UPSTREAM {
        let untagged = |c: &mut Case| c.attributes.large_communities.clear();
        to(relation, SourceKind::Internal, Relation::Customer).with(untagged).refused("relationship");
    }
}

#[test]
fn own_prefix_leaves_only_where_it_is_announced() {
    for kind in [SourceKind::Internal, SourceKind::InternalClient] {
        let own = |c: &mut Case| {
            (c.prefix, c.attributes) = ("203.0.113.0/24", PathAttributes::default());
        };
        for relation in UPSTREAM {
            to(relation, kind, Relation::Internal).with(own).refused("relationship");
        }
        for relation in [Relation::Customer, Relation::Collector] {
            to(relation, kind, Relation::Internal).with(own).attrs();
        }
    }
}

#[test]
fn space_that_is_not_ours_is_not_announced_as_ours() {
    for relation in EXTERNAL {
        own(relation).with(|c| c.prefix = "198.51.100.0/24").refused("own-space");
    }
}

#[test]
fn rfc4271_9_2_split_horizon() {
    for relation in RELATIONS {
        let kind = if relation.is_internal() { SourceKind::InternalClient } else { SourceKind::External };
        to(relation, kind, Relation::Customer)
            .with(|c| c.session.peer = crate::rib::PeerId(9))
            .refused("split-horizon");
    }
}

#[test]
fn rfc1997_no_export_stays_in_the_as() {
    for community in [Community::NO_EXPORT, Community::NO_EXPORT_SUBCONFED] {
        let rule = if community == Community::NO_EXPORT { "no-export" } else { "no-export-subconfed" };
        let marked = |c: &mut Case| c.attributes.communities = [community].into();
        for relation in EXTERNAL {
            customers(relation).with(marked).refused(rule);
            // ... by any policy, and on reflected routes too.
            customers(relation).with(marked).with(|c| c.neighbor.policy = PolicyMode::AcceptAll).refused(rule);
            to(relation, SourceKind::InternalClient, Relation::Customer).with(marked).refused(rule);
        }
        for relation in INTERNAL {
            assert_eq!(customers(relation).with(marked).attrs().communities, [community]);
        }
    }
}

#[test]
fn rfc1997_no_advertise_goes_nowhere() {
    for relation in RELATIONS {
        for kind in [SourceKind::Local, SourceKind::External, SourceKind::InternalClient] {
            to(relation, kind, Relation::Customer)
                .with(|c| c.attributes.communities = [Community::NO_ADVERTISE].into())
                .refused("no-advertise");
        }
    }
}

#[test]
fn rfc3765_2_nopeer_does_not_go_to_peers() {
    let marked = |c: &mut Case| c.attributes.communities = [Community::NOPEER].into();
    for relation in RELATIONS {
        match relation {
            Relation::Peer | Relation::RouteServer => customers(relation).with(marked).refused("nopeer"),
            _ => drop(customers(relation).with(marked).attrs()),
        }
    }
}

#[test]
fn rfc7999_3_2_blackhole_does_not_leave() {
    let marked = |c: &mut Case| c.attributes.communities = [Community::BLACKHOLE].into();
    for relation in EXTERNAL {
        customers(relation).with(marked).refused("blackhole");
        customers(relation).with(marked).with(|c| c.neighbor.policy = PolicyMode::AcceptAll).refused("blackhole");
    }
    for relation in INTERNAL {
        customers(relation).with(marked).attrs();
    }
}

#[test]
fn internal_only_routes_say_so_to_the_other_borders() {
    for relation in INTERNAL {
        let sent = to(relation, SourceKind::LocalInternal, relation).attrs();
        assert_eq!(sent.communities, [Community::NO_EXPORT]);
        assert!(own(relation).attrs().communities.is_empty());
    }
    for policy in [PolicyMode::Relationship, PolicyMode::AcceptAll] {
        for relation in EXTERNAL {
            to(relation, SourceKind::LocalInternal, relation)
                .with(|c| c.neighbor.policy = policy)
                .refused("internal-only");
        }
    }
}

#[test]
fn rfc9234_5_egress_otc() {
    let otc = |c: &mut Case| c.attributes.otc = Some(Asn(64502));
    for policy in [PolicyMode::Relationship, PolicyMode::AcceptAll] {
        // accept-all goes by a written role only.
        let set = |c: &mut Case| (c.neighbor.policy, c.neighbor.role) = (policy, c.neighbor.relation.role());
        // 2: never to a provider, a peer or a route server.
        for relation in UPSTREAM {
            customers(relation).with(otc).with(set).refused("otc");
        }
        // 1: added to a customer, a peer; kept where it stands.
        for relation in [Relation::Customer, Relation::Collector, Relation::Peer] {
            let sent = customers(relation).with(set).attrs();
            assert_eq!(sent.otc, Some(OWN), "{relation}");
        }
        assert_eq!(customers(Relation::Customer).with(otc).with(set).attrs().otc, Some(Asn(64502)));
        for relation in [Relation::Transit, Relation::RouteServer] {
            assert_eq!(customers(relation).with(set).attrs().otc, None);
        }
    }
    for relation in EXTERNAL {
        let all = |c: &mut Case| c.neighbor.policy = PolicyMode::AcceptAll;
        assert_eq!(customers(relation).with(all).attrs().otc, None, "{relation}");
        assert_eq!(customers(relation).with(otc).with(all).attrs().otc, Some(Asn(64502)), "{relation}");
    }
    for relation in INTERNAL {
        assert_eq!(customers(relation).attrs().otc, None);
        assert_eq!(customers(relation).with(otc).attrs().otc, Some(Asn(64502)));
    }
}

#[test]
fn rfc7454_6_1_3_nothing_long_and_no_default_leaves() {
    for relation in EXTERNAL {
        own(relation).with(|c| c.prefix = "203.0.113.0/25").refused("prefix-length");
        own(relation).with(|c| c.prefix = "2001:db8:500::/49").refused("prefix-length");
        own(relation).with(|c| c.prefix = "2001:db8:500::/48").attrs();
        customers(relation).with(|c| c.prefix = "0.0.0.0/0").refused("default-route");
    }
    for relation in INTERNAL {
        own(relation).with(|c| c.prefix = "203.0.113.1/32").attrs();
        customers(relation).with(|c| c.prefix = "0.0.0.0/0").attrs();
    }
}

#[test]
fn rfc6996_4_private_as_numbers_do_not_leave() {
    let private = |c: &mut Case| c.attributes.as_path = AsPath::sequence([Asn(64512), Asn(64502), Asn(64513)]);
    for relation in EXTERNAL {
        let sent = customers(relation).with(private).attrs();
        assert_eq!(sent.as_path, AsPath::sequence([OWN, Asn(64502)]), "{relation}");
    }
    to(Relation::Customer, SourceKind::External, Relation::Transit).with(private).refused("private-asn");
    for relation in INTERNAL {
        assert_eq!(customers(relation).with(private).attrs().as_path.asns().count(), 3);
    }
}

#[test]
fn rfc4271_9_1_2_a_path_through_the_neighbour_is_not_sent_to_it() {
    let through = |c: &mut Case| c.attributes.as_path = AsPath::sequence([Asn(64502), Asn(64501)]);
    for relation in EXTERNAL {
        customers(relation).with(through).refused("target-as-loop");
        customers(relation).with(through).with(|c| c.neighbor.policy = PolicyMode::AcceptAll).attrs();
    }
}

#[test]
fn rfc4271_5_1_ebgp_attributes() {
    for policy in [PolicyMode::Relationship, PolicyMode::AcceptAll] {
        for relation in EXTERNAL {
            let sent = customers(relation)
                .with(|c| {
                    c.neighbor.policy = policy;
                    c.neighbor.prepend = 2;
                    c.attributes.med = Some(50);
                    c.attributes.originator_id = Some(id("10.255.0.7"));
                    c.attributes.cluster_list = [id("10.255.0.8")].into();
                })
                .attrs();
            assert_eq!(sent.as_path, AsPath::sequence([OWN, OWN, OWN, Asn(64502)]));
            assert_eq!((sent.local_pref, sent.med, sent.originator_id), (None, None, None));
            assert!(sent.cluster_list.is_empty() && sent.large_communities.is_empty());
        }
    }
    // §5.1.4: a MED of our own making is sent.
    assert_eq!(own(Relation::Transit).with(|c| c.attributes.med = Some(50)).attrs().med, Some(50));
    assert_eq!(own(Relation::Transit).attrs().as_path, AsPath::sequence([OWN]));
}

#[test]
fn rfc4271_5_1_5_ibgp_attributes() {
    for relation in INTERNAL {
        let sent = customers(relation).with(|c| c.attributes.med = Some(50)).attrs();
        assert_eq!((sent.local_pref, sent.med), (Some(200), Some(50)));
        assert_eq!(sent.as_path, AsPath::sequence([Asn(64502)]));
        assert_eq!(tag::read(OWN, &sent), Some(Relation::Customer));
        assert_eq!(own(relation).attrs().local_pref, Some(100));
    }
}

#[test]
fn rfc4360_6_non_transitive_extended_communities_stay() {
    let (stays, goes) = (ExtendedCommunity([0x40, 4, 0, 0, 0, 0, 0, 1]), ExtendedCommunity([0, 2, 0, 0, 0, 0, 0, 1]));
    let marked = |c: &mut Case| c.attributes.extended_communities = [goes, stays].into();
    for relation in EXTERNAL {
        assert_eq!(customers(relation).with(marked).attrs().extended_communities, [goes]);
    }
    assert_eq!(customers(Relation::Internal).with(marked).attrs().extended_communities, [goes, stays]);
}

#[test]
fn communities_of_others_and_informational_ones_of_ours_are_kept_on_the_way_out() {
    let large = |global, local1, local2| LargeCommunity { global, local1, local2 };
    let sent = customers(Relation::Transit)
        .with(|c| {
            c.attributes.communities = [Community(64501 << 16 | 5)].into();
            c.attributes.large_communities = [large(64500, 1, 4), large(64500, 2, 1), large(64501, 1, 1)].into();
        })
        .attrs();
    assert_eq!(sent.communities, [Community(64501 << 16 | 5)]);
    assert_eq!(sent.large_communities, [large(64500, 2, 1), large(64501, 1, 1)]);
}

#[test]
fn rfc4456_6_reflection() {
    use SourceKind::{External, Internal, InternalClient, Local};
    for (kind, target, ok) in [
        (Internal, Relation::Internal, false),
        (Internal, Relation::RrClient, true),
        (InternalClient, Relation::Internal, true),
        (InternalClient, Relation::RrClient, true),
        (External, Relation::Internal, true),
        (Local, Relation::Internal, true),
    ] {
        let c = to(target, kind, Relation::Transit);
        if ok { drop(c.attrs()) } else { c.refused("reflection") }
    }
}

#[test]
fn rfc4456_8_reflected_routes_carry_originator_and_clusters() {
    let reflected = || to(Relation::RrClient, SourceKind::InternalClient, Relation::Transit);
    let sent = reflected().attrs();
    assert_eq!((sent.originator_id, sent.cluster_list), (Some(id("10.255.0.9")), [id("10.255.0.1")].into()));
    let sent = reflected()
        .with(|c| {
            c.speaker.cluster_id = Some(id("10.255.0.100"));
            c.attributes.originator_id = Some(id("10.255.0.7"));
            c.attributes.cluster_list = [id("10.255.0.8")].into();
        })
        .attrs();
    assert_eq!(sent.originator_id, Some(id("10.255.0.7")));
    assert_eq!(sent.cluster_list, [id("10.255.0.100"), id("10.255.0.8")]);
    // Not reflected: neither.
    let sent = customers(Relation::RrClient).attrs();
    assert_eq!((sent.originator_id, sent.cluster_list), (None, [].into()));
}

#[test]
fn rfc4456_8_the_originator_does_not_get_its_route_back() {
    let back = |c: &mut Case| c.attributes.originator_id = Some(id("10.255.0.2"));
    to(Relation::RrClient, SourceKind::Internal, Relation::Transit).with(back).refused("originator-id");
}

#[test]
fn rfc4271_5_1_3_next_hop_self_towards_ebgp() {
    for relation in EXTERNAL {
        assert_eq!(customers(relation).sent().1, hop("192.0.2.1"));
        let v6 =
            customers(relation).with(|c| (c.prefix, c.next_hop) = ("2001:db8:a00::/48", hop("2001:db8::9"))).sent();
        assert_eq!(v6.1, hop("2001:db8::1"));
        customers(relation)
            .with(|c| (c.prefix, c.session.local_ipv6) = ("2001:db8:a00::/48", None))
            .refused("next-hop");
    }
}

#[test]
fn rfc2545_3_link_local_next_hop_only_on_the_link() {
    let link_local: Ipv6Addr = "fe80::1".parse().unwrap();
    let global: Ipv6Addr = "2001:db8::1".parse().unwrap();
    let v6 = |c: &mut Case| {
        (c.prefix, c.next_hop) = ("2001:db8:a00::/48", hop("2001:db8::9"));
        c.session.link_local = Some(link_local);
    };
    let got = customers(Relation::Transit).with(v6).sent().1;
    assert_eq!(got, NextHop::V6 { global, link_local: Some(link_local) });
    let got = customers(Relation::Transit).with(v6).with(|c| c.neighbor.multihop = Some(2)).sent().1;
    assert_eq!(got, NextHop::V6 { global, link_local: None });
    // What came with a link-local next hop goes on inside the AS without it, or as ours.
    let both = NextHop::V6 { global: "2001:db8::9".parse().unwrap(), link_local: Some("fe80::9".parse().unwrap()) };
    assert_eq!(customers(Relation::Internal).with(v6).with(|c| c.next_hop = both).sent().1, hop("2001:db8::9"));
    assert_eq!(
        customers(Relation::Internal).with(v6).with(|c| c.next_hop = hop("fe80::9")).sent().1,
        hop("2001:db8::1")
    );
}

#[test]
fn rfc8950_3_ipv4_over_an_ipv6_session() {
    let over_v6 = |c: &mut Case| {
        c.session.local_address = ip("2001:db8::1");
        c.session.address = ip("2001:db8::2");
    };
    let extended = |c: &mut Case| c.session.context.extended_next_hop = vec![Family::IPV4_UNICAST];
    assert_eq!(customers(Relation::Transit).with(over_v6).with(extended).sent().1, hop("2001:db8::1"));
    customers(Relation::Transit).with(over_v6).refused("next-hop");
    let v4 = |c: &mut Case| c.session.local_ipv4 = Some("192.0.2.1".parse().unwrap());
    assert_eq!(customers(Relation::Transit).with(over_v6).with(v4).sent().1, hop("192.0.2.1"));
    // Over IPv4 the IPv4 address is as good and understood by all.
    assert_eq!(customers(Relation::Transit).with(extended).sent().1, hop("192.0.2.1"));
}

#[test]
fn next_hop_inside_the_as() {
    for relation in INTERNAL {
        assert_eq!(customers(relation).sent().1, hop("192.0.2.9"));
        assert_eq!(own(relation).sent().1, hop("192.0.2.1"));
        let myself = |c: &mut Case| c.neighbor.next_hop_self = true;
        assert_eq!(customers(relation).with(myself).sent().1, hop("192.0.2.1"));
        // RFC 4456 §10: reflection does not touch it.
        let reflected = to(relation, SourceKind::InternalClient, Relation::Transit).with(myself);
        assert_eq!(reflected.sent().1, hop("192.0.2.9"));
    }
}

#[test]
fn rfc4271_5_1_3_never_the_neighbours_own_address() {
    to(Relation::RrClient, SourceKind::Internal, Relation::Transit)
        .with(|c| c.next_hop = hop("192.0.2.2"))
        .refused("next-hop-is-neighbour");
}

#[test]
fn rfc4760_8_family_not_in_force() {
    own(Relation::Transit).with(|c| c.session.context.families = vec![Family::IPV6_UNICAST]).refused("family");
}

#[test]
fn accept_all_sends_everything_that_the_protocol_allows() {
    for relation in EXTERNAL {
        for from in [Relation::Transit, Relation::Customer] {
            for p in ["0.0.0.0/0", "10.0.0.0/8", "198.51.100.128/25"] {
                to(relation, SourceKind::External, from)
                    .with(|c| {
                        c.neighbor.policy = PolicyMode::AcceptAll;
                        c.prefix = p;
                        c.attributes.otc = None;
                    })
                    .attrs();
            }
        }
    }
}

/// Whatever the relationship and the policy; what the neighbour sends is judged as ever.
#[test]
fn a_neighbour_without_export_is_told_nothing() {
    for relation in RELATIONS {
        for policy in [PolicyMode::Relationship, PolicyMode::AcceptAll] {
            own(relation).with(|c| (c.neighbor.export, c.neighbor.policy) = (false, policy)).refused("policy-deny");
        }
    }
}

#[test]
fn profiles_differ_exactly_in_what_export_depends_on() {
    let n = neighbor(Relation::Transit);
    let s = session(&n);
    let base = ExportProfile::new(&n, &s);
    // Another neighbour of the same kind: same group.
    let other = NeighborConfig { name: "x".into(), description: "y".into(), hold_time: 30, ..n.clone() };
    let there = SessionFacts {
        peer: crate::rib::PeerId(3),
        bgp_identifier: id("10.255.0.3"),
        address: ip("192.0.2.3"),
        ..s.clone()
    };
    assert_eq!(base, ExportProfile::new(&other, &there));
    for n in [
        NeighborConfig { prepend: 1, ..n.clone() },
        NeighborConfig { export: false, ..n.clone() },
        NeighborConfig { policy: PolicyMode::AcceptAll, ..n.clone() },
        NeighborConfig { relation: Relation::Peer, ..n.clone() },
    ] {
        assert_ne!(base, ExportProfile::new(&n, &s));
    }
    let mut context = s.context.clone();
    context.extended_message = true;
    // Another AS on another subnet: what differs is the octets of the next hop.
    for s in [
        SessionFacts { local_address: ip("192.0.2.99"), ..s.clone() },
        SessionFacts { remote_as: Asn(64503), ..s.clone() },
    ] {
        assert_eq!(base, ExportProfile::new(&n, &s));
        assert_ne!(ExportTarget::new(&n, &session(&n)), ExportTarget::new(&n, &s));
    }
    let link_local = Some("fe80::1".parse().unwrap());
    for s in [
        SessionFacts { local_ipv6: None, ..s.clone() },
        SessionFacts { link_local, ..s.clone() },
        SessionFacts { context, ..s },
    ] {
        assert_ne!(base, ExportProfile::new(&n, &s));
    }
}
