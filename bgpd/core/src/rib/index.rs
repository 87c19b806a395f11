//! Finds a number by the hash of what stands under it in an arena: four octets and a tag an entry.
//!
//! Cut into many small tables by the hash's middle bits, since a table that grows hashes and moves all it holds: with one
//! table of a million entries that is tens of milliseconds in one insertion, with many it is microseconds here and there.
//! The small tables are not cut alike, so that they do not all double at the same fill: the reserve of the whole stays
//! near its mean whatever the number of entries.

use hashbrown::HashTable;

/// Small tables.
const TABLES: usize = 256;

/// The numbers.
#[derive(Debug)]
pub(super) struct Index {
    tables: Vec<HashTable<u32>>,
    len: usize,
}

impl Default for Index {
    fn default() -> Index {
        Index { tables: (0..TABLES).map(|_| HashTable::new()).collect(), len: 0 }
    }
}

/// Which small table. The share of a table grows with its number, twofold from the first to the last, so that at any fill
/// some tables are just doubled and some about to: n = log2(1 + u), bent from u by about u (1 - u) / 3.
fn table_of(hash: u64) -> usize {
    // Neither the low bits, which find the bucket in the small table, nor the top seven, which are its tags.
    let u = (hash >> 32) & 0xffff;
    let bend = ((u * (65_536 - u)) >> 16) * 88 / 256;
    ((u + bend) >> 8) as usize
}

impl Index {
    pub(super) fn find(&self, hash: u64, is: impl FnMut(&u32) -> bool) -> Option<u32> {
        self.tables.get(table_of(hash))?.find(hash, is).copied()
    }

    /// Takes in a number that is not there yet. `rehash` gives the hash of a number that is.
    pub(super) fn insert(&mut self, hash: u64, number: u32, rehash: impl Fn(&u32) -> u64) {
        if let Some(table) = self.tables.get_mut(table_of(hash)) {
            table.insert_unique(hash, number, rehash);
            self.len += 1;
        }
    }

    pub(super) fn remove(&mut self, hash: u64, is: impl FnMut(&u32) -> bool) -> Option<u32> {
        let found = self.tables.get_mut(table_of(hash))?.find_entry(hash, is).ok()?;
        let (number, _) = found.remove();
        self.len -= 1;
        if self.len == 0 {
            *self = Index::default();
        }
        Some(number)
    }

    /// Octets taken from the allocator: four and a tag a bucket, seven of eight buckets usable.
    pub(super) fn octets(&self) -> usize {
        let tables: usize = self.tables.iter().map(HashTable::allocation_size).sum();
        tables + self.tables.capacity() * size_of::<HashTable<u32>>()
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;
    use crate::rib::hash::FoldState;

    #[test]
    fn holds_what_was_put_in_whatever_the_growth() {
        let hasher = FoldState::new(3);
        let hash = |n: &u32| hasher.hash_one(n);
        let mut index = Index::default();
        for n in 0..50_000u32 {
            assert_eq!(index.find(hash(&n), |x| *x == n), None);
            index.insert(hash(&n), n, hash);
        }
        assert!((0..50_000u32).all(|n| index.find(hash(&n), |x| *x == n) == Some(n)));
        for n in (0..50_000u32).step_by(2) {
            assert_eq!(index.remove(hash(&n), |x| *x == n), Some(n));
            assert_eq!(index.remove(hash(&n), |x| *x == n), None);
        }
        assert_eq!(index.len, 25_000);
        assert!((0..50_000u32).all(|n| index.find(hash(&n), |x| *x == n).is_some() == (n % 2 == 1)));
    }

    #[test]
    fn the_reserve_does_not_double_at_once() {
        // Bucket sizes between five and eleven octets an entry at any fill if all doubled together.
        let hasher = FoldState::new(3);
        let hash = |n: &u32| hasher.hash_one(n);
        let mut index = Index::default();
        for n in 0..1_200_000u32 {
            index.insert(hash(&n), n, hash);
            if n > 300_000 && n % 50_000 == 0 {
                let each = index.octets() as f64 / f64::from(n);
                assert!((6.5..9.0).contains(&each), "{each} octets an entry at {n}");
            }
        }
    }
}
