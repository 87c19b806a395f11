//! One session: the variables of RFC 5880 §6.8.1, its state machine and its two timers.
//!
//! The way of a packet in: [`Session::receive`], the session's part of §6.8.6 in the RFC's order. Out: [`Session::due`]
//! and [`Session::build`]. Invariants: not Up means Desired Min TX of a second or more; a parameter that is being
//! changed is in force by the rules of §6.8.3 (`transmit_floor`, `detect_floor`) until its Poll Sequence has ended.

use std::net::IpAddr;
use std::time::Duration;

use net_types::Monotime;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::auth::{self, Sequence};
use super::packet::{self, Diagnostic, Discard, MANDATORY_LEN, Packet, State};
use super::{Cause, SessionKey};
use crate::config::BfdConfig;

/// RFC 5880 §6.8.3: while the session is not Up, Desired Min TX is at least one second.
const SLOW: u32 = 1_000_000;

/// A Poll Sequence (RFC 5880 §6.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Poll {
    None,
    /// To be sent, or sent with what is now advertised.
    Running,
    /// The parameters changed after a packet with P went out: its F answers the older ones.
    Again,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) key: SessionKey,
    pub(super) config: BfdConfig,
    pub(super) state: State,
    pub(super) remote_state: State,
    pub(super) local_discriminator: u32,
    pub(super) remote_discriminator: u32,
    pub(super) diagnostic: Diagnostic,
    pub(super) remote_diagnostic: Diagnostic,
    /// `bfd.DesiredMinTxInterval`, as advertised.
    desired_min_tx: u32,
    /// `bfd.RequiredMinRxInterval`, as advertised.
    required_min_rx: u32,
    transmit_floor: u32,
    detect_floor: u32,
    remote_min_rx: u32,
    remote_desired_min_tx: u32,
    remote_detect_mult: u8,
    remote_demand: bool,
    pub(super) remote_control_plane_independent: bool,
    poll: Poll,
    poll_sent: bool,
    sequence: Sequence,
    pub(super) next_transmit: Option<Monotime>,
    last_transmit: Monotime,
    pub(super) detection: Option<Monotime>,
    pub(super) last_received: Option<Monotime>,
    /// The interface of the last packet.
    pub(super) interface: u32,
    /// Our own address, as the last packet had it.
    pub(super) local_address: Option<IpAddr>,
    /// Being removed: says AdminDown until then.
    pub(super) linger: Option<Monotime>,
    pub(super) since: Monotime,
    pub(super) ups: u32,
    pub(super) failures: u32,
    pub(super) packets_received: u64,
    pub(super) packets_sent: u64,
    pub(super) packets_discarded: u64,
}

/// What a packet led to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    /// Answer with F at once.
    pub(super) answer: bool,
    /// The session changed its state, for this reason.
    pub(super) changed: Option<(State, Cause)>,
}

impl Session {
    pub(super) fn new(now: Monotime, key: SessionKey, config: BfdConfig, local: u32, rng: &mut ChaCha8Rng) -> Session {
        let interval = micros(config.interval);
        let first = (!config.passive).then_some(now);
        Session {
            key,
            config,
            state: State::Down,
            remote_state: State::Down,
            local_discriminator: local,
            remote_discriminator: 0,
            diagnostic: Diagnostic::NONE,
            remote_diagnostic: Diagnostic::NONE,
            desired_min_tx: interval.max(SLOW),
            required_min_rx: interval,
            transmit_floor: interval.max(SLOW),
            detect_floor: interval,
            // RFC 5880 §6.8.1: initialised to 1.
            remote_min_rx: 1,
            remote_desired_min_tx: 0,
            remote_detect_mult: 0,
            remote_demand: false,
            remote_control_plane_independent: false,
            poll: Poll::None,
            poll_sent: false,
            sequence: Sequence { received: None, transmit: rng.next_u32() },
            next_transmit: first,
            last_transmit: now,
            detection: None,
            last_received: None,
            interface: key.interface.unwrap_or(0),
            local_address: key.local,
            linger: None,
            since: now,
            ups: 0,
            failures: 0,
            packets_received: 0,
            packets_sent: 0,
            packets_discarded: 0,
        }
    }

    /// When [`super::Bfd::handle_timeout`] has something to do here.
    pub(super) fn deadline(&self) -> Option<Monotime> {
        [self.next_transmit, self.detection, self.linger].into_iter().flatten().min()
    }

    /// RFC 5880 §6.8.2; `None`: no periodic packets.
    pub(super) fn transmit_interval(&self) -> Option<Duration> {
        let silent = self.remote_min_rx == 0
            // RFC 5880 §6.8.7: the Passive role, before the other end is heard.
            || self.config.passive && self.remote_discriminator == 0
            // RFC 5880 §6.6, §6.8.7: the other end's Demand mode is obeyed, but for a Poll Sequence.
            || self.remote_demand
                && self.state == State::Up
                && self.remote_state == State::Up
                && self.poll == Poll::None;
        (!silent).then(|| Duration::from_micros(self.transmit_floor.max(self.remote_min_rx).into()))
    }

    /// RFC 5880 §6.8.4, Asynchronous mode.
    pub(super) fn detection_time(&self) -> Duration {
        let interval = self.detect_floor.max(self.remote_desired_min_tx);
        Duration::from_micros(u64::from(interval) * u64::from(self.remote_detect_mult))
    }

    /// RFC 5880 §6.8.7: each interval is cut by a random 0 to 25 %; with a multiplier of 1 by 10 to 25 %.
    fn jittered(&self, interval: Duration, rng: &mut ChaCha8Rng) -> Duration {
        let span = if self.config.multiplier == 1 { 151 } else { 251 };
        let thousandths = 750 + rng.next_u32() % span;
        interval * thousandths / 1000
    }

    /// The next periodic packet, anew from the last one.
    fn schedule(&mut self, rng: &mut ChaCha8Rng) {
        let interval = self.transmit_interval();
        self.next_transmit = interval.map(|i| self.last_transmit + self.jittered(i, rng));
    }

    /// The parameters were or may have been changed: RFC 5880 §6.8.3 wants a shorter interval in force at once. A packet
    /// that is due sooner goes then.
    fn reschedule(&mut self, before: Option<Duration>, rng: &mut ChaCha8Rng) {
        if self.transmit_interval() != before {
            let due = self.next_transmit;
            self.schedule(rng);
            if let (Some(new), Some(old)) = (self.next_transmit, due) {
                self.next_transmit = Some(new.min(old));
            }
        }
    }

    /// The part of RFC 5880 §6.8.6 that follows the choice of the session.
    pub(super) fn receive(
        &mut self,
        now: Monotime,
        received: Monotime,
        packet: &Packet,
        whole: &[u8],
        rng: &mut ChaCha8Rng,
    ) -> Result<Received, Discard> {
        if packet.authentication != self.config.authentication.is_some() {
            return Err(Discard::AuthenticationBit);
        }
        if let Some(authentication) = &self.config.authentication {
            // RFC 5880 §6.8.1, bfd.AuthSeqKnown: forgotten after twice the Detection Time without a packet.
            let silence = self.last_received.map_or(Duration::MAX, |last| received.since(last));
            if silence >= 2 * self.detection_time() {
                self.sequence.received = None;
            }
            if !auth::holds(whole, authentication, packet.detect_mult, &mut self.sequence) {
                return Err(Discard::Authentication);
            }
        }
        let before = self.transmit_interval();
        self.remote_discriminator = packet.my_discriminator;
        self.remote_state = packet.state;
        self.remote_diagnostic = packet.diagnostic;
        self.remote_control_plane_independent = packet.control_plane_independent;
        self.remote_demand = packet.demand;
        self.remote_min_rx = packet.required_min_rx;
        self.remote_desired_min_tx = packet.desired_min_tx;
        self.remote_detect_mult = packet.detect_mult;
        if packet.r#final && self.poll_sent {
            self.poll_answered();
        }
        self.packets_received += 1;
        self.last_received = Some(received);
        // RFC 5880 §6.8.4: from the last packet that was valid.
        self.detection = Some(received + self.detection_time());
        if self.state == State::AdminDown {
            self.detection = None;
            return Ok(Received::default());
        }
        let changed = match (packet.state, self.state) {
            (State::AdminDown, State::Down) => None,
            (State::AdminDown, _) => Some((State::Down, Cause::RemoteAdminDown, Diagnostic::NEIGHBOR_SIGNALED_DOWN)),
            (State::Down, State::Down) => Some((State::Init, Cause::NeighborHeard, self.diagnostic)),
            (State::Init, State::Down) | (State::Init | State::Up, State::Init) => {
                Some((State::Up, Cause::NeighborHeard, Diagnostic::NONE))
            }
            (State::Down, State::Up) => {
                Some((State::Down, Cause::NeighborSignaledDown, Diagnostic::NEIGHBOR_SIGNALED_DOWN))
            }
            _ => None,
        };
        let changed = changed.map(|(to, cause, diagnostic)| (self.enter(now, to, diagnostic, rng), cause));
        self.reschedule(before, rng);
        Ok(Received { answer: packet.poll, changed })
    }

    /// Into another state; the one before. A packet goes out at once to tell of it (RFC 5880 §6.8.7).
    pub(super) fn enter(&mut self, now: Monotime, to: State, diagnostic: Diagnostic, rng: &mut ChaCha8Rng) -> State {
        let from = std::mem::replace(&mut self.state, to);
        self.diagnostic = diagnostic;
        self.since = now;
        if !matches!(to, State::Init | State::Up) {
            self.poll = Poll::None;
        }
        match to {
            State::Up => self.ups = self.ups.saturating_add(1),
            State::AdminDown => self.detection = None,
            State::Down | State::Init => {}
        }
        self.apply_intervals(rng);
        self.next_transmit = self.transmit_interval().map(|_| now);
        from
    }

    /// Another configuration (RFC 5880 §6.8.3): the session stays as it is.
    pub(super) fn reconfigure(&mut self, now: Monotime, config: BfdConfig, rng: &mut ChaCha8Rng) {
        // §6.8.12: another multiplier is told in the next packet and needs no Poll Sequence.
        let told = config.multiplier != self.config.multiplier;
        if config.authentication != self.config.authentication {
            // What was counted under another key says nothing about this one.
            self.sequence.received = None;
        }
        let before = self.transmit_interval();
        self.config = config;
        self.apply_intervals(rng);
        self.reschedule(before, rng);
        if told && self.transmit_interval().is_some() {
            self.next_transmit = Some(now);
        }
    }

    /// Advertises what state and configuration ask for.
    fn apply_intervals(&mut self, rng: &mut ChaCha8Rng) {
        let up = self.state == State::Up;
        let required = micros(self.config.interval);
        let desired = if up { required } else { required.max(SLOW) };
        let changed = desired != self.desired_min_tx || required != self.required_min_rx;
        // §6.8.3: an increased transmit interval and a reduced receive interval wait for the end of the Poll Sequence.
        if !up || desired <= self.transmit_floor {
            self.transmit_floor = desired;
        }
        if !up || required >= self.detect_floor {
            self.detect_floor = required;
        }
        self.desired_min_tx = desired;
        self.required_min_rx = required;
        if changed && matches!(self.state, State::Init | State::Up) {
            // An F that is on its way answers what we said before.
            self.poll = if self.poll != Poll::None && self.poll_sent { Poll::Again } else { Poll::Running };
            if self.poll == Poll::Running {
                self.poll_sent = false;
            }
            // In Demand mode nothing periodic was due.
            if self.next_transmit.is_none() {
                self.schedule(rng);
            }
        }
    }

    fn poll_answered(&mut self) {
        match self.poll {
            Poll::None => {}
            Poll::Again => self.poll = Poll::Running,
            Poll::Running => {
                self.poll = Poll::None;
                self.transmit_floor = self.desired_min_tx;
                self.detect_floor = self.required_min_rx;
            }
        }
        self.poll_sent = false;
    }

    /// The Detection Time has passed: what happened, if it did to a session that had begun.
    pub(super) fn expire(&mut self, now: Monotime, rng: &mut ChaCha8Rng) -> Option<State> {
        self.detection = None;
        // RFC 5880 §6.8.1, bfd.RemoteDiscr: back to zero.
        self.remote_discriminator = 0;
        self.remote_demand = false;
        self.remote_state = State::Down;
        if self.transmit_interval().is_none() {
            self.next_transmit = None;
        }
        matches!(self.state, State::Init | State::Up)
            .then(|| self.enter(now, State::Down, Diagnostic::DETECTION_TIME_EXPIRED, rng))
    }

    /// True if a periodic packet is due.
    pub(super) fn due(&self, now: Monotime) -> bool {
        self.next_transmit.is_some_and(|at| at <= now)
    }

    /// The packet to send now (RFC 5880 §6.8.7); `is_final`: the answer to a Poll, which leaves the period as it is.
    pub(super) fn build(&mut self, now: Monotime, is_final: bool, rng: &mut ChaCha8Rng) -> Vec<u8> {
        // A packet with P and F both set there must not be.
        let poll = self.poll != Poll::None && !is_final;
        let packet = Packet {
            diagnostic: self.diagnostic,
            state: self.state,
            poll,
            r#final: is_final,
            // Our BFD goes with the process that speaks BGP.
            control_plane_independent: false,
            authentication: self.config.authentication.is_some(),
            demand: false,
            detect_mult: self.config.multiplier,
            my_discriminator: self.local_discriminator,
            your_discriminator: self.remote_discriminator,
            desired_min_tx: self.desired_min_tx,
            required_min_rx: self.required_min_rx,
            // No echo packets are looped back.
            required_min_echo_rx: 0,
        };
        let length = MANDATORY_LEN as u8 + if packet.authentication { auth::SECTION_LEN } else { 0 };
        let mut octets = packet::encode(&packet, length);
        if let Some(authentication) = &self.config.authentication {
            // RFC 5880 §6.7.4: Meticulous needs it each time; the other may.
            self.sequence.transmit = self.sequence.transmit.wrapping_add(1);
            auth::sign(&mut octets, authentication, self.sequence.transmit);
        }
        self.poll_sent |= poll;
        self.packets_sent += 1;
        if !is_final {
            self.last_transmit = now;
            self.schedule(rng);
        }
        octets
    }
}

/// An interval as the packet has it.
pub(super) fn micros(interval: Duration) -> u32 {
    u32::try_from(interval.as_micros()).unwrap_or(u32::MAX)
}
