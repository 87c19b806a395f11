//! A slab in chunks: things of one size under small numbers.
//!
//! Growing adds a chunk and copies nothing, so no insertion costs more than another and nothing is kept in reserve but
//! the rest of the last chunk. A freed place is given out again before a new one. What a free place holds is its last
//! content or what the owner put there: who walks the arena must be able to tell.
//!
//! A chunk is an array, not a vector, so that the compiler sees that no offset is outside it.

/// Entries of one chunk.
const CHUNK: usize = 4096;

/// The slab.
#[derive(Debug)]
pub(super) struct Arena<T> {
    chunks: Vec<Box<[T; CHUNK]>>,
    free: Vec<u32>,
    len: u32,
}

impl<T> Default for Arena<T> {
    fn default() -> Arena<T> {
        Arena { chunks: Vec::new(), free: Vec::new(), len: 0 }
    }
}

fn place(at: u32) -> (usize, usize) {
    (at as usize / CHUNK, at as usize % CHUNK)
}

impl<T: Clone + Default> Arena<T> {
    pub(super) fn get(&self, at: u32) -> Option<&T> {
        let (chunk, offset) = place(at);
        self.chunks.get(chunk)?.get(offset)
    }

    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        let (chunk, offset) = place(at);
        self.chunks.get_mut(chunk)?.get_mut(offset)
    }

    /// Takes a thing in; its number.
    pub(super) fn insert(&mut self, thing: T) -> u32 {
        if let Some(at) = self.free.pop() {
            if let Some(slot) = self.get_mut(at) {
                *slot = thing;
            }
            return at;
        }
        let at = self.len;
        if at as usize / CHUNK == self.chunks.len()
            && let Ok(chunk) = vec![T::default(); CHUNK].into_boxed_slice().try_into()
        {
            self.chunks.push(chunk);
        }
        if let Some(place) = self.get_mut(at) {
            *place = thing;
        }
        // 2^31 things of twelve octets and more do not fit into memory.
        self.len += 1;
        at
    }

    /// Gives a place back.
    pub(super) fn free(&mut self, at: u32) {
        self.free.push(at);
        if self.free.len() == self.len as usize {
            *self = Arena::default();
        }
    }

    /// Places, free ones too: every number ever given out is below this.
    pub(super) fn places(&self) -> u32 {
        self.len
    }

    /// Places in use.
    pub(super) fn len(&self) -> usize {
        self.len as usize - self.free.len()
    }

    /// Every place from `from` on with its number, free ones too.
    pub(super) fn iter_from(&self, from: u32) -> impl Iterator<Item = (u32, &T)> {
        let (first, offset) = place(from);
        let rest = self.chunks.get(first..).unwrap_or_default();
        let all = rest.iter().enumerate().flat_map(move |(n, chunk)| {
            let skip = if n == 0 { offset } else { 0 };
            chunk.get(skip..).unwrap_or_default()
        });
        (from..self.len).zip(all)
    }

    /// Octets taken from the allocator.
    pub(super) fn octets(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<T>()
            + self.chunks.capacity() * size_of::<Box<[T; CHUNK]>>()
            + self.free.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places_and_are_given_out_again() {
        let mut arena = Arena::default();
        let numbers: Vec<u32> = (0..10_000u32).map(|n| arena.insert(n)).collect();
        assert!(numbers.iter().all(|&n| arena.get(n) == Some(&n)));
        assert_eq!((arena.len(), arena.places()), (10_000, 10_000));
        arena.free(5);
        arena.free(9_999);
        assert_eq!((arena.len(), arena.places()), (9_998, 10_000));
        assert_eq!((arena.insert(1), arena.insert(2), arena.insert(3)), (9_999, 5, 10_000));
        assert_eq!(arena.get(5), Some(&2));
        assert_eq!(
            arena.iter_from(9_998).map(|(n, v)| (n, *v)).collect::<Vec<_>>(),
            [(9_998, 9_998), (9_999, 1), (10_000, 3)]
        );
        assert_eq!(arena.get(3 * CHUNK as u32), None);
    }

    #[test]
    fn an_emptied_arena_gives_its_memory_back() {
        let mut arena = Arena::default();
        let numbers: Vec<u32> = (0..10_000u32).map(|n| arena.insert(n)).collect();
        numbers.into_iter().for_each(|n| arena.free(n));
        assert_eq!((arena.len(), arena.places(), arena.octets()), (0, 0, 0));
    }
}
