//! What the kernel should hold for a destination with several paths: the next hops in use, and the one that takes over.
//!
//! In use is the best path's next hop and, with multipath, those of the paths that steps 1 to 7 of [`super::decision`] cannot
//! tell from it (MED as step 5 has it), of the same AS_PATH or only the same length as the configuration says; the first so
//! many in the order of the remaining steps, each next hop once. Their shares are equal, or go by the link bandwidth
//! community (draft-ietf-idr-link-bandwidth) where each of them has one.
//!
//! The backup is the path that the decision would choose if everything that shares a fate with a next hop in use were gone
//! ([`super::fate`]); where nothing would be left, the one that it would choose if only these next hops were gone.
//!
//! This is looked at where a kernel table is kept, and for destinations with several paths. What is announced does not
//! depend on it.
//!
//! Invariant: once the sweep is idle each want is what this says of the paths there are: every change of a path of the
//! destination comes here, those too that the short cuts of [`super::choose`] find to change nothing about the best path.

use bgp_wire::PathAttributes;

use super::choose::Usable;
use super::decision;
use super::ids::DestId;
use super::loc_rib::LocRib;
use super::paths::Path;
use super::sources::SourceId;
use super::targets::TargetId;
use super::types::{Backup, FibTarget, ResolvedNextHop};
use super::verdicts::Verdict;

/// Most paths of a destination that [`LastWant`] remembers.
const REMEMBERED: usize = 8;

/// The paths last looked at and what came of them. Neighbouring prefixes mostly have the same; whoever changes what the
/// answer depends on (next hops, what numbers of verdicts and sources mean, the configuration) forgets it, and so does the
/// end of each call.
#[derive(Default, Debug)]
pub(super) struct LastWant {
    paths: [(Verdict, SourceId); REMEMBERED],
    /// How many; none: nothing is remembered.
    len: usize,
    /// With a reference.
    target: Option<TargetId>,
}

impl LastWant {
    fn of(first: &Path, further: &[Path]) -> Option<LastWant> {
        let mut last = LastWant { len: further.len() + 1, ..LastWant::default() };
        let places = last.paths.get_mut(..further.len() + 1)?;
        for (place, path) in places.iter_mut().zip(std::iter::once(first).chain(further)) {
            *place = (path.verdict, path.source);
        }
        Some(last)
    }

    #[inline]
    fn is_of(&self, first: &Path, further: &[Path]) -> bool {
        let Some((one, others)) = self.paths.get(..self.len).and_then(|paths| paths.split_first()) else {
            return false;
        };
        let same = |(of, path): (&(Verdict, SourceId), &Path)| *of == (path.verdict, path.source);
        others.len() == further.len() && same((one, first)) && others.iter().zip(further).all(same)
    }
}

/// The largest share of the traffic, as the kernel's next-hop groups have it.
const MOST_WEIGHT: u16 = 256;

impl LocRib {
    /// The best path of a destination is what it was; others came, changed or went.
    pub(super) fn others_changed(&mut self, id: DestId) {
        if self.deferred || !self.fib.has_kernel() || self.want_as_last(id) {
            return;
        }
        let best = self.table.get(id).and_then(|s| s.best()).copied();
        let Some(usable) = best.and_then(|b| self.usable(b.verdict, b.source).ok()) else { return };
        if let Some(alone) = usable.target {
            self.want_beside_others(id, &usable, alone);
        }
    }

    /// Wants what the last destination wants, if it has the same paths in the same order, the best one first.
    #[inline]
    pub(super) fn want_as_last(&mut self, id: DestId) -> bool {
        let Some(slot) = self.table.get_mut(id).filter(|s| s.has_best()) else { return false };
        if !self.last_want.is_of(&slot.first, self.blocks.get(slot.further, slot.extra)) {
            return false;
        }
        self.fib.want(id, slot, self.last_want.target);
        true
    }

    /// What [`LastWant`] depends on changes.
    #[inline]
    pub(super) fn forget_last_want(&mut self) {
        self.last_want.len = 0;
        if let Some(target) = self.last_want.target.take() {
            self.fib.targets.release(target);
        }
    }

    /// Wants what follows from the best path, which stands first, and the others.
    pub(super) fn want_beside_others(&mut self, id: DestId, best: &Usable, alone: TargetId) {
        self.forget_last_want();
        let most = self.table.get(id).and_then(|s| s.best()).map_or(1, |best| self.most_equal(best.source));
        let target = if most > 1 {
            self.with_equals(id, best, alone, most)
        } else {
            let backup = self.backup_of(id, &[alone]);
            self.backed(alone, backup)
        };
        if let Some(slot) = self.table.get_mut(id) {
            self.fib.want(id, slot, Some(target));
            if let Some(last) = LastWant::of(&slot.first, self.blocks.get(slot.further, slot.extra)) {
                self.last_want = LastWant { target: Some(target), ..last };
                return;
            }
        }
        self.fib.targets.release(target);
    }

    /// The target with its backup, if there is one; the caller holds a reference to it.
    fn backed(&mut self, active: TargetId, backup: Option<TargetId>) -> TargetId {
        match backup {
            Some(backup) => self.fib.targets.backed(active, backup),
            None => {
                self.fib.targets.retain(active);
                active
            }
        }
    }

    /// The next hop that takes over from these.
    fn backup_of(&mut self, id: DestId, active: &[TargetId]) -> Option<TargetId> {
        let mut tied = std::mem::take(&mut self.tied);
        tied.clear();
        let mut least = (true, u64::MAX);
        for (at, path) in self.paths(id).enumerate().skip(1) {
            let Ok(usable) = self.usable(path.verdict, path.source) else { continue };
            let Some(target) = usable.target.filter(|t| !active.contains(t)) else { continue };
            let rank = (self.fib.targets.share_fate(target, active), usable.rank);
            if rank < least {
                least = rank;
                tied.clear();
            }
            if rank == least {
                tied.push((at, usable, path.source));
            }
        }
        let backup = self.best_of_tied(&tied).and_then(|at| tied.get(at)?.1.target);
        self.tied = tied;
        backup
    }

    /// How many paths of this one's kind may be used at a time.
    fn most_equal(&self, source: SourceId) -> u16 {
        let multipath = &self.speaker.multipath;
        let external = self.sources.resolve(source).is_some_and(|(g, _)| g.key.external);
        if external { multipath.ebgp.get() } else { multipath.ibgp.get() }
    }

    /// As [`LocRib::want_beside_others`] has it, with multipath.
    fn with_equals(&mut self, id: DestId, best: &Usable, alone: TargetId, most: u16) -> TargetId {
        let mut tied = Vec::new();
        for (at, path) in self.paths(id).enumerate() {
            let Ok(usable) = self.usable(path.verdict, path.source) else { continue };
            if usable.rank == best.rank {
                tied.extend(self.key_of(&usable, path.source).map(|key| (key, at, usable)));
            }
        }
        let keys: Vec<_> = tied.iter().map(|(key, ..)| *key).collect();
        let like_best = self.pool.decode(best.set).as_path;
        let mut members: Vec<(TargetId, PathAttributes)> = Vec::new();
        for (_, at, usable) in decision::equals_of_tied(&keys).into_iter().filter_map(|at| tied.get(at)) {
            let Some(target) = usable.target.filter(|t| members.iter().all(|(of, _)| of != t)) else { continue };
            let attributes = self.pool.decode(usable.set);
            // The best path is the first of its equals.
            if *at == 0 || self.speaker.multipath.relax_as_path || attributes.as_path == like_best {
                members.push((target, attributes));
            }
            if members.len() >= usize::from(most) {
                break;
            }
        }
        let mut weighted: Vec<(TargetId, u16)> = members.iter().map(|(target, _)| (*target, 1)).collect();
        if self.speaker.multipath.link_bandwidth
            && let Some(bandwidths) = members.iter().map(|(_, a)| link_bandwidth(a)).collect::<Option<Vec<f32>>>()
        {
            let shares = shares(&bandwidths);
            weighted.iter_mut().zip(shares).for_each(|((_, weight), share)| *weight = share);
        }
        let active: Vec<TargetId> = weighted.iter().map(|(target, _)| *target).collect();
        let set = self.fib.targets.set(&mut weighted).unwrap_or_else(|| {
            self.fib.targets.retain(alone);
            alone
        });
        let backup = self.backup_of(id, &active);
        let target = self.backed(set, backup);
        self.fib.targets.release(set);
        target
    }

    /// The backup of a target, and whether it may be lost with what is in use.
    pub(super) fn backup(&self, target: &FibTarget) -> Option<Backup> {
        let hop = target.backup()?;
        let own = self.interface(hop.ifindex);
        let shares = |other: &ResolvedNextHop| self.speaker.ducts.shared_fate(&own, &self.interface(other.ifindex));
        let shared_fate = target.active().iter().find_map(|m| shares(&m.hop)).unwrap_or_default();
        Some(Backup { hop, shared_fate })
    }

    /// An interface's name, or its number where it is gone.
    pub(super) fn interface(&self, ifindex: u32) -> String {
        let row = self.connected_table.iter().find(|c| c.ifindex == ifindex);
        row.map_or_else(|| format!("#{ifindex}"), |c| c.ifname.clone())
    }
}

/// Octets a second by the link bandwidth community: type 0x40 (or, transitive, 0x00), sub-type 0x04, two octets of an AS number,
/// an IEEE float. The least where there are several; one that is no positive number says nothing.
fn link_bandwidth(attributes: &PathAttributes) -> Option<f32> {
    let of = |octets: [u8; 8]| match octets {
        [0x40 | 0x00, 0x04, _, _, value @ ..] => Some(f32::from_be_bytes(value)).filter(|b| b.is_finite() && *b > 0.0),
        _ => None,
    };
    attributes.extended_communities.iter().filter_map(|c| of(c.0)).reduce(f32::min)
}

/// Shares in proportion to these, from 1 to 256 and no larger than they need be.
fn shares(bandwidths: &[f32]) -> Vec<u16> {
    let most = bandwidths.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let share = |b: f32| (f64::from(b) / f64::from(most) * f64::from(MOST_WEIGHT)).round() as u16;
    let shares: Vec<u16> = bandwidths.iter().map(|b| share(*b).clamp(1, MOST_WEIGHT)).collect();
    let divisor = shares.iter().copied().fold(0, common_divisor).max(1);
    shares.into_iter().map(|share| share / divisor).collect()
}

fn common_divisor(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bgp_wire::ExtendedCommunity;

    #[test]
    fn draft_ietf_idr_link_bandwidth_shares_are_in_proportion_and_small() {
        assert_eq!(shares(&[1.25e9, 1.25e9]), [1, 1]);
        assert_eq!(shares(&[1.25e9, 1.25e10]), [13, 128]);
        assert_eq!(shares(&[2.0, 1.0, 1.0]), [2, 1, 1]);
        assert_eq!(shares(&[f32::MAX, f32::MIN_POSITIVE]), [256, 1]);
        assert_eq!(shares(&[3.0]), [1]);
    }

    #[test]
    fn draft_ietf_idr_link_bandwidth_is_a_float_behind_an_as_number() {
        let with = |all: &[(u8, u8, f32)]| {
            let one = |(kind, sub, value): &(u8, u8, f32)| {
                let [a, b, c, d] = value.to_be_bytes();
                ExtendedCommunity([*kind, *sub, 0xfb, 0xf4, a, b, c, d])
            };
            let extended_communities = all.iter().map(one).collect();
            link_bandwidth(&PathAttributes { extended_communities, ..PathAttributes::default() })
        };
        assert_eq!(with(&[(0x40, 0x04, 1.25e9)]), Some(1.25e9));
        assert_eq!(with(&[(0x40, 0x04, 1.25e9), (0x40, 0x04, 1.0)]), Some(1.0));
        assert_eq!(with(&[]), None);
        for (kind, sub, value) in [(0x40, 0x02, 1.0), (0x03, 0x04, 1.0), (0x40, 0x04, -1.0), (0x40, 0x04, f32::NAN)] {
            assert_eq!(with(&[(kind, sub, value)]), None);
        }
        assert_eq!(with(&[(0x40, 0x04, 0.0), (0x40, 0x04, f32::INFINITY)]), None);
    }
}
