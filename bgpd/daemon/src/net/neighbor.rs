//! A neighbour's task: the one owner of its [`Peer`], of its connections and of its place in the RIB's queue.
//!
//! The way of a byte: socket -> [`Connections`] -> [`Peer`] -> the decoded UPDATEs of that read, as one message -> the
//! RIB's queue. Back: the RIB answers while it has credit in the session's [`Outlet`], the answer goes through the [`Peer`]
//! to the socket, and credit is given back while less than [`LOW_WATER`] octets wait there. So a slow neighbour holds back
//! its own UPDATEs and nobody else's.
//! Invariants: no await in here but the one select; timers run whatever is full; while the RIB has too much of this
//! neighbour to do ([`InFlight`]) or its queue is full nothing is read, and what then waits in the socket is no silence
//! (RFC 4271 §6.5); an answer to an older session is known by its number and dropped.

use std::collections::{BTreeSet, VecDeque};
use std::future::poll_fn;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bgp_core::bfd::SessionKey;
use bgp_core::config::{NeighborConfig, RemoteAddress, SpeakerConfig};
use bgp_core::peer::{ConnId, Down, Input, Output, Peer, Reconfigured, Session};
use bgp_core::rib::{ConnectedTable, PeerId, PeerInfo, Retain};
use bgp_wire::Capability;
use daemonbase::Clock;
use kernel::{LossReason, NextHop};
use tokio::net::TcpStream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use super::bfd_watch::BfdWatch;
use super::connections::{Connections, Event, LOW_WATER};
use super::flow::{InFlight, Outlet};
use super::gateways::Gateways;
use super::sparing::Sparing;
use super::{dial, malformed};
use crate::hops::Hops;
use crate::messages::{Command, HELD_BACK, RibInput, Snapshot};

/// How long a neighbour made from a range is remembered without a session: its routes may be kept meanwhile.
const DYNAMIC_KEEP: Duration = Duration::from_secs(600);

/// Numbers sessions and accepted connections over the life of the process.
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

/// What a neighbour's task is made of.
pub struct Setup {
    /// Its number.
    pub id: PeerId,
    /// The speaker's settings.
    pub speaker: Arc<SpeakerConfig>,
    /// Its configuration, with a fixed address.
    pub config: Arc<NeighborConfig>,
    /// Made from a range.
    pub dynamic: bool,
    /// The speaker restarts (RFC 4724 §4.1): the R bit is set.
    pub restarting: bool,
    /// Nothing is forwarded any more of what an earlier run announced: the first OPENs go without the F bits.
    pub forwarding_lost: bool,
    /// Jitter's seed.
    pub seed: u64,
    /// The clock all tasks share.
    pub clock: Clock,
    /// To the RIB.
    pub rib: mpsc::Sender<RibInput>,
    /// To this task, for the RIB to answer.
    pub commands: mpsc::Sender<Command>,
    /// Interfaces and addresses as last seen.
    pub interfaces: watch::Receiver<Arc<ConnectedTable>>,
    /// The short way to the FIB.
    pub hops: Hops,
    /// To the BFD thread.
    pub bfd: crate::bfd::Handle,
}

struct Live {
    number: u64,
    conn: ConnId,
    ifindex: Option<u32>,
    /// Its own addresses as next hops, where it is on a link: what is lost with it.
    gateways: Gateways,
    outlet: Arc<Outlet>,
    /// Answers whose credit is not given back yet.
    owed: usize,
}

struct Task {
    setup: Setup,
    peer: Peer,
    connections: Connections,
    /// For the RIB, in order, when its queue is full.
    to_rib: VecDeque<RibInput>,
    in_flight: Arc<InFlight>,
    live: Option<Live>,
    /// Lines about malformed UPDATEs: one each would let the neighbour write our log.
    malformed: Sparing,
    bfd: BfdWatch,
    enabled: bool,
    /// Drained as the file says it; a command goes beyond that until the file says something new.
    drain_in_file: bool,
    /// Next hops that the FIB was told to leave.
    drained: BTreeSet<NextHop>,
    leaving: bool,
}

/// Runs until told to leave (or, made from a range, long without a session).
pub async fn run(setup: Setup, commands: mpsc::Receiver<Command>) {
    let peer = Peer::new(&setup.speaker, setup.config.clone(), setup.seed);
    let enabled = setup.config.enabled;
    let drain_in_file = setup.config.drain;
    let bfd = BfdWatch::new(setup.bfd.clone());
    let mut task = Task {
        setup,
        peer,
        connections: Connections::default(),
        to_rib: VecDeque::new(),
        in_flight: Arc::default(),
        live: None,
        malformed: Sparing::default(),
        bfd,
        enabled,
        drain_in_file,
        drained: BTreeSet::new(),
        leaving: false,
    };
    task.peer.set_restarting(task.setup.restarting);
    if task.setup.forwarding_lost {
        task.peer.forwarding_lost();
    }
    task.watch_path();
    if enabled {
        task.input(Input::ManualStart);
    }
    task.drive(commands).await;
}

impl Task {
    async fn drive(&mut self, mut commands: mpsc::Receiver<Command>) {
        let rib = self.setup.rib.clone();
        let in_flight = Arc::clone(&self.in_flight);
        let mut idle_since = tokio::time::Instant::now();
        loop {
            if self.live.is_some() || !self.connections.is_empty() {
                idle_since = tokio::time::Instant::now();
            }
            let forget = idle_since + DYNAMIC_KEEP;
            let over = self.leaving || self.setup.dynamic && tokio::time::Instant::now() >= forget;
            if over && self.connections.is_empty() && self.to_rib.is_empty() {
                return;
            }
            self.give_credit();
            self.hand_over();
            let deadline = self.peer.poll_timeout().map(|at| self.setup.clock.instant(at).into());
            let wait = deadline.map_or(forget, |d: tokio::time::Instant| d.min(forget));
            let held_back = self.to_rib.len() >= HELD_BACK;
            let read = !held_back && in_flight.has_room();
            tokio::select! {
                permit = rib.reserve(), if !self.to_rib.is_empty() => match (permit, self.to_rib.pop_front()) {
                    (Ok(permit), Some(input)) => permit.send(input),
                    _ => return,
                },
                event = poll_fn(|cx| self.connections.poll_event(cx, read)), if !self.connections.is_empty() => self.event(event),
                () = in_flight.wait(), if !read && !held_back => {}
                () = self.bfd.changed() => self.path_changed(),
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                () = tokio::time::sleep_until(wait), if deadline.is_some() || self.setup.dynamic => {
                    self.timeout();
                }
            }
        }
    }

    fn timeout(&mut self) {
        let now = self.setup.clock.now();
        // What waits in a socket, be it because we may not read or because we were slow, is no silence.
        for conn in self.connections.unread() {
            self.peer.handle_input(now, Input::Unread { conn });
        }
        self.peer.handle_timeout(now);
        self.drain();
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Connected(conn, remote, local) => self.input(Input::ConnectionEstablished { conn, remote, local }),
            Event::Failed(conn, error) => {
                debug!(neighbor = %self.setup.config.name, %conn, %error, "connection failed");
                self.input(Input::ConnectionFailed { conn });
            }
            Event::Data(conn, bytes) => {
                self.input(Input::Received { conn, bytes: &bytes });
                self.hold(bytes.len());
            }
            Event::Closed => {}
            Event::Progress(conn, unsent) => self.input(Input::SendProgress { conn, unsent }),
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Incoming(stream, remote, local) => self.incoming(stream, remote, local),
            Command::Updates { session, outgoing } => {
                if let Some(live) = self.live.as_mut().filter(|l| l.number == session) {
                    live.owed += 1;
                    self.peer.send_updates(self.setup.clock.now(), outgoing.into_bytes());
                    self.drain();
                }
            }
            Command::Teardown { session, notification, idle_hold } => {
                if self.live.as_ref().is_some_and(|l| l.number == session) {
                    self.input(Input::Teardown { notification, idle_hold });
                }
            }
            Command::Reconfigure(speaker, config) => self.reconfigure(speaker, config),
            Command::SetEnabled(true, _) => {
                self.enabled = true;
                self.watch_path();
                self.input(Input::ManualStart);
            }
            Command::SetEnabled(false, message) => {
                self.enabled = false;
                self.watch_path();
                // RFC 4486 §4: 2, Administrative Shutdown.
                self.input(Input::ManualStop { subcode: 2, message });
            }
            Command::SetDrained(drain) => {
                let config = NeighborConfig { drain, ..NeighborConfig::clone(&self.setup.config) };
                self.take_over(self.setup.speaker.clone(), Arc::new(config));
            }
            Command::RestartComplete => self.peer.set_restarting(false),
            Command::InterfacesDown(down) => self.interfaces_down(&down),
            Command::Status(answer) => {
                let _ = answer.send(Box::new(self.snapshot()));
            }
            Command::Remove(subcode) => {
                self.leaving = true;
                self.tell_drain();
                self.watch_path();
                self.input(Input::ManualStop { subcode, message: String::new() });
                self.to_rib.push_back(RibInput::Removed(self.setup.id));
            }
        }
    }

    fn incoming(&mut self, stream: TcpStream, remote: SocketAddr, local: SocketAddr) {
        let conn = ConnId(ConnId::INCOMING | NEXT_NUMBER.fetch_add(1, Ordering::Relaxed));
        if let Err(error) = dial::prepare_accepted(&stream, &self.setup.config) {
            warn!(neighbor = %self.setup.config.name, %error, "accepted connection closed");
            return;
        }
        self.connections.adopt(conn, stream);
        self.input(Input::ConnectionIncoming { conn, remote, local });
    }

    fn reconfigure(&mut self, speaker: Arc<SpeakerConfig>, config: Arc<NeighborConfig>) {
        // What a command switched off stays off, unless the file itself says something new; a drain likewise.
        let (was, is) = (self.setup.config.enabled, config.enabled);
        let drain = if config.drain == self.drain_in_file { self.setup.config.drain } else { config.drain };
        self.drain_in_file = config.drain;
        let config = if config.drain == drain {
            config
        } else {
            Arc::new(NeighborConfig { drain, ..NeighborConfig::clone(&config) })
        };
        self.take_over(speaker, config);
        match (was, is) {
            (false, true) => self.command(Command::SetEnabled(true, String::new())),
            (true, false) => self.command(Command::SetEnabled(false, "disabled in the configuration".into())),
            _ => {}
        }
    }

    fn take_over(&mut self, speaker: Arc<SpeakerConfig>, config: Arc<NeighborConfig>) {
        let outcome = self.peer.reconfigure(self.setup.clock.now(), &speaker, config.clone());
        if let Reconfigured::Reset(field) = outcome {
            info!(neighbor = %config.name, field, "session reset: configuration changed");
        }
        self.setup.speaker = speaker;
        self.setup.config = config.clone();
        self.to_rib.push_back(RibInput::Reconfigured(self.setup.id, config));
        self.tell_drain();
        self.drain();
        self.watch_path();
    }

    /// A directly connected eBGP session does not wait for its hold timer when the link is down.
    fn interfaces_down(&mut self, down: &[u32]) {
        let config = &self.setup.config;
        let direct = !config.relation.is_internal() && config.multihop.is_none();
        let Some(live) = &self.live else { return };
        if let (true, Some(conn)) = (direct, live.ifindex.filter(|i| down.contains(i)).map(|_| live.conn)) {
            info!(neighbor = %config.name, "interface down: session ended at once");
            self.connections.abort(conn);
            self.input(Input::ConnectionFailed { conn });
        }
    }

    /// Has BFD watch the path as the configuration wants it, as long as the neighbour is enabled.
    fn watch_path(&mut self) {
        let config = self.setup.config.bfd.as_ref().filter(|_| self.enabled && !self.leaving);
        let key = match (config, self.setup.config.remote) {
            (Some(bfd), RemoteAddress::Fixed(peer)) => Some(SessionKey {
                peer,
                local: self.setup.config.local_address,
                interface: Some(self.scope(peer)).filter(|i| *i != 0),
                multihop: bfd.multihop,
            }),
            _ => None,
        };
        self.bfd.set(key.zip(config));
    }

    /// BFD's word about the path.
    fn path_changed(&mut self) {
        let (report, failed) = self.bfd.take();
        // RFC 5882 §4.3.1: where BFD outlives the neighbour's control plane, its failure is the path's, and a restart
        // that is under way is one no longer. With C clear it may be no more than the restart itself (§4.3.2).
        if failed && self.live.is_none() && report.remote_control_plane_independent {
            self.to_rib.push_back(RibInput::Down { id: self.setup.id, retain: None, lost: Vec::new() });
        }
        self.input(Input::Bfd { permits: report.permits(), failed });
    }

    fn input(&mut self, input: Input<'_>) {
        self.peer.handle_input(self.setup.clock.now(), input);
        self.drain();
    }

    /// Does what the core asks for until it asks for nothing more.
    fn drain(&mut self) {
        let mut closing = Vec::new();
        while let Some(output) = self.peer.poll_output() {
            match output {
                Output::Connect { conn } => self.connect(conn),
                Output::Close { conn } => closing.push(conn),
                Output::StateChanged { from, to } => {
                    debug!(neighbor = %self.setup.config.name, %from, %to, "state");
                }
                Output::Established(session) => self.established(&session),
                Output::Updates(updates) => {
                    if let Some(live) = &mut self.live {
                        live.gateways.learn(&updates);
                    }
                    for update in updates.iter().filter(|u| !u.errors.is_empty()) {
                        let now = self.setup.clock.now();
                        malformed::report(&mut self.malformed, now, &self.setup.config.name, update);
                    }
                    self.to_rib.push_back(RibInput::Updates(self.setup.id, updates, None));
                }
                Output::RouteRefresh(refresh) => self.to_rib.push_back(RibInput::RouteRefresh(self.setup.id, refresh)),
                Output::Down(down) => self.down(&down),
                Output::OpenFailed(down) => {
                    info!(neighbor = %self.setup.config.name, "no session: {}", down.reason);
                }
            }
        }
        for conn in self.connections.ids().into_iter().chain(closing.iter().copied()) {
            while let Some(message) = self.peer.poll_transmit(conn) {
                self.connections.send(conn, message);
            }
        }
        for conn in closing {
            self.connections.close(conn);
        }
    }

    fn connect(&mut self, conn: ConnId) {
        let RemoteAddress::Fixed(address) = self.setup.config.remote else { return };
        // An interface may be there by now, or be another.
        self.watch_path();
        let scope = self.scope(address);
        self.connections.dial(conn, dial::dial(self.setup.config.clone(), address, scope));
    }

    /// The interface of a link-local neighbour, as the socket address wants it.
    fn scope(&self, address: IpAddr) -> u32 {
        let link_local = matches!(address, IpAddr::V6(a) if a.is_unicast_link_local());
        let name = self.setup.config.interface.as_deref().filter(|_| link_local);
        let table = self.setup.interfaces.borrow();
        name.and_then(|n| table.iter().find(|c| c.ifname == n)).map_or(0, |c| c.ifindex)
    }

    fn established(&mut self, session: &Session) {
        let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
        let info = peer_info(&self.setup, session);
        info!(
            neighbor = %self.setup.config.name, remote = %session.remote, local = %session.local,
            remote_as = %info.remote_as, hold_time = session.hold_time, "session established"
        );
        let outlet = Arc::new(Outlet::default());
        self.live = Some(Live {
            number,
            conn: session.conn,
            ifindex: info.ifindex,
            gateways: Gateways::new(&self.setup.config, session.remote.ip()),
            outlet: Arc::clone(&outlet),
            owed: 0,
        });
        self.tell_drain();
        let task = self.setup.commands.clone();
        self.to_rib.push_back(RibInput::Up { info: Box::new(info), session: number, task, outlet });
    }

    fn down(&mut self, down: &Down) {
        let retain = down.retain.as_ref().filter(|_| !self.leaving);
        let retain = retain.map(|r| Retain { families: r.families.clone(), restart_time: r.restart_time });
        let hops = self.hops();
        self.live = None;
        // RFC 4724 §4.2: who restarts goes on forwarding.
        let lost = if retain.is_none() { hops } else { Vec::new() };
        if !lost.is_empty() {
            self.setup.hops.lost(lost.clone(), LossReason::SessionDown);
        }
        warn!(neighbor = %self.setup.config.name, "session down: {}", down.reason);
        self.to_rib.push_back(RibInput::Down { id: self.setup.id, retain, lost });
    }

    /// The next hops that lead to the neighbour itself.
    fn hops(&self) -> Vec<NextHop> {
        let Some((ifindex, live)) = self.live.as_ref().and_then(|l| Some((l.ifindex?, l))) else { return Vec::new() };
        live.gateways.addresses().map(|g| NextHop { gateway: Some(g), ifindex, through: None }).collect()
    }

    /// The FIB is told that traffic is to leave the session's next hops, or (of those that it was told of) may come back.
    fn tell_drain(&mut self) {
        let hops = if self.setup.config.drain && !self.leaving { self.hops() } else { Vec::new() };
        if !hops.is_empty() {
            self.setup.hops.lost(hops.clone(), LossReason::Drained);
            self.drained.extend(hops);
        } else if !self.setup.config.drain || self.leaving {
            let back: Vec<NextHop> = std::mem::take(&mut self.drained).into_iter().collect();
            if !back.is_empty() {
                self.setup.hops.returned(back, LossReason::Drained);
            }
        }
    }

    /// What came of a read of so many octets is worked off when the last UPDATEs of it are.
    fn hold(&mut self, octets: usize) {
        let last = self.to_rib.iter_mut().rev().find_map(|input| match input {
            RibInput::Updates(_, _, held) => Some(held),
            _ => None,
        });
        // One that holds already is of an earlier read: this one brought no routes.
        if let Some(held) = last.filter(|held| held.is_none()) {
            *held = Some(self.in_flight.hold(octets));
        }
    }

    /// Lets the RIB make more when the socket has taken nearly all.
    fn give_credit(&mut self) {
        let Some(live) = &mut self.live else { return };
        while live.owed > 0 && self.connections.queued(live.conn).is_some_and(|q| q < LOW_WATER) {
            live.owed -= 1;
            if live.outlet.give() {
                self.to_rib.push_back(RibInput::Pull(self.setup.id));
            }
        }
    }

    /// Gives the RIB what its queue has room for; for the rest the task waits.
    fn hand_over(&mut self) {
        while let Some(input) = self.to_rib.pop_front() {
            match self.setup.rib.try_send(input) {
                Ok(()) => {}
                Err(TrySendError::Full(input) | TrySendError::Closed(input)) => return self.to_rib.push_front(input),
            }
        }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            id: self.setup.id,
            config: self.setup.config.clone(),
            dynamic: self.setup.dynamic,
            enabled: self.enabled,
            status: self.peer.status(),
            now: self.setup.clock.now(),
        }
    }
}

/// The session with what only the interfaces know: where it runs, and which addresses we can offer as next hops.
fn peer_info(setup: &Setup, session: &Session) -> PeerInfo {
    let table = setup.interfaces.borrow().clone();
    let (address, local_address) = (session.remote.ip(), session.local.ip());
    let ours = table.iter().find(|c| c.address == local_address);
    let shared = |c: &&bgp_core::rib::Connected| c.prefix.contains(address) && c.prefix.len() < c.prefix.max_len();
    let scope = match session.remote {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => Some(v6.scope_id()),
        _ => None,
    };
    // On a connected subnet: the interface that holds our end and reaches theirs.
    let direct = scope.or_else(|| table.iter().filter(|c| c.address == local_address).find(shared).map(|c| c.ifindex));
    let ifindex = direct.or(ours.map(|c| c.ifindex));
    let v6 = |want: fn(&Ipv6Addr) -> bool| {
        table.iter().filter(|c| Some(c.ifindex) == ifindex).find_map(|c| match c.address {
            IpAddr::V6(a) if want(&a) => Some(a),
            _ => None,
        })
    };
    PeerInfo {
        id: setup.id,
        config: setup.config.clone(),
        session: session.context.clone(),
        remote_as: session.peer_open.asn,
        bgp_identifier: session.peer_open.bgp_identifier,
        address,
        local_address,
        local_ipv4: match local_address {
            IpAddr::V4(a) => Some(a),
            IpAddr::V6(_) => table.iter().filter(|c| Some(c.ifindex) == ifindex).find_map(|c| match c.address {
                IpAddr::V4(a) if !a.is_loopback() => Some(a),
                _ => None,
            }),
        },
        local_ipv6: match local_address {
            IpAddr::V6(a) if !a.is_unicast_link_local() => Some(a),
            _ => v6(|a| !a.is_unicast_link_local() && !a.is_loopback()),
        },
        local_ipv6_link_local: v6(Ipv6Addr::is_unicast_link_local),
        ifindex: direct,
        peer_role: session.peer_open.capabilities.iter().find_map(|c| match c {
            Capability::Role(role) => Some(*role),
            _ => None,
        }),
        graceful_restart: session.graceful_restart.clone(),
        enhanced_refresh: session.enhanced_refresh,
    }
}

#[cfg(test)]
#[path = "neighbor_tests.rs"]
mod tests;
