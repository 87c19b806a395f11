//! Import: each rule with a route that it refuses and one that it lets through.

use std::sync::Arc;

use bgp_wire::{AsPathSegment, AsPathSegmentType, Community, LargeCommunity, NextHop, PathAttributes, Role};
use net_types::Asn;

use super::testutil::*;
use super::{explain_import, import, tag};
use crate::config::{NeighborConfig, PolicyMode, Relation, SpeakerConfig};

struct Case {
    speaker: SpeakerConfig,
    neighbor: NeighborConfig,
    prefix: &'static str,
    next_hop: NextHop,
    attributes: PathAttributes,
}

/// A route that its neighbour may send.
fn good(relation: Relation) -> Case {
    Case {
        speaker: speaker(),
        neighbor: neighbor(relation),
        prefix: "198.51.100.0/24",
        next_hop: hop("192.0.2.2"),
        attributes: attributes(if relation.is_internal() { &[64501] } else { &[64501, 64501] }),
    }
}

impl Case {
    fn with(mut self, f: impl FnOnce(&mut Case)) -> Case {
        f(&mut self);
        self
    }

    /// The verdict; the explanation must tell the same story.
    fn verdict(&self) -> Result<Arc<PathAttributes>, &'static str> {
        let (session, a) = (session(&self.neighbor), arc(self.attributes.clone()));
        let p = prefix(self.prefix);
        let verdict = import(&self.speaker, &self.neighbor, &session, &p, &self.next_hop, &a).map_err(|r| r.rule);
        let steps = explain_import(&self.speaker, &self.neighbor, &session, &p, &self.next_hop, &a);
        assert_eq!(verdict.as_ref().err().copied(), steps.iter().find(|s| !s.pass).map(|s| s.rule));
        verdict
    }

    fn accepted(&self) -> PathAttributes {
        (*self.verdict().unwrap_or_else(|r| panic!("{} refused by {r}", self.prefix))).clone()
    }

    fn refused(&self, rule: &str) {
        assert_eq!(self.verdict().err(), Some(rule), "{} via {:?}", self.prefix, self.next_hop);
    }
}

const EXTERNAL: [Relation; 4] = [Relation::Transit, Relation::Peer, Relation::RouteServer, Relation::Customer];

#[test]
fn every_relationship_lets_an_honest_route_in() {
    for relation in RELATIONS {
        match relation {
            Relation::Collector => good(relation).refused("collector"),
            _ => drop(good(relation).accepted()),
        }
    }
}

#[test]
fn rfc8212_2_1_deny_refuses_everything() {
    for relation in RELATIONS {
        good(relation).with(|c| c.neighbor.policy = PolicyMode::Deny).refused("policy-deny");
    }
}

#[test]
fn rfc4271_9_1_2_own_as_in_the_path_is_a_loop() {
    for relation in EXTERNAL.into_iter().chain([Relation::Internal, Relation::RrClient]) {
        for policy in [PolicyMode::Relationship, PolicyMode::AcceptAll] {
            let looped = |c: &mut Case| {
                c.neighbor.policy = policy;
                c.attributes = attributes(&[64501, 64500, 64501]);
            };
            good(relation).with(looped).refused("as-loop");
            good(relation).with(looped).with(|c| c.neighbor.allow_own_as = 1).accepted();
        }
    }
}

#[test]
fn rfc4456_8_own_originator_id_is_ignored() {
    for relation in [Relation::Internal, Relation::RrClient] {
        good(relation).with(|c| c.attributes.originator_id = Some(id("10.255.0.1"))).refused("originator-id");
        good(relation).with(|c| c.attributes.originator_id = Some(id("10.255.0.7"))).accepted();
    }
}

#[test]
fn rfc4456_8_own_cluster_is_a_loop() {
    let list = |c: &mut Case| c.attributes.cluster_list = [id("10.255.0.7"), id("10.255.0.8")].into();
    good(Relation::Internal).with(list).accepted();
    good(Relation::Internal).with(list).with(|c| c.speaker.cluster_id = Some(id("10.255.0.8"))).refused("cluster-loop");
    // Without a cluster id of its own, the router id is it (§7).
    good(Relation::Internal).with(list).with(|c| c.speaker.router_id = id("10.255.0.7")).refused("cluster-loop");
}

#[test]
fn rfc4271_6_3_next_hop_is_a_host_and_not_us() {
    for policy in [PolicyMode::Relationship, PolicyMode::AcceptAll] {
        for bad in ["192.0.2.1", "0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::", "ff02::1", "2001:db8::1"]
        {
            for relation in [Relation::Transit, Relation::Internal] {
                good(relation)
                    .with(|c| (c.neighbor.policy, c.next_hop) = (policy, hop(bad)))
                    .refused("next-hop-address");
            }
        }
    }
}

#[test]
fn rfc4271_6_3_first_as_is_the_neighbours() {
    let foreign = |c: &mut Case| c.attributes = attributes(&[64502, 64501]);
    for relation in [Relation::Transit, Relation::Peer, Relation::Customer] {
        good(relation).with(foreign).refused("first-as");
        good(relation).with(|c| c.attributes = attributes(&[])).refused("first-as");
        good(relation).with(foreign).with(|c| c.neighbor.policy = PolicyMode::AcceptAll).refused("first-as");
        good(relation).with(foreign).with(|c| c.neighbor.enforce_first_as = false).accepted();
    }
    // A route server's AS does not stand in the path (RFC 7947 §2.2.2.1), whatever the setting.
    good(Relation::RouteServer).with(foreign).with(|c| c.neighbor.enforce_first_as = true).accepted();
    good(Relation::Internal).with(foreign).accepted();
}

#[test]
fn rfc9234_5_ingress_otc() {
    let otc = |v| move |c: &mut Case| c.attributes.otc = Some(Asn(v));
    // 1: from a customer, any value.
    good(Relation::Customer).with(otc(64501)).refused("otc-leak");
    let all = |c: &mut Case| c.neighbor.policy = PolicyMode::AcceptAll;
    let provider = |c: &mut Case| c.neighbor.role = Some(Role::Provider);
    good(Relation::Customer).with(otc(64501)).with(all).with(provider).refused("otc-leak");
    // ... and from a client, if we were the route server.
    good(Relation::Peer).with(|c| c.neighbor.role = Some(Role::RouteServer)).with(otc(64501)).refused("otc-leak");
    // 2: from a peer, any value but its own.
    good(Relation::Peer).with(otc(64502)).refused("otc-leak");
    assert_eq!(good(Relation::Peer).with(otc(64501)).accepted().otc, Some(Asn(64501)));
    // 3: from a provider, a peer or a route server, added when missing, left when there.
    for relation in [Relation::Transit, Relation::Peer, Relation::RouteServer] {
        assert_eq!(good(relation).accepted().otc, Some(Asn(64501)), "{relation}");
        let role = |c: &mut Case| c.neighbor.role = c.neighbor.relation.role();
        assert_eq!(good(relation).with(all).with(role).accepted().otc, Some(Asn(64501)), "{relation}");
    }
    for relation in [Relation::Transit, Relation::RouteServer] {
        assert_eq!(good(relation).with(otc(64502)).accepted().otc, Some(Asn(64502)));
    }
    assert_eq!(good(Relation::Customer).accepted().otc, None);
    assert_eq!(good(Relation::Internal).accepted().otc, None);
}

#[test]
fn rfc9234_5_accept_all_has_no_role_but_one_that_is_written_down() {
    let all = |c: &mut Case| c.neighbor.policy = PolicyMode::AcceptAll;
    for relation in EXTERNAL {
        assert_eq!(good(relation).with(all).accepted().otc, None, "{relation}");
        let marked = |c: &mut Case| c.attributes.otc = Some(Asn(64502));
        assert_eq!(good(relation).with(all).with(marked).accepted().otc, Some(Asn(64502)), "{relation}");
    }
}

#[test]
fn rfc7454_6_1_6_no_default_route() {
    for relation in EXTERNAL {
        for default in ["0.0.0.0/0", "::/0"] {
            let hop = if default == "::/0" { hop("2001:db8::2") } else { hop("192.0.2.2") };
            good(relation).with(|c| (c.prefix, c.next_hop) = (default, hop)).refused("default-route");
        }
        good(relation).with(|c| (c.prefix, c.neighbor.policy) = ("0.0.0.0/0", PolicyMode::AcceptAll)).accepted();
    }
    good(Relation::Internal).with(|c| c.prefix = "0.0.0.0/0").accepted();
}

#[test]
fn rfc7454_6_1_1_bogon_prefixes() {
    for bogon in
        ["10.0.0.0/8", "192.168.0.0/24", "100.64.0.0/16", "127.0.0.0/24", "224.0.0.0/8", "fc00::/32", "2002::/16"]
    {
        for relation in EXTERNAL {
            good(relation).with(|c| c.prefix = bogon).refused("bogon-prefix");
        }
    }
    good(Relation::Transit)
        .with(|c| c.prefix = "10.0.0.0/8")
        .with(|c| c.neighbor.policy = PolicyMode::AcceptAll)
        .accepted();
    good(Relation::Internal).with(|c| c.prefix = "10.0.0.0/8").accepted();
}

#[test]
fn lab_lets_documentation_through_and_nothing_else() {
    let real = |c: &mut Case| {
        c.speaker.lab = false;
        c.neighbor.remote_as = Asn(3215);
        c.attributes = attributes(&[3215]);
    };
    good(Relation::Transit).accepted();
    good(Relation::Transit).with(real).refused("bogon-prefix");
    good(Relation::Transit).with(real).with(|c| c.prefix = "80.0.0.0/16").accepted();
    good(Relation::Transit)
        .with(real)
        .with(|c| (c.prefix, c.attributes) = ("80.0.0.0/16", attributes(&[3215, 64501])))
        .refused("bogon-asn");
}

#[test]
fn rfc7454_6_1_4_own_space_is_refused_from_outside_and_less_specifics_are_not() {
    for relation in EXTERNAL {
        for own in ["203.0.113.0/24", "203.0.113.128/25"] {
            good(relation).with(|c| c.prefix = own).refused("own-prefix");
        }
        // Not even by a customer that the configuration allows it to.
        good(relation)
            .with(|c| (c.prefix, c.neighbor.allowed_prefixes) = ("203.0.113.0/24", vec![prefix("203.0.113.0/24")]))
            .refused("own-prefix");
    }
    good(Relation::Transit)
        .with(|c| {
            c.prefix = "2001:db8:400::/40";
            c.next_hop = hop("2001:db8::2");
            c.speaker.own_prefixes = vec![prefix("2001:db8:450::/44")];
        })
        .accepted();
    good(Relation::Transit)
        .with(|c| (c.prefix, c.speaker.internal_prefixes) = ("198.51.100.0/24", vec![prefix("198.51.100.0/24")]))
        .refused("own-prefix");
    good(Relation::Internal).with(|c| c.prefix = "203.0.113.0/24").accepted();
}

#[test]
fn rfc7454_6_1_3_length_limits() {
    for (p, via) in [("198.51.100.0/25", "192.0.2.2"), ("2001:db8:a00::/49", "2001:db8::2")] {
        for relation in EXTERNAL {
            good(relation).with(|c| (c.prefix, c.next_hop) = (p, hop(via))).refused("prefix-length");
        }
    }
    for (p, via) in [("80.0.0.0/7", "192.0.2.2"), ("2a00::/15", "2001:db8::2")] {
        good(Relation::Transit).with(|c| (c.prefix, c.next_hop) = (p, hop(via))).refused("prefix-length");
    }
    for (p, via) in [
        ("80.0.0.0/8", "192.0.2.2"),
        ("80.1.2.0/24", "192.0.2.2"),
        ("2a00::/16", "2001:db8::2"),
        ("2a00:1:2::/48", "2001:db8::2"),
    ] {
        good(Relation::Transit).with(|c| (c.prefix, c.next_hop) = (p, hop(via))).accepted();
    }
    good(Relation::Internal).with(|c| c.prefix = "198.51.100.0/32").accepted();
}

#[test]
fn rfc9774_3_as_set_is_refused() {
    let set = |c: &mut Case| {
        let kind = AsPathSegmentType::Set;
        c.attributes.as_path.segments.push(AsPathSegment { kind, asns: [Asn(64502)].into() });
    };
    for relation in EXTERNAL {
        good(relation).with(set).refused("as-set");
    }
    good(Relation::Internal).with(set).accepted();
}

#[test]
fn as_path_longer_than_the_limit_is_refused() {
    good(Relation::Transit).with(|c| c.attributes = attributes(&[64501; 64])).accepted();
    good(Relation::Transit).with(|c| c.attributes = attributes(&[64501; 65])).refused("as-path-length");
    good(Relation::Transit)
        .with(|c| (c.attributes, c.neighbor.policy) = (attributes(&[64501; 65]), PolicyMode::AcceptAll))
        .accepted();
}

#[test]
fn rfc7454_9_bogon_as_numbers() {
    for asn in [0, 23456, 64512, 65535, 4_200_000_000, u32::MAX, 65552] {
        let path = |c: &mut Case| c.attributes = attributes(&[64501, asn, 64501]);
        for relation in EXTERNAL {
            good(relation).with(path).refused("bogon-asn");
        }
        good(Relation::Transit).with(path).with(|c| c.neighbor.policy = PolicyMode::AcceptAll).accepted();
    }
}

#[test]
fn rfc6996_a_customers_private_as_only_where_named() {
    let path = |c: &mut Case| c.attributes = attributes(&[64501, 64512]);
    good(Relation::Customer).with(path).refused("bogon-asn");
    good(Relation::Customer).with(path).with(|c| c.neighbor.allowed_origins = vec![Asn(64512)]).accepted();
    let own = |c: &mut Case| (c.neighbor.remote_as, c.attributes) = (Asn(64512), attributes(&[64512]));
    good(Relation::Customer).with(own).accepted();
    good(Relation::Transit).with(own).refused("bogon-asn");
}

#[test]
fn rfc4271_6_3_third_party_next_hop() {
    for relation in EXTERNAL {
        good(relation).with(|c| c.next_hop = hop("192.0.2.77")).accepted();
        good(relation).with(|c| c.next_hop = hop("198.51.100.77")).refused("next-hop-third-party");
        good(relation)
            .with(|c| (c.next_hop, c.neighbor.policy) = (hop("198.51.100.77"), PolicyMode::AcceptAll))
            .accepted();
        // Several hops away there is no shared subnet to speak of.
        good(relation).with(|c| (c.next_hop, c.neighbor.multihop) = (hop("198.51.100.77"), Some(3))).accepted();
    }
    good(Relation::Internal).with(|c| c.next_hop = hop("198.51.100.77")).accepted();
}

#[test]
fn rfc4271_6_3_third_party_next_hop_where_the_subnet_is_not_known() {
    for (relation, via, ok) in [
        (Relation::Transit, "192.0.2.2", true),
        (Relation::Transit, "192.0.2.77", false),
        (Relation::RouteServer, "192.0.2.77", true),
        // The session's own address says nothing about the other family.
        (Relation::Transit, "2001:db8:77::1", true),
        (Relation::Transit, "fe80::1", true),
    ] {
        let c = good(relation);
        let facts = super::SessionFacts { connected: vec![], ..session(&c.neighbor) };
        let p = prefix(if via.contains(':') { "2001:db8:a00::/48" } else { c.prefix });
        let verdict = import(&c.speaker, &c.neighbor, &facts, &p, &hop(via), &arc(c.attributes.clone()));
        assert_eq!(
            verdict.map(|_| ()).map_err(|r| r.rule),
            if ok { Ok(()) } else { Err("next-hop-third-party") },
            "{via}"
        );
    }
}

#[test]
fn rfc7454_6_3_a_leaking_customer_is_held_to_its_prefixes() {
    let mut accepted = Vec::new();
    // A full table as the customer's own upstream might have sent it: 80.x.0.0/16 for all x, its own, our own.
    let leak: Vec<String> = (0..=255).map(|x| format!("80.{x}.0.0/16")).collect();
    for p in
        leak.iter().map(String::as_str).chain(["198.51.100.0/24", "198.51.101.0/24", "203.0.113.0/24", "0.0.0.0/0"])
    {
        for path in [&[64501][..], &[64501, 64502, 64503]] {
            let c = good(Relation::Customer);
            let facts = session(&c.neighbor);
            if import(&c.speaker, &c.neighbor, &facts, &prefix(p), &c.next_hop, &arc(attributes(path))).is_ok() {
                accepted.push((p.to_owned(), path.len()));
            }
        }
    }
    assert_eq!(accepted, [("198.51.100.0/24".to_owned(), 1), ("198.51.101.0/24".to_owned(), 1)]);
}

#[test]
fn rfc7454_9_a_customers_origins_are_declared() {
    let behind = |c: &mut Case| c.attributes = attributes(&[64501, 64510]);
    good(Relation::Customer).with(behind).refused("customer-origin");
    good(Relation::Customer).with(behind).with(|c| c.neighbor.allowed_origins = vec![Asn(64510)]).accepted();
    good(Relation::Customer).with(|c| c.prefix = "198.51.102.0/24").refused("customer-prefix");
    good(Relation::Customer).with(|c| c.neighbor.allowed_prefixes.clear()).refused("customer-prefix");
}

#[test]
fn local_pref_by_relationship() {
    for (relation, want) in [
        (Relation::Customer, Some(200)),
        (Relation::Peer, Some(150)),
        (Relation::RouteServer, Some(140)),
        (Relation::Transit, Some(100)),
        (Relation::Internal, None),
        (Relation::RrClient, None),
    ] {
        assert_eq!(good(relation).accepted().local_pref, want, "{relation}");
        if !relation.is_internal() {
            assert_eq!(good(relation).with(|c| c.neighbor.local_pref = Some(77)).accepted().local_pref, Some(77));
            let all = |c: &mut Case| c.neighbor.policy = PolicyMode::AcceptAll;
            assert_eq!(good(relation).with(all).accepted().local_pref, None);
        }
    }
}

#[test]
fn rfc8326_4_2_graceful_shutdown_lowers_local_pref() {
    let marked = |c: &mut Case| c.attributes.communities = [Community::GRACEFUL_SHUTDOWN].into();
    for relation in EXTERNAL {
        let got = good(relation).with(marked).accepted();
        assert_eq!((got.local_pref, got.communities), (Some(0), [Community::GRACEFUL_SHUTDOWN].into()));
        let off = good(relation).with(marked).with(|c| c.neighbor.graceful_shutdown = false).accepted();
        assert_ne!(off.local_pref, Some(0));
    }
    assert_eq!(good(Relation::Internal).with(marked).accepted().local_pref, None);
}

#[test]
fn rfc8326_4_1_a_drained_neighbours_routes_are_the_last_choice() {
    for relation in EXTERNAL {
        let got = good(relation).with(|c| c.neighbor.drain = true).accepted();
        assert_eq!(got.local_pref, Some(0), "{relation}");
        let with_its_own = |c: &mut Case| (c.neighbor.drain, c.neighbor.local_pref) = (true, Some(300));
        assert_eq!(good(relation).with(with_its_own).accepted().local_pref, Some(0), "{relation}");
    }
}

#[test]
fn rfc7454_11_our_communities_from_outside_are_scrubbed_and_others_kept() {
    let large = |global, local1, local2| LargeCommunity { global, local1, local2 };
    let marked = |c: &mut Case| {
        c.attributes.communities =
            [Community(64500 << 16 | 7), Community(64501 << 16 | 7), Community::NO_EXPORT].into();
        c.attributes.large_communities = [large(64500, 1, 4), large(64500, 2, 9), large(64501, 1, 4)].into();
    };
    for relation in EXTERNAL {
        let got = good(relation).with(marked).accepted();
        assert_eq!(got.communities, [Community(64501 << 16 | 7), Community::NO_EXPORT]);
        let tag = tag::of(OWN, relation).unwrap();
        assert_eq!(got.large_communities, [tag, large(64501, 1, 4)], "{relation}");
        assert_eq!(tag::read(OWN, &got), Some(relation));
        // accept-all: only the tag's own values, so that nobody passes for a customer at our other borders.
        let got = good(relation).with(marked).with(|c| c.neighbor.policy = PolicyMode::AcceptAll).accepted();
        assert_eq!(got.large_communities, [large(64500, 2, 9), large(64501, 1, 4)]);
        assert_eq!(tag::read(OWN, &got), None);
    }
}

#[test]
fn internal_routes_pass_as_they_are() {
    let a = arc(PathAttributes { local_pref: Some(140), med: Some(5), ..attributes(&[64501]) });
    let n = neighbor(Relation::Internal);
    let got = import(&speaker(), &n, &session(&n), &prefix("198.51.100.0/24"), &hop("198.51.100.9"), &a).unwrap();
    assert!(Arc::ptr_eq(&a, &got));
}

#[test]
fn rfc4271_5_1_5_an_internal_neighbour_may_be_preferred_less_and_what_was_lowered_stays_low() {
    let mut n = neighbor(Relation::Internal);
    n.local_pref = Some(90);
    for (received, want) in [(Some(140), Some(90)), (None, Some(90)), (Some(90), Some(90)), (Some(0), Some(0))] {
        let a = arc(PathAttributes { local_pref: received, med: Some(5), ..attributes(&[64501]) });
        let changed = PathAttributes { local_pref: want, ..PathAttributes::clone(&a) };
        let got = import(&speaker(), &n, &session(&n), &prefix("198.51.100.0/24"), &hop("198.51.100.9"), &a).unwrap();
        assert_eq!(*got, changed, "nothing else changes");
        assert_eq!(Arc::ptr_eq(&a, &got), received == want);
    }
}

#[test]
fn two_tags_that_differ_are_none() {
    let large = |local2| LargeCommunity { global: 64500, local1: 1, local2 };
    let with =
        |l: &[LargeCommunity]| PathAttributes { large_communities: l.to_vec().into(), ..PathAttributes::default() };
    assert_eq!(tag::read(OWN, &with(&[large(4)])), Some(Relation::Customer));
    assert_eq!(tag::read(OWN, &with(&[large(1), large(4)])), None);
    assert_eq!(tag::read(OWN, &with(&[large(9)])), None);
    assert_eq!(tag::read(Asn(64501), &with(&[large(4)])), None);
}

#[test]
fn explanation_walks_all_rules_and_names_every_offence() {
    let c = good(Relation::Customer).with(|c| {
        c.prefix = "10.0.0.0/25";
        c.attributes = attributes(&[64502, 64512]);
    });
    let facts = session(&c.neighbor);
    let steps =
        explain_import(&c.speaker, &c.neighbor, &facts, &prefix(c.prefix), &c.next_hop, &arc(c.attributes.clone()));
    let bad: Vec<&str> = steps.iter().filter(|s| !s.pass).map(|s| s.rule).collect();
    assert_eq!(bad, ["first-as", "bogon-prefix", "prefix-length", "bogon-asn", "customer-prefix", "customer-origin"]);
    assert!(steps.iter().all(|s| !s.clause.is_empty() && !s.detail.is_empty()));
    // No row without an id of its own.
    let mut ids: Vec<&str> = import::RULES.iter().map(|r| r.id).collect();
    ids.sort_unstable();
    ids.windows(2).for_each(|w| assert_ne!(w[0], w[1]));
}
