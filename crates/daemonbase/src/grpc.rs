//! gRPC over a Unix socket or TCP: listening, serving, dialling.
//!
//! An address is written `unix:/run/artere/bgpd.sock`, `http://192.0.2.1:1790` or `192.0.2.1:1790`. A Unix socket is who
//! may do what: 0600 for the daemon's user, 0660 for its group. A stale socket of a killed daemon is replaced, a living
//! one never: whoever answers on it keeps it.
//!
//! Invariants: a connection that dies without a FIN is noticed within 20 s on both ends (HTTP/2 pings), so a stream
//! that is silent is a stream that stands.

use hyper_util::rt::TokioIo;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint, Server, Uri};

const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_secs(1);

/// Where a daemon listens or is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A socket in the file system.
    Unix(PathBuf),
    /// `host:port`; the host may be a name when dialling.
    Tcp(String),
}

impl FromStr for Address {
    type Err = String;
    fn from_str(s: &str) -> Result<Address, String> {
        let bad = || format!("{s:?} is no endpoint: write unix:/run/artere/bgpd.sock or http://192.0.2.1:1790");
        if let Some(path) = s.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') { Ok(Address::Unix(path.into())) } else { Err(bad()) };
        }
        if s.starts_with('/') {
            return Ok(Address::Unix(s.into()));
        }
        let host_port = s.strip_prefix("http://").unwrap_or(s).trim_end_matches('/');
        let (host, port) = host_port.rsplit_once(':').ok_or_else(bad)?;
        let bare_v6 = host.contains(':') && !host.starts_with('[');
        if host.is_empty() || host.contains('/') || bare_v6 || port.parse::<u16>().is_err() {
            return Err(bad());
        }
        Ok(Address::Tcp(host_port.to_owned()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(p) => write!(f, "unix:{}", p.display()),
            Address::Tcp(a) => write!(f, "http://{a}"),
        }
    }
}

/// Why a daemon cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {address}: {reason}; {cure}")]
pub struct ListenError {
    /// Where.
    pub address: Address,
    /// Why not.
    pub reason: String,
    /// What to do.
    pub cure: &'static str,
}

/// A socket that accepts gRPC connections.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: Address,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    /// Listens. `mode` is the Unix socket's (0600 or 0660); its directory is made with 0750 if absent.
    pub async fn bind(address: &Address, mode: u32) -> Result<Listener, ListenError> {
        let fail = |reason: String, cure| ListenError { address: address.clone(), reason, cure };
        match address {
            Address::Unix(path) => {
                if let Some(dir) = path.parent() {
                    crate::state::make_dir(dir).map_err(|e| fail(e.to_string(), "create the directory"))?;
                }
                remove_stale(path).await.map_err(|(reason, cure)| fail(reason, cure))?;
                // Bound under another name, given its mode, then renamed: no moment at which a stranger may connect.
                let mut name = path.file_name().unwrap_or_default().to_owned();
                name.push(format!(".{}", std::process::id()));
                let temporary = path.with_file_name(name);
                let _ = std::fs::remove_file(&temporary);
                let bound = UnixListener::bind(&temporary).and_then(|l| {
                    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(mode))?;
                    std::fs::rename(&temporary, path)?;
                    Ok(l)
                });
                let listener = bound.map_err(|e| {
                    let _ = std::fs::remove_file(&temporary);
                    fail(e.to_string(), "check the directory's owner and that the path is shorter than 100 bytes")
                })?;
                Ok(Listener { socket: Socket::Unix(listener), address: address.clone() })
            }
            Address::Tcp(host_port) => {
                let listener = TcpListener::bind(host_port).await.map_err(|e| {
                    let cure = match e.kind() {
                        io::ErrorKind::AddrInUse => "stop the other listener (ss -ltnp) or choose another port",
                        io::ErrorKind::AddrNotAvailable => "use an address that this machine has",
                        _ => "check the address and the port",
                    };
                    fail(e.to_string(), cure)
                })?;
                Ok(Listener { socket: Socket::Tcp(listener), address: address.clone() })
            }
        }
    }

    /// Where it listens; with port 0 the port that the kernel chose.
    pub fn address(&self) -> Address {
        match &self.socket {
            Socket::Tcp(l) => l.local_addr().map_or(self.address.clone(), |a: SocketAddr| Address::Tcp(a.to_string())),
            Socket::Unix(_) => self.address.clone(),
        }
    }

    /// Serves until `stop` becomes true; open streams then get one second before they are cut.
    pub async fn serve(self, routes: Routes, stop: watch::Receiver<bool>) -> Result<(), tonic::transport::Error> {
        let mut server = Server::builder()
            .http2_keepalive_interval(Some(PING_EVERY))
            .http2_keepalive_timeout(Some(PING_TIMEOUT))
            .tcp_nodelay(true);
        let router = server.add_routes(routes);
        let served = async {
            let stopped = told(stop.clone());
            match self.socket {
                Socket::Unix(l) => router.serve_with_incoming_shutdown(UnixListenerStream::new(l), stopped).await,
                Socket::Tcp(l) => router.serve_with_incoming_shutdown(TcpListenerStream::new(l), stopped).await,
            }
        };
        let grace = async {
            told(stop.clone()).await;
            tokio::time::sleep(GRACE).await;
        };
        let result = tokio::select! {
            r = served => r,
            () = grace => Ok(()),
        };
        if let Address::Unix(path) = &self.address {
            let _ = std::fs::remove_file(path);
        }
        result
    }
}

async fn told(mut stop: watch::Receiver<bool>) {
    // An error means that the sender is gone: its owner is, so are we.
    let _ = stop.wait_for(|s| *s).await;
}

async fn remove_stale(path: &Path) -> Result<(), (String, &'static str)> {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !meta.file_type().is_socket() {
        return Err(("a file that is no socket is in the way".into(), "move it away or choose another path"));
    }
    match UnixStream::connect(path).await {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err((e.to_string(), "see who owns the socket (ss -xlp)")),
        Ok(_) => Err(("another process answers on it".into(), "stop that one (ss -xlp) or choose another path")),
    }
}

/// Why a daemon could not be reached.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach {daemon} at {address}: {reason}; is it running?")]
pub struct ConnectError {
    /// Whom.
    pub daemon: String,
    /// Where.
    pub address: Address,
    /// Why not.
    pub reason: String,
}

/// Connects to `daemon` (a name for the error) or says why not, within five seconds. The channel reconnects by itself
/// afterwards; a call on it fails while the daemon is away.
pub async fn connect(daemon: &str, address: &Address) -> Result<Channel, ConnectError> {
    connect_with_ping(daemon, address, PING_EVERY, PING_TIMEOUT).await
}

/// As [`connect`], for a stream whose silence must be noticed after `every` and `timeout`.
pub async fn connect_with_ping(
    daemon: &str,
    address: &Address,
    every: Duration,
    timeout: Duration,
) -> Result<Channel, ConnectError> {
    let fail = |reason: String| ConnectError { daemon: daemon.to_owned(), address: address.clone(), reason };
    let uri = match address {
        // The authority only fills the HTTP header; the connector goes to the path.
        Address::Unix(_) => "http://localhost".to_owned(),
        Address::Tcp(a) => format!("http://{a}"),
    };
    let endpoint = Endpoint::from_shared(uri)
        .map_err(|e| fail(innermost(&e)))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(every)
        .keep_alive_timeout(timeout)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    let connected = match address {
        Address::Tcp(_) => endpoint.connect().await,
        Address::Unix(path) => {
            let path = path.clone();
            let dial = tower::service_fn(move |_: Uri| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            });
            endpoint.connect_with_connector(dial).await
        }
    };
    connected.map_err(|e| fail(innermost(&e)))
}

/// The last cause of an error: tonic's own text ("transport error") tells a person nothing.
pub fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
#[path = "grpc_tests.rs"]
mod tests;
