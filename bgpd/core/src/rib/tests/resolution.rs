//! Which next hops can be used, and what follows when that changes.

use super::*;

fn reason(lab: &Lab, prefix: &str, n: u32) -> String {
    let filter = RouteFilter { prefix: Some(p(prefix)), ..RouteFilter::default() };
    lab.list(RouteTable::In(PeerId(n)), &filter, 1).remove(0).reason
}

#[test]
fn rfc4271_6_3_ebgp_next_hop_must_be_on_a_connected_subnet() {
    let mut lab = Lab::new();
    lab.up(1, Relation::Transit);
    lab.up(7, Relation::Internal);
    // A route to the far next hop over iBGP is no help: the neighbour is one hop away.
    lab.send(7, announce(&["192.0.2.128/25"], "192.0.2.7", attrs(&[])));
    let mut multihop = neighbor(2, Relation::Transit);
    multihop.multihop = Some(4);
    lab.up_with(PeerInfo { ifindex: None, ..info(2, &multihop) });
    lab.send(2, announce(&["203.0.113.0/25"], "192.0.2.200", attrs(&[64502])));
    assert_eq!(lab.via("203.0.113.0/25"), Some(("192.0.2.7".into(), 2)), "multihop goes over routes");
    lab.send(1, announce(&["203.0.113.128/25"], "192.0.2.200", attrs(&[64501])));
    assert_eq!(lab.via("203.0.113.128/25"), None);
    assert!(lab.best("203.0.113.128/25").is_none());
}

#[test]
fn rfc4271_6_3_own_address_is_no_next_hop() {
    let mut lab = Lab::new();
    lab.up(7, Relation::Internal);
    lab.send(7, announce(&["198.51.100.160/28"], "192.0.2.126", attrs(&[64511])));
    assert!(lab.best("198.51.100.160/28").is_none());
    assert!(reason(&lab, "198.51.100.160/28", 7).contains("own"), "{}", reason(&lab, "198.51.100.160/28", 7));
}

#[test]
fn rfc4271_9_1_2_1_recursion_over_ibgp_with_one_more_cost_a_route() {
    let mut lab = Lab::new();
    lab.up(7, Relation::Internal);
    lab.up(8, Relation::Internal);
    // A loopback behind 7; a border behind the loopback; the same destination straight from 8.
    lab.send(7, announce(&["203.0.113.9/32"], "192.0.2.7", attrs(&[])));
    lab.send(7, announce(&["2001:db8:900::/48"], "2001:db8:2::7", attrs(&[64511])));
    lab.send(7, announce(&["198.51.100.192/26"], "203.0.113.9", attrs(&[64511])));
    assert_eq!(lab.via("198.51.100.192/26"), Some(("192.0.2.7".into(), 2)));
    lab.send(8, announce(&["198.51.100.192/26"], "192.0.2.8", attrs(&[64511])));
    assert_eq!(lab.best_peer("198.51.100.192/26"), Some(8));
    let explained = lab.rib.explain_route(&p("198.51.100.192/26")).unwrap();
    let lost = &explained.paths[1];
    assert!(lost.step.starts_with("7 "), "{}", lost.step);
    assert_eq!((lost.this_value.as_str(), lost.best_value.as_str()), ("1", "0"));
    // The route that carried the loopback goes: what hung on it is unusable at once.
    lab.send(8, withdraw(&["198.51.100.192/26"]));
    lab.send(7, withdraw(&["203.0.113.9/32"]));
    assert!(lab.best("198.51.100.192/26").is_none() && lab.via("198.51.100.192/26").is_none());
    lab.send(8, announce(&["203.0.113.0/28"], "192.0.2.8", attrs(&[])));
    assert_eq!(lab.via("198.51.100.192/26"), Some(("192.0.2.8".into(), 2)));
}

#[test]
fn rfc4271_9_1_2_1_not_over_a_default_route() {
    let mut lab = Lab::new();
    lab.up(7, Relation::Internal);
    lab.send(7, announce(&["0.0.0.0/0"], "192.0.2.7", attrs(&[64511])));
    assert_eq!(lab.best_peer("0.0.0.0/0"), Some(7));
    lab.send(7, announce(&["198.51.100.192/26"], "203.0.113.9", attrs(&[64511])));
    assert!(lab.best("198.51.100.192/26").is_none());
    assert!(reason(&lab, "198.51.100.192/26", 7).contains("default route aside"));
}

#[test]
fn rfc4271_9_1_2_1_a_route_does_not_resolve_through_itself() {
    let mut lab = Lab::new();
    lab.up(7, Relation::Internal);
    lab.up(8, Relation::Internal);
    lab.send(7, announce(&["203.0.113.0/28"], "203.0.113.9", attrs(&[64511])));
    assert!(lab.best("203.0.113.0/28").is_none());
    // A shorter route does carry it, and goes on carrying it once the longer one is up.
    lab.send(8, announce(&["203.0.113.0/26"], "192.0.2.8", attrs(&[])));
    assert_eq!(lab.via("203.0.113.0/28"), Some(("192.0.2.8".into(), 2)));
    assert_eq!(lab.best_peer("203.0.113.0/28"), Some(7));
    lab.send(8, withdraw(&["203.0.113.0/26"]));
    assert!(lab.best("203.0.113.0/28").is_none() && lab.kernel.is_empty());
}

#[test]
fn rfc4271_9_1_2_1_mutually_recursive_routes_come_to_rest() {
    let mut lab = Lab::new();
    lab.up(7, Relation::Internal);
    lab.send(7, announce(&["203.0.113.0/28"], "198.51.100.129", attrs(&[64511])));
    lab.send(7, announce(&["198.51.100.128/28"], "203.0.113.1", attrs(&[64511])));
    lab.rib.set_connected(lab.now, vec![link(2, "192.0.2.0/25", "192.0.2.126", true)]);
    lab.pump();
    assert!(lab.best("203.0.113.0/28").is_none() && lab.best("198.51.100.128/28").is_none());
    assert!(lab.kernel.is_empty());
}

#[test]
fn own_aggregate_resolves_nothing() {
    let mut lab = Lab::new();
    lab.up(7, Relation::Internal);
    lab.rib.set_announcements(lab.now, BTreeSet::from([p("203.0.113.0/24")]));
    lab.pump();
    assert_eq!(lab.via("203.0.113.0/24"), Some(("discard".into(), 0)));
    lab.send(7, announce(&["198.51.100.192/26"], "203.0.113.9", attrs(&[64511])));
    assert!(lab.best("198.51.100.192/26").is_none());
    assert!(reason(&lab, "198.51.100.192/26", 7).contains("announce ourselves"));
    lab.send(7, announce(&["203.0.113.9/32"], "192.0.2.7", attrs(&[])));
    assert_eq!(lab.via("198.51.100.192/26"), Some(("192.0.2.7".into(), 2)));
}

#[test]
fn link_down_moves_only_what_hangs_on_it() {
    let mut lab = Lab::new();
    lab.up(1, Relation::Transit);
    lab.up(7, Relation::Internal);
    lab.announce(1, "198.51.100.128/28", &[64501]);
    lab.send(7, announce(&["198.51.100.128/28", "198.51.100.144/28"], "192.0.2.7", attrs(&[64501, 64511])));
    assert_eq!((lab.via("198.51.100.128/28").unwrap().1, lab.via("198.51.100.144/28").unwrap().1), (1, 2));
    let untouched = lab.rib.fib_entry(&p("198.51.100.144/28")).unwrap();
    let mut down = links();
    down.iter_mut().filter(|c| c.ifindex == 1).for_each(|c| c.up = false);
    lab.rib.set_connected(lab.now, down);
    lab.pump();
    assert_eq!(
        lab.via("198.51.100.128/28"),
        Some(("192.0.2.7".into(), 2)),
        "the path of the other link takes over at once"
    );
    let after = lab.rib.fib_entry(&p("198.51.100.144/28")).unwrap();
    assert_eq!(untouched.cookie, after.cookie, "not written again");
    lab.rib.set_connected(lab.now, links());
    lab.pump();
    assert_eq!(lab.via("198.51.100.128/28").unwrap().1, 1);
}

#[test]
fn rfc8950_3_ipv4_route_over_an_ipv6_next_hop() {
    let mut lab = Lab::new();
    lab.up(1, Relation::Transit);
    lab.send(1, announce(&["198.51.100.128/28"], "2001:db8:1::1", attrs(&[64501])));
    assert_eq!(lab.via("198.51.100.128/28"), Some(("2001:db8:1::1".into(), 1)));
}

#[test]
fn rfc2545_3_link_local_next_hop_is_on_the_session_s_link() {
    let mut lab = Lab::new();
    lab.up(1, Relation::Transit);
    lab.send(1, announce(&["2001:db8:900::/48"], "fe80::1", attrs(&[64501])));
    assert_eq!(lab.via("2001:db8:900::/48"), Some(("fe80::1".into(), 1)));
    // The same address on a session whose link is unknown leads nowhere.
    lab.up_with(PeerInfo { ifindex: None, ..info(2, &neighbor(2, Relation::Transit)) });
    lab.send(2, announce(&["2001:db8:901::/48"], "fe80::1", attrs(&[64502])));
    assert!(lab.best("2001:db8:901::/48").is_none());
    // A global address off the link with a link-local one beside it: the link-local one is used.
    let both =
        NextHop::V6 { global: "2001:db8:ffff::1".parse().unwrap(), link_local: Some("fe80::9".parse().unwrap()) };
    let mut update = announce(&["2001:db8:902::/48"], "::", attrs(&[64501]));
    update.reach[0].next_hop = both;
    lab.up_with(PeerInfo { ifindex: Some(2), ..info(7, &neighbor(7, Relation::Internal)) });
    lab.send(7, update);
    assert_eq!(lab.via("2001:db8:902::/48"), Some(("fe80::9".into(), 2)));
}

#[test]
fn routes_that_chase_one_another_come_to_rest_on_what_does_not() {
    // Each preferred path resolves through the other's prefix as long as that one does not prefer its own: no state
    // satisfies both. The fallbacks are direct.
    let mut lab = Lab::new();
    lab.up(7, Relation::Internal);
    lab.up(8, Relation::Internal);
    let preferred = || PathAttributes { local_pref: Some(200), ..attrs(&[64511]) };
    let (one, other) = ("203.0.113.0/28", "198.51.100.128/28");
    lab.send(7, announce(&[one, other], "192.0.2.7", attrs(&[64511])));
    lab.send(8, announce(&[one], "198.51.100.129", preferred()));
    lab.send(8, announce(&[other], "203.0.113.1", preferred()));
    // Whichever way it rests, both are forwarded over the one link that leads there.
    assert_eq!(lab.via(one), Some(("192.0.2.7".into(), 2)));
    assert_eq!(lab.via(other), Some(("192.0.2.7".into(), 2)));
    // And it still answers to the world outside.
    lab.send(8, withdraw(&[one, other]));
    assert_eq!((lab.best_peer(one), lab.best_peer(other)), (Some(7), Some(7)));
    lab.send(7, withdraw(&[one, other]));
    assert!(lab.kernel.is_empty());
    assert_eq!(lab.rib.summary().next_hops, 0);
}
