//! Every event of RFC 4271 §8.1 that a neighbour, the operator or a timer can bring, in every state of §8.2.2: the state
//! that follows, and what is sent.
//!
//! Where the RFC says Idle after a failure the row says Active: AutomaticStart leads out again at once (`peer/ending.rs`).
//! Which test has the rest of an event:
//!
//! | event | test |
//! |---|---|
//! | 1 to 3 | here; `session::..event_1..`, `session::..event_2..`; AutomaticStart is what event 13 does |
//! | 4, 5, 7 | `session::..event_4..`, `rfc4271_8_1_1_events_5_and_7_..` here |
//! | 6, 13 | `rfc4271_8_1_1_events_6_and_13_..` here, `session::..held_off_longer_and_longer` |
//! | 8 | here; `session::teardown_tells_why_..` |
//! | 9 to 11 | here; `session::..event_9..`, `timers` |
//! | 12, 20 | here; `delay_open` |
//! | 14, 15 | TrackTcpState: the daemon asks [`Peer::accepts`](bgp_core::peer::Peer::accepts) and looks at address, TTL and key first |
//! | 16 to 19, 21, 22, 24 to 28 | here; `session`, `open` |
//! | 23 | `collision` |
//! | 29 (RFC 9687) | `timers` |

use std::time::Duration;

use bgp_core::config::Relation;
use bgp_core::peer::{ConnId, Input, State};
use bgp_wire::{Message, Notification, Open};

use crate::solo::{Solo, codes, connect_of, encode, end_of_rib, ends, families, keepalive, neighbor, open_of, raw};

/// The columns: states, and Connect and Active with a connection whose DelayOpenTimer runs.
const STATES: [&str; 8] =
    ["Idle", "Connect", "Active", "Connect, delayed", "Active, delayed", "OpenSent", "OpenConfirm", "Established"];

fn provider() -> Open {
    open_of(64501, "192.0.2.2", families())
}

/// A neighbour in that state, and its connection; nothing is left to be sent.
fn neighbor_in(state: &str) -> (Solo, Option<ConnId>) {
    let mut config = neighbor(64501, Relation::Transit);
    if state.ends_with("delayed") {
        config.delay_open = Duration::from_secs(5);
    }
    // A connect that failed before would count as the first of two failures.
    config.passive = state == "Active, delayed";
    let mut solo = Solo::new(config);
    if state == "Idle" {
        return (solo, None);
    }
    let outputs = solo.input(Input::ManualStart);
    let conn = match state {
        "Connect" => None,
        "Active" => {
            let conn = connect_of(&outputs).unwrap();
            solo.input(Input::ConnectionFailed { conn });
            None
        }
        "Active, delayed" => Some(solo.accept().0),
        _ => Some(solo.connect(&outputs)),
    };
    if let Some(conn) = conn {
        if matches!(state, "OpenConfirm" | "Established") {
            solo.receive_open(conn, &provider());
        }
        if state == "Established" {
            solo.receive(conn, &keepalive());
        }
        solo.sent(conn);
    }
    assert_eq!(solo.peer.state().as_str(), state.split(',').next().unwrap());
    (solo, conn)
}

/// Brings the event; the connection whose sent messages count. `None`: it cannot come in this state.
type Event = fn(&mut Solo, Option<ConnId>) -> Option<ConnId>;

fn receive(solo: &mut Solo, conn: Option<ConnId>, bytes: &[u8]) -> Option<ConnId> {
    solo.receive(conn?, bytes);
    conn
}

fn bad_marker() -> Vec<u8> {
    let mut bytes = keepalive();
    bytes[3] = 0;
    bytes
}

const NOBODY: ConnId = ConnId(99);

/// Event, how it comes, and a cell a state: the next state and what is sent; `-`: cannot be.
#[rustfmt::skip]
const ROWS: &[(&str, Event, [&str; 8])] = &[
    ("1 ManualStart", |solo, conn| { solo.input(Input::ManualStart); Some(conn.unwrap_or(NOBODY)) },
        ["Connect", "Connect", "Active", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"]),
    ("2 ManualStop", |solo, conn| {
        solo.input(Input::ManualStop { subcode: 2, message: String::new() });
        Some(conn.unwrap_or(NOBODY))
    }, ["Idle", "Idle", "Idle", "Idle 6/2", "Idle 6/2", "Idle 6/2", "Idle 6/2", "Idle 6/2"]),
    ("8 AutomaticStop", |solo, conn| {
        solo.input(Input::Teardown { notification: Notification::new(6, 1), idle_hold: None });
        Some(conn.unwrap_or(NOBODY))
    }, ["Idle", "Idle", "Idle", "Idle 6/1", "Idle 6/1", "Idle 6/1", "Idle 6/1", "Idle 6/1"]),
    ("the timer that is due first: 9 ConnectRetry, 12 DelayOpen, 10 Hold, 11 Keepalive", |solo, conn| {
        solo.peer.poll_timeout()?;
        solo.next_timer();
        Some(conn.unwrap_or(NOBODY))
    }, ["-", "Connect", "Connect", "OpenSent OPEN", "OpenSent OPEN", "Active 4/0", "OpenConfirm KEEPALIVE", "Established KEEPALIVE"]),
    ("16 Tcp_CR_Acked", |solo, conn| {
        (solo.peer.state() == State::Connect && conn.is_none()).then_some(())?;
        let (local, remote) = ends();
        solo.input(Input::ConnectionEstablished { conn: ConnId(1), remote, local });
        Some(ConnId(1))
    }, ["-", "OpenSent OPEN", "-", "-", "-", "-", "-", "-"]),
    ("17 TcpConnectionConfirmed", |solo, _| Some(solo.accept().0),
        ["Idle 6/5", "OpenSent OPEN", "OpenSent OPEN", "Connect", "Active", "OpenSent OPEN", "OpenConfirm OPEN", "Established OPEN"]),
    ("18 TcpConnectionFails", |solo, conn| {
        let of = conn.unwrap_or(ConnId(1));
        solo.input(Input::ConnectionFailed { conn: of });
        Some(of)
    }, ["Idle", "Active", "Active", "Active", "Active", "Active", "Active", "Active"]),
    ("19, 20 BGPOpen", |solo, conn| receive(solo, conn, &encode(&Message::Open(provider()))),
        ["-", "-", "-", "OpenConfirm OPEN KEEPALIVE", "OpenConfirm OPEN KEEPALIVE", "OpenConfirm KEEPALIVE", "Active 5/2", "Active 5/3"]),
    ("21 BGPHeaderErr", |solo, conn| receive(solo, conn, &bad_marker()),
        ["-", "-", "-", "Active 1/1", "Active 1/1", "Active 1/1", "Active 1/1", "Active 1/1"]),
    ("22 BGPOpenMsgErr, of form", |solo, conn| receive(solo, conn, &raw(1, &[3, 0xfb, 0xf5, 0, 90, 192, 0, 2, 2, 0])),
        ["-", "-", "-", "Active 2/1", "Active 2/1", "Active 2/1", "Active 2/1", "Active 5/3"]),
    ("22 BGPOpenMsgErr, another AS", |solo, conn| {
        receive(solo, conn, &encode(&Message::Open(open_of(64502, "192.0.2.2", families()))))
    }, ["-", "-", "-", "Active 2/2", "Active 2/2", "Active 2/2", "Active 5/2", "Active 5/3"]),
    ("24 NotifMsgVerErr", |solo, conn| receive(solo, conn, &raw(3, &[2, 1, 0, 3])),
        ["-", "-", "-", "Active", "Active", "Active", "Active", "Active"]),
    ("25 NotifMsg", |solo, conn| receive(solo, conn, &raw(3, &[6, 4])),
        ["-", "-", "-", "Active", "Active", "Active", "Active", "Active"]),
    ("26 KeepAliveMsg", |solo, conn| receive(solo, conn, &keepalive()),
        ["-", "-", "-", "Active 5/0", "Active 5/0", "Active 5/1", "Established", "Established"]),
    ("27 UpdateMsg", |solo, conn| receive(solo, conn, &end_of_rib()),
        ["-", "-", "-", "Active 5/0", "Active 5/0", "Active 5/1", "Active 5/2", "Established"]),
    ("28 UpdateMsgErr", |solo, conn| receive(solo, conn, &raw(2, &[0xff, 0xff, 0, 0])),
        ["-", "-", "-", "Active 5/0", "Active 5/0", "Active 5/1", "Active 5/2", "Active 3/1"]),
    ("ROUTE-REFRESH, RFC 2918", |solo, conn| receive(solo, conn, &raw(5, &[0, 1, 0, 1])),
        ["-", "-", "-", "Active 5/0", "Active 5/0", "Active 5/1", "Active 5/2", "Established"]),
];

#[test]
fn rfc4271_8_2_2_every_event_in_every_state() {
    for (event, bring, cells) in ROWS {
        for (state, expected) in STATES.iter().zip(cells) {
            let (mut solo, conn) = neighbor_in(state);
            let found = match bring(&mut solo, conn) {
                None => "-".to_owned(),
                Some(conn) => {
                    let mut found = solo.peer.state().to_string();
                    for message in solo.sent(conn) {
                        found += &match message {
                            Message::Notification(n) => format!(" {}/{}", codes(&n).0, codes(&n).1),
                            other => format!(" {}", format!("{:?}", other.kind()).to_uppercase()),
                        };
                    }
                    found
                }
            };
            assert_eq!(found, *expected, "event {event} in {state}");
        }
    }
}

#[test]
fn rfc4271_8_1_1_events_6_and_13_the_idle_hold_timer_starts_again_by_itself() {
    let mut solo = Solo::transit();
    solo.input(Input::ManualStart);
    solo.input(Input::Teardown { notification: Notification::new(6, 1), idle_hold: Some(Duration::from_secs(60)) });
    assert_eq!(solo.peer.state(), State::Idle);
    let outputs = solo.next_timer();
    assert!(connect_of(&outputs).is_some());
    assert_eq!(solo.peer.state(), State::Connect);
}

#[test]
fn rfc4271_8_1_1_events_5_and_7_a_passive_neighbour_starts_again_into_active() {
    let mut config = neighbor(64501, Relation::Customer);
    config.passive = true;
    let mut solo = Solo::new(config);
    solo.input(Input::ManualStart);
    solo.input(Input::Teardown { notification: Notification::new(6, 1), idle_hold: Some(Duration::from_secs(60)) });
    assert!(!solo.peer.accepts());
    let outputs = solo.next_timer();
    assert_eq!((connect_of(&outputs), solo.peer.state(), solo.peer.accepts()), (None, State::Active, true));
}
