//! The tables and what keeps them true to one another: paths in, decision, next hops, wants for the FIB.
//!
//! Every change of a path ends in a decision of its prefix ([`super::choose`]). A decision may change how other prefixes'
//! next hops resolve ([`super::resolve`]); what follows from that, and everything else that is about the whole table, is
//! done in slices by [`super::sweep`].
//!
//! Invariants once the sweep is idle: for each prefix the first path is the winner of [`super::decision`] over its usable
//! paths if there is one, and the FIB's target is that path's resolved next hop. Until then a prefix that the sweep has not
//! reached has the best path of before. While `deferred`, paths are stored and nothing is decided (RFC 4724 §4.1).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bgp_wire::{NextHop, PathAttributes};
use net_types::{Monotime, Prefix};

use super::attributes::AttrPool;
use super::decision::{PathKey, Step};
use super::fib::{FibWants, TargetId};
use super::ids::{AttrId, DestId};
use super::next_hop::{ConnectedIndex, NextHopId, NextHopKey, NextHopTable, Reachability, needs_link};
use super::paths::{Blocks, Path};
use super::peers::{Identities, Peer, PerFamily, Session, local_key};
use super::sources::{GenerationId, Sources};
use super::sweep::{Job, Sweep};
use super::table::Table;
use super::types::{Connected, FibTarget, PeerId};
use super::verdicts::{Verdict, Verdicts};
use crate::config::SpeakerConfig;

/// The tables.
#[derive(Debug)]
pub(super) struct LocRib {
    pub(super) speaker: Arc<SpeakerConfig>,
    pub(super) peers: BTreeMap<PeerId, Peer>,
    pub(super) identities: Identities,
    pub(super) table: Table,
    pub(super) blocks: Blocks,
    pub(super) pool: AttrPool,
    pub(super) verdicts: Verdicts,
    pub(super) sources: Sources,
    pub(super) next_hops: NextHopTable,
    pub(super) connected_table: Vec<Connected>,
    pub(super) connected: ConnectedIndex,
    pub(super) fib: FibWants,
    /// Destinations with a path.
    pub(super) prefixes: PerFamily<usize>,
    /// Routes that begin here, with their Path Identifier, and the generations they are of.
    pub(super) originated: BTreeSet<(Prefix, u32)>,
    pub(super) local: PerFamily<GenerationId>,
    /// The first decision waits (RFC 4724 §4.1).
    pub(super) deferred: bool,
    /// The first wants are confirmed: End-of-RIB may be sent.
    pub(super) first_wants_done: bool,
    /// Destinations whose announcement may differ from what was said.
    pub(super) changed: Vec<DestId>,
    /// Destinations that nothing here needs any more.
    pub(super) idle: Vec<DestId>,
    pub(super) sweep: Sweep,
    pub(super) unsettled: VecDeque<NextHopId>,
    pub(super) queued: BTreeSet<NextHopId>,
    /// Changes of a next hop since the sweep was last idle.
    pub(super) rounds: BTreeMap<NextHopId, u32>,
    pub(super) keys: Vec<PathKey>,
    pub(super) indices: Vec<usize>,
    pub(super) lost: Vec<Option<Step>>,
    pub(super) inside: Vec<NextHopId>,
    pub(super) discard: TargetId,
    /// Destinations decided or looked at by the sweep, for tests of what a call costs.
    #[cfg(test)]
    pub(super) looked: usize,
}

impl LocRib {
    pub(super) fn new(speaker: SpeakerConfig, seed: u64, deferred: bool) -> LocRib {
        let mut fib = FibWants::default();
        let discard = fib.targets.intern(FibTarget::Discard);
        let mut sources = Sources::new(seed);
        let key = local_key(speaker.router_id);
        let local = PerFamily::new(sources.begin(key, 0, true), sources.begin(key, 0, false));
        LocRib {
            speaker: Arc::new(speaker),
            peers: BTreeMap::new(),
            identities: Identities::default(),
            table: Table::new(seed),
            blocks: Blocks::default(),
            pool: AttrPool::new(seed),
            verdicts: Verdicts::new(seed),
            sources,
            next_hops: NextHopTable::new(seed),
            connected_table: Vec::new(),
            connected: ConnectedIndex::default(),
            fib,
            prefixes: PerFamily::default(),
            originated: BTreeSet::new(),
            local,
            deferred,
            first_wants_done: !deferred,
            changed: Vec::new(),
            idle: Vec::new(),
            sweep: Sweep::default(),
            unsettled: VecDeque::new(),
            queued: BTreeSet::new(),
            rounds: BTreeMap::new(),
            keys: Vec::new(),
            indices: Vec::new(),
            lost: Vec::new(),
            inside: Vec::new(),
            discard,
            #[cfg(test)]
            looked: 0,
        }
    }

    /// Another configuration of ourselves; what follows from it is the caller's.
    pub(super) fn take_speaker(&mut self, speaker: Arc<SpeakerConfig>) {
        let key = local_key(speaker.router_id);
        self.sources.all_mut().filter(|g| g.peer() == PeerId::LOCAL).for_each(|g| g.key = key);
        self.speaker = speaker;
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

    /// The number of a set with its next hop; the caller holds one reference to it.
    pub(super) fn intern(&mut self, attributes: &PathAttributes, key: NextHopKey) -> AttrId {
        let (next_hop, fresh) = self.next_hops.intern(key);
        if fresh {
            let state = self.resolve(&key, next_hop);
            if let Some(entry) = self.next_hops.get_mut(next_hop) {
                entry.state = state;
            }
        }
        let (id, new) = self.pool.intern(attributes, next_hop);
        if new {
            self.next_hops.retain(next_hop);
        }
        id
    }

    /// The paths of a destination, the best first if there is a best.
    pub(super) fn paths(&self, id: DestId) -> impl Iterator<Item = &Path> {
        let slot = self.table.get(id).filter(|s| s.has_path());
        let further = slot.map_or(&[][..], |s| self.blocks.get(s.further, s.extra));
        slot.map(|s| &s.first).into_iter().chain(further)
    }

    pub(super) fn path(&self, id: DestId, at: usize) -> Option<Path> {
        self.paths(id).nth(at).copied()
    }

    pub(super) fn path_mut(&mut self, id: DestId, at: usize) -> Option<&mut Path> {
        let slot = self.table.get_mut(id).filter(|s| s.has_path())?;
        match at.checked_sub(1) {
            None => Some(&mut slot.first),
            Some(further) => self.blocks.get_mut(slot.further, slot.extra).get_mut(further),
        }
    }

    pub(super) fn accepted(&self, verdict: Verdict) -> bool {
        self.verdicts.post(verdict).is_ok()
    }

    fn is_from(&self, path: &Path, peer: PeerId) -> bool {
        self.sources.resolve(path.source).is_some_and(|(g, _)| g.peer() == peer)
    }

    /// True if the destination has a path from this neighbour.
    pub(super) fn has_from(&self, id: DestId, peer: PeerId) -> bool {
        self.paths(id).any(|p| self.is_from(p, peer))
    }

    /// Puts a path in, or in the place of the one with the same sender and Path Identifier.
    pub(super) fn insert(
        &mut self,
        now: Monotime,
        prefix: &Prefix,
        generation: GenerationId,
        path_id: u32,
        verdict: Verdict,
    ) {
        let Some(peer) = self.sources.generation(generation).map(|g| g.peer()) else { return };
        let Some(source) = self.sources.source(generation, path_id) else { return };
        let Some(id) = self.table.entry(prefix) else { return };
        let buried = self.bury(id);
        let accepted = self.accepted(verdict);
        // 2^32 seconds are 136 years.
        let received = u32::try_from(now.since(Monotime::ZERO).as_secs()).unwrap_or(u32::MAX);
        let new = Path { verdict, source, received };
        let Some(at) = self.paths(id).position(|p| self.sources.is(p.source, peer, path_id)) else {
            let from_peer = self.has_from(id, peer);
            let Some(at) = self.append(id, new) else { return self.sources.forget_unused(source) };
            self.verdicts.retain(&mut self.pool, verdict);
            self.sources.add_path(source, accepted);
            if !from_peer {
                self.count_prefix(peer, prefix.is_v4(), 1);
            }
            return self.choose(id, at, None, buried);
        };
        let Some(path) = self.path_mut(id, at) else { return };
        let old = *path;
        if old.verdict == verdict {
            // Heard again: it is as old as it was, and of the newest transfer.
            path.source = source;
            if old.source != source {
                self.sources.add_path(source, accepted);
                self.sources.remove_path(old.source, accepted);
            }
            if buried.any {
                self.decide(id, buried.best);
            }
            return;
        }
        *path = new;
        let was_accepted = self.accepted(old.verdict);
        self.verdicts.retain(&mut self.pool, verdict);
        self.sources.add_path(source, accepted);
        self.sources.remove_path(old.source, was_accepted);
        self.choose(id, at, Some(old.verdict), buried);
        self.verdicts.release(&mut self.pool, old.verdict);
    }

    /// Puts a path behind the others; its place, or `None` if there is no room.
    fn append(&mut self, id: DestId, path: Path) -> Option<usize> {
        let slot = self.table.get_mut(id)?;
        if slot.has_path() {
            let room = self.blocks.push(&mut slot.further, &mut slot.extra, path);
            return room.then_some(usize::from(slot.extra));
        }
        slot.set_has_path(true);
        slot.first = path;
        *self.prefixes.get_mut(id.is_v4()) += 1;
        Some(0)
    }

    /// Takes the path of a neighbour out. True if it was there.
    pub(super) fn remove(&mut self, prefix: &Prefix, peer: PeerId, path_id: u32) -> bool {
        let Some(id) = self.table.find(prefix) else { return false };
        let buried = self.bury(id);
        let found = self.paths(id).enumerate().find(|(_, p)| self.sources.is(p.source, peer, path_id));
        let found = found.map(|(at, p)| (at, buried.any || self.may_matter(id, p.verdict, p.source)));
        let taken = found.and_then(|(at, matters)| Some((self.take(id, at)?, matters)));
        let Some(((old, was_best), matters)) = taken else {
            if buried.any {
                self.decide(id, buried.best);
            }
            return false;
        };
        if matters || was_best {
            self.decide(id, buried.best || was_best);
        }
        self.note_idle(id);
        self.verdicts.release(&mut self.pool, old.verdict);
        true
    }

    /// Takes the path at `at` out; true with it: it was the best. The caller gives its verdict back and decides.
    fn take(&mut self, id: DestId, at: usize) -> Option<(Path, bool)> {
        let slot = self.table.get_mut(id).filter(|s| s.has_path())?;
        let was_best = at == 0 && slot.has_best();
        let path = match at.checked_sub(1) {
            Some(at) => self.blocks.swap_remove(&mut slot.further, &mut slot.extra, at)?,
            None => {
                slot.set_has_best(false);
                let last = usize::from(slot.extra).checked_sub(1);
                let next = last.and_then(|l| self.blocks.swap_remove(&mut slot.further, &mut slot.extra, l));
                if next.is_none() {
                    slot.set_has_path(false);
                    *self.prefixes.get_mut(id.is_v4()) -= 1;
                }
                std::mem::replace(&mut slot.first, next.unwrap_or_default())
            }
        };
        let peer = self.sources.resolve(path.source).map(|(g, _)| g.peer());
        if let Some(peer) = peer.filter(|peer| !self.has_from(id, *peer)) {
            self.count_prefix(peer, id.is_v4(), -1);
        }
        let accepted = self.accepted(path.verdict);
        self.sources.remove_path(path.source, accepted);
        Some((path, was_best))
    }

    /// Takes out what dead generations have left here.
    pub(super) fn bury(&mut self, id: DestId) -> Buried {
        let mut buried = Buried::default();
        if self.sources.dead() == 0 {
            return buried;
        }
        let dead = |rib: &LocRib| rib.paths(id).position(|p| rib.sources.resolve(p.source).is_none_or(|(g, _)| g.dead));
        while let Some((path, was_best)) = dead(self).and_then(|at| self.take(id, at)) {
            self.verdicts.release(&mut self.pool, path.verdict);
            buried.any = true;
            buried.best |= was_best;
        }
        buried
    }

    fn count_prefix(&mut self, peer: PeerId, v4: bool, by: isize) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            let count = peer.prefixes.get_mut(v4);
            *count = count.saturating_add_signed(by);
        }
    }

    /// True if one more prefix from `peer` is beyond its limit. Counted before policy, distinct prefixes.
    pub(super) fn over_limit(&self, peer: PeerId, prefix: &Prefix, limit: u32) -> bool {
        let v4 = prefix.is_v4();
        let held = self.peers.get(&peer).map_or(0, |p| *p.prefixes.get(v4));
        if held < limit as usize {
            return false;
        }
        let dead: usize = self.sources.of(peer, v4).filter(|(_, g)| g.dead).map(|(_, g)| g.paths).sum();
        held.saturating_sub(dead) >= limit as usize
            && !self.table.find(prefix).is_some_and(|id| self.has_from(id, peer))
    }

    /// Looks whether anything here still needs the destination.
    pub(super) fn note_idle(&mut self, id: DestId) {
        if self.table.get(id).is_some_and(|s| s.is_idle()) {
            self.idle.push(id);
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
        for id in changed.iter().filter_map(|p| self.table.find(p)).collect::<Vec<_>>() {
            self.decide(id, false);
        }
        for id in self.next_hops.ids() {
            self.unsettle(id);
        }
        let mut judge = Vec::new();
        for (id, peer) in &mut self.peers {
            if let Some(session) = &mut peer.session
                && Arc::make_mut(session).set_connected(&self.connected_table)
            {
                judge.push(*id);
            }
        }
        for peer in judge {
            self.owe(Job::Judge(peer));
        }
        self.settle(false);
    }
}

/// What [`LocRib::bury`] took out.
#[derive(Clone, Copy, Default)]
pub(super) struct Buried {
    /// A path.
    pub(super) any: bool,
    /// The best one.
    pub(super) best: bool,
}
