//! Finds a number by the hash of what stands under it in an arena: eight octets and a tag an entry.
//!
//! Beside a number stand 32 bits of its hash: enough to find its bucket anew when a table grows, and to tell nearly every
//! other thing from the one that is looked for, so that the arena is touched where the thing is and nowhere else.
//!
//! Cut into many small tables by the hash's middle bits, since a table that grows moves all it holds: with one
//! table of a million entries that is tens of milliseconds in one insertion, with many it is microseconds here and there.
//! The small tables are not cut alike, so that they do not all double at the same fill: the reserve of the whole stays
//! near its mean whatever the number of entries.

use hashbrown::HashTable;
use hashbrown::hash_table::{Entry, VacantEntry};

/// Small tables.
const TABLES: usize = 256;
/// Room of a small table from its first entry on: a table that grows from one entry up moves each several times.
const FIRST: usize = 14;

/// A number with what it is found by.
#[derive(Clone, Copy, Debug)]
struct Row {
    mark: u32,
    number: u32,
}

impl Row {
    /// The hash as far as a small table looks at it.
    fn hash(&self) -> u64 {
        u64::from(self.mark) | u64::from(self.mark) << 32
    }
}

/// The bits of a hash that a small table looks at: the low ones, which find the bucket, and the top seven, the tag.
fn mark_of(hash: u64) -> u32 {
    const TAG: u32 = 0x7f << 25;
    hash as u32 & !TAG | (hash >> 32) as u32 & TAG
}

/// The numbers.
#[derive(Debug)]
pub(super) struct Index {
    tables: Vec<HashTable<Row>>,
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

/// The place of a number that is not there yet.
pub(super) struct Vacant<'a> {
    place: VacantEntry<'a, Row>,
    mark: u32,
    len: &'a mut usize,
}

impl Vacant<'_> {
    pub(super) fn insert(self, number: u32) {
        self.place.insert(Row { mark: self.mark, number });
        *self.len += 1;
    }
}

impl Index {
    /// The number with this hash that `is` the one.
    pub(super) fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let mark = mark_of(hash);
        let row = Row { mark, number: 0 };
        self.tables.get(table_of(hash))?.find(row.hash(), |r| r.mark == mark && is(r.number)).map(|r| r.number)
    }

    /// As [`Index::find`]; where there is none, its place. `None` never comes.
    pub(super) fn entry(&mut self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<Result<u32, Vacant<'_>>> {
        let mark = mark_of(hash);
        let row = Row { mark, number: 0 };
        let table = self.tables.get_mut(table_of(hash))?;
        if table.capacity() == 0 {
            table.reserve(FIRST, Row::hash);
        }
        Some(match table.entry(row.hash(), |r| r.mark == mark && is(r.number), Row::hash) {
            Entry::Occupied(found) => Ok(found.get().number),
            Entry::Vacant(place) => Err(Vacant { place, mark, len: &mut self.len }),
        })
    }

    /// Takes a number out.
    pub(super) fn remove(&mut self, hash: u64, number: u32) {
        let mark = mark_of(hash);
        let row = Row { mark, number };
        let Some(table) = self.tables.get_mut(table_of(hash)) else { return };
        let Ok(found) = table.find_entry(row.hash(), |r| r.number == number) else { return };
        found.remove();
        self.len -= 1;
        if self.len == 0 {
            *self = Index::default();
        }
    }

    /// Octets taken from the allocator: eight and a tag a bucket, seven of eight buckets usable.
    pub(super) fn octets(&self) -> usize {
        let tables: usize = self.tables.iter().map(HashTable::allocation_size).sum();
        tables + self.tables.capacity() * size_of::<HashTable<Row>>()
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;
    use crate::rib::hash::FoldState;

    fn insert(index: &mut Index, hash: u64, number: u32) {
        index.entry(hash, |n| n == number).unwrap().err().unwrap().insert(number);
    }

    #[test]
    fn holds_what_was_put_in_whatever_the_growth() {
        let hasher = FoldState::new(3);
        let hash = |n: u32| hasher.hash_one(n);
        let mut index = Index::default();
        for n in 0..50_000u32 {
            assert_eq!(index.find(hash(n), |x| x == n), None);
            insert(&mut index, hash(n), n);
            assert!(matches!(index.entry(hash(n), |x| x == n), Some(Ok(found)) if found == n));
        }
        assert!((0..50_000u32).all(|n| index.find(hash(n), |x| x == n) == Some(n)));
        for n in (0..50_000u32).step_by(2) {
            index.remove(hash(n), n);
            index.remove(hash(n), n);
        }
        assert_eq!(index.len, 25_000);
        assert!((0..50_000u32).all(|n| index.find(hash(n), |x| x == n).is_some() == (n % 2 == 1)));
    }

    #[test]
    fn the_reserve_does_not_double_at_once() {
        // Between ten and twenty-one octets an entry if all doubled together.
        let hasher = FoldState::new(3);
        let mut index = Index::default();
        for n in 0..1_200_000u32 {
            insert(&mut index, hasher.hash_one(n), n);
            if n > 300_000 && n % 50_000 == 0 {
                let each = index.octets() as f64 / f64::from(n);
                assert!((12.0..16.0).contains(&each), "{each} octets an entry at {n}");
            }
        }
    }
}
