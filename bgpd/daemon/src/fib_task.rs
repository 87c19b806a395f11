//! The FIB's thread: the one owner of [`FibSync`], and so of our routes in the kernel.
//!
//! The way of a want: RIB -> queue -> [`FibSync::set`] -> a flush of at most [`FLUSH`] prefixes -> results back to the RIB.
//! Losses of links and next hops, and questions, overtake wants: a loss is one message to the kernel, whatever the number of
//! routes, and is told before the RIB has begun. A link that is back waits here until it has been up for a while
//! ([`HoldUp`]). Time is here, not in [`FibSync`]. Invariants: the RIB never waits for this thread; this thread may wait for the RIB's queue. Nothing takes longer than a
//! few milliseconds between two looks at the queue: the adoption of what stands at the start, the full pass that compares
//! everything every [`PASS_EVERY`], and listings go on in steps. On the way out nothing is removed, so forwarding outlives
//! the process.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use bgp_core::rib::{FibBatch, FibTarget, ResolvedNextHop};
use kernel::{
    FibKernel, FibResult, FibState, FibSync, LossReason, Meddled, NextHop, NexthopEntry, PassReport, RouteTarget,
    WeightedHop,
};
use net_types::{Family, Prefix};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

use crate::hold_up::HoldUp;
use crate::messages::RibInput;

/// Messages to this thread. Full: the RIB keeps its wants (it counts them), the interface monitor waits.
pub const FIB_QUEUE: usize = 64;
/// Prefixes written in one go. Small: what was set is still in the cache when its answer comes.
const FLUSH: usize = 256;
/// Of these, before the queue is looked at again: some 3 ms.
const FLUSHES: usize = 4;
/// Between two full passes.
const PASS_EVERY: Duration = Duration::from_secs(60);
/// Before the kernel is tried again after it could not be read or written.
const RETRY: Duration = Duration::from_millis(200);
/// Prefixes in one answer to a listing, about.
const LISTED: usize = 16 * 1024;
/// Lines in one answer to a listing.
const LINES: usize = 1024;

/// Without a want that joins those that wait for the rest of their group, the group's users part.
const PART_AFTER: Duration = Duration::from_millis(300);
/// However many join.
const PART_AT_LAST: Duration = Duration::from_secs(10);

/// To the FIB thread.
#[derive(Debug)]
pub enum FibInput {
    /// From the RIB.
    Wants(FibBatch),
    /// Links went down, or came up, or their addresses changed.
    LinksChanged {
        /// By index.
        down: Vec<u32>,
        /// By index.
        up: Vec<u32>,
    },
    /// Not to be used from now on, for one more reason.
    HopsLost(Vec<NextHop>, LossReason),
    /// This reason is gone. Waits its turn behind the wants before it: those of a session that ended lead elsewhere.
    HopsReturned(Vec<NextHop>, LossReason),
    /// Somebody, of objects perhaps we, changed what is ours.
    Meddled(Meddled),
    /// All next-hop objects.
    NextHops(oneshot::Sender<Vec<NexthopEntry>>),
    /// Restart complete: what nobody claimed goes.
    Sweep,
    /// The prefixes from this slice of the table on, in no order, and the slice to ask for next.
    Prefixes(usize, oneshot::Sender<(Vec<Prefix>, Option<usize>)>),
    /// How these stand; those that are gone are left out.
    Lines(Vec<Prefix>, oneshot::Sender<Vec<Line>>),
    /// How many there are.
    Count(oneshot::Sender<usize>),
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
    /// What takes over from them.
    pub backup: Option<NextHop>,
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
    hold_up: Duration,
) {
    for w in fib.warnings() {
        warn!("{w}");
    }
    let mut next_pass = Instant::now() + PASS_EVERY;
    let mut backlog = VecDeque::new();
    let mut hold = HoldUp::new(hold_up);
    let mut parting = Parting::default();
    // The kernel cannot be read or written just now.
    let mut stuck = false;
    loop {
        let wait = if !backlog.is_empty() {
            Duration::ZERO
        } else if stuck {
            RETRY
        } else if fib.pending() > 0 || fib.passing() {
            Duration::ZERO
        } else {
            let next = [hold.next(), parting.next()].into_iter().flatten().fold(next_pass, Instant::min);
            next.saturating_duration_since(Instant::now())
        };
        match inputs.recv_timeout(wait) {
            Ok(input) => take(&mut fib, input, &mut backlog, &mut hold),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while let Ok(input) = inputs.try_recv() {
            take(&mut fib, input, &mut backlog, &mut hold);
        }
        let returned = hold.due(Instant::now());
        if !returned.is_empty() {
            info!(links = ?returned, "links are up to stay");
            fib.links_returned(&returned);
        }
        let before = fib.pending();
        let mut results = Vec::new();
        match backlog.pop_front() {
            Some(Due::Wants(batch)) => {
                in_flight.fetch_sub(batch.wants.len(), Ordering::AcqRel);
                set(&mut fib, &batch, &mut results);
            }
            Some(Due::Returned(hops, reason)) => fib.hops_returned(&hops, reason),
            Some(Due::Sweep) => {
                // Every want that came before is set, so what is unclaimed now is nobody's.
                let swept = fib.sweep_stale();
                info!(routes = swept, "stale kernel routes of an earlier run are removed");
            }
            None => {}
        }
        stuck = false;
        if fib.passing() || fib.adopting() || Instant::now() >= next_pass {
            let adopting = fib.adopting();
            match pass(&mut fib) {
                Ok(None) => {}
                Ok(Some(report)) => {
                    tell(&report, adopting);
                    next_pass = Instant::now() + PASS_EVERY;
                }
                Err(error) => {
                    warn!("the kernel's routes cannot be read: {error}");
                    next_pass = Instant::now() + PASS_EVERY;
                    stuck = adopting;
                }
            }
        }
        for _ in 0..FLUSHES {
            let mut part = fib.flush(FLUSH);
            if part.is_empty() {
                break;
            }
            results.append(&mut part);
        }
        if parting.is_due(&fib, Instant::now()) {
            fib.part();
        }
        stuck |= before > 0 && results.is_empty() && fib.pending() >= before && !fib.passing();
        if !results.is_empty() && rib.blocking_send(RibInput::Fib(results)).is_err() {
            return;
        }
    }
}

/// When users of one group that want different things part.
#[derive(Default)]
struct Parting {
    /// Waiting since, the last want that joined, and how many had.
    since: Option<(Instant, Instant, u64)>,
}

impl Parting {
    fn next(&self) -> Option<Instant> {
        self.since.map(|(begun, last, _)| (last + PART_AFTER).min(begun + PART_AT_LAST))
    }

    fn is_due<K: FibKernel>(&mut self, fib: &FibSync<K>, now: Instant) -> bool {
        if !fib.waiting() {
            self.since = None;
            return false;
        }
        let (begun, mut last, held) = self.since.unwrap_or((now, now, fib.held()));
        if held != fib.held() {
            last = now;
        }
        self.since = Some((begun, last, fib.held()));
        let due = self.next().is_some_and(|at| now >= at);
        if due {
            self.since = None;
        }
        due
    }
}

/// What waits for its turn, in its order.
enum Due {
    Returned(Vec<NextHop>, LossReason),
    Wants(FibBatch),
    Sweep,
}

fn set<K: FibKernel>(fib: &mut FibSync<K>, batch: &FibBatch, results: &mut Vec<FibResult>) {
    let targets: Vec<RouteTarget> = batch.targets.iter().map(route_target).collect();
    for wants in batch.wants.chunks(FLUSH) {
        fib.announce(wants.iter().map(|w| w.prefix));
        for want in wants {
            fib.set(want.prefix, want.target.and_then(|t| targets.get(t as usize)), want.cookie);
        }
        results.append(&mut fib.flush(FLUSH));
    }
}

fn take<K: FibKernel>(fib: &mut FibSync<K>, input: FibInput, backlog: &mut VecDeque<Due>, hold: &mut HoldUp) {
    match input {
        FibInput::Wants(batch) => backlog.push_back(Due::Wants(batch)),
        FibInput::Sweep => backlog.push_back(Due::Sweep),
        FibInput::LinksChanged { down, up } => {
            let now = Instant::now();
            if !down.is_empty() {
                fib.links_lost(&down);
                down.iter().for_each(|l| hold.down(*l, now));
            }
            // Neither: addresses changed, and what was refused may be taken now.
            if !up.is_empty() || down.is_empty() {
                fib.links_up(&up);
                up.into_iter().for_each(|l| hold.up(l, now));
            }
        }
        FibInput::HopsLost(hops, reason) => fib.hops_lost(&hops, reason),
        FibInput::HopsReturned(hops, reason) => backlog.push_back(Due::Returned(hops, reason)),
        FibInput::Meddled(meddled) => {
            let objects = if meddled.objects { fib.objects_changed() } else { 0 };
            let routes = fib.routes_removed(&meddled.routes);
            if objects + routes > 0 {
                warn!(objects, routes, "somebody else changed our next-hop objects or removed our routes; put right");
            }
        }
        FibInput::NextHops(answer) => {
            let _ = answer.send(fib.nexthops());
        }
        FibInput::Prefixes(from, answer) => {
            let mut prefixes = Vec::new();
            let mut slice = from;
            while slice < FibSync::<K>::SLICES && prefixes.len() < LISTED {
                fib.prefixes(slice, &mut prefixes);
                slice += 1;
            }
            let _ = answer.send((prefixes, (slice < FibSync::<K>::SLICES).then_some(slice)));
        }
        FibInput::Lines(prefixes, answer) => {
            let lines = prefixes.iter().filter_map(|p| fib.get(p)).map(|e| line(&e)).collect();
            let _ = answer.send(lines);
        }
        FibInput::Count(answer) => {
            let _ = answer.send(fib.len());
        }
    }
}

/// Everything of a family, in order, to `each` until that says no; the asker's thread waits and sorts, the FIB's does not.
/// False if the FIB thread is gone.
pub fn list(fib: &SyncSender<FibInput>, family: Option<Family>, mut each: impl FnMut(&Line) -> bool) -> bool {
    let mut prefixes = Vec::new();
    let mut next = Some(0);
    while let Some(slice) = next {
        let (answer, reply) = oneshot::channel();
        let asked = fib.send(FibInput::Prefixes(slice, answer));
        let Some((part, rest)) = asked.ok().and_then(|()| reply.blocking_recv().ok()) else { return false };
        prefixes.extend(part.into_iter().filter(|p| family.is_none_or(|f| p.family() == f)));
        next = rest;
    }
    prefixes.sort_unstable();
    for page in prefixes.chunks(LINES) {
        let (answer, reply) = oneshot::channel();
        let asked = fib.send(FibInput::Lines(page.to_vec(), answer));
        let Some(lines) = asked.ok().and_then(|()| reply.blocking_recv().ok()) else { return false };
        if !lines.iter().all(&mut each) {
            break;
        }
    }
    true
}

/// A step of the pass, the first one included.
fn pass<K: FibKernel>(fib: &mut FibSync<K>) -> Result<Option<PassReport>, kernel::KernelError> {
    if !fib.passing() {
        fib.begin_pass()?;
    }
    fib.step_pass()
}

fn tell(report: &PassReport, adopted: bool) {
    if adopted {
        info!(routes = report.routes, "routes of an earlier run stand in the kernel and are adopted");
    } else if report.clean() {
        debug!(routes = report.routes, "full pass: the kernel holds what is wanted");
    } else {
        warn!(
            routes = report.routes,
            missing = report.missing,
            wrong = report.wrong,
            extra = report.extra,
            nexthops = report.nexthops,
            foreign = report.foreign,
            failed = report.failed,
            "full pass: somebody else changed our routes, or the kernel refuses some; what can be is put right"
        );
    }
}

fn route_target(target: &FibTarget) -> RouteTarget {
    match target {
        FibTarget::Discard => RouteTarget::Discard,
        FibTarget::Forward { active, backup } => {
            let weighted = active.iter().map(|w| WeightedHop { hop: next_hop(&w.hop), weight: w.weight });
            RouteTarget::forward(weighted.collect(), backup.as_ref().map(next_hop))
        }
    }
}

/// A next hop as the FIB has it.
pub fn next_hop(hop: &ResolvedNextHop) -> NextHop {
    NextHop { gateway: hop.gateway, ifindex: hop.ifindex, through: hop.through }
}

fn line(entry: &kernel::FibEntry<'_>) -> Line {
    Line {
        prefix: entry.prefix,
        nexthop_id: entry.nexthop_id,
        hops: entry.target.map_or_else(Vec::new, |t| t.active().iter().map(|h| h.hop).collect()),
        backup: entry.target.and_then(RouteTarget::backup),
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
