//! The routing information base: every path of every neighbour, the best of them, what the kernel should hold and what
//! neighbours should be told. Pure, and owned by one task.
//!
//! The way of a route: [`Rib::update`] puts the attribute set into the pool (`attributes`), asks import policy once about
//! it (`judge`), and each NLRI into the table as a path of twelve octets that names both -> [`decision`] picks the best
//! usable path (`choose`) -> its resolved next hop, with others beside it and a backup (`backup`), becomes a want ([`Rib::poll_fib`]) -> once the kernel has it
//! ([`Rib::fib_result`]) the prefix is marked in [`out`] -> a neighbour whose socket has room pulls its UPDATEs
//! ([`Rib::next_updates`]).
//!
//! Rooms: storage (`arena`, `index`, `octets`, `ids`, `table`, `paths`, `attributes`, `verdicts`, `sources`), `loc_rib`
//! (the tables together), `arrivals` (paths in and out), `choose`, `backup` and `fate`, `resolve` and `next_hop`, `sweep` (all that is about the whole table, in slices), `origin`
//! (routes of our own), `fib` and `targets` (wants), `graceful` (RFC 4724, RFC 7313), `startup` (own prefixes before the table is in), `peers`, `query`, `explain` and `memory` (plain
//! structs for people), [`out`] (Adj-RIB-Out).
//!
//! After any call the owner drains [`Rib::poll_hop_event`], [`Rib::poll_fib`], [`Rib::poll_event`], [`Rib::poll_ready_peer`], and calls
//! [`Rib::handle_timeout`] at [`Rib::poll_timeout`]. Between calls, as long as it has something to do, it gives
//! [`Rib::work`] its turn: nothing that is about the whole table happens in any other call, so none takes longer the more
//! routes there are. When it has nothing else to do, it calls [`Rib::tidy`].
//!
//! Invariants:
//! - Once [`Rib::work`] has nothing left to do, the Loc-RIB is a function of the Adj-RIBs-In, the configuration, the announcements and the connected subnets; the
//!   order in which they came does not show (routes that resolve through one another aside, see `resolve`).
//! - With `wait_for_fib` no neighbour is told a new path before the kernel has it; a prefix without a path is withdrawn at
//!   once.
//! - Nothing is decided, written or sent while the first decision is deferred (RFC 4724 §4.1).
//!
//! Standards: RFC 4271 §9, RFC 4456 §9, RFC 4486, RFC 4724, RFC 7313, RFC 2545 §3, RFC 8950.

mod arena;
mod arrivals;
mod attributes;
mod backup;
mod choose;
pub mod decision;
mod explain;
mod fate;
mod fib;
mod graceful;
mod hash;
mod ids;
mod index;
mod judge;
mod loc_rib;
mod memory;
mod next_hop;
mod octets;
mod origin;
pub mod out;
mod out_view;
mod paths;
mod peers;
mod query;
mod resolve;
mod sources;
mod startup;
mod sweep;
mod table;
mod targets;
#[cfg(test)]
mod tests;
mod types;
mod verdicts;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bgp_wire::{RouteRefresh, RouteRefreshSubtype, Update};
use net_types::{Family, Monotime, Prefix};

use crate::config::{NeighborConfig, SpeakerConfig};
use loc_rib::LocRib;
use out::{AdjRibOut, Outgoing};
use peers::{Peer, Session};
use startup::Startup;
use sweep::Job;
use targets::TargetId;

pub use ids::{AttrId, DestId};
pub use memory::Memory;
pub use next_hop::Unresolved;
pub use types::{
    Backup, Connected, ConnectedTable, ExplainedPath, ExplainedRoute, FamilyCounts, FibBatch, FibEntry, FibState,
    FibTarget, FibWant, HopEvent, LastResort, ListingCursor, MaxPrefixExceeded, NeighborFamilyCounts, Outcome, PeerId,
    PeerInfo, ResolvedNextHop, Retain, RibEvent, RibSummary, RouteEntry, RouteFilter, RouteTable, WeightedNextHop,
};

/// Destinations that one [`Rib::work`] looks at.
const SLICE: usize = 2000;

/// Destinations that one [`Rib::tidy`] clears away: some 100 µs.
const TIDIED: usize = 500;

/// The routing information base. See the module.
#[derive(Debug)]
pub struct Rib {
    loc: LocRib,
    out: AdjRibOut,
    announcements: BTreeSet<Prefix>,
    events: VecDeque<RibEvent>,
    /// Selection_Deferral_Timer.
    deferral: Option<Monotime>,
    /// The sweep makes the first decision; true: the timer ended the wait.
    deciding: Option<bool>,
    /// The first decision is made, its event not yet handed out.
    restart_complete: Option<bool>,
    /// End-of-RIB waits for the kernel until then.
    first_wants_until: Option<Monotime>,
    /// Own prefixes are the last resort.
    startup: Option<Startup>,
}

impl Rib {
    /// An empty RIB. `restarting`: the kernel holds routes of an earlier run, so the first decision waits for the
    /// neighbours' End-of-RIB (RFC 4724 §4.1).
    pub fn new(speaker: SpeakerConfig, now: Monotime, restarting: bool) -> Rib {
        let out = AdjRibOut::new(Arc::new(speaker.clone()));
        let deferral = restarting.then(|| now + speaker.selection_deferral);
        // Not a secret, but nothing a neighbour sees.
        let seed = now.0 ^ u64::from(speaker.router_id.to_u32()) << 32;
        let mut rib = Rib {
            loc: LocRib::new(speaker, seed, restarting),
            out,
            announcements: BTreeSet::new(),
            events: VecDeque::new(),
            deferral,
            deciding: None,
            restart_complete: None,
            first_wants_until: None,
            startup: None,
        };
        if !restarting {
            rib.begin_startup(now);
        }
        rib
    }

    /// What is about the whole table, a slice of it; true: there is more. The owner calls it again between its inputs.
    pub fn work(&mut self, now: Monotime) -> bool {
        self.loc.sweep(SLICE);
        self.loc.settle(true);
        let clearing = self.out.work(&mut self.loc);
        self.flush(now);
        clearing || !self.loc.is_swept()
    }

    /// The speaker's configuration changed: everything is judged and decided again, and only what comes out differently
    /// is written or sent.
    pub fn set_speaker(&mut self, now: Monotime, speaker: SpeakerConfig) {
        if *self.loc.speaker == speaker {
            return;
        }
        if self.loc.speaker.differs_in_wants_only(&speaker) {
            // Which path is the best, and what is announced, does not depend on these.
            self.loc.take_speaker(Arc::new(speaker));
            self.loc.owe(Job::DecideAll);
            return self.flush(now);
        }
        self.loc.take_speaker(Arc::new(speaker));
        for peer in self.loc.peers.keys().copied().collect::<Vec<_>>() {
            self.loc.owe(Job::Judge(peer));
        }
        self.loc.owe(Job::DecideAll);
        self.loc.originate(now, &self.announcements);
        self.out.set_speaker(Arc::clone(&self.loc.speaker));
        self.flush(now);
    }

    /// A neighbour of the configuration, before its session is up: the first decision after a restart waits for it.
    pub fn peer_configured(&mut self, id: PeerId, config: Arc<NeighborConfig>) {
        match self.loc.peers.get_mut(&id) {
            Some(peer) => peer.config = config,
            None => drop(self.loc.peers.insert(id, Peer::new(config))),
        }
    }

    /// A neighbour left the configuration (or a dynamic one went): its routes go with it.
    pub fn peer_removed(&mut self, now: Monotime, id: PeerId) {
        self.peer_down(now, id, None);
        self.loc.peers.remove(&id);
        self.loc.tidy_identities();
        self.flush(now);
    }

    /// A session is Established.
    pub fn peer_up(&mut self, now: Monotime, info: PeerInfo) {
        let id = info.id;
        if self.loc.peers.get(&id).is_some_and(|p| p.up) {
            self.peer_down(now, id, None);
        }
        self.peer_configured(id, Arc::clone(&info.config));
        let session = Session::new(info, &self.loc.connected_table);
        self.out.add_peer(&session.info.config, &session.facts);
        self.resume(now, id, session);
        self.flush(now);
    }

    /// A session ended. `retain`: the neighbour is restarting gracefully (RFC 4724 §4.2).
    pub fn peer_down(&mut self, now: Monotime, id: PeerId, retain: Option<Retain>) {
        self.out.remove_peer(id);
        self.retain_or_drop(now, id, retain);
        self.flush(now);
    }

    /// A neighbour's configuration changed under an established session: its kept routes are judged again, and what it was
    /// sent is compared with what it should have.
    pub fn peer_reconfigured(&mut self, now: Monotime, id: PeerId, config: Arc<NeighborConfig>) {
        let Some(peer) = self.loc.peers.get_mut(&id) else { return self.peer_configured(id, config) };
        peer.config = Arc::clone(&config);
        if let Some(session) = peer.session.take() {
            let info = PeerInfo { config: Arc::clone(&config), ..session.info.clone() };
            let session = Session::new(info, &self.loc.connected_table);
            if peer.up {
                self.out.change_peer(&config, &session.facts);
            }
            self.loc.take_session(id, session);
            self.loc.owe(Job::Judge(id));
            self.loc.owe(Job::Decide(id));
            // Export looks at the source's configuration too.
            self.loc.owe(Job::Export(id));
        }
        self.flush(now);
    }

    /// An UPDATE. `Some`: the neighbour went over its limit; what came before is kept, the caller ends the session.
    pub fn update(&mut self, now: Monotime, id: PeerId, update: &Update) -> Option<MaxPrefixExceeded> {
        let exceeded = self.take_update(now, id, update);
        self.loc.settle(false);
        self.flush(now);
        exceeded
    }

    fn take_update(&mut self, now: Monotime, id: PeerId, update: &Update) -> Option<MaxPrefixExceeded> {
        let peer = self.loc.peers.get(&id)?;
        peer.live()?;
        let (session, current) = (Arc::clone(peer.session.as_ref()?), peer.current);
        // RFC 4271 §4.3: withdrawals first, so a prefix that stands in both is announced.
        for unreach in update.unreach.iter().filter(|u| session.has_family(u.family)) {
            let generation = *current.get(unreach.family == Family::IPV4_UNICAST);
            if let Some(sender) = generation.and_then(|g| self.loc.sender(g)) {
                self.loc.withdraw(&sender, &unreach.nlri);
            }
        }
        for reach in update.reach.iter().filter(|r| session.has_family(r.family)) {
            if let Some(exceeded) = self.loc.announce(now, id, reach, &update.attributes) {
                return Some(exceeded);
            }
        }
        if let Some(family) = update.end_of_rib.filter(|f| session.has_family(*f)) {
            self.end_of_rib(id, family);
        }
        None
    }

    /// A ROUTE-REFRESH: a request (RFC 2918), or the neighbour's BoRR or EoRR (RFC 7313).
    pub fn route_refresh(&mut self, now: Monotime, id: PeerId, refresh: RouteRefresh) {
        match refresh.subtype {
            RouteRefreshSubtype::Request => self.out.refresh(id, refresh.family),
            subtype => self.refresh_mark(now, id, refresh.family, subtype),
        }
        self.flush(now);
    }

    /// What IPAM wants announced from this site.
    pub fn set_announcements(&mut self, now: Monotime, announcements: BTreeSet<Prefix>) {
        for prefix in announcements.difference(&self.announcements) {
            if !self.loc.may_originate(prefix) {
                self.events.push_back(RibEvent::AnnouncementRefused { prefix: *prefix });
            }
        }
        self.announcements = announcements;
        self.loc.originate(now, &self.announcements);
        self.flush(now);
    }

    /// The kernel's interface addresses. What hangs on a link that went down is decided again by [`Rib::work`].
    pub fn set_connected(&mut self, now: Monotime, table: ConnectedTable) {
        self.loc.set_connected(table);
        self.loc.originate(now, &self.announcements);
        self.flush(now);
    }

    /// The kernel's answer to a want. An answer to an older want than the current one is ignored.
    pub fn fib_result(&mut self, prefix: Prefix, cookie: u64, result: Result<(), String>) {
        self.take_fib_result(prefix, cookie, result);
        self.check_first_wants();
        self.check_startup();
        self.mark_changed();
    }

    /// [`Rib::fib_result`] for each of a batch.
    pub fn fib_results(&mut self, results: impl Iterator<Item = (Prefix, u64, Result<(), String>)>) {
        for (prefix, cookie, result) in results {
            self.take_fib_result(prefix, cookie, result);
        }
        self.check_first_wants();
        self.check_startup();
        self.mark_changed();
    }

    fn take_fib_result(&mut self, prefix: Prefix, cookie: u64, result: Result<(), String>) {
        let (place, number) = fib::of_cookie(cookie);
        let there = self.loc.table.prefix(place) == Some(prefix);
        let id = match there {
            true => Some(place),
            // What is reported later, unasked, does not say the place (it is 0 then) and is looked for. The want's first
            // answer says it: the destination is gone, and the want with it.
            false if place == DestId(0) => self.loc.table.find(&prefix),
            false => None,
        };
        let Some(id) = id else { return };
        let Some(slot) = self.loc.table.get_mut(id) else { return };
        if slot.cookie != number || slot.target.is_none() {
            return;
        }
        let (state, error) = match result {
            Ok(()) => (FibState::Installed, None),
            Err(error) => (FibState::Failed, Some(error)),
        };
        let moved = slot.fib_state() != state;
        self.loc.fib.set_state(id, slot, state);
        if let Some(error) = error {
            self.loc.fib.set_error(id, error);
        }
        if moved && self.loc.speaker.wait_for_fib {
            self.loc.changed.push(id);
        }
    }

    /// The next wants for the FIB, so many at most; empty: all are handed out.
    pub fn poll_fib(&mut self, most: usize) -> FibBatch {
        let wants = Vec::with_capacity(self.loc.fib.waiting().min(most));
        let mut batch = FibBatch { wants, ..FibBatch::default() };
        // The targets of the batch by their numbers here; few.
        let mut numbers: Vec<TargetId> = Vec::new();
        while batch.wants.len() < most
            && let Some(id) = self.loc.fib.pop()
        {
            let Some((prefix, slot)) = self.loc.table.dest_mut(id) else { continue };
            slot.set_queued(false);
            let target = slot.target.and_then(|t| {
                let known = numbers.iter().rposition(|n| *n == t).or_else(|| {
                    batch.targets.push(self.loc.fib.targets.get(t)?.clone());
                    numbers.push(t);
                    Some(numbers.len() - 1)
                });
                known.map(|at| at as u32)
            });
            // Wanted and unwanted again between two polls: the kernel never heard of it.
            let nothing = target.is_none() && !slot.is_handed_out();
            slot.set_handed_out(target.is_some());
            if !nothing {
                batch.wants.push(FibWant { prefix, cookie: fib::cookie(id, slot.cookie), target });
            }
            self.loc.note_idle(id);
        }
        batch
    }

    /// News of a next hop that is looked up over routes, for the kernel before any want.
    pub fn poll_hop_event(&mut self) -> Option<HopEvent> {
        self.loc.hop_events.pop_front()
    }

    /// No kernel table is kept: from now on, before the first neighbour, every want is granted where it is made, and
    /// [`Rib::poll_fib`] has none to hand out.
    pub fn without_kernel(&mut self) {
        self.loc.fib.grant_all();
    }

    /// A neighbour that has been told everything ([`Rib::next_updates`] gave `None`, or its session is new) and for which
    /// there is now more. Each is named once; ask [`Rib::next_updates`] until it gives `None`, as its socket takes it.
    pub fn poll_ready_peer(&mut self) -> Option<PeerId> {
        if self.may_send() { self.out.poll_ready() } else { None }
    }

    /// True if [`Rib::poll_ready_peer`] would name one.
    pub fn has_ready_peer(&self) -> bool {
        self.may_send() && self.out.has_ready()
    }

    /// Whole messages for a neighbour, about `budget_bytes` of them; `None`: it has been told everything, or the slice of the
    /// table that one call looks at held nothing for it ([`Rib::poll_ready_peer`] names it again then).
    pub fn next_updates(&mut self, _now: Monotime, id: PeerId, budget_bytes: usize) -> Option<Outgoing> {
        let outgoing = if self.may_send() { self.out.next_updates(&mut self.loc, id, budget_bytes) } else { None };
        if outgoing.is_none() {
            self.out.wait(id);
        }
        self.note_released();
        outgoing
    }

    /// Not while the first decision is deferred, nor, after a restart, before the kernel has confirmed it: what goes out
    /// ends in an End-of-RIB, and a neighbour drops what was not repeated by then.
    fn may_send(&self) -> bool {
        !self.loc.deferred && self.loc.first_wants_done
    }

    /// When [`Rib::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Monotime> {
        self.graceful_timeout().into_iter().chain(self.startup_timeout()).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Monotime) {
        self.graceful_due(now);
        self.startup_due(now);
        self.flush(now);
    }

    /// Something to act on or to log.
    pub fn poll_event(&mut self) -> Option<RibEvent> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        // Comes after the wants of the first decision, so that a sweep finds them claimed.
        if self.loc.fib.is_drained() {
            let deferral_expired = self.restart_complete.take()?;
            return Some(RibEvent::RestartComplete { deferral_expired });
        }
        None
    }

    /// The end of every call: looks whether a deferral is over, hands marks to the outbound side.
    fn flush(&mut self, now: Monotime) {
        if self.loc.sources.take_died() {
            self.loc.unsettle_routed();
            self.loc.settle(false);
        }
        self.check_deferral(now);
        self.poll_swept();
        self.check_startup();
        self.loc.forget_last_want();
        self.mark_changed();
        self.loc.notes_paths = self.out.tells_more_than_the_best();
        self.note_released();
        let made = self.loc.table.take_made();
        if made > 0 {
            self.free_idle(2 * made);
        }
    }

    fn mark_changed(&mut self) {
        if !self.loc.paths_changed.is_empty() {
            let mut paths_changed = std::mem::take(&mut self.loc.paths_changed);
            for id in paths_changed.drain(..) {
                self.out.mark_paths(id);
            }
            self.loc.paths_changed = paths_changed;
        }
        if self.loc.changed.is_empty() {
            return;
        }
        let mut changed = std::mem::take(&mut self.loc.changed);
        for id in changed.drain(..) {
            self.out.mark_changed(id);
        }
        self.loc.changed = changed;
        self.out.forget_freed(&mut self.loc);
    }

    fn note_released(&mut self) {
        while let Some(id) = self.out.poll_released() {
            self.loc.note_idle(id);
        }
    }

    /// Frees destinations that nothing needs any more, a slice of them; true: there are more. The owner calls it when it has
    /// nothing else to do: a table that is withdrawn is told to be gone first and cleared away then, and what comes again
    /// meanwhile finds its place. Nothing depends on it but memory, and [`Rib::update`] clears two places for each it makes.
    pub fn tidy(&mut self) -> bool {
        self.free_idle(TIDIED);
        !self.loc.idle.is_empty()
    }

    fn free_idle(&mut self, most: usize) {
        for _ in 0..most {
            let Some(id) = self.loc.idle.pop() else { return };
            let Some(slot) = self.loc.table.get_mut(id) else { continue };
            slot.forget_note();
            // Where a neighbour is still to be told of it, it is noted again once that is done.
            if slot.is_idle() && !self.out.holds(id) {
                self.loc.table.remove(id);
            }
        }
    }
}
