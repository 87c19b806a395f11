//! What goes into a [`super::Peer`] and what comes out of it.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bgp_wire::{GracefulRestart, Notification, Open, RouteRefresh, SessionContext, Update};
use net_types::Family;

/// One TCP connection of a neighbour. The core numbers those it asks for, from 1 up; the shell numbers those it
/// accepted and sets [`ConnId::INCOMING`], so the two never meet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId(pub u64);

impl ConnId {
    /// The bit that marks an identifier given by the shell.
    pub const INCOMING: u64 = 1 << 63;
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = if self.0 & ConnId::INCOMING == 0 { "out" } else { "in" };
        write!(f, "{direction}#{}", self.0 & !ConnId::INCOMING)
    }
}

/// The states of RFC 4271 §8.2.2. With two connections the neighbour shows the one that is furthest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum State {
    /// No connection is sought or taken.
    Idle,
    /// A TCP connect is under way.
    Connect,
    /// Waiting for the next connect, and for the neighbour's.
    Active,
    /// TCP is up, our OPEN is sent.
    OpenSent,
    /// Both OPENs are in, waiting for KEEPALIVE.
    OpenConfirm,
    /// UPDATEs flow.
    Established,
}

impl State {
    /// The RFC's word.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Idle => "Idle",
            State::Connect => "Connect",
            State::Active => "Active",
            State::OpenSent => "OpenSent",
            State::OpenConfirm => "OpenConfirm",
            State::Established => "Established",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Events from outside (RFC 4271 §8.1). Timer events come through `handle_timeout`, message events are found in
/// [`Input::Received`].
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// Event 1, ManualStart (event 4, ManualStart_with_PassiveTcpEstablishment, where the configuration says passive).
    ManualStart,
    /// Event 2, ManualStop.
    ManualStop {
        /// Cease subcode: 2 Administrative Shutdown, 3 Peer De-configured, 4 Administrative Reset (RFC 4486).
        subcode: u8,
        /// Shutdown Communication (RFC 9003); sent with subcodes 2 and 4, cut to 255 octets.
        message: String,
    },
    /// Event 17, TcpConnectionConfirmed: the neighbour connected to us. The shell has checked address, MD5 and TTL.
    ConnectionIncoming {
        /// Given by the shell, with [`ConnId::INCOMING`] set.
        conn: ConnId,
        /// Neighbour's end.
        remote: SocketAddr,
        /// Our end.
        local: SocketAddr,
    },
    /// Event 16, Tcp_CR_Acked: the connect that [`Output::Connect`] asked for is up.
    ConnectionEstablished {
        /// As asked.
        conn: ConnId,
        /// Neighbour's end.
        remote: SocketAddr,
        /// Our end.
        local: SocketAddr,
    },
    /// Event 18, TcpConnectionFails: refused, reset, end of file, connect timeout.
    ConnectionFailed {
        /// Which.
        conn: ConnId,
    },
    /// What BFD says of the path (RFC 5882 §4).
    Bfd {
        /// It is Up, or the neighbour was told to leave BFD (§3.2).
        permits: bool,
        /// It was Up and has failed since it was last asked.
        failed: bool,
    },
    /// Bytes from the stream, in any cut.
    Received {
        /// Which.
        conn: ConnId,
        /// The next octets.
        bytes: &'a [u8],
    },
    /// Octets of the neighbour wait in the socket, and the shell has not taken them: it may not read for now, because what
    /// it read before is still on its way to the RIB, or it has not got round to it. To be given for each such connection
    /// before `handle_timeout`: the HoldTimer looks at what the neighbour sent (RFC 4271 §6.5), not at what we took.
    Unread {
        /// Which.
        conn: ConnId,
    },
    /// How many of the bytes taken by `poll_transmit` the kernel has not taken yet. To be given after each write and
    /// whenever a write would block; it is what the SendHoldTimer (RFC 9687) looks at.
    SendProgress {
        /// Which.
        conn: ConnId,
        /// Octets still in the shell's hands.
        unsent: usize,
    },
    /// The shell or the RIB ends the session (max-prefix 6/1, ...).
    Teardown {
        /// What the neighbour is told.
        notification: Notification,
        /// Stay away this long; `None`: until ManualStart.
        idle_hold: Option<Duration>,
    },
}

/// What the shell is to do or to know, in order.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Start a TCP connect to the neighbour.
    Connect {
        /// The name of this attempt.
        conn: ConnId,
    },
    /// Flush what `poll_transmit` gives for this connection, then close it; a connect under way is given up.
    Close {
        /// Which.
        conn: ConnId,
    },
    /// The neighbour shows another state.
    StateChanged {
        /// Before.
        from: State,
        /// Now.
        to: State,
    },
    /// A session is up; every `Update` until the next [`Output::Down`] belongs to it.
    Established(Box<Session>),
    /// UPDATEs in order, after RFC 7606: survivable errors stand inside them. At least one.
    Updates(Vec<Update>),
    /// The neighbour asks for a family again, or brackets a refresh (RFC 2918, RFC 7313).
    RouteRefresh(RouteRefresh),
    /// The session is over.
    Down(Box<Down>),
    /// A connection ended before it became a session; for the log. Losers of a collision are not reported.
    OpenFailed(Box<Down>),
}

/// What an established session agreed on.
#[derive(Clone, PartialEq, Debug)]
pub struct Session {
    /// Its connection.
    pub conn: ConnId,
    /// What decoding and encoding need.
    pub context: SessionContext,
    /// The neighbour's OPEN.
    pub peer_open: Open,
    /// Ours.
    pub our_open: Open,
    /// Negotiated hold time in seconds; 0: no keepalives.
    pub hold_time: u16,
    /// Our end.
    pub local: SocketAddr,
    /// The neighbour's end.
    pub remote: SocketAddr,
    /// The neighbour's Graceful Restart capability, when it sent one and we sent ours (RFC 4724).
    pub graceful_restart: Option<GracefulRestart>,
    /// BoRR and EoRR are in use (RFC 7313).
    pub enhanced_refresh: bool,
    /// The neighbour takes ROUTE-REFRESH (RFC 2918).
    pub route_refresh: bool,
}

/// Why a session or an attempt ended.
#[derive(Clone, PartialEq, Debug)]
pub struct Down {
    /// Its connection.
    pub conn: ConnId,
    /// One sentence, with code and subcode where there were any.
    pub reason: String,
    /// The NOTIFICATION we sent.
    pub sent: Option<Notification>,
    /// The NOTIFICATION we got.
    pub received: Option<Notification>,
    /// Set when the neighbour's routes may stay for a while.
    pub retain: Option<Retain>,
}

/// The helper's leave to keep routes (RFC 4724 §4.2, RFC 8538 §4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retain {
    /// Only these; routes of others go at once.
    pub families: Vec<Family>,
    /// At most this long until the session is back.
    pub restart_time: Duration,
}

/// What a changed configuration meant to the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reconfigured {
    /// Nothing differs.
    Unchanged,
    /// In force; the session stayed (filters are the RIB's to apply again).
    Live,
    /// The session was ended with Cease, Other Configuration Change (6/6), because of this field.
    Reset(&'static str),
}
