//! Which next hops are lost, and what is left of a target.

use super::target::{RouteTarget, WeightedHop};
use crate::nexthop::NextHop;
use std::collections::{BTreeMap, BTreeSet};

/// Why a next hop is not to be used. It is lost while any reason stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LossReason {
    /// Its link is down, or up for too short a time.
    LinkDown,
    /// BFD says that the way is broken (RFC 5880).
    BfdDown,
    /// The BGP session ended.
    SessionDown,
    /// Its link-layer address cannot be found.
    NeighborFailed,
    /// The operator takes it out.
    Drained,
    /// The route to it is gone, or leads elsewhere.
    Unresolved,
    /// The kernel refuses its object.
    Refused,
}

impl LossReason {
    const ALL: [LossReason; 7] = [
        LossReason::LinkDown,
        LossReason::BfdDown,
        LossReason::SessionDown,
        LossReason::NeighborFailed,
        LossReason::Drained,
        LossReason::Unresolved,
        LossReason::Refused,
    ];

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// How badly: what is better is used, the worse not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Well,
    /// Somebody says so; the kernel would send there.
    Lost,
    /// The kernel cannot send there.
    Dead,
}

/// All losses.
#[derive(Clone, Debug, Default)]
pub(super) struct Losses {
    reasons: BTreeMap<NextHop, u8>,
    /// Links that are down, or back but not yet to be used.
    held: BTreeSet<u32>,
    /// Links that are down.
    dead: BTreeSet<u32>,
}

impl Losses {
    /// True if that is news.
    pub(super) fn lose(&mut self, hop: NextHop, reason: LossReason) -> bool {
        let reasons = self.reasons.entry(hop).or_default();
        let before = std::mem::replace(reasons, *reasons | reason.bit());
        before != *reasons
    }

    /// True if that is news.
    pub(super) fn regain(&mut self, hop: NextHop, reason: LossReason) -> bool {
        let Some(reasons) = self.reasons.get_mut(&hop) else { return false };
        let before = std::mem::replace(reasons, *reasons & !reason.bit());
        let news = before != *reasons;
        if *reasons == 0 {
            self.reasons.remove(&hop);
        }
        news
    }

    pub(super) fn lose_link(&mut self, ifindex: u32) {
        self.held.insert(ifindex);
        self.dead.insert(ifindex);
    }

    /// The kernel can use it; that is not to say that we do.
    pub(super) fn link_up(&mut self, ifindex: u32) {
        self.dead.remove(&ifindex);
    }

    pub(super) fn regain_link(&mut self, ifindex: u32) {
        self.dead.remove(&ifindex);
        self.held.remove(&ifindex);
    }

    /// What the kernel refused may be tried again; true if there was any.
    pub(super) fn forget_refusals(&mut self) -> bool {
        let bit = LossReason::Refused.bit();
        let any = self.reasons.values().any(|r| r & bit != 0);
        self.reasons.retain(|_, reasons| {
            *reasons &= !bit;
            *reasons != 0
        });
        any
    }

    pub(super) fn level(&self, hop: &NextHop) -> Level {
        let reasons = self.reasons.get(hop).copied().unwrap_or(0);
        if self.dead.contains(&hop.ifindex) || reasons & LossReason::Refused.bit() != 0 {
            Level::Dead
        } else if reasons != 0 || self.held.contains(&hop.ifindex) {
            Level::Lost
        } else {
            Level::Well
        }
    }

    pub(super) fn reasons(&self, hop: &NextHop) -> Vec<LossReason> {
        let bits = self.reasons.get(hop).copied().unwrap_or(0);
        let link = self.held.contains(&hop.ifindex);
        let stands = |r: &LossReason| bits & r.bit() != 0 || (*r == LossReason::LinkDown && link);
        LossReason::ALL.into_iter().filter(stands).collect()
    }

    /// What of a target can be used: its best hops, whatever that means at the moment. If all are lost, that is all.
    pub(super) fn left_of(&self, target: &RouteTarget) -> RouteTarget {
        if self.reasons.is_empty() && self.held.is_empty() {
            return target.clone();
        }
        let Some(best) = target.hops().map(|h| self.level(&h)).min() else { return target.clone() };
        let good = |hop: &NextHop| self.level(hop) == best;
        let active: Vec<WeightedHop> = target.active().iter().filter(|h| good(&h.hop)).copied().collect();
        RouteTarget::forward(active, target.backup().filter(good))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_is_lost_while_any_reason_stands_and_the_best_are_used() {
        let (a, b) = (
            NextHop { gateway: None, ifindex: 1, through: None },
            NextHop { gateway: None, ifindex: 2, through: None },
        );
        let target = RouteTarget::forward(vec![WeightedHop { hop: a, weight: 1 }], Some(b));
        let only = |hop| RouteTarget::next_hops(vec![hop]);
        let mut losses = Losses::default();
        assert_eq!(losses.left_of(&target), target);
        assert!(losses.lose(a, LossReason::BfdDown) && losses.lose(a, LossReason::Drained));
        assert!(!losses.lose(a, LossReason::Drained));
        assert_eq!(losses.left_of(&target), only(b));
        losses.regain(a, LossReason::BfdDown);
        assert_eq!((losses.left_of(&target), losses.reasons(&a)), (only(b), vec![LossReason::Drained]));
        losses.lose_link(2);
        assert_eq!(losses.left_of(&target), only(a), "rather a drained one than a dead one");
        losses.link_up(2);
        assert_eq!(losses.left_of(&target), target, "all are lost alike");
        losses.regain(a, LossReason::Drained);
        assert_eq!(losses.left_of(&target), only(a), "a link that is back waits");
        losses.regain_link(2);
        assert_eq!(losses.left_of(&target), target);
        losses.lose(b, LossReason::Refused);
        assert!(losses.forget_refusals() && !losses.forget_refusals());
    }
}
