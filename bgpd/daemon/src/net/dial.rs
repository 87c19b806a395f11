//! The options of one BGP connection: source, interface, TTL (RFC 4271, GTSM RFC 5082), key (RFC 2385).

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd;
use std::sync::Arc;

use bgp_core::config::NeighborConfig;
use kernel::sockopt;
use net_types::Prefix;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use super::connections::Dialling;

/// Starts a connect to `address`; `scope` is the interface of a link-local one.
pub fn dial(config: Arc<NeighborConfig>, address: IpAddr, scope: u32) -> Dialling {
    Box::pin(async move {
        let remote = match address {
            IpAddr::V6(a) => SocketAddr::V6(SocketAddrV6::new(a, config.port, 0, scope)),
            IpAddr::V4(_) => SocketAddr::new(address, config.port),
        };
        let socket = Socket::new(Domain::for_address(remote), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        if let Some(interface) = &config.interface {
            sockopt::bind_to_device(&socket, interface)?;
        }
        if let Some(local) = config.local_address {
            let scope = if matches!(local, IpAddr::V6(a) if a.is_unicast_link_local()) { scope } else { 0 };
            let local = match local {
                IpAddr::V6(a) => SocketAddr::V6(SocketAddrV6::new(a, 0, 0, scope)),
                IpAddr::V4(_) => SocketAddr::new(local, 0),
            };
            socket.bind(&local.into())?;
        }
        if let Some(key) = &config.md5 {
            sockopt::set_tcp_md5(&socket, Prefix::host(address), Some(key.0.as_bytes()))?;
        }
        prepare(&socket, &config)?;
        TcpSocket::from_std_stream(socket.into()).connect(remote).await
    })
}

/// Sets on an accepted connection what only its neighbour's configuration knows.
pub fn prepare_accepted(stream: &TcpStream, config: &NeighborConfig) -> io::Result<()> {
    if config.ttl_security {
        // What came with the handshake is in the buffer already, before any minimum on this socket.
        let least = 255 - (config.multihop.unwrap_or(1).max(1) - 1);
        let ttl = sockopt::saved_syn_hop_limit(stream)?;
        if ttl.is_none_or(|ttl| ttl < least) {
            let what = ttl.map_or_else(|| "an unknown TTL".to_owned(), |t| format!("TTL {t}"));
            return Err(io::Error::other(format!("it came with {what}, GTSM asks for {least} (RFC 5082 §3)")));
        }
    }
    prepare(stream, config)
}

fn prepare(socket: &impl AsFd, config: &NeighborConfig) -> io::Result<()> {
    SockRef::from(socket).set_tcp_nodelay(true)?;
    sockopt::set_network_control(socket)?;
    let hops = config.multihop.unwrap_or(1);
    match (config.ttl_security, config.relation.is_internal()) {
        // RFC 5082 §3: send 255, take 255 - (hops - 1).
        (true, _) => sockopt::set_gtsm(socket, hops),
        (false, true) => Ok(()),
        (false, false) => sockopt::set_hop_limit(socket, hops),
    }
}
