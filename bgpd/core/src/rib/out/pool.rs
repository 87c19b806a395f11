//! One copy of every attribute set that a group sends, so that routes with equal attributes are told by their pointer.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use bgp_wire::PathAttributes;

/// Fixed keys: nothing here may differ from run to run. The order of the set is never looked at.
type Hasher = BuildHasherDefault<DefaultHasher>;

#[derive(Default, Debug)]
pub(super) struct Pool {
    sets: HashSet<Arc<PathAttributes>, Hasher>,
    sweep_at: usize,
}

const SWEEP_MIN: usize = 1024;

impl Pool {
    /// The pool's copy of these attributes.
    pub(super) fn intern(&mut self, attributes: PathAttributes) -> Arc<PathAttributes> {
        if let Some(known) = self.sets.get(&attributes) {
            return Arc::clone(known);
        }
        if self.sets.len() >= self.sweep_at.max(SWEEP_MIN) {
            self.sets.retain(|a| Arc::strong_count(a) > 1);
            self.sweep_at = self.sets.len() * 2;
        }
        let new = Arc::new(attributes);
        self.sets.insert(Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_are_one_and_unused_ones_go() {
        let mut pool = Pool::default();
        let of = |med| PathAttributes { med: Some(med), ..PathAttributes::default() };
        let a = pool.intern(of(0));
        assert!(Arc::ptr_eq(&a, &pool.intern(of(0))));
        for med in 1..10_000 {
            pool.intern(of(med));
        }
        assert!(pool.sets.len() <= 2 * SWEEP_MIN, "{}", pool.sets.len());
        assert!(Arc::ptr_eq(&a, &pool.intern(of(0))));
    }
}
