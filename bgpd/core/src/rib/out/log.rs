//! The changes of a group's table in the order in which they were judged: what a neighbour that is not up to date is told
//! next.
//!
//! An entry says that a destination changed, not to what: it stands for the newest state, and the destination's own
//! [`super::states::State::last`] names the one entry that counts. A later change supersedes the earlier entry, and an entry
//! goes when all have been told. Entries stand in chunks, so that what a neighbour that reads nothing keeps from going is
//! squeezed out a chunk at a time and positions never move: at most two entries, of eight octets, for each destination that
//! changed.

use std::collections::VecDeque;

use crate::rib::DestId;

/// Positions of a chunk.
const CHUNK: u64 = 1024;
/// So few entries that do not count are not worth squeezing a chunk.
const SMALL: usize = 8;

#[derive(Default, Debug)]
struct Chunk {
    /// Offset of the position, destination; in order.
    entries: Vec<(u16, DestId)>,
    /// Entries that count.
    live: u16,
}

/// The log. Positions begin at 1; zero is before the first.
#[derive(Debug)]
pub(super) struct Log {
    chunks: VecDeque<Chunk>,
    /// Position of the first chunk's first entry.
    first: u64,
    end: u64,
    live: usize,
}

impl Default for Log {
    fn default() -> Log {
        Log { chunks: VecDeque::new(), first: 1, end: 0, live: 0 }
    }
}

/// What a destination remembers of a position.
pub(super) fn low(position: u64) -> u32 {
    (position & u64::from(u32::MAX)) as u32
}

impl Log {
    /// Position of the newest entry.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// No entry is kept, of those that count or others.
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.len() <= 1 && self.chunks.front().is_none_or(|c| c.entries.is_empty())
    }

    /// Entries that count.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// The whole position that a destination remembers. Right as long as less than 2^32 changes stand behind it.
    pub(super) fn position(&self, low: u32) -> u64 {
        let guess = self.end & !u64::from(u32::MAX) | u64::from(low);
        if guess > self.end { guess.saturating_sub(1 << 32) } else { guess }
    }

    /// Appends an entry; its position.
    pub(super) fn push(&mut self, dest: DestId) -> u64 {
        self.end += 1;
        if low(self.end) == 0 {
            // Zero means that there is none.
            self.end += 1;
        }
        if self.chunks.is_empty() {
            self.first = self.end;
        }
        let at = self.end - self.first;
        while self.chunks.len() as u64 <= at / CHUNK {
            self.chunks.push_back(Chunk::default());
        }
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.entries.push(((at % CHUNK) as u16, dest));
            chunk.live += 1;
            self.live += 1;
        }
        self.end
    }

    /// The entry at this position does not count any more. `last`: what a destination remembers now.
    pub(super) fn supersede(&mut self, position: u64, last: impl Fn(DestId) -> u32) {
        let Some(at) = position.checked_sub(self.first) else { return };
        let start = self.first + at / CHUNK * CHUNK;
        let chunk = usize::try_from(at / CHUNK).ok().and_then(|n| self.chunks.get_mut(n));
        let Some(chunk) = chunk.filter(|c| c.live > 0) else { return };
        chunk.live -= 1;
        self.live -= 1;
        if chunk.live == 0 {
            chunk.entries = Vec::new();
        } else if chunk.entries.len() > SMALL + 2 * usize::from(chunk.live) {
            chunk.entries.retain(|&(offset, dest)| last(dest) == low(start + u64::from(offset)));
            chunk.entries.shrink_to_fit();
        }
    }

    /// Every entry after a position, in order, those that do not count too.
    pub(super) fn after(&self, position: u64) -> impl Iterator<Item = (u64, DestId)> + '_ {
        let from = (position + 1).max(self.first) - self.first;
        let skip = usize::try_from(from / CHUNK).unwrap_or(usize::MAX);
        self.chunks.iter().enumerate().skip(skip).flat_map(move |(n, chunk)| {
            let start = self.first + n as u64 * CHUNK;
            let at = chunk.entries.partition_point(|(offset, _)| start + u64::from(*offset) <= position);
            let rest = chunk.entries.get(at..).unwrap_or_default();
            rest.iter().map(move |(offset, dest)| (start + u64::from(*offset), *dest))
        })
    }

    /// Forgets the entries up to a position, some thousands at most, and names them with their positions; those that count
    /// and those that do not. True if more is to be forgotten.
    pub(super) fn trim(&mut self, told: u64, mut gone: impl FnMut(u64, DestId) -> bool) -> bool {
        const CHUNKS: usize = 8;
        for _ in 0..CHUNKS {
            let Some(chunk) = self.chunks.front_mut() else { return false };
            let first = self.first;
            let until = chunk.entries.partition_point(|(offset, _)| first + u64::from(*offset) <= told);
            for (offset, dest) in chunk.entries.drain(..until) {
                if gone(first + u64::from(offset), dest) {
                    chunk.live = chunk.live.saturating_sub(1);
                    self.live = self.live.saturating_sub(1);
                }
            }
            // The last position of the chunk has been given out and told.
            if told < first + CHUNK - 1 {
                return false;
            }
            self.chunks.pop_front();
            self.first += CHUNK;
        }
        self.chunks.front().is_some_and(|_| told >= self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Pushes a change and supersedes the one before it.
    fn change(log: &mut Log, last: &mut BTreeMap<DestId, u32>, n: u32) -> u64 {
        let dest = DestId::v4(n);
        let position = log.push(dest);
        if let Some(old) = last.insert(dest, low(position)) {
            let old = log.position(old);
            log.supersede(old, |d| last[&d]);
        }
        position
    }

    #[test]
    fn superseded_entries_are_squeezed_out_and_positions_stay() {
        let (mut log, mut last) = (Log::default(), BTreeMap::new());
        let mut newest = BTreeMap::new();
        for round in 0..1000 {
            for n in 0..100 {
                // Some change rarely: their entries stay deep in the log.
                if n >= 10 || round == n {
                    newest.insert(DestId::v4(n), change(&mut log, &mut last, n));
                }
            }
        }
        assert_eq!(log.len(), 100);
        let kept: usize = log.chunks.iter().map(|c| c.entries.len()).sum();
        assert!(kept <= (2 + SMALL) * 100, "{kept} entries kept for 100 destinations");
        let told: BTreeMap<DestId, u64> =
            log.after(0).filter(|(p, d)| last[d] == low(*p)).map(|(p, d)| (d, p)).collect();
        assert_eq!(told, newest);
        let middle = newest[&DestId::v4(5)];
        assert!(log.after(middle).all(|(p, _)| p > middle));
        assert_eq!(log.after(middle).filter(|(p, d)| last[d] == low(*p)).count(), 94);
        let mut gone = 0;
        while log.trim(log.end(), |p, d| {
            let live = last[&d] == low(p);
            gone += usize::from(live);
            live
        }) {}
        assert_eq!((gone, log.len(), log.after(0).count()), (100, 0, 0));
    }

    #[test]
    fn a_position_is_known_by_its_low_half() {
        let mut log = Log { end: (1 << 32) - 2, ..Log::default() };
        let a = log.push(DestId::v4(1));
        let b = log.push(DestId::v4(2));
        assert_eq!((a, b), ((1 << 32) - 1, (1 << 32) + 1));
        assert_eq!((log.position(low(a)), log.position(low(b))), (a, b));
        assert_eq!(log.after(a).collect::<Vec<_>>(), [(b, DestId::v4(2))]);
    }
}
