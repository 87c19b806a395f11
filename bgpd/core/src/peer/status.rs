//! What a peer tells about itself.

use std::net::SocketAddr;

use bgp_wire::Capability;
use net_types::{Family, Monotime, RouterId};

use super::State;

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
