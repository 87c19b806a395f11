//! Which path of a destination is the best, and what follows for the FIB and for export.
//!
//! Most changes are settled by the first four steps of [`super::decision`] (LOCAL_PREF, local origin, AS_PATH length,
//! ORIGIN), which order all paths: a path that is worse there than the best neither wins nor has a say in which other one
//! does, a path that is better there than the best wins. They are one number, kept in the head of the set. A path that
//! ties there is compared with the best path alone ([`decision::join`]) as far as MED allows. Only the rest, or the loss of
//! a path that tied, takes a look at all paths of the destination.

use super::decision::{self, Joined, PathKey};
use super::ids::{AttrId, DestId};
use super::loc_rib::LocRib;
use super::next_hop::Unresolved;
use super::out::{Offer, OfferedPath};
use super::paths::Path;
use super::peers::{ANNOUNCED, LAST_RESORT};
use super::sources::{Generation, SourceId};
use super::targets::TargetId;
use super::types::{FibState, PeerId};
use super::verdicts::{RuleId, Verdict};

/// Why a path takes no part in the decision (step 0).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unusable {
    /// By this rule of import policy.
    Refused(RuleId),
    NextHop(Unresolved),
    /// Its generation is dead.
    Gone,
}

/// A path that takes part, as far as the first four steps and the kernel look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usable {
    /// Steps 1 to 4 as one number, of which less is better.
    pub(super) rank: u64,
    pub(super) set: AttrId,
    /// Step 7.
    cost: u32,
    /// The next hop that the kernel should hold for it; of a route of our own: see [`LocRib::own_target`].
    pub(super) target: Option<TargetId>,
    local: bool,
}

/// What the decision makes of a verdict and a source: worked out once for all routes of an UPDATE that share both.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) verdict: Verdict,
    pub(super) source: SourceId,
    /// Policy lets it in.
    pub(super) accepted: bool,
    pub(super) usable: Option<Usable>,
}

/// The last comparison of a candidate with a best path. Neighbouring prefixes mostly have the same, and nothing that it
/// depends on changes within an UPDATE.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastDuel(Option<([(Verdict, SourceId); 2], Joined)>);

/// What [`LocRib::bury`] took out.
#[derive(Clone, Copy, Default)]
pub(super) struct Buried {
    /// A path.
    pub(super) any: bool,
    /// The best one.
    pub(super) best: bool,
}

impl LocRib {
    pub(super) fn usable(&self, verdict: Verdict, source: SourceId) -> Result<Usable, Unusable> {
        let set = self.verdicts.post(verdict).map_err(|rule| rule.map_or(Unusable::Gone, Unusable::Refused))?;
        let (generation, _) = self.sources.resolve(source).filter(|(g, _)| !g.dead).ok_or(Unusable::Gone)?;
        let head = self.pool.head(set).ok_or(Unusable::Gone)?;
        let entry = self.next_hops.get(head.next_hop()).ok_or(Unusable::Gone)?;
        let resolved = entry.state.map_err(Unusable::NextHop)?;
        let local = generation.key.local;
        Ok(Usable { rank: head.rank(local), set, cost: resolved.cost, target: resolved.target, local })
    }

    pub(super) fn candidate(&self, verdict: Verdict, source: SourceId) -> Candidate {
        let usable = self.usable(verdict, source).ok();
        Candidate { verdict, source, accepted: self.accepted(verdict), usable }
    }

    /// What all steps look at.
    pub(super) fn key(&self, path: &Path) -> Result<PathKey, Unusable> {
        let usable = self.usable(path.verdict, path.source)?;
        self.key_of(&usable, path.source).ok_or(Unusable::Gone)
    }

    pub(super) fn key_of(&self, usable: &Usable, source: SourceId) -> Option<PathKey> {
        let (generation, path_id) = self.sources.resolve(source)?;
        let head = self.pool.head(usable.set)?;
        let (source, local_as) = (generation.key, self.speaker.local_as);
        if head.is_reflected() {
            return Some(PathKey::new(&self.pool.decode(usable.set), source, path_id, usable.cost, local_as));
        }
        Some(PathKey {
            local_pref: head.local_pref(),
            local: source.local,
            as_path_length: head.as_path_len(),
            origin: head.origin(),
            med: head.med(),
            med_group: head.med_group(local_as),
            external: source.external,
            interior_cost: usable.cost,
            identifier: source.identifier,
            cluster_list_length: 0,
            neighbor_address: source.address,
            path_id,
            peer: source.peer,
        })
    }

    /// False if a path like this cannot have had a say beside the best path there is.
    pub(super) fn may_matter(&self, id: DestId, verdict: Verdict, source: SourceId) -> bool {
        if !self.is_swept() {
            // The last decision may have seen another world.
            return true;
        }
        let best = self.table.get(id).and_then(|s| s.best()).and_then(|b| self.usable(b.verdict, b.source).ok());
        match (self.usable(verdict, source), best) {
            (Err(_), Some(_)) => false,
            (Ok(path), Some(best)) => path.rank <= best.rank,
            (_, None) => true,
        }
    }

    /// How a new path fares against the best one of the others.
    fn duel(&self, new: &Candidate, best: &Path, last: &mut LastDuel) -> Joined {
        let pair = [(new.verdict, new.source), (best.verdict, best.source)];
        if let Some((of, joined)) = last.0
            && of == pair
        {
            return joined;
        }
        let joined = match (&new.usable, self.usable(best.verdict, best.source)) {
            (None, _) => Joined::Loses,
            (Some(_), Err(_)) => Joined::Open,
            (Some(new), Ok(best)) if new.rank < best.rank => Joined::Wins,
            (Some(new), Ok(best)) if new.rank > best.rank => Joined::Loses,
            (Some(usable), Ok(best_usable)) => {
                let keys = (self.key_of(usable, new.source), self.key_of(&best_usable, best.source));
                if let (Some(new), Some(best)) = keys { decision::join(&new, &best) } else { Joined::Open }
            }
        };
        last.0 = Some((pair, joined));
        joined
    }

    /// Decides after the path at `at` came or changed. `old`: what stood there.
    pub(super) fn choose(
        &mut self,
        id: DestId,
        at: usize,
        new: &Candidate,
        last: &mut LastDuel,
        old: Option<Verdict>,
        buried: Buried,
    ) {
        if self.deferred {
            return;
        }
        let Some(slot) = self.table.get(id) else { return };
        if at > 0
            && !buried.any
            && self.is_swept()
            && let Some(best) = slot.best()
            && old.is_none_or(|old| !self.may_matter(id, old, new.source))
        {
            match self.duel(new, best, last) {
                Joined::Wins => return self.crown(id, new.usable.map(|usable| (at, usable)), false),
                // It may still be the one that takes over, or have been.
                Joined::Loses if old.is_none() && new.usable.is_none() => return,
                Joined::Loses => return self.others_changed(id),
                Joined::Open => {}
            }
        }
        let touched = buried.best || at == 0 && old.is_some() && slot.has_best();
        self.decide(id, touched);
    }

    /// Runs the decision process for one destination and takes over its result. `touched`: the best path itself is not
    /// what it was.
    pub(super) fn decide(&mut self, id: DestId, touched: bool) {
        self.note_paths(id);
        if self.deferred {
            return self.note_idle(id);
        }
        #[cfg(test)]
        {
            self.looked += 1;
        }
        let Some(slot) = self.table.get(id) else { return };
        let winner = if slot.extra > 0 {
            self.best_of_many(id)
        } else {
            // The rule: one path, or none.
            slot.head().and_then(|p| Some((0, self.usable(p.verdict, p.source).ok()?)))
        };
        self.crown(id, winner, touched);
    }

    fn best_of_many(&mut self, id: DestId) -> Option<(usize, Usable)> {
        let mut tied = std::mem::take(&mut self.tied);
        tied.clear();
        let mut least = u64::MAX;
        for (at, path) in self.paths(id).enumerate() {
            let Ok(usable) = self.usable(path.verdict, path.source) else { continue };
            if usable.rank < least {
                least = usable.rank;
                tied.clear();
            }
            if usable.rank == least {
                tied.push((at, usable, path.source));
            }
        }
        let best = self.best_of_tied(&tied);
        let winner = best.and_then(|b| tied.get(b)).map(|(at, usable, _)| (*at, *usable));
        self.tied = tied;
        winner
    }

    /// The winner among paths that tie at steps 1 to 4.
    pub(super) fn best_of_tied(&mut self, tied: &[(usize, Usable, SourceId)]) -> Option<usize> {
        if tied.len() < 2 {
            return (!tied.is_empty()).then_some(0);
        }
        let mut keys = std::mem::take(&mut self.keys);
        keys.clear();
        keys.extend(tied.iter().filter_map(|(_, usable, source)| self.key_of(usable, *source)));
        let best = decision::best_of_tied(&keys);
        self.keys = keys;
        best
    }

    /// Makes the path at a place the best one, or none; what follows for the FIB and for export.
    pub(super) fn crown(&mut self, id: DestId, winner: Option<(usize, Usable)>, touched: bool) {
        let target = match winner {
            Some((at, usable)) if usable.local => self.own_target(id, at),
            Some((_, usable)) => usable.target,
            None => None,
        };
        let Some(slot) = self.table.get_mut(id) else { return };
        let (had, best) = (slot.has_best(), winner.map(|(at, _)| at));
        if let Some(further) = best.and_then(|at| at.checked_sub(1))
            && let Some(path) = self.blocks.get_mut(slot.further, slot.extra).get_mut(further)
        {
            std::mem::swap(path, &mut slot.first);
        }
        slot.set_has_best(best.is_some());
        match (winner, target) {
            (Some((_, usable)), Some(alone)) if slot.extra > 0 && self.fib.has_kernel() && !usable.local => {
                if !self.want_as_last(id) {
                    self.want_beside_others(id, &usable, alone);
                }
            }
            _ => {
                self.fib.want(id, slot, target);
                if slot.is_idle() && !slot.note() {
                    self.idle.push(id);
                }
            }
        }
        if touched || if best == Some(0) { !had } else { had || best.is_some() } {
            self.changed.push(id);
        }
        if self.next_hops.has_recursive() {
            self.unsettle_inside(id);
        }
    }

    /// Next hops inside a destination that was decided may lead elsewhere now.
    fn unsettle_inside(&mut self, id: DestId) {
        let mut inside = std::mem::take(&mut self.inside);
        if let Some(prefix) = self.table.prefix(id) {
            self.next_hops.inside(&prefix, &mut inside);
        }
        inside.drain(..).for_each(|next_hop| self.unsettle(next_hop));
        self.inside = inside;
    }

    /// What the kernel should hold for a route of our own: an aggregate drops what nothing more specific takes, unless the
    /// subnet itself is on a link.
    fn own_target(&self, id: DestId, at: usize) -> Option<TargetId> {
        let (_, path_id) = self.sources.resolve(self.path(id, at)?.source)?;
        let discard = path_id == ANNOUNCED && !self.connected.has(&self.table.prefix(id)?);
        discard.then_some(self.discard)
    }

    /// The source of a path as export knows it.
    pub(super) fn export_source(&self, path: &Path) -> Option<u32> {
        let (generation, path_id) = self.sources.resolve(path.source)?;
        Some(self.source_number(generation, path_id))
    }

    fn source_number(&self, generation: &Generation, path_id: u32) -> u32 {
        match path_id {
            _ if generation.peer() != PeerId::LOCAL => generation.identity,
            ANNOUNCED if self.last_resort => LAST_RESORT,
            own => own,
        }
    }

    /// The usable paths of a destination, the best first, until `more` has enough. `ranked`: the others in order of
    /// preference; each is the winner of the decision among those that are left.
    pub(super) fn offer_paths(&self, id: DestId, ranked: bool, more: &mut dyn FnMut(OfferedPath) -> bool) {
        let offered = |path: &Path| {
            let (set, (generation, path_id)) =
                (self.verdicts.post(path.verdict).ok()?, self.sources.resolve(path.source)?);
            Some(OfferedPath { set, source: self.export_source(path)?, peer: generation.peer(), path_id })
        };
        let first = self.table.get(id).is_some_and(|s| s.has_best());
        let usable = |(at, path): (usize, &Path)| Some((self.key(path).ok()?, offered(path)?, at == 0 && first));
        if !ranked {
            for (_, path, _) in self.paths(id).enumerate().filter_map(usable) {
                if !more(path) {
                    return;
                }
            }
            return;
        }
        let best = self.paths(id).take(usize::from(first)).enumerate().find_map(usable);
        if best.is_some_and(|(_, path, _)| !more(path)) {
            return;
        }
        let (mut keys, mut left): (Vec<_>, Vec<_>) =
            self.paths(id).enumerate().filter_map(usable).filter(|u| !u.2).map(|(key, path, _)| (key, path)).unzip();
        let mut lost = Vec::new();
        while let Some(at) = decision::decide(&keys, &mut lost) {
            keys.remove(at);
            if !more(left.remove(at)) {
                return;
            }
        }
    }

    /// What may be said about a destination.
    pub(super) fn exportable(&self, id: DestId) -> Offer {
        let Some(slot) = self.table.get(id) else { return Offer::Withdrawn };
        let Some(path) = slot.best() else { return Offer::Withdrawn };
        let (Ok(set), Some((generation, path_id))) =
            (self.verdicts.post(path.verdict), self.sources.resolve(path.source))
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
        Offer::Route { set, source: self.source_number(generation, path_id) }
    }
}
