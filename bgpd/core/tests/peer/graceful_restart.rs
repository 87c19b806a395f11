//! RFC 4724 and RFC 8538, as restarter and as helper.

use std::sync::Arc;
use std::time::Duration;

use bgp_core::config::Relation;
use bgp_core::peer::{Input, Output, Peer, Retain, State};
use bgp_wire::{Capability, GracefulRestart, Message, Notification, Open};
use net_types::Family;

use crate::pair::Pair;
use crate::solo::{Solo, closes, codes, down_of, encode, families, keepalive, neighbor, open_of, raw, speaker};

fn restarter(notification: bool, restart_time: u16) -> Open {
    let mut capabilities = families();
    capabilities.push(Capability::GracefulRestart(GracefulRestart {
        restarting: false,
        notification,
        restart_time,
        families: vec![(Family::IPV4_UNICAST, true)],
    }));
    open_of(64501, "192.0.2.2", capabilities)
}

fn up(open: &Open) -> (Solo, bgp_core::peer::ConnId) {
    let mut solo = Solo::transit();
    let conn = solo.start();
    solo.establish(conn, open);
    solo.sent(conn);
    (solo, conn)
}

fn ours(solo: &mut Solo) -> Option<GracefulRestart> {
    let conn = solo.start();
    offered(solo, conn)
}

/// The capability in the OPEN that waits to be sent.
fn offered(solo: &mut Solo, conn: bgp_core::peer::ConnId) -> Option<GracefulRestart> {
    match solo.sent(conn).remove(0) {
        Message::Open(open) => open.find(|c| match c {
            Capability::GracefulRestart(restart) => Some(restart.clone()),
            _ => None,
        }),
        other => panic!("{other:?}"),
    }
}

const KEPT: fn() -> Option<Retain> =
    || Some(Retain { families: vec![Family::IPV4_UNICAST], restart_time: Duration::from_secs(60) });

#[test]
fn rfc4724_3_our_capability_follows_the_configuration() {
    let restart = ours(&mut Solo::transit()).unwrap();
    assert_eq!((restart.restarting, restart.notification, restart.restart_time), (false, true, 120));
    assert_eq!(restart.families, [(Family::IPV4_UNICAST, true), (Family::IPV6_UNICAST, true)]);

    let mut solo = Solo::transit();
    solo.peer.set_restarting(true);
    assert!(ours(&mut solo).unwrap().restarting);

    let mut config = neighbor(64501, Relation::Transit);
    config.gr_restart_time = 0;
    let helper = ours(&mut Solo::new(config.clone())).unwrap();
    assert_eq!((helper.restart_time, helper.families.len()), (0, 0), "only helping");
    config.gr_helper = false;
    assert_eq!(ours(&mut Solo::new(config)), None);
}

#[test]
fn rfc4724_3_no_f_bit_after_a_start_that_preserved_nothing_until_a_session_is_up() {
    let flags = |restart: &GracefulRestart| restart.families.iter().map(|(_, kept)| *kept).collect::<Vec<_>>();
    for restarting in [false, true] {
        let mut solo = Solo::transit();
        solo.peer.set_restarting(restarting);
        solo.peer.forwarding_lost();
        let conn = solo.start();
        let first = offered(&mut solo, conn).unwrap();
        assert_eq!((first.restarting, first.restart_time, flags(&first)), (restarting, 120, vec![false, false]));
        // An attempt that fails changes nothing: the neighbour may still hold what was.
        solo.input(Input::ConnectionFailed { conn });
        let (conn, _) = solo.accept();
        assert_eq!(flags(&offered(&mut solo, conn).unwrap()), [false, false]);
        solo.establish(conn, &restarter(false, 60));
        // What it has now came from this run, and a lost connection leaves it in the kernel.
        solo.input(Input::ConnectionFailed { conn });
        let (conn, _) = solo.accept();
        assert_eq!(flags(&offered(&mut solo, conn).unwrap()), [true, true]);
    }
}

#[test]
fn rfc4724_4_2_a_lost_connection_lets_the_routes_stay() {
    let (mut solo, conn) = up(&restarter(false, 60));
    let outputs = solo.input(Input::ConnectionFailed { conn });
    assert_eq!(down_of(&outputs).unwrap().retain, KEPT());
}

#[test]
fn rfc4724_4_2_no_capability_or_no_wish_to_help_and_nothing_stays() {
    let (mut solo, conn) = up(&open_of(64501, "192.0.2.2", families()));
    assert_eq!(down_of(&solo.input(Input::ConnectionFailed { conn })).unwrap().retain, None);

    let mut config = neighbor(64501, Relation::Transit);
    config.gr_helper = false;
    let mut solo = Solo::new(config);
    let conn = solo.start();
    solo.establish(conn, &restarter(true, 60));
    assert_eq!(down_of(&solo.input(Input::ConnectionFailed { conn })).unwrap().retain, None);
}

#[test]
fn rfc8538_4_a_notification_keeps_routes_only_with_the_n_bit_and_never_as_hard_reset() {
    let shutdown = Notification::new(6, 4);
    for (n, received, kept) in [
        (false, shutdown.clone(), None),
        (true, shutdown.clone(), KEPT()),
        (true, shutdown.hard_reset(), None),
        (false, shutdown.hard_reset(), None),
    ] {
        let (mut solo, conn) = up(&restarter(n, 60));
        let outputs = solo.receive(conn, &encode(&Message::Notification(received.clone())));
        assert_eq!(down_of(&outputs).unwrap().retain, kept, "N {n}, {received}");
    }
}

#[test]
fn rfc8538_4_hold_expiry_keeps_routes_only_with_the_n_bit() {
    for (n, kept) in [(false, None), (true, KEPT())] {
        let (mut solo, conn) = up(&restarter(n, 60));
        let outputs = solo.wait(Duration::from_secs(90));
        assert_eq!(down_of(&outputs).unwrap().retain, kept, "N {n}");
        assert_eq!(codes(&solo.sent_notification(conn)), (4, 0));
    }
}

#[test]
fn rfc8538_4_our_own_error_report_keeps_routes_with_the_n_bit() {
    let (mut solo, conn) = up(&restarter(true, 60));
    let outputs = solo.receive(conn, &raw(9, &[]));
    assert_eq!(down_of(&outputs).unwrap().retain, KEPT());
}

#[test]
fn rfc8538_3_1_what_we_end_on_purpose_is_a_hard_reset_to_who_would_keep_our_routes() {
    for (n, code) in [(true, (6, 9)), (false, (6, 2))] {
        let (mut solo, conn) = up(&restarter(n, 60));
        let outputs = solo.input(Input::ManualStop { subcode: 2, message: "bye".to_owned() });
        assert_eq!(down_of(&outputs).unwrap().retain, None);
        let sent = solo.sent_notification(conn);
        assert_eq!(codes(&sent), code);
        let inner = sent.encapsulated().unwrap_or(sent);
        assert_eq!(inner.shutdown_text().as_deref(), Some("bye"));
    }
}

#[test]
fn rfc4724_4_2_an_open_on_a_new_connection_ends_the_old_session_and_keeps_its_routes() {
    let (mut solo, old) = up(&restarter(false, 60));
    let (new, outputs) = solo.accept();
    assert_eq!(outputs, [], "the TCP connection alone proves nothing");
    let outputs = solo.receive_open(new, &restarter(false, 60));
    let down = down_of(&outputs).unwrap();
    assert_eq!((down.conn, &down.retain), (old, &KEPT()));
    assert!(closes(&outputs, old));
    assert_eq!(solo.sent(old), [], "RFC 4724 §4.2: as if TCP had ended");
    assert_eq!(solo.peer.state(), State::OpenConfirm);
    let outputs = solo.receive(new, &keepalive());
    assert!(matches!(&outputs[0], Output::Established(session) if session.conn == new));
}

#[test]
fn rfc4724_4_2_a_new_connection_with_a_bad_open_does_not_touch_the_session() {
    let (mut solo, _) = up(&restarter(false, 60));
    let (new, _) = solo.accept();
    let outputs = solo.receive_open(new, &open_of(64999, "192.0.2.2", families()));
    assert!(closes(&outputs, new) && down_of(&outputs).is_none());
    assert_eq!(solo.peer.state(), State::Established);
}

#[test]
fn rfc4724_4_2_a_neighbour_back_from_a_power_cut_replaces_its_half_open_session() {
    let sides = || {
        [
            (speaker(64500, "192.0.2.1"), neighbor(64501, Relation::Transit)),
            (speaker(64501, "192.0.2.2"), neighbor(64500, Relation::Customer)),
        ]
    };
    let mut pair = Pair::new(sides(), ["192.0.2.1", "192.0.2.2"]);
    pair.start();
    pair.until_established(Duration::from_secs(5));
    pair.run_for(Duration::from_secs(35));
    let [_, (speaker, config)] = sides();
    let mut reborn = Peer::new(&speaker, Arc::new(config), 99);
    reborn.set_restarting(true);
    pair.forget(1, reborn);
    assert_eq!(pair.peers[0].state(), State::Established, "nobody told it");
    pair.input(1, Input::ManualStart);
    let took = pair.until_established(Duration::from_secs(5));
    assert!(took < Duration::from_secs(2), "{took:?}");
    let kept = pair.seen(0, |o| matches!(o, Output::Down(down) if down.retain.is_some()));
    assert_eq!(kept, 1);
    let restarting = |o: &Output| match o {
        Output::Established(session) => session.graceful_restart.as_ref().is_some_and(|g| g.restarting),
        _ => false,
    };
    assert_eq!(pair.seen(0, restarting), 1);
}
