//! A set of destinations: one bit each, in chunks that are made when something is put into them.

use crate::rib::DestId;

/// Words of a chunk: four kilobytes, 32,768 destinations.
const WORDS: usize = 512;

type Chunk = Box<[u64; WORDS]>;

/// The set.
#[derive(Default, Debug)]
pub(super) struct Bitmap {
    /// By family: IPv4, IPv6.
    chunks: [Vec<Option<Chunk>>; 2],
}

fn place(dest: DestId) -> (usize, usize, u64) {
    let index = dest.index() as usize;
    (index / (64 * WORDS), index / 64 % WORDS, 1 << (index % 64))
}

impl Bitmap {
    fn family(&self, dest: DestId) -> &Vec<Option<Chunk>> {
        let [v4, v6] = &self.chunks;
        if dest.is_v4() { v4 } else { v6 }
    }

    fn family_mut(&mut self, dest: DestId) -> &mut Vec<Option<Chunk>> {
        let [v4, v6] = &mut self.chunks;
        if dest.is_v4() { v4 } else { v6 }
    }

    fn word_mut(&mut self, dest: DestId) -> Option<&mut u64> {
        let (chunk, word, _) = place(dest);
        self.family_mut(dest).get_mut(chunk)?.as_mut()?.get_mut(word)
    }

    /// True if it is in the set.
    pub(super) fn contains(&self, dest: DestId) -> bool {
        let (chunk, word, bit) = place(dest);
        let of = |chunks: &Vec<Option<Chunk>>| chunks.get(chunk)?.as_ref()?.get(word).copied();
        of(self.family(dest)).is_some_and(|w| w & bit != 0)
    }

    /// Puts it in; true if it was not there.
    pub(super) fn insert(&mut self, dest: DestId) -> bool {
        let (chunk, _, bit) = place(dest);
        let word = match self.word_mut(dest) {
            Some(word) => word,
            None => {
                let chunks = self.family_mut(dest);
                if chunks.len() <= chunk {
                    chunks.resize_with(chunk + 1, || None);
                }
                if let Some(chunk) = chunks.get_mut(chunk) {
                    *chunk = Some(Box::new([0; WORDS]));
                }
                let Some(word) = self.word_mut(dest) else { return false };
                word
            }
        };
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// Takes it out; true if it was there.
    pub(super) fn remove(&mut self, dest: DestId) -> bool {
        let (.., bit) = place(dest);
        let Some(word) = self.word_mut(dest) else { return false };
        let old = *word & bit != 0;
        *word &= !bit;
        old
    }

    /// Takes out all of one chunk and gives them; `None`: the set is empty.
    pub(super) fn pop_chunk(&mut self) -> Option<Vec<DestId>> {
        for (v6, chunks) in self.chunks.iter_mut().enumerate() {
            while let Some(chunk) = chunks.pop() {
                if let Some(words) = chunk {
                    return Some(ones(v6 == 1, chunks.len(), &words).collect());
                }
            }
        }
        None
    }

    /// Every member, in order of its number.
    pub(super) fn iter(&self) -> impl Iterator<Item = DestId> + '_ {
        self.chunks.iter().enumerate().flat_map(|(v6, chunks)| {
            let there = chunks.iter().enumerate().filter_map(|(n, chunk)| Some((n, chunk.as_ref()?)));
            there.flat_map(move |(n, words)| ones(v6 == 1, n, words))
        })
    }

    /// Octets taken from the allocator.
    #[cfg(test)]
    pub(super) fn octets(&self) -> usize {
        let of = |chunks: &Vec<Option<Chunk>>| {
            chunks.iter().flatten().count() * size_of::<[u64; WORDS]>() + chunks.capacity() * size_of::<Chunk>()
        };
        self.chunks.iter().map(of).sum()
    }
}

/// The members of chunk number `n` of a family.
fn ones(v6: bool, n: usize, words: &[u64; WORDS]) -> impl Iterator<Item = DestId> {
    words.iter().enumerate().flat_map(move |(at, &word)| {
        (0..64).filter(move |bit| word >> bit & 1 != 0).map(move |bit| {
            let index = u32::try_from((n * WORDS + at) * 64 + bit).unwrap_or(u32::MAX);
            if v6 { DestId::v6(index) } else { DestId::v4(index) }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_put_in() {
        let (a, b, c) = (DestId::v4(100_000), DestId::v6(100_000), DestId::v4(63));
        let mut set = Bitmap::default();
        assert!(!set.contains(a) && !set.remove(a));
        assert!(set.insert(a) && !set.insert(a) && set.insert(b) && set.insert(c));
        assert!(set.contains(a) && set.contains(b) && set.contains(c) && !set.contains(DestId::v4(64)));
        assert_eq!(set.iter().collect::<Vec<_>>(), [c, a, b]);
        assert!(set.remove(a) && !set.contains(a) && set.contains(b));
        let mut all: Vec<DestId> = std::iter::from_fn(|| set.pop_chunk()).flatten().collect();
        all.sort();
        assert_eq!(all, [c, b]);
        assert_eq!(set.iter().count(), 0);
    }

    #[test]
    fn a_bit_a_destination_and_no_more() {
        let mut set = Bitmap::default();
        assert!((0..1_050_000).all(|n| set.insert(DestId::v4(n))));
        assert!((0..240_000).all(|n| set.insert(DestId::v6(n))));
        assert!(set.octets() < 180 * 1024, "{}", set.octets());
    }
}
