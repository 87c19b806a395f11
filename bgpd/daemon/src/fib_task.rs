//! The FIB's thread: the one owner of [`FibSync`], and so of our routes in the kernel.
//!
//! The way of a want: RIB -> queue -> [`FibSync::set`] -> a flush of at most [`FLUSH`] prefixes -> results back to the RIB.
//! Invariants: the RIB never waits for this thread; this thread may wait for the RIB's queue. A full pass compares
//! everything every [`PASS_EVERY`]; on the way out nothing is removed, so forwarding outlives the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use bgp_core::rib::{FibChange, FibTarget};
use kernel::{FibKernel, FibState, FibSync, NextHop, RouteTarget};
use net_types::Prefix;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

use crate::messages::RibInput;

/// Messages to this thread. Full: the RIB keeps its wants (it counts them), the interface monitor waits.
pub const FIB_QUEUE: usize = 64;
/// Prefixes written before the queue is looked at again.
const FLUSH: usize = 4096;
/// Between two full passes.
const PASS_EVERY: Duration = Duration::from_secs(60);
/// Before the kernel is tried again after it could not be read or written.
const RETRY: Duration = Duration::from_millis(200);

/// To the FIB thread.
#[derive(Debug)]
pub enum FibInput {
    /// From the RIB.
    Wants(Vec<FibChange>),
    /// Links changed; those named went down.
    LinksChanged(Vec<u32>),
    /// Restart complete: what nobody claimed goes.
    Sweep,
    /// Everything, for `noc show fib`.
    List(oneshot::Sender<Vec<Line>>),
}

/// A route as the FIB has it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Line {
    /// Destination.
    pub prefix: Prefix,
    /// The kernel's next-hop object.
    pub nexthop_id: Option<u32>,
    /// Next hops; empty: discard (or stale).
    pub hops: Vec<NextHop>,
    /// installed, pending, failed, stale, removing.
    pub state: &'static str,
    /// The last refusal.
    pub error: String,
}

/// Runs until the RIB and the monitor are gone.
pub fn run<K: FibKernel>(
    mut fib: FibSync<K>,
    inputs: &Receiver<FibInput>,
    in_flight: &Arc<AtomicUsize>,
    rib: &mpsc::Sender<RibInput>,
) {
    for w in fib.warnings() {
        warn!("{w}");
    }
    let mut next_pass = Instant::now() + PASS_EVERY;
    let mut progress = true;
    loop {
        let wait = match (fib.pending() > 0, progress) {
            (true, true) => Duration::ZERO,
            (true, false) => RETRY,
            (false, _) => next_pass.saturating_duration_since(Instant::now()),
        };
        match inputs.recv_timeout(wait) {
            Ok(input) => take(&mut fib, input, in_flight),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while let Ok(input) = inputs.try_recv() {
            take(&mut fib, input, in_flight);
        }
        if Instant::now() >= next_pass {
            pass(&mut fib);
            next_pass = Instant::now() + PASS_EVERY;
        }
        let before = fib.pending();
        let results = fib.flush(FLUSH);
        progress = !results.is_empty() || fib.pending() < before;
        if !results.is_empty() && rib.blocking_send(RibInput::Fib(results)).is_err() {
            return;
        }
    }
}

fn take<K: FibKernel>(fib: &mut FibSync<K>, input: FibInput, in_flight: &AtomicUsize) {
    match input {
        FibInput::Wants(wants) => {
            in_flight.fetch_sub(wants.len(), Ordering::AcqRel);
            for FibChange { prefix, cookie, target } in wants {
                fib.set(prefix, target.map(route_target), cookie);
            }
        }
        FibInput::LinksChanged(down) => fib.links_changed(&down),
        FibInput::Sweep => {
            // Every want that came before is set, so what is unclaimed now is nobody's.
            let swept = fib.sweep_stale();
            info!(routes = swept, "stale kernel routes of an earlier run are removed");
        }
        FibInput::List(answer) => {
            let mut lines: Vec<Line> = fib.iter().map(|e| line(&e)).collect();
            lines.sort();
            let _ = answer.send(lines);
        }
    }
}

fn pass<K: FibKernel>(fib: &mut FibSync<K>) {
    match fib.full_pass() {
        Ok(report) if report.clean() => debug!(routes = report.routes, "full pass: the kernel holds what is wanted"),
        Ok(report) => warn!(
            routes = report.routes,
            missing = report.missing,
            wrong = report.wrong,
            extra = report.extra,
            nexthops = report.nexthops,
            foreign = report.foreign,
            repaired = report.repaired,
            failed = report.failed.len(),
            "full pass: somebody else changed our routes; put right"
        ),
        Err(error) => warn!("full pass not possible: {error}"),
    }
}

fn route_target(target: FibTarget) -> RouteTarget {
    match target {
        FibTarget::Discard => RouteTarget::Discard,
        FibTarget::NextHops(hops) => {
            let hop = |h: bgp_core::rib::ResolvedNextHop| NextHop { gateway: h.gateway, ifindex: h.ifindex };
            RouteTarget::next_hops(hops.into_iter().map(hop).collect())
        }
    }
}

fn line(entry: &kernel::FibEntry<'_>) -> Line {
    Line {
        prefix: entry.prefix,
        nexthop_id: entry.nexthop_id,
        hops: entry.target.map_or_else(Vec::new, |t| t.hops().to_vec()),
        state: match entry.state {
            FibState::Installed => "installed",
            FibState::Pending => "pending",
            FibState::Failed => "failed",
            FibState::Stale => "stale",
            FibState::Removing => "removing",
        },
        error: entry.error.unwrap_or_default().to_owned(),
    }
}
