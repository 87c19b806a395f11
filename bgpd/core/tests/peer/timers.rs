//! HoldTimer, KeepaliveTimer, SendHoldTimer.

use std::time::Duration;

use bgp_core::config::Relation;
use bgp_core::peer::{Input, State};
use bgp_wire::{Message, Open};
use bytes::Bytes;
use net_types::Monotime;

use crate::pair::Pair;
use crate::solo::{Solo, codes, down_of, end_of_rib, families, keepalive, neighbor, open_of, speaker};

fn provider(hold_time: u16) -> Open {
    Open { hold_time, ..open_of(64501, "192.0.2.2", families()) }
}

/// What a shell that writes everything at once does.
fn flush(solo: &mut Solo, conn: bgp_core::peer::ConnId) -> Vec<Message> {
    let sent = solo.sent(conn);
    solo.input(Input::SendProgress { conn, unsent: 0 });
    sent
}

#[test]
fn rfc4271_8_2_2_silence_in_open_sent_lasts_four_minutes() {
    let mut solo = Solo::transit();
    let conn = solo.start();
    assert_eq!(solo.peer.poll_timeout(), Some(solo.now + Duration::from_secs(240)));
    solo.next_timer();
    assert_eq!(codes(&solo.sent_notification(conn)), (4, 0));
    assert_eq!(solo.peer.state(), State::Active);
}

#[test]
fn rfc4271_8_2_2_event_10_hold_expiry_in_open_confirm_and_established() {
    for established in [false, true] {
        let mut solo = Solo::transit();
        let conn = solo.start();
        solo.receive_open(conn, &provider(9));
        if established {
            solo.receive(conn, &keepalive());
        }
        let start = solo.now;
        solo.wait(Duration::from_millis(8999));
        assert!(solo.peer.state() >= State::OpenConfirm);
        let outputs = solo.wait(Duration::from_millis(1));
        assert_eq!(down_of(&outputs).is_some(), established);
        assert_eq!(codes(&solo.sent_notification(conn)), (4, 0));
        assert_eq!(solo.now.since(start), Duration::from_secs(9));
    }
}

#[test]
fn rfc4271_4_4_updates_and_keepalives_restart_the_hold_timer_and_refreshes_do_not() {
    let mut solo = Solo::transit();
    let conn = solo.start();
    solo.establish(conn, &provider(9));
    for bytes in [keepalive(), end_of_rib(), keepalive()] {
        solo.wait(Duration::from_secs(8));
        solo.receive(conn, &bytes);
    }
    assert_eq!(solo.peer.state(), State::Established);
    solo.wait(Duration::from_secs(8));
    solo.receive(conn, &crate::solo::raw(5, &[0, 1, 0, 1]));
    solo.wait(Duration::from_secs(1));
    assert!(solo.peer.state() < State::Established);
}

/// Runs every timer of the next `seconds` as a shell does whose socket holds octets that it must not read.
fn wait_unread(solo: &mut Solo, conn: bgp_core::peer::ConnId, seconds: u64) {
    let end = solo.now + Duration::from_secs(seconds);
    while let Some(at) = solo.peer.poll_timeout().filter(|t| *t <= end) {
        assert!(at > solo.now, "no timer stands still");
        solo.now = at;
        solo.input(Input::Unread { conn });
        solo.peer.handle_timeout(at);
        flush(solo, conn);
    }
    solo.now = end;
}

#[test]
fn rfc4271_6_5_what_waits_unread_is_no_silence() {
    let mut solo = Solo::transit();
    let conn = solo.start();
    solo.establish(conn, &provider(9));
    wait_unread(&mut solo, conn, 300);
    assert_eq!(solo.peer.state(), State::Established);
    // Read at last, it holds a message: the HoldTimer starts anew, in full.
    solo.receive(conn, &keepalive());
    solo.wait(Duration::from_millis(8999));
    assert_eq!(solo.peer.state(), State::Established);
    flush(&mut solo, conn);
    let outputs = solo.wait(Duration::from_millis(1));
    assert!(down_of(&outputs).is_some());
    assert_eq!(codes(&solo.sent_notification(conn)), (4, 0));
}

#[test]
fn rfc4271_6_5_unread_octets_without_a_message_put_the_hold_timer_off_and_no_more() {
    let mut solo = Solo::transit();
    let conn = solo.start();
    solo.establish(conn, &provider(9));
    solo.wait(Duration::from_secs(1));
    // Long before its time it is not touched.
    solo.input(Input::Unread { conn });
    wait_unread(&mut solo, conn, 30);
    solo.receive(conn, &keepalive()[..18]);
    let outputs = solo.wait(Duration::from_secs(1));
    assert!(down_of(&outputs).is_some(), "half a message is none");

    let mut solo = Solo::transit();
    let conn = solo.start();
    solo.establish(conn, &provider(9));
    solo.input(Input::Unread { conn });
    solo.wait(Duration::from_millis(8999));
    assert_eq!(solo.peer.state(), State::Established, "put off, never brought forward");
    let outputs = solo.wait(Duration::from_millis(1));
    assert!(down_of(&outputs).is_some(), "a neighbour that fell silent is noticed in its time");
}

#[test]
fn rfc4271_10_keepalives_go_out_each_jittered_third_of_the_hold_time() {
    let mut solo = Solo::transit();
    let conn = solo.start();
    solo.establish(conn, &provider(90));
    flush(&mut solo, conn);
    let mut last = solo.now;
    let mut gaps = Vec::new();
    while gaps.len() < 200 {
        solo.receive(conn, &keepalive());
        solo.next_timer();
        if let [Message::Keepalive] = flush(&mut solo, conn)[..] {
            gaps.push(solo.now.since(last).as_millis());
            last = solo.now;
        }
    }
    assert!(gaps.iter().all(|gap| (22_500..=30_000).contains(gap)), "{gaps:?}");
    assert!(gaps.iter().max().unwrap() - gaps.iter().min().unwrap() > 5_000, "no jitter in {gaps:?}");
}

#[test]
fn rfc4271_8_2_2_an_update_sent_restarts_the_keepalive_timer() {
    let mut solo = Solo::transit();
    let conn = solo.start();
    solo.establish(conn, &provider(90));
    flush(&mut solo, conn);
    for _ in 0..20 {
        solo.wait(Duration::from_secs(20));
        solo.receive(conn, &keepalive());
        solo.peer.send_updates(solo.now, Bytes::from(end_of_rib()));
        assert!(matches!(flush(&mut solo, conn)[..], [Message::Update(_)]));
    }
}

#[test]
fn rfc4271_4_4_hold_time_zero_means_neither_timer() {
    let mut solo = Solo::transit();
    let conn = solo.start();
    let session = solo.establish(conn, &provider(0));
    assert_eq!(session.hold_time, 0);
    flush(&mut solo, conn);
    assert_eq!(solo.peer.poll_timeout(), None);
    solo.wait(Duration::from_secs(86_400));
    assert_eq!(solo.peer.state(), State::Established);
    assert_eq!(solo.sent(conn), []);
}

#[test]
fn rfc9687_a_blocked_pipe_ends_the_session_after_the_send_hold_time() {
    let mut sides = [
        (speaker(64500, "192.0.2.1"), neighbor(64501, Relation::Transit)),
        (speaker(64501, "192.0.2.2"), neighbor(64500, Relation::Customer)),
    ];
    for (_, config) in &mut sides {
        config.families = vec![net_types::Family::IPV4_UNICAST];
        // The other side must not tire first.
        config.hold_time = 0;
        config.send_hold_time = Duration::from_secs(480);
    }
    sides[1].1.role = None;
    let mut pair = Pair::new(sides, ["192.0.2.1", "192.0.2.2"]);
    pair.start();
    pair.until_established(Duration::from_secs(10));
    // A pipe that only crawls keeps the session.
    pair.blocked[0] = true;
    let update = Bytes::from(end_of_rib());
    for _ in 0..5 {
        pair.peers[0].send_updates(pair.now, update.clone());
        pair.drain(0);
        pair.run_for(Duration::from_secs(400));
        assert!(pair.both_established());
        pair.unblock(0);
        pair.blocked[0] = true;
    }
    // One that stands still does not.
    let start = pair.now;
    pair.peers[0].send_updates(pair.now, update);
    pair.drain(0);
    pair.run_for(Duration::from_millis(479_900));
    assert_eq!(pair.downs(0), 0);
    pair.run_for(Duration::from_millis(200));
    assert_eq!(pair.downs(0), 1, "{:?}", pair.now.since(start));
    let (_, down) = pair.log[0].iter().find(|(_, o)| matches!(o, bgp_core::peer::Output::Down(_))).unwrap();
    let bgp_core::peer::Output::Down(down) = down else { unreachable!() };
    assert_eq!(codes(down.sent.as_ref().unwrap()), (8, 0));
}

#[test]
fn rfc9687_zero_turns_the_send_hold_timer_off() {
    let mut config = neighbor(64501, Relation::Transit);
    config.send_hold_time = Duration::ZERO;
    let mut solo = Solo::new(config);
    let conn = solo.start();
    solo.establish(conn, &provider(0));
    solo.peer.send_updates(solo.now, Bytes::from(end_of_rib()));
    solo.input(Input::SendProgress { conn, unsent: 23 });
    assert_eq!(solo.peer.poll_timeout(), None);
}

#[test]
fn a_neighbour_that_reads_nothing_costs_one_keepalive() {
    let mut config = neighbor(64501, Relation::Transit);
    config.send_hold_time = Duration::ZERO;
    let mut solo = Solo::new(config);
    let conn = solo.start();
    solo.establish(conn, &provider(90));
    solo.sent(conn);
    for _ in 0..1000 {
        solo.receive(conn, &keepalive());
        solo.wait(Duration::from_secs(30));
    }
    assert_eq!(solo.sent(conn), [Message::Keepalive]);
}

#[test]
fn two_peers_keep_a_session_for_a_day() {
    let sides = [
        (speaker(64500, "192.0.2.1"), neighbor(64501, Relation::Transit)),
        (speaker(64501, "192.0.2.2"), neighbor(64500, Relation::Customer)),
    ];
    let mut pair = Pair::new(sides, ["192.0.2.1", "192.0.2.2"]);
    pair.start();
    pair.until_established(Duration::from_secs(10));
    pair.run_for(Duration::from_secs(86_400));
    assert!(pair.both_established());
    assert_eq!((pair.downs(0), pair.downs(1)), (0, 0));
    assert!(pair.now > Monotime::from_secs(86_400));
}
