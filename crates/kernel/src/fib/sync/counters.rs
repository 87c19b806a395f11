//! How many messages went to the kernel: a failover costs as many as there are next hops, whatever the table's size.

use super::FibSync;
use crate::fib::{FibKernel, Op};

/// Messages sent that ask for a change, since the start, the refused ones too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FibCounters {
    /// `RTM_NEWNEXTHOP`.
    pub nexthops_put: u64,
    /// `RTM_DELNEXTHOP`.
    pub nexthops_deleted: u64,
    /// `RTM_NEWROUTE`.
    pub routes_put: u64,
    /// `RTM_DELROUTE`.
    pub routes_deleted: u64,
}

impl FibCounters {
    pub(super) fn count(&mut self, ops: &[Op]) {
        for op in ops {
            *match op {
                Op::PutNexthop { .. } => &mut self.nexthops_put,
                Op::DeleteNexthop(_) => &mut self.nexthops_deleted,
                Op::PutRoute { .. } => &mut self.routes_put,
                Op::DeleteRoute { .. } => &mut self.routes_deleted,
            } += 1;
        }
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.nexthops_put + self.nexthops_deleted + self.routes_put + self.routes_deleted
    }
}

impl<K: FibKernel> FibSync<K> {
    /// Messages sent so far.
    pub fn counters(&self) -> FibCounters {
        self.counters
    }
}
