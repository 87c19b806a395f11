//! BFD: all sessions of the speaker (RFC 5880). Sans-IO.
//!
//! The way of a packet: [`Bfd::handle_packet`] decodes it (`packet`), finds its session by Your Discriminator or, before
//! that is known, by where it came from, and gives it to `session` (with `auth` before anything is believed). What is to
//! be sent is taken by [`Bfd::poll_transmit`], what happened by [`Bfd::poll_event`]; [`Bfd::poll_timeout`] says when to
//! call [`Bfd::handle_timeout`].
//!
//! A packet comes with the time at which it reached the machine, and that time alone is compared with the Detection
//! Time: a shell that woke up late hands over what has waited and then calls `handle_timeout`, and no session is down
//! for its being late.
//!
//! Invariants: a session has at most one place in `timers`, never later than its first deadline, so that a packet costs
//! no change there and a thousand sessions are cheap; local discriminators are random, unique and not 0; nothing panics.
//!
//! Standards: RFC 5880 (asynchronous mode; the other end's Demand mode is obeyed, ours is never asked for; no Echo);
//! RFC 5881; RFC 5882 §3.2, §4.2; RFC 5883; authentication by (Meticulous) Keyed SHA1.

mod auth;
mod packet;
mod session;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use net_types::Monotime;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

pub use packet::{Diagnostic, Discard, MANDATORY_LEN, Packet, State};

use crate::config::BfdConfig;
use session::Session;

/// RFC 5881 §4: where single-hop packets go.
pub const SINGLE_HOP_PORT: u16 = 3784;
/// RFC 5883 §5: where multihop packets go.
pub const MULTIHOP_PORT: u16 = 4784;
/// RFC 5881 §5: what a single-hop packet is sent and must arrive with.
pub const HOP_LIMIT: u8 = 255;

/// Our number of a session, as the packets have it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Discriminator(pub u32);

/// What a session is between.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionKey {
    /// The other end.
    pub peer: IpAddr,
    /// Our end; `None`: as the kernel chooses.
    pub local: Option<IpAddr>,
    /// The interface it must be reached over; needed for link-local addresses.
    pub interface: Option<u32>,
    /// RFC 5883 instead of RFC 5881.
    pub multihop: bool,
}

/// What the socket knows of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PacketInfo {
    /// Who sent it.
    pub source: IpAddr,
    /// To which address of ours.
    pub destination: Option<IpAddr>,
    /// Over which interface it came.
    pub interface: u32,
    /// TTL or Hop Limit it came with.
    pub hop_limit: u8,
    /// It came to the multihop port.
    pub multihop: bool,
    /// When it reached the machine.
    pub received: Monotime,
}

/// A packet to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// Of this session.
    pub session: Discriminator,
    /// The UDP payload.
    pub payload: Vec<u8>,
}

/// Why a session changed its state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cause {
    /// The other end is heard, and so the session comes up.
    NeighborHeard,
    /// Nothing came for the Detection Time.
    DetectionTimeExpired,
    /// The other end says that it does not hear us, or starts anew.
    NeighborSignaledDown,
    /// The other end was told to leave BFD; no word about the path (RFC 5882 §3.2).
    RemoteAdminDown,
}

/// What the shell is to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A session changed its state; or it did not, and the other end's AdminDown is what is new.
    StateChanged {
        /// Which.
        session: Discriminator,
        /// From.
        from: State,
        /// To.
        to: State,
        /// Why.
        cause: Cause,
    },
    /// A removed session has said AdminDown for long enough: its socket can go.
    Closed(Discriminator),
}

/// A session as it stands.
#[derive(Clone, PartialEq, Debug)]
pub struct SessionStatus {
    /// Between whom.
    pub key: SessionKey,
    /// Ours.
    pub local_discriminator: u32,
    /// The other end's; 0: not known.
    pub remote_discriminator: u32,
    /// Ours.
    pub state: State,
    /// The other end's last word.
    pub remote_state: State,
    /// Since when ours stands.
    pub since: Monotime,
    /// Ours.
    pub diagnostic: Diagnostic,
    /// The other end's.
    pub remote_diagnostic: Diagnostic,
    /// In force, before jitter; `None`: the other end wants none.
    pub transmit_interval: Option<Duration>,
    /// In force; zero: nothing came yet.
    pub detection_time: Duration,
    /// The other end's BFD outlives its control plane (C bit).
    pub remote_control_plane_independent: bool,
    /// Interface of the last packet; 0: none came.
    pub interface: u32,
    /// Our address, as the last packet had it.
    pub local_address: Option<IpAddr>,
    /// How often it came up.
    pub ups: u32,
    /// How often it left Up other than by AdminDown.
    pub failures: u32,
    /// Packets taken.
    pub packets_received: u64,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets found to be this session's and discarded.
    pub packets_discarded: u64,
}

/// All sessions.
#[derive(Debug)]
pub struct Bfd {
    sessions: HashMap<Discriminator, Session>,
    by_key: BTreeMap<SessionKey, Discriminator>,
    timers: BTreeSet<(Monotime, Discriminator)>,
    scheduled: HashMap<Discriminator, Monotime>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    rng: ChaCha8Rng,
}

impl Bfd {
    /// Without sessions; `seed` drives jitter, discriminators and first sequence numbers.
    pub fn new(seed: u64) -> Bfd {
        Bfd {
            sessions: HashMap::new(),
            by_key: BTreeMap::new(),
            timers: BTreeSet::new(),
            scheduled: HashMap::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// Starts a session in Down, or changes the one there is (also one that is being removed: it starts anew).
    pub fn set(&mut self, now: Monotime, key: SessionKey, config: BfdConfig) -> Discriminator {
        if let Some(id) = self.by_key.get(&key).copied()
            && let Some(session) = self.sessions.get_mut(&id)
        {
            session.reconfigure(now, config, &mut self.rng);
            if session.linger.take().is_some() {
                session.enter(now, State::Down, Diagnostic::NONE, &mut self.rng);
            }
            self.plan(id);
            return id;
        }
        // RFC 5880 §6.8.1: unique, and SHOULD be random.
        let id = loop {
            let id = Discriminator(self.rng.next_u32());
            if id.0 != 0 && !self.sessions.contains_key(&id) {
                break id;
            }
        };
        let session = Session::new(now, key, config, id.0, &mut self.rng);
        self.sessions.insert(id, session);
        self.by_key.insert(key, id);
        self.plan(id);
        id
    }

    /// Ends a session: AdminDown, said for a Detection Time (RFC 5880 §6.8.16), then [`Event::Closed`].
    pub fn remove(&mut self, now: Monotime, id: Discriminator) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.linger.is_none() {
            session.enter(now, State::AdminDown, Diagnostic::ADMINISTRATIVELY_DOWN, &mut self.rng);
            let multiplier = u32::from(session.config.multiplier);
            let interval = session.transmit_interval().unwrap_or_default();
            session.linger = Some(now + interval * multiplier);
            self.plan(id);
        }
    }

    /// A packet that reached port [`SINGLE_HOP_PORT`] or [`MULTIHOP_PORT`].
    pub fn handle_packet(&mut self, now: Monotime, payload: &[u8], info: &PacketInfo) -> Result<(), Discard> {
        // RFC 5881 §5, GTSM, before anything is looked at; RFC 5883 has no such bound.
        if !info.multihop && info.hop_limit != HOP_LIMIT {
            return Err(Discard::HopLimit);
        }
        let (packet, whole) = packet::decode(payload)?;
        let id = self.find(&packet, info).ok_or(Discard::NoSession)?;
        let Some(session) = self.sessions.get_mut(&id) else { return Err(Discard::NoSession) };
        // What came after the Detection Time does not undo that it passed.
        if session.detection.is_some_and(|at| at < info.received) {
            Self::expire(&mut self.events, session, now, &mut self.rng);
        }
        let remote = session.remote_state;
        let received = match session.receive(now, info.received, &packet, whole, &mut self.rng) {
            Ok(received) => received,
            Err(discard) => {
                session.packets_discarded += 1;
                self.plan(id);
                return Err(discard);
            }
        };
        session.interface = info.interface;
        session.local_address = info.destination.or(session.local_address);
        match received.changed {
            Some((from, cause)) => Self::note(&mut self.events, session, from, cause),
            None if session.remote_state == State::AdminDown && remote != State::AdminDown => {
                let from = session.state;
                Self::note(&mut self.events, session, from, Cause::RemoteAdminDown);
            }
            None => {}
        }
        // RFC 5880 §6.5: an F answers each P, whatever the period.
        if received.answer {
            let payload = session.build(now, true, &mut self.rng);
            self.transmits.push_back(Transmit { session: id, payload });
        }
        self.transmit_if_due(now, id);
        self.plan(id);
        Ok(())
    }

    /// RFC 5880 §6.3, §6.8.6: by Your Discriminator, or before it is known by source (RFC 5881 §3, RFC 5883 §4).
    fn find(&self, packet: &Packet, info: &PacketInfo) -> Option<Discriminator> {
        let fits = |key: &SessionKey| {
            key.peer == info.source
                && key.multihop == info.multihop
                && key.interface.is_none_or(|i| i == info.interface)
                && (key.local.is_none() || info.destination.is_none() || key.local == info.destination)
        };
        if packet.your_discriminator != 0 {
            let id = Discriminator(packet.your_discriminator);
            return self.sessions.get(&id).filter(|s| fits(&s.key)).map(|_| id);
        }
        if !matches!(packet.state, State::Down | State::AdminDown) {
            return None;
        }
        let first = SessionKey { peer: info.source, local: None, interface: None, multihop: false };
        self.by_key.range(first..).take_while(|(k, _)| k.peer == info.source).find(|(k, _)| fits(k)).map(|(_, id)| *id)
    }

    /// Runs every timer that is due: call it only after all packets that wait were handed over.
    pub fn handle_timeout(&mut self, now: Monotime) {
        while let Some(&(at, id)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            self.scheduled.remove(&id);
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            if session.linger.is_some_and(|at| at <= now) {
                self.by_key.remove(&session.key);
                self.sessions.remove(&id);
                self.events.push_back(Event::Closed(id));
                continue;
            }
            if session.detection.is_some_and(|at| at <= now) {
                Self::expire(&mut self.events, session, now, &mut self.rng);
            }
            self.transmit_if_due(now, id);
            self.plan(id);
        }
    }

    fn transmit_if_due(&mut self, now: Monotime, id: Discriminator) {
        if let Some(session) = self.sessions.get_mut(&id).filter(|s| s.due(now)) {
            let payload = session.build(now, false, &mut self.rng);
            self.transmits.push_back(Transmit { session: id, payload });
        }
    }

    fn expire(events: &mut VecDeque<Event>, session: &mut Session, now: Monotime, rng: &mut ChaCha8Rng) {
        if let Some(from) = session.expire(now, rng) {
            Self::note(events, session, from, Cause::DetectionTimeExpired);
        }
    }

    fn note(events: &mut VecDeque<Event>, session: &mut Session, from: State, cause: Cause) {
        // RFC 5882 §3.2: that the other end was told to leave BFD is no failure of the path.
        if from == State::Up && cause != Cause::RemoteAdminDown {
            session.failures = session.failures.saturating_add(1);
        }
        let id = Discriminator(session.local_discriminator);
        events.push_back(Event::StateChanged { session: id, from, to: session.state, cause });
    }

    /// Sees to it that the session is looked at no later than it must be.
    fn plan(&mut self, id: Discriminator) {
        let Some(deadline) = self.sessions.get(&id).and_then(Session::deadline) else { return };
        match self.scheduled.get(&id) {
            Some(at) if *at <= deadline => {}
            earlier => {
                if let Some(at) = earlier {
                    self.timers.remove(&(*at, id));
                }
                self.scheduled.insert(id, deadline);
                self.timers.insert((deadline, id));
            }
        }
    }

    /// When to call [`Bfd::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Monotime> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The next packet to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// One session.
    pub fn status(&self, id: Discriminator) -> Option<SessionStatus> {
        let s = self.sessions.get(&id)?;
        Some(SessionStatus {
            key: s.key,
            local_discriminator: s.local_discriminator,
            remote_discriminator: s.remote_discriminator,
            state: s.state,
            remote_state: s.remote_state,
            since: s.since,
            diagnostic: s.diagnostic,
            remote_diagnostic: s.remote_diagnostic,
            transmit_interval: s.transmit_interval(),
            detection_time: s.detection_time(),
            remote_control_plane_independent: s.remote_control_plane_independent,
            interface: s.interface,
            local_address: s.local_address,
            ups: s.ups,
            failures: s.failures,
            packets_received: s.packets_received,
            packets_sent: s.packets_sent,
            packets_discarded: s.packets_discarded,
        })
    }

    /// All sessions, also those that are being removed.
    pub fn sessions(&self) -> impl Iterator<Item = Discriminator> {
        self.by_key.values().copied()
    }
}

#[cfg(test)]
mod tests;
