//! We are the route server (RFC 7947): what one client sent is what another decodes.

use super::*;
use bgp_wire::{Community, ExtendedCommunity, LargeCommunity, UnknownAttribute};

fn client(n: u32) -> PeerInfo {
    info(n, &NeighborConfig { policy: PolicyMode::Relationship, ..neighbor(n, Relation::RsClient) })
}

fn exchange() -> Lab {
    let mut lab = Lab::new();
    lab.up_with(client(1));
    lab.up_with(client(2));
    lab
}

const MEMBERS: &str = "198.51.0.0/16";

#[test]
fn rfc7947_2_2_a_clients_route_reaches_another_as_it_was_sent() {
    let mut lab = exchange();
    let sent = PathAttributes {
        med: Some(33),
        communities: [Community(64501 << 16 | 7), Community::NOPEER].into_iter().collect(),
        // The second is non-transitive (RFC 4360 §3): RFC 7947 §2.2.4 has it passed on all the same.
        extended_communities: [ExtendedCommunity([0, 2, 0xfb, 0xf5, 0, 0, 0, 9]), ExtendedCommunity([0x40; 8])]
            .into_iter()
            .collect(),
        large_communities: [LargeCommunity { global: 64501, local1: 1, local2: 4 }].into_iter().collect(),
        atomic_aggregate: true,
        unknown: [UnknownAttribute { flags: 0xe0, code: 200, value: vec![1, 2, 3].into() }].into_iter().collect(),
        ..attrs(&[64501, 64501, 64510])
    };
    lab.send(1, announce(&[MEMBERS], "198.51.100.1", sent.clone()));
    let (heard, next_hop) = lab.told[&PeerId(2)].routes[&p(MEMBERS)].clone();
    // RFC 7947 §2.2.1 to §2.2.4. OTC is a route server's to add where it has a role (RFC 9234 §5).
    assert_eq!(next_hop, nh("198.51.100.1"));
    assert_eq!(heard, PathAttributes { otc: Some(Asn(64500)), ..sent });
    assert!(!lab.told(1, MEMBERS), "not back to where it came from");
    lab.send(1, withdraw(&[MEMBERS]));
    assert!(!lab.told(2, MEMBERS));
}

#[test]
fn rfc7947_2_2_1_an_ipv6_next_hop_keeps_both_its_addresses() {
    let mut lab = exchange();
    let next_hop =
        NextHop::V6 { global: "2001:db8:1::1".parse().unwrap(), link_local: Some("fe80::1".parse().unwrap()) };
    let reach = [Reach { family: V6, next_hop, nlri: [nlri("2001:db8:7700::/40")].into() }].into();
    lab.send(1, Update { reach, attributes: attrs(&[64501]), ..Update::default() });
    assert_eq!(lab.told[&PeerId(2)].routes[&p("2001:db8:7700::/40")].1, next_hop);
}

#[test]
fn rfc8950_4_a_client_that_cannot_take_the_next_hop_as_it_is_gets_no_route() {
    let mut lab = exchange();
    let mut old = client(3);
    old.session.extended_next_hop.clear();
    lab.up_with(old);
    let next_hop = nh("2001:db8:1::1");
    let reach = [Reach { family: V4, next_hop, nlri: [nlri(MEMBERS)].into() }].into();
    lab.send(1, Update { reach, attributes: attrs(&[64501]), ..Update::default() });
    assert_eq!(lab.told[&PeerId(2)].routes[&p(MEMBERS)].1, next_hop);
    assert!(!lab.told(3, MEMBERS));
}

#[test]
fn rfc1997_well_known_communities_hold_between_clients_too() {
    for community in [Community::NO_EXPORT, Community::NO_ADVERTISE, Community::NO_EXPORT_SUBCONFED] {
        let mut lab = exchange();
        let attributes = PathAttributes { communities: [community].into_iter().collect(), ..attrs(&[64501]) };
        lab.send(1, announce(&[MEMBERS], "198.51.100.1", attributes));
        assert!(lab.best(MEMBERS).is_some() && !lab.told(2, MEMBERS), "{community}");
    }
}

#[test]
fn clients_routes_go_to_clients_and_customers_and_clients_get_no_transit() {
    let mut lab = exchange();
    let relationship = |n, relation| NeighborConfig { policy: PolicyMode::Relationship, ..neighbor(n, relation) };
    lab.up_with(info(3, &relationship(3, Relation::Transit)));
    lab.up_with(info(4, &relationship(4, Relation::Peer)));
    let customer =
        NeighborConfig { allowed_prefixes: vec![p("198.51.99.0/24")], ..relationship(5, Relation::Customer) };
    lab.up_with(info(5, &customer));
    lab.announce(1, MEMBERS, &[64501]);
    lab.announce(3, "192.0.2.0/24", &[64503]);
    lab.announce(5, "198.51.99.0/24", &[64505]);
    let told = |prefix| (1..=5).filter(|n| lab.told(*n, prefix)).collect::<Vec<_>>();
    assert_eq!(told(MEMBERS), [2, 5]);
    assert_eq!(told("192.0.2.0/24"), [5]);
    assert_eq!(told("198.51.99.0/24"), [1, 2, 3, 4]);
    // To whoever is no client we are an AS like any other.
    let (attributes, next_hop) = &lab.told[&PeerId(5)].routes[&p(MEMBERS)];
    assert_eq!((attributes.as_path.to_string(), *next_hop), ("64500 64501".to_owned(), nh("198.51.100.126")));
    let (attributes, next_hop) = &lab.told[&PeerId(1)].routes[&p("198.51.99.0/24")];
    assert_eq!((attributes.as_path.to_string(), *next_hop), ("64500 64505".to_owned(), nh("198.51.100.126")));
}

#[test]
fn rfc9234_5_a_route_server_takes_no_otc_from_a_client() {
    let mut lab = exchange();
    lab.send(1, announce(&[MEMBERS], "198.51.100.1", PathAttributes { otc: Some(Asn(64510)), ..attrs(&[64501]) }));
    assert!(lab.best(MEMBERS).is_none() && !lab.told(2, MEMBERS));
}

#[test]
fn rfc7948_4_8_a_client_names_itself_as_next_hop() {
    let mut lab = exchange();
    lab.up_with(client(3));
    lab.send(1, announce(&[MEMBERS], "198.51.100.2", attrs(&[64501])));
    assert!(lab.best(MEMBERS).is_none() && !lab.told(3, MEMBERS));
    let rows = lab.list(RouteTable::In(PeerId(1)), &RouteFilter::default(), 10);
    assert!(rows[0].reason.starts_with("next-hop-third-party: "), "{}", rows[0].reason);
}

#[test]
fn rfc7947_2_3_no_path_is_hidden_by_a_better_one_that_is_withheld() {
    let mut lab = exchange();
    lab.up_with(client(3));
    let held = |lab: &Lab, n| lab.told[&PeerId(n)].routes.get(&p(MEMBERS)).map(|(a, _)| a.as_path.to_string());
    // The best is 1's, but 1 has no use for it, and 3 would refuse a path that it stands in.
    lab.announce(1, MEMBERS, &[64501, 64503]);
    lab.announce(2, MEMBERS, &[64502, 64510, 64511]);
    assert_eq!(held(&lab, 1).unwrap(), "64502 64510 64511");
    assert_eq!(held(&lab, 2).unwrap(), "64501 64503");
    assert_eq!(held(&lab, 3).unwrap(), "64502 64510 64511");
    lab.send(1, withdraw(&[MEMBERS]));
    assert_eq!((held(&lab, 1).unwrap(), held(&lab, 2)), ("64502 64510 64511".to_owned(), None));
    lab.send(2, withdraw(&[MEMBERS]));
    assert_eq!((held(&lab, 1), held(&lab, 3), lab.rib.summary().families[0].prefixes), (None, None, 0));
}
