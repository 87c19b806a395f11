//! Paths: twelve octets each. The first of a destination stands in the destination, the others in a block of theirs.
//!
//! Blocks come in sizes of 1, 2, 3, 4, 6, 8, 12, 16, ... paths; a list that outgrows its block or falls below the next
//! smaller size moves. A path names what it says ([`Verdict`]) and who said it ([`SourceId`]) by numbers; both count their
//! users, which is the owner's business.

use super::sources::SourceId;
use super::verdicts::Verdict;

/// One path of one destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Path {
    /// The attribute set as it came, and what import policy made of it.
    pub(super) verdict: Verdict,
    /// The neighbour, the table transfer it came in, and its Path Identifier.
    pub(super) source: SourceId,
    /// When it came, in whole seconds.
    pub(super) received: u32,
}

/// Most paths beside the first. A neighbour that sends more Path Identifiers for one prefix is not heard.
pub(super) const MOST: u16 = u16::MAX;

/// Sizes of blocks: a class for each number of the five bits that a [`BlockId`] has for it.
const SIZES: [u32; 32] = [
    1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144,
    8192, 12288, 16384, 24576, 32768, 49152, 65536,
];
const CLASS_SHIFT: u32 = 27;
/// Paths of a chunk of blocks, at least one block.
const CHUNK: u32 = 4096;

/// Where a block is: its class and its number there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct BlockId(u32);

impl BlockId {
    fn class(self) -> usize {
        (self.0 >> CLASS_SHIFT) as usize
    }

    fn number(self) -> u32 {
        self.0 & ((1 << CLASS_SHIFT) - 1)
    }
}

fn class_for(count: u16) -> usize {
    SIZES.partition_point(|size| *size < u32::from(count))
}

/// Blocks of one size, a chunk after another.
#[derive(Debug, Default)]
struct Class {
    chunks: Vec<Vec<Path>>,
    free: Vec<u32>,
    used: u32,
}

impl Class {
    fn place(number: u32, size: u32) -> (usize, usize) {
        let per_chunk = (CHUNK / size).max(1);
        ((number / per_chunk) as usize, (number % per_chunk * size) as usize)
    }

    fn take(&mut self, size: u32) -> u32 {
        if let Some(number) = self.free.pop() {
            return number;
        }
        let number = self.used;
        self.used += 1;
        let (chunk, _) = Class::place(number, size);
        if self.chunks.len() <= chunk {
            self.chunks.push(vec![Path::default(); ((CHUNK / size).max(1) * size) as usize]);
        }
        number
    }

    fn give_back(&mut self, number: u32) {
        self.free.push(number);
        if self.free.len() == self.used as usize {
            *self = Class::default();
        }
    }
}

/// All blocks.
#[derive(Debug)]
pub(super) struct Blocks {
    classes: [Class; 32],
    paths: usize,
}

impl Default for Blocks {
    fn default() -> Blocks {
        Blocks { classes: std::array::from_fn(|_| Class::default()), paths: 0 }
    }
}

impl Blocks {
    fn block(&self, id: BlockId, len: u16) -> Option<&[Path]> {
        let size = *SIZES.get(id.class())?;
        let (chunk, offset) = Class::place(id.number(), size);
        self.classes.get(id.class())?.chunks.get(chunk)?.get(offset..offset + usize::from(len))
    }

    fn block_mut(&mut self, id: BlockId, len: u16) -> Option<&mut [Path]> {
        let size = *SIZES.get(id.class())?;
        let (chunk, offset) = Class::place(id.number(), size);
        self.classes.get_mut(id.class())?.chunks.get_mut(chunk)?.get_mut(offset..offset + usize::from(len))
    }

    /// The paths of a list.
    pub(super) fn get(&self, id: BlockId, len: u16) -> &[Path] {
        if len == 0 { &[] } else { self.block(id, len).unwrap_or_default() }
    }

    /// As [`Blocks::get`], to change.
    pub(super) fn get_mut(&mut self, id: BlockId, len: u16) -> &mut [Path] {
        if len == 0 { &mut [] } else { self.block_mut(id, len).unwrap_or_default() }
    }

    /// Appends a path; false if the list is full.
    pub(super) fn push(&mut self, id: &mut BlockId, len: &mut u16, path: Path) -> bool {
        if *len == MOST {
            return false;
        }
        self.resize(id, *len, *len + 1);
        *len += 1;
        self.paths += 1;
        if let Some(last) = self.get_mut(*id, *len).last_mut() {
            *last = path;
        }
        true
    }

    /// Takes the path at `at` out; the last one takes its place.
    pub(super) fn swap_remove(&mut self, id: &mut BlockId, len: &mut u16, at: usize) -> Option<Path> {
        let paths = self.get_mut(*id, *len);
        let last = *paths.last()?;
        let path = std::mem::replace(paths.get_mut(at)?, last);
        self.resize(id, *len, *len - 1);
        *len -= 1;
        self.paths -= 1;
        Some(path)
    }

    /// Moves a list of `len` paths to the block that `to` paths take.
    fn resize(&mut self, id: &mut BlockId, len: u16, to: u16) {
        let class = class_for(to);
        if len > 0 && to > 0 && class == id.class() {
            return;
        }
        let old = *id;
        *id = BlockId::default();
        if to > 0
            && let (Some(new), Some(size)) = (self.classes.get_mut(class), SIZES.get(class))
        {
            *id = BlockId((class as u32) << CLASS_SHIFT | new.take(*size));
            for at in 0..len.min(to) {
                let from = self.get(old, len).get(usize::from(at)).copied();
                let place = self.get_mut(*id, to).get_mut(usize::from(at));
                if let (Some(path), Some(place)) = (from, place) {
                    *place = path;
                }
            }
        }
        if len > 0
            && let Some(class) = self.classes.get_mut(old.class())
        {
            class.give_back(old.number());
        }
    }

    /// Octets taken from the allocator.
    pub(super) fn octets(&self) -> usize {
        let class = |c: &Class| {
            c.chunks.iter().map(Vec::capacity).sum::<usize>() * size_of::<Path>()
                + c.chunks.capacity() * size_of::<Vec<Path>>()
                + c.free.capacity() * size_of::<u32>()
        };
        self.classes.iter().map(class).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(received: u32) -> Path {
        Path { received, ..Path::default() }
    }

    #[test]
    fn lists_grow_and_shrink_through_every_size() {
        let mut blocks = Blocks::default();
        let (mut id, mut len) = (BlockId::default(), 0);
        let (mut other, mut other_len) = (BlockId::default(), 0);
        for n in 0..u32::from(MOST) {
            assert!(blocks.push(&mut id, &mut len, path(n)));
            if n < 5 {
                assert!(blocks.push(&mut other, &mut other_len, path(1_000_000 + n)));
            }
        }
        assert!(!blocks.push(&mut id, &mut len, path(0)));
        assert!(blocks.get(id, len).iter().map(|p| p.received).eq(0..u32::from(MOST)));
        while len > 3 {
            assert!(blocks.swap_remove(&mut id, &mut len, 2).is_some());
        }
        assert_eq!(blocks.get(id, len).iter().map(|p| p.received).collect::<Vec<_>>(), [0, 1, 3]);
        assert!(blocks.get(other, other_len).iter().map(|p| p.received).eq(1_000_000..1_000_005));
        while blocks.swap_remove(&mut id, &mut len, 0).is_some() {}
        while blocks.swap_remove(&mut other, &mut other_len, 0).is_some() {}
        assert_eq!((len, blocks.octets()), (0, 0));
    }
}
