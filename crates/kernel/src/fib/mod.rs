//! The forwarding table: what is wanted, what stands, and the difference.
//!
//! What is wanted is a [`RouteTarget`] a prefix; how that stands as next-hop objects is `form.rs`, who shares one is `objects.rs`, what of
//! it is lost is `losses.rs`. [`FibSync`] holds both and is pure over [`FibKernel`], which is [`Netlink`] in a daemon and [`fake::FakeKernel`] in
//! tests.

pub mod fake;
mod form;
mod losses;
mod netlink;
mod objects;
mod sync;
#[cfg(test)]
mod sync_tests;
mod table;
mod target;

use crate::KernelError;
pub use crate::nexthop::{Member, NextHop, NexthopKind, NexthopObject, ResilientGroup};
pub use crate::route::{InstalledRoute, RouteSpace};
pub use losses::LossReason;
use net_types::{Afi, Prefix};
pub use netlink::Netlink;
pub use sync::{FibCounters, FibSync, NexthopEntry};
pub use target::{MAX_WEIGHT, RouteTarget, WeightedHop};

/// Where our routes live, and how they are told from others'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FibConfig {
    /// `rtm_protocol` and `nh_protocol`: ours alone on this machine.
    pub rtproto: u8,
    /// Routing table.
    pub table: u32,
    /// Metric of our routes.
    pub metric: u32,
    /// First id of our next-hop objects.
    pub nexthop_id_base: u32,
}

impl Default for FibConfig {
    fn default() -> FibConfig {
        // Protocol 220 is unassigned in rt_protos; 254 is the main table; 512 lies above the kernel's own 256 for
        // connected IPv6 routes, so a connected network always wins; ids far from where `ip nexthop` and zebra count.
        FibConfig { rtproto: 220, table: 254, metric: 512, nexthop_id_base: 64_500_000 }
    }
}

impl FibConfig {
    /// The same as route messages need it.
    pub fn space(&self) -> RouteSpace {
        RouteSpace { protocol: self.rtproto, table: self.table, metric: self.metric }
    }
}

/// One change to the kernel's tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Make an object; with `replace`, put it in the place of ours of the same id.
    PutNexthop {
        /// The object.
        object: NexthopObject,
        /// It stands already with another content.
        replace: bool,
    },
    /// Remove an object. The kernel removes every route on it.
    DeleteNexthop(u32),
    /// Make our route for a prefix; with `replace`, in the place of our own. Without, any route at our metric is EEXIST.
    PutRoute {
        /// Destination.
        prefix: Prefix,
        /// The object.
        nexthop_id: u32,
        /// A route of ours stands.
        replace: bool,
    },
    /// Remove our route for a prefix at a metric.
    DeleteRoute {
        /// Destination.
        prefix: Prefix,
        /// Ours now, or of an earlier configuration.
        metric: u32,
    },
}

/// The kernel as the difference needs it.
pub trait FibKernel {
    /// All next-hop objects of the namespace, others' too (their ids are taken).
    fn dump_nexthops(&mut self) -> Result<Vec<NexthopObject>, KernelError>;
    /// Begins to read the routes of our protocol in our table, any metric; gives up a reading under way.
    fn begin_routes(&mut self) -> Result<(), KernelError>;
    /// Adds the next piece to `routes`; false if it was the last. What changes meanwhile may show or not; a piece may be
    /// older than changes made before it is read, and a route may come twice.
    fn next_routes(&mut self, routes: &mut Vec<InstalledRoute>) -> Result<bool, KernelError>;
    /// Our route for this very prefix, if that is what the kernel would use for the prefix's first address. `None` does not
    /// mean that there is none.
    fn lookup(&mut self, prefix: Prefix) -> Result<Option<InstalledRoute>, KernelError>;
    /// Carries the changes out in order, and tells which were not, by index, ascending.
    fn apply(&mut self, ops: &[Op]) -> Vec<(usize, KernelError)>;
    /// Best-effort tuning at start; what a person should know about it.
    fn prepare(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// What became of a wanted change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FibResult {
    /// The prefix.
    pub prefix: Prefix,
    /// The cookie of the last [`FibSync::set`]; in what is reported unasked, its low half.
    pub cookie: u64,
    /// Done, or why not.
    pub result: Result<(), String>,
}

/// Where a route of the forwarding table stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FibState {
    /// In the kernel as wanted.
    Installed,
    /// Wanted, not yet written.
    Pending,
    /// Wanted, refused; the error says why.
    Failed,
    /// Found at start, not claimed yet.
    Stale,
    /// No longer wanted, not yet removed.
    Removing,
}

/// A line of `show fib`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FibEntry<'a> {
    /// Destination.
    pub prefix: Prefix,
    /// The object that the kernel's route points at.
    pub nexthop_id: Option<u32>,
    /// What is wanted; `None` for a stale route or one that goes.
    pub target: Option<&'a RouteTarget>,
    /// Where it stands.
    pub state: FibState,
    /// The last refusal.
    pub error: Option<&'a str>,
}

/// What a full pass found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassReport {
    /// Routes of ours in the kernel.
    pub routes: usize,
    /// Wanted routes that did not stand.
    pub missing: usize,
    /// Routes that pointed elsewhere than believed.
    pub wrong: usize,
    /// Routes with our protocol number that nobody wants.
    pub extra: usize,
    /// Next-hop objects that were gone or changed.
    pub nexthops: usize,
    /// Wanted routes whose place another program's route holds.
    pub foreign: usize,
    /// Wanted changes that were refused, these included.
    pub failed: usize,
}

impl PassReport {
    /// True if the kernel held exactly what is wanted.
    pub fn clean(&self) -> bool {
        self.missing + self.wrong + self.extra + self.nexthops + self.failed == 0
    }
}

/// The family of the prefixes of a target, if it makes a difference: objects without a gateway have that of their routes.
fn target_family(prefix: &Prefix, target: &RouteTarget) -> Option<Afi> {
    let differs = *target == RouteTarget::Discard || target.hops().any(|h| h.gateway.is_none());
    differs.then(|| if prefix.is_v4() { Afi::IPV4 } else { Afi::IPV6 })
}
