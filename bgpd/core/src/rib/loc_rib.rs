//! The tables and what keeps them true to one another: paths, decision, next hops, wants for the FIB.
//!
//! Every change of a path ([`super::arrivals`]) ends in a decision of its prefix ([`super::choose`]). A decision may change how other prefixes'
//! next hops resolve ([`super::resolve`]); what follows from that, and everything else that is about the whole table, is
//! done in slices by [`super::sweep`].
//!
//! Invariants once the sweep is idle: for each prefix the first path is the winner of [`super::decision`] over its usable
//! paths if there is one, and the FIB's target is that path's resolved next hop. Until then a prefix that the sweep has not
//! reached has the best path of before. While `deferred`, paths are stored and nothing is decided (RFC 4724 §4.1).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bgp_wire::{NextHop, PathAttributes};
use net_types::{Family, Prefix};

use super::arrivals::Tally;
use super::attributes::AttrPool;
use super::backup::LastWant;
use super::choose::Usable;
use super::decision::PathKey;
use super::fate::Fates;
use super::fib::FibWants;
use super::ids::{AttrId, DestId};
use super::next_hop::{ConnectedIndex, NextHopId, NextHopKey, NextHopTable, Reachability, Unresolved, needs_link};
use super::paths::{Blocks, Path};
use super::peers::{Identities, Peer, PerFamily, Session, local_key};
use super::sources::{GenerationId, SourceId, Sources};
use super::sweep::{Job, Sweep};
use super::table::Table;
use super::targets::TargetId;
use super::types::{Connected, HopEvent, PeerId};
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
    pub(super) fates: Fates,
    pub(super) last_want: LastWant,
    pub(super) hop_events: VecDeque<HopEvent>,
    /// Destinations with a path.
    pub(super) prefixes: PerFamily<usize>,
    /// Routes that begin here, with their Path Identifier, and the generations they are of.
    pub(super) originated: BTreeSet<(Prefix, u32)>,
    pub(super) local: PerFamily<GenerationId>,
    /// The first decision waits (RFC 4724 §4.1).
    pub(super) deferred: bool,
    /// What is announced here is the last resort ([`super::startup`]).
    pub(super) last_resort: bool,
    /// The first wants are confirmed: End-of-RIB may be sent.
    pub(super) first_wants_done: bool,
    /// Destinations whose announcement may differ from what was said.
    pub(super) changed: Vec<DestId>,
    /// Destinations with a path that is not what it was, while anybody is told more than the best.
    pub(super) paths_changed: Vec<DestId>,
    pub(super) notes_paths: bool,
    /// Destinations that nothing here needs any more.
    pub(super) idle: Vec<DestId>,
    pub(super) sweep: Sweep,
    pub(super) unsettled: VecDeque<NextHopId>,
    pub(super) queued: BTreeSet<NextHopId>,
    /// Changes of a next hop since the sweep was last idle.
    pub(super) rounds: BTreeMap<NextHopId, u32>,
    /// Counts that are brought home at the end of the call.
    pub(super) tally: Tally,
    /// Room that is kept from one call to the next.
    pub(super) keys: Vec<PathKey>,
    pub(super) tied: Vec<(usize, Usable, SourceId)>,
    pub(super) found: Vec<Option<DestId>>,
    pub(super) inside: Vec<NextHopId>,
    pub(super) discard: TargetId,
    /// Destinations decided or looked at by the sweep, for tests of what a call costs.
    #[cfg(test)]
    pub(super) looked: usize,
}

impl LocRib {
    pub(super) fn new(speaker: SpeakerConfig, seed: u64, deferred: bool) -> LocRib {
        let mut fib = FibWants::new(seed);
        let discard = fib.targets.discard();
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
            fates: Fates::default(),
            last_want: LastWant::default(),
            hop_events: VecDeque::new(),
            prefixes: PerFamily::default(),
            originated: BTreeSet::new(),
            local,
            deferred,
            last_resort: false,
            first_wants_done: !deferred,
            changed: Vec::new(),
            paths_changed: Vec::new(),
            notes_paths: false,
            idle: Vec::new(),
            sweep: Sweep::default(),
            unsettled: VecDeque::new(),
            queued: BTreeSet::new(),
            rounds: BTreeMap::new(),
            tally: Tally::default(),
            keys: Vec::new(),
            tied: Vec::new(),
            found: Vec::new(),
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
        self.take_fates();
    }

    /// Looks up again what is lost together; what follows from a change is owed.
    fn take_fates(&mut self) {
        self.fates.take(&self.speaker.ducts, &self.connected_table);
        if self.fib.targets.set_fates(|ifindex| self.fates.get(ifindex)) {
            self.owe(Job::DecideAll);
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

    /// The number of a set with its next hop; the caller holds one reference to it.
    pub(super) fn intern(&mut self, attributes: &PathAttributes, key: NextHopKey) -> AttrId {
        let (next_hop, fresh) = self.next_hops.intern(key);
        if fresh {
            let state = self.resolve(&key, next_hop);
            if let Some(entry) = self.next_hops.get_mut(next_hop) {
                entry.state = state;
            }
            self.tell_hop(&key, Err(Unresolved::NoRoute), state);
        }
        let (id, new) = self.pool.intern(attributes, next_hop);
        if new {
            self.next_hops.retain(next_hop);
        }
        id
    }

    /// The paths of a destination, the best first if there is a best.
    pub(super) fn paths(&self, id: DestId) -> impl Iterator<Item = &Path> {
        let slot = self.table.get(id);
        let further = slot.map_or(&[][..], |s| self.blocks.get(s.further, s.extra));
        slot.and_then(|s| s.head()).into_iter().chain(further)
    }

    pub(super) fn path(&self, id: DestId, at: usize) -> Option<Path> {
        let slot = self.table.get(id).filter(|s| s.has_path())?;
        match at.checked_sub(1) {
            None => Some(slot.first),
            Some(further) => self.blocks.get(slot.further, slot.extra).get(further).copied(),
        }
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

    /// True if the destination has a path from this neighbour.
    pub(super) fn has_from(&self, id: DestId, peer: PeerId) -> bool {
        self.paths(id).any(|p| self.sources.get(p.source).is_some_and(|s| s.peer == Some(peer)))
    }

    /// The neighbour's routes of a family carry Path Identifiers (RFC 7911).
    pub(super) fn has_path_ids(&self, peer: PeerId, family: Family) -> bool {
        let session = self.peers.get(&peer).and_then(|p| p.session.as_ref());
        session.is_some_and(|s| s.info.session.add_path_receive.contains(&family))
    }

    /// A path of the destination may not be what it was.
    #[inline]
    pub(super) fn note_paths(&mut self, id: DestId) {
        if self.notes_paths {
            self.paths_changed.push(id);
        }
    }

    /// Looks whether anything here still needs the destination.
    pub(super) fn note_idle(&mut self, id: DestId) {
        if let Some(slot) = self.table.get_mut(id)
            && slot.is_idle()
            && !slot.note()
        {
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
        self.take_fates();
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
