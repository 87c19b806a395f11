//! Import verdicts, limits, reconfiguration, reflection: policy as the RIB uses it.

use super::*;

#[test]
fn refused_paths_are_kept_with_their_rule_and_never_chosen() {
    let mut lab = Lab::new();
    let mut transit = neighbor(1, Relation::Transit);
    transit.policy = PolicyMode::Relationship;
    lab.up_with(info(1, &transit));
    lab.announce(1, "198.51.0.0/16", &[64501, 64500, 64510]);
    assert!(lab.best("198.51.0.0/16").is_none() && lab.kernel.is_empty());
    let rows = lab.list(RouteTable::In(PeerId(1)), &RouteFilter::default(), 10);
    assert!(!rows[0].accepted && rows[0].reason.starts_with("as-loop: "), "{}", rows[0].reason);
    let explained = lab.rib.explain_route(&p("198.51.0.0/16")).unwrap();
    assert_eq!(explained.paths[0].outcome, Outcome::Refused);
    let counts = lab.rib.neighbor_counts(PeerId(1))[0];
    assert_eq!((counts.received, counts.accepted), (1, 0));
}

#[test]
fn rfc4271_9_2_never_back_to_the_neighbour_it_came_from() {
    let mut lab = Lab::new();
    for n in [1, 2, 3] {
        lab.up(n, Relation::Customer);
    }
    lab.announce(1, "198.51.100.128/28", &[64501, 64510]);
    assert!(!lab.told(1, "198.51.100.128/28") && lab.told(2, "198.51.100.128/28"));
    // A better path from 2: 2 must lose what it was told, 1 must learn it.
    lab.announce(2, "198.51.100.128/28", &[64502]);
    assert!(lab.told(1, "198.51.100.128/28") && !lab.told(2, "198.51.100.128/28"));
    lab.send(2, withdraw(&["198.51.100.128/28"]));
    assert!(!lab.told(1, "198.51.100.128/28") && lab.told(2, "198.51.100.128/28") && lab.told(3, "198.51.100.128/28"));
}

#[test]
fn rfc4271_4_3_a_prefix_withdrawn_and_announced_in_one_update_is_announced() {
    let mut lab = Lab::new();
    lab.up(1, Relation::Transit);
    lab.announce(1, "198.51.100.128/28", &[64501]);
    let mut both = announce(&["198.51.100.128/28"], "198.51.100.1", attrs(&[64501, 64510]));
    both.unreach = withdraw(&["198.51.100.128/28"]).unreach;
    lab.send(1, both);
    assert_eq!(lab.best("198.51.100.128/28").unwrap().attributes.as_path.to_string(), "64501 64510");
}

#[test]
fn rfc4486_4_max_prefix_counts_distinct_prefixes_before_policy() {
    let mut lab = Lab::new();
    let mut limited = neighbor(1, Relation::Transit);
    limited.policy = PolicyMode::Relationship;
    limited.max_prefix.insert(V4, crate::config::MaxPrefix { limit: 2, restart: None });
    lab.up_with(info(1, &limited));
    // Too long to be accepted: refused, and counted.
    let refused = ["198.51.100.128/28", "198.51.100.144/28"];
    assert_eq!(lab.send(1, announce(&refused, "198.51.100.1", attrs(&[64501]))), None);
    assert_eq!(lab.rib.neighbor_counts(PeerId(1))[0].accepted, 0);
    // Once more the same ones: still two.
    assert_eq!(lab.send(1, announce(&refused, "198.51.100.1", attrs(&[64501, 64510]))), None);
    let third = lab.send(1, announce(&["198.51.100.160/28"], "198.51.100.1", attrs(&[64501])));
    assert_eq!(third, Some(MaxPrefixExceeded { family: V4, limit: 2 }));
    assert_eq!(lab.rib.neighbor_counts(PeerId(1))[0].received, 2);
    let other_family = announce(&["2001:db8:900::/48"], "2001:db8:1::1", attrs(&[64501]));
    assert_eq!(lab.send(1, other_family), None);
}

#[test]
fn rfc7911_3_paths_of_one_neighbour_by_identifier_count_as_one_prefix() {
    let mut lab = Lab::new();
    let mut limited = neighbor(1, Relation::Transit);
    limited.max_prefix.insert(V4, crate::config::MaxPrefix { limit: 1, restart: None });
    let mut info = info(1, &limited);
    info.session.add_path_receive = vec![V4];
    lab.up_with(info);
    for (path_id, path) in [(1, vec![64501, 64510]), (2, vec![64501])] {
        let mut update = announce(&["198.51.100.128/28"], "198.51.100.1", attrs(&path));
        update.reach[0].nlri[0].path_id = path_id;
        assert_eq!(lab.send(1, update), None);
    }
    assert_eq!(lab.best("198.51.100.128/28").unwrap().path_id, Some(2));
    let mut gone = withdraw(&["198.51.100.128/28"]);
    gone.unreach[0].nlri[0].path_id = 2;
    lab.send(1, gone);
    assert_eq!(lab.best("198.51.100.128/28").unwrap().path_id, Some(1));
    assert_eq!(lab.rib.neighbor_counts(PeerId(1))[0].received, 1);
}

#[test]
fn a_changed_policy_judges_the_kept_routes_again_without_asking_the_neighbour() {
    let mut lab = Lab::new();
    let open = neighbor(1, Relation::Transit);
    lab.up_with(info(1, &open));
    lab.up(2, Relation::Customer);
    lab.announce(1, "198.51.100.128/28", &[64501]);
    assert!(lab.told(2, "198.51.100.128/28"));
    let deny = NeighborConfig { policy: PolicyMode::Deny, ..open.clone() };
    lab.rib.peer_reconfigured(lab.now, PeerId(1), Arc::new(deny));
    lab.pump();
    assert!(!lab.told(2, "198.51.100.128/28") && lab.kernel.is_empty());
    let before = lab.list(RouteTable::In(PeerId(1)), &RouteFilter::default(), 10).remove(0);
    assert_eq!(before.reason.split(':').next(), Some("policy-deny"));
    let better = NeighborConfig { local_pref: Some(321), ..open };
    lab.rib.peer_reconfigured(lab.now, PeerId(1), Arc::new(better));
    lab.pump();
    assert!(lab.told(2, "198.51.100.128/28"));
    assert_eq!(lab.best("198.51.100.128/28").unwrap().received, before.received);
}

#[test]
fn a_changed_export_sends_the_difference_only() {
    let mut lab = Lab::new();
    let customer = neighbor(2, Relation::Customer);
    lab.up(1, Relation::Transit);
    lab.up_with(info(2, &customer));
    lab.announce(1, "198.51.100.128/28", &[64501]);
    let prepending = NeighborConfig { prepend: 2, ..customer };
    lab.rib.peer_reconfigured(lab.now, PeerId(2), Arc::new(prepending));
    lab.pump();
    let (attributes, _) = &lab.told[&PeerId(2)].routes[&p("198.51.100.128/28")];
    assert_eq!(attributes.as_path.to_string(), "64500 64500 64500 64501");
    assert_eq!(lab.told[&PeerId(2)].withdrawals, 0);
}

#[test]
fn a_changed_speaker_is_judged_again() {
    let mut lab = Lab::new();
    let mut transit = neighbor(1, Relation::Transit);
    transit.policy = PolicyMode::Relationship;
    lab.up_with(info(1, &transit));
    lab.announce(1, "198.51.0.0/16", &[64501]);
    lab.rib.set_announcements(lab.now, BTreeSet::from([p("203.0.113.0/24")]));
    lab.pump();
    assert!(lab.best("198.51.0.0/16").is_some());
    let own = vec![p("198.51.0.0/16")];
    lab.rib.set_speaker(lab.now, SpeakerConfig { own_prefixes: own, ..speaker() });
    lab.pump();
    assert!(lab.best("198.51.0.0/16").is_none() && lab.best("203.0.113.0/24").is_none());
    assert!(lab.kernel.is_empty());
    assert!(!lab.told(1, "203.0.113.0/24"));
}

#[test]
fn rfc4456_6_a_client_s_route_is_reflected_and_a_non_client_s_to_clients_only() {
    let mut lab = Lab::new();
    lab.up(7, Relation::RrClient);
    lab.up(8, Relation::Internal);
    lab.up(9, Relation::Internal);
    lab.send(7, announce(&["198.51.100.128/28"], "192.0.2.7", attrs(&[64511])));
    lab.send(8, announce(&["198.51.100.144/28"], "192.0.2.8", attrs(&[64511])));
    assert!(lab.told(8, "198.51.100.128/28") && lab.told(9, "198.51.100.128/28"));
    assert!(lab.told(7, "198.51.100.144/28") && !lab.told(9, "198.51.100.144/28"));
    let (attributes, next_hop) = &lab.told[&PeerId(9)].routes[&p("198.51.100.128/28")];
    assert_eq!(attributes.originator_id, Some(lab.infos[&PeerId(7)].bgp_identifier));
    assert_eq!((attributes.cluster_list.len(), *next_hop), (1, nh("192.0.2.7")));
}
