//! One neighbour: its sessions, timers, collision (RFC 4271 §6.8, §8). Sans-IO.
//!
//! The way of a byte: [`Input::Received`] goes into a connection's buffer (`connection`), is cut into messages and judged
//! by that connection's phase (`fsm`); an OPEN is weighed in `negotiate` and, if there are two connections, in
//! `collision`; UPDATEs leave as [`Output::Updates`]. Out: [`Peer::send_updates`] and the machine's own messages
//! queue per connection until [`Peer::poll_transmit`] takes them. `seeking` is Idle, Connect and Active; `ending` is
//! every way out; `bfd` is one that a failed path takes.
//!
//! The contract, after quinn-proto: call [`Peer::handle_input`], [`Peer::handle_timeout`] or another method that takes
//! `now`; then drain [`Peer::poll_output`] until `None`; then [`Peer::poll_transmit`] of every connection that lives
//! or that an [`Output::Close`] just named, as far as the socket takes it; then ask [`Peer::poll_timeout`] when to call
//! `handle_timeout`, and before that name each connection whose octets still wait unread ([`Input::Unread`]). Output
//! order is meaning: `Down` precedes the `Close` of its connection and the `StateChanged`.
//!
//! Invariants: at most two connections, at most one of them Established, at most one of each direction before that; an
//! input about a connection that is gone does nothing; a receive buffer holds at most one message; nothing panics.
//!
//! Optional session attributes (RFC 4271 §8.1.1): AllowAutomaticStart and DampPeerOscillations always (IdleHoldTimer),
//! PassiveTcpEstablishment by configuration, TrackTcpState by [`Peer::accepts`], SendNOTIFICATIONwithoutOPEN on refusal,
//! CollisionDetectEstablishedState only for a gracefully restarting neighbour (RFC 4724 §4.2), DelayOpen by
//! configuration (off by default).
//!
//! Standards: RFC 4271 §6, §8, §10; RFC 4486; RFC 4724; RFC 5492; RFC 6286; RFC 6608; RFC 8538; RFC 9003; RFC 9234 §4;
//! RFC 9384; RFC 9687.

mod bfd;
mod collision;
mod connection;
mod ending;
mod events;
mod fsm;
mod negotiate;
mod reason;
mod reconfigure;
mod seeking;
mod status;
mod timers;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bgp_wire::{Capability, Message, Notification, RouteRefresh, RouteRefreshSubtype, SessionContext, message};
use bytes::Bytes;
use net_types::{Family, Monotime, RouterId};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

pub use events::{ConnId, Down, Input, Output, Reconfigured, Retain, Session, State};
pub use status::PeerStatus;

use crate::config::{NeighborConfig, SpeakerConfig};
use connection::{Connection, earliest};
use ending::Cause;
use negotiate::Ourselves;
use seeking::Seeking;
use timers::BackOff;

/// One neighbour. Starts in Idle; [`Input::ManualStart`] wakes it.
#[derive(Debug)]
pub struct Peer {
    us: Ourselves,
    config: Arc<NeighborConfig>,
    rng: ChaCha8Rng,
    seeking: Seeking,
    connections: Vec<Connection>,
    /// Closed connections and their last bytes.
    closing: VecDeque<(ConnId, VecDeque<Bytes>)>,
    outputs: VecDeque<Output>,
    back_off: BackOff,
    next_conn: u64,
    /// R bit of our Graceful Restart capability.
    restarting: bool,
    /// F bits of our Graceful Restart capability.
    forwarding_preserved: bool,
    /// The next OPEN goes without capabilities (RFC 5492 §3).
    omit_capabilities: bool,
    /// BFD lets a session be Established where it is strict.
    bfd_permits: bool,
    shown: State,
    shown_since: Monotime,
    last_error: String,
    peer_identifier: Option<RouterId>,
    capabilities_received: Vec<Capability>,
    counters: status::Counters,
}

impl Peer {
    /// A neighbour in Idle. `seed` drives jitter only.
    pub fn new(speaker: &SpeakerConfig, config: Arc<NeighborConfig>, seed: u64) -> Peer {
        Peer {
            us: Ourselves { local_as: speaker.local_as, router_id: speaker.router_id },
            config,
            rng: ChaCha8Rng::seed_from_u64(seed),
            seeking: Seeking::Idle { until: None },
            connections: Vec::new(),
            closing: VecDeque::new(),
            outputs: VecDeque::new(),
            back_off: BackOff::default(),
            next_conn: 1,
            restarting: false,
            forwarding_preserved: true,
            omit_capabilities: false,
            bfd_permits: false,
            shown: State::Idle,
            shown_since: Monotime::ZERO,
            last_error: String::new(),
            peer_identifier: None,
            capabilities_received: Vec::new(),
            counters: status::Counters::default(),
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> &Arc<NeighborConfig> {
        &self.config
    }

    /// Sets the R bit of OPENs to come (RFC 4724 §4.1): true from a restart until the first decision is out.
    pub fn set_restarting(&mut self, restarting: bool) {
        self.restarting = restarting;
    }

    /// Clears the F bits of OPENs until a session is up: nothing that the neighbour may hold of an earlier run is still
    /// forwarded here (RFC 4724 §3), so it is to drop that at once (§4.2). What this run announces from then on outlives
    /// the loss of a session.
    pub fn forwarding_lost(&mut self) {
        self.forwarding_preserved = false;
    }

    /// Feeds one event.
    pub fn handle_input(&mut self, now: Monotime, input: Input<'_>) {
        match input {
            // RFC 4271 §8.2.2: ignored except in Idle.
            Input::ManualStart => {
                if let Seeking::Idle { .. } = self.seeking {
                    self.back_off.reset();
                    self.start(now);
                    self.note_state(now);
                }
            }
            Input::ManualStop { subcode, message } => {
                self.back_off.reset();
                self.stop(now, &reason::cease_with_text(subcode, &message), None);
            }
            Input::ConnectionIncoming { conn, remote, local } => self.incoming(now, conn, (local, remote)),
            Input::ConnectionEstablished { conn, remote, local } => self.connected(now, conn, (local, remote)),
            Input::ConnectionFailed { conn } => self.failed(now, conn),
            Input::Bfd { permits, failed } => self.bfd(now, permits, failed),
            Input::Received { conn, bytes } => self.received(now, conn, bytes),
            Input::Unread { conn } => {
                if let Some(connection) = self.connection_mut(conn) {
                    connection.put_off_hold(now);
                }
            }
            Input::SendProgress { conn, unsent } => {
                if let Some(connection) = self.connection_mut(conn) {
                    connection.progress(now, unsent);
                }
            }
            Input::Teardown { notification, idle_hold } => self.stop(now, &notification, idle_hold),
        }
    }

    /// Runs every timer that is due.
    pub fn handle_timeout(&mut self, now: Monotime) {
        self.seeking_timeout(now);
        let due: Vec<_> =
            self.connections.iter().filter(|c| c.deadline().is_some_and(|d| d <= now)).map(|c| c.id).collect();
        for conn in due {
            self.connection_timeout(now, conn);
        }
    }

    /// The next bytes for this connection, in whole messages. Also works for one that was just closed.
    pub fn poll_transmit(&mut self, conn: ConnId) -> Option<Bytes> {
        if let Some(connection) = self.connection_mut(conn) {
            return connection.take_transmit();
        }
        let position = self.closing.iter().position(|(closed, _)| *closed == conn)?;
        let bytes = self.closing.get_mut(position).and_then(|(_, rest)| rest.pop_front());
        if bytes.is_none() {
            self.closing.remove(position);
        }
        bytes
    }

    /// When to call [`Peer::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Monotime> {
        earliest([self.seeking.deadline(), earliest(self.connections.iter().map(Connection::deadline))])
    }

    /// What the shell is to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Queues whole encoded messages of the RIB on the established connection; without one they are dropped, for their
    /// session is over.
    pub fn send_updates(&mut self, now: Monotime, encoded: Bytes) {
        let Some(connection) = self.connections.iter_mut().find(|c| c.is_established()) else { return };
        if encoded.is_empty() {
            return;
        }
        let conn = connection.id;
        self.counters.count_sent(&encoded);
        connection.queue(now, encoded);
        self.restart_keepalive(now, conn);
    }

    /// Asks the neighbour for a family again, if it takes ROUTE-REFRESH (RFC 2918 §4).
    pub fn send_route_refresh(&mut self, now: Monotime, family: Family) {
        let Some(connection) = self.connections.iter().find(|c| c.is_established()) else { return };
        let taken = connection
            .agreed()
            .is_some_and(|a| a.negotiated.route_refresh && a.negotiated.context.families.contains(&family));
        let refresh = RouteRefresh { family, subtype: RouteRefreshSubtype::Request };
        let conn = connection.id;
        let Some(bytes) = self.encode(&Message::RouteRefresh(refresh), connection).filter(|_| taken) else { return };
        self.counters.messages_sent += 1;
        if let Some(connection) = self.connection_mut(conn) {
            connection.queue(now, bytes);
        }
    }

    /// Whether an incoming connection is welcome: in any state but Idle (RFC 4271 §8.2.2).
    pub fn accepts(&self) -> bool {
        !matches!(self.seeking, Seeking::Idle { .. })
    }

    /// The state the neighbour shows: that of its furthest connection.
    pub fn state(&self) -> State {
        let seeking = match self.seeking {
            Seeking::Idle { .. } => State::Idle,
            Seeking::Connect { .. } => State::Connect,
            // With DelayOpen a connection can be up before it has a state of its own: the states it stays in are these.
            Seeking::Settled => self.connections.iter().map(Connection::state).min().unwrap_or(State::Active),
            Seeking::Active { .. } => State::Active,
        };
        self.connections.iter().map(Connection::state).max().filter(|s| *s >= State::OpenSent).unwrap_or(seeking)
    }

    /// Ends everything and stays in Idle, for `idle_hold` or until ManualStart.
    fn stop(&mut self, now: Monotime, notification: &Notification, idle_hold: Option<Duration>) {
        self.abandon_connect();
        // First, so that what is shown goes from here to Idle in one step.
        self.seeking = Seeking::Idle { until: idle_hold.map(|wait| now + wait) };
        let all: Vec<_> = self.connections.iter().map(|c| c.id).collect();
        for conn in all {
            self.end(now, conn, &Cause::Deliberate(notification.clone()));
        }
        self.omit_capabilities = false;
        self.note_state(now);
    }

    /// Tells the shell when the shown state has changed.
    fn note_state(&mut self, now: Monotime) {
        let to = self.state();
        let from = std::mem::replace(&mut self.shown, to);
        if from != to {
            self.shown_since = now;
            self.outputs.push_back(Output::StateChanged { from, to });
        }
    }

    fn connection(&self, conn: ConnId) -> Option<&Connection> {
        self.connections.iter().find(|c| c.id == conn)
    }

    fn connection_mut(&mut self, conn: ConnId) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|c| c.id == conn)
    }

    fn encode(&self, message: &Message, connection: &Connection) -> Option<Bytes> {
        let initial = SessionContext::initial();
        let context = connection.agreed().map_or(&initial, |a| &a.negotiated.context);
        message::encode(message, context).ok()
    }
}
