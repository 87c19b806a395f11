//! The one owner of state and store: a thread that takes asks from a bounded queue.
//!
//! The way of a change: gRPC call -> queue -> decided on the state as changed by those before it -> all changes that wait
//! go to the store in one transaction -> answered, and the new revision told to watchers. A read is run between
//! transactions, so nobody sees what is not durable. Queue full: callers wait. The store refuses (disk full): every change
//! of that transaction is refused with the reason, the state is read again from the log, reads go on.

use crate::store::{Store, StoreError};
use ipam_core::{Assignment, Command, Event, Refusal, State};
use net_types::Prefix;
use std::collections::BTreeSet;
use tokio::sync::{mpsc, oneshot, watch};

/// Waiting asks; beyond that, callers wait to be taken in.
const QUEUE: usize = 1024;
/// Changes that share one flush to the disk.
const BATCH: usize = 256;
/// A difference over more events than this is sent as a snapshot instead.
const LONGEST_DIFFERENCE: u64 = 4096;

/// A change that was made, or was so already.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The store's revision afterwards.
    pub(crate) revision: u64,
    /// False: it was so already.
    pub(crate) changed: bool,
    /// The prefix it is about.
    pub(crate) subject: Option<Prefix>,
    /// The assignment of that prefix, if there is one.
    pub(crate) assignment: Option<Assignment>,
}

/// Why a change was not made.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A rule forbids it.
    Refused(Refusal),
    /// It could not be written down.
    Store(String),
    /// The owner has gone.
    Gone,
}

/// One site's announcements, as a difference or whole.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    pub(crate) revision: u64,
    pub(crate) snapshot: bool,
    pub(crate) announce: Vec<Prefix>,
    pub(crate) withdraw: Vec<Prefix>,
}

type Reader = Box<dyn FnOnce(&State, &Store) + Send>;

enum Ask {
    Change(Command, oneshot::Sender<Result<Answer, Failure>>),
    Read(Reader),
}

/// The way to the owner.
#[derive(Clone)]
pub(crate) struct Book {
    asks: mpsc::Sender<Ask>,
    revision: watch::Receiver<u64>,
    store_id: String,
}

impl Book {
    /// Starts the owner. The receiver hears when it has gone, with the reason unless all its users have.
    pub(crate) fn start(store: Store, state: State) -> std::io::Result<(Book, oneshot::Receiver<StoreError>)> {
        let (asks, queue) = mpsc::channel(QUEUE);
        let (tell, revision) = watch::channel(state.revision());
        let (gone, has_gone) = oneshot::channel();
        let store_id = store.id().to_owned();
        let owner = Owner { state, store, tell };
        std::thread::Builder::new().name("book".to_owned()).spawn(move || {
            if let Err(e) = owner.run(queue) {
                let _ = gone.send(e);
            }
        })?;
        Ok((Book { asks, revision, store_id }, has_gone))
    }

    /// Which store this is.
    pub(crate) fn store_id(&self) -> &str {
        &self.store_id
    }

    /// Hears of each new durable revision (the latest only).
    pub(crate) fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.clone()
    }

    /// Makes a change; durable when this returns.
    pub(crate) async fn change(&self, command: Command) -> Result<Answer, Failure> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Change(command, reply)).await.map_err(|_| Failure::Gone)?;
        answer.await.unwrap_or(Err(Failure::Gone))
    }

    /// Reads the durable state.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        reader: impl FnOnce(&State, &Store) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        let read: Reader = Box::new(move |state, store| {
            // A caller that has gone does not want its answer.
            let _ = reply.send(reader(state, store));
        });
        self.asks.send(Ask::Read(read)).await.map_err(|_| Failure::Gone)?;
        answer.await.map_err(|_| Failure::Gone)
    }

    /// What `site` has to change since `since`; everything when `since` is none, ahead of us or long ago.
    pub(crate) async fn difference(&self, site: String, since: Option<u64>) -> Result<Difference, Failure> {
        self.read(move |state, store| difference(state, store, &site, since)).await
    }
}

struct Owner {
    state: State,
    store: Store,
    tell: watch::Sender<u64>,
}

type Waiting = Vec<(Command, oneshot::Sender<Result<Answer, Failure>>)>;

impl Owner {
    fn run(mut self, mut queue: mpsc::Receiver<Ask>) -> Result<(), StoreError> {
        let mut waiting = Waiting::new();
        while let Some(first) = queue.blocking_recv() {
            let mut next = Some(first);
            while let Some(ask) = next {
                match ask {
                    Ask::Change(command, reply) => waiting.push((command, reply)),
                    Ask::Read(reader) => {
                        self.commit(&mut waiting)?;
                        reader(&self.state, &self.store);
                    }
                }
                next = if waiting.len() < BATCH { queue.try_recv().ok() } else { None };
            }
            self.commit(&mut waiting)?;
        }
        Ok(())
    }

    /// Decides, writes and answers what waits.
    fn commit(&mut self, waiting: &mut Waiting) -> Result<(), StoreError> {
        let mut events = Vec::new();
        let mut answers = Vec::new();
        for (command, reply) in waiting.drain(..) {
            answers.push((self.decide(&command, &mut events), reply));
        }
        if !events.is_empty()
            && let Err(e) = self.store.append(&events)
        {
            tracing::error!(changes = answers.len(), "not written, refused: {e}");
            for (_, reply) in answers {
                let _ = reply.send(Err(Failure::Store(e.to_string())));
            }
            return self.again();
        }
        for (answer, reply) in answers {
            let _ = reply.send(answer);
        }
        if !events.is_empty() {
            self.tell.send_replace(self.state.revision());
        }
        Ok(())
    }

    fn decide(&mut self, command: &Command, events: &mut Vec<Event>) -> Result<Answer, Failure> {
        let decision = self.state.decide(command).map_err(Failure::Refused)?;
        let changed = !decision.events.is_empty();
        for event in decision.events {
            // What decide allows, apply accepts (property-tested); a log that says otherwise must not be written.
            self.state.apply(&event).map_err(|e| Failure::Store(e.to_string()))?;
            tracing::info!(revision = self.state.revision(), "{event:?}");
            events.push(event);
        }
        let assignment = decision.subject.and_then(|p| self.state.assignments().get(&p).cloned());
        Ok(Answer { revision: self.state.revision(), changed, subject: decision.subject, assignment })
    }

    /// Goes back to what the log says.
    fn again(&mut self) -> Result<(), StoreError> {
        self.state = self.store.reopen()?;
        tracing::warn!(revision = self.state.revision(), "read the log again");
        Ok(())
    }
}

fn difference(state: &State, store: &Store, site: &str, since: Option<u64>) -> Difference {
    let revision = state.revision();
    let near = since.filter(|s| *s <= revision && revision - s <= LONGEST_DIFFERENCE);
    let events = near.and_then(|since| {
        if since == revision {
            return Some(vec![]);
        }
        let read = store.since(since);
        read.inspect_err(|e| tracing::error!("the log cannot be read, sending a snapshot: {e}")).ok()
    });
    let Some(events) = events else {
        return Difference { revision, snapshot: true, announce: state.announced_at(site).collect(), withdraw: vec![] };
    };
    let touched: BTreeSet<Prefix> = events
        .iter()
        .filter_map(|event| match event {
            Event::Announced { prefix, sites, .. } | Event::Withdrawn { prefix, sites } => {
                sites.iter().any(|s| s == site).then_some(*prefix)
            }
            _ => None,
        })
        .collect();
    let stands = |p: &Prefix| state.announcements().get(p).is_some_and(|a| a.sites.contains(site));
    let (announce, withdraw) = touched.into_iter().partition(stands);
    Difference { revision, snapshot: false, announce, withdraw }
}
