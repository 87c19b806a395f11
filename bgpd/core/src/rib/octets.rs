//! Strings of octets of any length in few allocations: blocks of 8, 16, 24, ... octets cut out of chunks, one free list a
//! size. Short strings (the rule) cost their length rounded up to eight; long ones (over [`LONG`]) get a box each.

use super::arena::Arena;

/// Sizes are multiples of this.
const GRAIN: usize = 8;
/// Longest string that is kept in a chunk.
const LONG: usize = 1024;
/// Octets of a chunk, about.
const CHUNK: usize = 16 * 1024;

/// Where a string is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Span {
    at: u32,
    /// Its length; more than [`LONG`]: its box knows.
    len: u16,
}

/// Blocks of one size.
#[derive(Debug, Default)]
struct Class {
    chunks: Vec<Vec<u8>>,
    free: Vec<u32>,
    used: u32,
}

/// The strings.
#[derive(Debug, Default)]
pub(super) struct Octets {
    /// By length in grains, less one.
    classes: Vec<Class>,
    long: Arena<Box<[u8]>>,
}

/// Blocks of a chunk whose blocks have this size.
fn per_chunk(size: usize) -> usize {
    CHUNK / size
}

/// The class of a string that is neither empty nor long, and the size of its blocks.
fn class_of(len: usize) -> (usize, usize) {
    let grains = len.div_ceil(GRAIN);
    (grains - 1, grains * GRAIN)
}

fn place(at: u32, size: usize) -> (usize, usize) {
    let per_chunk = per_chunk(size);
    (at as usize / per_chunk, at as usize % per_chunk * size)
}

impl Octets {
    pub(super) fn insert(&mut self, octets: &[u8]) -> Span {
        if octets.is_empty() {
            return Span::default();
        }
        if octets.len() > LONG {
            return Span { at: self.long.insert(octets.into()), len: u16::MAX };
        }
        let (class, size) = class_of(octets.len());
        while self.classes.len() <= class {
            self.classes.push(Class::default());
        }
        let Some(class) = self.classes.get_mut(class) else { return Span::default() };
        let at = class.free.pop().unwrap_or_else(|| {
            class.used += 1;
            class.used - 1
        });
        let (chunk, offset) = place(at, size);
        if class.chunks.len() <= chunk {
            class.chunks.push(vec![0; per_chunk(size) * size]);
        }
        let block = class.chunks.get_mut(chunk).and_then(|c| c.get_mut(offset..offset + octets.len()));
        if let Some(block) = block {
            block.copy_from_slice(octets);
        }
        Span { at, len: octets.len() as u16 }
    }

    pub(super) fn get(&self, span: Span) -> &[u8] {
        let len = usize::from(span.len);
        if len == 0 {
            return &[];
        }
        if len > LONG {
            return self.long.get(span.at).map_or(&[], |b| b);
        }
        let (class, size) = class_of(len);
        let (chunk, offset) = place(span.at, size);
        let chunk = self.classes.get(class).and_then(|c| c.chunks.get(chunk));
        chunk.and_then(|c| c.get(offset..offset + len)).unwrap_or_default()
    }

    pub(super) fn remove(&mut self, span: Span) {
        let len = usize::from(span.len);
        if len == 0 {
            return;
        }
        if len > LONG {
            if let Some(string) = self.long.get_mut(span.at) {
                *string = Box::default();
            }
            return self.long.free(span.at);
        }
        let (class, _) = class_of(len);
        if let Some(class) = self.classes.get_mut(class) {
            class.free.push(span.at);
            if class.free.len() == class.used as usize {
                *class = Class::default();
            }
        }
    }

    /// Octets taken from the allocator.
    pub(super) fn octets(&self) -> usize {
        let class = |c: &Class| {
            c.chunks.iter().map(Vec::capacity).sum::<usize>()
                + c.chunks.capacity() * size_of::<Vec<u8>>()
                + c.free.capacity() * size_of::<u32>()
        };
        let long: usize = self.long.iter_from(0).map(|(_, b)| b.len()).sum();
        self.classes.iter().map(class).sum::<usize>()
            + self.classes.capacity() * size_of::<Class>()
            + self.long.octets()
            + long
    }
}
