//! The table of destinations: every prefix that has a path, or that the kernel or a neighbour may still hold.
//!
//! A destination has its place in the arena of its family, named by a [`DestId`]: 32 octets for IPv4 with its first path,
//! the best one if there is a best. An exact match is a hash and a comparison, made or found in one probe; the longest match probes the lengths that
//! occur, which are counted. There is no order: who lists sorts what it copied out, on its own time.
//!
//! Invariants: a place whose [`Slot::is_live`] is in the index and counted; the owner frees it when nobody needs it.

use net_types::Prefix;

use super::arena::Arena;
use super::hash::FoldState;
use super::ids::DestId;
use super::index::Index;
use super::paths::{BlockId, Path};
use super::targets::TargetId;
use super::types::FibState;

const LIVE: u8 = 1;
const HAS_PATH: u8 = 1 << 1;
const HAS_BEST: u8 = 1 << 2;
const QUEUED: u8 = 1 << 3;
const HANDED_OUT: u8 = 1 << 4;
const STATE_SHIFT: u8 = 5;
const STATE: u8 = 0b11 << STATE_SHIFT;
const NOTED: u8 = 1 << 7;

/// A destination without its address. By default: a free place.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Slot {
    len: u8,
    flags: u8,
    /// Paths beside the first.
    pub(super) extra: u16,
    /// Names the FIB's want (see [`super::fib`]).
    pub(super) cookie: u32,
    /// The FIB's want.
    pub(super) target: Option<TargetId>,
    /// Where the further paths stand.
    pub(super) further: BlockId,
    /// Meaningful with [`Slot::has_path`].
    pub(super) first: Path,
}

impl Slot {
    fn new(len: u8) -> Slot {
        let first = Path::default();
        Slot { len, flags: LIVE, extra: 0, cookie: 0, target: None, further: BlockId::default(), first }
    }

    fn set(&mut self, flag: u8, on: bool) {
        if on {
            self.flags |= flag;
        } else {
            self.flags &= !flag;
        }
    }

    fn is_live(&self) -> bool {
        self.flags & LIVE != 0
    }

    pub(super) fn has_path(&self) -> bool {
        self.flags & HAS_PATH != 0
    }

    pub(super) fn set_has_path(&mut self, on: bool) {
        self.set(HAS_PATH, on);
    }

    /// The first path is the best one.
    pub(super) fn has_best(&self) -> bool {
        self.flags & HAS_BEST != 0
    }

    pub(super) fn set_has_best(&mut self, on: bool) {
        self.set(HAS_BEST, on);
    }

    pub(super) fn best(&self) -> Option<&Path> {
        self.has_best().then_some(&self.first)
    }

    /// The first path, whether or not it is of use.
    pub(super) fn head(&self) -> Option<&Path> {
        self.has_path().then_some(&self.first)
    }

    /// In the FIB's queue.
    pub(super) fn is_queued(&self) -> bool {
        self.flags & QUEUED != 0
    }

    pub(super) fn set_queued(&mut self, on: bool) {
        self.set(QUEUED, on);
    }

    /// A want was handed out since the last removal: the kernel may hold a route.
    pub(super) fn is_handed_out(&self) -> bool {
        self.flags & HANDED_OUT != 0
    }

    pub(super) fn set_handed_out(&mut self, on: bool) {
        self.set(HANDED_OUT, on);
    }

    /// Where the want stands.
    pub(super) fn fib_state(&self) -> FibState {
        match (self.flags & STATE) >> STATE_SHIFT {
            0 => FibState::NotWanted,
            1 => FibState::Pending,
            2 => FibState::Installed,
            _ => FibState::Failed,
        }
    }

    pub(super) fn set_fib_state(&mut self, state: FibState) {
        self.flags = self.flags & !STATE | (state as u8) << STATE_SHIFT;
    }

    /// Written down as one that nothing may need any more. True: it was already.
    pub(super) fn note(&mut self) -> bool {
        let noted = self.flags & NOTED != 0;
        self.flags |= NOTED;
        noted
    }

    pub(super) fn forget_note(&mut self) {
        self.flags &= !NOTED;
    }

    /// Neither a path nor anything the kernel may still have to do with.
    pub(super) fn is_idle(&self) -> bool {
        !self.has_path() && self.target.is_none() && !self.is_queued() && !self.is_handed_out()
    }
}

/// An address as it is kept.
trait Bits: Copy + Default + PartialEq {
    fn hash(self, len: u8, hasher: FoldState) -> u64;
    fn prefix(self, len: u8) -> Prefix;
}

/// The hash of a prefix, given that of the block it lies in: the tag is the prefix's own, the place is the block's and a few
/// buckets on. Routes come and go a site's address space at a time, so the next look-up mostly finds its cache lines warm.
fn near(own: u64, block: u64, offset: u64) -> u64 {
    const TAG: u64 = 0xffff << 48;
    const LOW: u64 = 0xffff_ffff;
    own & TAG | block & !(TAG | LOW) | (block + 2 * offset) & LOW
}

/// Keeps the numbers of blocks apart from those of prefixes.
const BLOCK: u64 = 1 << 56;

impl Bits for u32 {
    fn hash(self, len: u8, hasher: FoldState) -> u64 {
        let own = hasher.number(u64::from(self) << 8 | u64::from(len));
        // A block (a /19) holds few prefixes up to /24, longer ones without number: those are spread.
        if len > 24 {
            return own;
        }
        near(own, hasher.number(BLOCK | u64::from(self >> 13)), u64::from(self >> 8 & 31))
    }
    fn prefix(self, len: u8) -> Prefix {
        Prefix::V4(self, len)
    }
}

/// Octets: an aligned number would cost four more.
impl Bits for [u8; 16] {
    fn hash(self, len: u8, hasher: FoldState) -> u64 {
        let bits = u128::from_be_bytes(self);
        let own = hasher.number(hasher.number(bits as u64 ^ u64::from(len)) ^ (bits >> 64) as u64);
        // As for IPv4, with blocks of /43 and prefixes up to /48.
        if len > 48 {
            return own;
        }
        near(own, hasher.number(BLOCK | (bits >> 85) as u64), (bits >> 80) as u64 & 31)
    }
    fn prefix(self, len: u8) -> Prefix {
        Prefix::V6(u128::from_be_bytes(self), len)
    }
}

#[derive(Clone, Copy, Default, Debug)]
struct Dest<B> {
    bits: B,
    slot: Slot,
}

impl<B: Bits> Dest<B> {
    fn is(&self, bits: B, len: u8) -> bool {
        self.bits == bits && self.slot.len == len
    }
}

/// One family.
#[derive(Debug)]
struct Half<B> {
    dests: Arena<Dest<B>>,
    index: Index,
    /// Destinations of each length.
    lengths: Vec<u32>,
    /// Destinations made since this was last asked for.
    made: usize,
    hasher: FoldState,
}

impl<B: Bits> Half<B> {
    fn new(hasher: FoldState, width: usize) -> Half<B> {
        Half { dests: Arena::default(), index: Index::default(), lengths: vec![0; width + 1], made: 0, hasher }
    }

    fn find(&self, bits: B, len: u8) -> Option<u32> {
        self.index.find(bits.hash(len, self.hasher), |at| self.dests.get(at).is_some_and(|d| d.is(bits, len)))
    }

    /// The place of a prefix, made if need be.
    fn entry(&mut self, bits: B, len: u8) -> Option<u32> {
        let dests = &mut self.dests;
        let is = |at| dests.get(at).is_some_and(|d| d.is(bits, len));
        let vacant = match self.index.entry(bits.hash(len, self.hasher), is)? {
            Ok(at) => return Some(at),
            Err(vacant) => vacant,
        };
        let at = dests.insert(Dest { bits, slot: Slot::new(len) });
        vacant.insert(at);
        self.count(len, 1);
        self.made += 1;
        Some(at)
    }

    fn remove(&mut self, at: u32) {
        let Some(dest) = self.dests.get_mut(at).filter(|d| d.slot.is_live()) else { return };
        dest.slot.flags = 0;
        let (bits, len) = (dest.bits, dest.slot.len);
        self.index.remove(bits.hash(len, self.hasher), at);
        self.dests.free(at);
        self.count(len, -1);
    }

    fn count(&mut self, len: u8, by: i32) {
        if let Some(count) = self.lengths.get_mut(usize::from(len)) {
            *count = count.saturating_add_signed(by);
        }
    }

    fn octets(&self) -> (usize, usize) {
        (self.dests.octets(), self.index.octets())
    }
}

/// Every destination of the two families.
#[derive(Debug)]
pub(super) struct Table {
    v4: Half<u32>,
    v6: Half<[u8; 16]>,
}

impl Table {
    pub(super) fn new(seed: u64) -> Table {
        let hasher = FoldState::new(seed);
        Table { v4: Half::new(hasher, 32), v6: Half::new(hasher, 128) }
    }

    pub(super) fn find(&self, prefix: &Prefix) -> Option<DestId> {
        match *prefix {
            Prefix::V4(bits, len) => self.v4.find(bits, len).map(DestId::v4),
            Prefix::V6(bits, len) => self.v6.find(bits.to_be_bytes(), len).map(DestId::v6),
        }
    }

    /// The destination of a prefix, made if need be. `None` never comes.
    pub(super) fn entry(&mut self, prefix: &Prefix) -> Option<DestId> {
        match *prefix {
            Prefix::V4(bits, len) => self.v4.entry(bits, len).map(DestId::v4),
            Prefix::V6(bits, len) => self.v6.entry(bits.to_be_bytes(), len).map(DestId::v6),
        }
    }

    pub(super) fn get(&self, id: DestId) -> Option<&Slot> {
        let slot = if id.is_v4() { &self.v4.dests.get(id.index())?.slot } else { &self.v6.dests.get(id.index())?.slot };
        Some(slot).filter(|s| s.is_live())
    }

    pub(super) fn get_mut(&mut self, id: DestId) -> Option<&mut Slot> {
        let slot = if id.is_v4() {
            &mut self.v4.dests.get_mut(id.index())?.slot
        } else {
            &mut self.v6.dests.get_mut(id.index())?.slot
        };
        Some(slot).filter(|s| s.is_live())
    }

    /// A destination with its prefix.
    pub(super) fn dest_mut(&mut self, id: DestId) -> Option<(Prefix, &mut Slot)> {
        let (prefix, slot) = if id.is_v4() {
            let dest = self.v4.dests.get_mut(id.index())?;
            (dest.bits.prefix(dest.slot.len), &mut dest.slot)
        } else {
            let dest = self.v6.dests.get_mut(id.index())?;
            (dest.bits.prefix(dest.slot.len), &mut dest.slot)
        };
        slot.is_live().then_some((prefix, slot))
    }

    pub(super) fn prefix(&self, id: DestId) -> Option<Prefix> {
        if id.is_v4() {
            self.v4.dests.get(id.index()).filter(|d| d.slot.is_live()).map(|d| d.bits.prefix(d.slot.len))
        } else {
            self.v6.dests.get(id.index()).filter(|d| d.slot.is_live()).map(|d| d.bits.prefix(d.slot.len))
        }
    }

    /// Destinations, those included that wait to be freed.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.v4.dests.len() + self.v6.dests.len()
    }

    /// Destinations made since this was last called.
    pub(super) fn take_made(&mut self) -> usize {
        std::mem::take(&mut self.v4.made) + std::mem::take(&mut self.v6.made)
    }

    /// Frees a destination. The caller has seen to its paths and its want.
    pub(super) fn remove(&mut self, id: DestId) {
        if id.is_v4() {
            self.v4.remove(id.index());
        } else {
            self.v6.remove(id.index());
        }
    }

    /// Places of a family, free ones too.
    pub(super) fn places(&self, v4: bool) -> u32 {
        if v4 { self.v4.dests.places() } else { self.v6.dests.places() }
    }

    /// The place after `id`, free or not, both families in turn; `None` after the last.
    pub(super) fn after(&self, id: Option<DestId>) -> Option<DestId> {
        let next = match id {
            None => DestId::v4(0),
            Some(id) if id.is_v4() => DestId::v4(id.index() + 1),
            Some(id) => DestId::v6(id.index() + 1),
        };
        if next.is_v4() && next.index() < self.places(true) {
            return Some(next);
        }
        let next = if next.is_v4() { DestId::v6(0) } else { next };
        (next.index() < self.places(false)).then_some(next)
    }

    /// The longest prefix that covers `of`, is accepted by `take` and is at least `least` bits long.
    pub(super) fn longest_match<T>(
        &self,
        of: &Prefix,
        least: u8,
        mut take: impl FnMut(DestId, &Slot) -> Option<T>,
    ) -> Option<T> {
        let lengths = if of.is_v4() { &self.v4.lengths } else { &self.v6.lengths };
        (least..=of.len()).rev().filter(|len| lengths.get(usize::from(*len)).is_some_and(|n| *n > 0)).find_map(|len| {
            let id = self.find(&of.truncate(len))?;
            take(id, self.get(id)?)
        })
    }

    /// Octets taken from the allocator: destinations, index.
    pub(super) fn octets(&self) -> (usize, usize) {
        let ((dests, index), (dests6, index6)) = (self.v4.octets(), self.v6.octets());
        (dests + dests6, index + index6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn a_destination_is_small() {
        assert_eq!((size_of::<Dest<u32>>(), size_of::<Dest<[u8; 16]>>()), (32, 44));
    }

    #[test]
    fn numbers_name_prefixes_until_they_are_freed() {
        let mut table = Table::new(1);
        let all = ["192.0.2.0/24", "192.0.2.0/25", "0.0.0.0/0", "2001:db8::/32", "2001:db8::1/128", "::/0"];
        let ids: Vec<DestId> = all.iter().map(|x| table.entry(&p(x)).unwrap()).collect();
        for (text, id) in all.iter().zip(&ids) {
            assert_eq!((table.find(&p(text)), table.prefix(*id)), (Some(*id), Some(p(text))));
            assert_eq!(table.entry(&p(text)), Some(*id));
        }
        table.remove(ids[1]);
        assert_eq!((table.find(&p(all[1])), table.prefix(ids[1])), (None, None));
        assert!(table.get(ids[1]).is_none());
        let mut walk = Vec::new();
        let mut at = table.after(None);
        while let Some(id) = at {
            walk.extend(table.prefix(id));
            at = table.after(Some(id));
        }
        assert_eq!(walk, [p(all[0]), p(all[2]), p(all[3]), p(all[4]), p(all[5])]);
        assert_eq!(table.entry(&p("198.51.100.0/24")), Some(ids[1]));
    }

    #[test]
    fn longest_match_steps_over_what_is_not_taken() {
        let mut table = Table::new(1);
        let short = table.entry(&p("198.51.100.0/24")).unwrap();
        let long = table.entry(&p("198.51.100.128/28")).unwrap();
        let default = table.entry(&p("0.0.0.0/0")).unwrap();
        let of = p("198.51.100.129/32");
        assert_eq!(table.longest_match(&of, 0, |id, _| Some(id)), Some(long));
        assert_eq!(table.longest_match(&of, 0, |id, _| (id != long).then_some(id)), Some(short));
        assert_eq!(table.longest_match(&p("203.0.113.1/32"), 0, |id, _| Some(id)), Some(default));
        assert_eq!(table.longest_match(&p("203.0.113.1/32"), 1, |id, _| Some(id)), None);
    }
}
