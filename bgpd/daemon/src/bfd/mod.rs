//! BFD: how the neighbours' tasks and the RPC reach the one thread that speaks it ([`thread`]).
//!
//! The way of a failure: the thread finds a path gone -> at once the closure it was given (the kernel's next hop), in
//! the thread itself -> the session's [`Report`] -> the neighbour's task, which ends its BGP session. Nobody can hold the
//! thread up: commands to it wait in a channel without a bound (they are as many as reloads make), and a report is a
//! value that is overwritten.
//!
//! Standards: RFC 5880, 5881, 5882, 5883 (`bgp_core::bfd` says which parts).

mod sockets;
pub mod thread;

use std::io::Write;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc;

use bgp_core::bfd::{SessionKey, SessionStatus, State};
use bgp_core::config::BfdConfig;
use net_types::Monotime;
use tokio::sync::{oneshot, watch};

/// Told at once, in the BFD thread, when the path to a gateway over an interface (0: across hops) fails or is back.
pub type PathChanged = Box<dyn Fn(IpAddr, u32, bool) + Send>;

/// A session as its neighbour's task sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// Its state.
    pub state: State,
    /// The other end was told to leave BFD: nothing is to be concluded from the state (RFC 5882 §3.2).
    pub remote_admin_down: bool,
    /// How often it left Up because the path failed.
    pub failures: u64,
    /// The C bit of the other end (RFC 5882 §4.3).
    pub remote_control_plane_independent: bool,
}

impl Default for Report {
    fn default() -> Report {
        Report { state: State::Down, remote_admin_down: false, failures: 0, remote_control_plane_independent: false }
    }
}

impl Report {
    /// Whether a BGP session may be Established where BFD is strict.
    pub fn permits(&self) -> bool {
        self.state == State::Up || self.remote_admin_down
    }
}

/// To the thread.
#[derive(Debug)]
pub(crate) enum Request {
    /// Watch this path, or watch it otherwise.
    Set(SessionKey, BfdConfig, Arc<watch::Sender<Report>>),
    /// Say AdminDown, then forget it.
    Remove(SessionKey),
    /// All sessions.
    List(oneshot::Sender<(Monotime, Vec<SessionStatus>)>),
    /// Say AdminDown to all and end.
    Leave(mpsc::SyncSender<()>),
}

/// To reach the thread; cheap to copy.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    wake: Arc<UnixStream>,
}

impl Handle {
    /// Both ends of the way to the thread.
    pub(crate) fn new() -> std::io::Result<(Handle, mpsc::Receiver<Request>, UnixStream)> {
        let (near, far) = UnixStream::pair()?;
        near.set_nonblocking(true)?;
        far.set_nonblocking(true)?;
        let (requests, receiver) = mpsc::channel();
        Ok((Handle { requests, wake: Arc::new(near) }, receiver, far))
    }

    fn send(&self, request: Request) {
        // An error means that the thread is gone, and with it the daemon.
        if self.requests.send(request).is_ok() {
            // A full pipe wakes as well.
            let _ = (&*self.wake).write(&[1]);
        }
    }

    /// Watches a path; what comes of it is told to `report`.
    pub fn set(&self, key: SessionKey, config: BfdConfig, report: Arc<watch::Sender<Report>>) {
        self.send(Request::Set(key, config, report));
    }

    /// No longer watches it; the other end is told AdminDown.
    pub fn remove(&self, key: SessionKey) {
        self.send(Request::Remove(key));
    }

    /// All sessions as they stand; `None`: the thread is gone.
    pub async fn list(&self) -> Option<(Monotime, Vec<SessionStatus>)> {
        let (answer, reply) = oneshot::channel();
        self.send(Request::List(answer));
        reply.await.ok()
    }

    /// Says AdminDown to everybody, so that our end is not taken for a cut (RFC 5882 §4.3.2), and ends the thread.
    pub fn leave(&self) {
        let (done, wait) = mpsc::sync_channel(1);
        self.send(Request::Leave(done));
        let _ = wait.recv_timeout(std::time::Duration::from_secs(1));
    }
}
