//! The tables and what keeps them true to one another: paths in, decision, next hops, wants for the FIB.
//!
//! Every change of a path ends in [`LocRib::decide`] of its prefix. A decision may change how other prefixes' next hops
//! resolve, so [`LocRib::settle`] runs afterwards: it resolves again the next hops inside each changed prefix and decides
//! their dependents, until nothing moves. Routes that resolve through one another could go round for ever; a next hop that
//! comes up more than [`MAX_RESOLUTIONS`] times in one settling is put out of use until something outside changes.
//!
//! Invariants after `settle`: for each prefix, `best` is the winner of [`super::decision`] over its usable paths, the
//! FIB slot's target is that path's resolved next hop, and the next-hop index lists exactly the prefixes with a path on
//! each next hop. While `deferred`, paths are stored and nothing is decided (RFC 4724 §4.1).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bgp_wire::{NextHop, PathAttributes};
use net_types::{Family, Monotime, Prefix};

use super::decision::{self, PathKey, Step};
use super::fib::{FibWants, SlotState};
use super::next_hop::{
    ConnectedIndex, MAX_DEPTH, NextHopId, NextHopKey, NextHopTable, Reachability, Resolved, Unresolved, address,
    needs_link,
};
use super::origin;
use super::out::{BestView, Offer};
use super::peers::{Peer, Session, key_source, route_source};
use super::pool::AttributePool;
use super::table::{Best, Destination, Path, Table};
use super::types::{Connected, FibTarget, PeerId};
use crate::config::SpeakerConfig;
use crate::policy::{self, Refusal};

/// Resolutions of one next hop in one settling before it counts as going round.
const MAX_RESOLUTIONS: u32 = 16;

/// What one path is.
pub(super) struct NewPath {
    pub(super) peer: PeerId,
    pub(super) path_id: u32,
    pub(super) key: NextHopKey,
    pub(super) pre: Arc<PathAttributes>,
    pub(super) post: Result<Arc<PathAttributes>, Box<Refusal>>,
}

/// What one change does to its sender's counts.
#[derive(Clone, Copy)]
struct Counted {
    paths: isize,
    prefixes: isize,
    accepted: isize,
    stale: isize,
}

/// The tables.
#[derive(Debug)]
pub(super) struct LocRib {
    pub(super) speaker: SpeakerConfig,
    pub(super) peers: BTreeMap<PeerId, Peer>,
    pub(super) table: Table,
    pub(super) pool: AttributePool,
    pub(super) next_hops: NextHopTable,
    pub(super) connected_table: Vec<Connected>,
    pub(super) connected: ConnectedIndex,
    pub(super) fib: FibWants,
    /// Paths held, by family: IPv4, IPv6.
    pub(super) paths: [usize; 2],
    /// The first decision waits (RFC 4724 §4.1).
    pub(super) deferred: bool,
    /// The first wants are confirmed: End-of-RIB may be sent.
    pub(super) first_wants_done: bool,
    /// Prefixes whose announcement may differ from what was said.
    pub(super) changed: Vec<Prefix>,
    unsettled: VecDeque<NextHopId>,
    queued: BTreeSet<NextHopId>,
    keys: Vec<PathKey>,
    indices: Vec<usize>,
    lost: Vec<Option<Step>>,
    discard: Arc<FibTarget>,
}

impl LocRib {
    pub(super) fn new(speaker: SpeakerConfig, seed: u64, deferred: bool) -> LocRib {
        LocRib {
            speaker,
            peers: BTreeMap::new(),
            table: Table::default(),
            pool: AttributePool::new(seed),
            next_hops: NextHopTable::new(seed),
            connected_table: Vec::new(),
            connected: ConnectedIndex::default(),
            fib: FibWants::default(),
            paths: [0, 0],
            deferred,
            first_wants_done: false,
            changed: Vec::new(),
            unsettled: VecDeque::new(),
            queued: BTreeSet::new(),
            keys: Vec::new(),
            indices: Vec::new(),
            lost: Vec::new(),
            discard: Arc::new(FibTarget::Discard),
        }
    }

    /// How a next hop learned on `session` may be reached.
    pub(super) fn next_hop_key(session: &Session, next_hop: NextHop) -> NextHopKey {
        let single_hop = session.info.session.ebgp && session.info.config.multihop.is_none();
        NextHopKey {
            next_hop,
            reachability: if single_hop { Reachability::Connected } else { Reachability::Recursive },
            ifindex: session.info.ifindex.filter(|_| needs_link(&next_hop)),
        }
    }

    /// The verdict of import policy on a path, its attributes interned.
    pub(super) fn judge(
        &mut self,
        peer: PeerId,
        prefix: &Prefix,
        next_hop: &NextHop,
        pre: &Arc<PathAttributes>,
    ) -> Option<Result<Arc<PathAttributes>, Box<Refusal>>> {
        let peer = self.peers.get(&peer)?;
        let session = peer.session.as_ref()?;
        Some(match policy::import(&self.speaker, &peer.config, &session.facts, prefix, next_hop, pre) {
            Ok(post) if Arc::ptr_eq(&post, pre) => Ok(post),
            Ok(post) => Ok(self.pool.intern(post)),
            Err(refusal) => Err(Box::new(refusal)),
        })
    }

    /// Puts a path in, or in the place of the one with the same sender and Path Identifier.
    pub(super) fn insert(&mut self, now: Monotime, prefix: &Prefix, new: NewPath) {
        let (next_hop, fresh) = self.next_hops.intern(new.key);
        if fresh {
            let state = self.resolve(&new.key, next_hop);
            if let Some(entry) = self.next_hops.get_mut(next_hop) {
                entry.state = state;
            }
        }
        self.next_hops.add_dependent(next_hop, prefix);
        let destination = self.table.entry(prefix);
        let touched = destination.best == Some(Best { peer: new.peer, path_id: new.path_id });
        let from_peer = destination.paths.iter().any(|p| p.peer == new.peer);
        let (accepted, mut freed) = (new.post.is_ok(), Vec::new());
        let old = destination.paths.iter_mut().find(|p| p.peer == new.peer && p.path_id == new.path_id);
        let mut counted =
            Counted { paths: 1, prefixes: isize::from(!from_peer), accepted: isize::from(accepted), stale: 0 };
        let mut old_next_hop = None;
        match old {
            Some(old) => {
                let accepted = isize::from(accepted) - isize::from(old.post.is_ok());
                counted = Counted { paths: 0, prefixes: 0, accepted, stale: -isize::from(old.stale) };
                (old.stale, old.unrefreshed) = (false, false);
                let same_verdict = match (&old.post, &new.post) {
                    (Ok(a), Ok(b)) => Arc::ptr_eq(a, b),
                    (Err(a), Err(b)) => a == b,
                    _ => false,
                };
                let same = same_verdict && Arc::ptr_eq(&old.pre, &new.pre) && old.next_hop == next_hop;
                if same {
                    freed.extend([Some(new.pre), new.post.ok()]);
                } else {
                    old_next_hop = Some(old.next_hop).filter(|id| *id != next_hop);
                    freed.push(std::mem::replace(&mut old.post, new.post).ok());
                    freed.push(Some(std::mem::replace(&mut old.pre, new.pre)));
                    old.next_hop = next_hop;
                    old.received = now;
                }
                if same {
                    self.count(new.peer, prefix, counted);
                    self.release(freed);
                    return;
                }
            }
            None => {
                if destination.paths.is_empty() {
                    // Most prefixes have one path; a vector's own first step would take room for four.
                    destination.paths.reserve_exact(1);
                }
                destination.paths.push(Path {
                    peer: new.peer,
                    path_id: new.path_id,
                    next_hop,
                    lost_at: Step::Usable,
                    stale: false,
                    unrefreshed: false,
                    received: now,
                    pre: new.pre,
                    post: new.post,
                });
            }
        }
        self.count(new.peer, prefix, counted);
        self.release(freed);
        if let Some(old) = old_next_hop {
            self.drop_dependent(old, prefix);
        }
        self.decide(prefix, touched);
    }

    /// Takes a path out. True if it was there.
    pub(super) fn remove(&mut self, prefix: &Prefix, peer: PeerId, path_id: u32) -> bool {
        let Some(destination) = self.table.get_mut(prefix) else { return false };
        let Some(at) = destination.paths.iter().position(|p| p.peer == peer && p.path_id == path_id) else {
            return false;
        };
        let touched = destination.best == Some(Best { peer, path_id });
        let old = destination.paths.swap_remove(at);
        let last = !destination.paths.iter().any(|p| p.peer == peer);
        self.count(
            peer,
            prefix,
            Counted {
                paths: -1,
                prefixes: -isize::from(last),
                accepted: -isize::from(old.post.is_ok()),
                stale: -isize::from(old.stale),
            },
        );
        self.release(vec![old.post.ok(), Some(old.pre)]);
        self.drop_dependent(old.next_hop, prefix);
        self.decide(prefix, touched);
        true
    }

    /// Takes out every path of `peer` in `family` that `which` names; gives their number.
    pub(super) fn remove_where(&mut self, peer: PeerId, family: Family, which: impl Fn(&Path) -> bool) -> usize {
        if peer != PeerId::LOCAL && self.peers.get(&peer).is_none_or(|p| p.counts(family).paths == 0) {
            return 0;
        }
        let mut gone = Vec::new();
        for (prefix, destination) in self.table.iter(family, None) {
            for path in &destination.paths {
                if path.peer == peer && which(path) {
                    gone.push((prefix, path.path_id));
                }
            }
        }
        for (prefix, path_id) in &gone {
            self.remove(prefix, peer, *path_id);
        }
        gone.len()
    }

    fn count(&mut self, peer: PeerId, prefix: &Prefix, by: Counted) {
        let [v4, v6] = &mut self.paths;
        let paths = if prefix.is_v4() { v4 } else { v6 };
        *paths = paths.saturating_add_signed(by.paths);
        if let Some(peer) = self.peers.get_mut(&peer) {
            let counts = peer.counts_mut(prefix.family());
            counts.paths = counts.paths.saturating_add_signed(by.paths);
            counts.prefixes = counts.prefixes.saturating_add_signed(by.prefixes);
            counts.accepted = counts.accepted.saturating_add_signed(by.accepted);
            counts.stale = counts.stale.saturating_add_signed(by.stale);
        }
    }

    /// Hands attribute sets back to the pool, each clone before the last.
    fn release(&mut self, sets: Vec<Option<Arc<PathAttributes>>>) {
        let mut sets: Vec<Arc<PathAttributes>> = sets.into_iter().flatten().collect();
        while let Some(set) = sets.pop() {
            if !sets.iter().any(|s| Arc::ptr_eq(s, &set)) {
                self.pool.release(set);
            }
        }
    }

    /// `prefix` has lost a path on `next_hop`.
    fn drop_dependent(&mut self, next_hop: NextHopId, prefix: &Prefix) {
        let still = self.table.get(prefix).is_some_and(|d| d.paths.iter().any(|p| p.next_hop == next_hop));
        if !still {
            self.next_hops.remove_dependent(next_hop, prefix);
        }
    }

    /// Runs the decision process for one prefix and takes over its result. `touched`: the best path itself is not what
    /// it was.
    pub(super) fn decide(&mut self, prefix: &Prefix, touched: bool) {
        if self.deferred {
            return;
        }
        let Some(destination) = self.table.get_mut(prefix) else { return };
        self.keys.clear();
        self.indices.clear();
        for (index, path) in destination.paths.iter_mut().enumerate() {
            path.lost_at = Step::Usable;
            let Ok(post) = &path.post else { continue };
            let Some(Ok(resolved)) = self.next_hops.get(path.next_hop).map(|e| &e.state) else { continue };
            let Some(source) = key_source(&self.peers, self.speaker.router_id, path.peer) else { continue };
            self.keys.push(PathKey::new(post, source, path.path_id, resolved.cost, self.speaker.local_as));
            self.indices.push(index);
        }
        decision::decide(&self.keys, &mut self.lost);
        let mut best = None;
        for (&index, lost) in self.indices.iter().zip(&self.lost) {
            if let (Some(path), Some(lost)) = (destination.paths.get_mut(index), lost) {
                path.lost_at = *lost;
                if *lost == Step::Best {
                    best = Some(Best { peer: path.peer, path_id: path.path_id });
                }
            }
        }
        let moved = touched || destination.best != best;
        destination.best = best;
        let target = destination.best_path().and_then(|path| {
            if path.peer == PeerId::LOCAL {
                // An own aggregate drops what nothing more specific takes, unless the subnet itself is on a link.
                let discard = path.path_id == origin::ANNOUNCED && !self.connected.has(prefix);
                return discard.then(|| Arc::clone(&self.discard));
            }
            self.next_hops.get(path.next_hop)?.state.as_ref().ok()?.target.clone()
        });
        self.fib.want(prefix, &mut destination.fib, target);
        if destination.is_idle() {
            self.table.remove(prefix);
        }
        if moved {
            self.changed.push(*prefix);
        }
        let inside: Vec<NextHopId> = self.next_hops.inside(prefix).collect();
        for id in inside {
            self.unsettle(id);
        }
    }

    /// Resolves `id` again when the tables settle.
    pub(super) fn unsettle(&mut self, id: NextHopId) {
        if self.queued.insert(id) {
            self.unsettled.push_back(id);
        }
    }

    /// Follows the consequences of what was decided until nothing moves.
    pub(super) fn settle(&mut self) {
        let mut rounds: BTreeMap<NextHopId, u32> = BTreeMap::new();
        while let Some(id) = self.unsettled.pop_front() {
            self.queued.remove(&id);
            let Some(entry) = self.next_hops.get(id) else { continue };
            let (key, old) = (entry.key, entry.state.clone());
            let round = rounds.entry(id).or_default();
            *round += 1;
            let new = match (*round).cmp(&MAX_RESOLUTIONS) {
                std::cmp::Ordering::Less => self.resolve(&key, id),
                std::cmp::Ordering::Equal => Err(Unresolved::Unstable),
                std::cmp::Ordering::Greater => continue,
            };
            if new == old {
                continue;
            }
            let unusable_still = new.is_err() && old.is_err();
            let Some(entry) = self.next_hops.get_mut(id) else { continue };
            entry.state = new;
            if unusable_still {
                continue;
            }
            for prefix in entry.dependents.sorted() {
                self.decide(&prefix, false);
            }
        }
    }

    /// Where a next hop leads (RFC 4271 §9.1.2.1); see [`super::next_hop`] for the rules.
    fn resolve(&self, key: &NextHopKey, id: NextHopId) -> Result<Resolved, Unresolved> {
        if key.reachability == Reachability::Local {
            return Ok(Resolved { target: None, cost: 0, via: None });
        }
        let direct = self.connected.direct(key)?;
        if key.reachability == Reachability::Connected {
            let (_, hop) = direct.ok_or(Unresolved::NotConnected)?;
            return Ok(Resolved { target: Some(Arc::new(FibTarget::NextHops(vec![hop]))), cost: 0, via: None });
        }
        // A default route resolves nothing (least 1); a subnet wins over a route of its length.
        let least = direct.map_or(1, |(len, _)| len.saturating_add(1));
        let host = Prefix::host(address(&key.next_hop));
        let routed = self.table.longest_match(&host, least, |_, destination| self.through(destination, id));
        match (routed, direct) {
            (Some(result), _) => result,
            (None, Some((_, hop))) => {
                Ok(Resolved { target: Some(Arc::new(FibTarget::NextHops(vec![hop]))), cost: 0, via: None })
            }
            (None, None) => Err(Unresolved::NoRoute),
        }
    }

    /// Next hop `id` looked up through one destination; `None`: step over it.
    fn through(&self, destination: &Destination, id: NextHopId) -> Option<Result<Resolved, Unresolved>> {
        let path = destination.best_path()?;
        if path.peer == PeerId::LOCAL {
            return (path.path_id == origin::ANNOUNCED).then_some(Err(Unresolved::OwnAggregate));
        }
        if self.next_hops.depends_on(path.next_hop, id) {
            return None;
        }
        let resolved = self.next_hops.get(path.next_hop)?.state.as_ref().ok()?;
        if resolved.cost >= MAX_DEPTH {
            return Some(Err(Unresolved::TooDeep));
        }
        Some(Ok(Resolved { target: resolved.target.clone(), cost: resolved.cost + 1, via: Some(path.next_hop) }))
    }

    /// Judges a neighbour's kept paths again (its policy, the speaker's or its session changed).
    pub(super) fn rejudge(&mut self, peer: PeerId) {
        for family in Family::SUPPORTED {
            let mut again = Vec::new();
            if self.peers.get(&peer).is_none_or(|p| p.counts(family).paths == 0) {
                continue;
            }
            for (prefix, destination) in self.table.iter(family, None) {
                again.extend(destination.paths.iter().filter(|p| p.peer == peer).map(|p| (prefix, p.path_id)));
            }
            for (prefix, path_id) in again {
                self.rejudge_path(&prefix, peer, path_id);
            }
        }
    }

    fn rejudge_path(&mut self, prefix: &Prefix, peer: PeerId, path_id: u32) {
        let Some(path) = self.table.get(prefix).and_then(|d| d.path(peer, path_id)) else { return };
        let (pre, received) = (Arc::clone(&path.pre), path.received);
        let (stale, unrefreshed) = (path.stale, path.unrefreshed);
        let Some(next_hop) = self.next_hops.get(path.next_hop).map(|e| e.key.next_hop) else { return };
        let Some(post) = self.judge(peer, prefix, &next_hop, &pre) else { return };
        let Some(session) = self.peers.get(&peer).and_then(|p| p.session.as_ref()) else { return };
        let key = LocRib::next_hop_key(session, next_hop);
        self.insert(received, prefix, NewPath { peer, path_id, key, pre, post });
        // Judging again is not hearing it again.
        let Some(path) = self
            .table
            .get_mut(prefix)
            .and_then(|d| d.paths.iter_mut().find(|p| p.peer == peer && p.path_id == path_id))
        else {
            return;
        };
        (path.stale, path.unrefreshed) = (stale, unrefreshed);
        if stale && let Some(peer) = self.peers.get_mut(&peer) {
            peer.counts_mut(prefix.family()).stale += 1;
        }
    }

    /// Decides every prefix that has a path from `peer` (its identifier or address changed).
    pub(super) fn redecide(&mut self, peer: Option<PeerId>) {
        for family in Family::SUPPORTED {
            let prefixes: Vec<Prefix> = self
                .table
                .iter(family, None)
                .filter(|(_, d)| peer.is_none_or(|peer| d.paths.iter().any(|p| p.peer == peer)))
                .map(|(p, _)| p)
                .collect();
            for prefix in prefixes {
                self.decide(&prefix, false);
            }
        }
    }

    /// Takes over the kernel's addresses. Own announcements depend on them too: [`super::origin`].
    pub(super) fn set_connected(&mut self, table: Vec<Connected>) {
        let index = ConnectedIndex::new(&table);
        // An announced prefix that is (or was) itself a subnet changes its want.
        let both = index.subnets().chain(self.connected.subnets());
        let changed: BTreeSet<Prefix> = both.filter(|p| index.has(p) != self.connected.has(p)).copied().collect();
        self.connected = index;
        self.connected_table = table;
        for prefix in &changed {
            self.decide(prefix, false);
        }
        for id in self.next_hops.ids() {
            self.unsettle(id);
        }
        let mut rejudge = Vec::new();
        for (id, peer) in &mut self.peers {
            if let Some(session) = &mut peer.session
                && session.set_connected(&self.connected_table)
            {
                rejudge.push(*id);
            }
        }
        for peer in rejudge {
            self.rejudge(peer);
        }
        self.settle();
    }

    /// The longest match with a path, for a question about an address.
    pub(super) fn longest_match(&self, host: &Prefix) -> Option<Prefix> {
        self.table.longest_match(host, 0, |prefix, d| (!d.paths.is_empty()).then_some(prefix))
    }

    /// True if one more prefix from `peer` is beyond its limit. Counted before policy, distinct prefixes.
    pub(super) fn over_limit(&self, peer: PeerId, prefix: &Prefix, limit: u32) -> bool {
        let prefixes = self.peers.get(&peer).map_or(0, |p| p.counts(prefix.family()).prefixes);
        let room = prefixes < limit as usize;
        !room && !self.table.get(prefix).is_some_and(|d| d.paths.iter().any(|p| p.peer == peer))
    }

    /// What may be said about `prefix`.
    pub(super) fn exportable(&self, prefix: &Prefix) -> Offer<'_> {
        let Some(destination) = self.table.get(prefix) else { return Offer::Withdrawn };
        let Some(path) = destination.best_path() else { return Offer::Withdrawn };
        let (Ok(attributes), Some(entry)) = (&path.post, self.next_hops.get(path.next_hop)) else {
            return Offer::Withdrawn;
        };
        if self.speaker.wait_for_fib {
            match destination.fib.state {
                SlotState::NotWanted | SlotState::Installed => {}
                SlotState::Pending => return Offer::Pending,
                SlotState::Failed => return Offer::Withdrawn,
            }
        }
        match route_source(&self.peers, &self.speaker, path.peer, path.path_id) {
            Some(source) => Offer::Route(BestView { source, next_hop: entry.key.next_hop, attributes }),
            None => Offer::Withdrawn,
        }
    }
}
