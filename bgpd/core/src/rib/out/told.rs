//! What one neighbour was told of each destination, path by path.

use crate::rib::{AttrId, DestId, PeerId};

/// Destinations of a chunk.
const CHUNK: usize = 1024;

/// One path that the neighbour holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Told {
    /// Its Path Identifier there (RFC 7911 §3): ours, the same as long as the neighbour holds the path. Zero where there is
    /// none.
    pub(super) id: u32,
    /// Who sent us the path.
    pub(super) peer: PeerId,
    /// Its Path Identifier from there.
    pub(super) received: u32,
    /// Its set, of which a reference is held.
    pub(super) set: AttrId,
    /// Its source, as [`super::View::source`] knows it.
    pub(super) source: u32,
}

impl Told {
    /// The same path of the RIB, whatever it looks like now.
    pub(super) fn is(&self, peer: PeerId, received: u32) -> bool {
        (self.peer, self.received) == (peer, received)
    }
}

type Chunk = Box<[Box<[Told]>]>;

/// All of them.
#[derive(Default, Debug)]
pub(super) struct ToldTable {
    /// By family: IPv4, IPv6.
    chunks: [Vec<Option<Chunk>>; 2],
}

fn place(dest: DestId) -> (usize, usize) {
    let index = dest.index() as usize;
    (index / CHUNK, index % CHUNK)
}

fn named(v6: bool, chunk: usize, at: usize) -> DestId {
    let index = u32::try_from(chunk * CHUNK + at).unwrap_or(u32::MAX);
    if v6 { DestId::v6(index) } else { DestId::v4(index) }
}

impl ToldTable {
    /// The paths of a destination.
    pub(super) fn get(&self, dest: DestId) -> &[Told] {
        let [v4, v6] = &self.chunks;
        let (chunk, at) = place(dest);
        let chunks = if dest.is_v4() { v4 } else { v6 };
        let of = || chunks.get(chunk)?.as_ref()?.get(at);
        of().map_or(&[], |paths| paths)
    }

    /// Puts others in their place.
    pub(super) fn set(&mut self, dest: DestId, paths: Vec<Told>) {
        let [v4, v6] = &mut self.chunks;
        let chunks = if dest.is_v4() { v4 } else { v6 };
        let (chunk, at) = place(dest);
        if chunks.len() <= chunk {
            chunks.resize_with(chunk + 1, || None);
        }
        let Some(slot) = chunks.get_mut(chunk) else { return };
        let chunk = slot.get_or_insert_with(|| vec![Box::default(); CHUNK].into());
        if let Some(entry) = chunk.get_mut(at) {
            *entry = paths.into();
        }
    }

    /// Every destination with a path.
    pub(super) fn iter(&self) -> impl Iterator<Item = DestId> + '_ {
        self.chunks.iter().enumerate().flat_map(|(v6, chunks)| {
            let there = chunks.iter().enumerate().filter_map(|(n, chunk)| Some((n, chunk.as_ref()?)));
            let held =
                |chunk: &Chunk| chunk.iter().enumerate().filter(|(_, p)| !p.is_empty()).map(|(at, _)| at).collect();
            there.flat_map(move |(n, chunk)| {
                let held: Vec<usize> = held(chunk);
                held.into_iter().map(move |at| named(v6 == 1, n, at))
            })
        })
    }

    /// Takes out a chunk; `None`: nothing is left.
    pub(super) fn pop_chunk(&mut self) -> Option<Vec<(DestId, Box<[Told]>)>> {
        for (v6, chunks) in self.chunks.iter_mut().enumerate() {
            while let Some(chunk) = chunks.pop() {
                let Some(chunk) = chunk else { continue };
                let n = chunks.len();
                let all = chunk.into_vec().into_iter().enumerate().filter(|(_, paths)| !paths.is_empty());
                return Some(all.map(|(at, paths)| (named(v6 == 1, n, at), paths)).collect());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_stands_there_until_its_chunk_is_taken() {
        let told = |id| Told { id, peer: PeerId(1), received: 0, set: AttrId::new(id), source: 1 };
        let mut table = ToldTable::default();
        let all = [DestId::v4(3), DestId::v4(5000), DestId::v6(0)];
        for (dest, id) in all.iter().zip(1..) {
            table.set(*dest, vec![told(id), told(id + 10)]);
        }
        table.set(DestId::v4(4), Vec::new());
        assert!(table.iter().eq(all));
        assert_eq!(table.get(DestId::v4(5000)), [told(2), told(12)]);
        assert!(table.get(DestId::v6(9)).is_empty() && table.get(DestId::v4(4)).is_empty());
        let popped: Vec<DestId> = std::iter::from_fn(|| table.pop_chunk()).flatten().map(|(dest, _)| dest).collect();
        assert_eq!(popped, [DestId::v4(5000), DestId::v4(3), DestId::v6(0)]);
    }
}
