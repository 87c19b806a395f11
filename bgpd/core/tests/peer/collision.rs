//! RFC 4271 §6.8 with both connections in the machine.

use std::time::Duration;

use bgp_core::config::Relation;
use bgp_core::peer::{Input, Output, State};
use bgp_wire::Open;

use crate::pair::Pair;
use crate::solo::{Solo, closes, codes, connect_of, ends, families, keepalive, neighbor, open_of, speaker};

const V4: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
const V6: [&str; 2] = ["2001:db8::1", "2001:db8::2"];

fn pair(identifiers: [&str; 2], asns: [u32; 2], addresses: [&str; 2]) -> Pair {
    let relation = |other| match other {
        0 if asns[0] != asns[1] => Relation::Transit,
        1 if asns[0] != asns[1] => Relation::Customer,
        _ => Relation::Internal,
    };
    let side = |me: usize| (speaker(asns[me], identifiers[me]), neighbor(asns[1 - me], relation(me)));
    Pair::new([side(0), side(1)], addresses)
}

/// Both connect at once; exactly one connection is left, opened by `winner`.
fn collide(mut pair: Pair, winner: usize) {
    pair.start();
    pair.until_established(Duration::from_secs(3));
    pair.run_for(Duration::from_secs(300));
    assert!(pair.both_established());
    assert_eq!(pair.opener(), winner);
    assert_eq!((pair.downs(0), pair.downs(1)), (0, 0), "the collision cost no session");
}

#[test]
fn rfc4271_6_8_simultaneous_connects_leave_the_one_of_the_higher_identifier() {
    for addresses in [V4, V6] {
        for asns in [[64500, 64501], [64500, 64500]] {
            collide(pair(["192.0.2.1", "192.0.2.2"], asns, addresses), 1);
            collide(pair(["192.0.2.2", "192.0.2.1"], asns, addresses), 0);
        }
    }
}

#[test]
fn rfc6286_2_3_equal_identifiers_are_decided_by_the_as_number() {
    for addresses in [V4, V6] {
        collide(pair(["192.0.2.9"; 2], [64500, 65536], addresses), 1);
        collide(pair(["192.0.2.9"; 2], [65536, 64500], addresses), 0);
    }
}

#[test]
fn rfc4271_6_8_every_stagger_of_the_two_connects_ends_in_one_session() {
    for identifiers in [["192.0.2.1", "192.0.2.2"], ["192.0.2.2", "192.0.2.1"]] {
        for late in 0..2 {
            for stagger in 0..60 {
                let mut pair = pair(identifiers, [64500, 64501], V4);
                pair.latency = Duration::from_millis(5);
                // The late one is passive-ready: it listens from the start, but its own connect comes later.
                pair.input(1 - late, Input::ManualStart);
                pair.run_for(Duration::from_millis(stagger));
                pair.input(late, Input::ManualStart);
                pair.until_established(Duration::from_secs(5));
                pair.run_for(Duration::from_secs(60));
                assert!(pair.both_established());
                assert_eq!(pair.live_links(), 1);
                assert_eq!((pair.downs(0), pair.downs(1)), (0, 0), "late {late} by {stagger} ms");
            }
        }
    }
}

fn higher() -> Open {
    open_of(64501, "198.51.100.1", families())
}

fn lower() -> Open {
    open_of(64501, "10.0.0.1", families())
}

/// Ours in OpenSent, theirs in OpenSent; the OPEN comes on one or the other.
fn both_open(open: &Open, first_on_incoming: bool, incoming_stays: bool) {
    let mut solo = Solo::transit();
    let outgoing = connect_of(&solo.input(Input::ManualStart)).unwrap();
    let (incoming, _) = solo.accept();
    let (local, remote) = ends();
    solo.input(Input::ConnectionEstablished { conn: outgoing, remote, local });
    let (first, second) = if first_on_incoming { (incoming, outgoing) } else { (outgoing, incoming) };
    let (stays, goes) = if incoming_stays { (incoming, outgoing) } else { (outgoing, incoming) };
    let mut outputs = solo.receive_open(first, open);
    outputs.extend(solo.receive_open(second, open));
    assert!(closes(&outputs, goes) && !closes(&outputs, stays), "{outputs:?}");
    assert_eq!(codes(&solo.sent_notification(goes)), (6, 7));
    solo.receive(stays, &keepalive());
    assert_eq!(solo.peer.state(), State::Established);
    assert_eq!(solo.peer.status().last_error, "", "a collision is no failure");
}

#[test]
fn rfc4271_6_8_the_decision_is_the_same_whichever_open_comes_first() {
    for first_on_incoming in [true, false] {
        both_open(&higher(), first_on_incoming, true);
        both_open(&lower(), first_on_incoming, false);
    }
}

#[test]
fn rfc4271_6_8_an_established_session_stays_and_the_new_one_gets_cease() {
    let mut solo = Solo::transit();
    let old = solo.start();
    solo.establish(old, &higher());
    let (new, outputs) = solo.accept();
    assert_eq!(outputs, [], "first its OPEN is waited for");
    let outputs = solo.receive_open(new, &higher());
    assert_eq!(outputs, [Output::Close { conn: new }]);
    assert_eq!(codes(&solo.sent_notification(new)), (6, 7));
    assert_eq!(solo.peer.state(), State::Established);
    solo.receive(old, &keepalive());
    assert_eq!(solo.peer.state(), State::Established);
}

#[test]
fn a_second_connection_of_the_neighbour_replaces_its_unfinished_first() {
    let mut solo = Solo::transit();
    let connect = connect_of(&solo.input(Input::ManualStart)).unwrap();
    solo.input(Input::ConnectionFailed { conn: connect });
    let (first, _) = solo.accept();
    let (second, outputs) = solo.accept();
    assert!(closes(&outputs, first));
    let session = solo.establish(second, &higher());
    assert_eq!(session.conn, second);
}

#[test]
fn rfc4271_8_2_1_2_a_pending_connect_is_given_up_once_the_neighbours_session_is_up() {
    let mut solo = Solo::transit();
    let outgoing = connect_of(&solo.input(Input::ManualStart)).unwrap();
    let (incoming, _) = solo.accept();
    solo.receive_open(incoming, &lower());
    let outputs = solo.receive(incoming, &keepalive());
    assert!(closes(&outputs, outgoing));
    let (local, remote) = ends();
    let late = solo.input(Input::ConnectionEstablished { conn: outgoing, remote, local });
    assert_eq!(late, [Output::Close { conn: outgoing }]);
    assert_eq!(solo.peer.state(), State::Established);
}

#[test]
fn the_loser_ending_first_does_not_disturb_the_winner() {
    let mut solo = Solo::transit();
    let outgoing = connect_of(&solo.input(Input::ManualStart)).unwrap();
    let (incoming, _) = solo.accept();
    let (local, remote) = ends();
    solo.input(Input::ConnectionEstablished { conn: outgoing, remote, local });
    assert_eq!(solo.input(Input::ConnectionFailed { conn: outgoing }), [Output::Close { conn: outgoing }]);
    solo.establish(incoming, &higher());
    assert_eq!(connect_of(&solo.wait(Duration::from_secs(80))), None);
}
