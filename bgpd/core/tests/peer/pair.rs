//! Two peers joined by byte queues: latency, cuts, a blocked direction, and time that jumps to the next event.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bgp_core::config::{NeighborConfig, SpeakerConfig};
use bgp_core::peer::{ConnId, Input, Output, Peer, State};
use bytes::Bytes;
use net_types::Monotime;

/// What reaches a side over a link.
#[derive(Debug)]
enum Event {
    Syn,
    SynAck,
    Bytes(Bytes),
    Fin,
}

/// One TCP connection, `opener` to the other.
#[derive(Debug)]
struct Link {
    opener: usize,
    names: [Option<ConnId>; 2],
    /// Up and not closed at this side.
    open: [bool; 2],
    held: [Vec<Bytes>; 2],
}

pub(crate) struct Pair {
    pub(crate) now: Monotime,
    pub(crate) peers: [Peer; 2],
    pub(crate) log: [Vec<(Monotime, Output)>; 2],
    pub(crate) latency: Duration,
    /// Nothing crosses; nobody is told.
    pub(crate) cut: bool,
    /// What this side sends stays in its shell.
    pub(crate) blocked: [bool; 2],
    /// Received bytes come one at a time.
    pub(crate) chop: bool,
    addresses: [IpAddr; 2],
    links: Vec<Link>,
    events: BTreeMap<(Monotime, u64), (usize, usize, Event)>,
    sequence: u64,
    established: [bool; 2],
}

impl Pair {
    pub(crate) fn new(sides: [(SpeakerConfig, NeighborConfig); 2], addresses: [&str; 2]) -> Pair {
        let mut seed = 0;
        let peers = sides.map(|(speaker, config)| {
            seed += 1;
            Peer::new(&speaker, Arc::new(config), seed)
        });
        Pair {
            now: Monotime::from_secs(10),
            peers,
            log: [Vec::new(), Vec::new()],
            latency: Duration::from_millis(5),
            cut: false,
            blocked: [false; 2],
            chop: false,
            addresses: addresses.map(|a| a.parse().unwrap()),
            links: Vec::new(),
            events: BTreeMap::new(),
            sequence: 0,
            established: [false; 2],
        }
    }

    pub(crate) fn input(&mut self, side: usize, input: Input<'_>) {
        self.peers[side].handle_input(self.now, input);
        self.drain(side);
    }

    pub(crate) fn start(&mut self) {
        self.input(0, Input::ManualStart);
        self.input(1, Input::ManualStart);
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.next_event().is_some_and(|t| t <= end) {
            self.step();
        }
        self.now = end;
    }

    /// Steps until both are Established; how long it took.
    pub(crate) fn until_established(&mut self, limit: Duration) -> Duration {
        let (start, end) = (self.now, self.now + limit);
        while !self.both_established() {
            assert!(self.next_event().is_some_and(|t| t <= end), "no session in {limit:?}: {:?}", self.states());
            self.step();
        }
        // Let what is under way arrive: a session that a crossing message would kill is none.
        self.run_for(self.latency * 4);
        assert!(self.both_established(), "the session did not last: {:?}", self.states());
        self.now.since(start)
    }

    pub(crate) fn both_established(&self) -> bool {
        self.states() == [State::Established; 2]
    }

    pub(crate) fn states(&self) -> [State; 2] {
        [self.peers[0].state(), self.peers[1].state()]
    }

    /// Links open at both ends.
    pub(crate) fn live_links(&self) -> usize {
        self.links.iter().filter(|l| l.open == [true; 2]).count()
    }

    /// Who opened the link that is left.
    pub(crate) fn opener(&self) -> usize {
        let live: Vec<_> = self.links.iter().filter(|l| l.open == [true; 2]).collect();
        assert_eq!(live.len(), 1, "exactly one connection is left");
        live[0].opener
    }

    /// This side's end of everything vanishes without a word, as when its host loses power.
    pub(crate) fn forget(&mut self, side: usize, peer: Peer) {
        for link in &mut self.links {
            link.open[side] = false;
            link.names[side] = None;
        }
        self.peers[side] = peer;
        self.established[side] = false;
    }

    pub(crate) fn unblock(&mut self, side: usize) {
        self.blocked[side] = false;
        for link in 0..self.links.len() {
            let held = std::mem::take(&mut self.links[link].held[side]);
            for bytes in held {
                self.send(1 - side, link, Event::Bytes(bytes));
            }
            if let Some(conn) = self.links[link].names[side] {
                self.peers[side].handle_input(self.now, Input::SendProgress { conn, unsent: 0 });
            }
        }
        self.drain(side);
    }

    fn next_event(&self) -> Option<Monotime> {
        let queued = self.events.keys().next().map(|(at, _)| *at);
        [queued, self.peers[0].poll_timeout(), self.peers[1].poll_timeout()].into_iter().flatten().min()
    }

    /// Runs the next thing that happens.
    pub(crate) fn step(&mut self) {
        let Some(at) = self.next_event() else { return };
        self.now = self.now.max(at);
        if let Some(entry) = self.events.first_entry()
            && entry.key().0 <= self.now
        {
            let (side, link, event) = entry.remove();
            return self.arrive(side, link, event);
        }
        for side in 0..2 {
            if self.peers[side].poll_timeout().is_some_and(|t| t <= self.now) {
                self.peers[side].handle_timeout(self.now);
                self.drain(side);
            }
        }
    }

    fn arrive(&mut self, side: usize, link: usize, event: Event) {
        let (local, remote) = self.ends(side, link);
        match event {
            Event::Syn => {
                if !self.links[link].open[1 - side] {
                    return;
                }
                let conn = ConnId(ConnId::INCOMING | link as u64);
                self.links[link].names[side] = Some(conn);
                self.links[link].open[side] = true;
                self.send(1 - side, link, Event::SynAck);
                self.input(side, Input::ConnectionIncoming { conn, remote, local });
            }
            Event::SynAck => {
                if let (Some(conn), true) = (self.links[link].names[side], self.links[link].open[side]) {
                    self.input(side, Input::ConnectionEstablished { conn, remote, local });
                }
            }
            Event::Bytes(bytes) => {
                let step = if self.chop { 1 } else { bytes.len() };
                for bytes in bytes.chunks(step) {
                    match (self.links[link].names[side], self.links[link].open[side]) {
                        (Some(conn), true) => self.input(side, Input::Received { conn, bytes }),
                        // Nobody there: the kernel answers with RST.
                        _ => self.send(1 - side, link, Event::Fin),
                    }
                }
            }
            Event::Fin => {
                if std::mem::take(&mut self.links[link].open[side])
                    && let Some(conn) = self.links[link].names[side]
                {
                    self.input(side, Input::ConnectionFailed { conn });
                }
            }
        }
    }

    fn ends(&self, side: usize, link: usize) -> (SocketAddr, SocketAddr) {
        let port = |s: usize| if self.links[link].opener == s { 40000 } else { 179 };
        let at = |s: usize| SocketAddr::new(self.addresses[s], port(s));
        (at(side), at(1 - side))
    }

    fn send(&mut self, to: usize, link: usize, event: Event) {
        if !self.cut {
            self.sequence += 1;
            self.events.insert((self.now + self.latency, self.sequence), (to, link, event));
        }
    }

    /// The shell's half of the contract.
    pub(crate) fn drain(&mut self, side: usize) {
        while let Some(output) = self.peers[side].poll_output() {
            match &output {
                Output::Connect { conn } => {
                    let mut link =
                        Link { opener: side, names: [None; 2], open: [false; 2], held: [Vec::new(), Vec::new()] };
                    link.names[side] = Some(*conn);
                    link.open[side] = true;
                    self.links.push(link);
                    self.send(1 - side, self.links.len() - 1, Event::Syn);
                }
                Output::Close { conn } => {
                    self.transmit(side);
                    let found = self.links.iter().position(|l| l.names[side] == Some(*conn));
                    if let Some(link) = found
                        && std::mem::take(&mut self.links[link].open[side])
                    {
                        self.send(1 - side, link, Event::Fin);
                    }
                }
                Output::Established(_) => {
                    assert!(!self.established[side], "two sessions at once");
                    self.established[side] = true;
                }
                Output::Down(_) => {
                    assert!(self.established[side], "down without a session");
                    self.established[side] = false;
                }
                Output::Updates(_) | Output::RouteRefresh(_) => {
                    assert!(self.established[side], "routes without a session");
                }
                Output::StateChanged { .. } | Output::OpenFailed(_) => {}
            }
            self.log[side].push((self.now, output));
        }
        self.transmit(side);
    }

    fn transmit(&mut self, side: usize) {
        for link in 0..self.links.len() {
            let (Some(conn), true) = (self.links[link].names[side], self.links[link].open[side]) else { continue };
            let mut any = false;
            while let Some(bytes) = self.peers[side].poll_transmit(conn) {
                any = true;
                if self.blocked[side] {
                    self.links[link].held[side].push(bytes);
                } else {
                    self.send(1 - side, link, Event::Bytes(bytes));
                }
            }
            if any {
                let unsent = self.links[link].held[side].iter().map(Bytes::len).sum();
                self.peers[side].handle_input(self.now, Input::SendProgress { conn, unsent });
            }
        }
    }

    /// What this side saw of `wanted`.
    pub(crate) fn seen(&self, side: usize, wanted: impl Fn(&Output) -> bool) -> usize {
        self.log[side].iter().filter(|(_, o)| wanted(o)).count()
    }

    pub(crate) fn downs(&self, side: usize) -> usize {
        self.seen(side, |o| matches!(o, Output::Down(_)))
    }
}
