//! Paths into the table and out of it, an UPDATE at a time.
//!
//! The routes of an UPDATE share their sender, their attribute set and what policy and the decision make of it: that is
//! worked out once ([`Sender`], [`Candidate`]) and handed down. What they count (paths of a source, users of a verdict,
//! prefixes of a neighbour) is added up and brought home at the end of the call ([`Batch`], [`Tally`]); a count that lags
//! is of something that is held meanwhile: by the batch, or by the users not yet taken off it.
//!
//! A neighbour's paths of one family are all of one source unless it is between two transfers of its table or sends Path
//! Identifiers (RFC 7911); whose a path is can then be told by comparing two numbers.

use bgp_wire::Nlri;
use net_types::{Monotime, Prefix};

use super::choose::{Buried, Candidate, LastDuel};
use super::ids::DestId;
use super::loc_rib::LocRib;
use super::paths::Path;
use super::sources::{GenerationId, SourceId, Sources};
use super::table::Slot;
use super::types::PeerId;
use super::verdicts::Verdict;

/// Paths to a destination that one neighbour may send on average before its limit of prefixes is taken to be passed: whoever
/// sets one guards our memory.
const PATHS_A_PREFIX: usize = 16;

/// Withdrawals looked up together.
const AHEAD: usize = 64;

/// Whose paths come or go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    peer: PeerId,
    v4: bool,
    generation: GenerationId,
    /// The source of Path Identifier 0.
    base: SourceId,
    /// All its paths of the family are of that source.
    plain: bool,
}

impl Sender {
    /// Where its path with this Path Identifier stands, and whether another one of it does.
    fn place(&self, sources: &Sources, slot: &Slot, further: &[Path], path_id: u32) -> (Option<usize>, bool) {
        if self.plain && path_id == 0 {
            if slot.head().is_some_and(|p| p.source == self.base) {
                return (Some(0), false);
            }
            return (further.iter().position(|p| p.source == self.base).map(|at| at + 1), false);
        }
        let (mut place, mut others) = (None, false);
        for (at, path) in slot.head().into_iter().chain(further).enumerate() {
            let Some(source) = sources.get(path.source).filter(|s| s.peer == Some(self.peer)) else { continue };
            if source.path_id == path_id {
                place = Some(at);
            } else {
                others = true;
            }
        }
        (place, others)
    }
}

/// Routes of one sender on their way in.
#[derive(Debug)]
pub(super) struct Batch {
    sender: Sender,
    /// What most of them are.
    usual: Candidate,
    last: LastDuel,
    /// When they came, in whole seconds.
    received: u32,
    /// Prefixes that the sender had no path for.
    prefixes: u32,
    /// New paths that are as usual.
    paths: u32,
}

/// How often the same came one after another.
#[derive(Debug)]
struct Run<K> {
    of: Option<K>,
    count: u32,
}

impl<K> Default for Run<K> {
    fn default() -> Run<K> {
        Run { of: None, count: 0 }
    }
}

impl<K: Copy + PartialEq> Run<K> {
    /// Once more; what came before, if it was something else.
    fn add(&mut self, of: K) -> Option<(K, u32)> {
        let before = if self.of == Some(of) { None } else { self.take() };
        self.of = Some(of);
        self.count += 1;
        before
    }

    fn take(&mut self) -> Option<(K, u32)> {
        Some((self.of.take()?, std::mem::take(&mut self.count)))
    }
}

/// What paths that went still count for.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Paths of a source, let in by policy or not.
    paths: Run<(SourceId, bool)>,
    verdicts: Run<Verdict>,
    /// Prefixes of a neighbour and family (true: IPv4).
    prefixes: Run<(PeerId, bool)>,
}

impl LocRib {
    pub(super) fn sender(&self, generation: GenerationId) -> Option<Sender> {
        let (base, plain) = self.sources.base(generation)?;
        let of = self.sources.generation(generation)?;
        Some(Sender { peer: of.peer(), v4: of.v4, generation, base, plain })
    }

    /// Routes come: `verdict` is that on most of them, and held by the caller.
    pub(super) fn begin_batch(&mut self, now: Monotime, generation: GenerationId, verdict: Verdict) -> Option<Batch> {
        self.bring_home();
        self.forget_last_want();
        let sender = self.sender(generation)?;
        let usual = self.candidate(verdict, sender.base);
        // 2^32 seconds are 136 years.
        let received = u32::try_from(now.since(Monotime::ZERO).as_secs()).unwrap_or(u32::MAX);
        Some(Batch { sender, usual, last: LastDuel::default(), received, prefixes: 0, paths: 0 })
    }

    pub(super) fn end_batch(&mut self, batch: &Batch) {
        let Batch { sender, usual, prefixes, paths, .. } = batch;
        self.verdicts.retain_many(&mut self.pool, usual.verdict, *paths);
        self.sources.add_paths(usual.source, usual.accepted, *paths);
        self.count_prefixes(sender.peer, sender.v4, *prefixes as isize);
        self.bring_home();
    }

    /// Tells what the tally counted.
    pub(super) fn bring_home(&mut self) {
        let Tally { paths, verdicts, prefixes } = &mut self.tally;
        let (paths, verdict, prefixes) = (paths.take(), verdicts.take(), prefixes.take());
        if let Some(((source, accepted), count)) = paths {
            self.sources.remove_paths(source, accepted, count);
        }
        if let Some((verdict, count)) = verdict {
            self.verdicts.release_many(&mut self.pool, verdict, count);
        }
        if let Some(((peer, v4), count)) = prefixes {
            self.count_prefixes(peer, v4, -(count as isize));
        }
    }

    fn count_prefixes(&mut self, peer: PeerId, v4: bool, by: isize) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            let count = peer.prefixes.get_mut(v4);
            *count = count.saturating_add_signed(by);
        }
    }

    /// True if one more route is beyond its sender's limit. Counted before policy, distinct prefixes; beyond so many paths
    /// to each (RFC 7911), paths.
    pub(super) fn over_limit(&self, batch: &Batch, nlri: &Nlri, limit: u32) -> bool {
        let (Sender { peer, v4, .. }, prefix) = (batch.sender, &nlri.prefix);
        if self.has_path_ids(peer, prefix.family()) {
            let live: usize = self.sources.of(peer, v4).filter(|(_, g)| !g.dead).map(|(_, g)| g.paths).sum();
            let most = (limit as usize).saturating_mul(PATHS_A_PREFIX);
            let is_it =
                |p: &Path| self.sources.resolve(p.source).is_some_and(|(g, i)| (g.peer(), i) == (peer, nlri.path_id));
            let known = |id| self.paths(id).any(is_it);
            if live + batch.paths as usize >= most && !self.table.find(prefix).is_some_and(known) {
                return true;
            }
        }
        let held = self.peers.get(&peer).map_or(0, |p| *p.prefixes.get(v4)) + batch.prefixes as usize;
        if held < limit as usize {
            return false;
        }
        let dead: usize = self.sources.of(peer, v4).filter(|(_, g)| g.dead).map(|(_, g)| g.paths).sum();
        held.saturating_sub(dead) >= limit as usize
            && !self.table.find(prefix).is_some_and(|id| self.has_from(id, peer))
    }

    /// Puts a path in, or in the place of the one with the same sender and Path Identifier.
    pub(super) fn insert(&mut self, batch: &mut Batch, prefix: &Prefix, path_id: u32, verdict: Verdict) {
        let new = if path_id == 0 && verdict == batch.usual.verdict {
            batch.usual
        } else {
            let Some(source) = self.sources.source(batch.sender.generation, path_id) else { return };
            batch.sender.plain &= path_id == 0;
            // The verdict or the source may have had its number from one that went.
            self.forget_last_want();
            self.candidate(verdict, source)
        };
        let Some(id) = self.table.entry(prefix) else { return };
        self.note_paths(id);
        let buried = self.bury(id);
        let Some(slot) = self.table.get_mut(id) else { return };
        let path = Path { verdict, source: new.source, received: batch.received };
        if !slot.has_path() {
            // The rule: there is nothing to look for, and nothing to compare with.
            slot.set_has_path(true);
            slot.first = path;
            *self.prefixes.get_mut(batch.sender.v4) += 1;
            batch.prefixes += 1;
            self.count_path(batch, &new);
            if !self.deferred {
                self.crown(id, new.usable.map(|usable| (0, usable)), buried.best);
            }
            return;
        }
        let further = self.blocks.get(slot.further, slot.extra);
        let (place, others) = batch.sender.place(&self.sources, slot, further, path_id);
        let Some(at) = place else {
            if !self.blocks.push(&mut slot.further, &mut slot.extra, path) {
                return self.sources.forget_unused(new.source);
            }
            let at = usize::from(slot.extra);
            batch.prefixes += u32::from(!others);
            self.count_path(batch, &new);
            return self.choose(id, at, &new, &mut batch.last, None, buried);
        };
        let Some(kept) = self.path_mut(id, at) else { return };
        let old = *kept;
        if old.verdict == verdict {
            // Heard again: it is as old as it was, and of the newest transfer.
            kept.source = new.source;
            if old.source != new.source {
                self.sources.add_paths(new.source, new.accepted, 1);
                self.sources.remove_paths(old.source, new.accepted, 1);
            }
            if buried.any {
                self.decide(id, buried.best);
            }
            return;
        }
        *kept = path;
        self.count_path(batch, &new);
        self.choose(id, at, &new, &mut batch.last, Some(old.verdict), buried);
        self.count_gone(&old);
    }

    /// A path came.
    fn count_path(&mut self, batch: &mut Batch, new: &Candidate) {
        if (new.verdict, new.source) == (batch.usual.verdict, batch.usual.source) {
            batch.paths += 1;
        } else {
            self.verdicts.retain(&mut self.pool, new.verdict);
            self.sources.add_paths(new.source, new.accepted, 1);
        }
    }

    /// A path went.
    fn count_gone(&mut self, path: &Path) {
        let accepted = self.accepted(path.verdict);
        if let Some(((source, accepted), count)) = self.tally.paths.add((path.source, accepted)) {
            self.sources.remove_paths(source, accepted, count);
        }
        if let Some((verdict, count)) = self.tally.verdicts.add(path.verdict) {
            self.verdicts.release_many(&mut self.pool, verdict, count);
        }
    }

    /// A neighbour's last path of a destination went.
    fn count_prefix_gone(&mut self, peer: PeerId, v4: bool) {
        if let Some(((peer, v4), count)) = self.tally.prefixes.add((peer, v4)) {
            self.count_prefixes(peer, v4, -(count as isize));
        }
    }

    /// Takes paths out.
    pub(super) fn withdraw(&mut self, sender: &Sender, all: &[Nlri]) {
        let mut found = std::mem::take(&mut self.found);
        for nlri in all.chunks(AHEAD) {
            // Looked up together, so that the waits for memory overlap. Nothing is freed before the end of the call.
            found.clear();
            found.extend(nlri.iter().map(|n| self.table.find(&n.prefix)));
            for (nlri, id) in nlri.iter().zip(&found) {
                if let Some(id) = *id {
                    self.remove(sender, id, nlri.path_id);
                }
            }
        }
        self.found = found;
        self.bring_home();
    }

    /// Takes the path of a sender with this Path Identifier out.
    fn remove(&mut self, sender: &Sender, id: DestId, path_id: u32) {
        self.note_paths(id);
        let buried = self.bury(id);
        let Some(slot) = self.table.get(id) else { return };
        let further = self.blocks.get(slot.further, slot.extra);
        let (place, others) = sender.place(&self.sources, slot, further, path_id);
        let gone = place.and_then(|at| {
            let path = self.path(id, at)?;
            Some((at, at == 0 || buried.any || self.may_matter(id, path.verdict, path.source)))
        });
        let taken = gone.and_then(|(at, matters)| Some((self.take(id, at)?, matters)));
        let Some(((path, was_best), matters)) = taken else {
            if buried.any {
                self.decide(id, buried.best);
            }
            return;
        };
        if !others {
            self.count_prefix_gone(sender.peer, sender.v4);
        }
        if matters {
            self.decide(id, buried.best || was_best);
        } else {
            self.others_changed(id);
        }
        self.count_gone(&path);
    }

    /// Takes the path at `at` out; true with it: it was the best. The caller counts and decides.
    fn take(&mut self, id: DestId, at: usize) -> Option<(Path, bool)> {
        let slot = self.table.get_mut(id).filter(|s| s.has_path())?;
        let was_best = at == 0 && slot.has_best();
        if let Some(at) = at.checked_sub(1) {
            return Some((self.blocks.swap_remove(&mut slot.further, &mut slot.extra, at)?, was_best));
        }
        slot.set_has_best(false);
        let next = match usize::from(slot.extra).checked_sub(1) {
            Some(last) => self.blocks.swap_remove(&mut slot.further, &mut slot.extra, last),
            None => None,
        };
        if next.is_none() {
            slot.set_has_path(false);
            *self.prefixes.get_mut(id.is_v4()) -= 1;
        }
        Some((std::mem::replace(&mut slot.first, next.unwrap_or_default()), was_best))
    }

    /// Takes out what dead generations have left here.
    #[inline]
    pub(super) fn bury(&mut self, id: DestId) -> Buried {
        if self.sources.dead() == 0 { Buried::default() } else { self.bury_dead(id) }
    }

    fn bury_dead(&mut self, id: DestId) -> Buried {
        let mut buried = Buried::default();
        let mut at = 0;
        while let Some(path) = self.path(id, at) {
            let of = self.sources.resolve(path.source).map(|(g, _)| (g.dead, g.peer()));
            if let Some((false, _)) = of {
                at += 1;
                continue;
            }
            let Some((path, was_best)) = self.take(id, at) else { break };
            if let Some((_, peer)) = of.filter(|(_, peer)| !self.has_from(id, *peer)) {
                self.count_prefix_gone(peer, id.is_v4());
            }
            self.count_gone(&path);
            buried.any = true;
            buried.best |= was_best;
        }
        buried
    }
}
