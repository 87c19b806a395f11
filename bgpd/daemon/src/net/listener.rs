//! Listening sockets: bound before capabilities are dropped, one accept loop each, strangers shown the door.
//!
//! The way of a connection: accept -> who is it, by its address ([`Directory`]) -> that neighbour's task, or the
//! supervisor where a range lets it in. A stranger is closed at once (RFC 4271 §8.2.1 lets us) and logged at most once
//! in [`LOG_EVERY`]. The keys of all neighbours (RFC 2385) lie on the listening socket: an unsigned SYN of a neighbour
//! with a key never gets here.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use bgp_core::rib::ConnectedTable;
use net_types::Prefix;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::config::{ConfigError, Places, Rule};
use crate::directory::Directory;
use crate::messages::Command;
use crate::supervisor::SupervisorInput;

/// Refusals are logged once in this time, with how many there were.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// Connections that the kernel holds for us until accepted.
const BACKLOG: i32 = 128;

/// Binds one address; for v6 sockets v6 only, so that `0.0.0.0` and `::` live together.
pub fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        // The SYN-ACK must pass the neighbour's GTSM check (RFC 5082 §3), and harms nobody else.
        socket.set_unicast_hops_v6(255)?;
    } else {
        socket.set_ttl_v4(255)?;
    }
    // For the GTSM check of who calls.
    kernel::sockopt::save_syn(&socket)?;
    // An address that DAD has not finished with, or that comes with its interface, is ours all the same.
    if !address.ip().is_unspecified() {
        if address.is_ipv6() { socket.set_freebind_v6(true)? } else { socket.set_freebind_v4(true)? }
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Binds every address of the configuration; the first failure as its line.
pub fn bind_all(
    addresses: &[SocketAddr],
    places: &Places,
    have: &[SocketAddr],
) -> Result<Vec<(SocketAddr, StdListener)>, ConfigError> {
    let mut bound = Vec::new();
    for (i, address) in addresses.iter().enumerate().filter(|(_, a)| !have.contains(a)) {
        let socket = bind(*address).map_err(|e| ConfigError {
            file: places.file.clone(),
            line: places.listen.get(i).copied().unwrap_or(0),
            rule: Rule::PortInUse,
            what: format!("cannot listen on {address}: {e}"),
            cure: match e.kind() {
                io::ErrorKind::AddrInUse => {
                    format!("stop who listens there (ss -ltnp 'sport = :{}') or set another bgp.port", address.port())
                }
                io::ErrorKind::PermissionDenied => "start as root or with CAP_NET_BIND_SERVICE".into(),
                _ => "name an address that this machine has".into(),
            },
        })?;
        bound.push((*address, socket));
    }
    Ok(bound)
}

/// All listening sockets.
#[derive(Default)]
pub struct Listeners {
    open: BTreeMap<SocketAddr, (Arc<TcpListener>, JoinHandle<()>)>,
    keys: BTreeMap<Prefix, String>,
}

/// What an accept loop needs.
#[derive(Clone)]
pub struct Door {
    /// Who may come in.
    pub directory: watch::Receiver<Arc<Directory>>,
    /// Names of interfaces.
    pub interfaces: watch::Receiver<Arc<ConnectedTable>>,
    /// Who makes a neighbour from a range.
    pub supervisor: mpsc::Sender<SupervisorInput>,
}

impl Listeners {
    /// Where we listen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.open.keys().copied().collect()
    }

    /// Takes sockets bound by [`bind_all`] and starts their accept loops.
    pub fn open(&mut self, bound: Vec<(SocketAddr, StdListener)>, door: &Door) -> io::Result<()> {
        for (address, socket) in bound {
            let socket = Arc::new(TcpListener::from_std(socket)?);
            for (prefix, key) in &self.keys {
                set_key(&socket, address, prefix, Some(key));
            }
            let task = tokio::spawn(accept(socket.clone(), door.clone()));
            info!(%address, "listening");
            self.open.insert(address, (socket, task));
        }
        Ok(())
    }

    /// Closes those that are not in `keep`.
    pub fn retain(&mut self, keep: &[SocketAddr]) {
        self.open.retain(|address, (_, task)| {
            let kept = keep.contains(address);
            if !kept {
                task.abort();
                info!(%address, "no longer listening");
            }
            kept
        });
    }

    /// Puts the keys on every socket, by difference.
    pub fn set_keys(&mut self, keys: Vec<(Prefix, String)>) {
        let keys: BTreeMap<Prefix, String> = keys.into_iter().collect();
        for (address, (socket, _)) in &self.open {
            for (prefix, _) in self.keys.iter().filter(|(p, _)| !keys.contains_key(p)) {
                set_key(socket, *address, prefix, None);
            }
            for (prefix, key) in keys.iter().filter(|(p, k)| self.keys.get(p) != Some(k)) {
                set_key(socket, *address, prefix, Some(key));
            }
        }
        self.keys = keys;
    }
}

fn set_key(socket: &TcpListener, address: SocketAddr, prefix: &Prefix, key: Option<&String>) {
    if address.is_ipv4() != prefix.is_v4() {
        return;
    }
    let key = key.map(String::as_bytes);
    if let Err(error) = kernel::sockopt::set_tcp_md5(socket, *prefix, key) {
        warn!(%address, %prefix, %error, "the kernel refused an MD5 key: that neighbour cannot connect to us");
    }
}

async fn accept(socket: Arc<TcpListener>, door: Door) {
    let mut refused = Refusals::default();
    loop {
        match socket.accept().await {
            Ok((stream, remote)) => {
                if let Err(why) = admit(stream, remote, &door).await {
                    refused.note(remote, &why);
                }
            }
            Err(error) => {
                // Out of file descriptors, mostly: the backlog holds the others meanwhile.
                warn!(%error, "accept failed");
                sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// Hands the connection to whom it is for; dropping it closes it.
async fn admit(stream: TcpStream, remote: SocketAddr, door: &Door) -> Result<(), String> {
    let local = stream.local_addr().map_err(|e| e.to_string())?;
    let directory = door.directory.borrow().clone();
    let interface = match remote {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => {
            let table = door.interfaces.borrow();
            Some(table.iter().find(|c| c.ifindex == v6.scope_id()).map_or_else(String::new, |c| c.ifname.clone()))
        }
        _ => None,
    };
    if let Some(entry) = directory.caller(remote.ip(), interface.as_deref()) {
        meets(local.ip(), entry.config.local_address)?;
        let sent = entry.commands.try_send(Command::Incoming(stream, remote, local));
        return sent.map_err(|_| format!("neighbour {} is too busy", entry.config.name));
    }
    let Some(range) = directory.range(remote.ip()) else { return Err("no neighbour has this address".into()) };
    meets(local.ip(), range.local_address)?;
    let caller = SupervisorInput::Caller { range: range.name.clone(), stream, remote, local };
    door.supervisor.send(caller).await.map_err(|_| "shutting down".to_owned())
}

fn meets(local: IpAddr, wanted: Option<IpAddr>) -> Result<(), String> {
    match wanted {
        Some(wanted) if wanted != local => Err(format!("came to {local}, configured is {wanted}")),
        _ => Ok(()),
    }
}

#[derive(Default)]
struct Refusals {
    last: Option<Instant>,
    since: u64,
}

impl Refusals {
    fn note(&mut self, remote: SocketAddr, why: &str) {
        self.since += 1;
        if self.last.is_none_or(|l| l.elapsed() >= LOG_EVERY) {
            warn!(%remote, count = self.since, "connection refused: {why}");
            *self = Refusals { last: Some(Instant::now()), since: 0 };
        }
    }
}
