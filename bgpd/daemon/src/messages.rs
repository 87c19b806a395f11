//! What the daemon's tasks say to each other. Each channel is bounded; what happens when it is full stands at its size.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bgp_core::config::{NeighborConfig, SpeakerConfig};
use bgp_core::peer::PeerStatus;
use bgp_core::rib::out::Outgoing;
use bgp_core::rib::{PeerId, PeerInfo, Retain, Rib};
use bgp_wire::{Notification, RouteRefresh, Update};
use kernel::NextHop;
use net_types::{Monotime, Prefix};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use crate::net::flow::{Held, Outlet};

/// To the RIB thread, from every neighbour and the supervisor. Full: the sender waits. A neighbour that waits stops
/// reading its socket (TCP slows the sender down) but keeps its timers and its writing. A neighbour has at most
/// [`crate::net::flow::IN_FLIGHT`] octets and one read in it.
pub const RIB_QUEUE: usize = 1024;
/// To one neighbour. Full: an accepted connection is dropped (the neighbour tries again); the RIB never fills it, as it
/// sends as many answers as it has credit for ([`Outlet`]) and at most one teardown a session; the supervisor waits.
pub const NEIGHBOR_QUEUE: usize = 32;
/// Inputs a neighbour holds back while the RIB's queue is full; beyond that it does not read.
pub const HELD_BACK: usize = 64;
/// To the supervisor. Full: the sender waits (a listener then leaves connections in the kernel's backlog).
pub const SUPERVISOR_QUEUE: usize = 64;

/// To the RIB's owner.
pub enum RibInput {
    /// A neighbour exists (it takes part in the wait for End-of-RIB after a restart).
    Configured(PeerId, Arc<NeighborConfig>),
    /// Its filters may have changed.
    Reconfigured(PeerId, Arc<NeighborConfig>),
    /// It is no more.
    Removed(PeerId),
    /// A session is up; answers go to this sender, marked with the session's number.
    Up {
        /// What was agreed.
        info: Box<PeerInfo>,
        /// The session's number, which grows with each session of the process.
        session: u64,
        /// Its task.
        task: mpsc::Sender<Command>,
        /// How many answers it takes.
        outlet: Arc<Outlet>,
    },
    /// The session is over.
    Down {
        /// Whose.
        id: PeerId,
        /// Its routes are kept.
        retain: Option<Retain>,
        /// The FIB holds these next hops for lost; to be given back when the RIB is through with the loss.
        lost: Vec<NextHop>,
    },
    /// UPDATEs of one read; with the last of them, what says that they are worked off.
    Updates(PeerId, Vec<Update>, Option<Held>),
    /// A request to send again, or the brackets of one.
    RouteRefresh(PeerId, RouteRefresh),
    /// The neighbour's socket can take more, after the RIB found no credit in its [`Outlet`].
    Pull(PeerId),
    /// What this speaker originates from now on.
    Announcements(Vec<Prefix>),
    /// Settings of the speaker.
    Speaker(Box<SpeakerConfig>),
    /// The kernel's answers.
    Fib(Vec<kernel::FibResult>),
    /// A question, answered a slice at a time.
    Query(Box<dyn Query>),
}

/// A question to the RIB that is answered in slices, so that a full table does not stall routing.
pub trait Query: Send {
    /// Does one slice of a few milliseconds; true when done (or nobody listens any more).
    fn step(&mut self, rib: &Rib, now: Monotime) -> Step;
}

/// Where a [`Query`] stands after a slice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing more to do.
    Done,
    /// Ask again soon.
    More,
    /// The reader has not taken what it has: ask again later.
    Blocked,
}

/// To a neighbour's task.
#[derive(Debug)]
pub enum Command {
    /// It connected to us.
    Incoming(TcpStream, SocketAddr, SocketAddr),
    /// UPDATEs for the session of this number, against one credit.
    Updates {
        /// Session number.
        session: u64,
        /// Whole messages.
        outgoing: Outgoing,
    },
    /// The RIB ends the session of this number.
    Teardown {
        /// Session number.
        session: u64,
        /// What the neighbour is told.
        notification: Notification,
        /// Stay away this long; `None`: until told.
        idle_hold: Option<Duration>,
    },
    /// Another configuration.
    Reconfigure(Arc<SpeakerConfig>, Arc<NeighborConfig>),
    /// Up or down by command.
    SetEnabled(bool, String),
    /// Lead traffic away from the session, or no longer.
    SetDrained(bool),
    /// The first decision after a restart is made.
    RestartComplete,
    /// These interfaces went down.
    InterfacesDown(Arc<[u32]>),
    /// How are you?
    Status(oneshot::Sender<Box<Snapshot>>),
    /// Leave: Cease with this subcode, then end.
    Remove(u8),
}

/// A neighbour as it stands.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its number.
    pub id: PeerId,
    /// Its configuration.
    pub config: Arc<NeighborConfig>,
    /// Made from a range.
    pub dynamic: bool,
    /// Up by command and configuration.
    pub enabled: bool,
    /// The core's view.
    pub status: PeerStatus,
    /// The clock when this was taken.
    pub now: Monotime,
}
