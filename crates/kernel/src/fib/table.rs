//! What is known of each prefix, in 20 octets a route on average.
//!
//! A prefix and its [`Cell`] of 8 octets stand in hash tables: 12 octets for IPv4, 16 for IPv6 up to /64, 24 beyond. Each
//! of the three is cut into [`SHARDS`] tables by the hash: one grows at a time (microseconds, not the whole), and one is a
//! slice for whoever walks through all. The shares are unequal on purpose: tables double, equal ones would all double at
//! once and stand half empty together. Prefixes of one site stand near one another, as they come and go one behind the
//! other: the next one's cache lines are mostly there already.
//!
//! Invariant: a cell's state is [`State::Open`] if and only if the owner keeps a record with all details under that key.

use super::objects::Handle;
use hashbrown::DefaultHashBuilder;
use hashbrown::hash_table::{Entry, HashTable};
use net_types::Prefix;
use std::hash::BuildHasher;

const SHARDS: usize = 256;
/// Slices of a walk through all.
pub(super) const SLICES: usize = 3 * SHARDS;

/// How a prefix stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Wanted on this object, and in the kernel on it.
    Settled(Handle),
    /// In the kernel on this object since before our start, and nobody has said whether it is wanted.
    Stale(Handle),
    /// Wanted on this object, not in the kernel, to be written.
    Missing(Handle),
    /// Anything else: the record of this key knows.
    Open(u32),
}

/// State, cookie, length and mark of a prefix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    /// The want's cookie (its low half), or the key of the open record.
    word: u32,
    /// From the lowest: length 8, mark 1, state 2, handle 21 bits.
    meta: u32,
}

const MARK: u32 = 1 << 8;
const STATE_SHIFT: u32 = 9;
const HANDLE_SHIFT: u32 = 11;

impl Cell {
    /// Handles beyond fit no cell; what wants such an object stays open.
    pub(super) const MAX_HANDLE: u32 = (1 << (32 - HANDLE_SHIFT)) - 1;

    pub(super) fn state(self) -> State {
        let handle = Handle::from_index(self.meta >> HANDLE_SHIFT);
        match (self.meta >> STATE_SHIFT) & 3 {
            0 => State::Settled(handle),
            1 => State::Stale(handle),
            2 => State::Missing(handle),
            _ => State::Open(self.word),
        }
    }

    /// The low half of the want's cookie; of no meaning while open.
    pub(super) fn cookie(self) -> u32 {
        self.word
    }

    pub(super) fn set(&mut self, state: State, cookie: u32) {
        let (code, handle, word) = match state {
            State::Settled(h) => (0, h.index(), cookie),
            State::Stale(h) => (1, h.index(), 0),
            State::Missing(h) => (2, h.index(), cookie),
            State::Open(key) => (3, 0, key),
        };
        self.word = word;
        self.meta = (self.meta & (MARK | 0xff)) | (code << STATE_SHIFT) | (handle << HANDLE_SHIFT);
    }

    /// Which pass has met it last: one of two, in turn.
    pub(super) fn mark(self) -> bool {
        self.meta & MARK != 0
    }

    pub(super) fn set_mark(&mut self, mark: bool) {
        self.meta = (self.meta & !MARK) | if mark { MARK } else { 0 };
    }

    fn len(self) -> u8 {
        self.meta as u8
    }
}

#[derive(Clone, Copy, Debug)]
struct Slot<K> {
    bits: K,
    cell: Cell,
}

/// The network bits of one kind of key.
trait Bits: Copy + Eq {
    fn prefix(self, len: u8) -> Prefix;
    fn hash(self, len: u8, hasher: &DefaultHashBuilder) -> u64;
}

/// The hash of a prefix in a block of 32: the tag is its own, the table the block's, the place the block's and a little on.
fn near(own: u64, block: u64, offset: u32) -> u64 {
    const TAG: u64 = 0xffff << 48;
    const PLACE: u64 = 0xffff_ffff;
    own & TAG | block & !(TAG | PLACE) | (block + 2 * u64::from(offset & 31)) & PLACE
}

impl Bits for u32 {
    fn prefix(self, len: u8) -> Prefix {
        Prefix::V4(self, len)
    }

    /// A block is a /19. Of prefixes beyond /24 it could hold too many: those are spread.
    fn hash(self, len: u8, hasher: &DefaultHashBuilder) -> u64 {
        let own = hasher.hash_one(u64::from(self) << 8 | u64::from(len));
        if len > 24 { own } else { near(own, hasher.hash_one(self >> 13), self >> 8) }
    }
}

/// The upper half of an IPv6 prefix up to /64, in a form without alignment of 8.
impl Bits for [u32; 2] {
    fn prefix(self, len: u8) -> Prefix {
        Prefix::V6(self.iter().fold(0, |bits, part| (bits << 32) | u128::from(*part)) << 64, len)
    }

    /// As for IPv4, with blocks of /43 and prefixes up to /48.
    fn hash(self, len: u8, hasher: &DefaultHashBuilder) -> u64 {
        let own = hasher.hash_one((self, len));
        let [high, low] = self;
        if len > 48 { own } else { near(own, hasher.hash_one([high, low >> 21]), low >> 16) }
    }
}

impl Bits for [u32; 4] {
    fn prefix(self, len: u8) -> Prefix {
        Prefix::V6(self.iter().fold(0, |bits, part| (bits << 32) | u128::from(*part)), len)
    }

    fn hash(self, len: u8, hasher: &DefaultHashBuilder) -> u64 {
        hasher.hash_one((self, len))
    }
}

#[derive(Debug)]
struct Shards<K> {
    tables: Vec<HashTable<Slot<K>>>,
    hasher: DefaultHashBuilder,
    len: usize,
}

impl<K: Bits> Shards<K> {
    fn new() -> Shards<K> {
        let tables = std::iter::repeat_with(HashTable::new).take(SHARDS).collect();
        Shards { tables, hasher: DefaultHashBuilder::default(), len: 0 }
    }

    fn get(&self, bits: K, len: u8) -> Option<&Cell> {
        let hash = bits.hash(len, &self.hasher);
        let found = self.tables.get(shard(hash))?.find(hash, |s| s.bits == bits && s.cell.len() == len);
        found.map(|s| &s.cell)
    }

    fn get_mut(&mut self, bits: K, len: u8) -> Option<&mut Cell> {
        let hash = bits.hash(len, &self.hasher);
        let found = self.tables.get_mut(shard(hash))?.find_mut(hash, |s| s.bits == bits && s.cell.len() == len);
        found.map(|s| &mut s.cell)
    }

    fn put(&mut self, bits: K, len: u8, change: impl FnOnce(&mut Cell, bool)) {
        let hasher = &self.hasher;
        let hash = bits.hash(len, hasher);
        let Some(table) = self.tables.get_mut(shard(hash)) else { return };
        let same = |s: &Slot<K>| s.bits == bits && s.cell.len() == len;
        match table.entry(hash, same, |s| s.bits.hash(s.cell.len(), hasher)) {
            Entry::Occupied(mut slot) => change(&mut slot.get_mut().cell, false),
            Entry::Vacant(slot) => {
                let mut cell = Cell { word: 0, meta: u32::from(len) };
                change(&mut cell, true);
                slot.insert(Slot { bits, cell });
                self.len += 1;
            }
        }
    }

    fn remove(&mut self, bits: K, len: u8) {
        let hasher = &self.hasher;
        let hash = bits.hash(len, hasher);
        let Some(table) = self.tables.get_mut(shard(hash)) else { return };
        if let Ok(slot) = table.find_entry(hash, |s| s.bits == bits && s.cell.len() == len) {
            slot.remove();
            self.len -= 1;
            // What a withdrawn table held goes back when it is nearly empty.
            if table.capacity() > 64 && table.len() < table.capacity() / 8 {
                table.shrink_to(table.len() * 2, |s| s.bits.hash(s.cell.len(), hasher));
            }
        }
    }

    fn retain(&mut self, index: usize, mut keep: impl FnMut(Prefix, &mut Cell) -> bool) {
        let Some(table) = self.tables.get_mut(index) else { return };
        let before = table.len();
        table.retain(|s| keep(s.bits.prefix(s.cell.len()), &mut s.cell));
        self.len -= before - table.len();
    }

    fn visit(&self, index: usize, visit: &mut dyn FnMut(Prefix, Cell)) {
        let slots = self.tables.get(index).into_iter().flatten();
        slots.for_each(|s| visit(s.bits.prefix(s.cell.len()), s.cell));
    }

    fn allocated(&self) -> usize {
        self.tables.iter().map(|t| t.allocation_size() + size_of::<HashTable<Slot<K>>>()).sum()
    }
}

/// x (x + 1) / 2 for x from 0 to 1: shares between two thirds and two times the mean. From bits of the hash that the
/// tables themselves do not use.
fn shard(hash: u64) -> usize {
    let x = (hash >> 32) & 0xffff;
    ((x * (x + 0x1_0000)) >> 25) as usize
}

enum Key {
    V4(u32, u8),
    Upper([u32; 2], u8),
    V6([u32; 4], u8),
}

fn key(prefix: &Prefix) -> Key {
    match *prefix {
        Prefix::V4(bits, len) => Key::V4(bits, len),
        Prefix::V6(bits, len) => {
            let parts = [96, 64, 32, 0].map(|shift| (bits >> shift) as u32);
            let [a, b, ..] = parts;
            if len <= 64 { Key::Upper([a, b], len) } else { Key::V6(parts, len) }
        }
    }
}

/// All prefixes.
#[derive(Debug)]
pub(super) struct Table {
    v4: Shards<u32>,
    upper: Shards<[u32; 2]>,
    v6: Shards<[u32; 4]>,
}

impl Table {
    pub(super) fn new() -> Table {
        Table { v4: Shards::new(), upper: Shards::new(), v6: Shards::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.v4.len + self.upper.len + self.v6.len
    }

    pub(super) fn get(&self, prefix: &Prefix) -> Option<Cell> {
        match key(prefix) {
            Key::V4(bits, len) => self.v4.get(bits, len),
            Key::Upper(bits, len) => self.upper.get(bits, len),
            Key::V6(bits, len) => self.v6.get(bits, len),
        }
        .copied()
    }

    /// Looks at all of these, so that what follows finds them in the cache. In a loop that does nothing else the processor
    /// waits for several at once.
    pub(super) fn warm(&self, prefixes: impl Iterator<Item = Prefix>) {
        let seen = prefixes.filter_map(|p| self.get(&p)).fold(0, |sum, cell| sum ^ cell.meta);
        std::hint::black_box(seen);
    }

    pub(super) fn get_mut(&mut self, prefix: &Prefix) -> Option<&mut Cell> {
        match key(prefix) {
            Key::V4(bits, len) => self.v4.get_mut(bits, len),
            Key::Upper(bits, len) => self.upper.get_mut(bits, len),
            Key::V6(bits, len) => self.v6.get_mut(bits, len),
        }
    }

    /// Changes the cell of a prefix, which is new (true) if there was none.
    pub(super) fn put(&mut self, prefix: &Prefix, change: impl FnOnce(&mut Cell, bool)) {
        match key(prefix) {
            Key::V4(bits, len) => self.v4.put(bits, len, change),
            Key::Upper(bits, len) => self.upper.put(bits, len, change),
            Key::V6(bits, len) => self.v6.put(bits, len, change),
        }
    }

    pub(super) fn remove(&mut self, prefix: &Prefix) {
        match key(prefix) {
            Key::V4(bits, len) => self.v4.remove(bits, len),
            Key::Upper(bits, len) => self.upper.remove(bits, len),
            Key::V6(bits, len) => self.v6.remove(bits, len),
        }
    }

    /// Visits a slice; what `keep` says no to is removed.
    pub(super) fn retain(&mut self, slice: usize, keep: impl FnMut(Prefix, &mut Cell) -> bool) {
        match slice / SHARDS {
            0 => self.v4.retain(slice, keep),
            1 => self.upper.retain(slice % SHARDS, keep),
            _ => self.v6.retain(slice % SHARDS, keep),
        }
    }

    /// Visits a slice.
    pub(super) fn visit(&self, slice: usize, mut visit: impl FnMut(Prefix, Cell)) {
        match slice / SHARDS {
            0 => self.v4.visit(slice, &mut visit),
            1 => self.upper.visit(slice % SHARDS, &mut visit),
            _ => self.v6.visit(slice % SHARDS, &mut visit),
        }
    }

    /// Octets that the tables take.
    pub(super) fn allocated(&self) -> usize {
        self.v4.allocated() + self.upper.allocated() + self.v6.allocated()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn prefixes_of_all_kinds_are_kept_apart_and_come_back_as_they_went_in() {
        let mut table = Table::new();
        let texts = ["0.0.0.0/0", "192.0.2.0/24", "192.0.2.0/25", "::/0", "2001:db8::/32", "2001:db8::/64"];
        let texts = texts.into_iter().chain(["2001:db8::/65", "2001:db8:0:0:1::/80", "2001:db8::/128", "0.0.0.0/32"]);
        let prefixes: BTreeSet<Prefix> = texts.map(|t| t.parse().unwrap()).collect();
        for (i, prefix) in prefixes.iter().enumerate() {
            table.put(prefix, |c, fresh| {
                assert!(fresh);
                c.set(State::Stale(Handle::from_index(7)), 9);
                c.set_mark(true);
                c.set(State::Settled(Handle::from_index(i as u32)), 100 + i as u32);
            });
        }
        assert_eq!(table.len(), prefixes.len());
        for (i, prefix) in prefixes.iter().enumerate() {
            let cell = table.get(prefix).unwrap();
            assert_eq!((cell.state(), cell.mark()), (State::Settled(Handle::from_index(i as u32)), true), "{prefix}");
            assert_eq!(cell.cookie(), 100 + i as u32);
        }
        let mut seen = BTreeSet::new();
        (0..SLICES).for_each(|s| table.visit(s, |p, _| assert!(seen.insert(p))));
        assert_eq!(seen, prefixes);
        prefixes.iter().for_each(|p| table.remove(p));
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn a_route_takes_at_most_24_octets_whatever_their_number_and_nothing_when_they_are_gone() {
        let mut table = Table::new();
        let prefix = |i: u32| Prefix::V4(i << 8, 24);
        let fixed = table.allocated();
        for i in 0..400_000u32 {
            table.put(&prefix(i), |c, _| c.set(State::Settled(Handle::from_index(1)), i));
            if i >= 50_000 && i % 10_000 == 0 {
                let each = (table.allocated() - fixed) / table.len();
                assert!(each <= 24, "{each} octets a route at {i}");
            }
        }
        (0..400_000).for_each(|i| table.remove(&prefix(i)));
        assert!(table.allocated() - fixed < 400_000, "{}", table.allocated() - fixed);
    }
}
