//! Two cores over a link that loses packets, in a time of its own; packets by their octets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::config::{BfdAuthentication, BfdAuthenticationKind, Secret};

fn config(interval: u64) -> BfdConfig {
    BfdConfig {
        interval: Duration::from_millis(interval),
        multiplier: 3,
        strict: false,
        passive: false,
        multihop: false,
        authentication: None,
    }
}

fn keyed(kind: BfdAuthenticationKind, key: &str) -> BfdConfig {
    let key = Secret(key.to_owned());
    BfdConfig { authentication: Some(BfdAuthentication { kind, key_id: 7, key }), ..config(50) }
}

fn address(end: usize) -> IpAddr {
    [IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])][end]
}

fn key(end: usize) -> SessionKey {
    SessionKey { peer: address(1 - end), local: None, interface: None, multihop: false }
}

/// Two ends, packets under way, and what both saw.
struct World {
    now: Monotime,
    ends: [Bfd; 2],
    ids: [Discriminator; 2],
    wire: Vec<(Monotime, usize, Vec<u8>)>,
    events: Vec<(Monotime, usize, State, State, Cause)>,
    sent: Vec<(Monotime, usize, Packet)>,
    /// Loses one of so many in each direction; 0: none, 1: all.
    loss: [u32; 2],
    count: u32,
}

impl World {
    fn new(a: BfdConfig, b: BfdConfig) -> World {
        let now = Monotime::from_secs(1);
        let mut ends = [Bfd::new(1), Bfd::new(2)];
        let ids = [ends[0].set(now, key(0), a), ends[1].set(now, key(1), b)];
        World { now, ends, ids, wire: vec![], events: vec![], sent: vec![], loss: [0, 0], count: 0 }
    }

    fn up(a: BfdConfig, b: BfdConfig) -> World {
        let mut w = World::new(a, b);
        w.run(10_000);
        assert_eq!(w.states(), [State::Up, State::Up]);
        w
    }

    fn states(&self) -> [State; 2] {
        [0, 1].map(|e| self.status(e).state)
    }

    fn status(&self, end: usize) -> SessionStatus {
        self.ends[end].status(self.ids[end]).unwrap()
    }

    fn run(&mut self, ms: u64) {
        let until = self.now + Duration::from_millis(ms);
        while self.now < until {
            let timers = self.ends.iter().filter_map(Bfd::poll_timeout);
            let next = timers.chain(self.wire.iter().map(|w| w.0)).min().unwrap_or(until);
            self.now = self.now.max(next.min(until));
            let now = self.now;
            let (due, later) = std::mem::take(&mut self.wire).into_iter().partition(|w| w.0 <= now);
            self.wire = later;
            for (_, to, octets) in due {
                let _ = self.ends[to].handle_packet(now, &octets, &info(1 - to, now));
            }
            for end in [0, 1] {
                self.ends[end].handle_timeout(now);
                while let Some(event) = self.ends[end].poll_event() {
                    if let Event::StateChanged { from, to, cause, .. } = event {
                        self.events.push((now, end, from, to, cause));
                    }
                }
                while let Some(transmit) = self.ends[end].poll_transmit() {
                    self.sent.push((now, end, packet::decode(&transmit.payload).unwrap().0));
                    self.count += 1;
                    if self.loss[end] == 0 || self.loss[end] > 1 && !self.count.is_multiple_of(self.loss[end]) {
                        self.wire.push((now + Duration::from_millis(1), 1 - end, transmit.payload));
                    }
                }
            }
        }
    }
}

fn info(from: usize, received: Monotime) -> PacketInfo {
    let (source, destination) = (address(from), Some(address(1 - from)));
    PacketInfo { source, destination, interface: 2, hop_limit: 255, multihop: false, received }
}

/// State Down, multiplier 3, My Discriminator 17, a second both ways.
fn down_packet() -> Vec<u8> {
    let mut octets = vec![0x20, 0x40, 3, 24, 0, 0, 0, 17, 0, 0, 0, 0];
    octets.extend([0, 0x0f, 0x42, 0x40, 0, 0x0f, 0x42, 0x40, 0, 0, 0, 0]);
    octets
}

#[test]
fn rfc5880_6_8_6_discards_in_the_order_of_the_clauses() {
    let cases: &[(usize, u8, Discard)] = &[
        (0, 0x00, Discard::Version),
        (3, 23, Discard::Length),
        (3, 25, Discard::Length),
        (2, 0, Discard::DetectMult),
        (1, 0x41, Discard::Multipoint),
        (7, 0, Discard::MyDiscriminator),
        (11, 9, Discard::NoSession),
        (1, 0xc0, Discard::NoSession),
        (1, 0x80, Discard::NoSession),
    ];
    let now = Monotime::from_secs(1);
    for (at, value, discard) in cases {
        let mut bfd = Bfd::new(1);
        bfd.set(now, key(0), config(50));
        let mut octets = down_packet();
        octets[*at] = *value;
        assert_eq!(bfd.handle_packet(now, &octets, &info(1, now)), Err(*discard), "octet {at} = {value:#x}");
        octets = down_packet();
        assert_eq!(bfd.handle_packet(now, &octets, &info(1, now)), Ok(()));
    }
    let mut bfd = Bfd::new(1);
    let id = bfd.set(now, key(0), config(50));
    // The A bit without authentication in use.
    let mut octets = down_packet();
    (octets[1], octets[3]) = (0x44, 28);
    octets.extend([1, 4, 0, 0]);
    assert_eq!(bfd.handle_packet(now, &octets, &info(1, now)), Err(Discard::AuthenticationBit));
    assert_eq!(bfd.status(id).unwrap().state, State::Down);
}

#[test]
fn rfc5881_5_a_packet_that_crossed_a_router_is_dropped_and_rfc5883_takes_it() {
    let now = Monotime::from_secs(1);
    let mut bfd = Bfd::new(1);
    bfd.set(now, key(0), config(50));
    bfd.set(now, SessionKey { multihop: true, ..key(0) }, config(50));
    let far = PacketInfo { hop_limit: 254, ..info(1, now) };
    assert_eq!(bfd.handle_packet(now, &down_packet(), &far), Err(Discard::HopLimit));
    assert_eq!(bfd.handle_packet(now, &down_packet(), &PacketInfo { multihop: true, ..far }), Ok(()));
}

#[test]
fn rfc5880_4_1_the_first_packet_by_its_octets() {
    let mut bfd = Bfd::new(1);
    let id = bfd.set(Monotime::ZERO, key(0), config(50));
    bfd.handle_timeout(Monotime::ZERO);
    let payload = bfd.poll_transmit().unwrap().payload;
    let mut expected = vec![0x20, 0x40, 3, 24];
    expected.extend(id.0.to_be_bytes());
    // Your Discriminator 0; §6.8.3: 1 s while not Up; 50 ms; no Echo.
    expected.extend([0, 0, 0, 0, 0, 0x0f, 0x42, 0x40, 0, 0, 0xc3, 0x50, 0, 0, 0, 0]);
    assert_eq!(payload, expected);
}

#[test]
fn rfc5880_6_8_6_two_ends_come_up_through_init_and_6_8_3_slowly() {
    let mut w = World::up(config(50), config(50));
    let steps: Vec<_> = w.events.iter().filter(|e| e.1 == 0).map(|e| (e.2, e.3)).collect();
    assert_eq!(steps, [(State::Down, State::Init), (State::Init, State::Up)]);
    assert!(w.sent.iter().filter(|s| s.2.state != State::Up).all(|s| s.2.desired_min_tx >= 1_000_000));
    // §6.8.3, §6.5: the fast interval was agreed by a Poll Sequence that has ended.
    assert!(w.sent.iter().any(|s| s.2.poll) && w.sent.iter().any(|s| s.2.r#final));
    assert!(w.sent.iter().all(|s| !(s.2.poll && s.2.r#final)));
    w.sent.clear();
    w.run(1_000);
    assert!(w.sent.iter().all(|s| !s.2.poll && !s.2.r#final));
    assert_eq!(w.status(0).detection_time, Duration::from_millis(150));
}

#[test]
fn rfc5880_6_1_the_passive_role_says_nothing_until_it_hears_the_other_end() {
    let passive = || BfdConfig { passive: true, ..config(50) };
    let mut both = World::new(passive(), passive());
    both.run(10_000);
    assert_eq!((both.sent.len(), both.states()), (0, [State::Down, State::Down]));
    let mut w = World::up(passive(), config(50));
    // The active end first.
    assert_eq!(w.sent[0].1, 1);
    // Cut: it falls, says so while it still knows whom to, and is silent again when that is forgotten.
    w.loss = [1, 1];
    w.run(5_000);
    assert_eq!(w.states(), [State::Down, State::Down]);
    let last = |w: &World| w.sent.iter().filter(|(_, end, _)| *end == 0).map(|(at, ..)| *at).max();
    let said = last(&w);
    w.run(10_000);
    assert_eq!(last(&w), said);
    w.loss = [0, 0];
    w.run(10_000);
    assert_eq!(w.states(), [State::Up, State::Up]);
    // Told to be active, it speaks first.
    let mut alone = World::new(passive(), passive());
    alone.run(1_000);
    let (now, key) = (alone.now, key(0));
    alone.ends[0].set(now, key, config(50));
    alone.run(10_000);
    assert_eq!(alone.states(), [State::Up, State::Up]);
}

#[test]
fn rfc5880_6_8_7_jitter_is_0_to_25_percent_and_10_to_25_with_a_multiplier_of_1() {
    for (multiplier, most) in [(3, 50_000), (1, 45_000)] {
        let with = BfdConfig { multiplier, ..config(50) };
        let mut w = World::up(with, config(50));
        w.sent.clear();
        w.run(5_000);
        let at: Vec<u64> = w.sent.iter().filter(|s| s.1 == 0).map(|s| s.0.0).collect();
        let gaps: Vec<u64> = at.windows(2).map(|p| p[1] - p[0]).collect();
        assert!(gaps.iter().all(|g| (37_500..=most).contains(g)), "{multiplier}: {gaps:?}");
        assert!(gaps.iter().max().unwrap() - gaps.iter().min().unwrap() > 4_000);
    }
}

#[test]
fn rfc5880_6_8_4_silence_is_detected_in_time_and_both_ends_know() {
    let mut w = World::up(config(50), config(50));
    w.events.clear();
    w.loss = [0, 1];
    let cut = w.now;
    w.run(400);
    let (at, _, from, to, cause) = *w.events.iter().find(|e| e.1 == 0).unwrap();
    assert_eq!((from, to, cause), (State::Up, State::Down, Cause::DetectionTimeExpired));
    assert!(at.since(cut) <= Duration::from_millis(151), "{:?}", at.since(cut));
    // §6.8.6: the other end is told, and says so (diagnostic 3).
    let other = *w.events.iter().find(|e| e.1 == 1).unwrap();
    assert_eq!((other.3, other.4), (State::Down, Cause::NeighborSignaledDown));
    assert_eq!(w.status(0).diagnostic, Diagnostic::DETECTION_TIME_EXPIRED);
    assert_eq!(w.status(1).diagnostic, Diagnostic::NEIGHBOR_SIGNALED_DOWN);
    assert_eq!((w.status(0).failures, w.status(1).failures), (1, 1));
    w.loss = [0, 0];
    w.run(10_000);
    assert_eq!(w.states(), [State::Up, State::Up]);
}

#[test]
fn a_link_that_loses_one_in_five_comes_up_and_a_late_shell_is_no_failure() {
    let mut w = World::new(config(50), config(50));
    w.loss = [5, 5];
    w.run(20_000);
    assert!(w.events.iter().any(|e| e.3 == State::Up));
    let mut w = World::up(config(50), config(50));
    // The shell of end 0 sleeps a second; what came meanwhile has its time stamps.
    let (id, theirs, start) = (w.ids[0], w.ids[1], w.now);
    let packet = Packet {
        diagnostic: Diagnostic::NONE,
        state: State::Up,
        poll: false,
        r#final: false,
        control_plane_independent: false,
        authentication: false,
        demand: false,
        detect_mult: 3,
        my_discriminator: theirs.0,
        your_discriminator: id.0,
        desired_min_tx: 50_000,
        required_min_rx: 50_000,
        required_min_echo_rx: 0,
    };
    let late = start + Duration::from_millis(1_000);
    for ms in (0..=1_000).step_by(45) {
        let octets = packet::encode(&packet, 24);
        w.ends[0].handle_packet(late, &octets, &info(1, start + Duration::from_millis(ms))).unwrap();
    }
    w.ends[0].handle_timeout(late);
    assert_eq!(w.status(0).state, State::Up);
    assert!(w.ends[0].poll_event().is_none());
}

#[test]
fn rfc5880_6_8_3_timers_change_live_and_a_slower_sender_waits_for_the_poll_to_end() {
    let mut w = World::up(config(50), config(50));
    w.events.clear();
    let id = w.ends[0].set(w.now, key(0), config(300));
    assert_eq!(id, w.ids[0]);
    // Increased Desired Min TX: the old one is in force until F.
    assert_eq!(w.status(0).transmit_interval, Some(Duration::from_millis(50)));
    w.run(1_000);
    assert_eq!(w.status(0).transmit_interval, Some(Duration::from_millis(300)));
    assert_eq!(w.status(1).detection_time, Duration::from_millis(900));
    // Back: a reduced Required Min RX, the old Detection Time until F.
    w.ends[0].set(w.now, key(0), config(50));
    assert_eq!(w.status(0).detection_time, Duration::from_millis(900));
    w.run(2_000);
    assert_eq!(w.status(0).detection_time, Duration::from_millis(150));
    assert!(w.events.is_empty(), "{:?}", w.events);
}

#[test]
fn rfc5880_6_8_16_admin_down_is_said_and_rfc5882_3_2_is_no_failure() {
    let mut w = World::up(config(50), config(50));
    w.events.clear();
    w.ends[1].remove(w.now, w.ids[1]);
    w.run(2_000);
    assert_eq!(w.events.first().map(|e| (e.1, e.3, e.4)), Some((0, State::Down, Cause::RemoteAdminDown)));
    assert_eq!((w.status(0).failures, w.status(0).remote_state), (0, State::AdminDown));
    w.run(5_000);
    assert!(w.ends[1].status(w.ids[1]).is_none(), "it is gone after a Detection Time");
    w.ids[1] = w.ends[1].set(w.now, key(1), config(50));
    w.run(5_000);
    assert_eq!(w.states(), [State::Up, State::Up]);
}

#[test]
fn rfc5880_6_6_the_other_end_s_demand_mode_is_obeyed_but_for_polls() {
    let mut w = World::up(config(50), config(50));
    let (ours, theirs, now) = (w.ids[0], w.ids[1], w.now);
    let mut octets = vec![0x20, 0xc2, 3, 24];
    octets.extend(theirs.0.to_be_bytes());
    octets.extend(ours.0.to_be_bytes());
    octets.extend([0, 0, 0xc3, 0x50, 0, 0, 0xc3, 0x50, 0, 0, 0, 0]);
    let end = &mut w.ends[0];
    end.handle_packet(now, &octets, &info(1, now)).unwrap();
    while end.poll_transmit().is_some() {}
    assert_eq!(end.status(ours).unwrap().transmit_interval, None);
    end.handle_timeout(now + Duration::from_millis(60));
    assert!(end.poll_transmit().is_none());
    // §6.5: a Poll is answered; and our own is sent.
    octets[1] |= 0x20;
    end.handle_packet(now, &octets, &info(1, now)).unwrap();
    assert!(packet::decode(&end.poll_transmit().unwrap().payload).unwrap().0.r#final);
    end.set(now, key(0), config(100));
    end.handle_timeout(now + Duration::from_millis(60));
    assert!(packet::decode(&end.poll_transmit().unwrap().payload).unwrap().0.poll);
}

#[test]
fn rfc5880_6_7_4_keyed_sha1_joins_equal_keys_only_and_meticulous_takes_no_packet_twice() {
    use BfdAuthenticationKind::{KeyedSha1, MeticulousKeyedSha1};
    for kind in [KeyedSha1, MeticulousKeyedSha1] {
        World::up(keyed(kind, "twenty octets of key"), keyed(kind, "twenty octets of key"));
        let mut w = World::new(keyed(kind, "a"), keyed(kind, "b"));
        w.run(5_000);
        assert_eq!(w.states(), [State::Down, State::Down]);
        assert!(w.status(0).packets_discarded > 0);
    }
    let mut w = World::up(keyed(MeticulousKeyedSha1, "k"), keyed(MeticulousKeyedSha1, "k"));
    let now = w.now;
    w.run(60);
    let octets = w.ends[1].sessions.get_mut(&w.ids[1]).unwrap().build(now, true, &mut ChaCha8Rng::seed_from_u64(1));
    assert_eq!(octets.len(), 52);
    assert_eq!(w.ends[0].handle_packet(w.now, &octets, &info(1, w.now)), Ok(()));
    assert_eq!(w.ends[0].handle_packet(w.now, &octets, &info(1, w.now)), Err(Discard::Authentication));
}

#[test]
fn rfc5880_6_7_4_vector_of_a_signed_packet() {
    let authentication =
        BfdAuthentication { kind: BfdAuthenticationKind::KeyedSha1, key_id: 1, key: Secret("secret".into()) };
    let mut octets = down_packet();
    (octets[1], octets[3]) = (0x44, 52);
    auth::sign(&mut octets, &authentication, 5);
    assert_eq!(&octets[24..32], [4, 28, 1, 0, 0, 0, 0, 5]);
    // Worked out by sha1sum over the same octets with the padded key in the place of the hash.
    let hash: String = octets[32..].iter().map(|o| format!("{o:02x}")).collect();
    assert_eq!(hash, "08ef633c8ece3f543c638a5f6e1ced97b6e8ac88");
}

proptest! {
    #[test]
    fn random_octets_never_panic(
        octets in proptest::collection::vec(any::<u8>(), 0..80),
        head in any::<bool>(),
        state in 0u8..4,
    ) {
        let mut w = World::new(config(50), config(50));
        w.run(3_000);
        let mut octets = octets;
        if head && octets.len() >= 24 {
            (octets[0], octets[1], octets[3]) = (0x20, state << 6 | octets[1] & 0x3a, 24);
            octets[8..12].copy_from_slice(&w.ids[0].0.to_be_bytes());
        }
        let now = w.now;
        let _ = w.ends[0].handle_packet(now, &octets, &info(1, now));
        w.run(500);
    }
}
