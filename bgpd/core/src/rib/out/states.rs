//! What a group has made of each destination: twelve octets, by the destination's number.

use crate::rib::{AttrId, DestId};

/// Entries of a chunk.
const CHUNK: usize = 1024;

/// What members may be told of one destination. The attributes as sent are not here: they are a function of this, the
/// profile and the speaker's configuration.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct State {
    /// The set of the route ([`AttrId::get`]), of which a reference is held; zero: nothing (any more).
    set: u32,
    /// Who it came from, as [`super::View::source`] knows it.
    pub(super) source: u32,
    /// Low half of the position in the log that tells of this state; zero: none does.
    pub(super) last: u32,
}

impl State {
    /// The set.
    pub(super) fn set(&self) -> Option<AttrId> {
        AttrId::from_u32(self.set)
    }

    /// Another route, or none.
    pub(super) fn put(&mut self, route: Option<(AttrId, u32)>) {
        (self.set, self.source) = route.map_or((0, 0), |(set, source)| (set.get(), source));
    }

    /// The route.
    pub(super) fn route(&self) -> Option<(AttrId, u32)> {
        Some((self.set()?, self.source))
    }

    fn is_nothing(&self) -> bool {
        self.set == 0 && self.last == 0
    }
}

type Chunk = Box<[State; CHUNK]>;

/// All of them.
#[derive(Default, Debug)]
pub(super) struct States {
    /// By family: IPv4, IPv6.
    chunks: [Vec<Option<Chunk>>; 2],
}

fn place(dest: DestId) -> (usize, usize) {
    let index = dest.index() as usize;
    (index / CHUNK, index % CHUNK)
}

impl States {
    /// The state of a destination.
    pub(super) fn get(&self, dest: DestId) -> State {
        let [v4, v6] = &self.chunks;
        let (chunk, at) = place(dest);
        let of = |chunks: &Vec<Option<Chunk>>| chunks.get(chunk)?.as_ref()?.get(at).copied();
        of(if dest.is_v4() { v4 } else { v6 }).unwrap_or_default()
    }

    /// To change it.
    pub(super) fn entry(&mut self, dest: DestId) -> Option<&mut State> {
        let [v4, v6] = &mut self.chunks;
        let chunks = if dest.is_v4() { v4 } else { v6 };
        let (chunk, at) = place(dest);
        if chunks.len() <= chunk {
            chunks.resize_with(chunk + 1, || None);
        }
        chunks.get_mut(chunk)?.get_or_insert_with(|| Box::new([State::default(); CHUNK])).get_mut(at)
    }

    /// True if something is known of it.
    pub(super) fn contains(&self, dest: DestId) -> bool {
        !self.get(dest).is_nothing()
    }

    /// Takes out a chunk and gives its entries; `None`: nothing is left.
    pub(super) fn pop_chunk(&mut self) -> Option<Vec<(DestId, State)>> {
        for (v6, chunks) in self.chunks.iter_mut().enumerate() {
            while let Some(chunk) = chunks.pop() {
                let Some(states) = chunk else { continue };
                let first = u32::try_from(chunks.len() * CHUNK).unwrap_or(u32::MAX);
                let of = |index| if v6 == 1 { DestId::v6(index) } else { DestId::v4(index) };
                let all = (first..).map(of).zip(states.iter().copied());
                return Some(all.filter(|(_, s)| !s.is_nothing()).collect());
            }
        }
        None
    }

    /// How many destinations something is known of.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.chunks.iter().flatten().flatten().flat_map(|c| c.iter()).filter(|s| !s.is_nothing()).count()
    }
}
