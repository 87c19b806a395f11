//! The words of the RIB's border: what its callers hand in and get back. Plain data, no behaviour.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bgp_wire::{GracefulRestart, NextHop, PathAttributes, Role, SessionContext};
use net_types::{Asn, Family, Monotime, Prefix, RouterId};

use super::ids::DestId;
use crate::config::NeighborConfig;

/// A neighbour's number inside one process; the daemon gives it out and never gives it to another neighbour.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerId(pub u32);

impl PeerId {
    /// Stands for this speaker itself as the source of a path; never a neighbour.
    pub const LOCAL: PeerId = PeerId(u32::MAX);
}

/// An established session, as far as routes are concerned.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Which neighbour.
    pub id: PeerId,
    /// Its configuration.
    pub config: Arc<NeighborConfig>,
    /// What was negotiated.
    pub session: SessionContext,
    /// Its AS as its OPEN said (dynamic neighbours too).
    pub remote_as: Asn,
    /// Its BGP Identifier.
    pub bgp_identifier: RouterId,
    /// Its address.
    pub address: IpAddr,
    /// Our end of the TCP connection: next-hop-self.
    pub local_address: IpAddr,
    /// Our IPv4 address on the session's interface: next-hop-self of IPv4 routes over an IPv6 session.
    pub local_ipv4: Option<Ipv4Addr>,
    /// Our global IPv6 address on the session's interface: next-hop-self of IPv6 routes over an IPv4 session.
    pub local_ipv6: Option<Ipv6Addr>,
    /// Our link-local address there.
    pub local_ipv6_link_local: Option<Ipv6Addr>,
    /// The interface the session runs over, if the neighbour is on a connected subnet.
    pub ifindex: Option<u32>,
    /// The role its OPEN named (RFC 9234).
    pub peer_role: Option<Role>,
    /// The Graceful Restart capability it sent.
    pub graceful_restart: Option<GracefulRestart>,
    /// RFC 7313 in force both ways.
    pub enhanced_refresh: bool,
}

/// A neighbour sent more prefixes than its `max_prefix` allows (RFC 4271 §6.7, RFC 4486 subcode 1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MaxPrefixExceeded {
    /// Family over its limit.
    pub family: Family,
    /// The limit.
    pub limit: u32,
}

/// Keep the routes of a neighbour whose session ended (RFC 4724 §4.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retain {
    /// Families that its Graceful Restart capability named.
    pub families: Vec<Family>,
    /// How long it may stay away.
    pub restart_time: Duration,
}

/// One interface address with its subnet.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Connected {
    /// Interface.
    pub ifindex: u32,
    /// Its name.
    pub ifname: String,
    /// The subnet.
    pub prefix: Prefix,
    /// Our address in it.
    pub address: IpAddr,
    /// Administratively up and with carrier.
    pub up: bool,
}

/// Every interface address of the machine, as the kernel's monitor last saw it.
pub type ConnectedTable = Vec<Connected>;

/// One next hop that the kernel can use without looking further.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ResolvedNextHop {
    /// Neighbour on the link; `None`: the destination itself is on the link.
    pub gateway: Option<IpAddr>,
    /// The link.
    pub ifindex: u32,
    /// The BGP next hop, where it was looked up over a route: what leads over it moves with it, another of the same gateway
    /// does not ([`HopEvent`]). `None`: the gateway is the BGP next hop.
    pub through: Option<IpAddr>,
}

/// A next hop in use with its share of the traffic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WeightedNextHop {
    /// The next hop.
    pub hop: ResolvedNextHop,
    /// Its share, from 1 to 256.
    pub weight: u16,
}

/// What the kernel should hold for one prefix.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FibTarget {
    /// Forward.
    Forward {
        /// Over these: the best path's, with multipath those of equal paths too. Sorted, distinct, never empty.
        active: Vec<WeightedNextHop>,
        /// Over this one once all of those are lost; none of them.
        backup: Option<ResolvedNextHop>,
    },
    /// Drop what no more specific route takes: an announced own prefix.
    Discard,
}

impl FibTarget {
    /// The next hops in use; none: discard.
    pub fn active(&self) -> &[WeightedNextHop] {
        match self {
            FibTarget::Forward { active, .. } => active,
            FibTarget::Discard => &[],
        }
    }

    /// The next hop that takes over.
    pub fn backup(&self) -> Option<ResolvedNextHop> {
        match self {
            FibTarget::Forward { backup, .. } => *backup,
            FibTarget::Discard => None,
        }
    }
}

/// News of a next hop that is looked up over routes ([`ResolvedNextHop::through`]), told before the prefixes behind it are
/// looked at, however many they are. In the order in which it happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HopEvent {
    /// It leads nowhere any more.
    Lost(ResolvedNextHop),
    /// It leads elsewhere: what forwarded over the one is to forward over the other.
    Moved {
        /// Where it led.
        from: ResolvedNextHop,
        /// Where it leads; [`ResolvedNextHop::through`] is `None` if it is on a link of ours now.
        to: ResolvedNextHop,
    },
    /// It leads somewhere after it led nowhere, or is new.
    Returned(ResolvedNextHop),
}

/// One want for the FIB, of a [`FibBatch`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FibWant {
    /// Destination.
    pub prefix: Prefix,
    /// Comes back with the answer: the low half names this want, so that an answer to an older one is told from the current
    /// one's; the high half says where the destination stands, which saves looking for it.
    pub cookie: u64,
    /// Which of [`FibBatch::targets`]; `None`: no route of ours.
    pub target: Option<u32>,
}

/// Wants for the FIB, in their order. Many share a target, which is said once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FibBatch {
    /// The targets, each once.
    pub targets: Vec<FibTarget>,
    /// The wants.
    pub wants: Vec<FibWant>,
}

impl FibBatch {
    /// What is wanted for the destination of one of the wants.
    pub fn target(&self, want: &FibWant) -> Option<&FibTarget> {
        self.targets.get(want.target? as usize)
    }
}

/// Where a prefix's want stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum FibState {
    /// No route of ours is wanted (no best path, or a connected prefix).
    NotWanted,
    /// Wanted, not yet confirmed.
    Pending,
    /// The kernel holds it.
    Installed,
    /// The kernel refused it; the FIB task tries again.
    Failed,
}

impl fmt::Display for FibState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FibState::NotWanted => "not wanted",
            FibState::Pending => "pending",
            FibState::Installed => "installed",
            FibState::Failed => "failed",
        })
    }
}

/// Something the shell should act on or write to its log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RibEvent {
    /// First decision after a restart is made and every want is queued (RFC 4724 §4.1): stale kernel routes may be swept
    /// once the wants before this event are confirmed; the R bit is cleared from now on.
    RestartComplete {
        /// True if the deferral timer ended the wait, not the neighbours' End-of-RIB.
        deferral_expired: bool,
    },
    /// Own prefixes have their usual MED from now on: the table is in.
    LastResortOver {
        /// True if the timer ended it, not the table.
        expired: bool,
    },
    /// IPAM asks for a prefix outside `own_prefixes`: not announced.
    AnnouncementRefused {
        /// Which.
        prefix: Prefix,
    },
    /// A neighbour's End-of-RIB (RFC 4724 §2).
    EndOfRibReceived {
        /// Who.
        peer: PeerId,
        /// Which family.
        family: Family,
    },
    /// Retained or unrefreshed routes were removed.
    StalePurged {
        /// Whose.
        peer: PeerId,
        /// Which family.
        family: Family,
        /// How many paths.
        count: usize,
        /// Why, with its clause.
        why: &'static str,
    },
}

/// Counts of one family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FamilyCounts {
    /// Family.
    pub family: Family,
    /// Destinations with at least one path.
    pub prefixes: usize,
    /// Paths, refused ones too.
    pub paths: usize,
    /// Wants that the kernel confirmed.
    pub fib_installed: usize,
    /// Wants it has not (yet).
    pub fib_pending: usize,
}

/// Own prefixes are announced with the highest MED but one until the table is in; how far that is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastResort {
    /// Neighbours that have told us their table.
    pub neighbors_in: usize,
    /// Of so many.
    pub neighbors: usize,
    /// Wants that the kernel has still to confirm once all are.
    pub fib_pending: usize,
    /// When it is over whatever has come.
    pub until: Monotime,
}

/// The whole RIB in a few numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RibSummary {
    /// Per family.
    pub families: Vec<FamilyCounts>,
    /// Prefixes from IPAM that are originated now.
    pub announced: Vec<Prefix>,
    /// First decision still deferred (RFC 4724 §4.1).
    pub restarting: bool,
    /// Own prefixes are the last resort.
    pub last_resort: Option<LastResort>,
    /// Distinct attribute sets held.
    pub attribute_sets: usize,
    /// Distinct next hops tracked.
    pub next_hops: usize,
}

/// One neighbour and family in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NeighborFamilyCounts {
    /// Family.
    pub family: Family,
    /// Paths received, before policy.
    pub received: usize,
    /// Of these accepted by policy.
    pub accepted: usize,
    /// Of these kept from before a restart.
    pub stale: usize,
    /// Routes it holds from us.
    pub sent: usize,
    /// Its End-of-RIB came on this session.
    pub end_of_rib_received: bool,
}

/// Which table [`super::Rib::prefixes`] and [`super::Rib::entries`] read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RouteTable {
    /// Best paths, or every path.
    Loc {
        /// Every path, refused ones aside.
        all_paths: bool,
    },
    /// What a neighbour sent, before policy, with the verdict.
    In(PeerId),
    /// What a neighbour was sent.
    Out(PeerId),
    /// Prefixes that the kernel should hold.
    Fib,
}

/// Where [`super::Rib::prefixes`] goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListingCursor(pub(super) DestId);

/// Which routes of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RouteFilter {
    /// One family; `None`: all.
    pub family: Option<Family>,
    /// This prefix (a host prefix asks for its longest match when `longest_match`).
    pub prefix: Option<Prefix>,
    /// With `prefix`: all inside it.
    pub longer: bool,
    /// With `prefix`: the longest match of its first address.
    pub longest_match: bool,
}

/// One path as shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteEntry {
    /// Destination.
    pub prefix: Prefix,
    /// Path Identifier from its sender, in [`RouteTable::Out`] ours; `None`: the session has none (RFC 7911).
    pub path_id: Option<u32>,
    /// Who sent it (Adj-RIB-Out: who got it); [`PeerId::LOCAL`]: originated here.
    pub peer: PeerId,
    /// "transit", "internal", ..., "local", "local-internal".
    pub source: &'static str,
    /// Next hop as received.
    pub next_hop: NextHop,
    /// Attributes: before policy in [`RouteTable::In`], after it elsewhere.
    pub attributes: Arc<PathAttributes>,
    /// It is the best path.
    pub best: bool,
    /// Kept from before a restart of its sender.
    pub stale: bool,
    /// Policy let it in.
    pub accepted: bool,
    /// If not: "rule: detail". If unusable: why.
    pub reason: String,
    /// Next hops after resolution; empty: unresolved or originated here.
    pub resolved: Vec<ResolvedNextHop>,
    /// Of the best path, where a kernel table is kept: what takes over.
    pub backup: Option<Backup>,
    /// The want of its prefix.
    pub fib: FibState,
    /// When it came.
    pub received: Monotime,
}

/// What takes over when the next hops in use are lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Backup {
    /// The next hop.
    pub hop: ResolvedNextHop,
    /// Why it may be lost with one in use ("same duct as the active one: north"), for want of a better; empty: another fate.
    pub shared_fate: String,
}

/// How a path fared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is the best.
    Best,
    /// As good as the best up to the interior cost, and used beside it.
    Multipath,
    /// It takes over.
    Backup,
    /// Another is better.
    Lost,
    /// Policy keeps it out.
    Refused,
    /// Accepted, but its next hop is of no use.
    Unusable,
}

impl Outcome {
    /// The word shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Best => "best",
            Outcome::Multipath => "multipath",
            Outcome::Backup => "backup",
            Outcome::Lost => "lost",
            Outcome::Refused => "refused",
            Outcome::Unusable => "unusable",
        }
    }
}

/// A path with the step of the decision process that it lost at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExplainedPath {
    /// The path.
    pub route: RouteEntry,
    /// How it fared.
    pub outcome: Outcome,
    /// "3 shortest AS_PATH (RFC 4271 §9.1.2.2 a)"; empty for the best.
    pub step: String,
    /// Its value there.
    pub this_value: String,
    /// The winner's.
    pub best_value: String,
}

/// Answer to "why this path".
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExplainedRoute {
    /// The prefix that matched.
    pub prefix: Prefix,
    /// In order of preference; unusable, then refused ones last.
    pub paths: Vec<ExplainedPath>,
    /// One sentence: what the kernel holds and why.
    pub forwarding: String,
}

/// One want as shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FibEntry {
    /// Destination.
    pub prefix: Prefix,
    /// What is wanted.
    pub target: FibTarget,
    /// Its backup, with its fate.
    pub backup: Option<Backup>,
    /// Where it stands.
    pub state: FibState,
    /// The kernel's last refusal.
    pub error: String,
    /// Names the current want.
    pub cookie: u64,
}
