//! How a target stands in the kernel: as a single object, or as a resilient group of member objects.
//!
//! A group's buckets are owned by its members in proportion to their weights, rounded. A backup is the last member, of so
//! small a weight that it owns no bucket: the kernel gives it one only when no active member is left. With one active
//! member one bucket does, which moves as a whole; with several there are [`BUCKETS`], and what a lost member owned moves
//! while the others' flows stay. See docs/adr/0016.
//!
//! Invariants: the number of buckets stays for the life of an object; a group with a backup has a weight above
//! [`MAX_WEIGHT`], one without has none, so what stands can be read back after a restart.

use super::target::{MAX_WEIGHT, RouteTarget, WeightedHop};
use crate::nexthop::NextHop;

/// Buckets of a group with several active members: a share is true to half a bucket, 0.4 % of the traffic. More would not
/// leave a backup of weight 1 beside a single member of weight 256 without any.
pub(super) const BUCKETS: u16 = 128;
/// The kernel's greatest weight (16 bits only since Linux 6.12).
const KERNEL_WEIGHT: u16 = 256;

/// The way in which objects of a target stand, each with its share, in the kernel's order.
pub(super) type Shape = Vec<(NextHop, u16)>;

/// `idle_timer` and `unbalanced_timer`, in hundredths of a second.
///
/// One active member: what returns takes over at once. Several: a member that returns gets buckets that were idle for a second, so
/// that no flow's packets overtake one another; after a minute also busy ones, so that shares are right in the end.
pub(super) fn timers(target: &RouteTarget) -> (u32, u32) {
    if target.active().len() > 1 { (100, 6000) } else { (0, 0) }
}

/// True if routes hang on a single object; a protected route never does, as that object would take it along.
pub(super) fn is_single(target: &RouteTarget) -> bool {
    target.active().len() <= 1 && target.backup().is_none()
}

/// Buckets of a new group.
pub(super) fn buckets(target: &RouteTarget) -> u16 {
    if target.active().len() > 1 { BUCKETS } else { 1 }
}

/// True if a standing group of so many buckets can be made to carry the target.
pub(super) fn fits(target: &RouteTarget, buckets: u16) -> bool {
    match target.active().len() {
        0 => false,
        1 => (1..=BUCKETS).contains(&buckets),
        _ => buckets == BUCKETS,
    }
}

/// The members of a group.
pub(super) fn shape(target: &RouteTarget) -> Shape {
    let most = target.active().iter().map(|h| h.weight).max().unwrap_or(1).max(1);
    let scale = if target.backup().is_some() { KERNEL_WEIGHT / most } else { 1 };
    let active = target.active().iter().map(|h| (h.hop, h.weight * scale));
    active.chain(target.backup().map(|b| (b, 1))).collect()
}

/// What a group that stands is for.
pub(super) fn target_of(shape: &[(NextHop, u16)]) -> RouteTarget {
    let weighted =
        |members: &[(NextHop, u16)]| members.iter().map(|&(hop, weight)| WeightedHop { hop, weight }).collect();
    match shape {
        [others @ .., (backup, 1)] if others.iter().any(|(_, w)| *w > MAX_WEIGHT) => {
            RouteTarget::forward(weighted(others), Some(*backup))
        }
        all => RouteTarget::forward(weighted(all), None),
    }
}

/// How many buckets each member owns when all is balanced: `nh_res_group_rebalance` of the kernel.
pub(super) fn shares(shape: &[(NextHop, u16)], buckets: u16) -> Vec<(NextHop, u32)> {
    let total: u32 = shape.iter().map(|(_, w)| u32::from(*w)).sum::<u32>().max(1);
    let (mut sum, mut before) = (0, 0);
    let share = |&(hop, weight): &(NextHop, u16)| {
        sum += u32::from(weight);
        // DIV_ROUND_CLOSEST
        let bound = (u32::from(buckets) * sum + total / 2) / total;
        let owned = bound - before;
        before = bound;
        (hop, owned)
    };
    shape.iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(ifindex: u32) -> NextHop {
        NextHop { gateway: None, ifindex, through: None }
    }

    fn target(weights: &[u16], backup: bool) -> RouteTarget {
        let active = weights.iter().zip(1..).map(|(w, i)| WeightedHop { hop: hop(i), weight: *w }).collect();
        RouteTarget::forward(active, backup.then(|| hop(99)))
    }

    fn owned(target: &RouteTarget) -> Vec<u32> {
        shares(&shape(target), buckets(target)).into_iter().map(|(_, n)| n).collect()
    }

    #[test]
    fn a_backup_owns_no_bucket_and_weights_are_true_to_half_a_bucket() {
        assert_eq!(owned(&target(&[1], true)), [1, 0]);
        assert_eq!(owned(&target(&[1, 1], true)), [64, 64, 0]);
        assert_eq!(owned(&target(&[1, 2], false)), [43, 85]);
        assert_eq!(owned(&target(&[1, 2], true)), [43, 85, 0]);
        for weights in [&[1, 1, 1][..], &[128, 1], &[3, 5, 7], &[1; 16], &[100, 1, 100]] {
            for backup in [false, true] {
                let (target, sum) = (target(weights, backup), weights.iter().sum::<u16>());
                let owned = owned(&target);
                assert_eq!(owned.iter().sum::<u32>(), u32::from(BUCKETS));
                for (n, w) in owned.iter().zip(weights) {
                    assert!(
                        (f64::from(*n) - 128.0 * f64::from(*w) / f64::from(sum)).abs() <= 1.0,
                        "{owned:?} {weights:?}"
                    );
                }
                assert!(!backup || owned.last() == Some(&0), "{owned:?}");
            }
        }
    }

    #[test]
    fn what_the_kernel_makes_of_a_group_that_loses_members_is_what_we_would_make() {
        for (weights, backup) in [(&[1][..], true), (&[1, 1], true), (&[1, 1, 1], true), (&[2, 3, 1], false)] {
            let whole = shape(&target(weights, backup));
            for lost in 0..whole.len() {
                let left: Shape = whole.iter().enumerate().filter(|(i, _)| *i != lost).map(|(_, m)| *m).collect();
                let n = buckets(&target(weights, backup));
                assert_eq!(shares(&left, n), shares(&shape(&target_of(&left)), n), "{left:?}");
            }
        }
    }

    #[test]
    fn a_standing_group_is_read_back() {
        for weights in [&[1][..], &[1, 1], &[1, 2], &[128, 1], &[7, 100, 128]] {
            for backup in [false, true] {
                let target = target(weights, backup);
                assert_eq!(target_of(&shape(&target)), target);
            }
        }
        // Shrunken: the backup alone, the primary alone, one of two.
        assert_eq!(target_of(&[(hop(99), 1)]), RouteTarget::next_hops(vec![hop(99)]));
        assert_eq!(target_of(&[(hop(1), 256)]), RouteTarget::next_hops(vec![hop(1)]));
        assert_eq!(target_of(&[(hop(1), 256), (hop(2), 256)]), RouteTarget::next_hops(vec![hop(1), hop(2)]));
    }
}
