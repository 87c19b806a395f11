//! The attribute pool: one copy of each distinct attribute set, however many routes share it.
//!
//! A set enters by [`AttributePool::intern`] and leaves when its last user hands it back by [`AttributePool::release`].
//! Others (the Adj-RIB-Out, a query's answer) may hold a clone past that moment; then the set stays and a sweep, paid
//! for by the releases that could not remove anything, takes it later. Memory is therefore within a constant factor of
//! what is in use.

use std::collections::HashSet;
use std::sync::Arc;

use bgp_wire::PathAttributes;

use super::hash::FoldState;

/// One copy per distinct set.
#[derive(Debug, Default)]
pub(super) struct AttributePool {
    sets: HashSet<Arc<PathAttributes>, FoldState>,
    /// Releases since the last sweep that left the set in place.
    kept: usize,
}

impl AttributePool {
    pub(super) fn new(seed: u64) -> AttributePool {
        AttributePool { sets: HashSet::with_hasher(FoldState::new(seed)), kept: 0 }
    }

    /// The pool's copy of `attributes`.
    pub(super) fn intern(&mut self, attributes: Arc<PathAttributes>) -> Arc<PathAttributes> {
        if let Some(held) = self.sets.get(&attributes) {
            return Arc::clone(held);
        }
        self.sets.insert(Arc::clone(&attributes));
        attributes
    }

    /// Gives a set back. The caller drops its other clones of it first.
    pub(super) fn release(&mut self, attributes: Arc<PathAttributes>) {
        // The pool's copy and the one in our hand: nobody else.
        if Arc::strong_count(&attributes) == 2 {
            self.sets.remove(&attributes);
            return;
        }
        drop(attributes);
        self.kept += 1;
        if self.kept > 2 * self.sets.len() + 1024 {
            self.sweep();
        }
    }

    /// Drops every set that only the pool holds.
    pub(super) fn sweep(&mut self) {
        self.sets.retain(|set| Arc::strong_count(set) > 1);
        self.kept = 0;
    }

    /// Distinct sets held.
    pub(super) fn len(&self) -> usize {
        self.sets.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn med(med: u32) -> Arc<PathAttributes> {
        Arc::new(PathAttributes { med: Some(med), ..PathAttributes::default() })
    }

    #[test]
    fn equal_sets_share_one_copy_and_the_last_user_frees_it() {
        let mut pool = AttributePool::new(1);
        let a = pool.intern(med(1));
        let b = pool.intern(med(1));
        assert!(Arc::ptr_eq(&a, &b));
        let c = pool.intern(med(2));
        assert_eq!(pool.len(), 2);
        pool.release(a);
        assert_eq!(pool.len(), 2);
        pool.release(b);
        pool.release(c);
        assert_eq!(pool.len(), 0);
    }

    #[test]
    fn a_clone_held_elsewhere_is_swept_later() {
        let mut pool = AttributePool::new(1);
        let held = pool.intern(med(1));
        pool.release(Arc::clone(&held));
        assert_eq!(pool.len(), 1);
        drop(held);
        for _ in 0..2 {
            let x = pool.intern(med(2));
            for _ in 0..1100 {
                pool.release(Arc::clone(&x));
            }
            pool.release(x);
        }
        assert_eq!(pool.len(), 0);
    }
}
