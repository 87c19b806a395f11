//! Whatever happens in whatever order: no panic, never two sessions, and how a stream is cut does not matter.

use std::time::Duration;

use bgp_core::config::Relation;
use bgp_core::peer::{ConnId, Input, Output, State};
use bgp_wire::{Message, Notification};
use bytes::Bytes;
use net_types::Family;
use proptest::prelude::*;

use crate::pair::Pair;
use crate::solo::{Solo, encode, end_of_rib, ends, families, keepalive, neighbor, open_of, raw, speaker};

/// Messages a stream may hold, good and bad.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => Just(encode(&Message::Open(open_of(64501, "192.0.2.2", families())))),
        1 => Just(encode(&Message::Open(open_of(64502, "192.0.2.2", families())))),
        6 => Just(keepalive()),
        4 => Just(end_of_rib()),
        1 => Just(encode(&Message::Notification(Notification::new(6, 4)))),
        1 => (0u8..8, proptest::collection::vec(any::<u8>(), 0..60)).prop_map(|(kind, body)| raw(kind, &body)),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

#[derive(Clone, Debug)]
enum Act {
    Start,
    Stop,
    Accept,
    /// The connect under way comes up.
    Connected,
    Fail(usize),
    Receive(usize, Vec<u8>),
    Progress(usize, usize),
    Unread(usize),
    Timer,
    Wait(u32),
    Teardown(Option<u32>),
    Updates,
    Refresh,
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => Just(Act::Start),
        1 => Just(Act::Stop),
        4 => Just(Act::Accept),
        6 => Just(Act::Connected),
        2 => any::<usize>().prop_map(Act::Fail),
        20 => (any::<usize>(), pieces()).prop_map(|(c, b)| Act::Receive(c, b)),
        2 => (any::<usize>(), 0usize..200).prop_map(|(c, n)| Act::Progress(c, n)),
        2 => any::<usize>().prop_map(Act::Unread),
        4 => Just(Act::Timer),
        2 => (0u32..100_000).prop_map(Act::Wait),
        1 => proptest::option::of(0u32..100).prop_map(Act::Teardown),
        2 => Just(Act::Updates),
        1 => Just(Act::Refresh),
    ]
}

/// Follows the outputs and holds them to the contract.
#[derive(Default)]
struct Watch {
    live: Vec<ConnId>,
    connecting: Option<ConnId>,
    session: Option<ConnId>,
    state: Option<State>,
}

impl Watch {
    fn outputs(&mut self, outputs: &[Output]) {
        for output in outputs {
            match output {
                Output::Connect { conn } => {
                    assert_eq!(self.connecting, None, "one connect at a time");
                    assert_eq!(conn.0 & ConnId::INCOMING, 0);
                    self.connecting = Some(*conn);
                }
                Output::Close { conn } => {
                    self.live.retain(|c| c != conn);
                    self.connecting = self.connecting.filter(|c| c != conn);
                    assert_ne!(self.session, Some(*conn), "Down comes before Close");
                }
                Output::StateChanged { from, to } => {
                    assert_eq!(*from, self.state.unwrap_or(State::Idle));
                    self.state = Some(*to);
                }
                Output::Established(session) => {
                    assert_eq!(self.session, None, "never two sessions");
                    assert!(self.live.contains(&session.conn));
                    self.session = Some(session.conn);
                }
                Output::Down(down) => assert_eq!(self.session.take(), Some(down.conn)),
                Output::OpenFailed(down) => assert_ne!(self.session, Some(down.conn)),
                Output::Updates(_) | Output::RouteRefresh(_) => assert!(self.session.is_some()),
            }
        }
        assert!(self.live.len() <= 2, "at most two connections: {:?}", self.live);
    }

    fn pick(&self, index: usize) -> ConnId {
        if self.live.is_empty() { ConnId(999) } else { self.live[index % self.live.len()] }
    }
}

fn play(solo: &mut Solo, watch: &mut Watch, act: Act) {
    let mut fresh = None;
    let outputs = match act {
        Act::Start => solo.input(Input::ManualStart),
        Act::Stop => solo.input(Input::ManualStop { subcode: 2, message: "é".repeat(300) }),
        Act::Accept => {
            let (conn, outputs) = solo.accept();
            fresh = Some(conn);
            outputs
        }
        Act::Connected => {
            let conn = watch.connecting.take().unwrap_or(ConnId(998));
            fresh = Some(conn);
            let (local, remote) = ends();
            solo.input(Input::ConnectionEstablished { conn, remote, local })
        }
        Act::Fail(index) => {
            let conn = watch.connecting.take().unwrap_or_else(|| watch.pick(index));
            solo.input(Input::ConnectionFailed { conn })
        }
        Act::Receive(index, bytes) => solo.receive(watch.pick(index), &bytes),
        Act::Progress(index, unsent) => solo.input(Input::SendProgress { conn: watch.pick(index), unsent }),
        Act::Unread(index) => solo.input(Input::Unread { conn: watch.pick(index) }),
        Act::Timer if solo.peer.poll_timeout().is_some() => solo.next_timer(),
        Act::Timer => Vec::new(),
        Act::Wait(milliseconds) => solo.wait(Duration::from_millis(milliseconds.into())),
        Act::Teardown(seconds) => {
            let idle_hold = seconds.map(|s| Duration::from_secs(s.into()));
            solo.input(Input::Teardown { notification: Notification::new(6, 1), idle_hold })
        }
        Act::Updates => {
            solo.peer.send_updates(solo.now, Bytes::from(end_of_rib()));
            solo.outputs()
        }
        Act::Refresh => {
            solo.peer.send_route_refresh(solo.now, Family::IPV4_UNICAST);
            solo.outputs()
        }
    };
    watch.live.extend(fresh);
    watch.outputs(&outputs);
    assert_eq!(solo.peer.state(), watch.state.unwrap_or(State::Idle), "the shell knows the state");
    assert_eq!(watch.session.is_some(), solo.peer.state() == State::Established);
}

/// UPDATEs that came together leave together; here only their order counts.
fn one_by_one(output: Output) -> Vec<Output> {
    match output {
        Output::Updates(updates) => updates.into_iter().map(|u| Output::Updates(vec![u])).collect(),
        output => vec![output],
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_events_keeps_the_invariants(acts in proptest::collection::vec(acts(), 1..120), kind in 0..4) {
        let mut config = neighbor(64501, Relation::Transit);
        match kind {
            0 => config.passive = true,
            1 => config.hold_time = 0,
            2 => config.delay_open = Duration::from_secs(5),
            _ => {}
        }
        let mut solo = Solo::new(config);
        let mut watch = Watch::default();
        play(&mut solo, &mut watch, Act::Start);
        for act in acts {
            play(&mut solo, &mut watch, act);
        }
        // Whatever it was, it can always be stopped, and started again.
        play(&mut solo, &mut watch, Act::Stop);
        prop_assert_eq!((solo.peer.state(), solo.peer.poll_timeout()), (State::Idle, None));
        prop_assert_eq!(watch.live.len(), 0);
        play(&mut solo, &mut watch, Act::Start);
        prop_assert!(solo.peer.accepts());
    }

    #[test]
    fn byte_by_byte_is_the_same_as_at_once(pieces in proptest::collection::vec(pieces(), 0..12), good in any::<bool>()) {
        let mut stream = Vec::new();
        if good {
            stream.extend(encode(&Message::Open(open_of(64501, "192.0.2.2", families()))));
            stream.extend(keepalive());
        }
        stream.extend(pieces.concat());
        let run = |step: usize| {
            let mut solo = Solo::transit();
            let conn = solo.start();
            let outputs = stream.chunks(step).flat_map(|bytes| solo.receive(conn, bytes));
            let outputs: Vec<_> = outputs.flat_map(one_by_one).collect();
            let sent = solo.sent(conn);
            (outputs, sent, solo.peer.status(), solo.peer.poll_timeout())
        };
        let whole = run(stream.len().max(1));
        prop_assert_eq!(&run(1), &whole);
        prop_assert_eq!(&run(7), &whole);
    }

    #[test]
    fn two_peers_heal_after_any_cuts(cuts in proptest::collection::vec((0u64..40_000, 1u64..200_000), 0..5), seed in any::<bool>(), chop in any::<bool>(), delays in [0u64..3, 0u64..3]) {
        let ids = if seed { ["192.0.2.1", "192.0.2.2"] } else { ["192.0.2.2", "192.0.2.1"] };
        let mut sides = [
            (speaker(64500, ids[0]), neighbor(64501, Relation::Transit)),
            (speaker(64501, ids[1]), neighbor(64500, Relation::Customer)),
        ];
        for (side, delay) in sides.iter_mut().zip(delays) {
            side.1.delay_open = Duration::from_secs(delay);
        }
        let mut pair = Pair::new(sides, ["192.0.2.1", "192.0.2.2"]);
        pair.chop = chop;
        pair.start();
        for (up, down) in cuts {
            pair.run_for(Duration::from_millis(up));
            pair.cut = true;
            pair.run_for(Duration::from_millis(down));
            pair.cut = false;
        }
        // The longest wait: an unanswered OPEN (240 s) and one connect-retry round.
        pair.run_for(Duration::from_secs(400));
        prop_assert!(pair.both_established(), "{:?}", pair.states());
        prop_assert_eq!(pair.live_links(), 1);
    }
}
