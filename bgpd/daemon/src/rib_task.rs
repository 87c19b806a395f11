//! The RIB's thread: the one owner of the [`Rib`].
//!
//! The way of a route: a neighbour's UPDATEs from the queue -> [`Rib::update`] -> wants to the FIB thread, its answers back
//! by the queue -> a neighbour for which there is something gets UPDATEs, at most [`UPDATE_BYTES`] an answer, while it gives
//! credit ([`crate::net::flow::Outlet`]). Questions are answered in slices, and so is done what the RIB owes its whole table
//! ([`Rib::work`]).
//! Invariants: this thread waits for nobody: towards the FIB it keeps at most [`WANTS_IN_FLIGHT`] wants under way,
//! towards a neighbour as many answers as it gave credit for, towards the supervisor it sets a value. It goes round:
//! links, the queue, timers, the table, wants, neighbours, questions, each for at most [`TURN`] or one slice; when all of them have nothing
//! to do it tidies ([`Rib::tidy`]), a slice a round, and then sleeps; no timer is set on the way.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use bgp_core::config::NeighborConfig;
use bgp_core::policy::export::MAX_MED;
use bgp_core::rib::{ConnectedTable, FibBatch, HopEvent, MaxPrefixExceeded, PeerId, Rib, RibEvent};
use bgp_wire::Notification;
use daemonbase::Clock;
use kernel::{LossReason, NextHop};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::fib_task::FibInput;
use crate::messages::{Command, Query, RibInput, Step};
use crate::net::flow::Outlet;

/// Octets of UPDATEs in one answer to a pull.
const UPDATE_BYTES: usize = 64 * 1024;
/// Time for inputs, and then for answers, before the other is looked at.
const TURN: Duration = Duration::from_millis(2);
/// Wants in one message to the FIB thread.
const WANTS: usize = 1024;
/// Wants on their way to the FIB thread, a tenth of a second of the kernel's time: it has work while an index here doubles or others have
/// the processor. Beyond that they stay in the RIB, where newer ones replace them.
const WANTS_IN_FLIGHT: usize = 32 * WANTS;
/// How soon a question whose reader is slow is asked again.
const BLOCKED: Duration = Duration::from_millis(5);

/// What the thread is made of.
pub struct Setup {
    /// The RIB.
    pub rib: Rib,
    /// The clock all tasks share.
    pub clock: Clock,
    /// From everybody.
    pub inputs: mpsc::Receiver<RibInput>,
    /// Interfaces and addresses.
    pub interfaces: watch::Receiver<Arc<ConnectedTable>>,
    /// To the FIB thread; `None`: no kernel table is kept.
    pub fib: Option<FibLink>,
    /// Set to false when the first decision after a restart is made.
    pub restarting: watch::Sender<bool>,
}

/// The way to the FIB thread.
#[derive(Clone)]
pub struct FibLink {
    /// Its queue.
    pub inputs: SyncSender<FibInput>,
    /// Wants that it has not taken yet.
    pub in_flight: Arc<AtomicUsize>,
}

struct Session {
    number: u64,
    config: Arc<NeighborConfig>,
    task: mpsc::Sender<Command>,
    outlet: Arc<Outlet>,
    /// It stands in the line of those that there is something for.
    in_line: bool,
    /// Its end is ordered; what still comes from it is dropped.
    ending: bool,
}

struct Task {
    rib: Rib,
    clock: Clock,
    fib: Option<FibLink>,
    restarting: watch::Sender<bool>,
    sessions: HashMap<PeerId, Session>,
    /// Everyone's, for the log: a session may be gone when its routes are.
    configs: HashMap<PeerId, Arc<NeighborConfig>>,
    /// Neighbours to be fed, one answer at a time.
    line: VecDeque<PeerId>,
    queries: Vec<Box<dyn Query>>,
    /// Wants that the FIB's queue had no room for; they go before any newer one.
    unsent: Option<FibBatch>,
    /// A stale sweep is due, once every want before it is in the FIB's queue.
    sweep: bool,
    refused: HashSet<net_types::Prefix>,
    /// Next hops that the FIB holds for lost with a session or a route, until every want that comes of it is handed over.
    lost: Vec<(NextHop, LossReason)>,
}

/// Runs until every sender is gone.
pub async fn run(setup: Setup) {
    let Setup { mut rib, clock, mut inputs, mut interfaces, fib, restarting } = setup;
    if fib.is_none() {
        rib.without_kernel();
    }
    let mut task = Task {
        rib,
        clock,
        fib,
        restarting,
        sessions: HashMap::new(),
        configs: HashMap::new(),
        line: VecDeque::new(),
        queries: Vec::new(),
        unsent: None,
        sweep: false,
        refused: HashSet::new(),
        lost: Vec::new(),
    };
    let table = interfaces.borrow_and_update().clone();
    task.rib.set_connected(clock.now(), ConnectedTable::clone(&table));
    if let Some(last_resort) = task.rib.summary().last_resort {
        let most = last_resort.until.since(clock.now()).as_secs();
        info!(
            med = MAX_MED,
            most, "nothing stood in the kernel: until the table is in, own prefixes are the last resort"
        );
    }
    let mut first = None;
    loop {
        // For what this runtime has besides: a teardown that waits for its neighbour's queue.
        tokio::task::yield_now().await;
        if interfaces.has_changed().unwrap_or(false) {
            let table = interfaces.borrow_and_update().clone();
            task.rib.set_connected(clock.now(), ConnectedTable::clone(&table));
        }
        let turn = Instant::now();
        while let Some(input) = first.take().or_else(|| inputs.try_recv().ok()) {
            task.input(input);
            if turn.elapsed() >= TURN {
                break;
            }
        }
        let now = clock.now();
        if task.rib.poll_timeout().is_some_and(|at| at <= now) {
            task.rib.handle_timeout(now);
        }
        let busy = task.rib.work(now);
        let handed = task.outputs();
        if handed && !busy {
            task.give_back();
        }
        let asked = task.ask();
        let waiting = !inputs.is_empty() || !task.line.is_empty() || task.rib.has_ready_peer();
        if busy || waiting || matches!(asked, Ask::Now) {
            continue;
        }
        if task.rib.tidy() {
            continue;
        }
        let due = task.rib.poll_timeout().map(|at| Instant::from_std(clock.instant(at)));
        let again = matches!(asked, Ask::Later).then(|| Instant::now() + BLOCKED);
        let wake = [due, again].into_iter().flatten().min();
        tokio::select! {
            biased;
            Ok(()) = interfaces.changed() => interfaces.mark_changed(),
            input = inputs.recv() => match input {
                Some(input) => first = Some(input),
                None => return,
            },
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
        }
    }
}

enum Ask {
    Idle,
    Now,
    Later,
}

impl Task {
    fn input(&mut self, input: RibInput) {
        let now = self.clock.now();
        match input {
            RibInput::Configured(id, config) => {
                self.configs.insert(id, config.clone());
                self.rib.peer_configured(id, config);
            }
            RibInput::Reconfigured(id, config) => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.config = config.clone();
                }
                self.configs.insert(id, config.clone());
                self.rib.peer_reconfigured(now, id, config);
            }
            RibInput::Removed(id) => {
                self.sessions.remove(&id);
                self.rib.peer_removed(now, id);
                self.configs.remove(&id);
            }
            RibInput::Up { info, session, task, outlet } => {
                let config = info.config.clone();
                let live = Session { number: session, config, task, outlet, in_line: false, ending: false };
                self.sessions.insert(info.id, live);
                self.rib.peer_up(now, *info);
            }
            RibInput::Down { id, retain, lost } => {
                self.sessions.remove(&id);
                self.rib.peer_down(now, id, retain);
                self.lost.extend(lost.into_iter().map(|hop| (hop, LossReason::SessionDown)));
            }
            RibInput::Updates(id, updates, _held) => {
                for update in updates {
                    if self.sessions.get(&id).is_some_and(|s| !s.ending)
                        && let Some(exceeded) = self.rib.update(now, id, &update)
                    {
                        self.over_limit(id, &exceeded);
                    }
                }
            }
            RibInput::RouteRefresh(id, refresh) => self.rib.route_refresh(now, id, refresh),
            RibInput::Pull(id) => self.stand_in_line(id),
            RibInput::Announcements(prefixes) => self.rib.set_announcements(now, prefixes.into_iter().collect()),
            RibInput::Speaker(speaker) => self.rib.set_speaker(now, *speaker),
            RibInput::Fib(results) => {
                self.rib.fib_results(results.into_iter().map(|r| (r.prefix, r.cookie, r.result)));
            }
            RibInput::Query(query) => self.queries.push(query),
        }
    }

    /// RFC 4271 §6.7, RFC 4486 §4: Cease, Maximum Number of Prefixes Reached, with AFI, SAFI and the bound.
    fn over_limit(&mut self, id: PeerId, exceeded: &MaxPrefixExceeded) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.ending = true;
        let MaxPrefixExceeded { family, limit } = exceeded;
        let mut data = family.afi.0.to_be_bytes().to_vec();
        data.push(family.safi.0);
        data.extend(limit.to_be_bytes());
        let idle_hold = session.config.max_prefix.get(family).and_then(|m| m.restart);
        warn!(neighbor = %session.config.name, %family, limit, ?idle_hold, "more prefixes than max_prefix: session ends");
        let notification = Notification::with_data(6, 1, &data);
        let order = Command::Teardown { session: session.number, notification, idle_hold };
        if session.task.try_send(order).is_err() {
            // Its queue cannot be full of what we send; full of callers it can be, so the next UPDATE tries again.
            session.ending = false;
        }
    }

    /// There is something for this neighbour.
    fn stand_in_line(&mut self, id: PeerId) {
        if let Some(session) = self.sessions.get_mut(&id).filter(|s| !s.in_line) {
            session.in_line = true;
            self.line.push_back(id);
        }
    }

    /// Gives the first in line one answer, against credit; it goes to the end of the line until it has heard everything or
    /// gives no more credit (then it pulls).
    fn feed(&mut self, id: PeerId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.in_line = false;
        if !session.outlet.take() {
            return;
        }
        let Some(outgoing) = self.rib.next_updates(self.clock.now(), id, UPDATE_BYTES) else {
            return session.outlet.put_back();
        };
        session.in_line = true;
        self.line.push_back(id);
        if session.task.try_send(Command::Updates { session: session.number, outgoing }).is_err()
            && !session.task.is_closed()
        {
            // Lost UPDATEs cannot be had back: end the session and begin anew (6/8, Out of Resources).
            warn!(neighbor = %session.config.name, "its queue is full, session ends");
            let (task, number) = (session.task.clone(), session.number);
            tokio::spawn(async move {
                let notification = Notification::cease(8);
                let idle_hold = Some(Duration::from_secs(5));
                let _ = task.send(Command::Teardown { session: number, notification, idle_hold }).await;
            });
        }
    }

    /// True if the FIB's thread has every want there is.
    fn outputs(&mut self) -> bool {
        self.hop_events();
        let handed = self.wants();
        while let Some(event) = self.rib.poll_event() {
            self.event(&event);
        }
        if self.sweep
            && self.unsent.is_none()
            && let Some(fib) = &self.fib
            && fib.inputs.try_send(FibInput::Sweep).is_ok()
        {
            self.sweep = false;
        }
        while let Some(id) = self.rib.poll_ready_peer() {
            self.stand_in_line(id);
        }
        let turn = Instant::now();
        while let Some(id) = self.line.pop_front() {
            self.feed(id);
            if turn.elapsed() >= TURN {
                break;
            }
        }
        handed
    }

    /// The RIB is through with what was lost: the FIB has the wants, and the next hops are as good as any again.
    fn give_back(&mut self) {
        let Some(fib) = &self.fib else { return };
        for reason in [LossReason::SessionDown, LossReason::Unresolved] {
            let (back, rest) =
                std::mem::take(&mut self.lost).into_iter().partition::<Vec<_>, _>(|(_, of)| *of == reason);
            self.lost = rest;
            let hops: Vec<NextHop> = back.into_iter().map(|(hop, _)| hop).collect();
            if hops.is_empty() {
                continue;
            }
            if let Err(TrySendError::Full(FibInput::HopsReturned(hops, _))) =
                fib.inputs.try_send(FibInput::HopsReturned(hops, reason))
            {
                self.lost.extend(hops.into_iter().map(|hop| (hop, reason)));
            }
        }
    }

    /// Next hops whose route went or leads elsewhere: the FIB turns to what stands by before the prefixes are looked at.
    fn hop_events(&mut self) {
        while let Some(event) = self.rib.poll_hop_event() {
            let (HopEvent::Lost(from) | HopEvent::Moved { from, .. }) = event else { continue };
            let hop = crate::fib_task::next_hop(&from);
            if let Some(fib) = &self.fib
                && fib.inputs.try_send(FibInput::HopsLost(vec![hop], LossReason::Unresolved)).is_ok()
            {
                self.lost.push((hop, LossReason::Unresolved));
            }
        }
    }

    /// Hands wants to the FIB thread, in batches, while it keeps up. True if none is left here.
    fn wants(&mut self) -> bool {
        let Some(fib) = &self.fib else { return true };
        while fib.in_flight.load(Ordering::Acquire) < WANTS_IN_FLIGHT {
            let batch = self.unsent.take().unwrap_or_else(|| self.rib.poll_fib(WANTS));
            if batch.wants.is_empty() {
                return true;
            }
            // Counted before it is there to be taken. What does not fit waits: the FIB's next answer wakes us.
            let wants = batch.wants.len();
            fib.in_flight.fetch_add(wants, Ordering::AcqRel);
            match fib.inputs.try_send(FibInput::Wants(batch)) {
                Ok(()) => {}
                Err(TrySendError::Full(FibInput::Wants(batch))) => {
                    fib.in_flight.fetch_sub(wants, Ordering::AcqRel);
                    self.unsent = Some(batch);
                    return false;
                }
                Err(_) => return true,
            }
        }
        false
    }

    fn event(&mut self, event: &RibEvent) {
        match *event {
            RibEvent::RestartComplete { deferral_expired } => {
                info!(deferral_expired, "restart complete: first decision made, stale kernel routes go");
                self.sweep = self.fib.is_some();
                self.restarting.send_replace(false);
            }
            RibEvent::LastResortOver { expired: false } => {
                info!("the table is in: own prefixes have their usual MED from now on");
            }
            RibEvent::LastResortOver { expired: true } => {
                warn!(
                    "max_med_on_startup is over before the table is in: own prefixes have their usual MED from now on"
                );
            }
            RibEvent::EndOfRibReceived { peer, family } => {
                info!(neighbor = self.name(peer), %family, "End-of-RIB");
            }
            RibEvent::StalePurged { peer, family, count, why } => {
                info!(neighbor = self.name(peer), %family, count, "stale routes removed: {why}");
            }
            RibEvent::AnnouncementRefused { prefix } => {
                if self.refused.insert(prefix) {
                    warn!(%prefix, "asked to announce what is not within bgp.own_prefixes: refused");
                }
            }
        }
    }

    fn name(&self, id: PeerId) -> &str {
        self.configs.get(&id).map_or("", |c| c.name.as_str())
    }

    /// One slice of every question.
    fn ask(&mut self) -> Ask {
        let (rib, now) = (&self.rib, self.clock.now());
        let mut ask = Ask::Idle;
        self.queries.retain_mut(|query| match query.step(rib, now) {
            Step::Done => false,
            Step::More => {
                ask = Ask::Now;
                true
            }
            Step::Blocked => {
                if matches!(ask, Ask::Idle) {
                    ask = Ask::Later;
                }
                true
            }
        });
        ask
    }
}
