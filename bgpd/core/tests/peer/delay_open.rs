//! DelayOpen (RFC 4271 §8.1.1, §8.2.2): the neighbour may speak first. `events` has each event while the timer runs.

use std::sync::Arc;
use std::time::Duration;

use bgp_core::config::{NeighborConfig, Relation, RemoteAddress};
use bgp_core::peer::{Input, Output, Reconfigured, State};
use bgp_wire::{Capability, Message, Open};

use crate::pair::Pair;
use crate::solo::{Solo, closes, codes, connect_of, ends, families, keepalive, neighbor, open_of, speaker};

const DELAY: Duration = Duration::from_secs(5);

fn delayed(relation: Relation) -> NeighborConfig {
    NeighborConfig { delay_open: DELAY, ..neighbor(64501, relation) }
}

fn transit() -> Solo {
    Solo::new(delayed(Relation::Transit))
}

fn provider() -> Open {
    open_of(64501, "192.0.2.2", families())
}

/// Started, and the connect failed: Active.
fn active() -> Solo {
    let mut solo = transit();
    let conn = connect_of(&solo.input(Input::ManualStart)).unwrap();
    solo.input(Input::ConnectionFailed { conn });
    solo
}

#[test]
fn rfc4271_8_2_2_events_16_and_12_our_own_connection_stays_in_connect_until_the_timer() {
    let mut solo = transit();
    let outputs = solo.input(Input::ManualStart);
    let up = solo.now;
    let conn = solo.connect(&outputs);
    assert_eq!((solo.peer.state(), solo.sent(conn)), (State::Connect, vec![]));
    assert_eq!(solo.peer.poll_timeout(), Some(up + DELAY), "DelayOpenTimer, and no ConnectRetryTimer before it");
    assert_eq!(solo.peer.status().capabilities_sent, [], "none is sent yet");
    let outputs = solo.next_timer();
    assert_eq!(outputs, [Output::StateChanged { from: State::Connect, to: State::OpenSent }]);
    assert!(matches!(solo.sent(conn)[..], [Message::Open(_)]));
    assert_eq!(solo.peer.poll_timeout(), Some(up + DELAY + Duration::from_secs(240)), "the large HoldTimer");
    // From here on it is an ordinary session.
    solo.establish(conn, &provider());
}

#[test]
fn rfc4271_8_2_2_events_17_and_12_a_neighbours_connection_stays_in_active_until_the_timer() {
    let ranged = || NeighborConfig {
        remote: RemoteAddress::Range("192.0.2.0/24".parse().unwrap()),
        ..delayed(Relation::Customer)
    };
    for config in
        [delayed(Relation::Transit), NeighborConfig { passive: true, ..delayed(Relation::Customer) }, ranged()]
    {
        let mut solo = Solo::new(config);
        if let Some(conn) = connect_of(&solo.input(Input::ManualStart)) {
            solo.input(Input::ConnectionFailed { conn });
        }
        let up = solo.now;
        let (conn, outputs) = solo.accept();
        assert_eq!((outputs, solo.peer.state(), solo.sent(conn)), (vec![], State::Active, vec![]));
        assert_eq!(solo.peer.poll_timeout(), Some(up + DELAY), "ConnectRetryTimer is stopped");
        solo.next_timer();
        assert_eq!(solo.peer.state(), State::OpenSent);
        assert!(matches!(solo.sent(conn)[..], [Message::Open(_)]));
        solo.establish(conn, &provider());
    }
}

#[test]
fn rfc4271_8_2_2_event_17_in_connect_stays_there_and_our_own_connect_goes_on() {
    let mut solo = transit();
    let outgoing = connect_of(&solo.input(Input::ManualStart)).unwrap();
    let (incoming, outputs) = solo.accept();
    assert_eq!((outputs, solo.peer.state()), (vec![], State::Connect));
    let (local, remote) = ends();
    assert_eq!(solo.input(Input::ConnectionEstablished { conn: outgoing, remote, local }), []);
    assert_eq!(solo.peer.state(), State::Connect);
    // Both have their own timer; the neighbour's OPEN decides between them.
    let outputs = solo.receive_open(incoming, &provider());
    assert!(closes(&outputs, outgoing) && !closes(&outputs, incoming), "the higher identifier opened it: {outputs:?}");
    solo.receive(incoming, &keepalive());
    assert_eq!(solo.peer.state(), State::Established);
}

#[test]
fn rfc4271_8_2_2_event_20_the_neighbours_open_is_answered_at_once_and_the_timer_is_cleared() {
    for incoming in [false, true] {
        let mut solo = if incoming { active() } else { transit() };
        let conn = if incoming { solo.accept().0 } else { solo.start() };
        solo.wait(Duration::from_secs(1));
        solo.receive_open(conn, &provider());
        assert_eq!(solo.peer.state(), State::OpenConfirm);
        assert!(matches!(solo.sent(conn)[..], [Message::Open(_), Message::Keepalive]));
        let keepalive_due = solo.peer.poll_timeout().unwrap().since(solo.now).as_millis();
        assert!((22_500..=30_000).contains(&keepalive_due), "KeepaliveTimer, not DelayOpenTimer: {keepalive_due}");
        let outputs = solo.receive(conn, &keepalive());
        let Some(Output::Established(session)) = outputs.first() else { panic!("{outputs:?}") };
        assert_eq!((session.hold_time, session.our_open.capabilities.is_empty()), (90, false));
        solo.wait(Duration::from_secs(80));
        assert!(!solo.sent(conn).iter().any(|m| matches!(m, Message::Open(_))), "one OPEN a connection");
    }
}

#[test]
fn rfc4271_8_2_2_event_20_with_hold_time_zero_starts_no_timer() {
    let mut solo = transit();
    let conn = solo.start();
    solo.receive_open(conn, &Open { hold_time: 0, ..provider() });
    solo.receive(conn, &keepalive());
    solo.sent(conn);
    solo.input(Input::SendProgress { conn, unsent: 0 });
    assert_eq!((solo.peer.state(), solo.peer.poll_timeout()), (State::Established, None));
}

#[test]
fn rfc4271_8_2_2_event_18_while_delayed_goes_to_active_and_listens_on() {
    let mut solo = transit();
    let conn = solo.start();
    let outputs = solo.input(Input::ConnectionFailed { conn });
    assert!(outputs.contains(&Output::StateChanged { from: State::Connect, to: State::Active }));
    assert!(solo.peer.accepts());
    assert_ne!(solo.peer.poll_timeout(), Some(solo.now + DELAY), "DelayOpenTimer is stopped");
    assert!(connect_of(&solo.next_timer()).is_some(), "ConnectRetryTimer runs");
}

#[test]
fn rfc4271_8_2_2_event_9_with_a_delayed_connection_of_the_neighbours_only_gives_up_our_own() {
    let config = NeighborConfig { delay_open: Duration::from_secs(60), ..neighbor(64501, Relation::Transit) };
    let mut solo = Solo::new(config);
    let outgoing = connect_of(&solo.input(Input::ManualStart)).unwrap();
    let (incoming, _) = solo.accept();
    let outputs = solo.next_timer();
    assert!(closes(&outputs, outgoing) && connect_of(&outputs).is_none(), "{outputs:?}");
    assert_eq!(solo.peer.state(), State::Active);
    solo.next_timer();
    assert_eq!(solo.peer.state(), State::OpenSent);
    solo.establish(incoming, &provider());
}

#[test]
fn rfc4271_8_2_2_event_24_while_delayed_is_no_oscillation_and_others_are() {
    let say = |solo: &mut Solo, bytes: &[u8]| {
        let outputs = solo.input(Input::ManualStart);
        let mut conn = solo.connect(&outputs);
        for _ in 0..3 {
            solo.receive(conn, bytes);
            if solo.peer.state() == State::Idle {
                return;
            }
            let outputs = solo.next_timer();
            conn = solo.connect(&outputs);
        }
    };
    let mut solo = transit();
    say(&mut solo, &crate::solo::raw(3, &[2, 1, 0, 3]));
    assert_eq!(solo.peer.state(), State::Connect, "back every time");
    let mut solo = transit();
    say(&mut solo, &keepalive());
    assert_eq!(solo.peer.state(), State::Idle, "IdleHoldTimer");
}

#[test]
fn rfc4724_4_1_a_delayed_open_says_what_is_true_when_it_goes_out() {
    let restarting = |solo: &mut Solo, conn| match &solo.sent(conn)[..] {
        [Message::Open(open), ..] => {
            open.capabilities.iter().any(|c| matches!(c, Capability::GracefulRestart(restart) if restart.restarting))
        }
        other => panic!("{other:?}"),
    };
    let mut solo = transit();
    solo.peer.set_restarting(true);
    let conn = solo.start();
    solo.peer.set_restarting(false);
    solo.next_timer();
    assert!(!restarting(&mut solo, conn));
}

#[test]
fn rfc4271_6_8_an_open_on_a_delayed_connection_leaves_an_established_session_alone() {
    let mut solo = transit();
    let old = solo.start();
    solo.establish(old, &provider());
    let (new, outputs) = solo.accept();
    assert_eq!((outputs, solo.sent(new)), (vec![], vec![]));
    assert_eq!(solo.receive_open(new, &provider()), [Output::Close { conn: new }]);
    assert_eq!(solo.sent(new).len(), 1, "a NOTIFICATION and no OPEN before it (SendNOTIFICATIONwithoutOPEN)");
    assert_eq!(solo.peer.state(), State::Established);
}

/// Both connections are up and neither has sent an OPEN; the neighbour's comes on one.
#[test]
fn rfc4271_6_8_between_two_delayed_connections_the_first_open_decides() {
    for (identifier, incoming_stays) in [("198.51.100.1", true), ("10.0.0.1", false)] {
        for first_on_incoming in [true, false] {
            let mut solo = transit();
            let outgoing = connect_of(&solo.input(Input::ManualStart)).unwrap();
            let (incoming, _) = solo.accept();
            let (local, remote) = ends();
            solo.input(Input::ConnectionEstablished { conn: outgoing, remote, local });
            let (first, second) = if first_on_incoming { (incoming, outgoing) } else { (outgoing, incoming) };
            let (stays, goes) = if incoming_stays { (incoming, outgoing) } else { (outgoing, incoming) };
            let open = open_of(64501, identifier, families());
            let mut outputs = solo.receive_open(first, &open);
            outputs.extend(solo.receive_open(second, &open));
            assert!(closes(&outputs, goes) && !closes(&outputs, stays), "{outputs:?}");
            let sent = solo.sent(goes);
            assert!(matches!(&sent[..], [Message::Notification(n)] if codes(n) == (6, 7)), "{sent:?}");
            solo.receive(stays, &keepalive());
            assert_eq!(solo.peer.state(), State::Established);
            assert_eq!(solo.peer.status().last_error, "", "a collision is no failure");
        }
    }
}

#[test]
fn rfc4271_6_8_every_stagger_with_delays_on_one_or_both_ends_in_one_session() {
    let seconds = Duration::from_secs;
    for identifiers in [["192.0.2.1", "192.0.2.2"], ["192.0.2.2", "192.0.2.1"]] {
        for delays in
            [[seconds(1), Duration::ZERO], [seconds(1), seconds(1)], [seconds(1), Duration::from_millis(1003)]]
        {
            for (late, stagger) in (0..2).flat_map(|late| (0..30).map(move |ms| (late, ms))) {
                let side = |me: usize| {
                    let (asn, relation) = [(64501, Relation::Transit), (64500, Relation::Customer)][me];
                    let config = NeighborConfig { delay_open: delays[me], ..neighbor(asn, relation) };
                    (speaker([64500, 64501][me], identifiers[me]), config)
                };
                let mut pair = Pair::new([side(0), side(1)], ["192.0.2.1", "192.0.2.2"]);
                pair.input(1 - late, Input::ManualStart);
                pair.run_for(Duration::from_millis(stagger));
                pair.input(late, Input::ManualStart);
                pair.until_established(seconds(8));
                pair.run_for(seconds(60));
                assert!(pair.both_established());
                assert_eq!(pair.live_links(), 1);
                assert_eq!((pair.downs(0), pair.downs(1)), (0, 0), "{delays:?}, late {late} by {stagger} ms");
            }
        }
    }
}

#[test]
fn a_neighbour_that_speaks_first_costs_no_delay() {
    let sides = [
        (speaker(64500, "192.0.2.1"), NeighborConfig { passive: true, ..delayed(Relation::Transit) }),
        (speaker(64501, "192.0.2.2"), neighbor(64500, Relation::Customer)),
    ];
    let mut pair = Pair::new(sides, ["192.0.2.1", "192.0.2.2"]);
    pair.start();
    let took = pair.until_established(Duration::from_secs(1));
    assert!(took < Duration::from_millis(100), "{took:?}");
}

#[test]
fn a_changed_delay_is_for_the_next_connection() {
    let mut solo = transit();
    let conn = solo.start();
    let config = NeighborConfig { delay_open: Duration::ZERO, ..neighbor(64501, Relation::Transit) };
    let answer = solo.peer.reconfigure(solo.now, &speaker(64500, "192.0.2.1"), Arc::new(config));
    assert_eq!((answer, solo.outputs(), solo.sent(conn)), (Reconfigured::Live, vec![], vec![]));
    solo.input(Input::ConnectionFailed { conn });
    let outputs = solo.next_timer();
    let conn = solo.connect(&outputs);
    assert!(matches!(solo.sent(conn)[..], [Message::Open(_)]));
}
