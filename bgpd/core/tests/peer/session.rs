//! RFC 4271 §8.2.2, state by state, and what ends a session.

use std::time::Duration;

use bgp_core::config::{Relation, RemoteAddress};
use bgp_core::peer::{ConnId, Input, Output, State};
use bgp_wire::{Capability, Message, Notification, RouteRefresh, RouteRefreshSubtype};
use bytes::Bytes;
use net_types::Family;

use crate::solo::{
    Solo, closes, codes, connect_of, down_of, encode, end_of_rib, families, keepalive, neighbor, open_of, raw,
};

fn provider() -> bgp_wire::Open {
    open_of(64501, "192.0.2.2", families())
}

fn changed(outputs: &[Output]) -> Vec<(State, State)> {
    outputs
        .iter()
        .filter_map(|o| match o {
            Output::StateChanged { from, to } => Some((*from, *to)),
            _ => None,
        })
        .collect()
}

#[test]
fn rfc4271_8_2_2_idle_refuses_connections_and_says_so() {
    let mut solo = Solo::transit();
    assert!(!solo.peer.accepts());
    let (conn, outputs) = solo.accept();
    assert_eq!(outputs, [Output::Close { conn }]);
    assert_eq!(codes(&solo.sent_notification(conn)), (6, 5));
    assert_eq!(solo.peer.state(), State::Idle);
}

#[test]
fn rfc4271_8_2_2_event_1_manual_start_goes_to_connect() {
    let mut solo = Solo::transit();
    let outputs = solo.input(Input::ManualStart);
    assert!(connect_of(&outputs).is_some());
    assert_eq!(changed(&outputs), [(State::Idle, State::Connect)]);
    assert_eq!(solo.input(Input::ManualStart), [], "ignored outside Idle");
}

#[test]
fn rfc4271_8_2_2_event_4_passive_start_goes_to_active_and_never_connects() {
    for remote in [None, Some(RemoteAddress::Range("192.0.2.0/24".parse().unwrap()))] {
        let mut config = neighbor(64501, Relation::Customer);
        config.passive = remote.is_none();
        config.remote = remote.unwrap_or(config.remote);
        let mut solo = Solo::new(config);
        assert_eq!(changed(&solo.input(Input::ManualStart)), [(State::Idle, State::Active)]);
        assert_eq!(solo.peer.poll_timeout(), None);
        assert!(solo.peer.accepts());
        let (conn, outputs) = solo.accept();
        assert_eq!(changed(&outputs), [(State::Active, State::OpenSent)]);
        assert!(matches!(solo.sent(conn)[..], [Message::Open(_)]));
        // After a loss it accepts again at once.
        solo.establish(conn, &provider());
        let outputs = solo.input(Input::ConnectionFailed { conn });
        assert_eq!(changed(&outputs), [(State::Established, State::Active)]);
        assert!(solo.peer.accepts());
        assert_eq!(solo.peer.poll_timeout(), None);
    }
}

#[test]
fn rfc4271_8_2_2_the_way_up_names_every_state() {
    let mut solo = Solo::transit();
    let conn = solo.start();
    assert_eq!(solo.peer.state(), State::OpenSent);
    let outputs = solo.receive_open(conn, &provider());
    assert_eq!(changed(&outputs), [(State::OpenSent, State::OpenConfirm)]);
    assert!(matches!(solo.sent(conn)[..], [Message::Open(_), Message::Keepalive]));
    let outputs = solo.receive(conn, &keepalive());
    assert_eq!(changed(&outputs), [(State::OpenConfirm, State::Established)]);
    assert!(matches!(outputs[0], Output::Established(_)));
    let status = solo.peer.status();
    assert_eq!((status.established_transitions, status.messages_received, status.messages_sent), (1, 2, 2));
    assert_eq!(status.hold_time, Some(90));
    assert_eq!(status.bgp_identifier.map(|i| i.to_string()).as_deref(), Some("192.0.2.2"));
}

#[test]
fn rfc4271_8_2_2_event_18_a_failed_connect_retries_after_about_a_second_then_two_then_four() {
    let mut solo = Solo::transit();
    let mut outputs = solo.input(Input::ManualStart);
    for seconds in [1, 2, 4, 8, 16, 30, 30] {
        let conn = connect_of(&outputs).unwrap();
        let failed = solo.input(Input::ConnectionFailed { conn });
        assert_eq!(changed(&failed), [(State::Connect, State::Active)]);
        let wait = solo.peer.poll_timeout().unwrap().since(solo.now);
        let whole = Duration::from_secs(seconds);
        assert!(wait <= whole && wait >= whole * 3 / 4, "{wait:?} for {whole:?}");
        outputs = solo.next_timer();
    }
}

#[test]
fn rfc4271_8_2_2_event_9_connect_retry_drops_the_connect_and_starts_another() {
    let mut solo = Solo::transit();
    let first = connect_of(&solo.input(Input::ManualStart)).unwrap();
    let wait = solo.peer.poll_timeout().unwrap().since(solo.now);
    assert!((22_500..=30_000).contains(&wait.as_millis()), "{wait:?}");
    let outputs = solo.next_timer();
    assert!(closes(&outputs, first));
    let second = connect_of(&outputs).unwrap();
    assert_ne!(first, second);
    assert_eq!(solo.peer.state(), State::Connect);
    // The first one coming up after all is closed again.
    let (local, remote) = crate::solo::ends();
    assert_eq!(
        solo.input(Input::ConnectionEstablished { conn: first, remote, local }),
        [Output::Close { conn: first }]
    );
}

#[test]
fn rfc4271_8_2_2_event_17_an_incoming_connection_is_taken_in_active() {
    let mut solo = Solo::transit();
    let conn = connect_of(&solo.input(Input::ManualStart)).unwrap();
    solo.input(Input::ConnectionFailed { conn });
    let (incoming, _) = solo.accept();
    let session = solo.establish(incoming, &provider());
    assert_eq!(session.conn, incoming);
    assert_eq!(connect_of(&solo.wait(Duration::from_secs(60))), None, "ConnectRetryTimer is stopped");
}

#[test]
fn rfc6608_4_an_unexpected_message_names_the_state_and_its_type() {
    let unexpected: [(&[u8], u8); 3] = [(&keepalive(), 4), (&end_of_rib(), 2), (&raw(5, &[0, 1, 0, 1]), 5)];
    for (bytes, kind) in unexpected {
        let mut solo = Solo::transit();
        let conn = solo.start();
        assert!(closes(&solo.receive(conn, bytes), conn));
        let sent = solo.sent_notification(conn);
        assert_eq!((codes(&sent), sent.data.as_ref()), ((5, 1), &[kind][..]));
    }
    for (bytes, kind) in [(end_of_rib(), 2), (encode(&Message::Open(provider())), 1)] {
        let mut solo = Solo::transit();
        let conn = solo.start();
        solo.receive_open(conn, &provider());
        solo.receive(conn, &bytes);
        let sent = solo.sent_notification(conn);
        assert_eq!((codes(&sent), sent.data.as_ref()), ((5, 2), &[kind][..]));
    }
    let mut solo = Solo::transit();
    let conn = solo.start();
    solo.establish(conn, &provider());
    let outputs = solo.receive_open(conn, &provider());
    assert_eq!(codes(down_of(&outputs).unwrap().sent.as_ref().unwrap()), (5, 3));
}

#[test]
fn rfc4271_6_1_header_errors_end_the_session_and_what_follows_is_dropped() {
    let mut marker = keepalive();
    marker[3] = 0;
    let mut short = keepalive();
    short[17] = 18;
    let mut long = end_of_rib();
    long[16..18].copy_from_slice(&4097u16.to_be_bytes());
    for (bytes, code) in
        [(marker, (1, 1)), (short, (1, 2)), (long, (1, 2)), (raw(6, &[]), (1, 3)), (raw(0, &[]), (1, 3))]
    {
        let mut solo = Solo::transit();
        let conn = solo.start();
        solo.establish(conn, &provider());
        let mut stream = bytes;
        stream.extend_from_slice(&end_of_rib());
        let outputs = solo.receive(conn, &stream);
        assert_eq!(codes(down_of(&outputs).unwrap().sent.as_ref().unwrap()), code);
        assert!(!outputs.iter().any(|o| matches!(o, Output::Updates(_))), "bytes after the error are dropped");
        assert_eq!(codes(&solo.sent_notification(conn)), code);
        assert_eq!(solo.receive(conn, &end_of_rib()), []);
    }
}

#[test]
fn rfc4271_8_2_2_event_28_an_update_error_is_notified() {
    let mut solo = Solo::transit();
    let conn = solo.start();
    solo.establish(conn, &provider());
    // Withdrawn Routes Length beyond the message.
    let outputs = solo.receive(conn, &raw(2, &[0xff, 0xff, 0, 0]));
    assert_eq!(codes(down_of(&outputs).unwrap().sent.as_ref().unwrap()), (3, 1));
}

#[test]
fn rfc4271_8_2_2_event_25_a_notification_is_never_answered() {
    for steps in 0..3 {
        let mut solo = Solo::transit();
        let conn = solo.start();
        if steps > 0 {
            solo.receive_open(conn, &provider());
        }
        if steps > 1 {
            solo.receive(conn, &keepalive());
        }
        solo.sent(conn);
        let outputs = solo.receive(conn, &encode(&Message::Notification(Notification::new(6, 4))));
        assert!(closes(&outputs, conn));
        assert_eq!(solo.sent(conn), []);
        assert!(solo.peer.status().last_error.contains("6/4 Cease / Administrative Reset"), "{:?}", solo.peer.status());
        assert!(solo.peer.accepts(), "a goodbye does not bar the way back");
    }
}

#[test]
fn rfc4271_8_2_2_event_2_manual_stop_says_cease_with_a_text() {
    let mut solo = Solo::transit();
    let conn = solo.start();
    solo.establish(conn, &provider());
    solo.sent(conn);
    let outputs = solo.input(Input::ManualStop { subcode: 2, message: "rack moves".to_owned() });
    assert_eq!(changed(&outputs), [(State::Established, State::Idle)]);
    let sent = solo.sent_notification(conn);
    assert_eq!(codes(&sent), (6, 2));
    assert_eq!(sent.shutdown_text().as_deref(), Some("rack moves"));
    assert_eq!(solo.peer.poll_timeout(), None, "nothing but ManualStart wakes it");
    assert!(!solo.peer.accepts());
    assert!(connect_of(&solo.input(Input::ManualStart)).is_some());
}

#[test]
fn rfc4271_8_2_2_manual_stop_in_connect_gives_up_the_connect() {
    let mut solo = Solo::transit();
    let conn = connect_of(&solo.input(Input::ManualStart)).unwrap();
    let outputs = solo.input(Input::ManualStop { subcode: 2, message: String::new() });
    assert!(closes(&outputs, conn));
    assert_eq!(solo.peer.state(), State::Idle);
}

#[test]
fn rfc9003_the_neighbours_text_reaches_the_operator() {
    let mut solo = Solo::transit();
    let conn = solo.start();
    solo.establish(conn, &provider());
    let bye = Notification { code: 6, subcode: 2, data: Bytes::from_static(b"\x0fback at 6, Jean") };
    let outputs = solo.receive(conn, &encode(&Message::Notification(bye.clone())));
    let down = down_of(&outputs).unwrap();
    assert_eq!(down.received.as_ref(), Some(&bye));
    assert!(down.reason.contains("back at 6, Jean"), "{}", down.reason);
}

#[test]
fn teardown_tells_why_and_stays_away_as_long_as_asked() {
    let mut solo = Solo::transit();
    let conn = solo.start();
    solo.establish(conn, &provider());
    let outputs = solo
        .input(Input::Teardown { notification: Notification::new(6, 1), idle_hold: Some(Duration::from_secs(300)) });
    assert_eq!(codes(down_of(&outputs).unwrap().sent.as_ref().unwrap()), (6, 1));
    assert!(!solo.peer.accepts());
    let (early, outputs) = solo.accept();
    assert_eq!((outputs, solo.sent(early)), (vec![Output::Close { conn: early }], vec![]), "held off without a word");
    assert_eq!(solo.peer.poll_timeout().unwrap().since(solo.now), Duration::from_secs(300));
    assert!(connect_of(&solo.next_timer()).is_some());

    let conn = connect_of(&solo.input(Input::Teardown { notification: Notification::new(6, 1), idle_hold: None }));
    assert_eq!(conn, None);
    assert_eq!((solo.peer.state(), solo.peer.poll_timeout()), (State::Idle, None));
}

#[test]
fn rfc4271_8_1_1_a_neighbour_that_breaks_the_protocol_again_is_held_off_longer_and_longer() {
    let mut solo = Solo::transit();
    let mut outputs = solo.input(Input::ManualStart);
    let mut waits = Vec::new();
    for _ in 0..9 {
        let conn = solo.connect(&outputs);
        solo.receive_open(conn, &open_of(64999, "192.0.2.2", families()));
        waits.push((solo.peer.state(), solo.peer.poll_timeout().unwrap().since(solo.now).as_millis()));
        outputs = solo.next_timer();
    }
    assert_eq!(waits[0].0, State::Active, "the first time it may come back at once");
    assert!(waits[1..].iter().all(|(state, _)| *state == State::Idle), "{waits:?}");
    assert!(waits.iter().zip([1, 2, 4, 8, 16, 30, 60, 60, 60]).all(|((_, ms), s)| *ms <= s * 1000), "{waits:?}");
    assert!(waits[8].1 >= 45_000, "{waits:?}");
}

#[test]
fn rfc4271_8_2_2_a_long_session_forgives_the_failures_before_it() {
    let mut solo = Solo::transit();
    let mut outputs = solo.input(Input::ManualStart);
    for _ in 0..5 {
        let conn = connect_of(&outputs).unwrap();
        solo.input(Input::ConnectionFailed { conn });
        outputs = solo.next_timer();
    }
    let conn = solo.connect(&outputs);
    solo.establish(conn, &provider());
    solo.now = solo.now + Duration::from_secs(31);
    solo.input(Input::ConnectionFailed { conn });
    assert!(solo.peer.poll_timeout().unwrap().since(solo.now) <= Duration::from_secs(1));
}

#[test]
fn rfc2918_rfc7313_refreshes_are_passed_on_as_agreed() {
    let refresh = |family, subtype| RouteRefresh { family, subtype };
    let wire = |r| encode(&Message::RouteRefresh(r));
    let begin = refresh(Family::IPV4_UNICAST, RouteRefreshSubtype::Begin);

    let mut solo = Solo::transit();
    let conn = solo.start();
    let mut capabilities = families();
    capabilities.extend([Capability::RouteRefresh, Capability::EnhancedRouteRefresh]);
    let session = solo.establish(conn, &open_of(64501, "192.0.2.2", capabilities));
    assert!(session.enhanced_refresh && session.route_refresh);
    assert_eq!(solo.receive(conn, &wire(begin)), [Output::RouteRefresh(begin)]);
    let unknown = refresh(Family::IPV4_UNICAST, RouteRefreshSubtype::Unknown(9));
    assert_eq!(solo.receive(conn, &wire(unknown)), [], "RFC 7313 §5");
    solo.sent(conn);
    solo.peer.send_route_refresh(solo.now, Family::IPV6_UNICAST);
    let asked = refresh(Family::IPV6_UNICAST, RouteRefreshSubtype::Request);
    assert_eq!(solo.sent(conn), [Message::RouteRefresh(asked)]);

    let mut solo = Solo::transit();
    let conn = solo.start();
    let session = solo.establish(conn, &open_of(64501, "192.0.2.2", vec![]));
    assert!(!session.enhanced_refresh && !session.route_refresh);
    let request = refresh(Family::IPV4_UNICAST, RouteRefreshSubtype::Request);
    assert_eq!(solo.receive(conn, &wire(begin)), [Output::RouteRefresh(request)], "the octet is reserved");
    assert_eq!(solo.receive(conn, &wire(asked)), [], "RFC 2918 §4: a family that is not in force");
    solo.sent(conn);
    solo.peer.send_route_refresh(solo.now, Family::IPV4_UNICAST);
    assert_eq!(solo.sent(conn), [], "it does not take them");
}

#[test]
fn updates_travel_both_ways_and_are_counted() {
    let mut solo = Solo::transit();
    let conn = solo.start();
    let three = [end_of_rib(), end_of_rib(), end_of_rib()].concat();
    solo.peer.send_updates(solo.now, Bytes::from(three.clone()));
    assert!(!solo.sent(conn).iter().any(|m| matches!(m, Message::Update(_))), "not before Established");
    solo.establish(conn, &provider());
    let before = solo.peer.status();
    let outputs = solo.receive(conn, &three);
    assert!(matches!(&outputs[..], [Output::Updates(updates)] if updates.len() == 3), "{outputs:?}");
    solo.peer.send_updates(solo.now, Bytes::from(three));
    let after = solo.peer.status();
    assert_eq!(after.updates_received - before.updates_received, 3);
    assert_eq!(after.updates_sent - before.updates_sent, 3);
    assert_eq!(after.messages_sent - before.messages_sent, 3);
}

#[test]
fn an_event_of_a_connection_that_is_gone_does_nothing() {
    let mut solo = Solo::transit();
    let conn = solo.start();
    solo.input(Input::ConnectionFailed { conn });
    for stranger in [conn, ConnId(77), ConnId(ConnId::INCOMING | 77)] {
        assert_eq!(solo.receive(stranger, &keepalive()), []);
        assert_eq!(solo.input(Input::ConnectionFailed { conn: stranger }), []);
        assert_eq!(solo.input(Input::SendProgress { conn: stranger, unsent: 5 }), []);
        assert_eq!(solo.peer.poll_transmit(stranger).filter(|_| stranger != conn), None);
    }
}
