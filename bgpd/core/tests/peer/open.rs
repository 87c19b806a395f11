//! OPEN: what we offer, what we refuse (RFC 4271 §6.2), what is agreed on.

use std::num::NonZeroU16;

use bgp_core::config::{AddPath, NeighborConfig, PolicyMode, Relation, SendPaths};
use bgp_core::peer::{Input, State};
use bgp_wire::{AddPathMode, Capability, Message, Notification, Open, Role};
use net_types::{Afi, Asn, Family};

use crate::solo::{Solo, codes, encode, families, id, keepalive, neighbor, open_of, raw, speaker};

fn refused(solo: &mut Solo, open: &Open) -> Notification {
    let conn = solo.start();
    solo.receive_open(conn, open);
    let notification = solo.sent_notification(conn);
    assert!(solo.peer.state() < State::OpenSent);
    notification
}

fn our_open(solo: &mut Solo) -> Open {
    let conn = solo.start();
    match solo.sent(conn).remove(0) {
        Message::Open(open) => open,
        other => panic!("{other:?}"),
    }
}

#[test]
fn our_open_offers_what_the_configuration_says() {
    let open = our_open(&mut Solo::transit());
    assert_eq!((open.asn, open.hold_time, open.bgp_identifier), (Asn(64500), 90, id("192.0.2.1")));
    let next_hop = Capability::ExtendedNextHop(vec![(Family::IPV4_UNICAST, Afi::IPV6)]);
    for wanted in [
        Capability::Multiprotocol(Family::IPV4_UNICAST),
        Capability::Multiprotocol(Family::IPV6_UNICAST),
        Capability::RouteRefresh,
        Capability::EnhancedRouteRefresh,
        Capability::ExtendedMessage,
        Capability::FourOctetAsn(Asn(64500)),
        Capability::Role(Role::Customer),
        next_hop,
    ] {
        assert!(open.has(&wanted), "{wanted:?} in {:?}", open.capabilities);
    }

    let mut config = neighbor(64500, Relation::Internal);
    config.families = vec![Family::IPV6_UNICAST];
    (config.extended_message, config.enhanced_refresh) = (false, false);
    (config.gr_helper, config.gr_restart_time) = (false, 0);
    let open = our_open(&mut Solo::new(config));
    let expected = [
        Capability::Multiprotocol(Family::IPV6_UNICAST),
        Capability::RouteRefresh,
        Capability::FourOctetAsn(Asn(64500)),
    ];
    assert_eq!(open.capabilities, expected);
}

#[test]
fn rfc6793_9_a_wide_as_stands_in_the_capability_and_as_trans_in_the_field() {
    let open = our_open(&mut Solo::of(&speaker(65536, "192.0.2.1"), neighbor(64501, Relation::Transit)));
    assert_eq!((open.my_as, open.asn), (23456, Asn(65536)));
}

#[test]
fn rfc4271_6_2_a_wrong_as_is_refused() {
    let sent = refused(&mut Solo::transit(), &open_of(64502, "192.0.2.2", families()));
    assert_eq!(codes(&sent), (2, 2));
    let mut solo = Solo::transit();
    refused(&mut solo, &open_of(64502, "192.0.2.2", families()));
    let error = solo.peer.status().last_error;
    assert!(error.contains("AS 64502") && error.contains("AS 64501"), "{error}");
}

#[test]
fn rfc6286_2_2_our_identifier_is_refused_inside_the_as_and_taken_across() {
    let mut solo = Solo::new(neighbor(64500, Relation::Internal));
    assert_eq!(codes(&refused(&mut solo, &open_of(64500, "192.0.2.1", families()))), (2, 3));
    let mut solo = Solo::transit();
    let conn = solo.start();
    solo.establish(conn, &open_of(64501, "192.0.2.1", families()));
}

#[test]
fn rfc4271_6_2_malformed_opens_get_the_right_notification() {
    let good = encode(&Message::Open(open_of(64501, "192.0.2.2", vec![])))[19..].to_vec();
    let with = |at: usize, bytes: &[u8]| {
        let mut body = good.clone();
        body[at..at + bytes.len()].copy_from_slice(bytes);
        raw(1, &body)
    };
    let with_parameters = |parameters: &[u8]| {
        let mut body = good.clone();
        body[9] = u8::try_from(parameters.len()).unwrap();
        body.extend_from_slice(parameters);
        raw(1, &body)
    };
    let cases = [
        ("version 3", with(0, &[3]), (2, 1)),
        ("AS 0", with(1, &[0, 0]), (2, 2)),
        ("hold time 1", with(3, &[0, 1]), (2, 6)),
        ("hold time 2", with(3, &[0, 2]), (2, 6)),
        ("identifier 0.0.0.0", with(5, &[0; 4]), (2, 3)),
        ("optional length beyond the message", with(9, &[4]), (2, 0)),
        ("shorter than the least OPEN", raw(1, &good[..9]), (1, 2)),
        ("a capability longer than its parameter", with_parameters(&[2, 2, 65, 4]), (2, 0)),
        ("an optional parameter nobody knows", with_parameters(&[9, 0]), (2, 4)),
    ];
    for (what, bytes, code) in cases {
        let mut solo = Solo::transit();
        let conn = solo.start();
        solo.receive(conn, &bytes);
        assert_eq!(codes(&solo.sent_notification(conn)), code, "{what}");
    }
}

#[test]
fn rfc9234_4_2_roles_must_be_counterparts() {
    let pairs = [
        (Relation::Transit, Role::Provider, true),
        (Relation::Transit, Role::Customer, false),
        (Relation::Transit, Role::Peer, false),
        (Relation::Customer, Role::Customer, true),
        (Relation::Customer, Role::Provider, false),
        (Relation::Peer, Role::Peer, true),
        (Relation::Peer, Role::RouteServer, false),
        (Relation::RouteServer, Role::RouteServer, true),
        (Relation::RouteServer, Role::RouteServerClient, false),
        (Relation::RsClient, Role::RouteServerClient, true),
        (Relation::RsClient, Role::RouteServer, false),
    ];
    for (relation, role, fits) in pairs {
        let mut solo = Solo::new(neighbor(64501, relation));
        let mut capabilities = families();
        capabilities.push(Capability::Role(role));
        let open = open_of(64501, "192.0.2.2", capabilities);
        if fits {
            let conn = solo.start();
            solo.establish(conn, &open);
        } else {
            assert_eq!(codes(&refused(&mut solo, &open)), (2, 11), "{relation} and {role}");
        }
    }
}

#[test]
fn rfc7911_4_both_ends_offer_before_a_path_identifier_stands_on_the_wire() {
    use AddPathMode::{Both, Receive, Send};
    let (v4, v6) = (Family::IPV4_UNICAST, Family::IPV6_UNICAST);
    let ours = |receive, send| AddPath { receive, send };
    let two = SendPaths::Most(NonZeroU16::new(2).unwrap());
    // Ours; what our OPEN says; theirs for each family; families in which they send identifiers, in which we do.
    type Row<'a> = (AddPath, Option<AddPathMode>, &'a [(Family, AddPathMode)], &'a [Family], &'a [Family]);
    let rows: [Row<'_>; 7] = [
        (ours(false, SendPaths::Best), None, &[(v4, Both)], &[], &[]),
        (ours(true, SendPaths::Best), Some(Receive), &[(v4, Send), (v6, Receive)], &[v4], &[]),
        (ours(true, SendPaths::Best), Some(Receive), &[(v6, Both)], &[v6], &[]),
        (ours(false, SendPaths::All), Some(Send), &[(v4, Both), (v6, Send)], &[], &[v4]),
        (ours(true, two), Some(Both), &[(v4, Receive), (v6, Send)], &[v6], &[v4]),
        (ours(true, two), Some(Both), &[], &[], &[]),
        (ours(true, SendPaths::All), Some(Both), &[(v4, Both), (v6, Both)], &[v4, v6], &[v4, v6]),
    ];
    for (add_path, mode, theirs, receive, send) in rows {
        let mut solo = Solo::new(NeighborConfig { add_path, ..neighbor(64501, Relation::Transit) });
        let conn = solo.start();
        let mut capabilities = families();
        if !theirs.is_empty() {
            capabilities.push(Capability::AddPath(theirs.to_vec()));
        }
        let session = solo.establish(conn, &open_of(64501, "192.0.2.2", capabilities));
        let stated: Vec<_> = session.our_open.capabilities.iter().filter(|c| c.code() == 69).collect();
        let wanted = mode.map(|m| Capability::AddPath(vec![(v4, m), (v6, m)]));
        assert_eq!(stated, wanted.iter().collect::<Vec<_>>());
        assert_eq!(session.context.add_path_receive, receive, "{theirs:?}");
        assert_eq!(session.context.add_path_send, send, "{theirs:?}");
    }
}

#[test]
fn rfc7911_4_a_value_that_means_nothing_makes_the_capability_as_good_as_none() {
    let config = NeighborConfig {
        add_path: AddPath { receive: true, send: SendPaths::All },
        ..neighbor(64501, Relation::Transit)
    };
    let mut solo = Solo::new(config);
    let conn = solo.start();
    let mut capabilities = families();
    capabilities.push(Capability::Unknown { code: 69, value: vec![0, 1, 1, 3, 0, 2, 1, 4].into() });
    let session = solo.establish(conn, &open_of(64501, "192.0.2.2", capabilities));
    assert_eq!((session.context.add_path_receive, session.context.add_path_send), (vec![], vec![]));
}

#[test]
fn rfc9234_4_2_strict_mode_wants_a_role_and_two_different_roles_are_none() {
    let mut config = neighbor(64501, Relation::Transit);
    config.role_strict = true;
    let mut solo = Solo::new(config.clone());
    assert_eq!(codes(&refused(&mut solo, &open_of(64501, "192.0.2.2", families()))), (2, 11));

    let roles = |a, b| {
        let mut capabilities = families();
        capabilities.extend([Capability::Role(a), Capability::Role(b)]);
        open_of(64501, "192.0.2.2", capabilities)
    };
    let mut solo = Solo::transit();
    assert_eq!(codes(&refused(&mut solo, &roles(Role::Provider, Role::Customer))), (2, 11));
    let mut solo = Solo::new(config);
    let conn = solo.start();
    solo.establish(conn, &roles(Role::Provider, Role::Provider));
}

#[test]
fn rfc9234_4_2_an_unassigned_role_corresponds_to_nothing() {
    let odd = Capability::Unknown { code: 9, value: vec![9].into() };
    for relation in [Relation::Transit, Relation::Peer, Relation::RouteServer, Relation::Customer] {
        let mut solo = Solo::new(neighbor(64501, relation));
        let mut capabilities = families();
        capabilities.push(odd.clone());
        assert_eq!(codes(&refused(&mut solo, &open_of(64501, "192.0.2.2", capabilities))), (2, 11), "{relation}");
    }
    // Beside an assigned one it makes two different roles.
    let mut capabilities = families();
    capabilities.extend([Capability::Role(Role::Provider), odd]);
    assert_eq!(codes(&refused(&mut Solo::transit(), &open_of(64501, "192.0.2.2", capabilities))), (2, 11));
}

#[test]
fn rfc9234_4_1_accept_all_states_only_a_role_that_is_written_down() {
    for (role, stated) in [(None, None), (Some(Role::Customer), Some(Role::Customer))] {
        let mut config = neighbor(64501, Relation::Transit);
        (config.policy, config.role) = (PolicyMode::AcceptAll, role);
        let open = our_open(&mut Solo::new(config));
        let got = open.capabilities.iter().find_map(|c| match c {
            Capability::Role(role) => Some(*role),
            _ => None,
        });
        assert_eq!(got, stated);
    }
}

#[test]
fn rfc9234_4_2_roles_are_not_for_internal_sessions() {
    let mut solo = Solo::new(neighbor(64500, Relation::Internal));
    let conn = solo.start();
    let mut capabilities = families();
    capabilities.push(Capability::Role(Role::Peer));
    let session = solo.establish(conn, &open_of(64500, "192.0.2.2", capabilities));
    assert!(!session.context.ebgp);
    assert!(!session.our_open.capabilities.iter().any(|c| matches!(c, Capability::Role(_))));
}

#[test]
fn rfc4760_8_families_are_the_intersection_and_none_means_ipv4_unicast() {
    let v6 = Capability::Multiprotocol(Family::IPV6_UNICAST);
    for (theirs, agreed) in [
        (vec![], vec![Family::IPV4_UNICAST]),
        (vec![v6.clone()], vec![Family::IPV6_UNICAST]),
        (families(), Family::SUPPORTED.to_vec()),
    ] {
        let mut solo = Solo::transit();
        let conn = solo.start();
        let session = solo.establish(conn, &open_of(64501, "192.0.2.2", theirs));
        assert_eq!(session.context.families, agreed);
    }
    let mut config = neighbor(64501, Relation::Transit);
    config.families = vec![Family::IPV4_UNICAST];
    let sent = refused(&mut Solo::new(config), &open_of(64501, "192.0.2.2", vec![v6]));
    // RFC 5492 §5: the data is the capability we miss.
    assert_eq!((codes(&sent), sent.data.as_ref()), ((2, 7), &[1, 4, 0, 1, 0, 1][..]));
}

#[test]
fn what_only_one_side_offers_is_not_in_force() {
    let mut solo = Solo::transit();
    let conn = solo.start();
    let session = solo.establish(conn, &open_of(64501, "192.0.2.2", vec![]));
    let context = session.context;
    assert!(!context.four_octet_as && !context.extended_message && context.extended_next_hop.is_empty());
    assert_eq!(session.graceful_restart, None);

    let mut solo = Solo::transit();
    let conn = solo.start();
    let mut capabilities = families();
    capabilities.extend([
        Capability::FourOctetAsn(Asn(64501)),
        Capability::ExtendedMessage,
        Capability::ExtendedNextHop(vec![(Family::IPV4_UNICAST, Afi::IPV6)]),
    ]);
    let context = solo.establish(conn, &open_of(64501, "192.0.2.2", capabilities)).context;
    assert!(context.four_octet_as && context.extended_message);
    assert_eq!(context.extended_next_hop, [Family::IPV4_UNICAST]);
}

#[test]
fn rfc8654_4_a_longer_message_is_taken_only_where_agreed() {
    // An UPDATE of 5000 octets: nothing but withdrawn IPv4 /8 prefixes, two octets each.
    let withdrawn: Vec<u8> = (0..2488).flat_map(|_| [8, 10]).collect();
    let mut body = u16::try_from(withdrawn.len()).unwrap().to_be_bytes().to_vec();
    body.extend_from_slice(&withdrawn);
    body.extend_from_slice(&[0, 0]);
    let update = raw(2, &body);
    assert!(update.len() > 4096);
    for extended in [true, false] {
        let mut solo = Solo::transit();
        let conn = solo.start();
        let mut capabilities = families();
        capabilities.extend(extended.then_some(Capability::ExtendedMessage));
        solo.establish(conn, &open_of(64501, "192.0.2.2", capabilities));
        solo.sent(conn);
        let outputs = solo.receive(conn, &update);
        if extended {
            assert!(matches!(outputs[..], [bgp_core::peer::Output::Updates(ref u)] if u.len() == 1), "{outputs:?}");
        } else {
            assert_eq!(codes(&solo.sent_notification(conn)), (1, 2));
        }
    }
}

#[test]
fn rfc5492_3_a_neighbour_without_optional_parameters_is_asked_once_without() {
    let mut solo = Solo::transit();
    let conn = solo.start();
    let refuse = encode(&Message::Notification(Notification::new(2, 4)));
    solo.receive(conn, &refuse);
    let outputs = solo.next_timer();
    let conn = solo.connect(&outputs);
    let sent = solo.sent(conn);
    assert!(matches!(&sent[..], [Message::Open(open)] if open.capabilities.is_empty()), "{sent:?}");
    let session = solo.establish(conn, &open_of(64501, "192.0.2.2", vec![]));
    assert_eq!(session.context.families, [Family::IPV4_UNICAST]);

    // The next time the whole offer stands again.
    solo.input(Input::ConnectionFailed { conn });
    let outputs = solo.next_timer();
    let conn = solo.connect(&outputs);
    let sent = solo.sent(conn);
    assert!(matches!(&sent[..], [Message::Open(open)] if !open.capabilities.is_empty()), "{sent:?}");
}

#[test]
fn rfc4271_4_2_the_smaller_hold_time_counts() {
    let mut solo = Solo::transit();
    let conn = solo.start();
    let mut open = open_of(64501, "192.0.2.2", families());
    open.hold_time = 9;
    assert_eq!(solo.establish(conn, &open).hold_time, 9);
    solo.receive(conn, &keepalive());
    assert_eq!(solo.peer.status().hold_time, Some(9));
}
