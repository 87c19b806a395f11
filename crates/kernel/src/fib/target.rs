//! Where a route leads, in a canonical form: two targets that mean the same are equal.

use crate::nexthop::NextHop;

/// The greatest weight of a next hop: the kernel's is 256, and the upper half of that tells a group with a backup from one
/// without (see `form.rs`).
pub const MAX_WEIGHT: u16 = 128;

/// A next hop and its share of the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WeightedHop {
    /// The next hop.
    pub hop: NextHop,
    /// Its share beside the others', 1 to [`MAX_WEIGHT`].
    pub weight: u16,
}

/// Where a route leads. Made by [`RouteTarget::next_hops`] and [`RouteTarget::forward`], which see to the canonical form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteTarget {
    /// To next hops.
    Forward {
        /// At least one; sorted, distinct, weights without a common divisor.
        active: Vec<WeightedHop>,
        /// Takes over when the last of the active ones is lost; none of these.
        backup: Option<NextHop>,
    },
    /// Drop (a blackhole object).
    Discard,
}

impl RouteTarget {
    /// Equal shares, no backup. None at all is a discard.
    pub fn next_hops(hops: Vec<NextHop>) -> RouteTarget {
        RouteTarget::forward(hops.into_iter().map(|hop| WeightedHop { hop, weight: 1 }).collect(), None)
    }

    /// Shares by weight. Of a hop named twice the greater weight counts; weights beyond [`MAX_WEIGHT`] are scaled down
    /// together. No active one: the backup is active; nor a backup: a discard.
    pub fn forward(mut active: Vec<WeightedHop>, backup: Option<NextHop>) -> RouteTarget {
        active.sort_unstable_by_key(|h| (h.hop, std::cmp::Reverse(h.weight)));
        active.dedup_by_key(|h| h.hop);
        let backup = backup.filter(|b| active.iter().all(|h| h.hop != *b));
        if active.is_empty() {
            let Some(hop) = backup else { return RouteTarget::Discard };
            return RouteTarget::Forward { active: vec![WeightedHop { hop, weight: 1 }], backup: None };
        }
        let most = active.iter().map(|h| h.weight).max().unwrap_or(1);
        for h in &mut active {
            if most > MAX_WEIGHT {
                h.weight = (u32::from(h.weight) * u32::from(MAX_WEIGHT)).div_ceil(u32::from(most)) as u16;
            }
            h.weight = h.weight.max(1);
        }
        let divisor = active.iter().fold(0, |d, h| gcd(d, h.weight)).max(1);
        active.iter_mut().for_each(|h| h.weight /= divisor);
        RouteTarget::Forward { active, backup }
    }

    /// Its active next hops; none for a discard.
    pub fn active(&self) -> &[WeightedHop] {
        match self {
            RouteTarget::Forward { active, .. } => active,
            RouteTarget::Discard => &[],
        }
    }

    /// Its backup.
    pub fn backup(&self) -> Option<NextHop> {
        match self {
            RouteTarget::Forward { backup, .. } => *backup,
            RouteTarget::Discard => None,
        }
    }

    /// All its next hops, the backup last.
    pub fn hops(&self) -> impl Iterator<Item = NextHop> {
        self.active().iter().map(|h| h.hop).chain(self.backup())
    }
}

fn gcd(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_that_mean_the_same_are_equal() {
        let hop = |ifindex| NextHop { gateway: None, ifindex, through: None };
        let weighted = |ifindex, weight| WeightedHop { hop: hop(ifindex), weight };
        let of = |hops: &[(u32, u16)], backup: Option<u32>| {
            RouteTarget::forward(hops.iter().map(|(i, w)| weighted(*i, *w)).collect(), backup.map(hop))
        };
        assert_eq!(of(&[(2, 4), (1, 2), (2, 1)], None), of(&[(1, 1), (2, 2)], None));
        assert_eq!(of(&[(1, 7)], Some(1)), RouteTarget::next_hops(vec![hop(1)]));
        assert_eq!(of(&[], Some(1)), RouteTarget::next_hops(vec![hop(1)]));
        assert_eq!(of(&[], None), RouteTarget::Discard);
        assert_eq!(of(&[(1, 1000), (2, 10)], None).active(), [weighted(1, 64), weighted(2, 1)]);
        assert_eq!(of(&[(1, 0), (2, 0)], None), of(&[(1, 1), (2, 1)], None));
        assert_eq!(of(&[(1, 1)], Some(2)).hops().collect::<Vec<_>>(), [hop(1), hop(2)]);
    }
}
