//! The sockets: one to receive a family and port, one to send a session (RFC 5881 §4).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use bgp_core::bfd::{Discriminator, MULTIHOP_PORT, SINGLE_HOP_PORT, SessionKey};
use kernel::datagram::DatagramSocket;
use tracing::{debug, warn};

/// RFC 5881 §4: source ports are 49152 to 65535.
const FIRST_SOURCE_PORT: u16 = 49152;
const SOURCE_PORTS: u16 = 16384;
/// Ports that are tried before a session waits for its next packet.
const TRIES: u16 = 64;

#[derive(Debug)]
struct Receiver {
    socket: Arc<DatagramSocket>,
    v6: bool,
    multihop: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    receivers: Vec<Receiver>,
    senders: HashMap<Discriminator, (DatagramSocket, SocketAddr)>,
    complained: bool,
}

impl Sockets {
    /// Opens what a session of this key needs to be heard; false: it could not, try again.
    pub(super) fn listen(&mut self, key: &SessionKey) -> bool {
        let (v6, multihop) = (key.peer.is_ipv6(), key.multihop);
        if self.receivers.iter().any(|r| r.v6 == v6 && r.multihop == multihop) {
            return true;
        }
        let port = if multihop { MULTIHOP_PORT } else { SINGLE_HOP_PORT };
        match DatagramSocket::receiver(v6, port) {
            Ok(socket) => {
                self.receivers.push(Receiver { socket: Arc::new(socket), v6, multihop });
                self.complained = false;
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut self.complained, true) {
                    warn!(%error, port, "BFD cannot listen; end the other daemon that holds the port");
                }
                false
            }
        }
    }

    /// What can become readable.
    pub(super) fn readable(&self) -> Vec<Arc<DatagramSocket>> {
        self.receivers.iter().map(|r| r.socket.clone()).collect()
    }

    /// Each receiver, and whether it is the multihop one.
    pub(super) fn receivers(&self) -> impl Iterator<Item = (&DatagramSocket, bool)> {
        self.receivers.iter().map(|r| (&*r.socket, r.multihop))
    }

    /// Sends a session's packet; its socket is made with the first.
    pub(super) fn send(&mut self, id: Discriminator, key: &SessionKey, payload: &[u8]) {
        let (socket, to) = match self.senders.entry(id) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(none) => match sender(id, key) {
                Ok(socket) => none.insert((socket, target(key))),
                // An address that is not there yet: the next packet tries again.
                Err(error) => return debug!(peer = %key.peer, %error, "no BFD socket"),
            },
        };
        if let Err(error) = socket.send(payload, *to) {
            debug!(peer = %key.peer, %error, "BFD packet not sent");
        }
    }

    /// Of a session that is gone.
    pub(super) fn forget(&mut self, id: Discriminator) {
        self.senders.remove(&id);
    }
}

fn target(key: &SessionKey) -> SocketAddr {
    with_scope(key.peer, if key.multihop { MULTIHOP_PORT } else { SINGLE_HOP_PORT }, key.interface)
}

fn with_scope(address: IpAddr, port: u16, interface: Option<u32>) -> SocketAddr {
    match address {
        IpAddr::V6(a) if a.is_unicast_link_local() => SocketAddrV6::new(a, port, 0, interface.unwrap_or(0)).into(),
        _ => SocketAddr::new(address, port),
    }
}

/// RFC 5881 §4: one port for all packets of a session, and another for each session.
fn sender(id: Discriminator, key: &SessionKey) -> io::Result<DatagramSocket> {
    let any: IpAddr = if key.peer.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let local = key.local.unwrap_or(any);
    let [a, b, ..] = id.0.to_be_bytes();
    let start = u16::from_be_bytes([a, b]) % SOURCE_PORTS;
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for n in 0..TRIES {
        let port = FIRST_SOURCE_PORT + start.wrapping_add(n) % SOURCE_PORTS;
        match DatagramSocket::sender(with_scope(local, port, key.interface)) {
            Ok(socket) => return Ok(socket),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => last = e,
            Err(e) => return Err(e),
        }
    }
    Err(last)
}
