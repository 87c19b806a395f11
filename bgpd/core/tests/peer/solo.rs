//! One peer and what a neighbour could send it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bgp_core::config::{Ducts, Multipath, NeighborConfig, Relation, SpeakerConfig};
use bgp_core::peer::{ConnId, Down, Input, Output, Peer, Session};
use bgp_wire::message::{self, HEADER_LEN, MAX_EXTENDED_LEN};
use bgp_wire::{Capability, Message, Notification, Open, SessionContext};
use net_types::{Asn, Family, Monotime, RouterId};

pub(crate) fn speaker(local_as: u32, router_id: &str) -> SpeakerConfig {
    SpeakerConfig {
        local_as: Asn(local_as),
        router_id: router_id.parse().unwrap(),
        lab: true,
        own_prefixes: Vec::new(),
        internal_prefixes: Vec::new(),
        cluster_id: None,
        selection_deferral: Duration::from_secs(60),
        max_med_on_startup: Duration::ZERO,
        wait_for_fib: true,
        ducts: Ducts::default(),
        multipath: Multipath::default(),
    }
}

/// A neighbour at 192.0.2.2 with every option at its ordinary value.
pub(crate) fn neighbor(remote_as: u32, relation: Relation) -> NeighborConfig {
    NeighborConfig {
        enforce_first_as: true,
        extended_next_hop: true,
        next_hop_self: true,
        max_as_path: 100,
        ..NeighborConfig::ordinary("op-a", "192.0.2.2".parse().unwrap(), Asn(remote_as), relation)
    }
}

/// The OPEN of an ordinary neighbour: AS 64501, a provider.
pub(crate) fn open_of(asn: u32, identifier: &str, capabilities: Vec<Capability>) -> Open {
    Open {
        version: 4,
        asn: Asn(asn),
        my_as: Asn(asn).as_two_octet(),
        hold_time: 90,
        bgp_identifier: identifier.parse().unwrap(),
        capabilities,
    }
}

pub(crate) fn families() -> Vec<Capability> {
    Family::SUPPORTED.iter().map(|f| Capability::Multiprotocol(*f)).collect()
}

pub(crate) fn encode(message: &Message) -> Vec<u8> {
    message::encode(message, &SessionContext::initial()).unwrap().to_vec()
}

pub(crate) fn keepalive() -> Vec<u8> {
    encode(&Message::Keepalive)
}

/// An UPDATE that says End-of-RIB for IPv4 unicast: the smallest there is.
pub(crate) fn end_of_rib() -> Vec<u8> {
    let mut bytes = vec![0xff; 16];
    bytes.extend_from_slice(&[0, 23, 2, 0, 0, 0, 0]);
    bytes
}

/// A header with any type and length, and a body.
pub(crate) fn raw(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xff; 16];
    bytes.extend_from_slice(&u16::try_from(HEADER_LEN + body.len()).unwrap().to_be_bytes());
    bytes.push(kind);
    bytes.extend_from_slice(body);
    bytes
}

/// Cuts a run of bytes into messages.
pub(crate) fn messages(mut bytes: &[u8], context: &SessionContext) -> Vec<Message> {
    let mut found = Vec::new();
    while let Some(frame) = message::frame(bytes, MAX_EXTENDED_LEN).expect("we send well-formed messages") {
        found.push(message::decode(frame.kind, &bytes[HEADER_LEN..frame.len], context).unwrap());
        bytes = &bytes[frame.len..];
    }
    assert!(bytes.is_empty(), "we send whole messages");
    found
}

pub(crate) struct Solo {
    pub(crate) peer: Peer,
    pub(crate) now: Monotime,
    incoming: u64,
}

impl Solo {
    pub(crate) fn new(config: NeighborConfig) -> Solo {
        Solo::of(&speaker(64500, "192.0.2.1"), config)
    }

    pub(crate) fn of(speaker: &SpeakerConfig, config: NeighborConfig) -> Solo {
        Solo { peer: Peer::new(speaker, Arc::new(config), 42), now: Monotime::from_secs(1000), incoming: 0 }
    }

    /// Against AS 64501, our transit.
    pub(crate) fn transit() -> Solo {
        Solo::new(neighbor(64501, Relation::Transit))
    }

    pub(crate) fn input(&mut self, input: Input<'_>) -> Vec<Output> {
        self.peer.handle_input(self.now, input);
        self.outputs()
    }

    pub(crate) fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.peer.poll_output()).collect()
    }

    /// Jumps to the next timer and runs it.
    pub(crate) fn next_timer(&mut self) -> Vec<Output> {
        self.now = self.now.max(self.peer.poll_timeout().expect("a timer runs"));
        self.peer.handle_timeout(self.now);
        self.outputs()
    }

    pub(crate) fn wait(&mut self, time: Duration) -> Vec<Output> {
        let end = self.now + time;
        let mut outputs = Vec::new();
        while self.peer.poll_timeout().is_some_and(|t| t <= end) {
            outputs.extend(self.next_timer());
        }
        self.now = end;
        outputs
    }

    /// ManualStart, and the connect comes up.
    pub(crate) fn start(&mut self) -> ConnId {
        let outputs = self.input(Input::ManualStart);
        self.connect(&outputs)
    }

    pub(crate) fn connect(&mut self, outputs: &[Output]) -> ConnId {
        let conn = connect_of(outputs).expect("a connect was asked for");
        self.input(Input::ConnectionEstablished { conn, remote: ends().1, local: ends().0 });
        conn
    }

    pub(crate) fn accept(&mut self) -> (ConnId, Vec<Output>) {
        self.incoming += 1;
        let conn = ConnId(ConnId::INCOMING | self.incoming);
        let outputs = self.input(Input::ConnectionIncoming { conn, remote: ends().1, local: ends().0 });
        (conn, outputs)
    }

    pub(crate) fn receive(&mut self, conn: ConnId, bytes: &[u8]) -> Vec<Output> {
        self.input(Input::Received { conn, bytes })
    }

    pub(crate) fn receive_open(&mut self, conn: ConnId, open: &Open) -> Vec<Output> {
        self.receive(conn, &encode(&Message::Open(open.clone())))
    }

    /// Goes on from OpenSent to Established; returns the session.
    pub(crate) fn establish(&mut self, conn: ConnId, open: &Open) -> Session {
        self.receive_open(conn, open);
        let outputs = self.receive(conn, &keepalive());
        let session = outputs.iter().find_map(|o| match o {
            Output::Established(session) => Some(session.as_ref().clone()),
            _ => None,
        });
        session.unwrap_or_else(|| panic!("no session: {outputs:?}, {:?}", self.peer.status()))
    }

    /// Everything queued for a connection, as messages.
    pub(crate) fn sent(&mut self, conn: ConnId) -> Vec<Message> {
        let bytes: Vec<u8> = std::iter::from_fn(|| self.peer.poll_transmit(conn)).flatten().collect();
        messages(&bytes, &SessionContext::initial())
    }

    /// The NOTIFICATION that went out last.
    pub(crate) fn sent_notification(&mut self, conn: ConnId) -> Notification {
        match self.sent(conn).pop() {
            Some(Message::Notification(notification)) => notification,
            other => panic!("no NOTIFICATION but {other:?}"),
        }
    }
}

pub(crate) fn ends() -> (SocketAddr, SocketAddr) {
    let at = |text: &str, port| SocketAddr::new(text.parse::<IpAddr>().unwrap(), port);
    (at("192.0.2.1", 40000), at("192.0.2.2", 179))
}

pub(crate) fn connect_of(outputs: &[Output]) -> Option<ConnId> {
    outputs.iter().find_map(|o| match o {
        Output::Connect { conn } => Some(*conn),
        _ => None,
    })
}

pub(crate) fn down_of(outputs: &[Output]) -> Option<&Down> {
    outputs.iter().find_map(|o| match o {
        Output::Down(down) => Some(down.as_ref()),
        _ => None,
    })
}

pub(crate) fn closes(outputs: &[Output], conn: ConnId) -> bool {
    outputs.contains(&Output::Close { conn })
}

pub(crate) fn codes(notification: &Notification) -> (u8, u8) {
    (notification.code, notification.subcode)
}

pub(crate) fn id(text: &str) -> RouterId {
    text.parse().unwrap()
}
