//! Questions to the RIB's thread: one that is answered at once, and a listing: its prefixes first, sorted by the asker, then
//! what stands under them in pages.

use bgp_core::rib::{ListingCursor, Rib, RouteEntry, RouteFilter, RouteTable};
use net_types::{Monotime, Prefix};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use crate::messages::{Query, RibInput, Step};

/// Places of the table looked at in one slice: under a millisecond.
const PLACES: usize = 8192;
/// Prefixes of one page: under a millisecond.
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

/// Copies the prefixes of a listing out, a slice of the table at a time.
struct Collecting {
    table: RouteTable,
    filter: RouteFilter,
    cursor: Option<ListingCursor>,
    found: Vec<Prefix>,
    answer: Option<oneshot::Sender<Vec<Prefix>>>,
}

impl Query for Collecting {
    fn step(&mut self, rib: &Rib, _: Monotime) -> Step {
        if self.answer.as_ref().is_none_or(oneshot::Sender::is_closed) {
            return Step::Done;
        }
        let (found, next) = rib.prefixes(self.table, &self.filter, self.cursor, PLACES);
        self.found.extend(found);
        self.cursor = next;
        if next.is_some() {
            return Step::More;
        }
        if let Some(answer) = self.answer.take() {
            let _ = answer.send(std::mem::take(&mut self.found));
        }
        Step::Done
    }
}

/// Looks up what stands under sorted prefixes, a page at a time.
struct Pages {
    table: RouteTable,
    prefixes: std::vec::IntoIter<Prefix>,
    pages: mpsc::Sender<(Monotime, Vec<RouteEntry>)>,
}

impl Query for Pages {
    fn step(&mut self, rib: &Rib, now: Monotime) -> Step {
        if self.pages.is_closed() {
            return Step::Done;
        }
        let Ok(permit) = self.pages.try_reserve() else { return Step::Blocked };
        let page: Vec<Prefix> = self.prefixes.by_ref().take(PAGE).collect();
        permit.send((now, rib.entries(self.table, &page)));
        if self.prefixes.len() > 0 { Step::More } else { Step::Done }
    }
}

/// Starts a listing; pages come in order of prefix, as the reader takes them. Sorting is done here, not by the RIB.
pub(super) async fn list(
    rib: &mpsc::Sender<RibInput>,
    table: RouteTable,
    filter: RouteFilter,
) -> Result<mpsc::Receiver<(Monotime, Vec<RouteEntry>)>, Status> {
    let gone = || Status::unavailable("bgpd is stopping");
    let (answer, reply) = oneshot::channel();
    let collecting = Collecting { table, filter, cursor: None, found: Vec::new(), answer: Some(answer) };
    rib.send(RibInput::Query(Box::new(collecting))).await.map_err(|_| gone())?;
    let mut prefixes = reply.await.map_err(|_| gone())?;
    let sorted = tokio::task::spawn_blocking(move || {
        prefixes.sort_unstable();
        prefixes
    });
    let prefixes = sorted.await.map_err(|_| gone())?.into_iter();
    let (pages, receiver) = mpsc::channel(PAGES);
    rib.send(RibInput::Query(Box::new(Pages { table, prefixes, pages }))).await.map_err(|_| gone())?;
    Ok(receiver)
}
