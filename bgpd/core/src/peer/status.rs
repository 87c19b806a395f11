//! What a peer tells about itself.

use std::net::SocketAddr;

use bgp_wire::Capability;
use bgp_wire::message::HEADER_LEN;
use net_types::{Family, Monotime, RouterId};

use super::connection::Connection;
use super::{Peer, State};

/// A picture of one neighbour, for `noc show neighbors`.
#[derive(Clone, PartialEq, Debug)]
pub struct PeerStatus {
    /// Furthest state of its connections.
    pub state: State,
    /// Since when.
    pub state_since: Monotime,
    /// From the neighbour's OPEN.
    pub bgp_identifier: Option<RouterId>,
    /// Negotiated, seconds.
    pub hold_time: Option<u16>,
    /// Families in force.
    pub families: Vec<Family>,
    /// In our last OPEN.
    pub capabilities_sent: Vec<Capability>,
    /// In the neighbour's last OPEN.
    pub capabilities_received: Vec<Capability>,
    /// What ended the last session or attempt; empty: nothing yet.
    pub last_error: String,
    /// Connection failures in a row (ConnectRetryCounter, RFC 4271 §8).
    pub connect_retry_counter: u32,
    /// Whole messages.
    pub messages_received: u64,
    /// Whole messages.
    pub messages_sent: u64,
    /// UPDATEs among them.
    pub updates_received: u64,
    /// UPDATEs among them.
    pub updates_sent: u64,
    /// How often a session came up.
    pub established_transitions: u32,
    /// Errors in UPDATEs that RFC 7606 let the session survive.
    pub update_errors: u64,
    /// Our end of the furthest connection.
    pub local: Option<SocketAddr>,
    /// Its other end.
    pub remote: Option<SocketAddr>,
}

/// Counted since the peer was made.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) messages_received: u64,
    pub(super) messages_sent: u64,
    pub(super) updates_received: u64,
    pub(super) updates_sent: u64,
    pub(super) established_transitions: u32,
    pub(super) update_errors: u64,
}

impl Counters {
    /// Counts the messages of an encoded run by their headers.
    pub(super) fn count_sent(&mut self, mut encoded: &[u8]) {
        while let Some(&[high, low, kind]) = encoded.get(16..HEADER_LEN) {
            self.messages_sent += 1;
            self.updates_sent += u64::from(kind == 2);
            let length = usize::from(u16::from_be_bytes([high, low])).max(HEADER_LEN);
            encoded = encoded.get(length..).unwrap_or_default();
        }
    }
}

impl Peer {
    /// A picture of now.
    pub fn status(&self) -> PeerStatus {
        let furthest = self.connections.iter().max_by_key(|c| c.state());
        let agreed = furthest.and_then(Connection::agreed);
        PeerStatus {
            state: self.state(),
            state_since: self.shown_since,
            bgp_identifier: self.peer_identifier,
            hold_time: agreed.map(|a| a.negotiated.hold_time),
            families: agreed.map(|a| a.negotiated.context.families.clone()).unwrap_or_default(),
            capabilities_sent: furthest
                .and_then(Connection::our_open)
                .map(|o| o.capabilities.clone())
                .unwrap_or_default(),
            capabilities_received: self.capabilities_received.clone(),
            last_error: self.last_error.clone(),
            connect_retry_counter: self.back_off.failures,
            messages_received: self.counters.messages_received,
            messages_sent: self.counters.messages_sent,
            updates_received: self.counters.updates_received,
            updates_sent: self.counters.updates_sent,
            established_transitions: self.counters.established_transitions,
            update_errors: self.counters.update_errors,
            local: furthest.map(|c| c.local),
            remote: furthest.map(|c| c.remote),
        }
    }
}
