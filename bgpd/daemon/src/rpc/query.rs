//! Questions to the RIB's thread: one that is answered at once, and a listing in pages.

use bgp_core::rib::{Rib, RouteEntry, RouteFilter, RouteTable};
use net_types::{Monotime, Prefix};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use crate::messages::{Query, RibInput, Step};

/// Entries of one slice: under a millisecond.
const PAGE: usize = 256;
/// Pages that wait for a reader. Full: the listing stands still and costs nothing.
const PAGES: usize = 4;

struct Once<F>(Option<F>);

impl<F: FnOnce(&Rib, Monotime) + Send> Query for Once<F> {
    fn step(&mut self, rib: &Rib, now: Monotime) -> Step {
        if let Some(f) = self.0.take() {
            f(rib, now);
        }
        Step::Done
    }
}

/// Asks something that takes one look.
pub(super) async fn ask<T: Send + 'static>(
    rib: &mpsc::Sender<RibInput>,
    question: impl FnOnce(&Rib, Monotime) -> T + Send + 'static,
) -> Result<T, Status> {
    let (answer, reply) = oneshot::channel();
    let once = Once(Some(move |rib: &Rib, now| {
        let _ = answer.send(question(rib, now));
    }));
    let gone = || Status::unavailable("bgpd is stopping");
    rib.send(RibInput::Query(Box::new(once))).await.map_err(|_| gone())?;
    reply.await.map_err(|_| gone())
}

struct Listing {
    table: RouteTable,
    filter: RouteFilter,
    cursor: Option<Prefix>,
    pages: mpsc::Sender<(Monotime, Vec<RouteEntry>)>,
}

impl Query for Listing {
    fn step(&mut self, rib: &Rib, now: Monotime) -> Step {
        if self.pages.is_closed() {
            return Step::Done;
        }
        let Ok(permit) = self.pages.try_reserve() else { return Step::Blocked };
        let (entries, next) = rib.routes(self.table, &self.filter, self.cursor, PAGE);
        permit.send((now, entries));
        self.cursor = next;
        if next.is_some() { Step::More } else { Step::Done }
    }
}

/// Starts a listing; pages come as the reader takes them.
pub(super) async fn list(
    rib: &mpsc::Sender<RibInput>,
    table: RouteTable,
    filter: RouteFilter,
) -> Result<mpsc::Receiver<(Monotime, Vec<RouteEntry>)>, Status> {
    let (pages, receiver) = mpsc::channel(PAGES);
    let listing = Listing { table, filter, cursor: None, pages };
    let sent = rib.send(RibInput::Query(Box::new(listing))).await;
    sent.map_err(|_| Status::unavailable("bgpd is stopping"))?;
    Ok(receiver)
}
