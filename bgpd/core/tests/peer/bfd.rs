//! BFD's word in a session (RFC 5882 §4, RFC 9384).

use std::sync::Arc;
use std::time::Duration;

use bgp_core::config::{BfdConfig, NeighborConfig, Relation};
use bgp_core::peer::{Input, Output, State};
use bgp_wire::{Message, Notification};

use crate::solo::{Solo, families, keepalive, neighbor, open_of, speaker};

fn with_bfd(strict: bool) -> NeighborConfig {
    let interval = Duration::from_millis(50);
    let bfd = BfdConfig { interval, multiplier: 3, strict, passive: false, multihop: false, authentication: None };
    NeighborConfig { bfd: Some(bfd), ..neighbor(64501, Relation::Transit) }
}

#[test]
fn rfc9384_3_a_failure_ends_an_established_session_with_cease_10_and_nothing_is_kept() {
    let mut solo = Solo::new(with_bfd(false));
    let conn = solo.start();
    solo.establish(conn, &open_of(64501, "192.0.2.2", families()));
    assert!(solo.input(Input::Bfd { permits: true, failed: false }).is_empty());
    let outputs = solo.input(Input::Bfd { permits: false, failed: true });
    let down = outputs.iter().find_map(|o| match o {
        Output::Down(down) => Some(down.clone()),
        _ => None,
    });
    assert!(down.unwrap().retain.is_none());
    assert_eq!(solo.sent_notification(conn), Notification::cease(10));
    // It is sought again, soon but not at once.
    assert_eq!(solo.peer.state(), State::Idle);
    let outputs = solo.wait(Duration::from_secs(2));
    assert!(outputs.iter().any(|o| matches!(o, Output::Connect { .. })), "{outputs:?}");
}

#[test]
fn strict_keeps_the_keepalive_back_until_bfd_is_up() {
    let mut solo = Solo::new(with_bfd(true));
    let conn = solo.start();
    solo.sent(conn);
    solo.receive_open(conn, &open_of(64501, "192.0.2.2", families()));
    solo.receive(conn, &keepalive());
    assert_eq!(solo.peer.state(), State::OpenConfirm);
    assert!(solo.sent(conn).is_empty(), "the neighbour must not be Established either");
    let outputs = solo.input(Input::Bfd { permits: true, failed: false });
    assert!(outputs.iter().any(|o| matches!(o, Output::Established(_))), "{outputs:?}");
    assert_eq!(solo.sent(conn), [Message::Keepalive]);
}

#[test]
fn strict_no_longer_lets_a_waiting_session_go_on() {
    let mut solo = Solo::new(with_bfd(true));
    let conn = solo.start();
    solo.sent(conn);
    solo.receive_open(conn, &open_of(64501, "192.0.2.2", families()));
    solo.peer.reconfigure(solo.now, &speaker(64500, "192.0.2.1"), Arc::new(with_bfd(false)));
    assert_eq!(solo.sent(conn), [Message::Keepalive]);
    solo.receive(conn, &keepalive());
    assert_eq!(solo.peer.state(), State::Established);
}

#[test]
fn a_failure_that_meets_no_established_session_ends_nothing() {
    let mut solo = Solo::new(with_bfd(false));
    let conn = solo.start();
    assert!(solo.input(Input::Bfd { permits: false, failed: true }).is_empty());
    solo.establish(conn, &open_of(64501, "192.0.2.2", families()));
    assert_eq!(solo.peer.state(), State::Established);
}
