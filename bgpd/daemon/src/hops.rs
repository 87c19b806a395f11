//! Next hops that are no good any more, on the shortest way to the FIB's thread: whoever notices says so here, before any BGP
//! work is done, and the kernel's groups fall back to what stands by.
//!
//! Who notices: a session that ends ([`LossReason::SessionDown`]), BFD ([`LossReason::BfdDown`]), the kernel's neighbour table
//! ([`LossReason::NeighborFailed`], by this module's [`watch_neighbors`]), an operator ([`LossReason::Drained`]); links go their
//! own way ([`crate::ifmon`]). A hop is lost while any reason stands.
//!
//! Invariants: a session's end is a reason only until the RIB is through with it: its thread gives the hop back behind the
//! last want that came of it; every other reason is taken back by who gave it.

use std::collections::BTreeSet;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use kernel::{LossReason, NeighborMonitor, NextHop};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use crate::fib_task::FibInput;

/// How long the neighbour table is listened to before lost neighbours are asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The way to the FIB's thread; without a kernel table it leads nowhere.
#[derive(Clone, Debug, Default)]
pub struct Hops(Option<SyncSender<FibInput>>);

impl Hops {
    /// To this FIB thread.
    pub fn new(fib: Option<SyncSender<FibInput>>) -> Hops {
        Hops(fib)
    }

    /// These are of no use from now on. Returns as soon as it is in the FIB's queue, which that looks into every few
    /// milliseconds.
    pub fn lost(&self, hops: Vec<NextHop>, reason: LossReason) {
        self.say(FibInput::HopsLost(hops, reason));
    }

    /// This reason does not stand any more.
    pub fn returned(&self, hops: Vec<NextHop>, reason: LossReason) {
        self.say(FibInput::HopsReturned(hops, reason));
    }

    /// Nobody who says so may wait: BFD has its clock, a neighbour's task its timers.
    fn say(&self, input: FibInput) {
        let Some(fib) = &self.0 else { return };
        match fib.try_send(input) {
            Ok(()) => {}
            // Its queue has room for all that the RIB may have under way, so this is a burst.
            Err(TrySendError::Full(input)) => {
                let fib = fib.clone();
                std::thread::spawn(move || fib.send(input));
            }
            Err(TrySendError::Disconnected(_)) => error!("the FIB's thread is gone"),
        }
    }

    /// The next hops in use; `None`: there is no FIB thread.
    fn in_use(&self) -> Option<BTreeSet<NextHop>> {
        let (answer, reply) = oneshot::channel();
        self.0.as_ref()?.send(FibInput::NextHops(answer)).ok()?;
        let objects = reply.blocking_recv().ok()?;
        Some(objects.iter().flat_map(|o| o.active.iter().map(|w| w.hop).chain(o.backup)).collect())
    }
}

/// Tells the FIB of gateways that do not answer (ARP, ND), and when they do again. Runs until the FIB's thread is gone.
///
/// Most addresses that do not answer are nobody's gateway (somebody scans a LAN): only next hops in use count.
pub fn watch_neighbors(hops: &Hops, mut monitor: NeighborMonitor) {
    let mut lost = BTreeSet::<NextHop>::new();
    let mut asked = Instant::now();
    loop {
        let changes = match monitor.next(ASK_AGAIN) {
            Ok(changes) => changes,
            Err(e) => {
                error!("neighbours cannot be watched: {e}");
                std::thread::sleep(ASK_AGAIN);
                continue;
            }
        };
        let hop = |c: &kernel::NeighborChange| NextHop { gateway: Some(c.address), ifindex: c.ifindex, through: None };
        let failed: BTreeSet<NextHop> = changes.iter().filter(|c| !c.answers).map(hop).collect();
        if !failed.is_subset(&lost) {
            let Some(used) = hops.in_use() else { return };
            let news: Vec<NextHop> = failed.difference(&lost).filter(|h| used.contains(h)).copied().collect();
            if !news.is_empty() {
                warn!(gateways = names(&news), "they do not answer (ARP or ND): out of use");
                lost.extend(&news);
                hops.lost(news, LossReason::NeighborFailed);
            }
        }
        let back: Vec<NextHop> = changes.iter().filter(|c| c.answers).map(hop).filter(|h| lost.remove(h)).collect();
        if !back.is_empty() {
            info!(gateways = names(&back), "they answer again");
            hops.returned(back, LossReason::NeighborFailed);
        }
        // Nobody sends to them now, so nobody else asks.
        if asked.elapsed() >= ASK_AGAIN && !lost.is_empty() {
            asked = Instant::now();
            monitor.probe(&lost.iter().filter_map(|h| Some((h.ifindex, h.gateway?))).collect::<Vec<_>>());
        }
    }
}

fn names(hops: &[NextHop]) -> String {
    hops.iter().filter_map(|h| h.gateway).map(|g| g.to_string()).collect::<Vec<_>>().join(" ")
}
