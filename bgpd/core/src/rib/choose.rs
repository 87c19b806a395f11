//! Which path of a destination is the best, and what follows for the FIB and for export.
//!
//! Most changes are settled by the first four steps of [`super::decision`] (LOCAL_PREF, local origin, AS_PATH length,
//! ORIGIN), which order all paths: a path that is worse there than the best neither wins nor has a say in which other one
//! does, a path that is better there than the best wins. Only what ties there, or the loss of a path that did, takes the
//! whole process over all paths of the destination.

use std::cmp::Reverse;

use bgp_wire::Origin;

use super::decision::{self, PathKey};
use super::fib::TargetId;
use super::ids::{AttrId, DestId};
use super::loc_rib::{Buried, LocRib};
use super::next_hop::{Resolved, Unresolved};
use super::out::Offer;
use super::paths::Path;
use super::peers::ANNOUNCED;
use super::sources::{Generation, SourceId};
use super::types::{FibState, PeerId};
use super::verdicts::{RuleId, Verdict};

/// Steps 1 to 4: less is better.
type Rank = (Reverse<u32>, bool, usize, Origin);

/// Why a path takes no part in the decision (step 0).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unusable {
    /// By this rule of import policy.
    Refused(RuleId),
    NextHop(Unresolved),
    /// Its generation is dead.
    Gone,
}

impl LocRib {
    /// The attributes of a usable path, who sent it, and where it leads.
    fn usable(&self, verdict: Verdict, source: SourceId) -> Result<(AttrId, &Generation, u32, Resolved), Unusable> {
        let set = self.verdicts.post(verdict).map_err(|rule| rule.map_or(Unusable::Gone, Unusable::Refused))?;
        let (generation, path_id) = self.sources.resolve(source).filter(|(g, _)| !g.dead).ok_or(Unusable::Gone)?;
        let next_hop = self.pool.head(set).ok_or(Unusable::Gone)?.next_hop();
        let entry = self.next_hops.get(next_hop).ok_or(Unusable::Gone)?;
        let resolved = entry.state.map_err(Unusable::NextHop)?;
        Ok((set, generation, path_id, resolved))
    }

    /// What all steps look at.
    pub(super) fn key(&self, path: &Path) -> Result<PathKey, Unusable> {
        let (set, generation, path_id, resolved) = self.usable(path.verdict, path.source)?;
        let head = self.pool.head(set).ok_or(Unusable::Gone)?;
        let (source, local_as) = (generation.key, self.speaker.local_as);
        if head.is_reflected() {
            return Ok(PathKey::new(&self.pool.decode(set), source, path_id, resolved.cost, local_as));
        }
        Ok(PathKey {
            local_pref: head.local_pref(),
            local: source.local,
            as_path_length: head.as_path_len(),
            origin: head.origin(),
            med: head.med(),
            med_group: head.med_group(local_as),
            external: source.external,
            interior_cost: resolved.cost,
            identifier: source.identifier,
            cluster_list_length: 0,
            neighbor_address: source.address,
            path_id,
            peer: source.peer,
        })
    }

    fn rank(&self, verdict: Verdict, source: SourceId) -> Option<Rank> {
        let (set, generation, ..) = self.usable(verdict, source).ok()?;
        let head = self.pool.head(set)?;
        Some((Reverse(head.local_pref()), !generation.key.local, head.as_path_len(), head.origin()))
    }

    /// False if a path like this cannot have had a say beside the best path there is.
    pub(super) fn may_matter(&self, id: DestId, verdict: Verdict, source: SourceId) -> bool {
        if !self.is_swept() {
            // The last decision may have seen another world.
            return true;
        }
        let best = self.table.get(id).and_then(|s| s.best()).and_then(|b| self.rank(b.verdict, b.source));
        match (self.rank(verdict, source), best) {
            (None, Some(_)) => false,
            (Some(rank), Some(best)) => rank <= best,
            (_, None) => true,
        }
    }

    /// Decides after the path at `at` came or changed. `old`: what stood there.
    pub(super) fn choose(&mut self, id: DestId, at: usize, old: Option<Verdict>, buried: Buried) {
        if self.deferred {
            return;
        }
        let Some(slot) = self.table.get(id) else { return };
        if at > 0
            && !buried.any
            && self.is_swept()
            && let Some(new) = self.path(id, at)
            && let Some(best) = slot.best().and_then(|b| self.rank(b.verdict, b.source))
        {
            let rank = self.rank(new.verdict, new.source);
            let had_a_say = old.is_some_and(|old| self.may_matter(id, old, new.source));
            match rank {
                Some(rank) if rank < best => return self.set_best(id, Some(at), false),
                Some(rank) if rank > best && !had_a_say => return,
                None if !had_a_say => return,
                _ => {}
            }
        }
        let touched = buried.best || at == 0 && old.is_some() && slot.has_best();
        self.decide(id, touched);
    }

    /// Runs the decision process for one destination and takes over its result. `touched`: the best path itself is not
    /// what it was.
    pub(super) fn decide(&mut self, id: DestId, touched: bool) {
        if self.deferred {
            return self.note_idle(id);
        }
        #[cfg(test)]
        {
            self.looked += 1;
        }
        let mut keys = std::mem::take(&mut self.keys);
        let mut indices = std::mem::take(&mut self.indices);
        let mut lost = std::mem::take(&mut self.lost);
        keys.clear();
        indices.clear();
        for (at, path) in self.paths(id).enumerate() {
            if let Ok(key) = self.key(path) {
                keys.push(key);
                indices.push(at);
            }
        }
        let best = decision::decide(&keys, &mut lost).and_then(|b| indices.get(b).copied());
        (self.keys, self.indices, self.lost) = (keys, indices, lost);
        self.set_best(id, best, touched);
    }

    fn set_best(&mut self, id: DestId, best: Option<usize>, touched: bool) {
        let Some(slot) = self.table.get_mut(id) else { return };
        let had = slot.has_best();
        if let Some(further) = best.and_then(|at| at.checked_sub(1))
            && let Some(path) = self.blocks.get_mut(slot.further, slot.extra).get_mut(further)
        {
            std::mem::swap(path, &mut slot.first);
        }
        slot.set_has_best(best.is_some());
        let first = slot.first;
        let moved = touched || if best == Some(0) { !had } else { had || best.is_some() };
        let target = if best.is_some() { self.target(id, &first) } else { None };
        if let Some(slot) = self.table.get_mut(id) {
            self.fib.want(id, slot, target);
        }
        self.note_idle(id);
        if moved {
            self.changed.push(id);
        }
        let mut inside = std::mem::take(&mut self.inside);
        if let Some(prefix) = self.table.prefix(id) {
            self.next_hops.inside(&prefix, &mut inside);
        }
        inside.drain(..).for_each(|next_hop| self.unsettle(next_hop));
        self.inside = inside;
    }

    /// What the kernel should hold for a best path.
    fn target(&self, id: DestId, path: &Path) -> Option<TargetId> {
        let (_, generation, path_id, resolved) = self.usable(path.verdict, path.source).ok()?;
        if generation.peer() == PeerId::LOCAL {
            // An own aggregate drops what nothing more specific takes, unless the subnet itself is on a link.
            let discard = path_id == ANNOUNCED && !self.connected.has(&self.table.prefix(id)?);
            return discard.then_some(self.discard);
        }
        resolved.target
    }

    /// The source of a path as export knows it.
    pub(super) fn export_source(&self, path: &Path) -> Option<u32> {
        let (generation, path_id) = self.sources.resolve(path.source)?;
        Some(if generation.peer() == PeerId::LOCAL { path_id } else { generation.identity })
    }

    /// What may be said about a destination.
    pub(super) fn exportable(&self, id: DestId) -> Offer {
        let Some(slot) = self.table.get(id) else { return Offer::Withdrawn };
        let Some(path) = slot.best() else { return Offer::Withdrawn };
        let (Ok(set), Some((generation, _))) = (self.verdicts.post(path.verdict), self.sources.resolve(path.source))
        else {
            return Offer::Withdrawn;
        };
        if generation.dead {
            // The sweep will get here and mark it.
            return Offer::Pending;
        }
        if self.speaker.wait_for_fib {
            match slot.fib_state() {
                FibState::NotWanted | FibState::Installed => {}
                FibState::Pending => return Offer::Pending,
                FibState::Failed => return Offer::Withdrawn,
            }
        }
        self.export_source(path).map_or(Offer::Withdrawn, |source| Offer::Route { set, source })
    }
}
