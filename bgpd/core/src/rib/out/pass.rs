//! A pass over the table, in the order of the destinations' numbers: IPv4, then IPv6.

use net_types::Family;

use crate::rib::DestId;

/// Where a pass stands and where it ends. Destinations that get a number beyond the end while it runs are not its concern.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    next: DestId,
    ends: [u32; 2],
}

impl Pass {
    /// Over the families that `wanted` names. `end`: how many numbers are in use, IPv4's or IPv6's.
    pub(super) fn new(wanted: impl Fn(Family) -> bool, end: impl Fn(bool) -> u32) -> Pass {
        let of = |v6, family| if wanted(family) { end(v6) } else { 0 };
        let ends = [of(false, Family::IPV4_UNICAST), of(true, Family::IPV6_UNICAST)];
        Pass { next: DestId::v4(0), ends }.settled()
    }

    /// Moves from the end of IPv4 to IPv6.
    fn settled(mut self) -> Pass {
        let [v4, _] = self.ends;
        if self.next.is_v4() && self.next.index() >= v4 {
            self.next = DestId::v6(0);
        }
        self
    }

    /// The next destination; `None`: the pass is through.
    pub(super) fn next(&self) -> Option<DestId> {
        let [_, v6] = self.ends;
        (self.next.is_v4() || self.next.index() < v6).then_some(self.next)
    }

    /// On to the one after it.
    pub(super) fn step(&mut self) {
        let index = self.next.index() + 1;
        self.next = if self.next.is_v4() { DestId::v4(index) } else { DestId::v6(index) };
        *self = self.settled();
    }

    /// The pass will come to this one.
    pub(super) fn is_ahead(&self, dest: DestId) -> bool {
        let [v4, v6] = self.ends;
        dest >= self.next && dest.index() < if dest.is_v4() { v4 } else { v6 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_family_after_the_other() {
        let all = |mut pass: Pass| {
            let mut seen = Vec::new();
            while let Some(dest) = pass.next() {
                assert!(pass.is_ahead(dest));
                pass.step();
                assert!(!pass.is_ahead(dest));
                seen.push(dest);
            }
            seen
        };
        let end = |v6| if v6 { 1 } else { 2 };
        assert_eq!(all(Pass::new(|_| true, end)), [DestId::v4(0), DestId::v4(1), DestId::v6(0)]);
        assert_eq!(all(Pass::new(|f| f == Family::IPV6_UNICAST, end)), [DestId::v6(0)]);
        assert_eq!(all(Pass::new(|_| false, end)), []);
        let pass = Pass::new(|_| true, end);
        assert!(!pass.is_ahead(DestId::v4(2)) && !pass.is_ahead(DestId::v6(1)));
    }
}
