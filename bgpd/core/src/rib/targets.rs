//! What the kernel can be asked to hold, each distinct target once and named by a number.
//!
//! Targets are few (as many as pairs of neighbours), wants are many: a want is a number of four octets. A target is made of
//! others: a set of members of a member and the set without it, a target with a backup of the one without it and the
//! backup's next hop. So to find one is to look a few numbers up, and nothing is allocated for a prefix; and that two wants
//! differ in nothing but the backup is told by a number ([`Targets::active`]).
//!
//! The members of a set are added in the order of their numbers, so that equal sets are one target.
//!
//! Invariant: a target holds a reference to each that it is made of.

use std::collections::HashMap;
use std::num::NonZeroU32;

use super::arena::Arena;
use super::fate::Fate;
use super::hash::FoldState;
use super::types::{FibTarget, ResolvedNextHop, WeightedNextHop};

/// Names a [`FibTarget`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct TargetId(NonZeroU32);

impl TargetId {
    fn index(self) -> u32 {
        self.0.get() - 1
    }
}

/// What a target is made of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
enum Made {
    #[default]
    Discard,
    /// One next hop of weight 1.
    Hop(ResolvedNextHop),
    /// A next hop of another weight.
    Weighted(TargetId, u16),
    /// A set, and one member more.
    And(TargetId, TargetId),
    /// What is used, and the next hop that takes over.
    Backed(TargetId, TargetId),
}

/// `None`: a free place.
#[derive(Clone, Default, Debug)]
struct Kept {
    target: Option<FibTarget>,
    made: Made,
    refs: u32,
    /// Of one next hop.
    fate: Fate,
}

/// Each distinct target once.
#[derive(Debug)]
pub(super) struct Targets {
    kept: Arena<Kept>,
    by_made: HashMap<Made, TargetId, FoldState>,
    /// The last pair asked for: neighbouring prefixes mostly have the same.
    last: Option<(TargetId, TargetId, TargetId)>,
}

impl Targets {
    pub(super) fn new(seed: u64) -> Targets {
        Targets { kept: Arena::default(), by_made: HashMap::with_hasher(FoldState::new(seed)), last: None }
    }

    fn kept(&self, id: TargetId) -> Option<&Kept> {
        self.kept.get(id.index())
    }

    pub(super) fn get(&self, id: TargetId) -> Option<&FibTarget> {
        self.kept(id)?.target.as_ref()
    }

    /// The target's number; the caller holds one reference to it.
    fn intern(&mut self, made: Made, fate: Fate) -> TargetId {
        if let Some(&id) = self.by_made.get(&made) {
            self.retain(id);
            return id;
        }
        let target = Some(self.whole(made));
        let at = self.kept.insert(Kept { target, made, refs: 1, fate });
        let id = TargetId(NonZeroU32::MIN.saturating_add(at));
        if let Made::And(of, with) | Made::Backed(of, with) = made {
            self.retain(of);
            self.retain(with);
        }
        if let Made::Weighted(of, _) = made {
            self.retain(of);
        }
        self.by_made.insert(made, id);
        id
    }

    /// A target in full.
    fn whole(&self, made: Made) -> FibTarget {
        let forward = |mut active: Vec<WeightedNextHop>, backup| {
            active.sort_unstable();
            FibTarget::Forward { active, backup }
        };
        match made {
            Made::Discard => FibTarget::Discard,
            Made::Hop(hop) => forward(vec![WeightedNextHop { hop, weight: 1 }], None),
            Made::Weighted(of, weight) => {
                let weighted = |m: &WeightedNextHop| WeightedNextHop { weight, ..*m };
                forward(self.members(of).iter().map(weighted).collect(), None)
            }
            Made::And(set, member) => forward([self.members(set), self.members(member)].concat(), None),
            Made::Backed(active, backup) => forward(self.members(active).to_vec(), self.hop_of(backup)),
        }
    }

    fn members(&self, id: TargetId) -> &[WeightedNextHop] {
        match self.get(id) {
            Some(FibTarget::Forward { active, .. }) => active,
            _ => &[],
        }
    }

    /// Drop what comes; the caller holds a reference, as to what all the others below give.
    pub(super) fn discard(&mut self) -> TargetId {
        self.intern(Made::Discard, Fate::default())
    }

    /// One next hop. `fate`: where it is new.
    pub(super) fn hop(&mut self, hop: ResolvedNextHop, fate: impl FnOnce() -> Fate) -> TargetId {
        match self.by_made.get(&Made::Hop(hop)) {
            Some(&id) => {
                self.retain(id);
                id
            }
            None => self.intern(Made::Hop(hop), fate()),
        }
    }

    /// Several next hops with their weights, in whatever order; at least one.
    pub(super) fn set(&mut self, members: &mut [(TargetId, u16)]) -> Option<TargetId> {
        members.sort_unstable();
        let mut set = None;
        for &(hop, weight) in members.iter() {
            let member = if weight == 1 {
                self.retain(hop);
                hop
            } else {
                self.intern(Made::Weighted(hop, weight), Fate::default())
            };
            let before = set.replace(member);
            if let Some(before) = before {
                set = Some(self.intern(Made::And(before, member), Fate::default()));
                self.release(before);
                self.release(member);
            }
        }
        set
    }

    /// `active` as it is, and the next hop that takes over.
    pub(super) fn backed(&mut self, active: TargetId, backup: TargetId) -> TargetId {
        if let Some((a, b, made)) = self.last
            && (a, b) == (active, backup)
        {
            self.retain(made);
            return made;
        }
        let made = self.intern(Made::Backed(active, backup), Fate::default());
        self.last = Some((active, backup, made));
        made
    }

    /// The target without its backup.
    pub(super) fn active(&self, id: TargetId) -> TargetId {
        match self.kept(id).map(|k| k.made) {
            Some(Made::Backed(active, _)) => active,
            _ => id,
        }
    }

    /// The next hop of a target that is one next hop.
    pub(super) fn hop_of(&self, id: TargetId) -> Option<ResolvedNextHop> {
        match self.kept(id)?.made {
            Made::Hop(hop) => Some(hop),
            _ => None,
        }
    }

    /// True if one next hop and any of the others would be lost together.
    #[inline]
    pub(super) fn share_fate(&self, hop: TargetId, others: &[TargetId]) -> bool {
        let fate = |id| self.kept(id).map(|k| k.fate);
        others.iter().any(|other| fate(*other) == fate(hop))
    }

    /// Gives each next hop the fate that `of` knows for its interface, if it does; true: some have another now.
    pub(super) fn set_fates(&mut self, of: impl Fn(u32) -> Option<Fate>) -> bool {
        let mut changed = false;
        for at in 0..self.kept.places() {
            if let Some(kept) = self.kept.get_mut(at)
                && let Made::Hop(hop) = kept.made
                && let Some(fate) = of(hop.ifindex)
            {
                changed |= kept.fate != fate;
                kept.fate = fate;
            }
        }
        changed
    }

    #[inline]
    pub(super) fn retain(&mut self, id: TargetId) {
        if let Some(kept) = self.kept.get_mut(id.index()) {
            kept.refs += 1;
        }
    }

    #[inline]
    pub(super) fn release(&mut self, id: TargetId) {
        let Some(kept) = self.kept.get_mut(id.index()) else { return };
        kept.refs -= 1;
        if kept.refs == 0 {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: TargetId) {
        let Some(kept) = self.kept.get_mut(id.index()) else { return };
        let made = std::mem::take(kept).made;
        self.by_made.remove(&made);
        self.kept.free(id.index());
        self.last = self.last.filter(|(_, _, made)| *made != id);
        if let Made::And(of, with) | Made::Backed(of, with) = made {
            self.release(of);
            self.release(with);
        }
        if let Made::Weighted(of, _) = made {
            self.release(of);
        }
    }

    /// Distinct targets.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_made.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(targets: &mut Targets, n: u8) -> TargetId {
        let gateway = Some([192, 0, 2, n].into());
        let hop = ResolvedNextHop { gateway, ifindex: n.into(), through: None };
        targets.hop(hop, || Fate::alone(n.into()))
    }

    #[test]
    fn equal_targets_are_one_however_they_were_made_and_go_with_their_last_user() {
        let mut targets = Targets::new(1);
        let hops: Vec<TargetId> = (1..=3).map(|n| hop(&mut targets, n)).collect();
        let one = targets.set(&mut [(hops[2], 1), (hops[0], 3), (hops[1], 1)]).unwrap();
        let two = targets.set(&mut [(hops[0], 3), (hops[1], 1), (hops[2], 1)]).unwrap();
        assert_eq!(one, two);
        let Some(FibTarget::Forward { active, backup: None }) = targets.get(one).cloned() else { panic!("forwards") };
        assert_eq!(active.iter().map(|m| (m.hop.ifindex, m.weight)).collect::<Vec<_>>(), [(1, 3), (2, 1), (3, 1)]);
        let backed = targets.backed(hops[0], hops[1]);
        assert_eq!(targets.backed(hops[0], hops[1]), backed);
        assert_eq!((targets.active(backed), targets.active(one)), (hops[0], one));
        assert_eq!(targets.set(&mut [(hops[1], 1)]), Some(hops[1]));
        for id in [one, two, backed, backed, hops[0], hops[1], hops[1], hops[2]] {
            targets.release(id);
        }
        assert_eq!(targets.len(), 0);
        // The numbers serve again, and nothing of what they named is left.
        let (a, b) = (hop(&mut targets, 4), hop(&mut targets, 5));
        let again = targets.backed(a, b);
        let text = format!("{:?}", targets.get(again));
        assert!(text.contains("192.0.2.4") && text.contains("192.0.2.5") && !text.contains("192.0.2.1,"), "{text}");
    }

    #[test]
    fn fates_follow_their_interfaces() {
        let mut targets = Targets::new(1);
        let (a, b) = (hop(&mut targets, 1), hop(&mut targets, 2));
        assert!(!targets.share_fate(a, &[b]) && targets.share_fate(a, &[b, a]));
        assert!(targets.set_fates(|_| Some(Fate::duct(7))));
        assert!(targets.share_fate(a, &[b]));
        assert!(!targets.set_fates(|ifindex| (ifindex == 1).then(|| Fate::duct(7))));
    }
}
